"""Torchvision's own detectors: their weights, losses, training, and their use."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import torchvision
from conftest import PARAMS, held_out, make_manifest
from PIL import Image
from test_detector import CPU, SETTINGS, SIZE, run_of, scenes, task

from shotcount.classifier import keep
from shotcount.cli import main
from shotcount.commands import export
from shotcount.core import tables
from shotcount.core.errors import UserError
from shotcount.core.params import load_params
from shotcount.networks.backbones import build_backbone, build_detector, find_network, input_size
from shotcount.networks.devices import seeded
from shotcount.networks.heads import recompute_statistics
from shotcount.networks.settings import DETECTORS
from shotcount.networks.weights import fetch_weights
from shotcount.params import Params
from shotcount.sampling.splits import split_samples
from shotcount.sampling.subsets import nested_subsets
from shotcount.tasks.boxes import BoxTask
from shotcount.tasks.classes import ClassTask
from shotcount.tasks.detector import Detector, Head
from shotcount.tasks.maps import choose_layers
from shotcount.tasks.objective import IGNORED, PADDING
from shotcount.tasks.strategies import STRATEGIES, Arrays, load_pixels
from shotcount.tasks.task import predict_cell
from shotcount.tasks.torchvision_heads import build_head
from shotcount.training import frozen
from shotcount.training.budgets import Rates
from shotcount.training.cells import build_run, facts, fit, save_weights
from shotcount.training.checkpoints import Checkpoint
from shotcount.training.loop import Decided, RunState, train_network
from shotcount.training.setup import Compute, Setup

SSD, RETINA = "ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn_v2"
RCNN, RCNN_V2 = "fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn_v2"
EACH_KIND = pytest.mark.parametrize("name", [SSD, RETINA, RCNN])
RUN = replace(run_of(task()), rates=Rates(5e-4, 1.0), decided=Decided(3, 1.0))


def pixels() -> torch.Tensor:
    return torch.from_numpy(scenes()[0]).permute(0, 3, 1, 2)


def small_detector(name: str) -> Detector:
    with seeded(0):
        backbone = build_backbone(name)
        layers, shapes = choose_layers(backbone, SIZE)
        return Detector(backbone, layers, build_head(name, shapes, 2, SIZE)).eval()


def collection(name: str) -> tuple[Arrays, dict[str, torch.Tensor]]:
    """The scenes with cached maps, and the weights that made them; they are random, but for the
    statistics of BatchNorm, without which maps would be all but zero.
    """
    with seeded(0), torch.inference_mode():
        backbone = build_backbone(name)
        recompute_statistics(backbone, [pixels()])
        maps = task().cached(backbone)(pixels())
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    return Arrays(scenes()[0], maps.numpy()), state


def target_of(*boxes: tuple[float, float, float, float, int]) -> torch.Tensor:
    return torch.tensor([[*boxes, (0, 0, 0, 0, PADDING)]], dtype=torch.float32)


TWO = target_of((5, 5, 40, 40, 1), (30, 30, 60, 50, 0))


# ---- names and weights ----------------------------------------------------------------


def test_detectors_are_known_by_name_and_listed_where_a_name_is_unknown() -> None:
    assert set(DETECTORS) <= set(torchvision.models.list_models(torchvision.models.detection))
    assert find_network("SSDLite320_MobileNet_V3_Large") == ("torchvision", SSD)
    with pytest.raises(UserError) as told:
        find_network("fasterrcnn_resnet50_fpn")
    assert f"did you mean {RCNN_V2}" in str(told.value)
    assert ", ".join(DETECTORS) in str(told.value)


@pytest.mark.parametrize(("name", "px"), [(SSD, 320), (RCNN, 320), (RETINA, 800)])
def test_photos_are_normalised_as_by_torchvision(name: str, px: int) -> None:
    backbone, whole = build_backbone(name), build_detector(name, 2)
    assert backbone.size == px
    photo = torch.rand(3, 5, 7)
    x = (255 * photo - backbone.mean) / backbone.std
    assert torch.allclose(x, whole.transform.normalize(photo), atol=1e-5)


@EACH_KIND
def test_weights_from_a_file_are_those_of_the_backbone(name: str, tmp_path: Path) -> None:
    with seeded(1):
        of_coco = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    torch.save(of_coco.state_dict(), tmp_path / "coco.pth")  # of 91 classes
    state = fetch_weights(name, "coco.pth", tmp_path)
    wanted = of_coco.backbone.state_dict()
    assert state.keys() == {f"network.{key}" for key in wanted}
    assert all(torch.equal(state[f"network.{key}"], wanted[key]) for key in wanted)
    build_backbone(name).load_state_dict(state)


def test_weights_from_an_older_file_have_other_names(tmp_path: Path) -> None:
    with seeded(1):
        state = torchvision.models.get_model(RCNN, weights=None, weights_backbone=None).state_dict()
    older = {
        key.replace("blocks.0.0.", "blocks.0.").replace("blocks.1.0.", "blocks.1."): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert "backbone.fpn.inner_blocks.0.weight" in older
    torch.save(older, tmp_path / "older.pth")
    key = "fpn.inner_blocks.0.0.weight"
    made = fetch_weights(RCNN, "older.pth", tmp_path)[f"network.{key}"]
    assert torch.equal(made, state[f"backbone.{key}"])


def test_no_weights_are_shipped_and_none_are_of_imagenet() -> None:
    with pytest.raises(UserError, match="'shipped' is only for .* not for ssdlite320"):
        fetch_weights(SSD, "shipped", Path())
    with pytest.raises(UserError, match="no weights IMAGENET1K_V1 in torchvision: use COCO_V1"):
        fetch_weights(SSD, "IMAGENET1K_V1", Path())


def test_a_size_that_a_detector_cant_take_is_refused() -> None:
    with pytest.raises(UserError, match="data.size: ssd300_vgg16 can't take photos of 64 px"):
        input_size("ssd300_vgg16", 64)
    assert input_size(RCNN, "auto") == 320


def test_a_study_of_classes_refuses_a_detector(tmp_path: Path, params_text: str) -> None:
    with pytest.raises(UserError, match="model.name: this network finds objects"):
        ClassTask(["a", "b"]).cached(build_backbone(SSD))
    text = params_text.replace("name: tf_efficientnet_lite0", f"name: {SSD}")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    load_params(tmp_path / "params.yaml", Params)  # there may be boxes
    (tmp_path / "params.yaml").write_text(text.replace("task: auto", "task: classify"), "utf-8")
    with pytest.raises(UserError, match=f"model.name: {SSD} finds objects, but data.task is"):
        load_params(tmp_path / "params.yaml", Params)


# ---- maps, losses, detections -----------------------------------------------------------


@pytest.mark.parametrize("name", [SSD, RETINA, RCNN, RCNN_V2])
def test_cached_maps_give_the_outputs_of_the_whole_detector(name: str) -> None:
    network, x = small_detector(name), pixels()[:2, :, :50, :50]  # padded to 64, but for SSD
    recompute_statistics(network.backbone, [pixels()])  # without them, maps are all but zero
    layers, shapes = choose_layers(network.backbone, 50)
    head = build_head(name, shapes, 2, 50).eval()
    network = Detector(network.backbone, layers, head).eval()
    with torch.inference_mode():
        cached = BoxTask(scenes()[1], 50).cached(network.backbone)(x)
        whole, alone = network(x), head(cached[:, 0].float())
        found, losses = head.find(whole), head.losses(whole, TWO.clamp(max=50).expand(2, -1, -1))
    if name in (RCNN, RCNN_V2):
        whole, alone = whole.objectness, alone.objectness
    assert torch.allclose(whole, alone, atol=0.02)
    assert losses.loss.shape == losses.weight.shape == (2,)
    assert (losses.positives > 0).all()
    for own in found:
        assert own.shape[1] == 6 and 0 < len(own) <= 100
        assert own[:, :4].min() >= 0 and own[:, :4].max() <= 50
        assert (own[:, 4].diff() <= 0).all()
        assert set(own[:, 5].tolist()) <= {0, 1}


def as_torchvision(target: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [{"boxes": target[0, :2, :4], "labels": 1 + target[0, :2, 4].long()}]


@pytest.mark.parametrize("name", [RETINA, RCNN])
def test_the_loss_is_torchvisions(name: str) -> None:
    with seeded(0):
        whole = build_detector(name, 2).train()
        whole.transform.min_size, whole.transform.max_size = (SIZE,), SIZE  # it would enlarge
        if name == RCNN:
            whole.rpn.score_thresh = 0.0
    ours = small_detector(name)
    ours.backbone.network.load_state_dict(whole.backbone.state_dict())
    rest = {key: v for key, v in whole.state_dict().items() if not key.startswith("backbone.")}
    ours.head.load_state_dict(rest)
    for network in (whole, ours.train()):
        network.backbone.eval()
    with seeded(7):
        wanted = sum(whole([pixels()[0] / 255], as_torchvision(TWO)).values())
    with seeded(7):
        made = ours.head.losses(ours(pixels()[:1]), TWO).loss
    assert made.tolist() == pytest.approx([wanted.item()], rel=1e-4)


def test_the_loss_of_an_ssd_is_torchvisions() -> None:
    with seeded(0):
        whole = build_detector(SSD, 2).eval()
    ours, target = small_detector(SSD), target_of((16, 16, 48, 48, 1), (2, 2, 62, 62, 0))
    ours.head.head.load_state_dict(whole.head.state_dict())
    maps = choose_layers(ours.backbone, SIZE)[1]
    with torch.inference_mode():
        found = [torch.rand(1, c, side, side) for c, side in maps]
        corners = torchvision.ops.box_convert(ours.head.anchors, "cxcywh", "xyxy")
        which = whole.proposal_matcher(torchvision.ops.box_iou(target[0, :2, :4], corners))
        wanted = whole.compute_loss(as_torchvision(target), whole.head(found), [corners], [which])
        made = ours.head.losses(ours.head(found), target)
    assert int(made.positives) >= 4  # so that our fewest negatives are not more than torchvision's
    assert float(made.loss / made.weight) == pytest.approx(float(sum(wanted.values())), rel=1e-4)


@pytest.mark.parametrize("name", [SSD, RETINA, RCNN])
def test_what_is_ignored_is_not_trained_as_background(name: str) -> None:
    """The first photo has a crowd, the second the same content and no box."""
    head = small_detector(name).head
    crowd, none = target_of((14, 14, 50, 50, IGNORED)), target_of((0, 0, 0, 0, PADDING))
    maps = [torch.zeros(2, c, side, side) for c, side in head.maps]
    with torch.inference_mode():
        outputs = head(maps)
        if name == RCNN:
            outputs.objectness.fill_(-20.0)
            outputs.objectness[:, near(head.anchors, crowd, 0.3)] = 20.0
        elif name == RETINA:
            outputs[..., 4:] = -20.0
            outputs[:, near(head.anchors, crowd, 0.4), 5] = 20.0
        else:
            corners = torchvision.ops.box_convert(head.anchors, "cxcywh", "xyxy")
            outputs[:, 4:] = torch.tensor([20.0, 0, 0]).view(3, 1)
            outputs[:, 5, near(corners, crowd, 0.5)] = 40.0
        found = head.losses(outputs, torch.cat([crowd, none]))
    assert found.positives.tolist() == [0, 0]
    assert found.loss[1] > found.loss[0] + 0.5


def near(anchors: torch.Tensor, crowd: torch.Tensor, least: float) -> torch.Tensor:
    found = torchvision.ops.box_iou(crowd[0, :1, :4], anchors)[0] >= least
    assert found.any()
    return found


def test_a_photos_loss_is_the_same_in_every_look_and_every_batch() -> None:
    network, x = small_detector(RCNN), pixels()[:2]
    target = torch.cat([TWO, target_of((1, 1, 30, 30, 0), (9, 9, 60, 60, 1))])
    with torch.inference_mode():
        both = network.head.losses(network(x), target)
        with seeded(5):
            alone = network.head.losses(network(x[1:]), target[1:])
    assert both.loss[1] == pytest.approx(float(alone.loss), rel=1e-5)


# ---- training ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "steps"), [(SSD, 60), (RCNN, 12)])
def test_the_loss_of_a_head_on_cached_maps_falls(name: str, steps: int) -> None:
    own, (arrays, _) = task(), collection(name)
    settings = SETTINGS.model_copy(update={"min_steps": steps, "batch_size": 4})
    with seeded(0):
        head, load = own.assemble(STRATEGIES["frozen"], name, arrays, CPU, settings)
        assert isinstance(head, Head)  # the backbone is no part of it, so it can't change
        rates = Rates(head.first_rate, 1.0)
        run = replace(RUN, settings=settings, rates=rates, decided=None, on_the_way=False)
        first, mean = train_network(head, load, run)["train_loss"]
    assert mean < 0.8 * first


@pytest.mark.parametrize("name", [SSD, RCNN])
def test_fine_tuning_trains_the_backbone_and_keeps_its_statistics(name: str) -> None:
    own, (arrays, pretrained) = task(), collection(name)
    with seeded(0):
        network, load = own.assemble(
            STRATEGIES["finetune"], name, arrays, CPU, SETTINGS, pretrained
        )
        train_network(network, load, replace(RUN, decided=Decided(1, 1.0)))
    assert isinstance(network, Detector)
    after = network.backbone.state_dict()
    moved = {key for key in after if not torch.equal(after[key], pretrained[key])}
    assert not any("running" in key or "tracked" in key for key in moved)
    own_weights = {key for key, _ in network.backbone.named_parameters()}
    # At 64 px, no object is large enough for the last maps of SSD, of 1 x 1.
    assert {key for key in own_weights if ".extra." not in key} <= moved


class StopError(Exception):
    pass


def test_a_run_that_is_resumed_and_a_second_run_give_the_same_bytes(tmp_path: Path) -> None:
    own, (arrays, _) = task(), collection(RCNN)
    settings = SETTINGS.model_copy(update={"batch_size": 4})

    def run(draws: int, checkpoint: Checkpoint | None = None, stop: int = -1) -> Head:
        def on_step(state: RunState, steps: int) -> None:
            if state.step == stop:
                raise StopError

        with seeded(0):
            head, load = own.assemble(STRATEGIES["frozen"], RCNN, arrays, CPU, settings)
        with seeded(draws):  # whatever was drawn before
            train_network(head, load, replace(RUN, settings=settings), checkpoint, on_step)
        assert isinstance(head, Head)
        return head

    once = run(1).state_dict()
    checkpoint = Checkpoint(tmp_path / "checkpoint", share=math.inf)
    checkpoint.due = 0.0
    with pytest.raises(StopError):
        run(2, checkpoint, stop=2)
    for again in (run(3).state_dict(), run(4, Checkpoint(tmp_path / "checkpoint")).state_dict()):
        assert all(torch.equal(once[key], again[key]) for key in once)


def test_statistics_of_the_second_network_are_computed_anew() -> None:
    head = small_detector(RCNN_V2).head
    norms = {
        name: module
        for name, module in head.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert len(norms) == 4
    maps = [torch.rand(2, c, side, side) for c, side in head.maps]
    recompute_statistics(head, [torch.cat([m.permute(0, 2, 3, 1).flatten(1) for m in maps], 1)])
    assert all(float(norm.running_mean.abs().max()) > 0 for norm in norms.values())
    assert all(int(norm.num_batches_tracked) == 1 for norm in norms.values())


# ---- the study's stages and commands ------------------------------------------------------


def setup_of(name: str) -> Setup:
    """Scenes as a study has them: 12 samples from two angles."""
    photos = make_manifest({"any": 12}, angles=2)
    parts, (arrays, pretrained) = split_samples(photos, held_out(), draws=1), collection(name)
    parallel = PARAMS.parallel.model_copy(update={"networks": 1})
    few = {"seeds": 1, "epochs": 1e-9, "min_steps": 1, "batch_size": 4, "schedule": "constant"}
    return Setup(
        strategy="finetune",
        task=task(),
        settings=PARAMS.train.finetune.model_copy(update=few),
        rates=Rates(5e-4, 1.0),
        study_seed=0,
        network=name,
        compute=Compute.of("finetune", CPU, "float32", False, parallel),
        arrays=arrays,
        pretrained=pretrained,
        subsets=nested_subsets(parts["train"], "spread", seed=0),
        val=parts["val"],
    )


@pytest.mark.parametrize("name", [SSD, RCNN])
def test_a_detector_is_fine_tuned_tested_kept_and_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(frozen, "STEPS", 2)
    monkeypatch.chdir(tmp_path)
    setup, cell = setup_of(name), {"strategy": "finetune", "samples": 8, "angles": 2, "photos": 16}
    run = build_run(setup, cell, setup.subsets, 0)
    state, _ = fit(setup, run, tmp_path, 1, lambda state, steps: None)
    save_weights(tmp_path / "seed0.safetensors", state)
    model = cell | facts(setup, 1) | {"seeds": 1, "samples_seen": [[]]}
    tested = setup.val
    ((found, rows),) = predict_cell(
        tmp_path, model, setup.task, setup.arrays, [tested], CPU, lambda table, made: made
    )
    assert set(tables.DETECTED) <= set(found)
    assert set(found["photo"]) <= set(rows["photo"])
    own = {"task": "detect", "fit": "stretch", "confidence": 0.5, "samples_seen": []}
    content = keep.save(tmp_path / "kept", state, model | own)
    expected = [0.5] * 3 if name == SSD else [0.485, 0.456, 0.406]
    assert content["preprocessing"]["mean"] == expected
    network, _ = keep.load(tmp_path / "kept", CPU)
    again = setup.task.predict(network, load_pixels(setup.arrays.pixels, None, CPU), run.val.rows)
    pd.testing.assert_frame_equal(again, found[list(tables.DETECTED)])
    (tmp_path / "new").mkdir()
    Image.fromarray(setup.arrays.pixels[0]).resize((90, 60)).save("new/1.png")
    anything = ["--confidence", "0", "--draw", "drawn"]
    assert main(["predict", "kept", "new", *anything]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "photo,label,score,left,top,right,bottom"
    assert 1 < len(lines) <= 101
    assert Path("drawn/1_1.jpg").exists()
    assert main(["predict", "kept", "new", "--confidence", "0", "--format", "coco"]) == 0
    assert len(json.loads(capfd.readouterr().out)["annotations"]) == len(lines) - 1
    if name == RCNN:
        assert main(["export", "kept", "made.onnx"]) == 2
        shown = capfd.readouterr()
        assert shown.err.startswith("error: Faster R-CNN proposes another number of boxes")
        assert len(shown.err.splitlines()) == 1
        assert not Path("made.onnx").exists()


@pytest.mark.slow  # test_kept_detector exports the head of our own
@pytest.mark.parametrize("name", [SSD, RETINA])
def test_a_detector_is_exported(name: str) -> None:
    made = small_detector(name)
    model = {"size": SIZE, "fit": "pad", "classes": ["blue", "red"], "network": name}
    same, _ = export.differences(export.to_onnx(made, model), made, SIZE, "pad")
    assert same < export.SAME_PIXELS
