"""Corrections of single records: what each does to a read, and that nothing of them outlives the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import InputError, NotFoundError, ProcedureError
from schemas.holds import Purpose
from store import ScanQuery, Store, TargetIdentifier
from store.correcting import rectified
from store.correcting.overlay import RECTIFIED, RELEASED, RESTRICTED, SUPERSEDED, Correction, apply
from store.partitions import PartitionKey
from tests.conftest import FixedClock, ends_us
from tests.fault.disk import Disk, run_until
from tests.store.conftest import deliver
from tests.store.records import CALLING, records, with_column

EVER = ScanQuery(0, 2**60)
DISCLOSURE = replace(EVER, purpose=Purpose.DISCLOSURE)
OLD, NEW = "46701749999", "46701741234"
REASON = "the subscriber objects"
HERE = PartitionKey.parse("2026-11-20/standard/shared")


def rows(store: Store, query: ScanQuery = EVER) -> list[dict[str, Any]]:
    found = [row for batch in store.scan(query) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: (row["batch_id"], row["batch_position"]))


def places(store: Store, query: ScanQuery = EVER) -> set[tuple[int, int]]:
    return {(row["batch_id"], row["batch_position"]) for row in rows(store, query)}


def of_number(number: str, **more: Any) -> ScanQuery:
    return replace(EVER, targets=(TargetIdentifier("number", number),), **more)


def ask(store: Store, kind: str, batch: int, position: int, act: str = "00000000000000aa", **fields: Any) -> str:
    wanted = Correction(act, kind, HERE, batch, position, fields, said={"reason": REASON})
    return store.corrections.request(wanted, {"by": "one"}).act


def correct(store: Store, kind: str, batch: int, position: int, act: str = "00000000000000aa", **fields: Any) -> None:
    ask(store, kind, batch, position, act, **fields)
    store.corrections.confirm(act, {}, ("one", "two"))


def refused(reason: str, act: Callable[[], object]) -> None:
    with pytest.raises(ProcedureError) as caught:
        act()
    assert caught.value.reason == reason


@pytest.fixture
def batch(store: Store) -> int:
    """Fifty records of one day; the third is of OLD."""
    table = records(50, first_key=1)
    numbers = table.column("calling_number").to_pylist()
    numbers[2] = int("1" + OLD)
    return deliver(store, with_column(table, "calling_number", numbers)).batch_id


def test_a_request_changes_nothing(store: Store, batch: int) -> None:
    before = rows(store)
    ask(store, SUPERSEDED, batch, 3)
    assert rows(store) == before
    assert store.verify() == []


def test_what_is_restricted_is_left_out_of_all_but_disclosures(store: Store, batch: int) -> None:
    correct(store, RESTRICTED, batch, 3)
    assert (batch, 3) not in places(store)
    assert (batch, 3) not in places(store, replace(EVER, purpose=Purpose.BILLING))
    assert len(places(store)) == 49
    assert (batch, 3) in places(store, DISCLOSURE)
    assert rows(store, of_number(OLD)) == []
    assert len(rows(store, of_number(OLD, purpose=Purpose.DISCLOSURE))) == 1
    assert store.corrections.marks([(batch, 2), (batch, 3)]) == {RESTRICTED: [2]}
    assert store.verify() == []


def test_a_release_ends_a_restriction_and_another_may_follow(store: Store, batch: int) -> None:
    refused("state", lambda: ask(store, RELEASED, batch, 3, "00000000000000a0"))
    correct(store, RESTRICTED, batch, 3, "00000000000000a1")
    correct(store, RESTRICTED, batch, 4, "00000000000000a2")
    correct(store, RELEASED, batch, 3, "00000000000000a3")
    assert (batch, 3) in places(store)
    assert (batch, 4) not in places(store)
    assert (batch, 3) in places(store, DISCLOSURE)
    assert store.corrections.marks([(batch, 3), (batch, 4)]) == {RESTRICTED: [2]}
    refused("state", lambda: ask(store, RELEASED, batch, 3, "00000000000000a4"))
    correct(store, RESTRICTED, batch, 3, "00000000000000a5")
    assert (batch, 3) not in places(store)
    assert store.verify() == []


def test_what_is_superseded_is_left_out_of_every_read(store: Store, batch: int) -> None:
    correct(store, SUPERSEDED, batch, 3)
    assert len(places(store)) == len(places(store, DISCLOSURE)) == 49
    assert rows(store, of_number(OLD, purpose=Purpose.DISCLOSURE)) == []
    assert store.verify() == []


def test_what_is_rectified_is_read_and_found_as_corrected(store: Store, batch: int) -> None:
    before = {row["batch_position"]: row for row in rows(store)}
    correct(store, RECTIFIED, batch, 3, calling_number=NEW, volume_up_bytes=7, cell_id=None, source_ip="2001:db8::1")
    after = {row["batch_position"]: row for row in rows(store)}
    changed = {
        "calling_number": int("1" + NEW),
        "volume_up_bytes": 7,
        "cell_id": None,
        "source_ip": None,
        "source_ip_v6": bytes.fromhex("20010db8000000000000000000000001"),
    }
    assert after.pop(3) == before.pop(3) | changed
    assert after == before
    assert [row["batch_position"] for row in rows(store, of_number(NEW))] == [3]
    assert rows(store, of_number(OLD)) == [], "the record never was that number's"
    by_address = replace(EVER, targets=(TargetIdentifier("ip", "2001:db8::/64"),))
    assert [row["batch_position"] for row in rows(store, by_address)] == [3]
    assert rows(store, replace(of_number(NEW), columns=("batch_position", "batch_id"))) == [
        {"batch_position": 3, "batch_id": batch}
    ]
    assert store.plan(of_number(NEW), to_row_groups=True).as_dict()["corrected_parts"] == 1
    assert store.verify() == []


def test_the_later_of_two_rectifications_counts(store: Store, batch: int) -> None:
    ask(store, RECTIFIED, batch, 3, "00000000000000a1", duration_ms=1, billable_duration_ms=1)
    ask(store, RECTIFIED, batch, 3, "00000000000000a2", duration_ms=2)
    store.corrections.confirm("00000000000000a2", {}, ("one", "two"))
    store.corrections.confirm("00000000000000a1", {}, ("one", "two"))
    (row,) = (row for row in rows(store) if row["batch_position"] == 3)
    assert (row["duration_ms"], row["billable_duration_ms"]) == (1, 1)


def test_a_decided_conflict_is_read_where_conflicts_are_left_out(store: Store, batch: int) -> None:
    again = with_column(records(50, first_key=1), "duration_ms", [999_000] * 50)
    other = deliver(store, again).batch_id
    firm = replace(EVER, include_conflicts=False)
    assert (other, 3) not in places(store, firm)
    correct(store, SUPERSEDED, batch, 3, "00000000000000a1")
    correct(store, RECTIFIED, other, 3, "00000000000000a2", conflict=False)
    assert (other, 3) in places(store, firm)
    assert (batch, 3) not in places(store, firm)


def test_compaction_keeps_corrections(store: Store, batch: int) -> None:
    others = [deliver(store, records(20, seed=n, first_key=n * 1000)).batch_id for n in range(1, 6)]
    correct(store, RESTRICTED, batch, 1, "00000000000000a1")
    correct(store, SUPERSEDED, others[0], 2, "00000000000000a2")
    correct(store, RECTIFIED, batch, 3, "00000000000000a3", calling_number=NEW, called_number="sip:a@example.net")
    queries = (
        EVER,
        DISCLOSURE,
        of_number(OLD),
        of_number(NEW),
        of_number("sip:a@example.net"),
        of_number(str(CALLING)[1:]),
    )
    before = [rows(store, query) for query in queries]
    assert store.compact(everything=True).merged == 6
    assert [rows(store, query) for query in queries] == before
    assert [len(found) for found in before[:5]] == [148, 149, 0, 1, 1]
    assert store.verify() == []


def test_a_large_part_is_corrected_in_every_stretch(store: Store) -> None:
    big = deliver(store, records(140_000, first_key=1)).batch_id
    everywhere = {1, 70_000, 139_999}
    for position in sorted(everywhere):
        correct(store, RECTIFIED, big, position, f"{position:016x}", calling_number=NEW)
    assert {row["batch_position"] for row in rows(store, of_number(NEW))} == everywhere


def test_withdrawn_and_restricted_records_stay_hidden(store: Store, batch: int) -> None:
    other = deliver(store, records(20, seed=9, first_key=5000)).batch_id
    correct(store, RESTRICTED, batch, 3)
    store.withdraw_batch(batch, reason="test", actors=("one", "two"))
    assert places(store, DISCLOSURE) == places(store) == {(other, n) for n in range(1, 21)}
    held_back = replace(EVER, include_withdrawn=True)
    assert (batch, 3) not in places(store, held_back)
    assert len(places(store, held_back)) == 69
    store.compact(everything=True)
    assert len(places(store, held_back)) == 69
    assert store.verify() == []


def test_one_person_alone_a_second_confirmation_and_a_repeated_correction_are_refused(store: Store, batch: int) -> None:
    act = ask(store, RESTRICTED, batch, 3)
    refused("two-persons", lambda: store.corrections.confirm(act, {}, ("one", "one")))
    refused("stale", lambda: ask(store, RESTRICTED, batch, 4, act))
    waiting = ask(store, RECTIFIED, batch, 3, "00000000000000ab", duration_ms=1)
    store.corrections.confirm(act, {}, ("one", "two"))
    refused("state", lambda: store.corrections.confirm(act, {}, ("one", "two")))
    refused("state", lambda: ask(store, RESTRICTED, batch, 3, "00000000000000ac"))
    correct(store, SUPERSEDED, batch, 3, "00000000000000ad")
    refused("state", lambda: store.corrections.confirm(waiting, {}, ("one", "two")))
    refused("kind", lambda: ask(store, "deleted", batch, 4, "00000000000000ae"))


def test_an_unknown_record_and_an_unknown_request_are_refused(store: Store, batch: int) -> None:
    for place in ((batch, 51), (batch, 0), (batch + 1, 1)):
        with pytest.raises(NotFoundError):
            ask(store, RESTRICTED, *place)
    with pytest.raises(NotFoundError):
        store.corrections.confirm("00000000000000ff", {}, ("one", "two"))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"nothing": 1},
        {"end_time": "2026-11-20T00:00:00Z"},
        {"record_key": "1"},
        {"batch_id": 1},
        {"calling_number": "+46701741234"},
        {"calling_number": ""},
        {"calling_number": 46701741234},
        {"source_ip": "198.51.100.256"},
        {"mac": "00:55"},
        {"ipv6_prefix": "2001:db8::1/32"},
        {"source_port": 65_536},
        {"duration_ms": -1},
        {"duration_ms": True},
        {"duration_ms": "7"},
        {"conflict": None},
        {"conflict": 1},
        {"answer_time": "2026-11-20T00:00:00+01:00"},
        {"cause": "two\nlines"},
    ],
)
def test_a_value_without_its_form_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        rectified.check(fields)
    assert not any(str(value) in caught.value.message for value in fields.values() if isinstance(value, str) and value)


def test_every_field_that_can_be_replaced_is(store: Store, batch: int) -> None:
    values: dict[str, Any] = {
        "answer_time": "2026-11-20T01:02:03.5Z",
        "utc_offset_s": -3600,
        "mac": "00:55:aa:12:34:f7",
        "imsi": "240010055566677",
        "source_ip": "198.51.100.119",
        "ipv6_prefix": "2001:db8::/56",
        "nat_port_last": 65_535,
        "user_agent": "agent/1",
        "end_inferred": False,
        "account": "A-1",
        "calling_number_delivered": "070-174 12 34",
    }
    correct(store, RECTIFIED, batch, 3, **values)
    (row,) = (row for row in rows(store) if row["batch_position"] == 3)
    for name, value in rectified.packed(values).items():
        told = int(row[name].timestamp() * 1_000_000) if name == "answer_time" else row[name]
        assert told == value, name


def test_apply_leaves_other_tables_alone() -> None:
    table = records(5).append_column("batch_id", pa.array([1] * 5, pa.int64()))
    elsewhere = [Correction("a", SUPERSEDED, HERE, 2, 3), Correction("b", SUPERSEDED, HERE, 1, 6)]
    assert apply(table, elsewhere) is table
    here = apply(
        table, [Correction("c", SUPERSEDED, HERE, 1, 1), Correction("d", RECTIFIED, HERE, 1, 2, {"mac": None})]
    )
    assert here.column("batch_position").to_pylist() == [2, 3, 4, 5]
    assert here.column("mac").null_count == 4


def test_nothing_of_a_correction_lies_in_the_clear_or_outlives_its_partition(
    store: Store, batch: int, clock: FixedClock
) -> None:
    correct(store, RECTIFIED, batch, 3, calling_number=NEW)
    ask(store, RECTIFIED, batch, 4, "00000000000000ab", called_number=NEW, cause=REASON)
    forms = [NEW.encode(), NEW.encode("utf-16-le"), int("1" + NEW).to_bytes(8, "little"), REASON.encode()]
    files = [path for path in Path(store.root).rglob("*") if path.is_file()]
    assert not [path.name for path in files if any(form in path.read_bytes() for form in forms)]
    entries = list(store.audit.entries(0, store.audit.size, reveal=True))
    (told,) = (entry for entry in entries if entry.kind == "record.corrected")
    assert set(told.public) == {"act", "actors", "kind", "partition", "ref"}
    assert told.secret is not None
    assert told.secret["reason"] == REASON
    assert all(NEW not in str((entry.public, entry.secret)) for entry in entries)
    clock.value_us = ends_us(HERE)
    with pytest.raises(NotFoundError):
        store.corrections.get("00000000000000aa")
    with pytest.raises(NotFoundError):
        store.corrections.confirm("00000000000000ab", {}, ("one", "two"))
    with pytest.raises(NotFoundError):
        ask(store, RESTRICTED, batch, 5, "00000000000000ac")
    assert store.expire().partitions == (HERE,)
    assert store.catalog.query("SELECT count(*) FROM corrections") == [(0,)]
    with pytest.raises(NotFoundError):
        ask(store, RESTRICTED, batch, 5, "00000000000000ac")
    assert store.verify() == []


def test_verify_tells_a_row_that_was_changed_taken_away_or_put_in(store: Store, batch: int) -> None:
    correct(store, RESTRICTED, batch, 3)
    ask(store, SUPERSEDED, batch, 4, "00000000000000ab")

    def after(statement: str) -> list[str]:
        with store.catalog.transaction() as cursor:
            cursor.execute("CREATE TEMP TABLE kept AS SELECT * FROM corrections")
            cursor.execute(statement)
        found = [str(problem) for problem in store.verify()]
        with store.catalog.transaction() as cursor:
            cursor.execute("DELETE FROM corrections")
            cursor.execute("INSERT INTO corrections SELECT * FROM kept")
            cursor.execute("DROP TABLE kept")
        assert store.verify() == []
        return found

    assert len(after("DELETE FROM corrections WHERE confirmed_us > 0")) == 1
    assert len(after("UPDATE corrections SET kind = 'superseded' WHERE confirmed_us > 0")) == 3
    assert len(after("UPDATE corrections SET confirmed_us = 1")) == 2, "not confirmed: the log and the seal say so"


@pytest.mark.parametrize("stop", range(1, 4))
def test_a_crash_leaves_the_request_or_the_correction(
    tmp_path: Path, clock: FixedClock, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        batch = deliver(store, records(5)).batch_id
        ask(store, SUPERSEDED, batch, 3)
        run_until(monkeypatch, Disk(stop), lambda: store.corrections.confirm("00000000000000aa", {}, ("one", "two")))
    with Store.open(tmp_path / "root", clock=clock) as store:
        confirmed = store.corrections.get("00000000000000aa").confirmed
        assert len(places(store)) == (4 if confirmed else 5)
        assert store.verify() == []
