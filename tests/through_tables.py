"""Takes a collection of many photos from its manifest to the answer, without any photo.

    python through_tables.py PHOTOS ANGLES

Run by test_scale.py in a process of its own, for its memory. Prints JSON: the seconds of each step,
the answer's accuracy with its interval, and the most memory that the process held, in MiB.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shotcount.core import tables
from shotcount.core.params import load_params
from shotcount.core.study import available_samples, take_subset
from shotcount.findings import answer, compare, learning
from shotcount.params import Params
from shotcount.photos import decoding, preparing
from shotcount.sampling import splits, subsets
from shotcount.scoring import predictions, scores, tallies, views
from shotcount.uncertainty.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ["plastic", "stone"]


def make_manifest(count: int, angles: int) -> pd.DataFrame:
    """Return the table that `find_photos` would return for `count` photos."""
    sample = np.arange(count) // angles
    label = np.array(CLASSES, dtype=object)[sample * len(CLASSES) // (sample[-1] + 1)]
    name = label + "/" + sample.astype(str).astype(object)
    angle = (np.arange(count) % angles).astype(str).astype(object)
    columns = {"path": name + "/" + angle + ".jpg", "label": label, "sample": name, "angle": angle}
    return pd.DataFrame(columns | {"given_split": ""})


def make_predictions(test: pd.DataFrame, seeds: int, accuracy: float) -> pd.DataFrame:
    """Return predictions of one cell that are right for about a share `accuracy` of the photos."""
    rng = np.random.default_rng(round(1e6 * accuracy))
    truth = np.tile(predictions.class_indices(test["label"], CLASSES), seeds)
    sure = rng.uniform(0.5, 1, len(truth))
    second = np.where((rng.random(len(truth)) < accuracy) == (truth == 1), sure, 1 - sure)
    repeated = test[["photo", "sample", "label"]].iloc[np.tile(np.arange(len(test)), seeds)]
    cell = {"strategy": "frozen", "samples": 1, "angles": 1, "photos": 1}
    ps = dict(zip(map(predictions.probability, CLASSES), (1 - second, second), strict=True))
    return repeated.assign(seed=np.repeat(np.arange(seeds), len(test)), **cell, **ps)


def through_tables(
    count: int, folder: Path, angles: int, seeds: int = 10
) -> tuple[dict[str, float], answer.Answer]:
    """Take a collection of `count` photos from its manifest to the answer, without any photo.

    Returns the seconds of each step, and the answer, from made-up predictions: 70 to 85 % right.
    """
    params, seconds = load_params(ROOT / "params.yaml", Params), dict[str, float]()
    rng = np.random.default_rng(0)

    def do(step: Callable[..., Any], *arguments: Any, what: str = "") -> Any:
        start = time.perf_counter()
        result = step(*arguments)
        name = f"{step.__module__.rpartition('.')[2]}.{step.__name__}".removeprefix("tables.")
        seconds[name + what] = time.perf_counter() - start
        return result

    def keep(name: str, frame: pd.DataFrame, columns: tables.Table) -> pd.DataFrame:
        what = f" {name}, {len(frame):,} rows"
        do(tables.write, folder / name, frame[list(columns)], columns, what=what)
        return do(tables.read, folder / name, columns, what=what)

    found = make_manifest(count, angles)
    facts = [decoding.Facts(4000, 3000, f"{place:064x}", place) for place in range(count)]
    usable, _ = do(preparing.judge, found, facts, "error")
    del facts, found
    manifest = keep("manifest", usable.assign(photo=np.arange(count)), tables.MANIFEST)
    del usable
    parts = do(splits.split_samples, manifest, params.split, seeds, what=f", {seeds} seeds")
    draws = do(subsets.nested_subsets, parts["train"], "spread", 0, what=f", {seeds} seeds")
    draws = keep("subsets", draws, tables.SUBSETS)
    half = do(take_subset, draws, available_samples(draws) // 2, angles)
    assert half.groupby("seed").size().nunique() == 1
    del manifest, draws, half

    counted, scored = {}, []
    for n, k, accuracy in ((1, 1, 0.7), (1, 10, 0.75), (2, 1, 0.8), (2, 10, 0.85)):
        run = make_predictions(parts["test"], seeds, accuracy)
        cell = {"strategy": "frozen", "samples": n, "angles": k, "photos": n * k}
        scored.append(cell | do(scores.score, run, CLASSES, what=" of a cell"))
        do(scores.confusion, run, CLASSES, what=" of a cell")
        counted["frozen", n, k] = do(tallies.tally, run, CLASSES, what=" of a cell")
    run = keep("predictions", run, predictions.prediction_columns(CLASSES))
    seen, _ = do(views.tally_by_views, run, CLASSES, rng)
    cells, replicates = pd.DataFrame(scored), params.answer.replicates
    metric = METRICS["accuracy"]
    learned = do(learning.learn_all, cells, counted, metric, replicates, rng, what=", 4 cells")
    do(compare.score_by_views, learned[0], seen)
    return seconds, do(answer.answer_study, learned, 0.5, params.answer, {"frozen": []}, 0.65)


if __name__ == "__main__":
    seconds, reached = through_tables(int(sys.argv[1]), Path(), int(sys.argv[2]))
    # Not getrusage's figure, which counts what the parent held when it forked.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    most = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps([seconds, vars(reached.score), most]))
