"""Erasing single records: after the floor only, their partition written anew, the old key dead."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import (
    BusyError,
    InputError,
    IntegrityError,
    KeyUnavailableError,
    NotFoundError,
    ProcedureError,
    RetentionError,
)
from schemas.policy import FIRST
from schemas.retention import CategoryPeriod, floor_until, midnight
from store import AuditEntry, Put, ScanQuery, SourceRef, Store
from store.correcting.overlay import RECTIFIED, RESTRICTED, Correction
from store.partitions import PartitionKey, newest, successor, to_us
from store.reading.completeness import problems, snapshot
from store.retention import commitments, erasing, explain, rewriting
from store.retention.certificate_check import export, verify_file
from store.retention.certificate_words import paragraphs
from store.retention.certificates import stored
from store.retention.erasing import CITATION_CHARS_MAX, ERASED, RECORDS_MAX
from tests.conftest import FixedClock, ends_us
from tests.fault.disk import Disk, run_until
from tests.store.conftest import deliver
from tests.store.correcting.test_overlay import EVER, NEW, OLD, correct, of_number, places, refused, rows
from tests.store.records import CALLING, records, with_column
from tests.store.retention.test_expiry_steps import stop_at

OLD_KEY = PartitionKey(date(2026, 11, 20), "standard")
NEW_KEY = successor(OLD_KEY)
CITATION = "Regulation (EU) 2016/679 Art 17(1)(d)"
ACT = "00000000000000ee"
TWO = ("one", "two")


@pytest.fixture
def batch(store: Store, clock: FixedClock) -> int:
    """Fifty records of one day, the third of OLD; the floor has passed."""
    table = records(50, first_key=1)
    numbers = table.column("calling_number").to_pylist()
    numbers[2] = int("1" + OLD)
    batch = deliver(store, with_column(table, "calling_number", numbers)).batch_id
    clock.value_us = to_us(floor_until(OLD_KEY.end_date))
    return batch


def ask(store: Store, batch: int, position: int = 3, act: str = ACT, **fields: Any) -> None:
    words = {"citation": CITATION, **fields}
    wanted = Correction(act, ERASED, OLD_KEY, batch, position, words, said={"reason": "the subscriber asks"})
    store.corrections.request(wanted, {"by": "one"})


def erased(store: Store, batch: int, position: int = 3, act: str = ACT, **fields: Any) -> erasing.Erased:
    ask(store, batch, position, act, **fields)
    return erasing.erase(store, act, {}, TWO)


def test_an_erased_record_is_gone_with_the_key_under_which_it_lay(store: Store, batch: int, clock: FixedClock) -> None:
    before = rows(store)
    copies = {path: path.read_bytes() for path in store.layout.partition(OLD_KEY).iterdir()}
    done = erased(store, batch)
    assert (done.records, done.kept, done.into) == (1, 49, NEW_KEY)
    assert rows(store) == [row for row in before if row["batch_position"] != 3]
    assert rows(store, of_number(OLD)) == []
    assert not store.keyring.has(OLD_KEY.ref)
    assert not store.keyring.has(OLD_KEY.location.ref)
    assert not store.layout.partition(OLD_KEY).exists()
    for path, octets in copies.items():  # a copy that somebody kept opens with no key of the store
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    for ref in store.keyring.refs():
        if ref.kind == "partition":
            with pytest.raises(Exception, match="does not authenticate"):
                file_id = next(iter(copies)).stem
                store.part_store.read_records(OLD_KEY, file_id, store.keyring.key(ref))
    for path in copies:
        path.unlink()
    path.parent.rmdir()
    with pytest.raises(NotFoundError):
        erasing.erase(store, ACT, {}, TWO)
    assert store.verify() == []
    with Store.open(store.root, clock=clock) as other:
        assert len(rows(other)) == 49
    clock.value_us = ends_us(OLD_KEY)
    assert store.expire().partitions == (NEW_KEY,)
    assert store.verify() == []
    assert [name for _, name, _ in stored(store)] == [str(OLD_KEY), str(NEW_KEY)]


def test_its_certificate_tells_what_went_and_why(store: Store, batch: int) -> None:
    erased(store, batch, also=f"{batch}:4,{batch}:50")
    certificate = verify_file(export(store, str(OLD_KEY)), str(store.audit.origin))
    told = {"citation": CITATION, "into": str(NEW_KEY), "erased": 3, "kept": 47, "withdrawn": 0}
    assert (certificate.body["rewritten"], certificate.body["records"]) == (told, 50)
    text = " ".join(paragraphs(certificate))
    assert "3 of the 50 records" in text
    assert CITATION in text
    entries = list(store.audit.entries(0, store.audit.size, reveal=True))
    (entry,) = (entry for entry in entries if entry.kind == erasing.ENTRY)
    assert (entry.public["actors"], entry.public["erased"], entry.public["ended"]) == (["one", "two"], 3, [ACT])
    assert entry.secret == {"reason": "the subscriber asks"}


def test_below_the_floor_it_is_refused_and_nothing_changes(store: Store, batch: int, clock: FixedClock) -> None:
    ask(store, batch)
    clock.value_us -= 1
    with pytest.raises(RetentionError, match="before 2027-05-21T00:00:00Z"):
        erasing.erase(store, ACT, {}, TWO)
    with pytest.raises(RetentionError):
        ask(store, batch, 4, "00000000000000ef")
    assert len(rows(store)) == 50
    assert store.keyring.has(OLD_KEY.ref)
    assert store.verify() == []


def test_one_person_alone_no_citation_and_several_partitions_are_refused(store: Store, batch: int) -> None:
    other = deliver(store, records(3, first_key=900, days_ago=3)).batch_id
    ask(store, batch)
    refused("two-persons", lambda: erasing.erase(store, ACT, {}, ("one", "one")))
    refused("kind", lambda: store.corrections.confirm(ACT, {}, TWO))
    refused("partition", lambda: ask(store, batch, 4, "00000000000000ef", also=f"{other}:1"))
    correct(store, RESTRICTED, batch, 9)
    refused("kind", lambda: erasing.erase(store, "00000000000000aa", {}, TWO))
    for fields in (
        *({"citation": words} for words in (" ", None, "x" * (CITATION_CHARS_MAX + 1), "Art\n17", "Art\x0017")),
        *({"also": words} for words in ("4", "x:1", ",".join(f"{batch}:{n}" for n in range(RECORDS_MAX)))),
        {"why": "because"},
    ):
        with pytest.raises(InputError):
            ask(store, batch, 4, "00000000000000ef", **fields)
    with pytest.raises(NotFoundError):
        ask(store, batch, 4, "00000000000000ef", also=f"{batch}:51")
    assert len(rows(store, replace(EVER, purpose="disclosure"))) == 53


def hold(store: Store, number: str, name: str = "0" * 16) -> None:
    target = {"kind": "number", "value": number}
    words = {"state": "active", "basis": "preservation", "ends": "2027-07-01", "accounts": []}
    body = words | {"start_us": 0, "end_us": 2**60, "targets": [target]}
    store.documents.commit([Put("hold", name, body, expect=0)])


def test_what_a_hold_names_is_not_erased_before_the_hold_ends(store: Store, batch: int) -> None:
    ask(store, batch)
    hold(store, OLD)
    refused("held", lambda: erasing.erase(store, ACT, {}, TWO))
    assert erased(store, batch, 4, "00000000000000ef").records == 1, "it names others only"
    store.holds.end("0" * 16, reason="lifted", actors=TWO)
    assert erasing.erase(store, ACT, {}, TWO).into == successor(NEW_KEY)
    assert len(rows(store)) == 48
    assert store.verify() == []


def test_a_hold_whose_time_is_over_keeps_nothing_from_being_erased(store: Store, batch: int, clock: FixedClock) -> None:
    ask(store, batch)
    hold(store, OLD)
    clock.value_us = to_us(midnight(date(2027, 7, 1))) - 1
    refused("held", lambda: erasing.erase(store, ACT, {}, TWO))
    clock.value_us += 1
    assert erasing.erase(store, ACT, {}, TWO).records == 1
    assert store.holds.get("0" * 16).state == "active", "no run of expiry has ended it yet"


def test_a_hold_that_somebody_takes_out_of_the_catalog_lets_nothing_be_erased(
    store: Store, batch: int, clock: FixedClock
) -> None:
    ask(store, batch)
    hold(store, OLD)
    store.log(AuditEntry(commitments.CONFIRMED, {"hold": "0" * 16, "act": "add", "ends": "2027-07-01"}))
    with store.catalog.transaction() as cursor:
        cursor.execute("DELETE FROM documents WHERE kind = 'hold'")
    with Store.open(store.root, clock=clock) as other:
        with pytest.raises(IntegrityError, match="hold 0000"):
            erasing.erase(other, ACT, {}, TWO)
        assert (len(rows(other)), other.keyring.has(OLD_KEY.ref)) == (50, True)


def test_of_a_partition_whose_location_a_hold_has_copied_no_record_is_erased(store: Store, clock: FixedClock) -> None:
    own = {"location": CategoryPeriod("location", 2, "duty", "Act 2")}
    store.policies.enforce(replace(FIRST, number=2, categories=own), actors=TWO)
    table = with_column(records(20, first_key=1), "calling_number", [int("1" + OLD), *[CALLING + 1] * 19])
    batch = deliver(store, with_column(table, "called_number", [CALLING + 2] * 20)).batch_id
    hold(store, OLD)
    clock.value_us = to_us(floor_until(OLD_KEY.end_date))
    assert store.expire().partitions == (OLD_KEY.location,)
    with pytest.raises(ProcedureError, match="copied location") as caught:
        ask(store, batch, 4)
    assert caught.value.reason == "held"
    store.holds.end("0" * 16, reason="lifted", actors=TWO)
    assert erased(store, batch, 4).records == 1


def test_a_location_whose_erasure_was_begun_goes_first(store: Store, clock: FixedClock) -> None:
    own = {"location": CategoryPeriod("location", 2, "duty", "Act 2")}
    store.policies.enforce(replace(FIRST, number=2, categories=own), actors=TWO)
    batch = deliver(store, records(20, first_key=1)).batch_id
    clock.value_us = to_us(floor_until(OLD_KEY.end_date))
    stop_at("intended", store)
    ask(store, batch, 4)
    with pytest.raises(BusyError, match="location"):
        erasing.erase(store, ACT, {}, TWO)
    store.expire()
    assert erasing.erase(store, ACT, {}, TWO).records == 1
    assert store.verify() == []


def test_a_rectification_that_comes_while_it_is_written_is_seen(store: Store, batch: int) -> None:
    """A hold names the number that the record has by now."""
    ask(store, batch)
    hold(store, NEW)

    def rectify(step: str) -> None:
        if step == "written":
            correct(store, RECTIFIED, batch, 3, "00000000000000a1", calling_number=NEW)

    refused("held", lambda: erasing.erase(store, ACT, {}, TWO, step=rectify))
    assert (len(rows(store)), store.verify()) == (50, [])


def test_fewer_records_than_were_named_are_not_erased(
    store: Store, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second lock: the look at each place is taken out."""
    monkeypatch.setattr(explain, "part_of", lambda *_: SimpleNamespace(partition=OLD_KEY))
    ask(store, batch, also=f"{batch}:51")
    with pytest.raises(NotFoundError, match="not stored any more"):
        erasing.erase(store, ACT, {}, TWO)
    assert (len(rows(store)), store.keyring.has(OLD_KEY.ref), store.verify()) == (50, True, [])


def test_the_digest_of_a_delivery_of_which_a_record_goes_is_not_sealed_anew(store: Store, batch: int) -> None:
    ask(store, batch)
    sealed = "SELECT key_ref, sealed FROM batches WHERE batch_id = ?"
    (before,) = store.catalog.query(sealed, (batch,))
    erasing.erase(store, ACT, {}, TWO)
    assert store.catalog.query(sealed, (batch,)) == [before] and before[0] == str(OLD_KEY.ref)


def test_a_hold_or_a_delivery_that_comes_while_it_is_written_is_seen(store: Store, batch: int) -> None:
    ask(store, batch)
    late = [records(2, first_key=5000)]

    def deliver_once(step: str) -> None:
        if step == "written" and late:
            deliver(store, late.pop())

    done = erasing.erase(store, ACT, {}, TWO, step=deliver_once)
    assert (done.records, done.kept) == (1, 51)
    ask(store, batch, 4, "00000000000000ef")
    number = next(row["calling_number"] for row in rows(store) if row["batch_position"] == 4)
    refused(
        "held",
        lambda: erasing.erase(
            store, "00000000000000ef", {}, TWO, step=lambda _: hold(store, str(number)[1:], "1" * 16)
        ),
    )
    assert store.verify() == []


def test_deliveries_go_to_the_new_generation_and_know_its_records(store: Store, batch: int) -> None:
    erased(store, batch)
    again = deliver(store, records(50, first_key=1))
    assert (again.duplicates + again.conflicts, again.accepted) == (49, 1), "the erased one is not known any more"
    assert {item.key for item in store.partitions()} == {NEW_KEY}
    begun = store.begin_batch(SourceRef("east", "east"), format="csv")
    begun.add(records(2, first_key=7000))
    erased(store, again.batch_id, 3, "00000000000000ef")
    begun.finish_input(b"", 0)
    with begun, pytest.raises(BusyError, match="ended meanwhile"):
        begun.commit()
    assert deliver(store, records(2, first_key=7000)).accepted == 2
    assert newest(OLD_KEY, store.catalog.partition_states()) == successor(NEW_KEY)
    assert store.verify() == []


def test_the_last_record_of_a_day_leaves_an_empty_generation_to_late_ones(store: Store, clock: FixedClock) -> None:
    only = deliver(store, records(1)).batch_id
    clock.value_us = to_us(floor_until(OLD_KEY.end_date))
    assert erased(store, only, 1).kept == 0
    assert rows(store) == []
    assert deliver(store, records(2, first_key=70)).accepted == 2
    assert store.verify() == []
    store.compact(everything=True)
    clock.value_us = ends_us(OLD_KEY)
    assert store.expire().partitions == (NEW_KEY,)
    assert store.verify() == []


def test_corrections_digests_and_location_go_along_and_those_of_the_erased_do_not(store: Store, batch: int) -> None:
    other = deliver(store, records(20, seed=3, first_key=400)).batch_id
    correct(store, RESTRICTED, batch, 3, "00000000000000a1")
    correct(store, RECTIFIED, batch, 5, "00000000000000a2", cause="busy")
    ask(store, batch, 5, "00000000000000a3", also=f"{batch}:3")
    located = {(row["batch_id"], row["batch_position"]): row["cell_id"] for row in rows(store)}
    erased(store, batch)
    assert [item.act for item in store.corrections.all()] == ["00000000000000a2"]
    after = {(row["batch_id"], row["batch_position"]): row for row in rows(store)}
    assert after[batch, 5]["cause"] == "busy"
    assert {place: row["cell_id"] for place, row in after.items()} == located
    assert store.receipt(batch).sha256 == "", "the digest of a delivery may be that of one record"
    assert store.receipt(other).sha256 == "11" * 32
    assert store.verify() == []


def test_withdrawn_records_and_many_parts_are_written_anew(store: Store, batch: int) -> None:
    for number in range(40):
        deliver(store, records(3, seed=number, first_key=10_000 + number * 10))
    gone = deliver(store, records(5, first_key=90_000)).batch_id
    store.withdraw_batch(gone, reason="test", actors=TWO)
    expected = places(store) - {(batch, 3)}
    done = erased(store, batch)
    assert (done.kept, places(store)) == (169, expected)
    body = verify_file(export(store, str(OLD_KEY)), str(store.audit.origin)).body
    assert (body["records"], body["rewritten"]["withdrawn"]) == (175, 5)
    assert store.verify() == []


def test_a_scan_and_a_proof_of_completeness_go_on(store: Store, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "READERS_WAIT_S", 0.2)
    running = store.scan(replace(EVER, columns=("batch_position",)))
    first = next(running).num_rows
    erased(store, batch)
    assert first + sum(found.num_rows for found in running) == 50, "it began before"
    assert len(rows(store)) == 49
    body = snapshot(store, ScanQuery(0, 2**60)).as_body()
    assert problems(store, body) == []


def test_a_location_that_ended_stays_ended(store: Store, clock: FixedClock) -> None:
    bare = records(5).drop_columns(["cell_id"])
    batch = deliver(store, bare).batch_id
    clock.value_us = to_us(floor_until(OLD_KEY.end_date))
    erased(store, batch, 2)
    assert not store.keyring.has(NEW_KEY.location.ref)
    assert [row["batch_position"] for row in rows(store)] == [1, 3, 4, 5]
    assert store.verify() == []


def test_a_crash_at_any_step_leaves_all_or_none(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At durable steps, with loss of power: never a live partition without its key, and at last one certificate."""
    now_us = clock.value_us
    at, finished = 1, False
    while not finished:
        clock.value_us = now_us
        root = tmp_path / f"root-{at}"
        with Store.create(root, clock=clock) as store:
            table = records(6, first_key=1)
            batch = deliver(store, table).batch_id
            clock.value_us = to_us(floor_until(OLD_KEY.end_date))
            ask(store, batch)
            disk = Disk(at)
            finished = run_until(monkeypatch, disk, lambda: erasing.erase(store, ACT, {}, TWO))
            disk.lose_power()
        with Store.open(root, clock=clock) as store:
            store.expire()
            left = {position for _, position in places(store)}
            if store.keyring.has(OLD_KEY.ref):
                assert left == {1, 2, 3, 4, 5, 6}
                assert erasing.erase(store, ACT, {}, TWO).kept == 5
            assert {position for _, position in places(store)} == {1, 2, 4, 5, 6}
            with pytest.raises(KeyUnavailableError):
                store.keyring.key(OLD_KEY.ref)
            assert [name for _, name, _ in stored(store)] == [str(OLD_KEY)]
            assert deliver(store, table).accepted == 1
            assert store.verify() == []
        at += 3
    assert at > 60
