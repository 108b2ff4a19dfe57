from pathlib import Path
from urllib.error import URLError

import pytest
import safetensors.torch
import torch
import torchvision

from shotcount.core.errors import UserError
from shotcount.networks.backbones import build_backbone, input_size
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


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "exploded",))

    torch.save({"conv1.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(UserError, match="not a readable state dict"):
        fetch_weights("resnet18", "bomb.pth", tmp_path)
    assert not (tmp_path / "exploded").exists()


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


def test_downloaded_weights_are_the_librarys_default(monkeypatch, tmp_path: Path) -> None:
    """The library's own loading code runs; only the transfer itself is replaced by a file."""
    torch.manual_seed(5)
    state = torchvision.models.resnet18().state_dict()
    cached = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    torch.save(state, cached)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fetched = fetch_weights("resnet18", "default", tmp_path)
    assert torch.equal(fetched["network.layer4.1.bn2.weight"], state["layer4.1.bn2.weight"])


def test_size_is_what_the_weights_were_trained_at_or_one_that_the_network_can_take() -> None:
    assert input_size("resnet18", "auto") == 224
    assert input_size("inception_v3", "auto") == 299
    assert input_size("tf_efficientnet_lite0", "auto") == 224
    assert input_size("resnet18", 80) == 80
    with pytest.raises(UserError, match=r"data\.size: inception_v3 can't take photos of 32 px"):
        input_size("inception_v3", 32)


TORCHVISION = torchvision.models.list_models(module=torchvision.models)
TIMM = ["mobilenetv3_large_100", "lcnet_050", "ghostnet_100", "regnety_002", "levit_128s"]


def test_every_network_of_torchvision_and_some_of_timm_have_the_width_they_say() -> None:
    for name in TORCHVISION + TIMM:
        if not name.startswith("regnet_"):  # whose initialisation doesn't run without memory
            with torch.device("meta"):
                backbone = build_backbone(name).eval()
                features = backbone(torch.zeros(1, 3, backbone.size, backbone.size))
            assert features.shape == (1, backbone.features), name
