"""A study of photos with boxes, through DVC, at toy size."""

import json
import shutil
from pathlib import Path

import boxed
import numpy as np
import pytest
import torchvision
import yaml
from conftest import QUICK, Clone
from PIL import Image
from safetensors.torch import save_file
from test_experiments import lines, specs
from test_faults import kill_often

from shotcount.core import tables
from shotcount.findings.tables import metrics_tables
from shotcount.networks.devices import seeded
from shotcount.scoring.detections import DETECTIONS, TESTED

COLOURS = {"blue": (10, 10, 250), "red": (250, 10, 10)}
SIZE = 80


def draw_scenes(folder: Path, scenes: int = 12, angles: int = 2) -> dict[str, list[boxed.Drawn]]:
    """Grey photos with a red or a blue square, or both; one scene is background."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    boxes: dict[str, list[boxed.Drawn]] = {}
    for scene in range(scenes):
        shown = [["blue"], ["red"], ["blue", "red"]][scene % 3] if scene < scenes - 1 else []
        for angle in range(angles):
            pixels = rng.integers(90, 120, (SIZE, SIZE, 3), dtype=np.uint8)
            name = f"s{scene}_{angle}"
            boxes[name] = []
            for label in shown:
                side = int(rng.integers(24, 36))
                left, top = map(int, rng.integers(0, SIZE - side, 2))
                pixels[top : top + side, left : left + side] = COLOURS[label]
                boxes[name].append(boxed.Drawn(label, left, top, left + side, top + side))
            Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    return boxes


def annotate(folder: Path, boxes: dict[str, list[boxed.Drawn]], form: str) -> None:
    """Write the boxes in one format, in place of those that are there."""
    for old in ("labels", "Annotations", "boxes.json", "classes.txt"):
        path = folder / old
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    size, classes = (SIZE, SIZE), sorted(COLOURS)
    if form == "coco":
        whole = boxed.coco({f"images/{name}": own for name, own in boxes.items()}, classes, size)
        boxed.write(folder / "boxes.json", json.dumps(whole))
        return
    for name, own in boxes.items():
        if form == "yolo":
            boxed.write(folder / f"labels/{name}.txt", boxed.yolo(own, size, classes))
            boxed.write(folder / "classes.txt", "\n".join(classes))
        else:
            boxed.write(folder / f"Annotations/{name}.xml", boxed.voc(own, size))


@pytest.fixture(scope="module")
def detection(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("of boxes") / "a study")
    annotate(clone.folder / "photos", draw_scenes(clone.folder / "photos"), "yolo")
    ready = (clone.folder / "studies/detect.yaml").read_text(encoding="utf-8")
    (clone.folder / "params.yaml").write_text(ready, encoding="utf-8")
    steps = yaml.safe_load(ready)["train"]["frozen"]["detector"]
    small = {"learning_rate": 0.01, "epochs": 1, "min_steps": 60, "batch_size": 8}
    clone.set_params(
        **QUICK,
        data__path="photos",
        data__pattern=r"images/(?P<sample>.+)_(?P<angle>\d)\.png",
        data__size=64,
        split__val=0.25,
        study__strategies=["frozen", "finetune"],
        study__samples=[1.0],
        study__angles=[2],
        study__frozen_grid={"samples": [0.5, 1.0], "angles": [1, 2]},
        model__name="resnet18",
        model__weights="weights/resnet18.safetensors",
        train__finetune__init_head="zeros",
        train__frozen__detector=steps | small,
    )
    with seeded(0):
        weights = torchvision.models.resnet18().state_dict()
    save_file(weights, clone.folder / "weights/resnet18.safetensors")
    clone.repro()
    return clone


def test_every_cell_has_its_average_precision_with_an_interval(detection: Clone) -> None:
    curve = detection.table("metrics/curve.csv", metrics_tables("ap50", finds=True)["curve"])
    assert list(curve.groupby("strategy").size()) == [1, 4]
    assert (curve["ap50_low"] <= curve["ap50"]).all()
    assert (curve["ap50"] <= curve["ap50_high"]).all()
    frozen = curve[curve["strategy"] == "frozen"].sort_values("photos")
    assert frozen["ap50"].iloc[-1] > 0.3  # squares are easily found
    made = json.loads((detection.folder / "metrics/metrics.json").read_text(encoding="utf-8"))
    assert made["frozen"]["ap50"] == pytest.approx(frozen["ap50"].iloc[-1], abs=1e-4)


def test_the_interactive_chart_is_of_average_precision(detection: Clone, tmp_path: Path) -> None:
    detection.run("dvc", "plots", "show", "--out", str(tmp_path))
    chart, *_ = specs(tmp_path / "index.html")
    shown = [row["score"] for row in chart["data"]["values"]]
    curve = detection.table("metrics/curve.csv", metrics_tables("ap50", finds=True)["curve"])
    # Of the scores as they were written, whose last digits are rounded away.
    assert [float(score) for score in shown] == pytest.approx(list(curve["ap50"]), abs=0.002)
    assert (lines(chart, "line"), lines(chart, "area")) == (2, 2)


def test_every_scene_is_tested_by_networks_that_were_trained_without_it(detection: Clone) -> None:
    tested = detection.table("data/evaluation/frozen/tested", TESTED)
    assert tested["sample"].nunique() == 12
    train = detection.table("data/splits/train", tables.SPLIT)
    for seed in range(3):
        seen, own = (set(tables.of_seed(t, seed)["sample"]) for t in (train, tested))
        assert not seen & own
    for cell in (detection.folder / "data/evaluation/frozen/predictions").iterdir():
        found = detection.table(str(cell.relative_to(detection.folder)), DETECTIONS)
        pairs = set(zip(found["seed"], found["photo"], strict=True))
        assert pairs <= set(zip(tested["seed"], tested["photo"], strict=True))


def test_a_second_run_does_nothing_and_words_are_of_boxes(detection: Clone) -> None:
    assert detection.repro() == []
    said = (detection.folder / "metrics/study.md").read_text(encoding="utf-8")
    assert "AP50" in said
    assert "accuracy" not in said.lower()
    page = (detection.folder / "metrics/report.html").read_text(encoding="utf-8")
    assert "scenes" in page


def test_a_copy_in_another_format_gives_the_same_study(detection: Clone) -> None:
    boxes = draw_scenes(detection.folder / "again")
    for form in ("coco", "voc"):
        annotate(detection.folder / "photos", boxes, form)
        # They make what was there, so nothing else runs.
        assert detection.repro() == ["prepare", "gallery"]


def test_the_detector_to_keep_finds_the_objects_of_new_photos(detection: Clone) -> None:
    draw_scenes(detection.folder / "new", scenes=2, angles=1)
    printed = detection.run("shotcount", "predict", "data/classifier", "new/images")
    header, *lines = printed.splitlines()
    assert header.split(",")[:3] == ["photo", "label", "score"]
    assert lines


@pytest.mark.slow
def test_a_killed_repro_ends_with_the_same_bytes(detection: Clone, tmp_path: Path) -> None:
    clone = Clone(tmp_path / "killed")
    for name in ("params.yaml", "weights/resnet18.safetensors"):
        shutil.copy2(detection.folder / name, clone.folder / name)
    shutil.copytree(detection.folder / "photos", clone.folder / "photos")
    kill_often(clone, detection, "all")
