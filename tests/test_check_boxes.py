"""What check-data says about photos with boxes, and what it draws."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boxed
import numpy as np
import pytest
import yaml
from boxed import Drawn, make, write
from conftest import ROOT, make_collection
from PIL import Image

from shotcount.boxes import drawing, finding
from shotcount.boxes.finding import collect
from shotcount.cli import main
from shotcount.commands.check_boxes import survey
from shotcount.params import Params

Run = Callable[..., tuple[int, str, str]]
COLLECTIONS = Path(os.environ.get("SHOTCOUNT_TEST_PHOTOS", ROOT.parent / "shared" / "data"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run check-data where there is no params.yaml: its status, and what it prints."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        status = main(["check-data", *map(str, arguments)])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


def told(root: Path, px: int | None = None, params: Params | None = None) -> tuple[str, list[str]]:
    lines, problems = survey(collect(root, finding.look_for(root)), px, params)
    return "\n".join(lines), problems


# Six photos of each of two classes, so that no class is too rare.
SOUND = {str(n): [Drawn("cat", 2 * n, 3, 30, 20), Drawn("Dog é", 20, 10, 60, 38)] for n in range(6)}


def test_a_sound_collection_ends_with_0(run: Run) -> None:
    make(Path("photos"), "voc", SOUND)
    status, shown, wrong = run("photos")
    assert (status, wrong) == (0, "")
    assert "photos: 6 photos, 12 boxes in 2 classes, Pascal VOC XML (6 files)" in shown
    assert (
        "images/0.png → cat, 0 to 30 px from the left, 3 to 20 px from the top "
        "(Annotations/0.xml, line 3)" in shown
    )
    assert "  cat: 6, 6, 107 × 109 px, 0\n" in shown
    assert "boxes in a photo that has any: median 2, most 2 (images/0.png)" in shown
    assert "worth a look:\n  nothing" in shown
    assert "--task classify shows how a study of classes reads them" in shown
    assert shown.endswith("\nNothing would stop the study.\n")
    assert sorted(path.name for path in Path().iterdir()) == ["photos"]


FAULTY: dict[str, tuple[Drawn, str]] = {
    "no area": (Drawn("cat", 5, 5, 5, 20), "1 box without area (a side of 1 px or less)"),
    "outside": (Drawn("cat", 60, 5, 70, 20), "1 box outside the photo (wholly, or but for 1 px)"),
}


@pytest.mark.parametrize("kind", FAULTY)
@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_what_must_be_mended_is_named_with_its_place(run: Run, form: str, kind: str) -> None:
    box, problem = FAULTY[kind]
    make(Path("photos"), form, SOUND | {"1": [*SOUND["1"], box]})
    status, _, wrong = run("photos")
    assert status == 2
    assert wrong.startswith("error: this would stop the study:\n")
    assert wrong.count("\n       ") == 1
    places = {"coco": "instances.json, annotations[4] (id 5)", "yolo": "labels/1.txt, line 3",
              "voc": "Annotations/1.xml, line 9"}  # fmt: skip
    assert problem in wrong and places[form] in wrong


def test_all_that_must_be_mended_is_told_at_once(tmp_path: Path) -> None:
    root = make(tmp_path, "voc", SOUND | {"6": [Drawn("dog é", 1, 1, 30, 30)]})
    (root / "images/0.png").write_bytes(b"no photo")
    boxed.photo(root / "images/1.png", (120, 80))
    _, problems = told(root)
    assert problems[0].startswith("1 photo can't be used: mend or remove: images/0.png (no image")
    assert problems[1].startswith("1 photo of another size than the annotation states, so that")
    assert problems[1].endswith("images/1.png (120 × 80, stated 60 × 40)")
    assert problems[2].startswith("labels: 'Dog é' and 'dog é' are read as classes that differ")
    assert len(problems) == 3


def test_classes_in_fewer_scenes_than_folds_are_named(tmp_path: Path) -> None:
    root = make(tmp_path, "voc", SOUND | {"6": [Drawn("owl", 1, 1, 30, 30)]})
    (problem,) = told(root)[1]
    assert problem.startswith("1 class in fewer than 4 scenes, too few to train and to test on")
    assert problem.endswith("leave the class out: owl (1)")


def test_class_numbers_beyond_the_list_are_named(tmp_path: Path) -> None:
    root = make(tmp_path, "yolo", SOUND)
    write(root / "labels/2.txt", "0 .5 .5 .5 .5\n2 .5 .5 .5 .5\n1 .5 .5 .5 .5")
    text, problems = told(root)
    assert problems == [
        "1 box of class numbers beyond the list: correct them, or add the class: 2, beyond "
        "classes.txt in labels/2.txt, line 2"
    ]
    assert "  2, beyond classes.txt: 1, 1, " in text


def test_a_listed_class_without_boxes_is_worth_a_note(tmp_path: Path) -> None:
    root = make(tmp_path, "yolo", SOUND)
    write(root / "classes.txt", "cat\nDog é\nowl")
    text, problems = told(root)
    assert "  owl: 0, 0, –, 0" in text
    assert "  1 class listed, but without boxes: owl" in text
    assert problems == []


def test_a_collection_of_background_alone_can_train_nothing(tmp_path: Path) -> None:
    text, problems = told(make(tmp_path, "voc", {"a": [], "b": []}))
    assert problems == ["data.path: there are no boxes that can be used: annotate some photos"]
    assert "2 photos declared to be background: images/a.png, images/b.png" in text


def test_what_is_worth_a_look_is_named(tmp_path: Path) -> None:
    extra = {
        "6": [Drawn("cat", 40, 20, 64, 30)],  # a sixth of it outside
        "7": [Drawn("cat", 10, 10, 40, 30), Drawn("cat", 10, 10, 40, 30)],
        "8": [Drawn("cat", 10, 10, 40, 30), Drawn("Dog é", 10, 10, 40, 30)],
        "9": [],
    }
    root = make(tmp_path, "coco", SOUND | extra)
    boxed.photo(root / "images/new.png", seed=50)
    (root / "images/5.png").unlink()
    boxed.photo(root / "images/4.png", seed=3)  # as photo 3
    text, problems = told(root)
    assert problems == [
        "1 photo can't be used: mend or remove: images/4.png (a copy of images/3.png, of another "
        "sample)",
        "1 photo without an annotation: annotate, remove, or declare as background (an empty text "
        "for YOLO, an image without boxes for COCO, a file without <object> for Pascal VOC): "
        "images/new.png",
        "1 box drawn twice with the same label (IoU 0.95 or more): remove one of each pair: cat "
        "in Annotations/instances.json, annotations[14] (id 15)",
    ]
    for line in [
        "1 annotation without a photo: add the photo, or remove the annotation: "
        "Annotations/instances.json, 5.png",
        "1 photo declared to be background: images/9.png",
        "1 box partly outside the photo, by up to 4 px, and up to 17% of the area (cat in "
        "Annotations/instances.json, annotations[12] (id 13)): clip to the photo: cat in "
        "Annotations/instances.json, annotations[12] (id 13)",
        "1 box at the place of a box with another label: decide which is right (IoU 0.95 or "
        "more): Dog é in Annotations/instances.json, annotations[16] (id 17)",
    ]:
        assert f"\n  {line}" in text, line
    assert text.partition("worth a look:")[2].count("\n") == 4


def test_boxes_too_small_to_learn_are_counted_with_the_size_that_would_do(tmp_path: Path) -> None:
    small = {name: [*own, Drawn("cat", 50, 5, 55, 15)] for name, own in SOUND.items()}
    root = make(tmp_path, "voc", small, size=(1200, 800))
    text, _ = told(root)
    assert "  cat: 12, 6, 3 × 4 px, 12\n" in text
    assert "12 of 18 boxes are smaller than 8 px (shorter side) in photos of 256 × 256 px" in text
    assert "the photos themselves are too small for it: photograph from nearer" in text
    larger = {name: [Drawn("cat", 0, 0, 25, 100)] for name in small}
    text, _ = told(make(tmp_path / "larger", "voc", larger, size=(1200, 800)))
    assert "at data.size: 384, at most 5 % of each class's boxes would be" in text
    assert "smaller than 8 px (" not in told(tmp_path / "larger", px=384)[0]
    four = [Drawn("cat", left, 0, left + 100, 100) for left in (0, 200, 400, 600)]
    few = {str(n): four for n in range(6)}
    few["6"] = [Drawn("cat", 0, 0, 10, 100)]
    text, _ = told(make(tmp_path / "few", "voc", few, size=(1200, 800)))
    assert "1 of 25 boxes are smaller than 8 px (shorter side" in text
    assert "these are few: at most 5 % of each class's boxes" in text


def test_boxes_of_pixel_0_in_pascal_voc_are_worth_a_note(tmp_path: Path) -> None:
    root = make(tmp_path, "voc", SOUND | {"1": [Drawn("cat", -1, 3, 30, 20)]})
    text, _ = told(root)
    assert "boxes that begin at pixel 0, though Pascal VOC counts from 1: 1. If the program" in text


@pytest.mark.parametrize(("orientation", "said"), [
    (6, "1 photo turned by EXIF, whose boxes were drawn on the pixels as stored"),
    (3, "1 photo turned by EXIF, where no stated size tells on which pixels"),
])  # fmt: skip
def test_photos_that_exif_turns_are_named(tmp_path: Path, orientation: int, said: str) -> None:
    root = make(tmp_path, "coco", SOUND)
    boxed.photo(root / "images/3.png", orientation=orientation)
    text, problems = told(root)
    assert problems == []
    assert f"  {said}" in text


# ---- the command --------------------------------------------------------------------


def settings(text: str, **changes: Any) -> dict[str, Any]:
    """The settings of a study of single views, but for changes to the section data."""
    params = yaml.safe_load(text)
    params["data"] |= changes
    params["study"] |= {"angles": [1], "frozen_grid": {"samples": [0.5], "angles": [1]}}
    return params


def test_the_folder_and_the_settings_of_params_are_used_by_default(
    run: Run, params_text: str
) -> None:
    params = settings(params_text, path="my photos", size=64)
    write(Path("params.yaml"), yaml.safe_dump(params))
    twelve = {f"{n}": SOUND[str(n % 6)] for n in range(12)}
    make(Path("my photos"), "yolo", twelve)
    status, shown, _ = run()
    assert status == 0
    assert "my photos: 12 photos, 24 boxes" in shown
    assert "median size in photos of 64 × 64 px (stretch)" in shown
    assert "  test: 3 samples (Dog é 3), 3 photos" in shown
    params["data"]["task"] = "classify"
    write(Path("params.yaml"), yaml.safe_dump(params))
    assert "none of the 12 photos below my photos" in run()[2]
    assert "my photos: 12 photos, 24 boxes" in run("--task", "auto")[1]


STOPS: list[tuple[dict[str, Any], str]] = [
    ({"fit": "crop"}, "data.fit: crop would cut away objects"),
    ({"pattern": r"(?P<sample>x)"}, "data.path: none of the 12 photos"),
    ({"pattern": r"(?P<sample>\d)\.png"}, "read as the same angle of the same sample"),
]


@pytest.mark.parametrize(("changes", "said"), STOPS)
def test_what_would_stop_prepare_is_told(
    tmp_path: Path, params_text: str, changes: dict[str, Any], said: str
) -> None:
    root = make(tmp_path, "yolo", {f"{n}": SOUND[str(n % 6)] for n in range(12)})
    params = Params.model_validate(settings(params_text, path=str(root), **changes))
    (problem,) = told(root, params=params)[1]
    assert said in problem


def test_what_is_left_out_does_not_stop_the_study(tmp_path: Path, params_text: str) -> None:
    drawn = {f"{n}": SOUND[str(n % 6)] for n in range(12)}
    root = make(tmp_path, "voc", drawn | {"3": [Drawn("cat", 5, 5, 5, 20)]})
    boxed.photo(root / "images/new.png", seed=50)
    params = settings(params_text, path=str(root))
    assert len(told(root, params=Params.model_validate(params))[1]) == 2
    params["data"]["on_bad_photo"] = "skip"
    text, problems = told(root, params=Params.model_validate(params))
    assert problems == []
    assert "  left out: 1 photo without an annotation" in text
    assert "  left out: 1 box without area" in text


def test_photos_with_boxes_can_be_read_as_a_study_does(run: Run, params_text: str) -> None:
    write(Path("params.yaml"), params_text)
    root = make_collection(Path("photos"), samples=20, angles=10)
    for path in root.rglob("*.png"):
        write(path.with_suffix(".txt"), "0 .5 .5 .5 .5")
    assert "400 photos, 400 boxes in 1 class, YOLO text" in run("photos")[1]
    status, shown, _ = run("photos", "--task", "classify")
    assert status == 0
    assert "400 photos in 2 classes, 40 samples" in shown


def test_detection_without_annotations_is_refused(run: Run) -> None:
    make_collection(Path("photos"), samples=1, angles=1)
    status, _, wrong = run("photos", "--task", "detect")
    assert status == 2
    assert "error: photos: no annotations lie among the photos: add COCO's JSON, YOLO's" in wrong
    status, _, wrong = run("photos", "--draw", "drawn")
    assert (status, wrong) == (
        2, "error: --draw is for photos with boxes, and photos is read without: leave it out, or "
        "put the annotations among the photos\n",
    )  # fmt: skip


def test_names_of_any_characters_are_printed(run: Run) -> None:
    name = os.fsdecode(b"a\xff\n\x1b[2J")
    boxes = [Drawn("cat", 1, 1, 20, 20)]
    boxed.photo(Path("photos") / f"{name}.png")
    (Path("photos") / f"{name}.xml").write_text(boxed.voc(boxes).replace("cat", "猫\u202e"))
    status, _, wrong = run("photos")
    assert status == 2
    assert "a\\udcff\\n\\x1b[2J.png (the file's name is not UTF-8: rename it)" in wrong


# ---- pictures -----------------------------------------------------------------------


def test_photos_are_drawn_those_with_the_most_faults_first(run: Run) -> None:
    twice = [*SOUND["4"], *SOUND["4"]]
    many = {f"more {n}": own for n, own in SOUND.items()} | {
        f"and {n}": own for n, own in SOUND.items()
    }
    root = make(Path("photos"), "coco", {**SOUND, "4": twice, **many})
    _, shown, _ = run(root, "--draw", "drawn")
    assert "drawn in drawn:\n  01.jpg: images/4.png, 4 boxes, 2 with faults" in shown
    assert sorted(path.name for path in Path("drawn").iterdir()) == [
        f"{n:02d}.jpg" for n in range(1, 13)
    ]
    before = Path("drawn/03.jpg").read_bytes()
    run(root, "--draw", "drawn")
    assert Path("drawn/03.jpg").read_bytes() == before


def test_of_the_photos_drawn_a_third_are_sound(tmp_path: Path) -> None:
    faulty = {f"{n:02d}": [Drawn("cat", 1, 1, 30, 30)] * 2 for n in range(20)}
    sound = {f"{n:02d}": [Drawn("cat", 1, 1, 30, 30)] for n in range(20, 40)}
    read = collect(tmp_path, finding.look_for(make(tmp_path, "coco", faulty | sound)))
    chosen = [int(Path(photo).stem) for photo in drawing.choose(read.placed.boxes, read.faults)]
    assert chosen == [*range(8), 20, 26, 32, 39]


def test_a_drawing_shows_boxes_where_they_are(tmp_path: Path) -> None:
    root = make(tmp_path, "coco", {"a": [Drawn("cat", 20, 20, 40, 35)]}, size=(400, 200))
    Image.new("RGB", (400, 200), "white").save(root / "images/a.png")
    read = collect(root, finding.look_for(root))
    image = drawing.draw(root, "images/a.png", read.placed.boxes, read.faults, ("cat",))
    pixels = np.asarray(image, int)
    title = image.height - 600  # enlarged threefold
    blue = np.abs(pixels - [0x00, 0x72, 0xB2]).max(axis=2) == 0
    down, across = np.nonzero(blue[title + 61 :, :])  # below the label
    assert (across.min(), across.max()) == (60, 120)
    assert down.max() + 61 == 105
    assert not blue[title + 70 : title + 95, 70:110].any()  # hollow


def test_faulty_boxes_are_drawn_too(tmp_path: Path) -> None:
    boxes = [Drawn("cat", 5, 5, 5, 5), Drawn("cat", 90, 90, 99, 99), Drawn("Dog é", -5, -5, 30, 30),
             Drawn("Dog é", 10, 3, 5, 20)]  # fmt: skip
    root = make(tmp_path, "coco", {"a": boxes})
    read = collect(root, finding.look_for(root))
    image = drawing.draw(root, "images/a.png", read.placed.boxes, read.faults, ("cat",))
    assert image.width == 180


def test_no_label_hides_another() -> None:
    taken: list[drawing.Rectangle] = []
    for n in range(12):
        corners = np.array([5.0 * (n % 3), 100 - 30 * (n % 4), 90, 120])
        taken.append(drawing._place(corners, (80, 20), (400, 400), taken))
    for n, one in enumerate(taken):
        assert one[1] >= 20 and one[3] <= 400  # not on the photo's name
        for other in taken[:n]:
            assert one[1] >= other[3] or one[3] <= other[1], (one, other)


def test_every_class_is_among_the_photos_drawn(tmp_path: Path) -> None:
    plain = {f"{n:02d}": [Drawn("cat", 1, 1, 30, 30)] for n in range(40)}
    rare = {"33": [Drawn("Dog é", 1, 1, 30, 30)]}
    read = collect(tmp_path, finding.look_for(make(tmp_path, "coco", plain | rare)))
    chosen = drawing.choose(read.placed.boxes, read.faults)
    assert len(chosen) == len(set(chosen)) == drawing.MOST
    assert "images/33.png" in chosen


def test_drawings_do_not_become_photos_of_the_collection(run: Run) -> None:
    make(Path("photos"), "voc", SOUND)
    status, _, wrong = run("photos", "--draw", "photos/drawn")
    assert status == 2
    assert "--draw: photos/drawn lies among the photos, so that" in wrong
    assert "name a folder outside photos" in wrong
    assert not Path("photos/drawn").exists()


# ---- real photos --------------------------------------------------------------------


def test_blood_cells_are_read_as_they_were_annotated(tmp_path: Path) -> None:
    """BCCD: 364 microscope photos. In every format it gives the same boxes."""
    root = COLLECTIONS / "bccd"
    if not root.is_dir():
        pytest.skip(f"the photos of BCCD are not at {root}: set SHOTCOUNT_TEST_PHOTOS")
    read = collect(root, finding.look_for(root))
    boxes = read.placed.boxes
    counts = boxes["label"].value_counts().to_dict()
    assert counts == {"RBC": 4155, "WBC": 372, "Platelets": 361}
    assert boxes["photo"].nunique() == len(read.photos) == 364
    assert list(boxes.loc[read.faults["any"], "file"]) == [
        "Annotations/BloodImage_00338.xml", "Annotations/BloodImage_00343.xml",
    ]  # fmt: skip
    assert list(read.faults.loc[read.faults["any"], "empty"]) == [True, True]
    classes = list(read.found.classes)
    drawn = {
        Path(photo).stem: [
            Drawn(*row) for row in own[["label", "left", "top", "right", "bottom"]].values
        ]
        for photo, own in boxes.groupby("photo", sort=False)
    }
    for form in ("coco", "yolo"):
        copy = tmp_path / form
        copy.mkdir()
        (copy / "images").mkdir()
        for path in read.photos:
            (copy / "images" / Path(path).name).write_bytes((root / path).read_bytes())
        if form == "coco":
            content = boxed.coco(drawn, classes, (640, 480))
            for image in content["images"]:
                image["file_name"] = image["file_name"].replace(".png", ".jpg")
            write(copy / "all.json", json.dumps(content))
        else:
            write(copy / "classes.txt", "\n".join(classes))
            for name, own in drawn.items():
                write(copy / f"labels/{name}.txt", boxed.yolo(own, (640, 480), classes))
        other = collect(copy, finding.look_for(copy))
        assert list(other.placed.boxes["label"]) == list(boxes["label"])
        corners = ["left", "top", "right", "bottom"]
        apart = other.placed.boxes[corners].to_numpy() - boxes[corners].to_numpy()
        assert np.abs(apart).max() < 1e-6
        assert (other.faults.to_numpy() == read.faults.to_numpy()).all()
