"""Pretrained weights → data/backbone.safetensors, fetched once and versioned with the data.

Photos are scaled to what the network takes: data/size.json.
"""

from pathlib import Path

from safetensors.torch import save

from shotcount import files
from shotcount.backbones import fetch_weights, input_size
from shotcount.params import load_params
from shotcount.running import run_stage


def main() -> None:
    params = load_params(Path("params.yaml"))
    model = params.model
    size = input_size(model.name, params.data.size)
    weights = fetch_weights(model.name, model.weights, Path())
    files.write_bytes(Path("data/backbone.safetensors"), save(weights))
    files.write_json(Path("data/size.json"), size)


if __name__ == "__main__":
    run_stage(main)
