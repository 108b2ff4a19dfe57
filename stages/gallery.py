"""Labels that may be wrong → data/suspects.csv; pictures for the report → data/gallery."""

from functools import partial
from pathlib import Path

import pandas as pd

from shotcount.classifier import detector_exhibits, exhibits, gallery, keep
from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.pixels import Pixels
from shotcount.core.stage import run_stage
from shotcount.networks.devices import pick_device
from shotcount.scoring.mistakes import MISTAKES
from shotcount.scoring.suspects import SUSPECTS

EVALUATION, MODELS = Path("data/evaluation"), Path("data/models")
BACKBONE = Path("data/backbone.safetensors")


def main() -> None:
    params = load_params(Path("params.yaml"), gallery.GalleryParams)
    model = files.read_json(Path("data/classifier/model.json"))
    manifest = tables.read(Path("data/manifest"), tables.MANIFEST)
    paths = manifest.set_index("photo")["path"]
    see = partial(gallery.look, Path(params.data.path), paths, model["fit"])
    boxes, run = tables.read(Path("data/boxes"), tables.BOXES), keep.read_cell(EVALUATION, model)
    if keep.finds(model):
        tested = keep.read_tested(EVALUATION, model)
        shown = detector_exhibits.exhibit(run, boxes, tested, see, paths, model)
        thumbnail = partial(detector_exhibits.thumbnail, boxes, see, model["size"])
    else:
        device, pixels = pick_device(params.device), Pixels.open(Path("data/pixels"))
        network_of = partial(keep.load_tested, MODELS, BACKBONE, model, device)
        shown = exhibits.exhibit(run, model["classes"], pixels, paths, see, network_of, device)
        thumbnail = partial(exhibits.thumbnail, see)
    with files.atomic(Path("data/gallery")) as out:
        tables.write(out / "mistakes.csv", shown.mistakes, MISTAKES)
        pictured = shown.suspects["file"][shown.suspects["file"] != ""]
        names = [*shown.mistakes["file"], *pictured]
        for name, picture in zip(names, [*shown.pictures, *shown.doubted], strict=True):
            files.write_bytes(out / name, gallery.encode(picture))
        rows = []
        for n, views in enumerate(gallery.contact_sheet(manifest)):
            small = gallery.side_by_side([thumbnail(photo) for photo in views["photo"]])
            row = views.iloc[0][["label", "sample"]].to_dict() | {"file": f"sample{n}.webp"}
            files.write_bytes(out / row["file"], gallery.encode(small))
            rows.append(row | {"angles": ", ".join(views["angle"])})
        tables.write(out / "samples.csv", pd.DataFrame(rows), tables.SHEET)
    tables.write(Path("data/suspects.csv"), shown.suspects, SUSPECTS)


if __name__ == "__main__":
    run_stage(main)
