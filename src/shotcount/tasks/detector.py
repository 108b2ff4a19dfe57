"""The detector: maps → for every anchor, offsets of a box and scores of the classes.

The head is that of SSDLite (Sandler et al., "MobileNetV2", CVPR 2018): light enough to be trained
on cached maps in seconds.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.ops import Conv2dNormActivation, batched_nms

from shotcount.networks.backbones import Backbone
from shotcount.tasks.anchors import anchors_a_place, build_anchors, decode
from shotcount.tasks.maps import find_maps
from shotcount.tasks.objective import Losses, losses

EXTRA = (256, 128)  # channels of two further maps, each half as large as the one before
MOST = 100  # detections of a photo
LEAST = 0.01  # score of a detection
CANDIDATES = 400  # anchors of a class that are considered
OVERLAP = 0.5  # IoU from which two detections of a class are the same object

norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)  # as in torchvision's SSDLite


class Head(nn.Module):
    """What finds the objects in a backbone's maps, and what it is trained for: here as in SSD.

    It returns a Tensor (B, 4 + 1 + classes, anchors): offsets, then logits of no object and of each
    class. Heads that return something else have their own methods, too.
    """

    anchors: torch.Tensor  # (anchors, 4): centre (x, y), width and height in px
    first_rate = 5e-3  # AdamW's learning rate on cached maps, before the backbone is trained, too

    def __init__(self, maps: list[tuple[int, int]], size: int) -> None:
        """Take the maps, channels and side of each, of photos of `size` px."""
        super().__init__()
        self.maps = maps
        self.size = size

    def unpacked(self, maps: list[torch.Tensor] | torch.Tensor) -> list[torch.Tensor]:
        """Return a list of maps, also where cached ones come as one tensor (B, values)."""
        if not isinstance(maps, torch.Tensor):
            return list(maps)
        parts = maps.split([c * side**2 for c, side in self.maps], dim=1)
        return [
            part.view(-1, side, side, c).permute(0, 3, 1, 2)  # channels last, as convolutions like
            for part, (c, side) in zip(parts, self.maps, strict=True)
        ]

    def losses(self, outputs: Any, target: torch.Tensor) -> Losses:
        """Return the loss of each photo, for targets as `objective.losses` takes them."""
        return losses(outputs, target, self.anchors)

    def candidates(self, outputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the boxes that detections are chosen from, not yet cut at the photo's edges.

        Returns
        -------
        boxes : Tensor of shape (B, candidates, 4), float32
            Left, top, right, bottom in px.
        scores : Tensor of shape (B, candidates, classes), float32

        Raises
        ------
        UserError
            If the detector has no fixed number of them.
        """
        return read_anchors(outputs, self.anchors)

    def find(self, outputs: Any) -> list[torch.Tensor]:
        """Return the detections of each photo, as `choose_objects` does."""
        return choose_objects(*self.candidates(outputs), self.size)


class DetectionHead(Head):
    """The head of a detector on any backbone."""

    def __init__(self, maps: list[tuple[int, int]], classes: int, size: int) -> None:
        """Build the head for `maps`, channels and side of each, of photos of `size` px."""
        super().__init__(maps, size)
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
        # Computed from the photo's size, not learned: kept out of the state dict.
        self.register_buffer("anchors", build_anchors(size, sides), persistent=False)

    def forward(self, maps: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """Take what `unpacked` takes."""
        found = self.unpacked(maps)
        for halving in self.extra:
            found.append(halving(found[-1]))
        return torch.cat([_by_anchor(self.offsets, found), _by_anchor(self.logits, found)], dim=1)


class Detector(nn.Module):
    """Photos (B, 3, H, H), pixel values 0 to 255 → the outputs of a `Head`."""

    def __init__(
        self,
        backbone: Backbone,
        layers: list[str],
        head: Head,
        keeps_statistics: bool = False,
    ) -> None:
        """Join a backbone, the layers of `maps.choose_layers`, and a head for its maps."""
        super().__init__()
        self.backbone = backbone
        self.layers = layers
        self.head = head
        self.keeps_statistics = keeps_statistics

    @property
    def anchors(self) -> torch.Tensor:
        return self.head.anchors

    def forward(self, x: torch.Tensor) -> Any:
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
    """Join maps (B, C, side, side) into one tensor (B, values), as a `Head` takes it."""
    return torch.cat([each.permute(0, 2, 3, 1).flatten(1) for each in maps], dim=1)


def read_anchors(outputs: torch.Tensor, anchors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the box at each anchor, and its scores, as in `Head.candidates`.

    Parameters
    ----------
    outputs : Tensor of shape (B, 4 + 1 + classes, anchors)
    anchors : Tensor of shape (anchors, 4)
    """
    boxes = decode(outputs[:, :4].float().transpose(1, 2), anchors)
    return boxes, outputs[:, 4:].float().softmax(dim=1)[:, 1:].transpose(1, 2)


def choose_objects(boxes: torch.Tensor, scores: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Return the detections of each photo, the surest first.

    Parameters
    ----------
    boxes, scores : Tensor
        As in `Head.candidates`.
    size : int
        Side of the photo, in px; boxes are cut at its edges.

    Returns
    -------
    list of Tensor of shape (detections, 6), float32
        Left, top, right, bottom, score, class of at most `MOST` detections.
    """
    found = []
    for own, sure in zip(boxes.clamp(0, size), scores, strict=True):
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
