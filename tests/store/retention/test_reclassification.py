"""A category of service that moves to a class which ends sooner: stored records end by it, the others stay."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import BusyError, KeyUnavailableError, RetentionError
from schemas.holds import Purpose
from schemas.retention import CategoryPeriod, add_months, floor_until, midnight
from store import Put, ScanQuery, SourceRef, Store, TargetIdentifier
from store.correcting.overlay import RECTIFIED, RESTRICTED
from store.partitions import PartitionKey, successor, to_us
from store.reading.completeness import problems, snapshot
from store.retention import reclassified_erasure
from store.retention.certificate_check import export, verify_file
from store.retention.certificate_words import paragraphs
from store.retention.certificates import stored
from store.retention.reclassification import stored_moves
from store.retention.retention_status import calendar, status
from tests.conftest import FixedClock
from tests.fault.disk import Disk, run_until
from tests.store.conftest import deliver
from tests.store.correcting.test_overlay import correct
from tests.store.records import CALLING, records, with_column
from tests.store.retention.test_policies import ACTORS, move, version

DAY = date(2026, 11, 20)
KEY = PartitionKey(DAY, "standard")
NEXT = successor(KEY)
START = date(2026, 12, 1)
EVER = ScanQuery(0, 2**60)
SHORTER = version(2, START, {"standard": 24, "eight": 8}, sms="eight", mms="eight")
ENDS_US = to_us(midnight(add_months(DAY, 8)))


def services(store: Store, query: ScanQuery = EVER) -> Counter[str]:
    found: Counter[str] = Counter()
    for batch in store.scan(replace(query, columns=("service_type",))):
        found.update(batch.column("service_type").to_pylist())
    return found


@pytest.fixture
def table() -> pa.Table:
    words = ["voice", "sms", "sms", "data", "mms", "voice"] * 10
    return with_column(records(60, first_key=1), "service_type", pa.array(words).dictionary_encode())


@pytest.fixture
def batch(store: Store, table: pa.Table) -> int:
    """Sixty records of one day; sms and mms move to a class of eight months."""
    batch = deliver(store, table).batch_id
    store.policies.enforce(SHORTER, actors=ACTORS)
    return batch


LEFT = {"voice": 20, "data": 10}
ALL = {**LEFT, "sms": 20, "mms": 10}


def test_stored_records_end_with_the_class_to_which_they_moved(store: Store, batch: int, clock: FixedClock) -> None:
    assert [item.as_dict() for item in stored_moves(store, store.policies.current())] == [
        {
            "partition": str(KEY),
            "services": ["mms", "sms"],
            "records": 30,
            "expires_at": "2027-07-20T00:00:00Z",
            "policy_version": 2,
            "class": "eight",
            "citation": "Act 2 § 8",
        }
    ]
    move(store, clock, ENDS_US - 1)
    assert store.expire().moved == ()
    assert services(store) == ALL
    move(store, clock, ENDS_US)
    assert services(store) == LEFT, "over for readers at once"
    assert store.plan(EVER).services_over == {"mms": [KEY], "sms": [KEY]}
    (waiting,) = store.expire(dry_run=True).moved
    assert store.keyring.has(KEY.ref)
    run = store.expire()
    assert (run.partitions, run.moved) == ((), (waiting,))
    assert services(store) == LEFT
    assert [item.key for item in store.partitions()] == [NEXT]
    assert not store.keyring.has(KEY.ref)
    assert not store.layout.partition(KEY).exists()
    assert store.plan(EVER).refused == [], "what stayed lies in the next generation"
    assert store.plan(EVER).services_over == {"mms": [NEXT], "sms": [NEXT]}
    assert store.expire().moved == ()
    assert store.verify() == []
    assert problems(store, snapshot(store, EVER).as_body()) == []
    clock.value_us = to_us(midnight(add_months(DAY, 24)))
    store.clock_guard.confirm(clock.value_us, reason="test", actors=ACTORS)
    assert store.expire().partitions == (NEXT,)
    assert store.verify() == []


def test_its_certificate_names_the_rule_and_what_went(store: Store, batch: int, clock: FixedClock) -> None:
    move(store, clock, ENDS_US)
    store.expire()
    certificate = verify_file(export(store, str(KEY)), str(store.audit.origin))
    body = certificate.body
    assert body["rewritten"] == {
        "citation": "Act 2 § 8",
        "into": str(NEXT),
        "erased": 30,
        "kept": 30,
        "withdrawn": 0,
        "services": ["mms", "sms"],
    }
    assert (body["records"], body["period_over"]) == (60, "2027-07-20T00:00:00Z")
    assert (body["policy"]["version"], body["policy"]["class"], body["policy"]["months"]) == (2, "eight", 8)
    said = " ".join(paragraphs(certificate))
    assert "30 of the 60 records" in said
    assert "mms, sms" in said
    assert "class “eight”" in said


def test_a_day_that_is_older_than_the_new_period_ends_on_the_day_of_the_version(
    store: Store, clock: FixedClock
) -> None:
    deliver(store, records(30, days_ago=400))
    deliver(store, records(30, first_key=100, days_ago=150))
    store.policies.enforce(SHORTER, actors=ACTORS)
    before = services(store)
    move(store, clock, to_us(midnight(START)) - 1)
    assert store.expire().moved == ()
    assert services(store) == before
    move(store, clock, to_us(midnight(START)))
    (done,) = store.expire().moved
    assert done.key.end_date == START - timedelta(days=9 + 400)
    assert services(store)["sms"] < before["sms"]
    assert store.verify() == []


def test_nothing_goes_before_the_floor(store: Store, table: pa.Table, clock: FixedClock) -> None:
    """Six months are over a day before the floor: readers leave the records out, and they are stored until it."""
    deliver(store, table)
    store.policies.enforce(version(2, START, {"standard": 24, "six": 6}, sms="six"), actors=ACTORS)
    floor_us = to_us(floor_until(DAY))
    move(store, clock, floor_us - 1)
    assert services(store)["sms"] == 0
    (item,) = stored_moves(store, store.policies.current())
    assert store.expire().moved == ()
    with pytest.raises(RetentionError, match="before 2027-05-21"):
        reclassified_erasure.refuse_early(item, floor_us - 1)
    assert store.keyring.has(KEY.ref)
    move(store, clock, floor_us)
    reclassified_erasure.refuse_early(item, floor_us)
    assert store.expire().moved == (item,)
    assert store.verify() == []


def test_a_run_asks_the_last_check_whatever_it_took_for_due(
    store: Store, batch: int, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second lock: the look at what is due is taken out."""
    move(store, clock, ENDS_US - 1)
    monkeypatch.setattr(reclassified_erasure, "due", lambda *_: stored_moves(store, store.policies.current()))
    with pytest.raises(RetentionError, match="before 2027-07-20"):
        store.expire()
    assert (services(store), store.keyring.has(KEY.ref), store.verify()) == (ALL, True, [])


def test_a_move_back_and_a_longer_class_resurrect_nothing(store: Store, batch: int, clock: FixedClock) -> None:
    move(store, clock, to_us(midnight(START)))
    later = START + timedelta(days=5)
    store.policies.enforce(version(3, later, {"standard": 24, "eight": 24}), actors=ACTORS)
    move(store, clock, ENDS_US)
    assert services(store) == LEFT
    assert len(store.expire().moved) == 1
    again = deliver(store, with_column(records(5, first_key=900), "service_type", pa.array(["sms"] * 5)))
    assert (again.rejected, again.reject_reasons) == (5, {"expired": 5})
    assert services(store) == LEFT
    assert store.verify() == []


def test_late_records_are_refused_by_category(store: Store, batch: int, table: pa.Table, clock: FixedClock) -> None:
    move(store, clock, ENDS_US)
    assert deliver(store, table).reject_reasons == {"expired": 30}
    store.expire()
    again = deliver(store, table)
    assert (again.reject_reasons, again.duplicates, again.accepted) == ({"expired": 30}, 30, 0)
    new = table.set_column(table.column_names.index("record_key"), "record_key", pa.array(range(5000, 5060)))
    assert deliver(store, new).accepted == 30
    assert [item.key for item in store.partitions()] == [NEXT]
    assert store.verify() == []


def test_a_batch_that_is_under_way_when_the_period_ends_is_not_published(
    store: Store, batch: int, clock: FixedClock
) -> None:
    move(store, clock, ENDS_US - 60_000_000)
    begun = store.begin_batch(SourceRef("east", "east"), format="csv")
    begun.add(with_column(records(2, first_key=700), "service_type", pa.array(["sms", "voice"])))
    begun.finish_input(b"", 0)
    clock.value_us = ENDS_US
    with begun, pytest.raises(BusyError, match="ended meanwhile"):
        begun.commit()
    assert store.verify() == []


def test_a_scan_that_is_under_way_when_the_period_ends_stops(
    store: Store, batch: int, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.reading.batches.BATCH_ROWS", 1)  # each part's records by themselves
    deliver(store, records(10, first_key=800))
    move(store, clock, ENDS_US - 60_000_000)
    running = store.scan(EVER)
    next(running)
    clock.value_us = ENDS_US + 60_000_000
    with pytest.raises(BusyError, match="ended while"):
        list(running)


def test_searches_figures_and_conflicts_leave_them_out(store: Store, batch: int, clock: FixedClock) -> None:
    store.compact(everything=True)
    move(store, clock, ENDS_US)
    rows = sum(int(one.rows if one.kept is None else one.kept.sum()) for one in store.scan_figures(EVER))
    assert rows == 30
    numbers = {str(number)[1:] for number in records(60, first_key=1).column("calling_number").to_pylist()}
    targets = tuple(TargetIdentifier("number", number) for number in sorted(numbers))
    assert set(services(store, replace(EVER, targets=targets))) == {"voice", "data"}


def hold(store: Store, caller: int, name: str = "0" * 16) -> None:
    target = {"kind": "number", "value": str(CALLING + caller)[1:]}
    words = {"state": "active", "basis": "preservation", "ends": "2029-01-01", "accounts": []}
    store.documents.commit([Put("hold", name, words | {"start_us": 0, "end_us": 2**60, "targets": [target]}, expect=0)])


def held(store: Store, *columns: str) -> list[int]:
    found = store.holds.scan(Purpose.DISCLOSURE, start_us=0, end_us=2**60, columns=("record_key", *columns))
    return sorted(key - 10**11 for one in found for key in one.column("record_key").to_pylist())


def test_what_a_hold_names_is_kept_once(store: Store, table: pa.Table, clock: FixedClock) -> None:
    """Of a partition of which the location ended before: its category goes first, the rest at the end."""
    callers = [CALLING + number % 2 for number in range(60)]
    words = ["sms", "sms", "voice", "voice"] * 15
    table = with_column(with_column(table, "calling_number", callers), "called_number", [CALLING + 9] * 60)
    deliver(store, with_column(table, "service_type", pa.array(words).dictionary_encode()))
    own = {"location": CategoryPeriod("location", 2, "duty", "Act 2")}
    store.policies.enforce(replace(SHORTER, categories=own), actors=ACTORS)
    hold(store, 1)
    named = [key for key in range(1, 61) if (key - 1) % 2 == 1]
    moved = [key for key in named if words[key - 1] == "sms"]
    move(store, clock, ENDS_US - 1)
    store.expire()
    assert (held(store), held(store, "cell_id")) == ([], named)
    move(store, clock, ENDS_US)
    hold(store, 0, "1" * 16)
    assert len(store.expire().moved) == 1
    both = sorted([*moved, *(key for key in range(1, 61) if (key - 1) % 2 == 0 and words[key - 1] == "sms")])
    assert held(store) == both, "what stayed is found where it lies"
    assert set(held(store, "cell_id")) == {*named, *both}
    body = verify_file(export(store, str(KEY)), str(store.audit.origin)).body
    assert body["holds"] == {"preservation": 2}
    assert store.verify() == []
    clock.value_us = to_us(midnight(add_months(DAY, 24)))
    store.clock_guard.confirm(clock.value_us, reason="test", actors=ACTORS)
    assert store.expire().partitions == (NEXT,)
    assert held(store) == list(range(1, 61))
    assert held(store, "cell_id") == list(range(1, 61))
    assert store.verify() == []


def test_views_tell_what_a_hold_reaches_and_that_it_delays_nothing(store: Store, batch: int, clock: FixedClock) -> None:
    assert [item.holds for item in store.partitions()] == [0]
    hold(store, 1)
    assert (store.partitions()[0].holds, calendar(store)[DAY]) == (1, ("held", 60))
    move(store, clock, ENDS_US)
    clock.value_us += 60_000_000
    looked = status(store)
    assert (calendar(store)[DAY], looked.due_count, looked.overdue_seconds) == (("due", 60), 1, 60.0)
    store.expire()
    assert (calendar(store)[DAY], status(store).due_count) == (("held", 30), 0)
    store.holds.end("0" * 16, reason="lifted", actors=ACTORS)
    assert calendar(store)[DAY] == ("floor passed", 30)


def test_a_hold_or_a_delivery_that_comes_meanwhile_is_seen(store: Store, batch: int, clock: FixedClock) -> None:
    table = with_column(records(40, first_key=300), "service_type", pa.array(["sms"] * 40).dictionary_encode())
    late = with_column(records(3, first_key=400), "service_type", pa.array(["data"] * 3).dictionary_encode())
    deliver(store, with_column(table, "calling_number", [CALLING + 7] * 40))
    move(store, clock, ENDS_US)
    came = []

    def meanwhile(step: str) -> None:
        if step == "written" and not came:
            came.append(step)
            hold(store, 7)
            assert deliver(store, late).accepted == 3

    run = replace(store.expire(dry_run=True), dry_run=False, moved=())
    assert len(reclassified_erasure.expire(store, run, step=meanwhile).moved) == 1
    assert set(held(store)) >= set(range(300, 340))
    assert services(store)["data"] == 13
    assert store.verify() == []


def test_corrections_of_what_stays_go_along(store: Store, batch: int, clock: FixedClock) -> None:
    correct(store, RESTRICTED, batch, 1, "00000000000000a1")
    correct(store, RESTRICTED, batch, 2, "00000000000000a2")
    correct(store, RECTIFIED, batch, 4, "00000000000000a3", cause="busy")
    move(store, clock, ENDS_US)
    assert services(store) == {**LEFT, "voice": 19}
    store.expire()
    assert [item.act for item in store.corrections.all()] == ["00000000000000a1", "00000000000000a3"]
    assert services(store) == {**LEFT, "voice": 19}
    assert store.verify() == []


def test_a_part_that_cannot_be_read_stops_only_its_own_partition(store: Store, clock: FixedClock) -> None:
    deliver(store, records(30))
    deliver(store, records(30, first_key=100, days_ago=3))
    store.policies.enforce(SHORTER, actors=ACTORS)
    path = next(store.layout.partition(KEY).glob("*.parquet"))
    octets = path.read_bytes()
    path.write_bytes(octets[:-40] + bytes(40))
    move(store, clock, ENDS_US)
    run = store.expire()
    assert ([item.key.end_date for item in run.moved], run.unsound) == ([DAY - timedelta(days=1)], (KEY,))
    path.write_bytes(octets)
    assert len(store.expire().moved) == 1
    assert store.verify() == []


def test_two_categories_with_rules_of_their_own_end_one_after_the_other(store: Store, clock: FixedClock) -> None:
    deliver(store, records(30, days_ago=400))
    store.policies.enforce(
        version(2, START, {"standard": 24, "six": 6, "ten": 10}, sms="six", data="ten"), actors=ACTORS
    )
    key = store.partitions()[0].key
    move(store, clock, to_us(midnight(START)))
    assert [item.services for item in store.expire().moved] == [("data",), ("sms",)]
    assert set(services(store)) == {"voice"}
    assert [name for _, name, _ in stored(store)] == [str(key), str(successor(key))]
    assert store.verify() == []


def test_somebody_who_hides_a_category_in_the_catalog_is_found(store: Store, batch: int) -> None:
    with store.catalog.transaction() as cursor:
        cursor.execute("""UPDATE parts SET services = '{"voice": 60}'""")
    assert any("categories" in problem.what for problem in store.verify())


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_at_any_step_loses_nothing_and_ends_it_once(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, table: pa.Table, power: bool
) -> None:
    at, finished = 1 + power, False
    small = table.slice(0, 12)
    begin_us = clock.value_us
    template = tmp_path / "template"
    with Store.create(template, clock=clock) as store:
        deliver(store, small)
        store.policies.enforce(SHORTER, actors=ACTORS)
        hold(store, 0)
        move(store, clock, ENDS_US)
    while not finished:
        root = tmp_path / f"root-{at}"
        shutil.copytree(template, root)
        with Store.open(root, clock=clock) as store:
            disk = Disk(at)
            finished = run_until(monkeypatch, disk, store.expire)
            if power:
                disk.lose_power()
        with Store.open(root, clock=clock) as store:
            assert services(store) == {"voice": 4, "data": 2}
            store.expire()
            assert services(store) == {"voice": 4, "data": 2}
            with pytest.raises(KeyUnavailableError):
                store.keyring.key(KEY.ref)
            assert [name for _, name, _ in stored(store)] == [str(KEY)]
            assert store.verify() == []
        shutil.rmtree(root)
        at += 5
    assert at > 60
    assert begin_us < clock.value_us
