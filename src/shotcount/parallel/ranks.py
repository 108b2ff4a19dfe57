"""Train one network with several processes of one machine: its ranks, in torch's terms.

All ranks draw the same batches, and each computes on its share of every batch; gradients are
averaged over the ranks (DistributedDataParallel). So they take the steps of one process, except for
rounding, dropout and, on a CPU, BatchNorm (see `replicate`). Only the first rank writes files.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from shotcount.core.errors import UserError
from shotcount.networks.devices import is_out_of_memory, pick_device
from shotcount.parallel.settings import ParallelSettings

Result = TypeVar("Result")

RESTARTS = 3  # restarts of all ranks after one has died
FAULTS = {"user": UserError, "files": OSError, "memory": MemoryError}
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def process_count(parallel: ParallelSettings, gpus: int, batch_size: int, shown: int) -> int:
    """Return how many processes train one network: as many as pay off and divide the batch evenly.

    Parameters
    ----------
    parallel : ParallelSettings
    gpus : int
        GPUs of this machine; 0 to train on its CPU.
    batch_size : int
    shown : int
        Photos shown in training: steps x batch size.

    >>> auto = ParallelSettings(
    ...     threads=1, networks="auto", processes="auto", batch_share=32, from_photos=10_000
    ... )
    >>> [process_count(auto, gpus, 192, 20_000) for gpus in (0, 1, 4, 8)]
    [1, 1, 4, 6]
    >>> process_count(auto, 8, 64, 20_000), process_count(auto, 8, 192, 5_000)
    (2, 1)
    """
    most = max(gpus, 1)
    if parallel.processes != "auto":
        most = min(parallel.processes, gpus) if gpus else parallel.processes
    if shown < parallel.from_photos:
        return 1
    even = [n for n in range(2, most + 1) if batch_size % n == 0]
    return max((n for n in even if batch_size // n >= parallel.batch_share), default=1)


# ---------------------------------------------------------------------------- in a rank


def rank_and_size() -> tuple[int, int]:
    """Return this process's rank and the number of ranks; (0, 1) for a single process."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def own_share(count: int) -> slice:
    """Return the slice of `count` items that belongs to this rank."""
    rank, size = rank_and_size()
    return slice(rank * count // size, (rank + 1) * count // size)


def gather(values: np.ndarray) -> np.ndarray:
    """Join the arrays of all ranks, in order of rank, along the first axis."""
    if rank_and_size()[1] == 1:
        return values
    gathered = [values] * rank_and_size()[1]  # placeholders
    dist.all_gather_object(gathered, values)
    return np.concatenate(gathered)


def mean(value: torch.Tensor) -> torch.Tensor:
    """Average a tensor over all ranks, in place."""
    if rank_and_size()[1] > 1:
        value /= rank_and_size()[1]
        dist.all_reduce(value)
    return value


def replicate(network: nn.Module) -> nn.Module:
    """Return what to call instead of `network`, so that all ranks train it together.

    It starts from the first rank's weights. On GPUs, BatchNorm's statistics are of the whole batch;
    on a CPU, for which torch has no such layer, each rank normalises its own share.
    """
    if rank_and_size()[1] == 1:
        return network
    if next(network.parameters()).device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm  # converts timm's layers, too

        network = convert_sync_batchnorm(network)
    return nn.parallel.DistributedDataParallel(network)


def share_statistics(network: nn.Module) -> None:
    """Give every rank the first rank's running statistics, before the network is evaluated."""
    if rank_and_size()[1] > 1:
        from timm.utils.distributed import distribute_bn

        distribute_bn(network, rank_and_size()[1], reduce=False)


# ---------------------------------------------------------------------------- all ranks


def launch(work: Callable[[], Result], processes: int, device: torch.device) -> Result:
    """Run `work` in several ranks, with torchrun's launcher; return the first rank's result.

    If a rank dies, all ranks start again, up to `RESTARTS` times: `work` should resume from a
    checkpoint.

    Parameters
    ----------
    work : callable
        It and its result are pickled.
    processes : int
    device : torch.device
        "cuda" gives each rank a GPU of its own.

    Raises
    ------
    UserError, OSError, MemoryError
        If a rank raises it. The ranks do not start again, since they would fail again.
    torch.distributed.elastic.multiprocessing.errors.ChildFailedError
        If a rank fails otherwise after the last restart.
    KeyboardInterrupt
        If this process is told to stop.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed", "torch.multiprocessing"):
        # These print the traceback of every attempt; the last one is raised anyway.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Ranks report faults through memory, since the fault may be a full disk.
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
            f"a training process died: all restart from the last checkpoint ({restarts} of "
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
        # The store outlives a restart: the prefix hides the addresses of the dead processes.
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
