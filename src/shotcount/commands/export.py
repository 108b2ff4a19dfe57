"""shotcount export: the classifier or detector as one ONNX file, preprocessing included.

What is exported is compared with the original before the file is written.
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

from shotcount.boxes.pixels import from_square
from shotcount.classifier.keep import load
from shotcount.commands.fitting import FitSquare, contained
from shotcount.core import files
from shotcount.core.errors import UserError
from shotcount.core.params import Fit
from shotcount.networks.heads import Network
from shotcount.photos import reading
from shotcount.tasks.detector import Detector

# Largest difference of a probability (or of a box, as a share of its photo): float32, summed in
# another order.
SAME_PIXELS = 1e-4
RESAMPLED = 0.01  # the same, where some pixels are a grey level away from Pillow's


def run(given: argparse.Namespace) -> int:
    """Write the ONNX file if its predictions are those of the original."""
    if given.file.is_dir():
        raise UserError(f"{given.file} is a folder: name a file in it")
    network, model = load(given.model, torch.device("cpu"))
    exported = to_onnx(network, model)
    same, resampled = differences(exported, network, model["size"], model["fit"])
    files.write_bytes(given.file, exported)
    what = "a score or a box" if isinstance(network, Detector) else "a probability"
    print(
        f"{given.file}: {len(exported) / 1e6:.1f} MB. Largest difference of {what} from "
        f"the original's: {same:.1g} on photos of {model['size']} x {model['size']} px, "
        f"{resampled:.1g} on photos that it scales itself"
    )
    return 0


class Deployed(nn.Module):
    """Photos (B, H, W, 3), uint8, of any size → probabilities (B, classes), float32."""

    outputs = ("probabilities",)

    def __init__(self, classifier: Network, size: int, fit: Fit) -> None:
        super().__init__()
        self.fit = FitSquare(size, fit)
        self.classifier = classifier

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.fit(photos)).softmax(dim=1)


class DeployedDetector(nn.Module):
    """Photos (B, H, W, 3), uint8, of any size → all that detections are chosen from.

    Boxes (B, candidates, 4), float32: left, top, right, bottom in px of the photo; scores (B,
    candidates, classes), float32.
    """

    outputs = ("boxes", "scores")

    def __init__(self, detector: Detector, size: int, fit: Fit) -> None:
        super().__init__()
        self.fit = FitSquare(size, fit)
        self.detector = detector

    def forward(self, photos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width, size = photos.shape[1], photos.shape[2], self.fit.size
        boxes, scores = self.detector.head.candidates(self.detector(self.fit(photos)))
        # As boxes.pixels.from_square.
        across, down = size, size
        if self.fit.fit == "pad":
            longer = torch.sym_max(height, width)
            across, down = contained(width, longer, size), contained(height, longer, size)
        x = (boxes[..., 0::2] - (size - across) // 2) * width / across
        y = (boxes[..., 1::2] - (size - down) // 2) * height / down
        x, y = torch.clamp(x, min=0).clamp(max=width), torch.clamp(y, min=0).clamp(max=height)
        return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1), scores


def deploy(network: Network | Detector, size: int, fit: Fit) -> Deployed | DeployedDetector:
    """Return the network with its preprocessing, in eval mode."""
    if isinstance(network, Detector):
        return DeployedDetector(network, size, fit).eval()
    return Deployed(network, size, fit).eval()


def to_onnx(network: Network | Detector, model: dict[str, Any]) -> bytes:
    """Return the ONNX file, with the input `photos` and the outputs of `Deployed`.

    Its metadata holds `classes`, a JSON list of the labels in order, and `model`, the rest of
    model.json without samples_seen.

    Parameters
    ----------
    network : Network or Detector
        In eval mode, on the CPU; for a detector, the outputs are those of `DeployedDetector`.
    model : dict
        The content of model.json, as from `classifier.keep.load`.

    Raises
    ------
    UserError
        If the detector is of a kind that can't be exported.
    """
    size, deployed = model["size"], deploy(network, model["size"], model["fit"])
    # All sizes differ from each other and from `size`, so that none is exported as a constant.
    example = torch.zeros(2, size + 3, size + 7, 3, dtype=torch.uint8)
    with torch.inference_mode():
        deployed(example)  # what can't be exported says so here, not within the exporter
    sizes = {axis: torch.export.Dim(name) for axis, name in enumerate(("batch", "height", "width"))}
    # Hide the exporter's log and warnings: they are not for users, and the result is checked.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            (example,),
            input_names=["photos"],
            output_names=list(deployed.outputs),
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


def differences(
    exported: bytes, network: Network | Detector, size: int, fit: Fit
) -> tuple[float, float]:
    """Compare an exported network with the original on generated photos.

    Returns
    -------
    same, resampled : float
        Largest difference of a probability (or of a detector's box, as a share of the photo's
        longer side; or of its score), first on photos of `size` x `size`, which are the same
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
            got = session.run(None, {"photos": photos})
            for output, wanted in zip(got, _original(network, photos, size, fit), strict=True):
                of = max(height, width) if len(got) > 1 and output.shape[-1] == 4 else 1
                gaps.append(np.abs(output - wanted).max() / of)
        return float(np.max(gaps))  # not max(), which may lose a NaN

    same, resampled = map(largest, _check_sizes(size))
    outputs = "boxes and scores" if isinstance(network, Detector) else "probabilities"
    if not (same <= SAME_PIXELS and resampled <= RESAMPLED):
        raise UserError(
            f"the exported network's {outputs} differ from the original's by {same:.2g} "
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
def _original(
    network: Network | Detector, photos: np.ndarray, size: int, fit: Fit
) -> list[np.ndarray]:
    """Return the outputs as `predict` computes them: from files that are read as in training."""
    squares = []
    for photo in photos:
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "PNG")
        squares.append(reading.read_photo(file.getvalue(), size, fit).pixels)
    x = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    if not isinstance(network, Detector):
        return [network(x).double().softmax(dim=1).numpy()]
    made = network.head.candidates(network(x))
    boxes, scores = (output.double().numpy() for output in made)
    height, width = photos.shape[1:3]
    return [from_square(boxes, width, height, size, fit), scores]
