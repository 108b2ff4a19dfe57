"""Does the interval of the best strategy's accuracy cover its true accuracy? On simulated studies.

    python validation/choice.py >> docs/calibration.md

Several strategies are tested on the same samples, and the one with the highest accuracy is named.
Prints how much too high its accuracy is, what `choose_strategy` estimates of that, and how often
the 95 % interval covers the true accuracy of the strategy that was named, beside the interval that
does not allow for the choice. Takes three minutes on two cores.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from calibration import in_folds, tally_hits
from scipy import stats

from shotcount.core.seeds import seed_for
from shotcount.findings.compare import choose_strategy
from shotcount.findings.learning import learn_all
from shotcount.uncertainty.metrics import METRICS
from shotcount.uncertainty.writing import markdown_table, percent


@dataclass(frozen=True)
class Design:
    """Strategies with these true accuracies, and what they are tested on."""

    samples: int
    accuracies: tuple[float, ...] = (0.8, 0.8, 0.8)
    folds: int = 5
    seeds: int = 5
    angles: int = 3
    replicates: int = 600
    # Shares of the variance of a photo's latent difficulty, as in calibration.Truth; strategies
    # share those of the sample and the photo.
    of_sample: float = 0.5
    of_photo: float = 0.1
    of_strategy: float = 0.2  # of a sample for one strategy
    of_seed: float = 0.01

    @property
    def name(self) -> str:
        truth = ", ".join(f"{100 * accuracy:.0f}" for accuracy in self.accuracies)
        return f"{self.samples} samples, {self.seeds} seeds; {truth} %"


def simulate(design: Design, rng: np.random.Generator) -> np.ndarray:
    """Draw whether each photo is right: ndarray (strategies, seeds, samples, angles), bool."""
    shape = (len(design.accuracies), design.seeds, design.samples, design.angles)
    shares = (design.of_sample, design.of_photo, design.of_strategy, design.of_seed)
    parts = (
        (design.of_sample, (1, 1, shape[2], 1)),
        (design.of_photo, (1, 1, *shape[2:])),
        (design.of_strategy, (shape[0], 1, shape[2], 1)),
        (design.of_seed, (*shape[:2], 1, 1)),
        (1 - sum(shares), shape),
    )
    difficulty = sum(np.sqrt(share) * rng.standard_normal(part) for share, part in parts)
    threshold = stats.norm.ppf(design.accuracies)
    return np.asarray(difficulty < threshold[:, None, None, None])


def chosen(design: Design, simulation: int) -> dict[str, float]:
    """Simulate a study and choose its best strategy."""
    rng = np.random.default_rng(seed_for("choice", repr(design), simulation))
    right = simulate(design, rng)
    tested = np.repeat(in_folds(design.seeds, design.folds, design.samples, rng), design.angles, 1)
    shown = np.repeat(np.arange(design.samples), design.angles)
    cell = {"samples": 1, "angles": 1, "photos": 1, "seeds": design.seeds}
    scores = pd.DataFrame([{"strategy": str(n)} | cell for n in range(len(right))])
    tallies = {
        (str(n), 1, 1): tally_hits(np.where(tested, own.reshape(tested.shape), np.nan), shown)
        for n, own in enumerate(right)
    }
    learnings = learn_all(scores, tallies, METRICS["accuracy"], design.replicates, rng)
    choice = choose_strategy(learnings)
    truth, e = design.accuracies[int(choice.best.strategy)], choice.score
    plain = choice.best.judge(1 - choice.best.error[:, 0])
    return {
        "too high": e.value - truth,
        "estimated": choice.optimism,
        "covered": float(e.low <= truth <= e.high),
        "not allowing for the choice": float(plain.low <= truth <= plain.high),
    }


def coverage(design: Design, simulations: Sequence[int]) -> dict[str, float]:
    """Return the means over independent simulations; uses all cores."""
    with ProcessPoolExecutor() as pool:
        runs = pool.map(partial(chosen, design), simulations, chunksize=8)
    return pd.DataFrame(list(runs)).mean().to_dict()


DESIGNS = [
    *(Design(samples) for samples in (40, 80, 240)),
    Design(80, seeds=10),
    Design(80, accuracies=(0.8, 0.82, 0.82)),
    Design(80, accuracies=(0.8, 0.85, 0.75)),
]


def main(simulations: int = 400) -> None:
    rows = [
        {"study": design.name}
        | {name: percent(mean) for name, mean in coverage(design, range(simulations)).items()}
        for design in DESIGNS
    ]
    print(
        "\n# Coverage of the interval of the best strategy's accuracy\n\n"
        "Made by `python validation/choice.py >> docs/calibration.md`; its docstring says what is "
        f"done. {simulations} simulated studies a row, 5 folds, three strategies of these true "
        "accuracies.\n"
    )
    print(markdown_table(list(rows[0]), [list(row.values()) for row in rows]))


if __name__ == "__main__":
    main()
