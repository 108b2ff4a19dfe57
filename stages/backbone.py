"""Pretrained weights → data/backbone.safetensors, fetched once and versioned with the data."""

from pathlib import Path

from safetensors.torch import save

from shotcount import files
from shotcount.backbones import check_size, fetch_weights
from shotcount.params import load_params
from shotcount.running import run_stage


def main() -> None:
    params = load_params(Path("params.yaml"))
    model = params.model
    check_size(model.name, params.data.size)
    weights = fetch_weights(model.name, model.weights, Path())
    files.write_bytes(Path("data/backbone.safetensors"), save(weights))


if __name__ == "__main__":
    run_stage(main)
