"""A cell's seeds, trained one by one or side by side; a stopped cell resumes."""

import copy
import json
import math
import runpy
import shutil
from collections.abc import Callable
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


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("strategy", ["frozen", "finetune"])
def test_a_cell_holds_every_seed_and_what_it_was_trained_on(strategy: str, tmp_path: Path) -> None:
    cell = small_cell(strategy)
    cells.train_cell(cell, 0.5, 2, tmp_path / "cell", tmp_path)
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
        cells.train_cell(cell, 0.5, 2, tmp_path / str(networks), tmp_path)
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert capsys.readouterr().out.count("seed 2: 8 photos") == 2 * (strategy == "scratch")


@pytest.mark.usefixtures("forkserver")
def test_a_failure_of_one_seed_stops_the_cell(tmp_path: Path) -> None:
    cell = small_cell(networks=2)
    cell = replace(cell, rates=cell.rates._replace(learning_rate=1e30))
    with pytest.raises(UserError, match=r"lower learning_rate \(1e\+30\)"):
        cells.train_cell(cell, 0.5, 2, tmp_path / "cell", tmp_path)
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
    cells.train_cell(cell, 0.5, 2, tmp_path / "undisturbed", tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cells, "train_network", saving((seed, 3), []))
        cells.train_cell(cell, 0.5, 2, folder, tmp_path)
    assert not (folder / "model.json").exists()
    capsys.readouterr()
    monkeypatch.setattr(cells, "train_network", saving(None, taken))
    cells.train_cell(cell, 0.5, 2, folder, tmp_path)
    assert taken[0] == (seed, 2)  # what had been saved
    assert capsys.readouterr().out.count("validation accuracy") == 3 - seed
    assert content(folder) == content(tmp_path / "undisturbed")
    cells.train_cell(cell, 0.5, 2, folder, tmp_path)
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob("*.pt"))


def test_a_seed_goes_on_from_its_own_state_alone(tmp_path: Path) -> None:
    """As after a kill between the record of a seed and the removal of its checkpoint."""
    cell = small_cell()
    cells.train_cell(cell, 0.5, 2, tmp_path / "undisturbed", tmp_path)
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
    cells.train_cell(cell, 0.5, 2, folder, tmp_path)
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
    cells.train_cell(cell, 0.5, 2, tmp_path / "whole", tmp_path)
    monkeypatch.setattr(cells, "train_network", starved)
    monkeypatch.setattr(devices, "_fitted", {})
    cells.train_cell(cell, 0.5, 2, tmp_path / "pieces", tmp_path)
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
    cells.train_cell(replace(cell, arrays=arrays), 1.0, 2, tmp_path / "cell", tmp_path)
    (head,) = heads
    if start == "zeros":
        assert not head.weight.any()
    else:
        logits = head(torch.from_numpy(arrays.features[shown["photo"]]))
        assert logits.argmax(dim=1).tolist() == red.astype(int).tolist()
