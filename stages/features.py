"""data/pixels.npy → data/features.npy: the frozen backbone's features of every photo."""

from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from tqdm import tqdm

from shotcount import files
from shotcount.backbones import build_backbone
from shotcount.devices import pick_device
from shotcount.errors import run_stage
from shotcount.features import extract
from shotcount.params import load_params


def main() -> None:
    params = load_params(Path("params.yaml"))
    pixels = np.load("data/pixels.npy", mmap_mode="r")
    backbone = build_backbone(params.model.name)
    backbone.load_state_dict(load_file("data/backbone.safetensors"))
    with (
        files.atomic(Path("data/features.npy")) as temporary,
        tqdm(desc="features", total=len(pixels), unit="photo", disable=None) as bar,
    ):
        features = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.float32, shape=(len(pixels), backbone.features)
        )
        for rows, batch in extract(backbone, pixels, pick_device(params.device)):
            features[rows] = batch
            bar.update(len(batch))
        features.flush()


if __name__ == "__main__":
    run_stage(main)
