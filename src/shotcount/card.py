"""What a study's classifier can and can't do: its model card.

After Mitchell et al., "Model cards for model reporting" (FAT* 2019). Every number is of this one
model on the test split, whose samples it has never seen.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from shotcount import scoring
from shotcount.intervals import (
    Draws,
    Estimate,
    accuracy_interval,
    bootstrap_mean,
    draw,
    interval,
)
from shotcount.photos import printable


@dataclass(frozen=True)
class Figures:
    """How one model does on the test split."""

    photos: int
    samples: int
    accuracy: Estimate
    recall: dict[str, Estimate]  # of each class: the share of its photos that are named so
    views: list[Estimate]  # accuracy by sample, the predictions of 1, 2, 3, … photos averaged
    overconfidence: Estimate  # mean probability of the class named, less accuracy
    calibration_error: float
    log_loss: float  # nats


def measure(
    run: pd.DataFrame, classes: list[str], replicates: int, rng: np.random.Generator
) -> Figures:
    """Measure one model.

    Intervals are of a bootstrap that redraws test samples, whole; that other seeds would have given
    another model is no part of them, since it is this model that is used.

    Parameters
    ----------
    run : DataFrame
        The test split's predictions by one seed of one cell, as in ``tables.predictions(classes)``.
    classes : list of str
    replicates : int
        Of the bootstrap.
    rng : numpy.random.Generator
    """
    run = run.sort_values("photo")
    right, shown = scoring.hits(run, classes)  # (1, photos), (photos,)
    truth = run["label"].to_numpy()
    confidence = scoring.probabilities(run, classes).max(axis=1)
    draws = draw(len(np.unique(shown)), [1], replicates, rng)[0]
    recall = {}
    for label in classes:
        rows = truth == label
        its_draws = draw(len(np.unique(shown[rows])), [1], replicates, rng)[0]
        recall[label] = _accuracy(right[:, rows], shown[rows], its_draws)
    views, samples = scoring.views(run, classes, rng)  # (views, 1, samples), (samples,)
    excess = confidence[None] - right
    between = interval(bootstrap_mean(excess[None], shown, draws)[0], draws)
    scores = scoring.score(run, classes)
    return Figures(
        photos=len(run),
        samples=len(samples),
        accuracy=_accuracy(right, shown, draws),
        recall=recall,
        views=[_accuracy(hit, samples, draws) for hit in views],
        overconfidence=Estimate(float(excess.mean()), *between),
        calibration_error=scores["ece"],
        log_loss=scores["log_loss"],
    )


def _accuracy(right: np.ndarray, shown: np.ndarray, draws: Draws) -> Estimate:
    replicates = bootstrap_mean(right[None], shown, draws)[0]
    return Estimate(float(right.mean()), *accuracy_interval(replicates, draws))


def write(
    model: Mapping[str, Any],
    figures: Figures,
    parts: Mapping[str, pd.DataFrame],
    history: pd.DataFrame,
    settings: Mapping[str, Any],
) -> str:
    """Return the card, in Markdown.

    Parameters
    ----------
    model : mapping
        The content of model.json.
    figures : Figures
    parts : mapping of str to DataFrame
        The photos (label, sample) that trained it, validated and tested it.
    history : DataFrame
        As `classifier.choose` takes it, of all models that there were to choose from.
    settings : mapping
        What its strategy is trained with, as in params.yaml.
    """
    f, classes = figures, [_text(label) for label in model["classes"]]
    views = [v for v in (2, 3, 5, 10) if v < len(f.views)] + [len(f.views)]
    claim = f"it is right for {_percent(f.accuracy)}"
    if len(f.views) > 1:
        claim += (
            f"; for {_percent(f.views[-1])} of the samples, where it sees {len(f.views)} photos "
            "of each and their predictions are averaged"
        )
    facts = {
        "network": f"{model['network']} and a linear head",
        "strategy": model["strategy"],
        "trained on": f"{model['photos']:,} photos: {model['samples']:,} samples, up to "
        f"{model['angles']} angles each",
        "seed": str(model["seed"]),
        "input": _input(model),
        "versions": ", ".join(f"{name} {version}" for name, version in model["versions"].items()),
        "data": f"manifest sha256 `{model['manifest_sha256']}`",
    }
    counts = [
        [_text(label), *(_count(rows[rows["label"] == label]) for rows in parts.values())]
        for label in model["classes"]
    ]
    recalls = [[_text(label), _cell(recall)] for label, recall in f.recall.items()]
    by_views = [[str(v), _cell(f.views[v - 1])] for v in views]
    side = "above" if f.overconfidence.value >= 0 else "below"
    lowest = history.groupby(["strategy", "seed"], sort=False)["val_loss"].min()
    losses = [
        [str(strategy), str(len(own)), f"{own.mean():.3f}", f"{own.min():.3f}"]
        for strategy, own in lowest.groupby("strategy", sort=False)
    ]
    own = history[(history["strategy"] == model["strategy"]) & (history["seed"] == model["seed"])]
    best = own.loc[own["val_loss"].idxmin()]
    return f"""---
pipeline_tag: image-classification
tags: [image-classification, shotcount]
metrics: [accuracy]
---

# Photo classifier: {", ".join(classes)}

Names what a photo shows: one of {len(classes)} classes, with a probability for each.
On {f.photos:,} photos of {f.samples:,} samples that it has never seen, {claim}.

## Model

{_table(["", ""], facts.items())}

## Use

For photos like those it was trained on: the same kinds of things, taken in the same way.

    python -m shotcount predict data/classifier photos/
    python -m shotcount predict data/classifier photos/ --by-sample
    python -m shotcount export data/classifier classifier.onnx

data/classifier stands for this folder, wherever it is; `weights.safetensors` and `model.json` are
all of it that is needed.

## Data

Split by physical sample: no sample is in two columns. Samples (photos):

{_table(["class", *parts], counts)}

## Results on the test split

In %, with 95 % intervals from a bootstrap over test samples, since photos of one sample succeed or
fail together. They are of this model alone; the study's own are means over seeds.

{_table(["photos of", "named right"], [["all classes", _cell(f.accuracy)], *recalls])}

Of samples, by the photos of each whose log-probabilities are averaged:

{_table(["photos averaged", "samples named right"], by_views)}

The probability of the class that is named is on average {_points(f.overconfidence)} {side}
the share that is right. The expected calibration error is {100 * f.calibration_error:.1f} points
(15 bins; biased upwards for few photos), the log-loss {f.log_loss:.3f} nats.

## Limits

- It knows its {len(classes)} classes and nothing else: whatever a photo shows, it names one of
  them, often with a high probability.
- Another camera, light, background or place than those of its photos can cost accuracy, and nothing
  here measures how much: test it on photos of your own before you rely on it.
- It has learned the labels that it was given, their mistakes included.
- Where a class is commoner or rarer than in its photos, its probabilities are off.
- It was not made for decisions about people.

## How it was chosen

By validation alone: the strategy of the lowest validation loss, averaged over its seeds, then its
seed of the lowest. The test split had no say, so the numbers above are not the best of several
tries.

{_table(["strategy", "seeds", "validation loss: mean", "lowest"], losses)}

## How it was trained

{_table(["", ""], [[name, _setting(value)] for name, value in settings.items()])}

It took {own["step"].max():,} optimisation steps. Kept are the weights of step {best["step"]:,},
whose validation loss was lowest: {best["val_loss"]:.3f}, at a validation accuracy of
{100 * best["val_accuracy"]:.1f} %.
"""


def _input(model: Mapping[str, Any]) -> str:
    p = model["preprocessing"]
    return (
        f"RGB, {model['size']} × {model['size']} px: shorter side scaled to {p['shorter_side']} px "
        f"({p['interpolation']}), centre cropped; mean {p['mean']}, std {p['std']} of values / 255"
    )


def _percent(f: Estimate) -> str:
    return f"{100 * f.value:.1f} % (95 % interval {100 * f.low:.1f} to {100 * f.high:.1f})"


def _points(f: Estimate) -> str:
    sign = 1 if f.value >= 0 else -1
    low, high = sorted((100 * sign * f.low, 100 * sign * f.high))
    return f"{100 * abs(f.value):.1f} points (95 % interval {low:.1f} to {high:.1f})"


def _cell(f: Estimate) -> str:
    return f"{100 * f.value:.1f} ({100 * f.low:.1f}–{100 * f.high:.1f})"


def _setting(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {inner}" for name, inner in value.items())
    return str(value)


def _count(rows: pd.DataFrame) -> str:
    return f"{rows['sample'].nunique():,} ({len(rows):,})"


def _text(label: str) -> str:
    """Show a class's name as it is, whatever it holds: no HTML, no Markdown, no end of line."""
    shown = html.escape(printable(label))
    return "".join(f"&#{ord(c)};" if c in "\\`*_[]|~" else c for c in shown)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
