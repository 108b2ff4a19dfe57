"""Frozen features on real photographs, without DVC: do they reach what is known of them?

Uses two public collections where they lie beside the project (or where SHOTCOUNT_TEST_PHOTOS
says): ETH-80 (Leibe and Schiele, CVPR 2003; 4 of its classes) and PyTorch's hymenoptera.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT

from shotcount import photos, splits
from shotcount.backbones import build_backbone, fetch_weights
from shotcount.features import extract
from shotcount.params import load_params
from shotcount.training import STRATEGIES, Photos, assemble, fit, predict

COLLECTIONS = Path(os.environ.get("SHOTCOUNT_TEST_PHOTOS", ROOT.parent / "shared" / "data"))
CPU = torch.device("cpu")


def collection(
    name: str, pattern: str, size: int, folder: Path
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    root = COLLECTIONS / name
    if not root.is_dir():
        pytest.skip(f"the photos of {name} are not at {root}: set SHOTCOUNT_TEST_PHOTOS")
    found = photos.find_photos(root, pattern)
    facts = list(photos.prepare(root, found, size, folder / "pixels.npy"))
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    backbone = build_backbone("tf_efficientnet_lite0")
    backbone.load_state_dict(fetch_weights("tf_efficientnet_lite0", "shipped", Path()))
    features = np.concatenate([batch for _, batch in extract(backbone, pixels, CPU)])
    return photos.manifest(found, facts), pixels, features


def frozen_accuracy(
    table: pd.DataFrame, pixels: np.ndarray, features: np.ndarray, test: float | str, seed: int
) -> float:
    """Accuracy on the test split of a head on all angles of all training samples."""
    settings = load_params(ROOT / "params.yaml").train.frozen
    parts = splits.split_samples(table, val=0.2, test=test, seed=seed)
    classes = sorted(table["label"].unique())
    train, val, held_out = (Photos.of(parts[name], classes) for name in ("train", "val", "test"))
    head, load = assemble(STRATEGIES["frozen"], "", len(classes), pixels, features, settings, CPU)
    fit(head, load, train, val, settings, ("real", seed))
    chosen = predict(head, load, held_out.rows).argmax(axis=1)
    return float(np.mean(chosen == held_out.targets))


def test_frozen_features_tell_objects_of_eth80_apart(tmp_path: Path) -> None:
    pattern = r"(?P<label>[a-z]+)(?P<sample>\d+)-(?P<angle>\d+-\d+)\.jpg"
    table, *arrays = collection("eth80", pattern, 128, tmp_path)
    assert (table["sample"].nunique(), table["angle"].nunique()) == (40, 41)
    accuracies = [frozen_accuracy(table, *arrays, test=0.2, seed=seed) for seed in range(5)]
    print(accuracies)
    assert np.mean(accuracies) >= 0.91


def test_frozen_features_tell_ants_from_bees(tmp_path: Path) -> None:
    pattern = r"(?P<split>train|val)/(?P<label>ants|bees)/(?P<sample>.+)\.jpg"
    table, *arrays = collection("hymenoptera_data", pattern, 224, tmp_path)
    accuracies = [frozen_accuracy(table, *arrays, test="val", seed=seed) for seed in range(5)]
    print(accuracies)
    assert np.mean(accuracies) >= 0.91
