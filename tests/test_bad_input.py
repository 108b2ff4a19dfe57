"""What people get wrong, and the one message that each of it gets."""

import io
import json
import os
import pickle
import re
import runpy
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import boxed
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, make_collection, make_photo
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shotcount.boxes import coco, voc, yolo
from shotcount.boxes.annotations import Annotations
from shotcount.boxes.faults import find_faults
from shotcount.boxes.pixels import place
from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.params import Fit, load_params
from shotcount.core.pixels import Pixels
from shotcount.core.stage import run_stage
from shotcount.params import Params
from shotcount.photos import decoding, finding
from shotcount.photos.reading import read_photo


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good collection of 2 classes x 6 samples x 3 angles, and its params.yaml."""
    make_collection(tmp_path / "photos", samples=6, angles=3)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"] |= {"path": "photos", "size": 32}
    params["split"] |= {"val": 0.2, "folds": 3}
    params["study"] |= {"angles": [1, 3], "frozen_grid": {"samples": [], "angles": []}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/size.json").write_text("32\n", encoding="utf-8")  # by stage backbone
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_params(**changes: object) -> None:
    """Change params.yaml: keys with dots written as double underscores."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        section, last = key.split("__")
        params[section][last] = value
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def sets(**changes: object) -> Callable[[], None]:
    return lambda: set_params(**changes)


def run(*stages: str) -> None:
    """Run stages in this process, up to the first that fails."""
    for stage in stages:
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"), run_name="__main__")


def message(capsys: pytest.CaptureFixture[str], *stages: str) -> str:
    """What the stages print as they refuse, if they do so as they should."""
    with pytest.raises(SystemExit) as stopped:
        run(*stages)
    shown = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "Traceback" not in shown
    *_, last = shown.partition("error: ")
    assert last, shown
    return last


# ---- photos -------------------------------------------------------------------------

PLACE = Path("photos/red/02/1.png")  # of the photo that goes bad


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.effect_noise(size, 50).convert(mode)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def broken_crc() -> bytes:
    whole = bytearray(encoded(noise(), "PNG"))
    whole[60] ^= 255  # within the pixels
    return bytes(whole)


def frames(form: str) -> bytes:
    return encoded(noise(), form, save_all=True, append_images=[noise(), noise()])


CONTENT = {  # what the file holds, and what is said of it
    "half a JPEG": (lambda: encoded(noise(), "JPEG")[:600], "[Tt]runcated"),
    "half a PNG": (lambda: encoded(noise(), "PNG")[:600], "[Tt]runcated"),
    "half a TIFF": (lambda: encoded(noise(), "TIFF")[:600], r"\S"),
    "half a WebP": (lambda: encoded(noise(), "WEBP")[:200], r"\S"),
    "a damaged PNG": (broken_crc, r"\S"),
    "nothing": (bytes, "the file is empty"),
    "text": (lambda: b"not a photo", "no image that Pillow can read"),
    "a web page": (lambda: b"<!DOCTYPE html><html><body>404</body></html>", "no image that Pillow"),
    "a PDF": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(200), "no image that Pillow"),
    "zeros": (lambda: bytes(4096), "no image that Pillow can read"),
    "a JPEG's first bytes": (lambda: b"\xff\xd8\xff\xe0" + bytes(50), r"\S"),
    "a decompression bomb": (lambda: png_that_claims(30_000, 30_000), "decompression bomb"),
    "a claim of 2 billion pixels": (lambda: png_that_claims(2**31 - 1, 1), r"\S"),
    "1 x 1": (lambda: encoded(noise(size=(1, 1)), "PNG"), "1 x 1 px: too small"),
    "a strip": (lambda: encoded(noise(size=(400, 8)), "PNG"), "400 x 8 px: too small"),
    "an animated WebP": (lambda: frames("WEBP"), "several pictures in one file"),
    "an animated PNG": (lambda: frames("PNG"), "several pictures in one file"),
    "an animated GIF": (lambda: frames("GIF"), "several pictures in one file"),
    "a TIFF of three pages": (lambda: frames("TIFF"), "several pictures in one file"),
    "32-bit integers": (lambda: encoded(noise("I"), "TIFF"), "32 bits a pixel"),
    "32-bit floats": (lambda: encoded(noise("F"), "TIFF"), "32 bits a pixel"),
    "a pickle": (lambda: pickle.dumps({"a": 1}), "no image that Pillow can read"),
}


@pytest.mark.parametrize("kind", CONTENT)
def test_a_file_that_is_no_photo_is_named(project: Path, capsys, kind: str) -> None:
    content, reason = CONTENT[kind]
    PLACE.write_bytes(content())
    shown = message(capsys, "prepare")
    assert shown.startswith("1 of the 36 photos can't be used: fix or remove them, or set data.on_")
    assert re.search(rf"\n +red/02/1\.png: .*({reason})", shown), shown
    assert not Path("data/manifest").exists()


def replaced_by_link(target: str | Path) -> None:
    PLACE.unlink()
    PLACE.symlink_to(target)


def outside() -> None:
    make_photo(Path("elsewhere.png"), np.random.default_rng(1), 0.9, (40, 40))
    replaced_by_link(Path("elsewhere.png").absolute())


def renamed(name: bytes, content: bytes | None = None) -> None:
    place = PLACE.rename(PLACE.with_name(os.fsdecode(name)))
    if content is not None:
        place.write_bytes(content)


def copied(*targets: str) -> None:
    for target in targets:
        Path(target).write_bytes(PLACE.read_bytes())


PLACES: dict[str, tuple[Callable[[], object], str]] = {  # what is done, and what is said of it
    "a broken link": (lambda: replaced_by_link("nowhere.png"), r"1\.png: a broken link"),
    "a link to itself": (lambda: replaced_by_link("1.png"), r"1\.png: .*([Ll]oop|levels of symb)"),
    "a link to outside": (outside, r"1\.png: a link to /.*, outside data\.path: copy the file"),
    "a line break in a bad photo's name": (
        lambda: renamed(b"1\n2.png", b""),
        r"red/02/1\\n2\.png: the file is empty",
    ),
    "an escape sequence in a bad photo's name": (
        lambda: renamed(b"1\x1b[2J.png", b""),
        r"red/02/1\\x1b\[2J\.png: the file is empty",
    ),
    "a name that is not UTF-8": (
        lambda: renamed(b"\xff\xfe.png"),
        r"\\udcff\\udcfe\.png: the file's name is not UTF-8",
    ),
    "a copy under another sample": (
        lambda: copied("photos/red/03/1.png"),
        r"red/03/1\.png: a copy of red/02/1\.png, of another",
    ),
    "a copy under another class": (
        lambda: copied("photos/blue/03/1.png"),
        r"blue/03/1\.png: one photo in several classes: blue/03/1\.png, red/02/1\.png",
    ),
    "a link to a name that is not UTF-8": (
        lambda: replaced_by_link(os.fsdecode(b"/tmp/\xff.png")),
        r"1\.png: a link to /tmp/\\udcff\.png, outside",
    ),
    "the same sample under two classes": (
        lambda: [copied(f"photos/blue/05/{angle}.png") for angle in range(3)],
        "4 of the 36 photos can't be used",
    ),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_photo_in_the_wrong_place_is_named(project: Path, capsys, kind: str) -> None:
    spoil, reason = PLACES[kind]
    spoil()
    assert re.search(reason, message(capsys, "prepare"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_photo_that_may_not_be_read_is_named(project: Path, capsys) -> None:
    PLACE.chmod(0)
    assert re.search(r"red/02/1\.png: .*Permission denied", message(capsys, "prepare"))


def test_skipping_leaves_bad_photos_out_and_lists_them(project: Path, capsys) -> None:
    PLACE.write_bytes(b"")
    Path("photos/blue/01/0.png").write_text("no photo")
    Path("photos/red/05/1.png").write_bytes(Path("photos/red/03/1.png").read_bytes())
    shown = message(capsys, "prepare")
    assert shown.count("\n       ") == 3  # all of them, not only the first
    set_params(data__on_bad_photo="skip")
    run("prepare", "split", "subsample")
    left_out = tables.read(Path("data/left_out.csv"), tables.LEFT_OUT)
    assert dict(left_out.itertuples(index=False)) == {
        "blue/01/0.png": "no image that Pillow can read",
        "red/02/1.png": "the file is empty",
        "red/05/1.png": "a copy of red/03/1.png, of another sample",
    }
    manifest = tables.read(Path("data/manifest"), tables.MANIFEST)
    assert len(manifest) == len(Pixels.open(Path("data/pixels"))) == 33
    assert not set(left_out["path"]) & set(manifest["path"])
    assert "note: left out: red/02/1.png: the file is empty" in capsys.readouterr().out


def test_files_that_are_no_photos_are_counted_in_the_list(project: Path, capsys) -> None:
    for name in ("a.mov", "b.MOV", "c.cr2", "c.xmp", ".d.mov"):
        (Path("photos/red") / name).touch()
    run("prepare")
    counts = "3 files of kinds that aren't photos: 2 .mov, 1 .cr2"
    left_out = tables.read(Path("data/left_out.csv"), tables.LEFT_OUT)
    assert list(left_out.itertuples(index=False)) == [("", counts)]
    assert f"note: left out: {counts}" in capsys.readouterr().out


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_photos_become_squares_as_asked(project: Path, fit: Fit) -> None:
    make_photo(PLACE, np.random.default_rng(0), 0.5, (90, 40))
    set_params(data__fit=fit)
    run("prepare")
    manifest = tables.read(Path("data/manifest"), tables.MANIFEST)
    row = manifest[manifest["path"] == "red/02/1.png"]["photo"].item()
    expected = read_photo(PLACE.read_bytes(), 32, fit).pixels
    assert np.array_equal(Pixels.open(Path("data/pixels"))[row], expected)


def test_nothing_left_to_use_is_told(project: Path, capsys) -> None:
    for path in Path("photos").rglob("*.png"):
        path.write_bytes(b"")
    set_params(data__on_bad_photo="skip")
    assert "none of the 36 photos can be used" in message(capsys, "prepare")


def test_the_same_photo_as_two_angles_is_worth_a_note(project: Path, capsys) -> None:
    copied("photos/red/02/2.png")
    run("prepare")
    assert "several angles of a sample: red/02/1.png = red/02/2.png" in capsys.readouterr().out


def test_odd_names_are_no_fault(project: Path) -> None:
    names = ["a b", "é漢字", "quote\"'", "line\nbreak", "-rf", "$(id)", "a,b;c"]
    for number, name in enumerate(names):
        photo = Path("photos") / "odd & <b>class" / name / "1\r.png"
        make_photo(photo, np.random.default_rng(number), 0.5, (40, 40))
    run("prepare")
    manifest = tables.read(Path("data/manifest"), tables.MANIFEST)
    odd = manifest[manifest["label"] == "odd & <b>class"]
    assert len(odd) == 7
    assert "odd & <b>class/line\nbreak" in set(odd["sample"])
    assert all((Path("photos") / path).exists() for path in odd["path"])


def test_a_collection_that_dvc_holds_by_links_is_read(project: Path) -> None:
    cached = Path(".dvc/cache/files/md5/ab/0123456789abcdef0123456789abcd").absolute()
    cached.parent.mkdir(parents=True)
    PLACE.rename(cached)
    PLACE.symlink_to(cached)
    run("prepare")
    assert len(Pixels.open(Path("data/pixels"))) == 36


# ---- layouts and splits -------------------------------------------------------------


def keep_of_red(*samples: str) -> None:
    for path in Path("photos/red").rglob("*.png"):
        if path.parent.name not in samples:
            path.unlink()


def without_sample_folders() -> None:
    for path in list(Path("photos").rglob("*.png")):
        path.rename(path.parent.parent / f"{path.parent.name}-{path.name}")


def linked_class() -> None:
    Path("photos/red").rename("red")
    Path("photos/red").symlink_to(Path("red").absolute())


GIVEN = r"(?P<label>\w+)/(?P<sample>\w+)/(?P<angle>(?P<split>[0-4]))"
LAYOUTS: dict[str, tuple[Callable[[], object], str]] = {
    "no folder": (sets(data__path="foto"), "data.path: foto is not a folder: name"),
    "a file for a folder": (
        sets(data__path="params.yaml"),
        "data.path: params.yaml is not a folder",
    ),
    "an empty folder": (
        lambda: [Path("void").mkdir(), set_params(data__path="void")],
        "there are no photos below void: name the folder",
    ),
    "no sample folders": (
        without_sample_folders,
        "none of the 36 photos below photos, for example blue/00-0.png, fits",
    ),
    "a linked class": (linked_class, "photos/red is a link to a folder.*: copy the folder"),
    "a bad pattern": (sets(data__pattern="(?P<label>["), "data.pattern: not a regular expression"),
    "no sample group": (sets(data__pattern=r"(?P<label>\w+)"), r"lacks the group\(s\) sample"),
    "nothing fits": (sets(data__pattern=r"(?P<label>x+)_(?P<sample>\d)"), "none of the 36 photos"),
    "a pattern that drops the angle": (
        sets(data__pattern=r"(?P<label>\w+)/(?P<sample>\w+)"),
        "blue/00/0.png and blue/00/1.png read as the same angle of the same sample",
    ),
    "a pattern that reads no label": (
        sets(data__pattern=r"(?P<label>x?)\w+/(?P<sample>\w+)/(?P<angle>\d)"),
        "blue/00/0.png reads as an empty label",
    ),
    "one class": (keep_of_red, "all photos are of one class, 'blue': two or more are needed"),
    "two samples of a class": (
        lambda: [keep_of_red("00", "01"), set_params(split__folds=None, split__test=0.2)],
        r"class 'red' is in 2 sample\(s\), of which none is for train: photograph more",
    ),
    "fewer samples than folds": (
        sets(split__folds=7),
        r"split.folds: class 'blue' is in 6 sample\(s\), fewer than the 7 folds",
    ),
    "no such split": (
        sets(split__folds=None, split__test="holdout"),
        "no photo's `split` group reads 'holdout'",
    ),
    "a sample in two splits": (
        sets(data__pattern=GIVEN, split__folds=None, split__test="2"),
        "has photos in two ready-made splits: photos of one sample must stay together",
    ),
    "more angles than there are": (
        sets(study__angles=[1, 4]),
        "study.angles: 4 angles asked, but no training",
    ),
    "more samples than there are": (
        sets(study__samples=[100]),
        r"100 means 100 training sample\(s\), but the",
    ),
    "one sample": (sets(study__samples=[1]), "1 means 1 training .* between 2 .one for each class"),
    "two names of one size": (
        sets(study__samples=[6, 1.0]),
        "1.0 and 6 both mean 6 samples: list each size once",
    ),
    "a further size beyond the common ones": (
        sets(study__samples=[0.5], study__frozen_grid={"samples": [1.0], "angles": [1]}),
        "study.frozen_grid.samples: 1.0 goes beyond the largest of study.samples: add it there",
    ),
    "a further angle beyond the common ones": (
        sets(study__angles=[1], study__frozen_grid={"samples": [1.0], "angles": [2]}),
        "study.frozen_grid.angles: 2 goes beyond the largest of study.angles: add it there",
    ),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_layout_that_cannot_be_studied_says_why(project: Path, capsys, kind: str) -> None:
    spoil, reason = LAYOUTS[kind]
    spoil()
    assert re.search(reason, message(capsys, "prepare", "split", "subsample"))


def test_unequal_classes_are_warned_of(project: Path, capsys) -> None:
    rng = np.random.default_rng(3)
    for sample in range(6, 30):
        make_photo(Path(f"photos/blue/{sample}/0.png"), rng, 0.1, (40, 40))
    run("prepare")
    assert (
        "note: blue has 30 samples, red only 6: consider answer.metric: bal"
        in capsys.readouterr().out
    )


# ---- network and weights ------------------------------------------------------------


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch malice-was-here",)


def weights(content: object, name: str = "weights/weights.pth") -> None:
    """Write bytes as they are, and anything else as PyTorch does."""
    Path(name).parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    else:
        torch.save(content, name)
    set_params(model__name="resnet18", model__weights=name)


MODELS: dict[str, tuple[Callable[[], object], str]] = {
    "an unknown network": (
        sets(model__name="resnet19"),
        "model.name: neither torchvision nor timm has",
    ),
    "shipped weights of another network": (
        sets(model__name="resnet18"),
        "model.weights: 'shipped' is only for tf_eff",
    ),
    "photos too small for the network": (
        sets(model__name="inception_v3", data__size=60),
        "data.size: inception_v3 can't take photos of 60 px .*: change data.size, or name another",
    ),
    "no weights": (
        sets(model__weights="weights/w.pth"),
        "model.weights: there is no file weights/w.pth",
    ),
    "weights that DVC doesn't watch": (
        sets(model__weights="../w.pth"),
        r"model.weights: '../w.pth' is outside .* and write weights/w.pth \(params.yaml",
    ),
    "text for weights": (lambda: weights(b"x"), "weights.pth is not a readable state dict"),
    "a damaged safetensors file": (
        lambda: weights(bytes(20), "weights/w.safetensors"),
        "w.safetensors is not a readable state dict",
    ),
    "weights of another network": (
        lambda: weights({"a": torch.zeros(1)}),
        "weights.pth doesn't fit resnet18@layer3: 75 of its 90 tensors are missing",
    ),
    "a whole model": (
        lambda: weights(torch.nn.Linear(1, 1)),
        "a whole pickled network, .*: save its state dict with torch.save",
    ),
    "a pickle that runs a program": (lambda: weights({"a": Malice()}), "not a readable state dict"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_network_that_cannot_be_had_says_why(project: Path, capsys, kind: str) -> None:
    spoil, reason = MODELS[kind]
    spoil()
    assert re.search(reason, message(capsys, "backbone"))
    assert not Path("malice-was-here").exists()
    assert not Path("data/backbone.safetensors").exists()


# ---- the program's own faults, and the machine's ------------------------------------


def test_no_place_for_unfinished_work_is_told(project: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SHOTCOUNT_UNFINISHED", "params.yaml")
    assert "name another folder in the environment variable SHOTCOUNT" in message(capsys, "prepare")


def test_one_process_a_stage(project: Path, capsys) -> None:
    Path("data/unfinished").mkdir(parents=True)
    with FileLock("data/unfinished/prepare.lock"):
        other = [sys.executable, ROOT / "stages/prepare.py"]
        done = subprocess.run(other, capture_output=True, text=True, cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith("error: another process is at work (data/unfinished/prepare.lock")


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (UserError("key: mend it"), 2, "error: key: mend it\n"),
        (OSError(28, "No space left on device"), 2, "error: no room on the disk"),
        (KeyboardInterrupt(), 130, "interrupted: run again to resume\n"),
    ],
)
def test_a_stage_ends_with_a_status_and_one_line(
    project: Path, error: BaseException, status: int, shown: str, capsys
) -> None:
    def stage() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_stage(stage)
    assert stopped.value.code == status
    assert capsys.readouterr().err.startswith(shown)


def test_a_bug_is_not_disguised(project: Path) -> None:
    def stage() -> None:
        raise PermissionError(13, "denied")

    with pytest.raises(PermissionError):
        run_stage(stage)


# ---- anything at all ----------------------------------------------------------------

SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
PIECES = st.sampled_from(
    [
        *"{}[]#'\"~\t\n\0\ud800é",
        *(": ", "- ", "&a ", "*a", "!!set ", "!!python/object:os.system "),
        *("2001-99-99", ".nan", "-.inf", "1e999", "0x1F", "yes"),
    ]
)


@given(st.integers(0, len(SHIPPED)), st.integers(0, 12), st.lists(PIECES | st.text(max_size=5)))
def test_any_damage_to_params_is_told_as_the_users_fault(
    tmp_path_factory: pytest.TempPathFactory, place: int, cut: int, pieces: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    text = SHIPPED[:place] + "".join(pieces) + SHIPPED[place + cut :]
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load_params(path, Params)
    except UserError as error:
        assert str(error)


@given(st.binary(max_size=300))
def test_any_bytes_as_a_table_are_told(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"path,reason\n" + content)
    try:
        table = tables.read(path, tables.LEFT_OUT)
    except UserError as error:
        assert "any.csv" in str(error)
    else:
        assert list(table) == ["path", "reason"]


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200)
GROUPS = [r"(?P<label>\w+)", "(?P<sample>.*)", "(?P<angle>.)", "(?P<split>)", "(?P<label>x)"]
PATTERNS = st.lists(st.sampled_from([*GROUPS, *"/.[(|?*\\"]), max_size=8).map("".join)


@given(st.lists(NAMES, min_size=1, max_size=4), PATTERNS)
def test_any_pattern_reads_names_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], pattern: str
) -> None:
    root = tmp_path_factory.mktemp("names")
    for name in names:
        (root / f"{name}.png").touch()
    try:
        found = finding.find_photos(root, pattern)
    except UserError as error:
        assert str(error).startswith("data.pa")
    else:
        assert set(found["path"]) <= {f"{name}.png" for name in names}
        assert (found["label"] != "").all()
        table = dict.fromkeys(found.columns, "str")
        tables.write(root / "t.csv", found, table)
        assert list(tables.read(root / "t.csv", table)["path"]) == list(found["path"])


@given(st.binary(max_size=400))
def test_any_bytes_as_a_photo_are_read_or_refused(tmp_path_factory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "photo.png").write_bytes(content)
    work = tmp_path_factory.mktemp("work")
    found = finding.find_photos(folder, r"(?P<label>p)(?P<sample>.*)\.png")
    (facts,) = decoding.decode(folder, found, 16, "crop", work)
    assert (facts.place == 0) != bool(facts.fault)


READERS: dict[str, tuple[str, Callable[[Path, str], Annotations]]] = {
    "coco": (
        json.dumps(boxed.coco(boxed.BOXES)),
        lambda root, name: coco.read(root, [name], ["a.png", "sub/b.png"]),
    ),
    "yolo": (
        boxed.yolo(boxed.BOXES["a"]),
        lambda root, name: yolo.read(root, [name], [], ["a.png"]),
    ),
    "voc": (boxed.voc(boxed.BOXES["a"]), lambda root, name: voc.read(root, [name], ["a.png"])),
    "data.yaml": (
        "names:\n  0: cat\n  1: dog\n",
        lambda root, name: yolo.read(root, [], [name], ["a.png"]),
    ),
    "classes.txt": ("cat\ndog\n", lambda root, name: yolo.read(root, [], [name], ["a.png"])),
}
WORDS = st.sampled_from(
    [
        *(
            "-1",
            "1e400",
            "NaN",
            "0 .5 .5 .5 .5\n",
            "99999999999999999999",
            "null",
            "true",
            '"a.png"',
        ),
        *("<object>", "</annotation>", "&a;", "<!DOCTYPE a>", "[[", "{}", "\\ud800", "*a", "&a "),
    ]
)


@pytest.mark.parametrize("form", READERS)
@given(st.integers(0, 900), st.integers(0, 30), st.lists(WORDS | st.binary(max_size=4), max_size=4))
def test_any_damage_to_annotations_is_told_with_the_file(
    tmp_path_factory: pytest.TempPathFactory, form: str, start: int, cut: int, pieces: list
) -> None:
    """Read or refused; what is read can be placed and looked at."""
    shipped, read = READERS[form]
    good, start = shipped.encode(), start % (len(shipped) + 1)
    put = b"".join(p if isinstance(p, bytes) else p.encode() for p in pieces)
    root = tmp_path_factory.getbasetemp()
    name = "a.txt" if form == "yolo" else "data.yaml" if form == "data.yaml" else "a.any"
    (root / name).write_bytes(good[:start] + put + good[start + cut :])
    try:
        found = read(root, name)
    except UserError as error:
        assert str(error).startswith(name) and ": " in str(error)
    else:
        facts = pd.DataFrame(
            [decoding.Facts(60, 40), decoding.Facts(40, 60, orientation=6)],
            ["a.png", "sub/b.png"],
            decoding.Facts._fields,
        )
        boxes = place(found, facts).boxes
        assert np.isfinite(boxes[["left", "top", "right", "bottom"]].to_numpy()).all()
        assert list(find_faults(boxes, found.classes).index) == list(boxes.index)
