"""The recipe does what is said of it; the benchmark's quick mode fills its tables."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bench
import measure
import numpy as np
import pytest
import rates
import recipe
import sides
import torch
from conftest import PARAMS, held_out, make_collection
from PIL import Image

from shotcount.networks.devices import seeded
from shotcount.photos.finding import find_photos
from shotcount.sampling.splits import split_samples
from shotcount.training import loop

CPU = torch.device("cpu")
PX = 32


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> sides.Setting:
    root = make_collection(tmp_path_factory.mktemp("photos"), samples=4, angles=2)
    found = find_photos(root, None)
    found["photo"] = range(len(found))
    parts = split_samples(found, held_out(0.25, 0.25), draws=1)
    weights = sides.read_weights("resnet18", "random")
    return sides.Setting(
        "resnet18", PX, CPU, "bfloat16", weights, root, found, parts, {}, PARAMS.parallel
    )


def train(
    name: str, setting: sides.Setting, epochs: int = 1
) -> tuple[set[str], recipe.RecipeNetwork]:
    """Run a variant, and name what in the network's state has changed."""
    variant = recipe.VARIANTS[name]
    with seeded(0):
        network = sides.recipe_network(setting, variant)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        recipe.fit(network, variant, sides.recipe_files(setting, network), CPU, epochs, workers=0)
    after = network.state_dict()
    return {key for key in after if not torch.equal(after[key], before[key])}, network


def is_statistic(key: str) -> bool:
    return key.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.filterwarnings("ignore:Detected call of")
class TestVariants:
    @pytest.mark.parametrize("name", ["frozen", "finetune"])
    def test_as_published_only_the_head_learns_and_batchnorm_drifts(
        self, name: str, setting: sides.Setting
    ) -> None:
        changed, network = train(name, setting)
        assert {key for key in changed if not is_statistic(key)} == {"head.weight", "head.bias"}
        statistics = {key for key in network.state_dict() if is_statistic(key)}
        assert statistics and statistics <= changed
        assert all(p.grad is not None for p in network.parameters())  # computed, thrown away

    def test_honest_frozen_moves_nothing_but_the_head(self, setting: sides.Setting) -> None:
        changed, network = train("honest frozen", setting)
        assert changed == {"head.weight", "head.bias"}
        assert all(p.grad is None for p in network.backbone.parameters())

    def test_scratch_moves_every_parameter(self, setting: sides.Setting) -> None:
        changed, network = train("scratch", setting, epochs=3)
        assert {name for name, _ in network.named_parameters()} <= changed

    def test_only_scratch_leaves_the_pretrained_weights_aside(self, setting: sides.Setting) -> None:
        for name, variant in recipe.VARIANTS.items():
            with seeded(1):
                network = sides.recipe_network(setting, variant)
            own = network.backbone.conv1.weight
            given = setting.pretrained["network.conv1.weight"]
            assert torch.equal(own, given) == (name != "scratch"), name

    def test_learning_rate_falls_an_epoch_early(
        self, setting: sides.Setting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rates = []

        def note(network: object, batches: object, optimizer: torch.optim.SGD, _: object) -> None:
            rates.append(optimizer.param_groups[0]["lr"])

        monkeypatch.setattr(recipe, "train_epoch", note)
        train("honest frozen", setting, epochs=8)
        assert rates == pytest.approx([0.001] * 6 + [0.0001] * 2)

    def test_best_validation_weights_are_kept(
        self, setting: sides.Setting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = iter([1, 0, 2, 0, 1, 4])  # validation, test, validation, ...
        heads = []

        def judge(network: recipe.RecipeNetwork, *_: object) -> int:
            heads.append(network.head.weight.detach().clone())
            return next(right)

        monkeypatch.setattr(recipe, "count_right", judge)
        _, network = train("honest frozen", setting, epochs=3)
        assert torch.equal(network.head.weight, heads[2])
        assert not torch.equal(heads[2], heads[4])


@pytest.mark.parametrize("size", [(40, 36), (500, 300)])
def test_transforms_give_normalised_squares(size: tuple[int, int]) -> None:
    grey = Image.fromarray(np.full((size[1], size[0], 3), 255, np.uint8))
    for make in (recipe.train_transform, recipe.eval_transform):
        x = make(224, [0.5] * 3, [0.25] * 3)(grey)
        assert x.shape == (3, 224, 224) and x.dtype == torch.float32
        assert torch.allclose(x, torch.full_like(x, 2.0))
    assert recipe.train_transform(224, [0.5] * 3, [0.25] * 3).transforms[0].size == (256, 256)


def test_timed_steps_leave_the_warm_up_out() -> None:
    watch = measure.Stopwatch(CPU)
    watch.times = [(0.0, 49.0), (50.0, 51.0), (100.0, 100.25), (101.0, 101.25), (102.0, 110.0)]
    assert watch.rate(batch_size=8) == measure.Rate(8.0, waiting=0.25, first=49.0)


def test_starting_the_workers_counts_as_waiting_for_the_first_batch(
    setting: sides.Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(list[list[torch.Tensor]]):
        def __iter__(self) -> Iterator[list[torch.Tensor]]:
            time.sleep(0.5)
            return super().__iter__()

    batch = [torch.zeros(recipe.BATCH, 3, PX, PX), torch.zeros(recipe.BATCH, dtype=torch.int64)]
    monkeypatch.setattr(recipe, "build_loader", lambda files: Slow([batch] * 20))
    assert sides.recipe_rate(setting, "honest frozen", timed=4).first >= 0.5


def test_medians_are_taken_of_turns() -> None:
    order = []

    def timing(name: str, values: list[float]) -> measure.Rate:
        order.append(name)
        return measure.Rate(values.pop(0), 0)

    slow, fast = [1.0, 9.0, 2.0], [10.0, 30.0, 20.0]
    measures = {"slow": lambda: timing("slow", slow), "fast": lambda: timing("fast", fast)}
    taken = measure.alternate(measures, repeats=3)
    assert order == ["slow", "fast"] * 3
    medians = {name: rate.photos_per_second for name, rate in taken.items()}
    assert medians == {"slow": 2.0, "fast": 20.0}


def test_flops_are_those_in_the_literature() -> None:
    """ResNet-18 takes 1.8 billion multiply-adds at 224 px (He et al., CVPR 2016)."""
    assert rates.training_flops("resnet18", 224) == pytest.approx(3 * 2 * 1.8e9, rel=0.02)


def test_collection_is_cut_to_samples_and_angles(setting: sides.Setting) -> None:
    part = sides.take(setting.found, samples=4, angles=1)
    assert part["sample"].nunique() == len(part) == 4
    assert part["label"].value_counts().to_dict() == {"blue": 2, "red": 2}
    samples = [set(rows["sample"]) for rows in setting.parts.values()]
    assert sum(map(len, samples)) == len(set.union(*samples)) == 8


def test_times_are_computed_from_rates() -> None:
    training, judging = measure.Rate(100, first=0.5), measure.Rate(50, first=0.25)
    own = PARAMS.train.scratch.model_copy(update={"epochs": 2.0, "min_steps": 0, "batch_size": 10})
    way, solved = ("scratch", "recipe"), ("frozen", "Shotcount")
    of = {way: training, solved: measure.Rate(50), rates.JUDGING: judging}
    made = rates.Rates(of, preparing=1.0, extracting=40.0)
    assert made.recipe_seconds(way, photos=1000, judged=500, epochs=2) == 2 * (0.5 + 0.5 + 10 + 10)
    # It looks at validation at steps 0, 10 and 20, and is tested.
    assert made.cell_seconds(way, photos=100, judged=20, own=own) == 200 / 100 + 4 * 20 / 40
    assert made.cell_seconds(solved, photos=100, judged=20, own=PARAMS.train.frozen) == 100 / 50


def test_training_steps_are_timed_without_validation(
    setting: sides.Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = PARAMS.train.scratch.model_copy(update={"batch_size": 2})
    arrays = sides.Arrays(np.zeros((16, PX, PX, 3), np.uint8), np.empty((0, 0), np.float32))
    setup = sides.gather(setting, "scratch", own, arrays)
    assert setup.compute.parallel.threads == torch.get_num_threads()
    look, looked = loop._look, []

    def note(network: object, load: object, run: loop.Run, state: loop.RunState) -> None:
        looked.append(state.step)
        look(network, load, run, state)

    monkeypatch.setattr(loop, "_look", note)
    assert sides.shotcount_rate(setup, own, timed=40).photos_per_second > 0
    assert looked == [0, measure.batches_for(40, 2)]


@pytest.mark.slow
def test_quick_mode_fills_every_table(tmp_path: Path) -> None:
    arguments = ["--network", "resnet18", "--weights", "random", "--size", str(PX), "--quick"]
    options = bench.read_arguments([str(make_collection(tmp_path, angles=2)), *arguments])
    heading, *sections = bench.bench(options, replace(bench.QUICK, timed=4, blog_px=PX))
    assert f"torch {torch.__version__}" in heading and "thread(s)" in heading
    assert [section.splitlines()[0] for section in sections] == [
        "## Strategies", "## The frozen column", "## The bare loop",
        "## A study of the blog's size",
    ]  # fmt: skip
    tables = [
        [[cell.strip() for cell in row.strip("|").split("|")] for row in block.splitlines()]
        for block in re.findall(r"(?:^\|.*\n)+", "\n".join(sections), re.M)
    ]
    assert len(tables) == 5
    for names, _, *rows in tables:
        assert rows and all(len(row) == len(names) for row in rows)
        for name, cell in ((n, c) for row in rows for n, c in zip(names, row, strict=True)):
            assert not re.search(r"nan|inf|-\d", cell), name
            if "photos/s" in name or "÷" in name or name.startswith("×"):
                assert cell == "" or float(cell.rstrip(" %").replace(",", "")) > 0, name
    names, _, *rows = tables[0]
    ways = ("recipe", "Shotcount, the recipe's settings", "Shotcount")
    expected = [(strategy, way) for strategy in ("scratch", "frozen", "finetune") for way in ways]
    expected[4] = ("frozen", "recipe, honest frozen")
    assert [tuple(row[:2]) for row in rows] == expected
    for row in rows:
        facts = dict(zip(names, row, strict=True))
        if tuple(row[:2]) == ("frozen", "Shotcount"):
            assert facts["waiting for photos"] == facts["× recipe"] == facts["photos shown"] == ""
        else:
            assert 0 <= int(facts["waiting for photos"].rstrip(" %")) <= 100
        value, low, high = map(float, re.findall(r"[\d.]+", row[-1]))
        assert 0 <= round(low) <= value <= round(high) <= 100
        if facts["trained by"] == "recipe":
            assert facts["× recipe"] == facts["recipe's wall ÷ this"] == "1"
    measured, *computed = [row[3] for row in tables[1][2:-3]]
    assert measured.startswith("measured") and set(computed) == {"computed"}
    assert sum(row[0] == "all" for row in tables[3]) == 1 and len(tables[3]) == 2 + 15 + 5


def test_missing_photos_end_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main([str(tmp_path / "nowhere"), "--quick"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: data.path:")
