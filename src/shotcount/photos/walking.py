"""Walk a folder of photos: what is a photo, and what else lies there."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from shotcount.core.errors import UserError, printable

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".heic", ".heif", ".hif", ".avif"),
    *(".png", ".webp", ".bmp", ".tif", ".tiff"),
}
# Files that cameras, photo programs and people put beside photos: facts, notes, tables.
COMPANIONS = {
    *(".aae", ".xmp", ".thm", ".ini", ".db", ".dvc", ".log"),
    *(".csv", ".tsv", ".xlsx", ".ods", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
    *(".txt", ".md", ".html"),
}
# Folders of systems and devices, whose names don't begin with a dot: macOS's archives, Windows,
# Linux, and the network drives of Synology and QNAP.
SYSTEM_FOLDERS = {
    *("__macosx", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
}
KINDS_SHOWN = 8


class Tree(NamedTuple):
    """What lies below a folder, by paths relative to it, each list in natural order."""

    photos: list[str]  # by their suffix; only decoding checks the content
    links: list[str]  # links to folders, which are not followed
    others: list[str]  # files that are neither photos nor known companions of photos
    companions: list[str]  # facts, notes, tables: see COMPANIONS


def walk(root: Path) -> Tree:
    """List what lies below a folder. Hidden files, hidden and system folders are left alone.

    Raises
    ------
    UserError
        If a folder can't be read.
    """
    tree = Tree([], [], [], [])
    for place, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        below = Path(place).relative_to(root)
        tree.links.extend(
            (below / name).as_posix() for name in folders if Path(place, name).is_symlink()
        )
        for name in names:
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if suffix in SUFFIXES:
                kind = tree.photos
            else:
                kind = tree.companions if suffix in COMPANIONS else tree.others
            kind.append((below / name).as_posix())
    return Tree(*(sorted(paths, key=natural) for paths in tree))


def _refuse(error: OSError) -> None:
    """Stop at a folder that can't be read, which os.walk would leave out without a word."""
    raise UserError(
        f"the folder {printable(error.filename)} can't be read ({error.strerror}): let this user "
        "read it, or move it away"
    ) from None


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder.lower() in SYSTEM_FOLDERS


def list_photos(root: Path) -> list[str]:
    """List the photos below `root`, by their paths relative to it, in natural order.

    Raises
    ------
    UserError
        If `root` is not a folder or holds no photos, or a folder below it is a link or can't be
        read.
    """
    if not root.is_dir():
        raise UserError(f"data.path: {root} is not a folder: name the folder that holds the photos")
    tree = walk(root)
    if tree.links:
        raise UserError(
            f"data.path: {printable(root / tree.links[0])} is a link to a folder, and only "
            "data.path itself may be one: copy the folder"
        )
    if not tree.photos:
        kinds = f" but {count_kinds(tree.others)}" if tree.others else ""
        raise UserError(
            f"data.path: there are no photos below {root}{kinds}: name the folder that holds the "
            f"photos, or save them in one of the formats {', '.join(sorted(SUFFIXES))}"
        )
    return tree.photos


def count_kinds(others: list[str]) -> str:
    """Count files that aren't photos by their suffix: "3 files of kinds ...: 2 .mov, 1 .gif"."""
    kinds = Counter(printable(Path(path).suffix.lower()) or "without suffix" for path in others)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(KINDS_SHOWN))
    if len(kinds) > KINDS_SHOWN:
        counts += f" and {len(kinds) - KINDS_SHOWN} more kinds"
    return f"{len(others):,} files of kinds that aren't photos: {counts}"


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that puts angle 2 before angle 10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]
