"""Choose the layout that reads a collection best, and list the others that fit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from shotcount.core.errors import UserError, printable
from shotcount.photos import finding, names
from shotcount.photos.walking import list_photos, walk
from shotcount.proposal.layouts import SUFFIX, Layout, list_layouts

FEWEST = 3  # samples of a class: one to train, one to validate and one to test on
TESTED = 60  # samples that a split `val` needs to serve as the test split
VAL = 0.1  # of the samples, where a ready-made split has none for validation
SHARE = 0.8  # of the photos that a layout must read
SHOWN = 6  # layouts that are offered
# Words in names of photos that are no classes: what cameras write, and views.
NO_CLASSES = {
    *("img", "image", "images", "photo", "pic", "picture", "dsc", "dscn", "dscf", "pxl", "gopr"),
    *("mvi", "scan", "screenshot", "frame", "capture", "file", "sample", "object", "obj", "item"),
    *("front", "back", "top", "bottom", "left", "right", "side", "view", "angle", "above", "below"),
}
KEYS = {  # of tables with a column sample: how paths name it
    "<sample>_<angle>": r"(?P<sample>[^/]+)[-_]+(?P<angle>[^-_/]+)" + SUFFIX,
    "<word><sample>_<angle>": r"[A-Za-z]+(?P<sample>\d+)[-_]+(?P<angle>[^/]+)" + SUFFIX,
    "<sample>/<angle>": r"(?P<sample>[^/]+)/(?P<angle>[^/]+)" + SUFFIX,
    "<sample>": r"(?P<sample>[^/]+)" + SUFFIX,
}


@dataclass(frozen=True)
class Reading:
    """A collection as one layout reads it.

    Attributes
    ----------
    words : str
        The layout.
    pattern, table : str or None
        data.pattern and data.table.
    photos : DataFrame
        Columns path, label, sample, angle, given_split, as of `photos.finding.find_photos`.
    splits : dict
        Values of split.val and split.test, if ready-made splits are used; else empty.
    rank : tuple
        The higher, the better it fits.
    """

    words: str
    pattern: str | None
    table: str | None
    photos: pd.DataFrame
    splits: Mapping[str, Any]
    rank: tuple[Any, ...] = ()


def read_folder(root: Path) -> list[Reading]:
    """Return the layouts that fit the photos below a folder, the best first.

    Raises
    ------
    UserError
        If there are no photos, or no layout fits.
    """
    paths = list_photos(root)
    found = [*_by_tables(root, paths), *rank_layouts(paths)]
    if not found:
        raise UserError(
            f"{printable(root)}: none of the known layouts reads at least two classes of "
            f"{FEWEST} samples from its {len(paths):,} photos, for example {printable(paths[0])}: "
            "sort them as <class>/<sample>/<angle>.jpg, or set data.pattern or data.table in "
            "params.yaml (docs/photos.md has examples)"
        )
    return found[:SHOWN]


def rank_layouts(paths: Sequence[str]) -> list[Reading]:
    """Return the layouts whose patterns fit the paths, the best first; layouts that read the same
    samples are one.
    """
    ready = names.ready_made_splits(paths)
    read = []
    for layout in list_layouts(paths, ready):
        for pattern in layout.patterns:
            photos = _match(paths, pattern)
            if photos is None or not _is_sensible(photos, layout, len(paths)):
                continue
            splits = _use_splits(photos, dict(ready.folders)) if ready and layout.splits else {}
            if splits is None or _collides(photos, bool(splits)):
                continue
            default = pattern == finding.LAYOUT and ready is None
            own = Reading(layout.words, None if default else pattern, None, photos, splits)
            read.append((layout, own))
            break
    return _best_first(read, ready is not None and "test" in ready.folders)


# ---------------------------------------------------------------------------- what fits


def _match(paths: Sequence[str], pattern: str) -> pd.DataFrame | None:
    regex = re.compile(pattern)
    matches = [(path, match) for path in paths if (match := regex.search(path))]
    if len(matches) < SHARE * len(paths):
        return None
    rows = [{"path": path, "angle": "", "split": ""} | m.groupdict("") for path, m in matches]
    table = pd.DataFrame(rows, dtype=object).rename(columns={"split": "given_split"})
    return table.assign(sample=table["label"] + "/" + table["sample"])


def _samples_of(photos: pd.DataFrame) -> pd.Series:
    return photos.groupby("label")["sample"].nunique()


def _is_sensible(photos: pd.DataFrame, layout: Layout, count: int) -> bool:
    """Return whether labels may be classes, and parts of names angles."""
    samples = _samples_of(photos)
    if len(samples) < 2 or samples.median() < FEWEST:
        return False
    labels = {names.clean(label).lower() for label in samples.index}
    if names.find_splits(labels, whole=True):
        return False
    if layout.in_names and labels & NO_CLASSES:
        return False
    # Numbered folders within other folders are samples.
    if "<folder>/<class>" in layout.words and not are_words(list(labels)):
        return False
    return "<angle>" not in layout.words.rpartition("/")[2] or has_views(photos, layout)


def has_views(photos: pd.DataFrame, layout: Layout | None = None) -> bool:
    """Return whether most photos share their sample with others, and their angle with photos of
    other samples: parts of names that are all different are no angles.
    """
    if layout and layout.words.endswith("/<angle>.jpg"):  # a folder for each sample
        return True
    shared = photos.groupby("sample")["path"].transform("size") > 1
    return bool(shared.mean() >= 0.6 and photos["angle"].nunique() <= len(photos) / 2)


def _collides(photos: pd.DataFrame, splits: bool) -> bool:
    if photos.duplicated(["sample", "angle"]).any():
        return True
    return splits and bool((photos.groupby("sample")["given_split"].nunique() > 1).any())


def _use_splits(photos: pd.DataFrame, folders: dict[str, str]) -> dict[str, Any] | None:
    """Return split.val and split.test for ready-made splits; None if they can't be used."""
    if "train" not in folders or len(folders) < 2:
        return None
    parts = {role: photos["given_split"] == name for role, name in folders.items()}
    if any(
        photos.loc[own, "label"].nunique() < photos["label"].nunique() for own in parts.values()
    ):
        return None
    if "test" not in folders:
        return {"val": VAL, "test": folders["val"]}
    return {"val": folders.get("val", VAL), "test": folders["test"]}


def _tested(reading: Reading) -> int:
    own = reading.photos["given_split"] == reading.splits["test"]
    return int(reading.photos.loc[own, "sample"].nunique())


# ---------------------------------------------------------------------------- what fits best


def are_words(labels: Sequence[str]) -> bool:
    """Return whether classes are named, not numbered.

    >>> are_words(["plastic", "stone"]), are_words(["1", "2"]), are_words(["site_a", "site_b"])
    (True, False, False)
    """
    stems = {re.sub(r"[\W\d_]+", "", re.sub(r"[-_ ][A-Za-z]$", "", label)) for label in labels}
    return len(stems - {""}) > max(1, len(labels) / 2)


def _best_first(read: list[tuple[Layout, Reading]], has_test: bool) -> list[Reading]:
    by_name = [r for layout, r in read if layout.in_names and are_words(_labels(r))]
    ranked = []
    for layout, reading in read:
        photos = reading.photos
        words = are_words(_labels(reading))
        rank = (
            words,
            layout.in_names or not _is_contradicted(layout, reading, by_name),
            # Views of one sample that count as samples would make results too good.
            bool(photos.groupby("sample").size().median() > 1),
            not layout.in_names,
            layout.splits and (has_test or _tested(reading) >= TESTED),
            not layout.splits,
            -layout.below,
            -len(reading.pattern or ""),
        )
        ranked.append(replace(reading, rank=rank))
    ranked.sort(key=lambda reading: reading.rank, reverse=True)
    return _distinct([r for r in ranked if r.rank[0] == ranked[0].rank[0]])


def _labels(reading: Reading) -> list[str]:
    return list(reading.photos["label"].unique())


def _is_contradicted(layout: Layout, reading: Reading, by_name: list[Reading]) -> bool:
    """Return whether something below the folder of a class looks like the class instead.

    That is words in the names of photos, or folders in place of samples, each of which occurs in
    several of the folders.
    """
    photos = reading.photos
    by_folder = layout.words.endswith("/<sample>/<angle>.jpg")
    if by_folder:
        own = photos.drop_duplicates("sample")
        if _crosses(own["sample"].str.rpartition("/")[2], own["label"]):
            return True
    elif photos.groupby("sample").size().median() > 1:
        return False
    labels = photos.set_index("path")["label"]
    return any(
        _crosses(other.photos["label"], other.photos["path"].map(labels))
        for other in by_name
        if not by_folder or "/" in other.words  # names of folders
    )


def _crosses(inner: pd.Series, outer: pd.Series) -> bool:
    """Return whether each of several inner words occurs with two or more of the outer ones."""
    known = outer.notna()
    inner, outer = inner[known], outer[known]
    if inner.empty or inner.str.contains(r"\d").any() or not are_words(list(inner.unique())):
        return False
    return bool(outer.groupby(inner).nunique().min() > 1)


def _distinct(ranked: list[Reading]) -> list[Reading]:
    """Keep the best of the layouts that read the same classes, samples and splits."""
    seen, kept = set(), []
    for reading in ranked:
        photos = reading.photos
        codes = [pd.factorize(photos[name])[0].tobytes() for name in ("label", "sample")]
        key = (tuple(photos["path"]), *codes, tuple(reading.splits.items()))
        if key not in seen:
            seen.add(key)
            kept.append(reading)
    return kept


# ---------------------------------------------------------------------------- tables


def _by_tables(root: Path, paths: Sequence[str]) -> list[Reading]:
    """Return the readings by CSV files that have a column label, the one of most photos first."""
    read = []
    for name in walk(root).companions:
        if not name.lower().endswith((".csv", ".tsv")):
            continue
        best: list[Reading] = []
        for pattern in (None, *KEYS.values()):
            try:
                photos = finding.find_photos(root, pattern, name)
            except UserError:
                continue
            samples = _samples_of(photos)
            views = pattern in (None, KEYS["<sample>/<angle>"], KEYS["<sample>"]) or has_views(
                photos
            )
            enough = len(samples) > 1 and samples.median() >= FEWEST
            if views and enough and len(photos) >= SHARE * len(paths):
                best.append(Reading(f"{name} says the class", pattern, name, photos, {}))
        # Photos of one sample stay together: the fewest samples.
        read += sorted(best, key=lambda r: (r.photos["sample"].nunique(), r.pattern or ""))[:1]
    return read
