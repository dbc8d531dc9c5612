"""Which rows of a part a query selects, and the columns that decide it."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from schemas.packing import pack_identifier_value
from store.encoding.code_search import Range
from store.model import PartRow, ScanQuery
from store.reading.targets import fields_of, matches, ranges, target_columns

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

Mask = Any
"""An Arrow array of booleans without nulls; None where every row is selected."""
Numbers = np.ndarray[Any, np.dtype[np.int64]]


def is_selective(query: ScanQuery) -> bool:
    """Tell whether a query asks for certain identifiers, so that most rows are not its."""
    return bool(query.targets or query.accounts or query.tenant is not None)


def identity_columns(query: ScanQuery, fields: Collection[str] | None) -> set[str]:
    """Return the columns that tell whose record it is; of targets only `fields` when given."""
    names: set[str] = set()
    for target in query.targets:
        names |= target_columns(target, fields)
    if query.accounts:
        names |= {"account", "account_text"}
    if query.tenant is not None:
        names.add("tenant")
    return names


def ranges_of(
    query: ScanQuery, fields: Collection[str] | None, there: Collection[str]
) -> dict[str, list[Range]] | None:
    """Return of each column that is `there` the half-open ranges of whole numbers that a query's targets are.

    None where that does not decide all: accounts and tenants, texts, ports and networks are for `identity_mask`.
    """
    if not query.targets or query.accounts or query.tenant is not None:
        return None
    found: dict[str, list[Range]] = {}
    for target in query.targets:
        for name in fields_of(target, fields):
            if target.kind == "imei" and name + "_text" in there:
                return None  # one that was written with separators
            told = ranges(target, name)
            if told is None:
                return None
            if name in there:
                found.setdefault(name, []).extend(told)
    return found


def identity_mask(table: pa.Table, query: ScanQuery, fields: Collection[str] | None) -> Mask:
    """Return the rows of the query's targets, accounts and tenant."""
    mask: Mask = None
    if query.targets:
        mask = matches(table, query.targets[0], fields)
        for target in query.targets[1:]:
            mask = pc.or_(mask, matches(table, target, fields))
    if query.accounts:
        mask = _both(mask, _in_accounts(table, query.accounts))
    if query.tenant is not None:
        mask = _both(mask, _is_tenant(table, query.tenant))
    return mask


def other_columns(query: ScanQuery, part: PartRow, gone: Collection[str]) -> set[str]:
    """Return the columns that decide beside the identity, as far as the catalog does not decide for the whole part.

    `gone` are the categories of service whose records are over though their partition is not.
    """
    names = {"service_type"} if gone else set()
    if part.end_us_min < query.start_us or (query.by_end and part.end_us_max >= query.end_us):
        names.add("end_time")
    if not query.by_end:
        names.add("start_time")
    if not query.include_conflicts:
        names.add("conflict")
    if _by_batch(query, part):
        names.add("batch_id")
    return names


def other_mask(table: pa.Table, query: ScanQuery, part: PartRow, gone: Collection[str]) -> Mask:
    """Return the rows within the window, of the batches, not over, and without conflicts that the query leaves out."""
    mask: Mask = None
    if gone:
        services = table.column("service_type").cast(pa.string())
        mask = pc.invert(pc.is_in(services, value_set=pa.array(sorted(gone), pa.string())))
    if part.end_us_min < query.start_us:
        mask = _both(mask, pc.greater_equal(_times(table, "end_time"), query.start_us))
    if not query.by_end:
        mask = _both(mask, pc.less(_times(table, "start_time"), query.end_us))
    elif part.end_us_max >= query.end_us:
        mask = _both(mask, pc.less(_times(table, "end_time"), query.end_us))
    if not query.include_conflicts and "conflict" in table.column_names:
        mask = _both(mask, pc.invert(pc.fill_null(table.column("conflict"), False)))
    if _by_batch(query, part):
        if part.withdrawn_batches and not query.include_withdrawn:
            hidden = pc.is_in(table.column("batch_id"), value_set=pa.array(part.withdrawn_batches, pa.int64()))
            mask = _both(mask, pc.invert(hidden))
        if query.batch_id_max is not None:
            mask = _both(mask, pc.less_equal(table.column("batch_id"), query.batch_id_max))
    return mask


def deciding(query: ScanQuery, part: PartRow, gone: Collection[str]) -> tuple[Hashable, ...]:
    """Return what of a part `other_mask` goes by: equal for parts whose records one mask may decide."""
    ends = (part.end_us_min < query.start_us, part.end_us_max >= query.end_us)
    return *ends, _by_batch(query, part), part.withdrawn_batches, frozenset(gone)


def is_outside(query: ScanQuery, start_us_min: int, end_us_min: int, end_us_max: int) -> bool:
    """Tell whether nothing with these bounds can be in the window."""
    if query.by_end:
        return end_us_max < query.start_us or end_us_min >= query.end_us
    return end_us_max < query.start_us or start_us_min >= query.end_us


def rows_of(mask: Mask) -> Numbers:
    """Return the numbers of the selected rows."""
    return np.flatnonzero(as_numpy(mask))


def as_numpy(mask: Mask) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows are selected."""
    if isinstance(mask, pa.ChunkedArray):
        mask = mask.combine_chunks()
    return np.asarray(mask.to_numpy(zero_copy_only=False))


def _both(one: Mask, other: Mask) -> Mask:
    return other if one is None else pc.and_(one, other)


def _times(table: pa.Table, name: str) -> Any:
    return table.column(name).cast(pa.int64())


def _by_batch(query: ScanQuery, part: PartRow) -> bool:
    """Tell whether withdrawn or later batches brought records to a merged part, perhaps."""
    hidden = bool(part.withdrawn_batches) and not query.include_withdrawn
    return part.batch_id is None and (hidden or query.batch_id_max is not None)


def _in_accounts(table: pa.Table, accounts: tuple[str, ...]) -> Any:
    pairs = [pack_identifier_value(account) for account in accounts]
    found: Any = pa.array(np.zeros(table.num_rows, np.bool_))
    for name, values in (
        ("account", pa.array([packed for packed, _ in pairs if packed is not None], pa.int64())),
        ("account_text", pa.array([text for _, text in pairs if text is not None], pa.string())),
    ):
        if name in table.column_names and len(values):
            found = pc.or_(found, pc.is_in(table.column(name), value_set=values))
    return found


def _is_tenant(table: pa.Table, tenant: str) -> Any:
    if "tenant" not in table.column_names:
        return pa.array(np.zeros(table.num_rows, np.bool_))
    column = table.column("tenant")
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return pc.fill_null(pc.equal(column, tenant), False)
