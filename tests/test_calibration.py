"""A small part of what docs/calibration.md has: validation/calibration.py and those beside it."""

import choice
import detection_calibration as detection
import numpy as np
import pytest
from calibration import Design, Truth, coverage, simulate, true_error


def test_simulated_studies_have_the_error_that_they_claim() -> None:
    truth = Truth(redundancy=0.3)
    design = Design(10_000, folds=0, seeds=40, shares=(0.005, 0.02), angles=(1, 4))
    right = simulate(truth, design, np.random.default_rng(0))
    errors = [true_error(truth, design, *cell) for cell in design.cells]
    assert errors[0] - errors[-1] > 0.1
    assert list(1 - right.mean(axis=(1, 2))) == pytest.approx(errors, abs=0.015)
    both = right.reshape(4, 40, 4000, 4)
    alike = np.corrcoef(both[0, ..., 0].ravel(), both[0, ..., 1].ravel())[0, 1]
    assert alike > 0.15  # photos of one sample


def test_simulated_folds_test_every_sample_and_uneven_ones_have_fewer_photos() -> None:
    design = Design(20, seeds=10, few_angles=3)
    tested = ~np.isnan(simulate(Truth(), design, np.random.default_rng(0)))
    by_sample = tested.reshape(20, 10, 20, 10)[0]
    assert (by_sample.any(axis=2).sum(axis=0) == 2).all()  # of two partitions
    assert list(by_sample[:, 0].sum(axis=1)[by_sample[:, 0].any(axis=1)]) == [10, 10]
    assert list(by_sample[:, 1].sum(axis=1)[by_sample[:, 1].any(axis=1)]) == [3, 3]


def test_intervals_cover_the_truth_and_those_by_photo_do_not() -> None:
    design = Design(angles=(1, 2, 5, 10), seeds=5, replicates=200)
    shares = coverage(Truth(), design, range(120))
    print(shares)
    for name in ("accuracy", "redundancy", "loss at enough", "gain of twice the samples"):
        assert 0.9 <= shares[name] <= 1, name
    assert shares["accuracy, by photo"] < 0.88
    assert shares["identifiable"] > 0.8
    assert shares["wrongly shown"] <= 0.05


def test_the_interval_of_the_best_strategy_allows_for_its_choice() -> None:
    means = choice.coverage(choice.Design(40, replicates=400), range(160))
    print(means)
    assert means["too high"] > 0.02
    assert means["estimated"] == pytest.approx(means["too high"], abs=0.01)
    assert 0.93 <= means["covered"] <= 0.99


def test_intervals_of_ap50_cover_the_truth() -> None:
    design = detection.Design(50, replicates=400)
    true = detection.truth(design, runs=6)
    assert 0.1 < true["lead"] < 0.15
    shares = detection.coverage(design, true, range(80))
    print(true, shares)
    for name in ("AP50", "lead"):
        assert 0.88 <= shares[name] <= 1, name
        assert 0.03 < shares[f"half of {name}"] < 0.2
    assert shares["half of AP50 of the rarest class"] > shares["half of AP50"]


def test_a_simulated_scene_is_hard_for_all_seeds() -> None:
    design = detection.Design(4000, folds=1, seeds=2)
    one, _ = detection.simulate(design, np.random.default_rng(0))

    def by_seed(hit: int) -> np.ndarray:
        return np.bincount(one.image[one.hit[:, 0] == hit], minlength=8000).reshape(2, -1)

    objects = one.objects.sum(axis=1).reshape(2, -1)
    assert by_seed(1).sum() / objects.sum() == pytest.approx(0.85, abs=0.02)
    assert by_seed(0).mean() == pytest.approx(1, abs=0.06)
    assert np.corrcoef(by_seed(0))[0, 1] > 0.2
    assert np.corrcoef((objects - by_seed(1)) / np.maximum(objects, 1))[0, 1] > 0.2
