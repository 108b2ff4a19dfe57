"""Settings of the demo collection."""

from typing import Annotated

from pydantic import Field

from shotcount.core.params import Count, Section, Sections, Seed


class DemoSettings(Section):
    samples: Annotated[int, Field(ge=2)]
    angles: Count
    size: Annotated[int, Field(ge=16)]
    seed: Seed


class DemoParams(Sections):
    demo: DemoSettings
