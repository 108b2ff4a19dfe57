"""shotcount export: the classifier as one ONNX file, preprocessing included.

The exported classifier is compared with the original before the file is written.
"""

import argparse
import io
import json
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from torch import nn

from shotcount.classifier.keep import load
from shotcount.core import files
from shotcount.core.errors import UserError
from shotcount.core.params import Fit
from shotcount.networks.heads import Network
from shotcount.photos import reading

SAME_PIXELS = 1e-4  # largest difference of a probability: float32, summed in another order
RESAMPLED = 0.01  # the same, where some pixels are a grey level away from Pillow's


def run(given: argparse.Namespace) -> int:
    """Write the ONNX file if its predictions are those of the original."""
    if given.file.is_dir():
        raise UserError(f"{given.file} is a folder: name a file in it")
    network, model = load(given.model, torch.device("cpu"))
    exported = to_onnx(network, model)
    same, resampled = differences(exported, network, model["size"], model["fit"])
    files.write_bytes(given.file, exported)
    print(
        f"{given.file}: {len(exported) / 1e6:.1f} MB. Largest difference of a probability from the "
        f"original's: {same:.1g} on photos of {model['size']} x {model['size']} px, "
        f"{resampled:.1g} on photos that it scales itself"
    )
    return 0


class FitSquare(nn.Module):
    """Make squares of photos of any size, like `reading.read_photo`.

    Takes a Tensor (B, H, W, 3), uint8; returns (B, 3, size, size), whole numbers from 0 to 255 as
    float32. Photos are cropped or padded, and scaled by antialiased bicubic interpolation. Each
    axis is a matrix product, since few ONNX runtimes have the antialiased Resize operator. As in
    Pillow, values are rounded to whole grey levels after each axis, so the result is that of
    training except for one level in a few pixels. (Tall photos of few pixels differ in more pixels,
    since Pillow scales their vertical axis first; and by more levels where clipping after that axis
    cuts overshoot at an edge between black and white.)
    """

    def __init__(self, size: int, fit: Fit) -> None:
        super().__init__()
        self.size, self.fit = size, fit

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        height, width = photos.shape[1], photos.shape[2]
        x = photos.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        if self.fit == "crop":
            side = torch.sym_min(height, width)
            across, down = (_bicubic(length, side, self.size) for length in (width, height))
            return _grey_levels(down @ _grey_levels(x @ across.T))  # (B, 3, size, size)
        if self.fit == "stretch":
            across, down = (_bicubic(length, length, self.size) for length in (width, height))
            return _grey_levels(down @ _grey_levels(x @ across.T))
        side = torch.sym_max(height, width)
        across, inside = _contain(width, side, self.size)
        down, below = _contain(height, side, self.size)
        x = _grey_levels(down @ _grey_levels(x @ across.T))
        return torch.where(below[:, None] & inside, x, float(reading.PADDING[0]))


def _grey_levels(x: torch.Tensor) -> torch.Tensor:
    return torch.floor(x + 0.5).clamp(0, 255)


def _contain(length: Any, longer: Any, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights (size, length) that scale a side and put it in the middle, and where it is.

    The photo's longer side becomes `size`. As `reading.contained`.
    """
    scaled = torch.sym_max((2 * length * size + longer) // (2 * longer), 1)
    place = torch.arange(size) - (size - scaled) // 2
    inside = (place >= 0) & (place < scaled)
    weight = _bicubic(length, length, scaled, place)
    return torch.where(inside[:, None], weight, 0.0), inside


def _bicubic(length: Any, side: Any, size: Any, place: torch.Tensor | None = None) -> torch.Tensor:
    """Return weights (size, length) that scale the middle `side` of `length` pixels to `size`.

    Keys' cubic convolution with a = -0.5 (IEEE Transactions on Acoustics, Speech, and Signal
    Processing 1981), stretched by the scale if that is above 1. `length` and `side` are ints,
    symbolic ones during export. `place` are the pixels that are wanted, by default all.
    """
    pixel = torch.arange(length)
    place = torch.arange(size) if place is None else place
    # Distances are integers, 2 · size per pixel: exact for photos of any size.
    centre = (2 * place + 1) * side + (length - side) * size
    distance = ((2 * pixel + 1) * size - centre[:, None]).abs()  # (size, length)
    t = distance.float() / (2 * torch.sym_max(side, size))
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    weight = torch.where(t < 1, near, torch.where(t < 2, far, 0.0))
    return weight / weight.sum(dim=1, keepdim=True)


class Deployed(nn.Module):
    """Photos (B, H, W, 3), uint8, of any size → probabilities (B, classes), float32."""

    def __init__(self, classifier: Network, size: int, fit: Fit) -> None:
        super().__init__()
        self.fit = FitSquare(size, fit)
        self.classifier = classifier

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.fit(photos)).softmax(dim=1)


def to_onnx(classifier: Network, model: dict[str, Any]) -> bytes:
    """Return the ONNX file, with the input `photos` and the output `probabilities` of `Deployed`.

    Its metadata holds `classes`, a JSON list of the labels in order, and `model`, the rest of
    model.json without samples_seen.

    Parameters
    ----------
    classifier : Network
        In eval mode, on the CPU.
    model : dict
        The content of model.json, as from `classifier.keep.load`.
    """
    size = model["size"]
    # All sizes differ from each other and from `size`, so that none is exported as a constant.
    example = torch.zeros(2, size + 3, size + 7, 3, dtype=torch.uint8)
    sizes = {axis: torch.export.Dim(name) for axis, name in enumerate(("batch", "height", "width"))}
    # Hide the exporter's log and warnings: they are not for users, and the result is checked.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Deployed(classifier, size, model["fit"]).eval(),
            (example,),
            input_names=["photos"],
            output_names=["probabilities"],
            dynamic_shapes=(sizes,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    # The exporter records where each node comes from in the code, with paths of this machine.
    graph = proto.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for made in (proto, graph, *graph.node, *values):
        del made.metadata_props[:]
    graph.name = "classifier"
    facts = {key: value for key, value in model.items() if key not in ("classes", "samples_seen")}
    notes = {"classes": model["classes"], "model": facts}
    onnx.helper.set_model_props(
        proto, {key: json.dumps(value, ensure_ascii=False) for key, value in notes.items()}
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def differences(exported: bytes, classifier: Network, size: int, fit: Fit) -> tuple[float, float]:
    """Compare an exported classifier with the original on generated photos.

    Returns
    -------
    same, resampled : float
        Largest difference of a probability, first on photos of `size` x `size`, which are the same
        for both, then on photos of other sizes, which Pillow scales for the original, as in
        training, and the exported file scales itself.

    Raises
    ------
    UserError
        If the differences exceed `SAME_PIXELS` or `RESAMPLED`, or are not numbers.
    """
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])

    def largest(sizes: list[tuple[int, int, int]]) -> float:
        gaps = []
        for count, height, width in sizes:
            photos = np.stack([draw_photo(height, width, seed) for seed in range(count)])
            got = session.run(None, {"photos": photos})[0]
            gaps.append(np.abs(got - _original(classifier, photos, size, fit)).max())
        return float(np.max(gaps))  # not max(), which may lose a NaN

    same, resampled = map(largest, _check_sizes(size))
    if not (same <= SAME_PIXELS and resampled <= RESAMPLED):
        raise UserError(
            f"the exported network's probabilities differ from the original's by {same:.2g} "
            f"(at most {SAME_PIXELS:g} is rounding) and, on photos that it has to scale, by "
            f"{resampled:.2g} (at most {RESAMPLED:g}): nothing was written; this network can't be "
            "exported with these versions of torch and onnxruntime"
        )
    return same, resampled


def _check_sizes(size: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Return (batch, height, width) of photos as in training, and of larger, smaller, odd ones."""
    return [(1, size, size), (3, size, size)], [
        (1, 2 * size, 3 * size + 1),
        (2, 5 * size + 1, 4 * size),
        (1, size // 2 + 1, size),
        (3, size + 1, size + 8),
    ]


def draw_photo(height: int, width: int, seed: int) -> np.ndarray:
    """Draw noise with structure at every scale, like a photo: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (1, 3, 9, 27, 81):
        grain = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(grain.resize((width, height), Image.Resampling.BILINEAR))
    return (total / 5).astype(np.uint8)


@torch.inference_mode()
def _original(classifier: Network, photos: np.ndarray, size: int, fit: Fit) -> np.ndarray:
    """Return probabilities as `predict` does: from files that are read as in training."""
    squares = []
    for photo in photos:
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "PNG")
        squares.append(reading.read_photo(file.getvalue(), size, fit).pixels)
    x = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    return classifier(x).double().softmax(dim=1).numpy()
