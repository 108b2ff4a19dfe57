"""Build a backbone by its torchvision or timm name."""

import difflib
import re
from typing import Any, Literal

import timm
import torch
import torchvision
from torch import nn

from shotcount.core.errors import UserError


class Backbone(nn.Module):
    """Photos → features. Normalises the photos as its pretrained weights expect.

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
        self.size = size  # px of the photos that its weights were trained on
        self.mean: torch.Tensor
        self.std: torch.Tensor
        # Constants of the architecture, not weights: kept out of the state dict.
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x.float() - self.mean) / self.std
        return self.network(x.contiguous(memory_format=torch.channels_last))


def build_backbone(name: str) -> Backbone:
    """Build a network, without its classifier, by its torchvision or timm name.

    It is initialised from torch's global generator.

    Raises
    ------
    UserError
        If neither library knows the name.
    """
    library, own = find_network(name)
    if library == "torchvision":
        preset = torchvision.models.get_model_weights(own).DEFAULT.transforms()
        size = preset.crop_size[0]
        network: Any = torchvision.models.get_model(own, **_torchvision_options(own, size))
        features = _take_off_classifier(network)
        backbone = Backbone(network, features, tuple(preset.mean), tuple(preset.std), size)
    else:
        network = timm.create_model(own, num_classes=0)
        config = network.pretrained_cfg
        size = config["input_size"][-1]
        # num_features ignores the layer that MobileNetV3 and others have between pooling and head.
        features = getattr(network, "head_hidden_size", network.num_features)
        backbone = Backbone(network, features, config["mean"], config["std"], size)
    return backbone.to(memory_format=torch.channels_last)


def find_network(name: str) -> tuple[str, str]:
    """Return the library of a network, "torchvision" or "timm", and its name there.

    If both libraries know the name, it is torchvision's. The name may be in any case, and timm's
    as the Hugging Face hub writes it: timm/resnet50.a1_in1k, hf-hub:timm/resnet50.a1_in1k.

    Raises
    ------
    UserError
        If neither library knows the name; the message has the nearest ones.
    """
    own = re.sub(r"^(hf[-_]hub:)?(timm/)?", "", name.strip()).lower()
    torchvisions = torchvision.models.list_models(module=torchvision.models)
    if own in torchvisions and own == name.strip().lower():
        return "torchvision", own
    if timm.is_model(own) and ("." not in own or own in timm.list_pretrained()):
        return "timm", own
    known = [*torchvisions, *timm.list_models(), *timm.list_pretrained()]
    nearest = difflib.get_close_matches(own.rpartition("/")[2], dict.fromkeys(known), n=3)
    hint = f"did you mean {' or '.join(nearest)}? All are in" if nearest else "see"
    raise UserError(
        f"model.name: neither torchvision nor timm has a network named {name!r}: {hint} "
        "torchvision.models.list_models() and timm.list_models(pretrained=True)"
    )


def input_size(name: str, size: int | Literal["auto"]) -> int:
    """Return the photo size in px; "auto" is the size that the weights were trained on.

    Raises
    ------
    UserError
        If the network can't take photos of that size.
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


def _torchvision_options(name: str, size: int) -> dict[str, Any]:
    # torchvision builds these two in this way for their pretrained weights, whose mean differs from
    # the declared one. The auxiliary heads served only that training.
    if name in {"googlenet", "inception_v3"}:
        return {"aux_logits": False, "transform_input": True, "init_weights": True}
    # A vision transformer is built for one size, and its default doesn't suit all weights.
    return {"image_size": size} if name.startswith("vit_") else {}


def _take_off_classifier(network: nn.Module) -> int:
    """Remove the last linear (in SqueezeNet: convolutional) layer; return its input width."""
    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    name, last = layers[-1]
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels
