"""Random orders over a made store, against a plain filter of the records as Python objects: nothing more, nothing less.

The filter knows nothing of the store, its index, its columns or the check of the rows: it reads dictionaries.
"""

from __future__ import annotations

import ipaddress
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.disclosure.casebook import Case
from api.disclosure.model import Target, Window
from api.disclosure.printing import ndjson, printable
from api.disclosure.search import found
from api.disclosure.selection import permitted_fields
from schemas.arrow import PACKED
from schemas.fields import BY_NAME, Category, Kind
from schemas.legal_bases import basis_on
from schemas.packing import pack_address_value, pack_identifier_value, pack_mac_value
from store.clock import to_date
from tests.api.disclosure.conftest import MIDNIGHT_US, Court
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US

ROWS: Final = 900
DAYS: Final = 5
FIRST_US: Final = MIDNIGHT_US - 9 * DAY_US
NUMBERS: Final = ("46701740001", "46701740002", "0046701740001", "112", "sip:alice@example.net", "ALERT")
IMSIS: Final = ("240010000000001", "240010000000002", "24001000000000")
IMEIS: Final = ("35693803564380", "356938035643809", "3569380356438012", "35-693803-564380-9", "35693803564381")
MACS: Final = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
ADDRESSES: Final = ("203.0.113.5", "203.0.113.6", "2001:db8::5", "2001:db8:0:100::5")
PREFIXES: Final = ("2001:db8::/56", "2001:db8:0:100::/64")
ACCOUNTS: Final = ("10077", "ACME-7")
PORTS: Final = (0, 1023, 1024, 2047, 2048, 65_535)
POOLS: Final = {
    **dict.fromkeys(("calling_number", "called_number", "dialled_number", "forwarded_number"), NUMBERS),
    **dict.fromkeys(("imsi", "called_imsi"), IMSIS),
    **dict.fromkeys(("imei", "called_imei"), IMEIS),
    "mac": MACS,
    **dict.fromkeys(("source_ip", "destination_ip", "nat_ip"), ADDRESSES),
    "ipv6_prefix": PREFIXES,
    "account": ACCOUNTS,
}
ROLES: Final = {
    "number": ("calling_number", "called_number", "dialled_number", "forwarded_number"),
    "imsi": ("imsi", "called_imsi"),
    "imei": ("imei", "called_imei"),
    "mac": ("mac",),
    "ip": ("source_ip", "destination_ip", "nat_ip", "ipv6_prefix"),
    "account": ("account",),
}
SERVED: Final = {"calling_number", "source_ip", "nat_ip", "ipv6_prefix", "account"}
PORTS_OF: Final = {
    "source_ip": ("source_port", "source_port"),
    "destination_ip": ("destination_port", "destination_port"),
    "nat_ip": ("nat_port_first", "nat_port_last"),
}
BASES: Final = ("secret-surveillance", "subscriber-data", "european-production-order")
Row = dict[str, Any]


def made_rows() -> list[Row]:
    """Return records with few values in many roles, sessions over midnight and over days, and failed attempts."""
    dice = random.Random(5)
    rows = []
    for place in range(ROWS):
        start = FIRST_US + dice.randrange(DAYS * DAY_US)
        lasts = dice.choice((0, 0, 61_000_000, 7_200_000_000, 2 * DAY_US))
        row: Row = {name: dice.choice(pool) for name, pool in POOLS.items() if dice.random() < 0.3}
        if "nat_ip" in row and dice.random() < 0.7:
            low = dice.choice(PORTS)
            row["nat_port_first"] = low
            if dice.random() < 0.7:
                row["nat_port_last"] = max(low, dice.choice(PORTS))
        for name in ("source", "destination"):
            if f"{name}_ip" in row and dice.random() < 0.6:
                row[f"{name}_port"] = dice.choice(PORTS)
        row |= {
            "record_key": f"{place:06d}",
            "switch": dice.choice(("a", "b")),
            "service_type": dice.choice(("voice", "sms", "data")),
            "start_time": start,
            "end_time": start + lasts,
            "end_inferred": dice.random() < 0.1,
            "time_ambiguous": dice.random() < 0.1,
            "duration_ms": lasts // 1000,
            "disposition": dice.choice(("answered", "busy", "failed")),
            "cell_id": dice.choice(("100", "200")),
        }
        rows.append(row)
    return rows


def packed(rows: list[Row], first: int) -> pa.Table:
    columns: dict[str, list[Any]] = {"batch_position": list(range(first, first + len(rows)))}
    for name in {name for row in rows for name in row}:
        values = [row.get(name) for row in rows]
        kind = BY_NAME[name].kind
        if kind is Kind.IDENTIFIER:
            pairs = [(None, None) if value is None else pack_identifier_value(value) for value in values]
            columns[name], columns[f"{name}_text"] = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        elif kind is Kind.ADDRESS:
            halves = [(None, None) if value is None else pack_address_value(value) for value in values]
            columns[name], columns[f"{name}_v6"] = [half[0] for half in halves], [half[1] for half in halves]
        elif kind is Kind.MAC:
            columns[name] = [None if value is None else pack_mac_value(value) for value in values]
        else:
            columns[name] = values
    return pa.table({name: _column(name, values) for name, values in columns.items()})


def _column(name: str, values: list[Any]) -> pa.Array[Any]:
    kind = PACKED.field(name).type
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else pa.array(values, kind)


class Made:
    """The store, a case to vary, and the records as they were made; without a dataclass's long repr."""

    def __init__(self, court: Court, case: Case, rows: list[Row]) -> None:
        self.court, self.case, self.rows = court, case, rows


@pytest.fixture(scope="module")
def made(shared_court: Court) -> Iterator[Made]:
    """Three deliveries, two of them merged, one withdrawn, beside the traffic that every court has."""
    rows = made_rows()
    store = shared_court.store
    deliver(store, packed(rows[:400], 1), source="one")
    deliver(store, packed(rows[400:800], 1), source="two")
    store.compact(everything=True)
    gone = [{**row, "record_key": f"W{row['record_key']}"} for row in rows[:200]]
    store.withdraw_batch(deliver(store, packed(gone, 1), source="gone").batch_id, reason="zone", actors=["a", "b"])
    deliver(store, packed(rows[800:], 1), source="three")
    task = shared_court.approved()
    yield Made(shared_court, shared_court.procedure.casebook.case(task.id), rows)


def expected(rows: list[Row], basis: str, targets: list[Target], window: Window) -> list[Row]:
    """The plain filter."""
    return [
        row
        for row in rows
        if row["start_time"] < window.end_us
        and row["end_time"] >= window.start_us
        and any(_is_named(row, target, basis) for target in targets)
    ]


def _is_named(row: Row, target: Target, basis: str) -> bool:
    roles = [role for role in ROLES[target.kind] if basis != "subscriber-data" or role in SERVED]
    return any(role in row and _is_value(role, row, target) for role in roles)


def _is_value(role: str, row: Row, target: Target) -> bool:
    value = row[role]
    if target.kind == "imei":
        return str(value).replace("-", "")[:14] == target.value
    if role == "ipv6_prefix":
        return ipaddress.ip_address(target.value) in ipaddress.ip_network(value)
    if value != target.value:
        return False
    known = [row[name] for name in PORTS_OF.get(role, ()) if name in row]
    return target.port is None or not known or known[0] <= target.port <= known[-1]


def _text(name: str, value: Any) -> Any:
    if BY_NAME[name].kind is Kind.TIME:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def _targets() -> st.SearchStrategy[Target]:
    ports = st.one_of(st.none(), st.sampled_from((*PORTS, 1500)))
    values = {
        "number": (*NUMBERS, "46701740009"),
        "imsi": (*IMSIS, "240010000000009"),
        "imei": ("35693803564380", "35693803564381", "35693803564399"),
        "mac": (*MACS, "02:00:00:00:00:0c"),
        "ip": (*ADDRESSES, "203.0.113.9", "2001:db8::9"),
        "account": (*ACCOUNTS, "9"),
    }
    plain = [
        st.builds(Target, st.just(kind), st.sampled_from(pool), st.just("x"))
        for kind, pool in values.items()
        if kind != "ip"
    ]
    return st.one_of(*plain, st.builds(Target, st.just("ip"), st.sampled_from(values["ip"]), st.just("x"), ports))


def _windows(rows: list[Row]) -> st.SearchStrategy[Window]:
    edges = sorted({row[name] + off for row in rows[:60] for name in ("start_time", "end_time") for off in (0, 1)})
    instants = st.one_of(st.sampled_from(edges), st.integers(FIRST_US - DAY_US, FIRST_US + (DAYS + 3) * DAY_US))
    pairs = st.tuples(instants, instants).filter(lambda pair: pair[0] != pair[1])
    return pairs.map(lambda pair: Window(min(pair), max(pair)))


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(BASES),
    targets=st.lists(_targets(), min_size=1, max_size=3),
    window=_windows(made_rows()),
    asked=st.frozensets(st.sampled_from(sorted(Category))),
)
def test_a_search_finds_what_a_plain_filter_finds(
    made: Made, name: str, targets: list[Target], window: Window, asked: frozenset[Category]
) -> None:
    basis = basis_on(name, to_date(NOW_US))
    categories = asked & basis.categories | {Category.RECORD}
    case = replace(
        made.case,
        task=replace(made.case.task, targets=tuple(targets), window=window, categories=categories),
        authorisation=replace(made.case.authorisation, basis_id=name, basis_version=basis.version),
    )
    names = permitted_fields(basis, categories)
    tables = list(found(made.court.store, case))
    lines = [json.loads(line) for table in tables for line in ndjson(printable(table, names)).splitlines()]
    # The court's own traffic is of other sources and keys; a number may be in both.
    mine = [line for line in lines if line["source"] in ("one", "two", "three", "gone")]
    wanted = expected(made.rows, name, targets, window)
    assert sorted(line["record_key"] for line in mine) == [row["record_key"] for row in wanted]
    plain = {row["record_key"]: row for row in made.rows}
    marks = ("end_inferred", "time_ambiguous")
    for line in mine:
        row = plain[line["record_key"]]
        may = {field for field in row if basis.permits(field) and BY_NAME[field].category in categories} | set(marks)
        assert {field: line[field] for field in row if field in line} == {f: _text(f, row[f]) for f in may}
        assert set(line) <= set(names)
