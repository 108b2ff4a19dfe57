"""Read a table of labels, samples, angles and splits, as spreadsheets write it."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from shotcount.core.errors import UserError, printable
from shotcount.photos.names import clean

COLUMNS = ("label", "sample", "angle", "split")
SEPARATORS = (",", ";", "\t", "|")
MARKS = {  # the first bytes of a file that says its encoding; UTF-32's begin with UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CODE_PAGES = (  # what Excel writes as "CSV", by the language of Windows or macOS
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "mac_roman",
    "cp932", "gbk", "big5", "cp949",
)  # fmt: skip
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, .xls
MEND = "save it as 'CSV UTF-8'"


def read_table(root: Path, name: str, paths: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file with labels, samples, angles or splits that are not in the paths.

    Separators are commas, semicolons, tabs or |. The encoding is UTF-8, UTF-16, or a code page if
    the names of the photos leave only one reading.

    Parameters
    ----------
    root : Path
        The folder of the collection.
    name : str
        The file, below `root`.
    paths : sequence of str
        The photos, relative to `root`.

    Returns
    -------
    DataFrame
        Those of the columns label, sample, angle, split that the file has, as text. The index is
        the file's column `path` (relative to `root`) or, without one, its column `sample` (as the
        pattern's group reads it), both in the form of `names.clean`.

    Raises
    ------
    UserError
        If the file can't be read without doubt, lacks such a column, or lists a key twice.
    """
    where = f"data.table: {root / name}"
    try:
        content = (root / name).read_bytes()
    except FileNotFoundError:
        raise UserError(f"data.table: there is no file {root / name}") from None
    except OSError as error:
        raise UserError(f"{where} is not a readable CSV file: {error}") from None
    if content.startswith(WORKBOOKS):
        raise UserError(f"{where} is a workbook, not a CSV file: {MEND}")
    try:
        table = _parse(_text(content), paths, where)
    except UnicodeDecodeError as error:
        if content.startswith(tuple(MARKS)) or b"\0" in content:
            raise UserError(f"{where} is not a readable CSV file: {error}: {MEND}") from None
        table = _by_code_page(content, paths, where)
    if len(twice := table.index[table.index.duplicated()]):
        raise UserError(f"{where} lists {table.index.name} {printable(twice[0])} twice")
    return table


# ---------------------------------------------------------------------------- encodings


def _text(content: bytes) -> str:
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    if content[1:2] == b"\0" and encoding == "utf-8":  # UTF-16 of a Latin letter, without a mark
        encoding = "utf-16-le"
    return content.decode(encoding)


def _by_code_page(content: bytes, paths: Sequence[str], where: str) -> pd.DataFrame:
    """Read a table in the one code page whose keys are names of photos.

    Several code pages are as good as one if they read the same in all columns that are used.
    """
    names = "\n".join(map(clean, paths))
    readings: dict[str, pd.DataFrame] = {}
    for page in CODE_PAGES:
        try:
            table = _parse(content.decode(page), paths, where)
        except (UnicodeDecodeError, UserError):
            continue
        fits = all(key.isascii() or key in names for key in table.index)
        if fits and not any(table.equals(other) for other in readings.values()):
            readings[page] = table
    if len(readings) == 1:
        return next(iter(readings.values()))
    number, line = next(
        (number, line) for number, line in enumerate(content.splitlines(), 1) if not line.isascii()
    )
    shown = " or ".join(f"{printable(line.decode(page))!r} ({page})" for page in readings)
    fault = f"may read {shown}" if readings else f"fits no photo in any code page: {line!r}"
    raise UserError(f"{where} is not in UTF-8, and line {number} {fault}: {MEND}")


# ---------------------------------------------------------------------------- rows and columns


def _parse(text: str, paths: Sequence[str], where: str) -> pd.DataFrame:
    said = re.match(r'"?sep=(.)"?;*\r?\n', text)  # Excel's own line for the separator
    text = text[said.end() :] if said else text.lstrip("\r\n")
    first = text.splitlines()[0] if text else ""
    heads = {separator: _heads(first, separator) for separator in SEPARATORS}
    usable = [separator for separator, names in heads.items() if _key(names)]
    if len(usable) != 1:
        most = max(heads.values(), key=len)
        raise UserError(
            f"{where} has the columns {printable(', '.join(most)) or '(none)'}: it needs path (or "
            "sample), and one or more of label, sample, angle, split"
        )
    columns = heads[usable[0]]
    if twice := [name for name in columns if name in COLUMNS and columns.count(name) > 1]:
        raise UserError(f"{where} has two columns named {twice[0]}: rename one")
    key = _key(columns)
    known = set(paths)
    rows = []
    for row in _rows(text, usable[0], len(columns), where):
        cells = dict(zip(columns, row, strict=True))
        named = {name: cells[name] for name in COLUMNS if name in columns and name != key}
        # A label stays as it is: whether one is written in two ways is for `refuse_variants`.
        values = {name: v if name == "label" else clean(v) for name, v in named.items()}
        rows.append((_path(cells[key], known) if key == "path" else clean(cells[key]), values))
    index = pd.Index([name for name, _ in rows], name=key, dtype=object)
    wanted = [name for name in COLUMNS if name in columns and name != key]
    return pd.DataFrame([values for _, values in rows], index, wanted, dtype=object)


def _heads(line: str, separator: str) -> list[str]:
    cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    return [clean(cell).lower() for cell in cells]


def _key(columns: Sequence[str]) -> str:
    """Return the column that names the rows; empty if no other column says anything of them."""
    key = next((key for key in ("path", "sample") if key in columns), "")
    return key if key and {*COLUMNS} & ({*columns} - {key}) else ""


def _rows(text: str, separator: str, width: int, where: str) -> Iterator[list[str]]:
    """Yield the rows below the head, each of `width` cells; rows without any value are left out."""
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    try:
        next(lines)
        for row in lines:
            if any(cell.strip() for cell in row[width:]):
                raise UserError(
                    f"{where}: line {lines.line_num} has {len(row)} values, but there are {width} "
                    "columns: put values that hold a separator in double quotes"
                )
            if any(cell.strip() for cell in row):
                yield [*row[:width], *[""] * (width - len(row))]
    except csv.Error as error:
        raise UserError(
            f"{where} is not a readable CSV file: line {lines.line_num}: {error}"
        ) from None


def _path(written: str, known: set[str]) -> str:
    """Return a path as in `known`, where it may be written with the backslashes of Windows."""
    path = written if written in known else written.replace("\\", "/")
    return clean(PurePosixPath(path).as_posix())
