"""What a backbone makes of photos: its layers' maps, and the features of all photos, once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shotcount.core import files
from shotcount.core.pixels import Pixels
from shotcount.networks.backbones import Backbone, DetectorBackbone, are_maps, build_backbone
from shotcount.networks.devices import in_pieces
from shotcount.networks.settings import ModelSettings

BATCH = 128
PLACES = 2  # on a side of the maps that the network ends at, at least


@torch.inference_mode()
def extract(
    network: nn.Module, pixels: Pixels | np.ndarray, device: torch.device, start: int = 0
) -> Iterator[np.ndarray]:
    """Yield what a frozen network, mostly a `Backbone`, returns for BATCH photos at a time.

    Parameters
    ----------
    pixels : Pixels
        Only one batch at a time is read into memory.
    start : int
        The photo to begin with: a multiple of BATCH, since the last bits of a photo's features
        depend on its batch.

    Yields
    ------
    ndarray of shape (<= BATCH, ...)
    """
    network = network.to(device).eval()  # BatchNorm uses ImageNet's statistics

    def compute(x: torch.Tensor, piece: int) -> np.ndarray:
        return torch.cat([network(part).cpu() for part in x.split(piece)]).numpy()

    for first in range(start, len(pixels), BATCH):
        x = torch.tensor(pixels[first : first + BATCH]).to(device).permute(0, 3, 1, 2).float()
        yield in_pieces(partial(compute, x), BATCH, "computing features")


def write_features(
    path: Path, network: nn.Module, pixels: Pixels, device: torch.device
) -> Iterator[int]:
    """Write what `network` returns into a .npy file, resuming after the last whole batch in it.

    Yields the number of photos done so far.
    """
    one = next(extract(network, pixels[:1], device))
    header = files.npy_header(one.dtype.str, (len(pixels), *one.shape[1:]))
    batch_bytes = BATCH * one.nbytes
    path.touch()
    batches = max(0, path.stat().st_size - len(header)) // batch_bytes
    os.truncate(path, len(header) + batches * batch_bytes if batches else 0)
    if not batches:
        files.append(path, header)
    done = batches * BATCH
    yield done
    for batch in extract(network, pixels, device, start=done):
        files.append(path, batch.tobytes())
        done += len(batch)
        yield done


# ---------------------------------------------------------------------------- layers


def last_layer(model: ModelSettings, px: int) -> str | None:
    """Return the layer that a network ends at with photos of `px` x `px`; None: its own end.

    "auto" is the last one whose maps have `PLACES` on a side. With one place, most weights of a
    kernel would meet padding alone, and features are worse (docs/speed.md). A detector has its own
    end.
    """
    if model.last_layer != "auto":
        return model.last_layer
    backbone = build_backbone(model.name)
    if isinstance(backbone, DetectorBackbone):
        return None
    native, own = (map_shapes(backbone, size) for size in (backbone.size, px))
    layers = [name for name, shape in native.items() if shape[1] >= PLACES]  # not those pooled
    fitting = [name for name in layers if name in own and own[name][1] >= PLACES]
    return fitting[-1] if fitting and fitting[-1] != layers[-1] else None


def map_shapes(backbone: Backbone, size: int) -> dict[str, tuple[int, int]]:
    """Return the layers that return maps, in their order, with channels and side of each.

    They are among those that timm lists as features or, in torchvision's networks, among the parts
    of the network.

    Parameters
    ----------
    backbone : Backbone
    size : int
        Of the photos, in px.
    """
    network = backbone.network
    listed: Any = getattr(network, "feature_info", None)
    if listed is not None:
        names = [each["module"] for each in listed]
    else:
        parts = getattr(network, "features", None)
        names = [f"features.{name}" for name, _ in parts.named_children()] if parts else []
        names += [name for name, _ in network.named_children()]
    with outputs_of(network, names) as outputs:
        backbone.on_black(size)
    return {
        name: (output.shape[1], output.shape[2])
        for name, output in outputs.items()
        if are_maps(output)
    }


@contextmanager
def outputs_of(network: nn.Module, names: list[str]) -> Iterator[dict[str, Any]]:
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
