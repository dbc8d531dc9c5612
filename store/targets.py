"""What a target means in columns of a part. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from schemas.addresses import pack_address_value, pack_mac_value
from schemas.buffers import Column
from schemas.errors import ConfigurationError
from schemas.fields import BY_NAME, FIELDS, Kind
from schemas.numbers import imei_match_ranges
from schemas.packing import pack_identifier_value
from store.model import TARGET_KINDS, TargetIdentifier

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

FIELDS_OF_KIND: Final[dict[str, tuple[str, ...]]] = {
    **{
        kind: tuple(field.name for field in FIELDS if field.index == kind)
        for kind in ("number", "imsi", "imei", "mac", "ip")
    },
    "account": ("account",),
}


def target_columns(target: TargetIdentifier) -> set[str]:
    """Return the packed columns in which the target may stand."""
    names: set[str] = set()
    for name in FIELDS_OF_KIND[target.kind]:
        names.add(name)
        if BY_NAME[name].kind is Kind.IDENTIFIER:
            names.add(name + "_text")
        if BY_NAME[name].kind is Kind.ADDRESS:
            names.add(name + "_v6")
    if target.kind == "ip":
        names |= {"nat_port_first", "nat_port_last", "source_port", "destination_port"}
    return names


def matches(table: pa.Table, target: TargetIdentifier) -> Column:
    """Return row by row whether `table` (packed columns, some may be absent) holds the target in any role.

    Raises:
        ConfigurationError: the target's kind or value has no such form.
    """
    if target.kind not in TARGET_KINDS:
        raise ConfigurationError("a target has one of the kinds " + ", ".join(TARGET_KINDS))
    found: Any = pa.array([False] * table.num_rows, pa.bool_())
    for name in FIELDS_OF_KIND[target.kind]:
        found = pc.or_(found, _in_field(table, name, target))
    return found


def _in_field(table: pa.Table, name: str, target: TargetIdentifier) -> Any:
    kind = BY_NAME[name].kind
    if target.kind == "imei":
        return _any([_between(table, name, low, high) for low, high in imei_match_ranges(target.value)], table)
    if kind is Kind.IDENTIFIER:
        packed, text = pack_identifier_value(target.value)
        return _equal(table, name, packed) if packed is not None else _equal(table, name + "_text", text)
    if kind is Kind.MAC:
        return _equal(table, name, pack_mac_value(target.value))
    if kind is Kind.ADDRESS:
        return _address(table, name, target)
    return _prefix(table, name, target)


def _address(table: pa.Table, name: str, target: TargetIdentifier) -> Any:
    if "/" in target.value:
        return _network(table, name, target.value)
    v4, v6 = pack_address_value(target.value)
    if v4 is None and v6 is None:
        raise ConfigurationError("the target is not an address")
    found = _equal(table, name, v4) if v4 is not None else _equal(table, name + "_v6", v6)
    if target.port is None:
        return found
    first, last = (
        ("nat_port_first", "nat_port_last") if name == "nat_ip" else (name[:-3] + "_port", name[:-3] + "_port")
    )
    if first not in table.column_names:
        return _false(table)
    upper = last if last in table.column_names else first
    inside = pc.and_(
        pc.less_equal(table.column(first), target.port), pc.greater_equal(table.column(upper), target.port)
    )
    return pc.and_(found, pc.fill_null(inside, False))


def _network(table: pa.Table, name: str, text: str) -> Any:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigurationError("the target is not an address prefix") from error
    if network.version == 4:
        return _between(table, name, int(network.network_address), int(network.broadcast_address) + 1)
    if name + "_v6" not in table.column_names:
        return _false(table)
    column = table.column(name + "_v6")
    low, high = network.network_address.packed, network.broadcast_address.packed
    values = column.cast(pa.binary())
    return pc.fill_null(pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high)), False)


def _prefix(table: pa.Table, name: str, target: TargetIdentifier) -> Any:
    """Match a stored prefix (text) that contains, or lies in, the target address or prefix."""
    if name not in table.column_names:
        return _false(table)
    wanted = ipaddress.ip_network(target.value, strict=False)
    column = table.column(name).combine_chunks()
    encoded: Any = pc.dictionary_encode(column)
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    hits = pa.array([_overlap(text, wanted) for text in encoded.dictionary.to_pylist()], pa.bool_())
    return pc.fill_null(hits.take(encoded.indices), False)


def _overlap(text: str, wanted: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        stored = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return stored.version == wanted.version and stored.overlaps(wanted)


def _equal(table: pa.Table, name: str, value: Any) -> Any:
    if name not in table.column_names or value is None:
        return _false(table)
    column = table.column(name)
    return pc.fill_null(pc.equal(column, pa.scalar(value, column.type)), False)


def _between(table: pa.Table, name: str, low: int, high: int) -> Any:
    if name not in table.column_names:
        return _false(table)
    column = table.column(name).cast(pa.int64())
    return pc.fill_null(pc.and_(pc.greater_equal(column, low), pc.less(column, high)), False)


def _any(arrays: list[Any], table: pa.Table) -> Any:
    found = _false(table)
    for array in arrays:
        found = pc.or_(found, array)
    return found


def _false(table: pa.Table) -> Any:
    return pa.array([False] * table.num_rows, pa.bool_())
