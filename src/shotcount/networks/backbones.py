"""Build a backbone by its torchvision or timm name."""

import difflib
import re
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from shotcount.core.errors import UserError
from shotcount.networks.settings import DETECTORS, is_detector


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


class DetectorBackbone(Backbone):
    """Photos → the maps that the rest of one of torchvision's detectors looks at.

    Takes what `Backbone` takes, returns a list of Tensors (B, C, side, side), the largest first. It
    has no features of a whole photo.
    """

    def __init__(self, detector: nn.Module) -> None:
        steps: Any = detector.transform
        size = steps.fixed_size[0] if steps.fixed_size else steps.min_size[-1]
        network: Any = detector.backbone
        super().__init__(network, 0, tuple(steps.image_mean), tuple(steps.image_std), size)
        self.multiple = steps.size_divisible  # px that the sides of photos are multiples of

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        x = (x.float() - self.mean) / self.std
        right, below = (-side % self.multiple for side in (x.shape[3], x.shape[2]))
        x = F.pad(x, (0, right, 0, below))  # as torchvision: behind the normalisation
        return list(self.network(x.contiguous(memory_format=torch.channels_last)).values())


def build_detector(name: str, classes: int) -> nn.Module:
    """Build one of torchvision's detectors with random weights; class 0 is no object."""
    return torchvision.models.get_model(
        name.strip().lower(), weights=None, weights_backbone=None, num_classes=1 + classes
    )


def build_backbone(name: str) -> Backbone:
    """Build a network, without its classifier, by its torchvision or timm name.

    Of a detector, it is the part that makes the maps. It is initialised from torch's global
    generator.

    Raises
    ------
    UserError
        If neither library knows the name.
    """
    library, own = find_network(name)
    backbone: Backbone
    if is_detector(own):
        backbone = DetectorBackbone(build_detector(own, 1))
    elif library == "torchvision":
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
    torchvisions = [*torchvision.models.list_models(module=torchvision.models), *DETECTORS]
    if own in torchvisions and own == name.strip().lower():
        return "torchvision", own
    if timm.is_model(own) and ("." not in own or own in timm.list_pretrained()):
        return "timm", own
    known = [*torchvisions, *timm.list_models(), *timm.list_pretrained()]
    nearest = difflib.get_close_matches(own.rpartition("/")[2], dict.fromkeys(known), n=3)
    hint = f"did you mean {' or '.join(nearest)}? All are in" if nearest else "see"
    raise UserError(
        f"model.name: neither torchvision nor timm has a network named {name!r}: {hint} "
        "torchvision.models.list_models() and timm.list_models(pretrained=True); detectors, for "
        f"photos with boxes, are {', '.join(DETECTORS)}"
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
