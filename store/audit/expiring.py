"""Old segments of the log expire: what they say of persons goes, and the rest still verifies.

The hash of every leaf stays in the tree's nodes, every checkpoint stays, and so do the leaves of the kinds on which the
store's own verification stands (`schemas.audit_terms`). Everything else of the segment is erased:

    (1) an entry tells which segment, what it was (SHA-256) and what stays of it
    (2) the leaves that stay are written beside it
    (3) the keys of the sealed parts are destroyed, when all segments of their month are told
    (4) the segment is renamed out of the log, overwritten and unlinked

A crash between two steps is finished by the next run; until the rename of (4) the segment is whole.
"""

from __future__ import annotations

import hashlib
from datetime import date
from itertools import pairwise
from typing import Final

from schemas.audit_terms import CITATION, ends_on, is_kept
from schemas.errors import AuditError, LagrumError
from store import files
from store.audit.checkpoint import Checkpoint, parse_note
from store.audit.entries import SEGMENT_EXPIRED, AuditEntry, decode_leaf, entry_key
from store.audit.log import AuditLog
from store.audit.paths import SegmentName, checkpoints_path, expired_path, expiring_path
from store.audit.search import find
from store.audit.segments import list_segments, read_leaves, read_records
from store.keys import Keyring

SEGMENTS_PER_RUN_MAX: Final = 12


def due(names: list[SegmentName], today: date) -> list[tuple[SegmentName, int]]:
    """Return the segments whose period is over, each with the index behind its last entry. Pure.

    The newest segment is never due.
    """
    return [
        (name, following.first)
        for name, following in pairwise(names)
        if not name.expired and today >= ends_on(name.month)
    ]


def expire_segments(log: AuditLog, keyring: Keyring, today: date) -> int:
    """Let the segments expire whose period is over on `today` (by what is proven of the time); return how many.

    Raises:
        AuditError: a step could not be made durable; the next run goes on.
        IntegrityError: a segment was changed; it stays.
    """
    try:
        log.refresh()
        files.overwrite_and_unlink(expired_path(log.directory), missing_ok=True)
        chosen = due(list_segments(log.directory), today)[:SEGMENTS_PER_RUN_MAX]
        if not chosen:
            return 0
        told = {entry.public["first"]: entry.public for entry in find(log.directory, log.size, (SEGMENT_EXPIRED,))}
        kept = {name: _kept(log, name, stop) for name, stop in chosen}
        for name, stop in chosen:
            if name.first not in told:
                log.append([_entry(log, name, stop, kept[name])])  # (1)
        for name, _ in chosen:
            stays = SegmentName(name.first, name.month, expired=True)
            files.write_atomic(expiring_path(log.directory), kept[name])  # (2)
            files.replace_durable(expiring_path(log.directory), stays.path(log.directory))
        left = {name.month for name in list_segments(log.directory) if not name.expired} - {
            name.month for name, _ in chosen
        }
        keys = [entry_key(month) for month in sorted({name.month for name, _ in chosen} - left)]
        if held := [key for key in keys if keyring.has(key)]:
            keyring.destroy(held)  # (3)
        for name, _ in chosen:
            # (4) the rename decides: before it the segment is whole, after it only what outlives it counts
            files.replace_durable(name.path(log.directory), expired_path(log.directory))
            files.overwrite_and_unlink(expired_path(log.directory))
    except OSError as error:
        raise AuditError("a segment of the audit log could not expire") from error
    return len(chosen)


def _kept(log: AuditLog, name: SegmentName, stop: int) -> bytes:
    """Return the lines that outlive a segment, once every entry of it was compared with the tree."""
    if sum(1 for _ in read_leaves(name.path(log.directory))) != stop - name.first:
        raise AuditError("a segment of the audit log is not whole")
    return b"".join(
        entry.leaf + b"\n" for entry in log.entries(name.first, stop) if is_kept(decode_leaf(entry.leaf).kind)
    )


def _entry(log: AuditLog, name: SegmentName, stop: int, kept: bytes) -> AuditEntry:
    public = {
        "first": name.first,
        "stop": stop,
        "month": name.month.isoformat(),
        "sha256": hashlib.sha256(name.path(log.directory).read_bytes()).hexdigest(),
        "kept_sha256": hashlib.sha256(kept).hexdigest(),
        "checkpoints": count_checkpoints(log, name.first, stop),
        "citation": CITATION,
    }
    return AuditEntry(SEGMENT_EXPIRED, public)


def count_checkpoints(log: AuditLog, first: int, stop: int) -> int:
    """Return how many checkpoints there are over more than `first` and at most `stop` entries.

    Raises:
        AuditError: One of the log's checkpoints is damaged.
    """
    count = 0
    for note, _ in read_records(checkpoints_path(log.directory)):
        try:
            size = Checkpoint.parse_text(parse_note(note.decode()).text).size
        except (LagrumError, UnicodeDecodeError) as error:
            raise AuditError("a checkpoint of the audit log is damaged") from error
        count += first < size <= stop
    return count
