"""Messages of a queue into one batch: each is a delivery of its own, and none can spoil the others.

Most are decoded together (`ingest.pushes`). What cannot share a stretch is decoded by itself, into the same batch. One
that cannot be read at all is a reject of the batch, with its reason, and an event.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from ingest import numbering
from ingest.decoders import Decoded, decoder
from ingest.decoders.base import FileSeries
from ingest.events import event
from ingest.normalise import Normalised, normalise
from ingest.pushes import Refusal, decode_pushes
from ingest.queue import Message
from ingest.source_config import SourceConfig
from ingest.streams import COMPRESSED, expanded
from schemas.errors import InputError, LagrumError
from schemas.rejects import Reject, RejectReason
from store import Receipt, SourceRef, Store
from store.queue_offsets import settle

EXPANDED_BYTES_MAX: Final = 64 << 20
"""A compressed message that expands to more is refused."""


class _TooLargeError(InputError):
    """A message is larger than is read."""


@dataclass(slots=True)
class _Lot:
    """What some messages hold, before any of it is in the store."""

    parts: list[Normalised] = field(default_factory=list)
    refused: list[Message] = field(default_factory=list)
    files: list[FileSeries] = field(default_factory=list)
    """What files say of themselves, to be noted once they are durable."""
    expired: int = 0
    last: int = 0
    """The last position that is taken."""

    def append(self, part: Normalised) -> None:
        """Add a part whose positions begin anew."""
        place = part.table.column_names.index("batch_position")
        positions = pc.add(part.table.column("batch_position"), self.last)
        table = part.table.set_column(place, "batch_position", positions)
        rejects = [replace(one, position=one.position + self.last) for one in part.rejects]
        self.parts.append(Normalised(table, rejects))

    def tables(self) -> list[pa.Table]:
        """Return the records in as few tables as can be: complete ones, and events of sessions."""
        events = [part.table for part in self.parts if "event" in part.table.column_names]
        whole = [part.table for part in self.parts if "event" not in part.table.column_names and len(part.table)]
        return [pa.concat_tables(tables, promote_options="default") for tables in (whole, events) if tables]


def ingest_messages(
    store: Store, source: SourceConfig, format: str, messages: Sequence[Message]
) -> tuple[Receipt, list[Message]]:
    """Commit messages of one queue as one batch; return its receipt, and those that were refused.

    A refused message counts as one rejected record. The batch's SHA-256 and size are of the bodies one after the other.

    Raises:
        ConfigurationError: no such format, or the source lacks what it needs; nothing is kept.
        BusyError: try again later, or a message is in a batch already; nothing is kept.
    """
    lot = _decoded(store, source, format, messages)
    digest = hashlib.sha256()
    for message in messages:
        digest.update(message.body)

    def note(cursor: sqlite3.Cursor, _receipt: Receipt) -> None:
        for queue in {message.queue for message in messages}:
            settle(cursor, queue, [one.sequence for one in messages if one.queue == queue])
        if lot.refused:
            secret = {"messages": [[one.queue, one.sequence] for one in lot.refused]}
            store.outbox.put(cursor, [event("messages-refused", source.name, secret=secret, messages=len(lot.refused))])

    with store.begin_batch(SourceRef(source.name, source.domain, source.transport), format=format) as batch:
        batch.replay(store.clock.now_us(), lot.expired, note)
        for part in lot.parts:
            batch.reject(part.rejects)
        for table in lot.tables():
            batch.add(table)
        batch.finish_input(digest.digest(), sum(len(message.body) for message in messages))
        receipt = batch.commit()
    for file in lot.files:
        numbering.note(store, source.name, file)
    return receipt, lot.refused


def _decoded(store: Store, source: SourceConfig, format: str, messages: Sequence[Message]) -> _Lot:
    lot = _Lot()
    bodies, too_large = [], {}
    for place, message in enumerate(messages):
        try:
            bodies.append(_plain(message.body))
        except InputError as error:
            bodies.append(b"")
            too_large[place] = error
    pushes = decode_pushes(store, source, format, bodies)
    if pushes.group is not None:
        lot.append(Normalised(pushes.group.table, pushes.group.rejects))
        lot.expired = int(pushes.group.expired.sum())
        lot.last = int(pushes.group.ends[-1])
    for place, refusal in (pushes.refused | too_large).items():
        _alone(store, source, format, bodies[place], refusal, lot, messages[place])
    return lot


def _alone(
    store: Store, source: SourceConfig, format: str, body: bytes, refusal: Refusal, lot: _Lot, message: Message
) -> None:
    """Decode a message that shares no stretch; one that cannot be read is refused as a whole."""
    try:
        if refusal is not None:
            raise refusal
        now_us = store.clock.now_us()
        decoded: list[Decoded] = list(decoder(format).decode(io.BytesIO(body), source))
        parts = [normalise(part, source, now_us) for part in decoded]
        last = max((_last(part) for part in parts), default=0)
        lot.files += [part.series for part in decoded if part.series is not None]
        if body and not last and not any(part.is_nothing for part in decoded):
            raise InputError("the message holds no record")
    except Exception as error:
        if isinstance(error, LagrumError | OSError | MemoryError) and not isinstance(error, InputError):
            raise  # not the message's doing
        reason = RejectReason.TOO_LONG if isinstance(error, _TooLargeError) else RejectReason.MALFORMED
        # Of what was not understood nobody can tell content from the rest, so no bytes are kept.
        nothing = pa.table({"batch_position": pa.array([], pa.int64())})
        lot.append(Normalised(nothing, [Reject(1, reason, length_bytes=len(message.body))]))
        lot.refused.append(message)
        lot.last += 1
        return
    for part in parts:
        lot.append(part)
    lot.last += last


def _last(part: Normalised) -> int:
    positions = part.table.column("batch_position")
    highest = max((one.position for one in part.rejects), default=0)
    return max(highest, pc.max(positions).as_py() or 0)


def _plain(body: bytes) -> bytes:
    """Return the body, expanded where it is compressed.

    Raises:
        InputError: it is damaged, or too large.
    """
    if not body.startswith(COMPRESSED):
        return body
    plain = expanded(io.BytesIO(body)).read(EXPANDED_BYTES_MAX + 1)
    if len(plain) > EXPANDED_BYTES_MAX:
        raise _TooLargeError(f"a compressed message expands to more than {EXPANDED_BYTES_MAX} bytes")
    return plain
