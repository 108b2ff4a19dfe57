"""What does a photo cost, stage by stage? Synthetic collections of a thousand photos and more.

    python benchmarks/scaling.py stages 1000 10000 100000
    python benchmarks/scaling.py tables 1000000
    python benchmarks/scaling.py photo
    python benchmarks/scaling.py reads 20000
    python benchmarks/scaling.py ranks 2

`stages` runs the stages of a frozen study, and a cell of the other strategies, on tiny photos,
which cost little to decode and to compute on, so that what it measures is all the rest: files,
tables, statistics. `photo` measures what was left out, on a photo as a phone takes it. `tables`
has no photos at all: the tables and the statistics of a collection of that size. `reads` takes
photos of 224 px from a disk whose cache was emptied of them, in several orders. `ranks` trains one
network by one process and by so many (on GPUs, where there are any). Each prints a table in
Markdown.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from shotcount.core import tables
from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels, write_shards
from shotcount.findings import answer, compare, learning
from shotcount.photos import decoding, preparing
from shotcount.sampling import splits, subsets
from shotcount.scoring import predictions, views

ROOT = Path(__file__).resolve().parents[1]
ANGLES = 10  # photos of each sample
SIZE = 32  # px
CLASSES = ["plastic", "stone"]
STAGES = {  # script and arguments → what it makes
    "backbone.py": "data/backbone.safetensors",
    "prepare.py": "data/pixels",
    "split.py": "data/splits",
    "subsample.py": "data/subsets",
    "features.py": "data/features.npy",
    "train.py frozen 0.5 1": "data/models/frozen/0.5x1",
    "train.py frozen 0.5 10": "data/models/frozen/0.5x10",
    "train.py frozen 1.0 1": "data/models/frozen/1.0x1",
    "train.py frozen 1.0 10": "data/models/frozen/1.0x10",
    "train.py scratch 1.0 10": "data/models/scratch/1.0x10",
    "train.py finetune 1.0 10": "data/models/finetune/1.0x10",
    "evaluate.py frozen": "data/evaluation",
    "classifier.py": "data/classifier",
    "gallery.py": "data/gallery",
    "plot.py": "metrics",
}


# ---------------------------------------------------------------------------- stages


@dataclass(frozen=True)
class Cost:
    seconds: float
    memory: float  # MiB, largest resident size
    disk: int  # bytes of what was made


def make_project(folder: Path, count: int) -> None:
    """Write a study of the frozen strategy on `count` photos, none like another."""
    rng = np.random.default_rng(0)
    for number in range(count):
        sample, angle = divmod(number, ANGLES)
        path = folder / "photos" / CLASSES[sample % 2] / str(sample) / f"{angle}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 200 + 55 * (sample % 2), (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, compress_level=0)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"path": "photos", "size": SIZE}
    params["study"] |= {
        "strategies": ["frozen"],
        "angles": [1, ANGLES],
        "frozen_grid": {"samples": [], "angles": []},
    }
    short = {"epochs": 1, "min_steps": 1, "validations": 1}
    params["train"]["frozen"] |= short
    for name in ("scratch", "finetune"):  # one cell each, which takes longer than all the rest
        params["train"][name] |= short | {"seeds": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def run(folder: Path, command: str, made: str) -> Cost:
    """Run a stage's command in a process of its own."""
    script, *arguments = command.split()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "stages" / script), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    top = folder / made
    paths = [top] if top.is_file() else top.rglob("*")
    disk = sum(path.stat().st_size for path in paths if path.is_file())
    return Cost(seconds, usage.ru_maxrss / 1024, disk)


def measure_stages(counts: list[int]) -> str:
    """Run every stage on collections of each size; return a table of what a further photo costs."""
    costs: dict[int, dict[str, Cost]] = {}
    for count in counts:
        with TemporaryDirectory() as name:
            folder = Path(name)
            make_project(folder, count)
            costs[count] = {command: run(folder, command, STAGES[command]) for command in STAGES}
    few, many = counts[0], counts[-1]
    head = [f"s at {count:,}" for count in counts]
    head += ["ms a further photo", f"MiB resident at {many:,}", "bytes a further photo"]
    lines = [f"| stage | {' | '.join(head)} |", "|---|" + "--:|" * len(head)]
    for command in STAGES:
        first, last = costs[few][command], costs[many][command]
        cells = [f"{costs[count][command].seconds:.1f}" for count in counts]
        cells.append(f"{1000 * (last.seconds - first.seconds) / (many - few):z.3f}")
        cells.append(f"{last.memory:.0f}")
        cells.append(f"{(last.disk - first.disk) / (many - few):z.0f}")
        lines.append(f"| {command.replace('.py', '')} | {' | '.join(cells)} |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------- tables


def make_manifest(count: int, angles: int) -> pd.DataFrame:
    """Return the table that `photos.find_photos` would of `count` photos."""
    sample = np.arange(count) // angles
    label = np.array(CLASSES, dtype=object)[sample * len(CLASSES) // (sample[-1] + 1)]
    name = label + "/" + sample.astype(str).astype(object)
    angle = (np.arange(count) % angles).astype(str).astype(object)
    columns = {"path": name + "/" + angle + ".jpg", "label": label, "sample": name, "angle": angle}
    return pd.DataFrame(columns | {"given_split": ""})


def make_predictions(test: pd.DataFrame, seeds: int, accuracy: float) -> pd.DataFrame:
    """Return predictions of one cell that are right for about a share `accuracy` of the photos."""
    rng = np.random.default_rng(round(1e6 * accuracy))
    truth = np.tile(predictions.places(test["label"], CLASSES), seeds)
    sure = rng.uniform(0.5, 1, len(truth))
    second = np.where((rng.random(len(truth)) < accuracy) == (truth == 1), sure, 1 - sure)
    repeated = test[["photo", "sample", "label"]].iloc[np.tile(np.arange(len(test)), seeds)]
    cell = {"strategy": "frozen", "samples": 1, "angles": 1, "photos": 1}
    ps = dict(zip(map(predictions.probability, CLASSES), (1 - second, second), strict=True))
    return repeated.assign(seed=np.repeat(np.arange(seeds), len(test)), **cell, **ps)


class Stopwatch:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start


def through_tables(
    count: int, folder: Path, angles: int = ANGLES, seeds: int = 10
) -> tuple[dict[str, float], answer.Answer]:
    """Take a collection of `count` photos from its manifest to the answer, without any photo.

    Returns
    -------
    seconds : dict of str to float
        Of each step.
    answer : Answer
        Of predictions that are made up: accuracies of 0.7 to 0.85.
    """
    watch, params = Stopwatch(), load_params(ROOT / "params.yaml")

    def keep(name: str, frame: pd.DataFrame, columns: tables.Table) -> pd.DataFrame:
        with watch(f"write {name}, {len(frame):,} rows"):
            tables.write(folder / name, frame[list(columns)], columns)
        with watch(f"read {name}, {len(frame):,} rows"):
            return tables.read(folder / name, columns)

    found = make_manifest(count, angles)
    facts = [decoding.Facts(4000, 3000, f"{place:064x}", place) for place in range(count)]
    with watch("photos.judge"):
        usable, _ = preparing.judge(found, facts, "error")
    del facts, found
    manifest = keep("manifest", usable.assign(photo=np.arange(count)), tables.MANIFEST)
    del usable
    with watch("splits.split_samples"):
        parts = splits.split_samples(manifest, params.split.val, params.split.test, 0)
    with watch(f"splits.nested_subsets, {seeds} draws"):
        subsets = subsets.nested_subsets(parts["train"], "spread", seeds, 0)
    subsets = keep("subsets", subsets, tables.SUBSETS)
    with watch("splits.take_subset"):
        half = subsets.take_subset(subsets, subsets["sample"].nunique() // 2, angles)
    assert half.groupby("seed").size().nunique() == 1
    del manifest, subsets, half

    test, hits, scores = parts["test"], {}, []
    for n, k, accuracy in ((1, 1, 0.7), (1, 10, 0.75), (2, 1, 0.8), (2, 10, 0.85)):
        run = make_predictions(test, seeds, accuracy)
        cell = {"strategy": "frozen", "samples": n, "angles": k}
        if accuracy == 0.85:
            run = keep("predictions", run, predictions.prediction_columns(CLASSES))
            with watch("scoring.views"):
                views = views.right_by_views(run, CLASSES, np.random.default_rng(0))
        with watch("scoring.score and .confusion of a cell"):
            scores.append(cell | {"photos": n * k} | scores.score(run, CLASSES))
            scores.confusion(run, CLASSES)
        with watch("scoring.hits of a cell"):
            hits["frozen", n, k], shown = predictions.hits(run, CLASSES)
    with watch("answers.learn_all, 4 cells"):
        learnings = learning.learn_all(
            pd.DataFrame(scores), hits, shown, params.answer.replicates, np.random.default_rng(0)
        )
    with watch("answers.answer and .views"):
        compare.accuracy_by_views(learnings[0], *views)
        answer = answer.answer_study(learnings, 0.5, params.answer)
    return watch.seconds, answer


def measure_tables(count: int) -> str:
    with TemporaryDirectory() as folder:
        seconds, _ = through_tables(count, Path(folder))
        sizes = {p.parent.name: p.stat().st_size / 1e6 for p in Path(folder).glob("*/table.*")}
    lines = [f"| {step} | {value:.1f} |" for step, value in seconds.items()]
    notes = ", ".join(f"{name} {size:.0f} MB" for name, size in sizes.items())
    return "\n".join(["| step | s |", "|---|--:|", *lines, "", f"Files: {notes}."])


# ---------------------------------------------------------------------------- a real photo


def measure_photo(count: int = 64) -> str:
    """Time what tiny photos leave out: decoding 12 megapixels, and the network at 224 px."""
    import torch
    import torch.nn.functional as F

    from shotcount.networks.backbones import build_backbone

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8))
    file = BytesIO()
    coarse.resize((4000, 3000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    x = torch.from_numpy(rng.integers(0, 255, (32, 3, 224, 224), dtype=np.uint8)).float()
    backbone = build_backbone("tf_efficientnet_lite0")
    network = Classifier(backbone, backbone.features, 2)

    def train() -> None:
        F.cross_entropy(network.train()(x), torch.zeros(len(x), dtype=torch.int64)).backward()

    def look() -> None:
        with torch.inference_mode():
            network.eval()(x)

    works = {
        f"decode a JPEG of 4000 × 3000 px, {len(file.getvalue()) / 1e6:.1f} MB, to 224 px": (
            lambda: decoding.read_photo(BytesIO(file.getvalue()), 224),
            count,
        ),
        "one pass of EfficientNet-Lite0 at 224 px": (look, count // len(x) * len(x)),
        "one training step of it, a photo": (train, count // len(x) * len(x)),
    }
    lines = ["| what | ms a photo, one core |", "|---|--:|"]
    torch.set_num_threads(1)
    for name, (work, total) in works.items():
        each = len(x) if work in (look, train) else 1
        work()
        start = time.perf_counter()
        for _ in range(total // each):
            work()
        lines.append(f"| {name} | {1000 * (time.perf_counter() - start) / total:.1f} |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------- from a cold disk


def measure_reads(count: int, most: int = 8000, batch: int = 32) -> str:
    """Read photos in batches, in the order of the array, at random, and as training draws them."""
    from shotcount import training  # FIXME

    rng = np.random.default_rng(0)
    decoded = rng.integers(0, 255, (64, 224, 224, 3), dtype=np.uint8)
    training.WINDOW = 4096  # a few windows of so few photos
    orders = {
        "in the order of the array": np.arange(count),
        "at random": rng.permutation(count),
        "by windows of 4,096": training.batch(0, count, count, ("reads",)),
    }
    lines = ["| order | photos/s |", "|---|--:|"]
    with TemporaryDirectory(dir=ROOT) as name:  # not in memory, as /tmp may be
        start = time.perf_counter()
        write_shards(folder := Path(name, "pixels"), decoded, rng.integers(0, 64, count))
        lines.append(f"| (written and hashed) | {count / (time.perf_counter() - start):.0f} |")
        for order, rows in orders.items():
            for path in folder.iterdir():
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            pixels, start = Pixels.open(folder), time.perf_counter()
            for first in range(0, min(most, count), batch):
                pixels[rows[first : first + batch]].sum()
            lines.append(f"| {order} | {most / (time.perf_counter() - start):.0f} |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------- one cell, many ranks


def training_rate(batch_size: int, size: int, steps: int) -> float:
    """Fine-tune EfficientNet-Lite0 for some steps; return photos/s, but for the first two steps."""
    import torch

    from shotcount.networks.devices import pick_device, pick_precision, seeded
    from shotcount.training.strategies import STRATEGIES, assemble

    own = load_params(ROOT / "params.yaml").train.finetune.model_copy(
        update={"batch_size": batch_size, "epochs": 1e-9, "min_steps": steps, "validations": 1}
    )
    rng, device = np.random.default_rng(0), pick_device("auto")
    pixels = rng.integers(0, 255, (batch_size, size, size, 3), dtype=np.uint8)
    photos = Photos(np.arange(batch_size), np.arange(batch_size) % 2)
    none, times = np.empty((0, 1, 0), np.float32), list[float]()

    def note(*_: object) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    with seeded(0):
        network, load = assemble(
            STRATEGIES["finetune"], "tf_efficientnet_lite0", 2, pixels, none, own, device
        )
        precision = pick_precision("auto", device)
        few = Photos(photos.rows[:2], photos.targets[:2])
        fit(network, load, photos, few, own, ("ranks",), precision=precision, on_step=note)
    # The last step also looks at validation.
    return batch_size * (steps - 3) / (times[-2] - times[2])


def measure_ranks(processes: int, size: int = 64, steps: int = 20) -> str:
    """Time the launch of ranks that do nothing, and training with several shares of a batch."""
    from shotcount import ranks  # FIXME
    from shotcount.networks.devices import pick_device

    device = pick_device("auto")
    lines = [
        f"| photos of a batch for each of {processes} | photos/s of one process | of {processes} |",
        "|--:|--:|--:|",
    ]
    start = time.perf_counter()
    ranks.launch(os.getpid, processes, device)
    launch = time.perf_counter() - start
    for share in (4, 8, 16, 32, 64):
        work = partial(training_rate, share * processes, size, steps)
        together = ranks.launch(work, processes, device)
        lines.append(f"| {share} | {work():.0f} | {together:.0f} |")
    return "\n".join([*lines, "", f"To launch them: {launch:.1f} s."])


if __name__ == "__main__":
    what, *counts = sys.argv[1:]
    if what == "stages":
        print(measure_stages([int(count) for count in counts]))
    elif what == "tables":
        print(measure_tables(int(counts[0])))
    elif what == "reads":
        print(measure_reads(int(counts[0])))
    elif what == "ranks":
        print(measure_ranks(int(counts[0])))
    else:
        print(measure_photo())
