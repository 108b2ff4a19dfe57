"""The number of steps, when to validate, the learning rates and the optimiser."""

import math
from typing import NamedTuple

import torch
from torch import nn

from shotcount.training.settings import StepDecay, TrainingSettings

WARM_UP = 20  # steps over which the rate of `schedule: auto` rises; its moments settle meanwhile
PATIENCE = 2.0  # it trains on to this many times the step of the lowest validation loss ...
LEAST = 150  # ... and for at least so many steps
# Steps of a network with random weights whose looks at validation don't count: it goes up and down
# at first, and a few validation samples can be named by luck.
EARLY = 500
AVERAGED = 8.0  # the larger, the fewer of the last steps `averaging_weight` averages over


class Rates(NamedTuple):
    """Learning rates: the head's, and the backbone's as a fraction of it."""

    learning_rate: float
    backbone_rate: float


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


def next_look(step: int, early: int = 0) -> int:
    """Return the step of the look at validation after that at `step`.

    The distance grows with the steps, so that looks take a constant share of the time and a short
    run has enough of them. Before the step `early`, looks don't count, and are few.

    >>> next_look(0), next_look(10), next_look(1000), next_look(0, early=500)
    (10, 20, 1200, 100)
    """
    return step + max(10, max(step, early) // 5)


def has_settled(step: int, best_step: int) -> bool:
    """Return whether the validation loss, lowest at `best_step`, has stopped improving.

    How long to wait grows with what the last improvement took, since a slowly trained network
    improves at longer intervals (Bengio, "Practical recommendations for gradient-based training of
    deep architectures", 2012).

    >>> has_settled(400, best_step=100), has_settled(400, best_step=210), has_settled(40, 0)
    (True, False, False)
    """
    return step >= max(LEAST, PATIENCE * best_step)


def averaging_weight(step: int) -> float:
    """Return the weight of the network after `step` steps in the average of all networks so far.

    A rate that falls to 0 would have to know the last step beforehand. Averaging the networks of
    a constant rate instead is as good at every step (polynomial-decay averaging: Shamir and Zhang,
    ICML 2013).

    >>> averaging_weight(1), averaging_weight(92)
    (1.0, 0.09)
    """
    return (AVERAGED + 1) / (AVERAGED + step)


def schedule_factor(step: int, steps: int, epoch: float, settings: TrainingSettings) -> float:
    """Return the learning rates' factor at `step` of `steps`, `epoch` passes into the subset."""
    if isinstance(settings.schedule, StepDecay):
        return float(settings.schedule.factor ** math.floor(epoch / settings.schedule.every))
    if settings.schedule == "cosine":
        return (1 + math.cos(math.pi * step / steps)) / 2
    return min(1.0, (step + 1) / WARM_UP) if settings.schedule == "auto" else 1.0


def build_optimizer(
    network: nn.Module, settings: TrainingSettings, rates: Rates
) -> torch.optim.Optimizer:
    """Return the optimiser; each of its groups holds its own full learning rate as `full_lr`.

    Only weights decay, not norms and biases (He et al., CVPR 2019).
    """
    parts: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        own = rates.backbone_rate if name.startswith("backbone.") else 1.0
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        parts.setdefault((own * rates.learning_rate, decay), []).append(parameter)
    groups = [
        {"params": own, "lr": rate, "full_lr": rate, "weight_decay": decay}
        for (rate, decay), own in parts.items()
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, fused=True)
