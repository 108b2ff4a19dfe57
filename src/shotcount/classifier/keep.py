"""The study's classifier or detector: save it in a folder, load it, find how it was tested.

The folder holds weights.safetensors (backbone and head, with the keys of `heads.Network` or of
`detector.Detector`), model.json (how to build the network, and what it was trained on) and
README.md (the model card).
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pandas as pd
import safetensors.torch
import timm
import torch
from pydantic import Field

from shotcount.core import files, tables
from shotcount.core.errors import UserError
from shotcount.core.params import Fit, Part, Sections, Seed
from shotcount.networks.backbones import Backbone, build_backbone
from shotcount.networks.heads import Network
from shotcount.scoring.detections import DETECTION_SCORES, DETECTIONS, TESTED
from shotcount.scoring.predictions import prediction_columns, predictions_of
from shotcount.tasks.detector import Detector
from shotcount.tasks.maps import choose_layers
from shotcount.tasks.torchvision_heads import build_head


class AnswerPart(Part):
    replicates: Annotated[int, Field(ge=100)]


class DataPart(Part):
    fit: Fit | Literal["auto"]
    pattern: str | None
    table: str | None


class StudyPart(Part):
    seed: Seed


class KeepParams(Sections):
    """What the stage classifier reads of params.yaml."""

    data: DataPart
    study: StudyPart
    answer: AnswerPart


WEIGHTS, MODEL = "weights.safetensors", "model.json"
TASKS = ("classify", "detect")


def finds(model: Mapping[str, Any]) -> bool:
    """Whether a network, by the content of its model.json, finds objects in photos.

    Those of classes don't say so.
    """
    return bool(model.get("task") == "detect")


def read_cell(evaluation: Path, model: Mapping[str, Any]) -> pd.DataFrame:
    """Read the predictions that tell how good a classifier is, as the stage evaluate wrote them.

    They are those of the strategy's largest cell. Each photo was predicted by networks that had not
    seen its sample, while the classifier has seen all samples.

    Parameters
    ----------
    evaluation : Path
        The folder data/evaluation.
    model : mapping
        The content of model.json.

    Returns
    -------
    DataFrame
        The predictions of all seeds, with the columns ``prediction_columns(model["classes"])`` or,
        of objects, `DETECTIONS`.
    """
    tested = model["tested"]
    path = predictions_of(evaluation / model["strategy"], tested["samples"], tested["angles"])
    return tables.read(path, DETECTIONS if finds(model) else prediction_columns(model["classes"]))


def read_tested(evaluation: Path, model: Mapping[str, Any]) -> pd.DataFrame:
    """Read which photos each seed of the same cell tested: the columns `TESTED`.

    For the parameters see `read_cell`.
    """
    tested = tables.read(evaluation / model["strategy"] / "tested", TESTED)
    return tested[tested["seed"] < model["tested"]["seeds"]]


def read_confidence(evaluation: Path, model: Mapping[str, Any]) -> float:
    """Read the score from which on validation let the detections of the same cell count.

    For the parameters see `read_cell`.
    """
    scores = tables.read(evaluation / model["strategy"] / "scores.csv", DETECTION_SCORES)
    own = scores.set_index(["samples", "angles"])["confidence"]
    return float(own.loc[model["tested"]["samples"], model["tested"]["angles"]])


def join(
    trained: Mapping[str, torch.Tensor], backbone: Callable[[], Mapping[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Return the state of the whole `Network`, or of the whole `Detector`.

    Parameters
    ----------
    trained : mapping of str to Tensor
        The weights as they were trained: of the whole network, or of the head alone.
    backbone : callable
        Returns the state of the frozen backbone; called only if `trained` is a head.
    """
    if any(name.startswith("backbone.") for name in trained):
        return dict(trained)
    return {f"backbone.{name}": value for name, value in backbone().items()} | {
        f"head.{name}": value for name, value in trained.items()
    }


def preprocessing(backbone: Backbone, size: int, fit: Fit) -> dict[str, Any]:
    """Describe what happens to a photo before the network's first layer, for other programs.

    The network itself takes pixel values from 0 to 255 and normalises them.
    """
    squares: dict[Fit, dict[str, Any]] = {
        "crop": {"shorter_side": size, "crop": "centre, square"},  # px
        "pad": {"longer_side": size, "padding": "grey 128, square"},
        "stretch": {"width": size, "height": size},
    }
    return {
        "orientation": "EXIF",
        "mode": "RGB",
        "colours": "sRGB, by the ICC profile",
        "interpolation": "bicubic, antialiased, a = -0.5",
        **squares[fit],
        "mean": [round(float(m) / 255, 6) for m in backbone.mean.flatten()],  # of values / 255
        "std": [round(float(s) / 255, 6) for s in backbone.std.flatten()],
    }


def save(
    folder: Path, state: Mapping[str, torch.Tensor], model: Mapping[str, Any]
) -> dict[str, Any]:
    """Write weights and model.json into `folder`.

    Returns
    -------
    dict
        The content of model.json: `model` with preprocessing and versions added.
    """
    made = {
        "preprocessing": preprocessing(
            build_backbone(model["network"]), model["size"], model["fit"]
        ),
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }
    folder.mkdir(parents=True, exist_ok=True)
    weights = safetensors.torch.save({name: value.contiguous() for name, value in state.items()})
    files.write_bytes(folder / WEIGHTS, weights)
    files.write_json(folder / MODEL, {**model, **made})
    return {**model, **made}


def load(folder: Path, device: torch.device) -> tuple[Network | Detector, dict[str, Any]]:
    """Load a classifier or a detector from its folder, which may be a copy anywhere.

    Returns
    -------
    network : Network or Detector
        In eval mode, on `device`: photos (B, 3, H, W), pixel values 0 to 255 → logits (B, classes),
        or what its head's `find` takes.
    model : dict
        The content of model.json; `classes` names the logits in order, `size` is H and W in pixels,
        `fit` is how photos are made square; of a detector (`finds`), `confidence` is the lowest
        score of a detection that counts.

    Raises
    ------
    UserError
        If the folder holds neither, or a damaged one.
    """
    model = _read_model(folder / MODEL)
    try:
        state = safetensors.torch.load_file(folder / WEIGHTS)
    except FileNotFoundError:
        raise UserError(f"{folder} has no {WEIGHTS}: copy the whole folder") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS} is damaged: copy it again: {error}") from None
    try:
        return build(model, state, device), model
    except RuntimeError as error:
        raise UserError(
            f"{folder / WEIGHTS} doesn't fit {MODEL} ({model['network']}, {len(model['classes'])} "
            f"classes): copy the whole folder again: {str(error).splitlines()[-1].strip()}"
        ) from None


def build(
    model: Mapping[str, Any], state: Mapping[str, torch.Tensor], device: torch.device
) -> Network | Detector:
    """Return the network that `model` (the content of model.json) describes, in eval mode."""
    backbone, classes = build_backbone(model["network"]), len(model["classes"])
    network: Network | Detector
    if finds(model):
        layers, shapes = choose_layers(backbone, model["size"])
        head = build_head(model["network"], shapes, classes, model["size"])
        network = Detector(backbone, layers, head)
    else:
        network = Network(backbone, backbone.features, classes)
    network.load_state_dict(state)
    return network.to(device).eval()


def load_tested(
    models: Path, backbone: Path, model: Mapping[str, Any], device: torch.device, seed: int
) -> Network | Detector:
    """Load the network of one seed of the cell that tells how good the classifier is.

    Parameters
    ----------
    models, backbone : Path
        The folder data/models and the file data/backbone.safetensors.
    model : mapping
        The content of model.json.
    device : torch.device
    seed : int
    """
    own = models / model["tested"]["folder"] / f"seed{seed}.safetensors"
    trained = safetensors.torch.load_file(own)
    state = join(trained, partial(safetensors.torch.load_file, backbone))
    return build(model, state, device)


def _read_model(path: Path) -> dict[str, Any]:
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path.parent} is not a classifier: it has no {path.name}: give the folder that the "
            "stage `classifier` makes, data/classifier, or a copy of it"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: copy it again: {error}") from None
    wanted = {"network": str, "size": int, "classes": list}
    # Before data.fit, every classifier was trained on crops.
    content = {"fit": "crop"} | model if isinstance(model, dict) else {}
    for key, kind in wanted.items():
        if not isinstance(content.get(key), kind):
            raise UserError(
                f"{path} is damaged: copy it again: {key} must be of type {kind.__name__}"
            )
    if not all(isinstance(label, str) for label in content["classes"]):
        raise UserError(f"{path} is damaged: copy it again: classes must be text")
    layout = content.get("layout", {"pattern": None, "table": None})  # absent in older ones
    if not isinstance(layout, dict) or not {"pattern", "table"} <= set(layout):
        raise UserError(f"{path} is damaged: copy it again: layout must have pattern and table")
    seen: Any = content.get("samples_seen", [])
    if not (isinstance(seen, list) and all(isinstance(sample, str) for sample in seen)):
        raise UserError(f"{path} is damaged: copy it again: samples_seen must be a list of text")
    if content["fit"] not in get_args(Fit):
        raise UserError(f"{path} is damaged: copy it again: fit must be crop, pad or stretch")
    if content.get("task", TASKS[0]) not in TASKS:  # absent in those of classes
        raise UserError(f"{path} is damaged: copy it again: task must be {' or '.join(TASKS)}")
    if finds(content) and not isinstance(content.get("confidence"), float):
        raise UserError(f"{path} is damaged: copy it again: confidence must be of type float")
    return content
