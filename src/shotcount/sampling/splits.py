"""Split a collection into train, validation and test by physical sample.

Photos of one sample are nearly copies: a split by photo would test on what was trained on.
"""

import numpy as np
import pandas as pd

from shotcount.core.errors import UserError
from shotcount.core.seeds import seed_for


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
        to the photos of a ready-made split, in any case. Fractions refer to all other samples.
    seed : int
        Decides which samples go where.

    Returns
    -------
    dict of str to DataFrame
        train, val, test: the rows of `photos` in each, in their order.

    Raises
    ------
    UserError
        If a class would be missing from a split, or a sample would be in two.
    """
    samples = photos.drop_duplicates("sample").set_index("sample")
    if samples["label"].nunique() < 2:
        only = samples["label"].iloc[0]
        raise UserError(f"data.path: all photos are of one class, {only!r}: two or more are needed")
    given_splits = photos.groupby("sample")["given_split"].nunique()
    if (given_splits > 1).any():
        raise UserError(
            f"data.pattern: sample {given_splits.idxmax()!r} has photos in two ready-made splits: "
            "photos of one sample must stay together"
        )
    home = _assign(samples, {"val": val, "test": test}, seed)
    counts = pd.crosstab(samples["label"], home).reindex(columns=["train", "val", "test"])
    for label, row in counts.fillna(0).iterrows():
        for split, count in row.items():
            if count < 1:
                raise UserError(
                    f"split: class {label!r} ({int(row.sum())} sample(s)) has none for {split}: "
                    "photograph more samples of it, or change split.val and split.test"
                )
    homes = photos["sample"].map(home)
    return {split: photos[homes == split] for split in ("train", "val", "test")}


def _assign(samples: pd.DataFrame, parts: dict[str, float | str], seed: int) -> pd.Series:
    """Return the split of every sample: ready-made splits first, then fractions of the others."""
    home = pd.Series("train", index=samples.index)
    for split, part in parts.items():
        if isinstance(part, str):
            given = samples["given_split"].str.lower() == part.lower()
            if not given.any():
                read = ", ".join(sorted(set(samples["given_split"]) - {""})) or "nothing"
                raise UserError(
                    f"split.{split}: no photo's `split` group reads {part!r}, but {read}: give one "
                    "of these, a fraction, or fix data.pattern"
                )
            home[given] = split
    for label, members in samples[home == "train"].groupby("label"):
        rng = np.random.default_rng(seed_for("split", seed, str(label)))
        order = rng.permutation(members.index.to_numpy())
        start = 0
        for split, part in parts.items():
            if isinstance(part, float):
                count = max(1, round(part * len(members)))
                home[order[start : start + count]] = split
                start += count
    return home
