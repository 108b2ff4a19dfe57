"""Settings of the demo collection."""

from typing import Annotated, Literal

from pydantic import Field

from shotcount.core.params import Count, Section, Sections, Seed


class DemoSettings(Section):
    shows: Literal["finds", "scenes"]
    samples: Annotated[int, Field(ge=2)]
    angles: Count
    size: Annotated[int, Field(ge=16)]
    seed: Seed


class DemoParams(Sections):
    demo: DemoSettings
