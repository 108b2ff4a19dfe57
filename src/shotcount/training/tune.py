"""Choose a strategy's learning rates by validation, on its largest cell.

Many rates are tried for a short time, the best of them for a longer one (successive halving:
Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016). Every strategy gets the same number of trials.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd

from shotcount.core import tables
from shotcount.core.progress import Meter
from shotcount.core.study import StudySettings, available_samples, largest_size, take_subset
from shotcount.parallel.side_by_side import Report, network_count, run_side_by_side
from shotcount.training.budgets import Rates, training_steps
from shotcount.training.cells import build_run, fit
from shotcount.training.loop import DivergedError
from shotcount.training.settings import FineTuningSettings, FrozenSettings, TrainingSettings
from shotcount.training.setup import Setup

TRIALS = 6
SEEDS = 2  # of each trial, at most; one alone may do well by luck with a rate that is bad
STEPS = 60, 240  # of the trials in the two rounds
PROMOTED = 3  # trials of the first round that enter the second
FURTHER = 4  # trials beyond the lowest or highest rate, at most
FACTOR = 10**0.5  # between neighbouring rates
MIDDLE = {"adamw": 1e-3, "sgd": 1e-2}  # rate around which the search begins
BACKBONE_RATES = 1.0, 0.1


def first_rates(settings: TrainingSettings) -> list[Rates]:
    """List the rates that are tried first; just one if params.yaml leaves nothing to choose."""
    backbone: Sequence[float] = (1.0,)
    if isinstance(settings, FineTuningSettings):
        own = settings.backbone_rate
        backbone = BACKBONE_RATES if own == "auto" else (own,)
    if settings.learning_rate != "auto":
        return [Rates(settings.learning_rate, rate) for rate in backbone]
    count, middle = TRIALS // len(backbone), MIDDLE[settings.optimizer]
    rates = [_rounded(middle * FACTOR ** (i - (count - 1) // 2)) for i in range(count)]
    return [Rates(*pair) for pair in product(rates, backbone)]


def trial_seeds(settings: TrainingSettings | FrozenSettings) -> int:
    """Return how many seeds train in each trial."""
    return min(SEEDS, settings.seeds)


def tune(setup: Setup, study: StudySettings, checkpoints: Path) -> tuple[Rates, pd.DataFrame]:
    """Choose the rates with which the largest cell's first seeds have the lowest validation loss;
    see `core.tables.best_trial`.

    If the best learning rate is the lowest or the highest one tried, those beyond it are tried.

    Parameters
    ----------
    setup : Setup
        Of a strategy that trains step by step. Its own rates are not used.
    study : StudySettings
    checkpoints : Path
        A folder for checkpoints of the trials.

    Returns
    -------
    Rates
    DataFrame
        The trials, with the columns of `core.tables.TRIALS`; none if there was nothing to choose.
    """
    assert isinstance(setup.settings, TrainingSettings)
    rates = first_rates(setup.settings)
    if len(rates) == 1:
        return rates[0], pd.DataFrame(columns=list(tables.TRIALS))
    short, long = (trial_seeds(setup.settings) * steps for steps in STEPS)
    most = TRIALS * short + (PROMOTED + FURTHER) * long
    with Meter(f"tune {setup.strategy}", most, "step", at_most=True) as meter:
        early = _try(setup, study, rates, STEPS[0], checkpoints, meter, 0)
        promoted = [_rates(row) for _, row in early.nsmallest(PROMOTED, "val_loss").iterrows()]
        late = _try(setup, study, promoted, STEPS[1], checkpoints, meter, TRIALS * short)
        trials = pd.concat([early, late], ignore_index=True)
        for further in range(FURTHER):
            beyond = _beyond(trials, setup)
            if beyond is None:
                break
            gone = TRIALS * short + (PROMOTED + further) * long
            one = _try(setup, study, [beyond], STEPS[1], checkpoints, meter, gone)
            trials = pd.concat([trials, one], ignore_index=True)
        meter.show(most)
    return _rates(tables.best_trial(trials, setup.strategy)), trials


def _beyond(trials: pd.DataFrame, setup: Setup) -> Rates | None:
    """Return the rates to try next if the best rate lies at an edge of those tried."""
    assert isinstance(setup.settings, TrainingSettings)
    best = _rates(tables.best_trial(trials, setup.strategy))
    tried = trials["learning_rate"]
    if setup.settings.learning_rate != "auto" or tried.min() < best.learning_rate < tried.max():
        return None
    factor = FACTOR if best.learning_rate == tried.max() else 1 / FACTOR
    return Rates(_rounded(best.learning_rate * factor), best.backbone_rate)


def _try(
    setup: Setup,
    study: StudySettings,
    rates: Sequence[Rates],
    steps: int,
    checkpoints: Path,
    meter: Meter,
    gone: int,
) -> pd.DataFrame:
    """Train with each of `rates` for `steps` steps; return the rows of `tables.TRIALS`.

    A row is the mean over the seeds.
    """
    compute = setup.compute
    jobs = list(product(rates, range(trial_seeds(setup.settings))))
    shares, looks = [0.0] * len(jobs), {}

    def show(job: int, share: float) -> None:
        shares[job] = share
        meter.show(gone + round(steps * sum(shares)))

    for job, look in run_side_by_side(
        partial(_trial, setup, study, steps, checkpoints),
        jobs,
        network_count(compute.parallel, compute.device),
        compute.parallel.threads,
        compute.device,
        show,
    ):
        show(job, 1.0)
        looks[jobs[job]] = look
    trials = pd.DataFrame([each._asdict() | looks[each, seed] for each, seed in jobs])
    means = trials.groupby(list(Rates._fields), sort=False, as_index=False).mean()
    return means.astype({"steps": "int64"})


def _trial(
    setup: Setup,
    study: StudySettings,
    steps: int,
    checkpoints: Path,
    job: tuple[Rates, int],
    report: Report,
) -> dict[str, float]:
    """Train one seed; return its last look at validation."""
    assert isinstance(setup.settings, TrainingSettings)
    rates, seed = job
    samples, angles = largest_size(study, available_samples(setup.subsets))
    subset = take_subset(setup.subsets, samples, angles)
    own = setup.settings
    photos = len(tables.of_seed(subset, 0))
    most = training_steps(photos, own.batch_size, own.epochs, own.min_steps)
    short = {"epochs": 1e-9, "min_steps": min(steps, most), "schedule": "auto"}
    trial = replace(setup, settings=own.model_copy(update=short), rates=rates)
    run = build_run(trial, {"samples": samples, "angles": angles}, subset, seed)
    # Only the last look counts. The first one, before any training, is the same for all rates.
    run = replace(run, key=(*run.key, "tune", str(rates), steps), on_the_way=False)
    look = {"steps": min(steps, most)}
    try:
        _, history = fit(
            trial, run, checkpoints, 1, lambda state, total: report(state.step / total)
        )
    except DivergedError:
        return look | {"val_loss": math.inf, "val_accuracy": 0.0}
    return look | history.iloc[-1][["val_loss", "val_accuracy"]].to_dict()


def _rates(row: pd.Series) -> Rates:
    return Rates(float(row["learning_rate"]), float(row["backbone_rate"]))


def _rounded(rate: float) -> float:
    return float(f"{rate:.0e}")
