"""What a detector is trained for: to find the objects in photos, and nothing else."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torchvision.ops import box_iou

from shotcount.tasks.anchors import encode

IGNORED, PADDING = -2, -1  # in place of a class: neither right nor wrong to find; no box
NEAR = 0.5  # IoU from which an anchor is to find an object
NEGATIVES = 3  # anchors without an object that count, for each with one: the worst ones (SSD)
FEWEST = 10  # such anchors of a photo, so that photos without objects teach, too


class Losses(NamedTuple):
    """Of each photo of a batch; Tensors of shape (B,), float32."""

    loss: torch.Tensor
    positives: torch.Tensor  # anchors that are to find an object
    named: torch.Tensor  # of these, how many name its class
    weight: torch.Tensor  # a batch's mean loss is the sum of `loss` over the sum of this


def losses(outputs: torch.Tensor, target: torch.Tensor, anchors: torch.Tensor) -> Losses:
    """Return SSD's loss: smooth L1 of the offsets and cross-entropy of the classes.

    It is summed over the anchors that count; its weight are the anchors on objects.

    Parameters
    ----------
    outputs : Tensor of shape (B, 4 + 1 + classes, anchors)
    target : Tensor of shape (B, boxes, 5), float32
        Left, top, right, bottom in px, and the class, `IGNORED` or `PADDING`.
    anchors : Tensor of shape (anchors, 4)

    References
    ----------
    Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016.
    """
    outputs = outputs.float()
    which, kind = match(target, anchors)
    photo, anchor = torch.nonzero(kind > 0, as_tuple=True)
    wanted = encode(target[photo, which[photo, anchor], :4], anchors[anchor])
    offsets = outputs[:, :4].transpose(1, 2)[photo, anchor]
    placing = F.smooth_l1_loss(offsets, wanted, reduction="none").sum(dim=1)
    logits = outputs[:, 4:]  # (B, 1 + classes, anchors)
    naming = F.cross_entropy(logits, kind.clamp(min=0), reduction="none")  # (B, anchors)
    count = (kind > 0).sum(dim=1)
    # The negatives that look most like an object; all would drown the few positives.
    doubtful = naming.detach().masked_fill(kind != 0, -1.0)
    most = (NEGATIVES * count).clamp(FEWEST, kind.shape[1])
    worst = doubtful.topk(int(most.max()), dim=1).indices
    is_one = torch.arange(worst.shape[1], device=worst.device) < most[:, None]
    negative = torch.zeros_like(kind, dtype=torch.bool).scatter_(1, worst, is_one)
    counts = (kind > 0) | (negative & (kind == 0))
    total = (naming * counts).sum(dim=1).index_add(0, photo, placing)
    named = logits.transpose(1, 2)[photo, anchor].argmax(dim=1) == kind[photo, anchor]
    right = torch.zeros_like(count).index_add(0, photo, named.long())
    return Losses(total, count, right, weight=count)


@torch.no_grad()
def match(target: torch.Tensor, anchors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Tell which box each anchor is to find: the one it overlaps most, by at least `NEAR`.

    And each box is found by the anchor that overlaps it most, even if that is less.

    Returns
    -------
    which : Tensor of shape (B, anchors), int64
        Place of the box in `target`; of any box where there is none to find.
    kind : Tensor of shape (B, anchors), int64
        1 + the box's class, 0 for no object, or `IGNORED`.
    """
    which = torch.zeros(len(target), len(anchors), dtype=torch.int64, device=anchors.device)
    kind = torch.zeros_like(which)
    for own, its_box, its_kind in zip(target, which, kind, strict=True):
        there = torch.nonzero(own[:, 4] != PADDING).flatten()
        if not len(there):
            continue
        overlap = overlaps(own[there, :4], anchors)  # (boxes, anchors)
        most, nearest_box = overlap.max(dim=0)
        kinds = own[there, 4].long()
        real = torch.nonzero(kinds != IGNORED).flatten()
        nearest_anchor = overlap[real].argmax(dim=1)
        nearest_box[nearest_anchor], most[nearest_anchor] = real, 1.0
        kinds = torch.where(kinds == IGNORED, IGNORED, kinds + 1)
        its_box.copy_(there[nearest_box])
        its_kind.copy_(kinds[nearest_box].masked_fill_(most < NEAR, 0))
    return which, kind


def overlaps(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Return the IoU of boxes (N, 4), as corners, and anchors (A, 4): Tensor (N, A).

    Anchors lie in the last dimension, since there are many more: torchvision's `box_iou`, the other
    way round, takes three times as long.
    """
    x, y, width, height = anchors.T
    left, top, right, bottom = boxes[:, :, None].unbind(dim=1)  # (N, 1)
    across = (right.minimum(x + width / 2) - left.maximum(x - width / 2)).clamp_(min=0)
    down = (bottom.minimum(y + height / 2) - top.maximum(y - height / 2)).clamp_(min=0)
    shared = across.mul_(down)
    return shared / ((right - left) * (bottom - top) + width * height - shared)


class Marked(NamedTuple):
    """What is marked in a photo."""

    boxes: torch.Tensor  # (objects, 4): left, top, right, bottom in px
    labels: torch.Tensor  # (objects,) int64: 1 + class
    ignored: torch.Tensor  # (boxes, 4)


def read_target(target: torch.Tensor) -> Marked:
    """Take the target of one photo, of shape (boxes, 5) as for `losses`, apart."""
    kind = target[:, 4].long()
    there = kind >= 0
    return Marked(target[there, :4], 1 + kind[there], target[kind == IGNORED, :4])


def is_near(anchors: torch.Tensor, boxes: torch.Tensor, least: float) -> torch.Tensor:
    """Tell which anchors (anchors, 4) have an IoU of `least` or more with one of the boxes (N, 4).

    All are corners in px.
    """
    if not len(boxes):
        return torch.zeros(len(anchors), dtype=torch.bool, device=anchors.device)
    return (box_iou(boxes, anchors) >= least).any(dim=0)
