"""The number of steps, the learning rate and the optimiser."""

import math

import torch
from torch import nn

from shotcount.training.settings import StepDecay, TrainingSettings


def training_steps(photos: int, batch_size: int, epochs: float, min_steps: int) -> int:
    """Return the steps for a subset of `photos`: `epochs` passes, but at least `min_steps`.

    A few passes over a small subset would leave it undertrained, and the learning curve would
    show the budget instead of the data. The floor follows BiT's rule for small data sets
    (Kolesnikov et al., "Big Transfer", ECCV 2020).

    >>> training_steps(photos=1000, batch_size=4, epochs=10, min_steps=0)
    2500
    >>> training_steps(photos=60, batch_size=32, epochs=10, min_steps=100)
    100
    """
    return max(math.ceil(epochs * photos / min(batch_size, photos)), min_steps, 1)


def learning_rate(step: int, steps: int, epoch: float, settings: TrainingSettings) -> float:
    """Return the learning rate at `step` of `steps`, `epoch` passes into the subset."""
    if isinstance(settings.schedule, StepDecay):
        decays = math.floor(epoch / settings.schedule.every)
        return float(settings.learning_rate * settings.schedule.factor**decays)
    if settings.schedule == "cosine":
        return settings.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
    return settings.learning_rate


def build_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimiser. Only weights decay, not norms and biases (He et al., CVPR 2019)."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
