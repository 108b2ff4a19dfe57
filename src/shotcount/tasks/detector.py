"""The detector: maps → for every anchor, offsets of a box and scores of the classes.

The head is that of SSDLite (Sandler et al., "MobileNetV2", CVPR 2018): light enough to be trained
on cached maps in seconds.
"""

from functools import partial

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation, batched_nms

from shotcount.networks.backbones import Backbone
from shotcount.tasks.anchors import anchors_a_place, build_anchors, decode
from shotcount.tasks.maps import find_maps

EXTRA = (256, 128)  # channels of two further maps, each half as large as the one before
MOST = 100  # detections of a photo
LEAST = 0.01  # score of a detection
CANDIDATES = 400  # anchors of a class that are considered
OVERLAP = 0.5  # IoU from which two detections of a class are the same object

norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)  # as in torchvision's SSDLite


class DetectionHead(nn.Module):
    """Maps → (B, 4 + 1 + classes, anchors): offsets, then logits of no object and each class."""

    def __init__(self, maps: list[tuple[int, int]], classes: int, size: int) -> None:
        """Build the head for `maps`, channels and side of each, of photos of `size` px."""
        super().__init__()
        self.maps = maps
        channels, sides = [c for c, _ in maps], [side for _, side in maps]
        self.extra = nn.ModuleList()
        for width in EXTRA:
            self.extra.append(_halving(channels[-1], width))
            channels.append(width)
            sides.append((sides[-1] + 1) // 2)
        self.offsets = nn.ModuleList(_predictor(width, 4) for width in channels)
        self.logits = nn.ModuleList(_predictor(width, 1 + classes) for width in channels)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # as torchvision's SSDLite
                nn.init.normal_(layer.weight, std=0.03)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.anchors: torch.Tensor
        # Computed from the photo's size, not learned: kept out of the state dict.
        self.register_buffer("anchors", build_anchors(size, sides), persistent=False)

    def forward(self, maps: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """Take a list of maps, or cached ones as one tensor (B, values)."""
        found = self._unpacked(maps) if isinstance(maps, torch.Tensor) else list(maps)
        for halving in self.extra:
            found.append(halving(found[-1]))
        return torch.cat([_by_anchor(self.offsets, found), _by_anchor(self.logits, found)], dim=1)

    def _unpacked(self, cached: torch.Tensor) -> list[torch.Tensor]:
        parts = cached.split([c * side**2 for c, side in self.maps], dim=1)
        return [
            part.view(-1, side, side, c).permute(0, 3, 1, 2)  # channels last, as convolutions like
            for part, (c, side) in zip(parts, self.maps, strict=True)
        ]


class Detector(nn.Module):
    """Photos (B, 3, H, H), pixel values 0 to 255 → the outputs of `DetectionHead`."""

    def __init__(
        self,
        backbone: Backbone,
        layers: list[str],
        head: DetectionHead,
        keeps_statistics: bool = False,
    ) -> None:
        """Join a backbone, the layers whose outputs are its maps, and a head for these maps."""
        super().__init__()
        self.backbone = backbone
        self.layers = layers
        self.head = head
        self.keeps_statistics = keeps_statistics

    @property
    def anchors(self) -> torch.Tensor:
        return self.head.anchors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(find_maps(self.backbone, self.layers, x))

    def train(self, mode: bool = True) -> "Detector":
        super().train(mode)
        if self.keeps_statistics:
            self.backbone.eval()
        return self


class MirroredMaps(nn.Module):
    """Photos → packed maps of each and of its mirror image: (B, 2, values) float16."""

    def __init__(self, backbone: Backbone, layers: list[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [find_maps(self.backbone, self.layers, view) for view in (x, x.flip(3))]
        return torch.stack([pack(each) for each in maps], dim=1).half()


def pack(maps: list[torch.Tensor]) -> torch.Tensor:
    """Join maps (B, C, side, side) into one tensor (B, values), as `DetectionHead` takes it."""
    return torch.cat([each.permute(0, 2, 3, 1).flatten(1) for each in maps], dim=1)


def find_objects(outputs: torch.Tensor, anchors: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Return the detections of each photo, the surest first.

    Parameters
    ----------
    outputs : Tensor of shape (B, 4 + 1 + classes, anchors)
    anchors : Tensor of shape (anchors, 4)
    size : int
        Side of the photo, in px; boxes are cut at its edges.

    Returns
    -------
    list of Tensor of shape (detections, 6), float32
        Left, top, right, bottom, score, class of at most `MOST` detections.
    """
    boxes = decode(outputs[:, :4].float().transpose(1, 2), anchors).clamp(0, size)
    scores = outputs[:, 4:].float().softmax(dim=1)[:, 1:].transpose(1, 2)  # (B, anchors, classes)
    found = []
    for own, sure in zip(boxes, scores, strict=True):
        score, place = sure.topk(min(CANDIDATES, len(sure)), dim=0)  # (candidates, classes)
        kind = torch.arange(sure.shape[1], device=sure.device).expand_as(score)
        known = score > LEAST
        score, place, kind = score[known], place[known], kind[known]
        best = batched_nms(own[place], score, kind, OVERLAP)[:MOST]
        columns = own[place][best], score[best, None], kind[best, None]
        found.append(torch.cat(columns, dim=1))
    return found


def _halving(channels: int, width: int) -> nn.Sequential:
    """Return a block that halves a map: narrow, depthwise with a stride of 2, wide."""
    half = width // 2
    build = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    return nn.Sequential(
        build(channels, half, kernel_size=1),
        build(half, half, kernel_size=3, stride=2, groups=half),
        build(half, width, kernel_size=1),
    )


def _predictor(channels: int, outputs: int) -> nn.Sequential:
    """Return what predicts so many numbers for each anchor at each place of a map."""
    return nn.Sequential(
        Conv2dNormActivation(
            channels, channels, 3, groups=channels, norm_layer=norm, activation_layer=nn.ReLU6
        ),
        nn.Conv2d(channels, outputs * anchors_a_place(), 1),
    )


def _by_anchor(predictors: nn.ModuleList, maps: list[torch.Tensor]) -> torch.Tensor:
    """Return what is predicted from all maps: (B, outputs, anchors), as `build_anchors` orders."""
    levels = [
        predict(each).view(each.shape[0], anchors_a_place(), -1, each.shape[2] * each.shape[3])
        for predict, each in zip(predictors, maps, strict=True)
    ]
    return torch.cat([each.transpose(1, 2).flatten(2) for each in levels], dim=2)
