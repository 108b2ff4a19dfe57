"""Settings of the splits."""

from typing import Annotated

from pydantic import Field, model_validator

from shotcount.core.params import Fraction, Section, Sections, Seed


class SplitSettings(Section):
    folds: Annotated[int, Field(ge=3, le=10)] | None
    test: Fraction | str | None
    val: Fraction | str
    seed: Seed

    @model_validator(mode="after")
    def _has_one_way_to_test(self) -> "SplitSettings":
        if (self.folds is None) == (self.test is None):
            raise ValueError("set one of folds and test, and the other to null")
        return self

    @model_validator(mode="after")
    def _leaves_a_training_split(self) -> "SplitSettings":
        tested = 1 / self.folds if self.folds else self.test
        fractions = [part for part in (self.val, tested) if isinstance(part, float)]
        if sum(fractions) >= 1:
            raise ValueError("val and test together must stay below 1: the rest is for training")
        return self


class SplitParams(Sections):
    split: SplitSettings
