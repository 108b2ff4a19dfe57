"""The network to keep: what the folds decide for it, and that it is trained on all samples."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import PARAMS, RATES, make_cell, make_manifest
from safetensors.torch import load_file

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.networks.devices import seeded
from shotcount.networks.heads import Strength, solve_head_as
from shotcount.refit.choice import choose, decide, decide_strength, of_common_seeds
from shotcount.refit.fit import refit
from shotcount.sampling.subsets import nested_subsets
from shotcount.tasks.strategies import STRATEGIES, Examples, assemble
from shotcount.training import cells
from shotcount.training.budgets import training_steps
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.frozen import solve
from shotcount.training.loop import Decided, Run, RunState, train_network
from shotcount.training.setup import Setup

STEPS = 6
ALONE = PARAMS.parallel.model_copy(update={"threads": 1, "networks": 1})
MANIFEST = make_manifest({"blue": 6, "red": 6})  # that of `make_cell`
STRATEGY = pytest.mark.parametrize("strategy", ["scratch", "frozen", "finetune"])


def looks(losses: dict[str, list[float]]) -> pd.DataFrame:
    """The validation loss of each seed's look that was kept."""
    rows = [
        {"strategy": name, "seed": seed, "val_loss": loss}
        for name, own in losses.items()
        for seed, loss in enumerate(own)
    ]
    return pd.DataFrame(rows)


def small_setup(strategy: str, **changes: object) -> Setup:
    if strategy != "frozen":
        changes = {"epochs": 0.01, "min_steps": STEPS} | changes
    if strategy == "finetune":
        changes = {"init_head": "zeros"} | changes
    return make_cell(strategy, ALONE, "test_resnet", seeds=3, **changes)


def kept_looks(
    setup: Setup, steps: tuple[int, ...] = (STEPS, 2, 4), angles: int = 4
) -> pd.DataFrame:
    """Rows as of the history of the largest cell: 8 training samples of 12, three seeds."""
    cell = {"strategy": setup.strategy, "samples": 8, "angles": angles, "photos": 8 * angles}
    seeds = {"seed": range(3), "step": steps, "factor": [0.5, 2.0, 0.8], "val_loss": 0.5}
    return pd.DataFrame(cell | seeds).assign(folder=f"{setup.strategy}/1.0x{angles}")


def whole() -> pd.DataFrame:
    return nested_subsets(MANIFEST.assign(seed=0), "spread", seed=0)


def run_refit(setup: Setup, folder: Path, **options: int) -> dict[str, bytes]:
    refit(setup, whole(), kept_looks(setup, **options), folder, folder.parent)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- what the folds decide ------------------------------------------------------------


def test_the_lowest_mean_validation_loss_chooses_the_strategy() -> None:
    assert choose(looks({"scratch": [0.8], "frozen": [0.5, 0.4], "finetune": [0.6]})) == "frozen"


def test_one_lucky_seed_is_no_reason_for_a_strategy() -> None:
    assert choose(looks({"scratch": [0.1, 0.9, 0.9], "frozen": [0.5, 0.4]})) == "frozen"


def test_strategies_are_compared_by_the_seeds_that_all_of_them_have() -> None:
    # Frozen alone has the last two seeds, whose validation samples are easy.
    kept = looks({"frozen": [0.6, 0.6, 0.1, 0.1], "finetune": [0.5, 0.5]})
    compared = of_common_seeds(kept)
    assert list(compared.groupby("strategy")["seed"].agg(list)) == [[0, 1], [0, 1]]
    assert choose(compared) == "finetune"


def test_the_first_of_equal_strategies_is_chosen() -> None:
    assert choose(looks({"scratch": [0.5, 0.5], "frozen": [0.5]})) == "scratch"


def test_steps_and_certainty_are_the_medians_of_the_folds() -> None:
    setup = small_setup("scratch")
    assert decide(setup, 48, kept_looks(setup, (300, 100, 900))) == (300, pytest.approx(0.8))
    two = kept_looks(setup).iloc[:2]
    assert decide(setup, 48, two) == (4, pytest.approx(1.0))  # of 0.5 and 2


def test_a_fixed_schedule_takes_its_own_steps() -> None:
    setup = small_setup("scratch", schedule="cosine", epochs=7, batch_size=8)
    assert decide(setup, 48, kept_looks(setup)).steps == training_steps(48, 8, 7, STEPS) == 42


def test_a_heads_penalty_is_the_median_of_those_that_validation_chose() -> None:
    setup = small_setup("frozen")
    found = [
        solve(
            setup,
            Examples.of(tables.of_seed(setup.subsets, seed), setup.classes),
            Examples.of(tables.of_seed(setup.val, seed), setup.classes),
        ).strength
        for seed in range(3)
    ]
    decided = decide_strength(setup, setup.subsets)
    assert decided.penalty == pytest.approx(np.median([own.penalty for own in found]))
    assert decided.factor == pytest.approx(np.median([own.factor for own in found]))


# ---- a run without validation ---------------------------------------------------------


@pytest.mark.parametrize("schedule", ["auto", "cosine"])
def test_it_ends_with_the_network_that_a_validated_run_has_at_that_step(schedule: str) -> None:
    setup = small_setup("scratch", schedule=schedule)
    device, rows = torch.device("cpu"), np.arange(16)
    photos = Examples(rows, rows % 2, rows.astype(object))
    nothing = Examples(rows[:0], rows[:0], rows[:0].astype(object))
    last: dict[str, torch.Tensor] = {}

    def watch(state: RunState, steps: int) -> None:
        last.update(state.last["network"])

    states = []
    for val, decided in ((photos, None), (nothing, Decided(STEPS, 1.0))):
        own = STRATEGIES["scratch"], setup.network, 2, setup.arrays, device, setup.settings
        with seeded(0):
            network, load = assemble(*own)
        run = Run(
            key=("a",), train=photos, val=val, settings=setup.settings, rates=RATES,
            decided=decided,
        )  # fmt: skip
        history = train_network(network, load, run, None, watch)
        states.append(dict(last) if decided is None else network.state_dict())
    assert history["step"].tolist() == [0, STEPS]
    assert history["val_loss"].isna().all()
    assert history["kept"].tolist() == [False, True]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# ---- trained on all samples -----------------------------------------------------------


def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Run, torch.nn.Linear]]:
    """The runs to come, and the head that each starts with."""
    seen: list[tuple[Run, torch.nn.Linear]] = []

    def train(network: torch.nn.Module, load: object, run: Run, *others: object) -> pd.DataFrame:
        seen.append((run, {name: v.clone() for name, v in network.head.state_dict().items()}))
        return train_network(network, load, run, *others)

    monkeypatch.setattr(cells, "train_network", train)
    return seen


@STRATEGY
def test_every_sample_of_the_study_is_trained_on(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch)
    made = run_refit(small_setup(strategy), tmp_path / "made")
    assert set(made) == {"weights.safetensors", "model.json"}
    model = json.loads(made["model.json"])
    assert (model["samples"], model["angles"], model["photos"]) == (12, 4, 48)
    assert model["samples_seen"] == sorted(MANIFEST["sample"].unique())
    assert model["trained_on"] == {label: {"samples": 6, "photos": 24} for label in ("blue", "red")}
    assert model["tested"] == {
        "samples": 8, "angles": 4, "photos": 32, "seeds": 3, "folder": f"{strategy}/1.0x4"
    }  # fmt: skip
    if strategy == "frozen":
        assert set(model["from_folds"]) == {"penalty", "head_factor"}
        return
    assert model["from_folds"] == {"steps": 4, "factor": 0.8}
    ((run, _),) = seen
    assert sorted(run.train.rows) == list(range(48))
    true = (MANIFEST["label"] == "red").to_numpy().astype(int)
    assert run.train.targets.tolist() == true[run.train.rows].tolist()
    assert len(run.val.rows) == 0


@STRATEGY
def test_no_more_angles_than_in_the_largest_cell(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watched(monkeypatch)
    model = json.loads(run_refit(small_setup(strategy), tmp_path / "made", angles=3)["model.json"])
    assert (model["samples"], model["angles"], model["photos"]) == (12, 3, 36)
    for run, _ in seen:
        photos = MANIFEST.iloc[run.train.rows].groupby("sample").size()
        assert photos.tolist() == 12 * [3]


def test_a_frozen_head_is_solved_on_all_features_as_the_folds_decide(tmp_path: Path) -> None:
    setup = small_setup("frozen")
    run_refit(setup, tmp_path / "made")
    targets = (MANIFEST["label"] == "red").to_numpy().astype(int)
    order = whole()["photo"].to_numpy()
    strength = decide_strength(setup, setup.subsets)
    expected = solve_head_as((setup.arrays.features[order], targets[order]), strength, 2)
    state = load_file(tmp_path / "made/weights.safetensors")
    assert all(torch.equal(state[name], expected[name]) for name in ("weight", "bias"))
    logits = torch.from_numpy(setup.arrays.features) @ state["weight"].T + state["bias"]
    assert np.mean(logits.argmax(dim=1).numpy() == targets) > 0.8
    doubled = solve_head_as(
        (setup.arrays.features[order], targets[order]),
        Strength(strength.penalty, 2 * strength.factor),
        2,
    )
    assert torch.allclose(doubled["weight"], 2 * expected["weight"], rtol=0.01, atol=1e-3)


def test_fine_tuning_starts_with_the_head_that_is_solved_on_all_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_cell(
        "finetune", ALONE, "resnet18", seeds=3, epochs=0.01, min_steps=STEPS, init_head="frozen"
    )
    features = np.random.default_rng(1).normal(size=(48, 512)).astype(np.float32)
    features[(MANIFEST["label"] == "red").to_numpy(), 0] += 20
    setup = replace(setup, arrays=replace(setup.arrays, features=features))
    seen = watched(monkeypatch)
    model = json.loads(run_refit(setup, tmp_path / "made")["model.json"])
    assert set(model["from_folds"]) == {"steps", "factor", "penalty", "head_factor"}
    ((_, head),) = seen
    logits = torch.from_numpy(features) @ head["weight"].T + head["bias"]
    assert logits.argmax(dim=1).tolist() == (MANIFEST["label"] == "red").astype(int).tolist()


# ---- the same bytes -------------------------------------------------------------------


@STRATEGY
def test_the_same_bytes_twice(strategy: str, tmp_path: Path) -> None:
    setup = small_setup(strategy)
    assert run_refit(setup, tmp_path / "one") == run_refit(setup, tmp_path / "two")


def saving(stop_at: int | None, taken: list[int]) -> Callable[..., pd.DataFrame]:
    """A `train_network` that saves at every step and stops at one."""

    def train(
        network: torch.nn.Module, load: object, run: Run, checkpoint: Checkpoint, show: Callable
    ) -> pd.DataFrame:
        def on_step(state: RunState, steps: int) -> None:
            taken.append(state.step)
            if state.step == stop_at:
                raise KeyboardInterrupt
            show(state, steps)

        checkpoint.due, checkpoint.share = 0.0, math.inf
        return train_network(network, load, run, checkpoint, on_step)

    return train


@pytest.mark.parametrize("strategy", ["scratch", "finetune"])
def test_a_stopped_training_goes_on_and_ends_with_the_same_bytes(
    strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup, taken = small_setup(strategy), []
    expected = run_refit(setup, tmp_path / "undisturbed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cells, "train_network", saving(3, []))
        run_refit(setup, tmp_path / "stopped")
    assert not (tmp_path / "stopped").exists()
    monkeypatch.setattr(cells, "train_network", saving(None, taken))
    assert run_refit(setup, tmp_path / "stopped") == expected
    assert taken == [2, 3, 4]  # from what had been saved
    assert not list(tmp_path.glob("*.pt"))


def test_a_training_that_diverges_says_which_rate_to_lower(tmp_path: Path) -> None:
    setup = small_setup("scratch")
    setup = replace(setup, rates=RATES._replace(learning_rate=1e30))
    with pytest.raises(UserError, match=r"lower learning_rate \(1e\+30\)"):
        run_refit(setup, tmp_path / "made")
