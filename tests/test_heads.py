"""Heads that are solved, and how certain their predictions are."""

import math

import numpy as np
import pytest
import torch

from shotcount.networks.devices import seeded
from shotcount.networks.heads import (
    FLATTEST,
    SHARPEST,
    Network,
    build_head,
    calibrate,
    photo_losses,
    scale_logits,
    solve_head,
)
from shotcount.tasks.strategies import load_features, predict

CPU = torch.device("cpu")


def clusters(photos: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (photos, 8), and the class of each photo."""
    rng = np.random.default_rng(0)
    targets = np.arange(photos) % classes
    x = rng.normal(size=(photos, 8))
    x[:, :classes] += 2 * np.eye(classes)[targets]
    return x.astype(np.float32), targets


@pytest.mark.parametrize("classes", [2, 3])
def test_a_solved_head_predicts_from_raw_features(classes: int) -> None:
    x, targets = clusters(300, classes)
    stretched = (1000 * x + np.arange(8)).astype(np.float32)
    probabilities = []
    for own in (x, stretched):
        parts = [(own[part], targets[part]) for part in (slice(0, 150), slice(150, 300))]
        solved, head = solve_head(*parts, classes), build_head(8, classes)
        head.load_state_dict(solved.state)
        p = predict(head, load_features(own, CPU), np.arange(150, 300))
        true = targets[150:]
        accuracy = (p.argmax(axis=1) == true).mean()
        assert accuracy == pytest.approx(solved.val_accuracy)
        assert accuracy > 0.8
        assert photo_losses(p, true).mean() == pytest.approx(solved.val_loss, abs=1e-3)
        probabilities.append(p)
    assert np.allclose(*probabilities, atol=0.01)


@pytest.mark.filterwarnings("error")
def test_features_that_hardly_vary_weigh_little() -> None:
    """With few photos, many features of noise would drown few that tell the classes apart."""
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 2
    noise, telling = rng.normal(size=(60, 1000)), rng.normal(size=(60, 8)) + 3 * targets[:, None]
    x = np.concatenate([0.01 * noise, telling], axis=1).astype(np.float32)
    solved = solve_head((x[:30], targets[:30]), (x[30:], targets[30:]), 2)
    assert solved.val_accuracy > 0.95


@pytest.mark.filterwarnings("error")
def test_a_class_may_have_only_one_photo_among_many_classes() -> None:
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    targets = np.arange(60)
    solved = solve_head((x, targets), (x + 0.01, targets), 60)
    assert solved.state["weight"].shape == (60, 8)
    assert solved.val_accuracy > 0.5


def test_a_feature_that_is_the_same_for_all_photos_solves_nothing() -> None:
    x, targets = clusters(100, 2)
    x[:, 7] = 5
    solved = solve_head((x[:50], targets[:50]), (x[50:], targets[50:]), 2)
    assert not solved.state["weight"][:, 7].any()
    assert all(value.isfinite().all() for value in solved.state.values())


def test_a_solved_head_is_no_worse_than_guessing_where_there_is_nothing_to_learn() -> None:
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    targets = np.arange(60) % 2
    solved = solve_head((x[:30], targets[:30]), (x[30:], targets[30:]), 2)
    assert solved.val_loss <= math.log(2) + 1e-3


@pytest.mark.parametrize("classes", [2, 3])
def test_a_solved_head_is_the_same_bytes_in_whatever_order_numbers_are_added(classes: int) -> None:
    # Directions that hardly vary decide the class: a solver that stops early stops somewhere else.
    rng, spread = np.random.default_rng(0), np.geomspace(1, 0.01, 40)
    x = (rng.normal(size=(400, 40)) * spread).astype(np.float32)
    score = x @ (rng.normal(size=40) / spread) + rng.normal(size=400) * 2
    targets = np.argsort(np.argsort(score)) * classes // 400  # equally many of each class
    one, other = (
        solve_head((x[known], targets[known]), (x[300:], targets[300:]), classes)
        for known in (range(300), range(299, -1, -1))
    )
    assert all(torch.equal(one.state[key], other.state[key]) for key in ("weight", "bias"))


def certain(confidence: float, right: int, wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of class 0 with a confidence, so many of them right, and the true classes."""
    p = np.full(right + wrong, confidence)
    return np.stack([p, 1 - p], axis=1), np.repeat([0, 1], [right, wrong])


def test_overconfident_predictions_are_made_less_certain() -> None:
    p, targets = certain(0.99, right=70, wrong=30)
    factor, loss = calibrate(p, targets)
    assert factor == pytest.approx(math.log(0.7 / 0.3) / math.log(0.99 / 0.01), abs=1e-3)
    assert loss == pytest.approx(-0.7 * math.log(0.7) - 0.3 * math.log(0.3))
    assert loss == pytest.approx(photo_losses(p, targets, factor).mean())


def test_calibration_goes_neither_below_guessing_nor_to_certainty() -> None:
    factor, loss = calibrate(*certain(0.6, right=50, wrong=50))
    assert factor == pytest.approx(FLATTEST, abs=1e-3)
    assert loss <= math.log(2) + 1e-3
    factor, loss = calibrate(*certain(0.9, right=100, wrong=0))
    assert factor == pytest.approx(SHARPEST, abs=1e-3)


def test_a_factor_becomes_part_of_the_head() -> None:
    with seeded(0):
        photos = torch.randn(4, 8)
        network = Network(torch.nn.Linear(8, 6), 6, 3)
        for parameter in network.head.parameters():
            torch.nn.init.normal_(parameter)
    for whole, x in [(network, photos), (network.head, network.backbone(photos))]:
        before = whole(x).detach()
        scale_logits(whole, 0.5)
        assert torch.allclose(whole(x), 0.5 * before, atol=1e-6)
