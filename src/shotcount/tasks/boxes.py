"""Networks that find the objects in a photo, and their boxes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from shotcount.core.tables import CORNERS, DETECTED
from shotcount.networks.augment import draw_crops
from shotcount.networks.backbones import Backbone, build_backbone
from shotcount.networks.devices import in_pieces
from shotcount.tasks.detector import Detector, Head, MirroredMaps
from shotcount.tasks.maps import choose_layers
from shotcount.tasks.objective import IGNORED, PADDING, Losses
from shotcount.tasks.strategies import (
    Arrays,
    Augmentation,
    Examples,
    Load,
    Strategy,
    load_pixels,
)
from shotcount.tasks.task import Validated
from shotcount.tasks.torchvision_heads import build_head

BATCH = 32  # photos that are validated or predicted at once
SEEN = 0.3  # share of an object's area that must lie inside a crop


class BoxTask:
    """See `tasks.task.Task`."""

    solves_heads = False
    # DistributedDataParallel waits for the gradients of all weights, but those of the backbone
    # behind the last map have none.
    shares_batches = False

    def __init__(self, boxes: pd.DataFrame, size: int) -> None:
        """Take the boxes of all photos, with the columns `BOXES`, in photos of `size` px."""
        self.boxes = boxes
        self.size = size
        self.classes = sorted(boxes.loc[~boxes["ignored"], "label"].unique())

    def examples(self, table: pd.DataFrame) -> Examples:
        """Return targets of shape (photos, most boxes of a photo, 5); see `objective.losses`."""
        photos = table["photo"].to_numpy()
        own = self.boxes[self.boxes["photo"].isin(photos)]
        place = pd.Series(np.arange(len(photos)), index=photos)
        number = own.groupby("photo").cumcount().to_numpy()
        targets = np.full((len(photos), max(number, default=-1) + 1, 5), PADDING, np.float32)
        kinds = np.where(own["ignored"], IGNORED, pd.Index(self.classes).get_indexer(own["label"]))
        corners = own[CORNERS].to_numpy()
        rows = place[own["photo"]].to_numpy()
        targets[rows, number] = np.column_stack([corners, kinds])
        return Examples(photos, targets, table["sample"].to_numpy())

    def count(self, table: pd.DataFrame) -> dict[str, dict[str, int]]:
        counted = self.boxes[~self.boxes["ignored"]]
        held = counted[["photo", "label"]].merge(table[["photo", "sample"]], on="photo")
        return {
            label: {
                "samples": own["sample"].nunique(),
                "photos": own["photo"].nunique(),
                "objects": len(own),
            }
            for label in self.classes
            for own in [held[held["label"] == label]]
        }

    def assemble(
        self,
        strategy: Strategy,
        model_name: str,
        arrays: Arrays,
        device: torch.device,
        settings: Augmentation | None = None,
        pretrained: Mapping[str, torch.Tensor] | None = None,
    ) -> tuple[nn.Module, Load]:
        """Return a `Detector`, or its head alone where the maps are cached, and the loader."""
        backbone = build_backbone(model_name)
        if strategy.pretrained and pretrained is not None:
            backbone.load_state_dict(pretrained)
        layers, shapes = choose_layers(backbone, self.size)
        head = build_head(model_name, shapes, len(self.classes), self.size)
        if strategy.cached:
            return head.to(device), load_maps(arrays.features, settings, device)
        network = Detector(backbone, layers, head, keeps_statistics=strategy.pretrained)
        return network.to(device), load_pixels(arrays.pixels, settings, device)

    def cached(self, backbone: Backbone) -> nn.Module:
        return MirroredMaps(backbone, choose_layers(backbone, self.size)[0])

    def targets(
        self,
        examples: Examples,
        chosen: np.ndarray,
        part: slice,
        seed: int,
        settings: Augmentation,
    ) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        crops = draw_crops(len(chosen), settings.crop_scale, settings.flip, generator)
        target = torch.from_numpy(examples.targets[chosen[part]])
        return crop_boxes(target, crops[part], self.size)

    def loss(self, network: nn.Module, outputs: Any, target: torch.Tensor) -> torch.Tensor:
        """Return the batch's mean loss (in SSD, over its objects), times its photos."""
        found = _head(network).losses(outputs, target)
        return len(target) * found.loss.sum() / found.weight.sum().clamp(min=1)

    @torch.inference_mode()
    def validate(self, network: nn.Module, load: Load, val: Examples) -> Validated:
        network.eval()
        head = _head(network)

        def compute(piece: int) -> Losses:
            parts = [
                head.losses(
                    network(load(val.rows[start : start + piece], None)),
                    torch.from_numpy(val.targets[start : start + piece]).to(head.anchors.device),
                )
                for start in range(0, len(val.rows), piece)
            ]
            columns = zip(*parts, strict=True)
            return Losses(*(torch.cat(column).cpu().double() for column in columns))

        found = in_pieces(compute, BATCH, "validating a detector")
        per_photo = found.loss * len(val.rows) / found.weight.sum().clamp(min=1)
        accuracy = float(found.named.sum() / found.positives.sum().clamp(min=1))
        return Validated(per_photo.numpy(), float(per_photo.mean()), accuracy, factor=1.0)

    def scale(self, network: nn.Module, factor: float) -> None:
        """Leave the network as it is: its confidence doesn't decide when training ends."""

    def predict(self, network: nn.Module, load: Load, rows: np.ndarray) -> pd.DataFrame:
        """Return the detections in photos, the surest of each photo first: `DETECTED`."""
        found = detect(network, load, rows)
        photos = np.repeat(rows, [len(each) for each in found])
        values = np.concatenate([np.empty((0, 6)), *found])
        return pd.DataFrame(
            {
                "photo": photos,
                "label": np.array(self.classes, dtype=object)[values[:, 5].astype(np.int64)],
                "score": values[:, 4],
            }
            | dict(zip(CORNERS, values[:, :4].T, strict=True))
        ).astype(DETECTED)


@torch.inference_mode()
def detect(
    network: nn.Module, load: Load, rows: np.ndarray, batch_size: int = BATCH
) -> list[np.ndarray]:
    """Return the detections in each photo, as `Head.find`, float64."""
    network.eval()

    def compute(piece: int) -> list[np.ndarray]:
        found = []
        for start in range(0, len(rows), piece):
            outputs = network(load(rows[start : start + piece], None))
            own = _head(network).find(outputs)
            found += [each.cpu().double().numpy() for each in own]
        return found

    return in_pieces(compute, batch_size, "detecting")


def load_maps(features: np.ndarray, settings: Augmentation | None, device: torch.device) -> Load:
    """Return the loader of a head: cached maps (photos, 2, values), mirrored for half of them."""

    def load(rows: np.ndarray, seed: int | None, part: slice = slice(None)) -> torch.Tensor:
        view = np.zeros(len(rows), np.int64)
        if seed is not None and settings is not None:
            generator = torch.Generator().manual_seed(seed)
            crops = draw_crops(len(rows), settings.crop_scale, settings.flip, generator)
            view = (crops[:, 0, 0] < 0).long().numpy()
        return torch.from_numpy(features[rows[part], view[part]]).to(device).float()

    return load


def crop_boxes(target: torch.Tensor, crops: torch.Tensor, size: int) -> torch.Tensor:
    """Move boxes as `networks.augment.draw_crops` moves their photos, and cut them at the edges.

    An object of which less than `SEEN` is left inside is ignored.

    Parameters
    ----------
    target : Tensor of shape (B, boxes, 5)
        As for `objective.losses`.
    crops : Tensor of shape (B, 2, 3)
    size : int
        Of the photos, in px.
    """
    half = size / 2
    x, y = target[..., 0:3:2] / half - 1, target[..., 1:4:2] / half - 1  # (B, boxes, 2)
    x = (x - crops[:, 0, 2, None, None]) / crops[:, 0, 0, None, None]
    y = (y - crops[:, 1, 2, None, None]) / crops[:, 1, 1, None, None]
    x = x.sort(dim=2).values  # a mirrored box has its right edge on the left
    whole = (x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0])
    x, y = x.clamp(-1, 1), y.clamp(-1, 1)
    seen = (x[..., 1] - x[..., 0]) * (y[..., 1] - y[..., 0])
    kind = target[..., 4].clone()
    kind[(kind >= 0) & (seen < SEEN * whole)] = IGNORED
    kind[(kind != PADDING) & (seen <= 0)] = PADDING
    x, y = (x + 1) * half, (y + 1) * half
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1], kind], dim=2)


def _head(network: nn.Module) -> Head:
    head = network.head if isinstance(network, Detector) else network
    assert isinstance(head, Head)
    return head
