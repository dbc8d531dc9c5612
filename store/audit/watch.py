"""Watching a log's files while the service runs: what was deleted, cut or changed behind its back is told.

A look compares, in this order:

    (1) the pinned origin key and the folder of segments are there, and no segment that was there is missing
    (2) the checkpoints end where the log left them, with the checkpoint that it signed last
    (3) the tree nodes lead to the head that this process holds in memory
    (4) the open segment has the length that the log left, its beginning is what it was, what is new fits the nodes
    (5) closed segments are hashed once, and again when the file system says that somebody touched one

What a look costs is bounded: closed segments beyond `BYTES_PER_LOOK_MAX` wait for the next one. It finds edits by
whoever may write the files. Root, who can set a file's change time, is found by `audit verify` and by a witness.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from schemas.errors import IntegrityError
from store.audit import paths
from store.audit.checkpoint import VerifierKey
from store.audit.entries import SEGMENT_EXPIRED
from store.audit.merkle import HASH_BYTES, Frontier, leaf_hash, nodes_in
from store.audit.paths import SegmentName
from store.audit.search import find
from store.audit.segments import indexed_leaves, last_record, list_segments, nodes_reader, read_leaves
from store.audit.tail import Tail

BYTES_PER_LOOK_MAX: Final = 32 << 20
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What the file system says of a file: any write, rename or change of times moves one of these."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> _Stamp:
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The open segment up to where it was hashed."""

    name: SegmentName
    size_bytes: int
    digest: bytes
    size: int
    """The log's size there."""


class Watch:
    """Remembers what a log's files were at the last look; one per process, used under the log's lock."""

    def __init__(self, directory: Path, origin: VerifierKey) -> None:
        self._directory = directory
        self._origin = origin
        self._closed: dict[SegmentName, _Stamp] = {}
        self._open: _Prefix | None = None

    def look(self, tail: Tail) -> None:
        """Compare the files with the end of the log as this process knows it.

        Raises:
            IntegrityError: a file is missing, shorter, longer or other than the log left it.
        """
        try:
            names = self._segments(tail)
            self._check_ends(tail)
            self._check_open(tail)
            self._check_closed(names)
        except FileNotFoundError as error:
            raise IntegrityError("a file of the audit log has disappeared") from error

    def _segments(self, tail: Tail) -> list[SegmentName]:
        # (1)
        if paths.origin_path(self._directory).read_bytes() != f"{self._origin}\n".encode():
            raise IntegrityError("the pinned origin key of the audit log was changed")
        names = list_segments(self._directory)
        if not names or names[0].first != 0 or names[-1] != tail.segment:
            raise IntegrityError("a segment of the audit log is missing")
        expired = {name.first for name in names if name.expired}
        gone = self._closed.keys() - set(names)
        if any(name.first not in expired for name in gone):
            raise IntegrityError("a segment of the audit log is missing")
        if any(name.expired and name not in self._closed for name in names):
            self._require_told(expired, tail)
        for name in gone:
            del self._closed[name]
        return names

    def _require_told(self, expired: set[int], tail: Tail) -> None:
        """Return if the log tells of every segment that it expired."""
        told = {entry.public.get("first") for entry in find(self._directory, tail.size, (SEGMENT_EXPIRED,))}
        if not expired <= told:
            raise IntegrityError("a segment of the audit log lost entries, and the log does not tell that it expired")

    def _check_ends(self, tail: Tail) -> None:
        # (2)
        path = paths.checkpoints_path(self._directory)
        found = last_record(path)
        if path.stat().st_size != tail.checkpoints_bytes:
            raise IntegrityError("the checkpoints of the audit log were cut or added to")
        if found != (tail.note, tail.checkpoints_bytes):
            raise IntegrityError("the last checkpoint of the audit log was changed")
        # (3)
        with nodes_reader(self._directory) as read:
            if Frontier.read(tail.size, read).peaks != tail.frontier.peaks:
                raise IntegrityError("the tree nodes of the audit log were changed")

    def _check_open(self, tail: Tail) -> None:
        # (4)
        name = tail.segment
        assert name is not None  # (1) has found it
        path = name.path(self._directory)
        if path.stat().st_size != tail.segment_bytes:
            raise IntegrityError("the newest segment of the audit log was cut or added to")
        before = self._open
        if before is None or before.name != name:
            before = _Prefix(name, 0, _digest(path, 0), name.first)
        changed = _digest(path, before.size_bytes) != before.digest
        if changed or self._hash_leaves(name, before.size_bytes, before.size) != tail.size:
            raise IntegrityError("the newest segment of the audit log was changed")
        self._open = _Prefix(name, tail.segment_bytes, _digest(path, tail.segment_bytes), tail.size)

    def _check_closed(self, names: list[SegmentName]) -> None:
        # (5)
        left_bytes = BYTES_PER_LOOK_MAX
        for name, following in pairwise(names):
            stamp = _Stamp.of(name.path(self._directory))
            if self._closed.get(name) == stamp:
                continue
            if left_bytes <= 0:
                return
            left_bytes -= stamp.size_bytes
            if name.expired:
                self._hash_kept(name)
            elif self._hash_leaves(name) != following.first:
                raise IntegrityError("a segment of the audit log was cut or added to")
            self._closed[name] = stamp

    def _hash_kept(self, name: SegmentName) -> None:
        with nodes_reader(self._directory) as read:
            for index, leaf in indexed_leaves(self._directory, name):
                if leaf_hash(leaf) != read(0, index):
                    raise IntegrityError(f"entry {index} of the audit log was changed")

    def _hash_leaves(self, name: SegmentName, offset: int = 0, size: int | None = None) -> int:
        """Hash a segment's leaves from `offset` on against the stored nodes; return the index behind its last leaf."""
        path, end = name.path(self._directory), offset
        size = name.first if size is None else size
        with nodes_reader(self._directory) as read:
            frontier = Frontier.read(size, read)
        with paths.nodes_path(self._directory).open("rb") as stored:
            stored.seek(nodes_in(size) * HASH_BYTES)
            for leaf, behind in read_leaves(path, offset):
                nodes = b"".join(frontier.add(leaf_hash(leaf)))
                if stored.read(len(nodes)) != nodes:
                    raise IntegrityError(f"entry {frontier.size - 1} of the audit log was changed")
                end = behind
        if end != path.stat().st_size:
            raise IntegrityError("a segment of the audit log does not end with a complete entry")
        return frontier.size


def _digest(path: Path, size_bytes: int) -> bytes:
    taken = hashlib.sha256()
    with path.open("rb") as file:
        while size_bytes > 0 and (chunk := file.read(min(_CHUNK_BYTES, size_bytes))):
            taken.update(chunk)
            size_bytes -= len(chunk)
    return taken.digest()
