"""Compare strategies, ways to spend equally many photos, and numbers of views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd

from shotcount.core import tables
from shotcount.findings.learning import Learning, measured
from shotcount.scoring.tallies import Tally
from shotcount.uncertainty.bootstrap import Part, difference
from shotcount.uncertainty.intervals import Estimate, holm, p_value
from shotcount.uncertainty.metrics import bootstrap_metric, metric_rows


@dataclass(frozen=True)
class Comparison:
    """How far one strategy is ahead of another on the same test samples."""

    better: str
    worse: str
    lead: Estimate  # difference of the metric
    p_holm: float  # adjusted for the number of comparisons
    settled: bool  # False: the worse one's training had not converged, so it might catch up

    @property
    def shown(self) -> bool:
        """Whether the lead is shown: not by chance, and not by training that was cut short."""
        return self.settled and self.p_holm < 0.05


def why_unsettled(
    model: Mapping[str, Any], history: pd.DataFrame, trials: pd.DataFrame
) -> list[str]:
    """Return the parameters that kept a cell from converging, as params.yaml names them.

    Parameters
    ----------
    model : mapping
        The cell's model.json.
    history : DataFrame
        The cell's, with the columns `HISTORY` of core.tables.
    trials : DataFrame
        The strategy's trials of learning rates, with the columns `TRIALS` of core.tables.

    Returns
    -------
    list of str
        The limit of the training if, in at least half of the seeds, validation did not end it (with
        a fixed schedule: if the last look at validation was the best); the learning rate if the
        best one tried was the lowest or the highest. Empty for a solved head.
    """
    own, strategy = model["settings"], model["strategy"]
    if "schedule" not in own:
        return []
    # The head of frozen features is trained, not solved, only where it is a detector's.
    section = "train.frozen.detector" if strategy == "frozen" else f"train.{strategy}"
    found = []
    last = history.groupby("seed")["step"].max()
    if own["schedule"] == "auto":
        cut_short = last >= model["most_steps"]
    else:
        best = history.loc[history.groupby("seed")["val_loss"].idxmin()].set_index("seed")["step"]
        cut_short = best == last
    if cut_short.mean() >= 0.5:
        binding = "min_steps" if model["most_steps"] == own["min_steps"] else "epochs"
        found.append(f"{section}.{binding}")
    if trials["learning_rate"].nunique() > 1:
        rate = tables.best_trial(trials, strategy)["learning_rate"]
        if rate in (trials["learning_rate"].min(), trials["learning_rate"].max()):
            found.append(f"{section}.learning_rate")
    return found


def compare_strategies(
    learnings: list[Learning], unsettled: Mapping[str, list[str]]
) -> list[Comparison]:
    """Compare all pairs of strategies at the largest subset that all were trained on.

    Paired: each replicate draws the same test samples for both strategies, and seeds for each.
    `unsettled` has the result of `why_unsettled` for each strategy.
    """
    pairs = []
    at = common_largest(learnings)
    for one, other in combinations(learnings, 2):
        rows = other.error[:, at[other.strategy]] - one.error[:, at[one.strategy]]
        if rows[0] < 0:
            one, other, rows = other, one, -rows
        both = difference(one.resamples, other.resamples)
        pairs.append((one.strategy, other.strategy, measured(rows, both), p_value(rows[1:], both)))
    adjusted = holm([p for *_, p in pairs])
    return [
        Comparison(*pair[:3], p, settled=not unsettled[pair[1]])
        for pair, p in zip(pairs, adjusted, strict=True)
    ]


def common_largest(learnings: list[Learning]) -> dict[str, int]:
    """Return each strategy's index of the largest cell that all strategies have."""
    sizes = [set(zip(own.samples, own.angles, strict=True)) for own in learnings]
    samples, angles = max(set.intersection(*sizes), key=lambda size: size[0] * size[1])
    return {
        own.strategy: int(np.flatnonzero((own.samples == samples) & (own.angles == angles))[0])
        for own in learnings
    }


@dataclass(frozen=True)
class Choice:
    """The strategy with the highest score on the largest subset that all strategies have."""

    best: Learning
    score: Estimate
    optimism: float  # by how much the score is too high, since the strategy was chosen by it


def choose_strategy(learnings: list[Learning]) -> Choice:
    """Choose the best strategy; its interval allows for the choice.

    Chosen and measured on the same test samples, the best strategy owes part of its score to
    chance. So every replicate chooses again, by the samples and seeds that it drew. Those that it
    did not draw tell how its choice fares on what was not used for it (Tsamardinos, Greasidou and
    Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and accurate
    cross-validation", Machine Learning 2018). There the strategy that the study chose has its own
    score, on average over the replicates; so the optimism is how far it lies above the replicates'
    choices. The interval is moved down by it. docs/calibration.md has its coverage.
    """
    at = common_largest(learnings)
    scores = 1 - np.stack(
        [own.error[:, at[own.strategy]] for own in learnings]
    )  # (strategies, rows)
    place = int(scores[:, 0].argmax())

    def of_part(part: Part) -> np.ndarray:  # (strategies, replicates)
        tallies = [own.tallies[at[own.strategy]] for own in learnings]
        pairs = zip(tallies, learnings, strict=True)
        return np.vstack(
            [bootstrap_metric([cell], own.metric, own.resamples, part) for cell, own in pairs]
        )

    with np.errstate(invalid="ignore"):  # a replicate may have no tested sample: no number
        drawn, unseen = of_part("drawn"), of_part("undrawn")
    known = ~np.isnan(drawn).any(axis=0)
    unseen = unseen[:, known]
    chosen = np.take_along_axis(unseen, drawn[:, known].argmax(axis=0)[None], axis=0)[0]
    optimism = max(float(np.nanmean(unseen[place] - chosen)), 0.0)
    own = learnings[place].judge(scores[place])
    score = Estimate(own.value, max(own.low - optimism, 0.0), own.high - optimism)
    return Choice(learnings[place], score, optimism)


@dataclass(frozen=True)
class Trade:
    """Equally many photos: more samples from fewer angles, or fewer samples from more angles."""

    strategy: str
    photos: int
    more_samples: int
    fewer_angles: int
    fewer_samples: int
    more_angles: int
    gain: Estimate  # metric of the former minus that of the latter


def equal_budgets(learning: Learning) -> list[Trade]:
    """Compare neighbouring cells with equally many photos, paired by test samples and seeds."""
    order = np.lexsort((-learning.samples, learning.photos))
    trades = []
    for one, other in pairwise(order):
        if learning.photos[one] == learning.photos[other]:
            gain = learning.error[:, other] - learning.error[:, one]
            trades.append(
                Trade(
                    learning.strategy,
                    int(learning.photos[one]),
                    int(learning.samples[one]),
                    int(learning.angles[one]),
                    int(learning.samples[other]),
                    int(learning.angles[other]),
                    measured(gain, learning.resamples),
                )
            )
    return trades


@dataclass(frozen=True)
class Views:
    """The metric for whole samples seen from several angles: a row of the table `views`."""

    strategy: str
    views: int
    score: Estimate


def score_by_views(learning: Learning, tallies: Sequence[Tally]) -> list[Views]:
    """Return the metric, with its interval, from the tallies of `tally_by_views`."""
    scores = metric_rows(tallies, learning.metric, learning.resamples)
    return [
        Views(learning.strategy, views, learning.judge(rows))
        for views, rows in enumerate(scores, start=1)
    ]
