from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shotcount.findings.curves import FAMILIES, Curve, effective_photos, fit_curve, fit_families

SIZES = np.array(list(product((15, 30, 60, 120), (1, 2, 3, 5, 10))))
SAMPLES, ANGLES = SIZES.T


def power_law(redundancy: float, samples: np.ndarray, angles: np.ndarray) -> np.ndarray:
    return 0.08 + 0.75 * effective_photos(samples, angles, np.array(redundancy)) ** -0.45


def test_redundancy_is_what_further_angles_lose() -> None:
    assert effective_photos(np.array(50), np.array(1), np.array(0.7)) == 50
    assert effective_photos(np.array(50), np.array(8), np.array(0.0)) == 400
    assert effective_photos(np.array(50), np.array(8), np.array(1.0)) == 50


@pytest.mark.parametrize("redundancy", [0.0, 0.3, 1.0])
def test_fit_recovers_a_power_law(redundancy: float) -> None:
    curve = fit_curve(power_law(redundancy, SAMPLES, ANGLES)[None], SAMPLES, ANGLES, "power law")
    assert curve.redundancy[0] == pytest.approx(redundancy, abs=0.01)
    assert curve.shape[0, 0] == pytest.approx(0.45, rel=0.03)
    assert curve.asymptote[0] == pytest.approx(0.08, abs=0.004)
    assert curve.amplitude[0] * curve.unit**0.45 == pytest.approx(0.75, rel=0.05)
    assert curve.residual[0] < 1e-3
    twice = curve.error(np.array([240]), np.array([10]))[0, 0]
    assert twice == pytest.approx(power_law(redundancy, np.array(240), np.array(10)), abs=0.002)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_fits_its_own_curve(family: str) -> None:
    shape = np.array([[0.7, 1.2][: len(FAMILIES[family].shapes)]])
    one = np.ones(1)
    truth = Curve(family, 130.0, shape, 0.4 * one, 0.1 * one, 0.2 * one, one)
    errors = truth.error(SAMPLES, ANGLES)
    curve = fit_curve(errors, SAMPLES, ANGLES, family)
    assert np.abs(curve.error(SAMPLES, ANGLES) - errors).max() < 2e-3
    assert curve.redundancy[0] == pytest.approx(0.4, abs=0.03)
    assert (np.diff(curve.error(np.arange(10, 500), np.array([3]))[0]) <= 0).all()


@pytest.mark.parametrize("family", FAMILIES)
@given(
    shape=st.tuples(st.floats(0.1, 2.0), st.floats(0.3, 3.0)),
    asymptote=st.floats(0, 0.4),
    photos=st.integers(5, 5000),
)
def test_photos_for_an_error_are_where_the_curve_has_it(
    family: str, shape: tuple[float, float], asymptote: float, photos: int
) -> None:
    one = np.ones(1)
    shapes = np.array([shape[: len(FAMILIES[family].shapes)]])
    curve = Curve(family, 100.0, shapes, 0 * one, 0.1 * one, asymptote * one, one)
    error = curve.error(np.array([photos]), np.array([1]))[0, 0]
    if 0 < error < 1 and error > asymptote + 1e-6:
        assert curve.photos_for(error)[0] == pytest.approx(photos, rel=1e-4)


def test_an_error_below_the_asymptote_is_never_reached() -> None:
    one = np.ones(1)
    for family, kind in FAMILIES.items():
        shape = np.ones((1, len(kind.shapes)))
        curve = Curve(family, 100.0, shape, 0 * one, 0.1 * one, 0.2 * one, one)
        assert np.isinf(curve.photos_for(0.15)[0]) == kind.ceiling
        flat = Curve(family, 100.0, shape, 0 * one, 0 * one, 0.2 * one, one)
        assert np.isinf(flat.photos_for(0.15)[0])
        assert flat.photos_for(0.25)[0] == 0


def test_error_that_rises_with_photos_is_fitted_flat() -> None:
    errors = np.linspace(0.1, 0.3, len(SAMPLES))[None]
    for family in FAMILIES:
        curve = fit_curve(errors, SAMPLES, SAMPLES // SAMPLES, family)
        assert curve.amplitude[0] == 0
        assert curve.error(np.array([500]), np.array([1]))[0, 0] == pytest.approx(0.2)


def test_one_axis_has_no_redundancy() -> None:
    angles = np.arange(1, 11)
    errors = power_law(0.0, np.full(10, 100), angles)[None]
    curve = fit_curve(errors, np.full(10, 100), angles, "power law")
    assert curve.redundancy[0] == 0
    assert curve.shape[0, 0] == pytest.approx(0.45, rel=0.05)


def test_rows_are_fitted_independently() -> None:
    rows = np.stack([power_law(rho, SAMPLES, ANGLES) for rho in (0.1, 0.5, 0.9)])
    together = fit_curve(rows, SAMPLES, ANGLES, "arctan")
    for row in range(3):
        alone = fit_curve(rows[[row]], SAMPLES, ANGLES, "arctan")
        assert alone.redundancy[0] == together.redundancy[row]
        assert alone.asymptote[0] == together.asymptote[row]


def test_each_row_uses_the_family_that_predicts_its_largest_cells_best() -> None:
    photos = effective_photos(SAMPLES, ANGLES, np.array(0.3))
    rows = np.stack([power_law(0.3, SAMPLES, ANGLES), 0.6 - 0.07 * np.log(photos)])
    curves = fit_families(rows, SAMPLES, ANGLES)
    assert curves is not None
    assert [list(curves.fits)[place] for place in curves.chosen] == ["power law", "logarithm"]
    assert list(curves.redundancy) == pytest.approx([0.3, 0.3], abs=0.02)
    assert list(curves.ceiling_error) == pytest.approx([0.08, 0], abs=0.01)
    far = curves.error(np.array([1000]), np.array([10]))[:, 0]
    assert far[1] == pytest.approx(0.6 - 0.07 * np.log(effective_photos(1000, 10, 0.3)), abs=0.003)
    assert curves.photos_for(0.2)[1] == pytest.approx(np.exp(0.4 / 0.07), rel=0.02)


def test_where_errors_are_flat_twice_the_photos_bring_nothing() -> None:
    photos = np.array([10, 20, 30, 45, 70, 150, 300, 600, 1200])
    errors = 0.2 + 0.1 * np.maximum(np.log(60 / photos), 0)[None]
    curves = fit_families(errors, photos, np.ones(len(photos)))
    assert curves is not None
    assert [list(curves.fits)[place] for place in curves.chosen] == ["plateau"]
    loss = curves.error(np.array([60, 1200, 2400]), np.ones(3))[0]
    assert loss == pytest.approx(np.full(3, 0.2), abs=1e-3)
    assert loss[1] == loss[2]
    assert curves.photos_for(0.25)[0] == pytest.approx(60 * np.exp(-0.5), rel=0.02)


@pytest.mark.parametrize(
    ("samples", "angles", "families"),
    [
        ((10, 20, 40), (1,), 0),  # two below half of the largest
        ((5, 10, 20, 40, 60, 100), (1,), 4),
        ((10, 20, 41, 82, 163), (1,), 4),  # 82 is half of 163, rounded
        ((60, 120), (1, 2, 10), 4),
        ((15, 30, 60, 120), (1, 2, 5), 5),
    ],
)
def test_families_need_more_cells_than_they_have_parameters(
    samples: tuple[int, ...], angles: tuple[int, ...], families: int
) -> None:
    n, k = np.array(list(product(samples, angles))).T
    curves = fit_families(power_law(0.3, n, k)[None], n, k)
    assert len(curves.fits if curves else {}) == families
