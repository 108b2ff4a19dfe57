"""Learning curves over two axes: test error as a function of samples and of angles.

error(n, k) = c + a · g(m / unit),   m = n·k / (1 + (k − 1)·ρ)

n samples from k angles each are worth m independent photos. The divisor is the design effect of
cluster sampling (Kish, "Survey Sampling", 1965, section 5.4). ρ, the redundancy of angles, is 0
where each further angle is as good as a new sample, and 1 where it adds nothing. g belongs to the
family that extrapolates best. Where some samples have fewer photos than others, k is their mean,
photos / samples. This takes the samples for equally large, so m is slightly too high.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

COARSE = 13  # grid points along each parameter
HALVINGS = 9  # of the grid's step, around the best point


def effective_photos(samples: np.ndarray, angles: np.ndarray, redundancy: np.ndarray) -> np.ndarray:
    """Return how many independent photos `samples` x `angles` are worth.

    >>> [float(effective_photos(100, 10, rho)) for rho in (0.0, 0.5, 1.0)]
    [1000.0, 181.8181818181818, 100.0]
    """
    return np.asarray(samples * angles / (1 + (angles - 1) * redundancy))


# ---------------------------------------------------------------------------- families


@dataclass(frozen=True)
class Family:
    """Functions g that fall as x grows; x is effective photos in units of a typical subset."""

    basis: Callable[[np.ndarray, np.ndarray], np.ndarray]  # g(x, shape)
    inverse: Callable[[np.ndarray, np.ndarray], np.ndarray]  # x at a value of g
    shapes: dict[str, tuple[float, float]]  # range of each shape parameter, searched in logs
    ceiling: bool = True  # g falls to 0, so c is the error with endless photos and c ≥ 0
    reached: bool = False  # g is 0 from some x on, and a fit must have a size there


# Mahmood et al., "How much more data do I need?", CVPR 2022, table 1, in terms of the error. Those
# fall for ever. The plateau is for studies that have photos enough (linear-plateau models: Anderson
# and Nelson, "A family of models involving intersecting straight lines", Biometrics 1975).
FAMILIES = {
    "power law": Family(
        basis=lambda x, s: x ** -s[..., 0],
        inverse=lambda g, s: np.maximum(g, 0) ** (-1 / s[..., 0]),
        shapes={"exponent": (0.05, 2.0)},
    ),
    "logarithm": Family(
        basis=lambda x, s: -np.log(x + s[..., 0]),
        inverse=lambda g, s: np.maximum(np.exp(-g) - s[..., 0], 0),
        shapes={"offset": (0.001, 10.0)},
        ceiling=False,
    ),
    "arctan": Family(
        basis=lambda x, s: 1 - 2 / np.pi * np.arctan(s[..., 0] * x),
        inverse=lambda g, s: np.tan(np.pi / 2 * (1 - np.clip(g, 0, 1))) / s[..., 0],
        shapes={"slope": (0.1, 100.0)},
    ),
    "algebraic root": Family(
        basis=lambda x, s: 1 - (1 + (s[..., 0] * x) ** -s[..., 1]) ** (-1 / s[..., 1]),
        inverse=lambda g, s: (
            ((1 - np.clip(g, 0, 1)) ** -s[..., 1] - 1) ** (-1 / s[..., 1]) / s[..., 0]
        ),
        shapes={"slope": (0.1, 100.0), "sharpness": (0.3, 3.0)},
    ),
    "plateau": Family(
        basis=lambda x, s: np.maximum(np.log(s[..., 0] / x), 0),
        inverse=lambda g, s: s[..., 0] * np.exp(-g),
        shapes={"start": (0.1, 10.0)},
        reached=True,
    ),
}


@dataclass(frozen=True)
class Curve:
    """A family fitted to every row of errors: row 0 is measured, the others are replicates."""

    family: str
    unit: float  # effective photos at which x is 1
    shape: np.ndarray  # (rows, shapes)
    redundancy: np.ndarray  # (rows,) ρ
    amplitude: np.ndarray  # (rows,) a
    asymptote: np.ndarray  # (rows,) c
    residual: np.ndarray  # (rows,) root mean square

    def error(self, samples: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Return the expected error (rows, sizes) at sizes given by arrays (sizes,)."""
        x = effective_photos(samples, angles, self.redundancy[:, None]) / self.unit
        g = FAMILIES[self.family].basis(x, self.shape[:, None, :])
        return np.clip(self.asymptote[:, None] + self.amplitude[:, None] * g, 0, 1)

    def photos_for(self, error: float) -> np.ndarray:
        """Return the effective photos (rows,) at which `error` is expected; inf where never."""
        family = FAMILIES[self.family]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            g = (error - self.asymptote) / self.amplitude
            x = family.inverse(g, self.shape)
        never = np.isnan(g) | (family.ceiling & (g <= 0))
        return np.where(never, np.inf, x) * self.unit

    def parameters(self) -> dict[str, np.ndarray]:
        """Return the parameters by name, each an array (rows,)."""
        shapes = dict(zip(FAMILIES[self.family].shapes, self.shape.T, strict=True))
        return {
            "amplitude": self.amplitude,
            **shapes,
            "asymptote": self.asymptote,
            "redundancy": self.redundancy,
        }


# ---------------------------------------------------------------------------- fitting


def vary(sizes: np.ndarray) -> bool:
    """Whether the sizes, mostly whole numbers, differ by more than the odd photo of a sample."""
    return len(np.unique(np.rint(sizes))) > 1


def fit_curve(errors: np.ndarray, samples: np.ndarray, angles: np.ndarray, family: str) -> Curve:
    """Fit a family to every row by least squares.

    For a given shape and redundancy the model is linear in a and c, so only shape and redundancy
    are searched (variable projection: Golub and Pereyra, SIAM Journal on Numerical Analysis 1973):
    first on a grid, then in ever smaller steps around its best point. This finds the global optimum
    without starting values. Assumes a ≥ 0, 0 ≤ ρ ≤ 1 and, where the family has a ceiling, c ≥ 0.
    Redundancy is searched only where both axes vary; else it is 0, and m counts photos.

    Cells have equal weights. Their errors vary mostly together, with the difficulty of the test
    samples; this shifts all cells alike and goes into c.

    Parameters
    ----------
    errors : ndarray of shape (rows, cells)
    samples, angles : ndarray of shape (cells,)
        Numbers of samples, and mean numbers of photos of each.
    family : str
        A key of `FAMILIES`.
    """
    kind = FAMILIES[family]
    unit = float(np.exp(np.log(samples * angles).mean()))
    both = vary(samples) and vary(angles)
    low, high = np.vstack([(0.0, float(both)), np.log(list(kind.shapes.values()))]).T

    def basis(place: np.ndarray) -> np.ndarray:  # (..., parameters) → (..., cells)
        x = effective_photos(samples, angles, place[..., :1]) / unit
        return kind.basis(x, np.exp(place[..., None, 1:]))

    def best_of(g: np.ndarray, errors: np.ndarray) -> np.ndarray:  # (rows, places) → (rows,)
        squares = _project(g, errors[:, None], kind.ceiling)[2]
        return np.where(kind.reached & (g > 0).all(axis=-1), np.inf, squares).argmin(axis=1)

    axes = [np.linspace(a, b, COARSE if b > a else 1) for a, b in zip(low, high, strict=True)]
    coarse = np.array(list(product(*axes)))
    g = basis(coarse)
    best = np.concatenate([best_of(g, some) for some in _chunks(errors)])
    place, step = coarse[best], (high - low) / (COARSE - 1)
    around = np.array(list(product((-1, 0, 1), repeat=len(low))))
    for _ in range(HALVINGS):
        step = step / 2
        near = np.clip(place[:, None] + around * step, low, high)
        place = near[np.arange(len(near)), best_of(basis(near), errors)]
    amplitude, asymptote, squares = _project(basis(place), errors, kind.ceiling)
    return Curve(
        family, unit, np.exp(place[:, 1:]), place[:, 0], amplitude, asymptote,
        np.sqrt(np.maximum(squares, 0)),
    )  # fmt: skip


def _chunks(errors: np.ndarray, size: int = 100) -> list[np.ndarray]:
    """Divide the rows into chunks whose grids fit into memory."""
    return [errors[start : start + size] for start in range(0, len(errors), size)]


def _project(
    g: np.ndarray, y: np.ndarray, ceiling: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit y = c + a·g over the last axis by least squares: a, c and the mean squared residual."""
    g_mean, y_mean = g.mean(axis=-1), y.mean(axis=-1)
    gg = (g * g).mean(axis=-1)
    gy = np.einsum("...i,...i->...", g, y) / g.shape[-1]
    variance = np.maximum(gg - g_mean**2, 1e-15)
    a = np.maximum((gy - g_mean * y_mean) / variance, 0)
    c = y_mean - a * g_mean
    if ceiling:
        a = np.where(c < 0, gy / np.maximum(gg, 1e-15), a)
        c = np.maximum(c, 0)
    squares = (
        (y * y).mean(axis=-1) - 2 * (a * gy + c * y_mean) + a * a * gg + 2 * a * c * g_mean + c * c
    )
    return a, c, squares


# ---------------------------------------------------------------------------- choosing


@dataclass(frozen=True)
class Curves:
    """The fits of all families; each row uses the family that extrapolates best.

    The family that fits best need not extrapolate best. So a row uses the family that best predicts
    the largest cells (more than half of the largest cell's photos) from the others (Mahmood et al.,
    CVPR 2022). Each replicate chooses its own family, so intervals include the uncertainty about
    the family; with one family for all replicates they cover far too rarely.
    """

    fits: dict[str, Curve]
    gaps: np.ndarray  # (families, rows) mean absolute error on the held-out cells

    @property
    def chosen(self) -> np.ndarray:
        """Which of `fits` each row uses: ndarray (rows,), int."""
        return self.gaps.argmin(axis=0)

    @property
    def redundancy(self) -> np.ndarray:
        return self._of_chosen([curve.redundancy for curve in self.fits.values()])

    @property
    def ceiling_error(self) -> np.ndarray:
        """Error with endless photos (rows,): c, or 0 for a family without a ceiling."""
        return self._of_chosen(
            [curve.asymptote * FAMILIES[name].ceiling for name, curve in self.fits.items()]
        )

    def error(self, samples: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Return the expected error (rows, sizes) at sizes given by arrays (sizes,)."""
        return self._of_chosen([curve.error(samples, angles) for curve in self.fits.values()])

    def photos_for(self, error: float) -> np.ndarray:
        """Return the effective photos (rows,) at which `error` is expected; inf where never."""
        return self._of_chosen([curve.photos_for(error) for curve in self.fits.values()])

    def _of_chosen(self, of_families: list[np.ndarray]) -> np.ndarray:
        return np.stack(of_families)[self.chosen, np.arange(len(self.chosen))]


def fit_families(errors: np.ndarray, samples: np.ndarray, angles: np.ndarray) -> Curves | None:
    """Fit every family that has enough cells, with and without the largest cells.

    For the parameters see `fit_curve`. A family has enough cells if those without the largest
    outnumber its parameters. None if no family has.
    """
    photos = samples * angles
    # Half of an odd number of samples is rounded: that cell isn't one of the largest.
    half = photos.max() * (1 + 1 / samples.max()) / 2
    held = photos > half * (1 + 1e-9)
    rest = samples[~held], angles[~held]
    shared = 2 + (vary(rest[0]) and vary(rest[1]))  # a, c and, if both axes vary, ρ
    fits, gaps = {}, []
    for name, kind in FAMILIES.items():
        if len(kind.shapes) + shared < len(rest[0]):
            predicted = fit_curve(errors[:, ~held], *rest, name).error(samples[held], angles[held])
            gaps.append(np.abs(predicted - errors[:, held]).mean(axis=1))
            fits[name] = fit_curve(errors, samples, angles, name)
    return Curves(fits, np.stack(gaps)) if fits else None
