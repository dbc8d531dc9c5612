"""What is posted of a record: its identifiers in the normal form that `store.reading.targets.matches` compares."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.buffers import flat, text_views
from schemas.fields import BY_NAME, FIELDS, Kind
from store.index.coding import Groups, kernels
from store.index.hashing import PACKED, PORTS, PREFIX, TEXT, Words, hash_columns, hash_value, seed, text_words

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

INDEXED: Final = tuple(field.name for field in FIELDS if field.index is not None or field.name == "account")
V6_LEVELS: Final = (64, 48)
"""Networks that an IPv6 address is also posted under, longest first."""
V6_BITS: Final = 128
PORT_BLOCKS_MAX: Final = 4
"""A record of more blocks of ports is posted under block ANY_BLOCK."""
ANY_BLOCK: Final = 2**32 - 1
_LOW: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Posted:
    """The entries of one field in the rows of a part."""

    hashes: Words
    groups: Groups


@dataclass(frozen=True, slots=True)
class Traits:
    """What of a part's values a lookup has to know."""

    prefix_lengths: tuple[tuple[int, int], ...] = ()
    """(version, length) of the networks in `ipv6_prefix`."""
    port_bits: int = 0
    """A block has 2^`port_bits` public ports."""


def traits(records: pa.Table) -> Traits:
    """Derive a part's traits from its records."""
    lengths: tuple[tuple[int, int], ...] = ()
    if "ipv6_prefix" in records.column_names:
        networks = (_network(text) for text in pc.unique(records.column("ipv6_prefix")).to_pylist())
        lengths = tuple(sorted({(item.version, item.prefixlen) for item in networks if item is not None}))
    return Traits(lengths, _port_bits(records))


def posted(records: pa.Table, name: str, group_rows: int, salt: bytes, part: Traits) -> Posted | None:
    """Return the entries of a field; None when no row has one.

    A value that stands in a row group several times may be there once or several times.
    """
    streams = [item for item in _streams(records, name, group_rows, salt, part) if len(item.hashes)]
    if not streams:
        return None
    if len(streams) == 1:
        return streams[0]
    return Posted(np.concatenate([item.hashes for item in streams]), np.concatenate([item.groups for item in streams]))


def network_words(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[int, ...]:
    """Return the words under which a network, or an address as the longest network, is posted."""
    address = int(network.network_address)
    return (network.version, address >> 64, address & _LOW, network.prefixlen)


def imei_body(digits: str) -> int:
    """Return the number under which an IMEI of 14 digits and more is posted: its first 14, packed."""
    return int("1" + digits[:14])


def _streams(records: pa.Table, name: str, group_rows: int, salt: bytes, part: Traits) -> Iterator[Posted]:
    field = BY_NAME[name]
    columns = _Columns(records, group_rows, salt, field.id)
    if field.index == "imei":
        yield from _imei(columns, name)
    elif field.kind is Kind.IDENTIFIER:
        yield columns.packed(name)
        yield columns.text(name + "_text")
    elif field.kind is Kind.MAC:
        yield columns.packed(name)
    elif field.kind is Kind.ADDRESS:
        yield from _addresses(columns, name, part)
    else:
        yield _prefixes(columns, name)


class _Columns:
    """The columns of one field, made into entries."""

    def __init__(self, records: pa.Table, group_rows: int, salt: bytes, field_id: int) -> None:
        self.records, self.group_rows = records, group_rows
        self._salt, self._field_id = salt, field_id

    def seed(self, domain: int) -> int:
        return seed(self._salt, self._field_id, domain)

    def values(self, name: str) -> tuple[Any, npt.NDArray[np.int64] | None]:
        """Return a column's values without nulls, and their rows (None: all); an absent column has none."""
        if name not in self.records.column_names:
            return pa.nulls(0, pa.int64()), None
        column = flat(self.records.column(name))
        if not column.null_count:
            return column, None
        rows = np.flatnonzero(np.asarray(column.is_valid().to_numpy(zero_copy_only=False)))
        return column.drop_null(), rows

    def groups(self, count: int, rows: npt.NDArray[np.int64] | None) -> Groups:
        if rows is not None:
            return (rows // self.group_rows).astype(np.uint32)
        return np.repeat(np.arange(-(-count // self.group_rows), dtype=np.uint32), self.group_rows)[:count]

    def packed(self, name: str) -> Posted:
        column, rows = self.values(name)
        numbers = np.ascontiguousarray(column.to_numpy(zero_copy_only=False)).astype(np.int64).view(np.uint64)
        return self.numbers(numbers, self.groups(len(column), rows))

    def numbers(self, numbers: Words, groups: Groups) -> Posted:
        """Return entries of whole numbers; one that repeats the one before it in its group is left out.

        How many are given decides how the file is laid out: so the compiled loop and its twin leave out the same.
        """
        start = self.seed(PACKED)
        compiled = kernels(len(numbers))
        if compiled is None:
            kept = np.ones(len(numbers), np.bool_)
            kept[1:] = (numbers[1:] != numbers[:-1]) | (groups[1:] != groups[:-1])
            return Posted(hash_columns(start, [numbers[kept]]), groups[kept])
        hashes, theirs = np.empty(len(numbers), np.uint64), np.empty(len(numbers), np.uint32)
        count = compiled.hash_packed(numbers, groups, np.uint64(start), hashes, theirs)
        return Posted(hashes[:count], theirs[:count])

    def text(self, name: str) -> Posted:
        column, rows = self.values(name)
        groups = self.groups(len(column), rows)
        if not len(column):
            return Posted(np.zeros(0, np.uint64), groups)
        start = self.seed(TEXT)
        compiled = kernels(len(column))
        if compiled is None:
            known = {text: hash_value(start, text_words(text.encode())) for text in set(column.to_pylist())}
            return Posted(np.array([known[text] for text in column.to_pylist()], np.uint64), groups)
        offsets, data = text_views(column)
        hashes = np.empty(len(column), np.uint64)
        compiled.hash_texts(offsets.astype(np.int32), data, np.uint64(start), hashes)
        return Posted(hashes, groups)


def _imei(columns: _Columns, name: str) -> Iterator[Posted]:
    column, rows = columns.values(name)
    numbers = np.ascontiguousarray(column.to_numpy(zero_copy_only=False)).astype(np.int64)
    groups = columns.groups(len(column), rows)
    body = numbers.copy()
    for more in (1, 2):  # 15 and 16 digits behind the leading 1
        longer = (numbers >= 10 ** (14 + more)) & (numbers < 2 * 10 ** (14 + more))
        body[longer] = numbers[longer] // 10**more
    right = (body >= 10**14) & (body < 2 * 10**14)
    if not right.all():
        body, groups = body[right], groups[right]
    yield columns.numbers(body.view(np.uint64), groups)
    column, rows = columns.values(name + "_text")
    if len(column):
        plain = pc.replace_substring_regex(column, r"[^0-9A-Za-z]", "")
        right = np.asarray(pc.match_substring_regex(plain, "^[0-9]{14,16}$").to_numpy(zero_copy_only=False))
        bodies = [imei_body(text) for text in plain.filter(pa.array(right)).to_pylist()]
        yield columns.numbers(np.array(bodies, np.uint64), columns.groups(len(column), rows)[right])


def _addresses(columns: _Columns, name: str, part: Traits) -> Iterator[Posted]:
    start = columns.seed(PREFIX)
    column, rows = columns.values(name)
    if len(column):
        addresses = np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.uint64)
        groups = columns.groups(len(column), rows)
        yield columns.numbers(addresses, groups)
        if name == "nat_ip":
            zero = np.zeros(len(addresses), np.uint64)
            yield from _ports(columns, [zero + np.uint64(4), zero, addresses], groups, rows, part)
    column, rows = columns.values(name + "_v6")
    if not len(column):
        return
    groups = columns.groups(len(column), rows)
    high, low = _halves(column)
    six = np.full(len(high), 6, np.uint64)
    yield Posted(hash_columns(start, [six, high, low, np.full(len(high), V6_BITS, np.uint64)]), groups)
    for level in V6_LEVELS:
        cut = high & np.uint64(_LOW << (64 - level) & _LOW)
        yield Posted(hash_columns(start, [six, cut, low * np.uint64(0), np.full(len(high), level, np.uint64)]), groups)
    if name == "nat_ip":
        yield from _ports(columns, [six, high, low], groups, rows, part)


def _halves(column: Any) -> tuple[Words, Words]:
    """Return the upper and lower 64 bits of 16-byte values without nulls."""
    plain = pa.concat_arrays([column])
    data = np.frombuffer(plain.buffers()[1], ">u8")[2 * plain.offset : 2 * (plain.offset + len(plain))].reshape(-1, 2)
    return data[:, 0].astype(np.uint64), data[:, 1].astype(np.uint64)


def _ports(
    columns: _Columns, words: Sequence[Words], groups: Groups, rows: npt.NDArray[np.int64] | None, part: Traits
) -> Iterator[Posted]:
    """Post addresses with each block of their ports; without ports, or with too many, with ANY_BLOCK."""
    start = columns.seed(PORTS)
    first, last = _port_range(columns.records)
    if rows is not None:
        first, last = first[rows], last[rows]
    low, high = first >> part.port_bits, last >> part.port_bits
    wide = (first < 0) | (high - low >= PORT_BLOCKS_MAX)
    for step in range(PORT_BLOCKS_MAX):
        chosen = ~wide & (low + step <= high)
        if chosen.any():
            block = (low + step)[chosen].astype(np.uint64)
            yield Posted(hash_columns(start, [*(word[chosen] for word in words), block]), groups[chosen])
    if wide.any():
        block = np.full(int(wide.sum()), ANY_BLOCK, np.uint64)
        yield Posted(hash_columns(start, [*(word[wide] for word in words), block]), groups[wide])


def _port_range(records: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the first and last public port of every row; -1 where it names none. One of the two may be missing."""
    given = [records.column(name) for name in ("nat_port_first", "nat_port_last") if name in records.column_names]
    if not given:
        none = np.full(records.num_rows, -1, np.int64)
        return none, none
    first, last = pc.coalesce(*given), pc.coalesce(*reversed(given))
    lower, upper = (pc.fill_null(column.cast(pa.int64()), -1).to_numpy() for column in (first, last))
    return lower, np.where(upper < lower, -1, upper)


def _port_bits(records: pa.Table) -> int:
    """Return the size of a block of ports that nine records in ten need no more than two of."""
    first, last = _port_range(records)
    known = first >= 0
    if not known.any():
        return 0
    return int(np.quantile(last[known] - first[known] + 1, 0.9, method="lower") - 1).bit_length()


def _prefixes(columns: _Columns, name: str) -> Posted:
    column, rows = columns.values(name)
    groups = columns.groups(len(column), rows)
    if not len(column):
        return Posted(np.zeros(0, np.uint64), groups)
    start = columns.seed(PREFIX)
    encoded: Any = pc.dictionary_encode(column.cast(pa.string()))
    hashes = [
        [hash_value(start, network_words(item)) for item in _levels(text)] for text in encoded.dictionary.to_pylist()
    ]
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
    found = [Posted(np.zeros(0, np.uint64), np.zeros(0, np.uint32))]
    for level in range(max(len(item) for item in hashes)):
        has = np.array([len(item) > level for item in hashes])
        values = np.array([item[level] if len(item) > level else 0 for item in hashes], np.uint64)
        chosen = has[codes]
        found.append(Posted(values[codes[chosen]], groups[chosen]))
    return Posted(np.concatenate([item.hashes for item in found]), np.concatenate([item.groups for item in found]))


def _levels(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return the networks under which a stored prefix is posted: itself, and the shorter levels of IPv6."""
    network = _network(text)
    if network is None:
        return []
    if network.version == 4:
        return [network]
    return [network, *(network.supernet(new_prefix=level) for level in V6_LEVELS if level < network.prefixlen)]


def _network(text: str | None) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return None if text is None else ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
