import os
import subprocess
import sys

import numpy as np
import pytest
from calibration import in_folds

from shotcount.uncertainty.bootstrap import (
    Resamples,
    bootstrap_mean,
    difference,
    in_pieces,
    resample,
)
from shotcount.uncertainty.intervals import (
    accuracy_interval,
    degrees_of_freedom,
    holm,
    interval,
    mean_interval,
    p_value,
)


def simulate(rng: np.random.Generator, clusters: int, angles: int) -> tuple[np.ndarray, np.ndarray]:
    """Photos of one sample share its difficulty: accuracy 0.8, intra-sample correlation 0.5."""
    difficulty = rng.beta(0.8, 0.2, clusters)
    correct = rng.random((1, 1, clusters, angles)) < difficulty[:, None]
    return correct.reshape(1, 1, -1), np.repeat(np.arange(clusters), angles)


def coverage(clusters: int, angles: int, by_sample: bool) -> float:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        correct, samples = simulate(rng, clusters, angles)
        unit = samples if by_sample else np.arange(len(samples))
        draws = resample(len(np.unique(unit)), [1], 400, rng)[0]
        low, high = mean_interval(bootstrap_mean(correct, unit, draws)[0], draws)
        covered += low <= 0.8 <= high
    return covered / 300


def test_sample_bootstrap_covers_the_truth_and_photo_bootstrap_does_not() -> None:
    assert 0.91 <= coverage(clusters=40, angles=8, by_sample=True) <= 0.98
    assert coverage(clusters=40, angles=8, by_sample=False) < 0.75


def test_few_samples_are_covered_too() -> None:
    assert coverage(clusters=12, angles=8, by_sample=True) >= 0.88


def test_so_few_samples_that_a_bootstrap_sees_too_little_are_covered_too() -> None:
    for clusters in (1, 2, 5):
        assert coverage(clusters, angles=8, by_sample=True) >= 0.95


@pytest.mark.parametrize("samples", [5, 6, 20])
def test_a_gain_where_there_is_none_is_rarely_shown(samples: int) -> None:
    """The photos of a sample share its difficulty; the second training is no better."""
    rng = np.random.default_rng(0)
    shown = 0
    for _ in range(300):
        easy = rng.beta(0.8, 0.3, (1, samples, 1)) + 0.1 * rng.standard_normal((2, samples, 1))
        correct = (rng.random((2, samples, 10)) < easy).reshape(2, 1, -1)
        draws = resample(samples, [1], 300, rng)[0]
        before, after = bootstrap_mean(correct, np.repeat(np.arange(samples), 10), draws)
        shown += mean_interval(after - before, draws, lowest=-1)[0] > 0
    assert shown / 300 <= 0.05


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.9), (10, 0.92)])
def test_few_seeds_are_covered_too(seeds: int, least: float) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        luck = 0.8 + 0.05 * rng.standard_normal(seeds)  # more than the test photos vary
        correct = rng.random((1, seeds, 400)) < luck[:, None]
        draws = resample(400, [seeds], 400, rng)[0]
        low, high = interval(bootstrap_mean(correct, np.arange(400), draws)[0], draws)
        covered += low <= 0.8 <= high
    assert least <= covered / 300 <= 0.98


def simulate_folds(
    rng: np.random.Generator, luck: float, seeds: int = 5, samples: int = 100
) -> np.ndarray:
    """Seeds test the samples of one of 5 folds each, and are lucky in training: accuracy 0.8.

    Two strategies (strategies, seeds, samples) find the same samples hard.
    """
    easy = rng.beta(1.6, 0.4, samples)
    accuracy = np.clip(easy + luck * rng.standard_normal((2, seeds, 1)), 0, 1)
    correct = (rng.random((2, seeds, samples)) < accuracy).astype(float)
    correct[:, ~in_folds(seeds, 5, samples, rng)] = np.nan
    return correct


@pytest.mark.parametrize("luck", [0.0, 0.03])
@pytest.mark.parametrize("seeds", [5, 10])  # every sample is tested once, or twice
def test_intervals_of_folds_cover_the_truth(luck: float, seeds: int) -> None:
    rng = np.random.default_rng(0)
    covered, widths = 0, {5: [], 1: []}
    for _ in range(300):
        correct = simulate_folds(rng, luck, seeds)[:1]
        for folds, own in widths.items():
            draws = resample(100, [seeds], 400, rng, folds)[0]
            low, high = interval(bootstrap_mean(correct, np.arange(100), draws)[0], draws)
            own.append(high - low)
            covered += folds == 5 and low <= 0.8 <= high
    assert 0.93 <= covered / 300 <= 0.99
    # Whole seeds beside whole samples would count the samples twice.
    assert np.mean(widths[5]) < (0.75 if seeds == 5 else 0.9) * np.mean(widths[1])


def test_leads_in_folds_are_paired_by_samples_and_by_seeds() -> None:
    rng = np.random.default_rng(0)
    for counts in ([5, 5], [10, 5]):
        covered, paired, unpaired = 0, [], []
        for _ in range(200):
            one, other = simulate_folds(rng, 0.0, 10)
            draws = resample(100, counts, 400, rng, folds=5)
            again = resample(100, counts[1:], 400, rng, folds=5)[0]
            first, second, third = (
                bootstrap_mean(hits[None, : len(np.hstack(own.seeds)[0])], np.arange(100), own)[0]
                for hits, own in ((one, draws[0]), (other, draws[1]), (other, again))
            )
            low, high = interval(first - second, difference(*draws))
            covered += low <= 0 <= high
            paired.append((first - second).var())
            unpaired.append((first - third).var())
        assert covered / 200 >= 0.92
        assert np.mean(paired) < 0.8 * np.mean(unpaired)


def test_the_mean_of_folds_is_over_what_was_tested() -> None:
    correct = np.array([[[1, 1, np.nan, np.nan], [np.nan, np.nan, 0, 1]]])
    both = Resamples(np.array([[1, 1, 1, 1], [2, 0, 1, 1]]), (np.array([[1, 1], [1, 1]]),))
    first = Resamples(np.array([[1, 1, 1, 1]]), (np.array([[1, 0]]),))
    samples = np.arange(4)
    assert bootstrap_mean(correct, samples, both)[0] == pytest.approx([0.75, 0.75])
    assert bootstrap_mean(correct, samples, first)[0] == pytest.approx([1.0])


def test_what_a_replicate_did_not_draw_is_the_rest() -> None:
    for folds, groups in ((1, 1), (5, 2)):
        draws = resample(30, [10], 200, np.random.default_rng(0), folds)[0]
        ((samples, seeds),) = in_pieces(draws, "undrawn")
        ((times, drawn),) = in_pieces(draws, "drawn")
        assert ((times == 0) == samples).all()
        assert (times.sum(axis=0) == 29).all()
        assert ((drawn == 0) == seeds).all()
        assert (drawn.sum(axis=1) == 10 - groups).all()  # of each partition, one fewer
    single = resample(30, [1], 200, np.random.default_rng(0))[0]
    for part in ("drawn", "undrawn"):
        assert all((seeds == 1).all() for _, seeds in in_pieces(single, part))


def test_weights_of_seeds_are_exact_numbers_with_one_sum() -> None:
    """Their sums, and those of counts of photos, don't depend on the order of the additions."""
    for folds, counts in ((1, [1, 2, 5, 10]), (5, [5, 10, 15])):
        for own in resample(30, counts, 200, np.random.default_rng(0), folds):
            for weights in next(in_pieces(own)):
                assert (weights * 16 == np.round(weights * 16)).all()
            samples, seeds = next(in_pieces(own))
            assert len(np.unique(samples.sum(axis=0))) == len(np.unique(seeds.sum(axis=1))) == 1


def test_more_seeds_of_one_strategy_change_no_draw_of_another() -> None:
    for folds in (1, 5):
        _, alone = resample(30, [5, 5], 50, np.random.default_rng(0), folds)
        _, beside = resample(30, [10, 5], 50, np.random.default_rng(0), folds)
        assert np.array_equal(alone.seeds, beside.seeds)
        assert np.array_equal(alone.samples, beside.samples)


def test_replicates_are_the_same_bytes_on_every_processor() -> None:
    program = """if True:
        import hashlib, sys
        import numpy as np
        from shotcount.scoring.tallies import Tally
        from shotcount.uncertainty.bootstrap import resample
        from shotcount.uncertainty.metrics import METRICS, metric_rows
        rng = np.random.default_rng(0)
        seed, sample = np.divmod(np.arange(5 * 400), 400)
        classes = rng.integers(0, 7, 400)
        named = np.where(rng.random(2000) < 0.7, classes[sample], rng.integers(0, 7, 2000))
        tally = Tally(seed, sample, classes[sample], named, np.ones(2000), 7)
        draws = resample(400, [5], 500, rng, folds=5)[0]
        rows = [metric_rows([tally], metric, draws) for metric in METRICS.values()]
        print(hashlib.sha256(np.concatenate(rows).tobytes()).hexdigest())
    """
    made = {
        subprocess.check_output(
            [sys.executable, "-c", program],
            env=os.environ | {"OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": threads},
        )
        for core, threads in (("Haswell", "1"), ("SkylakeX", "2"), ("Nehalem", "1"))
    }
    assert len(made) == 1


def test_spread_of_replicates_is_the_standard_error_whatever_the_seeds() -> None:
    rng = np.random.default_rng(1)
    correct = np.zeros((1, 2, 100), dtype=bool)
    correct[0, 0, :75], correct[0, 1, :50] = True, True
    draws = resample(100, [2], 20_000, rng)[0]
    replicates = bootstrap_mean(correct, np.arange(100), draws)[0]
    assert replicates.mean() == pytest.approx(0.625, abs=0.005)
    # Of two seeds, 0.75 and 0.5; and of the samples, crossed with them.
    of_seeds = np.var([0.75, 0.5], ddof=1) / 2
    of_samples = np.var(correct[0].mean(axis=0), ddof=1) / 100
    assert replicates.var() == pytest.approx(of_seeds + of_samples, rel=0.1)


def test_degrees_of_freedom_are_of_what_varies() -> None:
    rng = np.random.default_rng(0)
    draws = resample(50, [4], 4000, rng)[0]
    by_seed = draws.seeds[0] / 3 @ np.array([0.0, 0.1, 0.5, 0.9])
    by_sample = draws.samples @ rng.standard_normal(50)
    assert degrees_of_freedom(by_seed, draws) == pytest.approx(3, rel=0.15)
    assert degrees_of_freedom(by_sample, draws) == pytest.approx(49, rel=0.05)
    assert degrees_of_freedom(by_sample, draws, trials=10) == pytest.approx(9, rel=0.05)
    assert 3 < degrees_of_freedom(by_seed + by_sample, draws) < 53
    assert degrees_of_freedom(np.where(by_seed > 0.5, np.inf, by_seed), draws) < 10


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(2)
    better = np.ones((1, 1, 200), dtype=bool)
    better[..., ::4] = False
    worse = better.copy()
    worse[..., 1] = False
    one, other = resample(200, [1, 1], 2000, rng)
    samples = np.arange(200)
    leads = bootstrap_mean(better, samples, one)[0] - bootstrap_mean(worse, samples, other)[0]
    low, high = interval(leads, difference(one, other))
    assert 0 <= low <= 1 / 200 <= high < 0.03  # unpaired, it would reach beyond 0.08
    assert p_value(leads, difference(one, other)) > 0.5


def test_samples_weigh_by_their_photos() -> None:
    correct = np.array([[[True] * 9 + [False]]])
    samples = np.array(["big"] * 9 + ["small"])
    draws = Resamples(np.array([[1, 0], [0, 1], [1, 1]]), (np.ones((3, 1)),))
    assert list(bootstrap_mean(correct, samples, draws)[0]) == pytest.approx([1, 0, 0.9])


def test_all_right_on_eight_samples_is_not_certainty() -> None:
    draws = resample(8, [1], 500, np.random.default_rng(0))[0]
    low, high = accuracy_interval(np.ones(500), draws)
    assert high == 1
    assert low == pytest.approx(0.631, abs=0.001)  # 0.025 ** (1 / 8)
    assert accuracy_interval(np.zeros(500), draws) == pytest.approx((0, 1 - low))


def test_interval_of_equal_gains_is_as_wide_as_chance_allows() -> None:
    """Six of six that gain are unlikely by chance (p = 0.03), five of five are not (0.06)."""
    for samples, sure in ((5, False), (6, True)):
        draws = resample(samples, [1], 500, np.random.default_rng(0))[0]
        low, high = mean_interval(np.ones(500), draws, lowest=-1)
        assert (low > 0, high) == (sure, 1)
    low, high = mean_interval(np.zeros(500), draws, lowest=-1)
    assert (low, high) == pytest.approx((0.025 ** (1 / 6) - 1, 1 - 0.025 ** (1 / 6)))


def test_interval_widens_as_samples_get_fewer() -> None:
    rng = np.random.default_rng(4)
    replicates = rng.normal(0.8, 0.05, 20000)
    widths = [np.ptp(interval(replicates, resample(n, [1], 20000, rng)[0])) for n in (5, 20, 1000)]
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] == pytest.approx(2 * 1.96 * 0.05, rel=0.03)


def test_interval_of_what_may_have_no_limit() -> None:
    rng = np.random.default_rng(5)
    draws = resample(1000, [1], 1000, rng)[0]
    replicates = rng.normal(100, 1, 1000)
    replicates[:100] = np.inf
    low, high = interval(replicates, draws)
    assert 97 < low < 100
    assert high == np.inf


def test_p_value_is_small_only_where_the_interval_excludes_zero() -> None:
    rng = np.random.default_rng(6)
    for samples in (6, 1000):
        draws = resample(samples, [1], 4000, rng)[0]
        for lead in (0.5, 1.5, 1.8, 2.2, 2.4, 2.8, 3.4):
            differences = rng.normal(lead, 1, 4000)
            excluded = interval(differences, draws)[0] > 0
            assert (p_value(differences, draws) < 0.05) == excluded, (samples, lead)


def test_p_value_of_few_seeds_is_not_kept_up_by_the_number_of_replicates() -> None:
    rng = np.random.default_rng(0)
    draws = resample(50, [3], 2000, rng)[0]
    by_seed = draws.seeds[0] @ np.array([-0.02, 0.0, 0.02])  # so there are 2 degrees of freedom
    p = [p_value(lead + by_seed, draws) for lead in (0.03, 0.1, 0.4, 1.6)]
    assert p == sorted(p, reverse=True)
    assert p[0] > 0.05
    assert 0 < p[-1] < 0.001
    low = interval(0.4 + by_seed, draws, level=1 - p[2])[0]
    assert low == pytest.approx((0.4 + by_seed).min())  # the replicates reach no further
    assert p_value(np.full(2000, 0.1), draws) > 0  # all alike


def test_holm_is_monotone_and_at_most_one() -> None:
    assert holm([0.5, 0.001, 0.9]) == pytest.approx([1.0, 0.003, 1.0])
    assert holm([]) == []


def test_blogs_difference_is_not_detectable() -> None:
    """89.2 % against 88.5 % of 1,012 photos: 7 photos, one standard error being 14."""
    rng = np.random.default_rng(7)
    photos = 1012
    samples = np.arange(photos) // 10  # ten angles of each
    accuracies = []
    one, other = resample(len(np.unique(samples)), [1, 1], 4000, rng)
    for right, draws in ((903, one), (896, other)):
        correct = np.zeros((1, 1, photos), dtype=bool)
        correct[..., rng.permutation(photos)[:right]] = True
        accuracies.append(bootstrap_mean(correct, samples, draws)[0])
    assert [round(100 * a.mean(), 1) for a in accuracies] == pytest.approx([89.2, 88.5], abs=0.1)
    low, high = interval(accuracies[0] - accuracies[1], difference(one, other))
    assert low < -0.015
    assert high > 0.03
    assert p_value(accuracies[0] - accuracies[1], difference(one, other)) > 0.5
