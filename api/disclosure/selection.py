"""Every row is checked again before it leaves: right target, right window, right role, permitted fields only. Pure.

The store finds rows by its index. Here the rows themselves are compared with the order, on their logical values, so
that a fault of the index, of a scan or of a cache cannot put a stranger's record into a delivery.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from api.disclosure.model import Target, Window
from api.disclosure.targets import IMEI_DIGITS, is_inner
from schemas.arrow import PACKED, packed_columns
from schemas.errors import IntegrityError
from schemas.fields import BY_NAME, FIELDS, Category, vrf_of
from schemas.legal_bases import LegalBasis
from schemas.legal_terms import Overlap

MARKS: Final = ("conflict", "end_inferred", "time_ambiguous")
"""Marks of uncertainty leave with every record: they tell about the evidence and not about people."""

ORDER: Final = ("end_time", "start_time", "dedup_domain", "switch", "record_key", "batch_id", "batch_position")
"""Sorting columns of a result: total, because no two rows share batch and position. The end comes first: a result that
does not fit into memory is read by the time in which its records ended (`api.disclosure.sliced_scan`)."""

_NO_END: Final = np.iinfo(np.int64).max

Span = tuple[int, int]
"""Half-open stretch in µs, UTC."""

Mask = npt.NDArray[np.bool_]


def permitted_fields(basis: LegalBasis, categories: frozenset[Category]) -> tuple[str, ...]:
    """Return the fields that may leave, in the order of the table of fields; what is not named stays."""
    return tuple(
        field.name
        for field in FIELDS
        if field.name in MARKS or (field.category in categories and basis.permits(field.name))
    )


def reading_columns(basis: LegalBasis, targets: Sequence[Target], categories: frozenset[Category]) -> tuple[str, ...]:
    """Return the packed columns that a search reads: what may leave, what decides and sorts, and nothing else.

    A location that the order does not ask for is not opened, so neither its end nor a fault of it concerns the search.
    """
    names = {*permitted_fields(basis, categories), *ORDER}
    for target in targets:
        fields = _all_fields(target.kind)
        names.update(fields)
        if target.port is not None:
            names.update(name for field in fields for name in _PORTS.get(field, ()))
        if target.kind == "account" or target.tenant is not None:
            names.add("tenant")
    columns = {column.name for name in names for column in packed_columns(BY_NAME[name])}
    return tuple(name for name in PACKED.names if name in columns)


def select(
    table: pa.Table,
    basis: LegalBasis,
    targets: Sequence[Target],
    window: Window,
    spans: Sequence[Span | None] = (),
) -> pa.Table:
    """Return the rows that the order reaches, sorted; of a target with a span only those that began in it.

    `table` has logical names (`schemas.packing.unpack_table`). Rows that name the target only in a role which the basis
    does not open (the called side of somebody else's record, another user's port) are left out.

    Raises:
        IntegrityError: a row has nothing to do with the order; nothing may leave then.
    """
    inside = overlaps(table, window)
    named = _any(_names(table, target, _all_fields(target.kind), None) for target in targets)
    if not bool(np.all(inside & named)):
        raise IntegrityError("the search returned a record that the order does not name")
    each = spans or [None] * len(targets)
    reached = _any(names_target(table, basis, target, span) for target, span in zip(targets, each, strict=True))
    if basis.overlap is Overlap.STARTS:
        reached = reached & _starts(table, window)
    kept = table.filter(pa.array(reached))
    return kept.sort_by([(name, "ascending") for name in ORDER])


def target_counts(
    table: pa.Table, basis: LegalBasis, targets: Sequence[Target], spans: Sequence[Span | None] = ()
) -> list[int]:
    """Return how many rows name each target in a role that the basis opens; a call between two targets counts twice."""
    each = spans or [None] * len(targets)
    return [
        int(np.count_nonzero(names_target(table, basis, target, span)))
        for target, span in zip(targets, each, strict=True)
    ]


def names_target(table: pa.Table, basis: LegalBasis, target: Target, span: Span | None = None) -> Mask:
    """Tell row by row whether it names a target in a role that the basis opens and, with a span, began in it."""
    named = _names(table, target, basis.matchable(target.kind), target.port)
    if target.tenant is not None:
        named &= _numpy(pc.equal(_tenants(table), pa.scalar(target.tenant)), False)
    if target.element is not None:
        named &= _numpy(pc.equal(pc.cast(table["switch"], pa.string()), pa.scalar(target.element)), False)
    return named if span is None else named & _starts(table, Window(*span))


def is_shared(target: Target) -> bool:
    """Tell whether several may have what a target names: an account's name, or an inner address at no element."""
    return target.kind == "account" or (target.kind == "ip" and target.element is None and is_inner(target.value))


def owners_of(table: pa.Table, basis: LegalBasis, target: Target, span: Span | None = None) -> set[str]:
    """Return whose records name a shared target: tenants of an account ("" is none's), VRFs of an inner address."""
    named = table.filter(pa.array(names_target(table, basis, target, span)))
    if target.kind == "account":
        whose: Any = _tenants(named)
        return set(whose.unique().to_pylist())
    elements: Any = pc.cast(named["switch"], pa.string())
    return {vrf_of(element) for element in elements.unique().to_pylist()}


def _tenants(table: pa.Table) -> Any:
    column: Any = table["tenant"]
    return pc.fill_null(pc.cast(column, pa.string()), "")


def _all_fields(kind: str) -> tuple[str, ...]:
    if kind == "account":
        return ("account",)
    return tuple(field.name for field in FIELDS if field.index == kind)


def _any(masks: Iterable[Mask]) -> Mask:
    found: Mask = np.logical_or.reduce(list(masks))
    return found


def overlaps(table: pa.Table, window: Window) -> Mask:
    """Tell row by row whether it may reach into a window: without an end it goes on, without any time it is nowhere."""
    starts = _numpy(pc.cast(table["start_time"], pa.int64()), 0)
    ends = _numpy(pc.cast(table["end_time"], pa.int64()), _NO_END)
    timed = _numpy(pc.or_(table["start_time"].is_valid(), table["end_time"].is_valid()), False)
    mask: Mask = timed & (starts < window.end_us) & (ends >= window.start_us)
    return mask


def _starts(table: pa.Table, window: Window) -> Mask:
    starts = _numpy(pc.cast(table["start_time"], pa.int64()), 0)
    mask: Mask = (starts >= window.start_us) & (starts < window.end_us)
    return mask


def _names(table: pa.Table, target: Target, fields: Sequence[str], port: int | None) -> Mask:
    mask: Mask = np.zeros(table.num_rows, dtype=np.bool_)
    for name in fields:
        if name not in table.column_names:
            continue
        hit = _equals(table[name], name, target)
        if port is not None:
            hit &= _uses_port(table, name, port)
        mask |= hit
    return mask


def _equals(column: Any, name: str, target: Target) -> Mask:
    text: Any = pc.cast(column, pa.string())
    if name == "ipv6_prefix":
        address = ipaddress.ip_address(target.value)
        hits = [value is not None and _in_prefix(address, value) for value in text.to_pylist()]
        return np.array(hits, dtype=np.bool_)
    if target.kind == "imei":
        digits = pc.replace_substring_regex(text, "[^0-9A-Za-z]", "")  # some write it with separators
        text = pc.utf8_slice_codeunits(digits, 0, IMEI_DIGITS)
    elif target.kind == "mac":
        text = pc.utf8_lower(text)
    return _numpy(pc.equal(text, pa.scalar(target.value)), False)


def _in_prefix(address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: str) -> bool:
    try:
        return address in ipaddress.ip_network(prefix, strict=False)
    except ValueError:
        return False


_PORTS: Final = {
    "nat_ip": ("nat_port_first", "nat_port_last"),
    "source_ip": ("source_port", "source_port"),
    "destination_ip": ("destination_port", "destination_port"),
}


def _uses_port(table: pa.Table, name: str, port: int) -> Mask:
    known = [_numpy(table[column], -1) for column in _PORTS.get(name, ()) if column in table.column_names]
    if not known:
        everybody: Mask = np.ones(table.num_rows, dtype=np.bool_)
        return everybody
    first, last = known[0], known[-1]
    # A block of one port is written with one port only; without any, the address was not shared.
    low, high = np.where(first < 0, last, first), np.where(last < 0, first, last)
    mask: Mask = (low < 0) | ((low <= port) & (port <= high))
    return mask


def _numpy(values: Any, null: Any) -> npt.NDArray[Any]:
    filled = pc.fill_null(values, null)
    return np.asarray(filled.to_numpy(zero_copy_only=False) if isinstance(filled, pa.Array) else filled.to_numpy())
