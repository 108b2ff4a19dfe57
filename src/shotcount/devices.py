"""Where torch computes, and that it computes the same each time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shotcount.errors import UserError


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is CUDA, else MPS, else the CPU.

    Also makes torch choose deterministic algorithms where it has them.

    Raises
    ------
    UserError
        If this machine has no such device.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    torch.use_deterministic_algorithms(True, warn_only=True)
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in present.items() if there)
    if not present[name]:
        raise UserError(f"device: this machine has no {name}: use auto or cpu")
    return torch.device(name)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for the block: layers initialise and drop out from it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
