"""One phase of a study in a process of its own: what it takes in time and memory. For bench.py.

    python benchmarks/growth.py PHASE FOLDER

FOLDER holds job.json, backbone.safetensors and what the phases before have made. Prints JSON.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels
from shotcount.photos import preparing
from shotcount.sampling import splits, subsets

ROOT = Path(__file__).resolve().parents[1]

Work = Callable[[], object]

# A phase gets ready and returns the work to be timed. Those that need torch import it themselves,
# as the stages do: preparing photos must not be charged with its memory.


def prepare(folder: Path, job: dict[str, Any]) -> Work:
    found = pd.DataFrame(job["found"])

    def work() -> None:
        manifest, _ = preparing.prepare(
            Path(job["root"]), found, job["px"], "error", folder, folder / "shards"
        )
        rows = manifest[["photo", *found.columns]].to_dict("records")
        (folder / "manifest.json").write_text(json.dumps(rows))

    return work


def extract(folder: Path, job: dict[str, Any]) -> Work:
    from safetensors.torch import load_file

    from shotcount import features  # FIXME
    from shotcount.networks.backbones import build_backbone
    from shotcount.networks.devices import pick_device

    backbone = build_backbone(job["network"])
    backbone.load_state_dict(load_file(folder / "backbone.safetensors"))
    pixels = Pixels.open(folder / "shards")
    device = pick_device(job["device"])
    own = load_params(ROOT / "params.yaml").features
    return lambda: list(features.write(folder / "features.npy", backbone, pixels, own, device))


def train(strategy: str, folder: Path, job: dict[str, Any]) -> Work:
    from safetensors.torch import load_file

    from shotcount.networks.devices import pick_device, pick_precision
    from shotcount.training.cells import train_cell

    device = pick_device(job["device"])
    manifest = pd.DataFrame(json.loads((folder / "manifest.json").read_text()))
    parts = splits.split_samples(manifest, 0.2, 0.2, 0)
    val, changes = parts["val"], dict[str, float]({"seeds": 1})
    if strategy == "finetune":
        val = val.groupby("label").head(1)
        changes |= {"epochs": 1e-9, "min_steps": job["finetune_steps"], "validations": 1}
    params = load_params(ROOT / "params.yaml")
    study = Study(
        strategy,
        getattr(params.train, strategy).model_copy(update=changes),
        0,
        job["network"],
        device,
        pick_precision("float32" if strategy == "frozen" else job["precision"], device),
        False,
        params.parallel,
        Pixels.open(folder / "shards"),
        np.load(folder / "features.npy", mmap_mode="r"),
        load_file(folder / "backbone.safetensors") if strategy == "finetune" else None,
        subsets.nested_subsets(parts["train"], "spread", 1, 0),
        val,
    )
    angles = int(parts["train"].groupby("sample").size().max())
    return lambda: train_cell(study, 1.0, angles, folder / strategy, folder)


PHASES: dict[str, Callable[[Path, dict[str, Any]], Work]] = {
    "prepare": prepare,
    "features": extract,
    "frozen": partial(train, "frozen"),
    "finetune": partial(train, "finetune"),
}


def peak_memory() -> float:
    """Return the most memory this process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, ru_maxrss begins with what the parent process held
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(phase: str, folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    with redirect_stdout(sys.stderr):
        work = PHASES[phase](folder, job)
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_mib": peak_memory()}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
