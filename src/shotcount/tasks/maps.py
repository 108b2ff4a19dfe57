"""The backbone's maps, on which a detector looks for objects: at strides of 8, 16 and 32 px."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from shotcount.core.errors import UserError
from shotcount.networks.backbones import Backbone

STRIDES = (8, 16, 32)


def find_maps(backbone: Backbone, layers: list[str], x: torch.Tensor) -> list[torch.Tensor]:
    """Return the outputs of some layers for photos (B, 3, H, H): (B, C, H / stride, H / stride).

    Without layers, the backbone is a detector's, which returns its maps itself.
    """
    if not layers:
        return list(backbone(x))
    with _outputs(backbone.network, layers) as outputs:
        backbone(x)
    return [outputs[layer] for layer in layers]


def choose_layers(backbone: Backbone, size: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Choose the layers whose outputs are the maps; return them, and channels and side of each.

    For each stride, it is the last layer with a map of that size among those that timm lists as
    features or, in torchvision's networks, among the parts of the network. A detector's backbone
    needs no layers: it returns its own maps.

    Raises
    ------
    UserError
        If the network has no such maps.
    """
    network = backbone.network
    listed: Any = getattr(network, "feature_info", None)
    if listed is not None:
        names = [each["module"] for each in listed]
    else:
        parts = getattr(network, "features", None)
        names = [f"features.{name}" for name, _ in parts.named_children()] if parts else []
        names += [name for name, _ in network.named_children()]
    was_training = backbone.training
    with torch.inference_mode(), _outputs(network, names) as outputs:
        seen: Any = backbone.eval()(torch.zeros(1, 3, size, size))
    backbone.train(was_training)
    if isinstance(seen, list):
        return [], [(each.shape[1], each.shape[2]) for each in seen]
    shapes = {
        name: (output.shape[1], output.shape[2], output.shape[3])
        for name, output in outputs.items()
        if isinstance(output, torch.Tensor) and output.ndim == 4
    }
    found = []
    for stride in STRIDES:
        side = -(-size // stride)
        fitting = [name for name, shape in shapes.items() if shape[1:] == (side, side)]
        if not fitting:
            raise UserError(
                f"model.name: this network has no map of one place for {stride} × {stride} px, "
                "which a detector needs: name a convolutional network as a whole, for example "
                "tf_efficientnet_lite0 or resnet18"
            )
        found.append(fitting[-1])
    return found, [shapes[name][:2] for name in found]


@contextmanager
def _outputs(network: nn.Module, names: list[str]) -> Iterator[dict[str, Any]]:
    """Collect the outputs of the named parts while the block runs, in the order they come."""
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs[name] = output

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
