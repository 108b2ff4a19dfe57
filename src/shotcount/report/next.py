"""What to photograph next, in sentences and tables: classes, angles, rules of thumb."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from shotcount.findings.answer import Answer
from shotcount.findings.plan import Rule
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.metrics import Metric
from shotcount.uncertainty.writing import (
    capitalised,
    cell_in_percent,
    in_points,
    listed,
    percent,
    plain_points,
    range_in_percent,
)

MOST_CLASSES = 10  # in the table
MOST_ANGLES = 12  # in the table: the hardest and the easiest
Write = Callable[[str], str]  # a name from the data, for HTML or for Markdown


def what_next(results: Mapping[str, pd.DataFrame], answer: Answer, write: Write) -> list[str]:
    """Say which classes to photograph next, which angles are hard, and what rules of thumb bring.

    Parameters
    ----------
    results : mapping of str to DataFrame
        The tables of findings.tables.metrics_tables.
    answer : Answer
    write : callable
        Writes a name from the data.
    """
    classes, said = results["classes"], []
    if len(classes) > 1:
        said.append(_which_classes(results["gains"], answer, write))
        said.append(_lowest(classes, answer.metric, write))
    if len(results["angles"]):
        said.append(_which_angles(results["angles"], write))
    return [*said, _rules(answer.rules)]


def class_table(
    results: Mapping[str, pd.DataFrame], metric: Metric, write: Write
) -> tuple[list[str], list[list[str]], str]:
    """Return heads and rows of the most promising classes, and a note on what they are."""
    classes, gains = results["classes"], results["gains"]
    own = metric.for_class
    counts = [name for name in ("test_samples", "test_objects") if name in classes]
    heads = ["class", *map(metric.terms.written, counts), f"{own.name} in %"]
    note = f"{capitalised(own.name)}: {classes['strategy'].iloc[0]}, with all training photos."
    shown, which, file = classes, f"with the lowest {own.name}", "classes"
    if len(gains):
        heads += ["gain in points", f"more {metric.terms.sample}s help?"]
        note += f" Gain: {_step(gains)}."
        shown = classes.set_index("label").loc[gains["label"]]
        which, file = "most promising", "gains"
    if len(classes) > MOST_CLASSES:
        more = f"{len(classes) - MOST_CLASSES:,} more are in metrics/{file}.csv"
        note += f" The {MOST_CLASSES} {which}; {more}."
    rows = [
        [
            write(c["label"]),
            *(f"{c[name]:,}" for name in counts),
            cell_in_percent(*_ends(c, own.key)),
        ]
        for _, c in shown.reset_index().head(MOST_CLASSES).iterrows()
    ]
    for row, gain in zip(rows, gains.itertuples(), strict=False):
        row += [in_points(gain.gain, gain.gain_low, gain.gain_high), _verdict(gain)]
    return heads, rows, note


def angle_table(angles: pd.DataFrame, write: Write) -> tuple[list[str], list[list[str]], str]:
    """Return heads and rows of the hardest and the easiest angles, and a note on what they are."""
    heads = ["angle", "test samples", "accuracy in %", "difference in points"]
    note = (
        f"{', '.join(angles['strategy'].unique())}, with all training photos. Difference: from the "
        "accuracy for all angles of the same samples. Hardest first."
    )
    shown, half = angles, MOST_ANGLES // 2
    if len(angles) > MOST_ANGLES:
        shown = pd.concat([angles.head(half), angles.tail(half)])
        more = f"{len(angles) - MOST_ANGLES:,} more are in metrics/angles.csv"
        note += f" The {half} hardest and the {half} easiest; {more}."
    rows = [
        [write(a.angle), f"{a.test_samples:,}",
         cell_in_percent(a.accuracy, a.accuracy_low, a.accuracy_high),
         in_points(a.difference, a.difference_low, a.difference_high)]
        for a in shown.itertuples()
    ]  # fmt: skip
    return heads, rows, note


def _which_classes(gains: pd.DataFrame, answer: Answer, write: Write) -> str:
    if not answer.beats_guessing:
        reason = answer.metric.terms.nothing_learned
        return f"No class to photograph next can be named, since {reason}."
    if not len(gains):
        return answer.metric.terms.no_gains
    first, grew = gains.iloc[0], _step(gains)
    gain = (
        f"{plain_points(first['gain'])} ({range_in_percent(first['gain_low'], first['gain_high'])})"
    )
    helped = gains[gains["gain_low"] > 0]
    if not len(helped):
        return (
            f"The study can't tell which class to photograph next: with {grew}, no class has "
            f"a detectable gain. The largest, that of {write(first['label'])}, is {gain}."
        )
    named = listed([write(label) for label in helped["label"]])
    if len(helped) == 1:
        said = f"Photograph more samples of {named} next: with {grew}, its accuracy rose by {gain}."
    else:
        said = (
            f"Photograph more samples of {named} next: with {grew}, their accuracy rose; that of "
            f"{write(first['label'])} by {gain}."
        )
    said += " The next samples usually bring less than the last ones did."
    return said + _by_chance(len(gains), "classes", 0.025)


def _step(gains: pd.DataFrame) -> str:
    first = gains.iloc[0]
    sizes = f"{first['fewer_samples']:,} to {first['more_samples']:,}"
    return f"{first['strategy']}, from {sizes} training samples of all classes"


def _lowest(classes: pd.DataFrame, metric: Metric, write: Write) -> str:
    low, high = classes.iloc[0], classes.iloc[-1]
    said = metric.terms.extremes.format(
        score=metric.for_class.name,
        strategy=low["strategy"],
        lowest=write(low["label"]),
        low=_in_percent(Estimate(*_ends(low, metric.of_class))),
        highest=write(high["label"]),
        high=_in_percent(Estimate(*_ends(high, metric.of_class))),
    )
    return f"With all training photos, {said}."


def _which_angles(angles: pd.DataFrame, write: Write) -> str:
    hard, easy = angles[angles["difference_high"] < 0], angles[angles["difference_low"] > 0][::-1]
    if not len(hard) + len(easy):
        return "No angle is shown to be harder or easier than all angles of the same samples."
    said = []
    for found, kind in ((hard, "Harder"), (easy, "Easier")):
        if len(found):
            first = found.iloc[0]
            ends = sorted(abs(first[name]) for name in ("difference_low", "difference_high"))
            which = listed([write(name) for name in found["angle"]])
            said.append(
                f"{kind} than all angles of the same samples: {which}, "
                f"{'the first ' if len(found) > 1 else ''}by "
                f"{plain_points(abs(first['difference']))} ({range_in_percent(*ends)})."
            )
    return " ".join(said) + _by_chance(len(angles), "angles", 0.05)


def _rules(rules: Sequence[Rule]) -> str:
    said = []
    for rule in rules:
        size = f"{rule.name} ({rule.samples:,} × {rule.angles} for training)"
        if rule.score is None:
            said.append(f"{size}: beyond what this study can tell")
            continue
        source = "measured" if rule.measured else "by the fitted curve"
        said.append(f"{size}: {_in_percent(rule.score)}, {source} of {rule.strategy}")
    return f"Rules of thumb, and what this study expects of them: {'; '.join(said)}."


def _by_chance(count: int, what: str, share: float) -> str:
    expected = round(share * count)
    return f" Of {count:,} {what}, about {expected} would be named by chance." if expected else ""


def _verdict(gain: Any) -> str:
    if gain.gain_low > 0:
        return "yes"
    return "it lost" if gain.gain_high < 0 else "no detectable gain"


def _ends(row: pd.Series, key: str) -> tuple[float, float, float]:
    return row[key], row[f"{key}_low"], row[f"{key}_high"]


def _in_percent(e: Estimate) -> str:
    return f"{percent(e.value)} ({range_in_percent(e.low, e.high)})"
