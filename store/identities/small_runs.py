"""Small runs are asked together: beside a delivery of many days lie thousands of parts of a few records each.

A run of at most SMALL_ROWS_MAX records is read with one call, once in a process, and held with all others in one list,
sorted by tag; one search in it answers for every part. Held are cut tags under the store's identity key, which the
runs on disk hold too, so everything is dropped when a key is destroyed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from store.identities import run_blocks, runs
from store.identities.runs import Places, Tags, Words

SMALL_ROWS_MAX: Final = run_blocks.BLOCK_ROWS
"""A larger run is searched on disk: it has more blocks than one."""
HELD_ROWS_MAX: Final = 1 << 21
"""So many records are held, at 16 bytes; what is beyond is read when it is asked."""
LOT_PARTS: Final = 64
"""So many runs are read before the rows asked for are looked at again; then twice as many, and so on."""

Owners = npt.NDArray[np.int64]


class Part(Protocol):
    """A part with a run."""

    file_id: str
    rows: int


P = TypeVar("P", bound=Part)
Load = Callable[[Sequence[P]], Sequence[Words | None]]
"""Returns the words of parts by their tags; None for one that is no part of the store any more."""


@dataclass(frozen=True, slots=True)
class Met:
    """Where tags that were asked for stand, pair by pair: which tag, in which of the parts, in which row group."""

    tags: Places
    parts: Places
    groups: Places


@dataclass(frozen=True, slots=True)
class _Layer:
    """Words in order, and the number of the part that each is of."""

    words: Words
    owners: Owners

    @classmethod
    def of(cls, runs_of_parts: Sequence[Words], numbers: Sequence[int]) -> _Layer:
        """Put the runs of numbered parts in one order."""
        owners = np.repeat(np.array(numbers, np.int64), list(map(len, runs_of_parts)))
        return cls._ordered(np.concatenate([np.zeros(0, np.uint64), *runs_of_parts]), owners)

    def beside(self, other: _Layer) -> _Layer:
        """Return both as one."""
        return self._ordered(np.concatenate([self.words, other.words]), np.concatenate([self.owners, other.owners]))

    def only(self, numbers: npt.NDArray[np.int64]) -> _Layer:
        """Return the words of some parts."""
        kept = np.isin(self.owners, numbers)
        return _Layer(self.words[kept], self.owners[kept])

    @classmethod
    def _ordered(cls, words: Words, owners: Owners) -> _Layer:
        order = np.argsort(words, kind="stable")  # what lies in order already is merged
        return cls(words[order], owners[order])


class SmallRuns:
    """The small runs that one process knows. Safe for threads."""

    def __init__(self, rows_max: int = HELD_ROWS_MAX) -> None:
        """Hold at most so many records."""
        self._rows_max = rows_max
        self._lock = threading.Lock()
        self._layers: list[_Layer] = []
        """Each at least twice as large as the next: few are searched, and few are merged with a new one."""
        self._numbers: dict[str, int] = {}
        self._next = 0
        self._epoch = 0

    def __len__(self) -> int:
        """Return how many records are held."""
        with self._lock:
            return self._rows()

    def lots(self, parts: Sequence[P]) -> Iterator[Sequence[P]]:
        """Divide parts: those that are held, then of the others, in order, as many as are worth reading at once."""
        with self._lock:
            held = [part.file_id in self._numbers for part in parts]
        if any(held):
            yield [part for part, is_held in zip(parts, held, strict=True) if is_held]
        left = [part for part, is_held in zip(parts, held, strict=True) if not is_held]
        at, size = 0, LOT_PARTS
        while at < len(left):
            yield left[at : at + size]
            at, size = at + size, 2 * size

    def find(self, parts: Sequence[P], tags: Tags, load: Load[P]) -> Met:
        """Return where some cut tags, sorted, stand in these parts; a tag comes once for each row that may have it."""
        found: list[tuple[Places, Places, Places]] = []
        for layer, numbers in self._known(parts, load):
            order = np.argsort(numbers)
            asked, hits = runs.meet(layer.words, tags)
            owners = layer.owners[hits]
            at = order[np.minimum(np.searchsorted(numbers[order], owners), len(order) - 1)]
            own = numbers[at] == owners
            found.append((asked[own], at[own], runs.groups_of(layer.words[hits[own]])))
        nothing = np.zeros(0, np.int64)
        return Met(*map(np.concatenate, zip((nothing, nothing, nothing), *found, strict=True)))

    def words(self, parts: Sequence[P], load: Load[P]) -> Words:
        """Return the words of parts, in no order."""
        return np.concatenate(
            [np.zeros(0, np.uint64), *(layer.only(numbers).words for layer, numbers in self._known(parts, load))]
        )

    def drop(self, file_ids: Collection[str]) -> None:
        """Forget parts that were merged away."""
        with self._lock:
            gone = [file_id for file_id in file_ids if file_id in self._numbers]
            if not gone:
                return
            for file_id in gone:
                del self._numbers[file_id]
            left = np.array(list(self._numbers.values()), np.int64)
            self._layers = [kept for layer in self._layers if len((kept := layer.only(left)).words)]

    def clear(self) -> None:
        """Drop everything: a key was destroyed."""
        with self._lock:
            self._empty()
            self._epoch += 1

    def _known(self, parts: Sequence[P], load: Load[P]) -> list[tuple[_Layer, npt.NDArray[np.int64]]]:
        """Return layers that together hold all of these parts, each with the parts' numbers in it, or -1."""
        if not parts:
            return []
        with self._lock:
            epoch, layers = self._epoch, list(self._layers)
            numbers = np.array([self._numbers.get(part.file_id, -1) for part in parts], np.int64)
        missing = np.flatnonzero(numbers < 0).tolist()
        found = [(layer, numbers) for layer in layers]
        if missing:
            read = load([parts[at] for at in missing])
            there = [(at, words) for at, words in zip(missing, read, strict=True) if words is not None]
            fresh = _Layer.of([words for _, words in there], [at for at, _ in there])
            found.append((fresh, np.arange(len(parts))))
            needed = sum(part.rows for part in parts)
            self._hold(epoch, [(parts[at].file_id, words) for at, words in there], needed)
        return found

    def _hold(self, epoch: int, read: Sequence[tuple[str, Words]], needed: int) -> None:
        """Hold what was read; when there is no room for it, others go if less than half of all is needed now."""
        with self._lock:
            new = {file_id: words for file_id, words in read if file_id not in self._numbers}
            more = sum(map(len, new.values()))
            if epoch != self._epoch or not new:
                return
            if self._rows() + more > self._rows_max:
                if 2 * needed > self._rows_max:
                    return
                self._empty()
            numbers = range(self._next, self._next + len(new))
            layer = _Layer.of(list(new.values()), numbers)
            while self._layers and len(self._layers[-1].words) < 2 * len(layer.words):
                layer = self._layers.pop().beside(layer)
            self._layers.append(layer)
            self._numbers.update(zip(new, numbers, strict=True))
            self._next += len(new)

    def _rows(self) -> int:
        return sum(len(layer.words) for layer in self._layers)

    def _empty(self) -> None:
        self._layers, self._numbers = [], {}
