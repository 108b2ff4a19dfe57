"""The tables behind the answer, and the study in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from shotcount.findings.answer import Answer
from shotcount.report.next import Write, angle_table, class_table, what_next
from shotcount.report.words import caution, plain_points, sentences
from shotcount.uncertainty.writing import (
    capitalised,
    cell_in_percent,
    counted,
    escaped,
    in_points,
    markdown_table,
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
    """Return the tables behind the answer: sizes, strategies, curves, budgets, views, what next.

    For the parameters see `markdown`; `write` writes a name from the data. A table without rows is
    left out.
    """
    curve, comparisons, fits = results["curve"], results["comparisons"], results["fits"]
    budgets, views = results["equal_budgets"], results["views"]
    metric = answer.metric
    made = {"sizes": Section(f"{capitalised(metric.name)} by size", *_sizes(curve, metric.key))}
    if len(comparisons):
        rows = [
            [c.better, c.worse, in_points(c.lead, c.lead_low, c.lead_high), f"{c.p_holm:.3f}",
             _verdict(c.settled, c.p_holm)]
            for c in comparisons.itertuples()
        ]  # fmt: skip
        heads = ["higher", "lower", "lead in points", "p (Holm)", "better?"]
        title = "Strategies, compared on the same test samples"
        made["strategies"] = Section(title, heads, rows)
    if len(fits):
        rows = [
            [str(strategy), *_learning(own, answer)]
            for strategy, own in fits.groupby("strategy", sort=False)
        ]
        heads = ["strategy", "redundancy of angles", "family: share (error on the largest cells)"]
        made["curves"] = Section("Learning curves", heads, rows)
    if len(budgets):
        rows = [
            [b.strategy, f"{b.photos:,}", f"{b.more_samples:,} × {b.fewer_angles}",
             f"{b.fewer_samples:,} × {b.more_angles}", in_points(b.gain, b.gain_low, b.gain_high)]
            for b in budgets.itertuples()
        ]  # fmt: skip
        heads = ["strategy", "photos", "samples × angles", "against", "gain in points"]
        title = "Equally many photos: more samples or more angles?"
        made["budgets"] = Section(title, heads, rows)
    shown = views[views["views"].isin({1, 2, 3, 5, 10, views["views"].max()})]
    names = list(views["strategy"].unique())
    rows = [
        [str(v)]
        + [
            cell_in_percent(*(r[f"{metric.key}{end}", n] for end in ("", "_low", "_high")))
            for n in names
        ]
        for v, r in shown.pivot(index="views", columns="strategy").iterrows()
    ]
    title = f"Using the classifier: {metric.name} for samples, by the angles averaged"
    made["views"] = Section(title, ["angles", *names], rows)
    said = what_next(results, answer, write)
    made["next"] = Section("What to photograph next", *class_table(results, write), said)
    if len(results["angles"]):
        made["by_angle"] = Section("Accuracy by angle", *angle_table(results["angles"], write))
    return made


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
    rests_on = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in data.items())
    parts.append(f"Intervals are 95 %: a bootstrap over test samples and seeds. Data: {rests_on}.")
    return "\n\n".join(filter(None, parts)) + "\n"


def _bullets(said: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in said)


def _verdict(settled: bool, p: float) -> str:
    if not settled:
        return "not settled"
    return "yes" if p < 0.05 else "no detectable difference"


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


def _sizes(curve: pd.DataFrame, metric: str) -> tuple[list[str], list[list[str]]]:
    strategies = list(curve["strategy"].unique())
    seeds = curve.groupby("strategy")["seeds"].max()
    heads = [f"{strategy} ({counted(seeds[strategy], 'seed')})" for strategy in strategies]
    cells = curve.set_index(["samples", "angles", "strategy"]).sort_index()
    rows = []
    for size in (
        curve.drop_duplicates(["samples", "angles"]).sort_values(["photos", "samples"]).itertuples()
    ):
        row = [f"{size.photos:,}", f"{size.samples:,} × {size.angles}"]
        for strategy in strategies:
            key = (size.samples, size.angles, strategy)
            c = cells.loc[key] if key in cells.index else None
            row.append(
                ""
                if c is None
                else cell_in_percent(c[metric], c[f"{metric}_low"], c[f"{metric}_high"])
            )
        rows.append(row)
    return ["photos", "samples × angles", *heads], rows
