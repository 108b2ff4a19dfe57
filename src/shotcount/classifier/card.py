"""The classifier's model card.

After Mitchell et al., "Model cards for model reporting" (FAT* 2019). The classifier is trained on
all samples, so all results are of the study's networks that had not seen the samples they tested.
The text is in card.md.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from shotcount.classifier.figures import Figures
from shotcount.networks.backbones import split_name
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
    tested: pd.DataFrame,
    choice: pd.DataFrame,
) -> str:
    """Return the card, in Markdown.

    Parameters
    ----------
    model : mapping
        The content of model.json.
    figures : Figures
    tested : DataFrame
        The predictions that `figures` measure, with the columns label, sample and photo.
    choice : DataFrame
        What the strategy was chosen by: strategy and val_loss of each network of the largest cell.
    """
    return render(
        Path(__file__).with_suffix(".md"),
        model,
        choice,
        figures=figures,
        claim=_claim(figures),
        facts=facts(model, "a linear head", "samples"),
        counts=markdown_table(
            ["class", "trained on", "tested"], _counts(model, tested), numbers=False
        ),
        recalls=markdown_table(["photos of", "correct"], _recalls(figures)),
        by_views=markdown_table(["photos averaged", "samples correct"], _by_views(figures)),
        overconfidence=_overconfidence(figures.overconfidence),
        taken=markdown_table(["", ""], _taken(model), numbers=False),
    )


def render(template: Path, model: Mapping[str, Any], choice: pd.DataFrame, **parts: object) -> str:
    """Fill in a card's template: with `parts`, and with how the network was chosen and trained."""
    losses = [
        [str(strategy), str(len(own)), f"{own.mean():.3f}"]
        for strategy, own in choice.groupby("strategy", sort=False)["val_loss"]
    ]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        model=model,
        labels=[escaped(label) for label in model["classes"]],
        losses=markdown_table(["strategy", "seeds", "mean validation loss"], losses),
        settings=markdown_table(
            ["", ""],
            [[name, _setting(value)] for name, value in model["settings"].items()],
            numbers=False,
        ),
        **parts,
    )


def _claim(figures: Figures) -> str:
    views = figures.views
    claim = f"predictions were right for {in_percent(figures.accuracy)}"
    if len(views) > 1:
        claim += (
            f"; for {in_percent(views[-1])} of the samples if the predictions of {len(views)} "
            "photos of each are averaged"
        )
    return claim


def facts(model: Mapping[str, Any], head: str, noun: str) -> str:
    """Return the table of what a network is; `noun` is what the study calls its samples."""
    p = model["preprocessing"]
    made_square = {
        "crop": "shorter side scaled, centre cropped",
        "pad": "longer side scaled, the rest filled with grey",
        "stretch": "width and height scaled, each by its own factor",
    }[model["fit"]]
    network, layer = split_name(model["network"])
    until = f" up to its layer {layer}," if layer else ""
    rows = {
        "network": f"{network}{until} and {head}",
        "strategy": model["strategy"],
        "trained on": f"{model['photos']:,} photos: {model['samples']:,} {noun}, up to "
        f"{model['angles']} angles each",
        "input": f"sRGB, {model['size']} × {model['size']} px: {made_square} "
        f"({p['interpolation']}); mean {p['mean']}, std {p['std']} of values / 255",
        "versions": ", ".join(f"{name} {version}" for name, version in model["versions"].items()),
        "data": f"manifest sha256 `{model['manifest_sha256']}`",
    }
    return markdown_table(["", ""], [[name, fact] for name, fact in rows.items()], numbers=False)


def _counts(model: Mapping[str, Any], tested: pd.DataFrame) -> list[list[str]]:
    rows = []
    for label, trained in model["trained_on"].items():
        own = tested[tested["label"] == label]
        test = {"samples": own["sample"].nunique(), "photos": own["photo"].nunique()}
        counts = [f"{part['samples']:,} ({part['photos']:,})" for part in (trained, test)]
        rows.append([escaped(label), *counts])
    return rows


def _taken(model: Mapping[str, Any]) -> list[list[str]]:
    """Tell what the networks of the largest cell decided for this one."""
    own = model["from_folds"]
    decided = {
        "optimisation steps": own.get("steps"),
        "logits multiplied by": own.get("factor"),
        "L2 penalty of the solved head": own.get("penalty"),
        "its logits multiplied by": own.get("head_factor"),
    }
    return [[name, f"{fact:,.10g}"] for name, fact in decided.items() if fact is not None]


def _recalls(figures: Figures) -> list[list[str]]:
    rows = {escaped(label): recall for label, recall in figures.recall.items()}
    return [[name, _cell(e)] for name, e in ({"all classes": figures.accuracy} | rows).items()]


def _by_views(figures: Figures) -> list[list[str]]:
    most = len(figures.views)
    shown = [views for views in (2, 3, 5, 10) if views < most] + [most]
    return [[str(views), _cell(figures.views[views - 1])] for views in shown]


def in_percent(e: Estimate) -> str:
    """Write an estimate and its interval in a sentence."""
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
