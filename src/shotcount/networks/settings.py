"""Settings of device and network."""

from typing import Literal

from shotcount.core.params import Section, Sections


class ModelSettings(Section):
    name: str
    weights: str


class NetworkParams(Sections):
    device: Literal["auto", "cpu", "cuda", "mps"]
    model: ModelSettings
