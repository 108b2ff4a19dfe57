"""Settings of the splits."""

from pydantic import model_validator

from shotcount.core.params import Fraction, Section, Sections, Seed


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


class SplitParams(Sections):
    split: SplitSettings
