"""Pretrained weights → data/backbone.safetensors; what `auto` means for this network: the photo
size → data/size.json, the last layer with photos of that size → data/last_layer.json.

The weights are fetched once, then DVC versions them with the data.
"""

from pathlib import Path

from safetensors.torch import save

from shotcount.core import files
from shotcount.core.params import Part, PhotoSize, load_params
from shotcount.core.stage import run_stage
from shotcount.networks.backbones import input_size
from shotcount.networks.features import last_layer
from shotcount.networks.settings import NetworkParams, full_name
from shotcount.networks.weights import fetch_weights


class DataPart(Part):
    size: PhotoSize


class Params(NetworkParams):
    data: DataPart


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    model = params.model
    size = input_size(model.name, params.data.size)
    layer = last_layer(model, size)
    weights = fetch_weights(full_name(model.name, layer), model.weights, Path())
    files.write_bytes(Path("data/backbone.safetensors"), save(weights))
    files.write_json(Path("data/size.json"), size)
    files.write_json(Path("data/last_layer.json"), layer)


if __name__ == "__main__":
    run_stage(main)
