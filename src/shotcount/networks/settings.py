"""Settings of device and network."""

import re
from pathlib import PurePath
from typing import Literal

from pydantic import field_validator

from shotcount.core.params import Section, Sections

FOLDER = "weights"  # of the user's own weights; in dvc.yaml, the stage backbone depends on it
LISTED = (
    r"(\w+_Weights\.)?[A-Z][A-Z0-9_]+"  # in torchvision's lists: ResNet50_Weights.IMAGENET1K_V2
)

# Torchvision's own detectors. Those of masks and keypoints need more than boxes, FCOS works in
# another way, and the first ones on ResNet-50 have weights for a BatchNorm without its epsilon.
DETECTORS = (
    "ssdlite320_mobilenet_v3_large",
    "ssd300_vgg16",
    "retinanet_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn_v2",
)


def is_detector(name: str) -> bool:
    """Whether a network's name is that of one of torchvision's detectors, in any case."""
    return name.strip().lower() in DETECTORS


class ModelSettings(Section):
    name: str
    last_layer: str | None
    weights: str

    @field_validator("weights")
    @classmethod
    def _dvc_watches_the_file(cls, weights: str) -> str:
        path = PurePath(weights)
        inside = path.parts[:1] == (FOLDER,) and ".." not in path.parts
        if inside or weights in ("shipped", "default") or re.fullmatch(LISTED, weights):
            return weights
        raise ValueError(
            f"{weights!r} is outside the folder {FOLDER}/, whose files DVC watches: copy it there "
            f"and write {FOLDER}/{path.name}"
        )


def full_name(name: str, last_layer: str | None) -> str:
    """Return a network's name with the layer that it ends at; None: its own end.

    >>> full_name("resnet18", "layer3"), full_name("resnet18", None)
    ('resnet18@layer3', 'resnet18')
    """
    return f"{name}@{last_layer}" if last_layer else name


class NetworkParams(Sections):
    device: Literal["auto", "cpu", "cuda", "mps"]
    model: ModelSettings
