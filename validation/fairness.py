"""Are all strategies trained as well as their photos allow? The shipped settings against a sweep.

    python validation/fairness.py RECORD SPLITS NAME=FOLDER:PX[:PATTERN] ...

RECORD is a CSV file that gets a row for each network. What it already has is not trained again, so
a run that was interrupted can be resumed, and splits can be added. SPLITS is the number of random
splits. Each further argument is a collection, of classes or with boxes: its name, folder, photo
size in px and, if it needs one, its pattern (`data.pattern`). Prints tables of everything in
RECORD.

For each collection, split and strategy, two networks are trained on all training photos:

- shipped: with params.yaml as it is: learning rates tuned, training ended by validation;
- sweep: the best, by validation, of 5 learning rates and budgets of 1, 2, 4 and 8 times a base,
  with a cosine schedule. All rates are tried with the base, the best two of them with twice the
  base, the best one with the longer budgets. For frozen, heads are trained, not solved.

The regret is the sweep's test accuracy, or AP50 with boxes, minus that of the shipped settings.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from shotcount.boxes.preparing import choose, open_source, to_table
from shotcount.core import tables
from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import pick_device
from shotcount.networks.features import extract, last_layer
from shotcount.networks.settings import full_name
from shotcount.networks.weights import fetch_weights
from shotcount.parallel.side_by_side import Report, run_side_by_side
from shotcount.params import Params
from shotcount.photos.decoding import decode
from shotcount.photos.preparing import write_pixels
from shotcount.sampling.settings import SplitSettings
from shotcount.sampling.splits import split_samples
from shotcount.sampling.subsets import nested_subsets
from shotcount.scoring.scores import scoring_for
from shotcount.tasks.classes import open_task
from shotcount.tasks.strategies import STRATEGIES, Arrays
from shotcount.training import tune
from shotcount.training.budgets import Rates
from shotcount.training.cells import build_run, fit, training_photos, validation_photos
from shotcount.training.frozen import solve
from shotcount.training.loop import DivergedError
from shotcount.training.settings import FrozenSettings, TrainingSettings, settings_for
from shotcount.training.setup import Compute, Setup
from shotcount.uncertainty.writing import markdown_table

ROOT = Path(__file__).resolve().parents[1]
CPU = pick_device("cpu")  # which also keeps freed memory
RATES = {  # of the sweep, for each strategy; the quickest comes first
    "frozen": (1e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "finetune": (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
    "scratch": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}
BASES = {"scratch": 250, "frozen": 300, "finetune": 125}  # steps
TRIED = {1: 5, 2: 2, 4: 1, 8: 1}  # multiple of the base → how many of the best rates are tried

KEY = ["collection", "px", "split", "strategy", "way"]  # of a row of the record

Trained = tuple[dict[str, Any], Any]  # facts and state of a network


@dataclass(frozen=True)
class Collection:
    name: str
    px: int
    network: str
    manifest: pd.DataFrame
    boxes: pd.DataFrame  # tables.BOXES; empty if the photos are of classes
    arrays: Arrays


@dataclass(frozen=True)
class Job:
    collection: Collection
    split: int
    strategy: str
    way: str  # of WAYS


def read_collection(text: str, params: Params, work: Path) -> Collection:
    """Read the photos that an argument names, and compute their features."""
    name, place = text.split("=", 1)
    folder, size, *pattern = place.split(":", 2)
    px = int(size)
    (work / f"{name}-work").mkdir()
    own = {"pattern": pattern[0] if pattern else None, "table": None, "fit": "auto", "task": "auto"}
    source = open_source(Path(folder), params.data.model_copy(update=own))
    facts = decode(Path(folder), source.photos, px, source.fit, work / f"{name}-work")
    chosen = choose(source, facts, "skip")
    manifest = write_pixels(chosen.photos, px, work / f"{name}-work", work / name)
    boxes = to_table(chosen, manifest, px, source.fit)
    network = full_name(params.model.name, last_layer(params.model, px))
    backbone = build_backbone(network)
    backbone.load_state_dict(fetch_weights(network, params.model.weights, ROOT))
    pixels = Pixels.open(work / name)
    features = np.concatenate(list(extract(open_task(boxes, px).cached(backbone), pixels, CPU)))
    return Collection(name, px, network, manifest, boxes, Arrays(pixels, features))


def set_up(job: Job, params: Params) -> tuple[Setup, dict[str, pd.DataFrame]]:
    """Return the setup of a strategy on one split, and the split.

    The test samples are the same for all seeds. All but the trials of rates use the first seed.
    """
    strategy = STRATEGIES[job.strategy]
    held_out = SplitSettings(folds=None, val=0.15, test=0.35, seed=job.split)
    parts = split_samples(job.collection.manifest, held_out, tune.SEEDS)
    task = open_task(
        job.collection.boxes, job.collection.px, sorted(parts["val"]["label"].unique())
    )
    pretrained = None
    if strategy.pretrained and not strategy.cached:
        pretrained = fetch_weights(job.collection.network, params.model.weights, ROOT)
    alone = params.parallel.model_copy(update={"networks": 1, "processes": 1})
    setup = Setup(
        strategy=job.strategy,
        task=task,
        settings=settings_for(params.train, job.strategy, task.solves_heads),
        rates=None,
        study_seed=params.study.seed,
        network=job.collection.network,
        compute=Compute.of(job.strategy, CPU, params.precision, False, alone),
        arrays=job.collection.arrays,
        pretrained=pretrained,
        subsets=nested_subsets(parts["train"], params.study.angle_order, params.study.seed),
        val=parts["val"],
    )
    return setup, {part: tables.of_seed(rows, 0) for part, rows in parts.items()}


def size_of(setup: Setup) -> dict[str, int]:
    """Return samples and angles of the largest cell."""
    own = tables.of_seed(setup.subsets, 0)
    return {"samples": own["sample"].nunique(), "angles": int(own["angle_position"].max()) + 1}


def train_as_shipped(setup: Setup, params: Params, work: Path) -> Trained:
    if isinstance(setup.settings, FrozenSettings):
        photos = training_photos(setup, setup.subsets, 0), validation_photos(setup, 0)
        solved = solve(setup, *photos)
        return {"steps": 0, "rate": 0.0, "val_loss": solved.val_loss}, solved.state
    largest = {"samples": [1.0], "angles": [size_of(setup)["angles"]]}
    rates, _ = tune.tune(setup, params.study.model_copy(update=largest), work)
    return train(replace(setup, rates=rates), work)


def train(setup: Setup, work: Path) -> Trained:
    """Train a network on all training photos."""
    run = build_run(setup, size_of(setup), setup.subsets, 0)
    state, history = fit(setup, run, work, 1, lambda state, steps: None)
    kept = history[history["kept"]].iloc[0]
    facts = {"steps": int(history["step"].iloc[-1]), "rate": run.rates.learning_rate}
    return facts | {"val_loss": float(kept["val_loss"])}, state


def sweep(setup: Setup, params: Params, work: Path) -> Trained:
    """Return the network of the sweep that has the lowest validation loss."""
    own = setup.settings
    if not isinstance(own, TrainingSettings):  # a head that is solved has no such settings
        own = params.train.scratch
    rates: Sequence[float] = RATES[setup.strategy]
    tried: list[Trained] = []
    for multiple, count in TRIED.items():
        steps = multiple * BASES[setup.strategy]
        fixed = {"schedule": "cosine", "epochs": 1e-9, "min_steps": steps}
        results: list[Trained] = []
        for rate in rates[:count]:
            trial = replace(setup, settings=own.model_copy(update=fixed), rates=Rates(rate, 1.0))
            try:
                results.append(train(trial, work))
            except DivergedError as error:
                print(error, file=sys.stderr)
        results.sort(key=lambda each: each[0]["val_loss"])
        rates = [facts["rate"] for facts, _ in results]
        tried += results
    return min(tried, key=lambda each: each[0]["val_loss"])


WAYS = {"shipped": train_as_shipped, "sweep": sweep}


def test(
    setup: Setup,
    state: dict[str, torch.Tensor],
    boxes: pd.DataFrame,
    parts: dict[str, pd.DataFrame],
) -> dict[str, Any]:
    """Return the name and the value of the metric on the test photos."""
    network, load = setup.task.assemble(
        STRATEGIES[setup.strategy], setup.network, setup.arrays, CPU
    )
    network.load_state_dict(state)
    scoring = scoring_for(setup.classes, boxes)
    pairs = []
    for part in ("test", "val") if scoring.finds else ("test",):
        rows = parts[part]["photo"].to_numpy()
        found = setup.task.predict(network, load, rows)
        pairs.append((scoring.join(parts[part], found), parts[part]))
    scores, _ = scoring.score(*pairs)
    return {"metric": scoring.metric, "score": scores[scoring.metric]}


def compare(params: Params, job: Job, report: Report) -> dict[str, Any]:
    """Train the network of a job; return its row of the record."""
    setup, parts = set_up(job, params)
    start = time.perf_counter()
    with TemporaryDirectory() as work:
        facts, state = WAYS[job.way](setup, params, Path(work))
    seconds = time.perf_counter() - start
    scores = test(setup, state, job.collection.boxes, parts)
    return dict(zip(KEY, key_of(job), strict=True)) | scores | facts | {"seconds": seconds}


def key_of(job: Job) -> tuple[Any, ...]:
    return job.collection.name, job.collection.px, job.split, job.strategy, job.way


def summary(rows: pd.DataFrame) -> str:
    """Return the table of regrets, one row for each collection and strategy."""
    lines, key = [], ["collection", "px", "metric", "strategy"]
    both = rows.groupby([*key, "split"])["way"].transform("nunique") == len(WAYS)
    for (collection, px, metric, strategy), own in rows[both].groupby(key):
        ways = own.pivot(index="split", columns="way")
        score = 100 * ways["score"]
        means = ways[["steps", "seconds"]].mean()
        lines.append(
            [f"{collection}, {px} px", str(metric), str(strategy),
             f"{score['shipped'].mean():.1f}", f"{score['sweep'].mean():.1f}",
             mean(score["sweep"] - score["shipped"]),
             f"{means['steps', 'shipped']:,.0f}", f"{means['steps', 'sweep']:,.0f}",
             f"{means['seconds', 'shipped']:,.0f}", f"{means['seconds', 'sweep']:,.0f}"]
        )  # fmt: skip
    heads = ["collection", "metric", "strategy", "shipped, %", "sweep, %", "regret, points",
             "steps shipped", "steps sweep", "seconds shipped", "seconds sweep"]  # fmt: skip
    return markdown_table(heads, lines)


def leads(rows: pd.DataFrame) -> str:
    """Return the table of the best strategies' leads over the second best, by their mean."""
    lines = []
    for (collection, px, way), own in rows.groupby(["collection", "px", "way"]):
        score = 100 * own.pivot(index="split", columns="strategy", values="score")
        if score.shape[1] < 2:
            continue
        second, best = score.mean().sort_values().index[-2:]
        lead = mean(score[best] - score[second])
        lines.append([f"{collection}, {px} px", str(way), str(best), str(second), lead])
    return markdown_table(["collection", "trained by", "best", "second", "lead, points"], lines)


def mean(values: pd.Series) -> str:
    """Write the mean over splits, and its 95 % interval (Student's t)."""
    if len(values) < 2:
        return f"{values.mean():+.1f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.sem()
    return f"{values.mean():+.1f} ± {half:.1f}"


def main() -> None:
    record, splits, *named = sys.argv[1:]
    params = load_params(ROOT / "params.yaml", Params)
    done = [pd.read_csv(record)] if Path(record).exists() else []
    known = {row for rows in done for row in rows[KEY].itertuples(index=False, name=None)}
    with TemporaryDirectory() as work:
        collections = [read_collection(text, params, Path(work)) for text in named]
        every = product(RATES, range(int(splits)), collections, WAYS)
        jobs = [Job(own, split, strategy, way) for strategy, split, own, way in every]
        jobs = [job for job in jobs if key_of(job) not in known]
        for _, row in run_side_by_side(partial(compare, params), jobs, 2, 1, CPU):
            done.append(pd.DataFrame([row]))
            pd.concat(done).to_csv(record, index=False, float_format="%.6g")
    print(summary(pd.concat(done)), leads(pd.concat(done)), sep="\n\n")


if __name__ == "__main__":
    main()
