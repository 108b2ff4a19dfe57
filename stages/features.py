"""data/pixels → data/features.npy: features of every photo from the frozen backbone."""

from pathlib import Path

from safetensors.torch import load_file

from shotcount.core import files
from shotcount.core.params import load_params
from shotcount.core.pixels import INDEX, Pixels
from shotcount.core.progress import Meter
from shotcount.core.stage import run_stage
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import pick_device
from shotcount.networks.features import write_features
from shotcount.networks.settings import NetworkParams

PIXELS, WEIGHTS = Path("data/pixels"), Path("data/backbone.safetensors")


def main() -> None:
    params = load_params(Path("params.yaml"), NetworkParams)
    device = pick_device(params.device)
    pixels = Pixels.open(PIXELS)
    backbone = build_backbone(params.model.name)
    backbone.load_state_dict(load_file(WEIGHTS))
    key = (params.model.name, device, PIXELS / INDEX, WEIGHTS)
    with (
        files.workspace("features", *key) as work,
        Meter("features", len(pixels), "photo") as meter,
    ):
        unfinished = work / "features.npy"
        for done in write_features(unfinished, backbone, pixels, device):
            meter.show(done)
        files.publish(unfinished, Path("data/features.npy"))


if __name__ == "__main__":
    run_stage(main)
