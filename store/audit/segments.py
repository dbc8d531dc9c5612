"""The log's files, read and appended to: segments of leaves, checkpoints, tree nodes.

Nothing here decides; `store.audit.log` does. Only complete lines count as leaves and only complete records as
checkpoints: what a crash left behind them is a torn tail.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from schemas.errors import IntegrityError
from store import files
from store.audit import paths
from store.audit.entries import LEAF_BYTES_MAX, decode_leaf
from store.audit.merkle import HASH_BYTES, node_position, nodes_in
from store.audit.paths import SegmentName

FILE_MODE: Final = 0o600
RECORD_BYTES_MAX: Final = 65_536
_TAIL_BYTES: Final = 2 * RECORD_BYTES_MAX
_SIGNATURE_LINE: Final = "\N{EM DASH} ".encode()
_RECORD_END: Final = re.compile(b"\n" + _SIGNATURE_LINE + b"[^\n]*\n\n")


# Segments


def list_segments(directory: Path) -> list[SegmentName]:
    """Return the segments, by first index; one that is about to expire has its leaves until they are gone.

    Raises:
        IntegrityError: the folder holds something else.
    """
    names: dict[int, SegmentName] = {}
    for path in paths.segments_path(directory).iterdir():
        name = SegmentName.parse(path.name)
        if name is None or path.is_symlink():
            raise IntegrityError("the folder of the audit segments holds a foreign file")
        before = names.get(name.first)
        if before is not None and before.expired == name.expired:
            raise IntegrityError("two segments of the audit log begin at one entry")
        if before is None or before.expired:
            names[name.first] = name
    return sorted(names.values())


def indexed_leaves(directory: Path, name: SegmentName) -> Iterator[tuple[int, bytes]]:
    """Give index and octets of a segment's leaves; of one that expired, of those that outlive it."""
    for place, (octets, _) in enumerate(read_leaves(name.path(directory)), name.first):
        yield (decode_leaf(octets).index if name.expired else place), octets


def read_leaves(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """Give each complete leaf of a segment from `offset` on, with the offset behind it.

    Raises:
        IntegrityError: a line is longer than any leaf.
    """
    with path.open("rb") as file:
        file.seek(offset)
        while line := file.readline(LEAF_BYTES_MAX + 2):
            if not line.endswith(b"\n"):
                if len(line) > LEAF_BYTES_MAX:
                    raise IntegrityError("a line of an audit segment is longer than any leaf")
                return
            offset += len(line)
            yield line[:-1], offset


@contextmanager
def opened(path: Path, size_bytes: int) -> Iterator[BinaryIO]:
    """Open a file for appending at its end, which must be at `size_bytes`; a size of 0 makes it.

    Raises:
        IntegrityError: somebody cut it, or wrote to it, behind the log's back.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if size_bytes == 0 else 0)
    try:
        descriptor = os.open(path, flags, FILE_MODE)
    except FileNotFoundError as e:
        raise IntegrityError("a file of the audit log has disappeared") from e
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        if file.seek(0, os.SEEK_END) != size_bytes:
            raise IntegrityError("a file of the audit log has another length than it was left with")
        yield file


def append(path: Path, size_bytes: int, data: bytes) -> None:
    """Append durably to a file of `size_bytes`; with a size of 0 its name becomes durable too.

    Raises:
        OSError: any part of `data` may be in the file.
        IntegrityError: the file is not as it was left.
    """
    with opened(path, size_bytes) as file:
        files.append_durable(file, data)
    if size_bytes == 0:
        files.fsync_dir(path.parent)


def cut(path: Path, size_bytes: int) -> None:
    """Cut a torn tail off, durably; a file that is not longer stays untouched."""
    if path.stat().st_size > size_bytes:
        with path.open("r+b", buffering=0) as file:
            files.truncate_durable(file, size_bytes)


# Checkpoints


def encode_record(note: str) -> bytes:
    """Return a checkpoint as the file holds it."""
    return note.encode() + b"\n"


def read_records(path: Path) -> Iterator[tuple[bytes, int]]:
    """Give each complete checkpoint, with the offset behind its record.

    Raises:
        IntegrityError: a record is longer than any checkpoint.
    """
    offset = 0
    note = b""
    with path.open("rb") as file:
        while line := file.readline(RECORD_BYTES_MAX):
            if line == b"\n" and note.rpartition(b"\n\n")[2].startswith(_SIGNATURE_LINE):
                offset += len(note) + 1
                yield note, offset
                note = b""
                continue
            note += line
            if len(note) > RECORD_BYTES_MAX:
                raise IntegrityError("a record of the checkpoints is longer than any checkpoint")


def last_record(path: Path, limit_bytes: int | None = None) -> tuple[str, int] | None:
    """Return the last complete checkpoint and the offset behind it, or None when there is none.

    `limit_bytes` leaves alone what lies behind it.

    Raises:
        IntegrityError: the last record is complete, but not a checkpoint: that is damage, not a torn tail.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        end = end if limit_bytes is None else min(end, limit_bytes)
        start = max(0, end - _TAIL_BYTES)
        file.seek(start)
        data = file.read(end - start)
    stops = [0] if start == 0 else []
    stops += [match.end() for match in _RECORD_END.finditer(data)]
    if len(stops) < 2 and not start:
        return None
    if len(stops) < 2 or not _is_torn(data[stops[-1] :], data[stops[-2] : stops[-1]]):
        raise IntegrityError("the last checkpoint is damaged")
    try:
        return data[stops[-2] : stops[-1] - 1].decode(), start + stops[-1]
    except UnicodeDecodeError as e:
        raise IntegrityError("the last checkpoint is damaged") from e


def _is_torn(rest: bytes, before: bytes) -> bool:
    """Tell whether what follows the last complete record is a beginning of the next one, or one with a hole.

    Records differ in length only by their size's digits. One of full length was written, and perhaps acknowledged.
    """
    size_before, size = before.split(b"\n")[1], rest.split(b"\n")[1:2]
    digits = len(size[0]) if size and size[0].isdigit() else len(size_before)
    return b"\0" in rest or len(rest) < len(before) - len(size_before) + digits


# Nodes


def write_nodes(directory: Path, size: int, nodes: bytes) -> None:
    """Write the nodes that the leaves from `size` on completed, without syncing: leaves re-derive them."""
    descriptor = os.open(
        paths.nodes_path(directory), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE
    )
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.seek(nodes_in(size) * HASH_BYTES)
        view = memoryview(nodes)
        while view:
            view = view[file.write(view) :]


@contextmanager
def nodes_reader(directory: Path) -> Iterator[NodeFile]:
    """Open the node file for reading."""
    with paths.nodes_path(directory).open("rb", buffering=0) as file:
        yield NodeFile(file)


class NodeFile:
    """Reads nodes by their place in the tree."""

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of the complete node (level, index).

        Raises:
            IntegrityError: the file ends before it.
        """
        node = os.pread(self._descriptor, HASH_BYTES, node_position(level, index) * HASH_BYTES)
        if len(node) != HASH_BYTES:
            raise IntegrityError("the file of the audit log's nodes is too short")
        return node
