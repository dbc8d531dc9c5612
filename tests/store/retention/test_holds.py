"""Holds: single records outlive their partition for one purpose, and the partition still drops."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import IntegrityError, KeyUnavailableError, LagrumError, NotFoundError, ProcedureError
from schemas.holds import HOLD_BASES, Purpose, hold_basis
from schemas.packing import unpack_identifier_value
from schemas.retention import add_months, midnight
from store import Put, ScanQuery, Store
from store.clock import to_date
from store.partitions import PartitionKey, to_us
from store.retention import certificates, expiry
from store.retention.holds import KIND
from tests.conftest import FixedClock, ends_us
from tests.fault.disk import Disk, run_until
from tests.store.conftest import deliver
from tests.store.records import DAY_US, records, with_column

EVER = ScanQuery(0, 2**60)
COLUMNS = ("calling_number", "called_number", "start_time", "cell_id", "imsi", "account", "batch_id", "batch_position")


def place(store: Store, hold_id: str, *, basis: str = "preservation", ends: date | None = None, **more: Any) -> None:
    today = to_date(store.clock.now_us())
    body = {
        "state": "active",
        "basis": basis,
        "ends": (ends or hold_basis(basis).last_end(today)).isoformat(),
        "start_us": 0,
        "end_us": 2**60,
        "accounts": [],
        "targets": [],
        **more,
    }
    store.documents.commit([Put(KIND, hold_id, body, expect=0)])


def number_of(table: pa.Table) -> tuple[str, int]:
    """Return one calling number, and in how many records it calls or is called."""
    packed = table.column("calling_number")[0].as_py()
    hits = sum(
        packed in pair
        for pair in zip(
            table.column("calling_number").to_pylist(), table.column("called_number").to_pylist(), strict=True
        )
    )
    return str(unpack_identifier_value(packed, None)), hits


def held(store: Store, purpose: Purpose = Purpose.DISCLOSURE, **more: Any) -> list[dict[str, Any]]:
    batches = store.holds.scan(purpose, start_us=0, end_us=2**60, columns=COLUMNS, **more)
    return [row for batch in batches for row in batch.to_pylist()]


def age(store: Store, clock: FixedClock) -> PartitionKey:
    """Let the oldest partition's period end."""
    key = store.partitions()[0].key
    clock.value_us = ends_us(key)
    return key


def preserve(store: Store, clock: FixedClock, table: pa.Table, hold_id: str = "a1") -> tuple[PartitionKey, int]:
    """Hold one number's records a day before their partition's end, and go to that end."""
    number, hits = number_of(table)
    key = age(store, clock)
    clock.value_us -= DAY_US
    place(store, hold_id, targets=[{"kind": "number", "value": number}])
    clock.value_us += DAY_US
    return key, hits


def test_what_is_held_moves_out_and_the_partition_drops(store: Store, clock: FixedClock) -> None:
    table = records(200)
    deliver(store, table)
    key, hits = preserve(store, clock, table)
    assert held(store) == []
    result = store.expire()
    assert (result.partitions, result.held) == ((key,), ())
    assert not store.keyring.has(key.ref) and store.partitions() == []
    found = held(store)
    assert len(found) == hits > 0
    assert all(row["cell_id"] is not None for row in found)
    assert store.verify() == []
    assert json.dumps(certificates.stored(store)[0][2]).count("preservation") > 0
    report = store.holds.report()
    assert (report["records_held"], report["records_stored"], report["share"]) == (hits, 0, 1.0)


def test_a_clock_set_ahead_while_nobody_watched_ends_no_hold(store: Store, clock: FixedClock) -> None:
    table = records(200)
    deliver(store, table)
    _, hits = preserve(store, clock, table)
    place(store, "a2", basis="invoice", accounts=["000777"])
    store.expire()
    hold = store.holds.get("a1")
    clock.value_us = to_us(midnight(hold.ends)) - 8 * DAY_US
    store.clock_guard.observe()
    clock.restart()
    clock.jump(days=10)
    store.expire()
    assert store.keyring.has(hold.ref)
    assert held(store) == [], "by the wall its time is over"
    clock.jump(days=-10)
    clock.advance(days=7)
    store.expire()
    assert len(held(store)) == hits
    clock.advance(days=1)
    store.expire()
    assert not store.keyring.has(hold.ref)


def test_a_clock_set_ahead_while_nobody_watched_lets_no_partition_go_whose_hold_goes_on(
    store: Store, clock: FixedClock
) -> None:
    table = records(200)
    deliver(store, table)
    number, hits = number_of(table)
    key = age(store, clock)
    clock.value_us -= DAY_US
    place(store, "a1", targets=[{"kind": "number", "value": number}], ends=to_date(clock.value_us) + timedelta(days=3))
    clock.value_us += DAY_US
    store.clock_guard.observe()
    clock.restart()
    clock.jump(days=10)
    assert store.expire().partitions == (key,)
    clock.jump(days=-10)
    assert len(held(store)) == hits


def test_a_billing_hold_keeps_what_billing_needs_and_no_more(store: Store, clock: FixedClock) -> None:
    table = with_column(records(50), "account", [1_000_777 if row < 20 else 1_000_888 for row in range(50)])
    deliver(store, table)
    age(store, clock)
    place(store, "b1", basis="invoice-consumer", accounts=["000777"])
    store.expire()
    found = held(store, Purpose.BILLING)
    assert len(found) == 20
    assert {row["account"] for row in found} == {1_000_777}
    assert all(row["cell_id"] is None and row["imsi"] is not None for row in found)


def test_held_records_serve_the_purpose_of_their_hold_only(store: Store, clock: FixedClock) -> None:
    table = records(50)
    deliver(store, table)
    preserve(store, clock, table)
    store.expire()
    assert held(store, Purpose.BILLING) == []
    with pytest.raises(ProcedureError) as caught:
        held(store, Purpose.BILLING, holds=["a1"])
    assert caught.value.reason == "purpose"
    assert sum(batch.num_rows for batch in store.scan(EVER)) == 0


def test_a_hold_that_comes_while_expiry_runs_wins(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = records(100)
    deliver(store, table)
    number, hits = number_of(table)
    key = age(store, clock)
    carve = store.holds.carve
    place(store, "a1", targets=[{"kind": "number", "value": number}])

    def then_a_hold(partition: PartitionKey) -> None:
        carve(partition)
        place(store, "late", targets=[{"kind": "number", "value": number}])

    monkeypatch.setattr(store.holds, "carve", then_a_hold)
    result = store.expire()
    assert (result.partitions, result.held, store.keyring.has(key.ref)) == ((), (key,), True)
    assert store.holds.report()["records_held"] == hits
    assert held(store) == [], "what was copied out is read where it lies"
    monkeypatch.setattr(store.holds, "carve", carve)
    assert store.expire().partitions == (key,)
    assert len(held(store)) == hits


def test_two_holds_on_one_record_give_it_once(store: Store, clock: FixedClock) -> None:
    table = records(60)
    deliver(store, table)
    number, hits = number_of(table)
    age(store, clock)
    for hold_id in ("a1", "a2"):
        place(store, hold_id, targets=[{"kind": "number", "value": number}])
    store.expire()
    assert len(held(store)) == hits
    assert len(held(store, holds=["a2"])) == hits


def test_the_window_of_a_hold_binds(store: Store, clock: FixedClock) -> None:
    deliver(store, records(50))
    number = number_of(records(50))[0]
    age(store, clock)
    place(store, "a1", targets=[{"kind": "number", "value": number}], end_us=DAY_US)
    assert len(store.expire().partitions) == 1
    assert held(store) == []
    assert store.catalog.query("SELECT count(*) FROM held")[0][0] == 0


def test_withdrawn_records_are_not_held(store: Store, clock: FixedClock) -> None:
    table = records(50)
    batch = deliver(store, table).batch_id
    store.withdraw_batch(batch, reason="wrong zone", actors=("a", "b"))
    preserve(store, clock, table)
    store.expire()
    assert held(store) == []


def test_ending_a_hold_destroys_what_it_held_and_is_certified(store: Store, clock: FixedClock) -> None:
    table = records(80)
    deliver(store, table)
    _, hits = preserve(store, clock, table)
    store.expire()
    ref = store.holds.get("a1").ref
    copies = {path: path.read_bytes() for path in store.layout.held.rglob("*") if path.is_file()}
    store.holds.end("a1", reason="the order was lifted", actors=("c1", "c2"))
    assert held(store) == [] and not store.keyring.has(ref)
    with pytest.raises(KeyUnavailableError):
        store.keyring.key(ref)
    assert len(copies) == 1 and not any(path.exists() for path in copies)
    last = [entry for entry in store.audit.entries(0, store.audit.size, reveal=False) if entry.kind == "hold.ended"][-1]
    assert last.public["partitions"][0]["records"] == hits and last.public["actors"] == ["c1", "c2"]
    assert store.documents.get(KIND, "a1").body["targets"] == []
    store.holds.end("a1", reason="again")
    assert store.verify() == []


def test_rows_that_a_crash_left_of_a_hold_that_ended_are_no_problem(store: Store, clock: FixedClock) -> None:
    table = records(80)
    deliver(store, table)
    preserve(store, clock, table)
    store.expire()
    with store.catalog.transaction() as cursor:
        cursor.execute("CREATE TABLE aside AS SELECT * FROM held")
    store.holds.end("a1", reason="lifted", actors=("c1", "c2"))
    with store.catalog.transaction() as cursor:
        cursor.execute("INSERT INTO held SELECT * FROM aside")
        cursor.execute("DROP TABLE aside")
    assert store.verify() == []
    assert store.holds.lapse() == [] and store.holds.report()["held"] == {}


def test_a_hold_ends_by_itself_on_its_day(store: Store, clock: FixedClock) -> None:
    table = records(80)
    deliver(store, table)
    preserve(store, clock, table)
    store.expire()
    ends = store.holds.get("a1").ends
    clock.advance(days=(ends - to_date(clock.now_us())).days - 1)
    store.expire()
    assert held(store) != []
    clock.advance(days=1)
    assert held(store) == []
    store.expire()
    assert store.holds.get("a1").state == "ended" and not store.layout.held.joinpath("a1").exists()


@pytest.mark.parametrize("fault", ["crash", "power", "io-error"])
@pytest.mark.parametrize("what", ["expire", "end"])
def test_a_fault_at_any_durable_step_loses_nothing_that_is_held(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, fault: str, what: str
) -> None:
    now_us, step = clock.value_us, 0
    while True:
        step += 9
        clock.value_us = now_us
        root = tmp_path / f"{step}"
        with Store.create(root, clock=clock) as store:
            table = records(30)
            deliver(store, table)
            _, hits = preserve(store, clock, table)
            if what == "end":
                store.expire()
            disk, done = Disk(step, fault == "io-error"), False

            def act(store: Store = store) -> None:
                store.expire() if what == "expire" else store.holds.end("a1", reason="lifted")

            with suppress(LagrumError, OSError):
                done = run_until(monkeypatch, disk, act) and len(disk.steps) < step
            if fault == "power":
                disk.lose_power()
        with Store.open(root, clock=clock) as store:
            store.expire()
            if what == "expire":
                assert len(held(store)) == hits, step
            else:
                state = store.holds.get("a1").state
                assert state in ("active", "ended") and (held(store) == []) == (state == "ended"), step
            assert store.verify() == [], step
        if done:
            break
    assert step > 20


def test_a_changed_missing_or_strange_held_file_is_found(store: Store, clock: FixedClock) -> None:
    table = records(80)
    deliver(store, table)
    preserve(store, clock, table)
    store.expire()
    (path,) = (path for path in store.layout.held.rglob("*") if path.is_file())
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert [problem.what for problem in store.verify()] == ["its file was changed"]
    with pytest.raises(IntegrityError):
        held(store)
    path.unlink()
    assert [problem.what for problem in store.verify()] == ["its file is missing"]
    path.write_bytes(good)
    path.with_name("ab" * 16 + ".parquet").touch()
    assert ["does not know" in problem.what for problem in store.verify()] == [True]


def test_nothing_of_a_hold_is_in_the_clear(store: Store, clock: FixedClock) -> None:
    table = records(80)
    deliver(store, table)
    number = number_of(table)[0]
    preserve(store, clock, table)
    store.expire()
    content = b"".join(path.read_bytes() for path in store.root.rglob("*") if path.is_file())
    assert number.encode() not in content


def test_a_hold_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.holds.get("none")
    with sqlite3.connect(":memory:") as database:
        assert store.holds.check(database.cursor(), PartitionKey(date(2026, 1, 1), "standard")) == expiry.Holding()


@pytest.mark.parametrize("basis", HOLD_BASES, ids=lambda basis: basis.id)
def test_a_basis_binds_its_terms(basis: Any) -> None:
    placed = date(2026, 8, 31)
    last = basis.last_end(placed)
    basis.check_end(placed, last)
    for wrong in (placed, last + timedelta(days=1)):
        with pytest.raises(ProcedureError) as caught:
            basis.check_end(placed, wrong)
        assert caught.value.reason == "term"
    longest = last + timedelta(days=basis.renewal_days_max)
    if basis.renewals_max:
        basis.check_renewal(last, longest, basis.renewals_max - 1)
        with pytest.raises(ProcedureError, match="adds 1 to"):
            basis.check_renewal(last, longest + timedelta(days=1), 0)
    with pytest.raises(ProcedureError) as refused:
        basis.check_renewal(last, longest, basis.renewals_max)
    assert refused.value.reason == "renewals"
    assert hold_basis("invoice-consumer").last_end(placed) == add_months(placed, 36)
