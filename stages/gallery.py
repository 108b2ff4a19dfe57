"""Labels that may be wrong → data/suspects.csv; pictures for the report → data/gallery."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from shotcount.classifier import explain, gallery, keep
from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels
from shotcount.core.stage import run_stage
from shotcount.networks.devices import pick_device
from shotcount.networks.heads import Network
from shotcount.networks.settings import NetworkParams
from shotcount.scoring.mistakes import MISTAKES, find_mistakes
from shotcount.scoring.suspects import SUSPECTS, find_suspects, with_paths


def main() -> None:
    device = pick_device(load_params(Path("params.yaml"), NetworkParams).device)
    model = json.loads(Path("data/classifier/model.json").read_text(encoding="utf-8"))
    classes = model["classes"]
    pixels = Pixels.open(Path("data/pixels"))
    manifest = tables.read(Path("data/manifest"), tables.MANIFEST)
    paths = manifest.set_index("photo")["path"]
    predictions = keep.read_cell(Path("data/evaluation"), model)

    wrong = find_mistakes(predictions, classes)
    photos = pixels[wrong["photo"].to_numpy()]  # (B, H, H, 3)
    heat = explain.explain_mistakes(wrong, photos, classes, partial(load, model, device), device)
    suspects = find_suspects(predictions, classes)
    with files.atomic(Path("data/gallery")) as out:
        wrong = wrong.assign(
            path=paths[wrong["photo"]].to_numpy(),
            map_size=len(heat[0]) if heat else 0,
            file=[f"mistake{n}.webp" for n in range(len(wrong))],
        )
        tables.write(out / "mistakes.csv", wrong, MISTAKES)
        for n, file in enumerate(wrong["file"]):
            photo = gallery.shrunk(photos[n])
            shown = [photo, explain.overlay(photo, heat[n])] if heat else [photo]
            files.write_bytes(out / file, gallery.encode(gallery.side_by_side(shown)))
        table = with_paths(suspects, paths)
        for doubted, file in zip(suspects["photos"], table["file"], strict=True):
            if file:
                two = np.array(doubted)[gallery.spread(len(doubted), 2)]
                shown = [gallery.shrunk(photo) for photo in pixels[two]]
                files.write_bytes(out / file, gallery.encode(gallery.side_by_side(shown)))
        rows = []
        for n, views in enumerate(gallery.contact_sheet(manifest)):
            small = [gallery.scaled(pixels[photo], gallery.THUMBNAIL) for photo in views["photo"]]
            row = views.iloc[0][["label", "sample"]].to_dict() | {"file": f"sample{n}.webp"}
            files.write_bytes(out / row["file"], gallery.encode(gallery.side_by_side(small)))
            rows.append(row | {"angles": ", ".join(views["angle"])})
        tables.write(out / "samples.csv", pd.DataFrame(rows), tables.SHEET)
    tables.write(Path("data/suspects.csv"), table, SUSPECTS)


def load(model: Mapping[str, Any], device: torch.device, seed: int) -> Network:
    """Load the network of one seed of the cell that tells how good the classifier is."""
    trained = load_file(Path("data/models", model["tested"]["folder"], f"seed{seed}.safetensors"))
    state = keep.join(trained, lambda: load_file(Path("data/backbone.safetensors")))
    return keep.build(model, state, device)


if __name__ == "__main__":
    run_stage(main)
