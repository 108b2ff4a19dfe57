"""One network trained by several processes of this machine: its ranks, in torch's terms.

All ranks draw the same batches, and each computes on its share of every one; gradients are averaged
over the ranks (DistributedDataParallel) and BatchNorm's statistics are of the whole batch. So the
ranks take the steps that one process would, but for the order in which numbers are added. Only the
first rank writes.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.nn.modules.batchnorm import _BatchNorm

from shotcount.devices import is_out_of_memory, pick_device
from shotcount.errors import UserError
from shotcount.params import Parallel

Result = TypeVar("Result")

RESTARTS = 3  # of all ranks, after one of them died
FAULTS = {"user": UserError, "files": OSError, "memory": MemoryError}
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def process_count(parallel: Parallel, gpus: int, batch_size: int, shown: int) -> int:
    """Return how many processes to train with: as many as pay, and share a batch evenly.

    Parameters
    ----------
    parallel : Parallel
    gpus : int
        Of this machine; 0 to train on its CPU.
    batch_size : int
    shown : int
        Photos that training shows to the network, each as often as it does.

    >>> pays = Parallel(processes="auto", batch_share=32, from_photos=10_000)
    >>> [process_count(pays, gpus, 192, 20_000) for gpus in (0, 1, 4, 8)]
    [1, 1, 4, 6]
    >>> process_count(pays, 8, 64, 20_000), process_count(pays, 8, 192, 5_000)
    (2, 1)
    """
    most = max(gpus, 1)
    if parallel.processes != "auto":
        most = min(parallel.processes, gpus) if gpus else parallel.processes
    if shown < parallel.from_photos:
        return 1
    fit = [n for n in range(2, most + 1) if batch_size % n == 0]
    return max((n for n in fit if batch_size // n >= parallel.batch_share), default=1)


# ---------------------------------------------------------------------------- in a rank


def place() -> tuple[int, int]:
    """Return this process's rank and how many there are: (0, 1) where it is alone."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def share(count: int) -> slice:
    """Return which of `count` things are this rank's."""
    rank, size = place()
    return slice(rank * count // size, (rank + 1) * count // size)


def gather(values: np.ndarray) -> np.ndarray:
    """Join what the ranks have, in their order, along the first axis."""
    if place()[1] == 1:
        return values
    every = [values] * place()[1]  # to be overwritten
    dist.all_gather_object(every, values)
    return np.concatenate(every)


def mean(value: torch.Tensor) -> torch.Tensor:
    """Average what the ranks have, in place, on their devices."""
    if place()[1] > 1:
        value /= place()[1]
        dist.all_reduce(value)
    return value


def spread(network: nn.Module) -> nn.Module:
    """Return what to call instead of `network`, so that the ranks train it together.

    It starts from the first rank's weights.
    """
    if place()[1] == 1:
        return network
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = partial(_normalise, layer, layer.forward)  # type: ignore[method-assign]
    return nn.parallel.DistributedDataParallel(network)


def _normalise(
    layer: _BatchNorm, alone: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    """Compute what a layer of BatchNorm does, by the statistics of all ranks' photos.

    Unlike torch's SyncBatchNorm, on a CPU as well as on a GPU, and for timm's layers.
    """
    if not layer.training:
        return alone(x)
    y, centre, variance = _BatchNormOfAll.apply(x, layer.weight, layer.bias, layer.eps)
    with torch.no_grad():
        assert layer.running_mean is not None and layer.running_var is not None
        assert layer.num_batches_tracked is not None
        layer.num_batches_tracked += 1
        rate = layer.momentum or 1 / float(layer.num_batches_tracked)
        count = place()[1] * x.numel() / x.shape[1]
        layer.running_mean.lerp_(centre, rate)
        layer.running_var.lerp_(variance * count / (count - 1), rate)
    for after in ("drop", "act"):  # of timm's BatchNormAct2d
        y = getattr(layer, after, nn.Identity())(y)
    return y


class _BatchNormOfAll(torch.autograd.Function):
    """Ioffe and Szegedy, "Batch Normalization", ICML 2015; every rank has as many photos."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # For the statistics alone, in float32 whatever x is in.
        _, own, scale = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        own = torch.stack([own, scale**-2 - eps])
        every = [torch.empty_like(own) for _ in range(place()[1])]
        dist.all_gather(every, own)
        means, variances = torch.stack(every, dim=1)  # (ranks, channels) each
        centre = means.mean(dim=0)
        variance = (variances + (means - centre).square()).mean(dim=0)
        ctx.save_for_backward(x, weight, centre, variance)
        ctx.mark_non_differentiable(centre, variance)
        ctx.eps = eps
        y = F.batch_norm(x, centre, variance, weight, bias, training=False, eps=eps)
        return y, centre, variance

    @staticmethod
    def backward(
        ctx: Any, dy: torch.Tensor, *_: None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        x, weight, centre, variance = ctx.saved_tensors
        dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, centre, variance, None, None, False, ctx.eps, [True, True, True]
        )
        # Besides, through the mean and the variance, each number moves those of all ranks.
        by_mean, by_variance = mean(torch.stack([d_bias, d_weight])) * x.shape[1] / x.numel()
        scale = (variance + ctx.eps).rsqrt()
        slope, level = weight * scale * scale * by_variance, weight * scale * by_mean
        # (x - centre) · slope + level, by torch's fastest way to say so
        unit = torch.full_like(variance, 1 - ctx.eps)
        dx -= F.batch_norm(x, centre, unit, slope, level, training=False, eps=ctx.eps)
        return dx, d_weight, d_bias, None


# ---------------------------------------------------------------------------- all ranks


def launch(work: Callable[[], Result], processes: int, device: torch.device) -> Result:
    """Run `work` as so many ranks, by torchrun's launcher; return what the first one returns.

    If one of them dies, all begin again, up to `RESTARTS` times: let `work` go on from a
    checkpoint.

    Parameters
    ----------
    work : callable
        Sent to the other processes, as its result is to this one.
    processes : int
    device : torch.device
        "cuda" stands for a GPU of each rank's own.

    Raises
    ------
    UserError, OSError, MemoryError
        As a rank does. No rank begins again then, since it would end alike.
    torch.distributed.elastic.multiprocessing.errors.ChildFailedError
        If a rank fails otherwise, once too often.
    KeyboardInterrupt
        If this process is told to stop.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed", "torch.multiprocessing"):
        # They print the traceback of every try; the last one's is raised.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # In this process, since its disk may be what is full.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="shotcount",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="localhost",
        max_restarts=RESTARTS,
        signals_to_handle=",".join(each.name for each in SIGNALS),
    )
    handlers = [(each, signal.getsignal(each)) for each in SIGNALS]
    try:
        results = elastic_launch(config, _rank)(work, device, store.port)
    except SignalException:
        raise KeyboardInterrupt from None
    finally:
        for each, handler in handlers:  # the launcher leaves its own
            signal.signal(each, handler)
    if store.check(["fault"]):
        kind, arguments = json.loads(store.get("fault"))
        raise FAULTS[kind](*arguments)
    return results[0]


def _rank(work: Callable[[], Result], device: torch.device, port: int) -> Result | None:
    store = TCPStore("localhost", port)
    if store.check(["fault"]):
        return None
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    if rank == 0 and restarts != "0":
        print(
            f"a process of training died: all begin again at the last checkpoint ({restarts} of "
            f"{RESTARTS})",
            file=sys.stderr,
        )
    pick_device(device.type)
    if device.type == "cuda":
        torch.cuda.set_device(rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        rank=rank,
        world_size=size,
        # Which outlives a restart: other addresses in it are of those that died.
        store=PrefixStore(restarts, store),
    )
    try:
        result = work()
    except Exception as error:
        if isinstance(error, UserError):
            store.set("fault", json.dumps(["user", [str(error)]]))
        elif isinstance(error, OSError):
            store.set("fault", json.dumps(["files", [error.errno, error.strerror]]))
        elif is_out_of_memory(error):
            store.set("fault", json.dumps(["memory", [str(error)]]))
        raise  # the other ranks wait for this one: it has to fail for the launcher to end them
    dist.destroy_process_group()
    return result
