"""The training script of the blog post that Shotcount grew from, as it was published.

bench.py compares Shotcount's speed and accuracy with it. Its faults are kept, each marked "as
published". The variant "honest frozen" is what its frozen strategy was meant to be.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn, optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from shotcount.networks.backbones import build_backbone

BATCH, WORKERS, EPOCHS = 4, 4, 10
LEARNING_RATE, MOMENTUM = 0.001, 0.9
DECAY_EVERY, DECAY = 7, 0.1  # epochs, factor
MARGIN = 256 / 224  # photos are scaled to 256 px where the network sees 224

Item = tuple[torch.Tensor, int]  # photo and class
Batches = Iterable[Sequence[torch.Tensor]]  # (B, 3, px, px) float32 and (B,) int64
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Variant:
    pretrained: bool
    head_only: bool  # whether the optimiser gets the head alone
    fixed_backbone: bool = False  # in eval mode, and no gradient computed


# As published, frozen and finetune are the same computation: the optimiser gets the head alone,
# every gradient is computed, and train mode lets BatchNorm's statistics drift.
VARIANTS = {
    "scratch": Variant(pretrained=False, head_only=False),
    "frozen": Variant(pretrained=True, head_only=True),
    "finetune": Variant(pretrained=True, head_only=True),
    "honest frozen": Variant(pretrained=True, head_only=True, fixed_backbone=True),
}


@dataclass(frozen=True)
class PhotoFiles(Dataset[Item]):
    """Photos that are opened, decoded and transformed at every access."""

    paths: Sequence[Path]
    targets: Sequence[int]
    transform: transforms.Compose

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Item:
        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB")), int(self.targets[i])


def train_transform(px: int, mean: Sequence[float], std: Sequence[float]) -> transforms.Compose:
    """PIL image → (3, px, px) float32."""
    crop = transforms.RandomResizedCrop(round(MARGIN * px), scale=(0.5, 1), ratio=(1, 1))
    cut = [crop, transforms.CenterCrop(px), transforms.RandomHorizontalFlip()]
    return transforms.Compose([*cut, transforms.ToTensor(), transforms.Normalize(mean, std)])


def eval_transform(px: int, mean: Sequence[float], std: Sequence[float]) -> transforms.Compose:
    """PIL image → (3, px, px) float32."""
    cut = [transforms.Resize(round(MARGIN * px)), transforms.CenterCrop(px)]
    return transforms.Compose([*cut, transforms.ToTensor(), transforms.Normalize(mean, std)])


def build_loader(photos: Dataset[Item], workers: int = WORKERS) -> DataLoader[Item]:
    return DataLoader(photos, batch_size=BATCH, shuffle=True, num_workers=workers)


class RecipeNetwork(nn.Module):
    """Normalised photos (B, 3, px, px) → logits (B, classes)."""

    def __init__(self, variant: Variant, name: str, classes: int, pretrained: Weights) -> None:
        super().__init__()
        built = build_backbone(name)
        if variant.pretrained:
            built.load_state_dict(pretrained)
        # ImageNet's for torchvision's networks. Normalize applies them, so the network doesn't.
        self.input_mean = (built.mean / 255).flatten().tolist()
        self.input_std = (built.std / 255).flatten().tolist()
        # NCHW, torch's default.
        self.backbone = built.network.to(memory_format=torch.contiguous_format)
        self.head = nn.Linear(built.features, classes)
        self.fixed_backbone = variant.fixed_backbone

    def train(self, mode: bool = True) -> "RecipeNetwork":
        super().train(mode)
        self.backbone.train(mode and not self.fixed_backbone)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.fixed_backbone):
            features = self.backbone(x)
        return self.head(features)


def build_optimizer(network: RecipeNetwork, variant: Variant) -> tuple[optim.SGD, StepLR]:
    learning = network.head if variant.head_only else network  # as published: finetune's too
    optimizer = optim.SGD(learning.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    return optimizer, StepLR(optimizer, DECAY_EVERY, DECAY)


def train_epoch(
    network: RecipeNetwork, batches: Batches, optimizer: optim.SGD, device: torch.device
) -> float:
    """Take a step on each batch; return the mean loss of a photo."""
    loss_sum, photos = 0.0, 0
    network.train()
    for x, target in batches:
        optimizer.zero_grad()  # as published: other parameters' gradients add up from step to step
        loss = F.cross_entropy(network(x.to(device)), target.to(device))
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(x)
        photos += len(x)
    return loss_sum / photos


@torch.no_grad()
def count_right(network: RecipeNetwork, batches: Batches, device: torch.device) -> int:
    network.eval()
    return sum(
        int((network(x.to(device)).argmax(dim=1) == target.to(device)).sum())
        for x, target in batches
    )


def fit(
    network: RecipeNetwork,
    variant: Variant,
    photos: Mapping[str, PhotoFiles],
    device: torch.device,
    epochs: int = EPOCHS,
    workers: int = WORKERS,
) -> None:
    """Train on the photos of "train"; keep the weights of the best accuracy on those of "val".

    Order, crops and mirroring are drawn from torch's global generator.
    """
    network.to(device)
    loaders = {split: build_loader(files, workers) for split, files in photos.items()}
    optimizer, scheduler = build_optimizer(network, variant)
    best_right, best_weights = 0, copy.deepcopy(network.state_dict())
    for _ in range(epochs):
        scheduler.step()  # as published: before the epoch, so that the rate falls one epoch early
        train_epoch(network, loaders["train"], optimizer, device)
        right = count_right(network, loaders["val"], device)
        count_right(network, loaders["test"], device)  # as published: the test split, every epoch
        if right > best_right:
            best_right, best_weights = right, copy.deepcopy(network.state_dict())
    network.load_state_dict(best_weights)


@torch.no_grad()
def predict(network: RecipeNetwork, photos: PhotoFiles, device: torch.device) -> np.ndarray:
    """Return the class chosen for each photo: ndarray of shape (photos,), int64."""
    network.eval()
    batches = DataLoader(photos, batch_size=BATCH)
    return torch.cat([network(x.to(device)).argmax(dim=1).cpu() for x, _ in batches]).numpy()
