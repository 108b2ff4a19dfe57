"""Device, precision, determinism, and batches that fit the memory."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from shotcount.core.errors import UserError

Result = TypeVar("Result")

_fitted: dict[str, int] = {}  # computation → photos at once that fitted the memory


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is CUDA, else MPS, else the CPU.

    Also makes torch choose deterministic algorithms where it has them, and keep its memory.

    Raises
    ------
    UserError
        If this machine has no such device.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Each new tensor would be filled with NaN, to find code that reads what it never wrote. That
    # took 5 to 25 % of a training step, depending on the processor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_memory()
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


def _keep_memory() -> None:
    """Keep the memory of freed tensors for the next ones.

    glibc would return it to the system and get it again page by page, at every step. That took a
    tenth of the training time.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype to train in; "auto" is bfloat16 if `device` multiplies it faster."""
    if name == "auto":
        if device.type == "cuda":
            faster = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            own = torch.cpu.get_capabilities()
            has = own.get("avx512_bf16", False) or own.get("amx_bf16", False)
            faster = device.type == "cpu" and has
        name = "bfloat16" if faster else "float32"
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]


def gpu_count(device: torch.device) -> int:
    """Return how many devices of this kind the machine has; 0 for its CPU."""
    return {"cpu": 0, "mps": 1, "cuda": torch.cuda.device_count()}[device.type]


def describe(device: torch.device) -> str:
    """Return the name that people know a device by: "cpu", "NVIDIA A10G"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for the block: initialisation and dropout draw from it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def reseed(seed: int, device: torch.device) -> None:
    """Seed the generator that layers draw from on `device`, within a block of `seeded`."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)  # 70 times as fast as torch.manual_seed
    else:
        torch.manual_seed(seed)


def in_pieces(compute: Callable[[int], Result], batch_size: int, what: str) -> Result:
    """Return compute(batch_size) or, if memory is short, of the first half, quarter, ... that fits.

    Parameters
    ----------
    compute : callable
        Takes the number of photos to compute on at once.
    what : str
        Names the computation. A later call of the same name begins with the size that fitted.

    Raises
    ------
    UserError
        If there is not enough memory for one photo.
    """
    piece = min(batch_size, _fitted.get(what, batch_size))
    while True:
        try:
            return compute(piece)
        except (MemoryError, RuntimeError) as error:  # torch's is a RuntimeError
            if not is_out_of_memory(error):
                raise
        # Outside the handler, since the error's traceback keeps the tensors in memory.
        if piece == 1:
            raise UserError(
                f"device: not enough memory for {what}, even one photo at a time: lower "
                "data.size, name a smaller network in model.name, or use a larger machine"
            )
        piece //= 2
        _fitted[what] = piece
        print(f"out of memory: {what} continues with {piece} photos at a time", file=sys.stderr)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Return whether torch or Python raised it for lack of memory."""
    # Only CUDA's allocator has a class for it. CPU, cuDNN, cuBLAS and MPS say it in the message.
    words = ("allocate", "ALLOC_FAILED", "out of memory", "Invalid buffer size")
    own = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return own or any(word in str(error) for word in words)
