"""The pixels of a collection: a folder of .npy shards that reads as one array.

Shards are written, hashed and read independently: they are processed in parallel, and an
interruption or a damaged file costs one shard, not all.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from shotcount.core import files
from shotcount.core.errors import UserError

# Bytes per shard. A disk reads a shard in about a second, so its seek time is negligible; ten
# million photos of 224 px make 5,600 files; two shards per core fit any memory.
SHARD = 2**28
CHUNK = 256  # photos in memory at once, for each shard that is being written
OPEN = 256  # shards mapped at once: each keeps a file open, and systems allow about 1,000
INDEX = "index.json"  # holds the hash of every shard, so it identifies the folder's content


def write_shards(folder: Path, decoded: np.ndarray, places: np.ndarray) -> None:
    """Write photos as shards of `SHARD` bytes. The next call resumes an interrupted one.

    Parameters
    ----------
    folder : Path
        Used only for these photos in this order, since shards already in it are kept.
    decoded : ndarray of shape (any, size, size, 3), uint8
        May be memory-mapped.
    places : ndarray of shape (photos,), int64
        Rows of `decoded` to write, in order.
    """
    photo = decoded.shape[1:]
    each = max(1, SHARD // int(np.prod(photo)))
    folder.mkdir(exist_ok=True)

    def make(number: int) -> str:
        path = folder / _name(number)
        own = places[number * each : (number + 1) * each]
        if not path.exists():
            with files.atomic(path) as temporary, temporary.open("wb") as file:
                # Not through a memory map: on a full disk, that ends in a bus error.
                file.write(files.npy_header("|u1", (len(own), *photo)))
                for start in range(0, len(own), CHUNK):
                    file.write(decoded[own[start : start + CHUNK]].tobytes())
        return files.sha256(path)

    # Threads: copying, writing and hashing release the GIL.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = list(pool.map(make, range(-(-len(places) // each))))
    index = {"shape": [len(places), *photo], "photos_a_shard": each, "sha256": hashes}
    files.write_json(folder / INDEX, index)


class Pixels:
    """An array (photos, size, size, 3), uint8, whose shards are memory-mapped when first read."""

    def __init__(self, folder: Path, shape: tuple[int, ...], photos_a_shard: int) -> None:
        self.shape = shape
        self._folder = folder
        self._each = photos_a_shard
        self._shard = lru_cache(OPEN)(self._map)

    @classmethod
    def open(cls, folder: Path) -> "Pixels":
        """Open what `write_shards` has written.

        Raises
        ------
        UserError
            If it is missing.
        """
        try:
            index = files.read_json(folder / INDEX)
        except FileNotFoundError:
            raise UserError(f"{folder / INDEX} is missing: run `dvc repro`") from None
        return cls(folder, tuple(index["shape"]), index["photos_a_shard"])

    def __reduce__(self) -> tuple[type, tuple[Path, tuple[int, ...], int]]:
        return Pixels, (self._folder, self.shape, self._each)  # another process maps them itself

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        """Read photos.

        Parameters
        ----------
        rows : int, slice or ndarray of int64
            As for an array, except that an ndarray must not hold negative rows.

        Returns
        -------
        ndarray of shape (size, size, 3) for an int, else (rows, size, size, 3), uint8

        Raises
        ------
        UserError
            If a shard is missing or damaged.
        """
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        elif not isinstance(rows, np.ndarray):
            return self[np.array([range(len(self))[rows]])][0]
        if ((rows < 0) | (rows >= len(self))).any():
            raise IndexError(f"{rows} of {len(self)} photos")
        photos = np.empty((len(rows), *self.shape[1:]), np.uint8)
        shards, places = np.divmod(rows, self._each)
        for shard in np.unique(shards):
            here = shards == shard
            photos[here] = self._shard(int(shard))[places[here]]
        return photos

    def _map(self, shard: int) -> np.ndarray:
        path = self._folder / _name(shard)
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} can't be read ({error}): remove {self._folder} and run `dvc repro`"
            ) from None


def _name(shard: int) -> str:
    return f"{shard:05d}.npy"
