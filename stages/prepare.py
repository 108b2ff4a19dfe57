"""Photos → data/manifest.csv and data/pixels.npy: every photo checked and decoded once."""

from pathlib import Path

from tqdm import tqdm

from shotcount import photos, tables
from shotcount.errors import run_stage
from shotcount.params import load_params


def main() -> None:
    data = load_params(Path("params.yaml")).data
    found = photos.find_photos(Path(data.path), data.pattern)
    decoding = photos.prepare(Path(data.path), found, data.size, Path("data/pixels.npy"))
    facts = list(tqdm(decoding, "photos", len(found), unit="photo", disable=None))
    tables.write(Path("data/manifest.csv"), photos.manifest(found, facts), tables.MANIFEST)
    samples = found["sample"].nunique()
    print(f"{len(found)} photos of {samples} samples in {found['label'].nunique()} classes")


if __name__ == "__main__":
    run_stage(main)
