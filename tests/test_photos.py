import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_collection, make_photo
from PIL import Image, ImageOps

from shotcount.core.errors import UserError
from shotcount.core.pixels import Pixels
from shotcount.photos import decoding
from shotcount.photos.finding import find_photos
from shotcount.photos.preparing import prepare


def prepared(root: Path, tmp_path: Path) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """The pixels, the manifest, what was left out."""
    (tmp_path / "work").mkdir(exist_ok=True)
    folder = tmp_path / "pixels"
    made = prepare(root, find_photos(root, None), 20, "error", tmp_path / "work", folder)
    return Pixels.open(folder)[:], *made


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


# ---- reading ------------------------------------------------------------------------


def test_photo_is_scaled_to_the_shorter_side_and_cropped_in_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((50, 100, 3), np.uint8)
    wide[:, 25:75] = 200  # exactly the centre square
    Image.fromarray(wide).save(tmp_path / "wide.png")
    pixels, width, height = decoding.read_photo(tmp_path / "wide.png", 25)
    assert (width, height) == (100, 50)
    assert pixels.shape == (25, 25, 3)
    assert (pixels[:, 2:-2] == 200).all()  # the outermost pixels see across the edge


def test_orientation_is_applied(tmp_path: Path) -> None:
    upright = np.zeros((40, 40, 3), np.uint8)
    upright[:20] = 255  # sky above
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn right by 90° to view": stored turned left
    stored = Image.fromarray(np.rot90(upright)).resize((60, 40))
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels, width, height = decoding.read_photo(tmp_path / "turned.jpg", 20)
    assert (width, height) == (40, 60)
    assert pixels[:8].mean() > 240
    assert pixels[12:].mean() < 15


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = ".jpg" if mode == "CMYK" else ".png"
    Image.new("RGB", (30, 30), (255, 255, 255)).convert(mode).save(tmp_path / f"photo{suffix}")
    pixels, _, _ = decoding.read_photo(tmp_path / f"photo{suffix}", 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.min() > 250


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_shades(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, 40).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (40, 1))).save(tmp_path / f"grey{suffix}")
    pixels, _, _ = decoding.read_photo(tmp_path / f"grey{suffix}", 40)
    assert np.abs(pixels[20, :, 0].astype(int) - ramp // 256).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 30, 10))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    image.save(tmp_path / ("photo.tif" if mode == "PA" else "photo.png"))
    pixels, _, _ = decoding.read_photo(next(tmp_path.iterdir()), 30)
    assert pixels[:8].max() < 20
    assert pixels[12:].min() > 235


def test_a_phones_file_of_several_pictures_is_its_first(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (30, 30), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    pixels, _, _ = decoding.read_photo(tmp_path / "phone.jpg", 16)
    assert pixels[..., 0].min() > 240
    assert pixels[..., 2].max() < 15


def test_reduced_scale_decoding_looks_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "big.jpg", quality=95)
    with Image.open(tmp_path / "big.jpg") as image:
        whole = ImageOps.fit(image.convert("RGB"), (128, 128), Image.Resampling.BICUBIC)
    pixels, width, height = decoding.read_photo(tmp_path / "big.jpg", 128)
    difference = np.abs(pixels.astype(int) - np.asarray(whole).astype(int))
    assert (width, height) == (1600, 1200)
    assert difference.mean() < 1.5  # of 255 grey levels
    assert difference.max() < 16


# ---- preparing ----------------------------------------------------------------------


def test_pixel_rows_follow_the_manifest(tmp_path: Path) -> None:
    root = make_collection(tmp_path / "photos", samples=2, angles=2)
    pixels, table, left_out = prepared(root, tmp_path)
    assert left_out.empty
    assert pixels.shape == (8, 20, 20, 3)
    assert list(table["photo"]) == list(range(8))
    assert set(table["width"]) == {40}
    for row in table.itertuples():
        assert np.array_equal(pixels[row.photo], decoding.read_photo(root / row.path, 20)[0])


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


def test_a_photo_of_another_suffix_is_read_by_its_content(tmp_path: Path) -> None:
    make_photo(tmp_path / "a.png", np.random.default_rng(0), 0.5, (30, 30))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert decoding.read_photo(tmp_path / "a.jpg", 16)[0].shape == (16, 16, 3)


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
        facts = decoding.decode(root, find_photos(root, None), 20, work)
        for _ in range(stop):
            next(facts)
        facts.close()
        for name in ("pixels", "index"):  # the kill comes while the next chunk is written
            with (work / name).open("ab") as file:
                file.write(b"[half a line")
        decoded.clear()
        again, _ = prepare(root, find_photos(root, None), 20, "error", work, tmp_path / "again")
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
    assert np.array_equal(pixels[row], decoding.read_photo(root / "red/01/0.png", 20)[0])
