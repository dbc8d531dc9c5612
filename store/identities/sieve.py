"""The sieve: the cut tags of all records near in time, in memory, so that a new record is known to be new at once.

It never says "new" of a tag that it holds. It may hold tags of records that are gone, or that were never published;
what it holds is therefore only a suspicion, which the records settle.

The first 14 bits of a cut tag choose one of 16 384 shards, the other 32 stand in a slot of four bytes. A shard is a row
of buckets of 16 slots, one cache line each; a tag lies in the bucket that its 32 bits scale to, or in one of the next.
As a slot holds all that is left of the tag, shards grow in place, without reading a run again.
"""

from __future__ import annotations

import mmap
from typing import Final

import numpy as np
import numpy.typing as npt

from store import native
from store.identities import run_blocks, runs

Tags = npt.NDArray[np.uint64]

KERNELS: Final = "store.identities.sieve_kernels"

BYTES_MAX: Final = 896 << 20
"""The most that one process holds in memory: 199 million tags, and with all else that ingest takes below 2 GiB.

Records beyond are looked up in the runs on disk.
"""
SHARD_BITS: Final = 14
_SHARDS: Final = 1 << SHARD_BITS
_BUCKET_SLOTS: Final = 16
_BUCKET_BYTES: Final = 4 * _BUCKET_SLOTS
LOAD_MAX: Final = 0.85
GROWTH: Final = 1.5
GROWTH_LARGE: Final = 1.25
"""From a quarter of its bound on the sieve grows by less, and more often."""
_DEVIATIONS: Final = 6.5  # a shard holds more than its share: so many standard deviations are kept free


class Sieve:
    """A set of cut tags that answers with certainty when it says no. Not safe for threads."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._buckets = 1
        self._buckets_max = max(bytes_max // (_SHARDS * _BUCKET_BYTES), 1)
        self._memory = mmap.mmap(-1, self.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._advise()
        self.held = 0
        """Tags that were put in, those that came twice counted twice since the sieve last grew."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self._buckets * _SHARDS * _BUCKET_BYTES

    def fits(self, more: int) -> bool:
        """Tell whether so many more tags can be put in."""
        return self.held + more <= _capacity(self._buckets_max)

    def reserve(self, more: int) -> None:
        """Make room for so many more tags at once, as far as the bound allows."""
        buckets = self._buckets
        while buckets < self._buckets_max and _capacity(buckets) < self.held + more:
            buckets += 1
        if buckets > self._buckets:
            self._grow(buckets)

    def pass_through(self, tags: Tags, *, keep: bool = True) -> npt.NDArray[np.bool_]:
        """Tell of each whole tag whether it is held or stands here twice; `keep` puts them in: they must fit."""
        known = np.zeros(len(tags), np.uint8)
        self._put(tags, 64 - runs.TAG_BITS, known, keep=keep)
        return known.view(np.bool_)

    def add_run(self, words: Tags) -> None:
        """Put a run in (see `store.identities.runs.Words`). It must fit."""
        self._put(words, run_blocks.GROUP_BITS_MAX, np.zeros(0, np.uint8), keep=True)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def _put(self, tags: Tags, drop: int, known: npt.NDArray[np.uint8], *, keep: bool) -> None:
        kernels = native.load(KERNELS)

        while keep and self.held + len(tags) > _capacity(self._buckets):
            self._grow()
        start = 0
        while start < len(tags):
            start = kernels.pass_through(self._address(), self._buckets, tags, drop, start, keep, known)
            if start < len(tags):  # more tags than chance allows share a shard
                self._grow()
        self.held += len(tags) if keep else 0

    def _grow(self, buckets: int = 0) -> None:
        kernels = native.load(KERNELS)

        old = self._buckets
        factor = GROWTH if 4 * old < self._buckets_max else GROWTH_LARGE
        grown = min(max(old + 1, int(old * factor)), self._buckets_max)
        self._buckets = max(buckets, grown, old + 1)
        self._memory.resize(self.nbytes)
        self._advise()
        scratch = np.empty(old * _BUCKET_SLOTS, np.uint64)
        self.held = int(kernels.grow(self._address(), _SHARDS, old, self._buckets, scratch))

    def _address(self) -> int:
        return int(np.frombuffer(self._memory, np.uint8).ctypes.data)

    def _advise(self) -> None:
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._memory.madvise(mmap.MADV_HUGEPAGE)


def _capacity(buckets: int) -> int:
    """Return how many tags fit so that no shard overflows by chance."""
    slots = buckets * _BUCKET_SLOTS
    share = (-_DEVIATIONS + (_DEVIATIONS**2 + 4 * (slots - 1)) ** 0.5) / 2
    return int(_SHARDS * min(share**2, LOAD_MAX * slots))
