"""data/splits/train → data/subsets: nested subsets by samples and angles."""

from pathlib import Path

from shotcount.core import tables
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.core.study import StudyParams
from shotcount.sampling.sizes import check_sizes
from shotcount.sampling.subsets import nested_subsets


def main() -> None:
    study = load_params(Path("params.yaml"), StudyParams).study
    train = tables.read(Path("data/splits/train"), tables.SPLIT)
    check_sizes(train, study)
    subsets = nested_subsets(train, study.angle_order, study.seed)
    tables.write(Path("data/subsets"), subsets, tables.SUBSETS)


if __name__ == "__main__":
    run_stage(main)
