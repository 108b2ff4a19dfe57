"""The whole pipeline at toy size, through DVC, in clones whose path has a space in it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from conftest import Clone, copy_of, make_collection

from shotcount.core import tables
from shotcount.findings.tables import metrics_tables
from shotcount.scoring import predictions

METRICS = metrics_tables("accuracy")


def test_committed_lock_is_in_step_with_code_and_params(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "as committed", locked=True)
    shown = clone.run("dvc", "repro", "--allow-missing", "--dry")
    stale = re.findall(r"^Running stage '(.*)'", shown, re.M)
    assert stale == [], "run `make study` and commit dvc.lock and metrics"


# ---- the default study --------------------------------------------------------------


def test_curve_has_every_cell_with_its_interval(study: Clone) -> None:
    curve = study.table("metrics/curve.csv", METRICS["curve"])
    for strategy, cells in curve.groupby("strategy"):
        sizes = {(4, 1, 4), (4, 3, 12), (8, 1, 8), (8, 3, 24)}
        further = {(4, 2, 8), (8, 2, 16)} if strategy == "frozen" else set()
        found = list(zip(cells["samples"], cells["angles"], cells["photos"], strict=True))
        assert set(found) == sizes | further
        assert len(found) == len(sizes | further)
    assert (curve["accuracy_low"] <= curve["accuracy"]).all()
    assert (curve["accuracy"] <= curve["accuracy_high"]).all()
    assert (curve["seeds"] == 3).all()


def test_splits_are_by_sample_and_subsets_are_of_the_training_split(study: Clone) -> None:
    splits = {s: study.table(f"data/splits/{s}", tables.SPLIT) for s in ("train", "val", "test")}
    subsets = study.table("data/subsets", tables.SUBSETS)
    assert set(subsets["seed"]) == set(range(8))
    for seed in range(8):
        samples = [set(tables.of_seed(table, seed)["sample"]) for table in splits.values()]
        assert [len(s) for s in samples] == [8, 4, 6]
        assert len(set.union(*samples)) == 18
        assert set(tables.of_seed(subsets, seed)["sample"]) == samples[0]


def test_predictions_are_of_the_test_split_and_give_the_scores(study: Clone) -> None:
    test = study.table("data/splits/test", tables.SPLIT)
    columns = predictions.prediction_columns(["natural", "plastic"])
    curve = study.table("metrics/curve.csv", METRICS["curve"])
    for strategy in ("scratch", "frozen", "finetune"):
        cells = curve[curve["strategy"] == strategy]
        folder = study.folder / f"data/evaluation/{strategy}/predictions"
        p = pd.concat([tables.read(path, columns) for path in folder.iterdir()])
        assert len(p) == len(cells) * 18 * 3  # every photo is tested once
        tested = p.drop_duplicates(["seed", "photo"])[["seed", "photo"]]
        assert len(tested.merge(test, on=["seed", "photo"])) == len(tested) == 18 * 3
        both = p[["p(natural)", "p(plastic)"]]
        assert np.allclose(both.sum(axis=1), 1, atol=1e-5)
        right = np.where(both["p(plastic)"] > 0.5, "plastic", "natural") == p["label"]
        of_truth = np.where(p["label"] == "plastic", p["p(plastic)"], p["p(natural)"])
        # Networks that have hardly learned are undecided, to the digits that are written.
        facts = {"right": right, "tied": p["p(plastic)"] == 0.5, "loss": -np.log(of_truth)}
        of_cell = p.assign(**facts).groupby(["samples", "angles"])[list(facts)].mean()
        for cell in cells.itertuples():
            own = of_cell.loc[(cell.samples, cell.angles)]
            assert own["right"] == pytest.approx(cell.accuracy, abs=1e-5 + own["tied"])
            assert own["loss"] == pytest.approx(cell.log_loss, abs=1e-4)


def test_metrics_charts_and_report_are_there(study: Clone) -> None:
    metrics = json.loads((study.folder / "metrics/metrics.json").read_text())
    assert set(metrics) == {"scratch", "frozen", "finetune", "comparisons", "answer", "data"}
    assert len(metrics["comparisons"]) == 3
    assert metrics["data"]["test_photos"] == 18 * 3
    report = (study.folder / "metrics/study.md").read_text(encoding="utf-8")
    sizes = report.split("## ")[1]
    assert len([line for line in sizes.splitlines() if line.startswith("|")]) == 2 + 6
    for name, columns in METRICS.items():
        assert len(study.table(f"metrics/{name}.csv", columns)) or name in ("fits", "fitted"), name
    for chart in ("samples_and_angles", "views_at_test_time", "training_curves"):
        assert "</svg>" in (study.folder / f"metrics/{chart}.svg").read_text(encoding="utf-8")
    svg = (study.folder / "metrics/accuracy_vs_size.svg").read_text(encoding="utf-8")
    assert "training photos (log scale)" in svg
    assert (study.folder / "metrics/accuracy_vs_size.png").stat().st_size > 10_000
    history = study.table("metrics/history.csv", tables.HISTORY)
    assert len(history.drop_duplicates(["strategy", "samples", "angles", "seed"])) == 14 * 3


def test_a_study_whose_training_is_cut_short_says_so_and_names_the_parameter(study: Clone) -> None:
    metrics = json.loads((study.folder / "metrics/metrics.json").read_text())
    said = [(study.folder / "metrics" / name).read_text() for name in ("study.md", "report.html")]
    for strategy in ("scratch", "finetune"):
        assert metrics[strategy]["settled"] is False
        assert all(f"raise train.{strategy}.min_steps" in text for text in said)
    assert metrics["frozen"]["settled"] is True
    assert "not settled" in said[0].split("## Strategies")[1]


def test_a_second_repro_runs_nothing(study: Clone) -> None:
    assert study.repro() == []
    assert "up to date" in study.run("dvc", "status")


def test_another_clone_gives_the_same_bytes(study: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path / "another study")
    (other.folder / "params.yaml").write_bytes((study.folder / "params.yaml").read_bytes())
    other.repro("train@finetune-0.5-3", "train@frozen-1.0-1", "train@scratch-0.5-1")
    for name in (
        "data/pixels/00000.npy",
        "data/features.npy",
        "data/subsets/table.csv",
        "data/rates/finetune/trials.csv",
        "data/models/finetune/0.5x3/seed1.safetensors",
        "data/models/scratch/0.5x1/seed0.safetensors",
        "data/models/frozen/1.0x1/history.csv",
    ):
        assert (other.folder / name).read_bytes() == (study.folder / name).read_bytes(), name


@pytest.fixture(scope="module")
def own(study: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of the study, to change."""
    return copy_of(study, tmp_path_factory.mktemp("changed") / "a study")


def test_a_new_size_runs_its_new_cells_alone(own: Clone) -> None:
    own.set_params(study__angles=[1, 2, 3], study__strategies=["frozen"])
    ran = own.repro()
    assert {stage for stage in ran if stage.startswith("train")} == {
        "train@frozen-0.5-2",
        "train@frozen-1.0-2",
        "train_grid",  # which leaves these to them, and has none left
    }
    assert len(own.table("metrics/curve.csv", METRICS["curve"])) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study__angles": [1, 4]}, "study.angles: 4 angles asked, .* more than 3"),
        ({"split__val": 0.7}, "split: val and test together must stay below 1"),
    ],
)
def test_bad_params_stop_with_one_message_and_lose_nothing(
    own: Clone, changes: dict[str, Any], message: str
) -> None:
    before = (own.folder / "metrics/curve.csv").read_bytes()
    kept = (own.folder / "params.yaml").read_text(encoding="utf-8")
    own.set_params(**changes)
    shown = own.run("dvc", "repro", code=255)
    assert re.search(f"^error: {message}", shown, re.M)
    assert "Traceback" not in shown
    assert (own.folder / "metrics/curve.csv").read_bytes() == before
    (own.folder / "params.yaml").write_text(kept, encoding="utf-8")
    own.run("dvc", "repro")


# ---- the blog's study, on one's own photos ------------------------------------------


# Python itself starts the stages only where there is time for their imports.
@pytest.mark.parametrize("warm", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_blogs_study_runs_on_own_photos(tmp_path: Path, warm: bool) -> None:
    clone = Clone(tmp_path / "the blog")
    make_collection(clone.folder / "photos", samples=10, angles=2)
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), clone.folder / "weights/resnet18.pth")
    (clone.folder / "params.yaml").write_bytes((clone.folder / "studies/blog.yaml").read_bytes())
    clone.set_params(
        study__angles=[2],
        study__frozen_grid={"samples": [], "angles": []},
        data__size=32,
        model__weights="weights/resnet18.pth",
        split__test=0.3,
        train__scratch__seeds=1,
        train__finetune__seeds=1,
        train__finetune__epochs=2,
    )
    ran = clone.stages(clone.run("dvc", "exp", "run", warm=warm))
    assert "data/dvc.yaml:demo" not in ran
    assert not (clone.folder / "data/demo").exists()
    curve = clone.table("metrics/curve.csv", METRICS["curve"])
    assert set(curve["photos"]) == {24}
    # Red and blue photos: colour alone tells the classes apart, even to random features.
    frozen = curve[curve["strategy"] == "frozen"]
    assert frozen["accuracy"].item() > 0.9
    history = clone.table("metrics/history.csv", tables.HISTORY)
    scratch = history[history["strategy"] == "scratch"]
    assert list(scratch["step"]) == list(range(0, 61, 10))  # 10 epochs of 6 batches of 4
    assert scratch["learning_rate"].iloc[-1] == pytest.approx(0.0001)
    svg = (clone.folder / "metrics/accuracy_vs_size.svg").read_text(encoding="utf-8")
    assert "blog, fine-tuned" in svg
