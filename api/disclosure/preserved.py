"""Disclosure of what a preservation kept beyond its partition's end, or beyond its location's.

The order names the preservation's own reference. Every hold in force under that reference whose purpose is disclosure
is read, for the order's targets and window and nothing else; a billing hold never is. What a hold keeps beside the live
record only completes it: the record is the store's, its location is the hold's. The package says which is which.

Source: Code of Judicial Procedure 27:16; Regulation (EU) 2023/1543 Art 11; the design's *Holds*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from api.disclosure import rules
from schemas.arrow import PACKED
from schemas.errors import ProcedureError
from schemas.holds import Purpose
from store.correcting.overlay import PLACE, RECTIFIED
from store.reading.targets import matches
from store.retention.holds import KIND
from store.siblings import LOCATION_COLUMNS

if TYPE_CHECKING:
    from api.disclosure.casebook import Case
    from store import ScanQuery, Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

Place = tuple[int, int]


def preserved(store: Store, case: Case) -> Preserved | None:
    """Return what the order may read of preservations; None when it names none.

    Raises:
        ProcedureError: reason `no-preservation`: nothing is preserved under that reference any more.
    """
    reference = case.authorisation.preservation
    rules.require_preserving(case.basis, reference)
    if reference is None:
        return None
    now_us = store.clock.now_us()
    named = {item.id for item in store.documents.list(KIND) if item.body.get("reference") == reference.strip()}
    holds = [
        hold.id
        for hold in store.holds.all()
        if hold.id in named and hold.basis.purpose is Purpose.DISCLOSURE and hold.is_in_force(now_us)
    ]
    if not holds:
        raise ProcedureError("nothing is preserved under that reference", reason="no-preservation")
    return Preserved(store, reference.strip(), tuple(sorted(holds)))


@dataclass(slots=True)
class Preserved:
    """The holds of one order, and which delivered records came from them."""

    store: Store
    reference: str
    holds: tuple[str, ...]
    records: set[Place] = field(default_factory=set)
    """Batch and position of records that only a hold has."""
    locations: set[Place] = field(default_factory=set)
    """Of records of the store whose location only a hold has."""

    def complete(self, query: ScanQuery, live: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """Return the store's records of a query with what the holds add to them.

        Raises:
            IntegrityError, KeyUnavailableError: a held file cannot be read.
        """
        names = list(query.columns or ())
        known = {place for batch in live for place in _places(batch)}
        found = self._held(query, [name for name in names if name not in LOCATION_COLUMNS])
        gone = {place for place in _places(found) if place not in known}
        if not LOCATION_COLUMNS.isdisjoint(names):
            found = self._held(query, names)
            live = [self._located(batch, found) for batch in live]
        self.records |= gone
        rest = found.filter(pa.array([place in gone for place in _places(found)], pa.bool_()))
        return [*live, *rest.combine_chunks().to_batches()]

    def rows(self, table: pa.Table, places: set[Place]) -> list[bool]:
        """Tell row by row whether a table's records are among these places."""
        return [place in places for place in _places(table)]

    def _held(self, query: ScanQuery, names: list[str]) -> pa.Table:
        batches = self.store.holds.scan(
            Purpose.DISCLOSURE,
            start_us=query.start_us,
            end_us=query.end_us,
            columns=names,
            holds=self.holds,
            by_end=query.by_end,
            batch_id_max=query.batch_id_max,
        )
        tables = [_named(pa.Table.from_batches([batch]), query) for batch in batches]
        return pa.concat_tables(tables, promote_options="default") if tables else _empty(names)

    def _located(self, batch: pa.RecordBatch, found: pa.Table) -> pa.RecordBatch:
        """Return live records with the locations that only a hold still has; what was rectified stays as it is."""
        rows = {place: row for row, place in enumerate(_places(found))}
        places = _places(batch)
        rectified = set(self.store.corrections.marks(places).get(RECTIFIED, ()))
        at = [None if row in rectified else rows.get(place) for row, place in enumerate(places, start=1)]
        if all(row is None for row in at):
            return batch
        taken = found.take(pa.array(at, pa.int64()))
        gained = np.zeros(batch.num_rows, np.bool_)
        for name in LOCATION_COLUMNS & set(batch.schema.names):
            column, kept = batch.column(name), taken.column(name).combine_chunks()
            gained |= np.asarray(pc.and_(pc.is_null(column), pc.is_valid(kept)).to_numpy(zero_copy_only=False))
            batch = batch.set_column(batch.schema.get_field_index(name), name, pc.coalesce(column, kept))
        self.locations |= {place for place, is_new in zip(places, gained, strict=True) if is_new}
        return batch


def _named(table: pa.Table, query: ScanQuery) -> pa.Table:
    """Return the records that name one of the order's targets; a hold may name others beside."""
    mask: Any = pa.array(np.zeros(table.num_rows, np.bool_))
    for target in query.targets:
        mask = pc.or_(mask, matches(table, target))
    return table.filter(mask)


def _places(table: pa.Table | pa.RecordBatch) -> list[Place]:
    return list(zip(*(table.column(name).to_pylist() for name in PLACE), strict=True))


def _empty(names: list[str]) -> pa.Table:
    return pa.schema([PACKED.field(name) for name in names]).empty_table()
