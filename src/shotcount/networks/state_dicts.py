"""Read pretrained weights from a file, in any of the forms that trainers leave them in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from shotcount.core.errors import UserError

State = dict[str, torch.Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")  # keys of checkpoints
OWN = "weights.safetensors"  # in the folder of a classifier, as the stage classifier makes it


class _Inert:
    """Stands for every object of a checkpoint that isn't a tensor, so that no code of it runs."""

    def __new__(cls, *_: object, **__: object) -> "_Inert":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def read_state(path: Path) -> State:
    """Read the tensors of a state dict, also one inside a checkpoint.

    Parameters
    ----------
    path : Path
        A .safetensors file, a file saved by torch, or the folder of a classifier.

    Raises
    ------
    UserError
        If the file can't be read, or holds no state dict.
    """
    path = path / OWN if path.is_dir() else path
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = _load(path)
    except FileNotFoundError:
        raise UserError(f"model.weights: there is no file {path}") from None
    except Exception as error:  # of any type, depending on the file
        lines = str(error).splitlines() or [type(error).__name__]
        # Torch's own message offers to run the code in the file.
        reason = "it holds more than tensors" if "eights only" in lines[0] else lines[0]
        raise UserError(f"model.weights: {path} is not a readable state dict: {reason}") from None
    content = _unwrap(content)
    if isinstance(content, _Inert):
        raise UserError(
            f"model.weights: {path} holds a whole pickled network, which only its own code can "
            "read: save its state dict with torch.save(model.state_dict(), 'weights.pth')"
        )
    tensors = content.items() if isinstance(content, Mapping) else ()
    state = {str(key): value for key, value in tensors if isinstance(value, torch.Tensor)}
    if not state:
        raise UserError(f"model.weights: {path} is not a state dict: save model.state_dict()")
    return state


def fit(state: State, wanted: State, name: str, weights: str) -> State:
    """Return the tensors of `wanted` from a state dict whose keys may have a common prefix.

    Prefixes such as "module." or "backbone.network." come from what a network was wrapped in.
    Other tensors of `state`, such as a classifier's, are left out.

    Raises
    ------
    UserError
        If a tensor is missing or of another shape, or if several networks fit.
    """
    first = next(iter(wanted))
    prefixes = sorted({k.removesuffix(first) for k in state if f".{k}".endswith(f".{first}")})
    unfit = {prefix: _unfit(state, wanted, prefix) for prefix in prefixes or [""]}
    fitting = [prefix for prefix, keys in unfit.items() if not keys]
    if len(fitting) > 1:
        raise UserError(
            f"model.weights: {weights} holds {len(fitting)} networks that fit {name}, with the "
            f"prefixes {', '.join(repr(prefix) for prefix in fitting)}: keep one in the file"
        )
    if not fitting:
        keys = min(unfit.values(), key=len)
        raise UserError(
            f"model.weights: {weights} doesn't fit {name}: {len(keys)} of its {len(wanted)} "
            f"tensors are missing or of another shape, {keys[0]} first"
        )
    return {key: state.get(fitting[0] + key, value) for key, value in wanted.items()}


def _unfit(state: State, wanted: State, prefix: str) -> list[str]:
    return [
        key
        for key, value in wanted.items()
        # Old files lack this counter, which no network uses to compute.
        if not key.endswith("num_batches_tracked")
        and (prefix + key not in state or state[prefix + key].shape != value.shape)
    ]


def _unwrap(content: Any) -> Any:
    while isinstance(content, Mapping):
        inner = (content[name] for name in WRAPPERS if name in content)
        found = next((x for x in inner if isinstance(x, Mapping | _Inert)), None)
        if found is None:
            break
        content = found
    return content


def _load(path: Path) -> Any:
    """Load a file saved by torch; objects that aren't tensors become `_Inert`, or plain dicts."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # an older format: tensors only
        names = []
    inert: list[Any] = [(dict if name.endswith("Dict") else _Inert, name) for name in names]
    with torch.serialization.safe_globals(inert):
        return torch.load(path, map_location="cpu", weights_only=True)
