"""The screen: which rows of a delivery may be known. One sieve for all batches of a process, filled when it pays.

Runs are put into the sieve when looking them up one by one has cost as much as putting them in; a short command on a
large store never pays for it, a service does once. What a batch passes through stays in the sieve, so its own rows are
known to it, and to every batch after it, without a second structure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from store import native
from store.identities.runs import Words
from store.identities.sieve import BYTES_MAX, KERNELS, Sieve

ROWS_MIN: Final = 8_192
"""So many rows at once are passed through the sieve; fewer only when there is one already. A block of 4 MiB has as many
unless its lines are longer than 500 bytes: without a sieve each stretch is compared with those before it."""

LOT_ROWS: Final = 65_536
"""Small parts are put in so many rows at a time."""

_LOOK_UP_US: Final = 30.0  # one tag in one run: a block is read, decrypted and unpacked
_READ_US: Final = 0.01  # one tag of a run that is read whole
_PUT_US: Final = 0.06
_LOAD_US: Final = 50_000.0  # the kernels, once in a process
_STALE: Final = 0.7  # a full sieve is made anew when what is needed fills less than this


class Run(Protocol):
    """A part that can be put into the sieve."""

    file_id: str
    rows: int


R = TypeVar("R", bound=Run)


@dataclass(frozen=True, slots=True)
class Screened:
    """What the screen knows of some rows."""

    suspects: npt.NDArray[np.int64] | None
    """Rows that may be known, in their order; None when the screen was not used, and any may be."""
    aside: frozenset[str]
    """Parts of which the screen knows nothing: any row may be in them."""
    epoch: int
    """The screen's contents, if it holds the rows from now on; -1 if not."""
    seen: int
    """The screen's contents while it looked: what it held since then it has told."""


class Screen(Generic[R]):
    """The sieve of one process; safe for threads."""

    def __init__(self, words_of: Callable[[Sequence[R]], Words], bytes_max: int | None = None) -> None:
        """Take what reads the words of parts, in no order, and the most that the sieve may hold."""
        self._words_of = words_of
        self._bytes_max = BYTES_MAX if bytes_max is None else bytes_max
        self._lock = threading.Lock()
        self._sieve: Sieve | None = None
        self._epoch = 0
        self._covered: set[str] = set()
        self._spent_us = 0.0

    def tell(self, tags: npt.NDArray[np.uint64], parts: Sequence[R]) -> Screened:
        """Tell which rows may be in these parts, or among rows that were told before; hold them from now on."""
        with self._lock:
            self._cover(len(tags), parts)
            aside = frozenset(part.file_id for part in parts if part.file_id not in self._covered)
            if self._sieve is None:
                return Screened(None, aside, -1, self._epoch)
            held = self._sieve.fits(len(tags))
            known = self._sieve.pass_through(tags, keep=held)
            return Screened(np.flatnonzero(known), aside, self._epoch if held else -1, self._epoch)

    def cover(self, file_id: str, epochs: set[int]) -> None:
        """Note that all rows of a part were held while the screen's contents were these."""
        with self._lock:
            if epochs == {self._epoch} and self._sieve is not None:
                self._covered.add(file_id)

    def merged(self, file_ids: Sequence[str], into: Sequence[str]) -> None:
        """Note that parts became others."""
        with self._lock:
            if self._covered.issuperset(file_ids):
                self._covered.update(into)
            self._covered.difference_update(file_ids)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._empty()

    @property
    def nbytes(self) -> int:
        """Memory that the sieve takes."""
        with self._lock:
            return self._sieve.nbytes if self._sieve is not None else 0

    @property
    def held(self) -> int:
        """Tags that the sieve holds."""
        with self._lock:
            return self._sieve.held if self._sieve is not None else 0

    def _cover(self, rows: int, parts: Sequence[R]) -> None:
        """Put parts in when it pays."""
        left = [part for part in parts if part.file_id not in self._covered]
        loaded = native.is_loaded(KERNELS)
        self._spent_us += sum(min(rows * _LOOK_UP_US, part.rows * _READ_US) for part in left)
        cost_us = sum(part.rows for part in left) * _PUT_US + (0.0 if loaded else _LOAD_US)
        if self._sieve is None and (rows >= ROWS_MIN or (left and self._spent_us >= cost_us)):
            self._sieve = Sieve(self._bytes_max)
        if self._sieve is None or not left or self._spent_us < cost_us:
            return
        self._spent_us = 0.0
        needed = sum(part.rows for part in parts)
        if not self._sieve.fits(sum(part.rows for part in left)) and needed < _STALE * self._sieve.held:
            self._empty()
            self._sieve = Sieve(self._bytes_max)
            left = list(parts)
        self._fill(self._sieve, left)

    def _fill(self, sieve: Sieve, parts: Sequence[R]) -> None:
        sieve.reserve(sum(part.rows for part in parts))
        lot: list[R] = []
        rows = 0
        for part in reversed(parts):  # the newest first: what does not fit is looked up run by run
            if not sieve.fits(rows + part.rows):
                continue
            lot.append(part)
            rows += part.rows
            if rows >= LOT_ROWS:
                self._put(sieve, lot)
                lot, rows = [], 0
        self._put(sieve, lot)

    def _put(self, sieve: Sieve, parts: Sequence[R]) -> None:
        sieve.add_run(self._words_of(parts))
        self._covered.update(part.file_id for part in parts)

    def _empty(self) -> None:
        if self._sieve is not None:
            self._sieve.close()
        self._sieve = None
        self._epoch += 1
        self._covered.clear()
        self._spent_us = 0.0
