"""Several processes train one network as one process would; a killed one costs no result."""

import copy
import errno
import os
import re
import shutil
import signal
from functools import partial
from pathlib import Path

import in_ranks
import numpy as np
import pytest
import torch
from conftest import PARAMS, Clone, fork_from_a_server, make_cell, processes, wait_for
from safetensors.torch import load_file
from torch.distributed.launcher import api

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import seeded
from shotcount.parallel import ranks
from shotcount.parallel.settings import ParallelSettings
from shotcount.training.cells import Cell, train_cell

CPU = torch.device("cpu")
FORKED = pytest.mark.usefixtures("forked")
TWO = ParallelSettings(threads=1, networks=1, processes=2, batch_share=1, from_photos=1)


@pytest.mark.parametrize(
    ("parallel", "gpus", "batch_size", "shown", "expected"),
    [
        (PARAMS.parallel, 0, 256, 10**9, 1),  # a CPU has no use for it, unless told so
        (PARAMS.parallel, 8, PARAMS.train.finetune.batch_size, 10**9, 1),
        (PARAMS.parallel, 8, 256, 10**9, 8),
        (PARAMS.parallel, 8, 255, 10**9, 5),
        (PARAMS.parallel, 8, 256, 1000, 1),
        (TWO, 0, 32, 1, 2),
        (TWO, 1, 32, 1, 1),  # each needs a GPU of its own
        (TWO, 0, 31, 1, 1),
    ],
)
def test_as_many_processes_as_pay(
    parallel: ParallelSettings, gpus: int, batch_size: int, shown: int, expected: int
) -> None:
    assert ranks.process_count(parallel, gpus, batch_size, shown) == expected


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks are forks of a server. The launcher would start Python anew for each, in seconds."""
    method = fork_from_a_server().get_start_method()
    monkeypatch.setattr(api, "LaunchConfig", partial(api.LaunchConfig, start_method=method))


# ---- what the ranks compute ------------------------------------------------------------


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def after_a_step(network: torch.nn.Module, folder: Path) -> list[tuple[dict, dict, dict]]:
    """What two ranks have after a step, and what one process has."""
    x = 255 * torch.rand(8, 3, 32, 32, dtype=torch.float64)
    (folder / "alone").mkdir()
    in_ranks.step(network, x, folder / "alone")
    ranks.launch(partial(in_ranks.step, network, x, folder), 2, CPU)
    return [torch.load(folder / name, weights_only=True) for name in ("0.pt", "1.pt", "alone/0.pt")]


@FORKED
def test_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    with seeded(0):
        network = build_backbone("test_convnext").double().train()  # has no BatchNorm
        (first, *_), (second, *_), (alone, *_) = after_a_step(network, tmp_path)
    assert same(first, second)
    for key, value in alone.items():
        assert torch.allclose(first[key], value, rtol=1e-6, atol=1e-9), key


@FORKED
def test_batchnorm_keeps_the_first_ranks_statistics(tmp_path: Path) -> None:
    with seeded(0):
        network = build_backbone("resnet18").double().train()
        first, second, _ = after_a_step(network, tmp_path)
    assert same(first[0], second[0])  # gradients
    assert not same(first[1], second[1])  # each has normalised its own share
    assert same(first[1], first[2])
    assert same(first[1], second[2])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_on_gpus_batchnorm_is_over_the_whole_batch(name: str) -> None:
    found = ranks.launch(partial(in_ranks.norms, name), 2, torch.device("cuda"))
    assert found in ({"SyncBatchNorm"}, {"SyncBatchNormAct"})


STEPS = {"seeds": 1, "epochs": 1, "min_steps": 12, "batch_size": 8, "init_head": "zeros"}


@pytest.mark.parametrize(
    "network",
    [
        pytest.param("test_convnext", id="no BatchNorm"),
        # Slow, and the stage's test below trains a network with BatchNorm too.
        pytest.param("resnet18", id="BatchNorm", marks=pytest.mark.slow),
    ],
)
def test_two_ranks_train_a_cell_as_one_process_does(network: str, tmp_path: Path, capfd) -> None:
    histories, weights = [], []
    for name, parallel in (("two", TWO), ("one", PARAMS.parallel)):
        cell = make_cell("finetune", parallel, network, **STEPS)
        folder = tmp_path / name / "cell"
        folder.parent.mkdir()
        train_cell(cell, Cell.of(cell, 1.0, 4, folder, folder.parent))
        histories.append(tables.read(folder / "history.csv", tables.HISTORY))
        weights.append(load_file(folder / "seed0.safetensors"))
    (together, alone), (ours, theirs) = histories, weights
    shown = capfd.readouterr().out
    assert shown.count("2 processes") == 1
    assert shown.count("validation accuracy") == 2  # the second rank says nothing
    assert list(together["step"]) == list(alone["step"]) == [0, 10, 12]
    assert together["val_loss"].iloc[-1] < 0.9 * np.log(2)  # it learns
    assert ours.keys() == theirs.keys()
    if network == "test_convnext":  # with BatchNorm, each rank normalises its own share
        looks = [name for name in tables.LOOK if name != "kept"]
        assert np.allclose(together[looks], alone[looks], rtol=1e-4)
        assert together["kept"].equals(alone["kept"])
        for key, value in theirs.items():
            assert torch.allclose(ours[key], value, atol=1e-4), key
    assert not list((tmp_path / "two").glob("*.pt"))


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [("frozen", {"seeds": 1}), ("finetune", STEPS | {"batch_size": 64, "min_steps": 1})],
    ids=["cached features", "fewer photos than a batch"],
)
def test_what_is_for_one_process(
    strategy: str, changes: dict[str, object], tmp_path: Path, capfd
) -> None:
    cell = make_cell(strategy, TWO, **changes)
    train_cell(cell, Cell.of(cell, 1.0, 4, tmp_path / "cell", tmp_path))
    assert "processes" not in capfd.readouterr().out


@FORKED
def test_what_is_shared_out_comes_together_in_order() -> None:
    assert ranks.launch(partial(in_ranks.own_part, 5), 2, CPU).tolist() == [0, 1, 2, 3, 4]


# ---- what goes wrong -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UserError("the shard is damaged"), UserError),
        (torch.OutOfMemoryError("CUDA out of memory"), MemoryError),
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
    ],
)
@FORKED
def test_what_would_fail_again_is_told_as_by_one_process(
    error: Exception, kind: type[Exception], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    with pytest.raises(kind, match=re.escape(str(error))):
        ranks.launch(partial(in_ranks.fail_in, 1, error, begun), 2, CPU)
    assert begun.read_text().count("1") == 1  # tried once


@FORKED
def test_what_fails_each_time_ends(tmp_path: Path) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    begun = tmp_path / "begun"
    # The first rank: torch tells its fault if the other fails within the same second.
    with pytest.raises(ChildFailedError, match="KeyError"):
        ranks.launch(partial(in_ranks.fail_in, 0, KeyError("gone"), begun), 2, CPU)
    assert begun.read_text().count("0") == 1 + ranks.RESTARTS


def test_the_launcher_leaves_signals_as_they_were(tmp_path: Path) -> None:
    before = [signal.getsignal(each) for each in ranks.SIGNALS]
    assert ranks.launch(partial(os.getpgid, 0), 2, CPU) == os.getpgid(0)
    assert [signal.getsignal(each) for each in ranks.SIGNALS] == before


# ---- the stage ---------------------------------------------------------------------------


@pytest.fixture
def stage(study: Clone, tmp_path: Path) -> Clone:
    """The study, to train a cell of it by two processes."""
    shutil.copytree(study.folder, tmp_path / "study", symlinks=True)
    clone = copy.copy(study)
    clone.folder = tmp_path / "study"
    clone.set_params(  # of the study as it may be by now, too
        study__strategies=["finetune"],
        study__angles=[1, 3],
        split__folds=None,
        split__test=0.3,
        train__finetune__seeds=1,
        train__finetune__batch_size=8,  # of which a subset has more than one
        train__finetune__min_steps=40,
        parallel=TWO.model_dump(),
    )
    return clone


CELL = "train@finetune-1.0-3"


def made(clone: Clone) -> dict[str, bytes]:
    folder = clone.folder / "data/models/finetune/1.0x3"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_killed_rank_is_restarted_and_a_stopped_stage_goes_on_to_the_same_bytes(
    stage: Clone,
) -> None:
    command = ("dvc", "repro", "--single-item", "--force", CELL)
    assert stage.run(*command).count("2 processes") == 1
    undisturbed = made(stage)

    def saved() -> list[Path]:
        return list(stage.folder.glob("data/unfinished/train-*/[!.]*.pt"))

    process = stage.start(*command)
    wait_for(saved, process)
    killed = max(processes("spawn_main", stage.folder), key=lambda rank: rank.create_time())
    killed.kill()
    shown = process.communicate()[0]
    assert process.returncode == 0, shown
    assert shown.count("a training process died: all restart from the last checkpoint") == 1
    assert made(stage) == undisturbed

    process = stage.start(*command)
    wait_for(saved, process)
    os.killpg(process.pid, signal.SIGINT)
    shown = process.communicate()[0]
    assert process.returncode != 0
    assert "interrupted: run again to resume" in shown
    assert not processes("spawn_main", stage.folder)
    assert saved()
    stage.run(*command)
    assert made(stage) == undisturbed

    stage.set_params(parallel__processes="auto")
    assert "processes" not in stage.run(*command)
    alone = undisturbed["model.json"].replace(b'"processes": 2', b'"processes": 1')
    assert made(stage)["model.json"] == alone
