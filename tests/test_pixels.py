"""The pixel array in its shards: reads as one array, resumes, and names what is damaged."""

from pathlib import Path

import numpy as np
import pytest

from shotcount.core import files, pixels
from shotcount.core.errors import UserError
from shotcount.core.pixels import Pixels, write_shards

SIZE = 4  # px
DECODED = np.random.default_rng(0).integers(0, 255, (50, SIZE, SIZE, 3), dtype=np.uint8)
PLACES = np.random.default_rng(1).permutation(50)[:23]
WHOLE = DECODED[PLACES]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """23 photos in shards of 5."""
    monkeypatch.setattr(pixels, "SHARD", 5 * SIZE * SIZE * 3 + 1)
    monkeypatch.setattr(pixels, "CHUNK", 2)
    monkeypatch.setattr(pixels, "OPEN", 2)
    write_shards(tmp_path / "pixels", DECODED, PLACES)
    return tmp_path / "pixels"


def test_shards_read_as_one_array(folder: Path) -> None:
    shards = [np.load(path) for path in sorted(folder.glob("*.npy"))]
    assert [len(shard) for shard in shards] == [5, 5, 5, 5, 3]
    assert np.array_equal(np.concatenate(shards), WHOLE)
    read = Pixels.open(folder)
    assert len(read) == 23
    assert read.shape == WHOLE.shape
    for rows in (
        0, 22, -1, np.int64(7), slice(None), slice(3, 17), slice(20, 40), slice(9, 2, -3),
        np.array([22, 0, 7, 7, 4, 5]), np.array([], dtype=np.int64),
    ):  # fmt: skip
        assert np.array_equal(read[rows], WHOLE[rows])
        assert read[rows].dtype == np.uint8


@pytest.mark.parametrize("rows", [23, -24, np.array([0, 23]), np.array([-1])])
def test_rows_beyond_the_array_are_refused(folder: Path, rows: int | np.ndarray) -> None:
    with pytest.raises(IndexError):
        Pixels.open(folder)[rows]


def test_a_small_collection_is_one_shard(tmp_path: Path) -> None:
    write_shards(tmp_path / "pixels", DECODED, PLACES)
    names = sorted(path.name for path in (tmp_path / "pixels").iterdir())
    assert names == ["00000.npy", "index.json"]


def test_finished_shards_are_kept_and_the_rest_is_written_again(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    kept = (folder / "00000.npy").stat()
    for name in ("00001.npy", "00004.npy", "index.json"):
        (folder / name).unlink()
    (folder / ".00001.part.npy").write_bytes(before["00001.npy"][:100])  # as a kill leaves it
    write_shards(folder, DECODED, PLACES)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert (folder / "00000.npy").stat().st_mtime_ns == kept.st_mtime_ns


def test_the_index_holds_the_hash_of_every_shard(folder: Path, tmp_path: Path) -> None:
    text = (folder / "index.json").read_text(encoding="utf-8")
    assert all(files.sha256(path) in text for path in folder.glob("*.npy"))
    other = DECODED.copy()
    other[PLACES[13]] += 1
    write_shards(tmp_path / "other", other, PLACES)
    old, new = text.splitlines(), (tmp_path / "other/index.json").read_text("utf-8").splitlines()
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1


@pytest.mark.parametrize("damage", ["gone", "cut short", "no array"])
def test_a_damaged_shard_is_named_with_the_mend(folder: Path, damage: str) -> None:
    shard = folder / "00001.npy"
    content = shard.read_bytes()
    shard.unlink()
    if damage != "gone":
        shard.write_bytes(content[:200] if damage == "cut short" else b"x" * len(content))
    read = Pixels.open(folder)
    assert np.array_equal(read[:5], WHOLE[:5])
    with pytest.raises(UserError, match=r"00001\.npy can't be read .*remove .*run `dvc repro`"):
        read[7]


def test_pixels_that_were_never_made_are_missed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"index\.json is missing: run `dvc repro`"):
        Pixels.open(tmp_path)
