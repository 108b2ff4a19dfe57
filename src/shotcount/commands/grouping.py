"""Which photos show one sample, and the prediction for it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shotcount.core.errors import UserError, printable
from shotcount.photos.finding import LAYOUT, ONE_A_SCENE
from shotcount.photos.names import clean

OWN, STUDYS = "--pattern", "the study's data.pattern"


@dataclass(frozen=True)
class Groups:
    samples: list[str | None]  # of each photo; None if the pattern doesn't match its path
    by: str  # what names the samples

    @property
    def how(self) -> str:
        """Return a sentence on how the photos were grouped."""
        named = [sample for sample in self.samples if sample is not None]
        return f"{len(named)} photos are grouped into {len(set(named))} samples by {self.by}"


def group(
    photos: Sequence[tuple[Path, str]],
    pattern: re.Pattern[str] | None,
    layout: Mapping[str, Any] | None,
) -> Groups:
    """Find the sample of each photo by a pattern, else by the study's pattern, else by its folder.

    Parameters
    ----------
    photos : sequence of (Path, str)
        Path of a photo; its path below the folder that was searched, empty if it is no photo.
    pattern : Pattern or None
        As the user gave it.
    layout : mapping or None
        data.pattern and data.table of the study, as in model.json; older classifiers have none.
    """
    if pattern is not None:
        return Groups([_sample(pattern, inside) for _, inside in photos], OWN)
    studys = _study_pattern(layout) if layout else None
    if studys is None:
        why = "no data.pattern that names samples" if layout else "no record of its study's paths"
        by = f"folder, since the classifier has {why}: --pattern may say otherwise"
    else:
        samples = [
            next(filter(None, (_sample(studys, p) for p in _places(studys, *photo))), None)
            for photo in photos
        ]
        shown = printable(studys.pattern)
        if any(samples):
            return Groups(samples, f"{STUDYS}, '{shown}'")
        by = f"folder, since {STUDYS}, '{shown}', matches none: --pattern may say otherwise"
    return Groups([str(path.parent) if inside else None for path, inside in photos], by)


def count_known(
    photos: Sequence[tuple[Path, str]], layout: Mapping[str, Any] | None, samples: Sequence[str]
) -> int:
    """Count the photos whose paths name one of `samples`, as far as the study's pattern can tell.

    Parameters
    ----------
    photos, layout
        As for `group`.
    samples : sequence of str
        Samples of the study, <label>/<sample>.
    """
    studys = _study_pattern(layout) if layout else None
    if studys is None:
        return 0
    names = set(samples)
    if "label" not in studys.groupindex:  # the study's table gives the labels
        names = {name.partition("/")[2] for name in names}
    return sum(
        any(_sample(studys, place) in names for place in _places(studys, *photo))
        for photo in photos
    )


def count_known_scenes(
    photos: Sequence[tuple[Path, str]], layout: Mapping[str, Any] | None, scenes: Sequence[str]
) -> int:
    """Count the photos whose paths name one of `scenes`, whatever their class, as `count_known`."""
    pattern, names = (layout or {}).get("pattern") or ONE_A_SCENE, set(scenes)
    if "(?P<sample>" not in pattern:  # the study's table names the scenes
        return 0
    studys = compile_pattern(pattern, STUDYS)
    return sum(
        any(
            match is not None and clean(match["sample"] or "") in names
            for match in map(studys.search, _places(studys, *photo, fewest=1))
        )
        for photo in photos
    )


def compile_pattern(pattern: str, where: str = OWN) -> re.Pattern[str]:
    """Compile the pattern that finds a photo's sample in its path.

    Raises
    ------
    UserError
        If it is not a regular expression, or has no group `sample`.
    """
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{where}: not a regular expression: {error}") from None
    if "sample" not in regex.groupindex:
        raise UserError(f"{where}: lacks the group sample: write (?P<sample>...)")
    return regex


def _study_pattern(layout: Mapping[str, Any]) -> re.Pattern[str] | None:
    """Return None if samples are named in the study's table, which has no other photos."""
    pattern = layout["pattern"] or ("" if layout["table"] else LAYOUT)
    return compile_pattern(pattern, STUDYS) if "(?P<sample>" in pattern else None


def _places(pattern: re.Pattern[str], path: Path, inside: str, fewest: int = 2) -> Iterator[str]:
    """Yield the paths in which a pattern of the study may find the sample.

    A pattern for whole paths, such as <class>/<sample>/<angle>.jpg, also finds it where only a
    sample's folder, or the photo itself, was given: in the last parts of its path, `fewest` or
    more.
    """
    yield inside
    whole = pattern.pattern.removeprefix("(?s)")
    if inside and whole.startswith("^") and whole.endswith("$"):
        parts = path.absolute().parts
        yield from ("/".join(parts[-count:]) for count in range(fewest, len(parts)))


def _sample(pattern: re.Pattern[str], place: str) -> str | None:
    """Return the group `sample`, after the group `label` if there is one.

    Sample 7 of one class is not sample 7 of another.
    """
    match = pattern.search(place)
    if match is None or not match["sample"]:
        return None
    label = match.groupdict().get("label")
    return clean(f"{label}/{match['sample']}" if label else match["sample"])


class Samples:
    """Averages log-probabilities over the photos of each sample, as in scoring.views."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, np.ndarray]] = {}  # photos, summed log-probabilities

    def add(self, sample: str, p: np.ndarray) -> None:
        """Add a photo's probabilities (classes,)."""
        photos, total = self._sums.get(sample, (0, np.zeros(len(p))))
        self._sums[sample] = photos + 1, total + np.log(np.clip(p, 1e-15, None))

    def __iter__(self) -> Iterator[tuple[str, int, np.ndarray]]:
        """Yield sample, number of photos and probabilities (classes,), in order of appearance.

        The probabilities are the geometric means over the photos, scaled to a sum of 1.
        """
        for sample, (photos, total) in self._sums.items():
            p = np.exp(total / photos)
            yield sample, photos, p / p.sum()
