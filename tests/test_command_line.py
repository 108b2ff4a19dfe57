"""shotcount check-data, predict, export: what people type, and what they get."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from conftest import ROOT, Clone, make_classifier, make_collection, make_photo
from PIL import Image
from safetensors.torch import load_file

from shotcount.classifier import keep
from shotcount.cli import main
from shotcount.commands import export, given, grouping, predict
from shotcount.commands.given import PhotoFile
from shotcount.core import tables
from shotcount.core.params import Fit
from shotcount.photos import finding
from shotcount.photos.reading import Photo, read_photo
from shotcount.scoring import predictions, views

CLASSES = ["blue", 'red, "dark"', "=1+1\n"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_classifier(tmp_path_factory.mktemp("made") / "a model", "test_resnet", 32, CLASSES)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/<label>/<sample>/<angle>.png below the current folder: 2 classes x 2 samples x 3."""
    monkeypatch.chdir(tmp_path)
    return make_collection(Path("photos"), samples=2, angles=3)


# ---- check-data ---------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params_text: str) -> Path:
    """A folder with the default study's params.yaml, where the command is run."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(params_text, encoding="utf-8")
    return tmp_path


def test_check_data_ends_with_0_and_nothing_kept_where_all_is_well(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_collection(Path("data/demo"), samples=20, angles=10)
    before = sorted(project.rglob("*"))
    assert main(["check-data"]) == 0
    shown = capsys.readouterr()
    assert "400 photos in 2 classes, 40 samples, photos of each: 10" in shown.out
    assert "Nothing would stop the study." in shown.out
    assert shown.err == ""
    assert sorted(project.rglob("*")) == before


def test_check_data_ends_with_2_and_every_problem_where_the_study_would_stop(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_collection(Path("data/demo"), samples=20, angles=3)
    Path("data/demo/red/07/1.png").write_bytes(b"")
    assert main(["check-data"]) == 2
    shown = capsys.readouterr()
    assert "left out: red/07/1.png: the file is empty" in shown.out
    assert "error: this would stop the study:" in shown.err
    assert "1 photos can't be used" in shown.err
    assert "study.angles: 10 angles asked" in shown.err


# ---- predict, export ----------------------------------------------------------------


Rows = list[dict[str, str]]
Run = Callable[..., tuple[int, Rows, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run predict in this process: its status, its rows, what it says on stderr."""

    def call(*arguments: object) -> tuple[int, Rows, str]:
        status = main(["predict", *map(str, arguments)])
        shown = capfd.readouterr()
        return status, list(csv.DictReader(io.StringIO(shown.out, newline=""))), shown.err

    return call


def start(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "shotcount", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


# ---- the study's own classifier -----------------------------------------------------


@pytest.mark.parametrize("strategy", ["scratch", "frozen", "finetune"])
def test_predictions_are_those_that_the_study_tested(
    study: Clone, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """Whatever strategy is chosen: to 1e-5, as batches of another size round differently."""
    monkeypatch.chdir(study.folder)
    folder = Path("data/models", strategy, "1.0x3")
    made = json.loads((folder / "model.json").read_text(encoding="utf-8")) | {"fit": "crop"}
    made["samples_seen"] = made["samples_seen"][1]
    trained = load_file(folder / "seed1.safetensors")
    state = keep.join(trained, lambda: load_file("data/backbone.safetensors"))
    keep.save(tmp_path / "made", state, made)

    columns = predictions.prediction_columns(made["classes"])
    expected = study.table(f"data/evaluation/{strategy}/predictions/8x3", columns)
    expected = expected[expected["seed"] == 1]
    manifest = study.table("data/manifest", tables.MANIFEST).set_index("photo")
    paths = ["data/demo/" + manifest["path"][photo] for photo in expected["photo"]]
    status, rows, _ = run(tmp_path / "made", *paths)
    assert status == 0
    assert [row["path"] for row in rows] == paths
    for label in made["classes"]:
        column = predictions.probability(label)
        got = [float(row[column]) for row in rows]
        assert got == pytest.approx(expected[column].to_numpy(), abs=1e-5)
    assert len({row["probability"] for row in rows}) > 1

    status, rows, _ = run(tmp_path / "made", *paths, "--by-sample", "--batch-size", 5)
    assert status == 0
    right, samples = views.right_by_views(expected, made["classes"], np.random.default_rng(0))
    got = {row["sample"].removeprefix("data/demo/"): row["label"] for row in rows}
    hits = [got[sample] == sample.split("/")[0] for sample in samples]
    assert hits == list(right[-1, 0] == 1)


def test_the_studys_classifier_works_anywhere(study: Clone, tmp_path: Path) -> None:
    shutil.copytree(study.folder / "data/classifier", tmp_path / "copied")
    shutil.copytree(study.folder / "data/demo/plastic/000", tmp_path / "photos")
    process = start("predict", "copied", "photos", cwd=tmp_path)
    shown, complaints = process.communicate()
    assert (process.returncode, complaints) == (0, "")
    rows = shown.splitlines()
    assert rows[0] == "path,label,probability,p(natural),p(plastic)"
    assert [row.split(",")[0] for row in rows[1:]] == [f"photos/0{n}.jpg" for n in range(3)]
    made = json.loads((tmp_path / "copied/model.json").read_text(encoding="utf-8"))
    assert made["layout"] == {"pattern": None, "table": None}


def test_photos_of_the_study_are_no_test_of_its_classifier_and_that_is_told(
    study: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study.folder / "data/demo/plastic/000", tmp_path / "plastic/000")
    shutil.copytree(study.folder / "data/demo/plastic/000", tmp_path / "plastic/new")
    model = study.folder / "data/classifier"
    for names, told in (
        (["plastic/000"], "note: 3 of 3 photos have names of samples that the classifier was"),
        (["plastic"], "note: 3 of 6 photos have names of samples that the classifier was"),
        (["plastic/new"], ""),
    ):
        status, rows, complaints = run(model, *names)
        assert status == 0
        assert complaints.startswith(told)
        assert bool(complaints) == bool(told)
        assert "accuracy" not in complaints + "".join(rows[0])


# ---- predict: what it prints --------------------------------------------------------


def test_a_row_has_the_likeliest_class_and_every_probability(
    model: Path, photos: Path, run: Run
) -> None:
    status, rows, complaints = run(model, photos)
    assert (status, complaints, len(rows)) == (0, "", 12)
    columns = [predictions.probability(label) for label in CLASSES]
    assert list(rows[0]) == ["path", "label", "probability", *columns]
    for row in rows:
        p = [float(row[column]) for column in columns]
        assert sum(p) == pytest.approx(1, abs=1e-5)
        assert row["label"] == CLASSES[int(np.argmax(p))]
        assert float(row["probability"]) == max(p)
    assert len({row["probability"] for row in rows}) > 6


def test_json_lines_say_the_same_as_csv(
    model: Path, photos: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    _, rows, _ = run(model, photos)
    assert main(["predict", str(model), str(photos), "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [{name: str(value) for name, value in line.items()} for line in lines] == rows
    assert main(["predict", str(model), str(photos), "--format", "jsonl", "--by-sample"]) == 0
    line = json.loads(capfd.readouterr().out.splitlines()[0])
    assert (line["sample"], line["photos"]) == ("photos/blue/00", 3)


def test_files_keep_their_order_and_folders_are_in_natural_order(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("10.png", "2.png", "b/1.JPG", ".hidden.png", "x.png"):
        make_photo(tmp_path / "f" / name, rng, 0.5, (32, 32))
    (tmp_path / "f" / "notes.txt").write_text("no photo")
    _, rows, _ = run(model, "f/x.png", "f", "f/2.png")
    assert [row["path"] for row in rows] == [
        "f/x.png", "f/2.png", "f/10.png", "f/b/1.JPG", "f/x.png", "f/2.png",
    ]  # fmt: skip
    assert rows[1] == rows[5]


@pytest.mark.parametrize(
    "name", ["a,b.png", 'say "x".png', "two\nlines.png", "back\rward.png", "ü é.png", "=1.png"]
)
def test_odd_names_come_back_whole(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_photo(tmp_path / name, np.random.default_rng(0), 0.5, (32, 32))
    _, rows, _ = run(model, name)
    assert [row["path"] for row in rows] == [name]


# ---- predict: whole samples ---------------------------------------------------------


def test_a_sample_is_a_folder_and_averages_log_probabilities(
    model: Path, photos: Path, run: Run
) -> None:
    _, single, _ = run(model, photos)
    status, rows, _ = run(model, photos, "--by-sample", "--batch-size", 2)
    assert status == 0
    folders = ["photos/blue/00", "photos/blue/01", "photos/red/00", "photos/red/01"]
    assert [row["sample"] for row in rows] == folders
    assert {row["photos"] for row in rows} == {"3"}
    columns = [predictions.probability(label) for label in CLASSES]
    for row in rows:
        own = [r for r in single if r["path"].startswith(row["sample"] + "/")]
        p = np.array([[float(r[column]) for column in columns] for r in own])
        mean = np.exp(np.log(p).mean(axis=0))
        expected = mean / mean.sum()
        assert [float(row[c]) for c in columns] == pytest.approx(expected, abs=1e-4)
        assert row["label"] == CLASSES[int(expected.argmax())]


def test_a_pattern_tells_samples_that_folders_dont(model: Path, photos: Path, run: Run) -> None:
    flat = Path("flat")
    flat.mkdir()
    for path in photos.rglob("*.png"):
        shutil.copy(path, flat / "-".join(path.relative_to(photos).parts))
    _, by_folder, _ = run(model, photos, "--by-sample")
    pattern = r"^(?P<label>[a-z]+)-(?P<sample>\d+)-(?P<angle>\d)\.png"
    status, rows, _ = run(model, flat, "--by-sample", "--pattern", pattern)
    assert status == 0
    assert [row["sample"] for row in rows] == ["blue/00", "blue/01", "red/00", "red/01"]
    assert [row["probability"] for row in rows] == [row["probability"] for row in by_folder]
    _, rows, _ = run(model, flat, "--by-sample", r"--pattern=-(?P<sample>\d+)-")
    assert [(row["sample"], row["photos"]) for row in rows] == [("00", "6"), ("01", "6")]


def test_photos_whose_sample_a_pattern_doesnt_tell_are_named(
    model: Path, photos: Path, run: Run
) -> None:
    pattern = r"(?P<label>red)/(?P<sample>\d+)"
    status, rows, complaints = run(model, photos, "--by-sample", "--pattern", pattern)
    assert status == 2
    assert [row["sample"] for row in rows] == ["red/00", "red/01"]
    assert "note: 6 photos are grouped into 2 samples by --pattern\n" in complaints
    assert "6 of the 12 photos can't be used" in complaints
    assert "photos/blue/00/0.png: --pattern doesn't match its path" in complaints


def studied(model: Path, pattern: str | None, table: str | None = None) -> Path:
    """A copy of the classifier, from a study with this pattern and table."""
    folder = Path(f"{pattern is None} {table}").absolute()
    shutil.copytree(model, folder)
    set_key(folder, "layout", {"pattern": pattern, "table": table})
    return folder


def test_the_studys_pattern_names_samples_wherever_the_photos_are(
    model: Path, photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = Path("flat")
    for path in photos.rglob("0?/[01].png"):
        label, sample, angle = path.relative_to(photos).parts
        (flat / label).mkdir(parents=True, exist_ok=True)
        path.rename(flat / label / f"{sample}-{angle}")
    made = studied(model, finding.ONE_A_SAMPLE)
    names = [f"{n}-{k}" for n in ("00", "01") for k in (0, 1)]
    for arguments in ([flat], [Path.cwd() / "flat/.."], [flat / "blue", *flat.glob("red/*")]):
        _, rows, told = run(made, *arguments, "--by-sample")
        samples = {row["sample"] for row in rows}
        assert {f"{label}/{name}" for label in ("blue", "red") for name in names} <= samples
        assert re.search(r"^note: .* by the study's data\.pattern, '\^\(\?P<label>", told, re.M)
    monkeypatch.chdir(flat / "blue")
    _, rows, _ = run(made, "00-0.png", "--by-sample")
    assert [row["sample"] for row in rows] == ["blue/00-0"]


def test_samples_are_folders_where_the_study_cannot_name_them_and_that_is_told(
    model: Path, photos: Path, run: Run
) -> None:
    folders = ["photos/blue/00", "photos/blue/01", "photos/red/00", "photos/red/01"]
    for used, told in (
        (model, "by folder, since the classifier has no record of its study's paths"),
        (studied(model, None, "t.csv"), "by folder, since the classifier has no data.pattern that"),
        (
            studied(model, "IMG(?P<sample>x)", "u.csv"),
            "by folder, since the study's data.pattern, 'IMG(?P<",
        ),
    ):
        _, rows, notes = run(used, photos, "--by-sample")
        assert [row["sample"] for row in rows] == folders
        assert f"12 photos are grouped into 4 samples {told}" in notes
    status, rows, notes = run(
        studied(model, r"(?P<label>red)/(?P<sample>\d+)"), photos, "--by-sample"
    )
    assert (status, [row["sample"] for row in rows]) == (2, ["red/00", "red/01"])
    assert "photos/blue/00/0.png: the study's data.pattern" in notes
    assert "doesn't match its path" in notes


# ---- predict: what goes wrong -------------------------------------------------------


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_photos_become_squares_as_the_classifiers_did(tmp_path: Path, run: Run, fit: Fit) -> None:
    folder = make_classifier(tmp_path / "made", "test_resnet", 32, ["a", "b"], fit)
    Image.fromarray(export.draw_photo(120, 40, seed=0)).save(tmp_path / "tall.png")
    network, _ = keep.load(folder, torch.device("cpu"))
    expected: dict[str, float] = {}
    for either in get_args(Fit):
        square = read_photo((tmp_path / "tall.png").read_bytes(), 32, either).pixels
        with torch.inference_mode():
            logits = network(torch.tensor(square).permute(2, 0, 1)[None])
        expected[either] = logits.softmax(dim=1)[0, 0].item()
    _, rows, _ = run(folder, tmp_path / "tall.png")
    assert min(np.diff(sorted(expected.values()))) > 1e-3
    p = float(rows[0][predictions.probability("a")])
    assert p == pytest.approx(expected[fit], abs=1e-4)


def test_a_folder_without_photos_says_what_it_holds(model: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films/a.mov").touch()
    status, rows, complaints = run(model, tmp_path / "films")
    assert (status, rows) == (2, [])
    assert "a folder without photos, but 1 files of kinds that aren't photos: 1 .mov" in complaints


def test_bad_photos_are_named_at_the_end_and_good_ones_predicted(
    model: Path, photos: Path, run: Run
) -> None:
    good = (photos / "blue/00/0.png").read_bytes()
    bad = {
        "cut.png": (good[: len(good) // 2], "truncated"),
        "empty.jpg": (b"", "no image that Pillow can read"),
        "text.jpg": (b"no photo", "no image that Pillow can read"),
        "esc\x1b[2J.jpg": (b"", "no image that Pillow can read"),
    }
    for name, (content, _) in bad.items():
        (photos / name).write_bytes(content)
    Image.new("RGB", (4, 4)).save(photos / "tiny.png")
    os.symlink("nowhere", photos / "nothing.png")
    os.symlink("blue", photos / "linked")
    Path("bare").mkdir()
    status, rows, complaints = run(model, photos, "missing.jpg", "bare", "--batch-size", 3)
    assert status == 2
    assert len(rows) == 12
    assert complaints.startswith("error: 9 of the 21 photos can't be used:\n")
    for name, (_, fault) in bad.items():
        line = next(x for x in complaints.splitlines() if name.split(".")[0].split("\x1b")[0] in x)
        assert fault in line
    assert "photos/tiny.png: 4 x 4 px: too small" in complaints
    assert "photos/nothing.png: No such file" in complaints
    assert "photos/linked: a link to a folder" in complaints
    assert "missing.jpg: No such file" in complaints
    assert "bare: a folder without photos" in complaints
    assert "\x1b" not in complaints


def test_a_name_that_is_not_utf8_is_told(model: Path, photos: Path, run: Run) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(photos / "blue/00/0.png", name)
    status, rows, complaints = run(model, name, photos / "red/00")
    assert (status, len(rows)) == (2, 3)
    assert "is not UTF-8: rename it" in complaints


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: shutil.rmtree(f), "is not a classifier: it has no model.json"),
        (lambda f: (f / "model.json").unlink(), "is not a classifier: it has no model.json"),
        (lambda f: (f / "model.json").write_text("{"), "model.json is damaged"),
        (lambda f: (f / "model.json").write_text("[]"), "network must be of type str"),
        (lambda f: (f / "model.json").write_bytes(b"\xff"), "model.json is damaged"),
        (lambda f: set_key(f, "classes", [1, 2, 3]), "classes must be text"),
        (lambda f: set_key(f, "layout", []), "layout must have pattern and table"),
        (lambda f: set_key(f, "fit", "squash"), "fit must be crop, pad or str"),
        (lambda f: set_key(f, "network", "resnet"), "has a network named 'resnet'"),
        (lambda f: set_key(f, "network", "resnet18"), "doesn't fit model.json"),
        (lambda f: set_key(f, "classes", ["a", "b"]), "doesn't fit model.json"),
        (lambda f: (f / "weights.safetensors").unlink(), "has no weights.safetensors"),
        (lambda f: (f / "weights.safetensors").write_bytes(b"x" * 99), "safetensors is damaged"),
        (lambda f: os.truncate(f / "weights.safetensors", 4000), "safetensors is damaged"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "export"])
def test_an_unusable_model_is_told_in_one_message(
    model: Path, photos: Path, capfd: pytest.CaptureFixture[str],
    damage: Callable[[Path], object], message: str, command: str,
) -> None:  # fmt: skip
    shutil.copytree(model, "copied")
    damage(Path("copied"))
    new = photos / "new.onnx"
    assert main([command, "copied", str(new if command == "export" else photos)]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not new.exists()


def set_key(folder: Path, key: str, value: object) -> None:
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(content | {key: value}), encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by-sample", "--pattern", "("], "--pattern: not a regular expression"),
        (["--by-sample", "--pattern", "x"], "--pattern: lacks the group sample"),
        (["--pattern", "(?P<sample>x)"], "give --by-sample too"),
        (["--draw", "drawn"], "--draw is for networks that find objects"),
        (["--confidence", "0.5"], "--confidence is for networks that find objects"),
        (["--format", "coco"], "--format coco is for networks that find objects"),
    ],
)
def test_unusable_options_are_told(
    model: Path, photos: Path, run: Run, arguments: list[str], message: str
) -> None:
    status, rows, complaints = run(model, photos, *arguments)
    assert (status, rows) == (2, [])
    assert complaints.startswith("error: ")
    assert message in complaints


@pytest.mark.parametrize(
    "arguments",
    [[], ["predict"], ["predict", "m"], ["predict", "m", "p", "--batch-size", "0"],
     ["predict", "m", "p", "--device", "tpu"],
     ["predict", "m", "p", "--confidence", "2"], ["export", "m"], ["learn"]],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_status_2(
    arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: shotcount" in capfd.readouterr().err


def test_a_device_that_isnt_there_is_told(model: Path, photos: Path, run: Run) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("it is there")
    status, _, complaints = run(model, photos, "--device", "mps")
    assert (status, "this machine has no mps" in complaints) == (2, True)


def test_a_reader_that_goes_away_ends_it_quietly(model: Path, photos: Path) -> None:
    process = start("predict", model, "photos", cwd=Path.cwd())
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    complaints = process.stderr.read()
    assert (process.wait(), complaints) == (141, "")


def test_ctrl_c_ends_it_quietly_though_a_photo_never_comes(model: Path, photos: Path) -> None:
    os.mkfifo("slow.png")
    process = start("predict", model, "slow.png", cwd=Path.cwd())
    with open("slow.png", "wb"):  # waits until the other side reads
        process.send_signal(signal.SIGINT)
        shown, complaints = process.communicate()
    assert (process.returncode, complaints) == (130, "")
    assert "slow.png" not in shown


def test_photos_stream_through_a_few_batches_of_memory(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def note(photo: PhotoFile, size: int, fit: str) -> Photo:
        read.append(photo)
        return Photo(np.zeros((size, size, 3), dtype=np.uint8), size, size, "", 1)

    monkeypatch.setattr(given, "_read", note)
    network, _ = keep.load(model, torch.device("cpu"))
    many = [PhotoFile(Path(f"{n}.png"), f"{n}.png") for n in range(10_000)]
    stream = predict.predict_files(network, many, 32, "crop", batch_size=4)
    for n in range(10):
        photo, _ = next(stream)
        assert photo is many[n]
        assert len(read) <= 4 * (n // 4 + 2)
    stream.close()


# ---- export -------------------------------------------------------------------------


def test_an_exported_file_predicts_what_predict_does(
    model: Path, photos: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(model), "new/made.onnx"]) == 0
    shown = capfd.readouterr()
    assert shown.out.startswith("new/made.onnx: 1.5 MB. ")
    assert "Largest difference of a probability from the original's" in shown.out
    assert shown.err == ""
    session = onnxruntime.InferenceSession("new/made.onnx", providers=["CPUExecutionProvider"])
    _, rows, _ = run(model, photos)
    for row in rows:
        got = session.run(None, {"photos": np.asarray(Image.open(row["path"]))[None]})[0][0]
        expected = [float(row[predictions.probability(label)]) for label in CLASSES]
        assert got == pytest.approx(expected, abs=export.RESAMPLED)


def test_an_export_that_doesnt_fit_is_not_written(
    model: Path, photos: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_classifier(Path("other"), "test_resnet", 32, ["a", "b", "c"])
    network, content = keep.load(other, torch.device("cpu"))
    with torch.no_grad():
        network.head.bias += torch.tensor([0.1, 0, 0])
    wrong = export.to_onnx(network, content)
    monkeypatch.setattr(export, "to_onnx", lambda *arguments: wrong)
    Path("made.onnx").write_bytes(b"an older one")
    assert main(["export", str(model), "made.onnx"]) == 2
    assert "nothing was written" in capfd.readouterr().err
    assert Path("made.onnx").read_bytes() == b"an older one"


def test_an_export_never_takes_the_place_of_a_folder(
    model: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(model), str(photos)]) == 2
    assert "photos is a folder: name a file in it" in capfd.readouterr().err
    assert len(list(photos.rglob("*.png"))) == 12


def test_samples_average_as_the_study_does() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], size=60)
    p[0] = [1, 0, 0]  # log 0 is no number
    frame = pd.DataFrame(p, columns=["p(a)", "p(b)", "p(c)"]).assign(
        seed=0, photo=range(60), sample=[f"s{n // 4:02d}" for n in range(60)], label="a"
    )
    right, samples = views.right_by_views(frame, ["a", "b", "c"], rng)
    made = grouping.Samples()
    for sample, row in zip(frame["sample"], p, strict=True):
        made.add(sample, row)
    assert [(s, count) for s, count, _ in made] == [(s, 4) for s in samples]
    assert [q.argmax() == 0 for _, _, q in made] == list(right[-1, 0] == 1)
    assert all(q.sum() == pytest.approx(1) for _, _, q in made)
