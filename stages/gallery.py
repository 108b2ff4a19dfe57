"""Labels that may be wrong → data/suspects.csv; pictures for the report → data/gallery."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from shotcount.classifier import explain, gallery, keep
from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels
from shotcount.core.stage import run_stage
from shotcount.networks.devices import pick_device
from shotcount.networks.settings import NetworkParams
from shotcount.scoring.mistakes import MISTAKES, find_mistakes
from shotcount.scoring.suspects import SUSPECTS, find_suspects, with_paths


def main() -> None:
    device = pick_device(load_params(Path("params.yaml"), NetworkParams).device)
    network, model = keep.load(Path("data/classifier"), device)
    classes, seed = model["classes"], model["seed"]
    pixels = Pixels.open(Path("data/pixels"))
    paths = tables.read(Path("data/manifest"), tables.MANIFEST).set_index("photo")["path"]
    train = tables.of_seed(tables.read(Path("data/splits/train"), tables.SPLIT), seed)
    predictions = keep.read_cell(Path("data/evaluation"), model)

    wrong = find_mistakes(tables.of_seed(predictions, seed), classes)
    photos = pixels[wrong["photo"].to_numpy()]  # (B, H, H, 3)
    heat = None
    if len(wrong):
        x = torch.from_numpy(photos).to(device).permute(0, 3, 1, 2).float()
        asked = torch.tensor([classes.index(label) for label in wrong["predicted"]], device=device)
        heat = explain.grad_cam(network, x, asked)
    suspects = find_suspects(predictions, classes)
    with files.atomic(Path("data/gallery")) as out:
        wrong = wrong.assign(
            path=paths[wrong["photo"]].to_numpy(),
            map_size=0 if heat is None else heat.shape[1],
            file=[f"mistake{n}.webp" for n in range(len(wrong))],
        )
        tables.write(out / "mistakes.csv", wrong, MISTAKES)
        for n, file in enumerate(wrong["file"]):
            photo = gallery.shrunk(photos[n])
            shown = [photo] if heat is None else [photo, explain.overlay(photo, heat[n])]
            files.write_bytes(out / file, gallery.encode(gallery.side_by_side(shown)))
        table = with_paths(suspects, paths)
        for doubted, file in zip(suspects["photos"], table["file"], strict=True):
            if file:
                two = np.array(doubted)[gallery.spread(len(doubted), 2)]
                shown = [gallery.shrunk(photo) for photo in pixels[two]]
                files.write_bytes(out / file, gallery.encode(gallery.side_by_side(shown)))
        rows = []
        for n, views in enumerate(gallery.contact_sheet(train)):
            small = [gallery.scaled(pixels[photo], gallery.THUMBNAIL) for photo in views["photo"]]
            row = views.iloc[0][["label", "sample"]].to_dict() | {"file": f"sample{n}.webp"}
            files.write_bytes(out / row["file"], gallery.encode(gallery.side_by_side(small)))
            rows.append(row | {"angles": ", ".join(views["angle"])})
        tables.write(out / "samples.csv", pd.DataFrame(rows), tables.SHEET)
    tables.write(Path("data/suspects.csv"), table, SUSPECTS)


if __name__ == "__main__":
    run_stage(main)
