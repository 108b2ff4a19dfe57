"""Frozen features on real photographs, without DVC: do they reach what is known of them?

Uses two public collections where they lie beside the project (or where SHOTCOUNT_TEST_PHOTOS
says): ETH-80 (Leibe and Schiele, CVPR 2003; 4 of its classes) and PyTorch's hymenoptera.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from holdout import Collection, foretell, read_collection, train_and_test

from shotcount import splits

COLLECTIONS = Path(os.environ.get("SHOTCOUNT_TEST_PHOTOS", ROOT.parent / "shared" / "data"))


def collection(name: str, pattern: str, size: int) -> Collection:
    root = COLLECTIONS / name
    if not root.is_dir():
        pytest.skip(f"the photos of {name} are not at {root}: set SHOTCOUNT_TEST_PHOTOS")
    return read_collection(root, pattern, size)


@pytest.fixture(scope="module")
def eth80() -> Collection:
    return collection("eth80", r"(?P<label>[a-z]+)(?P<sample>\d+)-(?P<angle>\d+-\d+)\.jpg", 128)


def frozen_accuracy(photos: Collection, test: float | str, seed: int) -> float:
    """Accuracy on the test split of a head on all angles of all training samples."""
    parts = splits.split_samples(photos.manifest, val=0.2, test=test, seed=seed)
    return float(train_and_test(photos, *parts.values(), ("real", seed)).mean())


def test_frozen_features_tell_objects_of_eth80_apart(eth80: Collection) -> None:
    table = eth80.manifest
    assert (table["sample"].nunique(), table["angle"].nunique()) == (40, 41)
    accuracies = [frozen_accuracy(eth80, test=0.2, seed=seed) for seed in range(5)]
    print(accuracies)
    assert np.mean(accuracies) >= 0.91


def test_half_of_eth80_foretells_what_all_of_it_reaches(eth80: Collection) -> None:
    """docs/holdout.md has 20 splits with more seeds."""
    rows = [foretell(eth80, split, seeds=2) for split in range(3)]
    print(rows)
    assert sum(bool(row["covered"]) for row in rows) >= 2
    gaps = [abs(float(row["forecast"]) - float(row["reached"])) for row in rows]
    assert np.mean(gaps) < 0.04


def test_frozen_features_tell_ants_from_bees() -> None:
    pattern = r"(?P<split>train|val)/(?P<label>ants|bees)/(?P<sample>.+)\.jpg"
    photos = collection("hymenoptera_data", pattern, 224)
    accuracies = [frozen_accuracy(photos, test="val", seed=seed) for seed in range(5)]
    print(accuracies)
    assert np.mean(accuracies) >= 0.91
