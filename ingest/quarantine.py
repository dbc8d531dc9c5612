"""Rejected records get a second chance: the same bytes, read with the source's settings of today."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ingest import sources
from ingest.decoders import Decoder, decoder
from ingest.normalise import Normalised, normalise
from ingest.source_config import SourceConfig
from schemas.errors import InputError, NotFoundError
from schemas.rejects import Reject, RejectReason
from store import Receipt, SourceRef, Store
from store.quarantine import mark_replayed, rejects


def replay_batch(store: Store, batch_id: int) -> Receipt:
    """Deliver a batch's rejected records again, as one new batch; return its receipt.

    A record that is refused again comes back to the quarantine under the new batch. One of which no bytes were kept
    (its content could not be cut out) is not part of it. Doing it twice stores nothing twice.

    Raises:
        NotFoundError: nothing of the batch waits, or its source is gone.
        InputError: nothing that waits was kept with its bytes.
        KeyUnavailableError: the day's key is destroyed.
    """
    waiting = [entry for entry in store.quarantine_entries(batch_id) if entry.replayed_us is None]
    if not waiting:
        raise NotFoundError(
            "nothing of this batch waits in the quarantine", hint="`lagrum quarantine list` shows what does"
        )
    source = sources.get(store, waiting[0].source)
    # Formats that are not text keep their refused records in another one.
    form = getattr(decoder(waiting[0].format), "replay_format", waiting[0].format)
    chosen = decoder(form)
    digest, size_bytes, position = hashlib.sha256(), 0, 0
    with store.begin_batch(SourceRef(source.name, source.domain), format=form) as batch:
        for entry in waiting:
            tables = []
            for raw in _kept(rejects(store, entry.quarantine_id)):
                digest.update(raw)
                size_bytes += len(raw)
                for part in _read(chosen, raw, source, store.clock.now_us()):
                    moved = _moved(part, position)
                    position += moved.table.num_rows + len(moved.rejects)
                    batch.reject(moved.rejects)
                    tables.append(moved.table)
            if tables:
                batch.add(pa.concat_tables(tables, promote_options="default"))
        if position == 0:
            raise InputError("of none of these records the bytes were kept; deliver them again from the switch")
        batch.finish_input(digest.digest(), size_bytes)
        receipt = batch.commit()
    mark_replayed(store, [entry.quarantine_id for entry in waiting], store.clock.now_us())
    return receipt


def _kept(items: Sequence[Reject]) -> Iterator[bytes]:
    return (item.raw for item in items if item.raw is not None)


def _read(chosen: Decoder, raw: bytes, source: SourceConfig, now_us: int) -> Iterator[Normalised]:
    """Read one record; what cannot be read at all is a reject like any other."""
    try:
        for part in chosen.decode(io.BytesIO(raw), source):
            yield normalise(part, source, now_us)
    except InputError:
        nothing = pa.table({"batch_position": pa.array([], pa.int64())})
        yield Normalised(nothing, [Reject(1, RejectReason.MALFORMED, length_bytes=len(raw), raw=raw)])


def _moved(part: Normalised, position: int) -> Normalised:
    """Number a record's parts on from `position`."""
    count = part.table.num_rows + len(part.rejects)
    own = sorted({*_positions(part.table), *(item.position for item in part.rejects)})
    place = {old: position + number for number, old in enumerate(own, 1)}
    assert len(own) == count
    column = pa.array([place[old] for old in _positions(part.table)], pa.int64())
    index = part.table.schema.get_field_index("batch_position")
    table = part.table.set_column(index, "batch_position", column)
    return Normalised(table, [replace(item, position=place[item.position]) for item in part.rejects])


def _positions(table: pa.Table) -> list[Any]:
    return list(table.column("batch_position").to_pylist())
