"""The backbone's maps, on which a detector looks for objects: at strides of 8, 16 and 32 px."""

import torch

from shotcount.core.errors import UserError
from shotcount.networks.backbones import Backbone, DetectorBackbone, FirstPart
from shotcount.networks.features import map_shapes, outputs_of

STRIDES = (8, 16, 32)


def find_maps(backbone: Backbone, layers: list[str], x: torch.Tensor) -> list[torch.Tensor]:
    """Return the outputs of some layers for photos (B, 3, H, H): (B, C, H / stride, H / stride).

    Without layers, the backbone is a detector's, which returns its maps itself.
    """
    if not layers:
        return list(backbone(x))
    with outputs_of(backbone.network, layers) as outputs:
        backbone(x)
    return [outputs[layer] for layer in layers]


def choose_layers(backbone: Backbone, size: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Choose the layers whose outputs are a detector's maps; return them, and channels and side of
    each.

    For each stride, it is the last layer with a map of that size. A detector's backbone needs no
    layers: it returns its own maps.

    Raises
    ------
    UserError
        If the network has no such maps.
    """
    if isinstance(backbone, DetectorBackbone):
        return [], [(maps.shape[1], maps.shape[2]) for maps in backbone.on_black(size)]
    if isinstance(backbone, FirstPart):
        raise UserError(
            f"model.last_layer: to find objects takes all layers, but with photos of {size} px the "
            f"network ends at {backbone.layer}: raise data.size, or set model.last_layer to null"
        )
    shapes = map_shapes(backbone, size)
    found = []
    for stride in STRIDES:
        side = -(-size // stride)
        fitting = [name for name, shape in shapes.items() if shape[1] == side]
        if not fitting:
            raise UserError(
                f"model.name: this network has no map of one place for {stride} × {stride} px, "
                "which a detector needs: name a convolutional network, for example "
                "tf_efficientnet_lite0 or resnet18"
            )
        found.append(fitting[-1])
    return found, [shapes[name] for name in found]
