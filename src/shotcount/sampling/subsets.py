"""Nested subsets of the training samples and of the angles of each."""

from functools import cache

import numpy as np
import pandas as pd

from shotcount.core.seeds import seed_for


@cache
def farthest_first(count: int, start: int) -> tuple[int, ...]:
    """Order positions on a circle so that every prefix is spread as evenly as possible.

    Prefixes of one order are nested; "evenly spaced k of n", computed for each k, would not be.
    Greedy: the next position is the farthest from all before it (Gonzalez 1985), the first one
    on a tie.

    >>> farthest_first(8, start=0)
    (0, 4, 2, 6, 1, 3, 5, 7)
    """
    places, order = np.arange(count), [start % count]
    gaps = np.full(count, count)  # from each position to the nearest one chosen
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


def nested_subsets(train: pd.DataFrame, angle_order: str, seed: int) -> pd.DataFrame:
    """Order each training seed's samples, and the angles of each, independently of other seeds.

    The subset of n samples x k angles has the first n samples and the first k angles of each:
    larger subsets contain smaller ones, and adding a size to the study changes no other.

    Parameters
    ----------
    train : DataFrame
        The training split of every seed (`core.tables.SPLIT`), angles of a sample in the order they
        were shot. They are assumed to go round the sample.
    angle_order : {"spread", "random"}
        Whether a sample's first angles are far apart on the circle or drawn at random.
    seed : int
        The study's.

    Returns
    -------
    DataFrame
        The columns of `core.tables.SUBSETS`. All seeds have equally many samples: folds differ by
        a few, so the last ones of some seeds are left out.
    """
    available = train.groupby("seed")["sample"].nunique().min()
    drawn = [
        _order(own, angle_order, available, seed, int(draw)) for draw, own in train.groupby("seed")
    ]
    return pd.concat(drawn, ignore_index=True)


def _order(
    train: pd.DataFrame, angle_order: str, available: int, seed: int, draw: int
) -> pd.DataFrame:
    """Order the training split of one training seed, `draw`."""
    rows_of = train.groupby("sample").indices  # rows of each sample

    def angles(sample: str) -> np.ndarray:
        rng = np.random.default_rng(seed_for("angles", seed, draw, sample))
        count = len(rows_of[sample])
        if angle_order == "spread":
            return np.array(farthest_first(count, start=int(rng.integers(count))))
        return rng.permutation(count)

    rng = np.random.default_rng(seed_for("samples", seed, draw))
    labels = train.drop_duplicates("sample").set_index("sample")["label"]
    samples = stratified_order(labels, rng)[:available]
    orders = [angles(sample) for sample in samples]
    rows = [rows_of[sample][order] for sample, order in zip(samples, orders, strict=True)]
    counts = [len(order) for order in orders]
    return (
        train[["seed", "photo", "label", "sample"]]
        .iloc[np.concatenate(rows)]
        .assign(
            sample_position=np.repeat(np.arange(len(samples)), counts),
            angle_position=np.concatenate([np.arange(count) for count in counts]),
        )
    )
