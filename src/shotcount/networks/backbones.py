"""Build a backbone by its torchvision or timm name."""

import difflib
import re
from typing import Any, Literal, NamedTuple

import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models import create_feature_extractor
from torch import nn

from shotcount.core.errors import UserError
from shotcount.networks.settings import DETECTORS, is_detector

MAPS = "maps"  # what a first part returns


class Preset(NamedTuple):
    """How the photos were prepared that a network was pretrained on; of pixel values 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int  # px


class Backbone(nn.Module):
    """Photos → features. Normalises the photos as its pretrained weights expect.

    Takes a Tensor (B, 3, H, W) of pixel values from 0 to 255, returns (B, features).
    """

    def __init__(self, network: nn.Module, features: int, preset: Preset) -> None:
        super().__init__()
        self.network = network
        self.features = features
        self.size = preset.size
        self.mean: torch.Tensor
        self.std: torch.Tensor
        # Constants of the architecture, not weights: kept out of the state dict.
        mean, std = (255 * torch.tensor(each).view(3, 1, 1) for each in (preset.mean, preset.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(self.normalise(x).contiguous(memory_format=torch.channels_last))

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        return (x.float() - self.mean) / self.std

    @torch.inference_mode()
    def on_black(self, size: int) -> Any:
        """Return what one black photo of `size` x `size` px becomes, to learn its shape."""
        was_training = self.training
        made = self.eval()(torch.zeros(1, 3, size, size))
        self.train(was_training)
        return made


def are_maps(output: Any) -> bool:
    """Return whether a layer returned maps of square photos: a Tensor (B, C, side, side)."""
    if not isinstance(output, torch.Tensor) or output.ndim != 4:
        return False
    return output.shape[2] == output.shape[3]


class FirstPart(Backbone):
    """A network up to one of its layers; its features are the means of that layer's maps.

    The layers behind it are gone; the others keep their names.
    """

    def __init__(self, network: nn.Module, layer: str, preset: Preset) -> None:
        super().__init__(create_feature_extractor(network, {layer: MAPS}), 0, preset)
        with torch.inference_mode():
            maps = self.eval().network(torch.zeros(1, 3, self.size, self.size))[MAPS]
        self.train()
        if not are_maps(maps):
            raise ValueError(f"its output for a photo has the shape {tuple(maps.shape[1:])}")
        self.features = maps.shape[1]
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: Any = super().forward(x)
        return found[MAPS].mean((2, 3))


class DetectorBackbone(Backbone):
    """Photos → the maps that the rest of one of torchvision's detectors looks at.

    Takes what `Backbone` takes, returns a list of Tensors (B, C, side, side), the largest first. It
    has no features of a whole photo.
    """

    def __init__(self, detector: nn.Module) -> None:
        steps: Any = detector.transform
        size = steps.fixed_size[0] if steps.fixed_size else steps.min_size[-1]
        network: Any = detector.backbone
        super().__init__(network, 0, Preset(steps.image_mean, steps.image_std, size))
        self.multiple = steps.size_divisible  # px that the sides of photos are multiples of

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        x = self.normalise(x)
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

    Of a detector, it is the part that makes the maps; of a name with a layer, such as
    resnet18@layer3, the part up to that layer. It is initialised from torch's global generator.

    Raises
    ------
    UserError
        If neither library knows the name, or if the network has no such layer.
    """
    library, own = find_network(name)
    layer = split_name(name)[1]
    if is_detector(own):
        if layer is not None:
            raise UserError(f"model.last_layer: {own} finds objects, which takes all its layers")
        backbone: Backbone = DetectorBackbone(build_detector(own, 1))
    else:
        build = _from_torchvision if library == "torchvision" else _from_timm
        network, features, preset = build(own)
        if layer is None:
            backbone = Backbone(network, features, preset)
        else:
            backbone = _first_part(network, own, layer, preset)
    return backbone.to(memory_format=torch.channels_last)


def split_name(name: str) -> tuple[str, str | None]:
    """Return the network's name and the layer that it ends at, if the name has one.

    >>> split_name("resnet18@layer3"), split_name("resnet18")
    (('resnet18', 'layer3'), ('resnet18', None))
    """
    whole, at, layer = name.strip().partition("@")
    return whole, layer if at else None


def find_network(name: str) -> tuple[str, str]:
    """Return the library of a network, "torchvision" or "timm", and its name there.

    If both libraries know the name, it is torchvision's. The name may be in any case, and timm's
    as the Hugging Face hub writes it: timm/resnet50.a1_in1k, hf-hub:timm/resnet50.a1_in1k. A layer
    that the network ends at is not part of its name.

    Raises
    ------
    UserError
        If neither library knows the name; the message has the nearest ones.
    """
    whole = split_name(name)[0]
    own = re.sub(r"^(hf[-_]hub:)?(timm/)?", "", whole).lower()
    torchvisions = [*torchvision.models.list_models(module=torchvision.models), *DETECTORS]
    if own in torchvisions and own == whole.lower():
        return "torchvision", own
    if timm.is_model(own) and ("." not in own or own in timm.list_pretrained()):
        return "timm", own
    known = [*torchvisions, *timm.list_models(), *timm.list_pretrained()]
    nearest = difflib.get_close_matches(own.rpartition("/")[2], dict.fromkeys(known), n=3)
    hint = f"did you mean {' or '.join(nearest)}? All are in" if nearest else "see"
    raise UserError(
        f"model.name: neither torchvision nor timm has a network named {whole!r}: {hint} "
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
    backbone = build_backbone(name)
    px = backbone.size if size == "auto" else size
    try:
        backbone.on_black(px)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"data.size: {name} can't take photos of {px} px ({error}): change data.size, or "
            "name another network in model.name"
        ) from None
    return px


def _from_torchvision(own: str) -> tuple[nn.Module, int, Preset]:
    """Return a network without its classifier, and the number of its features."""
    preset = torchvision.models.get_model_weights(own).DEFAULT.transforms()
    size = preset.crop_size[0]
    network: Any = torchvision.models.get_model(own, **_torchvision_options(own, size))
    features = _take_off_classifier(network)
    return network, features, Preset(preset.mean, preset.std, size)


def _from_timm(own: str) -> tuple[nn.Module, int, Preset]:
    network: Any = timm.create_model(own, num_classes=0)
    config = network.pretrained_cfg
    # num_features ignores the layer that MobileNetV3 and others have between pooling and head.
    features = getattr(network, "head_hidden_size", network.num_features)
    preset = Preset(config["mean"], config["std"], config["input_size"][-1])
    return network, features, preset


def _first_part(network: nn.Module, own: str, layer: str, preset: Preset) -> Backbone:
    layers = [name for name, _ in network.named_modules() if name]
    if layer not in layers:
        nearest = difflib.get_close_matches(layer, layers, n=3) or layers[:3]
        raise UserError(
            f"model.last_layer: {own} has no layer {layer!r}: did you mean {' or '.join(nearest)}?"
        )
    try:
        return FirstPart(network, layer, preset)
    except Exception as error:  # torch.fx can't follow every network, and fails in many ways
        raise UserError(
            f"model.last_layer: {own} can't end at its layer {layer}: it has no maps there, or "
            f"torch.fx can't divide it ({error}): name another layer, or null for the network's end"
        ) from None


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
