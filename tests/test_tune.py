"""Learning rates that validation chooses."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import PARAMS, make_cell

from shotcount.core import tables
from shotcount.core.study import StudySettings
from shotcount.training import tune
from shotcount.training.budgets import Rates
from shotcount.training.loop import DivergedError
from shotcount.training.setup import Setup

STUDY = PARAMS.study.model_copy(update={"samples": [0.5, 1.0], "angles": [1, 2]})
ONE = PARAMS.parallel.model_copy(update={"threads": 1, "networks": 1})


def settings(strategy: str, **changes: object) -> Any:
    return getattr(PARAMS.train, strategy).model_copy(update=changes)


def small_cell(strategy: str, networks: int = 1, **changes: object) -> Setup:
    parallel = ONE.model_copy(update={"networks": networks})
    return make_cell(strategy, parallel, "test_resnet", epochs=0.01, min_steps=2, **changes)


def search(
    monkeypatch: pytest.MonkeyPatch,
    loss: Callable[[Rates, int], float],
    luck: Callable[[Rates, int], float] = lambda rates, seed: 0.0,
    **changes: object,
) -> tuple[Rates, pd.DataFrame]:
    """Tune where a trial of these rates for these steps would end with this loss.

    A seed with `luck` ends that far below it.
    """

    def trial(
        setup: Setup,
        study: StudySettings,
        steps: int,
        folder: Path,
        job: tuple[Rates, int],
        report: object,
    ) -> dict[str, float]:
        rates, seed = job
        own = loss(rates, steps) - luck(rates, seed)
        return {"steps": steps, "val_loss": own, "val_accuracy": 0.5 + 0.2 * seed}

    monkeypatch.setattr(tune, "_trial", trial)
    return tune.tune(small_cell("scratch", **changes), STUDY, Path())


def distance(best: float) -> Callable[[Rates, int], float]:
    """The loss of a strategy with one best learning rate."""
    return lambda rates, steps: abs(math.log(rates.learning_rate / best)) + 1 / steps


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_both_strategies_get_the_same_number_of_trials(optimizer: str) -> None:
    scratch, finetune = (
        tune.first_rates(settings(strategy, optimizer=optimizer))
        for strategy in ("scratch", "finetune")
    )
    assert len(set(scratch)) == len(set(finetune)) == tune.TRIALS
    assert {rates.backbone_rate for rates in scratch} == {1.0}
    assert {rates.backbone_rate for rates in finetune} == set(tune.BACKBONE_RATES)


def test_what_params_yaml_fixes_is_not_tried(tmp_path: Path) -> None:
    fixed = {"learning_rate": 0.002, "backbone_rate": 0.3}
    cell = small_cell("finetune", **fixed)
    rates, trials = tune.tune(cell, STUDY, tmp_path)
    assert rates == Rates(0.002, 0.3)
    assert trials.empty
    assert list(trials.columns) == list(tables.TRIALS)
    assert tune.first_rates(settings("scratch", learning_rate=0.002)) == [Rates(0.002, 1.0)]
    some = tune.first_rates(settings("finetune", learning_rate=0.002))
    assert some == [Rates(0.002, rate) for rate in tune.BACKBONE_RATES]
    others = tune.first_rates(settings("finetune", backbone_rate=0.3))
    assert len(others) == tune.TRIALS
    assert {rates.backbone_rate for rates in others} == {0.3}


def test_the_best_of_the_short_trials_are_tried_for_longer(monkeypatch) -> None:
    tried = tune.first_rates(settings("scratch"))
    early, late = tried[2], tried[3]

    def loss(rates: Rates, steps: int) -> float:
        best = early if steps == tune.STEPS[0] else late
        return distance(best.learning_rate)(rates, steps)

    rates, trials = search(monkeypatch, loss)
    assert rates == late
    short, long = (trials[trials["steps"] == steps] for steps in tune.STEPS)
    assert short["learning_rate"].tolist() == [each.learning_rate for each in tried]
    promoted = short.nsmallest(tune.PROMOTED, "val_loss")
    assert set(long["learning_rate"]) == set(promoted["learning_rate"])
    assert len(trials) == tune.TRIALS + tune.PROMOTED


@pytest.mark.parametrize("place", [0, -1])
def test_the_search_goes_on_from_a_rate_at_the_edge(monkeypatch, place: int) -> None:
    edge = tune.first_rates(settings("scratch"))[place].learning_rate
    beyond = edge * (tune.FACTOR**2 if place else tune.FACTOR**-2)
    rates, trials = search(monkeypatch, distance(beyond))
    assert rates.learning_rate == pytest.approx(beyond, rel=0.1)
    assert len(trials) == tune.TRIALS + tune.PROMOTED + 3  # until one is worse again


def test_the_search_ends_even_if_each_further_rate_is_better(monkeypatch) -> None:
    rates, trials = search(monkeypatch, distance(1e9))
    assert rates.learning_rate == trials["learning_rate"].max()
    assert len(trials) == tune.TRIALS + tune.PROMOTED + tune.FURTHER


@pytest.mark.parametrize(
    ("strategy", "losses", "chosen"),
    [
        ("finetune", {(3e-4, 1.0): 0.40, (1e-3, 1.0): 0.41, (3e-3, 1.0): 0.43}, (1e-3, 1.0)),
        ("finetune", {(3e-4, 1.0): 0.40, (1e-3, 1.0): 0.43, (3e-3, 1.0): 0.41}, (3e-3, 1.0)),
        # The backbone's rate counts: it is higher, it is as high.
        ("finetune", {(3e-4, 1.0): 0.40, (1e-3, 0.1): 0.40}, (3e-4, 1.0)),
        ("finetune", {(3e-4, 1.0): 0.41, (3e-3, 0.1): 0.40}, (3e-3, 0.1)),
        ("finetune", {(3e-4, 1.0): 0.40, (1e-3, 1.0): math.inf}, (3e-4, 1.0)),
        ("frozen", {(3e-4, 1.0): 0.40, (1e-3, 1.0): 0.41, (3e-3, 1.0): 0.43}, (1e-3, 1.0)),
        ("scratch", {(3e-4, 1.0): 0.40, (1e-3, 1.0): 0.401, (3e-3, 1.0): 0.43}, (3e-4, 1.0)),
        ("scratch", {(3e-4, 1.0): 0.40, (1e-3, 1.0): 0.39, (3e-3, 1.0): 0.43}, (1e-3, 1.0)),
        ("scratch", {(3e-4, 1.0): math.inf, (1e-3, 1.0): math.inf}, (1e-3, 1.0)),  # all diverged
    ],
)
def test_of_rates_that_do_as_well_the_highest_is_chosen_but_not_from_scratch(
    strategy: str, losses: dict[tuple[float, float], float], chosen: tuple[float, float]
) -> None:
    rows = [(*pair, tune.STEPS[1], loss, 0.5) for pair, loss in losses.items()]
    rows.append((1e-2, 1.0, tune.STEPS[0], 0.3, 0.5))  # a short trial doesn't count
    best = tables.best_trial(pd.DataFrame(rows, columns=list(tables.TRIALS)), strategy)
    assert (best["learning_rate"], best["backbone_rate"]) == chosen


def test_a_rate_is_judged_by_the_mean_of_two_seeds(monkeypatch) -> None:
    best = distance(1e-3)
    bad = tune.first_rates(settings("scratch"))[-1]

    def luck(rates: Rates, seed: int) -> float:
        return 1.5 * best(rates, 1) if (rates, seed) == (bad, 0) else 0.0

    rates, trials = search(monkeypatch, best, luck, seeds=3)
    assert rates.learning_rate == 1e-3
    assert (trials["val_accuracy"] == 0.6).all()  # 0.5 and 0.7
    assert search(monkeypatch, best, luck, seeds=1)[0] == bad


def test_rates_with_which_training_diverges_lose(monkeypatch, tmp_path: Path) -> None:
    fit = tune.fit

    def fragile(setup: Setup, *arguments: Any) -> Any:
        if setup.rates.learning_rate > 2e-4:
            raise DivergedError("training diverged")
        return fit(setup, *arguments)

    monkeypatch.setattr(tune, "fit", fragile)
    rates, trials = tune.tune(small_cell("scratch"), STUDY, tmp_path)
    diverged = trials[trials["learning_rate"] > 2e-4]
    assert len(diverged)
    assert (diverged["val_loss"] == math.inf).all()
    assert rates.learning_rate <= 2e-4


@pytest.mark.usefixtures("forkserver")
def test_trials_are_short_and_the_same_side_by_side(tmp_path: Path) -> None:
    found = []
    for networks in (1, 2):
        cell = small_cell("finetune", networks, init_head="zeros")
        found.append(tune.tune(cell, STUDY, tmp_path))
    assert found[0][0] == found[1][0]
    pd.testing.assert_frame_equal(found[0][1], found[1][1])
    trials = found[0][1]
    tables.write(tmp_path / "trials.csv", trials, tables.TRIALS)
    pd.testing.assert_frame_equal(tables.read(tmp_path / "trials.csv", tables.TRIALS), trials)
    assert set(trials["steps"]) == {2}  # the strategy's own maximum
    assert not list(tmp_path.glob("*.pt"))
