"""A linear head: on cached features alone, or on the backbone that makes them."""

import torch
from torch import nn


def build_head(features: int, classes: int) -> nn.Linear:
    """Return a linear head that starts at equal probabilities, whatever the seed.

    Zeros also spare the pretrained backbone the gradients of a random head (Kolesnikov et al.,
    "Big Transfer", ECCV 2020).
    """
    head = nn.Linear(features, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


class Classifier(nn.Module):
    """Backbone and head: photos (B, 3, H, W), pixel values 0 to 255 → logits (B, classes)."""

    def __init__(self, backbone: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = build_head(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))
