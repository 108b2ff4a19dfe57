"""Who trains, who validates, who tests: by physical sample. And subsets of those who train.

Photos of one sample are near copies; a split by photo would test on what was trained on.
"""

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from shotcount.errors import UserError
from shotcount.params import Study
from shotcount.seeds import seed_for

# ---------------------------------------------------------------------------- splits


def split_samples(
    photos: pd.DataFrame, val: float | str, test: float | str, seed: int
) -> dict[str, pd.DataFrame]:
    """Split a collection by sample, stratified by class.

    Parameters
    ----------
    photos : DataFrame
        The manifest.
    val, test : float or str
        A fraction of each class's samples, or the name that the pattern's group `split` gives
        to the photos of a ready-made split. Fractions are of the samples not so given.
    seed : int
        Draws which samples go where.

    Returns
    -------
    dict of str to DataFrame
        train, val, test: the rows of `photos` in each, in their order.

    Raises
    ------
    UserError
        If a class would be missing from a split, or a sample stand in two.
    """
    samples = photos.drop_duplicates("sample").set_index("sample")
    if samples["label"].nunique() < 2:
        only = samples["label"].iloc[0]
        raise UserError(f"data.path: all photos are of one class, {only!r}: two or more are needed")
    astray = photos.groupby("sample")["given_split"].nunique()
    if (astray > 1).any():
        raise UserError(
            f"data.pattern: sample {astray.idxmax()!r} has photos in two ready-made splits: "
            "photos of one sample must stay together"
        )
    home = pd.Series("train", index=samples.index)
    for split, part in (("val", val), ("test", test)):
        if isinstance(part, str):
            given = samples["given_split"] == part
            if not given.any():
                raise UserError(
                    f"split.{split}: no photo's `split` group reads {part!r}: "
                    "give a fraction, or mend data.pattern"
                )
            home[given] = split

    free = samples[home == "train"]
    for label, members in free.groupby("label"):
        rng = np.random.default_rng(seed_for("split", seed, str(label)))
        order = rng.permutation(members.index.to_numpy())
        start = 0
        for split, part in (("val", val), ("test", test)):
            if isinstance(part, float):
                count = max(1, round(part * len(members)))
                home[order[start : start + count]] = split
                start += count

    sizes = pd.crosstab(samples["label"], home).reindex(columns=["train", "val", "test"])
    for label, row in sizes.fillna(0).iterrows():
        for split, count in row.items():
            if count < 1:
                total = int(row.sum())
                raise UserError(
                    f"split: class {label!r} ({total} sample(s)) has none for {split}: "
                    "photograph more samples of it, or change split.val and split.test"
                )
    homes = photos["sample"].map(home)
    return {split: photos[homes == split] for split in ("train", "val", "test")}


def check_apart(seen: list[str], test: pd.DataFrame, model: Path) -> None:
    """Refuse to test a model on samples that it was trained or chosen on.

    Raises
    ------
    UserError
        Naming the model and a sample.
    """
    if both := sorted(set(seen) & set(test["sample"])):
        raise UserError(
            f"{model} has seen {len(both)} sample(s) of the test split in training, {both[0]!r} "
            "first: make it anew with `dvc repro --force` and the name of its stage"
        )


# ---------------------------------------------------------------------------- subsets


@cache
def farthest_first(count: int, start: int) -> tuple[int, ...]:
    """Order positions on a circle so that every prefix is spread as evenly as can be.

    "Evenly spaced k of n" drawn afresh for each k would not nest; prefixes of one order do.
    Greedy: next comes the position farthest from all before it (Gonzalez 1985), the first
    of them on a tie.

    >>> farthest_first(8, start=0)
    (0, 4, 2, 6, 1, 3, 5, 7)
    """
    places, order = np.arange(count), [start % count]
    gaps = np.full(count, count)  # of each position to the nearest so far
    while len(order) < count:
        steps = (places - order[-1]) % count
        gaps = np.minimum(gaps, np.minimum(steps, count - steps))
        order.append(int(gaps.argmax()))
    return tuple(order)


def stratified_order(labels: pd.Series, rng: np.random.Generator) -> np.ndarray:
    """Order samples at random so that every prefix is stratified.

    Parameters
    ----------
    labels : Series of str
        Class of each sample, indexed by sample.

    Returns
    -------
    ndarray of shape (samples,)
        The index in order. The first rows hold one sample of each class; after that, each
        class is dealt out evenly.
    """
    shuffled = labels.iloc[rng.permutation(len(labels))]
    rank = shuffled.groupby(shuffled).cumcount()
    share = (rank + 0.5) / shuffled.groupby(shuffled).transform("size")
    return share.where(rank > 0, -1.0).sort_values(kind="stable").index.to_numpy()


def nested_subsets(train: pd.DataFrame, angle_order: str, draws: int, seed: int) -> pd.DataFrame:
    """Rank the training samples, and the angles of each, anew for every draw.

    The subset of n samples x k angles is what ranks below n and k: smaller subsets lie
    within larger ones, and adding a size to the study changes no other.

    Parameters
    ----------
    train : DataFrame
        The training split, angles of a sample in the order they were shot. They are taken to
        go round the sample.
    angle_order : {"spread", "random"}
        Whether a sample's first angles are far apart on the circle or drawn at random.
    draws : int
        One for each seed of the training.

    Returns
    -------
    DataFrame
        As in `tables.SUBSETS`.
    """
    labels = train.drop_duplicates("sample").set_index("sample")["label"]
    views = train.groupby("sample").indices  # rows of each sample

    def angles(sample: str, draw: int) -> np.ndarray:
        rng, count = (
            np.random.default_rng(seed_for("angles", seed, draw, sample)),
            len(views[sample]),
        )
        if angle_order == "spread":
            return np.array(farthest_first(count, start=int(rng.integers(count))))
        return rng.permutation(count)

    tables = []
    for draw in range(draws):
        rng = np.random.default_rng(seed_for("samples", seed, draw))
        samples = stratified_order(labels, rng)
        orders = [angles(sample, draw) for sample in samples]
        rows = [views[sample][order] for sample, order in zip(samples, orders, strict=True)]
        counts = [len(order) for order in orders]
        tables.append(
            train[["photo", "label", "sample"]]
            .iloc[np.concatenate(rows)]
            .assign(
                seed=draw,
                sample_rank=np.repeat(np.arange(len(samples)), counts),
                angle_rank=np.concatenate([np.arange(count) for count in counts]),
            )
        )
    return pd.concat(tables, ignore_index=True)


def take_subset(subsets: pd.DataFrame, samples: int, angles: int) -> pd.DataFrame:
    """Return the rows of the subset of `samples` samples x `angles` angles, for every seed."""
    return subsets[(subsets["sample_rank"] < samples) & (subsets["angle_rank"] < angles)]


def sample_count(size: int | float, available: int) -> int:
    """Read a size of `study.samples`: an int is a count, a float a fraction of the training
    samples.

    >>> sample_count(0.5, 120), sample_count(12, 120)
    (60, 12)
    """
    return size if isinstance(size, int) else max(1, round(size * available))


def cell_name(size: int | float, angles: int) -> str:
    """Name a cell's folder by the sizes as params.yaml has them.

    >>> cell_name(0.5, 10)
    '0.5x10'
    """
    return f"{size}x{angles}"


def further_cells(study: Study) -> list[tuple[int | float, int]]:
    """List the sizes of study.frozen_grid that the grid of all strategies lacks."""
    shared = set(product(study.samples, study.angles))
    grid = study.frozen_grid
    return [size for size in product(grid.samples, grid.angles) if size not in shared]


def cell_folders(study: Study, strategy: str) -> list[str]:
    """List a strategy's cells by their folders below data/models/<strategy>."""
    names = [cell_name(*size) for size in product(study.samples, study.angles)]
    if strategy == "frozen":
        names += [f"grid/{cell_name(*size)}" for size in further_cells(study)]
    return names


def check_grid(train: pd.DataFrame, study: Study) -> None:
    """Refuse sizes that the training split can't fill.

    Raises
    ------
    UserError
        Naming every such size and what is there.
    """
    views = train.groupby("sample").size()
    classes, available = train["label"].nunique(), len(views)
    largest = max(sample_count(size, available) for size in study.samples)
    counts: dict[int, int | float] = {}
    faults = []
    for name, grid in (("study", study), ("study.frozen_grid", study.frozen_grid)):
        if absent := [str(angles) for angles in grid.angles if angles > views.max()]:
            faults.append(
                f"{name}.angles: {', '.join(absent)} angles asked, but no training sample has more "
                f"than {views.max()}: lower it or photograph more"
            )
        elif (most := max(grid.angles, default=0)) > max(study.angles):
            faults.append(
                f"{name}.angles: {most} goes beyond the largest of study.angles: add it there"
            )
        for size in grid.samples:
            count = sample_count(size, available)
            if not classes <= count <= available:
                faults.append(
                    f"{name}.samples: {size} means {count} training sample(s), but the sizes must "
                    f"lie between {classes} (one of each class) and {available} (all there are)"
                )
            # Beyond it, there would be no strategy to compare with.
            elif count > largest:
                faults.append(
                    f"{name}.samples: {size} goes beyond the largest of study.samples: add it there"
                )
            elif counts.setdefault(count, size) != size:
                faults.append(
                    f"{name}.samples: {size} and {counts[count]} both mean {count} samples: each "
                    "size once, please"
                )
    if faults:
        raise UserError("\n       ".join(faults))
