"""A study of photos with boxes, whose detections are made to order."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from shotcount.core import tables
from shotcount.core.study import SizeSettings, StudySettings
from shotcount.findings.answer import Answer
from shotcount.findings.settings import AnswerSettings
from shotcount.findings.study import study_results
from shotcount.scoring.detections import TESTED
from shotcount.scoring.predictions import predictions_of
from shotcount.scoring.scores import Scoring, scoring_for

LABELS = ["<b>cap</b>", "bottle", "net"]
RARE = [0.1, 0.6, 0.3]  # how common they are
FOLDS, VIEWS, SIDE = 3, 2, 160.0  # px
SIZES = tuple(product((4, 8, 16, 32), (1, 2)))
STRATEGIES = {"scratch": 0.5, "frozen": 0.75, "finetune": 0.9}  # shares that are found at best


def make_boxes(scenes: int, labels: Sequence[str] = LABELS) -> pd.DataFrame:
    """Return objects of scenes with `VIEWS` photos each, as BOXES; some photos have none."""
    rng = np.random.default_rng(0)
    share = np.array(RARE[: len(labels)])
    rows = []
    for photo in range(scenes * VIEWS):
        for _ in range(rng.integers(0, 6)):
            left, top = rng.uniform(0, SIDE - 60, 2)
            wide, high = rng.uniform(20, 60, 2)
            label = rng.choice(labels, p=share / share.sum())
            rows.append((photo, label, left, top, left + wide, top + high, False))
    return pd.DataFrame(rows, columns=list(tables.BOXES)).astype(tables.BOXES)


def detect(
    boxes: pd.DataFrame, tested: pd.DataFrame, found: float, labels: Sequence[str] = LABELS
) -> pd.DataFrame:
    """Return detections of a share `found` of the objects, some wrong ones, and some of nothing."""
    rng = np.random.default_rng(0)  # what is easy is easy for all cells
    there = tested.merge(boxes, on="photo")
    chance, noise = rng.random(len(there)), rng.normal(0, 4, (len(there), 4))
    named = np.where(rng.random(len(there)) < 0.1, rng.choice(labels, len(there)), there["label"])
    score = rng.beta(4, 2, len(there))
    right = there.assign(label=named, score=score.clip(0.01, 1))
    right[list(tables.CORNERS)] += noise
    right = right[chance < found]
    corner = rng.uniform(0, SIDE - 30, (len(tested), 2))
    nothing = tested.assign(
        label=rng.choice(labels, len(tested)), score=rng.beta(2, 4, len(tested))
    )
    nothing[list(tables.CORNERS)] = np.hstack([corner, corner + 30])
    both = pd.concat([right, nothing[rng.random(len(tested)) < 0.3]], ignore_index=True)
    return both[["seed", "photo", "sample", "label", "score", *tables.CORNERS]]


def write_evaluation(
    folder: Path, strategies: Mapping[str, float], scenes: int, labels: Sequence[str] = LABELS
) -> tuple[pd.DataFrame, pd.DataFrame, Scoring]:
    """Write what the stage evaluate would. Returns the manifest, the boxes and the scoring."""
    boxes = make_boxes(scenes, labels)
    scoring = scoring_for(list(labels), boxes)
    photo = np.arange(scenes * VIEWS)
    scene = [f"scene{n // VIEWS:03d}" for n in photo]
    tested = pd.DataFrame({"seed": photo // VIEWS % FOLDS, "photo": photo, "sample": scene})
    for strategy, best in strategies.items():
        scores, faults = [], []
        for n, k in SIZES:
            cell = {"strategy": strategy, "samples": n, "angles": k, "photos": n * k}
            run = detect(boxes, tested, best - 0.8 * (n * k) ** -0.5, labels)
            path = predictions_of(folder / strategy, n, k)
            tables.write(path, run.assign(**cell), scoring.predictions)
            # The same photos stand for those of validation.
            scored, costs = scoring.score((run, tested), (run, tested))
            scores.append(cell | scored)
            faults.append(costs.assign(**cell))
        tables.write(folder / strategy / "scores.csv", pd.DataFrame(scores), scoring.scores)
        tables.write(folder / strategy / "confusion.csv", pd.concat(faults), scoring.confusion)
        tables.write(folder / strategy / "tested", tested, TESTED)
    manifest = pd.DataFrame({"photo": photo, "label": labels[0], "angle": ""})
    return manifest, boxes, scoring


def make_study(
    folder: Path,
    strategies: Mapping[str, float] = STRATEGIES,
    scenes: int = 60,
    labels: Sequence[str] = LABELS,
    **wanted: float | str,
) -> tuple[dict[str, pd.DataFrame], Answer]:
    """Answer a study of detectors; `wanted` are settings of the section answer."""
    manifest, _, scoring = write_evaluation(folder, strategies, scenes, labels)
    settings = AnswerSettings(
        metric="auto", tolerance=0.01, target_accuracy="auto", cost_per_sample=1.0,
        cost_per_photo=0.1, cost_per_box=0.0, replicates=200, reference={},
    ).model_copy(update=wanted)  # fmt: skip
    study = StudySettings(
        strategies=list(strategies), samples=[1.0], angles=[1], draws=FOLDS, seed=0,
        frozen_grid=SizeSettings(samples=[], angles=[]), angle_order="spread",
    )  # fmt: skip
    unsettled: dict[str, list[str]] = {name: [] for name in strategies}
    results, answer, _ = study_results(folder, study, manifest, scoring, settings, unsettled, 0.6)
    looks = [
        {"strategy": strategy, "samples": n, "angles": k, "photos": n * k, "seed": seed,
         "step": step, "epoch": step / 10, "learning_rate": 0.1, "train_loss": 2.0,
         "val_loss": 3 - step / 20, "val_accuracy": 0.5 + step / 100, "factor": 1.0,
         "kept": step == 30}
        for strategy in strategies for n, k in SIZES for seed in range(FOLDS)
        for step in (10, 20, 30)
    ]  # fmt: skip
    return results | {"history": pd.DataFrame(looks)}, answer
