"""Photos → data/manifest, data/pixels and data/boxes: each is checked and decoded once."""

from pathlib import Path

import pandas as pd

from shotcount.boxes import preparing
from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.progress import watch
from shotcount.core.stage import run_stage
from shotcount.photos.decoding import decode
from shotcount.photos.preparing import other_files, remarks, write_pixels
from shotcount.photos.settings import DataParams

SIZE = Path("data/size.json")


def main() -> None:
    data = load_params(Path("params.yaml"), DataParams).data
    size = files.read_json(SIZE)
    root = Path(data.path)
    source = preparing.open_source(root, data)
    with files.workspace("prepare", str(root.resolve()), size, source.fit) as work:
        decoded = decode(root, source.photos, size, source.fit, work)
        facts = watch(decoded, "photos", len(source.photos), "photo")
        chosen = preparing.choose(source, facts, data.on_bad_photo)
        manifest = write_pixels(chosen.photos, size, work, Path("data/pixels"))
        boxes = preparing.to_table(chosen, manifest, size, source.fit)
        columns = list(tables.MANIFEST)
        tables.write(Path("data/manifest"), manifest[columns], tables.MANIFEST)
        tables.write(Path("data/boxes"), boxes, tables.BOXES)
        left_out = pd.concat([chosen.left_out, other_files(root)])
        tables.write(Path("data/left_out.csv"), left_out, tables.LEFT_OUT)
    print(preparing.counts(manifest, boxes))
    for remark in [
        *remarks(manifest, left_out, size, source.fit),
        *preparing.remarks(manifest, boxes, source, size),
    ]:
        print(f"note: {remark}")


if __name__ == "__main__":
    run_stage(main)
