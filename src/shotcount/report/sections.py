"""The tables behind the answer, and the study in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from shotcount.core.tables import largest_cell
from shotcount.findings.answer import Answer
from shotcount.report.next import Write, angle_table, class_table, what_next
from shotcount.report.words import caution, sentences
from shotcount.uncertainty.writing import (
    capitalised,
    cell_in_percent,
    counted,
    escaped,
    in_points,
    markdown_table,
    plain_points,
)

ENDS = ("", "_low", "_high")
SCORES_SHOWN = {
    "ap50": "AP50",
    "ap": "AP",
    "ap75": "AP75",
    "precision": "precision",
    "recall": "recall",
}
SCORES_NOTE = (
    "AP75: as AP50, where an overlap of 0.75 finds an object. Precision and recall: at an overlap "
    "of 0.5, of detections with the confidence that validation chose, or more. Count: objects "
    "found minus objects there in a photo, mean ± standard deviation; of the same detections."
)
FAULTS_NOTE = (
    "Number: of all seeds together, with the confidence that validation chose, or more. AP50 lost, "
    "of all detections: how much higher it would be without the faults of this kind alone. Badly "
    "placed: overlaps the object by less than half. Invented: where there is nothing. Doubled: a "
    "further detection of an object."
)


@dataclass(frozen=True)
class Section:
    """A table that answers one question."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    note: str = ""  # which rows these are
    said: Sequence[str] = ()  # the answer in sentences


def sections(
    results: Mapping[str, pd.DataFrame], answer: Answer, write: Write
) -> dict[str, Section]:
    """Return the tables behind the answer: sizes, strategies, scores, curves, budgets, and so on.

    For the parameters see `markdown`; `write` writes a name from the data. A table without rows is
    left out.
    """
    metric, terms = answer.metric, answer.metric.terms
    size = f"{terms.sample}s × {terms.angle}s"
    made = {
        "sizes": Section(
            f"{capitalised(metric.name)} by size", *_sizes(results["curve"], metric.key, size)
        ),
        "strategies": Section(
            f"Strategies, compared on the same test {terms.sample}s",
            ["higher", "lower", "lead in points", "p (Holm)", "better?"],
            _compared(results["comparisons"]),
        ),
        "scores": Section(
            "Scores with all training photos", *_scores(results["curve"]), SCORES_NOTE
        ),
        "curves": Section(
            "Learning curves",
            [
                "strategy",
                f"redundancy of {terms.angle}s",
                "family: share (error on the largest cells)",
            ],
            [
                [str(strategy), *_learning(own, answer)]
                for strategy, own in results["fits"].groupby("strategy", sort=False)
            ],
        ),
        "budgets": Section(
            f"Equally many photos: more {terms.sample}s or more {terms.angle}s?",
            ["strategy", "photos", size, "against", "gain in points"],
            _traded(results["equal_budgets"]),
        ),
        "views": Section(
            f"Using the classifier: {metric.name} for samples, by the angles averaged",
            *_views(results["views"], metric.key),
        ),
        "next": Section(
            "What to photograph next",
            *class_table(results, metric, write),
            what_next(results, answer, write),
        ),
        "by_angle": Section("Accuracy by angle", *angle_table(results["angles"], write)),
        "faults": Section(
            f"Faults of {answer.strategy} with all training photos",
            ["fault", "number", "AP50 lost in points"],
            _faults(results["confusion"], answer.strategy),
            FAULTS_NOTE,
        ),
    }
    return {name: section for name, section in made.items() if section.rows}


def markdown(results: Mapping[str, pd.DataFrame], answer: Answer, data: dict[str, Any]) -> str:
    """Return the study in Markdown: the answer, and a table for each question behind it.

    Parameters
    ----------
    results : mapping of str to DataFrame
        The tables of `metrics_tables` in findings.tables.
    answer : Answer
    data : dict
        Facts about the data: numbers of photos and samples, checksum of the manifest.
    """
    said = sentences(answer) + caution(answer)
    parts = [_bullets(said)]
    for section in sections(results, answer, escaped).values():
        parts += [f"## {section.title}", _bullets(section.said), section.note]
        parts.append(markdown_table(section.heads, section.rows))
    terms = answer.metric.terms
    rests_on = ", ".join(f"{terms.written(name)} {value}" for name, value in data.items())
    parts.append(
        f"Intervals are 95 %: a bootstrap over test {terms.sample}s and seeds. Data: {rests_on}."
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def _bullets(said: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in said)


def _verdict(settled: bool, p: float) -> str:
    if not settled:
        return "not settled"
    return "yes" if p < 0.05 else "no detectable difference"


def _compared(comparisons: pd.DataFrame) -> list[list[str]]:
    return [
        [c.better, c.worse, in_points(c.lead, c.lead_low, c.lead_high), f"{c.p_holm:.3f}",
         _verdict(c.settled, c.p_holm)]
        for c in comparisons.itertuples()
    ]  # fmt: skip


def _traded(budgets: pd.DataFrame) -> list[list[str]]:
    return [
        [b.strategy, f"{b.photos:,}", f"{b.more_samples:,} × {b.fewer_angles}",
         f"{b.fewer_samples:,} × {b.more_angles}", in_points(b.gain, b.gain_low, b.gain_high)]
        for b in budgets.itertuples()
    ]  # fmt: skip


def _views(views: pd.DataFrame, metric: str) -> tuple[list[str], list[list[str]]]:
    shown = views[views["views"].isin({1, 2, 3, 5, 10, views["views"].max()})]
    names = list(views["strategy"].unique())
    rows = [
        [str(v), *(cell_in_percent(*(r[f"{metric}{end}", n] for end in ENDS)) for n in names)]
        for v, r in shown.pivot(index="views", columns="strategy").iterrows()
    ]
    return ["angles", *names], rows


def _scores(curve: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of what detectors are judged by in the largest cell."""
    largest = largest_cell(curve)
    heads = ["score", *largest["strategy"]]
    if not set(SCORES_SHOWN) <= set(curve):
        return heads, []
    cells = [row for _, row in largest.iterrows()]
    rows = [
        [f"{name} in %", *(_with_ends(cell, key) for cell in cells)]
        for key, name in SCORES_SHOWN.items()
    ]
    counts = [f"{cell['count_bias']:+.2f} ± {cell['count_sd']:.2f}" for cell in cells]
    confidence = [f"{cell['confidence']:.2f}" for cell in cells]
    return heads, [*rows, ["confidence", *confidence], ["count", *counts]]


def _with_ends(cell: pd.Series, key: str) -> str:
    if f"{key}_low" in cell:
        return cell_in_percent(*(cell[f"{key}{end}"] for end in ENDS))
    return f"{100 * cell[key]:.1f}"


def _faults(confusion: pd.DataFrame, strategy: str) -> list[list[str]]:
    """Return the kinds of faults in a strategy's largest cell, the costliest first."""
    if "ap50_lost" not in confusion:
        return []
    largest = largest_cell(confusion[confusion["strategy"] == strategy])
    return [
        [row.kind, f"{row.faults:,}", f"{100 * row.ap50_lost:.1f}"]
        for row in largest.sort_values("ap50_lost", ascending=False, kind="stable").itertuples()
    ]


def _learning(fits: pd.DataFrame, answer: Answer) -> tuple[str, str]:
    """Return the redundancy, and how often each family was chosen and how well it extrapolates."""
    found = answer.redundancies[fits["strategy"].iloc[0]]
    families = fits.drop_duplicates("family").sort_values("share", ascending=False)
    return (
        f"{found.value:.2f} ({found.low:.2f}–{found.high:.2f})" if found else "not identifiable",
        ", ".join(
            f"{f.family}: {100 * f.share:.0f} % ({plain_points(f.extrapolation_error)})"
            for f in families.itertuples()
        ),
    )


def _sizes(curve: pd.DataFrame, metric: str, size: str) -> tuple[list[str], list[list[str]]]:
    strategies = list(curve["strategy"].unique())
    seeds = curve.groupby("strategy")["seeds"].max()
    heads = [f"{strategy} ({counted(seeds[strategy], 'seed')})" for strategy in strategies]
    cells = curve.set_index(["samples", "angles", "strategy"]).sort_index()
    rows = []
    for own in (
        curve.drop_duplicates(["samples", "angles"]).sort_values(["photos", "samples"]).itertuples()
    ):
        row = [f"{own.photos:,}", f"{own.samples:,} × {own.angles}"]
        for strategy in strategies:
            key = (own.samples, own.angles, strategy)
            c = cells.loc[key] if key in cells.index else None
            row.append("" if c is None else _with_ends(c, metric))
        rows.append(row)
    return ["photos", size, *heads], rows
