"""Annotations of boxes: read alike from every format, and refused with file, place and mend."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import boxed
import numpy as np
import pandas as pd
import pytest
from boxed import BOXES, CLASSES, SIZE, Drawn, make, write
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shotcount.boxes import annotations, faults, finding, pixels
from shotcount.boxes.annotations import Annotations
from shotcount.boxes.finding import Collection, collect
from shotcount.core.errors import UserError
from shotcount.core.tables import CORNERS
from shotcount.photos.reading import TURNS


def read(root: Path) -> Annotations:
    return finding.read(root, finding.look_for(root))


def look(root: Path) -> Collection:
    return collect(root, finding.look_for(root))


def table(root: Path) -> pd.DataFrame:
    """The boxes in px, without where they were read."""
    return look(root).placed.boxes.drop(columns=["file", "place"])


# ---- one collection in every format -------------------------------------------------


@pytest.mark.parametrize("beside", [False, True], ids=["folders", "beside"])
def test_every_format_gives_the_same_table(tmp_path: Path, beside: bool) -> None:
    tables = [table(make(tmp_path / form, form, beside=beside)) for form in ("coco", "yolo", "voc")]
    for own in tables:
        by_name = own.assign(photo=own["photo"].str.removeprefix("images/"))
        by_name = by_name.sort_values(["photo", "left"], kind="stable").reset_index(drop=True)
        assert list(by_name["photo"]) == ["a.png", "a.png", "sub/b.png"]
        drawn = [box for boxes in BOXES.values() for box in boxes]
        assert list(by_name["label"]) == [box.label for box in drawn]
        expected = [[box.left, box.top, box.right, box.bottom] for box in drawn]
        assert np.abs(by_name[CORNERS].to_numpy() - expected).max() < 1e-6
        assert by_name[["width", "height"]].to_numpy().tolist() == [list(SIZE)] * 3


boxes_of_any_place = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 59), st.integers(0, 39), st.integers(1, 60),
        st.integers(1, 40),
    ),
    max_size=6,
)  # fmt: skip


@given(boxes_of_any_place)
def test_the_reverse_of_writing_is_reading(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int, int, int, int]]
) -> None:
    drawn = [
        Drawn(CLASSES[which], left, top, left + width, top + height)
        for which, left, top, width, height in places
    ]
    for form in ("coco", "yolo", "voc"):
        root = make(
            tmp_path_factory.mktemp(form), form, {"x": drawn, "y": [Drawn("cat", 1, 1, 9, 9)]}
        )
        own = table(root)
        own = own[own["photo"] == "images/x.png"]
        assert list(own["label"]) == [box.label for box in drawn]
        expected = np.array([box[1:] for box in drawn], float).reshape(-1, 4)
        assert np.abs(own[CORNERS].to_numpy() - expected).max(initial=0) < 1e-6


def test_where_a_box_was_read_is_told(tmp_path: Path) -> None:
    assert [*read(make(tmp_path / "y", "yolo")).boxes["place"]] == ["line 1", "line 2", "line 1"]
    assert [*read(make(tmp_path / "v", "voc")).boxes["place"]] == ["line 3", "line 6", "line 3"]
    boxes = read(make(tmp_path / "c", "coco")).boxes
    assert boxes["place"][2] == "annotations[2] (id 3)"
    assert set(boxes["file"]) == {"Annotations/instances.json"}


@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_an_annotation_without_boxes_declares_background(tmp_path: Path, form: str) -> None:
    found = read(make(tmp_path, form))
    assert len(found.photos) == 3
    assert finding.unannotated(["images/sub/c.png", "new.png"], found) == ["new.png"]


def test_crowd_and_difficult_are_kept(tmp_path: Path) -> None:
    content = boxed.coco(BOXES)
    content["annotations"][0]["iscrowd"] = 1
    write(make(tmp_path / "c", "coco") / "Annotations/instances.json", json.dumps(content))
    assert [*read(tmp_path / "c").boxes["crowd"]] == [True, False, False]
    text = boxed.voc(BOXES["sub/b"]).replace("<bndbox>", "<difficult>1</difficult><bndbox>")
    write(make(tmp_path / "v", "voc") / "Annotations/sub/b.xml", text)
    assert [*read(tmp_path / "v").boxes["difficult"]] == [False, False, True]


# ---- where files lie ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo", "text"),
    [
        ("images/train/1.jpg", "labels/train/1.txt"),
        ("train/images/1.jpg", "train/labels/1.txt"),
        ("obj_train_data/1.jpg", "obj_train_data/1.txt"),
        ("JPEGImages/1.jpg", "Annotations/1.xml"),
        ("VOC2007/JPEGImages/1.1.jpg", "VOC2007/Annotations/1.1.xml"),
        ("images/1.JPG", "annotations/xmls/1.xml"),
    ],
)
def test_an_annotation_finds_its_photo(photo: str, text: str) -> None:
    others = ["images/val/1.jpg", "other/1.jpg", "JPEGImages/2.jpg"]
    assert annotations.match([text], [*others, photo]) == {text: photo}


ENDS = ["sub/b.png", "images/sub/b.png", "b.png", "C:\\my\\b.png", "/home/me/b.png", "sub\\b.png",
        "../images/sub/b.png"]  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_coco_finds_its_photos_by_any_end_of_their_path(tmp_path: Path, name: str) -> None:
    content = boxed.coco(BOXES)
    content["images"][1]["file_name"] = name
    root = make(tmp_path, "coco")
    write(root / "Annotations/instances.json", json.dumps(content))
    assert [*read(root).boxes["photo"]] == ["images/a.png"] * 2 + ["images/sub/b.png"]


def test_a_photo_elsewhere_is_no_photo_of_the_same_name(tmp_path: Path) -> None:
    content = boxed.coco(BOXES)
    content["images"][1]["file_name"] = "other/b.png"
    root = make(tmp_path, "coco")
    write(root / "Annotations/instances.json", json.dumps(content))
    assert read(root).without_photo == ("Annotations/instances.json, other/b.png",)
    assert len(read(root).boxes) == 2


def test_several_files_of_coco_are_one_collection(tmp_path: Path) -> None:
    root = make(tmp_path, "coco")
    names = list(BOXES)
    for split, own in (("train", names[:1]), ("val", names[1:])):
        text = json.dumps(boxed.coco({name: BOXES[name] for name in own}))
        write(root / f"Annotations/{split}.json", text)
    (root / "Annotations/instances.json").unlink()
    found = read(root)
    assert (len(found.boxes), len(found.photos), found.classes) == (3, 3, tuple(CLASSES))


LISTS = {
    "data.yaml": "nc: 2\nnames: [no, 'b: c']\n",
    "sub/dataset.yaml": "names:\n  1: 'b: c'\n  0: no\n",
    "obj.names": "no\nb: c\n",
    "classes.txt": "no\r\nb: c",
}


@pytest.mark.parametrize("name", LISTS)
def test_class_numbers_are_places_in_a_list(tmp_path: Path, name: str) -> None:
    root = make(tmp_path, "yolo")
    (root / "classes.txt").unlink()
    write(root / name, LISTS[name])
    write(root / "labels/a.txt", "1 .5 .5 .1 .1\n7 .5 .5 .1 .1\n")
    found = read(root)
    assert found.classes == ("no", "b: c")
    assert [*found.boxes["label"]] == ["b: c", f"7, beyond {name}", "no"]
    assert [*look(root).faults["unknown"]] == [False, True, False]


def test_without_a_list_classes_are_numbers(tmp_path: Path) -> None:
    root = make(tmp_path, "yolo", {"a": [], "b": []})
    (root / "classes.txt").unlink()
    write(root / "labels/a.txt", "10 .5 .5 .1 .1\n9 .5 .5 .1 .1\n")
    assert read(root).classes == ("9", "10")
    assert "classes are numbers" in read(root).notes[0]


def test_texts_and_tables_of_other_kinds_are_no_annotations(tmp_path: Path) -> None:
    boxed.photo(tmp_path / "red/1/a.png")
    write(tmp_path / "red/1/a.txt", "a red thing, seen from the left")  # a caption
    write(tmp_path / "red/1/a.json", json.dumps({"title": "a.png", "images": 3}))
    write(tmp_path / "red/1/a.xml", "<metadata/>")
    write(tmp_path / "data.yaml", "names: [a]")
    assert finding.look_for(tmp_path).forms == {}
    with pytest.raises(UserError, match="no annotations lie among the photos: add COCO"):
        read(tmp_path)


# ---- photos that EXIF turns ---------------------------------------------------------


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_turn_as_pillow_turns_the_photo(orientation: int) -> None:
    stored = Image.new("L", (60, 40))
    stored.paste(255, (10, 5, 17, 30))
    upright = stored.transpose(TURNS[orientation])
    turned = pixels.turn(
        np.array([[10.0, 5, 17, 30]]), np.array([upright.size], float), orientation
    )
    assert upright.getbbox() == tuple(turned[0])


@pytest.mark.parametrize("form", ["coco", "voc"])
@pytest.mark.parametrize("orientation", [6, 8])
def test_the_stated_size_tells_on_which_pixels_boxes_were_drawn(
    tmp_path: Path, form: str, orientation: int
) -> None:
    box = Drawn("cat", 10, 5, 17, 30)
    raw = make(tmp_path / "raw", form, {"a": [box]}, size=(60, 40))
    upright = make(tmp_path / "upright", form, {"a": [box]}, size=(40, 60))
    for root in (raw, upright):
        boxed.photo(root / "images/a.png", (60, 40), orientation)
    assert look(raw).placed.turned == ["images/a.png"]
    assert look(raw).placed.doubtful == []
    assert look(raw).placed.otherwise == {}
    expected = {6: [10, 10, 35, 17], 8: [5, 43, 30, 50]}[orientation]
    assert table(raw)[CORNERS].to_numpy().tolist() == [expected]
    assert look(upright).placed.turned == look(upright).placed.doubtful == []
    assert table(upright)[CORNERS].to_numpy().tolist() == [[10, 5, 17, 30]]


def test_a_square_photo_does_not_tell_on_which_pixels_boxes_were_drawn(tmp_path: Path) -> None:
    root = make(tmp_path, "coco", {"a": [Drawn("cat", 6, 4, 12, 8)]}, size=(40, 40))
    boxed.photo(root / "images/a.png", (40, 40), 6)
    placed = look(root).placed
    assert (placed.turned, placed.doubtful) == ([], ["images/a.png"])
    assert placed.boxes[CORNERS].to_numpy().tolist() == [[6, 4, 12, 8]]


@pytest.mark.parametrize(("form", "orientation"), [("yolo", 6), ("voc", 3)])
def test_where_nothing_tells_boxes_are_taken_as_upright(
    tmp_path: Path, form: str, orientation: int
) -> None:
    root = make(tmp_path, form, {"a": [Drawn("cat", 6, 4, 12, 8)]})
    boxed.photo(root / "images/a.png", (60, 40), orientation)
    assert look(root).placed.doubtful == ["images/a.png"]
    expected = [[4, 6, 8, 12]] if orientation == 6 else [[6, 4, 12, 8]]
    assert np.allclose(table(root)[CORNERS].to_numpy(), expected)


def test_another_stated_size_is_told(tmp_path: Path) -> None:
    root = make(tmp_path, "voc")
    boxed.photo(root / "images/a.png", (120, 80))
    assert look(root).placed.otherwise == {"images/a.png": "120 × 80, stated 60 × 40"}
    write(root / "Annotations/a.xml", boxed.voc(BOXES["a"], (0, 0)))  # as some programs write
    assert look(root).placed.otherwise == {}


# ---- faults -------------------------------------------------------------------------


def boxes_in(size: tuple[int, int], *rows: tuple[str, float, float, float, float]) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=["label", *CORNERS])
    return made.assign(photo="a.png", crowd=False, width=float(size[0]), height=float(size[1]))


def test_faults_of_boxes() -> None:
    boxes = boxes_in(
        (100, 50),
        ("a", 10, 10, 30, 30),
        ("a", 10, 10, 30, 30.5),  # IoU 0.976
        ("b", 10, 10, 30, 30),
        ("a", 10, 10, 32, 32),  # IoU 0.83
        ("a", 5, 5, 5, 5),
        ("a", 5, 5, 6, 40),
        ("a", 30, 20, 10, 10),
        ("a", 100, 0, 120, 20),
        ("a", 90, -10, 110, 10),
        ("a", 0, 0, 100, 50.0005),
        ("c", 40, 40, 50, 50),
    )
    wrong = faults.find_faults(boxes, ("a", "b"))
    flagged = {name: list(wrong.index[wrong[name] > 0]) for name in wrong}
    assert flagged == {
        "unknown": [10], "empty": [4, 5, 6], "outside": [7], "beyond": [8], "lost": [8],
        "twice": [1], "contradicted": [2], "any": [1, 2, 4, 5, 6, 7, 8, 10],
    }  # fmt: skip
    assert (wrong["beyond"][8], wrong["lost"][8]) == (10, 0.75)


def test_crowds_may_cover_others() -> None:
    boxes = boxes_in((100, 50), ("a", 10, 10, 30, 30), ("a", 10, 10, 30, 30))
    boxes.loc[1, "crowd"] = True
    assert not faults.find_faults(boxes, ("a",))["any"].any()


def test_intersection_over_union() -> None:
    others = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [0, 0, 1, 1]])
    assert np.allclose(faults.iou(np.array([0.0, 0, 2, 2]), others), [1, 1 / 3, 0, 0.25])


@pytest.mark.parametrize(("small", "large", "size"), [(1, 19, 224), (1, 18, 416), (2, 38, 224),
                                                      (3, 38, 416), (0, 1, 224)])  # fmt: skip
def test_the_size_proposed_leaves_one_box_in_twenty_of_each_class_too_small(
    small: int, large: int, size: int
) -> None:
    """Of photos of 1,000 px: 40 px of these are 8 px of 200, 20 px are 8 px of 400."""
    rows = [("a", 0, 0, 20, 20)] * small + [("a", 0, 0, 40, 40)] * large + [("b", 0, 0, 80, 80)]
    boxes = boxes_in((1000, 1000), *rows)
    squares = boxes.assign(**dict(zip(CORNERS, pixels.to_square(boxes, 100, "pad").T, strict=True)))
    (told,) = faults.too_small(squares, boxes, 100)
    assert f"at data.size: {size}, at most 5 %" in told


# ---- one error, with file, place and mend -------------------------------------------

Spoil = Callable[[dict[str, list]], object]
COCO: dict[str, tuple[Spoil, str]] = {
    "no such image": (
        lambda c: c["annotations"][1].update(image_id=99),
        r"annotations\[1\] \(id 2\): `image_id` 99 is not in `images`: add it there",
    ),
    "no such category": (
        lambda c: c["annotations"][0].update(category_id="cat"),
        r"annotations\[0\] \(id 1\): `category_id` 'cat' is not in `categories`",
    ),
    "no list": (lambda c: c.pop("categories"), "lacks the key `categories`: it needs the lists"),
    "no box": (lambda c: c["annotations"][2].pop("bbox"), r"annotations\[2\].*lacks `bbox`: it"),
    "three numbers": (lambda c: c["annotations"][2]["bbox"].pop(), r"`bbox` is \[3, 5, 14\]: wri"),
    "text for a number": (
        lambda c: c["annotations"][2].update(bbox=["3", 5, 1, 1]),
        r"`bbox` is \['3', 5, 1, 1\]: write \[left, top, width, height\] in pixels",
    ),
    "no number": (lambda c: c["annotations"][2].update(bbox=[float("nan")] * 4), "holds NaN, wh"),
    "beyond all photos": (lambda c: c["annotations"][2].update(bbox=[1e300] * 4), "`bbox` is"),
    "an id twice": (lambda c: c["images"][1].update(id=1), r"images\[1\] \(id 1\): the id occ"),
    "a photo twice": (
        lambda c: c["images"][1].update(file_name="a.png"), "two images are images/a.png: keep"
    ),
    "a class twice": (
        lambda c: c["categories"][1].update(name="cat "), "two categories are named cat"
    ),
    "no name": (lambda c: c["categories"][1].update(name=" "), r"categories\[1\].*`name` is ' ': "),
    "an image without a name": (lambda c: c["images"][0].pop("file_name"), "lacks `file_name`"),
    "a list as an id": (lambda c: c["images"][0].update(id=[1]), r"images\[0\]: `id` is \[1\]"),
    "entries of text": (lambda c: c["images"].append("x"), r"images\[3\]: is no JSON object"),
    "a size of text": (lambda c: c["images"][0].update(width="60"), "`width` is '60': write"),
    "crowd 2": (lambda c: c["annotations"][0].update(iscrowd=2), "`iscrowd` is 2: write 0 or 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", COCO)
def test_a_fault_in_coco_is_named_with_its_entry(tmp_path: Path, kind: str) -> None:
    spoil, told = COCO[kind]
    content = boxed.coco(BOXES)
    spoil(content)
    root = make(tmp_path, "coco")
    write(root / "Annotations/instances.json", json.dumps(content))
    with pytest.raises(UserError, match=rf"^Annotations/instances\.json.*{told}"):
        read(root)


def test_a_name_that_fits_two_photos_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path, "coco", {**BOXES, "other/b": []})
    content = boxed.coco(BOXES)
    content["images"][1]["file_name"] = "b.png"
    write(root / "Annotations/instances.json", json.dumps(content))
    with pytest.raises(
        UserError, match=r"images\[1\].*'b\.png' fits images/other/b\.png and images"
    ):
        read(root)


# What a file holds, and what is said of it.
BROKEN: dict[str, tuple[str, str, bytes, str]] = {
    "half a JSON": ("coco", "Annotations/instances.json", b'{"images": [], "annotations":\n[{]',
                    "line 2: broken JSON"),
    "a deep JSON": ("coco", "Annotations/instances.json",
                    b'{"images": 1, "annotations": ' + b"[" * 100_000, "broken JSON"),
    "a number without end": ("coco", "Annotations/instances.json",
                             b'{"images": 1, "annotations": ' + b"9" * 5000 + b"}", "broken JSON"),
    "COCO in Latin-1": ("coco", "Annotations/instances.json",
                        b'{"images": [],\n"annotations": [], "categories": [{"name": "\xe9"}]}',
                        "line 2: is not in UTF-8: save the file in UTF-8"),
    "COCO in UTF-16": ("coco", "Annotations/instances.json",
                       json.dumps(boxed.coco(BOXES)).encode("utf-16"), "is not in UTF-8"),
    "4 numbers": ("yolo", "labels/a.txt", b"0 .5 .5 .1 .1\n0 .5 .5 .1",
                  "line 2: 4 numbers where a box has 5: a line is: class number, x and y"),
    "6 numbers": ("yolo", "labels/a.txt", b"0 .5 .5 .1 .1 .9",
                  "line 1: 6 numbers where a box has 5: export annotations, not predictions"),
    "a polygon": ("yolo", "labels/a.txt", b"0 .5 .5 .1 .1 .9 .9", "7 numbers.*: export boxes"),
    "words": ("yolo", "labels/a.txt", b"\n\ncat .5 .5 .1 .1", "line 3: 'cat' is not a number"),
    "commas": ("yolo", "labels/a.txt", b"0 0,5 .5 .1 .1", "line 1: '0,5' is not a number"),
    "no finite number": ("yolo", "labels/a.txt", b"0 nan .5 .1 .1", "'nan' is not a number"),
    "half a class": ("yolo", "labels/a.txt", b"0.5 .5 .5 .1 .1", "0.5 is not a class number"),
    "a class below 0": ("yolo", "labels/a.txt", b"-1 .5 .5 .1 .1", "-1 is not a class number"),
    "pixels": ("yolo", "labels/a.txt", b"0 30 20 10 10", "30 20 10 10 are not shares.*: divide"),
    "YOLO in UTF-16": ("yolo", "labels/a.txt", "0 .5 .5 .1 .1\n".encode("utf-16"), "line 1: is no"),
    "an empty class": ("yolo", "classes.txt", b"cat\n\ndog\n", "line 2: is empty: write one class"),
    "a class twice": ("yolo", "classes.txt", b"cat\ncat\n", "two classes are named cat"),
    "classes in Latin-1": ("yolo", "classes.txt", b"cat\nDog \xe9", "line 2: is not in UTF-8"),
    "two lists": ("yolo", "data.yaml", b"names: [a, b]", "lists other classes than classes.txt"),
    "a gap": ("yolo", "data.yaml", b"a: 1\nnames: {0: a, 2: b}", "line 2: the numbers of `names`"),
    "lists in a list": ("yolo", "data.yaml", b"names: [a,\n [b]]", "line 2: `names` holds some"),
    "names of text": ("yolo", "data.yaml", b"names: cat", "line 1: `names` is no list"),
    "broken YAML": ("yolo", "data.yaml", b"names: [a\nb: c", "line 2: is not valid YAML"),
    "half an XML": ("voc", "Annotations/a.xml", b"<annotation>\n<object>", "line 2: broken XML"),
    "nothing": ("voc", "Annotations/a.xml", b"", "line 1: broken XML .no element found"),
    "another root": ("voc", "Annotations/a.xml", b"<a/>", "line 1: begins with <a>, not <annot"),
    "XML in Latin-1": ("voc", "Annotations/a.xml", b"<annotation>\n\xe9</annotation>",
                       "line 2: broken XML .*in UTF-8"),
    "XML in Chinese": ("voc", "Annotations/a.xml",
                       b"<?xml version='1.0' encoding='gb18030'?><annotation/>",
                       "line 1: its encoding can't be read .*: save the file in UTF-8"),
    "an entity bomb": ("voc", "Annotations/a.xml",
                       b'<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
                       b'<!ENTITY b "&a;&a;&a;&a;">]>\n<annotation>&b;</annotation>',
                       "line 2: declares a document type"),
    "a file of this machine": ("voc", "Annotations/a.xml",
                               b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
                               b"<annotation>&a;</annotation>", "line 1: declares a document type"),
    "no name": ("voc", "Annotations/a.xml", b"<annotation>\n<object/></annotation>",
                "line 2: an <object> without a <name>: write"),
    "no box": ("voc", "Annotations/a.xml",
               b"<annotation><object>\n<name>cat</name></object></annotation>",
               "line 1: the <object> cat has no <bndbox>: draw"),
    "no corner": ("voc", "Annotations/a.xml",
                  boxed.voc(BOXES["sub/b"]).replace("xmax>", "x>").encode(),
                  "line 5: <bndbox> has no <xmax>: write <xmax>"),
    "a corner of text": ("voc", "Annotations/a.xml",
                         boxed.voc(BOXES["sub/b"]).replace(">17<", ">x<").encode(),
                         "line 5: <xmax> is 'x', not a number"),
    "half a pixel": ("voc", "Annotations/a.xml",
                     boxed.voc(BOXES["sub/b"]).replace(">60<", ">60.5<").encode(),
                     "line 2: <width> is 60.5: write the photo's size in pixels"),
    "very difficult": ("voc", "Annotations/a.xml",
                       boxed.voc(BOXES["sub/b"])
                       .replace("<bndbox>", "<difficult>2</difficult><bndbox>").encode(),
                       "line 3: <difficult> is '2': write 0 or 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, kind: str) -> None:
    form, name, content, told = BROKEN[kind]
    root = make(tmp_path, form)
    (root / name).write_bytes(content)
    with pytest.raises(UserError) as refused:
        read(root)
    assert re.match(rf"{re.escape(name)}.*{told}", str(refused.value)), refused.value


def test_two_formats_at_once_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "voc")
    make(tmp_path, "coco")
    with pytest.raises(UserError, match=r"COCO JSON \(Annotations/instances.json\) and Pascal VOC"):
        read(tmp_path)


def test_two_annotations_of_a_photo_are_refused(tmp_path: Path) -> None:
    root = make(tmp_path, "yolo")
    write(root / "images/a.txt", "0 .5 .5 .1 .1")
    with pytest.raises(
        UserError, match=r"labels/a.txt: images/a.png has another annotation, images/"
    ):
        read(root)


def test_an_annotation_that_fits_two_photos_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path, "yolo")
    boxed.photo(root / "images/a.jpg")
    with pytest.raises(UserError, match=r"labels/a.txt: fits both images/a.jpg and images/a.png"):
        read(root)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    root = make(tmp_path, "voc")
    (root / "Annotations/a.xml").unlink()
    os.mkfifo(root / "Annotations/a.xml")
    with pytest.raises(UserError, match=r"Annotations/a.xml: no file that can be read"):
        read(root)


def test_a_table_that_leads_nowhere_does_not_matter_to_a_study(tmp_path: Path) -> None:
    boxed.photo(tmp_path / "red/1/a.png")
    (tmp_path / "red/notes.json").symlink_to("nowhere")
    assert finding.look_for(tmp_path).forms == {}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1250", "utf-16", "utf-8-sig"])
def test_an_encoding_that_xml_declares_is_read(tmp_path: Path, encoding: str) -> None:
    root = make(tmp_path, "voc")
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    text = f"<?xml version='1.0' encoding='{declared}'?>\n{boxed.voc(BOXES['a'])}"
    for name in ("a", "sub/b", "sub/c"):
        (root / f"Annotations/{name}.xml").write_bytes(text.encode(encoding))
    assert read(root).classes == tuple(sorted(CLASSES))
