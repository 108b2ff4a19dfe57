"""Sizes of a study that fit a collection: folds, subsets, seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from shotcount.core.study import sample_count
from shotcount.params import Params
from shotcount.sampling.settings import SplitSettings
from shotcount.sampling.splits import split_samples

FOLDS = 3, 5  # fewest and most; of boxes, whose networks take longer, always the fewest
LADDER = (1, 2, 3, 5, 10, 20, 50, 100)  # sizes of the frozen grid, in angles
GRID = 5  # of them, at most
SHARES = (0.0625, 0.125, 0.25, 0.5, 1.0)  # of the training samples
FINEST, MANY = SHARES[0], 400  # the smallest share is for so many training samples or more
BETWEEN = (0.18, 0.35, 0.7)  # more of them, where there is one angle
FROZEN_SEEDS = 10  # or twice the folds, if that is no multiple of them


def fold_count(samples_of_rarest: int) -> int:
    """Return the number of folds: five, or fewer where the rarest class has fewer samples.

    >>> fold_count(40), fold_count(4), fold_count(2)
    (5, 4, 3)
    """
    return min(max(samples_of_rarest, FOLDS[0]), FOLDS[1])


def split_settings(
    photos: pd.DataFrame, splits: Mapping[str, Any], params: Params, boxes: bool
) -> dict[str, Any]:
    """Return the settings of the split: ready-made splits, or folds.

    Parameters
    ----------
    photos : DataFrame
        Columns label and sample.
    splits : mapping
        Values of split.val and split.test of ready-made splits; empty: folds.
    params : Params
        Their split.val stays, unless it is the name of a split.
    boxes : bool
        Whether the study is about boxes.
    """
    if splits:
        return {"split.folds": None, "split.test": splits["test"], "split.val": splits["val"]}
    val = params.split.val if isinstance(params.split.val, float) else 0.15
    rarest = int(photos.groupby("label")["sample"].nunique().min())
    folds = FOLDS[0] if boxes else fold_count(rarest)
    return {"split.folds": folds, "split.test": None, "split.val": val}


def seed_settings(folds: int | None, params: Params, boxes: bool) -> dict[str, Any]:
    """Return the seeds of the strategies, each a multiple of the folds, and as many draws.

    A detector's frozen head is trained, not solved, so that it gets no more seeds than the others.
    """
    trained = folds or (FOLDS[0] if boxes else FOLDS[1])
    solved = FROZEN_SEEDS if FROZEN_SEEDS % trained == 0 else 2 * trained
    frozen = trained if boxes else solved
    seeds = {"scratch": trained, "frozen": frozen, "finetune": trained}
    draws = max(seeds[strategy] for strategy in params.study.strategies)
    return {f"train.{name}.seeds": count for name, count in seeds.items()} | {"study.draws": draws}


def study_sizes(train: pd.DataFrame) -> dict[str, Any]:
    """Return the sizes of the study that its training splits can fill.

    Parameters
    ----------
    train : DataFrame
        The training splits of all seeds: columns seed, label, sample.

    Returns
    -------
    dict
        study.samples and study.angles, the largest first (they are trained in this order), and
        those of study.frozen_grid.
    """
    angles_of = train.groupby(["seed", "sample"]).size()
    available = int(angles_of.groupby("seed").size().min())
    # Half of the samples have so many angles or more.
    most = min(int(angles_of.median()), int(angles_of.groupby("seed").max().min()))
    classes = train["label"].nunique()
    angles = angle_sizes(most)
    samples = _shares([1.0] if most > 1 else SHARES[1:], available, classes)
    grid = [share for share in SHARES if available >= MANY or share > FINEST]
    if most == 1:
        grid = sorted({*grid, *BETWEEN})
    return {
        "study.samples": samples[::-1],
        "study.angles": angles[::-1],
        "study.frozen_grid.samples": _shares(grid, available, classes, samples),
        "study.frozen_grid.angles": angle_grid(most),
    }


def angle_sizes(most: int) -> list[int]:
    """Return one, a middle number and all of the angles of a sample.

    >>> angle_sizes(1), angle_sizes(2), angle_sizes(10), angle_sizes(41)
    ([1], [1, 2], [1, 3, 10], [1, 5, 41])
    """
    between = [size for size in LADDER if 1 < size < most]
    middle = [min(between, key=lambda size: abs(size**2 - most))] if between else []
    return sorted({1, *middle, most})


def angle_grid(most: int) -> list[int]:
    """Return the angles of the frozen grid.

    >>> angle_grid(1), angle_grid(10), angle_grid(41)
    ([1], [1, 2, 3, 5, 10], [1, 3, 5, 10, 41])
    """
    ladder = [*(size for size in LADDER if size < most), most]
    step = max(1.0, (len(ladder) - 1) / (GRID - 1))
    places = {round(n * step) for n in range(GRID) if round(n * step) < len(ladder)}
    return [ladder[place] for place in sorted(places)]


def _shares(
    shares: Sequence[float], available: int, classes: int, known: Sequence[float] = ()
) -> list[float]:
    """Return the shares that are different numbers of samples, at least one of each class."""
    counts: dict[int, float] = {sample_count(share, available): share for share in known}
    for share in sorted(shares, reverse=True):
        count = sample_count(share, available)
        if count >= classes:
            counts.setdefault(count, share)
    return sorted(counts.values())


def fit_sizes(
    photos: pd.DataFrame, splits: Mapping[str, Any], params: Params, boxes: bool = False
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Return the settings of split, study and seeds that fit a collection, and its splits.

    Parameters
    ----------
    photos : DataFrame
        Columns label, sample, given_split.
    splits, params, boxes
        As for `split_settings`.

    Raises
    ------
    UserError
        If a class has too few samples.
    """
    settings = split_settings(photos, splits, params, boxes)
    settings |= seed_settings(settings["split.folds"], params, boxes)
    wanted = SplitSettings(
        folds=settings["split.folds"], test=settings["split.test"], val=settings["split.val"],
        seed=params.split.seed,
    )  # fmt: skip
    parts = split_samples(photos, wanted, settings["study.draws"])
    return settings | study_sizes(parts["train"]), parts
