"""What shotcount init proposes for a folder of photos."""

import os
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, make_collection, make_manifest, make_photo

from shotcount.cli import main
from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.params import Params
from shotcount.photos.finding import LAYOUT, ONE_A_SAMPLE, find_photos
from shotcount.proposal import boxes, command, measuring, writing
from shotcount.proposal.minutes import Amounts, Speed, estimate, size_in_time
from shotcount.proposal.reading import Reading, rank_layouts, read_folder
from shotcount.proposal.sizes import fit_sizes
from shotcount.sampling.sizes import check_sizes
from shotcount.sampling.splits import split_samples

COLLECTIONS = Path(os.environ.get("SHOTCOUNT_TEST_PHOTOS", ROOT.parent / "shared" / "data"))
CLASSES = ("natural", "plastic")
QUIET = Speed(step=0.037, photo=0.00032)  # of one quiet core, at 32 px


@pytest.fixture
def params() -> Params:
    return load_params(ROOT / "params.yaml", Params)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params_text: str) -> Path:
    """A folder with the shipped params.yaml, on a machine whose speed is known."""
    (tmp_path / "params.yaml").write_text(params_text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "measure", lambda params, px, boxes: QUIET)
    return tmp_path


def read(reading: Reading) -> list[tuple[str, int]]:
    """The classes, and the samples of each."""
    return list(reading.photos.groupby("label")["sample"].nunique().items())


def two(form: str, samples: int = 12, angles: int = 4) -> list[str]:
    """Paths of two classes."""
    return [
        form.format(c=label, s=sample, a=angle)
        for label in CLASSES
        for sample in range(samples)
        for angle in range(angles)
    ]


# ---- layouts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "samples", "angles"),
    [
        (two("{c}/{s:03}/{a}.jpg"), 12, 4),
        (two("{c}/IMG_{s:04}.jpg", angles=1), 12, 1),
        (two("{c}/{c}{s}.jpg", angles=1), 12, 1),
        (two("{c}/{c} ({s}).jpg", angles=1), 12, 1),
        (two("{c}/stone{s:02}_{a}.jpg"), 12, 4),
        (two("{c}/find_{s:02}-{a}.jpg"), 12, 4),
        (two("{c}/stone {s:02} ({a}).jpg"), 12, 4),
        (two("{c}/{s}-0{a}-045.jpg"), 12, 4),
        (two("{c}{s}-{a:03}-045.jpg"), 12, 4),
        (two("1/{s}/{c}{s}-{a:03}-045.jpg"), 12, 4),
        (two("obj{s}_{c}_{a:02}.png"), 12, 4),
        (two("{c}_{s:02}.png", angles=1), 12, 1),
        (two("{c}_{s:02}/{a}.png"), 12, 4),
        (two("beach/{c}_{s}/{a}.png") + two("harbour/{c}_9{s}/{a}.png"), 24, 4),
        (two("{c}/{c}_{s:02}_{a}_0{s}.png"), 12, 4),
        (two("day1/{c}_{s}_{a}.png") + two("day2/{c}_9{s}_{a}.png"), 24, 4),
        (two("photos/{c}/{s:03}/{a}.jpg"), 12, 4),
        (two("beach/{c}/{s:03}/{a}.jpg") + two("harbour/{c}/{s:03}/{a}.jpg"), 24, 4),
        (two("beach/{c}/{s}.jpg", angles=1) + two("harbour/{c}/{s}.jpg", angles=1), 24, 1),
        ([*two("{c}/{s:03}/{a}.jpg"), "notes/map.jpg", "whiteboard.jpg"], 12, 4),
    ],
)
def test_class_sample_and_angle_are_read_as_people_mean_them(
    paths: list[str], samples: int, angles: int
) -> None:
    best = rank_layouts(sorted(paths))[0]
    assert read(best) == [(label, samples) for label in CLASSES]
    assert set(best.photos.groupby("sample").size()) == {angles}


def test_the_default_layout_needs_no_pattern() -> None:
    assert rank_layouts(two("{c}/{s}/{a}.jpg"))[0].pattern is None
    assert rank_layouts(two("{c}/{s}.jpg", angles=1))[0].pattern == ONE_A_SAMPLE
    assert LAYOUT not in [reading.pattern for reading in rank_layouts(two("{c}/{s}/{a}.jpg"))]


def test_classes_in_names_are_preferred_to_numbered_folders() -> None:
    paths = [
        f"{folder}/{sample}/{label}{sample}-{angle:03}-000.png"
        for folder, label in ((1, "apple"), (3, "cow"), (3, "cup"))
        for sample in range(1, 11)
        for angle in (0, 45, 90)
    ]
    assert read(rank_layouts(paths)[0]) == [("apple", 10), ("cow", 10), ("cup", 10)]


def test_numbered_folders_are_classes_where_nothing_else_says_the_class() -> None:
    paths = [f"{label}/{sample}.jpg" for label in "123" for sample in range(9)]
    assert read(rank_layouts(paths)[0]) == [("1", 9), ("2", 9), ("3", 9)]


def test_dates_are_not_taken_for_angles() -> None:
    rng = np.random.default_rng(0)
    times = rng.choice(86400, 60, replace=False)
    paths = [f"{CLASSES[n % 2]}/IMG_2024050{n % 5}_{time:06}.jpg" for n, time in enumerate(times)]
    assert read(rank_layouts(sorted(paths))[0]) == [("natural", 30), ("plastic", 30)]


def test_other_layouts_that_fit_are_listed_with_what_they_mean() -> None:
    first, second = rank_layouts(two("{c}/{s:02}_{a}.jpg"))
    assert (first.photos["sample"].nunique(), second.photos["sample"].nunique()) == (24, 96)


def parts(**counts: int) -> list[str]:
    return [
        f"{part}/{label}/{sample:04}.jpg"
        for part, count in counts.items()
        for label in CLASSES
        for sample in range(count)
    ]


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (parts(train=50, val=40), {"val": 0.1, "test": "val"}),
        (parts(train=50, val=20), {}),  # too few to test on
        (parts(train=50, valid=9, test=9), {"val": "valid", "test": "test"}),
        (parts(train=50, test=9), {"val": 0.1, "test": "test"}),
        ([f"{p.split('/')[1]}/{p.split('/')[0]}/{p[-8:]}" for p in parts(train=50, test=9)],
         {"val": 0.1, "test": "test"}),
    ],
)  # fmt: skip
def test_ready_made_splits_are_used_where_they_can_test(
    paths: list[str], splits: dict[str, Any]
) -> None:
    best, other = rank_layouts(sorted(paths))
    assert dict(best.splits) == splits
    assert bool(other.splits) != bool(splits)
    assert {label for label, _ in read(best)} == {label for label, _ in read(other)} == {*CLASSES}


def touch(root: Path, paths: Iterable[str]) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


@pytest.mark.parametrize(
    ("rows", "form", "samples"),
    [
        (["path,label,sample,angle"] + [f"IMG_{n}.jpg,{CLASSES[n % 2]},{n // 4},{n % 4 // 2}"
          for n in range(48)], "IMG_{}.jpg", 12),
        (["sample,label"] + [f"{n},{CLASSES[n % 2]}" for n in range(12)], "obj{}__{}.jpg", 6),
        (["path,label"] + [f"IMG_{n}.jpg,{CLASSES[n % 2]}" for n in range(48)], "IMG_{}.jpg", 24),
    ],
)  # fmt: skip
def test_a_table_of_labels_is_found(
    tmp_path: Path, rows: list[str], form: str, samples: int
) -> None:
    several = "__" in form
    numbers = range(12 if several else 48)
    touch(tmp_path, [form.format(n, a) for n in numbers for a in range(3 if several else 1)])
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    best = read_folder(tmp_path)[0]
    assert best.table == "labels.csv"
    assert read(best) == [(label, samples) for label in CLASSES]


@pytest.mark.parametrize("paths", [["1.jpg", "2.jpg"], two("one/{s}/{a}.jpg"), two("{c}.jpg")])
def test_photos_that_no_layout_reads_are_an_error_with_an_example(
    tmp_path: Path, paths: list[str]
) -> None:
    with pytest.raises(UserError, match=r"for example .*\.jpg: sort them as .* data\.pattern"):
        read_folder(touch(tmp_path, paths))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no photos below"):
        read_folder(tmp_path)


# ---- real collections ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected", "splits"),
    [
        ("eth80", {"apple": 10, "cow": 10, "horse": 10, "tomato": 10}, {}),
        ("hymenoptera_data", {"ants": 192, "bees": 204}, {"val": 0.1, "test": "val"}),
        ("trashnet3", {"glass": 501, "metal": 410, "plastic": 482}, {}),
    ],
)
def test_real_collections_are_read_without_a_correction(
    name: str, expected: dict[str, int], splits: dict[str, Any]
) -> None:
    root = COLLECTIONS / name
    if not root.is_dir():
        pytest.skip(f"{root} is not on this machine")
    best = read_folder(root)[0]
    assert dict(read(best)) == expected
    assert dict(best.splits) == splits
    found = find_photos(root, best.pattern, best.table)
    assert set(found["sample"]) == set(best.photos["sample"])


def test_real_boxes_are_read_without_a_correction(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = COLLECTIONS / "bccd"
    if not root.is_dir():
        pytest.skip(f"{root} is not on this machine")
    assert main(["init", str(root), "--yes"]) == 0
    made = load_params(project / "params.yaml", Params)
    assert (made.data.pattern, made.split.folds, made.train.scratch.batch_size) == (None, 3, 8)
    assert made.data.size == 256
    assert "a study of boxes" in capsys.readouterr().out


# ---- sizes --------------------------------------------------------------------------


def fitted(photos: pd.DataFrame, params: Params, text: str) -> Params:
    """The study of a collection, which has passed the checks of split and subsample."""
    changes, own = fit_sizes(photos, {}, params)
    made = writing.load_text(writing.edit(text, changes))
    check_sizes(own["train"], made.study)
    return made


def test_the_shipped_sizes_are_those_of_the_demo(params: Params, params_text: str) -> None:
    photos = make_manifest({"natural": 120, "plastic": 120}, angles=10)
    changes, _ = fit_sizes(photos, {}, params)
    more = {  # the demo has fewer, to end sooner
        "split.folds": 5, "study.draws": 10,
        "train.scratch.seeds": 5, "train.frozen.seeds": 10, "train.finetune.seeds": 5,
    }  # fmt: skip
    assert changes.items() >= more.items()
    others = {key: value for key, value in changes.items() if key not in more}
    assert writing.load_text(writing.edit(params_text, others)) == params


def test_with_one_angle_the_study_has_several_sizes_of_samples(
    params: Params, params_text: str
) -> None:
    made = fitted(make_manifest({"a": 60, "b": 60}, angles=1), params, params_text)
    assert made.study.samples == [1.0, 0.5, 0.25, 0.125]
    assert made.study.angles == made.study.frozen_grid.angles == [1]
    assert {*made.study.samples} < {*made.study.frozen_grid.samples}


@pytest.mark.parametrize("samples", [3, 4, 5, 6, 9, 12, 15])
@pytest.mark.parametrize("angles", [1, 2, 3, 7, 41])
def test_sizes_of_small_classes_can_be_filled(
    params: Params, params_text: str, samples: int, angles: int
) -> None:
    photos = make_manifest({"a": samples, "b": samples + 3, "c": samples}, angles)
    made = fitted(photos, params, params_text)
    assert made.split.folds == min(samples, 5)
    assert made.study.angles[0] == angles


def test_uneven_angles_give_no_size_that_only_few_samples_have(
    params: Params, params_text: str
) -> None:
    many, few = make_manifest({"a": 3, "b": 3}, 30), make_manifest({"a": 20, "b": 20}, 6)
    few["sample"] += "x"
    made = fitted(pd.concat([many, few], ignore_index=True), params, params_text)
    assert made.study.angles == [6, 2, 1]
    assert max(made.study.frozen_grid.angles) == 6


def test_a_class_of_two_samples_is_an_error(params: Params) -> None:
    with pytest.raises(UserError, match=r"class 'b' is in 2 sample\(s\), fewer than the 3 folds"):
        fit_sizes(make_manifest({"a": 9, "b": 2}), {}, params)


# ---- minutes ------------------------------------------------------------------------


def amounts_of(photos: pd.DataFrame, params: Params) -> Amounts:
    return Amounts.of(split_samples(photos, params.split, params.study.draws))


def test_the_default_study_is_estimated_within_half_of_what_it_takes(params: Params) -> None:
    photos = make_manifest({"natural": 120, "plastic": 120}, angles=10)
    minutes = estimate(params, amounts_of(photos, params), QUIET, at_once=2)
    assert 14 / 1.5 < sum(minutes.values()) < 14 * 1.5
    assert minutes["scratch"] > minutes["finetune"] > minutes["frozen"]


def test_the_rendered_scenes_are_estimated_within_half_of_what_they_take() -> None:
    params = load_params(ROOT / "studies" / "detect.yaml", Params)
    photos = make_manifest({"natural": 80, "plastic": 80}, angles=3)
    quiet = Speed(step=0.152, photo=0.0059, head=0.028)  # of one quiet core, at 128 px
    minutes = estimate(params, amounts_of(photos, params), quiet, at_once=2, boxes=True)
    assert 47 / 1.5 < sum(minutes.values()) < 47 * 1.5


def test_a_faster_machine_and_more_networks_at_a_time_take_less(params: Params) -> None:
    own = amounts_of(make_manifest({"a": 50, "b": 50}), params)
    fast = Speed(QUIET.step / 10, QUIET.photo / 10)
    for speed, at_once in ((fast, 2), (QUIET, 5)):
        quicker = estimate(params, own, speed, at_once)
        assert sum(quicker.values()) < sum(estimate(params, own, QUIET, 2).values())


def test_the_size_is_the_largest_that_takes_an_acceptable_time() -> None:
    assert size_in_time(500, lambda px: px / 2.5) == 128
    assert size_in_time(100, lambda px: px / 3) == 96
    assert size_in_time(500, lambda px: 1000) == 40
    assert size_in_time(32, lambda px: 1) == 32


def test_speed_is_measured(params: Params) -> None:
    for detects in (False, True):
        speed = measuring.measure(params, 40, detects)
        assert 0 < speed.photo < speed.step < 10
        assert (speed.head > 0) == detects


# ---- params.yaml --------------------------------------------------------------------


def test_an_edit_changes_values_and_nothing_else(params_text: str) -> None:
    assert writing.edit(params_text, {"data.size": 32, "split.test": None}) == params_text
    changes = {"data.pattern": r"^(?P<label>it's)\.\w+$", "study.frozen_grid.angles": [1, 2]}
    edited = writing.edit(params_text, changes | {"split.test": "val", "split.folds": None})
    assert writing.load_text(edited).data.pattern == changes["data.pattern"]
    old, new = params_text.splitlines(), edited.splitlines()
    assert len(old) == len(new)
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert len(changed) == 4
    assert all(a.partition("#")[2] == b.partition("#")[2] for a, b in changed)


@pytest.mark.parametrize(
    "text",
    ["a:\n  b:\n    - 1\n    - 2\n  c: 3\n", "a: {b: [5], c: 3}  # d\n", "a:\n  b:\n  c: 3\n"],
)
def test_an_edit_finds_values_however_they_are_laid_out(text: str) -> None:
    edited = writing.edit(text, {"a.b": [1, 0.5]})
    assert yaml.safe_load(edited) == {"a": {"b": [1, 0.5], "c": 3}}
    assert edited.count("#") == text.count("#")


def test_settings_of_boxes_and_of_classes_take_turns(params_text: str, params: Params) -> None:
    detect = writing.edit(params_text, boxes.task_settings(params, boxes=True))
    assert writing.load_text(detect).train.scratch.batch_size == 8
    back = boxes.task_settings(writing.load_text(detect), boxes=False)
    assert writing.edit(detect, back) == params_text
    own = writing.load_text(writing.edit(params_text, {"train.scratch.batch_size": 16}))
    assert "train.scratch.batch_size" not in boxes.task_settings(own, boxes=True)


# ---- the command --------------------------------------------------------------------


def test_nothing_is_written_without_yes(
    project: Path, params_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_collection(project / "photos")
    assert main(["init", "photos"]) == 0
    told = capsys.readouterr().out
    assert "96 photos, 2 classes (blue, red), 24 samples, 4 photos of each" in told
    assert "blue/00/0.png → class blue, sample 00, angle 0" in told
    assert "-  angles: [10, 3, 1]" in told and "+  angles: [4, 2, 1]" in told
    assert told.endswith("To write params.yaml: shotcount init photos --yes\n")
    assert (project / "params.yaml").read_text(encoding="utf-8") == params_text


def test_yes_writes_a_study_that_can_be_made(
    project: Path, params_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_collection(project / "photos")
    assert main(["init", "photos", "--yes"]) == 0
    assert "Next: make check-data, then make study" in capsys.readouterr().out
    made = load_params(project / "params.yaml", Params)
    assert (made.data.path, made.data.pattern, made.data.size) == ("photos", None, 36)
    found = find_photos(project / "photos", made.data.pattern, made.data.table)
    check_sizes(split_samples(found, made.split, made.study.draws)["train"], made.study)
    text = (project / "params.yaml").read_text(encoding="utf-8")
    assert text.count("#") == params_text.count("#")
    assert main(["init", "photos"]) == 0
    assert "params.yaml has all this." in capsys.readouterr().out


def test_another_layout_and_another_size_can_be_taken(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for path in two("{c}/{s:02}_{a}.png", samples=5, angles=2):
        make_photo(project / "my photos" / path, rng, 0.5, (48, 40))
    given = ["init", "my photos", "--layout", "2", "--px", "32", "--device", "cpu"]
    assert main(given) == 0
    shown = "shotcount init 'my photos' --layout 2 --px 32 --device cpu --yes"
    assert shown in capsys.readouterr().out
    assert main([*given, "--yes"]) == 0
    made = load_params(project / "params.yaml", Params)
    assert (made.data.pattern, made.data.size, made.device) == (ONE_A_SAMPLE, 32, "cpu")
    assert main(["init", "my photos", "--layout", "7"]) == 2
    assert "--layout 7: there are 2 layouts that fit" in capsys.readouterr().err


def test_on_a_gpu_photos_have_the_size_of_the_pretrained_weights(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_collection(project / "photos", angles=1)
    monkeypatch.setattr(command, "pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(command, "describe", lambda device: "a GPU")
    assert main(["init", "photos", "--yes"]) == 0
    assert load_params(project / "params.yaml", Params).data.size == "auto"


def test_boxes_among_the_photos_make_a_study_of_boxes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for scene in range(12):
        for view in range(3):
            path = project / f"photos/images/beach{scene:02}_{view}.png"
            make_photo(path, rng, 0.5, (128, 96))
            label = project / f"photos/labels/beach{scene:02}_{view}.txt"
            label.parent.mkdir(exist_ok=True)
            label.write_text(f"{scene % 2} 0.5 0.5 0.25 0.25\n", encoding="utf-8")
    (project / "photos/classes.txt").write_text("blue\nred\n", encoding="utf-8")
    assert main(["init", "photos", "--yes"]) == 0
    told = capsys.readouterr().out
    assert "36 photos with 36 boxes" in told and "12 scenes: a study of boxes" in told
    made = load_params(project / "params.yaml", Params)
    assert made.data.pattern == boxes.VIEWS
    assert made.data.size == 64
    assert (made.split.folds, made.study.draws, made.train.frozen.seeds) == (3, 3, 3)
    assert made.study.angles == [3, 2, 1]
    assert main(["init", "photos", "--layout", "2"]) == 2


def test_photos_that_cannot_be_read_are_an_error(project: Path) -> None:
    touch(project / "photos", two("{c}/{s}/{a}.jpg"))
    with pytest.raises(UserError, match="can't be read as photos"):
        command.run(Namespace(folder=Path("photos"), layout=None, px=None, device=None, yes=False))
