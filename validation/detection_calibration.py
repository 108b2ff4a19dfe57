"""Do the intervals of AP50 cover the truth? On simulated studies of photos with boxes.

    python validation/detection_calibration.py >> docs/calibration.md

Two strategies detect objects of three classes in the same scenes. What is missed and what is
invented vary with the scene, for all seeds and strategies alike, so a scene's detections tend to be
right or wrong together. Prints how often the 95 % intervals cover the true AP50 of the better
strategy, its lead, and its AP50 of the rarest class; the truth is measured on many more scenes and
seeds. Takes four minutes on two cores.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from calibration import in_folds
from scipy import sparse, stats

from shotcount.core.seeds import seed_for
from shotcount.findings.learning import learn_all, measured
from shotcount.findings.parts import precision_by_class
from shotcount.scoring.matching import Matches, rank_in
from shotcount.uncertainty.bootstrap import Resamples, difference
from shotcount.uncertainty.intervals import Estimate
from shotcount.uncertainty.metrics import DETECTION_METRICS, bootstrap_metric
from shotcount.uncertainty.writing import markdown_table

AP50 = DETECTION_METRICS["ap50"]
LABELS = ["often", "at times", "rarely"]


@dataclass(frozen=True)
class Design:
    """How many scenes are tested how, and how well two strategies detect."""

    scenes: int
    seeds: int = 5
    folds: int = 5  # 1: every seed tests all scenes
    found: tuple[float, ...] = (0.85, 0.75)  # share of the objects that each strategy finds
    invented: tuple[float, ...] = (1.0, 1.5)  # false alarms a photo
    shares: tuple[float, ...] = (0.5, 0.3, 0.2)  # of the classes
    objects: float = 4.0  # a scene, on average
    replicates: int = 600
    # Shares of the variance of an object's latent difficulty; strategies share those of the scene
    # and the object.
    of_scene: float = 0.25
    of_object: float = 0.25
    of_strategy: float = 0.1  # of a scene for one strategy
    of_seed: float = 0.01
    spread: float = 0.7  # standard deviation, over scenes, of the logarithm of the false alarms

    @property
    def name(self) -> str:
        tested = f"{self.folds} folds" if self.folds > 1 else "held out"
        return f"{self.scenes} scenes, {tested}, {self.seeds} seeds"


def simulate(design: Design, rng: np.random.Generator) -> list[Matches]:
    """Draw scenes, and what the seeds of each strategy detect in those that they test."""
    scenes, seeds = design.scenes, design.seeds
    tested = in_folds(seeds, design.folds, scenes, rng)
    seed, scene = np.nonzero(tested)  # of each image
    # Several objects a scene, of some scenes none: a negative binomial distribution
    count = rng.poisson(rng.gamma(3, design.objects / 3, scenes))
    own = np.repeat(np.arange(scenes), count)  # the scene of each object
    named = rng.choice(len(LABELS), len(own), p=design.shares)
    hard = rng.standard_normal(scenes)
    shared = np.sqrt(design.of_scene) * hard[own]
    shared += np.sqrt(design.of_object) * rng.standard_normal(len(own))
    alarming = design.spread * rng.standard_normal(scenes)
    place = np.repeat(np.arange(len(seed)), count[scene])  # each image and object in it
    asked = (np.cumsum(count) - count)[scene[place]] + rank_in(place)
    held = sparse.csr_array((np.ones(len(own), int), (own, named)), (scenes, len(LABELS)))[scene]
    runs = []
    for found, invented in zip(design.found, design.invented, strict=True):
        of_strategy = np.sqrt(design.of_strategy) * rng.standard_normal(scenes)
        of_seed = np.sqrt(design.of_seed) * rng.standard_normal(seeds)
        rest = 1 - design.of_scene - design.of_object - design.of_strategy - design.of_seed
        noise = np.sqrt(rest) * rng.standard_normal(len(place))
        hardness = shared[asked] + of_strategy[own[asked]] + of_seed[seed[place]] + noise
        margin = stats.norm.ppf(found) - hardness
        right = margin > 0
        margin = margin[right]
        rate = invented * np.exp(alarming - design.spread**2 / 2)
        wrong = np.repeat(np.arange(len(seed)), rng.poisson(rate[scene]))  # images
        at = np.concatenate([place[right], wrong])
        strength = np.concatenate([0.3 + 0.6 * margin, -0.6 + 0.4 * alarming[scene[wrong]]])
        strength += 0.2 * of_seed[seed[at]] + 0.7 * rng.standard_normal(len(at))
        hit = np.repeat([1, 0], [len(margin), len(wrong)]).astype(np.int8)
        of = np.append(named[asked[right]], rng.choice(len(LABELS), len(wrong), p=design.shares))
        order = np.lexsort((-strength, at))
        score = stats.norm.cdf(strength)
        runs.append(
            Matches(
                LABELS, seed, scene, scene, held, at[order], of[order], score[order],
                hit[order, None],
            )
        )  # fmt: skip
    return runs


def truth(design: Design, runs: int = 40) -> dict[str, float]:
    """Return the true numbers: means over large studies with a seed of its own for ten scenes."""
    many = replace(design, scenes=10_000, seeds=1000, folds=1000)
    once = Resamples.once(many.scenes, many.seeds)
    found = []
    for run in range(runs):
        rng = np.random.default_rng(seed_for("true AP50", run))
        one, other = simulate(many, rng)
        found.append(
            [bootstrap_metric([of], AP50, once)[0, 0] for of in (one, one.of_class(2), other)]
        )
    best, rarest, worse = (float(mean) for mean in np.mean(found, axis=0))
    return {"AP50": best, "lead": best - worse, "AP50 of the rarest class": rarest}


def covered(design: Design, true: dict[str, float], simulation: int) -> dict[str, float]:
    """Simulate a study; return which of its intervals cover the truth, as 0 or 1."""
    rng = np.random.default_rng(seed_for("AP50", repr(design), simulation))
    runs = simulate(design, rng)
    cell = {"samples": 1, "angles": 1, "photos": 1, "seeds": design.seeds}
    scores = pd.DataFrame([{"strategy": str(n)} | cell for n in range(len(runs))])
    matches = {(str(n), 1, 1): run for n, run in enumerate(runs)}
    one, other = learn_all(scores, matches, AP50, design.replicates, rng)
    rare = {row.label: row.score for row in precision_by_class(one, runs[0])}
    both = difference(one.resamples, other.resamples)
    checks = {
        "AP50": one.judge(1 - one.error[:, 0]),
        "lead": measured((other.error - one.error)[:, 0], both),
        "AP50 of the rarest class": rare.get(LABELS[-1], Estimate(np.nan, 0, 1)),
    }
    result = {name: float(e.low <= true[name] <= e.high) for name, e in checks.items()}
    return result | {f"half of {name}": (e.high - e.low) / 2 for name, e in checks.items()}


def coverage(
    design: Design, true: dict[str, float], simulations: Sequence[int]
) -> dict[str, float]:
    """Return the means over independent simulations; uses all cores."""
    with ProcessPoolExecutor() as pool:
        runs = pool.map(partial(covered, design, true), simulations, chunksize=8)
    return pd.DataFrame(list(runs)).mean().to_dict()


DESIGNS = [
    *(Design(scenes) for scenes in (20, 50, 150)),
    Design(50, seeds=10),
    Design(50, folds=1),
]


def main(simulations: int = 300) -> None:
    true = truth(DESIGNS[0])
    rows = []
    for design in DESIGNS:
        means = coverage(design, true, range(simulations))
        cells = {
            name: f"{100 * means[name]:.0f} % (± {100 * means[f'half of {name}']:.1f})"
            for name in true
        }
        rows.append({"study": design.name} | cells)
    numbers = ", ".join(f"{name} {number:.3f}" for name, number in true.items())
    print(
        "\n# Coverage of intervals of AP50\n\n"
        "Made by `python validation/detection_calibration.py >> docs/calibration.md`; its "
        f"docstring says what is simulated. {simulations} simulated studies a row. The truth: "
        f"{numbers}. In brackets: half of the mean width, in points.\n"
    )
    print(markdown_table(list(rows[0]), [list(row.values()) for row in rows]))


if __name__ == "__main__":
    main()
