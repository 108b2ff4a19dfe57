"""Pictures for the report: the classifier's mistakes, with where it looked; its training photos."""

from pathlib import Path

import numpy as np
import torch

from shotcount import classifier, files, gallery, tables
from shotcount.devices import pick_device
from shotcount.params import load_params
from shotcount.running import run_stage

MOST_CLASSES = 8  # on the contact sheets


def main() -> None:
    params = load_params(Path("params.yaml"))
    device = pick_device(params.device)
    network, model = classifier.load(Path("data/classifier"), device)
    classes, size = model["classes"], [model[name] for name in ("samples", "angles", "seed")]
    pixels = np.load("data/pixels.npy", mmap_mode="r")

    predictions = tables.read(
        Path("data/evaluation", model["strategy"], "predictions.csv"), tables.predictions(classes)
    )
    own = predictions[(predictions[["samples", "angles", "seed"]] == size).all(axis=1)]
    wrong = gallery.mistakes(own, classes)
    photos = pixels[wrong["photo"].to_numpy()]  # (B, H, W, 3)
    heat = None
    if len(wrong):
        x = torch.from_numpy(photos).to(device).permute(0, 3, 1, 2).float()
        asked = torch.tensor([classes.index(label) for label in wrong["predicted"]], device=device)
        heat = gallery.grad_cam(network, x, asked)
    train = tables.read(Path("data/splits/train.csv"), tables.SPLIT)
    manifest = tables.read(Path("data/manifest.csv"), tables.MANIFEST).set_index("photo")
    with files.atomic(Path("data/gallery")) as out:
        wrong = wrong.assign(
            path=manifest["path"][wrong["photo"]].to_numpy(),
            file=[f"mistake{n}.jpg" for n in range(len(wrong))],
            overlay=heat is not None,
        )
        tables.write(out / "mistakes.csv", wrong, tables.MISTAKES)
        for n, photo in enumerate(photos):
            shown = gallery.overlay(photo, None if heat is None else heat[n].cpu().numpy())
            files.write_bytes(out / f"mistake{n}.jpg", gallery.jpeg(shown))
        for n, label in enumerate(classes[:MOST_CLASSES]):
            sheet = gallery.contact_sheet(train[train["label"] == label], pixels)
            files.write_bytes(out / f"class{n}.jpg", gallery.jpeg(sheet))


if __name__ == "__main__":
    run_stage(main)
