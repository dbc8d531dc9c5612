"""Identity runs: what duplicates are found by. Who the records of a part are, sorted, each with its row group.

A run is a block file under the partition's key, so no keyed hash of a record outlives its partition. It says where a
record of this identity may lie; the records themselves decide. It is a run of *tags*, cut short, or a run of *keys*:
switches count their records, so where the record keys are digits, close together, they take half the room of tags, and
tags are made of them when they are asked for (ADR 32). Block 0 is the header:

    rows (8 bytes), rows of a row group (4), bits of a tag (2; 0 in a run of keys), origins (2), least key (8), then 16
    bytes for each origin, then the first word of every block (8 bytes each); little endian, as everything here

An origin is a pair of dedup domain and network element: the state of the tag before the record key. A word is a cut
tag, or a key less the least one. Each further block holds up to BLOCK_ROWS words in Elias-Fano form: count (4 bytes),
bits of a low part, bits of what stands beside it (1 byte each), 2 zero bytes, 64-bit words of the high parts (8), first
word (8); then the high parts in unary, one bit per word at (high part + its number), and the low parts, each with its
group above it, packed without gaps. In a run of keys the origin stands above the group.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.errors import IntegrityError
from store import blocks
from store.binding import FileBinding
from store.identities import run_blocks
from store.identities.identity import IdentityHasher, Keyed
from store.identities.run_blocks import BLOCK_ROWS, GROUP_BITS_MAX
from store.syncing import Syncs

Places = npt.NDArray[np.int64]
Tags = npt.NDArray[np.uint64]
Words = npt.NDArray[np.uint64]
"""Sorted: cut tag << GROUP_BITS_MAX | row group; in a run of keys key << GROUP_BITS_MAX | origin and row group."""

TAG_BITS: Final = 46
"""A tag is cut to its first bits: among 200 million records, three new ones in a million seem known, and are read."""
KEY_BITS_MAX: Final = 64 - GROUP_BITS_MAX
"""Keys that lie further apart are posted as tags."""

_HEADER: Final = struct.Struct("<QIHHQ")
_GROUP_MASK: Final = np.uint64((1 << GROUP_BITS_MAX) - 1)
_SHIFT: Final = np.uint64(GROUP_BITS_MAX)


def cut(tags: Tags) -> Tags:
    """Return the bits of tags that runs keep."""
    return tags >> np.uint64(64 - TAG_BITS)


def cut_of(words: Words) -> Tags:
    """Return the cut tags of a run."""
    return words >> _SHIFT


def words_of(tags: Tags, group_rows: int) -> Words:
    """Return the run of a part, given its tags in the order of its rows."""
    rows = np.arange(len(tags), dtype=np.uint64)
    words = (cut(tags) << _SHIFT) | (rows // np.uint64(group_rows))
    words.sort()
    return words


@dataclass(frozen=True, slots=True)
class Run:
    """What a run holds: its words and, where they are of keys, their origins (n x 2 words) and the least key."""

    words: Words
    payload_bits: int
    origins: Tags | None = None
    least: int = 0


def run_of(tags: Callable[[], Tags], keyed: Keyed | None, rows: int, group_rows: int) -> Run:
    """Return the run of a part, given its identities in the order of its rows: of keys where that takes less. Pure.

    Raises:
        ValueError: The part has more groups than `GROUP_BITS_MAX` bits can number.
    """
    groups = -(-rows // group_rows)
    if groups > 1 << GROUP_BITS_MAX:
        raise ValueError("a part has too many row groups")
    group_bits = max(groups - 1, 0).bit_length()
    if keyed is not None and rows and (found := _of_keys(keyed, group_rows, group_bits)) is not None:
        return found
    return Run(words_of(tags(), group_rows), group_bits)


def _of_keys(keyed: Keyed, group_rows: int, group_bits: int) -> Run | None:
    rows, least = len(keyed.keys), int(keyed.keys.min())
    if least < 0:  # some key is not one of digits
        return None
    span_bits = (int(keyed.keys.max()) - least).bit_length()
    used = np.bincount(keyed.codes, minlength=1) > 0
    count = int(np.count_nonzero(used))
    origin_bits = (count - 1).bit_length()
    rows_bits = rows.bit_length()
    taken = max(span_bits - rows_bits, 0) + origin_bits + 128 * count / rows
    if span_bits > KEY_BITS_MAX or origin_bits + group_bits > GROUP_BITS_MAX or taken >= TAG_BITS - rows_bits:
        return None
    origin = (np.cumsum(used) - 1).astype(np.uint64) << np.uint64(group_bits)
    words = (keyed.keys - least).view(np.uint64) << _SHIFT
    words |= origin[keyed.codes]
    words |= np.arange(rows, dtype=np.uint64) // np.uint64(group_rows)
    words.sort()
    return Run(words, origin_bits + group_bits, keyed.states[: len(used)][used], least)


def write(
    path: Path, run: Run, group_rows: int, binding: FileBinding, partition_key: bytes, syncs: Syncs | None = None
) -> tuple[int, str]:
    """Write a part's run; return its size in bytes and its SHA-256. With `syncs` it is durable once they are."""
    size, data = blocks.write(path, encode(run, group_rows), binding, partition_key, syncs)
    return size, hashlib.sha256(data).hexdigest()


def encode(run: Run, group_rows: int) -> list[bytes]:
    """Return the blocks of a run."""
    words = run.words
    fences = (words[::BLOCK_ROWS] >> _SHIFT).astype("<u8")
    origins = np.zeros((0, 2), np.uint64) if run.origins is None else run.origins
    bits = TAG_BITS if run.origins is None else 0
    header = _HEADER.pack(len(words), group_rows, bits, len(origins), run.least)
    found = [header + origins.astype("<u8").tobytes() + fences.tobytes()]
    compiled = run_blocks.compiled(len(words))
    for first in range(0, len(words), BLOCK_ROWS):
        found.append(run_blocks.encode(words[first : first + BLOCK_ROWS], run.payload_bits, compiled=compiled))
    return found


@dataclass(frozen=True, slots=True)
class Head:
    """What the header of a run says."""

    rows: int
    group_rows: int
    least: int
    origins: Tags
    """n x 2 words; none in a run of tags."""
    fences: Words

    @classmethod
    def of(cls, header: bytes, count: int, binding: FileBinding) -> Head:
        """Read the first of a run's `count` blocks.

        Raises:
            IntegrityError: it is not the header of a run.
        """
        if len(header) < _HEADER.size:
            raise IntegrityError(f"{binding} is not a run")
        rows, group_rows, tag_bits, origins, least = _HEADER.unpack_from(header)
        rest = np.frombuffer(header, "<u8", offset=_HEADER.size)
        fences = rest[2 * origins :]
        if len(fences) != count - 1 or tag_bits not in (0, TAG_BITS) or (tag_bits == 0) != bool(origins):
            raise IntegrityError(f"{binding} is not a run")
        return cls(rows, group_rows, least, rest[: 2 * origins].reshape(-1, 2), fences)

    @property
    def is_keyed(self) -> bool:
        """Whether it is a run of keys."""
        return len(self.origins) > 0

    @property
    def group_bits(self) -> int:
        """Bits of a row group in a word."""
        return max(-(-self.rows // max(self.group_rows, 1)) - 1, 0).bit_length()


def load(path: str, binding: FileBinding, partition_key: bytes) -> tuple[Head, Words]:
    """Read a small run whole: its header and its words, tags or keys as they lie.

    Raises:
        IntegrityError: the file is missing, is another, or does not authenticate.
    """
    found = blocks.load(path, binding, partition_key)
    head = Head.of(found[0] if found else b"", len(found), binding)
    words = np.empty(len(head.fences) * BLOCK_ROWS, np.uint64)
    filled, compiled = 0, run_blocks.compiled(head.rows)
    for block in found[1:]:
        filled += run_blocks.decode(block, words[filled:], compiled=compiled)
    return head, words[:filled]


def by_tags(loaded: Sequence[tuple[Head, Words]], hasher: IdentityHasher) -> Words:
    """Return the words of runs by their cut tags, run after run, in no order within one.

    The tags of all keys are made at once.
    """
    words = np.concatenate([np.zeros(0, np.uint64), *(some for _, some in loaded)])
    sizes = np.array([len(some) for _, some in loaded], np.int64)
    keyed = np.repeat(np.array([head.is_keyed for head, _ in loaded], np.bool_), sizes)
    if keyed.any():
        figures = [(head.group_bits, head.least, len(head.origins)) for head, _ in loaded]
        bits, least, origins = np.array(figures, np.int64).T
        before = np.cumsum(origins) - origins
        chosen, own = words[keyed], np.repeat(np.arange(len(loaded)), sizes)[keyed]
        beside, group_bits = chosen & _GROUP_MASK, bits.astype(np.uint64)[own]
        codes = (beside >> group_bits).astype(np.int64) + before[own]
        states = np.concatenate([head.origins for head, _ in loaded])
        keys = (chosen >> _SHIFT).view(np.int64) + least[own]
        tags = cut(hasher.tags_of(Keyed(states, codes.astype(np.int32), keys)))
        words[keyed] = (tags << _SHIFT) | (beside & ((np.uint64(1) << group_bits) - np.uint64(1)))
    return words


def meet(words: Words, asked: Tags) -> tuple[Places, Places]:
    """Return which of the cut tags asked for stand in these sorted words, and at which of them, pair by pair."""
    first = np.searchsorted(words, asked << _SHIFT, side="left")
    last = np.searchsorted(words, (asked << _SHIFT) | _GROUP_MASK, side="right")
    return _spread(first, last)


def groups_of(words: Words) -> Places:
    """Return the row groups of words by tags."""
    return (words & _GROUP_MASK).astype(np.int64)


class Asked:
    """Identities that are looked for: their cut tags, sorted, and where they are known the keys in the same order."""

    def __init__(self, tags: Tags, keyed: Keyed | None) -> None:
        self.tags, self.keyed = tags, keyed
        self._by_key: tuple[Places, Places] | None = None

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.tags)

    def by_key(self, keyed: Keyed) -> tuple[Places, Places]:
        """Return the rows in the order of their keys, and these: sorted once, however many runs are asked."""
        if self._by_key is None:
            order = np.argsort(keyed.keys, kind="stable")
            self._by_key = order, keyed.keys[order]
        return self._by_key


class RunReader:
    """An open run. It is closed when nobody refers to it any more: whoever holds one drops it with the key's lease."""

    def __init__(self, path: Path, binding: FileBinding, partition_key: bytes, hasher: IdentityHasher) -> None:
        """Open and authenticate the header; the hasher makes tags of keys.

        Raises:
            IntegrityError: the file is missing, is another, or does not authenticate.
        """
        self._file = blocks.BlockFile(path, binding, partition_key)
        self._hasher = hasher
        head = Head.of(self._file.read(0) if len(self._file) else b"", len(self._file), binding)
        self.rows, self.group_rows = head.rows, head.group_rows
        self._least, self._origins, self._fences = head.least, head.origins, head.fences
        self._group_bits = head.group_bits
        self._is_keyed = head.is_keyed

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def words(self) -> Words:
        """Return the whole run by its cut tags."""
        words = self._read(0, len(self._fences), compiled=run_blocks.compiled(self.rows))
        if not self._is_keyed:
            return words
        groups = words & self._group_mask
        words = (cut(self._hasher.tags_of(self._keyed(words))) << _SHIFT) | groups
        words.sort()
        return words

    def asked(self) -> Asked:
        """Return all its identities, to look for them in another run."""
        if not self._is_keyed:
            return Asked(cut_of(self.words()), None)
        words = self._read(0, len(self._fences), compiled=run_blocks.compiled(self.rows))
        keyed = self._keyed(words)
        tags = cut(self._hasher.tags_of(keyed))
        order = np.argsort(tags, kind="stable")
        return Asked(tags[order], keyed.take(order))

    def find(self, asked: Asked) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return which of these identities the part may have, and in which row group: (places, groups).

        One identity costs one block; a place comes once for each row that may be it.
        """
        if len(asked) == 0 or self.rows == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        if not self._is_keyed:
            places, words = _met(self._around(asked.tags), asked.tags)
            return places, (words & _GROUP_MASK).astype(np.int64)
        if asked.keyed is None:  # too many network elements, to name only one reason
            places, words = _met(self.words(), asked.tags)
            return places, (words & _GROUP_MASK).astype(np.int64)
        return self._find_keys(asked, asked.keyed)

    def _find_keys(self, asked: Asked, keyed: Keyed) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        nothing = np.zeros(0, np.int64)
        known = {state.tobytes(): code for code, state in enumerate(self._origins)}
        origins = np.array([known.get(state.tobytes(), -1) for state in keyed.states], np.int64)
        order, sorted_keys = asked.by_key(keyed)
        first, last = np.searchsorted(sorted_keys, (self._least, self._least + (1 << KEY_BITS_MAX))).tolist()
        if first == last or not (origins >= 0).any():
            return nothing, nothing
        keys = (sorted_keys[first:last] - self._least).view(np.uint64)
        places, words = _met(self._around(keys), keys)
        rows, beside = order[first:last][places], (words & _GROUP_MASK).astype(np.int64)
        same = beside >> self._group_bits == origins[keyed.codes[rows]]
        return rows[same], beside[same] & int(self._group_mask)

    @property
    def _group_mask(self) -> np.uint64:
        return np.uint64((1 << self._group_bits) - 1)

    def _keyed(self, words: Words) -> Keyed:
        codes = ((words & _GROUP_MASK) >> np.uint64(self._group_bits)).astype(np.int32)
        return Keyed(self._origins, codes, (words >> _SHIFT).view(np.int64) + self._least)

    def _around(self, tags: Tags) -> Words:
        if len(self._fences) == 1:
            return self._read(0, 1, compiled=run_blocks.compiled(BLOCK_ROWS))
        # A block is needed if some tag is between its first word and the next one's: equal words may go on there.
        after = np.append(np.searchsorted(tags, self._fences[1:], side="right"), len(tags))
        inside = np.concatenate([[False], after > np.searchsorted(tags, self._fences, side="left"), [False]])
        starts, stops = np.flatnonzero(~inside[:-1] & inside[1:]), np.flatnonzero(inside[:-1] & ~inside[1:])
        compiled = run_blocks.compiled(int((stops - starts).sum()) * BLOCK_ROWS)
        pieces = [self._read(int(a), int(b), compiled=compiled) for a, b in zip(starts, stops, strict=True)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.uint64), *pieces])

    def _read(self, first: int, last: int, *, compiled: bool) -> Words:
        if first == last:
            return np.zeros(0, np.uint64)
        words = np.empty((last - first) * BLOCK_ROWS, np.uint64)
        filled = 0
        for block in self._file.read_range(first + 1, last + 1):
            filled += run_blocks.decode(block, words[filled:], compiled=compiled)
        return words[:filled]


def _met(words: Words, asked: Tags) -> tuple[Places, Words]:
    """Return which of the sorted values asked for stand in front of these words, and the words, pair by pair."""
    theirs = words >> _SHIFT
    if len(theirs) < len(asked):  # whoever is fewer looks among the others
        first, last = np.searchsorted(asked, theirs, side="left"), np.searchsorted(asked, theirs, side="right")
        hits, places = _spread(first, last)
        return places, words[hits]
    first, last = np.searchsorted(theirs, asked, side="left"), np.searchsorted(theirs, asked, side="right")
    places, hits = _spread(first, last)
    return places, words[hits]


def _spread(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> tuple[Places, Places]:
    """Return for each i every number of [first[i], last[i]), beside i."""
    hits = np.flatnonzero(last > first)
    if not len(hits):
        return hits, hits
    counts = last[hits] - first[hits]
    numbers = np.repeat(hits, counts)
    within = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers, np.repeat(first[hits], counts) + within
