"""The heads of torchvision's detectors: what follows the backbone that makes their maps.

Their layers, anchors and what they are trained for are torchvision's. Which boxes are detections
is decided as for every other detector here, so that results differ by what was learned.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_convert, box_iou

from shotcount.core.errors import UserError
from shotcount.networks.backbones import build_detector
from shotcount.networks.devices import seeded
from shotcount.networks.settings import is_detector
from shotcount.tasks.detector import LEAST, MOST, OVERLAP, DetectionHead, Head
from shotcount.tasks.objective import Losses, Marked, is_near, read_target


def build_head(name: str, maps: list[tuple[int, int]], classes: int, size: int) -> Head:
    """Return the head of a detector, with random weights.

    All of it is random, also with pretrained weights: on every backbone, training then begins with
    the same knowledge, that of the backbone.

    Parameters
    ----------
    name : str
        One of torchvision's detectors, or any other network, which gets a `DetectionHead`.
    maps : list of (int, int)
        Channels and side of each map.
    classes : int
    size : int
        Of the photos, in px.
    """
    if not is_detector(name):
        return DetectionHead(maps, classes, size)
    detector = build_detector(name, classes)
    return HEADS[type(detector)](detector, maps, size)


class SsdHead(Head):
    """The head of SSD and SSDLite (Liu et al., ECCV 2016; Sandler et al., CVPR 2018)."""

    def __init__(self, detector: Any, maps: list[tuple[int, int]], size: int) -> None:
        super().__init__(maps, size)
        self.head = detector.head
        corners = _anchors(detector.anchor_generator, maps, size)
        self.register_buffer("anchors", box_convert(corners, "xyxy", "cxcywh"), persistent=False)

    def forward(self, maps: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """Take what `unpacked` takes."""
        made = self.head(self.unpacked(maps))
        parts = made["bbox_regression"], made["cls_logits"]  # (B, anchors, 4 or 1 + classes)
        return torch.cat(parts, dim=2).transpose(1, 2)


class RetinaHead(Head):
    """The head of RetinaNet (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017).

    It returns a Tensor (B, anchors, 4 + 1 + classes): offsets, then the logits of a class that no
    object has (as in torchvision) and of each class. Its anchors are corners in px.
    """

    first_rate = 5e-4

    def __init__(self, detector: Any, maps: list[tuple[int, int]], size: int) -> None:
        super().__init__(maps, size)
        self.head = detector.head
        self.matcher = detector.proposal_matcher
        self.box_coder = detector.box_coder
        side = _padded(detector, size)
        anchors = _anchors(detector.anchor_generator, maps, side)
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, maps: list[torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """Take what `unpacked` takes."""
        made = self.head(self.unpacked(maps))
        return torch.cat([made["bbox_regression"], made["cls_logits"]], dim=2)

    def losses(self, outputs: torch.Tensor, target: torch.Tensor) -> Losses:
        """Return torchvision's loss of each photo, the mean over its anchors on objects."""
        parts = [self._loss(*each) for each in zip(outputs.float(), target, strict=True)]
        return Losses(*map(torch.stack, zip(*parts, strict=True)))

    def _loss(self, outputs: torch.Tensor, target: torch.Tensor) -> Losses:
        marked = read_target(target)
        which = torch.full((len(self.anchors),), -1, device=target.device)
        if len(marked.boxes):
            which = self.matcher(box_iou(marked.boxes, self.anchors))
        close = is_near(self.anchors, marked.ignored, self.matcher.low_threshold)
        which[close & (which == -1)] = self.matcher.BETWEEN_THRESHOLDS
        loss = self.head.compute_loss(
            [{"boxes": marked.boxes, "labels": marked.labels}],
            {"bbox_regression": outputs[None, :, :4], "cls_logits": outputs[None, :, 4:]},
            [self.anchors],
            [which],
        )
        there = which >= 0
        right = 1 + outputs[there, 5:].argmax(dim=1) == marked.labels[which[there]]
        one = torch.ones((), device=target.device)
        return Losses(sum(loss.values()), there.sum(), right.sum(), weight=one)

    def candidates(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        offsets, photos = outputs[..., :4].float(), outputs.shape[0]
        anchors = self.anchors.expand(photos, -1, -1).flatten(0, 1)
        boxes = self.box_coder.decode_single(offsets.flatten(0, 1), anchors)
        return boxes.view(photos, -1, 4), outputs[..., 5:].float().sigmoid()


class Proposals(NamedTuple):
    """What `ProposalHead` returns for some photos."""

    maps: list[torch.Tensor]
    objectness: torch.Tensor  # (B, anchors) logits
    offsets: torch.Tensor  # (B, anchors, 4)


class Sample(NamedTuple):
    """Proposals of a photo that the second network of Faster R-CNN is trained on."""

    boxes: torch.Tensor  # (proposals, 4)
    labels: torch.Tensor  # (proposals,) int64: 1 + class, 0 for no object
    wanted: torch.Tensor  # (proposals, 4): offsets of the objects' boxes


class ProposalHead(Head):
    """What follows the maps in Faster R-CNN (Ren et al., NeurIPS 2015).

    A first network proposes boxes, a second one names them. Both are trained on some anchors and
    proposals of each photo, drawn from torch's global generator; in validation, the same ones are
    drawn every time.
    """

    first_rate = 5e-4

    def __init__(self, detector: Any, maps: list[tuple[int, int]], size: int) -> None:
        super().__init__(maps, size)
        self.rpn, self.roi_heads = detector.rpn, detector.roi_heads
        self.roi_heads.score_thresh = LEAST
        self.roi_heads.nms_thresh = OVERLAP
        self.roi_heads.detections_per_img = MOST
        self.rpn.score_thresh = 0.0  # so that each photo has proposals, without which is no loss
        self.names = [*map(str, range(len(maps) - 1)), "pool"]  # of the maps, in torchvision
        self.side = _padded(detector, size)
        generator = self.rpn.anchor_generator
        places = zip(generator.num_anchors_per_location(), maps, strict=True)
        self.counts = [count * side**2 for count, (_, side) in places]
        self.register_buffer("anchors", _anchors(generator, maps, self.side), persistent=False)

    def forward(self, maps: list[torch.Tensor] | torch.Tensor) -> Proposals:
        """Take what `unpacked` takes."""
        found = self.unpacked(maps)
        objectness, offsets = concat_box_prediction_layers(*self.rpn.head(found))
        photos = len(found[0])
        outputs = Proposals(found, objectness.view(photos, -1), offsets.view(photos, -1, 4))
        norms = (m for m in self.roi_heads.modules() if isinstance(m, nn.BatchNorm2d))
        if not self.training and any(norm.training for norm in norms):
            self.find(outputs)  # statistics are computed anew, also those of the second network
        return outputs

    def losses(self, outputs: Proposals, target: torch.Tensor) -> Losses:
        """Return torchvision's loss of each photo."""
        outputs = _in_float32(outputs)
        proposals = self._propose(outputs)
        each = zip(outputs.objectness, outputs.offsets, proposals, target, strict=True)
        first, samples = zip(*(self._draw(*own) for own in each), strict=True)
        logits, moves = self._name(outputs.maps, [sample.boxes for sample in samples])
        counts = [len(sample.labels) for sample in samples]
        parts = zip(logits.split(counts), moves.split(counts), samples, strict=True)
        second = Losses(*map(torch.stack, zip(*(_naming_loss(*own) for own in parts), strict=True)))
        return second._replace(loss=second.loss + torch.stack(first))

    def candidates(self, outputs: Proposals) -> tuple[torch.Tensor, torch.Tensor]:
        raise UserError(
            "Faster R-CNN proposes another number of boxes in each photo, which an ONNX file for "
            "any number of photos can't hold: use `shotcount predict`, or name an SSD or a "
            "RetinaNet in model.name"
        )

    def find(self, outputs: Proposals) -> list[torch.Tensor]:
        outputs = _in_float32(outputs)
        proposals = self._propose(outputs)
        logits, moves = self._name(outputs.maps, proposals)
        sizes = len(proposals) * [(self.size, self.size)]
        found = self.roi_heads.postprocess_detections(logits, moves, proposals, sizes)
        return [
            torch.cat([boxes, scores[:, None], labels[:, None] - 1], dim=1)
            for boxes, scores, labels in zip(*found, strict=True)
        ]

    def _draw(
        self,
        objectness: torch.Tensor,
        offsets: torch.Tensor,
        boxes: torch.Tensor,
        target: torch.Tensor,
    ) -> tuple[torch.Tensor, Sample]:
        """Return the first network's loss of a photo, and what the second one is trained on."""
        marked = read_target(target)
        with self._drawing():
            loss = self._proposing_loss(objectness, offsets, marked)
            # No proposal is drawn whose label is -1.
            ignored = marked.labels.new_full((len(marked.ignored),), -1)
            every = {
                "boxes": torch.cat([marked.boxes, marked.ignored]),
                "labels": torch.cat([marked.labels, ignored]),
            }
            chosen = self.roi_heads.select_training_samples([boxes], [every])
        (boxes,), _, (labels,), (wanted,) = chosen
        return loss, Sample(boxes, labels, wanted)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        if self.training:
            yield
            return
        with seeded(0):
            yield

    def _propose(self, outputs: Proposals) -> list[torch.Tensor]:
        """Return the boxes (proposals, 4) in each photo that may hold an object."""
        photos, offsets = len(outputs.offsets), outputs.offsets.detach()
        boxes = self.rpn.box_coder.decode(offsets.flatten(0, 1), photos * [self.anchors])
        sizes = photos * [(self.size, self.size)]
        return self.rpn.filter_proposals(
            boxes.view(photos, -1, 4), outputs.objectness, sizes, self.counts
        )[0]

    def _proposing_loss(
        self, objectness: torch.Tensor, offsets: torch.Tensor, marked: Marked
    ) -> torch.Tensor:
        (label,), boxes = self.rpn.assign_targets_to_anchors(
            [self.anchors], [{"boxes": marked.boxes}]
        )
        close = is_near(self.anchors, marked.ignored, self.rpn.proposal_matcher.low_threshold)
        label[close & (label == 0)] = -1
        if (label < 0).all():
            return objectness.sum() * 0
        wanted = self.rpn.box_coder.encode(boxes, [self.anchors])
        return sum(self.rpn.compute_loss(objectness, offsets, [label], wanted))

    def _name(
        self, maps: list[torch.Tensor], boxes: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the second network makes of the boxes in all photos.

        Returns
        -------
        logits : Tensor of shape (boxes, 1 + classes)
        moves : Tensor of shape (boxes, 4 * (1 + classes))
        """
        # The padded side, so that the strides of the maps are told from it without error.
        sides = len(boxes) * [(self.side, self.side)]
        named = dict(zip(self.names, maps, strict=True))
        pooled = self.roi_heads.box_roi_pool(named, boxes, sides)
        return self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))


HEADS: dict[type[nn.Module], type[SsdHead | RetinaHead | ProposalHead]] = {
    SSD: SsdHead,
    RetinaNet: RetinaHead,
    FasterRCNN: ProposalHead,
}


def _naming_loss(logits: torch.Tensor, moves: torch.Tensor, sample: Sample) -> Losses:
    """Return the second network's loss of a photo."""
    there = sample.labels > 0
    right = (logits.argmax(dim=1) == sample.labels) & there
    loss = logits.sum()  # 0 if nothing was drawn, since all that is proposed is ignored
    if len(logits):
        loss = sum(fastrcnn_loss(logits, moves, [sample.labels], [sample.wanted]))
    return Losses(loss, there.sum(), right.sum(), weight=torch.ones_like(loss))


def _in_float32(outputs: Proposals) -> Proposals:
    maps = [each.float() for each in outputs.maps]
    return Proposals(maps, outputs.objectness.float(), outputs.offsets.float())


def _padded(detector: Any, size: int) -> int:
    """Return the side in px that `DetectorBackbone` pads photos of `size` px to."""
    multiple: int = detector.transform.size_divisible
    return -(-size // multiple) * multiple


def _anchors(generator: nn.Module, maps: list[tuple[int, int]], side: int) -> torch.Tensor:
    """Return a generator's anchors (anchors, 4), corners in px, for photos of `side` px."""
    photo = ImageList(torch.zeros(1, 3, side, side), [(side, side)])
    return generator(photo, [torch.zeros(1, 1, each, each) for _, each in maps])[0]
