import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, Clone, make_classifier
from safetensors.torch import load_file

from shotcount.classifier import card, figures, keep
from shotcount.core import files, tables
from shotcount.core.errors import UserError
from shotcount.findings.tables import metrics_tables
from shotcount.networks.backbones import build_backbone
from shotcount.refit.choice import choose
from shotcount.scoring.predictions import prediction_columns, predictions_table
from shotcount.scoring.scores import SCORES
from shotcount.uncertainty.writing import escaped

CPU = torch.device("cpu")


# ---- the folder ---------------------------------------------------------------------


def test_how_photos_become_squares_is_kept(tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "made", "resnet18", 32, ["a", "b"], "pad")
    model = keep.load(folder, CPU)[1]
    assert model["fit"] == "pad"
    assert model["preprocessing"]["longer_side"] == 32
    assert "crop" not in model["preprocessing"]
    stretched = make_classifier(tmp_path / "stretched", "resnet18", 32, ["a", "b"], "stretch")
    done = keep.load(stretched, CPU)[1]["preprocessing"]
    assert (done["width"], done["height"]) == (32, 32)
    del model["fit"]  # as before there was a choice
    (folder / "model.json").write_text(json.dumps(model), encoding="utf-8")
    assert keep.load(folder, CPU)[1]["fit"] == "crop"


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "made", "resnet18", 32, ["a", "b"])
    first, model = keep.load(folder, CPU)
    assert not any(module.training for module in first.modules())
    assert model == json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert model["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert model["preprocessing"]["std"] == [0.229, 0.224, 0.225]
    assert model["preprocessing"]["crop"] == "centre, square"
    assert model["versions"]["torch"] == torch.__version__
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    again, _ = keep.load(shutil.copytree(folder, tmp_path / "copied"), CPU)
    with torch.inference_mode():
        assert torch.equal(first(x), again(x))
        assert first(x).shape == (2, 2)


def test_a_head_is_joined_with_its_backbone(tmp_path: Path) -> None:
    network, _ = keep.load(make_classifier(tmp_path, "resnet18", 32, ["a", "b"]), CPU)
    head, backbone = network.head.state_dict(), network.backbone.state_dict()
    assert set(head) == {"weight", "bias"}
    joined = keep.join(head, lambda: backbone)
    assert set(joined) == set(network.state_dict())
    for name, value in network.state_dict().items():
        assert torch.equal(joined[name], value)
    assert keep.join(network.state_dict(), None).keys() == joined.keys()


def test_no_folder_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a classifier: it has no model.json"):
        keep.load(tmp_path / "nowhere", CPU)


# ---- the card's numbers -------------------------------------------------------------


def predictions(samples: int, views: int, wrong: set[int], confidence: float) -> pd.DataFrame:
    """Test photos of two classes by turns; those of `wrong` get the other class's name."""
    rows = []
    for photo in range(samples * views):
        sample, truth = photo // views, photo // views % 2
        p = confidence if truth ^ (photo in wrong) else 1 - confidence
        row = {"photo": photo, "seed": 3, "sample": f"s{sample:02d}", "label": "ab"[truth]}
        rows.append(row | {"p(a)": 1 - p, "p(b)": p})
    return pd.DataFrame(rows)


def measure(run: pd.DataFrame) -> figures.Figures:
    return figures.measure(run, ["a", "b"], 500, np.random.default_rng(0))


def test_figures_are_of_photos_classes_and_samples() -> None:
    # Sample 0 (a): one photo of three wrong; sample 1 (b): all three.
    f = measure(predictions(20, 3, {0, 3, 4, 5}, confidence=0.8))
    assert (f.photos, f.samples) == (60, 20)
    assert f.accuracy.value == pytest.approx(56 / 60)
    assert f.recall["a"].value == pytest.approx(29 / 30)
    assert f.recall["b"].value == pytest.approx(27 / 30)
    assert len(f.views) == 3
    assert f.views[-1].value == pytest.approx(19 / 20)
    assert f.overconfidence.value == pytest.approx(0.8 - 56 / 60)
    assert f.calibration_error == pytest.approx(56 / 60 - 0.8)
    assert f.log_loss == pytest.approx(-(56 * np.log(0.8) + 4 * np.log(0.2)) / 60)
    for figure in (f.accuracy, *f.recall.values(), *f.views, f.overconfidence):
        assert figure.low < figure.value < figure.high


def in_folds(folds: int, per_fold: int, views: int, wrong: set[int]) -> pd.DataFrame:
    """Predictions of seeds of which each tests other samples."""
    run = predictions(folds * per_fold, views, wrong, 0.8)
    return run.assign(seed=run["photo"] // (per_fold * views))


def test_figures_are_means_over_the_seeds_whatever_each_tests() -> None:
    f = measure(in_folds(3, 8, 2, {0, 1, 20}))
    assert (f.photos, f.samples, f.seeds, f.folds) == (48, 24, 3, True)
    assert f.accuracy.value == pytest.approx(45 / 48)
    assert f.recall["a"].value == pytest.approx(21 / 24)
    assert f.views[-1].value == pytest.approx(23 / 24, abs=0.03)  # a tie of its two photos
    assert f.accuracy.low < f.accuracy.value < f.accuracy.high
    twice = [predictions(24, 2, wrong, 0.8).assign(seed=n) for n, wrong in enumerate(({0}, {0, 9}))]
    f = measure(pd.concat(twice))
    assert (f.photos, f.samples, f.seeds, f.folds) == (48, 24, 2, False)
    assert f.accuracy.value == pytest.approx(1 - 1.5 / 48)


def write_card(run: pd.DataFrame, f: figures.Figures, labels: list[str], **changes: object) -> str:
    """Write the card of a classifier of frozen features with these results."""
    made = {
        "network": "resnet18", "strategy": "frozen", "photos": 300, "samples": 300, "angles": 1,
        "size": 32, "fit": "crop", "versions": {}, "manifest_sha256": "0a1b", "classes": labels,
        "settings": {"seeds": 3}, "from_folds": {"penalty": 31.62, "head_factor": 0.9},
        "tested": {"samples": 200, "angles": 1, "photos": 200, "seeds": 3},
        "trained_on": {label: {"samples": 1, "photos": 1} for label in labels},
        "preprocessing": keep.preprocessing(build_backbone("resnet18"), 32, "crop"),
    }  # fmt: skip
    choice = pd.DataFrame({"strategy": "frozen", "val_loss": [0.5, 0.7]})
    return card.write(made | changes, f, run, choice)


SLIGHTLY_BETTER = "This classifier is trained on all samples, so it should do slightly better."


def test_the_card_says_what_was_tested_and_what_the_classifier_has_seen() -> None:
    run = in_folds(3, 8, 2, {0, 1, 20})
    text = " ".join(write_card(run, measure(run), ["a", "b"]).split())
    assert (
        "It is trained on all samples of its study. How good it is was measured on samples that "
        "the network had not seen: each fold was tested by a network trained on the other folds. "
        "On 48 photos of 24 samples, predictions were right for 93.8 % (95 % interval"
    ) in text
    assert SLIGHTLY_BETTER in text
    assert "means over the 3 networks that the study trained in the same way, each on 200" in text
    assert "says nothing about other samples" in text
    assert "| frozen | 2 | 0.600 |" in text
    assert "| L2 penalty of the solved head | 31.62 |" in text
    assert "so what validation decides is the median over the 3 networks above:" in text.lower()


def test_without_folds_the_card_says_who_tested() -> None:
    run = predictions(24, 2, {0, 1, 20}, 0.8)
    text = " ".join(write_card(run, measure(run), ["a", "b"]).split())
    assert "had not seen: the test samples were tested by a network trained on the others." in text
    two = pd.concat([run, run.assign(seed=4)])
    text = " ".join(write_card(two, measure(two), ["a", "b"]).split())
    assert "the test samples were tested by networks trained on the others." in text
    assert SLIGHTLY_BETTER in text


def test_the_card_tells_where_the_steps_come_from() -> None:
    run = predictions(24, 2, {0, 1, 20}, 0.8)
    own = {"from_folds": {"steps": 1200.0, "factor": 0.85}}
    auto = write_card(run, measure(run), ["a", "b"], settings={"schedule": "auto"}, **own)
    assert "| optimisation steps | 1,200 |" in auto
    assert "| logits multiplied by | 0.85 |" in auto
    assert "schedule:" not in auto
    fixed = write_card(run, measure(run), ["a", "b"], settings={"schedule": "cosine"}, **own)
    assert "except for the steps, which follow from the schedule:" in fixed


@pytest.mark.filterwarnings("error")
def test_hundreds_of_classes_are_measured_without_warnings() -> None:
    labels = [f"class {n:03d}" for n in range(300)]
    p = np.full((600, 300), 0.000123)  # rounded, they don't quite sum to 1
    p[np.arange(600), np.arange(600) // 2] = 0.963
    test = pd.DataFrame({"seed": 0, "photo": np.arange(600), "label": np.repeat(labels, 2)})
    run = predictions_table(test.assign(sample=test["photo"].astype(str)), p, labels)
    f = figures.measure(run, labels, 100, np.random.default_rng(0))
    assert f.accuracy.value == 1
    assert len(f.recall) == 300
    text = write_card(run, f, labels)
    title = next(line for line in text.splitlines() if line.startswith("# "))
    assert title.startswith("# Photo classifier: class 000, class 001, ")
    assert title.endswith("class 011, …")
    assert "Sorts photos into 300 classes" in text


def test_intervals_redraw_samples_not_photos() -> None:
    """Ten photos of a sample that stand or fall together are worth one."""
    few = measure(predictions(20, 1, {0, 1, 2, 3}, 0.9)).accuracy
    many = measure(predictions(20, 10, set(range(40)), 0.9)).accuracy
    assert many.value == pytest.approx(few.value)
    assert many.high - many.low == pytest.approx(few.high - few.low, rel=0.15)
    apart = measure(predictions(20, 10, {n for n in range(200) if n % 10 < 2}, 0.9)).accuracy
    assert apart.high - apart.low < 0.01


def test_a_perfect_test_still_has_an_interval() -> None:
    f = measure(predictions(20, 2, set(), 0.9))
    assert f.accuracy.high == 1
    assert f.accuracy.low == pytest.approx(0.025 ** (1 / 20))


def test_a_class_of_any_name_breaks_neither_table_nor_page() -> None:
    shown = escaped("a|b <script>\n*_`[x](y)")
    assert not re.search(r"[|<>\n*_`\[\]]", shown)
    assert escaped("tide-worn glass, é") == "tide-worn glass, é"


# ---- in the study -------------------------------------------------------------------


def read_card(folder: Path) -> str:
    """Read the card without the padding of its tables."""
    return re.sub(" +", " ", (folder / "data/classifier/README.md").read_text(encoding="utf-8"))


def test_the_strategy_that_validation_chose_is_trained_on_all_samples(study: Clone) -> None:
    whole, model = keep.load(study.folder / "data/classifier", CPU)
    looks = study.table("metrics/history.csv", tables.HISTORY)
    largest = looks[looks["kept"] & (looks["photos"] == 24)]
    assert model["strategy"] == choose(largest)
    assert (model["samples"], model["angles"], model["photos"]) == (18, 3, 54)
    assert model["tested"] == {
        "samples": 8, "angles": 3, "photos": 24, "seeds": 3, "folder": f"{model['strategy']}/1.0x3"
    }  # fmt: skip
    manifest = study.table("data/manifest", tables.MANIFEST)
    assert model["samples_seen"] == sorted(manifest["sample"].unique())
    path = study.folder / "data/manifest/table.csv"
    assert model["manifest_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    state = whole.state_dict()
    for name, value in load_file(study.folder / "data/refit/weights.safetensors").items():
        assert torch.equal(state[name if "." in name else f"head.{name}"], value)
    if model["strategy"] == "frozen":
        for name, value in load_file(study.folder / "data/backbone.safetensors").items():
            assert torch.equal(state[f"backbone.{name}"], value)


def test_the_card_tells_the_numbers_of_networks_that_had_not_seen_the_samples(
    study: Clone,
) -> None:
    _, model = keep.load(study.folder / "data/classifier", CPU)
    name = f"data/evaluation/{model['strategy']}/predictions/8x3"
    p = study.table(name, prediction_columns(model["classes"]))
    assert len(p) == p["photo"].nunique() == 54
    right = np.where(p["p(plastic)"] > 0.5, "plastic", "natural") == p["label"]
    log_p = np.log(p[["p(natural)", "p(plastic)"]].clip(1e-15)).groupby(p["sample"]).sum()
    whole = (log_p["p(plastic)"] > log_p["p(natural)"]) == log_p.index.str.startswith("plastic/")
    text = read_card(study.folder)
    for label in ("natural", "plastic"):
        recall = right[(p["label"] == label).to_numpy()].mean()
        assert f"| {label} | {100 * recall:.1f} (" in text
    assert f"| 3 | {100 * whole.mean():.1f} (" in text
    assert text.count("| 9 (27) | 9 (27) |") == 2
    assert model["manifest_sha256"] in text
    # The same interval as in the report.
    columns = metrics_tables("accuracy")["curve"]
    curve = study.table("metrics/curve.csv", columns).set_index(["strategy", "photos"])
    cell = curve.loc[(model["strategy"], 24)]
    low, high = (f"{100 * cell[f'accuracy_{end}']:.1f}" for end in ("low", "high"))
    assert f"| all classes | {100 * right.mean():.1f} ({low}–{high}) |" in text
    assert f"for {100 * right.mean():.1f} % (95 % interval {low} to {high})" in text


def test_test_results_have_no_say_in_the_choice(study: Clone, tmp_path: Path) -> None:
    """Turn the test results of what was chosen into failure, of all else into success."""
    folder = tmp_path / "a copy"
    shutil.copytree(study.folder, folder, ignore=shutil.ignore_patterns(".dvc", ".git", "demo"))
    made = ("weights.safetensors", "model.json")
    before = {name: (folder / "data/classifier" / name).read_bytes() for name in made}
    chosen = json.loads(before["model.json"])
    card_before = read_card(folder)
    columns = prediction_columns(chosen["classes"])
    for strategy in ("scratch", "frozen", "finetune"):
        for path in (folder / f"data/evaluation/{strategy}/predictions").iterdir():
            p = tables.read(path, columns)
            ours = strategy == chosen["strategy"]
            p["p(plastic)"] = np.where(ours ^ (p["label"] == "plastic"), 0.9, 0.1)
            p["p(natural)"] = 1 - p["p(plastic)"]
            tables.write(path, p, columns)
        path = folder / f"data/evaluation/{strategy}/scores.csv"
        scores = tables.read(path, SCORES)
        tables.write(path, scores.assign(accuracy=strategy != chosen["strategy"]), SCORES)
    for stage in ("refit", "classifier"):
        shutil.rmtree(folder / "data" / stage)
    copy = Clone.__new__(Clone)
    copy.folder = folder
    shown = copy.run("python", "stages/refit.py")
    assert f"{chosen['strategy']}: lowest validation loss in the cells of 24 photos" in shown
    assert f"{chosen['strategy']} on all 54 photos: " in shown
    copy.run("python", "stages/classifier.py")
    assert {name: (folder / "data/classifier" / name).read_bytes() for name in made} == before
    assert "| all classes | 0.0 (0.0–" in read_card(folder)
    assert read_card(folder) != card_before


def test_the_stage_makes_the_same_bytes_again(study: Clone) -> None:
    made = study.folder / "data/classifier"
    before = {path.name: files.sha256(path) for path in made.iterdir()}
    assert set(before) == {"weights.safetensors", "model.json", "README.md"}
    study.run("python", "stages/classifier.py")
    assert {path.name: files.sha256(path) for path in made.iterdir()} == before


def test_the_classifier_is_a_dvc_artifact(study: Clone, tmp_path: Path) -> None:
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["artifacts"]
    assert declared["classifier"]["path"] == "data/classifier"
    assert declared["classifier"]["type"] == "model"
    # A version is an annotated tag named <artifact>@v<version>.
    study.run("git", "tag", "--annotate", "--message", "first", "classifier@v1.0.0")
    got = tmp_path / "got"
    study.run("dvc", "artifacts", "get", str(study.folder), "classifier", "--out", str(got))
    for path in (study.folder / "data/classifier").iterdir():
        assert (got / path.name).read_bytes() == path.read_bytes()
    study.run("git", "tag", "--delete", "classifier@v1.0.0")
