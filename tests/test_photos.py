import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_collection
from PIL import Image

from shotcount.core.errors import UserError
from shotcount.core.pixels import Pixels
from shotcount.photos import decoding
from shotcount.photos.finding import find_photos
from shotcount.photos.preparing import judge, other_files, remarks, write_pixels
from shotcount.photos.reading import read_photo
from shotcount.photos.walking import walk


def prepared(root: Path, tmp_path: Path) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """The pixels, the manifest, what was left out."""
    (tmp_path / "work").mkdir(exist_ok=True)
    folder = tmp_path / "pixels"
    found = find_photos(root, None)
    facts = decoding.decode(root, found, 20, "crop", tmp_path / "work")
    usable, left_out = judge(found, list(facts), "error")
    manifest = write_pixels(usable, 20, tmp_path / "work", folder)
    return Pixels.open(folder)[:], manifest, left_out


def pixels_of(path: Path) -> np.ndarray:
    return read_photo(path.read_bytes(), 20, "crop").pixels


# ---- finding ------------------------------------------------------------------------


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_layout_gives_label_sample_and_angle_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "red/10/1.jpg", "red/2/10.jpg", "red/2/9.jpg", "blue/1/1.JPG", "notes.txt")
    found = find_photos(tmp_path, None)
    assert list(found["path"]) == ["blue/1/1.JPG", "red/2/9.jpg", "red/2/10.jpg", "red/10/1.jpg"]
    assert list(found["sample"]) == ["blue/1", "red/2", "red/2", "red/10"]
    assert list(found["angle"]) == ["1", "9", "10", "1"]


def test_photos_are_known_by_the_suffixes_of_phones_and_cameras(tmp_path: Path) -> None:
    touch(tmp_path, *(f"red/1/a.{kind}" for kind in ("HEIC", "avif", "jfif", "jp2", "MPO", "tif")))
    touch(tmp_path, "red/1/b.mov", "red/1/a.xmp", "red/1/a.aae", "labels.csv", "red/Thumbs.db")
    found = find_photos(tmp_path, r"(?P<label>red)/(?P<sample>\d)/(?P<angle>.+)")
    assert len(found) == 6
    assert walk(tmp_path).others == ["red/1/b.mov"]
    companions = ["labels.csv", "red/1/a.aae", "red/1/a.xmp", "red/Thumbs.db"]
    assert sorted(walk(tmp_path).companions) == companions


def test_hidden_and_system_folders_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, "red/1/a.jpg", "red/1/._a.jpg", "red/1/.git/x.jpg", "red/@eaDir/a.jpg")
    folders = (".ipynb_checkpoints", ".thumbnails", "__MACOSX", "$RECYCLE.BIN", "lost+found")
    touch(tmp_path, *(f"{folder}/1/a.{kind}" for folder in folders for kind in ("jpg", "mov")))
    assert walk(tmp_path) == (["red/1/a.jpg"], [], [], [])
    assert list(find_photos(tmp_path, None)["label"]) == ["red"]


def test_files_that_are_no_photos_are_counted_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, *(f"red/1/{n}.MOV" for n in range(37)), "red/1/a.cr2", "red/1/README")
    counts = "39 files of kinds that aren't photos: 37 .mov, 1 without suffix, 1 .cr2"
    with pytest.raises(UserError, match=f"there are no photos below .* but {counts}: name the"):
        find_photos(tmp_path, None)
    left_out = other_files(tmp_path)
    assert list(left_out.itertuples(index=False)) == [("", counts)]
    (tmp_path / "empty").mkdir()
    assert other_files(tmp_path / "empty").empty


def test_pattern_reads_any_layout(tmp_path: Path) -> None:
    touch(tmp_path, "1/1/apple1-035-045.jpg", "1/1/apple1-066-027.jpg", "3/2/cow2-000-000.jpg")
    found = find_photos(tmp_path, r"(?P<label>[a-z]+)(?P<sample>\d+)-(?P<angle>\d+-\d+)\.jpg")
    assert list(found["sample"]) == ["apple/1", "apple/1", "cow/2"]
    assert list(found["angle"]) == ["035-045", "066-027", "000-000"]


def test_ready_made_splits_and_photos_without_angles(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/a.jpg", "val/ants/b.jpg")
    found = find_photos(tmp_path, r"(?P<split>\w+)/(?P<label>\w+)/(?P<sample>\w+)\.jpg")
    assert list(found["given_split"]) == ["train", "val"]
    assert list(found["angle"]) == ["", ""]


def test_a_table_gives_the_labels_of_samples_that_the_pattern_reads(tmp_path: Path) -> None:
    touch(tmp_path, "obj2__0.png", "obj2__5.png", "obj10__0.png", "obj11__0.png")
    (tmp_path / "labels.csv").write_text("sample,label,remark\n10,NA,\n2,car,red\n", "utf-8")
    found = find_photos(tmp_path, r"obj(?P<sample>\d+)__(?P<angle>\d+)\.png", "labels.csv")
    assert list(found["path"]) == ["obj2__0.png", "obj2__5.png", "obj10__0.png"]
    assert list(found["sample"]) == ["car/2", "car/2", "NA/10"]  # object 11 is not listed


def test_a_table_of_paths_needs_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b/c.jpg", "d.jpg")
    text = "path,label,sample,angle,split\na.jpg,x,1,0,\nb/c.jpg,x,1,1,\n"
    (tmp_path / "photos.csv").write_text(text, "utf-8-sig")  # as spreadsheets save it
    found = find_photos(tmp_path, None, "photos.csv")
    rows = found[["path", "sample", "angle"]].to_numpy().tolist()
    assert rows == [["a.jpg", "x/1", "0"], ["b/c.jpg", "x/1", "1"]]


def test_table_and_pattern_complete_each_other(tmp_path: Path) -> None:
    touch(tmp_path, "one-1.jpg", "one-2.jpg")
    (tmp_path / "t.csv").write_text("path,label\none-1.jpg,x\none-2.jpg,x\n", "utf-8")
    found = find_photos(tmp_path, r"(?P<sample>\w+)-(?P<angle>\d)", "t.csv")
    assert list(found["sample"]) == ["x/one", "x/one"]
    assert list(found["angle"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("pattern", "content", "message"),
    [
        (None, None, r"data\.table: there is no file .*t\.csv"),
        (None, "", r"t\.csv has the columns \(none\): it needs path"),
        (
            None,
            "path,label,sample\n\xff,x,1\n",
            r"not in UTF-8, and line 2 fits no photo",
        ),
        (
            None,
            "file,label\na.jpg,x\n",
            r"has the columns file, label: it needs path \(or sample\)",
        ),
        (None, "path,class\na.jpg,x\n", "has the columns path, class: it needs"),
        (None, "path,label\na.jpg,x\n", r"lacks the group\(s\) sample, and t\.csv has no such"),
        (
            None,
            "path,label,sample\nz.jpg,x,1\n",
            r"names 1 photo\(s\) that aren't below .*, z\.jpg",
        ),
        (None, "path,label,sample\na.jpg,x,1\na.jpg,y,1\n", r"lists path a\.jpg twice"),
        (r"(?P<sample>\w)", "sample,label\nq,x\n", r"none of the 2 photos .* fits .* and t\.csv"),
        (None, "path,label,sample\na.jpg,,1\n", r"a\.jpg reads as an empty label"),
    ],
)
def test_unusable_table_says_why(
    tmp_path: Path, pattern: str | None, content: str | None, message: str
) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    if content is not None:
        (tmp_path / "t.csv").write_text(content, "latin-1")  # \xff is no UTF-8
    with pytest.raises(UserError, match=message):
        find_photos(tmp_path, pattern, "t.csv")


def test_one_photo_a_sample_is_told_its_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "ants/a.jpg", "bees/b.jpg")
    with pytest.raises(UserError, match="for one photo a sample") as raised:
        find_photos(tmp_path, None)
    pattern = str(raised.value).rpartition("'")[0].rpartition("'")[2]
    assert list(find_photos(tmp_path, pattern)["sample"]) == ["ants/a", "bees/b"]


def test_ready_made_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/ants/a.jpg", "val/bees/b.jpg")
    with pytest.raises(UserError, match="train, val look like ready-made splits") as raised:
        find_photos(tmp_path, None)
    found = find_photos(tmp_path, str(raised.value).split("'")[1])
    assert list(found["given_split"]) == ["train", "val"]
    assert list(found["label"]) == ["ants", "bees"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?P<label>[", "data.pattern: not a regular expression"),
        (r"(?P<label>\w+)", r"lacks the group\(s\) sample"),
        (r"(?P<label>x+)/(?P<sample>\d+)", "none of the 96 photos .* for example blue/00/0.png"),
        (r"(?P<label>\w+)/(?P<sample>\d+)", "0.png and .*1.png read as the same angle"),
    ],
)
def test_unusable_pattern_says_why(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_photos(make_collection(tmp_path), pattern)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.path: .*nowhere is not a folder"):
        find_photos(tmp_path / "nowhere", None)


# ---- preparing ----------------------------------------------------------------------


def test_pixel_rows_follow_the_manifest(tmp_path: Path) -> None:
    root = make_collection(tmp_path / "photos", samples=2, angles=2)
    pixels, table, left_out = prepared(root, tmp_path)
    assert left_out.empty
    assert pixels.shape == (8, 20, 20, 3)
    assert list(table["photo"]) == list(range(8))
    assert set(table["width"]) == {40}
    for row in table.itertuples():
        assert np.array_equal(pixels[row.photo], pixels_of(root / row.path))


def test_every_broken_photo_is_named(tmp_path: Path) -> None:
    root = make_collection(tmp_path / "photos", samples=3, angles=2)
    whole = (root / "red/01/0.png").read_bytes()
    (root / "red/01/0.png").write_bytes(whole[: len(whole) // 2])
    (root / "blue/00/1.png").write_bytes(b"")
    (root / "blue/02/1.png").write_text("not a photo")
    with pytest.raises(UserError) as error:
        prepared(root, tmp_path)
    for name in ("red/01/0.png", "blue/00/1.png", "blue/02/1.png"):
        assert re.search(rf"^\s*{name}: ", str(error.value), re.MULTILINE)
    assert "3 of the 12 photos can't be used" in str(error.value)
    assert not (tmp_path / "pixels").exists()


def test_what_could_not_be_read_is_noted(tmp_path: Path) -> None:
    root = make_collection(tmp_path / "photos", samples=2, angles=2)
    with Image.open(root / "red/01/0.png") as image:
        image.save(root / "red/01/0.png", icc_profile=b"no profile")
    _, table, left_out = prepared(root, tmp_path)
    (note,) = remarks(table, left_out, 20, "crop")
    assert note.startswith("1 photos: the colour profile can't be read, so its colours are taken")
    assert note.endswith(": red/01/0.png first")


def test_photos_that_lose_much_to_the_crop_are_counted(tmp_path: Path) -> None:
    sizes = [("four to three", 400, 300), ("panorama", 900, 100), ("document", 100, 200)]
    table = pd.DataFrame(sizes, columns=["path", "width", "height"])
    table = table.assign(note="", sample="", sha256=table["path"])
    left_out = pd.DataFrame(columns=["path", "reason"])
    (remark,) = remarks(table, left_out, 20, "crop")
    assert "2 photos lose more than a quarter of their area to the crop, up to 89%" in remark
    assert "(panorama)" in remark
    assert "data.fit: pad" in remark
    assert remarks(table, left_out, 20, "pad") == []


# ---- going on -----------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are decoded, in turn."""
    paths: list[str] = []
    load = decoding._load
    monkeypatch.setattr(decoding, "CHUNK", 4)
    monkeypatch.setattr(decoding, "_load", lambda *given: paths.append(given[1]) or load(*given))
    return paths


def test_only_what_is_new_is_decoded_after_an_interruption(
    tmp_path: Path, decoded: list[str]
) -> None:
    root = make_collection(tmp_path / "photos", samples=3, angles=2)
    whole, table, _ = prepared(root, tmp_path)
    assert len(decoded) == 12
    for stop in (1, 4, 6):
        work = tmp_path / f"work{stop}"
        work.mkdir()
        facts = decoding.decode(root, find_photos(root, None), 20, "crop", work)
        for _ in range(stop):
            next(facts)
        facts.close()
        for name in ("pixels", "index"):  # the kill comes while the next chunk is written
            with (work / name).open("ab") as file:
                file.write(b"[half a line")
        decoded.clear()
        facts = decoding.decode(root, find_photos(root, None), 20, "crop", work)
        usable, _ = judge(find_photos(root, None), list(facts), "error")
        again = write_pixels(usable, 20, work, tmp_path / "again")
        assert len(decoded) == 12 - 4 * -(-stop // 4)
        assert np.array_equal(Pixels.open(tmp_path / "again")[:], whole)
        assert again["sha256"].equals(table["sha256"])


def test_pixels_that_are_gone_are_decoded_again(tmp_path: Path, decoded: list[str]) -> None:
    root = make_collection(tmp_path / "photos", samples=3, angles=2)
    whole, _, _ = prepared(root, tmp_path)
    os.truncate(tmp_path / "work/pixels", 5 * 20 * 20 * 3 + 7)
    decoded.clear()
    assert np.array_equal(prepared(root, tmp_path)[0], whole)
    assert len(decoded) == 7


def test_mending_a_photo_decodes_that_one_alone(tmp_path: Path, decoded: list[str]) -> None:
    root = make_collection(tmp_path / "photos", samples=3, angles=2)
    good = (root / "red/01/0.png").read_bytes()
    (root / "red/01/0.png").write_bytes(good[:100])
    with pytest.raises(UserError, match="red/01/0.png"):
        prepared(root, tmp_path)
    decoded.clear()
    (root / "red/01/0.png").write_bytes(good)
    (root / "blue/00/1.png").unlink()
    pixels, table, _ = prepared(root, tmp_path)
    assert decoded == ["red/01/0.png"]
    assert len(pixels) == len(table) == 11
    row = table.index[table["path"] == "red/01/0.png"][0]
    assert np.array_equal(pixels[row], pixels_of(root / "red/01/0.png"))
