import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PARAMS, make_cell
from hypothesis import given
from hypothesis import strategies as st

from shotcount.core.errors import UserError
from shotcount.core.seeds import seed_for
from shotcount.networks.backbones import Backbone, build_backbone
from shotcount.networks.devices import (
    in_pieces,
    pick_device,
    pick_precision,
    seeded,
)
from shotcount.networks.features import write_features
from shotcount.networks.heads import Network, build_head, photo_losses
from shotcount.tasks import strategies
from shotcount.tasks.classes import ClassTask
from shotcount.tasks.strategies import STRATEGIES, Arrays, Examples, assemble, predict
from shotcount.training import batches, budgets
from shotcount.training.budgets import Rates, build_optimizer, has_settled, schedule_factor
from shotcount.training.cells import build_run
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.loop import DivergedError, Run, RunState, train_network
from shotcount.training.settings import StepDecay

CPU = torch.device("cpu")


def settings(strategy: str, **changes: object):
    return getattr(PARAMS.train, strategy).model_copy(update=changes)


def separable(photos: int = 200) -> np.ndarray:
    """Features (photos, 8) whose first two dimensions tell whether a photo's number is odd."""
    features = np.random.default_rng(0).normal(size=(photos, 8)).astype(np.float32)
    features[1::2, :2] += 2
    return features


def load_separable(photos: int = 200) -> strategies.Load:
    return strategies.load_features(separable(photos), CPU)


def examples(rows: range, targets: np.ndarray | None = None) -> Examples:
    """Photos whose class is whether their number is odd, each of another sample."""
    own = np.array(rows)
    return Examples(own, own % 2 if targets is None else targets, own.astype(str).astype(object))


def odd_or_even(
    train: range, val: range, strategy: str = "finetune", rate: float = 0.03, **changes: object
) -> Run:
    """A run that learns whether a photo's number is odd, in a fixed number of steps."""
    own = settings(strategy, **({"schedule": "constant", "weight_decay": 0.0} | changes))
    return Run(
        key=("test",),
        train=examples(train),
        val=examples(val),
        settings=own,
        rates=Rates(rate, backbone_rate=1.0),
    )


def train_head(seed: int = 0, **changes: object) -> tuple[torch.nn.Module, pd.DataFrame]:
    head = build_head(8, 2)
    small = {"epochs": 5, "min_steps": 40, "batch_size": 16}
    run = odd_or_even(range(100), range(100, 200), **(small | changes))
    return head, train_network(head, load_separable(), replace(run, key=("test", seed)))


def validation_loss(head: torch.nn.Module) -> float:
    """The loss that `train_head` should have reported of the weights that it left."""
    rows = np.arange(100, 200)
    return float(photo_losses(predict(head, load_separable(), rows), rows % 2).mean())


class Unscaled(ClassTask):
    """For networks whose logits validation can't scale."""

    def scale(self, network: torch.nn.Module, factor: float) -> None:
        pass


# ---- what goes in -------------------------------------------------------------------


def first_batches(photos: int, size: int, window: int) -> list[np.ndarray]:
    """The first 20 batches, where a window holds so many photos and a block 3."""
    batches._shuffled.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "WINDOW", window)
        patch.setattr(batches, "BLOCK", 3)
        drawn = [batches.draw_batch(step, photos, size, ("test",)) for step in range(20)]
    batches._shuffled.cache_clear()
    return drawn


@given(st.integers(2, 50), st.integers(2, 60), st.sampled_from([12, 100]))
def test_batches_are_full_and_show_every_photo_once_a_pass(
    photos: int, size: int, window: int
) -> None:
    drawn = first_batches(photos, size, window)
    assert all(len(batch) == min(size, photos) for batch in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=photos)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("photos", [50, 2**14 + 1])
def test_a_step_can_be_drawn_without_those_before_it(photos: int) -> None:
    drawn = [batches.draw_batch(step, photos, photos // 3, ("test",)) for step in range(8)]
    batches._shuffled.cache_clear()
    assert np.array_equal(batches.draw_batch(7, photos, photos // 3, ("test",)), drawn[7])
    assert not np.array_equal(batches.draw_batch(7, photos, photos // 3, ("other",)), drawn[7])


def test_few_photos_are_shuffled_as_a_whole() -> None:
    rng = np.random.default_rng(seed_for("order", "test", 1))
    assert np.array_equal(batches.draw_batch(1, 30, 30, ("test",)), rng.permutation(30))


def test_many_photos_come_in_windows_of_a_few_neighbourhoods() -> None:
    photos = 3 * batches.WINDOW + 5
    epochs = [batches.draw_batch(step, photos, photos, ("test",)) for step in range(2)]
    for order in epochs:
        window = order[batches.WINDOW : 2 * batches.WINDOW]
        blocks = np.unique(window // batches.BLOCK)
        assert len(blocks) < 1.1 * batches.WINDOW / batches.BLOCK  # of three times as many
        assert blocks[-1] - blocks[0] > 0.9 * photos / batches.BLOCK  # from everywhere
        assert np.abs(np.diff(window[:100])).min() > 1  # mixed among themselves
    again = np.intersect1d(epochs[0][: batches.WINDOW], epochs[1][: batches.WINDOW])
    assert len(again) == pytest.approx(batches.WINDOW / 3, rel=0.2)  # other ones each time


def test_augmentation_is_for_training_only() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    load = strategies.load_pixels(pixels, settings("finetune"), CPU)
    plain = load(np.array([2, 0]), None)
    assert np.array_equal(plain.permute(0, 2, 3, 1).numpy(), pixels[[2, 0]])
    assert not torch.equal(load(np.array([2, 0]), 0), plain)


def test_a_gpu_computes_while_the_next_photos_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.zeros((4, 16, 16, 3), dtype=np.uint8)
    pinned: list[torch.Tensor] = []
    copied: list[bool] = []

    def pin(x: torch.Tensor) -> torch.Tensor:
        pinned.append(x)
        return x

    def to(x: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        assert x is pinned[-1]
        copied.append(non_blocking)
        return x

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    load = strategies.load_pixels(pixels, settings("finetune"), torch.device("cuda"))
    load(np.array([2, 0]), None)
    assert copied == [True]


# ---- how much, how fast -------------------------------------------------------------


def test_schedules() -> None:
    def factors(schedule: object, steps: int = 10) -> list[float]:
        own = settings("finetune", schedule=schedule)
        return [schedule_factor(step, steps, step, own) for step in range(steps)]

    cosine = factors("cosine")
    assert cosine[0] == 1
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[5] == pytest.approx(0.5)
    assert factors(StepDecay(every=7, factor=0.1)) == pytest.approx(7 * [1.0] + 3 * [0.1])
    assert factors("constant") == 10 * [1.0]
    auto = factors("auto", 100)
    rising = auto[: budgets.WARM_UP]
    assert 0 < rising[0] < 0.1
    assert rising == sorted(set(rising))
    assert auto[budgets.WARM_UP :] == (100 - budgets.WARM_UP) * [1.0]


def test_weight_decay_spares_norms_and_biases() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    own = settings("finetune", weight_decay=0.1)
    decayed, others = build_optimizer(network, own, Rates(0.01, 1.0)).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3)]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0)
    assert len(others["params"]) == 3


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_backbone_has_a_learning_rate_of_its_own(optimizer: str) -> None:
    network = Network(torch.nn.Linear(8, 4), 4, 2)
    own = settings("finetune", optimizer=optimizer)
    rates = {
        parameter: group["full_lr"]
        for group in build_optimizer(network, own, Rates(0.02, 0.1)).param_groups
        for parameter in group["params"]
    }
    assert [rates[p] for p in network.head.parameters()] == [0.02, 0.02]
    assert [rates[p] for p in network.backbone.parameters()] == pytest.approx([0.002, 0.002])


# ---- the loop -----------------------------------------------------------------------


def test_head_learns_what_the_features_tell() -> None:
    _, history = train_head(rate=0.3)
    assert history["val_accuracy"].max() > 0.85  # 0.92 is the best possible
    assert list(history["step"]) == [0, 10, 20, 30, 40]
    assert history["epoch"].iloc[-1] == pytest.approx(40 * 16 / 100)
    assert history["kept"].sum() == 1


def test_validation_comes_at_growing_distances() -> None:
    _, history = train_head(min_steps=400)
    distances = np.diff(history["step"])[:-1]  # the last one is cut off by the end
    assert list(distances) == sorted(distances)
    assert distances[0] == 10 < distances[-1] == pytest.approx(0.2 * 300, rel=0.2)


def test_training_ends_when_the_validation_loss_has_stopped_improving() -> None:
    _, history = train_head(schedule="auto", epochs=1000)
    losses, steps = history["val_loss"].to_numpy(), history["step"].to_numpy()
    lowest = [steps[losses[: look + 1].argmin()] for look in range(len(steps))]
    settled = [has_settled(*both) for both in zip(steps, lowest, strict=True)]
    assert settled == (len(steps) - 1) * [False] + [True]
    assert 1.5 * budgets.LEAST < steps[-1] < 1000


def test_early_looks_at_random_weights_do_not_count() -> None:
    small = {"schedule": "auto", "epochs": 1000, "batch_size": 16, "min_steps": 4000}
    run = odd_or_even(range(16), range(100, 200), rate=0.3, **small)
    ends = []
    for early in (0, 500):
        history = train_network(build_head(8, 2), load_separable(), replace(run, early=early))
        assert history["val_loss"].idxmin() < 10  # soon it has learned its few photos by heart
        counted = history[history["step"] >= early]
        assert history["kept"].idxmax() in (counted["val_loss"].idxmin(), history.index[-1])
        ends.append(int(history["step"].iloc[-1]))
    assert ends[0] < 500
    assert ends[1] >= 1000


@pytest.mark.parametrize(
    ("strategy", "schedule", "early"),
    [("scratch", "auto", 500), ("scratch", "cosine", 0), ("finetune", "auto", 0)],
)
def test_only_random_weights_have_early_looks(strategy: str, schedule: str, early: int) -> None:
    cell = make_cell(strategy, PARAMS.parallel, "test_resnet", schedule=schedule)
    cell = replace(cell, rates=Rates(0.01, 1.0))
    assert build_run(cell, {"samples": 4, "angles": 2}, cell.subsets, 0).early == early


@pytest.mark.parametrize("most", [7, 25])
def test_training_never_goes_beyond_its_maximum(most: int) -> None:
    _, history = train_head(schedule="auto", epochs=0.01, min_steps=most)
    assert history["step"].iloc[-1] == most  # and ends with a look


def test_a_fixed_schedule_takes_all_its_steps() -> None:
    _, history = train_head(schedule="cosine", min_steps=400, rate=0.3)
    best = int(history["step"][history["val_loss"].idxmin()])
    assert has_settled(399, best)
    assert history["step"].iloc[-1] == 400


def test_the_start_is_kept_where_training_makes_it_worse() -> None:
    head, _ = train_head(rate=0.3)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    run = odd_or_even(range(100), range(100, 200), rate=0.3, epochs=1, min_steps=20)
    wrong = examples(range(100), 1 - np.arange(100) % 2)
    history = train_network(head, load_separable(), replace(run, train=wrong))
    assert history["step"][history["kept"]].tolist() == [0]
    for key, value in head.state_dict().items():  # but for their calibration, done before
        assert torch.allclose(value, before[key], rtol=1e-2), key


def test_the_last_look_is_kept_unless_another_is_clearly_better() -> None:
    head, history = train_head(schedule="auto", epochs=1000, rate=0.01)
    best, last = history["val_loss"].min(), history["val_loss"].iloc[-1]
    assert best < last < best + 0.01
    assert history["kept"].tolist() == (len(history) - 1) * [False] + [True]
    assert validation_loss(head) == pytest.approx(last, abs=1e-6)

    head = build_head(8, 2)
    run = odd_or_even(range(16), range(100, 200), rate=0.3, epochs=1, min_steps=300)
    history = train_network(head, load_separable(), run)
    best, last = history["val_loss"].min(), history["val_loss"].iloc[-1]
    assert last > best + 0.05  # it has learned its few photos by heart
    assert history["kept"].idxmax() == history["val_loss"].idxmin()
    assert validation_loss(head) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("schedule", ["auto", "constant"])
def test_auto_keeps_an_average_of_the_networks_so_far(schedule: str) -> None:
    head, networks = build_head(8, 2), []
    small = {"schedule": schedule, "epochs": 0.01, "min_steps": 30, "batch_size": 16}
    train_network(
        head,
        load_separable(),
        odd_or_even(range(100), range(100, 200), **small),
        on_step=lambda state, steps: networks.append(head.weight.detach().clone()),
    )
    expected = networks[-1]
    if schedule == "auto":
        expected = networks[0]
        for step, network in enumerate(networks[1:], 1):
            expected = expected.lerp(network, budgets.averaging_weight(step))
        assert not torch.allclose(expected, networks[-1], rtol=0.01)
    kept = head.weight.detach()  # calibrated, and so of another length
    assert torch.allclose(kept / kept.norm(), expected / expected.norm(), atol=1e-5)


@pytest.mark.parametrize("photos", [100, 700])
def test_the_average_has_statistics_of_its_own(photos: int) -> None:
    norm = torch.nn.BatchNorm1d(4, momentum=0.3)
    network = torch.nn.Sequential(torch.nn.Linear(8, 4), norm, build_head(4, 2))
    before = norm.running_mean.clone(), norm.running_var.clone()
    small = {"schedule": "auto", "epochs": 0.01, "min_steps": 30, "batch_size": 20}
    run = odd_or_even(range(photos), range(photos, photos + 50), **small)
    drawn = np.concatenate(list(batches.some_batches(photos, 20, ("statistics", "test"))))
    assert len(drawn) == {100: 100, 700: 520}[photos]
    kept: list[np.ndarray] = []

    def load(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        kept.append(rows) if seed is None and rows.max() < photos else None
        return torch.from_numpy(separable(800)[rows[part]])

    with seeded(0):
        train_network(network, load, replace(run, task=Unscaled()))
    assert np.array_equal(np.concatenate(kept)[-len(drawn) :], drawn)
    inner = network[0](torch.from_numpy(separable(800)[drawn])).detach().view(-1, 20, 4)
    assert torch.allclose(norm.running_mean, inner.mean(dim=(0, 1)), atol=1e-5)
    assert torch.allclose(norm.running_var, inner.var(dim=1).mean(dim=0), atol=1e-5)
    assert not torch.allclose(norm.running_mean, before[0], atol=0.01)
    assert norm.momentum == 0.3


def test_pretrained_statistics_are_left_alone() -> None:
    backbone = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4))
    small = {"schedule": "auto", "epochs": 0.01, "min_steps": 10, "batch_size": 20}
    for keeps in (True, False):
        network = Network(backbone, 4, 2, keeps_statistics=keeps)
        before = backbone[1].running_mean.clone()
        train_network(network, load_separable(), odd_or_even(range(100), range(100, 200), **small))
        assert torch.equal(backbone[1].running_mean, before) == keeps


def test_same_seed_same_weights_and_another_seed_others() -> None:
    first, again, other = (train_head(seed)[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_only_training_and_validation_photos_are_read() -> None:
    features, seen = separable(), set()

    def load(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        seen.update(rows.tolist())
        return torch.from_numpy(features[rows[part]])

    run = odd_or_even(range(10, 30), range(40, 50), epochs=1, min_steps=5)
    train_network(build_head(8, 2), load, run)
    assert seen == {*range(10, 30), *range(40, 50)}


def test_loss_that_runs_away_is_told() -> None:
    features = separable(40)
    run = odd_or_even(range(20), range(20, 40), epochs=1, min_steps=20)
    features[3] = np.nan
    with pytest.raises(DivergedError, match=r"by step 10: lower learning_rate \(0\.03\)"):
        train_network(build_head(8, 2), strategies.load_features(features, CPU), run)


def test_progress_is_told_step_by_step() -> None:
    told = []
    small = {"epochs": 1, "min_steps": 3, "batch_size": 20}
    train_network(
        build_head(8, 2),
        load_separable(20),
        odd_or_even(range(20), range(20), **small),
        on_step=lambda run, steps: told.append((run.step, steps, list(run.losses), run.history)),
    )
    assert [told_of[:2] for told_of in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told[0][2] == []
    assert told[1][2] == pytest.approx([math.log(2)])  # a new head knows nothing
    assert [look["step"] for look in told[3][3]] == [0, 3]


# ---- going on -----------------------------------------------------------------------


class StopError(Exception):
    pass


def small_network() -> torch.nn.Module:
    """BatchNorm has a state, dropout draws: both must survive."""
    with seeded(0):
        return torch.nn.Sequential(
            torch.nn.Linear(8, 16),
            torch.nn.BatchNorm1d(16),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(16, 2),
        )


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["auto", "cosine"])
@pytest.mark.parametrize("stop", [1, 10, 11, 23])
def test_killed_training_resumes_to_identical_weights(
    tmp_path: Path, optimizer: str, schedule: str, stop: int
) -> None:
    small = {"epochs": 0.1, "min_steps": 24, "batch_size": 16}
    how = {"optimizer": optimizer, "schedule": schedule}
    own = odd_or_even(range(100), range(100, 200), **small, **how)
    taken: list[int] = []

    def run(checkpoint: Checkpoint | None, stop_at: int = -1) -> tuple[dict, pd.DataFrame]:
        def on_step(state: RunState, steps: int) -> None:
            taken.append(state.step)
            if state.step == stop_at:
                raise StopError

        network = small_network()
        with seeded(len(taken)):  # whatever was drawn before
            history = train_network(network, load_separable(), own, checkpoint, on_step)
        return network.state_dict(), history

    weights, history = run(None)
    checkpoint = Checkpoint(tmp_path / "checkpoint", share=math.inf)
    checkpoint.due = 0.0
    with pytest.raises(StopError):
        run(checkpoint, stop)
    taken.clear()
    resumed, resumed_history = run(Checkpoint(tmp_path / "checkpoint"))
    assert taken[:2] == [stop - 1, stop]  # goes on from there, taking no earlier step again
    assert all(torch.equal(weights[key], resumed[key]) for key in weights)
    assert history.equals(resumed_history)


def test_checkpoints_take_a_small_share_of_the_time(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint", share=0.05)
    checkpoint.offer(dict)
    assert checkpoint.load() is None  # too early
    start, checkpoint.due = checkpoint.due, 0.0
    checkpoint.offer(lambda: {"step": 3})
    assert checkpoint.load() == {"step": 3}
    assert checkpoint.due > start - 0.5
    checkpoint.offer(lambda: {"step": 4})
    assert checkpoint.load() == {"step": 3}


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="checkpoint is damaged: remove it"):
        Checkpoint(tmp_path / "checkpoint").load()


# ---- memory -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_too_large_a_batch_is_computed_in_pieces(error: Exception, capsys) -> None:
    tried: list[int] = []

    def compute(piece: int) -> int:
        tried.append(piece)
        if piece > 4:
            raise error
        return piece

    what = f"computing {error!r}"
    assert in_pieces(compute, 20, what) == 2
    assert tried == [20, 10, 5, 2]
    assert f"{what} continues with 2 photos at a time" in capsys.readouterr().err
    assert in_pieces(compute, 20, what) == 2
    assert tried[4:] == [2]  # learned once
    with pytest.raises(UserError, match="not enough memory for it all, even one photo"):
        in_pieces(lambda piece: compute(5), 20, "it all")


def test_another_error_is_no_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        in_pieces(lambda piece: (_ for _ in ()).throw(RuntimeError("shapes")), 20, "it")


def five_epochs(network: torch.nn.Module, **options: object) -> None:
    small = {"epochs": 5, "min_steps": 5, "batch_size": 20}
    run = odd_or_even(range(40), range(40), **small)
    train_network(network, load_separable(40), replace(run, **options))


def test_pieces_sum_to_the_gradient_of_the_batch() -> None:
    heads = [build_head(8, 2) for _ in range(2)]
    for head, piece in zip(heads, (None, 3), strict=True):
        five_epochs(head, piece=piece)
    assert torch.allclose(heads[0].weight, heads[1].weight, atol=1e-6)
    assert not torch.equal(heads[0].weight, torch.zeros(2, 8))


# ---- the strategies -----------------------------------------------------------------


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 255, (24, 32, 32, 3), dtype=np.uint8)
    photos[::2, :, :, 0] //= 4  # every other photo lacks red
    return photos


def backbone_of(name: str) -> Backbone:
    """The same one each time."""
    with seeded(0):
        return build_backbone(name)


def features_of(pixels: np.ndarray, path: Path, device: torch.device = CPU) -> np.ndarray:
    list(write_features(path, backbone_of("resnet18"), pixels, device))
    return np.load(path)


def test_cached_features_are_those_of_the_frozen_network(
    pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shotcount.networks.features.BATCH", 10)
    backbone = backbone_of("resnet18")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    path = tmp_path / "features.npy"
    assert list(write_features(path, backbone, pixels, CPU)) == [0, 10, 20, 24]
    cached = np.load(path)
    for key, value in backbone.state_dict().items():  # BatchNorm's running means among them
        assert torch.equal(value, before[key]), key
    with torch.inference_mode():
        one = backbone(torch.from_numpy(pixels[17:18]).permute(0, 3, 1, 2))
    assert np.allclose(one.numpy(), cached[17], rtol=1e-3, atol=1e-4)
    assert cached.shape == (24, 512)

    whole = path.read_bytes()
    for length in (0, 50, len(whole) // 2, len(whole) - 1):  # where a killed call may have stopped
        path.write_bytes(whole[:length])
        done = list(write_features(path, backbone, pixels, CPU))
        assert path.read_bytes() == whole
    assert done == [20, 24]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_heads_and_features_hardly_depend_on_the_number_of_threads(
    pixels: np.ndarray, tmp_path: Path, threads: None
) -> None:
    weights, features = [], []
    for count in (1, 2):
        torch.set_num_threads(count)
        weights.append(train_head()[0].weight)
        features.append(features_of(pixels, tmp_path / str(count)))
    assert torch.allclose(*weights, rtol=0, atol=1e-5)
    assert np.allclose(*features, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_features_on_cuda_are_those_of_the_cpu(pixels: np.ndarray, tmp_path: Path) -> None:
    cpu, cuda, again = (
        features_of(pixels, tmp_path / f"{number}.npy", device=pick_device(name))
        for number, name in enumerate(("cpu", "cuda", "cuda"))
    )
    assert np.array_equal(cuda, again)
    assert np.allclose(cpu, cuda, rtol=1e-2, atol=1e-3)  # TF32 convolutions


def fine_tune(
    pixels: np.ndarray, name: str, min_steps: int = 4, precision: torch.dtype = torch.float32
) -> tuple[dict, dict, torch.nn.Module, pd.DataFrame]:
    with seeded(1):
        pretrained = build_backbone("resnet18").state_dict()
    with seeded(2):
        network, load = assemble(
            STRATEGIES[name], "resnet18", 2, Arrays(pixels, pixels), CPU, settings(name), pretrained
        )
    before = {key: value.clone() for key, value in network.state_dict().items()}
    small = {"min_steps": min_steps, "epochs": 1, "batch_size": 12, "rate": 0.001}
    run = replace(odd_or_even(range(24), range(24), name, **small), precision=precision)
    return pretrained, before, network, train_network(network, load, run)


def test_fine_tuning_starts_pretrained_and_moves_every_parameter(pixels: np.ndarray) -> None:
    pretrained, before, network, _ = fine_tune(pixels, "finetune")
    for key, value in pretrained.items():
        assert torch.equal(before[f"backbone.{key}"], value), key
    for key, value in network.named_parameters():
        assert not torch.equal(value, before[key]), key


def test_fine_tuning_leaves_the_statistics_of_batchnorm_and_scratch_finds_its_own(
    pixels: np.ndarray,
) -> None:
    for name, stays in (("finetune", True), ("scratch", False)):
        _, before, network, _ = fine_tune(pixels, name)
        state = network.state_dict()
        found = [key for key in state if key.endswith(("running_mean", "running_var"))]
        assert len(found) == 2 * 20
        assert {torch.equal(state[key], before[key]) for key in found} == {stays}
        norm = "backbone.network.bn1"
        for key in (f"{norm}.weight", f"{norm}.bias"):
            assert not torch.equal(state[key], before[key]), key


def test_scratch_starts_from_weights_of_its_own(pixels: np.ndarray) -> None:
    pretrained, before, network, _ = fine_tune(pixels, "scratch")
    key = "network.conv1.weight"
    assert not torch.equal(before[f"backbone.{key}"], pretrained[key])
    assert not torch.equal(network.state_dict()[f"backbone.{key}"], before[f"backbone.{key}"])


def test_frozen_has_a_head_and_nothing_else() -> None:
    arrays = Arrays(separable(), separable())
    network, _ = assemble(STRATEGIES["frozen"], "resnet18", 3, arrays, CPU)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes == {"weight": (3, 8), "bias": (3,)}


# ---- in which numbers ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "can", "expected"),
    [
        ("cpu", {"avx512_bf16": True}, torch.bfloat16),
        ("cpu", {"amx_bf16": True}, torch.bfloat16),
        ("cpu", {"avx512_f": True}, torch.float32),
        ("mps", {"avx512_bf16": True}, torch.float32),
        ("cuda", {}, torch.bfloat16),
    ],
)
def test_precision_follows_the_device(
    device: str, can: dict, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert pick_precision("auto", torch.device(device)) == expected
    assert pick_precision("float32", torch.device(device)) == torch.float32


def test_the_memory_layout_changes_rounding_alone(pixels: np.ndarray) -> None:
    backbone = backbone_of("resnet18").eval()
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        fast = backbone(x)
        network = backbone.network.to(memory_format=torch.contiguous_format)
        plain = network(((x - backbone.mean) / backbone.std).contiguous())
    assert torch.allclose(fast, plain, rtol=1e-4, atol=1e-5)


def test_bfloat16_trains_as_float32_does(pixels: np.ndarray) -> None:
    losses = {}
    for precision in (torch.float32, torch.bfloat16):
        network, history = fine_tune(pixels, "scratch", min_steps=20, precision=precision)[2:]
        assert {value.dtype for value in network.parameters()} == {torch.float32}
        losses[precision] = history["train_loss"].to_numpy()
    exact, fast = losses.values()
    assert exact[-1] < 0.2 < exact[0]  # it has learned
    assert fast == pytest.approx(exact, abs=0.1)
    assert (fast[1:] != exact[1:]).all()


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_step_is_the_same_step() -> None:
    weights = []
    for compiled in (False, True):
        with seeded(0):
            layers = torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)
        network = torch.nn.Sequential(*layers)
        five_epochs(network, compiled=compiled)
        weights.append(network.state_dict())
    assert list(weights[0]) == list(weights[1])
    for key, value in weights[0].items():
        assert torch.allclose(value, weights[1][key], atol=1e-5), key


def test_new_tensors_are_not_filled_which_would_take_a_quarter_of_the_time() -> None:
    pick_device("cpu")
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory


def test_device_that_is_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(UserError, match="this machine has no cuda"):
        pick_device("cuda")


def test_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with seeded(0):
        torch.rand(100)
    assert torch.equal(torch.rand(1), expected)
