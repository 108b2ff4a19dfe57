"""Write files whole or not at all; keep unfinished work for the next call."""

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

from shotcount.core.errors import UserError

UNFINISHED = Path("data/unfinished")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` if the block succeeds.

    It may be a file or a folder, and replaces an older one of that name. The temporary name keeps
    the suffix, since writers choose the format by it, and is the same each time, so that the next
    process overwrites what a killed one left.
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
    """Move a finished file or folder to its final name, once its content is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if made.stat().st_dev != path.parent.stat().st_dev:  # a rename can't cross file systems
        with atomic(path) as beside:
            (shutil.copytree if made.is_dir() else shutil.copy2)(made, beside)
        return
    for inside in made.rglob("*") if made.is_dir() else [made]:
        if inside.is_file():
            _sync(inside)
    if path.is_dir():  # a rename can't replace a folder: move the old one away first
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
    """Hold a lock file during the block. It is released however the process ends.

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
    """Yield a folder for unfinished work. After an interruption, the next call gets it again.

    If the block succeeds, this folder and all others of this name are removed.
    Parameters and errors are those of `begun`.
    """
    with begun(name, *key) as folder:
        yield folder
        _discard(folder)
    for other in folder.parent.glob(f"{name}-*"):
        with suppress(UserError), alone(other / ".lock"):
            _discard(other)


@contextmanager
def begun(name: str, *key: object) -> Iterator[Path]:
    """Yield the folder that `workspace` gives for the same name and key, and leave what is in it.

    It is made in data/unfinished, or in the folder that the environment variable
    SHOTCOUNT_UNFINISHED names. It is not part of an output, since DVC removes the outputs before
    it runs a stage.

    Parameters
    ----------
    name : str
    key : objects
        Everything that the result depends on; a Path stands for the content of the file. The code
        in use (`_code`), the installed packages and Python's version are always part of the key.

    Raises
    ------
    UserError
        If the folder can't be made, or another process is using it.
    """
    root = Path(os.environ.get("SHOTCOUNT_UNFINISHED") or UNFINISHED)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(
            f"{root} can't hold unfinished work ({error}): name another folder in the environment "
            "variable SHOTCOUNT_UNFINISHED"
        ) from None
    folder = root / f"{name}-{fingerprint(*key)}"
    with alone(folder / ".lock"):
        yield folder


def append(path: Path, content: bytes) -> None:
    """Append to a file of unfinished work, and wait until the content is on the disk."""
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the header of a .npy file, so that its values can be written piece by piece."""
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
    """Write a file in one call. Libraries that write in pieces may not notice a full disk."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; line ends stay as they are."""
    write_bytes(path, text.encode())


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON that diffs line by line; floats are rounded to 4 digits by the caller."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def fingerprint(*key: object) -> str:
    """Return a hex digest of a key; see `begun`."""
    # Not sys.path: Ray adds its own packages to it.
    places = [*site.getsitepackages(), site.getusersitepackages()]
    packages = sorted(p.name for place in places for p in Path(place).glob("*.dist-info"))
    parts = [sha256(part) if isinstance(part, Path) else part for part in (*key, *_code())]
    return hashlib.blake2b(repr([parts, packages, sys.version]).encode(), digest_size=8).hexdigest()


def _code() -> list[Path]:
    """List the code in use: the script, and all files of our packages that it has imported.

    These are the stage's dependencies in dvc.yaml. Whole packages count, since a module may be
    imported later. An edit to another package, such as the report, keeps a half-trained network.
    """
    root = Path(__file__).parents[1]
    names = {name.split(".")[1] for name in list(sys.modules) if name.startswith("shotcount.")}
    script = getattr(sys.modules["__main__"], "__file__", None)
    return [
        *([Path(script)] if script else []),
        *sorted(path for name in names for path in (root / name).rglob("*.py")),
    ]


def _discard(folder: Path) -> None:
    """Remove a folder of unfinished work. Renamed first, it is never found half removed."""
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
