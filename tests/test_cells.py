"""A cell's seeds, one after the other; a stopped cell goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, make_manifest
from safetensors.torch import load_file

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.findings import tables
from shotcount.networks.backbones import build_backbone
from shotcount.sampling import splits, subsets
from shotcount.training import cells

PARAMS = load_params(ROOT / "params.yaml")


@pytest.fixture
def cell() -> cells.Setup:
    photos = make_manifest({"blue": 6, "red": 6})
    features = np.random.default_rng(0).normal(size=(len(photos), 8)).astype(np.float32)
    features[photos["label"] == "red", 0] += 2
    params = PARAMS
    parts = splits.split_samples(photos, 0.2, 0.2, seed=0)
    subsets = subsets.nested_subsets(parts["train"], "spread", draws=3, seed=0)
    settings = params.train.frozen.model_copy(
        update={"seeds": 3, "min_steps": 40, "epochs": 1, "patience": 20}
    )
    pixels = np.zeros((len(photos), 16, 16, 3), np.uint8)
    return cells.Setup(
        "frozen", settings, 0, "resnet18", torch.device("cpu"), torch.float32, False,
        params.parallel, pixels, features[:, None], None, subsets, parts["val"],
    )  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_cell_holds_every_seed_and_what_it_was_trained_on(
    cell: cells.Setup, tmp_path: Path
) -> None:
    cells.train_cell(cell, 0.5, 2, tmp_path / "cell", tmp_path)
    weights = [load_file(tmp_path / "cell" / f"seed{seed}.safetensors") for seed in range(3)]
    assert not torch.equal(weights[0]["weight"], weights[1]["weight"])
    history = tables.read(tmp_path / "cell/history.csv", tables.METRICS["history"])
    assert set(history["seed"]) == {0, 1, 2}
    assert set(history["photos"]) == {8}  # 4 of 8 samples x 2 angles
    model = (tmp_path / "cell/model.json").read_text(encoding="utf-8")
    own = cell.subsets[cell.subsets["sample_rank"] < 4]
    assert all(f'"{sample}"' in model for sample in own["sample"])


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
    network, load = cells.assemble(
        cells.STRATEGIES["frozen"], "", 2, cell.pixels, cell.features, cell.settings, cell.device
    )
    train = cells.Photos(np.arange(8), np.arange(8) % 2)
    stale = cells.Checkpoint(tmp_path / "0-frozen-4-2-0-8.pt", share=np.inf)
    stale.due = 0.0
    cells.fit(network, load, train, train, cell.settings, ("other",), stale)
    assert stale.load() is not None
    folder = tmp_path / "cell"
    folder.mkdir()
    history = tables.read(tmp_path / "undisturbed/history.csv", tables.METRICS["history"])
    first = history[history["seed"] == 0]
    tables.write(folder / "history.csv", first, tables.METRICS["history"])
    weights = (tmp_path / "undisturbed/seed0.safetensors").read_bytes()
    (folder / "seed0.safetensors").write_bytes(weights)
    cells.train_cell(cell, 0.5, 2, folder, tmp_path)
    assert content(folder) == content(tmp_path / "undisturbed")


def test_lack_of_memory_trains_in_pieces(
    cell: cells.Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    fit = cells.fit

    def starved(*arguments):
        if arguments[7] > 5:  # piece
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fit(*arguments)

    cells.train_cell(cell, 0.5, 2, tmp_path / "whole", tmp_path)
    monkeypatch.setattr(cells, "fit", starved)
    cells.train_cell(cell, 0.5, 2, tmp_path / "pieces", tmp_path)
    assert "goes on in pieces of 4 photos" in capsys.readouterr().err
    whole, pieces = (load_file(tmp_path / n / "seed0.safetensors") for n in ("whole", "pieces"))
    assert torch.allclose(whole["weight"], pieces["weight"], atol=1e-4)


def test_a_model_is_never_tested_on_what_it_was_trained_on() -> None:
    with pytest.raises(UserError, match="m has seen 1 sample.* of the test split .*'blue/0'"):
        splits.check_apart(["blue/0", "red/3"], pd.DataFrame({"sample": ["blue/0"]}), Path("m"))
    splits.check_apart(["red/3"], pd.DataFrame({"sample": ["blue/0"]}), Path("m"))


@pytest.mark.parametrize("start", ["zeros", "frozen"])
def test_fine_tuning_starts_from_the_head_that_is_asked_for(
    cell: cells.Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    few = {"seeds": 1, "epochs": 0.01, "min_steps": 1, "validations": 1, "init_head": start}
    features = np.random.default_rng(1).normal(size=(len(cell.pixels), 1, 512)).astype(np.float32)
    shown = pd.concat([cell.subsets, cell.val])
    features[shown.loc[shown["label"] == "red", "photo"].unique(), 0, 0] += 20
    study = replace(
        cell, strategy="finetune", settings=PARAMS.train.finetune.model_copy(update=few),
        pretrained=build_backbone("resnet18").state_dict(), features=features,
    )  # fmt: skip
    heads: list[torch.Tensor] = []
    fit = cells.fit

    def watched(network: torch.nn.Module, *arguments: object) -> pd.DataFrame:
        heads.append(network.head.weight.detach().clone())
        return fit(network, *arguments)

    monkeypatch.setattr(cells, "fit", watched)
    cells.train_cell(study, 1.0, 2, tmp_path / "cell", tmp_path)
    (head,) = heads
    if start == "zeros":
        assert not head.any()
    else:
        towards_red = (head[1] - head[0]).abs()
        assert int(towards_red.argmax()) == 0  # the feature that tells them apart
