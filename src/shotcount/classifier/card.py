"""The classifier's model card.

After Mitchell et al., "Model cards for model reporting" (FAT* 2019). All results are for this one
model on the test split, whose samples it has never seen. The text is in card.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from shotcount.classifier.figures import Figures
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.writing import (
    cell_in_percent,
    escaped,
    markdown_table,
    percent,
    range_in_percent,
)


def write(
    model: Mapping[str, Any],
    figures: Figures,
    parts: Mapping[str, pd.DataFrame],
    history: pd.DataFrame,
) -> str:
    """Return the card, in Markdown.

    Parameters
    ----------
    model : mapping
        The content of model.json.
    figures : Figures
    parts : mapping of str to DataFrame
        The photos (columns label, sample) of training, validation and test.
    history : DataFrame
        The history of all models that the classifier was chosen from, as for `keep.choose`.
    """
    kept = history[history["kept"]].set_index(["strategy", "seed"])["val_loss"]
    losses = [
        [str(strategy), str(len(own)), f"{own.mean():.3f}", f"{own.min():.3f}"]
        for strategy, own in kept.groupby("strategy", sort=False)
    ]
    own = history[(history["strategy"] == model["strategy"]) & (history["seed"] == model["seed"])]
    best = own[own["kept"]].iloc[0]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        figures=figures,
        labels=[escaped(label) for label in model["classes"]],
        claim=_claim(figures),
        facts=markdown_table(["", ""], _facts(model), numbers=False),
        counts=markdown_table(["class", *parts], _counts(model, parts), numbers=False),
        recalls=markdown_table(["photos of", "correct"], _recalls(figures)),
        by_views=markdown_table(["photos averaged", "samples correct"], _by_views(figures)),
        overconfidence=_overconfidence(figures.overconfidence),
        losses=markdown_table(["strategy", "seeds", "validation loss: mean", "lowest"], losses),
        settings=markdown_table(
            ["", ""],
            [[name, _setting(value)] for name, value in model["settings"].items()],
            numbers=False,
        ),
        steps=int(own["step"].max()),
        best_step=int(best["step"]),
        best_loss=best["val_loss"],
        best_accuracy=best["val_accuracy"],
    )


def _claim(figures: Figures) -> str:
    views = figures.views
    claim = f"it is right for {_in_percent(figures.accuracy)}"
    if len(views) > 1:
        claim += (
            f"; for {_in_percent(views[-1])} of the samples if the predictions of {len(views)} "
            "photos of each are averaged"
        )
    return claim


def _facts(model: Mapping[str, Any]) -> list[list[str]]:
    p = model["preprocessing"]
    made_square = {
        "crop": "shorter side scaled, centre cropped",
        "pad": "longer side scaled, the rest filled with grey",
    }[model["fit"]]
    facts = {
        "network": f"{model['network']} and a linear head",
        "strategy": model["strategy"],
        "trained on": f"{model['photos']:,} photos: {model['samples']:,} samples, up to "
        f"{model['angles']} angles each",
        "seed": str(model["seed"]),
        "input": f"sRGB, {model['size']} × {model['size']} px: {made_square} "
        f"({p['interpolation']}); mean {p['mean']}, std {p['std']} of values / 255",
        "versions": ", ".join(f"{name} {version}" for name, version in model["versions"].items()),
        "data": f"manifest sha256 `{model['manifest_sha256']}`",
    }
    return [[name, fact] for name, fact in facts.items()]


def _counts(model: Mapping[str, Any], parts: Mapping[str, pd.DataFrame]) -> list[list[str]]:
    rows = []
    for label in model["classes"]:
        own = [part[part["label"] == label] for part in parts.values()]
        counts = [f"{part['sample'].nunique():,} ({len(part):,})" for part in own]
        rows.append([escaped(label), *counts])
    return rows


def _recalls(figures: Figures) -> list[list[str]]:
    rows = {escaped(label): recall for label, recall in figures.recall.items()}
    return [[name, _cell(e)] for name, e in ({"all classes": figures.accuracy} | rows).items()]


def _by_views(figures: Figures) -> list[list[str]]:
    most = len(figures.views)
    shown = [views for views in (2, 3, 5, 10) if views < most] + [most]
    return [[str(views), _cell(figures.views[views - 1])] for views in shown]


def _in_percent(e: Estimate) -> str:
    return f"{percent(e.value)} ({range_in_percent(e.low, e.high)})"


def _overconfidence(e: Estimate) -> str:
    side, sign = ("above", 1) if e.value >= 0 else ("below", -1)
    low, high = sorted((sign * e.low, sign * e.high))
    return f"{100 * abs(e.value):.1f} points ({range_in_percent(low, high)}) {side}"


def _cell(e: Estimate) -> str:
    return cell_in_percent(e.value, e.low, e.high)


def _setting(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {inner}" for name, inner in value.items())
    return str(value)
