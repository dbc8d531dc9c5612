"""What a target means in columns of a part. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from schemas.addresses import pack_address_value, pack_mac_value
from schemas.buffers import Column
from schemas.errors import ConfigurationError, InputError
from schemas.fields import BY_NAME, FIELDS, Kind
from schemas.imei import imei_match_ranges
from schemas.packing import pack_identifier_value
from store.encoding.code_search import Range
from store.model import TARGET_KINDS, TargetIdentifier

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

FIELDS_OF_KIND: Final[dict[str, tuple[str, ...]]] = {
    **{
        kind: tuple(field.name for field in FIELDS if field.index == kind)
        for kind in ("number", "imsi", "imei", "mac", "ip")
    },
    "account": ("account",),
}


PORT_MAX: Final = 65_535
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


def check(target: TargetIdentifier) -> None:
    """Return if a search for the target can find something; what can never match must not look like "none found".

    Raises:
        ConfigurationError: the target's kind or value has no such form.
    """
    if target.kind not in TARGET_KINDS:
        raise ConfigurationError("a target has one of the kinds " + ", ".join(TARGET_KINDS))
    if not target.value:
        raise ConfigurationError("a target has a value")
    if target.kind == "mac" and pack_mac_value(target.value) is None:
        raise ConfigurationError("the target is not a MAC address")
    if target.kind == "imei":
        try:
            imei_match_ranges(target.value)
        except InputError as error:
            raise ConfigurationError("the target is not an IMEI: it has 14 to 16 digits") from error
    if target.kind == "ip":
        _check_address(target.value)
    if target.port is not None and (target.kind != "ip" or "/" in target.value):
        raise ConfigurationError("only a single address goes with a port")
    if target.port is not None and not 0 <= target.port <= PORT_MAX:
        raise ConfigurationError("a port lies in 0 to 65535")


def _check_address(text: str) -> None:
    if "/" not in text:
        if pack_address_value(text) == (None, None):
            raise ConfigurationError("the target is not an address")
        return
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ConfigurationError("the target is not an address prefix") from error
    if network.version == 6 and network.subnet_of(_MAPPED):
        raise ConfigurationError("the target is a prefix of IPv4-mapped addresses: the store has them as IPv4")


def target_columns(target: TargetIdentifier, fields: Collection[str] | None = None) -> set[str]:
    """Return the packed columns in which the target may stand, as any of its fields or of some only."""
    names: set[str] = set()
    for name in fields_of(target, fields):
        names.add(name)
        if BY_NAME[name].kind is Kind.IDENTIFIER:
            names.add(name + "_text")
        if BY_NAME[name].kind is Kind.ADDRESS:
            names.add(name + "_v6")
        if target.port is not None and BY_NAME[name].kind is Kind.ADDRESS:
            names |= set(_port_columns(name))
    return names


def matches(table: pa.Table, target: TargetIdentifier, fields: Collection[str] | None = None) -> Column:
    """Return row by row whether `table` (packed columns, some may be absent) holds the target in any role.

    With `fields`, only in these: a caller who knows that the others cannot hold it need not read them.
    An address without port matches whatever the port; with one, a record that names no port had the whole address.

    Raises:
        ConfigurationError: the target's kind or value has no such form.
    """
    check(target)
    found: Any = _false(table)
    for name in fields_of(target, fields):
        found = pc.or_(found, _in_field(table, name, target))
    return found


def ranges(target: TargetIdentifier, name: str) -> list[Range] | None:
    """Return the half-open ranges of a column's whole numbers that are the target; None where other columns decide.

    The column is the field's own; who asks sees to it that what the field has as text cannot be the target.

    Raises:
        InputError: an IMEI is none.
    """
    kind = BY_NAME[name].kind
    packed: int | None = None
    if target.kind == "imei":
        return imei_match_ranges(target.value)
    if kind is Kind.IDENTIFIER:
        packed = pack_identifier_value(target.value)[0]
    elif kind is Kind.MAC:
        packed = pack_mac_value(target.value)
    elif kind is Kind.ADDRESS and target.port is None and "/" not in target.value:
        packed = pack_address_value(target.value)[0]
    return None if packed is None else [(packed, packed + 1)]


def fields_of(target: TargetIdentifier, fields: Collection[str] | None) -> list[str]:
    """Return the fields in which the target may stand, of some only when given."""
    return [name for name in FIELDS_OF_KIND[target.kind] if fields is None or name in fields]


def _in_field(table: pa.Table, name: str, target: TargetIdentifier) -> Any:
    kind = BY_NAME[name].kind
    if target.kind == "imei":
        packed_ones = [_between(table, name, low, high) for low, high in imei_match_ranges(target.value)]
        return _any([*packed_ones, _written_imei(table, name + "_text", target.value)], table)
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
    found = _equal(table, name, v4) if v4 is not None else _equal(table, name + "_v6", v6)
    if target.port is None:
        return found
    return pc.and_(found, _within_ports(table, *_port_columns(name), target.port))


def _port_columns(name: str) -> tuple[str, str]:
    """Return the columns of the first and the last port of an address."""
    return ("nat_port_first", "nat_port_last") if name == "nat_ip" else (name[:-3] + "_port", name[:-3] + "_port")


def _within_ports(table: pa.Table, first: str, last: str, port: int) -> Any:
    """Tell where the port lies in a record's range; a record that names no port had the whole address."""
    known = [table.column(name) for name in (first, last) if name in table.column_names]
    if not known:
        return pc.invert(_false(table))
    lower, upper = pc.coalesce(*known), pc.coalesce(*reversed(known))
    return pc.fill_null(pc.and_(pc.less_equal(lower, port), pc.greater_equal(upper, port)), True)


def _network(table: pa.Table, name: str, text: str) -> Any:
    network = ipaddress.ip_network(text, strict=False)
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
    wanted = _network_of(target.value)
    column = table.column(name).combine_chunks()
    encoded: Any = pc.dictionary_encode(column)
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    hits = pa.array([_overlap(text, wanted) for text in encoded.dictionary.to_pylist()], pa.bool_())
    return pc.fill_null(hits.take(encoded.indices), False)


def _network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if "/" in text:
        return ipaddress.ip_network(text, strict=False)
    v4, v6 = pack_address_value(text)
    return ipaddress.ip_network(v4 if v4 is not None else v6 or text)


def _overlap(text: str, wanted: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        stored = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return stored.version == wanted.version and stored.overlaps(wanted)


def _written_imei(table: pa.Table, name: str, value: str) -> Any:
    """Match an IMEI that was delivered with separators, and so is kept as text."""
    if name not in table.column_names:
        return _false(table)
    digits = pc.replace_substring_regex(table.column(name), r"[^0-9A-Za-z]", "")
    body = "".join(letter for letter in value if letter.isdigit())[:14]
    return pc.fill_null(pc.match_substring_regex(digits, f"^{body}[0-9]{{0,2}}$"), False)


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
    return pa.array(np.zeros(table.num_rows, np.bool_))
