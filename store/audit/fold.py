"""Reading a log once and going on where that ended, every entry hashed into the tree that the last checkpoint signs.

`store.audit.search.find` compares what it finds with the tree's nodes. A fold compares everything with the signed head:
an entry that somebody changed, left out or renamed so that it would not be found is told here, before it counts. So
whoever decides by what the log says, again and again, pays for each entry once in a process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from schemas.errors import AuditError, IntegrityError
from store.audit.entries import SEGMENT_EXPIRED, StoredEntry, decode_leaf, open_entry
from store.audit.log import AuditLog
from store.audit.merkle import Frontier, leaf_hash
from store.audit.paths import SegmentName
from store.audit.segments import indexed_leaves, list_segments, nodes_reader
from store.audit.tail import Tail

_TRIES: Final = 3
"""A segment may expire while it is read: then its file has another name the next time."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Up to where a log was read."""

    frontier: Frontier = field(default_factory=Frontier)
    segment: int = 0
    """First index of the segment that was read last."""
    offset_bytes: int = 0
    """How much of it was read."""


class Fold:
    """Gives every entry of some kinds to `take`, each once, oldest first; safe for threads."""

    def __init__(self, log: AuditLog, kinds: Sequence[str], take: Callable[[StoredEntry], None]) -> None:
        """Read nothing yet; a kind that ends with a dot stands for all that begin with it."""
        self._log, self._take = log, take
        self._kinds = (*kinds, SEGMENT_EXPIRED)
        words = [re.escape(kind) + ("" if kind.endswith(".") else '"') for kind in self._kinds]
        self._wanted = re.compile(f'"kind":"(?:{"|".join(words)})'.encode())
        self._place = _Place()
        self.lock = Lock()

    @property
    def size(self) -> int:
        """How many entries were read."""
        return self._place.frontier.size

    def catch_up(self) -> None:
        """Give what is new in the log; the caller holds `lock`.

        Raises:
            IntegrityError: the entries are not those that the last checkpoint signs; none of the new ones was given,
                and the log is not trusted any more (`AuditLog.distrust`).
            AuditError: the log cannot be read.
        """
        if self._log.distrusted is not None:
            raise IntegrityError(self._log.distrusted)  # it is not read again and again
        self._log.refresh()
        try:
            place, found = self._settled()
        except IntegrityError as error:
            self._log.distrust(error.message)
            raise
        except OSError as error:
            raise AuditError("the audit log cannot be read") from error
        for entry in found:
            self._take(entry)
        self._place = place

    def _settled(self) -> tuple[_Place, list[StoredEntry]]:
        """Read what is new; again while the log grows and its segments expire under the reading."""
        for left in reversed(range(_TRIES)):
            tail = self._log.tail
            try:
                return self._read(tail)
            except FileNotFoundError as error:
                if not left:
                    raise IntegrityError("a segment of the audit log is missing") from error
                self._log.refresh()
            except IntegrityError:
                self._log.refresh()
                if not left or self._log.tail.size == tail.size:
                    raise
        raise AssertionError("unreachable")

    def _read(self, tail: Tail) -> tuple[_Place, list[StoredEntry]]:
        place, frontier = self._place, self._place.frontier.copy()
        found: list[StoredEntry] = []
        expired: dict[int, str] = {}
        names = list_segments(self._log.directory) if tail.size > frontier.size else []
        ends = [min(name.first, tail.size) for name in names[1:]] + [tail.size]
        for name, stop in zip(names, ends, strict=False):
            if stop <= frontier.size:
                continue
            offset_bytes = 0
            if name.expired:
                hashes, digest = self._kept(name, frontier.size, stop, found)
                expired[name.first] = digest
            else:
                offset_bytes = place.offset_bytes if name.first == place.segment else 0
                hashes, offset_bytes = self._leaves(name, offset_bytes, stop - frontier.size, found)
            frontier.extend(hashes)
            place = _Place(frontier, name.first, offset_bytes)
        if frontier.peaks != tail.frontier.peaks:  # those of another size are others
            raise IntegrityError("the entries of the audit log are not those that its last checkpoint signs")
        told = {entry.public["first"]: entry.public["kept_sha256"] for entry in found if entry.kind == SEGMENT_EXPIRED}
        if any(told.get(first) != digest for first, digest in expired.items()):
            raise IntegrityError("what an expired segment of the audit log left is not what the log says")
        return place, [entry for entry in found if self._is_wanted(entry.kind)]

    def _is_wanted(self, kind: str) -> bool:
        return any(kind == one or (one.endswith(".") and kind.startswith(one)) for one in self._kinds[:-1])

    def _leaves(
        self, name: SegmentName, offset_bytes: int, count: int, found: list[StoredEntry]
    ) -> tuple[list[bytes], int]:
        """Read `count` leaves of a segment; return their hashes, and the offset behind them."""
        data = _read_from(name.path(self._log.directory), offset_bytes)
        lines = data.split(b"\n", count)
        if len(lines) <= count:
            raise IntegrityError("the audit log has fewer entries than its last checkpoint signs")
        length = len(data) - len(lines.pop())
        stop = 0
        for hit in self._wanted.finditer(data, 0, length):
            if hit.start() >= stop:
                start, stop = data.rfind(b"\n", 0, hit.start()) + 1, data.index(b"\n", hit.start())
                found.append(_opened(data[start:stop]))
        return list(map(leaf_hash, lines)), offset_bytes + length

    def _kept(self, name: SegmentName, first: int, stop: int, found: list[StoredEntry]) -> tuple[list[bytes], str]:
        """Read what outlives a segment; return the hashes of all its leaves from `first` on, and the file's digest."""
        with nodes_reader(self._log.directory) as read:
            hashes = [read(0, index) for index in range(first, stop)]
        taken = hashlib.sha256()
        for index, octets in indexed_leaves(self._log.directory, name):
            taken.update(octets + b"\n")
            if not first <= index < stop:
                continue
            if leaf_hash(octets) != hashes[index - first]:
                raise IntegrityError(f"entry {index} of the audit log was changed")
            if self._wanted.search(octets):
                found.append(_opened(octets))
        return hashes, taken.hexdigest()


def _opened(octets: bytes) -> StoredEntry:
    return open_entry(decode_leaf(octets), octets, store_id="", keyring=None)


def _read_from(path: Path, offset_bytes: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(offset_bytes)
        return file.read()
