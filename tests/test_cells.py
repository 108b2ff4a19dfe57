"""A cell's seeds, one after the other; a stopped cell resumes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PARAMS, make_cell
from safetensors.torch import load_file

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.scoring.predictions import check_apart
from shotcount.training import cells
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.loop import Run, train_network
from shotcount.training.strategies import STRATEGIES, Examples, assemble


@pytest.fixture
def cell() -> cells.Setup:
    return make_cell("frozen", PARAMS.parallel, seeds=3, min_steps=40, epochs=1, patience=20)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_cell_holds_every_seed_and_what_it_was_trained_on(
    cell: cells.Setup, tmp_path: Path
) -> None:
    cells.train_cell(cell, 0.5, 2, tmp_path / "cell", tmp_path)
    weights = [load_file(tmp_path / "cell" / f"seed{seed}.safetensors") for seed in range(3)]
    assert not torch.equal(weights[0]["weight"], weights[1]["weight"])
    history = tables.read(tmp_path / "cell/history.csv", tables.HISTORY)
    assert set(history["seed"]) == {0, 1, 2}
    assert set(history["photos"]) == {8}  # 4 of 8 samples x 2 angles
    model = json.loads((tmp_path / "cell/model.json").read_text(encoding="utf-8"))
    assert model["settings"] == cell.settings.model_dump()
    own = cell.subsets[cell.subsets["sample_position"] < 4]
    assert set(own["sample"]) <= set(model["samples_seen"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_stopped_cell_keeps_its_finished_seeds(
    cell: cells.Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, seed: int
) -> None:
    cells.train_cell(cell, 0.5, 2, tmp_path / "undisturbed", tmp_path)
    capsys.readouterr()

    runs = iter(range(3 * 41))  # the start and every step of every seed

    def stop(*arguments: object) -> None:
        if next(runs) == 41 * seed + 20:
            raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cells, "_show", stop)
        cells.train_cell(cell, 0.5, 2, folder, tmp_path)
    assert not (folder / "model.json").exists()
    capsys.readouterr()
    cells.train_cell(cell, 0.5, 2, folder, tmp_path)
    assert capsys.readouterr().out.count("validation accuracy") == 3 - seed
    assert content(folder) == content(tmp_path / "undisturbed")
    cells.train_cell(cell, 0.5, 2, folder, tmp_path)
    assert capsys.readouterr().out == ""


def test_a_seed_goes_on_from_its_own_state_alone(cell: cells.Setup, tmp_path: Path) -> None:
    """As after a kill between the record of a seed and the removal of its checkpoint."""
    cells.train_cell(cell, 0.5, 2, tmp_path / "undisturbed", tmp_path)
    network, load = assemble(STRATEGIES["frozen"], "", 2, cell.arrays, cell.compute.device)
    train = Examples(np.arange(8), np.arange(8) % 2)
    stale = Checkpoint(tmp_path / "0-frozen-4-2-0-8.pt", share=np.inf)
    stale.due = 0.0
    run = Run(key=("other",), train=train, val=train, settings=cell.settings)
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
    cell: cells.Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def starved(*arguments):
        if arguments[2].piece > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train_network(*arguments)

    cells.train_cell(cell, 0.5, 2, tmp_path / "whole", tmp_path)
    monkeypatch.setattr(cells, "train_network", starved)
    cells.train_cell(cell, 0.5, 2, tmp_path / "pieces", tmp_path)
    assert "continues with 4 photos at a time" in capsys.readouterr().err
    whole, pieces = (load_file(tmp_path / n / "seed0.safetensors") for n in ("whole", "pieces"))
    assert torch.allclose(whole["weight"], pieces["weight"], atol=1e-4)


def test_a_model_is_never_tested_on_what_it_was_trained_on() -> None:
    with pytest.raises(UserError, match="m has seen 1 sample.* of the test split .*'blue/0'"):
        check_apart(["blue/0", "red/3"], pd.DataFrame({"sample": ["blue/0"]}), Path("m"))
    check_apart(["red/3"], pd.DataFrame({"sample": ["blue/0"]}), Path("m"))


@pytest.mark.parametrize("start", ["zeros", "frozen"])
def test_fine_tuning_starts_from_the_head_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    few = {"seeds": 1, "epochs": 0.01, "min_steps": 1, "validations": 1, "init_head": start}
    cell = make_cell("finetune", PARAMS.parallel, **few)
    features = np.random.default_rng(1).normal(size=(len(cell.arrays.pixels), 1, 512))
    shown = pd.concat([cell.subsets, cell.val])
    features[shown.loc[shown["label"] == "red", "photo"].unique(), 0, 0] += 20
    arrays = replace(cell.arrays, features=features.astype(np.float32))
    heads: list[torch.Tensor] = []

    def watched(network: torch.nn.Module, *arguments: object) -> pd.DataFrame:
        heads.append(network.head.weight.detach().clone())
        return train_network(network, *arguments)

    monkeypatch.setattr(cells, "train_network", watched)
    cells.train_cell(replace(cell, arrays=arrays), 1.0, 2, tmp_path / "cell", tmp_path)
    (head,) = heads
    if start == "zeros":
        assert not head.any()
    else:
        assert int((head[1] - head[0]).abs().argmax()) == 0  # the feature that tells them apart
