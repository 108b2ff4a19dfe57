"""The cells of a study → the answer: which strategy, and how many photos are enough."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from shotcount.intervals import bootstrap_accuracy, interval

Cell = tuple[str, int, int]  # strategy, samples, angles


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """What the study says; accuracies and losses are fractions of the test photos."""

    strategy: str  # of the highest accuracy at the largest subset
    accuracy: Estimate  # of it there
    leads: dict[str, Estimate]  # its lead there over each other strategy
    samples: int  # the smallest subset that is enough for it
    angles: int
    photos: int
    loss: Estimate  # accuracy there below that at the largest subset
    largest: int  # photos of the largest subset
    guessing: float  # accuracy of always naming the commonest class
    tolerance: float


def answer(
    curve: pd.DataFrame,
    correct: Mapping[Cell, np.ndarray],
    samples: np.ndarray,
    guessing: float,
    tolerance: float,
    replicates: int,
    rng: np.random.Generator,
) -> Answer:
    """Choose the strategy and the smallest subset that is enough for it.

    Enough is the smallest subset whose accuracy is within `tolerance` of the largest subset's.
    Leads and loss come from paired differences on the same test samples.

    Parameters
    ----------
    curve : DataFrame
        As in `tables.CURVE`.
    correct : mapping of (strategy, samples, angles) to ndarray of shape (seeds, photos), bool
    samples : ndarray of shape (photos,)
        The sample that each test photo shows.
    guessing : float
        Accuracy on the test split of always naming the commonest class.
    tolerance : float
        Accuracy that one is willing to give up.
    """
    largest = curve[curve["photos"] == curve["photos"].max()]
    best = largest.loc[largest["accuracy"].idxmax()]
    own = curve[curve["strategy"] == best["strategy"]].sort_values(["photos", "samples"])
    enough = own[own["accuracy"] >= best["accuracy"] - tolerance].iloc[0]

    others = largest[largest["strategy"] != best["strategy"]]
    rows = [best, enough, *(row for _, row in others.iterrows())]
    drawn = bootstrap_accuracy(
        [correct[row["strategy"], row["samples"], row["angles"]] for row in rows],
        samples,
        replicates,
        rng,
    )
    clusters = len(np.unique(samples))

    def lead(other: int) -> Estimate:
        if rows[other].equals(best):
            return Estimate(0.0, 0.0, 0.0)
        value = best["accuracy"] - rows[other]["accuracy"]
        return Estimate(value, *interval(drawn[0] - drawn[other], clusters))

    return Answer(
        strategy=best["strategy"],
        accuracy=Estimate(best["accuracy"], best["accuracy_low"], best["accuracy_high"]),
        leads={row["strategy"]: lead(2 + i) for i, row in enumerate(rows[2:])},
        samples=int(enough["samples"]),
        angles=int(enough["angles"]),
        photos=int(enough["photos"]),
        loss=lead(1),
        largest=int(best["photos"]),
        guessing=guessing,
        tolerance=tolerance,
    )


def sentence(answer: Answer) -> str:
    """Put the answer into words, with what the data can't tell."""
    a = answer
    at_largest = (
        f"with all {a.largest:,} training photos {a.strategy} reached {_percent(a.accuracy.value)} "
        f"of the test photos ({_range(a.accuracy)})"
    )
    if a.accuracy.low <= a.guessing:
        return (
            f"No answer: {at_largest}, not shown to beat always naming the commonest class "
            f"({_percent(a.guessing)})."
        )
    rivals = [name for name, lead in a.leads.items() if lead.low <= 0]
    beaten = [name for name, lead in a.leads.items() if lead.low > 0]
    verdict = at_largest
    if beaten:
        verdict += f", better than {' and '.join(beaten)}"
    if rivals:
        verdict += f"{'; ' if beaten else ', '}no detectable difference from {' and '.join(rivals)}"
    if a.photos == a.largest:
        return (
            f"{verdict[0].upper()}{verdict[1:]}; no smaller subset came within "
            f"{_points(a.tolerance)} of that, so more photos may well help."
        )
    size = f"{a.photos:,} photos ({a.samples:,} samples × {_count(a.angles, 'angle')})"
    doubt = (
        ""
        if a.loss.high <= a.tolerance
        else f", though this test split can't rule out a loss of up to {_points(a.loss.high)}"
    )
    return (
        f"{size} are enough: {verdict}, and {a.photos:,} came within {_points(a.tolerance)} of "
        f"that (loss {100 * a.loss.value:.1f}, {_range(a.loss)}){doubt}."
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _points(fraction: float) -> str:
    return _count(f"{round(100 * fraction, 1):g}", "point")


def _count(number: int | str, noun: str) -> str:
    return f"{number} {noun}{'' if str(number) == '1' else 's'}"


def _range(estimate: Estimate) -> str:
    return f"95 % interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


# ---------------------------------------------------------------------------- for people


def summary(curve: pd.DataFrame, answer: Answer) -> dict[str, dict[str, Any]]:
    """Return the few numbers that a pull request should show, rounded to 4 digits.

    For each strategy the accuracy at the largest subset, with its interval; and the answer.
    """
    largest = curve[curve["photos"] == curve["photos"].max()].set_index("strategy")
    columns = ["accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "log_loss"]
    strategies = {
        str(strategy): {column: round(float(row[column]), 4) for column in columns}
        for strategy, row in largest.iterrows()
    }
    verdict = {
        "strategy": answer.strategy,
        "photos": answer.photos,
        "samples": answer.samples,
        "angles": answer.angles,
        "accuracy_lost": round(answer.loss.value, 4),
        "accuracy_lost_low": round(answer.loss.low, 4),
        "accuracy_lost_high": round(answer.loss.high, 4),
    }
    return strategies | {"answer": verdict}


def report(curve: pd.DataFrame, answer: Answer) -> str:
    """Return the study in Markdown: the table of strategy x photos, and the answer."""
    sizes = curve.drop_duplicates(["samples", "angles"]).sort_values(["photos", "samples"])
    strategies = list(curve["strategy"].unique())
    seeds = curve.groupby("strategy")["seeds"].max()
    heads = [f"{strategy} ({_count(seeds[strategy], 'seed')})" for strategy in strategies]
    rows = [["photos", "samples × angles", *heads]]
    for size in sizes.itertuples():
        cells = curve[(curve["samples"] == size.samples) & (curve["angles"] == size.angles)]
        cells = cells.set_index("strategy")
        rows.append(
            [f"{size.photos:,}", f"{size.samples:,} × {size.angles}"]
            + [
                f"{100 * c.accuracy:.1f} ({100 * c.accuracy_low:.1f}–{100 * c.accuracy_high:.1f})"
                for c in (cells.loc[strategy] for strategy in strategies)
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * (width - 1) + ":" for width in widths])
    table = [
        "| " + " | ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    caption = (
        "Test accuracy in % (95 % interval: bootstrap over test samples and seeds), by the "
        "photos, samples and angles trained on."
    )
    return "\n".join([sentence(answer), "", *table, "", caption, ""])
