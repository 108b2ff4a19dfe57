"""Find the photos below a folder and read class, sample and angle from their paths."""

import re
from pathlib import Path

import pandas as pd

from shotcount.core.errors import UserError, printable
from shotcount.photos import names
from shotcount.photos.table import read_table
from shotcount.photos.walking import list_photos

LAYOUT = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)/(?P<angle>[^/]+)\.\w+$"
ONE_A_SAMPLE = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)\.\w+$"


def find_photos(root: Path, pattern: str | None, table: str | None = None) -> pd.DataFrame:
    """List the photos below `root` with the label, sample and angle of each.

    Parameters
    ----------
    root : Path
        The folder of the collection.
    pattern : str or None
        A regular expression searched in each path relative to `root` (with / between
        folders). The groups `label` and `sample` are required; `angle` tells the photos of
        one sample apart, `split` names a ready-made split. None means
        ``<label>/<sample>/<angle>.jpg``. A photo that doesn't match is left out of the collection.
    table : str or None
        A CSV file below `root` with what the pattern doesn't say (see `read_table`).

    Returns
    -------
    DataFrame
        Columns path, label, sample, angle, given_split; in natural order (2 before 10).

    Raises
    ------
    UserError
        If `root`, the pattern or the table is unusable, two photos have the same angle of a
        sample, names look alike, ready-made splits are read as classes, or a folder is a link.
    """
    paths = list_photos(root)
    empty = pd.DataFrame(index=pd.Index([], name="sample"))
    known = read_table(root, table, paths) if table else empty
    by_path = known.index.name == "path"  # then the table names the photos; no pattern is needed
    if by_path:
        _check_all_are_there(known.index, paths, root, table)
    regex = _compile(pattern or ("" if by_path else LAYOUT), known, table)
    guessed = pattern is None and table is None
    if guessed and (splits := names.splits_in_paths(paths)):
        raise UserError(f"data.pattern: {splits}")
    rows = []
    entries = known.to_dict("index")
    for path in paths:
        match = regex.search(path)
        read = match.groupdict(default="") if match else {}
        key = names.clean(path if by_path else read.get("sample", ""))
        if match and (key in entries or table is None):
            rows.append({"path": path, "angle": "", "split": ""} | read | entries.get(key, {}))
    if not rows:
        raise UserError(_nothing_fits(root, paths, pattern, table))
    written = pd.DataFrame(rows, dtype=object)  # pandas' own strings must be UTF-8; names may not
    photos = _tidy(written, "data.table" if "label" in known else "data.path")
    if "split" not in {*regex.groupindex, *known} and "label" not in known:
        _check_classes_are_no_splits(photos["label"], paths)
    _check_names(photos)
    return photos


def _tidy(written: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the columns of `find_photos`, names in one form; refuse names that become the same."""
    names.refuse_variants(where, written["label"], written["label"] + "/" + written["sample"])
    label = written["label"].map(names.clean)
    columns = {
        "path": written["path"],
        "label": label,
        "sample": label + "/" + written["sample"].map(names.clean),
        "angle": written["angle"],
        "given_split": written["split"].map(names.clean),
    }
    return pd.DataFrame(columns, dtype=object)


def _check_all_are_there(wanted: pd.Index, paths: list[str], root: Path, table: str | None) -> None:
    there = {names.clean(path) for path in paths}
    if absent := sorted(set(wanted) - there):
        alike = [path for path in sorted(there) if path.lower() == absent[0].lower()]
        hint = f" (there is {printable(alike[0])}: write it so)" if alike else ""
        raise UserError(
            f"data.table: {table} names {len(absent)} photo(s) that aren't below {root}, "
            f"{printable(absent[0])} first{hint}"
        )


def _check_classes_are_no_splits(labels: pd.Series, paths: list[str]) -> None:
    if found := names.find_splits(labels, whole=True):
        mend = names.splits_in_paths(paths) or "let the group `split` read them"
        raise UserError(
            f"data.pattern: {printable(', '.join(sorted(found.values())))} read as classes: {mend}"
        )


def _compile(pattern: str, known: pd.DataFrame, table: str | None) -> re.Pattern[str]:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.pattern: not a regular expression: {error}") from None
    if missing := {"label", "sample"} - set(regex.groupindex) - set(known.columns):
        more = f", and {table} has no such column" if table else ""
        raise UserError(f"data.pattern: lacks the group(s) {', '.join(sorted(missing))}{more}")
    return regex


def _check_names(photos: pd.DataFrame) -> None:
    """Refuse empty names, and angles that occur twice."""
    nameless = photos[(photos["label"] == "") | photos["sample"].str.endswith("/")]
    if len(nameless):
        first = nameless.iloc[0]
        raise UserError(
            f"data.pattern: {printable(first['path'])} reads as an empty "
            f"{'sample' if first['label'] else 'label'}"
        )
    twice = photos[photos.duplicated(["sample", "angle"], keep=False)]
    if len(twice):
        first, second = twice[twice["sample"] == twice["sample"].iloc[0]]["path"].iloc[:2]
        raise UserError(
            f"data.pattern: {printable(first)} and {printable(second)} read as the same angle of "
            "the same sample: let the group `angle` (or `sample`) tell them apart"
        )


def _nothing_fits(root: Path, paths: list[str], pattern: str | None, table: str | None) -> str:
    wanted = pattern or "<class>/<sample>/<angle>.jpg"
    if table:
        wanted += f" and {table}"
    hint = "rename them or set data.pattern"
    if pattern is None and any(path.count("/") == 1 for path in paths):
        hint = f"for one photo a sample, <class>/<sample>.jpg, set data.pattern: '{ONE_A_SAMPLE}'"
    return (
        f"data.path: none of the {len(paths)} photos below {root}, for example "
        f"{printable(paths[0])}, fits {wanted}: {hint}"
    )
