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
from shotcount.networks.backbones import build_backbone
from shotcount.scoring.predictions import check_apart, prediction_columns, predictions_table
from shotcount.scoring.scores import SCORES
from shotcount.uncertainty.writing import escaped

CPU = torch.device("cpu")


def history(losses: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Validation losses by strategy, seed and look; the last look's weights are kept."""
    rows = [
        {"strategy": strategy, "seed": seed, "val_loss": loss, "kept": look == len(looks) - 1}
        for strategy, seeds in losses.items()
        for seed, looks in enumerate(seeds)
        for look, loss in enumerate(looks)
    ]
    return pd.DataFrame(rows)


# ---- which one ----------------------------------------------------------------------


def test_the_lowest_validation_loss_chooses() -> None:
    looks = {"scratch": [[0.9, 0.8]], "frozen": [[0.5], [0.4]], "finetune": [[0.6]]}
    assert keep.choose(history(looks)) == ("frozen", 1)


def test_weights_that_were_not_kept_do_not_count() -> None:
    looks = {"scratch": [[0.1, 0.8]], "finetune": [[0.1, 0.6], [0.9, 0.5]]}
    assert keep.choose(history(looks)) == ("finetune", 1)


def test_one_lucky_seed_is_no_reason_for_a_strategy() -> None:
    looks = {"scratch": [[0.1], [0.9], [0.9]], "frozen": [[0.5], [0.4]]}
    assert keep.choose(history(looks)) == ("frozen", 1)


def test_the_first_of_equals_is_chosen() -> None:
    looks = {"scratch": [[0.5], [0.5]], "frozen": [[0.5]]}
    assert keep.choose(history(looks)) == ("scratch", 0)


# ---- the folder ---------------------------------------------------------------------


def test_how_photos_become_squares_is_kept(tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "made", "resnet18", 32, ["a", "b"], "pad")
    model = keep.load(folder, CPU)[1]
    assert model["fit"] == "pad"
    assert model["preprocessing"]["longer_side"] == 32
    assert "crop" not in model["preprocessing"]
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
    made = {
        "network": "resnet18", "strategy": "frozen", "photos": 300, "samples": 300, "angles": 1,
        "seed": 0, "size": 32, "fit": "crop", "versions": {}, "manifest_sha256": "0a1b",
        "classes": labels, "settings": {}, "preprocessing": keep.preprocessing(
            build_backbone("resnet18"), 32, "crop"
        ),
    }  # fmt: skip
    looks = history({"frozen": [[0.5]]}).assign(step=0, val_accuracy=0.9)
    text = card.write(made, f, {"test": run}, looks)
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


def test_the_stage_keeps_the_model_that_validation_chose(study: Clone) -> None:
    whole, model = keep.load(study.folder / "data/classifier", CPU)
    looks = study.table("metrics/history.csv", tables.HISTORY)
    assert (model["strategy"], model["seed"]) == keep.choose(looks[looks["photos"] == 24])
    assert (model["samples"], model["angles"], model["photos"]) == (8, 3, 24)
    manifest = study.folder / "data/manifest/table.csv"
    assert model["manifest_sha256"] == hashlib.sha256(manifest.read_bytes()).hexdigest()
    trained = f"data/models/{model['strategy']}/1.0x3/seed{model['seed']}.safetensors"
    state = whole.state_dict()
    for name, value in load_file(study.folder / trained).items():
        assert torch.equal(state[name if "." in name else f"head.{name}"], value)
    if model["strategy"] == "frozen":
        for name, value in load_file(study.folder / "data/backbone.safetensors").items():
            assert torch.equal(state[f"backbone.{name}"], value)
    test = tables.of_seed(study.table("data/splits/test", tables.SPLIT), model["seed"])
    check_apart(model["samples_seen"], test, Path("x"))


def test_the_card_tells_this_models_own_numbers(study: Clone) -> None:
    _, model = keep.load(study.folder / "data/classifier", CPU)
    name = f"data/evaluation/{model['strategy']}/predictions/8x3"
    p = study.table(name, prediction_columns(model["classes"]))
    p = p[p["seed"] == model["seed"]]
    right = np.where(p["p(plastic)"] > 0.5, "plastic", "natural") == p["label"]
    log_p = np.log(p[["p(natural)", "p(plastic)"]].clip(1e-15)).groupby(p["sample"]).sum()
    whole = (log_p["p(plastic)"] > log_p["p(natural)"]) == log_p.index.str.startswith("plastic/")
    text = read_card(study.folder)
    assert f"| all classes | {100 * right.mean():.1f} (" in text
    for label in ("natural", "plastic"):
        recall = right[(p["label"] == label).to_numpy()].mean()
        assert f"| {label} | {100 * recall:.1f} (" in text
    assert f"| 3 | {100 * whole.mean():.1f} (" in text
    assert f"for {100 * right.mean():.1f} % (95 % interval" in text
    # Of each class 9 samples of 3 photos: 4 train, 2 validate, 3 test.
    assert text.count("| 4 (12) | 2 (6) | 3 (9) |") == 2
    assert model["manifest_sha256"] in text


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
            ours = (strategy == chosen["strategy"]) & (p["seed"] == chosen["seed"])
            p["p(plastic)"] = np.where(ours ^ (p["label"] == "plastic"), 0.9, 0.1)
            p["p(natural)"] = 1 - p["p(plastic)"]
            tables.write(path, p, columns)
        path = folder / f"data/evaluation/{strategy}/scores.csv"
        scores = tables.read(path, SCORES)
        tables.write(path, scores.assign(accuracy=strategy != chosen["strategy"]), SCORES)
    shutil.rmtree(folder / "data/classifier")
    copy = Clone.__new__(Clone)
    copy.folder = folder
    shown = copy.run("python", "stages/classifier.py")
    assert f"{chosen['strategy']}, seed {chosen['seed']}: lowest validation loss" in shown
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
