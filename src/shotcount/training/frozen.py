"""Heads on the frozen backbone's features: solved or, for detectors, trained."""

from dataclasses import replace

import torch

from shotcount.core.seeds import seed_for
from shotcount.networks.devices import seeded
from shotcount.networks.heads import Solved, solve_head
from shotcount.tasks.strategies import STRATEGIES, Examples
from shotcount.training.budgets import Rates
from shotcount.training.loop import Decided, Run, train_network
from shotcount.training.setup import Setup

STEPS = 200  # of a detector's head, before the backbone is trained, too


def solve(setup: Setup, train: Examples, val: Examples) -> Solved:
    """Solve a head on the cached features of `train`."""
    features = setup.arrays.features
    known, unseen = ((features[e.rows], e.targets) for e in (train, val))
    return solve_head(known, unseen, len(setup.classes))


def frozen_head(setup: Setup, run: Run) -> dict[str, torch.Tensor]:
    """Return a head on the frozen backbone's features of the photos of `run`."""
    if setup.task.solves_heads:
        return solve(setup, run.train, run.val).state
    from shotcount.tasks.detector import Head  # torchvision takes seconds to import

    whole = {"schedule": "cosine", "crop_scale": 1.0}  # cached maps are of whole photos
    short = replace(
        run,
        settings=run.settings.model_copy(update=whole),
        decided=Decided(STEPS, 1.0),
    )
    with seeded(seed_for("initialisation", *run.key)):
        head, load = setup.task.assemble(
            STRATEGIES["frozen"], setup.network, setup.arrays, setup.compute.device, short.settings
        )
        assert isinstance(head, Head)
        train_network(head, load, replace(short, rates=Rates(head.first_rate, 1.0)))
    return head.state_dict()
