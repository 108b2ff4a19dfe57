"""Settings of the three training strategies."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shotcount.core.params import Count, NotNegative, Positive, Section, UpToOne
from shotcount.core.study import StudyParams
from shotcount.networks.settings import NetworkParams
from shotcount.parallel.settings import ParallelSettings


class StepDecay(Section):
    every: Positive
    factor: UpToOne


class StepSettings(Section):
    """Settings of whatever is trained step by step."""

    epochs: Positive
    min_steps: Annotated[int, Field(ge=0)]
    schedule: Literal["auto", "constant", "cosine"] | StepDecay
    batch_size: Annotated[int, Field(ge=2)]
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Positive | Literal["auto"]
    weight_decay: NotNegative
    flip: bool


class FrozenSettings(Section):
    """Settings of a head that is solved on cached features."""

    seeds: Count


class FrozenParams(FrozenSettings):
    detector: StepSettings  # whose head is trained on cached features


class TrainingSettings(StepSettings):
    """Settings of a network that is trained on photos."""

    seeds: Count
    crop_scale: UpToOne


class FineTuningSettings(TrainingSettings):
    backbone_rate: UpToOne | Literal["auto"]
    init_head: Literal["zeros", "frozen"]


class StrategySettings(Section):
    scratch: TrainingSettings
    frozen: FrozenParams
    finetune: FineTuningSettings


class TrainingParams(NetworkParams, StudyParams):
    precision: Literal["auto", "float32", "bfloat16"]
    compile: bool
    parallel: ParallelSettings
    train: StrategySettings

    @model_validator(mode="after")
    def _has_a_draw_for_every_seed(self) -> "TrainingParams":
        for strategy in self.study.strategies:
            seeds = getattr(self.train, strategy).seeds
            if seeds > self.study.draws:
                raise ValueError(
                    f"train.{strategy}.seeds ({seeds}) exceeds study.draws ({self.study.draws}): "
                    "every seed trains on a draw of its own"
                )
        return self


def settings_for(
    train: StrategySettings, strategy: str, solves_heads: bool
) -> TrainingSettings | FrozenSettings:
    """Return a strategy's settings; `FrozenSettings` mean that the head is solved."""
    own: TrainingSettings | FrozenParams = getattr(train, strategy)
    if isinstance(own, TrainingSettings):
        return own
    if solves_heads:
        return FrozenSettings(seeds=own.seeds)
    # Maps are cached of whole photos, so they aren't cropped.
    return TrainingSettings(seeds=own.seeds, crop_scale=1.0, **dict(own.detector))
