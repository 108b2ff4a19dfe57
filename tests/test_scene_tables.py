"""A collection of photos with boxes on its way through prepare, split and subsample."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import boxed
import numpy as np
import pandas as pd
import pytest
import yaml
from boxed import Drawn, make, write
from conftest import ROOT, make_collection
from hypothesis import given
from hypothesis import strategies as st

from shotcount.boxes import pixels
from shotcount.boxes.faults import too_small
from shotcount.boxes.preparing import FEWEST, NO_OBJECT, strata
from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.params import Fit
from shotcount.core.pixels import Pixels
from shotcount.photos.finding import find_scenes
from shotcount.photos.reading import read_photo
from shotcount.sampling.settings import SplitSettings
from shotcount.sampling.splits import split_samples

# Twelve photos: two classes in each of the first eight, the others with one, the last with none.
SOUND = {
    f"{n:02d}": [Drawn("cat", 2 * n, 3, 30, 20), Drawn("Dog é", 20, 10, 60, 38)] for n in range(8)
} | {
    "08": [Drawn("cat", 0, 0, 30, 20)], "09": [Drawn("cat", 0, 0, 30, 20)],
    "10": [Drawn("Dog é", 0, 0, 30, 20)], "11": [],
}  # fmt: skip

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml for photos with boxes, which a test then makes."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"path": "photos", "size": 120}
    params["split"] |= {"val": 0.2, "folds": 3}
    params["study"] |= {"angles": [1], "frozen_grid": {"samples": [], "angles": []}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/size.json").write_text("120\n", encoding="utf-8")  # by stage backbone
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_data(**changes: object) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["data"] |= changes
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def run(*stages: str) -> None:
    for stage in stages:
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="__main__")


def refused(capsys: Shown, *stages: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(*stages)
    assert stopped.value.code == 2
    return capsys.readouterr().err.partition("error: ")[2]


def boxes() -> pd.DataFrame:
    return tables.read(Path("data/boxes"), tables.BOXES)


def manifest() -> pd.DataFrame:
    return tables.read(Path("data/manifest"), tables.MANIFEST)


# ---- prepare ------------------------------------------------------------------------


def test_photos_boxes_and_scenes_are_prepared(project: Path, capsys: Shown) -> None:
    make(Path("photos"), "voc", SOUND)
    run("prepare")
    assert "12 photos of 12 scenes with 19 objects: Dog é 9, cat 10\n" in capsys.readouterr().out
    made = manifest()
    assert list(made["sample"]) == [f"images/{n:02d}" for n in range(12)]
    assert list(made["angle"]) == [""] * 12
    own = boxes()
    assert list(own[own["photo"] == 1].itertuples(index=False, name=None)) == [
        (1, "Dog é", 40, 30, 120, 114, False),  # 60 × 40 px became 120 × 120
        (1, "cat", 4, 9, 60, 60, False),
    ]
    assert tables.is_detection(own)
    assert tables.read(Path("data/left_out.csv"), tables.LEFT_OUT).empty


def test_every_format_gives_the_same_study(project: Path, capsys: Shown) -> None:
    """In a photo of 4096 px, corners fall in the middle between the digits that a table keeps."""
    rng = np.random.default_rng(0)
    drawn = {
        f"{n}": [
            Drawn("cat", *(int(side) for side in (x, y, x + rng.integers(2, 60), y + 40)))
            for x, y in zip(rng.integers(0, 4000, 9), 10 * np.arange(9), strict=True)
        ]
        for n in range(3)
    }
    kept = []
    for form in ("coco", "yolo", "voc"):
        make(Path(form), form, drawn, size=(4096, 160))
        set_data(path=form)
        run("prepare")
        files = ["data/boxes/table.csv", "data/pixels/00000.npy", "data/manifest/table.csv"]
        kept.append([Path(file).read_bytes() for file in files])
    assert kept[0] == kept[1] == kept[2]


def test_a_collection_of_classes_has_an_empty_table_of_boxes(project: Path) -> None:
    make_collection(Path("photos"), samples=3, angles=1)
    write(Path("photos/notes.txt"), "blue and red")
    run("prepare")
    assert Path("data/boxes/table.csv").read_text() == f"{','.join(tables.BOXES)}\n"
    assert not tables.is_detection(boxes())
    assert set(manifest()["label"]) == {"blue", "red"}
    first = read_photo(Path("photos/blue/00/0.png").read_bytes(), 120, "crop").pixels
    assert np.array_equal(Pixels.open(Path("data/pixels"))[0], first)


def test_the_task_may_be_set(project: Path, capsys: Shown) -> None:
    make_collection(Path("photos"), samples=3, angles=1)
    set_data(task="detect")
    assert "photos: no annotations lie among the photos" in refused(capsys, "prepare")
    for path in Path("photos").rglob("*.png"):
        write(path.with_suffix(".txt"), "0 .5 .5 .5 .5")
    run("prepare")
    assert len(boxes()) == 6
    set_data(task="classify")
    run("prepare")
    assert boxes().empty


def test_a_crop_that_would_cut_objects_away_is_refused(project: Path, capsys: Shown) -> None:
    make(Path("photos"), "coco", SOUND)
    set_data(fit="crop")
    said = refused(capsys, "prepare")
    assert said.startswith("data.fit: crop would cut away objects") and said.count("\n") == 1


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("size", [(60, 41), (33, 60), (50, 50), (400, 30)])
def test_a_box_lies_on_its_object_in_the_square(size: tuple[int, int], fit: Fit) -> None:
    """A white rectangle on black is where its box says, to a pixel."""
    width, height = size
    left, top, right, bottom = width // 5, height // 4, width // 2, 3 * height // 4
    photo = np.zeros((height, width, 3), np.uint8)
    photo[top:bottom, left:right] = 255
    square = read_photo(boxed.encoded(photo), 64, fit).pixels[:, :, 0]
    white = square > 190  # the bars of pad are of grey 128
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    box = pd.DataFrame([[left, top, right, bottom, width, height]],
                       columns=[*tables.CORNERS, "width", "height"])  # fmt: skip
    ((x0, y0, x1, y1),) = pixels.to_square(box, 64, fit)
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert np.abs(np.subtract(found, [x0, y0, x1, y1])).max() <= 1


def test_boxes_are_clipped_to_the_photo(project: Path) -> None:
    make(Path("photos"), "coco", SOUND | {"00": [Drawn("cat", -5, 20, 70, 50)]})
    run("prepare")
    first = boxes().iloc[0]
    assert list(first[tables.CORNERS]) == [0, 60, 120, 120]


def test_crowds_and_difficult_objects_are_ignored(project: Path, capsys: Shown) -> None:
    make(Path("photos"), "voc", SOUND)
    text = boxed.voc(SOUND["09"]).replace("<bndbox>", "<difficult>1</difficult><bndbox>")
    write(Path("photos/Annotations/09.xml"), text)
    run("prepare")
    own = boxes()
    assert list(own.loc[own["ignored"], "photo"]) == [9]
    assert "objects: Dog é 9, cat 9; ignored: 1\n" in capsys.readouterr().out


BAD_BOXES: dict[str, tuple[Drawn, str]] = {
    "no area": (Drawn("cat", 5, 5, 5, 20), "a box (cat) without area (a side of 1 px or less)"),
    "outside": (Drawn("cat", 60, 5, 70, 20), "a box (cat) outside the photo (wholly, or but"),
    "a sliver": (Drawn("cat", 59, 5, 70, 20), "a box (cat) outside the photo (wholly, or but"),
    "twice": (SOUND["01"][0], "a box (cat) drawn twice with the same label (IoU 0.95 or more)"),
}
PLACES = {"coco": "Annotations/instances.json, annotations[4] (id 5)",
          "yolo": "labels/01.txt, line 3", "voc": "Annotations/01.xml, line 9"}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_BOXES)
@pytest.mark.parametrize("form", PLACES)
def test_a_bad_box_stops_the_study_or_is_left_out(
    project: Path, capsys: Shown, form: str, kind: str
) -> None:
    box, fault = BAD_BOXES[kind]
    make(Path("photos"), form, SOUND | {"01": [*SOUND["01"], box]})
    said = refused(capsys, "prepare")
    assert said.startswith("1 of the 20 boxes can't be used: mend or remove them, or set data.on")
    assert f"\n       {PLACES[form]}: {fault}" in said
    set_data(on_bad_photo="skip")
    run("prepare")
    assert len(boxes()) == 19
    left_out = tables.read(Path("data/left_out.csv"), tables.LEFT_OUT)
    assert list(left_out["path"]) == [""]
    assert left_out["reason"].item().startswith(f"{PLACES[form]}: {fault}")
    assert f"note: left out: {PLACES[form]}" in capsys.readouterr().out


def test_a_class_number_beyond_the_list_is_no_class(project: Path, capsys: Shown) -> None:
    make(Path("photos"), "yolo", SOUND)
    write(Path("photos/labels/02.txt"), "0 .5 .5 .5 .5\n2 .4 .4 .4 .4")
    assert "labels/02.txt, line 2: a box (2, beyond classes.txt) of class numbers beyond " in (
        refused(capsys, "prepare")
    )
    set_data(on_bad_photo="skip")
    run("prepare")
    assert set(boxes()["label"]) == {"cat", "Dog é"}


def spoil(name: str, content: bytes) -> Callable[[], object]:
    return lambda: Path("photos", name).write_bytes(content)


BAD_PHOTOS: dict[str, tuple[Callable[[], object], str]] = {
    "unreadable": (spoil("images/03.png", b"none"), "images/03.png: no image that Pillow can"),
    "no annotation": (
        lambda: Path("photos/Annotations/03.xml").unlink(),
        "images/03.png: no annotation: annotate it, or declare it as background (an empty text",
    ),
    "another size": (
        lambda: boxed.photo(Path("photos/images/03.png"), (120, 80)),
        "images/03.png: of another size than its annotation states (120 × 80, stated 60 × 40)",
    ),
    "a copy": (
        lambda: boxed.photo(Path("photos/images/03.png"), seed=1),
        "images/03.png: a copy of images/01.png, of another sample",
    ),
}


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_bad_photo_stops_the_study_or_is_left_out(
    project: Path, capsys: Shown, kind: str
) -> None:
    make(Path("photos"), "voc", SOUND)
    damage, fault = BAD_PHOTOS[kind]
    damage()
    said = refused(capsys, "prepare")
    assert said.startswith("1 of the 12 photos can't be used: mend or remove them, or set")
    assert f"\n       {fault}" in said
    set_data(on_bad_photo="skip")
    run("prepare")
    assert len(manifest()) == 11
    assert len(boxes()) == 17


def test_all_faults_are_told_at_once(project: Path, capsys: Shown) -> None:
    bad = [Drawn("cat", 5, 5, 5, 20)] * 60
    make(Path("photos"), "voc", SOUND | {"01": [*SOUND["01"], *bad]})
    Path("photos/images/05.png").write_bytes(b"")
    said = refused(capsys, "prepare")
    assert said.startswith("1 of the 12 photos and 60 of the 77 boxes can't be used: mend")
    assert said.count("\n       Annotations/01.xml, line") == 50
    assert said.endswith("\n       and 10 more boxes\n")


def test_what_no_study_can_be_made_of_is_refused(project: Path, capsys: Shown) -> None:
    make(Path("photos"), "voc", {"a": [], "b": []})
    assert "there are no boxes that can be used: annotate some" in refused(capsys, "prepare")
    make(Path("photos"), "voc", SOUND | {"a": [Drawn("dog é", 1, 1, 30, 30)]})
    assert "labels: 'Dog é' and 'dog é' are read as classes that" in refused(capsys, "prepare")


def test_a_size_is_proposed_at_which_boxes_can_be_learned(project: Path, capsys: Shown) -> None:
    small = {name: [Drawn("cat", 0, 0, 30, 60), Drawn("Dog é", 0, 0, 600, 400)] for name in SOUND}
    make(Path("photos"), "voc", small, size=(600, 400))
    run("prepare")
    note = (
        "note: 12 of 24 boxes are smaller than 8 px (shorter side) in photos of 120 × 120 px, too "
        "small to learn: at data.size: 160, at most 5 % of each class's boxes would be\n"
    )
    assert note in capsys.readouterr().out
    table = pd.DataFrame({"label": "cat", "left": 0.0, "right": [4.0] + [9.0] * 39, "top": 0.0,
                          "bottom": 50.0})  # fmt: skip
    photos = pd.DataFrame({"width": [900], "height": [600]})
    (few,) = too_small(table, photos, 128)
    assert few.startswith("1 of 40 boxes are smaller") and "these are few" in few
    (too,) = too_small(table.assign(right=1.0), photos, 128)
    assert "photograph from nearer" in too
    assert too_small(table.assign(right=8.0), photos, 128) == []


# ---- scenes -------------------------------------------------------------------------


def test_a_pattern_reads_scenes_and_their_views(project: Path) -> None:
    views = {
        f"{scene}-{view}": own
        for scene, own in SOUND.items()
        for view in ("left", "right")
    }  # fmt: skip
    views["08-right"] = []  # hidden from there: the scene holds a cat nevertheless
    make(Path("photos"), "coco", views)
    set_data(pattern=r"(?P<sample>\d+)-(?P<angle>\w+)\.png$")
    run("prepare")
    made = manifest()
    assert list(made["sample"].unique()) == list(SOUND)
    assert (made.groupby("sample").size() == 2).all()
    assert (made.groupby("sample")["label"].nunique() == 1).all()
    run("split")
    parts = [tables.read(Path(f"data/splits/{part}"), tables.SPLIT) for part in ("train", "test")]
    for seed in range(3):
        train, test = (set(tables.of_seed(part, seed)["sample"]) for part in parts)
        assert train.isdisjoint(test)


def test_a_table_may_tell_scenes_and_views(tmp_path: Path) -> None:
    for n in range(3):
        boxed.photo(tmp_path / f"{n}.png", seed=n)
    write(tmp_path / "t.csv", "path,sample,angle,split\n0.png,a,1,x\n1.png,a,2,x\n2.png,b,1,y\n")
    found = find_scenes(tmp_path, None, "t.csv")
    assert list(found["sample"]) == ["a", "a", "b"]
    assert list(found["angle"]) == ["1", "2", "1"]
    assert list(found["given_split"]) == ["x", "x", "y"]
    write(tmp_path / "t.csv", "path,split\n0.png,x\n1.png,x\n2.png,y\n")
    assert list(find_scenes(tmp_path, None, "t.csv")["sample"]) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(?P<label>\d)", r"data.pattern: lacks the group\(s\) sample"),
        ("(", "data.pattern: not a regular expression"),
        (r"(?P<sample>x)", r"none of the 3 photos below .*, for example 0.png, fits \(\?P<sam"),
        (r"(?P<sample>x?)", "data.pattern: 0.png reads as an empty sample"),
        (r"(?P<sample>png)", "0.png and 1.png read as the same angle of the same sample: let the"),
    ],
)
def test_a_pattern_that_tells_no_scenes_is_refused(
    tmp_path: Path, pattern: str, message: str
) -> None:
    for n in range(3):
        boxed.photo(tmp_path / f"{n}.png", seed=n)
    with pytest.raises(UserError, match=message):
        find_scenes(tmp_path, pattern)


# ---- strata -------------------------------------------------------------------------


def holding(*scenes: set[str]) -> tuple[pd.DataFrame, pd.Series]:
    """Boxes and scenes of photos that show so many classes."""
    rows = [(photo, label) for photo, own in enumerate(scenes) for label in sorted(own)]
    table = pd.DataFrame(rows, columns=["photo", "label"])
    names = pd.Series([f"scene {n}" for n in range(len(scenes))], dtype=object)
    return table.assign(crowd=False, difficult=False), names


def test_the_rarest_class_has_its_scenes_first() -> None:
    made = strata(*holding(*[{"a"}] * 50, *[{"a", "b"}] * 30, *[{"a", "b", "c"}] * 3))
    assert list(made) == ["a"] * 50 + ["b"] * 30 + ["c"] * 3


def test_a_class_that_others_left_few_scenes_of_makes_no_stratum() -> None:
    scenes = [*[{"a"}] * 50, *[{"b"}] * (FEWEST - 1), *[{"b", "c"}] * 25]
    made = strata(*holding(*scenes))
    assert made.value_counts().to_dict() == {"a": 50 + FEWEST - 1, "c": 25}
    assert strata(*holding(*scenes, {"b"})).value_counts().to_dict() == {"a": 50, "b": 20, "c": 25}


def test_many_scenes_do_not_join_a_class_that_is_rare() -> None:
    made = strata(*holding(*[{"a", "b"}] * 4, *[{"b"}] * 10, *[{"c"}] * 3, set()))
    assert made.value_counts().to_dict() == {"b": 11, "a": 4, "c": 3}


def test_scenes_without_an_object_are_a_stratum_unless_they_are_few() -> None:
    made = strata(*holding(*[{"a"}] * 50, *[set[str]()] * FEWEST))
    assert made.value_counts().to_dict() == {"a": 50, NO_OBJECT: FEWEST}
    assert set(strata(*holding(*[{"a"}] * 50, *[set[str]()] * (FEWEST - 1)))) == {"a"}


def test_crowds_and_difficult_boxes_count_as_no_objects() -> None:
    table, scenes = holding(*[{"a"}] * 50, *[{"b"}] * 50)
    table.loc[60:, "crowd"] = table.loc[60:, "difficult"] = table["label"] == "b"
    assert strata(table, scenes).value_counts().to_dict() == {"a": 50, "b": 10, NO_OBJECT: 40}


shares = st.lists(st.floats(0.05, 1.0), min_size=1, max_size=6)


@given(shares, st.integers(0, 2**16), st.integers(3, 10))
def test_every_scene_has_one_stratum_that_splits_can_use(
    shares: list[float], seed: int, folds: int
) -> None:
    """Whatever classes scenes hold: if each is in as many scenes as folds, a split exists."""
    table, scenes = held(shares, 150, seed)
    made = strata(table, scenes)
    assert set(made.index) == set(scenes)
    counts = table.groupby("label")["photo"].nunique()
    wanted = SplitSettings(folds=folds, test=None, val=0.15, seed=0)
    if counts.min() >= folds + 2:  # one more for validation and one to train on
        parts = split_samples(as_manifest(scenes, made), wanted, folds)
        assert sum(part["sample"].nunique() for part in parts.values()) >= 150
    if counts.min() < folds:
        message = rf"split.folds: class '{counts.idxmin()}' is in {counts.min()} sample\(s\), few"
        with pytest.raises(UserError, match=message):
            split_samples(as_manifest(scenes, made), wanted, folds)


def held(shares: list[float], scenes: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Scenes of which so large a share holds each class."""
    rng = np.random.default_rng(seed)
    labels = [f"class {n}" for n in range(len(shares))]
    there = rng.random((scenes, len(shares))) < shares
    there[0] = True  # each class is in some
    return holding(*({labels[n] for n in np.flatnonzero(row)} for row in there))


def as_manifest(scenes: pd.Series, label: pd.Series) -> pd.DataFrame:
    rows = pd.DataFrame({"sample": scenes, "photo": scenes.index, "given_split": ""})
    return rows.assign(label=rows["sample"].map(label))


def unevenness(table: pd.DataFrame, tests: list[set[int]]) -> float:
    """How far the share of a class's scenes in a fold is from an equal one: the mean of all."""
    of_class = table.drop_duplicates(["photo", "label"]).groupby("label")["photo"]
    gaps = [
        abs(len(own & test) / len(own) - 1 / len(tests))
        for own in of_class.agg(set)
        for test in tests
    ]
    return float(np.mean(gaps))


def test_folds_share_out_each_class_more_evenly_than_chance() -> None:
    wanted = SplitSettings(folds=5, test=None, val=0.15, seed=0)
    rng = np.random.default_rng(0)
    ours, chance = [], []
    for seed in range(10):
        table, scenes = held([0.9, 0.5, 0.3, 0.15, 0.06], 200, seed)
        parts = split_samples(as_manifest(scenes, strata(table, scenes)), wanted, 5)
        tests = [set(tables.of_seed(parts["test"], fold)["photo"]) for fold in range(5)]
        ours.append(unevenness(table, tests))
        chance.append(unevenness(table, [set(own) for own in np.split(rng.permutation(200), 5)]))
        for part in parts.values():
            for fold in range(5):
                there = set(tables.of_seed(part, fold)["photo"])
                assert set(table.loc[table["photo"].isin(there), "label"]) == set(table["label"])
    assert np.mean(ours) < 0.6 * np.mean(chance)


def test_a_class_in_fewer_scenes_than_folds_is_refused(project: Path, capsys: Shown) -> None:
    one = [Drawn("cat", 0, 0, 30, 20)]
    make(Path("photos"), "yolo", {name: one if name > "01" else own for name, own in SOUND.items()})
    run("prepare")
    said = refused(capsys, "split")
    assert said == (
        "split.folds: class 'Dog é' is in 2 sample(s), fewer than the 3 folds: photograph more "
        "such samples, or lower split.folds\n"
    )


def test_one_class_is_enough_for_boxes(project: Path) -> None:
    make(Path("photos"), "yolo", {name: [Drawn("cat", 0, 0, 30, 20)] for name in SOUND})
    run("prepare", "split", "subsample")
    subsets = tables.read(Path("data/subsets"), tables.SUBSETS)
    assert set(subsets["label"]) == {"cat"}
    assert re.match(r"seed,photo,", Path("data/subsets/table.csv").read_text())


def test_photos_without_annotation_in_coco_are_refused(project: Path, capsys: Shown) -> None:
    make(Path("photos"), "coco", SOUND)
    content = boxed.coco(SOUND)
    content["images"] = [image for image in content["images"] if image["file_name"] != "11.png"]
    write(Path("photos/Annotations/instances.json"), json.dumps(content))
    assert "images/11.png: no annotation" in refused(capsys, "prepare")
