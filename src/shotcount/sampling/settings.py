"""Settings of splits and subsets."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shotcount.core.params import Count, Fraction, Section, Sections, Seed, UpToOne

StrategyName = Literal["scratch", "frozen", "finetune"]


class SplitSettings(Section):
    val: Fraction | str
    test: Fraction | str
    seed: Seed

    @model_validator(mode="after")
    def _leaves_a_training_split(self) -> "SplitSettings":
        fractions = [part for part in (self.val, self.test) if isinstance(part, float)]
        if sum(fractions) >= 1:
            raise ValueError("val and test together must stay below 1: the rest is for training")
        return self


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


class SplitParams(Sections):
    split: SplitSettings


class StudyParams(Sections):
    study: StudySettings
