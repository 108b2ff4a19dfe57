"""The detector to keep: its training on all scenes, its folder, card and pictures; its use."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from conftest import PARAMS, RATES, make_cell, make_detector
from PIL import Image
from torchvision.ops import batched_nms

from shotcount.boxes import coco
from shotcount.boxes.pixels import from_square, to_square
from shotcount.classifier import detector_card, detector_exhibits, detector_figures, gallery, keep
from shotcount.cli import main
from shotcount.commands import export
from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.params import Fit
from shotcount.core.tables import CORNERS
from shotcount.photos.reading import TURNS, read_photo
from shotcount.refit.fit import refit
from shotcount.scoring import faults
from shotcount.scoring.detections import TESTED
from shotcount.scoring.matching import match
from shotcount.scoring.mistakes import MISTAKES, worst_faults
from shotcount.scoring.suspects import SUSPECTS, find_unmarked
from shotcount.tasks.boxes import BoxTask
from shotcount.tasks.detector import Detector
from shotcount.training.settings import TrainingSettings

CPU = torch.device("cpu")
BOTH_FITS = pytest.mark.parametrize("fit", ["pad", "stretch"])


# ---- from the square back to the photo ------------------------------------------------


@BOTH_FITS
@pytest.mark.parametrize("sides", [(64, 64), (90, 60), (60, 91), (4000, 17), (33, 47)])
def test_boxes_come_back_from_the_square(fit: Fit, sides: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    ends = np.sort(rng.uniform(0, sides, (20, 2, 2)), axis=1)  # (boxes, corner, x and y)
    boxes = pd.DataFrame(ends.reshape(20, 4), columns=CORNERS)
    boxes[["width", "height"]] = sides
    placed = to_square(boxes, 64, fit)
    back = from_square(placed, *sides, 64, fit)
    px = max(sides) / 64 if fit == "pad" else np.tile(np.array(sides) / 64, 2)
    assert (np.abs(back - boxes[CORNERS]) <= 0.001 * px + 1e-9).all(axis=None)


@BOTH_FITS
def test_boxes_in_the_padding_or_beyond_the_square_are_clipped_to_the_photo(fit: Fit) -> None:
    everything = np.array([[-5.0, -5.0, 70.0, 70.0]])
    assert from_square(everything, 90, 60, 64, fit).tolist() == [[0, 0, 90, 60]]


@BOTH_FITS
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_lies_on_its_object_in_the_upright_photo(fit: Fit, orientation: int) -> None:
    upright = np.zeros((60, 90, 3), np.uint8)
    upright[10:30, 50:80] = 255
    image = Image.fromarray(upright)
    if orientation > 1:  # the inverse of what turns it upright
        turn = TURNS[orientation]
        back = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
                Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90}  # fmt: skip
        image = image.transpose(back.get(turn, turn))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(file, "PNG", exif=exif)
    photo = read_photo(file.getvalue(), 64, fit)
    assert (photo.width, photo.height) == (90, 60)
    y, x = np.nonzero(photo.pixels.min(axis=2) > 190)  # padding is 128
    seen = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], float)
    found = from_square(seen, photo.width, photo.height, 64, fit)
    assert found[0] == pytest.approx([50, 10, 80, 30], abs=1.5)  # a px of the square


# ---- trained on all scenes ------------------------------------------------------------


def boxes_of(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(tables.BOXES)).astype(tables.BOXES)


def test_a_frozen_detector_is_trained_on_all_scenes_and_counts_objects(tmp_path: Path) -> None:
    """48 photos of 12 scenes; the strata, blue and red, are not the classes of the boxes."""
    setup = make_cell("scratch", PARAMS.parallel.model_copy(update={"networks": 1}))
    boxes = boxes_of(
        [(photo, "cup", 2.0, 2.0, 20.0, 20.0, False) for photo in range(48)]
        + [(0, "net", 4.0, 8.0, 30.0, 30.0, False), (0, "net", 0.0, 0.0, 9.0, 9.0, False)]
        + [(9, "net", 0.0, 0.0, 9.0, 9.0, True)]
    )
    task = BoxTask(boxes, 32)
    settings = TrainingSettings(
        seeds=2, epochs=1e-9, min_steps=9, schedule="auto", batch_size=8, optimizer="adamw",
        learning_rate=0.001, weight_decay=0.0, flip=True, crop_scale=1.0,
    )  # fmt: skip
    shapes = [(128, 4), (256, 2), (512, 1)]  # resnet18 at 32 px
    maps = np.random.default_rng(0).normal(size=(48, 2, sum(c * side**2 for c, side in shapes)))
    arrays = type(setup.arrays)(setup.arrays.pixels, maps.astype(np.float16))
    frozen = type(setup)(**{
        name: getattr(setup, name) for name in setup.__dataclass_fields__
    } | {"strategy": "frozen", "task": task, "settings": settings, "rates": RATES,
         "arrays": arrays, "pretrained": None})  # fmt: skip
    photos = pd.DataFrame(
        {
            "seed": 0,
            "photo": range(48),
            "label": "blue",
            "sample": [f"s{n // 4:02d}" for n in range(48)],
            "sample_position": [n // 4 for n in range(48)],
            "angle_position": [n % 4 for n in range(48)],
        }
    )
    kept = pd.DataFrame({"samples": 8, "angles": 4, "photos": 32, "step": [3, 5], "factor": 1.0})
    kept["folder"] = "frozen/1.0x4"
    refit(frozen, photos, kept, tmp_path / "made", tmp_path)
    model = json.loads((tmp_path / "made/model.json").read_text(encoding="utf-8"))
    assert model["trained_on"] == {
        "cup": {"samples": 12, "photos": 48, "objects": 48},
        "net": {"samples": 1, "photos": 1, "objects": 2},
    }
    assert model["from_folds"] == {"steps": 4, "factor": 1.0}
    assert model["samples_seen"] == sorted(set(photos["sample"]))
    assert model["classes"] == ["cup", "net"]


# ---- the folder -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_detector(tmp_path_factory.mktemp("made") / "a detector")


def test_what_is_saved_is_loaded_as_a_detector(model: Path) -> None:
    detector, content = keep.load(model, CPU)
    assert isinstance(detector, Detector)
    assert not any(module.training for module in detector.modules())
    assert keep.finds(content)
    assert content["confidence"] == 0.3
    assert detector(torch.zeros(2, 3, 64, 64)).shape == (2, 4 + 1 + 2, len(detector.anchors))


def test_a_detectors_head_is_joined_with_its_backbone(model: Path) -> None:
    detector, _ = keep.load(model, CPU)
    joined = keep.join(detector.head.state_dict(), detector.backbone.state_dict)
    state = detector.state_dict()
    assert joined.keys() == state.keys()
    assert all(torch.equal(joined[name], state[name]) for name in state)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task", "segment", "task must be classify or detect"),
        ("confidence", "high", "confidence must be of type float"),
        ("classes", ["a"], "doesn't fit model.json (resnet18, 1 classes)"),
        ("task", "classify", "doesn't fit model.json (resnet18, 2 classes)"),
    ],
)
def test_a_damaged_detector_is_told_in_one_message(
    model: Path, tmp_path: Path, key: str, value: object, message: str
) -> None:
    folder = shutil.copytree(model, tmp_path / "copied")
    content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(content | {key: value}), encoding="utf-8")
    with pytest.raises(UserError) as told:
        keep.load(folder, CPU)
    assert message in str(told.value)


# ---- predict --------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three photos of other sizes than the detector's, in a folder below the current one."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, (width, height)) in enumerate(
        {"a 1.png": (90, 60), "b/2.png": (60, 90), "b/10.png": (64, 64)}.items()
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(export.draw_photo(height, width, seed)).save(path)
    return Path("photos")


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], model: Path) -> Call:
    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["predict", str(model), *map(str, arguments)])
        shown = capfd.readouterr()
        return status, shown.out, shown.err

    return run


def rows_of(shown: str) -> pd.DataFrame:
    return pd.DataFrame(csv.DictReader(io.StringIO(shown))).astype(
        dict.fromkeys(["score", *CORNERS], float)
    )


def test_objects_are_printed_in_px_of_their_photos(photos: Path, call: Call) -> None:
    status, shown, complaints = call(photos)
    assert (status, complaints) == (0, "")
    found = rows_of(shown)
    assert list(found.columns) == ["photo", "label", "score", *CORNERS]
    names = ["photos/a 1.png", "photos/b/2.png", "photos/b/10.png"]
    assert list(found["photo"].drop_duplicates()) == names
    for name, (width, height) in zip(names, [(90, 60), (60, 90), (64, 64)], strict=True):
        own = found[found["photo"] == name]
        assert own["score"].is_monotonic_decreasing
        assert own["right"].max() == width  # among so many boxes, one is cut by each edge
        assert own["bottom"].max() == height
        assert (own["left"] < own["right"]).all()
    assert found["score"].min() >= 0.3
    sure = rows_of(call(photos, "--confidence", "0.9")[1])
    pd.testing.assert_frame_equal(sure, found[found["score"] >= 0.9].reset_index(drop=True))
    more = rows_of(call(photos, "--confidence", "0", "--batch-size", "1")[1])
    assert len(more) > len(found) > len(sure) > 0


def test_json_lines_and_cocos_json_say_the_same(photos: Path, call: Call) -> None:
    found = rows_of(call(photos)[1])
    lines = [json.loads(line) for line in call(photos, "--format", "jsonl")[1].splitlines()]
    pd.testing.assert_frame_equal(pd.DataFrame(lines), found)
    status, shown, _ = call(photos, "--format", "coco")
    assert status == 0
    Path("found.json").write_text(shown, encoding="utf-8")
    listed = sorted(path.as_posix() for path in photos.rglob("*.png"))
    read = coco.read(Path(), ["found.json"], listed).boxes
    assert list(read["photo"]) == list(found["photo"])
    assert list(read["label"]) == list(found["label"])
    assert read[CORNERS].to_numpy(float) == pytest.approx(found[CORNERS].to_numpy(), abs=0.011)
    scores = [entry["score"] for entry in json.loads(shown)["annotations"]]
    assert scores == list(found["score"])


def test_a_photo_without_objects_is_background_in_cocos_json(photos: Path, call: Call) -> None:
    content = json.loads(call(photos, "--format", "coco", "--confidence", "1")[1])
    assert content["annotations"] == []
    first, second, _ = content["images"]
    assert first["file_name"] == "photos/a 1.png"
    assert (second["width"], second["height"]) == (60, 90)
    assert [entry["name"] for entry in content["categories"]] == ["blue", "red"]


def test_photos_are_drawn_with_their_boxes(photos: Path, call: Call) -> None:
    assert call(photos, "--draw", "drawn", "--confidence", "0.9")[0] == 0
    drawn = sorted(path.name for path in Path("drawn").iterdir())
    assert drawn == ["1_a 1.jpg", "2_2.jpg", "3_10.jpg"]
    call(photos, "--draw", "empty", "--confidence", "1")
    with Image.open("drawn/1_a 1.jpg") as one, Image.open("empty/1_a 1.jpg") as other:
        assert one.size == other.size
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by-sample"], "--by-sample: a detector finds objects in each photo by itself"),
        (["--draw", "photos"], "--draw: photos lies among the photos"),
        (["--draw", "photos/b/drawn"], "--draw: photos/b/drawn lies among the photos"),
        (["--draw", "."], "--draw: . lies among the photos"),
    ],
)
def test_what_a_detector_does_not_do_is_refused(
    photos: Path, call: Call, arguments: list[str], message: str
) -> None:
    status, shown, complaints = call(photos, *arguments)
    assert (status, shown) == (2, "")
    assert complaints.startswith(f"error: {message}")
    assert len(complaints.splitlines()) == 1


def test_bad_photos_are_named_and_photos_of_known_scenes_counted(photos: Path, call: Call) -> None:
    Path("photos/b/2.png").write_bytes(b"x")
    Path("photos/b/10.png").rename("photos/seen.png")  # its own scene, in the study's folder
    status, shown, complaints = call(photos)
    assert status == 2
    assert set(rows_of(shown)["photo"]) == {"photos/a 1.png", "photos/seen.png"}
    note, error, listed = complaints.splitlines()
    assert note.startswith("note: 1 of 3 photos have names of scenes that the detector was trained")
    assert error == "error: 1 of the 3 photos can't be used:"
    assert "photos/b/2.png: no image" in listed
    assert call("photos/seen.png")[2].startswith("note: 1 of 1 photos")


# ---- export ---------------------------------------------------------------------------


def test_an_exported_detector_finds_what_predict_does_once_boxes_are_merged(
    photos: Path, call: Call, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    padded = make_detector(tmp_path / "padded", fit="pad")
    assert main(["export", str(padded), "made.onnx"]) == 0
    assert "Largest difference of a score or a box from the original's" in capfd.readouterr().out
    session = onnxruntime.InferenceSession("made.onnx", providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["boxes", "scores"]
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 3]
    notes = session.get_modelmeta().custom_metadata_map
    assert json.loads(notes["classes"]) == ["blue", "red"]
    assert json.loads(notes["model"])["confidence"] == 0.3
    assert main(["predict", str(padded), "photos/b/10.png", "--confidence", "0.5"]) == 0
    found = rows_of(capfd.readouterr().out)
    pixels = np.asarray(Image.open("photos/b/10.png"))
    boxes, scores = (
        torch.from_numpy(made[0]) for made in session.run(None, {"photos": pixels[None]})
    )
    anchor, kind = torch.nonzero(scores >= 0.5, as_tuple=True)
    best = batched_nms(boxes[anchor], scores[anchor, kind], kind, 0.5)
    assert boxes[anchor[best]].numpy() == pytest.approx(found[CORNERS].to_numpy(), abs=0.02)
    assert scores[anchor[best], kind[best]].numpy() == pytest.approx(found["score"], abs=1e-4)


# ---- the card -------------------------------------------------------------------------

LABELS = ["cup", "net", "shell"]


def results() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Detections, boxes and tested photos: 20 scenes with a cup each, every second with a net.

    All cups are found, half of them once more elsewhere; a net is found in every fourth scene.
    """
    boxes, found = [], []
    for photo in range(20):
        boxes.append((photo, "cup", 0.0, 0.0, 20.0, 20.0, False))
        found.append((photo, "cup", 0.9, 0.0, 0.0, 20.0, 19.0))
        if photo % 2:
            boxes.append((photo, "net", 30.0, 30.0, 60.0, 60.0, False))
            found.append((photo, "cup", 0.5, 40.0, 0.0, 60.0, 20.0))
        if photo % 4 == 1:
            found.append((photo, "net", 0.8, 30.0, 30.0, 60.0, 60.0))
    tested = pd.DataFrame(
        {
            "seed": [n % 2 for n in range(20)],
            "photo": range(20),
            "sample": [f"s{n}" for n in range(20)],
        }
    ).astype(TESTED)
    table = pd.DataFrame(found, columns=list(tables.DETECTED)).merge(tested, on="photo")
    return table, boxes_of(boxes), tested


def measured(confidence: float = 0.6) -> detector_figures.DetectorFigures:
    found, boxes, tested = results()
    matches = match(found, boxes, tested, LABELS)
    return detector_figures.measure(matches, confidence, 300, np.random.default_rng(0))


def test_a_detectors_figures_are_of_all_classes_and_of_each() -> None:
    f = measured()
    assert (f.photos, f.scenes, f.seeds, f.folds) == (20, 20, 2, True)
    assert (f.every.objects, f.every.photos) == (30, 20)
    cup, net, shell = f.classes.values()
    assert (cup.objects, net.objects, net.photos, shell.objects) == (20, 10, 10, 0)
    assert cup.ap50.value == pytest.approx(1)  # what is wrong comes after all that is right
    assert net.ap50.value == pytest.approx(51 / 101)  # recalls up to 0.5, of 101
    assert f.every.ap50.value == pytest.approx((cup.ap50.value + net.ap50.value) / 2)
    assert net.ap50.low < net.ap50.value < net.ap50.high
    assert (cup.scores["precision"], cup.scores["recall"]) == (1, 1)
    assert (net.scores["precision"], net.scores["recall"]) == (1, 0.5)
    assert measured(0.4).classes["cup"].scores["precision"] == pytest.approx(20 / 30)
    assert np.isnan(shell.ap50.value)


def test_a_detectors_card_tells_figures_and_counts_of_boxes() -> None:
    model = {
        "network": "resnet18", "strategy": "frozen", "photos": 20, "samples": 20, "angles": 1,
        "size": 64, "fit": "stretch", "versions": {}, "manifest_sha256": "0a1b", "classes": LABELS,
        "settings": {"schedule": "auto"}, "from_folds": {"steps": 1200, "factor": 1.0},
        "tested": {"samples": 12, "angles": 1, "photos": 12, "seeds": 2}, "confidence": 0.6,
        "trained_on": {label: {"samples": 3, "photos": 4, "objects": 5} for label in LABELS},
        "preprocessing": {"interpolation": "bicubic", "mean": [0.5], "std": [0.5]},
    }  # fmt: skip
    choice = pd.DataFrame({"strategy": "frozen", "val_loss": [0.5, 0.7]})
    text = " ".join(detector_card.write(model, measured(), choice).split())
    assert "each fold was tested by a network trained on the other folds" in text
    assert "On 20 photos of 20 scenes, AP50 was 75.2 % (95 % interval" in text
    assert "| cup | 5 (4) | 20 (20) |" in text
    assert "| shell | 5 (4) | 0 (0) |" in text
    assert "| net | 50.5 (" in text
    assert "| 100.0 | 50.0 | " in text
    assert "| shell | – | – | – | – |" in text
    assert "objects whose score is 0.60 or more" in text
    assert "on average 0.25 fewer (standard deviation 0.43) objects than there are" in text
    assert "trained for 1,200 steps: the median over the 2 networks above" in text


# ---- faults that the report shows -----------------------------------------------------


def fault(photo: int, kind: str, label: str, predicted: str, score: float, side: float) -> dict:
    corners = {"left": 0.0, "top": 0.0, "right": side, "bottom": side}
    named = {"kind": kind, "label": label, "predicted": predicted, "score": score}
    return {"seed": 0, "photo": photo, **named, **corners, "iou": 0.0}


SCENES = pd.Series({n: f"s{n}" for n in range(30)})


def test_the_worst_of_each_kind_comes_before_the_second_worst() -> None:
    table = pd.DataFrame(
        [
            fault(0, faults.MISSED, "cup", "", 0, 10),
            fault(1, faults.MISSED, "net", "", 0, 30),
            fault(2, faults.INVENTED, "", "cup", 0.6, 10),
            fault(3, faults.INVENTED, "", "net", 0.7, 10),
            fault(4, faults.WRONG_CLASS, "cup", "net", 0.5, 10),
            fault(5, faults.BADLY_PLACED, "cup", "cup", 0.8, 10),
            fault(6, faults.BOTH, "cup", "net", 0.9, 10),
            fault(7, faults.DOUBLED, "net", "net", 0.4, 10),
            fault(1, faults.DOUBLED, "net", "net", 0.9, 10),  # of a scene that is shown already
        ]
    )
    worst = worst_faults(table, SCENES)
    said = list(zip(worst["photo"], worst["actual"], worst["predicted"], strict=True))
    assert said == [
        (1, "net", "nothing"),
        (3, "nothing", "net"),
        (4, "cup", "net"),
        (5, "cup", "cup, badly placed"),
        (6, "cup", "net, badly placed"),
        (0, "cup", "nothing"),
        (2, "nothing", "cup"),
        (7, "net", "net, doubled"),
    ]
    many = pd.DataFrame([fault(n, faults.INVENTED, "", "cup", 0.5, 9) for n in range(30)])
    assert len(worst_faults(many, SCENES)) == 12
    assert worst_faults(many[:0], SCENES).empty


def test_a_sure_detection_far_from_any_box_may_be_an_object_without_one() -> None:
    table = pd.DataFrame(
        [
            fault(0, faults.INVENTED, "", "cup", 0.95, 10),
            fault(0, faults.INVENTED, "", "net", 0.97, 10),  # one of each photo
            fault(1, faults.INVENTED, "", "net", 0.99, 10),
            fault(2, faults.INVENTED, "", "net", 0.85, 10),  # not sure
            fault(3, faults.WRONG_CLASS, "cup", "net", 0.99, 10),  # there is a box
        ]
    )
    found = find_unmarked(table, SCENES)
    assert list(found["photos"]) == [(1,), (0,)]
    assert list(found["suggested"]) == ["net", "net"]
    assert set(found["label"]) == {"nothing"}
    assert list(found["score"]) == pytest.approx([0.01, 0.03])


def test_faults_are_drawn_with_the_boxes_of_their_photo(tmp_path: Path) -> None:
    found, boxes, tested = results()
    found.loc[found["score"] == 0.5, "score"] = [0.92, *9 * [0.5]]  # above the confidence, and sure
    paths = pd.Series({n: f"images/{n}.jpg" for n in range(20)})
    (tmp_path / "images").mkdir()
    for path in paths:
        Image.new("RGB", (200, 100), "grey").save(tmp_path / path)
    see = partial(gallery.look, tmp_path, paths, "stretch")
    model = {"confidence": 0.6, "classes": LABELS, "size": 64}
    shown = detector_exhibits.exhibit(found, boxes, tested, see, paths, model)
    tables.write(tmp_path / "mistakes.csv", shown.mistakes, MISTAKES)
    tables.write(tmp_path / "suspects.csv", shown.suspects, SUSPECTS)
    assert list(shown.suspects["paths"]) == ["images/1.jpg"]
    assert len(shown.doubted) == 1
    assert set(zip(shown.mistakes["actual"], shown.mistakes["predicted"], strict=True)) == {
        ("net", "nothing"), ("nothing", "cup"),
    }  # fmt: skip
    assert set(shown.mistakes["map_size"]) == {0}
    assert len(shown.pictures) == len(shown.mistakes)
    for picture in shown.pictures:
        colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
        assert {(0x56, 0xB4, 0xE9), (0xD5, 0x5E, 0x00)} <= colours  # what is there, what is wrong
    small = detector_exhibits.thumbnail(boxes, see, 64, 0)
    assert small.shape == (128, 128, 3)
    assert tuple(small[40, 20]) == tuple(small[20, 40]) == (0x56, 0xB4, 0xE9)


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([30, 30, 34, 34], (24, 24, 16)),  # a quarter of the photo
        ([20, 30, 40, 34], (10, 12, 40)),
        ([0, 0, 20, 20], (0, 0, 40)),
        ([0, 0, 64, 50], (0, 0, 64)),
    ],
)
def test_a_close_up_lies_in_the_photo(corners: list[int], expected: tuple[int, int, int]) -> None:
    assert gallery.window(np.array(corners, float), 64) == expected
