"""Settings of device, network and features."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shotcount.core.params import Section, Sections, UpToOne


class ModelSettings(Section):
    name: str
    weights: str


class FeatureSettings(Section):
    augmentations: Annotated[int, Field(ge=0)]
    crop_scale: UpToOne
    flip: bool

    @model_validator(mode="after")
    def _augments_at_all(self) -> "FeatureSettings":
        if self.augmentations and self.crop_scale == 1 and not self.flip:
            raise ValueError(
                f"{self.augmentations} augmented copies, with crop_scale 1 and no flip, would all "
                "be the photo itself: set augmentations: 0"
            )
        return self


class NetworkParams(Sections):
    device: Literal["auto", "cpu", "cuda", "mps"]
    model: ModelSettings
    features: FeatureSettings
