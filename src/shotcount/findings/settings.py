"""Settings of the statistics: the section `answer` of params.yaml."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from shotcount.core.params import Fraction, NotNegative, Positive, Section, Sections
from shotcount.core.study import StrategyName


class AnswerSettings(Section):
    metric: Literal["auto", "accuracy", "balanced_accuracy", "macro_f1", "ap50", "ap"]
    tolerance: Fraction
    target_accuracy: Fraction | Literal["auto"]
    cost_per_sample: NotNegative
    cost_per_photo: Positive
    cost_per_box: NotNegative
    replicates: Annotated[int, Field(ge=100)]
    reference: Mapping[StrategyName, Fraction]


class AnswerParams(Sections):
    answer: AnswerSettings
