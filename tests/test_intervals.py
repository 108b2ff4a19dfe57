import numpy as np
import pytest

from shotcount.intervals import accuracy_interval, bootstrap_accuracy, interval


def simulate(rng: np.random.Generator, clusters: int, angles: int) -> tuple[np.ndarray, np.ndarray]:
    """Photos of one sample share its difficulty: accuracy 0.8, intra-sample correlation 0.5."""
    difficulty = rng.beta(0.8, 0.2, clusters)
    correct = rng.random((1, clusters, angles)) < difficulty[:, None]
    return correct.reshape(1, -1), np.repeat(np.arange(clusters), angles)


def coverage(clusters: int, angles: int, by_sample: bool) -> float:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        correct, samples = simulate(rng, clusters, angles)
        unit = samples if by_sample else np.arange(len(samples))
        replicates = bootstrap_accuracy([correct], unit, 400, rng)[0]
        low, high = accuracy_interval(replicates, len(np.unique(unit)))
        covered += low <= 0.8 <= high
    return covered / 300


def test_sample_bootstrap_covers_the_truth_and_photo_bootstrap_does_not() -> None:
    assert 0.91 <= coverage(clusters=40, angles=8, by_sample=True) <= 0.98
    assert coverage(clusters=40, angles=8, by_sample=False) < 0.75


def test_few_samples_are_covered_too() -> None:
    assert coverage(clusters=12, angles=8, by_sample=True) >= 0.88


def test_replicates_centre_on_the_mean_over_seeds() -> None:
    rng = np.random.default_rng(1)
    correct = np.array([[1, 1, 0, 1] * 25, [1, 0, 0, 1] * 25], dtype=bool)
    replicates = bootstrap_accuracy([correct], np.arange(100), 4000, rng)[0]
    assert replicates.mean() == pytest.approx(correct.mean(), abs=0.005)
    # Seeds vary beyond what the photos do: 0.75 and 0.5.
    one = bootstrap_accuracy([correct[:1]], np.arange(100), 4000, rng)[0]
    assert replicates.std() > 1.5 * one.std()


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(2)
    better = np.ones((1, 200), dtype=bool)
    better[0, ::4] = False
    worse = better.copy()
    worse[0, 1] = False
    replicates = bootstrap_accuracy([better, worse], np.arange(200), 2000, rng)
    low, high = interval(replicates[0] - replicates[1], clusters=200)
    assert 0 <= low <= 1 / 200 <= high < 0.03  # unpaired, it would reach beyond 0.08


def test_samples_weigh_by_their_photos() -> None:
    correct = np.array([[True] * 9 + [False]])
    samples = np.array(["big"] * 9 + ["small"])
    replicates = bootstrap_accuracy([correct], samples, 2000, np.random.default_rng(3))[0]
    assert set(np.round(replicates, 6)) == {0.0, 0.9, 1.0}


def test_all_right_on_eight_samples_is_not_certainty() -> None:
    low, high = accuracy_interval(np.ones(500), clusters=8)
    assert high == 1
    assert low == pytest.approx(0.631, abs=0.001)  # 0.025 ** (1 / 8)
    assert accuracy_interval(np.zeros(500), clusters=8) == pytest.approx((0, 1 - low))


def test_interval_widens_as_samples_get_fewer() -> None:
    replicates = np.random.default_rng(4).normal(0.8, 0.05, 20000)
    widths = [np.ptp(interval(replicates, clusters)) for clusters in (5, 20, 1000)]
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] == pytest.approx(2 * 1.96 * 0.05, rel=0.03)
