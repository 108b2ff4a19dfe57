"""Find the photos below a folder and read class, sample and angle from their paths."""

import re
from pathlib import Path

import pandas as pd

from shotcount.core.errors import UserError, printable
from shotcount.photos.walking import list_photos

LAYOUT = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)/(?P<angle>[^/]+)\.\w+$"
ONE_A_SAMPLE = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)\.\w+$"
READY_SPLITS = r"^(?P<split>[^/]+)/(?P<label>[^/]+)/(?P<sample>[^/]+)\.\w+$"
SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "test"}


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
        sample, or a folder is a link.
    """
    paths = list_photos(root)
    known = read_table(root, table) if table else pd.DataFrame(index=pd.Index([], name="sample"))
    by_path = known.index.name == "path"  # then the table names the photos; no pattern is needed
    if by_path and (absent := sorted(set(known.index) - set(paths))):
        raise UserError(
            f"data.table: {table} names {len(absent)} photo(s) that aren't below {root}, "
            f"{printable(absent[0])} first"
        )
    regex = _compile(pattern or ("" if by_path else LAYOUT), known, table)
    rows = []
    entries = known.to_dict("index")
    for path in paths:
        match = regex.search(path)
        names = match.groupdict(default="") if match else {}
        key = path if by_path else names.get("sample", "")
        if match and (key in entries or table is None):
            names |= entries.get(key, {})
            rows.append(
                {
                    "path": path,
                    "label": names["label"],
                    "sample": f"{names['label']}/{names['sample']}",
                    "angle": names.get("angle", ""),
                    "given_split": names.get("split", ""),
                }
            )
    if not rows:
        raise UserError(_nothing_fits(root, paths, pattern, table))
    photos = pd.DataFrame(rows, dtype=object)  # pandas' own strings must be UTF-8; names may not
    _check_names(photos, guessed=pattern is None and table is None)
    return photos


def _compile(pattern: str, known: pd.DataFrame, table: str | None) -> re.Pattern[str]:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.pattern: not a regular expression: {error}") from None
    if missing := {"label", "sample"} - set(regex.groupindex) - set(known.columns):
        more = f", and {table} has no such column" if table else ""
        raise UserError(f"data.pattern: lacks the group(s) {', '.join(sorted(missing))}{more}")
    return regex


def _check_names(photos: pd.DataFrame, guessed: bool) -> None:
    """Refuse empty names, splits that were read as classes, and angles that occur twice."""
    nameless = photos[(photos["label"] == "") | photos["sample"].str.endswith("/")]
    if len(nameless):
        first = nameless.iloc[0]
        raise UserError(
            f"data.pattern: {printable(first['path'])} reads as an empty "
            f"{'sample' if first['label'] else 'label'}"
        )
    if guessed and set(photos["label"]) <= SPLIT_FOLDERS:
        raise UserError(
            f"data.pattern: {printable(', '.join(sorted(set(photos['label']))))} read as classes, "
            f"but look like ready-made splits: set data.pattern: '{READY_SPLITS}' and split.val, "
            "split.test to their names, or to fractions"
        )
    twice = photos[photos.duplicated(["sample", "angle"], keep=False)]
    if len(twice):
        first, second = twice[twice["sample"] == twice["sample"].iloc[0]]["path"].iloc[:2]
        raise UserError(
            f"data.pattern: {printable(first)} and {printable(second)} read as the same angle of "
            "the same sample: let the group `angle` (or `sample`) tell them apart"
        )


def read_table(root: Path, name: str) -> pd.DataFrame:
    """Read a CSV file with labels, samples, angles or splits that are not in the paths.

    Returns
    -------
    DataFrame
        Those of the columns label, sample, angle, split that the file has, as text. The index is
        the file's column `path` (relative to `root`) or, without one, its column `sample` (as the
        pattern's group reads it).

    Raises
    ------
    UserError
        If the file can't be read, lacks such a column, or lists a key twice.
    """
    try:
        table = pd.read_csv(root / name, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"data.table: there is no file {root / name}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"data.table: {root / name} is not a readable CSV file: {error}") from None
    key = next((key for key in ("path", "sample") if key in table), None)
    if key is None or not {"label", "sample", "angle", "split"} & {*table} - {key}:
        raise UserError(
            f"data.table: {root / name} has the columns {printable(', '.join(table))}: it needs "
            "path (or sample), and one or more of label, sample, angle, split"
        )
    if len(twice := table[table.duplicated(key)]):
        raise UserError(
            f"data.table: {root / name} lists {key} {printable(twice[key].iloc[0])} twice"
        )
    return table.set_index(key)[
        [c for c in ("label", "sample", "angle", "split") if c in {*table} - {key}]
    ]


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
