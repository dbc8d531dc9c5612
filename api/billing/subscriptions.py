"""Subscriptions: which account a number, IMSI, MAC or address belonged to, and when.

Used where a source tells no account. Dates are UTC and half-open; the record's start decides. One identifier belongs to
at most one account at a time. Rows whose validity ended before the ceiling serve no record any more and go at import.
"""

from __future__ import annotations

import csv
import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import pairwise
from typing import Final, TextIO

import pyarrow as pa

from api.billing import sealed
from schemas.buffers import Column, flat, pc
from schemas.errors import InputError, NotFoundError
from schemas.numbers import normalise_number, rules
from schemas.packing import pack_address_value, pack_identifier, pack_mac_value
from schemas.retention import CEILING_MONTHS, add_months
from store import AuditEntry, Put, Store
from store.clock import to_date
from store.partitions import DAY_US

KIND: Final = "subscriptions"
CURRENT: Final = "current"
KINDS: Final = ("number", "imsi", "mac", "ip")
COLUMNS: Final = ("kind", "value", "account", "valid_from", "valid_to")
ROWS_MAX: Final = 1_000_000
FOREVER_US: Final = 2**62

_TYPES: Final[dict[str, pa.DataType]] = {
    "kind": pa.string(),
    "value": pa.string(),
    "account": pa.string(),
    "valid_from": pa.date32(),
    "valid_to": pa.date32(),
}
_SCHEMA: Final = pa.schema(_TYPES)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One identifier of one account in [valid_from, valid_to); `valid_to` None is open."""

    kind: str
    value: str
    account: str
    valid_from: date
    valid_to: date | None

    def __repr__(self) -> str:
        return f"Subscription(kind={self.kind!r})"

    @property
    def end(self) -> date:
        """The day after the last; a far day when open."""
        return self.valid_to or date.max


def parse(stream: TextIO, *, country: str | None) -> Iterator[tuple[int, Subscription]]:
    """Yield (position, subscription) of a CSV with the header kind,value,account,valid_from,valid_to in any order.

    Raises:
        InputError: the header or a row does not have its form; it names the row's position (1-based).
    """
    reader = csv.DictReader(stream, strict=True)
    header = [name.strip() for name in reader.fieldnames or ()]
    if sorted(header) != sorted(COLUMNS):
        raise InputError("the header of subscriptions is " + ",".join(COLUMNS))
    reader.fieldnames = header
    try:
        for position, row in enumerate(reader, start=1):
            if position > ROWS_MAX:
                raise InputError("there are too many subscriptions in one file", position=position)
            try:
                yield position, _subscription(row, country)
            except (ValueError, TypeError, AttributeError):
                raise InputError("a subscription does not have its form", position=position) from None
    except csv.Error:
        raise InputError("the file of subscriptions is not CSV") from None


@dataclass(frozen=True, slots=True)
class Owned:
    """Who owned what, as records are compared with it: by column of a packed record."""

    tables: dict[str, pa.Table]
    """Column -> value, owner (position among the names), from_us and to_us (µs UTC, half-open)."""
    names: list[str]
    """The accounts."""


def load(store: Store, *, account: str | None = None) -> list[Subscription]:
    """Return all subscriptions, or those of one account, by kind, value and start."""
    table = _table(store)
    if account is not None:
        table = table.filter(pc.equal(table.column("account"), pa.scalar(account)))
    return [Subscription(**row) for row in table.to_pylist()]


def holders(store: Store, kind: str, value: str, first: date, last: date) -> list[Subscription]:
    """Return who held one identifier on any day from `first` to `last`, by start."""
    table = _table(store)
    mask = pc.and_(pc.equal(table.column("kind"), pa.scalar(kind)), pc.equal(table.column("value"), pa.scalar(value)))
    found = (Subscription(**row) for row in table.filter(mask).to_pylist())
    return [item for item in found if item.valid_from <= last and first < item.end]


def import_rows(store: Store, rows: Iterable[tuple[int, Subscription]]) -> dict[str, int]:
    """Add rows; one with the same kind, value and start replaces the earlier one. Return counts.

    Raises:
        InputError: an identifier would belong to two accounts at once; nothing is changed.
        ProcedureError: reason `stale`: somebody else imported meanwhile.
    """
    generation, revision = _generation(store)
    merged = {_key(item): item for item in load(store)}
    imported = 0
    for position, item in rows:
        merged[_key(item)] = item
        imported = position
    # Nothing before this day is in the store any more.
    ceiling = add_months(to_date(store.clock.now_us()), -CEILING_MONTHS)
    kept = sorted((item for item in merged.values() if item.end > ceiling), key=_key)
    if len(kept) > ROWS_MAX:
        raise InputError(f"there are more than {ROWS_MAX} subscriptions")
    _refuse_overlaps(kept)
    body = {"generation": generation + 1, "rows": len(kept)}
    sealed.keep(store, KIND, f"{generation + 1:06d}", _as_table(kept))
    public = {"rows": len(kept), "imported": imported, "generation": generation + 1}
    store.documents.commit([Put(KIND, CURRENT, body, expect=revision)], [AuditEntry("subscriptions.imported", public)])
    if generation:
        sealed.remove(store, KIND, f"{generation:06d}")
    return {"imported": imported, "rows": len(kept), "ended": len(merged) - len(kept)}


def owned(store: Store) -> Owned:
    """Return who owned what, of all subscriptions."""
    return _owned(_table(store))


def owned_by(items: Iterable[Subscription]) -> Owned:
    """Return who owned what, of some subscriptions."""
    return _owned(_as_table(list(items)))


def _owned(table: pa.Table) -> Owned:
    """Pack what identifies the served side, which pays: its number, IMSI, MAC or address."""
    accounts = flat(table.column("account")).dictionary_encode()
    starts, ends = (flat(table.column(name)).cast(pa.int32()).cast(pa.int64()) for name in ("valid_from", "valid_to"))
    times = [pc.multiply(starts, DAY_US), pc.fill_null(pc.multiply(ends, DAY_US), FOREVER_US)]
    rows = pa.table([accounts.indices.cast(pa.int64()), *times], names=["owner", "from_us", "to_us"])
    tables: dict[str, pa.Table] = {}
    for kind, pack in _PACKERS.items():
        chosen = pc.equal(table.column("kind"), kind)
        for column, values in pack(flat(table.column("value").filter(chosen))).items():
            present = values.is_valid()
            if present.true_count:
                found = rows.filter(chosen).filter(present)
                tables[column] = found.add_column(0, "value", values.filter(present))
    return Owned(tables, accounts.dictionary.to_pylist())


def _packed_identifiers(column: str, texts: Column) -> dict[str, Column]:
    packed, others = pack_identifier(texts)
    return {column: packed, f"{column}_text": others}


def _packed_macs(texts: Column) -> dict[str, Column]:
    return {"mac": pa.array([pack_mac_value(text) for text in texts.to_pylist()], pa.int64())}


def _packed_addresses(texts: Column) -> dict[str, Column]:
    pairs = [pack_address_value(text) for text in texts.to_pylist()]
    return {
        "source_ip": pa.array([v4 for v4, _ in pairs], pa.int64()),
        "source_ip_v6": pa.array([None if v6 is None else v6.hex() for _, v6 in pairs], pa.string()),
    }


_PACKERS: Final[dict[str, Callable[[Column], dict[str, Column]]]] = {
    "number": partial(_packed_identifiers, "calling_number"),
    "imsi": partial(_packed_identifiers, "imsi"),
    "mac": _packed_macs,
    "ip": _packed_addresses,
}
"""Per kind, the columns of a record that its values are compared with, and the values there."""


def _subscription(row: dict[str, str], country: str | None) -> Subscription:
    kind, account = row["kind"].strip(), row["account"].strip()
    start, end = date.fromisoformat(row["valid_from"].strip()), (row["valid_to"] or "").strip()
    valid_to = date.fromisoformat(end) if end else None
    if kind not in KINDS or not account or (valid_to is not None and valid_to <= start):
        raise ValueError
    return Subscription(kind, _value(kind, row["value"].strip(), country), account, start, valid_to)


def _value(kind: str, text: str, country: str | None) -> str:
    if not text:
        raise ValueError
    if kind == "number":
        return normalise_number(text, rules(country))
    if kind == "ip":
        return str(ipaddress.ip_address(text))
    if kind == "mac":
        value = text.lower().replace("-", ":")
        if pack_mac_value(value) is None:
            raise ValueError
        return value
    if not text.isascii() or not text.isdigit():
        raise ValueError
    return text


def _key(item: Subscription) -> tuple[str, str, date]:
    return item.kind, item.value, item.valid_from


def _refuse_overlaps(items: list[Subscription]) -> None:
    for earlier, later in pairwise(items):
        same = (earlier.kind, earlier.value) == (later.kind, later.value)
        if same and later.valid_from < earlier.end:
            raise InputError("an identifier belongs to two subscriptions at once", hint="end the earlier one first")


def _generation(store: Store) -> tuple[int, int]:
    try:
        document = store.documents.get(KIND, CURRENT)
    except NotFoundError:
        return 0, 0
    return int(document.body["generation"]), document.revision


def _table(store: Store) -> pa.Table:
    generation, _ = _generation(store)
    return sealed.read(store, KIND, f"{generation:06d}") if generation else _SCHEMA.empty_table()


def _as_table(items: list[Subscription]) -> pa.Table:
    columns = {name: [getattr(item, name) for item in items] for name in COLUMNS}
    return pa.table(columns, schema=_SCHEMA)
