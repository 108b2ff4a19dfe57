"""Choose the photos in the batch of each step."""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from shotcount.core.seeds import seed_for

WINDOW = 2**14  # photos that are shuffled together: 2.5 GB at 224 px
FOR_STATISTICS = 512  # photos that tell BatchNorm's statistics
BLOCK = 64  # neighbours that are put into a window together: 10 MB at 224 px


def draw_batch(
    step: int, photos: int, batch_size: int, seed_key: tuple[str | int, ...]
) -> np.ndarray:
    """Return the positions of the photos of a step: every photo once before any photo again.

    All batches are full: a smaller last batch would give its photos more weight, and BatchNorm
    needs more than one photo. The batch depends on the step alone, so a run can resume at any step.
    More than `WINDOW` photos are drawn window by window: if they are in the order of an array that
    doesn't fit the memory, the disk then reads neighbours together.
    """
    batch_size = min(batch_size, photos)
    rounds, places = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), photos)
    return np.concatenate(
        [_shuffled(photos, int(r), seed_key)[places[rounds == r]] for r in np.unique(rounds)]
    )


def some_batches(
    photos: int, batch_size: int, seed_key: tuple[str | int, ...]
) -> Iterator[np.ndarray]:
    """Yield the positions of `FOR_STATISTICS` photos, or of all if there are fewer, in batches."""
    count = math.ceil(min(FOR_STATISTICS, photos) / min(batch_size, photos))
    return (draw_batch(batch, photos, batch_size, seed_key) for batch in range(count))


@lru_cache(maxsize=2)  # a batch touches two rounds at most
def _shuffled(photos: int, round_: int, seed_key: tuple[str | int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed_for("order", *seed_key, round_))
    if photos <= WINDOW:
        return rng.permutation(photos)
    # Blocks rather than whole shards, since neighbours are alike: a window of a few shards would
    # hold few classes (Xu et al., "In-database machine learning with CorgiPile", SIGMOD 2022).
    blocks = np.array_split(np.arange(photos), math.ceil(photos / BLOCK))
    order = np.concatenate([blocks[place] for place in rng.permutation(len(blocks))])
    for start in range(0, photos, WINDOW):
        rng.shuffle(order[start : start + WINDOW])  # in place
    return order
