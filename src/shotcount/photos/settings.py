"""Settings of the user's photos."""

from typing import Literal

from shotcount.core.params import Fit, PhotoSize, Section, Sections


class DataSettings(Section):
    path: str
    task: Literal["auto", "classify", "detect"]
    pattern: str | None
    table: str | None
    size: PhotoSize
    fit: Fit | Literal["auto"]
    on_bad_photo: Literal["error", "skip"]


class DataParams(Sections):
    data: DataSettings
