"""The training script of the blog post that Shotcount grew from, as it was published.

What Shotcount's speed and accuracy are measured against (bench.py). Its faults are kept: each is
marked "as published". "honest frozen" is what its frozen strategy was meant to be.
"""

import copy
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from shotcount.networks.backbones import build_backbone

BATCH, WORKERS, EPOCHS = 4, 4, 10
LEARNING_RATE, MOMENTUM = 0.001, 0.9
DECAY_EVERY, DECAY = 7, 0.1  # epochs, factor
MARGIN = 256 / 224  # photos are scaled to 256 px where the network sees 224


@dataclass(frozen=True)
class Variant:
    pretrained: bool
    head_only: bool  # whether SGD is handed the head alone
    fixed_backbone: bool = False  # in eval mode, and no gradient computed


# As published, frozen and finetune come to the same: the optimiser gets the head alone, while every
# gradient is computed, and train mode lets BatchNorm's statistics drift.
VARIANTS = {
    "scratch": Variant(pretrained=False, head_only=False),
    "frozen": Variant(pretrained=True, head_only=True),
    "finetune": Variant(pretrained=True, head_only=True),
    "honest frozen": Variant(pretrained=True, head_only=True, fixed_backbone=True),
}

# ---------------------------------------------------------------------------- photos


@dataclass(frozen=True)
class PhotoFiles(Dataset[tuple[torch.Tensor, int]]):
    """Photos that are opened, decoded and transformed each time anew."""

    paths: Sequence[Path]
    targets: Sequence[int]
    transform: transforms.Compose

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB")), int(self.targets[i])


def train_transform(
    px: int, mean: Sequence[float], std: Sequence[float]
) -> transforms.Compose:  # PIL image → (3, px, px) float32
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(round(MARGIN * px), scale=(0.5, 1), ratio=(1, 1)),
            transforms.CenterCrop(px),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


def eval_transform(
    px: int, mean: Sequence[float], std: Sequence[float]
) -> transforms.Compose:  # PIL image → (3, px, px) float32
    return transforms.Compose(
        [
            transforms.Resize(round(MARGIN * px)),
            transforms.CenterCrop(px),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


def build_loader(
    photos: PhotoFiles, workers: int = WORKERS
) -> DataLoader[tuple[torch.Tensor, int]]:
    return DataLoader(photos, batch_size=BATCH, shuffle=True, num_workers=workers)


# ---------------------------------------------------------------------------- network


class Network(nn.Module):
    """Normalised photos (B, 3, px, px) → logits (B, classes)."""

    def __init__(
        self,
        variant: Variant,
        name: str,
        classes: int,
        pretrained: Mapping[str, torch.Tensor] | None,
    ) -> None:
        super().__init__()
        built = build_backbone(name)
        if variant.pretrained and pretrained is not None:
            built.load_state_dict(pretrained)
        # ImageNet's for torchvision's networks; Normalize gets them, so that the network doesn't.
        self.input_mean = (built.mean / 255).flatten().tolist()
        self.input_std = (built.std / 255).flatten().tolist()
        # NCHW, as torch lays out what nobody asks to be laid out otherwise.
        self.backbone = built.network.to(memory_format=torch.contiguous_format)
        self.head = nn.Linear(built.features, classes)
        self.fixed_backbone = variant.fixed_backbone

    def train(self, mode: bool = True) -> "Network":
        super().train(mode)
        self.backbone.train(mode and not self.fixed_backbone)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.fixed_backbone):
            features = self.backbone(x)
        return self.head(features)


def build_optimizer(
    network: Network, variant: Variant
) -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.StepLR]:
    learning = network.head if variant.head_only else network  # as published: finetune's too
    optimizer = torch.optim.SGD(learning.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    return optimizer, torch.optim.lr_scheduler.StepLR(optimizer, DECAY_EVERY, DECAY)


# ---------------------------------------------------------------------------- training

Batches = Iterable[Sequence[torch.Tensor]]  # (B, 3, px, px) float32 and (B,) int64


def train_epoch(
    network: Network, batches: Batches, optimizer: torch.optim.SGD, device: torch.device
) -> float:
    """Take a step on each batch; return the mean loss of a photo."""
    network.train()
    loss_sum, photos = 0.0, 0
    for x, target in batches:
        optimizer.zero_grad()  # as published: of what it was handed, the others' gradients pile up
        loss = F.cross_entropy(network(x.to(device)), target.to(device))
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(x)
        photos += len(x)
    return loss_sum / photos


@torch.no_grad()
def count_right(network: Network, batches: Batches, device: torch.device) -> int:
    network.eval()
    return sum(
        int((network(x.to(device)).argmax(dim=1) == target.to(device)).sum())
        for x, target in batches
    )


@dataclass(frozen=True)
class Epoch:
    learning_rate: float
    train_loss: float
    train_seconds: float
    val_accuracy: float
    test_accuracy: float
    judging_seconds: float  # validation and test


def fit(
    network: Network,
    variant: Variant,
    photos: Mapping[str, PhotoFiles],
    device: torch.device,
    epochs: int = EPOCHS,
    workers: int = WORKERS,
) -> list[Epoch]:
    """Train `network` in place and leave it with the weights of the best validation accuracy.

    Order, crops and mirroring are drawn from torch's global generator.

    Parameters
    ----------
    photos : mapping of str to PhotoFiles
        train, val and test.
    """
    network.to(device)
    loaders = {split: build_loader(files, workers) for split, files in photos.items()}
    optimizer, scheduler = build_optimizer(network, variant)
    best_accuracy, best_weights = 0.0, copy.deepcopy(network.state_dict())
    history = []
    for _ in range(epochs):
        scheduler.step()  # as published: before the epoch, so that the rate falls one epoch early
        rate = float(scheduler.get_last_lr()[0])
        start = time.perf_counter()
        loss = train_epoch(network, loaders["train"], optimizer, device)
        trained = time.perf_counter()
        accuracy = {
            split: count_right(network, loaders[split], device) / len(photos[split])
            for split in ("val", "test")  # as published: the test split too, every epoch
        }
        judged = time.perf_counter()
        if accuracy["val"] > best_accuracy:
            best_accuracy = accuracy["val"]
            best_weights = copy.deepcopy(network.state_dict())
        history.append(
            Epoch(rate, loss, trained - start, accuracy["val"], accuracy["test"], judged - trained)
        )
    network.load_state_dict(best_weights)
    return history


@torch.no_grad()
def predict(network: Network, photos: PhotoFiles, device: torch.device) -> np.ndarray:
    """Return the class chosen for each photo: ndarray of shape (photos,), int64."""
    network.eval()
    batches = DataLoader(photos, batch_size=BATCH)
    return torch.cat([network(x.to(device)).argmax(dim=1).cpu() for x, _ in batches]).numpy()
