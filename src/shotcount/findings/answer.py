"""The answer of a study: which strategy, how many photos, what more would bring."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from shotcount.findings.compare import Comparison, choose_strategy, compare_strategies
from shotcount.findings.learning import Learning, redundancy
from shotcount.findings.plan import (
    Enough,
    More,
    Plan,
    Rule,
    extrapolate,
    find_ceiling,
    find_enough,
    find_plan,
    rules_of_thumb,
)
from shotcount.findings.settings import AnswerSettings
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.metrics import Metric


@dataclass(frozen=True)
class Answer:
    """The answer, and the settings that it depends on."""

    metric: Metric  # of every score below
    strategy: str  # with the highest score on the largest subset that all have
    score: Estimate  # its interval allows for the choice among the strategies
    optimism: float  # by how much the choice makes the score too high
    comparisons: list[Comparison]
    unsettled: dict[str, list[str]]  # by strategy: parameters that kept it from converging
    guessing: float  # score of always naming the commonest class, or of finding nothing
    tolerance: float
    enough: Enough
    redundancies: dict[str, Estimate | None]  # by strategy
    # Whose curve the forecasts are read from: the best strategy's or, if it has too few cells for
    # one, that of the first strategy with one; None if no strategy has.
    curve_of: str | None
    curve_score: float  # of that strategy, measured on the largest subset
    more_samples: More | None
    more_angles: More | None
    plan: Plan | None
    target: float
    trained_share: float  # of the samples: the others are needed for validation and tests
    ceiling: Estimate | None
    # Photos of the best strategy's smallest subset that reached a target that was given, measured
    reached_with: int | None
    most_angles: int
    rules: list[Rule]
    imbalance: float  # samples of the commonest class for one of the rarest
    objects_a_photo: float  # to draw a box round, on average; 0 in a study of classes
    balanced: "Answer | None" = None  # by balanced accuracy, where that may be another answer

    @property
    def beats_guessing(self) -> bool:
        """Whether the best strategy is shown to be better than guessing."""
        return self.score.low > self.guessing

    @property
    def has_enough(self) -> bool:
        """Whether fewer than all photos are enough, shown or by the best guess."""
        return self.beats_guessing and self.enough.photos.value < self.enough.largest

    def in_all(self, training: int) -> int:
        """Return how many samples to photograph so that so many are left for training."""
        return math.ceil(training / self.trained_share - 1e-9)


def answer_study(
    learnings: list[Learning],
    guessing: float,
    wanted: AnswerSettings,
    unsettled: Mapping[str, list[str]],
    trained_share: float,
) -> Answer:
    """Choose the best strategy; find how many photos it needs and what more would bring.

    `unsettled` has the result of `why_unsettled` for each strategy; `trained_share` is the share of
    the collection's samples that can be trained on. The target `auto` is one point above the
    score on the largest subset, of the strategy whose curve is read: what the next photos could
    bring.
    """
    choice = choose_strategy(learnings)
    best = choice.best
    read = next((own for own in (best, *learnings) if own.curves is not None), best)
    curve_score = float(1 - read.error[0, read.largest])
    auto = wanted.target_accuracy == "auto"
    objects_a_photo = best.tallies[best.largest].objects_a_photo
    cost_per_photo = wanted.cost_per_photo + objects_a_photo * wanted.cost_per_box
    target = min(round(curve_score + 0.01, 3), 1.0) if auto else float(wanted.target_accuracy)
    reaching = best.photos[1 - best.error[0] >= target]
    return Answer(
        metric=best.metric,
        strategy=best.strategy,
        score=choice.score,
        optimism=choice.optimism,
        comparisons=compare_strategies(learnings, unsettled),
        unsettled=dict(unsettled),
        guessing=guessing,
        tolerance=wanted.tolerance,
        enough=find_enough(best, wanted.tolerance),
        redundancies={own.strategy: redundancy(own) for own in learnings},
        curve_of=read.strategy if read.curves is not None else None,
        curve_score=curve_score,
        more_samples=extrapolate(read, samples=2, angles=1),
        more_angles=extrapolate(read, samples=1, angles=2),
        plan=find_plan(read, target, wanted.cost_per_sample, cost_per_photo),
        target=target,
        trained_share=trained_share,
        ceiling=find_ceiling(read),
        reached_with=int(reaching.min()) if len(reaching) and not auto else None,
        most_angles=int(best.angles.max()),
        rules=rules_of_thumb(best, learnings),
        imbalance=best.tallies[0].imbalance,
        objects_a_photo=objects_a_photo,
    )
