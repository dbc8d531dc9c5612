"""Where the log ends: what is acknowledged, and how a torn tail is mended.

An append writes, in this order, nodes (not synced), leaves (synced), checkpoint (synced). So a complete checkpoint
promises that its leaves are there, and everything behind the last one was never acknowledged and is cut off.

A log that was cut at the end of a group looks like one that ends there. So who noticed a cut leaves a mark beside the
files: no later opening takes what is left for the whole, and no entry is written over the cut.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from schemas.errors import ConfigurationError, IntegrityError
from store import files
from store.audit import paths
from store.audit.checkpoint import Checkpoint, parse_note
from store.audit.epochs import stored_epochs
from store.audit.merkle import HASH_BYTES, Frontier, leaf_hash, nodes_in
from store.audit.paths import SegmentName
from store.audit.segments import (
    append,
    cut,
    encode_record,
    last_record,
    list_segments,
    nodes_reader,
    read_leaves,
    write_nodes,
)

SEGMENT_BYTES_MAX = 16 * 2**20
"""A segment takes no further group once it is this long; opening the log reads at most about one segment."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The acknowledged end of the log, and the lengths that its files have there."""

    frontier: Frontier
    note: str
    checkpoints_bytes: int
    segment: SegmentName | None
    segment_bytes: int

    @property
    def size(self) -> int:
        """How many leaves are acknowledged."""
        return self.frontier.size


EMPTY = Tail(Frontier(), "", 0, None, 0)


def read_tail(directory: Path, limit_bytes: int | None = None) -> Tail:
    """Return where the log ends, after cutting off what was never acknowledged; call it under the exclusive lock.

    The nodes of the last segment are written anew from its leaves, those of earlier ones are durable already. Where
    they do not lead to the signed head, all of them are derived again. `limit_bytes` disowns checkpoints behind it.

    Raises:
        IntegrityError: acknowledged leaves are missing or changed, or somebody noticed that they were (`mark`).
    """
    if paths.distrusted_path(directory).exists():
        raise IntegrityError("the audit log was found cut or changed, and was not restored since")
    found = last_record(paths.checkpoints_path(directory), limit_bytes)
    if found is None:
        raise IntegrityError("the audit log was never completely made")
    note, end = found
    checkpoint = Checkpoint.parse_text(parse_note(note).text)
    cut(paths.checkpoints_path(directory), end)
    segments = list_segments(directory)
    while segments and segments[-1].first >= checkpoint.size:
        files.unlink_durable(segments.pop().path(directory))
    if not segments or segments[0].first != 0:
        raise IntegrityError("a segment of the audit log is missing")
    tail = Tail(Frontier(), note, end, segments[-1], 0)
    try:
        with nodes_reader(directory) as read:
            tail = replace(tail, frontier=Frontier.read(segments[-1].first, read))
        tail = _extend(directory, tail, segments[-1:], checkpoint)
    except (IntegrityError, FileNotFoundError):
        tail = _extend(directory, replace(tail, frontier=Frontier(), segment=segments[0]), segments, checkpoint)
    _cut_behind(directory, tail)
    return tail


def mark(directory: Path, why: str) -> None:
    """Leave word that the log is not as it was left, if its folder is there and takes it."""
    with suppress(OSError):
        files.write_atomic(paths.distrusted_path(directory), f"{why}\n".encode())


def clear_unfinished(directory: Path) -> None:
    """Remove what an interrupted making of the log left; nothing in it was acknowledged.

    Raises:
        ConfigurationError: there is a log.
    """
    checkpoints = paths.checkpoints_path(directory)
    if checkpoints.exists() and last_record(checkpoints) is not None:
        raise ConfigurationError("there is an audit log here already")
    for segment in list_segments(directory):
        files.unlink_durable(segment.path(directory))
    for number in stored_epochs(directory):
        files.overwrite_and_unlink(paths.epoch_path(directory, number))
    for path in (checkpoints, paths.nodes_path(directory)):
        files.unlink_durable(path, missing_ok=True)


def catch_up(directory: Path, tail: Tail) -> Tail:
    """Return where the log ends now, if another process appended; call it under the exclusive lock.

    Raises:
        IntegrityError: the log was cut, or its new leaves do not lead to the new head.
    """
    path = paths.checkpoints_path(directory)
    try:
        length = path.stat().st_size
        if length == tail.checkpoints_bytes:
            return tail
        found = last_record(path)
    except FileNotFoundError as e:
        raise IntegrityError("the checkpoints of the audit log have disappeared") from e
    if found is None or found[1] < tail.checkpoints_bytes:
        raise IntegrityError("the audit log was cut")
    note, end = found
    checkpoint = Checkpoint.parse_text(parse_note(note).text)
    cut(path, end)
    segments = [name for name in list_segments(directory) if tail.segment is None or name.first >= tail.segment.first]
    while segments and segments[-1].first >= checkpoint.size:
        files.unlink_durable(segments.pop().path(directory))
    tail = _extend(directory, replace(tail, note=note, checkpoints_bytes=end), segments, checkpoint)
    _cut_behind(directory, tail)
    return tail


def _cut_behind(directory: Path, tail: Tail) -> None:
    if tail.segment is not None:
        cut(tail.segment.path(directory), tail.segment_bytes)
    cut(paths.nodes_path(directory), nodes_in(tail.size) * HASH_BYTES)


def _extend(directory: Path, tail: Tail, segments: list[SegmentName], checkpoint: Checkpoint) -> Tail:
    """Read on from the tail, through its segment and the later ones, up to the checkpoint; write the nodes passed."""
    frontier = tail.frontier.copy()
    start = frontier.size
    nodes = bytearray()
    offset = 0
    for name in segments:
        if name.expired:
            raise IntegrityError("the audit log's tree nodes were changed, and an expired segment cannot mend them")
        offset = tail.segment_bytes if name == tail.segment else 0
        if name != tail.segment and name.first != frontier.size:
            raise IntegrityError("a segment of the audit log is missing")
        for leaf, behind in read_leaves(name.path(directory), offset):
            if frontier.size == checkpoint.size:
                break
            offset = behind
            nodes += b"".join(frontier.add(leaf_hash(leaf)))
    if frontier.size != checkpoint.size:
        raise IntegrityError("the audit log has fewer entries than its last checkpoint signs")
    if frontier.root() != checkpoint.root:
        raise IntegrityError("the entries of the audit log are not those that its last checkpoint signs")
    write_nodes(directory, start, bytes(nodes))
    return replace(tail, frontier=frontier, segment=segments[-1] if segments else None, segment_bytes=offset)


@dataclass(frozen=True, slots=True)
class Group:
    """What one append adds: leaves of one month, the nodes that they complete, and the signed head behind them."""

    leaves: list[bytes]
    month: date
    nodes: bytes
    frontier: Frontier
    note: str


def write_group(directory: Path, tail: Tail, group: Group) -> Tail:
    """Append a group durably and return the new end; call it under the exclusive lock.

    Raises:
        OSError: any part of the group may be in the files; `read_tail` with the old length of the checkpoints cuts
            it off again.
        IntegrityError: a file is not as the log left it.
    """
    segment, length = tail.segment, tail.segment_bytes
    if segment is None or segment.month != group.month or length >= SEGMENT_BYTES_MAX:
        if segment is not None:
            files.fsync_path(paths.nodes_path(directory))
        segment, length = SegmentName(tail.size, group.month), 0
    lines = b"".join(leaf + b"\n" for leaf in group.leaves)
    record = encode_record(group.note)
    write_nodes(directory, tail.size, group.nodes)
    append(segment.path(directory), length, lines)
    append(paths.checkpoints_path(directory), tail.checkpoints_bytes, record)
    return Tail(group.frontier, group.note, tail.checkpoints_bytes + len(record), segment, length + len(lines))
