"""data/pixels → data/features.npy: what the frozen backbone makes of every photo."""

from pathlib import Path

from safetensors.torch import load_file

from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.pixels import INDEX, Pixels
from shotcount.core.progress import Meter
from shotcount.core.stage import run_stage
from shotcount.networks.backbones import build_backbone
from shotcount.networks.devices import pick_device
from shotcount.networks.features import write_features
from shotcount.networks.settings import NetworkParams, full_name
from shotcount.tasks.classes import open_task

PIXELS, WEIGHTS = Path("data/pixels"), Path("data/backbone.safetensors")
BOXES, LAST_LAYER = Path("data/boxes"), Path("data/last_layer.json")


def main() -> None:
    params = load_params(Path("params.yaml"), NetworkParams)
    device = pick_device(params.device)
    pixels = Pixels.open(PIXELS)
    name = full_name(params.model.name, files.read_json(LAST_LAYER))
    backbone = build_backbone(name)
    backbone.load_state_dict(load_file(WEIGHTS))
    boxes = tables.read(BOXES, tables.BOXES)
    network = open_task(boxes, pixels.shape[1]).cached(backbone)
    key = (name, device, PIXELS / INDEX, WEIGHTS, tables.table_file(BOXES))
    with (
        files.workspace("features", *key) as work,
        Meter("features", len(pixels), "photo") as meter,
    ):
        unfinished = work / "features.npy"
        for done in write_features(unfinished, network, pixels, device):
            meter.show(done)
        files.publish(unfinished, Path("data/features.npy"))


if __name__ == "__main__":
    run_stage(main)
