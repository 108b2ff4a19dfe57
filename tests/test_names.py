"""Folders, labels and tables as people name and write them."""

import re
import unicodedata
from pathlib import Path

import pytest
from conftest import held_out, make_manifest

from shotcount.core.errors import UserError
from shotcount.photos.finding import ONE_A_SAMPLE, find_photos
from shotcount.photos.names import ready_made_splits
from shotcount.sampling.splits import split_samples

CAFE = "Café"
DECOMPOSED = unicodedata.normalize("NFD", CAFE)  # as macOS writes names


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def refused(root: Path, *given: str | None) -> str:
    with pytest.raises(UserError) as raised:
        find_photos(root, *given)
    return str(raised.value)


# ---- ready-made splits --------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "splits", "labels"),
    [
        (["Training/a/1.jpg", "Testing/b/2.jpg", "extra/c/3.jpg"], "Testing, Training", "b a"),
        (["TRAIN/a/1.jpg", "Validation/b/2.jpg"], "TRAIN, Validation", "a b"),
        (["train/a/x/1.jpg", "test/b/x/1.jpg", "README/1/1.jpg"], "test, train", "b a"),
        (["brain_train/a/1.jpg", "brain_test/b/2.jpg"], "brain_test, brain_train", "b a"),
        (
            ["my_train/my_train/a/1.jpg", "my_test/my_test/b/2.jpg"],
            "my_test, my_train",
            "b a",
        ),
        (["TrainSet/a/1.jpg", "ValidSet/b/1.jpg"], "TrainSet, ValidSet", "a b"),
        (["data/train/a/1.jpg", "data/valid/b/2.jpg"], "train, valid", "a b"),
        (["a/train/1.jpg", "a/test/2.jpg", "b/train/3.jpg"], "test, train", "a a b"),
    ],
)
def test_folders_named_as_splits_stop_the_run_with_a_pattern_that_reads_them(
    tmp_path: Path, paths: list[str], splits: str, labels: str
) -> None:
    touch(tmp_path, *paths)
    told = refused(tmp_path, None)
    assert f"data.pattern: the folders {splits} look like ready-made splits: set" in told
    found = find_photos(tmp_path, told.split("'")[1])
    assert list(found["label"]) == labels.split()
    assert set(found["given_split"]) == set(splits.split(", "))
    for part, name in re.findall(r"split\.(val|test): (\w+)", told):
        assert name in splits
        assert name.lower().replace("brain_", "").replace("my_", "").startswith(part)


def test_a_folder_in_a_split_with_its_name_is_told_by_most_of_its_photos() -> None:
    twice = [f"{part}/{part}/a/{n}.jpg" for part in ("train", "test") for n in range(3)]
    for paths, repeated in (
        ([*twice, "train/stray.jpg"], True),
        ([*twice, *(f"other/{n}.jpg" for n in range(9))], True),
        ([path.replace("train/train", "train/x") for path in twice], False),
    ):
        found = ready_made_splits(paths)
        assert found is not None
        assert (found.level, found.repeated, found.group) == (0, repeated, "(?P<split>test|train)/")


def test_photos_of_one_name_in_two_splits_are_two_samples(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "test/a/1.jpg", "test/b/1.jpg")
    found = find_photos(tmp_path, refused(tmp_path, None).split("'")[1])
    assert list(found["sample"]) == ["a/test/a/1", "b/test/b/1", "a/train/a/1"]
    assert list(found["given_split"]) == ["test", "test", "train"]


def test_a_pattern_that_reads_splits_as_classes_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "Train/1.jpg", "Test/2.jpg", "other/3.jpg")
    assert "Test, Train read as classes" in refused(tmp_path, ONE_A_SAMPLE)
    assert "no folder names a class: give the labels in data.table" in refused(tmp_path, None)


def test_one_class_may_be_named_as_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/1/1.jpg", "plane/1/1.jpg", "freight train/2/1.jpg")
    assert set(find_photos(tmp_path, None)["label"]) == {"train", "plane", "freight train"}


def test_classes_with_such_words_in_their_names_are_read_by_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "train station/1/1.jpg", "test tube/1/1.jpg")
    refused(tmp_path, None)
    pattern = r"(?P<label>[^/]+)/(?P<sample>[^/]+)/(?P<angle>\d+)"
    assert set(find_photos(tmp_path, pattern)["label"]) == {"train station", "test tube"}


def test_a_split_is_found_by_its_name_in_any_case_or_the_names_are_told() -> None:
    photos = make_manifest({"a": 10, "b": 10})
    photos["given_split"] = "Training"
    photos.loc[photos["sample"].isin(["a/3", "b/5"]), "given_split"] = "Testing"
    parts = split_samples(photos, held_out("testing"), 1)
    assert set(parts["test"]["sample"]) == {"a/3", "b/5"}
    with pytest.raises(UserError, match="reads 'holdout', but Testing, Training: give one of"):
        split_samples(photos, held_out("holdout"), 1)


# ---- labels and samples -------------------------------------------------------------


def test_names_are_normalised_and_trimmed(tmp_path: Path) -> None:
    touch(tmp_path, f"{DECOMPOSED}/\u00a0Nº 1 /1.jpg", "tea\u202f/2/1.jpg")
    found = find_photos(tmp_path, None)
    assert list(found["label"]) == [CAFE, "tea"]
    assert list(found["sample"]) == [f"{CAFE}/Nº 1", "tea/2"]
    assert all((tmp_path / path).exists() for path in found["path"])


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ("Plastic", "plastic", "'Plastic' and 'plastic'"),
        ("plastic", "plastic ", "'plastic' and 'plastic '"),
        ("sea glass", "sea\u00a0 Glass", r"'sea glass' and 'sea\xa0 Glass'"),
        (CAFE, DECOMPOSED, r"'Cafe\u0301' and 'Caf\xe9'"),
    ],
)
def test_labels_that_look_alike_are_named(tmp_path: Path, one: str, other: str, shown: str) -> None:
    touch(tmp_path, f"{one}/1/1.jpg", f"{other}/2/1.jpg", "wood/3/1.jpg")
    told = refused(tmp_path, None)
    names = shown.split(" and ")
    assert all(name in told for name in names)
    assert "wood" not in told
    assert told.startswith("data.path: ")
    assert "classes that differ only by case, blanks or Unicode form: write each in one" in told


def test_samples_are_never_merged_by_trimming(tmp_path: Path) -> None:
    touch(tmp_path, "a/7/1.jpg", "a/7 /2.jpg", "b/A/1.jpg", "b/a/2.jpg")
    told = refused(tmp_path, None)
    assert "'a/7' and 'a/7 ' are read as samples that differ only by blanks" in told
    assert "b/A" not in told  # of another case: two samples


def test_labels_of_a_table_that_look_alike_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "t.csv").write_text("path,label,sample\n1.jpg,PET,1\n2.jpg,Pet,2\n", "utf-8")
    assert refused(tmp_path, None, "t.csv").startswith("data.table: 'PET' and 'Pet' are read as")


# ---- tables -------------------------------------------------------------------------


def read(root: Path, content: bytes) -> dict[str, str]:
    """The sample of each photo, by a table of this content."""
    (root / "t.csv").write_bytes(content)
    found = find_photos(root, None, "t.csv")
    return dict(zip(found["path"], found["sample"], strict=True))


PLAIN = "path,label,sample\na/é.jpg,PET,7\na/2.jpg,glass,NA\n"
TABLES = {
    "plain": PLAIN.encode(),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "blanks": PLAIN.replace(",", " , ").encode(),
    "UTF-8 with a mark": PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.replace(",", "\t").encode("utf-16"),
    "UTF-16, big-endian": "\ufeff".encode("utf-16-be") + PLAIN.encode("utf-16-be"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "a code page": PLAIN.encode("cp1252"),
    "macOS": PLAIN.encode("mac_roman"),
    "headers in capitals": PLAIN.replace("path,label", "PATH, Label").encode(),
    "Windows' line ends and empty rows": (PLAIN.replace("\n", ",\r\n") + ",,,\r\n").encode(),
    "backslashes": PLAIN.replace("a/", ".\\a\\").encode(),
    "Excel's separator": f"sep=;\r\n{PLAIN.replace(',', ';')}".encode(),
    "quotes": PLAIN.replace("PET", '"PET"').encode(),
    "decomposed": unicodedata.normalize("NFD", PLAIN).encode(),
    "further columns": PLAIN.replace("sample\n", "sample,Notiz,price\n")
    .replace("7\n", '7,"ß; x",1\n')
    .encode("cp1252"),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_tables_are_read_as_spreadsheets_write_them(tmp_path: Path, kind: str, form: str) -> None:
    name = unicodedata.normalize(form, "a/é.jpg")
    touch(tmp_path, name, "a/2.jpg")
    assert read(tmp_path, TABLES[kind]) == {"a/2.jpg": "glass/NA", name: "PET/7"}


def test_a_cyrillic_table_is_told_by_the_names_of_the_photos(tmp_path: Path) -> None:
    touch(tmp_path, "стекло/1.jpg")
    content = "path;label;sample\nстекло/1.jpg;стекло;1\n".encode("cp1251")
    assert read(tmp_path, content) == {"стекло/1.jpg": "стекло/1"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "path,label,sample\n1.jpg,Müll,1\n".encode("cp1252"),
            r"not in UTF-8, and line 2 may read '1\.jpg,Müll,1' \(cp1252\) or .*'CSV UTF-8'",
        ),
        (b"PK\x03\x04" + bytes(30), "t.csv is a workbook, not a CSV file: save it as 'CSV UTF-8'"),
        (b"path,label,sample\n1.jpg,a,b,1\n", "line 2 has 4 values, but there are 3 columns: put"),
        (b'path,label,sample\n1.jpg,"a,1\n', "not a readable CSV file: line 2: unexpected end"),
        (b"path,label,Label\n1.jpg,a,1\n", "has two columns named label: rename one"),
        (b"path:label:sample\n", "has the columns path:label:sample: it needs path"),
        (b"path,label,sample\n1.JPG,a,1\n", r"below .*, 1\.JPG first \(there is 1\.jpg: write it"),
        ("path,label\n".encode("utf-16")[:-1], "not a readable CSV file: .*utf-16.*: save it as"),
    ],
)
def test_a_table_that_leaves_a_doubt_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    touch(tmp_path, "1.jpg")
    (tmp_path / "t.csv").write_bytes(content)
    told = refused(tmp_path, None, "t.csv")
    assert re.search(message, told), told
    assert "\n" not in told


def test_a_table_of_samples_finds_them_in_any_normal_form(tmp_path: Path) -> None:
    touch(tmp_path, f"{DECOMPOSED}-1.jpg")
    (tmp_path / "t.csv").write_text(f"Sample;Label\n{CAFE} ;drink\n", "utf-8")
    found = find_photos(tmp_path, r"(?P<sample>.+)-(?P<angle>\d)", "t.csv")
    assert list(found["sample"]) == [f"drink/{CAFE}"]
