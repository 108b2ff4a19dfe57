"""What the ranks of test_ranks.py compute, in a module of few imports: each rank needs them."""

import copy
from pathlib import Path

import numpy as np
import torch

from shotcount.parallel import ranks


def rank() -> int:
    return ranks.rank_and_size()[0]


def step(network: torch.nn.Module, x: torch.Tensor, folder: Path) -> None:
    """Take a step; save gradients, and buffers before and after sharing the statistics."""
    network = copy.deepcopy(network)  # tensors that come through pickle are shared by the ranks
    own, weights = ranks.own_share(len(x)), torch.arange(len(x)).sin()
    together = ranks.replicate(network)  # named, to be there when gradients are made
    (weights[own] * together(x[own]).mean(dim=1)).mean().backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    ranks.share_statistics(network)
    torch.save((gradients, before, dict(network.named_buffers())), folder / f"{rank()}.pt")


def own_part(count: int) -> np.ndarray:
    return ranks.gather(np.arange(count)[ranks.own_share(count)])


def norms(name: str) -> set[str]:
    from shotcount.networks.backbones import build_backbone

    network = ranks.replicate(build_backbone(name).to("cuda"))
    return {type(layer).__name__ for layer in network.modules() if "Norm" in type(layer).__name__}


def fail_in(failing: int, error: Exception, begun: Path) -> None:
    with begun.open("a") as file:
        file.write(f"{rank()}\n")
    if rank() == failing:
        raise error
    ranks.gather(np.zeros(1))  # waits for the other
