"""A folder of photos → a manifest and an array of pixels. Nothing later opens a photo."""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from shotcount import files
from shotcount.errors import UserError
from shotcount.pixels import write_shards

CHUNK = 256  # photos decoded before they are put on the disk
SMALLEST = 16  # px: what is smaller shows nothing
# A collection that `dvc add` holds by links, the one place outside data.path that a link may name.
DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
LAYOUT = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)/(?P<angle>[^/]+)\.\w+$"
ONE_A_SAMPLE = r"^(?P<label>[^/]+)/(?P<sample>[^/]+)\.\w+$"
READY_SPLITS = r"^(?P<split>[^/]+)/(?P<label>[^/]+)/(?P<sample>[^/]+)\.\w+$"
SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "test"}


def find_photos(root: Path, pattern: str | None, table: str | None = None) -> pd.DataFrame:
    """List the photos below `root` with the label, sample and angle that name each.

    Parameters
    ----------
    root : Path
        The folder of the collection.
    pattern : str or None
        A regular expression searched in each path relative to `root` (with / between
        folders). The groups `label` and `sample` are required; `angle` tells the photos of
        one sample apart, `split` the ready-made splits. None means
        ``<label>/<sample>/<angle>.jpg``. A photo that doesn't match is no part of the
        collection.
    table : str or None
        A CSV below `root` that says what the pattern doesn't, as `read_table` has it.

    Returns
    -------
    DataFrame
        path, label, sample, angle, given_split: in natural order (2 before 10).

    Raises
    ------
    UserError
        If `root`, the pattern or the table is unusable, two photos have the same angle of a
        sample, or a folder is a link.
    """
    paths = list_photos(root)
    known = read_table(root, table) if table else pd.DataFrame(index=pd.Index([], name="sample"))
    whole = known.index.name == "path"  # the table names the photos, so that no pattern need
    if whole and (absent := sorted(set(known.index) - set(paths))):
        raise UserError(
            f"data.table: {table} names {len(absent)} photo(s) that aren't below {root}, "
            f"{printable(absent[0])} first"
        )
    try:
        regex = re.compile(pattern or ("" if whole else LAYOUT))
    except re.error as error:
        raise UserError(f"data.pattern: not a regular expression: {error}") from None
    given = set(regex.groupindex) | set(known.columns)
    if missing := {"label", "sample"} - given:
        more = f", and {table} has no such column" if table else ""
        raise UserError(f"data.pattern: lacks the group(s) {', '.join(sorted(missing))}{more}")

    rows = []
    says = known.to_dict("index")
    for path in paths:
        match = regex.search(path)
        names = match.groupdict(default="") if match else {}
        key = path if whole else names.get("sample", "")
        if match and (key in says or table is None):
            names |= says.get(key, {})
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
    photos = pd.DataFrame(rows, dtype=object)  # pandas' own texts can't hold a name not in UTF-8
    nameless = photos[(photos["label"] == "") | photos["sample"].str.endswith("/")]
    if len(nameless):
        first = nameless.iloc[0]
        raise UserError(
            f"data.pattern: {printable(first['path'])} reads as an empty "
            f"{'sample' if first['label'] else 'label'}"
        )
    if pattern is None and table is None and set(photos["label"]) <= SPLIT_FOLDERS:
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
    return photos


def read_table(root: Path, name: str) -> pd.DataFrame:
    """Read a CSV that says of each photo, or of each sample, what its path doesn't.

    Returns
    -------
    DataFrame
        Those of the columns label, sample, angle, split that the file has, as text, indexed by
        its column `path` (relative to `root`) or, without one, by its column `sample` (as the
        pattern's group reads it).

    Raises
    ------
    UserError
        If the file can't be read, lacks such a column, or says two things of one key.
    """
    try:
        table = pd.read_csv(root / name, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"data.table: there is no file {root / name}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"data.table: {root / name} is no readable CSV: {error}") from None
    key = next((key for key in ("path", "sample") if key in table), None)
    if key is None or not {"label", "sample", "angle", "split"} & {*table} - {key}:
        raise UserError(
            f"data.table: {root / name} has the columns {printable(', '.join(table))}: it needs "
            "path (or sample), and what to say of it: label, sample, angle, split"
        )
    if len(twice := table[table.duplicated(key)]):
        raise UserError(
            f"data.table: {root / name} lists {key} {printable(twice[key].iloc[0])} twice"
        )
    return table.set_index(key)[
        [c for c in ("label", "sample", "angle", "split") if c in {*table} - {key}]
    ]


def list_photos(root: Path) -> list[str]:
    """List the photos below `root`, by their paths relative to it, in natural order.

    Raises
    ------
    UserError
        If `root` is no folder, or a folder below it is a link.
    """
    if not root.is_dir():
        raise UserError(f"data.path: {root} is no folder: name the folder that holds the photos")
    return sorted((path.relative_to(root).as_posix() for path in _walk(root)), key=natural)


def _nothing_fits(root: Path, paths: list[str], pattern: str | None, table: str | None) -> str:
    example = f", for example {printable(paths[0])}" if paths else ""
    wanted = pattern or "<class>/<sample>/<angle>.jpg"
    if table:
        wanted += f" and {table}"
    mend = "rename them or set data.pattern"
    if pattern is None and any(path.count("/") == 1 for path in paths):
        mend = f"for one photo a sample, <class>/<sample>.jpg, set data.pattern: '{ONE_A_SAMPLE}'"
    return (
        f"data.path: none of the {len(paths)} photos below {root}{example}, fits {wanted}: {mend}"
    )


def _walk(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_dir():
            if path.is_symlink():
                raise UserError(
                    f"data.path: {printable(path)} is a link to a folder, and only data.path "
                    "itself may be one: copy the folder"
                )
        elif is_photo(path):
            yield path


def is_photo(path: Path) -> bool:
    """Whether a file's name is that of a photo. What is in it, decoding tells."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def printable(path: object) -> str:
    """Escape what would break a line or a terminal, as file names may hold anything."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts angle 2 before angle 10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]


# ---------------------------------------------------------------------------- decoding one


def read_photo(source: Path | BinaryIO, size: int) -> tuple[np.ndarray, int, int]:
    """Decode one photo: upright, RGB, shorter side scaled to `size`, centre cropped square.

    Transparent parts become white. Of a phone's several pictures in one file (MPO), the first.

    Returns
    -------
    pixels : ndarray of shape (size, size, 3), uint8
    width, height : int
        Of the upright photo on disk, in pixels.

    Raises
    ------
    ValueError
        If it is no photo; and whatever Pillow raises where a file is damaged.
    """
    with Image.open(source) as image:
        stored = image.size
        if min(stored) < SMALLEST:
            raise ValueError(f"{stored[0]} x {stored[1]} px: too small to show anything")
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise ValueError("several pictures in one file: save the one that is meant")
        if image.mode in ("I", "F"):
            raise ValueError("32 bits a pixel: save it with 8 or 16")
        # Large JPEGs are decoded at 1/2, 1/4 or 1/8 scale, never below twice the target.
        image.draft("RGB", (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(image)
    turned = upright.size != image.size and upright.size[::-1] == image.size
    width, height = stored[::-1] if turned else stored
    if upright.mode.startswith("I;16"):  # Pillow would clip it at 255
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    square = ImageOps.fit(upright.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(square), width, height


def _load(root: Path, path: str, size: int) -> tuple[np.ndarray, "Facts"]:
    place = root / path
    path.encode()  # the tables are UTF-8
    if place.is_symlink():
        target = place.resolve()
        if not target.is_relative_to(root.resolve()) and not DVC_CACHE.search(target.as_posix()):
            raise ValueError(f"a link to {target}, outside data.path: copy the file")
    content = place.read_bytes()
    if not content:
        raise ValueError("the file is empty")
    pixels, width, height = read_photo(io.BytesIO(content), size)
    return pixels, Facts(width=width, height=height, sha256=hashlib.sha256(content).hexdigest())


def why(error: Exception) -> str:
    """Say why a photo can't be used, from what decoding it has raised.

    Whatever is in the file: each format's decoder fails in its own way.
    """
    if isinstance(error, UnidentifiedImageError):
        return "no image that Pillow can read"
    if isinstance(error, UnicodeEncodeError):
        return "the file's name is not UTF-8: rename it"
    return printable(error) or type(error).__name__


# ---------------------------------------------------------------------------- preparing all


def prepare(
    root: Path,
    photos: pd.DataFrame,
    size: int,
    on_bad_photo: str,
    work: Path,
    folder: Path,
    watch: Callable[[Iterator["Facts"]], Iterable["Facts"]] = iter,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode the photos that `find_photos` has found into a uint8 array, and describe them.

    Parameters
    ----------
    on_bad_photo : {"error", "skip"}
    work : Path
        A folder that keeps what is decoded, so that nothing is decoded twice when an interruption
        or a bad photo stops the first call.
    folder : Path
        Where the pixels go, for `pixels.Pixels` to read.
    watch : callable
        Wraps the iterator over the photos, for a progress display.

    Returns
    -------
    manifest : DataFrame
        As in `tables.MANIFEST`, and more.
    left_out : DataFrame
        As in `tables.LEFT_OUT`.

    Raises
    ------
    UserError
        If `on_bad_photo` is "error" and photos can't be used, naming all of them.
    """
    facts = list(watch(decode(root, photos, size, work)))
    usable, left_out = judge(photos, facts, on_bad_photo)
    # Shards that an interruption left are of use as long as the same photos are.
    name = hashlib.sha256("".join(usable["sha256"]).encode()).hexdigest()
    decoded = np.memmap(work / "pixels", np.uint8, mode="r").reshape(-1, size, size, 3)
    write_shards(work / name, decoded, usable["place"].to_numpy())
    files.publish(work / name, folder)
    return usable.assign(photo=range(len(usable))), left_out


class Facts(NamedTuple):
    """What opening a photo has shown."""

    width: int = 0  # px, upright, as on disk
    height: int = 0
    sha256: str = ""
    place: int = -1  # of its pixels, in the order of decoding
    fault: str = ""  # why it can't be used


def decode(root: Path, photos: pd.DataFrame, size: int, work: Path) -> Iterator[Facts]:
    """Decode each photo once, on all cores, and yield what it has shown.

    Parameters
    ----------
    photos : DataFrame
        As from `find_photos`.
    work : Path
        A folder that keeps what is decoded; a photo that it knows, by path, bytes and time of
        change, is not decoded again.
    """
    known = _recall(work, size)

    def look(path: str) -> tuple[np.ndarray | None, Facts]:
        try:
            return _load(root, path, size)
        except FileNotFoundError:
            return None, Facts(fault="a link to nothing, or removed meanwhile")
        except MemoryError:
            raise
        except Exception as error:
            return None, Facts(fault=why(error))

    # Threads: Pillow lets go of Python's lock while it decodes and resizes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(photos), CHUNK):
            paths = list(photos["path"].iloc[start : start + CHUNK])
            identities = [_identity(root, path) for path in paths]
            new = [n for n, identity in enumerate(identities) if identity not in known]
            found, pixels, lines = {}, [], []
            for n, (square, facts) in zip(
                new, pool.map(look, [paths[n] for n in new]), strict=True
            ):
                found[n] = facts
                if square is not None:
                    found[n] = facts._replace(place=len(known))
                    known[identities[n]] = found[n]
                    pixels.append(square.tobytes())
                    lines.append(json.dumps([identities[n], found[n]._asdict()]) + "\n")
            # In this order: what the index names is there.
            files.append(work / "pixels", b"".join(pixels))
            files.append(work / "index", "".join(lines).encode())
            for n, identity in enumerate(identities):
                yield found[n] if n in found else known[identity]


def _identity(root: Path, path: str) -> str:
    try:
        status = (root / path).stat()
    except OSError:
        return ""
    return json.dumps([path, status.st_size, status.st_mtime_ns])


def _recall(work: Path, size: int) -> dict[str, Facts]:
    """Read what an interrupted run has decoded; cut off what it was just writing."""
    for name in ("pixels", "index"):
        (work / name).touch()
    text = (work / "index").read_bytes()
    decoded = (work / "pixels").stat().st_size // (size * size * 3)
    lines = text[: text.rfind(b"\n") + 1].splitlines(keepends=True)[:decoded]
    os.truncate(work / "index", sum(map(len, lines)))
    os.truncate(work / "pixels", len(lines) * size * size * 3)
    return {identity: Facts(**facts) for identity, facts in map(json.loads, lines)}


def judge(
    photos: pd.DataFrame, facts: list[Facts], on_bad_photo: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tell the photos that can be used from those that can't.

    Besides what can't be read, a copy can't: the same photo in two classes contradicts itself, and
    in two samples it would let one be trained on and tested on.

    Returns
    -------
    usable : DataFrame
        Columns of `photos` and of `Facts`.
    left_out : DataFrame
        As in `tables.LEFT_OUT`.

    Raises
    ------
    UserError
        If there are any and `on_bad_photo` is "error", naming all of them.
    """
    table = pd.concat(
        [photos.reset_index(drop=True), pd.DataFrame(facts, columns=Facts._fields)], axis=1
    )
    table["path_shown"] = table["path"].map(printable)
    readable = table[table["fault"] == ""]
    for _, copies in readable[readable.duplicated("sha256", keep=False)].groupby("sha256"):
        first = copies.iloc[0]
        if copies["label"].nunique() > 1:
            shown = ", ".join(copies["path_shown"])
            table.loc[copies.index, "fault"] = f"one photo in several classes: {shown}"
        else:
            others = copies.index[copies["sample"] != first["sample"]]
            table.loc[others, "fault"] = f"a copy of {first['path_shown']}, of another sample"
    bad = table[table["fault"] != ""]
    if len(bad) and on_bad_photo == "error":
        listing = "".join(f"\n       {row.path_shown}: {row.fault}" for row in bad.itertuples())
        raise UserError(
            f"{len(bad)} of the {len(table)} photos can't be used: mend or remove them, or set "
            f"data.on_bad_photo: skip{listing}"
        )
    if len(bad) == len(table):
        raise UserError(f"data.path: none of the {len(table)} photos can be used")
    left_out = pd.DataFrame({"path": bad["path_shown"], "reason": bad["fault"]})
    return table[table["fault"] == ""].reset_index(drop=True), left_out


def remarks(manifest: pd.DataFrame, left_out: pd.DataFrame, size: int) -> list[str]:
    """Say what is worth a look, though it stops nothing."""
    made = [f"left out: {row.path}: {row.reason}" for row in left_out.itertuples()]
    small = manifest[manifest[["width", "height"]].min(axis=1) < size]
    if len(small):
        made.append(
            f"{len(small)} photos are smaller than data.size ({size} px) and were enlarged, "
            f"{printable(small['path'].iloc[0])} first"
        )
    copies = manifest[manifest.duplicated(["sample", "sha256"], keep=False)]
    if len(copies):
        pairs = "; ".join(
            " = ".join(map(printable, same["path"])) for _, same in copies.groupby("sha256")
        )
        made.append(f"the same photo as several angles of a sample: {pairs}")
    return made
