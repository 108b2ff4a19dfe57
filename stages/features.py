"""data/pixels → data/features.npy: the frozen backbone's features of every photo and view."""

from pathlib import Path

from safetensors.torch import load_file

from shotcount import features, files
from shotcount.backbones import build_backbone
from shotcount.devices import pick_device
from shotcount.params import load_params
from shotcount.pixels import INDEX, Pixels
from shotcount.progress import Meter
from shotcount.running import run_stage

PIXELS, WEIGHTS = Path("data/pixels"), Path("data/backbone.safetensors")


def main() -> None:
    params = load_params(Path("params.yaml"))
    own, device = params.features, pick_device(params.device)
    pixels = Pixels.open(PIXELS)
    backbone = build_backbone(params.model.name)
    backbone.load_state_dict(load_file(WEIGHTS))
    with (
        files.workspace(
            "features", params.model.name, own, device, PIXELS / INDEX, WEIGHTS
        ) as work,
        Meter("features", len(pixels), "photo") as meter,
    ):
        unfinished = work / "features.npy"
        for done in features.write(unfinished, backbone, pixels, own, device):
            meter.show(done)
        files.publish(unfinished, Path("data/features.npy"))


if __name__ == "__main__":
    run_stage(main)
