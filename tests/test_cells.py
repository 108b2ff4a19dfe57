"""A cell's seeds, trained one by one or side by side; a stopped cell resumes."""

import copy
import json
import math
import runpy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import PARAMS, RATES, ROOT, make_cell
from safetensors.torch import load_file

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.study import StudySettings, later_cells
from shotcount.networks import devices
from shotcount.parallel.settings import ParallelSettings
from shotcount.tasks.strategies import STRATEGIES, Examples, assemble
from shotcount.tasks.task import check_apart
from shotcount.training import cells
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.loop import Run, RunState, train_network
from shotcount.training.setup import Setup

STEPS = 4


def at_once(networks: int) -> ParallelSettings:
    return PARAMS.parallel.model_copy(update={"threads": 1, "networks": networks})


def small_cell(
    strategy: str = "scratch",
    networks: int = 1,
    network: str = "test_resnet",
    seeds: int = 3,
    **changes: object,
) -> Setup:
    if strategy != "frozen":
        changes = {"epochs": 0.01, "min_steps": STEPS} | changes
    if strategy == "finetune":
        changes = {"init_head": "zeros"} | changes
    return make_cell(strategy, at_once(networks), network, seeds=seeds, **changes)


def train_all(setup: Setup, folder: Path, size: float = 0.5) -> None:
    cells.train_cell(setup, cells.Cell.of(setup, size, 2, folder, folder.parent))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("strategy", ["frozen", "finetune"])
def test_a_cell_holds_every_seed_and_what_it_was_trained_on(strategy: str, tmp_path: Path) -> None:
    cell = small_cell(strategy)
    train_all(cell, tmp_path / "cell")
    weights = [load_file(tmp_path / "cell" / f"seed{seed}.safetensors") for seed in range(3)]
    name = "weight" if strategy == "frozen" else "head.weight"
    assert not torch.equal(weights[0][name], weights[1][name])
    history = tables.read(tmp_path / "cell/history.csv", tables.HISTORY)
    looks = [0] if strategy == "frozen" else [0, STEPS]
    assert history["seed"].tolist() == np.repeat([0, 1, 2], len(looks)).tolist()
    assert history["step"].tolist() == 3 * looks
    assert (history.groupby("seed")["kept"].sum() == 1).all()
    assert set(history["photos"]) == {8}  # 4 of 8 samples x 2 angles
    model = json.loads((tmp_path / "cell/model.json").read_text(encoding="utf-8"))
    rates = {} if strategy == "frozen" else RATES._asdict()
    assert model["settings"] == cell.settings.model_dump() | rates
    assert model["most_steps"] == looks[-1] or strategy == "frozen"
    own = cell.subsets[cell.subsets["sample_position"] < 4]
    for seed, seen in enumerate(model["samples_seen"]):
        assert set(tables.of_seed(own, seed)["sample"]) <= set(seen)
        assert set(tables.of_seed(cell.val, seed)["sample"]) <= set(seen)


@pytest.mark.parametrize("size", [0.5, None])
def test_the_grids_folder_is_never_empty(
    size: float | None, params_text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """DVC warns of an empty one at every command."""
    params = yaml.safe_load(params_text)
    params["study"] |= {"samples": [1.0], "angles": [2]}
    params["study"]["frozen_grid"] = {"samples": [size] if size else [], "angles": [2]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "data/rates/frozen").mkdir(parents=True)
    (tmp_path / "data/rates/frozen/rates.json").write_text("null", encoding="utf-8")  # it is solved
    cell = small_cell("frozen")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Setup, "open", lambda *_: cell)
    monkeypatch.setattr(Setup, "key", lambda _: ())
    monkeypatch.setattr("sys.argv", ["train.py", "frozen", "grid"])
    runpy.run_path(str(ROOT / "stages/train.py"), run_name="__main__")
    grid = tmp_path / "data/models/frozen/grid"
    listed = json.loads((grid / "cells.json").read_text(encoding="utf-8"))
    assert listed == (["0.5x2"] if size else [])
    assert {path.name for path in grid.iterdir()} == {"cells.json", *listed}


@pytest.mark.usefixtures("forkserver")
@pytest.mark.parametrize("strategy", ["frozen", "scratch"])
def test_seeds_side_by_side_give_the_same_bytes(strategy: str, tmp_path: Path, capsys) -> None:
    for networks in (1, 2):
        cell = small_cell(strategy, networks)
        train_all(cell, tmp_path / str(networks))
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert capsys.readouterr().out.count("seed 2: 8 photos") == 2 * (strategy == "scratch")


@pytest.mark.parametrize("done", [0, 2, 3])
def test_work_ahead_is_kept_for_its_own_cell_and_changes_no_bytes(
    done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def some_ahead(work: Callable, jobs: list, *_: object) -> Iterator[tuple[int, object]]:
        """As if other processes had `done` seeds of the next cell before this one was finished."""
        for number in [*range(2), *range(3, 3 + done), 2, *range(3 + done, 6)]:
            yield number, work(jobs[number], lambda report: None)

    setup, ahead = small_cell(), tmp_path / "ahead"
    first, second = (cells.Cell.of(setup, size, 2, ahead / str(size), ahead) for size in (0.5, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(cells, "run_side_by_side", some_ahead)
        cells.train_cell(setup, first, [second])
    assert first.waiting() == [] and second.waiting() == [0, 1, 2][done:]
    assert not (second.folder / "model.json").exists()
    capsys.readouterr()
    cells.train_cell(setup, second)
    assert capsys.readouterr().out.count("validation accuracy") == 3 - done
    for size in (0.5, 1.0):
        train_all(setup, tmp_path / str(size), size)
        assert content(tmp_path / str(size)) == content(ahead / str(size))


def test_a_cell_for_several_processes_is_not_begun_beside_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_first(work: Callable, jobs: list, *_: object) -> Iterator[tuple[int, object]]:
        for number in reversed(range(len(jobs))):
            yield number, work(jobs[number], lambda report: None)

    setup = small_cell(seeds=1)
    first, second = (
        cells.Cell.of(setup, size, 2, tmp_path / str(size), tmp_path) for size in (0.5, 1.0)
    )
    monkeypatch.setattr(Setup, "process_count", lambda _, subset: 1 if len(subset) == 8 else 2)
    monkeypatch.setattr(cells, "run_side_by_side", last_first)
    cells.train_cell(setup, first, [second])
    assert first.waiting() == [] and second.waiting() == [0]


def test_later_cells_are_those_that_dvc_comes_to_next(params_text: str) -> None:
    study = yaml.safe_load(params_text)["study"] | {"samples": [1.0, 6], "angles": [3, 1]}
    assert later_cells(StudySettings(**study), 1.0, 1) == [(6, 3), (6, 1)]
    assert later_cells(StudySettings(**study), 6, 1) == []


def test_a_cell_is_trained_if_its_settings_are_the_same(tmp_path: Path) -> None:
    setup, folder = small_cell(seeds=1), tmp_path / "cell"
    assert not cells.is_trained(setup, folder)
    train_all(setup, folder)
    assert cells.is_trained(setup, folder)
    other = setup.rates._replace(learning_rate=0.5)
    assert not cells.is_trained(replace(setup, rates=other), folder)


@pytest.mark.usefixtures("forkserver")
def test_a_failure_of_one_seed_stops_the_cell(tmp_path: Path) -> None:
    cell = small_cell(networks=2)
    cell = replace(cell, rates=cell.rates._replace(learning_rate=1e30))
    with pytest.raises(UserError, match=r"lower learning_rate \(1e\+30\)"):
        train_all(cell, tmp_path / "cell")
    assert not (tmp_path / "cell/model.json").exists()


def saving(stop_at: tuple[int, int] | None, taken: list[tuple[int, int]]) -> Callable:
    """A `train_network` that saves at every step and stops at one, given as (seed, step)."""

    def train(
        network: torch.nn.Module, load: object, run: Run, checkpoint: Checkpoint, show: Callable
    ) -> pd.DataFrame:
        def on_step(state: RunState, steps: int) -> None:
            taken.append((run.key[4], state.step))
            if taken[-1] == stop_at:
                raise KeyboardInterrupt
            show(state, steps)

        checkpoint.due, checkpoint.share = 0.0, math.inf
        return train_network(network, load, run, checkpoint, on_step)

    return train


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_stopped_cell_keeps_its_finished_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, seed: int
) -> None:
    cell, folder, taken = small_cell(), tmp_path / "stopped", []
    train_all(cell, tmp_path / "undisturbed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cells, "train_network", saving((seed, 3), []))
        train_all(cell, folder)
    assert not (folder / "model.json").exists()
    capsys.readouterr()
    monkeypatch.setattr(cells, "train_network", saving(None, taken))
    train_all(cell, folder)
    assert taken[0] == (seed, 2)  # what had been saved
    assert capsys.readouterr().out.count("validation accuracy") == 3 - seed
    assert content(folder) == content(tmp_path / "undisturbed")
    train_all(cell, folder)
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob("*.pt"))


def test_a_seed_goes_on_from_its_own_state_alone(tmp_path: Path) -> None:
    """As after a kill between the record of a seed and the removal of its checkpoint."""
    cell = small_cell()
    train_all(cell, tmp_path / "undisturbed")
    own = STRATEGIES["scratch"], cell.network, 2, cell.arrays, cell.compute.device, cell.settings
    network, load = assemble(*own)
    train = Examples(np.arange(8), np.arange(8) % 2, np.arange(8).astype(object))
    stale = Checkpoint(tmp_path / "0-scratch-4-2-0-8.pt", share=np.inf)
    stale.due = 0.0
    run = Run(key=("other",), train=train, val=train, settings=cell.settings, rates=RATES)
    train_network(network, load, run, stale)
    assert stale.load() is not None
    folder = tmp_path / "cell"
    folder.mkdir()
    history = tables.read(tmp_path / "undisturbed/history.csv", tables.HISTORY)
    tables.write(folder / "history.csv", history[history["seed"] == 0], tables.HISTORY)
    shutil.copy(tmp_path / "undisturbed/seed0.safetensors", folder)
    train_all(cell, folder)
    assert content(folder) == content(tmp_path / "undisturbed")


def test_lack_of_memory_trains_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def starved(*arguments):
        if arguments[2].piece > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_network(*arguments)

    # Without BatchNorm, and without Adam, which would enlarge rounding errors.
    cell = small_cell("finetune", network="test_convnext", seeds=1, optimizer="sgd")
    train_all(cell, tmp_path / "whole")
    monkeypatch.setattr(cells, "train_network", starved)
    monkeypatch.setattr(devices, "_fitted", {})
    train_all(cell, tmp_path / "pieces")
    assert "continues with 4 photos at a time" in capsys.readouterr().err
    whole, pieces = (load_file(tmp_path / n / "seed0.safetensors") for n in ("whole", "pieces"))
    for key, value in whole.items():
        assert torch.allclose(value, pieces[key], atol=1e-4), key


def test_a_model_is_never_tested_on_what_it_was_trained_on() -> None:
    with pytest.raises(UserError, match="m has seen 1 sample.* of the test split .*'blue/0'"):
        check_apart(["blue/0", "red/3"], pd.DataFrame({"sample": ["blue/0"]}), Path("m"))
    check_apart(["red/3"], pd.DataFrame({"sample": ["blue/0"]}), Path("m"))


@pytest.mark.parametrize("start", ["zeros", "frozen"])
def test_fine_tuning_starts_from_the_head_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    cell = small_cell("finetune", network="resnet18", seeds=1, init_head=start)
    features = np.zeros((len(cell.arrays.pixels), 512))
    features[:, :8] = np.random.default_rng(1).normal(size=(len(features), 8))
    shown = pd.concat([cell.subsets, cell.val]).drop_duplicates("photo")
    red = (shown["label"] == "red").to_numpy()
    features[shown["photo"][red], 0] += 20
    arrays = replace(cell.arrays, features=features.astype(np.float32))
    heads: list[torch.nn.Linear] = []

    def watched(network: torch.nn.Module, *arguments: object) -> pd.DataFrame:
        heads.append(copy.deepcopy(network.head))
        return train_network(network, *arguments)

    monkeypatch.setattr(cells, "train_network", watched)
    train_all(replace(cell, arrays=arrays), tmp_path / "cell", 1.0)
    (head,) = heads
    if start == "zeros":
        assert not head.weight.any()
    else:
        logits = head(torch.from_numpy(arrays.features[shown["photo"]]))
        assert logits.argmax(dim=1).tolist() == red.astype(int).tolist()
