"""What validation in the folds decides for the network to keep."""

import numpy as np
import pandas as pd

from shotcount.networks.heads import Strength
from shotcount.training.budgets import training_steps
from shotcount.training.cells import training_photos, validation_photos
from shotcount.training.frozen import solve
from shotcount.training.loop import Decided
from shotcount.training.settings import TrainingSettings
from shotcount.training.setup import Setup


def of_common_seeds(kept: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the seeds that all strategies have.

    Each seed validates with samples of its own, which may be easier than another's. So strategies
    are compared by the same seeds.
    """
    strategies = kept.groupby("seed")["strategy"].transform("nunique")
    return kept[strategies == kept["strategy"].nunique()]


def choose(kept: pd.DataFrame) -> str:
    """Choose the strategy with the lowest validation loss, the mean over the seeds.

    By its best seed, the strategy with the most seeds would tend to win. The test split is not
    used: the best of several strategies on it owes part of its lead to chance, so its reported
    accuracy would be too high (Cawley and Talbot, "On over-fitting in model selection and
    subsequent selection bias in performance evaluation", JMLR 2010). Loss is used instead of
    accuracy, since accuracies on a small validation split often tie.

    Parameters
    ----------
    kept : DataFrame
        The look of each network whose weights were kept, with the columns strategy and val_loss.
        Every strategy has the same seeds.

    Returns
    -------
    str
        The first one, if several are equal.
    """
    return str(kept.groupby("strategy", sort=False)["val_loss"].mean().idxmin())


def decide(setup: Setup, photos: int, kept: pd.DataFrame) -> Decided:
    """Return when to stop training on all photos, and how certain to be.

    With `schedule: auto`, it stops at the step whose network was kept in the folds, the median
    over the seeds. This step is not scaled with the number of photos: at a constant rate, an
    averaged network hardly changes with a few steps more or less, and the seeds differ by far more
    than the half that is added to the photos. A fixed schedule takes its own number of steps.

    Parameters
    ----------
    setup : Setup
        Of the chosen strategy.
    photos : int
        Number of photos to train on.
    kept : DataFrame
        The chosen strategy's rows, as for `choose`, with the columns step and factor.
    """
    own = setup.settings
    assert isinstance(own, TrainingSettings)
    steps = round(kept["step"].median())
    if own.schedule != "auto":
        steps = training_steps(photos, own.batch_size, own.epochs, own.min_steps)
    return Decided(steps, _median(kept["factor"].to_numpy()))


def decide_strength(setup: Setup, subset: pd.DataFrame) -> Strength:
    """Solve the head of every seed again, and return the medians of what validation chose.

    The penalty is not scaled with the number of photos: against their summed loss it weighs the
    less, the more there are, as a prior does.

    Parameters
    ----------
    setup : Setup
        Of the chosen strategy.
    subset : DataFrame
        Its largest subset for every seed, with the columns `SUBSETS` of core.tables.
    """
    found = [
        solve(setup, training_photos(setup, subset, seed), validation_photos(setup, seed)).strength
        for seed in range(setup.settings.seeds)
    ]
    return Strength(*(_median(np.array(values)) for values in zip(*found, strict=True)))


def _median(scales: np.ndarray) -> float:
    """Return the median of positive numbers; of two in the middle, their geometric mean."""
    return float(np.exp(np.median(np.log(scales))))
