"""How fast is Shotcount, compared with the recipe it grew from? Prints Markdown.

    python benchmarks/bench.py > speed.md             some ten minutes on two CPU cores
    python benchmarks/bench.py --quick                one or two, to see that it works
    python benchmarks/bench.py photos --size 224      your own photos, else those of params.yaml

docs/speed.md says what is compared and how to read it.
"""

import argparse
import os
import platform
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import measure
import numpy as np
import pandas as pd
import PIL
import recipe
import timm
import torch
import torchvision
from measure import Collection, Rate, Run, Setting, Size

from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.core.seeds import seed_for
from shotcount.networks.backbones import build_backbone, input_size
from shotcount.networks.devices import pick_device, pick_precision, seeded
from shotcount.networks.weights import fetch_weights
from shotcount.params import Params
from shotcount.photos.finding import find_photos
from shotcount.sampling.sizes import sample_count
from shotcount.training.budgets import training_steps
from shotcount.training.settings import TrainingSettings
from shotcount.training.strategies import STRATEGIES
from shotcount.uncertainty.bootstrap import bootstrap_mean, resample
from shotcount.uncertainty.intervals import accuracy_interval

ROOT = Path(__file__).resolve().parents[1]
BLOG_NETWORK = "resnet18"
BLOG_THOUSANDS = (1, 2, 3, 5, 10)  # training photos of the blog-sized study
BLOG_JUDGED = 1000  # photos of its validation split, and of its test split
COLUMN_SEEDS = 3

PUBLISHED = "recipe"
HONEST = "recipe, honest frozen"
EQUAL = "Shotcount, the recipe's settings"
OWN = "Shotcount"
BARE = "bare loop"
Way = tuple[str, str]  # strategy, whose
Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    samples: int  # of the collection
    angles: int
    blog_px: int
    timed: int  # photos of one timing, six steps at least
    repeats: int  # timings of which the median counts
    epochs: int  # of the recipe's whole runs
    column_measured: int  # smallest sizes of the frozen column at which the recipe runs
    growth_photos: int  # at 4x
    growth_shares: tuple[int, ...]  # quarters of them
    finetune_steps: int  # of the growth table
    small_peak: bool = False


DEFAULT = Sizes(
    samples=240, angles=2, blog_px=224, timed=32, repeats=2, epochs=recipe.EPOCHS,
    column_measured=1, growth_photos=2400, growth_shares=(1, 2, 4), finetune_steps=4,
)  # fmt: skip
QUICK = Sizes(
    samples=24, angles=2, blog_px=64, timed=16, repeats=1, epochs=2, column_measured=1,
    growth_photos=240, growth_shares=(1, 4), finetune_steps=2, small_peak=True,
)  # fmt: skip
QUICK_PX = 64

# ---------------------------------------------------------------------------- numbers


def number(value: float) -> str:
    """Write three significant digits, larger numbers whole.

    >>> number(1234.5), number(56.78), number(0.01234)
    ('1,234', '56.8', '0.0123')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Write a time that may be long.

    >>> duration(42.3), duration(600), duration(9000)
    ('42.3 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{number(seconds)} s"
    return f"{number(seconds / 60)} min" if seconds < 7200 else f"{number(seconds / 3600)} h"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def named(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")


def markdown(rows: Sequence[Row]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    names = list(rows[0])
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *([r[n] for n in names] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def accuracy(runs: Sequence[Run], samples: np.ndarray) -> str:
    """Write the mean test accuracy and its 95 % interval; photos of a sample count as one."""
    right = np.stack([run.right for run in runs])  # (seeds, photos)
    rng = np.random.default_rng(seed_for("bench"))
    draws = resample(len(np.unique(samples)), [len(right)], 2000, rng)[0]
    replicates = bootstrap_mean(right[None], samples, draws)[0]
    low, high = accuracy_interval(replicates, draws)
    return f"{percent(right.mean())} ({100 * low:.0f} to {100 * high:.0f})"


def recipe_seconds(
    photos: int, judged: int, training: Rate, judging: Rate, epochs: int = recipe.EPOCHS
) -> float:
    """Compute a run of the recipe from its rates.

    Each epoch starts workers three times: to train, to validate, to test.

    >>> rate = Rate(photos_per_second=100, waiting=0, first=0.5)
    >>> recipe_seconds(photos=1000, judged=500, training=rate, judging=rate)
    165.0
    """
    starting = training.first + 2 * judging.first
    passes = photos / training.photos_per_second + judged / judging.photos_per_second
    return epochs * (starting + passes)


def cell_seconds(
    photos: int, settings: TrainingSettings, training: float, judging: float, val: int, test: int
) -> float:
    """Compute a seed of a Shotcount cell from its rates in photos/s, all its steps taken."""
    steps = training_steps(photos, settings.batch_size, settings.epochs, settings.min_steps)
    passes = steps * min(settings.batch_size, photos)
    return passes / training + (settings.validations * val + test) / judging


# ---------------------------------------------------------------------------- rates


@dataclass(frozen=True)
class Plan:
    """What is to be measured, on what."""

    root: Path
    found: pd.DataFrame  # every photo of the folder
    collection: Collection  # some of them, for all that trains
    params: Params
    blog: Params  # the recipe's settings in Shotcount's words
    setting: Setting
    blog_setting: Setting
    sizes: Sizes
    seeds: int
    full: bool


@dataclass(frozen=True)
class Rates:
    """Photos a second of everything that a network is used for."""

    training: Mapping[Way, Rate]
    bare: Mapping[str, Rate]  # strategy → the bare loop
    judging: Rate  # the recipe's validation and test
    preparing: float
    extracting: float


def measure_rates(plan: Plan, setting: Setting) -> Rates:
    """Time all ways of training a network, taking turns."""
    say(f"rates of {setting.network} at {setting.px} px")
    collection, timed = plan.collection, plan.sizes.timed
    measures: dict[Way, Callable[[], Rate]] = {}
    with TemporaryDirectory() as folder:
        store = measure.fill(setting, collection, Path(folder))
        for name, strategy in STRATEGIES.items():
            own: TrainingSettings = getattr(plan.params.train, name)
            equal: TrainingSettings = getattr(plan.blog.train, name)
            published = partial(measure.recipe_rate, setting, collection)
            shotcount = partial(measure.shotcount_rate, setting, collection, store, name)
            bare = partial(measure.bare_rate, setting, collection, store, name)
            # A head's steps take a thousandth of a network's: more of them for a steady clock.
            own_timed = 100 * timed if strategy.cached else timed
            measures[name, PUBLISHED] = partial(published, name, timed)
            if strategy.cached:
                measures[name, HONEST] = partial(published, "honest frozen", timed)
            measures[name, EQUAL] = partial(shotcount, equal, own_timed)
            measures[name, OWN] = partial(shotcount, own, own_timed)
            if not strategy.cached:
                measures[name, BARE] = partial(bare, own, timed)
        judging = ("", PUBLISHED)
        measures[judging] = partial(measure.recipe_judging_rate, setting, collection, timed)
        taken = measure.alternate(measures, plan.sizes.repeats)
    return Rates(
        {way: rate for way, rate in taken.items() if way != judging and way[1] != BARE},
        {name: rate for (name, whose), rate in taken.items() if whose == BARE},
        taken[judging],
        store.preparing,
        store.extracting,
    )


def rate_columns(rates: Rates, way: Way) -> Row:
    rate, base = rates.training[way], rates.training[way[0], PUBLISHED]
    return {
        "photos/s": number(rate.photos_per_second),
        "waiting for photos": f"{100 * rate.waiting:.0f} %",
        "× recipe": number(rate.photos_per_second / base.photos_per_second),
    }


# ---------------------------------------------------------------------------- sections


def heading(plan: Plan) -> str:
    device = plan.setting.device
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    versions = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "Pillow": PIL.__version__,
        "numpy": np.__version__,
    }
    sizes = plan.found["sample"].nunique()
    return f"""# Speed: Shotcount and the recipe

Made by `python benchmarks/{" ".join(["bench.py", *sys.argv[1:]])}`; docs/speed.md says how to read
it. Rates are medians of {plan.sizes.repeats} timing(s) taken in turns; what is computed from rates
says so.

- Machine: {processor()}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}{gpu}
- Device: {device.type}, Shotcount trains networks in {named(plan.setting.precision)}, the recipe in
  float32; torch uses {torch.get_num_threads()} thread(s), the recipe's
  loaders {recipe.WORKERS} workers
- {", ".join(f"{name} {version}" for name, version in versions.items())}
- Photos: {len(plan.found):,} of {sizes:,} samples in `{plan.root.name}`, of which training uses
  {len(plan.collection.found):,} of {plan.collection.found["sample"].nunique():,} samples:
  {", ".join(f"{name} {len(rows):,}" for name, rows in plan.collection.parts.items())} photos
"""


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def strategies(plan: Plan, rates: Rates) -> str:
    """Whole runs, from photos on the disk to the test accuracy, taking turns."""
    setting, collection = plan.setting, plan.collection
    runs: dict[Way, list[Run]] = {way: [] for way in rates.training}
    for seed in range(plan.seeds):
        for name, whose in runs:
            say(f"whole run, seed {seed}: {name}, {whose}")
            if whose in (EQUAL, OWN):
                settings: TrainingSettings = getattr(plan.params.train, name)
                if whose == EQUAL:
                    epochs = {"epochs": plan.sizes.epochs, "validations": plan.sizes.epochs}
                    settings = getattr(plan.blog.train, name).model_copy(update=epochs)
                run = measure.shotcount_run(setting, collection, name, settings, seed)
            else:
                variant = "honest frozen" if whose == HONEST else name
                run = measure.recipe_run(setting, collection, variant, seed, plan.sizes.epochs)
            runs[name, whose].append(run)
    test = collection.parts["test"]
    tested = f"accuracy on {len(test):,} test photos of {test['sample'].nunique():,} samples"
    seconds = {way: statistics.median(run.seconds for run in made) for way, made in runs.items()}
    rows = [
        {
            "strategy": name,
            "trained by": whose,
            "photos": number(len(collection.parts["train"])),
            "network": setting.network,
            "px": str(setting.px),
            **rate_columns(rates, (name, whose)),
            "photos shown": f"{made[0].passes:,}",
            "wall": duration(seconds[name, whose]),
            "recipe's wall ÷ this": number(seconds[name, PUBLISHED] / seconds[name, whose]),
            tested: accuracy(made, test["sample"].to_numpy()),
        }
        for (name, whose), made in runs.items()
    ]
    return f"""## Strategies

Training rates, and whole runs from photos on the disk to test accuracy ({plan.sizes.epochs} epochs
of the recipe): {plan.seeds} seed(s), median time, mean accuracy with its 95 % interval. Shotcount's
runs include decoding all photos and, for frozen, the backbone's one pass; a head's rate is of
cached features.

{markdown(rows)}
"""


def frozen_column(plan: Plan, rates: Rates) -> str:
    """Every size of the frozen strategy, three seeds each."""
    setting, collection, sizes = plan.setting, plan.collection, column_sizes(plan)
    settings = plan.params.train.frozen.model_copy(update={"seeds": COLUMN_SEEDS})
    say(f"frozen column, Shotcount: {len(sizes)} sizes")
    once, cells = measure.shotcount_column(setting, collection, sizes, settings)

    def computed(size: Size, whose: str) -> float:
        return COLUMN_SEEDS * recipe_seconds(
            len(measure.subset(collection, size, 0).parts["train"]),
            collection.judged,
            rates.training["frozen", whose],
            rates.judging,
            plan.sizes.epochs,
        )

    known = {size: computed(size, PUBLISHED) for size in sizes}
    rows = []
    for place, size in enumerate(sizes):
        how = "computed"
        if plan.full or place < plan.sizes.column_measured:
            say(f"frozen column, recipe: {size[0]} samples x {size[1]} angles")
            seeds = range(COLUMN_SEEDS)
            how = f"measured (by rates {duration(known[size])})"
            known[size] = sum(
                measure.recipe_run(
                    setting, measure.subset(collection, size, seed), "frozen", seed,
                    plan.sizes.epochs,
                ).seconds
                for seed in seeds
            )  # fmt: skip
        rows.append(
            {
                "samples × angles": f"{size[0]} × {size[1]}",
                "photos": number(len(measure.subset(collection, size, 0).parts["train"])),
                "recipe": duration(known[size]),
                "the recipe's time is": how,
                "recipe, honest frozen (computed)": duration(computed(size, HONEST)),
                "Shotcount (measured)": duration(cells[size]),
            }
        )
    honest = sum(computed(size, HONEST) for size in sizes)
    total = once + sum(cells.values())
    blank = dict.fromkeys(rows[0], "")
    rows += [
        {**blank, "samples × angles": "decoding and features, once",
         "Shotcount (measured)": duration(once)},
        {**blank, "samples × angles": "all", "recipe": duration(sum(known.values())),
         "recipe, honest frozen (computed)": duration(honest),
         "Shotcount (measured)": duration(total)},
        {**blank, "samples × angles": "÷ Shotcount", "recipe": number(sum(known.values()) / total),
         "recipe, honest frozen (computed)": number(honest / total), "Shotcount (measured)": "1"},
    ]  # fmt: skip
    return f"""## The frozen column

{len(sizes)} sizes × {COLUMN_SEEDS} seeds of {setting.network} at {setting.px} px, trained and
tested. Computed times rest on the rates above and on the
{duration(rates.judging.first)} that it takes to start a loader's workers, three times an epoch.

{markdown(rows)}
"""


def column_sizes(plan: Plan) -> list[Size]:
    """List the sizes of params.yaml's frozen cells that the collection has, smallest first."""
    train, study = plan.collection.parts["train"], plan.params.study
    available, classes = train["sample"].nunique(), train["label"].nunique()
    sizes = {
        (sample_count(samples, available), angles)
        for grid in (study, study.frozen_grid)
        for samples, angles in product(grid.samples, grid.angles)
    }
    fitting = [s for s in sizes if classes <= s[0] <= available and s[1] <= plan.collection.angles]
    return sorted(fitting, key=lambda size: (size[0] * size[1], size))


def bare_loop(plan: Plan, rates: Sequence[tuple[Setting, Rates]]) -> str:
    """Compare Shotcount's training step with what this machine could do."""
    say("the machine at best")
    precision = plan.setting.precision
    peaks = measure.peak_flops(plan.setting.device, precision, plan.sizes.small_peak)
    most = max(peaks.values())
    rows = []
    for setting, own in rates:
        flops = measure.training_flops(setting)
        for name, bare in own.bare.items():
            ours = own.training[name, OWN].photos_per_second
            rows.append(
                {
                    "strategy": name,
                    "network": setting.network,
                    "px": str(setting.px),
                    "GFLOP a photo": number(flops / 1e9),
                    "bare loop, photos/s": number(bare.photos_per_second),
                    "Shotcount, photos/s": number(ours),
                    "Shotcount ÷ bare": percent(ours / bare.photos_per_second),
                    "bare loop of peak": percent(flops * bare.photos_per_second / most),
                    "Shotcount of peak": percent(flops * ours / most),
                }
            )
    reached = ", ".join(
        f"{number(value / 1e9)} GFLOP/s in a large {n}" for n, value in peaks.items()
    )
    return f"""## The bare loop

Forward, backward and step on one batch that never changes, against Shotcount's training step with
all that surrounds it: the batch picked, augmented, moved. This machine's peak is the better of
{reached}, {named(precision)}.

{markdown(rows)}
"""


def growth(plan: Plan) -> str:
    """Time and memory of the phases, as the photos become more."""
    angles = int(plan.found.groupby("sample").size().max())
    most = min(plan.found["sample"].nunique(), max(8, plan.sizes.growth_photos // angles))
    parts = [
        measure.take(plan.found, most * share // 4, angles) for share in plan.sizes.growth_shares
    ]
    phases = []
    for part in parts:
        say(f"growth: {len(part)} photos")
        phases.append(measure.growth(plan.setting, plan.root, part, plan.sizes.finetune_steps))
    titles = {
        "prepare": "prepare",
        "features": "features",
        "frozen": "frozen, one seed",
        "finetune": f"fine-tune, {plan.sizes.finetune_steps} steps",
    }
    rows = []
    for phase, title in titles.items():
        seconds = [made[phase]["seconds"] for made in phases]
        peaks = [made[phase]["peak_mib"] for made in phases]
        row = {"phase": title}
        for part, time, peak in zip(parts, seconds, peaks, strict=True):
            row[f"{len(part):,} photos"] = f"{duration(time)}, {peak:,.0f} MiB"
        row["time, 4× ÷ 1×"] = number(seconds[-1] / seconds[0])
        row["memory, 4× ÷ 1×"] = number(peaks[-1] / peaks[0])
        rows.append(row)
    return f"""## Growth

{plan.setting.network} at {plan.setting.px} px, each phase in a process of its own: its time
without loading packages, its peak memory with them.

{markdown(rows)}
"""


def blog_study(plan: Plan, rates: Rates) -> str:
    """Compute from rates what a study of the blog's size takes."""
    shared = {
        "decoding, once": (1000 * max(BLOG_THOUSANDS) + 2 * BLOG_JUDGED) / rates.preparing,
        "features, once": (1000 * max(BLOG_THOUSANDS) + 2 * BLOG_JUDGED) / rates.extracting,
    }
    rows = []
    sums = dict.fromkeys((PUBLISHED, HONEST, EQUAL, OWN), 0.0)
    for name, thousand in product(STRATEGIES, BLOG_THOUSANDS):
        photos = 1000 * thousand
        seconds = {}
        for whose in sums:
            # Only frozen has an honest variant: the others' time is as published.
            way = (name, whose) if (name, whose) in rates.training else (name, PUBLISHED)
            rate = rates.training[way]
            if whose in (PUBLISHED, HONEST):
                seconds[whose] = recipe_seconds(photos, 2 * BLOG_JUDGED, rate, rates.judging)
            else:
                params = plan.blog if whose == EQUAL else plan.params
                # A head judges at least as fast as it trains.
                training = rate.photos_per_second
                looks = training if STRATEGIES[name].cached else rates.extracting
                settings: TrainingSettings = getattr(params.train, name)
                seconds[whose] = cell_seconds(
                    photos, settings, training, looks, BLOG_JUDGED, BLOG_JUDGED
                )
            sums[whose] += seconds[whose]
        rows.append(blog_row(name, f"{photos:,}", seconds))
    for title, once in shared.items():
        sums[EQUAL] += once
        sums[OWN] += once
        rows.append(blog_row(title, "", {EQUAL: once, OWN: once}))
    rows.append(blog_row("all", "", sums))
    measured = [
        {"strategy": name, "trained by": whose, **rate_columns(rates, (name, whose))}
        for name, whose in rates.training
    ]
    setting, judging = plan.blog_setting, rates.judging
    return f"""## A study of the blog's size

Computed, not run: {len(STRATEGIES)} strategies × {len(BLOG_THOUSANDS)} sizes of {setting.network}
at {setting.px} px, one seed each, with {BLOG_JUDGED:,} photos to validate on and as many to test
on, from the rates below. "The recipe's settings" are studies/blog.yaml: the same steps, batches of
{recipe.BATCH} and {recipe.EPOCHS} epochs. "Shotcount" is params.yaml: its budgets, all steps taken,
though training may stop earlier. Photos as large as those measured are assumed: larger ones cost
the recipe more, which decodes each of them in every epoch.

{markdown(rows)}

The rates behind it. Besides: the recipe judges {number(judging.photos_per_second)} photos/s, after
{duration(judging.first)} to start its workers each time; Shotcount decodes
{number(rates.preparing)} photos/s, extracts the features of {number(rates.extracting)} photos/s,
and judges with a whole network as fast.

{markdown(measured)}
"""


def blog_row(title: str, photos: str, seconds: Mapping[str, float]) -> Row:
    row = {"strategy": title, "photos": photos}
    for whose in (PUBLISHED, HONEST, EQUAL, OWN):
        row[whose] = duration(seconds[whose]) if whose in seconds else ""
        if whose in (EQUAL, OWN):
            ratio = number(seconds[PUBLISHED] / seconds[whose]) if PUBLISHED in seconds else ""
            row[f"recipe ÷ {'Shotcount at its settings' if whose == EQUAL else whose}"] = ratio
    return row


# ---------------------------------------------------------------------------- the command line


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


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
    add("--full", action="store_true", help="run the recipe at every size of the frozen column")
    add("--quick", action="store_true", help="few photos of few pixels: does it work?")
    return parser.parse_args(arguments)


def make_plan(options: argparse.Namespace, sizes: Sizes) -> Plan:
    """Find the photos, fetch the weights.

    Raises
    ------
    UserError
        If the folder holds no collection, or weights or device can't be had.
    """
    params = load_params(ROOT / "params.yaml")
    blog = load_params(ROOT / "studies" / "blog.yaml")
    own = options.photos is None
    root = ROOT / params.data.path if own else Path(options.photos)
    found = find_photos(
        root, params.data.pattern if own else options.pattern, params.data.table if own else None
    )
    part = measure.take(found, sizes.samples, sizes.angles)
    network = options.network or params.model.name
    size = options.size or (QUICK_PX if options.quick else params.data.size)
    device = pick_device(options.device or params.device)
    precision = pick_precision(options.precision or params.precision, device)
    return Plan(
        root=root,
        found=found,
        collection=measure.split(root, part, params.split.val, params.split.test),
        params=params,
        blog=blog,
        setting=Setting(
            network,
            input_size(network, size),
            device,
            read_weights(network, options.weights or params.model.weights),
            precision,
        ),
        blog_setting=Setting(
            BLOG_NETWORK, sizes.blog_px, device, read_weights(BLOG_NETWORK, "random"), precision
        ),
        sizes=sizes,
        seeds=options.seeds,
        full=options.full,
    )


def read_weights(network: str, weights: str) -> dict[str, torch.Tensor]:
    if weights != "random":
        return fetch_weights(network, weights, ROOT)
    with seeded(0):
        return {k: v.contiguous() for k, v in build_backbone(network).state_dict().items()}


def bench(plan: Plan) -> Iterator[str]:
    """Yield the report, section by section."""
    yield heading(plan)
    rates = measure_rates(plan, plan.setting)
    yield strategies(plan, rates)
    yield frozen_column(plan, rates)
    blog_rates = measure_rates(plan, plan.blog_setting)
    yield bare_loop(plan, [(plan.setting, rates), (plan.blog_setting, blog_rates)])
    yield growth(plan)
    yield blog_study(plan, blog_rates)


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_arguments(arguments)
    # As published: the scheduler steps before the optimiser, four workers however many the cores.
    warnings.filterwarnings("ignore", message=r".*(lr_scheduler\.step|worker processes in total)")
    try:
        for section in bench(make_plan(options, QUICK if options.quick else DEFAULT)):
            print(section, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
