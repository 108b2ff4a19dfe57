"""Photos → data/manifest and data/pixels: every photo is checked and decoded once."""

import json
from pathlib import Path

import pandas as pd

from shotcount.core import files, tables
from shotcount.core.params import load_params
from shotcount.core.progress import watch
from shotcount.core.stage import run_stage
from shotcount.photos import finding, preparing
from shotcount.photos.decoding import decode
from shotcount.photos.settings import DataParams

SIZE = Path("data/size.json")


def main() -> None:
    data = load_params(Path("params.yaml"), DataParams).data
    size = json.loads(SIZE.read_text(encoding="utf-8"))
    root = Path(data.path)
    found = finding.find_photos(root, data.pattern, data.table)
    with files.workspace("prepare", str(root.resolve()), size, data.fit) as work:
        decoded = decode(root, found, size, data.fit, work)
        facts = watch(decoded, "photos", len(found), "photo")
        manifest, left_out = preparing.prepare(
            found, facts, size, data.on_bad_photo, work, Path("data/pixels")
        )
        columns = list(tables.MANIFEST)
        tables.write(Path("data/manifest"), manifest[columns], tables.MANIFEST)
        left_out = pd.concat([left_out, preparing.other_files(root)])
        tables.write(Path("data/left_out.csv"), left_out, tables.LEFT_OUT)
    samples, classes = manifest["sample"].nunique(), manifest["label"].nunique()
    print(f"{len(manifest)} photos of {samples} samples in {classes} classes")
    for remark in preparing.remarks(manifest, left_out, size, data.fit):
        print(f"note: {remark}")


if __name__ == "__main__":
    run_stage(main)
