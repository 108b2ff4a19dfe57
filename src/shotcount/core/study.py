"""The sizes of a study: its cells, their names and folders, the photos of each.

Most stages use this module, and none of them needs to know how samples are drawn (`sampling/`).
"""

from itertools import product
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, model_validator

from shotcount.core.params import Count, Section, Sections, Seed, UpToOne

StrategyName = Literal["scratch", "frozen", "finetune"]


class SizeSettings(Section):
    samples: list[Count | UpToOne]
    angles: list[Count]

    @model_validator(mode="after")
    def _names_each_size_once(self) -> "SizeSettings":
        for name in ("samples", "angles"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {values} lists a value twice")
        return self


class StudySettings(SizeSettings):
    strategies: Annotated[list[StrategyName], Field(min_length=1)]
    samples: Annotated[list[Count | UpToOne], Field(min_length=1)]
    angles: Annotated[list[Count], Field(min_length=1)]
    frozen_grid: SizeSettings
    angle_order: Literal["spread", "random"]
    draws: Count
    seed: Seed

    @model_validator(mode="after")
    def _names_each_strategy_once(self) -> "StudySettings":
        if len(set(self.strategies)) < len(self.strategies):
            raise ValueError(f"strategies {self.strategies} lists a value twice")
        return self


class StudyParams(Sections):
    study: StudySettings


def sample_count(size: int | float, available: int) -> int:
    """Return a size of `study.samples` as a count: a float is a fraction of those available.

    >>> sample_count(0.5, 120), sample_count(12, 120)
    (60, 12)
    """
    return size if isinstance(size, int) else max(1, round(size * available))


def available_samples(subsets: pd.DataFrame) -> int:
    """Return how many training samples each seed has; `subsets` has the columns `SUBSETS`."""
    return int(subsets["sample_position"].max()) + 1


def largest_size(study: StudySettings, available: int) -> tuple[int, int]:
    """Return samples and angles of the largest cell that all strategies have."""
    return max(sample_count(size, available) for size in study.samples), max(study.angles)


def cell_name(size: int | float, angles: int) -> str:
    """Name a cell's folder after its sizes as written in params.yaml.

    >>> cell_name(0.5, 10)
    '0.5x10'
    """
    return f"{size}x{angles}"


def further_cells(study: StudySettings) -> list[tuple[int | float, int]]:
    """List the sizes of study.frozen_grid that the grid of all strategies doesn't have."""
    shared = set(product(study.samples, study.angles))
    grid = study.frozen_grid
    return [size for size in product(grid.samples, grid.angles) if size not in shared]


def later_cells(
    study: StudySettings, samples: int | float, angles: int
) -> list[tuple[int | float, int]]:
    """List the sizes of the grid of all strategies that are trained after this one."""
    sizes = list(product(study.samples, study.angles))
    return sizes[sizes.index((samples, angles)) + 1 :]


def cell_folders(study: StudySettings, strategy: str) -> list[str]:
    """List the folders of a strategy's cells, relative to data/models/<strategy>."""
    names = [cell_name(*size) for size in product(study.samples, study.angles)]
    if strategy == "frozen":
        names += [f"grid/{cell_name(*size)}" for size in further_cells(study)]
    return names


def training_runs(study: StudySettings) -> list[str]:
    """List the runs of the stage train, in the order of params.yaml, named as `run_stage` does."""
    sizes = product(study.strategies, study.samples, study.angles)
    names = [f"train-{strategy}-{samples}-{angles}" for strategy, samples, angles in sizes]
    return [*names, "train-frozen-grid"]


def stage_runs(study: StudySettings) -> list[str]:
    """List the runs of all stages before the report, named as `run_stage` does."""
    of_strategies = [f"{stage}-{own}" for stage in ("tune", "evaluate") for own in study.strategies]
    alone = ["params", "backbone", "prepare", "split", "subsample", "features"]
    return [*alone, *of_strategies, *training_runs(study), "refit", "classifier", "gallery"]


def take_subset(subsets: pd.DataFrame, samples: int, angles: int) -> pd.DataFrame:
    """Return the rows of the subset of `samples` samples x `angles` angles, for every seed."""
    return subsets[(subsets["sample_position"] < samples) & (subsets["angle_position"] < angles)]
