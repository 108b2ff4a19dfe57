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
    more_samples: More | None
    more_angles: More | None
    plan: Plan | None
    target: float
    trained_share: float  # of the samples: the others are needed for validation and tests
    ceiling: Estimate | None
    extrapolates: bool  # whether there are enough cells for a curve
    smallest: float  # measured score on the strategy's smallest subset
    most_angles: int
    rules: list[Rule]
    imbalance: float  # samples of the commonest class for one of the rarest
    objects_a_photo: float  # to draw a box round, on average; 0 in a study of classes
    balanced: "Answer | None" = None  # by balanced accuracy, where that may be another answer

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
    score on the largest subset: what the next photos could bring.
    """
    choice = choose_strategy(learnings)
    best = choice.best
    reached = float(1 - best.error[0, best.largest])
    auto = wanted.target_accuracy == "auto"
    objects_a_photo = best.tallies[best.largest].objects_a_photo
    cost_per_photo = wanted.cost_per_photo + objects_a_photo * wanted.cost_per_box
    target = min(round(reached + 0.01, 3), 1.0) if auto else float(wanted.target_accuracy)
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
        more_samples=extrapolate(best, samples=2, angles=1),
        more_angles=extrapolate(best, samples=1, angles=2),
        plan=find_plan(best, target, wanted.cost_per_sample, cost_per_photo),
        target=target,
        trained_share=trained_share,
        ceiling=find_ceiling(best),
        extrapolates=best.curves is not None,
        smallest=float(1 - best.error[0, best.photos.argmin()]),
        most_angles=int(best.angles.max()),
        rules=rules_of_thumb(best, learnings),
        imbalance=best.tallies[0].imbalance,
        objects_a_photo=objects_a_photo,
    )
