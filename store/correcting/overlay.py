"""The overlay: what corrections of single records do to records on their way out. A stored record is never edited.

A record is named by its batch and its position in it, which compaction keeps. The kinds:

* restricted: left out of every read but a disclosure's, which tells that it is restricted;
* superseded: left out of every read, another delivery takes its place;
* released: what was restricted is not any more;
* rectified: named fields are replaced when it is read, in the order in which the corrections were confirmed.

What decides whether a record is found is the corrected record: a search for the replaced number does not find it, for
it never was that number's. Postings know the stored values, so a part with a rectified record is read without them.

Source: the design's *Corrections*; Regulation (EU) 2016/679 Art 16 and 18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED
from store.correcting import rectified
from store.encoding.figure_batch import FigureBatch
from store.model import ScanQuery
from store.partitions import PartitionKey
from store.reading.selection import identity_columns, identity_mask, is_selective
from store.reading.stretches import Stretch, read, read_figures, read_together

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

RESTRICTED: Final = "restricted"
SUPERSEDED: Final = "superseded"
RECTIFIED: Final = "rectified"
RELEASED: Final = "released"
KINDS: Final = (RESTRICTED, SUPERSEDED, RECTIFIED, RELEASED)
PLACE: Final = ("batch_id", "batch_position")


@dataclass(frozen=True, slots=True)
class Correction:
    """One correction of one record, confirmed or requested."""

    act: str
    """Its id: 16 hex digits."""
    kind: str
    partition: PartitionKey
    batch_id: int
    position: int
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of a rectification: field -> its value as delivered, null empties it."""
    confirmed: bool = True
    said: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What those who act said: reason, names, signatures."""
    number: int = field(default=0, compare=False)
    """Grows in the order in which corrections came in force."""
    confirmed_us: int | None = field(default=None, compare=False)

    @property
    def place(self) -> tuple[int, int]:
        """Batch and position."""
        return self.batch_id, self.position


def in_effect(corrections: Sequence[Correction]) -> list[Correction]:
    """Return those that still change something, in their order: a release ends the restriction before it. Pure."""
    kept: list[Correction] = []
    for item in corrections:
        if item.kind == RELEASED:
            kept = [other for other in kept if other.kind != RESTRICTED or other.place != item.place]
        else:
            kept.append(item)
    return kept


def is_rectifying(corrections: Sequence[Correction]) -> bool:
    """Tell whether a value is replaced, so that postings do not tell all."""
    return any(item.kind == RECTIFIED for item in corrections)


def apply(table: pa.Table, corrections: Sequence[Correction]) -> pa.Table:
    """Return packed records (with `batch_id` and `batch_position`) as the corrections make them. Pure.

    What is restricted or superseded is left out: who may see restricted records leaves those corrections away.
    """
    rows = _rows(table, {item.place for item in corrections})
    if not rows:
        return table
    hidden = np.zeros(table.num_rows, np.bool_)
    replaced: dict[str, dict[int, Any]] = {}
    for item in corrections:
        for row in rows.get(item.place, ()):
            if item.kind != RECTIFIED:
                hidden[row] = True
                continue
            for name, value in rectified.packed(item.fields).items():
                replaced.setdefault(name, {})[row] = value
    for name, values in replaced.items():
        table = _replaced(table, name, values)
    return table.filter(pa.array(~hidden)) if hidden.any() else table


def read_corrected(
    store: Store, query: ScanQuery, stretch: Stretch, corrections: Sequence[Correction]
) -> list[pa.RecordBatch]:
    """Read a stretch as `store.reading.stretches.read` does, with the corrections of its part.

    Raises:
        IntegrityError: the part is missing or does not authenticate.
        KeyUnavailableError: its key is gone.
    """
    if not corrections:
        return read(store, query, stretch)
    wanted = list(PACKED.names if query.columns is None else query.columns)
    if not is_rectifying(corrections):
        found = read(store, replace(query, columns=_ordered({*wanted, *PLACE})), stretch)
        tables = [apply(pa.Table.from_batches([batch]), corrections) for batch in found]
        return [batch for table in tables for batch in table.select(wanted).to_batches()]
    # The window and the batches decide on stored values, which no rectification replaces; the rest on corrected ones.
    everybody = replace(query, targets=(), accounts=(), tenant=None, include_conflicts=True)
    deciding = {*identity_columns(query, None), "conflict", *PLACE}
    if is_selective(query):
        narrow = read(store, replace(everybody, columns=_ordered(deciding)), stretch)
        if not any(_selected(batch, query, corrections).num_rows for batch in narrow):
            return []
    found = read(store, replace(everybody, columns=_ordered({*wanted, *deciding})), stretch)
    return [batch for one in found for batch in _selected(one, query, corrections).select(wanted).to_batches()]


def read_lot(
    store: Store, query: ScanQuery, lot: Sequence[Stretch], corrections: Mapping[int, Sequence[Correction]]
) -> list[list[pa.RecordBatch]]:
    """Read each stretch of a lot as `read_corrected` does, with the corrections by part.

    Raises:
        IntegrityError, KeyUnavailableError: as `read_corrected`.
    """
    plain = [item for item in lot if is_selective(query) and not corrections.get(item.part.part_id)]
    together = dict(zip(map(id, plain), read_together(store, query, plain), strict=True))
    return [
        together[id(item)]
        if id(item) in together
        else read_corrected(store, query, item, corrections.get(item.part.part_id, ()))
        for item in lot
    ]


def corrected_figures(
    store: Store, query: ScanQuery, stretch: Stretch, corrections: Sequence[Correction]
) -> list[FigureBatch]:
    """Read a stretch as `read_corrected` does, as figures; the query asks for nobody in particular.

    Raises:
        IntegrityError: the part is missing or does not authenticate.
        KeyUnavailableError: its key is gone.
    """
    if corrections or is_selective(query):
        return [FigureBatch.of(batch) for batch in read_corrected(store, query, stretch, corrections)]
    return read_figures(store, query, stretch)


def _selected(batch: pa.RecordBatch, query: ScanQuery, corrections: Sequence[Correction]) -> pa.Table:
    table = apply(pa.Table.from_batches([batch]), corrections)
    mask = identity_mask(table, query, None)
    if mask is not None:
        table = table.filter(mask)
    if not query.include_conflicts:
        table = table.filter(pc.invert(pc.fill_null(table.column("conflict"), False)))
    return table


def _ordered(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in PACKED.names if name in names)


def _rows(table: pa.Table, places: set[tuple[int, int]]) -> dict[tuple[int, int], list[int]]:
    """Return the rows of each place that the table has."""
    batches, positions = (_integers(table, name) for name in PLACE)
    near = np.isin(positions, [position for _, position in places])
    near &= np.isin(batches, [batch_id for batch_id, _ in places])
    rows: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(near):
        place = (int(batches[row]), int(positions[row]))
        if place in places:
            rows.setdefault(place, []).append(int(row))
    return rows


def _integers(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    return np.asarray(table.column(name).cast(pa.int64()).to_numpy())


def _replaced(table: pa.Table, name: str, values: Mapping[int, Any]) -> pa.Table:
    kind: Any = PACKED.field(name).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    rows = sorted(values)
    mask = np.zeros(table.num_rows, np.bool_)
    mask[rows] = True
    present = name in table.column_names
    column: Any = table.column(name).cast(plain).combine_chunks() if present else pa.nulls(table.num_rows, plain)
    made = pc.replace_with_mask(column, pa.array(mask), pa.array([values[row] for row in rows], plain))
    if plain is not kind:
        made = made.dictionary_encode().cast(kind)
    if present:
        return table.set_column(table.column_names.index(name), PACKED.field(name), made)
    return table.append_column(PACKED.field(name), made)
