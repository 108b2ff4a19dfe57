"""What does a photo cost, stage by stage? Synthetic collections of a thousand photos and more.

    python benchmarks/scaling.py stages 1000 10000 100000
    python benchmarks/scaling.py tables 1000000
    python benchmarks/scaling.py photo
    python benchmarks/scaling.py reads 20000
    python benchmarks/scaling.py ranks 2

`stages` runs the stages of a frozen study, and a cell of the other strategies, on tiny photos: what
counts is their number. `photo` measures the rest, on a photo as a phone takes it. `tables` measures
the tables and the statistics of so many photos. `reads` reads photos of 224 px in several orders
from a disk whose cache was emptied. `ranks` trains one network with one process and with so many
(on GPUs, if there are any). Each prints a Markdown table.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml
from measure import ROOT, run_stage, seconds_of
from PIL import Image

from shotcount.core import tables
from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels, write_shards
from shotcount.findings import answer, compare, learning
from shotcount.params import Params
from shotcount.photos import decoding, preparing
from shotcount.sampling import splits, subsets
from shotcount.scoring import predictions, scores, views
from shotcount.uncertainty.writing import markdown_table

# torch is imported where it is needed: `tables` must not be charged with its memory.
ANGLES = 10  # photos of each sample
CLASSES = ["plastic", "stone"]
Make = Callable[[Path, int], None]  # writes a study of so many photos into a folder
NETWORK = "tf_efficientnet_lite0"
STAGES = (
    "backbone", "prepare", "split", "subsample", "features", "train frozen 0.5 1",
    "train frozen 0.5 10", "train frozen 1.0 1", "train frozen 1.0 10", "train scratch 1.0 10",
    "train finetune 1.0 10", "evaluate frozen", "classifier", "gallery", "plot",
)  # fmt: skip


def make_project(folder: Path, count: int, size: int = 32, **changes: Any) -> None:
    """Write a study of the frozen strategy on `count` different photos of `size` px."""
    rng = np.random.default_rng(0)
    for number in range(count):
        sample, angle = divmod(number, ANGLES)
        path = folder / "photos" / CLASSES[sample % 2] / str(sample) / f"{angle}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 200 + 55 * (sample % 2), (size, size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, compress_level=0)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")) | changes
    params["data"] |= {"path": "photos", "size": size}
    params["study"] |= {"strategies": ["frozen"], "samples": [0.5, 1.0], "angles": [1, ANGLES]}
    params["study"]["frozen_grid"] = {"samples": [], "angles": []}
    for strategy, own in params["train"].items():
        own |= {"epochs": 1, "min_steps": 1, "validations": 1}
        own["seeds"] = (
            own["seeds"] if strategy == "frozen" else 1
        )  # one takes longer than ten heads
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def stage_table(*counts: int, stages: Sequence[str] = STAGES, make: Make = make_project) -> str:
    """Run stages on collections of each size, which `make` writes: what does a photo cost?"""
    costs = {}
    for count in counts:
        with TemporaryDirectory() as name:
            make(Path(name), count)
            costs[count] = {stage: run_stage(Path(name), stage) for stage in stages}
    few, many, rows = counts[0], counts[-1], []
    for stage in stages:
        first, last = costs[few][stage], costs[many][stage]
        further = [(b - a) / (many - few) for a, b in zip(first, last, strict=True)]
        row = [stage, *(f"{costs[count][stage].wall:.1f}" for count in counts)]
        row += [f"{1000 * further[1]:z.3f}", f"{first.memory:.0f}", f"{last.memory:.0f}"]
        rows.append([*row, f"{further[3]:z.0f}"])
    heads = ["stage", *(f"s at {count:,}" for count in counts), "ms a further photo"]
    heads += [f"MiB resident at {count:,}" for count in (few, many)]
    return markdown_table([*heads, "bytes a further photo"], rows)


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
    count: int, folder: Path, angles: int = ANGLES, seeds: int = 10
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
    parts = do(splits.split_samples, manifest, params.split.val, params.split.test, 0)
    draws = do(subsets.nested_subsets, parts["train"], "spread", seeds, 0, what=f", {seeds} draws")
    draws = keep("subsets", draws, tables.SUBSETS)
    half = do(subsets.take_subset, draws, draws["sample"].nunique() // 2, angles)
    assert half.groupby("seed").size().nunique() == 1
    del manifest, draws, half

    hits, scored = {}, []
    for n, k, accuracy in ((1, 1, 0.7), (1, 10, 0.75), (2, 1, 0.8), (2, 10, 0.85)):
        run = make_predictions(parts["test"], seeds, accuracy)
        cell = {"strategy": "frozen", "samples": n, "angles": k, "photos": n * k}
        scored.append(cell | do(scores.score, run, CLASSES, what=" of a cell"))
        do(scores.confusion, run, CLASSES, what=" of a cell")
        hits["frozen", n, k], shown = do(predictions.hits, run, CLASSES, what=" of a cell")
    run = keep("predictions", run, predictions.prediction_columns(CLASSES))
    seen = do(views.right_by_views, run, CLASSES, rng)
    cells, replicates = pd.DataFrame(scored), params.answer.replicates
    learned = do(learning.learn_all, cells, hits, shown, replicates, rng, what=", 4 cells")
    do(compare.accuracy_by_views, learned[0], *seen)
    return seconds, do(answer.answer_study, learned, 0.5, params.answer)


def measure_tables(count: int) -> str:
    with TemporaryDirectory() as folder:
        seconds, _ = through_tables(count, Path(folder))
        files = [(p.parent.name, p.stat().st_size / 1e6) for p in Path(folder).glob("*/table.*")]
    shown = markdown_table(["step", "s"], [[step, f"{s:.1f}"] for step, s in seconds.items()])
    return f"{shown}\n\nFiles: {', '.join(f'{name} {size:.0f} MB' for name, size in files)}."


def measure_photo(times: int = 64) -> str:
    """Time what tiny photos leave out: decoding 12 megapixels, and the network at 224 px."""
    import torch

    from shotcount.networks.backbones import build_backbone

    rng, file = np.random.default_rng(0), BytesIO()
    coarse = Image.fromarray(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8))
    coarse.resize((4000, 3000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    x = torch.from_numpy(rng.integers(0, 255, (32, 3, 224, 224), dtype=np.uint8)).float()
    network = build_backbone(NETWORK)  # beside which a head takes no time

    def decode() -> None:
        decoding.read_photo(BytesIO(file.getvalue()), 224)

    def look() -> None:
        with torch.inference_mode():
            network.eval()(x)

    def train() -> None:
        network.train()(x).sum().backward()

    torch.set_num_threads(1)
    rows, megabytes = [], len(file.getvalue()) / 1e6
    for what, work, photos in (
        (f"decode a JPEG of 4000 × 3000 px, {megabytes:.1f} MB, to 224 px", decode, 1),
        ("one pass of EfficientNet-Lite0 at 224 px", look, len(x)),
        ("one training step of it, a photo", train, len(x)),
    ):
        seconds = seconds_of(work, times // photos, torch.device("cpu"))
        rows.append([what, f"{1000 * seconds / photos:.1f}"])
    return markdown_table(["what", "ms a photo, one core"], rows)


def measure_reads(count: int, batch: int = 32) -> str:
    """Read photos in batches, in the order of the array, at random, and as training draws them."""
    from shotcount.training import batches

    rng, some = np.random.default_rng(0), min(8000, count)
    decoded = rng.integers(0, 255, (64, 224, 224, 3), dtype=np.uint8)
    batches.WINDOW = 4096  # so that so few photos make several windows
    orders = {
        "in the order of the array": np.arange(count),
        "at random": rng.permutation(count),
        "by windows of 4,096": batches.draw_batch(0, count, count, ("reads",)),
    }
    with TemporaryDirectory(dir=ROOT) as name:  # on a disk: /tmp may be in memory
        start, folder = time.perf_counter(), Path(name, "pixels")
        write_shards(folder, decoded, rng.integers(0, 64, count))
        rows = [["(written and hashed)", f"{count / (time.perf_counter() - start):.0f}"]]
        for order, places in orders.items():
            for path in folder.iterdir():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            pixels, start = Pixels.open(folder), time.perf_counter()
            for first in range(0, some, batch):
                pixels[places[first : first + batch]].sum()
            rows.append([order, f"{some / (time.perf_counter() - start):.0f}"])
    return markdown_table(["order", "photos/s"], rows)


def training_rate(batch_size: int, px: int = 64) -> float:
    """Train a network as one of several ranks, or alone; return photos/s."""
    from sides import Setting, gather, shotcount_rate

    from shotcount.networks.devices import pick_device
    from shotcount.training.strategies import Arrays

    found = make_manifest(batch_size, 1).assign(photo=range(batch_size))
    parts = {"train": found, "val": found}
    setting = Setting(NETWORK, px, pick_device("auto"), "auto", {}, Path(), found, parts, {})
    pixels = np.random.default_rng(0).integers(0, 255, (batch_size, px, px, 3), dtype=np.uint8)
    arrays = Arrays(pixels, np.empty((0, 1, 0), np.float32))
    own = load_params(ROOT / "params.yaml", Params).train.finetune
    own = own.model_copy(update={"batch_size": batch_size})
    # From random weights: a step takes as long as from pretrained ones.
    return shotcount_rate(
        gather(setting, "scratch", own, arrays), 17 * batch_size
    ).photos_per_second


def measure_ranks(processes: int) -> str:
    """Time the launch of ranks that do nothing, and training with several shares of a batch."""
    from shotcount.networks.devices import pick_device
    from shotcount.training import ranks

    device, start, rows = pick_device("auto"), time.perf_counter(), []
    ranks.launch(os.getpid, processes, device)
    launch = time.perf_counter() - start
    for share in (4, 8, 16, 32, 64):
        work = partial(training_rate, share * processes)
        rows.append([str(share), f"{work():.0f}", f"{ranks.launch(work, processes, device):.0f}"])
    heads = [f"photos of a batch for each of {processes}", "photos/s of one process"]
    shown = markdown_table([*heads, f"of {processes}"], rows)
    return f"{shown}\n\nTo launch them: {launch:.1f} s."


if __name__ == "__main__":
    measures: dict[str, Callable[..., str]] = {
        "stages": stage_table, "tables": measure_tables, "photo": measure_photo,
        "reads": measure_reads, "ranks": measure_ranks,
    }  # fmt: skip
    print(measures[sys.argv[1]](*map(int, sys.argv[2:])))
