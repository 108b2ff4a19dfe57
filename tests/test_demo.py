"""The demo collection: the same bytes for the same seed, whatever happened on the way."""

import multiprocessing
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shotcount.core.errors import UserError
from shotcount.demo.finds import KINDS
from shotcount.demo.rendering import render_collection, render_photo

TOY: dict[str, Any] = {"angles": 2, "size": 32, "seed": 7}


def photos_in(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file under `folder`, by its path there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "collection"
    render_collection(folder, samples=4, **TOY, workers=2)
    return folder


def test_half_the_samples_are_of_each_class_and_each_has_every_angle(collection: Path) -> None:
    expected = {f"{c}/{s:03d}/{a:02d}.jpg" for c in KINDS for s in range(2) for a in range(2)}
    assert set(photos_in(collection)) == expected
    for path in collection.rglob("*.jpg"):
        with Image.open(path) as photo:
            assert (photo.size, photo.mode, photo.format) == ((32, 32), "RGB", "JPEG")


def test_the_number_of_workers_and_of_samples_changes_no_photo(
    collection: Path, tmp_path: Path
) -> None:
    render_collection(tmp_path, samples=2, **TOY, workers=1)
    fewer = photos_in(tmp_path)
    assert len(fewer) == 4
    assert fewer.items() <= photos_in(collection).items()


def test_a_killed_worker_is_told(tmp_path: Path) -> None:
    def kill() -> None:
        while not (workers := multiprocessing.active_children()):
            time.sleep(0.01)
        workers[0].kill()

    threading.Thread(target=kill).start()
    with pytest.raises(UserError, match="a rendering process was killed, .*: run again"):
        render_collection(tmp_path, samples=4, **TOY, workers=1)


def test_an_interrupted_rendering_goes_on_where_it_stopped(
    collection: Path, tmp_path: Path
) -> None:
    whole = photos_in(collection)
    missing = ["natural/001/01.jpg", "plastic/000/00.jpg"]
    for name, content in whole.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in missing:
        (tmp_path / name).unlink()
        (tmp_path / name).with_name(f".{name[-6:-4]}.part.jpg").write_bytes(whole[name][:100])
    kept = {name: (tmp_path / name).stat().st_mtime_ns for name in whole if name not in missing}

    render_collection(tmp_path, samples=4, **TOY, workers=1)

    assert photos_in(tmp_path) == whole
    assert kept == {name: (tmp_path / name).stat().st_mtime_ns for name in kept}


def test_a_photo_depends_on_no_photo_rendered_before_it() -> None:
    alone = render_photo("plastic", 1, 1, **TOY)
    render_photo("plastic", 1, 0, **TOY)
    render_photo("natural", 1, 0, **TOY)
    assert np.array_equal(render_photo("plastic", 1, 1, **TOY), alone)


@pytest.mark.parametrize(
    "other",
    [{"label": "natural"}, {"sample": 1}, {"angle": 1}, {"seed": 8}],
    ids=["class", "sample", "angle", "seed"],
)
def test_class_sample_angle_and_seed_each_change_the_photo(other: dict[str, Any]) -> None:
    key: dict[str, Any] = {"label": "plastic", "sample": 0, "angle": 0, **TOY}
    photo, changed = render_photo(**key), render_photo(**key | other)
    assert photo.shape == changed.shape == (32, 32, 3)
    assert photo.dtype == np.uint8
    # Far more than the noise of other rays through the same scene.
    assert np.abs(photo.astype(int) - changed).mean() > 5


@pytest.mark.parametrize("label", KINDS)
def test_photos_are_neither_black_nor_burnt_out(label: str) -> None:
    for sample in range(12):  # enough to meet every kind of find
        photo = render_photo(label, sample, 0, angles=1, size=16, seed=0)
        assert 30 < photo.mean() < 225
        assert photo.std() > 5


def test_the_renderer_is_imported_only_to_render() -> None:
    check = "import sys, shotcount.demo.rendering; sys.exit('mitsuba' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
