"""Save the state of a training run, so that a killed run resumes."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from shotcount.core import files
from shotcount.core.errors import UserError


class Checkpoint:
    """The last saved state of one run: tensors, numbers and lists of them.

    Saving takes at most `share` of the time: a small network is saved every few moments, a large
    one every few minutes.
    """

    def __init__(self, path: Path, share: float = 0.02) -> None:
        self.path = path
        self.share = share
        self.due = time.perf_counter() + 0.5  # a shorter run is repeated faster than saved

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, its tensors on the CPU; None if there is none.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        try:
            return dict(torch.load(self.path, map_location="cpu", weights_only=True))
        except FileNotFoundError:
            return None
        except (OSError, MemoryError):
            raise
        except Exception as error:  # of any type, depending on the file
            raise UserError(f"{self.path} is damaged: remove it and run again: {error}") from None

    def offer(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save `state()`, unless the last save is too recent."""
        start = time.perf_counter()
        if start < self.due:
            return
        saved = io.BytesIO()
        torch.save(state(), saved)
        files.write_bytes(self.path, saved.getbuffer())
        end = time.perf_counter()
        self.due = end + (end - start) / self.share

    def clear(self) -> None:
        """Remove the saved state: the run has finished."""
        self.path.unlink(missing_ok=True)
