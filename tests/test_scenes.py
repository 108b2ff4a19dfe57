"""Rendered scenes: boxes round what is visible, the same bytes for the same seed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shotcount.boxes import coco
from shotcount.demo.camera import View
from shotcount.demo.finds import KINDS
from shotcount.demo.scene import make_mesh, mitsuba, unit_sphere
from shotcount.scenes.beach import Beach, build_beach
from shotcount.scenes.collection import as_coco, render_scenes
from shotcount.scenes.views import Seen, finds_seen, render_view

TOY: dict[str, Any] = {"samples": 3, "angles": 2, "size": 64, "seed": 0}
ABOVE = View(np.zeros(3), 0, 89.9, 20, 35)  # looks down at the whole of it


def files_in(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    render_scenes(work, **TOY, workers=2)
    return work


def balls(*places: tuple[float, float, float, float]) -> Beach:
    """A beach of balls, each given by its centre and radius."""
    points, faces = unit_sphere(4)
    finds = {
        f"find{n}": make_mesh(points * radius + place, faces, np.ones_like(points), 0.5)
        for n, (*place, radius) in enumerate(places)
    }
    load = mitsuba().load_dict
    return Beach(
        load({"type": "scene", **finds}),
        tuple("natural" for _ in finds),
        tuple(load({"type": "scene", name: find}) for name, find in finds.items()),
    )


# ---- boxes --------------------------------------------------------------------------


def test_a_box_is_as_large_as_perspective_makes_its_find() -> None:
    (ball,) = finds_seen(balls((0, 0, 0, 1)), ABOVE, 100)
    # The rim of the ball, seen from 20 radii away.
    radius = 50 * np.tan(np.arcsin(1 / 20)) / np.tan(np.radians(ABOVE.field_of_view / 2))
    expected = [50 - radius, 50 - radius, 50 + radius, 50 + radius]
    assert ball[1:5] == pytest.approx(expected, abs=1)
    assert ball.area == pytest.approx(np.pi * radius**2, rel=0.03)


def test_a_box_holds_the_visible_part_alone() -> None:
    lower = (0.0, 0.0, 0.0, 1.0)
    (alone,) = finds_seen(balls(lower), ABOVE, 100)
    # As seen from above, the second covers more than half of the first: one side of it.
    hidden, _ = finds_seen(balls(lower, (0, 1, 2, 1.2)), ABOVE, 100)
    assert 0.2 * alone.area < hidden.area < 0.5 * alone.area
    sides = [
        (hidden.left - alone.left, hidden.right - alone.right),
        (hidden.top - alone.top, hidden.bottom - alone.bottom),
    ]
    moved = [side for pair in sides for side in pair if side]
    assert len(moved) == 1, "one side gives way"
    assert abs(moved[0]) >= 3


def test_a_find_that_is_hidden_but_for_less_than_a_fifth_has_no_box() -> None:
    upper = (0.0, 0.0, 3.0, 1.5)
    for aside, boxes in ((0.0, 1), (0.9, 1), (1.6, 2)):
        assert len(finds_seen(balls((0, aside, 0, 1), upper), ABOVE, 100)) == boxes, aside


def test_a_find_that_the_frame_cuts_has_a_box_up_to_the_edge_or_none() -> None:
    edge = 20 * np.tan(np.radians(ABOVE.field_of_view / 2))
    whole, half, cut = (
        finds_seen(balls((0, edge + beyond, 0, 1)), ABOVE, 200) for beyond in (-1.5, 0, 0.8)
    )
    (box,) = half
    assert 0 in box[1:5] or 200 in box[1:5]
    assert box.area == pytest.approx(whole[0].area / 2, rel=0.1)
    assert cut == [], "a seventh of it is in the frame"


def test_a_find_of_few_pixels_has_no_box() -> None:
    assert finds_seen(balls((0, 0, 0, 1)), ABOVE, 64) != []
    assert finds_seen(balls((0, 0, 0, 1)), ABOVE, 32) == []


def test_a_beach_has_up_to_eight_finds_of_both_classes() -> None:
    beaches = [build_beach(scene, 0) for scene in range(6)]
    counts = [len(beach.labels) for beach in beaches]
    assert 0 <= min(counts) < max(counts) <= 8
    assert {label for beach in beaches for label in beach.labels} == set(KINDS)
    for beach in beaches:
        assert all(len(alone.shapes()) == 2 for alone in beach.alone)


# ---- the collection -----------------------------------------------------------------


def test_every_photo_is_listed_with_its_boxes_as_coco_does(work: Path) -> None:
    folder = work / "demo"
    photos = [f"images/scene{s:03d}_{a}.jpg" for s in range(3) for a in range(2)]
    assert set(files_in(folder)) == {*photos, "annotations.json"}
    for photo in photos:
        with Image.open(folder / photo) as image:
            assert (image.size, image.mode, image.format) == ((64, 64), "RGB", "JPEG")
    read = coco.read(folder, ["annotations.json"], photos)
    assert set(read.classes) == set(KINDS)
    assert list(read.photos["photo"]) == photos
    boxes = read.boxes
    assert len(boxes) > 0
    assert (boxes["left"] >= 0).all()
    assert (boxes["top"] >= 0).all()
    assert (boxes["right"] <= 64).all()
    assert (boxes["bottom"] <= 64).all()
    for scene in range(3):
        for angle in range(2):
            _, seen = render_view(scene, angle, angles=2, size=64, seed=0)
            listed = boxes[boxes["photo"] == f"images/scene{scene:03d}_{angle}.jpg"]
            rows = listed[["label", "left", "top", "right", "bottom"]].itertuples(index=False)
            assert [tuple(row) for row in rows] == [find[:5] for find in seen]


def test_a_photo_without_visible_finds_is_background() -> None:
    content = as_coco({"a": [], "b": [Seen("plastic", 1, 2, 4, 8, 12.5)]}, 64)
    assert [image["file_name"] for image in content["images"]] == ["images/a.jpg", "images/b.jpg"]
    (box,) = content["annotations"]
    assert box == {
        "id": 1, "image_id": 2, "category_id": 2, "bbox": [1, 2, 3, 6], "area": 12.5, "iscrowd": 0,
    }  # fmt: skip


def test_the_number_of_workers_and_of_scenes_changes_no_photo(work: Path, tmp_path: Path) -> None:
    render_scenes(tmp_path, **TOY | {"samples": 1}, workers=1)
    fewer = files_in(tmp_path / "demo/images")
    assert len(fewer) == 2
    assert fewer.items() <= files_in(work / "demo/images").items()


def test_an_interrupted_rendering_goes_on_where_it_stopped(work: Path, tmp_path: Path) -> None:
    whole = files_in(work)
    shutil.copytree(work, tmp_path, dirs_exist_ok=True)
    (tmp_path / "demo/annotations.json").unlink()
    (tmp_path / "demo/images/scene001_1.jpg").unlink()  # killed after its boxes were written
    (tmp_path / "boxes/scene002_0.json").unlink()
    (tmp_path / "demo/images/scene002_0.jpg").unlink()
    photos = tmp_path.rglob("*.jpg")
    kept = {path: path.stat().st_mtime_ns for path in photos}
    assert len(kept) == 4

    render_scenes(tmp_path, **TOY, workers=1)

    assert files_in(tmp_path) == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    "other", [{"scene": 2}, {"angle": 1}, {"seed": 1}], ids=["scene", "angle", "seed"]
)
def test_scene_angle_and_seed_each_change_the_photo(other: dict[str, int]) -> None:
    key: dict[str, Any] = {"scene": 1, "angle": 0, "angles": 2, "size": 32, "seed": 0}
    photo, changed = render_view(**key)[0], render_view(**key | other)[0]
    assert photo.shape == changed.shape == (32, 32, 3)
    assert photo.dtype == np.uint8
    assert np.abs(photo.astype(int) - changed).mean() > 5
    assert 30 < photo.mean() < 225
