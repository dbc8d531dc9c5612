"""Every row is compared with the order before it leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from api.disclosure.model import Target, Window
from api.disclosure.selection import permitted_fields, reading_columns, select
from schemas.arrow import DELIVERED
from schemas.errors import IntegrityError
from schemas.fields import FIELDS, Category
from schemas.legal_bases import LegalBasis, basis_on
from schemas.legal_terms import Overlap

DAY = date(2026, 11, 20)
ALL = basis_on("secret-surveillance", DAY)
WHO = basis_on("subscriber-data", DAY)
WINDOW = Window(1_000_000, 2_000_000)
NUMBER = Target("number", "46701740007", "x")


def table(*rows: dict[str, Any]) -> pa.Table:
    plain: list[dict[str, Any]] = []
    for place, row in enumerate(rows):
        base: dict[str, Any] = dict.fromkeys(DELIVERED.names)
        base |= {"start_time": 1_500_000, "end_time": 1_500_000, "record_key": str(place), "switch": "s"}
        base |= {"source": "s", "dedup_domain": "s", "batch_id": 1, "batch_position": place, "conflict": False}
        plain.append(base | row)
    columns = {}
    for name in DELIVERED.names:
        kind = DELIVERED.field(name).type
        values = [row[name] for row in plain]
        time = pa.types.is_timestamp(kind)
        columns[name] = pa.array(values, pa.int64()).cast(kind) if time else pa.array(values, kind)
    return pa.table(columns)


def kept(rows: pa.Table, basis: LegalBasis, *targets: Target, window: Window = WINDOW) -> list[str]:
    found: list[str] = select(rows, basis, targets, window)["record_key"].to_pylist()
    return found


def test_rows_without_a_target_to_name_stop_everything() -> None:
    for rows in (table({"calling_number": NUMBER.value}), table({}, {})):
        with pytest.raises(IntegrityError):
            kept(rows, ALL)


@pytest.mark.parametrize(
    ("kind", "value", "row"),
    [
        ("number", "46701740007", {"calling_number": "46701740007"}),
        ("number", "46701740007", {"called_number": "46701740007"}),
        ("number", "46701740007", {"dialled_number": "46701740007"}),
        ("number", "46701740007", {"forwarded_number": "46701740007"}),
        ("imsi", "240010000000001", {"called_imsi": "240010000000001"}),
        ("imei", "35693803564380", {"imei": "356938035643809"}),
        ("imei", "35693803564380", {"called_imei": "3569380356438012"}),
        ("imei", "35693803564380", {"imei": "35-693803-564380-9"}),
        ("mac", "02:00:00:00:00:0a", {"mac": "02:00:00:00:00:0A"}),
        ("ip", "203.0.113.5", {"nat_ip": "203.0.113.5"}),
        ("ip", "2001:db8::5", {"ipv6_prefix": "2001:db8::/56"}),
        ("ip", "2001:db8::5", {"destination_ip": "2001:db8::5"}),
        ("account", "10077", {"account": "10077"}),
    ],
)
def test_a_target_is_found_in_every_role(kind: str, value: str, row: dict[str, Any]) -> None:
    assert kept(table(row), ALL, Target(kind, value, value)) == ["0"]


def test_a_row_that_the_order_does_not_name_stops_everything() -> None:
    rows = table({"calling_number": "46701740007"}, {"calling_number": "46701740008"})
    with pytest.raises(IntegrityError):
        kept(rows, ALL, NUMBER)


@pytest.mark.parametrize("times", [(2_000_000, 2_000_001), (1, 999_999)])
def test_a_row_outside_the_window_stops_everything(times: tuple[int, int]) -> None:
    row = {"calling_number": "46701740007", "start_time": times[0], "end_time": times[1]}
    with pytest.raises(IntegrityError):
        kept(table(row), ALL, NUMBER)


@pytest.mark.parametrize("times", [(1, 1_000_000), (1_999_999, 9_000_000), (1, 9_000_000)])
def test_a_session_over_the_windows_edge_belongs_to_it(times: tuple[int, int]) -> None:
    row = {"calling_number": "46701740007", "start_time": times[0], "end_time": times[1]}
    assert kept(table(row), ALL, NUMBER) == ["0"]


def test_who_held_an_address_does_not_tell_who_talked_to_it() -> None:
    address = Target("ip", "203.0.113.5", "x")
    rows = table({"source_ip": "203.0.113.5"}, {"destination_ip": "203.0.113.5"}, {"nat_ip": "203.0.113.5"})
    assert kept(rows, WHO, address) == ["0", "2"]
    assert "destination_ip" not in permitted_fields(WHO, WHO.categories)
    assert "called_number" not in permitted_fields(WHO, WHO.categories)


def test_a_port_leaves_the_other_users_of_a_translated_address_out() -> None:
    rows = table(
        {"nat_ip": "203.0.113.5", "nat_port_first": 1024, "nat_port_last": 2047},
        {"nat_ip": "203.0.113.5", "nat_port_first": 2048, "nat_port_last": 4095},
        {"nat_ip": "203.0.113.5", "nat_port_first": 2000},
        {"nat_ip": "203.0.113.5"},
        {"source_ip": "203.0.113.5", "source_port": 2000},
        {"source_ip": "203.0.113.5", "source_port": 2001},
        {"source_ip": "203.0.113.5"},
    )
    # Who is written without a port had the whole address: leaving that record out would deny who used it.
    assert kept(rows, ALL, Target("ip", "203.0.113.5", "x", 2000)) == ["0", "2", "3", "4", "6"]


def test_a_prefix_belongs_to_one_user_whatever_the_port() -> None:
    rows = table({"ipv6_prefix": "2001:db8::/56"}, {"source_ip": "2001:db8::5", "source_port": 9})
    assert kept(rows, ALL, Target("ip", "2001:db8::5", "x", 2000)) == ["0"]


def test_a_search_reads_what_may_leave_and_what_decides_and_no_location_that_is_not_asked_for() -> None:
    few = reading_columns(ALL, (NUMBER,), frozenset({Category.TIME}))
    assert {"calling_number", "forwarded_number_text", "start_time", "batch_id", "conflict"} <= {*few}
    assert not {"cell_id", "imsi", "account", "nat_ip", "source_port", "duration_ms"} & ({*few} - {*time_columns()})
    assert "cell_id" in reading_columns(ALL, (NUMBER,), ALL.categories)
    with_port = reading_columns(ALL, (Target("ip", "203.0.113.5", "x", 9),), frozenset({Category.TIME}))
    assert {"nat_port_first", "nat_port_last", "source_port", "nat_ip_v6", "ipv6_prefix"} <= {*with_port}


def time_columns() -> list[str]:
    return [field.name for field in FIELDS if field.category is Category.TIME]


def test_rows_come_in_one_order() -> None:
    rows = table(
        {"calling_number": "46701740007", "start_time": 1_600_000, "end_time": 1_600_000},
        {"calling_number": "46701740007"},
    )
    assert kept(rows, ALL, NUMBER) == ["1", "0"]


def test_location_leaves_only_where_its_category_does() -> None:
    assert "cell_id" in permitted_fields(ALL, ALL.categories)
    assert "cell_id" not in permitted_fields(ALL, frozenset({Category.PARTY, Category.TIME}))
    assert "account" not in permitted_fields(ALL, ALL.categories | {Category.CHARGING})


@pytest.mark.parametrize(
    ("start_us", "owed"), [(999_999, False), (1_000_000, True), (1_999_999, True)], ids=["before", "first", "last"]
)
def test_a_basis_may_take_only_what_began_in_the_window(start_us: int, owed: bool) -> None:
    row = {"calling_number": "46701740007", "start_time": start_us, "end_time": 9_000_000}
    basis = replace(ALL, overlap=Overlap.STARTS)
    assert kept(table(row), basis, NUMBER) == (["0"] if owed else [])
