"""Whether training had converged, and what the report says where it had not."""

import pandas as pd
import pytest

from shotcount.core import tables
from shotcount.findings.compare import why_unsettled

AUTO = {"schedule": "auto", "epochs": 10.0, "min_steps": 100}
NO_TRIALS = pd.DataFrame(columns=list(tables.TRIALS))


def history(*runs: list[tuple[int, float]]) -> pd.DataFrame:
    """Looks (step, validation loss) of each seed."""
    return pd.DataFrame(
        [
            {"seed": seed, "step": step, "val_loss": loss}
            for seed, looks in enumerate(runs)
            for step, loss in looks
        ]
    )


def model(most_steps: int = 100, **settings: object) -> dict[str, object]:
    return {"strategy": "finetune", "most_steps": most_steps, "settings": AUTO | settings}


def trials(*losses: float, steps: int = 240) -> pd.DataFrame:
    """One trial for each loss, from the lowest rate to the highest."""
    rates = [10.0**-place for place in range(len(losses), 0, -1)]
    made = pd.DataFrame({"learning_rate": rates, "val_loss": losses})
    return made.assign(backbone_rate=1.0, steps=steps, val_accuracy=0.5)


def test_training_that_validation_ended_is_settled() -> None:
    looks = history([(0, 0.7), (40, 0.4), (80, 0.5)])
    assert why_unsettled(model(), looks, trials(0.5, 0.4, 0.6)) == []


@pytest.mark.parametrize(("most", "named"), [(100, "min_steps"), (250, "epochs")])
def test_training_that_its_maximum_ended_names_the_parameter(most: int, named: str) -> None:
    looks = history([(0, 0.7), (most, 0.4)])
    assert why_unsettled(model(most), looks, NO_TRIALS) == [f"train.finetune.{named}"]


def test_most_seeds_decide() -> None:
    ended, cut_short = [(0, 0.7), (80, 0.5)], [(0, 0.7), (100, 0.4)]
    assert not why_unsettled(model(), history(ended, ended, cut_short), NO_TRIALS)
    assert why_unsettled(model(), history(ended, cut_short, cut_short), NO_TRIALS)


@pytest.mark.parametrize(("losses", "settled"), [((0.4, 0.5), False), ((0.5, 0.4, 0.45), True)])
def test_a_fixed_schedule_is_settled_if_its_last_look_is_not_the_best(
    losses: tuple[float, ...], settled: bool
) -> None:
    looks = history([(10 * place, loss) for place, loss in enumerate(reversed(losses))])
    own = model(20, schedule="cosine")
    assert (why_unsettled(own, looks, NO_TRIALS) == []) == settled


@pytest.mark.parametrize("losses", [(0.3, 0.4, 0.5), (0.5, 0.4, 0.3)])
def test_a_rate_at_the_edge_of_those_tried_is_named(losses: tuple[float, ...]) -> None:
    looks = history([(0, 0.7), (80, 0.5)])
    assert why_unsettled(model(), looks, trials(*losses)) == ["train.finetune.learning_rate"]


def test_only_the_longest_trials_choose_the_rate() -> None:
    looks = history([(0, 0.7), (80, 0.5)])
    short, long = trials(0.1, 0.4, 0.5, steps=60), trials(0.5, 0.3, 0.4)
    assert why_unsettled(model(), looks, pd.concat([short, long], ignore_index=True)) == []


def test_a_solved_head_is_settled() -> None:
    own = {"strategy": "frozen", "most_steps": 1, "settings": {"seeds": 10}}
    assert why_unsettled(own, history([(0, 0.5)]), NO_TRIALS) == []
