"""data/splits/train → data/subsets: the nested subsets by sample and by angle."""

from pathlib import Path

from shotcount import splits, tables
from shotcount.params import load_params
from shotcount.running import run_stage


def main() -> None:
    study = load_params(Path("params.yaml")).study
    train = tables.read(Path("data/splits/train"), tables.SPLIT)
    splits.check_grid(train, study)
    subsets = splits.nested_subsets(train, study.angle_order, study.draws, study.seed)
    tables.write(Path("data/subsets"), subsets, tables.SUBSETS)


if __name__ == "__main__":
    run_stage(main)
