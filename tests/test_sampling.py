import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, held_out, make_manifest
from hypothesis import given
from hypothesis import strategies as st

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.core.study import (
    SizeSettings,
    StudyParams,
    StudySettings,
    cell_folders,
    further_cells,
    take_subset,
)
from shotcount.sampling.settings import SplitSettings
from shotcount.sampling.sizes import check_sizes
from shotcount.sampling.splits import split_samples
from shotcount.sampling.subsets import farthest_first, nested_subsets, stratified_order

collections = st.fixed_dictionaries({"a": st.integers(5, 30), "b": st.integers(5, 30)})
seeds = st.integers(0, 2**32)


def for_seeds(photos: pd.DataFrame, count: int) -> pd.DataFrame:
    """The same training split for each of so many seeds."""
    return pd.concat([photos.assign(seed=seed) for seed in range(count)])


# ---- splits -------------------------------------------------------------------------


@given(collections, st.floats(0.05, 0.4), st.floats(0.05, 0.4), seeds)
def test_no_sample_is_in_two_splits_and_none_is_lost(
    samples: dict[str, int], val: float, test: float, seed: int
) -> None:
    photos = make_manifest(samples)
    parts = split_samples(photos, held_out(test, val, seed), 1)
    homes = [set(part["sample"]) for part in parts.values()]
    assert sum(map(len, homes)) == len(set.union(*homes)) == sum(samples.values())
    assert sum(map(len, parts.values())) == len(photos)
    for part in parts.values():
        assert (part.groupby("sample").size() == 4).all()


@given(collections, seeds)
def test_every_split_is_stratified(samples: dict[str, int], seed: int) -> None:
    parts = split_samples(make_manifest(samples), held_out(0.3, seed=seed), 1)
    for label, count in samples.items():
        for split, share in (("val", 0.2), ("test", 0.3)):
            there = parts[split].loc[parts[split]["label"] == label, "sample"].nunique()
            assert abs(there - share * count) <= 1


@pytest.mark.parametrize("wanted", [held_out(), SplitSettings(folds=5, test=None, val=0.2, seed=0)])
def test_adding_a_class_moves_no_sample_of_another(wanted: SplitSettings) -> None:
    few = split_samples(make_manifest({"a": 10, "b": 10}), wanted, 2)
    more = split_samples(make_manifest({"a": 10, "b": 10, "c": 7}), wanted, 2)
    for split in few:
        own, grown = (
            {*zip(p["seed"], p["sample"], strict=True)} for p in (few[split], more[split])
        )
        assert own <= grown


def test_seed_draws_another_split() -> None:
    photos = make_manifest({"a": 20, "b": 20})
    tests = [split_samples(photos, held_out(seed=seed), 1)["test"] for seed in (0, 0, 1)]
    assert tests[0].equals(tests[1])
    assert not tests[0].equals(tests[2])


@given(collections, st.integers(3, 5), seeds)
def test_folds_test_every_sample_once_and_begin_anew_after_the_last(
    samples: dict[str, int], folds: int, seed: int
) -> None:
    photos = make_manifest(samples)
    wanted = SplitSettings(folds=folds, test=None, val=0.2, seed=seed)
    parts = split_samples(photos, wanted, 2 * folds)
    tested = parts["test"].drop_duplicates(["seed", "sample"])
    assert (tested.groupby(["sample", tested["seed"] // folds]).size() == 1).all()
    assert len(tested) == 2 * sum(samples.values())
    for own in range(2 * folds):
        homes = [set(tables.of_seed(part, own)["sample"]) for part in parts.values()]
        assert sum(map(len, homes)) == len(set.union(*homes)) == sum(samples.values())
    for label, count in samples.items():
        sizes = tested[tested["label"] == label].groupby("seed").size()
        assert sizes.min() >= count // folds
        assert sizes.max() <= -(-count // folds)


def test_further_seeds_change_no_split_of_the_others() -> None:
    photos = make_manifest({"a": 12, "b": 12})
    wanted = SplitSettings(folds=3, test=None, val=0.2, seed=0)
    few, more = (split_samples(photos, wanted, draws) for draws in (3, 6))
    for name, part in few.items():
        assert part.equals(more[name][more[name]["seed"] < 3])
    first, second = (set(tables.of_seed(more["test"], seed)["sample"]) for seed in (0, 3))
    assert first != second


def test_folds_leave_a_ready_made_validation_split_alone() -> None:
    photos = make_manifest({"a": 10, "b": 10})
    photos["given_split"] = np.where(photos["sample"].isin(["a/0", "b/7"]), "valid", "")
    parts = split_samples(photos, SplitSettings(folds=4, test=None, val="valid", seed=0), 4)
    assert set(parts["val"]["sample"]) == {"a/0", "b/7"}
    assert parts["test"]["sample"].nunique() == 18


def test_a_class_smaller_than_the_folds_is_named() -> None:
    wanted = SplitSettings(folds=5, test=None, val=0.2, seed=0)
    message = r"split.folds: class 'b' is in 4 sample\(s\), fewer than the 5 folds"
    with pytest.raises(UserError, match=message):
        split_samples(make_manifest({"a": 9, "b": 4}), wanted, 5)


def test_ready_made_test_split_is_kept() -> None:
    photos = make_manifest({"a": 10, "b": 10})
    given_test = photos["sample"].isin(["a/0", "a/1", "b/7"])
    photos["given_split"] = np.where(given_test, "holdout", "train")
    parts = split_samples(photos, held_out("holdout"), 1)
    assert set(parts["test"]["sample"]) == {"a/0", "a/1", "b/7"}
    assert set(parts["val"]["sample"]).isdisjoint({"a/0", "a/1", "b/7"})


@pytest.mark.parametrize(
    ("samples", "val", "test", "message"),
    [
        ({"a": 9, "b": 2}, 0.2, 0.2, r"class 'b' is in 2 sample\(s\), of which none is for train"),
        ({"a": 9, "b": 9}, 0.2, "holdout", "split.test: no photo's `split` group reads 'holdout'"),
    ],
)
def test_what_cannot_be_split_is_refused(samples, val, test, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_samples(make_manifest(samples), held_out(test, val), 1)


def test_a_sample_in_two_ready_made_splits_is_refused() -> None:
    photos = make_manifest({"a": 5, "b": 5})
    photos.loc[0, "given_split"] = "test"
    with pytest.raises(UserError, match="sample 'a/0' has photos in two ready-made splits"):
        split_samples(photos, held_out("test"), 1)


# ---- subsets ------------------------------------------------------------------------


@given(
    collections, st.sampled_from(["spread", "random"]), seeds, st.integers(1, 20), st.integers(1, 3)
)
def test_subsets_are_nested(samples: dict[str, int], order: str, seed: int, n: int, k: int) -> None:
    subsets = nested_subsets(for_seeds(make_manifest(samples), 2), order, seed)
    small = take_subset(subsets, n, k)
    for more in (take_subset(subsets, n + 1, k), take_subset(subsets, n, k + 1)):
        assert len(small.merge(more, on=["seed", "photo"])) == len(small)
    count = min(n, sum(samples.values()))
    assert (small.groupby("seed").size() == count * k).all()


@given(collections, seeds, st.integers(2, 30))
def test_every_prefix_of_the_samples_is_stratified(
    samples: dict[str, int], seed: int, n: int
) -> None:
    labels = pd.Series({f"{c}/{i}": c for c, count in samples.items() for i in range(count)})
    order = stratified_order(labels, np.random.default_rng(seed))
    assert sorted(order) == sorted(labels.index)
    counts = labels[order[:n]].value_counts()
    total = sum(samples.values())
    for label, count in samples.items():
        assert counts[label] >= 1
        assert abs(counts[label] - min(n, total) * count / total) <= 1.5


def test_draws_differ_and_a_further_draw_changes_no_other() -> None:
    photos = make_manifest({"a": 6, "b": 6})
    two, three = (nested_subsets(for_seeds(photos, draws), "spread", 0) for draws in (2, 3))
    assert two.equals(three[three["seed"] < 2])
    first, second = (list(two.loc[two["seed"] == seed, "photo"]) for seed in (0, 1))
    assert first != second


@given(st.integers(1, 24), st.integers(0, 23))
def test_spread_angles_leave_no_large_gap(count: int, start: int) -> None:
    order = farthest_first(count, start)
    assert sorted(order) == list(range(count))
    for k in range(2, count + 1):
        taken = sorted(order[:k])
        gaps = np.diff([*taken, taken[0] + count])
        # Greedy is at worst twice as wide as even spacing (Gonzalez 1985), here in whole steps.
        assert gaps.max() <= 2 * np.ceil(count / k)


def test_a_sample_of_many_angles_is_spread_too() -> None:
    order = farthest_first(3000, start=5)
    assert order[:4] == (5, 1505, 755, 2255)
    assert sorted(order) == list(range(3000))


def study(samples: list, angles: list[int], **changes: object) -> StudySettings:
    shipped = load_params(ROOT / "params.yaml", StudyParams).study
    grid = SizeSettings(samples=[], angles=[])
    sizes = {"samples": samples, "angles": angles, "frozen_grid": grid}
    return shipped.model_copy(update=sizes | changes)


def test_grid_that_the_split_cannot_fill_is_refused() -> None:
    train = for_seeds(make_manifest({"a": 6, "b": 6}), 2)
    check_sizes(train, study([0.5, 1.0, 2], [1, 4]))
    for samples, angles, message in (
        ([1.0], [5], "study.angles: 5 angles asked, .* more than 4"),
        ([13], [1], r"13 means 13 training sample\(s\)"),
        ([0.1], [1], r"0.1 means 1 training sample\(s\), .* between 2"),
        ([0.5, 6], [1], "6 and 0.5 both mean 6 samples: list each size once"),
    ):
        with pytest.raises(UserError, match=message):
            check_sizes(train, study(samples, angles))
    for grid, message in (
        (SizeSettings(samples=[0.5], angles=[9]), "study.frozen_grid.angles: 9 angles asked"),
        (SizeSettings(samples=[6], angles=[1]), "study.frozen_grid.samples: 6 and 0.5 both mean 6"),
    ):
        with pytest.raises(UserError, match=message):
            check_sizes(train, study([0.5], [1], frozen_grid=grid))


def test_frozen_has_further_cells_and_none_twice() -> None:
    own = study([0.5, 1.0], [1, 10], frozen_grid=SizeSettings(samples=[0.25, 1.0], angles=[1, 3]))
    assert further_cells(own) == [(0.25, 1), (0.25, 3), (1.0, 3)]
    shared = ["0.5x1", "0.5x10", "1.0x1", "1.0x10"]
    assert cell_folders(own, "scratch") == shared
    further = ["grid/0.25x1", "grid/0.25x3", "grid/1.0x3"]
    assert cell_folders(own, "frozen") == shared + further
