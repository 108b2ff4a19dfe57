"""Split a collection into train, validation and test by physical sample.

Photos of one sample are nearly copies: a split by photo would test on what was trained on.
"""

import numpy as np
import pandas as pd

from shotcount.core.errors import UserError
from shotcount.core.seeds import seed_for
from shotcount.sampling.settings import SplitSettings

PARTS = ["train", "val", "test"]


def split_samples(
    photos: pd.DataFrame, wanted: SplitSettings, draws: int
) -> dict[str, pd.DataFrame]:
    """Split a collection by sample, stratified by label, once for each training seed.

    With folds, seed s tests on fold s of a random partition of the samples, so `wanted.folds` seeds
    test every sample once; further seeds use the folds of a new partition. Without, all seeds test
    on the same samples. Each seed draws its own validation split, unless that is ready-made.

    Parameters
    ----------
    photos : DataFrame
        The manifest.
    wanted : SplitSettings
        `val` and `test` are fractions of each class's samples, or the names that the pattern's
        group `split` gives to the photos of a ready-made split, in any case. Fractions refer to
        all other samples.
    draws : int
        Number of training seeds.

    Returns
    -------
    dict of str to DataFrame
        train, val, test: the rows of `photos` in each, in their order, and the column `seed`.

    Raises
    ------
    UserError
        If a class would be missing from a split, or a sample would be in two.
    """
    samples = photos.drop_duplicates("sample").set_index("sample")
    given_splits = photos.groupby("sample")["given_split"].nunique()
    if (given_splits > 1).any():
        raise UserError(
            f"data.pattern: sample {given_splits.idxmax()!r} has photos in two ready-made splits: "
            "photos of one sample must stay together"
        )
    given = _given(samples, wanted)
    rows: dict[str, list[pd.DataFrame]] = {part: [] for part in PARTS}
    for seed in range(draws):
        home = _assign(samples, given, wanted, seed)
        _check_classes(samples["label"], home, wanted)
        homes = photos["sample"].map(home)
        for part, own in rows.items():
            own.append(photos[homes == part].assign(seed=seed))
    return {part: pd.concat(own, ignore_index=True) for part, own in rows.items()}


def _given(samples: pd.DataFrame, wanted: SplitSettings) -> pd.Series:
    """Return the ready-made split of every sample: val, test or, if it has none, train."""
    home = pd.Series("train", index=samples.index)
    for part, name in (("val", wanted.val), ("test", wanted.test)):
        if isinstance(name, str):
            own = samples["given_split"].str.lower() == name.lower()
            if not own.any():
                read = ", ".join(sorted(set(samples["given_split"]) - {""})) or "nothing"
                raise UserError(
                    f"split.{part}: no photo's `split` group reads {name!r}, but {read}: give one "
                    "of these, a fraction, or fix data.pattern"
                )
            home[own] = part
    return home


def _assign(samples: pd.DataFrame, given: pd.Series, wanted: SplitSettings, seed: int) -> pd.Series:
    """Return the split of every sample for one training seed."""
    home = given.copy()
    partition, fold = divmod(seed, wanted.folds) if wanted.folds else (0, 0)
    for label, members in samples[home == "train"].groupby("label"):
        rng = np.random.default_rng(seed_for("test", wanted.seed, partition, str(label)))
        order = rng.permutation(members.index.to_numpy())
        place = np.arange(len(order))
        if wanted.folds:  # classes begin at different folds: small classes don't fill the same one
            held_out = (place + rng.integers(wanted.folds)) % wanted.folds == fold
        elif isinstance(wanted.test, float):
            held_out = place < max(1, round(wanted.test * len(order)))
        else:
            held_out = place < 0  # ready-made
        home[order[held_out]] = "test"
        if isinstance(wanted.val, float):
            rng = np.random.default_rng(seed_for("val", wanted.seed, seed, str(label)))
            count = max(1, round(wanted.val * len(order)))
            home[rng.permutation(order[~held_out])[:count]] = "val"
    return home


def _check_classes(labels: pd.Series, home: pd.Series, wanted: SplitSettings) -> None:
    counts = pd.crosstab(labels, home).reindex(columns=PARTS).fillna(0).astype(int)
    rarest_first = counts.sum(axis=1).sort_values(kind="stable").index
    for label, row in counts.loc[rarest_first].iterrows():
        if wanted.folds and row.sum() < wanted.folds:
            raise UserError(
                f"split.folds: class {label!r} is in {row.sum()} sample(s), fewer than the "
                f"{wanted.folds} folds: photograph more such samples, or lower split.folds"
            )
        for part, count in row.items():
            if count < 1:
                raise UserError(
                    f"split: class {label!r} is in {row.sum()} sample(s), of which none is for "
                    f"{part}: photograph more such samples, or change split.val and split.test"
                )
