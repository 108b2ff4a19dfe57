"""The detector's model card, like a classifier's (`card`). The text is in detector_card.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from shotcount.classifier import card
from shotcount.classifier.detector_figures import DetectorFigures, Found
from shotcount.networks.settings import is_detector
from shotcount.uncertainty.writing import cell_in_percent, escaped, markdown_table


def write(model: Mapping[str, Any], figures: DetectorFigures, choice: pd.DataFrame) -> str:
    """Return the card, in Markdown; for the parameters see `card.write`."""
    rows = {"all classes": figures.every} | {
        escaped(label): found for label, found in figures.classes.items()
    }
    heads = ["objects of", "AP50", "AP", "precision", "recall"]
    head = "its own head" if is_detector(model["network"]) else "a head of SSDLite"
    return card.render(
        Path(__file__).with_suffix(".md"),
        model,
        choice,
        figures=figures,
        claim=card.in_percent(figures.every.ap50),
        facts=card.facts(model, head, "scenes"),
        counts=markdown_table(
            ["class", "trained on", "tested"], _counts(model, figures), numbers=False
        ),
        results=markdown_table(heads, [_result(name, found) for name, found in rows.items()]),
        beyond=_beyond(figures.every.scores),
    )


def _counts(model: Mapping[str, Any], figures: DetectorFigures) -> list[list[str]]:
    rows = []
    for label, trained in model["trained_on"].items():
        own = figures.classes[label]
        pairs = (trained["objects"], trained["photos"]), (own.objects, own.photos)
        rows.append([escaped(label), *(f"{there:,} ({photos:,})" for there, photos in pairs)])
    return rows


def _result(name: str, found: Found) -> list[str]:
    if not found.objects:
        return [name, *4 * ["–"]]
    shares = [f"{100 * found.scores[key]:.1f}" for key in ("ap", "precision", "recall")]
    return [name, cell_in_percent(found.ap50.value, found.ap50.low, found.ap50.high), *shares]


def _beyond(scores: Mapping[str, float]) -> str:
    bias = scores["count_bias"]
    side = "more" if bias >= 0 else "fewer"
    return f"{abs(bias):.2f} {side} (standard deviation {scores['count_sd']:.2f})"
