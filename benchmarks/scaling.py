"""What does a photo cost, stage by stage? Prints a Markdown table.

python benchmarks/scaling.py stages 1000 10000 100000   stages on so many tiny photos
python benchmarks/scaling.py photo      decoding a phone's photo, and the network at 224 px
python benchmarks/scaling.py reads 20000    photos of 224 px from a disk, the cache emptied
python benchmarks/scaling.py ranks 2    one network, trained by one process and by so many
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
import yaml
from measure import ROOT, run_stage, seconds_of
from PIL import Image
from sides import Setting, gather, shotcount_rate

from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels, write_shards
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import pick_device
from shotcount.parallel import ranks
from shotcount.params import Params
from shotcount.photos.reading import read_photo
from shotcount.tasks.strategies import Arrays
from shotcount.training import batches
from shotcount.uncertainty.writing import markdown_table

ANGLES = 10  # photos of each sample
SIZE = 32  # px
CLASSES = ["plastic", "stone"]
NETWORK = "tf_efficientnet_lite0"
STAGES = (
    "backbone", "prepare", "split", "subsample", "features", "tune frozen", "tune scratch",
    "tune finetune", "train frozen 0.5 1", "train frozen 0.5 10", "train frozen 1.0 1",
    "train frozen 1.0 10", "train scratch 1.0 10", "train finetune 1.0 10", "evaluate frozen",
    "refit", "classifier", "gallery", "plot",
)  # fmt: skip


def make_project(folder: Path, count: int) -> None:
    """Write a study of the frozen strategy on `count` different photos."""
    rng = np.random.default_rng(0)
    for number in range(count):
        sample, angle = divmod(number, ANGLES)
        path = folder / "photos" / CLASSES[sample % 2] / str(sample) / f"{angle}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 200 + 55 * (sample % 2), (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path, compress_level=0)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"path": "photos", "size": SIZE}
    params["study"] |= {"strategies": ["frozen"], "samples": [0.5, 1.0], "angles": [1, ANGLES]}
    params["study"]["frozen_grid"] = {"samples": [], "angles": []}
    fixed = {"schedule": "cosine", "epochs": 1, "min_steps": 1, "learning_rate": 0.001}
    for strategy in ("scratch", "finetune"):  # one seed takes longer than ten heads
        params["train"][strategy] |= fixed | {"seeds": 1}
    params["train"]["finetune"]["backbone_rate"] = 1.0
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def stage_table(*counts: int, stages: Sequence[str] = STAGES) -> str:
    """Run stages on collections of each size: what does a photo cost?"""
    costs = {}
    for count in counts:
        with TemporaryDirectory() as name:
            make_project(Path(name), count)
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


def measure_photo(times: int = 64) -> str:
    """Time what tiny photos leave out: decoding 12 megapixels, and the network at 224 px."""
    rng, file = np.random.default_rng(0), BytesIO()
    coarse = Image.fromarray(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8))
    coarse.resize((4000, 3000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    x = torch.from_numpy(rng.integers(0, 255, (32, 3, 224, 224), dtype=np.uint8)).float()
    network = build_backbone(NETWORK)  # beside which a head takes no time

    def decode() -> None:
        read_photo(file.getvalue(), 224, "crop")

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
    photos = np.arange(batch_size)
    label = np.array(CLASSES)[photos % 2]
    found = pd.DataFrame(
        {"photo": photos, "label": label, "sample": photos.astype(str), "angle": "0"}
    )
    parts = {"train": found, "val": found}
    params = load_params(ROOT / "params.yaml", Params)
    setting = Setting(
        NETWORK, px, pick_device("auto"), "auto", {}, Path(), found, parts, {}, params.parallel
    )
    pixels = np.random.default_rng(0).integers(0, 255, (batch_size, px, px, 3), dtype=np.uint8)
    arrays = Arrays(pixels, np.empty((0, 0), np.float32))
    own = params.train.finetune.model_copy(update={"batch_size": batch_size})
    # From random weights: a step takes as long as from pretrained ones.
    setup = gather(setting, "scratch", own, arrays)
    return shotcount_rate(setup, own, 17 * batch_size).photos_per_second


def measure_ranks(processes: int) -> str:
    """Time the launch of ranks that do nothing, and training with several shares of a batch."""
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
    what, *numbers = sys.argv[1:]
    measures: dict[str, Callable[..., str]] = {"stages": stage_table, "photo": measure_photo}
    measures |= {"reads": measure_reads, "ranks": measure_ranks}
    print(measures[what](*map(int, numbers)))
