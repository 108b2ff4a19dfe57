"""Detectors: anchors, maps of the backbone, the loss, augmented boxes, training, detections."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.networks.augment import random_crop_flip
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import seeded
from shotcount.tasks import anchors, detector, objective
from shotcount.tasks.boxes import BoxTask, crop_boxes
from shotcount.tasks.detector import DetectionHead, Detector, MirroredMaps
from shotcount.tasks.maps import STRIDES, choose_layers, find_maps
from shotcount.tasks.strategies import STRATEGIES, Arrays, load_pixels
from shotcount.training.budgets import Rates
from shotcount.training.loop import Decided, Run, train_network
from shotcount.training.settings import TrainingSettings

CPU = torch.device("cpu")
SIZE = 64
NAMES = ["blue", "red"]
SETTINGS = TrainingSettings(
    seeds=1, epochs=1e-9, min_steps=120, schedule="constant", batch_size=8, optimizer="adamw",
    learning_rate=0.005, weight_decay=0.0, flip=True, crop_scale=1.0,
)  # fmt: skip


def scenes(count: int = 24) -> tuple[np.ndarray, pd.DataFrame]:
    """Grey photos, each with one blue and one red square; the last one has none."""
    rng = np.random.default_rng(0)
    photos = rng.integers(90, 110, (count, SIZE, SIZE, 3), dtype=np.uint8)
    rows = []
    for photo in range(count - 1):
        for half, (label, channel) in enumerate(zip(NAMES, (2, 0), strict=True)):
            side = int(rng.integers(18, 28))
            left, top = rng.integers(0, SIZE - side), rng.integers(0, SIZE // 2 - side)
            top += half * SIZE // 2
            photos[photo, top : top + side, left : left + side] = 0
            photos[photo, top : top + side, left : left + side, channel] = 250
            rows.append((photo, label, left, top, left + side, top + side, False))
    return photos, pd.DataFrame(rows, columns=list(tables.BOXES)).astype(tables.BOXES)


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """The scenes, and the maps of an untrained backbone."""
    photos, _ = scenes()
    with seeded(0), torch.inference_mode():
        backbone = build_backbone("resnet18").eval()
        x = torch.from_numpy(photos).permute(0, 3, 1, 2)
        maps = MirroredMaps(backbone, choose_layers(backbone, SIZE)[0])(x)
    return Arrays(photos, maps.numpy())


def task() -> BoxTask:
    return BoxTask(scenes()[1], SIZE)


def photo_table(rows: range) -> pd.DataFrame:
    names = [str(row) for row in rows]
    return pd.DataFrame({"photo": list(rows), "label": "any", "sample": names})


# ---- anchors and maps ---------------------------------------------------------------


def test_boxes_are_what_their_offsets_from_the_anchors_say() -> None:
    grid = anchors.build_anchors(SIZE, [8, 4, 2])
    assert len(grid) == (64 + 16 + 4) * anchors.anchors_a_place()
    rng = torch.Generator().manual_seed(0)
    corner, side = 40 * torch.rand(2, len(grid), 2, generator=rng)
    boxes = torch.cat([corner, corner + side + 2], dim=1)
    assert torch.allclose(anchors.decode(anchors.encode(boxes, grid), grid), boxes, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "mobilenet_v3_small"])
def test_a_backbone_of_either_library_has_maps_at_every_stride(name: str) -> None:
    backbone = build_backbone(name)
    layers, shapes = choose_layers(backbone, SIZE)
    found = find_maps(backbone.eval(), layers, torch.zeros(2, 3, SIZE, SIZE))
    assert [tuple(each.shape) for each in found] == [(2, c, side, side) for c, side in shapes]
    assert [side for _, side in shapes] == [SIZE // stride for stride in STRIDES]


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(UserError, match="model.name: this network has no map of one place for 8"):
        choose_layers(build_backbone("vit_tiny_patch16_224"), 224)
    with pytest.raises(UserError, match="with photos of 32 px the network ends at layer3: raise"):
        choose_layers(build_backbone("resnet18@layer3"), 32)


def test_maps_that_were_cached_give_the_outputs_of_the_whole_detector(arrays: Arrays) -> None:
    with seeded(0):
        backbone = build_backbone("resnet18")
        layers, shapes = choose_layers(backbone, SIZE)
        whole = Detector(backbone, layers, DetectionHead(shapes, 2, SIZE)).eval()
    x = torch.from_numpy(arrays.pixels[np.arange(3)]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        cached = torch.from_numpy(arrays.features[:3, 0]).float()
        outputs, expected = whole.head(cached), whole(x)
    assert outputs.shape == (3, 4 + 1 + 2, len(whole.anchors))
    assert torch.allclose(outputs, expected, atol=0.02)  # cached as float16


# ---- the loss -----------------------------------------------------------------------


def test_an_anchor_finds_the_box_it_overlaps_most_and_every_box_has_an_anchor() -> None:
    grid = anchors.build_anchors(SIZE, [8, 4, 2])
    target = torch.full((2, 3, 5), float(objective.PADDING))
    target[0, 1] = torch.tensor([8, 8, 28, 28, 1.0])
    target[0, 2] = torch.tensor([50, 50, 53, 53, 0.0])  # smaller than any anchor
    which, kind = objective.match(target, grid)
    assert (kind[1] == 0).all()
    assert set(which[0][kind[0] == 2].tolist()) == {1}
    assert (kind[0] == 1).sum() == 1  # the nearest anchor
    iou = objective.overlaps(target[0, 1:2, :4], grid)[0]
    assert ((kind[0] == 2) == (iou >= objective.NEAR)).all()


def test_what_is_ignored_is_neither_to_be_found_nor_to_be_left_alone() -> None:
    grid = anchors.build_anchors(SIZE, [8, 4, 2])
    outputs = torch.zeros(1, 4 + 1 + 1, len(grid))
    crowd = torch.tensor([[[8, 8, 28, 28, float(objective.IGNORED)]]])
    inside = objective.match(crowd, grid)[1][0] == objective.IGNORED
    assert inside.any()
    outputs[0, 5, inside] = 9.0  # sure of an object there
    sure = objective.losses(outputs, crowd, grid)
    empty = objective.losses(outputs, torch.full((1, 1, 5), float(objective.PADDING)), grid)
    assert sure.positives == 0
    assert sure.loss < 0.2 * empty.loss


def test_perfect_outputs_have_hardly_a_loss() -> None:
    grid = anchors.build_anchors(SIZE, [8, 4, 2])
    target = torch.tensor([[[8, 8, 28, 28, 1.0], [30, 30, 60, 60, 0.0]]])
    which, kind = objective.match(target, grid)
    outputs = torch.zeros(1, 4 + 1 + 2, len(grid))
    outputs[0, :4] = anchors.encode(target[0, which[0], :4], grid).T
    outputs[0, 4:].scatter_(0, kind.clamp(min=0), 20.0)
    found = objective.losses(outputs, target, grid)
    assert found.loss < 1e-3
    assert found.named == found.positives == (kind > 0).sum()


# ---- augmentation -------------------------------------------------------------------


def test_boxes_are_cropped_and_mirrored_as_their_photos() -> None:
    photos, boxes = scenes()
    own, rows = BoxTask(boxes, SIZE), np.arange(20)
    settings = SETTINGS.model_copy(update={"crop_scale": 0.5})
    examples = own.examples(photo_table(range(20)))
    target = own.targets(examples, rows, slice(4, 12), 7, settings)
    x = load_pixels(photos, settings, CPU)(rows, 7, slice(4, 12))
    seen = 0
    for photo, found in zip(x, target, strict=True):
        for left, top, right, bottom, kind in found[found[:, 4] >= 0].tolist():
            channel = (2, 0)[int(kind)]
            mask = photo[channel] - photo[2 - channel] > 125
            rows_there, columns = torch.nonzero(mask, as_tuple=True)
            if len(columns):
                edges = (columns.min(), rows_there.min(), columns.max() + 1, rows_there.max() + 1)
                assert np.allclose((left, top, right, bottom), edges, atol=1.6)
                seen += 1
    assert seen >= 8


def test_an_object_that_a_crop_hardly_shows_is_ignored_and_one_outside_is_gone() -> None:
    target = torch.tensor([[[0, 0, 32, 32, 1.0], [40, 40, 64, 64, 0.0], [0, 0, 4, 4, 1.0]]])
    crop = torch.tensor([[[0.5, 0, 0.4], [0, 0.5, 0.4]]])  # from 28.8 to 60.8 px
    kinds = crop_boxes(target, crop, SIZE)[0, :, 4].tolist()
    assert kinds == [objective.IGNORED, 0, objective.PADDING]


def test_photos_without_a_crop_stay_as_they_are() -> None:
    x = torch.rand(2, 3, SIZE, SIZE)
    assert random_crop_flip(x, 1.0, False, torch.Generator()) is x
    own = task()
    examples = own.examples(photo_table(range(3)))
    plain = SETTINGS.model_copy(update={"flip": False})
    same = own.targets(examples, np.arange(3), slice(None), 0, plain)
    assert np.allclose(same, examples.targets, atol=1e-4)


# ---- training and detecting ---------------------------------------------------------


def run_of(own: BoxTask) -> Run:
    train, val = (own.examples(photo_table(rows)) for rows in (range(16), range(16, 24)))
    return Run(
        key=("test",), task=own, train=train, val=val, settings=SETTINGS, rates=Rates(0.005, 1.0)
    )


def test_a_trained_head_finds_the_objects(arrays: Arrays) -> None:
    own = task()
    with seeded(0):
        head, load = own.assemble(STRATEGIES["frozen"], "resnet18", arrays, CPU, SETTINGS)
        history = train_network(head, load, run_of(own))
    assert history["val_loss"].iloc[-1] < 0.5 * history["val_loss"].iloc[0]
    found = own.predict(head, load, np.arange(16))
    assert list(found) == list(tables.DETECTED)
    best = found.groupby(["photo", "label"]).first()
    assert found.groupby("photo")["score"].apply(lambda own: own.is_monotonic_decreasing).all()
    truth = own.boxes.set_index(["photo", "label"]).loc[best.index]
    gap = (best[["left", "top", "right", "bottom"]] - truth[list(tables.CORNERS)]).abs()
    assert (gap.max(axis=1) < 6).mean() > 0.7


def test_a_run_is_the_same_twice(arrays: Arrays) -> None:
    own, states = task(), []
    for _ in range(2):
        with seeded(0):
            head, load = own.assemble(STRATEGIES["frozen"], "resnet18", arrays, CPU, SETTINGS)
            train_network(head, load, replace(run_of(own), decided=Decided(3, 1.0)))
        states.append(head.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("strategy", ["scratch", "finetune"])
def test_the_backbone_is_trained_and_keeps_its_statistics_only_if_pretrained(
    strategy: str, arrays: Arrays
) -> None:
    own = task()
    with seeded(0):
        pretrained = build_backbone("resnet18").state_dict()
        network, load = own.assemble(
            STRATEGIES[strategy], "resnet18", arrays, CPU, SETTINGS, pretrained
        )
        before = {name: value.clone() for name, value in network.state_dict().items()}
        train_network(network, load, replace(run_of(own), decided=Decided(2, 1.0)))
    after = network.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    weights = {name for name, _ in network.named_parameters() if name.startswith("backbone.")}
    assert weights <= moved
    running = {name for name in after if "backbone" in name and "running_mean" in name}
    assert running and (running <= moved) == (strategy == "scratch")
    assert not (running & moved) or strategy == "scratch"


def test_a_photo_without_objects_may_have_no_detection(arrays: Arrays) -> None:
    own = task()
    head = own.assemble(STRATEGIES["frozen"], "resnet18", arrays, CPU)[0].eval()
    outputs = torch.zeros(2, 4 + 1 + 2, len(head.anchors))
    outputs[:, 4] = 20.0
    outputs[1, 4:, 5] = torch.tensor([0.0, 0.0, 9.0])
    none, one = detector.choose_objects(*detector.read_anchors(outputs, head.anchors), SIZE)
    assert none.shape == (0, 6)
    assert one.shape == (1, 6) and one[0, 5] == 1 and one[0, 4] > 0.99


def test_two_detections_of_an_object_are_one_and_boxes_end_at_the_photo() -> None:
    grid = torch.tensor([[10.0, 10, 30, 30], [11, 11, 30, 30], [50, 50, 20, 20]])
    outputs = torch.zeros(1, 4 + 1 + 1, 3)
    outputs[0, 5] = torch.tensor([3.0, 4.0, 2.0])
    (found,) = detector.choose_objects(*detector.read_anchors(outputs, grid), SIZE)
    assert found[:, :4].tolist() == [[0, 0, 26, 26], [40, 40, 60, 60]]


def test_classes_are_those_of_the_boxes_that_count() -> None:
    _, boxes = scenes()
    crowd = boxes.iloc[:1].assign(label="crowded", ignored=True)
    own = BoxTask(pd.concat([boxes, crowd]), SIZE)
    assert own.classes == NAMES
    targets = own.examples(photo_table(range(2))).targets
    assert targets.shape == (2, 3, 5)
    assert sorted(targets[0, :, 4]) == [objective.IGNORED, 0, 1]


def test_the_head_is_the_same_module_in_a_detector_and_alone(arrays: Arrays) -> None:
    own = task()
    head, _ = own.assemble(STRATEGIES["frozen"], "resnet18", arrays, CPU)
    whole, _ = own.assemble(STRATEGIES["finetune"], "resnet18", arrays, CPU)
    assert isinstance(whole, nn.Module)
    whole.get_submodule("head").load_state_dict(head.state_dict())
