"""How fast is Shotcount, compared with the recipe it grew from? Prints Markdown.

    python benchmarks/bench.py > speed.md             some ten minutes on two CPU cores
    python benchmarks/bench.py --quick                one or two, to see that it works
    python benchmarks/bench.py photos --size 224      your own photos, else those of params.yaml

docs/speed.md says what is compared and how to read it.
"""

import argparse
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path

import pandas as pd
import recipe
import torch
from measure import ROOT
from rates import EQUAL, OWN, Way, bare_loop, blog_study, measure_rates
from runs import frozen_column, strategies
from sides import Setting, Settings, read_weights, take

from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.core.study import StudySettings, further_cells, sample_count
from shotcount.networks.backbones import input_size
from shotcount.networks.devices import describe, pick_device, pick_precision
from shotcount.params import Params
from shotcount.photos.finding import find_photos
from shotcount.sampling.splits import split_samples


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured."""

    samples: int = 240
    px: int | None = None  # None: as params.yaml has it
    blog_px: int = 224
    timed: int = 32  # photos of one timing
    repeats: int = 2  # timings, whose median counts
    epochs: int = recipe.EPOCHS  # of the recipe's whole runs


QUICK = Effort(samples=24, px=64, blog_px=64, timed=16, repeats=1, epochs=2)


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("photos", nargs="?", help="folder of the photos (default: data.path of params.yaml)")
    add("--pattern", help="how their paths tell class, sample and angle, as data.pattern")
    add("--network", help="of torchvision or timm (default: model.name)")
    add("--weights", help="as model.weights, or random, for rates alone (default: model.weights)")
    add("--size", type=int, help="px that the network sees (default: data.size)")
    add("--device", choices=["auto", "cpu", "cuda", "mps"], help="(default: device)")
    add("--precision", choices=["auto", "float32", "bfloat16"], help="(default: precision)")
    add("--seeds", type=int, default=1, help="of the whole runs (default: 1)")
    add("--quick", action="store_true", help="few photos of few pixels: does it work?")
    return parser.parse_args(arguments)


def bench(options: argparse.Namespace, effort: Effort) -> Iterator[str]:
    """Yield the report, section by section."""
    params, blog = (load_params(ROOT / f, Params) for f in ("params.yaml", "studies/blog.yaml"))
    data, root, pattern, table = params.data, Path(options.photos or ""), options.pattern, None
    if options.photos is None:
        root, pattern, table = ROOT / data.path, data.pattern, data.table
    found = find_photos(root, pattern, table)
    part = take(found.assign(photo=range(len(found))), effort.samples, angles=2)
    part = part.assign(photo=range(len(part)))
    network = options.network or params.model.name
    device = pick_device(options.device or params.device)
    precision = pick_precision(options.precision or params.precision, device)
    # A study trains until validation ends it. For speed, as many epochs as the recipe's.
    as_long = {"epochs": recipe.EPOCHS, "min_steps": 0}
    settings: dict[Way, Settings] = {("frozen", OWN): params.train.frozen}
    for name in ("scratch", "finetune"):
        settings[name, EQUAL] = getattr(blog.train, name)
        settings[name, OWN] = getattr(params.train, name).model_copy(update=as_long)
    setting = Setting(
        network=network, px=input_size(network, options.size or effort.px or data.size),
        device=device, precision=str(precision).removeprefix("torch."), root=root, found=part,
        pretrained=read_weights(network, options.weights or params.model.weights),
        parts=split_samples(part, params.split, draws=1),
        settings=settings, parallel=params.parallel,
    )  # fmt: skip
    yield heading(setting, found, effort)
    rates = measure_rates(setting, effort.timed, effort.repeats)
    yield strategies(setting, rates, options.seeds, effort.epochs)
    sizes = column_sizes(setting.parts["train"], params.study)
    yield frozen_column(setting, rates, sizes, effort.epochs)
    weights = read_weights("resnet18", "random")
    of_blog = replace(setting, network="resnet18", px=effort.blog_px, pretrained=weights)
    blog_rates = measure_rates(of_blog, effort.timed, effort.repeats)
    yield bare_loop([(setting, rates), (of_blog, blog_rates)])
    yield blog_study(of_blog, blog_rates)


def column_sizes(train: pd.DataFrame, study: StudySettings) -> list[tuple[int, int]]:
    """List the sizes of params.yaml's frozen cells that the photos suffice for, smallest first."""
    available, most = train["sample"].nunique(), train.groupby("sample").size().max()
    cells = [*product(study.samples, study.angles), *further_cells(study)]
    sizes = {(sample_count(samples, available), angles) for samples, angles in cells}
    fewest = train["label"].nunique()
    fitting = [(n, k) for n, k in sizes if fewest <= n <= available and k <= most]
    return sorted(fitting, key=lambda size: (size[0] * size[1], size))


def heading(setting: Setting, found: pd.DataFrame, effort: Effort) -> str:
    cpuinfo, device = Path("/proc/cpuinfo"), setting.device
    named = re.findall("model name.*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    machine = [*named, platform.processor()][0]
    others = [f"{name} {version(name)}" for name in ("torchvision", "timm", "pillow", "numpy")]
    parts = ", ".join(f"{name} {len(rows):,}" for name, rows in setting.parts.items())
    return f"""# Speed: Shotcount and the recipe

Made by `python benchmarks/{" ".join(["bench.py", *sys.argv[1:]])}`; docs/speed.md says how to read
it. Rates are medians of {effort.repeats} timing(s) taken in turns.

- Machine: {machine}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}
- Device: {describe(device)}; Shotcount trains networks in {setting.precision}, the recipe in
  float32; torch uses {torch.get_num_threads()} thread(s), loaders {recipe.WORKERS} workers
- Python {platform.python_version()}, torch {torch.__version__}, {", ".join(others)}
- Photos: {len(found):,} of {found["sample"].nunique():,} samples in `{setting.root.name}`, of which
  training uses {len(setting.found):,} of {setting.found["sample"].nunique():,} samples: {parts}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_arguments(arguments)
    # As published: the scheduler steps before the optimiser, four workers however many the cores.
    warnings.filterwarnings("ignore", message=r".*(lr_scheduler\.step|worker processes in total)")
    try:
        for section in bench(options, QUICK if options.quick else Effort()):
            print(section, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
