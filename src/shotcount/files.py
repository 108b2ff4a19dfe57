"""Files appear under their final name whole, or not at all. Unfinished work waits elsewhere."""

import hashlib
import io
import json
import os
import shutil
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from shotcount.errors import UserError

UNFINISHED = Path("data/unfinished")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` if the block succeeds.

    Works for a file and for a folder (which replaces an older folder of that name).
    The temporary name keeps the suffix, since writers choose the format by it, and is the same
    each time, so that what a killed process left is overwritten by the next one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    _remove(temporary)
    try:
        yield temporary
        publish(temporary, path)
    finally:
        _remove(temporary)


def publish(made: Path, path: Path) -> None:
    """Give a finished file or folder its final name, once its content is safely on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if made.stat().st_dev != path.parent.stat().st_dev:  # a rename can't cross file systems
        with atomic(path) as beside:
            (shutil.copytree if made.is_dir() else shutil.copy2)(made, beside)
        return
    for inside in made.rglob("*") if made.is_dir() else [made]:
        if inside.is_file():
            _sync(inside)
    if path.is_dir():  # which no rename replaces: out of the way, so that it is never there in part
        old = path.with_name(f".{path.name}.old")
        _remove(old)
        os.replace(path, old)
        os.replace(made, path)
        _remove(old)
    else:
        os.replace(made, path)
    _sync(path.parent)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock file during the block. Whatever ends the process frees it.

    Raises
    ------
    UserError
        If another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
            lock.unlink(missing_ok=True)
    except Timeout:
        raise UserError(
            f"another process is at work ({lock} is held): wait for it, or stop it (a killed dvc "
            "may have left one running)"
        ) from None


@contextmanager
def workspace(name: str, *key: object) -> Iterator[Path]:
    """Yield a folder for unfinished work, which an interruption leaves for the next call.

    It lies outside every output, since DVC empties those before it runs their stage: in
    data/unfinished, or where the environment variable SHOTCOUNT_UNFINISHED says. Once the block
    has succeeded, it is removed, and so is what other keys left under this name.

    Parameters
    ----------
    name : str
        Of the work.
    key : objects
        All that the result depends on; a Path stands for the content of the file. Another key,
        other code or other packages get another folder.

    Raises
    ------
    UserError
        If it can't be made, or another process is at work in it.
    """
    root = Path(os.environ.get("SHOTCOUNT_UNFINISHED") or UNFINISHED)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(
            f"{root} can't hold unfinished work ({error}): name another folder in the environment "
            "variable SHOTCOUNT_UNFINISHED"
        ) from None
    folder = root / f"{name}-{_fingerprint(*key)}"
    with alone(folder / ".lock"):
        yield folder
        _discard(folder)
    for other in root.glob(f"{name}-*"):
        with suppress(UserError), alone(other / ".lock"):
            _discard(other)


def append(path: Path, content: bytes) -> None:
    """Add to a file of unfinished work, and wait until the disk has it."""
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return what precedes the values in a .npy file, so that they can be written in turn."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return header.getvalue()


def sha256(path: Path) -> str:
    """Return the hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file at once. Libraries that write in pieces may not notice a full disk."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, line ends as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON that diffs line by line; floats are rounded to 4 digits by the caller."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _fingerprint(*key: object) -> str:
    code = sorted(Path(__file__).parent.glob("*.py"))
    # Where packages are installed: Ray adds packages of its own to sys.path when it is imported.
    places = [*site.getsitepackages(), site.getusersitepackages()]
    packages = sorted(p.name for place in places for p in Path(place).glob("*.dist-info"))
    parts = [sha256(part) if isinstance(part, Path) else part for part in (*key, *code)]
    return hashlib.blake2b(repr([parts, packages, sys.version]).encode(), digest_size=8).hexdigest()


def _discard(folder: Path) -> None:
    """Remove a folder of unfinished work; if that is cut short, nobody goes on with the rest."""
    doomed = folder.with_name(f"{folder.name}.gone")
    _remove(doomed)
    os.replace(folder, doomed)
    shutil.rmtree(doomed)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
