"""What tests make for themselves: small collections, and clones of the project."""

import atexit
import contextlib
import functools
import multiprocessing
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import warm_python
import yaml
from filelock import FileLock
from hypothesis import HealthCheck, settings
from PIL import Image

from shotcount.classifier import keep
from shotcount.commands.export import draw_photo
from shotcount.core import tables
from shotcount.core.params import load_params
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import seeded
from shotcount.networks.heads import Network
from shotcount.parallel import side_by_side
from shotcount.parallel.settings import ParallelSettings
from shotcount.sampling.settings import SplitSettings
from shotcount.sampling.splits import split_samples
from shotcount.sampling.subsets import nested_subsets
from shotcount.tasks.classes import ClassTask
from shotcount.tasks.detector import DetectionHead, Detector
from shotcount.tasks.maps import choose_layers
from shotcount.tasks.strategies import Arrays
from shotcount.training.budgets import Rates
from shotcount.training.settings import TrainingParams
from shotcount.training.setup import Compute, Setup

ROOT = Path(__file__).resolve().parents[1]
PARAMS = load_params(ROOT / "params.yaml", TrainingParams)
RATES = Rates(learning_rate=0.001, backbone_rate=1.0)
Found = TypeVar("Found")

# No time limits, and the same examples on every run: a slow machine is no failure.
settings.register_profile(
    "shotcount",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough", settings.get_profile("shotcount"), max_examples=5000, derandomize=False
)
settings.load_profile("shotcount")


# One worker begins with the study that others need later, the other with what does without it.
FIRST = ["pipeline", "real_photos", "detection_study", "calibration", "architecture"]
FIRST += ["experiments", "cluster", "faults", "command_line", "ranks", "intervals"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, of which each worker takes one after another."""
    places = {f"test_{name}": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(FIRST)))


def make_photo(path: Path, rng: np.random.Generator, hue: float, size: tuple[int, int]) -> None:
    """Write a noisy photo of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(0, 60, (size[1], size[0], 3))
    colour = np.array([255 * hue, 120, 255 * (1 - hue)])
    pixels = np.clip(colour + noise - 30, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def make_collection(root: Path, samples: int = 12, angles: int = 4) -> Path:
    """Write `samples` samples of each of two classes that colour tells apart."""
    rng = np.random.default_rng(0)
    for label, hue in (("blue", 0.1), ("red", 0.9)):
        for sample in range(samples):
            for angle in range(angles):
                make_photo(root / label / f"{sample:02d}" / f"{angle}.png", rng, hue, (40, 36))
    return root


def make_manifest(samples: dict[str, int], angles: int = 4) -> pd.DataFrame:
    """Return a manifest of so many samples a class, without photos."""
    rows = [
        {"label": label, "sample": f"{label}/{n}", "angle": str(angle), "given_split": ""}
        for label, count in samples.items()
        for n in range(count)
        for angle in range(angles)
    ]
    table = pd.DataFrame(rows)
    return table.assign(
        photo=range(len(table)),
        path=table["sample"] + "/" + table["angle"] + ".jpg",
        width=32,
        height=32,
        sha256="",
    )


def held_out(test: float | str = 0.2, val: float | str = 0.2, seed: int = 0) -> SplitSettings:
    """Return the settings of a split whose test samples are the same for all seeds."""
    return SplitSettings(folds=None, test=test, val=val, seed=seed)


def make_classifier(
    folder: Path, network: str, size: int, classes: list[str], fit: str = "crop"
) -> Path:
    """Write a classifier of random weights whose probabilities differ from photo to photo."""
    with seeded(0), torch.inference_mode():
        backbone = build_backbone(network).eval()
        made = Network(backbone, backbone.features, len(classes))
        photos = np.stack([draw_photo(size, size, seed) for seed in range(8)])
        features = backbone(torch.from_numpy(photos).permute(0, 3, 1, 2))
        weight = torch.randn(len(classes), backbone.features)
        weight *= 0.5 / ((features - features.mean(0)) @ weight.T).std()
        made.head.weight.copy_(weight)
        made.head.bias.copy_(-weight @ features.mean(0))
    model = {"network": network, "size": size, "fit": fit, "classes": classes}
    model["samples_seen"] = ["a/1"]
    keep.save(folder, made.state_dict(), model)
    return folder


def make_detector(
    folder: Path, size: int = 64, classes: Sequence[str] = ("blue", "red"), fit: str = "stretch"
) -> Path:
    """Write a detector of random weights that is surer of some boxes than of others."""
    with seeded(0), torch.inference_mode():
        backbone = build_backbone("resnet18").eval()
        layers, shapes = choose_layers(backbone, size)
        made = Detector(backbone, layers, DetectionHead(shapes, len(classes), size)).eval()
        photos = np.stack([draw_photo(size, size, seed) for seed in range(8)])
        outputs = made(torch.from_numpy(photos).permute(0, 3, 1, 2))
        for offsets, logits in zip(made.head.offsets, made.head.logits, strict=True):
            offsets[-1].weight *= 0.5 / outputs[:, :4].std()
            logits[-1].weight *= 1.5 / outputs[:, 4:].std()
            logits[-1].bias.view(-1, 1 + len(classes))[:, 0] = 3.5  # most are no objects
    model = {"network": "resnet18", "size": size, "fit": fit, "classes": list(classes)}
    model |= {"task": "detect", "confidence": 0.3, "layout": {"pattern": None, "table": None}}
    keep.save(folder, made.state_dict(), model | {"samples_seen": ["seen"]})
    return folder


def make_cell(
    strategy: str, parallel: ParallelSettings, network: str = "resnet18", **changes: object
) -> Setup:
    """Return what a cell is trained on: two classes that pixels and features tell apart."""
    photos = make_manifest({"blue": 6, "red": 6})
    parts, red = split_samples(photos, held_out(), draws=3), photos["label"] == "red"
    pixels = np.random.default_rng(0).integers(0, 150, (len(photos), 32, 32, 3), dtype=np.uint8)
    pixels[red, :, :, 0] += 100
    features = np.random.default_rng(0).normal(size=(len(photos), 8)).astype(np.float32)
    features[red, 0] += 2
    with seeded(0):
        pretrained = None if strategy == "frozen" else build_backbone(network).state_dict()
    return Setup(
        strategy=strategy,
        task=ClassTask(["blue", "red"]),
        settings=getattr(PARAMS.train, strategy).model_copy(update=changes),
        rates=None if strategy == "frozen" else RATES,
        study_seed=0,
        network=network,
        compute=Compute.of(strategy, torch.device("cpu"), "float32", False, parallel),
        arrays=Arrays(pixels, features),
        pretrained=pretrained,
        subsets=nested_subsets(parts["train"], "spread", seed=0),
        val=parts["val"],
    )


def fork_from_a_server() -> Any:
    """The way to start processes as forks of one that has imported the libraries, no more.

    A fork of this process can't train where other tests have trained before; to start Python anew
    takes seconds each time.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["timm", "torchvision", "shotcount.training.cells"])
    return context


@pytest.fixture
def forkserver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks side by side are trained by forks of the server."""
    context = fork_from_a_server()
    monkeypatch.setattr(side_by_side, "_context", lambda threads, device: context)


@pytest.fixture
def params_text() -> str:
    return (ROOT / "params.yaml").read_text(encoding="utf-8")


def in_a_terminal(command: list[str], **options: Any) -> str:
    """Run a command, its output going to a terminal of 100 columns; return what was written."""
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 100))
    process = subprocess.Popen(command, stdout=child, stderr=child, **options)
    os.close(child)
    written = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while chunk := os.read(parent, 4096):
            written += chunk
    os.close(parent)
    assert process.wait() == 0, written.decode()
    return written.decode()


def processes(pattern: str, folder: Path) -> list[psutil.Process]:
    """Those whose command line has the pattern and which work in the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = " ".join(process.info["cmdline"] or [])
        if re.search(pattern, line) and Path(process.info["cwd"] or "/").is_relative_to(folder):
            found.append(process)
    return found


def wait_for(find: Callable[[], Found], running: subprocess.Popen[str]) -> Found:
    """Ask until there is something to find, which the running process is to make."""
    while not (found := find()):
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.02)
    return found


# ---- the whole project, at toy size ---------------------------------------------------


@functools.cache
def warm_programs() -> Path:
    """The folder of `warm_python`'s programs, served until this process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return warm_python.install(Path(folder.name))


class Clone:
    """A copy of the project, as a user would clone it."""

    def __init__(self, folder: Path, locked: bool = False) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file() and (locked or not name.endswith("dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((ROOT / name).read_bytes())
        self.run("git", "init", "--quiet")
        self.run("git", "config", "user.name", "Test")  # `dvc exp run` commits too
        self.run("git", "config", "user.email", "test@example.org")
        self.commit()

    @property
    def environment(self) -> dict[str, str]:
        """With the clone's own sources, and this environment's programs, first; one thread."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PATH": path, "PYTHONPATH": str(self.folder / "src"), "OMP_NUM_THREADS": "1"}
        return os.environ | own

    @property
    def warm(self) -> dict[str, str]:
        """What lets stages and DVC start sooner, by `warm_python`: not if they are to be killed."""
        if sys.platform != "linux":
            return {}
        return {"PATH": os.pathsep.join([str(warm_programs()), self.environment["PATH"]])}

    def run(self, *command: str, code: int = 0, warm: bool = True) -> str:
        """Run a command in the clone to its end and return what it prints."""
        process = self.start(*command, **(self.warm if warm else {}))
        shown = process.communicate()[0]
        assert process.returncode == code, shown
        return shown

    def start(self, *command: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that a test can signal all that the command started
            # Ctrl-C reaches it even where the tests themselves run in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "state")

    def set_params(self, **changes: Any) -> None:
        """Change params.yaml: keys with dots written as double underscores."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in changes.items():
            *parents, last = key.split("__")
            section = params
            for parent in parents:
                section = section[parent]
            section[last] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def repro(self, *arguments: str) -> list[str]:
        """Run `dvc repro` and return the stages that ran."""
        return self.stages(self.run("dvc", "repro", *arguments))

    @staticmethod
    def stages(shown: str) -> list[str]:
        """Return the stages that ran, by what DVC printed."""
        return re.findall(r"^Running stage '(.*)'", shown, re.M)

    def table(self, name: str, columns: tables.Table) -> pd.DataFrame:
        return tables.read(self.folder / name, columns)


QUICK = {
    **{f"train__{strategy}__seeds": 3 for strategy in ("scratch", "frozen", "finetune")},
    **{f"train__{strategy}__epochs": 1 for strategy in ("scratch", "finetune")},
    **{f"train__{strategy}__min_steps": 2 for strategy in ("scratch", "finetune")},
    "train__finetune__learning_rate": 0.001,  # trying scratch's rates is enough
    "train__finetune__backbone_rate": 1.0,
    "parallel__networks": 1,
    "answer__replicates": 200,
}


class Existing(Clone):
    """A clone that is there already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def copy_of(clone: Clone, folder: Path) -> Existing:
    """A copy of a clone, without DVC's notes of what it is at work on."""
    shutil.copytree(clone.folder, folder, ignore=shutil.ignore_patterns("tmp"))
    return Existing(folder)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A finished study: for tests that leave it as it is.

    The first worker that needs it makes it for all; each then has a copy of its own.
    """
    own = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make_study(own / "a study")
    finished = own.parent / "a study"
    with FileLock(own.parent / "a study.lock"):
        if not finished.exists():
            make_study(own / "a new study").folder.rename(finished)
    return copy_of(Existing(finished), own / "a study")


def make_study(folder: Path) -> Clone:
    """Run the default study, as shipped but for its sizes."""
    clone = Clone(folder)
    clone.set_params(
        **QUICK,
        demo__samples=18,
        demo__angles=3,
        demo__size=32,
        data__size=32,
        split__folds=3,
        split__val=0.25,
        study__samples=[0.5, 1.0],
        study__angles=[1, 3],
        study__frozen_grid={"samples": [0.5, 1.0], "angles": [1, 2, 3]},
    )
    ran = clone.repro()
    assert ran[:3] == ["params", "backbone", "data/dvc.yaml:demo"]
    assert len([stage for stage in ran if stage.startswith("train@")]) == 3 * 2 * 2
    clone.commit()
    return clone
