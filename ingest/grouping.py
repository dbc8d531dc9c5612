"""Small deliveries that wait for each other, stored as one batch: one commit, one set of files.

Switches push one record per call. A commit per record would cost a sync and two files each; a group costs them once.
Every delivery still gets a receipt of its own, with its own count and digest; the batch that it names is the group's.

Only what is beyond doubt is grouped: every record decodes, none is refused, none is known already, none is an event
of a session. Whatever is in doubt is handed back, nothing of it kept, to be ingested by itself (`ingest.pipeline`).
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders import Decoder, decoder
from ingest.decoders.base import Decoded
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.errors import LagrumError
from store import Receipt, SourceRef, Store

ROUNDS_MAX: Final = 3
"""How often a group is tried with fewer deliveries before all that is left goes by itself."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One delivery of the group: its place in the request, and its rows' positions after `offset`."""

    place: int
    data: bytes
    table: pa.Table
    offset: int

    @property
    def rows(self) -> int:
        return self.table.num_rows


def ingest_group(store: Store, source: SourceConfig, format: str, deliveries: Sequence[bytes]) -> list[Receipt | None]:
    """Store what is beyond doubt in one batch; return each delivery's receipt, None for those to ingest singly.

    The batch's own SHA-256 and size are of the deliveries one after the other.

    Raises:
        ConfigurationError: there is no such format.
        BusyError: try again later. Nothing is kept.
    """
    chosen = decoder(format)
    receipts: list[Receipt | None] = [None] * len(deliveries)
    if not chosen.zoned and source.zone is None:
        return receipts
    members = _members(chosen, source, deliveries)
    for _ in range(ROUNDS_MAX):
        if len(members) < 2:
            break
        doubtful, batch_receipt = _try(store, source, format, members)
        if batch_receipt is not None:
            for member in members:
                receipts[member.place] = _own(batch_receipt, member)
            break
        members = _without(members, doubtful)
    return receipts


def _members(chosen: Decoder, source: SourceConfig, deliveries: Sequence[bytes]) -> list[_Member]:
    """Decode each delivery by itself; leave out those with refusals, with events of sessions, or without records."""
    members: list[_Member] = []
    offset = 0
    for place, data in enumerate(deliveries):
        try:
            stretches = list(chosen.decode(io.BytesIO(data), source))
        except LagrumError:
            continue
        if len(stretches) != 1 or stretches[0].rejects or stretches[0].table.num_rows == 0:
            continue
        table = stretches[0].table
        if "event" in table.column_names:
            continue
        members.append(_Member(place, data, table, offset))
        offset += int(_positions(table, "position").max())
    return members


def _try(
    store: Store, source: SourceConfig, format: str, members: Sequence[_Member]
) -> tuple[npt.NDArray[np.int64], Receipt | None]:
    """Publish the members as one batch, or return the positions of their doubtful records."""
    nothing = np.zeros(0, np.int64)
    started = time.monotonic()
    try:
        table = _together(members)
    except pa.ArrowInvalid:
        return np.array([member.offset + 1 for member in members]), None
    normalised = normalise(Decoded(table), source, store.clock.now_us())
    if normalised.rejects:
        return np.array([reject.position for reject in normalised.rejects]), None
    with store.begin_batch(SourceRef(source.name, source.domain, source.transport), format=format) as batch:
        batch.add(normalised.table)
        if len(batch.doubtful_positions):
            return batch.doubtful_positions, None
        digest = hashlib.sha256()
        for member in members:
            digest.update(member.data)
        batch.finish_input(digest.digest(), sum(len(member.data) for member in members))
        receipt = batch.commit()
    if receipt.accepted != receipt.records:
        # Another batch brought some of them between the look and the commit. All are stored; who brought which is told
        # by ingesting each again by itself, which finds them.
        return np.array([member.offset + 1 for member in members]), None
    return nothing, replace(receipt, seconds=time.monotonic() - started)


def _without(members: Sequence[_Member], doubtful: npt.NDArray[np.int64]) -> list[_Member]:
    """Leave out the members that own one of the positions."""
    starts = np.array([member.offset for member in members])
    owners = set((np.searchsorted(starts, doubtful, side="left") - 1).tolist())
    return [member for number, member in enumerate(members) if number not in owners]


def _together(members: Sequence[_Member]) -> pa.Table:
    """Return all rows, each with its position in the group."""
    table = pa.concat_tables([member.table for member in members], promote_options="default")
    offsets = np.repeat([member.offset for member in members], [member.rows for member in members])
    place = table.column_names.index("position")
    return table.set_column(place, "position", pa.array(_positions(table, "position") + offsets))


def _positions(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    return table.column(name).to_numpy()


def _own(batch: Receipt, member: _Member) -> Receipt:
    """Return the receipt of one delivery of the group: everything of it was new."""
    return replace(
        batch,
        records=member.rows,
        accepted=member.rows,
        rows=member.rows,
        bytes=len(member.data),
        sha256=hashlib.sha256(member.data).hexdigest(),
    )
