"""Show progress: a bar in a terminal, an occasional line in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

REDRAW = 0.1  # seconds between two updates of a bar
LOG = 30.0  # seconds between two lines of a log, at least
BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
LINE = "{desc}: {n_fmt} of MOST{total_fmt} {unit}s, {elapsed} gone, MOST{remaining} to go{postfix}"


class Meter(AbstractContextManager["Meter"]):
    """Shows how much is done, and how long the rest takes at the mean pace so far.

    Parameters
    ----------
    title : str
    total : float
        The amount of work, as far as it is known.
    unit : str
        The unit of work, in the singular.
    at_most : bool
        Whether the work may end before `total`.

    Attributes
    ----------
    live : bool
        Whether both output streams are terminals.
    """

    def __init__(self, title: str, total: float, unit: str, at_most: bool = False) -> None:
        self.live = sys.stdout.isatty() and sys.stderr.isatty()
        self._title, self._total, self._at_most = title, total, at_most
        line = LINE.replace("MOST", "at most " if at_most else "")
        self._style: dict[str, Any] = {"unit": unit, "bar_format": BAR if self.live else line}
        self._bar: tqdm[Any] | None = None
        self._start = time.perf_counter()
        self._due = self._start + (REDRAW if self.live else LOG)
        self._initial: float | None = None

    def show(
        self, done: float, total: float | None = None, note: str | Callable[[], str] = ""
    ) -> None:
        """Report how much is done. A call that comes too soon after the last update shows nothing.

        The amount in the first call was done before, by an interrupted run, and is left out of the
        pace. A `note` that is a function is called only when it is shown.
        """
        self._initial = done if self._initial is None else self._initial
        self._total = self._total if total is None else total
        if self.live and self._bar is None:
            self._bar = tqdm(desc=self._title, total=self._total, dynamic_ncols=True, **self._style)
        now = time.perf_counter()
        if now < self._due and not (self.live and done == self._total):
            return
        self._due = now + (REDRAW if self.live else LOG)
        note = note() if callable(note) else note
        if self._bar is not None:
            self._bar.n, self._bar.total, self._bar.initial = done, self._total, self._initial
            self._bar.set_postfix_str(note)
        else:
            line = tqdm.format_meter(
                done, self._total, now - self._start, initial=self._initial, prefix=self._title,
                postfix=note, **self._style,
            )  # fmt: skip
            print(line, flush=True)

    def __reduce__(self) -> tuple[type, tuple[str, float, str, bool]]:  # for another process
        return Meter, (self._title, self._total, self._style["unit"], self._at_most)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def watch(items: Iterable[Item], title: str, total: int, unit: str) -> Iterator[Item]:
    """Yield the items, and show how many are done."""
    with Meter(title, total, unit) as meter:
        meter.show(0)
        for done, item in enumerate(items, 1):
            yield item
            meter.show(done)
