"""Settings of the rendered scenes."""

from typing import Annotated

from pydantic import Field

from shotcount.core.params import Count, Section, Sections, Seed


class ScenesSettings(Section):
    scenes: Count
    angles: Count
    size: Annotated[int, Field(ge=16)]
    seed: Seed


class ScenesParams(Sections):
    scenes: ScenesSettings
