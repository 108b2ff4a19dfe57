"""Names as people give them: Unicode's forms, blanks, and folders that are ready-made splits."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from shotcount.core.errors import UserError, printable

ROLES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def clean(name: str) -> str:
    """Return a name in the normal form NFC, without blanks (also no-break ones) around it."""
    return unicodedata.normalize("NFC", name).strip()


# ---------------------------------------------------------------------------- look-alikes


def refuse_variants(where: str, labels: Iterable[str], samples: Iterable[str]) -> None:
    """Refuse names that would be one to the eye, but are several in the files.

    Parameters
    ----------
    where : str
        The setting that the names come from.
    labels, samples : iterables of str
        As in the files. Labels may not differ by case, blanks or normal form alone; samples not by
        normal form or by blanks around them.

    Raises
    ------
    UserError
        If there are such names; the message shows all of them.
    """
    for kind, names, essence, difference in (
        ("classes", labels, _essence, "case, blanks or Unicode form"),
        ("samples", samples, clean, "blanks or Unicode form"),
    ):
        if variants := _variants(names, essence):
            raise UserError(
                f"{where}: {'; '.join(variants)} are read as {kind} that differ only by "
                f"{difference}: write each in one way"
            )


def _essence(label: str) -> str:
    return "".join(clean(label).lower().split())


def _variants(names: Iterable[str], essence: Callable[[str], str]) -> list[str]:
    written: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        written.setdefault(essence(name), []).append(name)
    shown = []
    for variants in written.values():
        if len(variants) > 1:
            same_to_the_eye = len({unicodedata.normalize("NFC", v) for v in variants}) == 1
            shown.append(" and ".join(map(ascii if same_to_the_eye else repr, variants)))
    return shown


# ---------------------------------------------------------------------------- ready-made splits


def find_splits(folders: Iterable[str], whole: bool) -> dict[str, str]:
    """Find folders that are named as the splits of a collection.

    Parameters
    ----------
    folders : iterable of str
        Names of folders.
    whole : bool
        Whether the whole name must be that of a split: "Training"; otherwise one of its words, as
        in "seg_train" or "TestSet".

    Returns
    -------
    dict of str to str
        One folder for train, val and test, as far as there is one; empty if there is only one of
        them, which may well be a class: trains, tests.
    """
    found: dict[str, str] = {}
    for name in sorted(set(folders), key=lambda name: (len(_words(name)), name)):
        words = [clean(name).lower()] if whole else _words(name)
        roles = {ROLES[word] for word in words if word in ROLES}
        if len(roles) == 1:
            found.setdefault(roles.pop(), name)
    return found if len(found) > 1 else {}


def _words(name: str) -> list[str]:
    """Split "seg_train2", "TrainSet" or "testset" into lower-case words."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return [re.sub(r"(?<=.)(set|data)$", "", word.lower()) for word in words]


class ReadyMade(NamedTuple):
    """Folders that look like ready-made splits."""

    folders: dict[str, str]  # of train, val and test, as far as there is one
    level: int  # how many folders lie above them
    repeated: bool  # whether they hold another folder of their name: train/train/...
    pattern: str | None  # reads split, label and sample; None if no folder names a class

    @property
    def group(self) -> str:
        """The part of a pattern that reads the split."""
        return _split_group(self.folders)


def ready_made_splits(paths: Sequence[str]) -> ReadyMade | None:
    """Find the folders that look like ready-made splits, if any do.

    Parameters
    ----------
    paths : sequence of str
        Of all photos, with / between folders.
    """
    parents = [path.split("/")[:-1] for path in paths]
    for level in range(max(map(len, parents), default=0)):
        inside = [folders for folders in parents if len(folders) > level]
        # A folder that several folders have, such as the sample 7 of each class, must be named so
        # exactly.
        whole = len({tuple(folders[:level]) for folders in inside}) > 1
        if found := find_splits((folders[level] for folders in inside), whole):
            own = [folders for folders in inside if folders[level] in found.values()]
            commonest = Counter(map(len, own)).most_common(1)[0][0]
            alike = [folders for folders in own if len(folders) == commonest]
            repeated = all(folders[level + 1 : level + 2] == [folders[level]] for folders in alike)
            below = commonest - level - 1 - repeated
            pattern = _split_pattern(found, paths, level, repeated, below)
            return ReadyMade(found, level, repeated, pattern)
    return None


def splits_in_paths(paths: Sequence[str]) -> str | None:
    """Say which folders look like ready-made splits and how to use them as such, if any do.

    Parameters
    ----------
    paths : sequence of str
        Of all photos, with / between folders.
    """
    ready = ready_made_splits(paths)
    if ready is None:
        return None
    found = ready.folders
    said = f"the folders {printable(', '.join(sorted(found.values())))} look like ready-made"
    if ready.pattern is None:
        return f"{said} splits, but no folder names a class: give the labels in data.table"
    roles = [role for role in ("val", "test") if role in found]
    parts = ", ".join(f"split.{role}: {printable(found[role])}" for role in roles)
    quoted = ready.pattern.replace("'", "''")
    if "test" in found:
        parts += ", split.folds: null"
    return f"{said} splits: set data.pattern: '{quoted}' and {parts} (or fractions)"


def _split_group(found: dict[str, str]) -> str:
    names = "|".join(re.escape(name) for name in sorted(found.values()))
    return f"(?P<split>{names})/"


def _split_pattern(
    found: dict[str, str], paths: Sequence[str], level: int, repeated: bool, below: int
) -> str | None:
    """Return a pattern that reads splits from the folders at this level; None without classes.

    `below` are the levels of folders in a split, the repeated one aside.
    """
    split = _split_group(found) + "[^/]+/" * repeated
    label, any_folder = "(?P<label>[^/]+)/", "[^/]+/"
    if below == level == 0:
        return None
    if below == 0:
        folders = f"{any_folder * (level - 1)}{label}{split}"
    else:
        folders = f"{any_folder * level}{split}{label}"
    if below > 1:
        return f"^{folders}(?P<sample>[^/]+)/(?P<angle>.+)\\.\\w+$"
    pattern = f"^{folders}(?P<sample>[^/]+)\\.\\w+$"
    samples = Counter(
        match.group("label", "sample") for p in paths if (match := re.search(pattern, p))
    )
    if max(samples.values(), default=0) > 1:  # each split has its own 1.jpg
        pattern = f"^(?P<sample>{folders}[^/]+)\\.\\w+$"
    return pattern
