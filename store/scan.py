"""Reading: partition -> part -> row group, pruned on start and end; decrypted stretch by stretch in bounded memory.

A partition whose period is over is refused even when it is not dropped yet. A part that is missing, does not
authenticate or has no key is an error, never "none found".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED
from schemas.errors import ConfigurationError
from schemas.packing import pack_identifier_value
from store import files, parquet
from store.model import PartRow, ScanQuery
from store.part_reader import PartReader
from store.partitions import DAY_US, PartitionKey, date_to_day, day_to_date
from store.targets import check, matches, target_columns

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

_ALWAYS = ("start_time", "end_time", "conflict")


@dataclass(slots=True)
class Plan:
    """What a scan will read, and what it leaves alone and why."""

    parts: list[PartRow]
    refused: list[PartitionKey] = field(default_factory=list)
    """Partitions of the window whose period is over: not read, whether dropped or not."""
    pruned_parts: int = 0
    withdrawn_parts: int = 0
    bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return {
            "parts": len(self.parts),
            "bytes": self.bytes,
            "pruned_parts": self.pruned_parts,
            "withdrawn_parts": self.withdrawn_parts,
            "refused_partitions": [str(key) for key in self.refused],
        }


def plan(store: Store, query: ScanQuery) -> Plan:
    """Decide which parts a query reads.

    Raises:
        ClockError: the period of a partition of the window may be over, and the clock cannot tell.
    """
    check_query(query)
    clock = store.clock_guard.verdict()
    first_date, last_date = _date(query.start_us), _date(query.end_us - 1)
    states = store.catalog.partition_states()
    over = {
        key
        for key, state in states.items()
        if first_date <= key.end_date <= last_date and (state != "live" or clock.is_over(key))
    }
    result = Plan([], sorted(over))
    where = "q.end_date >= ? AND (? IS NULL OR p.batch_id IS NULL OR p.batch_id <= ?)"
    for part in store.catalog.parts(where, (first_date.isoformat(), query.batch_id_max, query.batch_id_max)):
        if part.partition in over:
            continue
        if part.withdrawn and not query.include_withdrawn:
            result.withdrawn_parts += 1
        elif _outside(query, part.start_us_min, part.end_us_min, part.end_us_max):
            result.pruned_parts += 1
        elif not clock.is_over(part.partition):
            result.parts.append(part)
            result.bytes += part.bytes
    return result


def check_query(query: ScanQuery) -> None:
    """Return if the query can be answered, before anything is read.

    Raises:
        ConfigurationError: its window, columns or targets cannot be; the message names no value.
    """
    if query.end_us <= query.start_us:
        raise ConfigurationError("the window is empty or runs backwards")
    unknown = [name for name in query.columns or () if name not in PACKED.names]
    if unknown:
        raise ConfigurationError("a scan names columns that the record does not have: " + ", ".join(unknown))
    for target in query.targets:
        check(target)


def _date(time_us: int) -> date:
    """Return the UTC date of an instant, brought into the years that a date can name."""
    return day_to_date(min(max(time_us // DAY_US, 0), date_to_day(date.max)))


def scan(store: Store, query: ScanQuery) -> Iterator[pa.RecordBatch]:
    """Yield the records that a query selects, as batches of packed columns with `batch_id`.

    Raises:
        IntegrityError: a part is missing or does not authenticate.
        KeyUnavailableError: a part's key is gone.
    """
    wanted = list(query.columns) if query.columns is not None else list(PACKED.names)
    with files.lock(store.layout.readers_lock, exclusive=False):  # merged parts that the plan names stay until then
        for part in plan(store, query).parts:
            yield from _scan_part(store, part, query, wanted)


def _scan_part(store: Store, part: PartRow, query: ScanQuery, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    if store.expired(part.partition):
        return
    with store.part_store.open(part.partition, part.file_id, store.keyring.key(part.partition.ref)) as reader:
        present = reader.names
        deciding = [name for name in _deciding(query, part) if name in present]
        for group in _groups(reader, query):
            if store.expired(part.partition):
                return  # its period ended while the reader took its time
            narrow = reader.read([group], deciding)
            mask = _of_batches(narrow, _mask(narrow, query), query, part)
            hits = pc.sum(mask).as_py() or 0
            if not hits:
                continue
            columns = [name for name in wanted if name in present]
            if set(columns) <= set(deciding):
                table = narrow.select(columns)
            else:
                table = reader.read([group], columns)
            if hits < table.num_rows or not columns:
                table = table.filter(mask) if columns else narrow.filter(mask).select([])
            yield from _with_batch_id(table, part.batch_id, wanted, hits)


def _with_batch_id(table: pa.Table, batch_id: int | None, wanted: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    if "batch_id" in wanted and batch_id is not None:
        table = table.append_column("batch_id", pa.array([batch_id], pa.int64()).take(pa.array([0] * rows, pa.int32())))
    yield from parquet.conform(table, wanted).combine_chunks().to_batches()


def _deciding(query: ScanQuery, part: PartRow) -> list[str]:
    names = set(_ALWAYS)
    for target in query.targets:
        names |= target_columns(target)
    if query.accounts:
        names |= {"account", "account_text"}
    if query.tenant is not None:
        names.add("tenant")
    if part.batch_id is None and (part.withdrawn_batches or query.batch_id_max is not None):
        names.add("batch_id")
    return sorted(names)


def _groups(reader: PartReader, query: ScanQuery) -> Iterator[int]:
    starts, ends = reader.bounds("start_time"), reader.bounds("end_time")
    for group, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if start is not None and end is not None and _outside(query, start[0], end[0], end[1]):
            continue
        yield group


def _outside(query: ScanQuery, start_us_min: int, end_us_min: int, end_us_max: int) -> bool:
    """Tell whether nothing with these bounds can be in the window."""
    if query.by_end:
        return end_us_max < query.start_us or end_us_min >= query.end_us
    return end_us_max < query.start_us or start_us_min >= query.end_us


def _mask(table: pa.Table, query: ScanQuery) -> Any:
    starts, ends = (table.column(name).cast(pa.int64()) for name in ("start_time", "end_time"))
    upper = ends if query.by_end else starts
    mask: Any = pc.and_(pc.greater_equal(ends, query.start_us), pc.less(upper, query.end_us))
    if not query.include_conflicts:
        mask = pc.and_(mask, pc.invert(table.column("conflict")))
    if query.targets:
        found: Any = matches(table, query.targets[0])
        for target in query.targets[1:]:
            found = pc.or_(found, matches(table, target))
        mask = pc.and_(mask, found)
    if query.accounts:
        mask = pc.and_(mask, _in_accounts(table, query.accounts))
    if query.tenant is not None:
        mask = pc.and_(mask, _is_tenant(table, query.tenant))
    return mask


def _of_batches(table: pa.Table, mask: Any, query: ScanQuery, part: PartRow) -> Any:
    """Leave out what withdrawn and later batches brought to a merged part."""
    if part.batch_id is not None:
        return mask
    if part.withdrawn_batches and not query.include_withdrawn:
        hidden = pc.is_in(table.column("batch_id"), value_set=pa.array(part.withdrawn_batches, pa.int64()))
        mask = pc.and_(mask, pc.invert(hidden))
    if query.batch_id_max is not None:
        mask = pc.and_(mask, pc.less_equal(table.column("batch_id"), query.batch_id_max))
    return mask


def _in_accounts(table: pa.Table, accounts: tuple[str, ...]) -> Any:
    pairs = [pack_identifier_value(account) for account in accounts]
    found: Any = pa.array([False] * table.num_rows, pa.bool_())
    for name, values in (
        ("account", pa.array([packed for packed, _ in pairs if packed is not None], pa.int64())),
        ("account_text", pa.array([text for _, text in pairs if text is not None], pa.string())),
    ):
        if name in table.column_names and len(values):
            found = pc.or_(found, pc.is_in(table.column(name), value_set=values))
    return found


def _is_tenant(table: pa.Table, tenant: str) -> Any:
    if "tenant" not in table.column_names:
        return pa.array([False] * table.num_rows, pa.bool_())
    column = table.column("tenant")
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return pc.fill_null(pc.equal(column, tenant), False)
