"""data/manifest → data/splits/{train,val,test}, split by physical sample."""

from pathlib import Path

from shotcount.core import tables
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.core.study import StudyParams
from shotcount.sampling import splits
from shotcount.sampling.settings import SplitParams


class Params(StudyParams, SplitParams):
    pass


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    manifest = tables.read(Path("data/manifest"), tables.MANIFEST)
    for name, rows in splits.split_samples(manifest, params.split, params.study.draws).items():
        tables.write(Path(f"data/splits/{name}"), rows[list(tables.SPLIT)], tables.SPLIT)
        first = tables.of_seed(rows, 0)
        print(f"{name}: {first['sample'].nunique()} samples, {len(first)} photos for seed 0")


if __name__ == "__main__":
    run_stage(main)
