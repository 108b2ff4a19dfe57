"""Find the photos below a folder and read class, sample and angle (or view) from their paths."""

import re
from pathlib import Path

import pandas as pd

from shotcount.core.errors import UserError, printable
from shotcount.photos import names
from shotcount.photos.table import read_table
from shotcount.photos.walking import list_photos

LAYOUT = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)/(?P<angle>[^/]+)\.\w+$"
ONE_A_SAMPLE = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)\.\w+$"
ONE_A_SCENE = r"(?s)^(?P<sample>.+)\.\w+$"  # of photos with boxes


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
    if pattern is None and table is None and (splits := names.splits_in_paths(paths)):
        raise UserError(f"data.pattern: {splits}")
    known = _entries(root, table, paths)
    by_path = known.index.name == "path"  # then the table names the photos; no pattern is needed
    regex = _compile(pattern or ("" if by_path else LAYOUT))
    _check_groups({"label", "sample"}, regex, known, table)
    written = _match(paths, regex, known, table)
    if written.empty:
        raise UserError(_nothing_fits(root, paths, pattern, table))
    photos = _tidy(written, "data.table" if "label" in known else "data.path")
    if "split" not in {*regex.groupindex, *known} and "label" not in known:
        _check_classes_are_no_splits(photos["label"], paths)
    _check_names(photos)
    return photos


def find_scenes(root: Path, pattern: str | None, table: str | None = None) -> pd.DataFrame:
    """List the photos with boxes below `root` with the scene and view of each.

    Parameters
    ----------
    root, table
        As for `find_photos`; labels are not needed, and not used.
    pattern : str or None
        As for `find_photos`; the group `sample` (the scene) is required, `angle` tells views of a
        scene apart. None: every photo is its own scene, named as its path without the suffix.

    Returns
    -------
    DataFrame
        The columns of `find_photos`; label is empty.

    Raises
    ------
    UserError
        If `root`, the pattern or the table is unusable, two photos are the same view of a scene,
        names look alike, or a folder is a link.
    """
    paths = list_photos(root)
    known = _entries(root, table, paths)
    regex = _compile(pattern or ONE_A_SCENE)
    _check_groups({"sample"}, regex, known, table)
    written = _match(paths, regex, known, table)
    if written.empty:
        wanted = " and ".join(filter(None, [pattern, table]))
        raise UserError(
            f"data.path: none of the {len(paths)} photos below {root}, for example "
            f"{printable(paths[0])}, fits {wanted}: set data.pattern"
        )
    names.refuse_variants("data.path", [], written["sample"])
    columns = {
        "path": written["path"],
        "label": "",
        "sample": _clean(written["sample"]),
        "angle": written["angle"],
        "given_split": _clean(written["split"]),
    }
    photos = pd.DataFrame(columns, dtype=object)
    _check_samples(photos, photos["sample"] == "")
    return photos


def _entries(root: Path, table: str | None, paths: list[str]) -> pd.DataFrame:
    """Return what `read_table` returns; without a table, nothing."""
    if table is None:
        return pd.DataFrame(index=pd.Index([], name="sample"))
    known = read_table(root, table, paths)
    if known.index.name == "path":
        _check_all_are_there(known.index, paths, root, table)
    return known


def _match(
    paths: list[str], regex: re.Pattern[str], known: pd.DataFrame, table: str | None
) -> pd.DataFrame:
    """Return what paths and table say of each photo of the collection."""
    rows = []
    entries = known.to_dict("index")
    for path in paths:
        match = regex.search(path)
        read = match.groupdict(default="") if match else {}
        key = names.clean(path if known.index.name == "path" else read.get("sample", ""))
        if match and (key in entries or table is None):
            rows.append({"path": path, "angle": "", "split": ""} | read | entries.get(key, {}))
    return pd.DataFrame(rows, dtype=object)  # pandas' own strings must be UTF-8; names may not


def _tidy(written: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the columns of `find_photos`, names in one form; refuse names that become the same."""
    names.refuse_variants(where, written["label"], written["label"] + "/" + written["sample"])
    label = _clean(written["label"])
    columns = {
        "path": written["path"],
        "label": label,
        "sample": label + "/" + _clean(written["sample"]),
        "angle": written["angle"],
        "given_split": _clean(written["split"]),
    }
    return pd.DataFrame(columns, dtype=object)


def _clean(written: pd.Series) -> pd.Series:
    return pd.Series(list(map(names.clean, written)), dtype=object)


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


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.pattern: not a regular expression: {error}") from None


def _check_groups(
    needed: set[str], regex: re.Pattern[str], known: pd.DataFrame, table: str | None
) -> None:
    if missing := needed - set(regex.groupindex) - set(known.columns):
        more = f", and {table} has no such column" if table else ""
        raise UserError(f"data.pattern: lacks the group(s) {', '.join(sorted(missing))}{more}")


def _check_names(photos: pd.DataFrame) -> None:
    """Refuse empty names, and angles that occur twice."""
    unlabelled = photos[photos["label"] == ""]
    if len(unlabelled):
        path = printable(unlabelled["path"].iloc[0])
        raise UserError(f"data.pattern: {path} reads as an empty label")
    _check_samples(photos, photos["sample"].str.endswith("/"))


def _check_samples(photos: pd.DataFrame, nameless: pd.Series) -> None:
    if nameless.any():
        path = printable(photos.loc[nameless, "path"].iloc[0])
        raise UserError(f"data.pattern: {path} reads as an empty sample")
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
