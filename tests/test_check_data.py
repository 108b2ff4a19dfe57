"""What check-data says about a collection before the study."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import make_collection
from PIL import Image

from shotcount.commands.check_data import survey
from shotcount.commands.listing import parts_of_split
from shotcount.core.errors import UserError
from shotcount.params import Params


@pytest.fixture
def params(params_text: str, tmp_path: Path) -> Any:
    content = yaml.safe_load(params_text)
    content["data"] |= {"path": str(tmp_path), "size": 32}
    content["study"] |= {"angles": [1, 4], "samples": [1.0]}
    content["study"]["frozen_grid"] = {"samples": [0.5], "angles": [1]}
    return content


def told(params: Any) -> tuple[str, list[str]]:
    lines, problems = survey(Params.model_validate(params))
    return "\n".join(lines), problems


def patterned(path: Path, seed: int) -> Image.Image:
    """A photo with large shapes, which a perceptual hash tells apart."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8))
    image = shapes.resize((96, 96), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return image


def test_a_sound_collection_is_counted_and_has_no_problems(params: Any, tmp_path: Path) -> None:
    make_collection(tmp_path)
    text, problems = told(params)
    assert problems == []
    assert "96 photos in 2 classes, 24 samples, photos of each: 4" in text
    assert "blue/00/0.png → class blue, sample 00, angle 0" in text
    assert "  red: 12, 48, 4" in text
    assert "sizes: 40 × 36 px (96)" in text
    assert re.search(r"test: 6 samples \(blue 3, red 3\), 24 photos", text)


def test_of_many_classes_a_part_of_the_split_shows_the_first() -> None:
    rows = [{"seed": 0, "label": f"class {n:03d}", "sample": f"s{n}"} for n in range(300)]
    (line,) = parts_of_split({"test": pd.DataFrame(rows)})[2:]
    assert line.startswith("  test: 300 samples (class 000 1, class 001 1, ")
    assert line.endswith("class 004 1 and 295 more), 300 photos")


def test_what_would_stop_the_study_is_all_told_at_once(params: Any, tmp_path: Path) -> None:
    make_collection(tmp_path, angles=2)
    (tmp_path / "blue/00/0.png").write_bytes(b"no photo")
    params["study"]["samples"] = [1.0, 99]
    text, problems = told(params)
    assert "left out: blue/00/0.png: no image that Pillow can read" in text
    assert "1 photos can't be used" in problems[0]
    assert "study.angles: 4 angles asked" in problems[1]
    assert "study.samples: 99 means 99" in problems[1]


def test_photos_that_need_a_look_are_named(params: Any, tmp_path: Path) -> None:
    for n in range(8):
        for label in ("a", "b"):
            patterned(tmp_path / label / str(n) / "0.png", seed=2 * n + (label == "b"))
    twin = patterned(tmp_path / "a/0/0.png", seed=0)
    (tmp_path / "a/7/0.png").unlink()
    twin.save(tmp_path / "a/7/0.jpg")  # no copy, but the same to the eye
    Image.new("RGB", (96, 96), (3, 3, 3)).save(tmp_path / "b/3/0.png")
    (tmp_path / "elsewhere.png").write_bytes((tmp_path / "b/1/0.png").read_bytes())
    params["study"]["angles"] = [1]
    text, problems = told(params)
    assert problems == []
    assert "look alike, or one photographed twice: a/0/0.png ~ a/7/0.jpg\n" in text
    assert "very dark: b/3/0.png" in text
    assert "not part of the collection: elsewhere.png" in text


def test_angles_of_one_sample_may_look_alike(params: Any, tmp_path: Path) -> None:
    make_collection(tmp_path)
    for path in sorted(tmp_path.rglob("*.png")):
        sample = sum(path.parent.as_posix().encode())
        patterned(path, seed=sample).resize((90 + int(path.stem), 90)).save(path)
    assert "look alike" not in told(params)[0]


MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"]


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_of_pillow_ends_in_a_traceback(params: Any, tmp_path: Path, mode: str) -> None:
    make_collection(tmp_path, samples=8)
    photo = patterned(tmp_path / "red/00/0.png", seed=0)
    (tmp_path / "red/00/0.png").unlink()
    if mode == "LAB":
        photo = Image.frombytes("LAB", (96, 96), photo.tobytes())
    elif mode == "I;16":
        photo = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    else:
        photo = photo.convert("P").convert("PA") if mode == "PA" else photo.convert(mode)
    photo.save(tmp_path / "red/00/0.tif")
    text, problems = told(params)
    refused = mode in ("I", "F")
    assert ("left out: red/00/0.tif: 32 bits a pixel" in text) == refused
    assert len(problems) == refused


def test_files_that_are_no_photos_are_counted(params: Any, tmp_path: Path) -> None:
    make_collection(tmp_path)
    (tmp_path / "red/00/film.mov").touch()
    (tmp_path / "red/00/0.xmp").touch()
    text, problems = told(params)
    assert "left out: 1 files of kinds that aren't photos: 1 .mov" in text
    assert problems == []


def test_a_folder_that_cannot_be_read_is_refused(params: Any) -> None:
    params["data"]["path"] = "nowhere"
    with pytest.raises(UserError, match="nowhere is not a folder"):
        told(params)
