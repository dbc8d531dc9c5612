"""What happens to a result after its search: enclosed at once, the same when repeated, gone when its time has come."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from api.disclosure import lapses, package, sliced_scan
from api.disclosure.deliveries import (
    DAY_US,
    KEPT_DAYS_AFTER_ACKNOWLEDGEMENT,
    KEPT_DAYS_UNACKNOWLEDGED,
    Delivery,
    due,
    kept_until_us,
)
from api.disclosure.model import Task
from api.disclosure.reports import transparency
from api.disclosure.results import result_of
from api.disclosure.states import Stage
from api.people import persons
from schemas.errors import IntegrityError, ProcedureError
from schemas.packing import unpack_table
from store import Put, ScanQuery
from store.clock import to_text
from store.keys import KeyRef
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, TARGET, WINDOW, Court, register_authority
from tests.store.records import NOW_US

MADE = Delivery("SE-D-0", "SE-T-0", "ab", 3, AUTHORITY, "cd", NOW_US)


def held(court: Court, task_id: str) -> Delivery:
    return court.procedure.casebook.delivery(court.procedure.casebook.task(task_id)[0].delivery_id or "")[0]


def test_a_result_of_many_parts_is_the_same_records_however_it_was_cut(
    shared_court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    court = shared_court
    whole = court.open(court.deliver(court.released().id))[1]
    monkeypatch.setattr(package, "PART_RECORDS", 7)
    monkeypatch.setattr(sliced_scan, "SLICE_ROWS_MAX", 5)
    opened, records = court.open(court.deliver(court.released().id))
    assert records == whole
    parts = opened.manifest["parts"]
    assert [part["sequence"] for part in parts] == list(range(1, len(parts) + 1))
    assert len(parts) > 3
    assert {part["records"] for part in parts[:-1]} == {7}
    # In the order of the time in which they ended.
    assert [row["end_time"] for row in records] == sorted(row["end_time"] for row in records)


def test_a_repeated_search_gives_the_same_inside_in_a_fresh_envelope(court: Court) -> None:
    task = court.approved()
    first = court.run(task.id)
    before = held(court, task.id)
    closed = court.procedure.vault.read(before.id, "part-0001")
    # As after a crash that cut the first run off.
    document = court.store.documents.get("task", task.id)
    body = document.body | {"stage": "running", "delivery_id": None, "result_digest": None, "records": None}
    court.store.documents.commit([_put(task.id, body)])
    second = court.run(task.id)
    after = held(court, task.id)
    assert second.result_digest == first.result_digest
    assert [part.sha256 for part in after.parts] == [part.sha256 for part in before.parts]
    assert court.procedure.vault.read(after.id, "part-0001") != closed
    # What the first run left is nobody's, and goes.
    court.procedure.erase_due()
    assert [path.name for path in (court.store.root / "deliveries").glob("*-D-*")] == [after.id]


def _put(task_id: str, body: dict[str, Any]) -> Any:
    return Put("task", task_id, body)


def test_delivering_again_gives_the_same_octets_and_each_time_is_logged(shared_court: Court) -> None:
    court = shared_court
    task = court.released()
    start = court.store.audit.size
    assert court.deliver(task.id) == court.deliver(task.id)
    assert [entry.kind for entry in court.log(start)] == ["disclosure.delivered"] * 2
    assert len(held(court, task.id).fetched) == 2


def test_records_are_enclosed_for_the_authority_before_they_are_written(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has every key of the operator still reads no record of a result."""
    kept: list[bytes] = []
    keep = type(court.procedure.vault).keep

    def watched(vault: Any, delivery_id: str, name: str, content: bytes) -> None:
        kept.append(content)
        keep(vault, delivery_id, name, content)

    monkeypatch.setattr(type(court.procedure.vault), "keep", watched)
    task = court.released()
    keys = [row["record_key"].encode() for row in court.open(court.deliver(task.id))[1]]
    assert len(kept) == 3
    for content in kept:
        assert not any(key in content for key in keys)
    assert sum(TARGET.encode() in content for content in kept) == 1  # the manifest tells the order


def test_an_approver_sees_counts_digests_and_fields_and_never_a_record(shared_court: Court) -> None:
    court = shared_court
    task = court.run(court.approved().id)
    seen = result_of(court.store, task)
    assert seen is not None
    assert seen["counts"]["records"] == task.records
    assert seen["counts"]["by_target"] == [task.records]
    assert seen["manifest_sha256"] == task.result_digest
    rows = [row for batch in court.store.scan(_all()) for row in unpack_table(_table(batch)).to_pylist()]
    text = json.dumps(seen)
    assert not any(row["record_key"] in text for row in rows)
    assert result_of(court.store, court.approved()) is None


def _all() -> Any:
    return ScanQuery(WINDOW.start_us, WINDOW.end_us)


def _table(batch: Any) -> Any:
    return pa.Table.from_batches([batch])


def test_a_certificate_that_changes_before_the_release_stops_it(court: Court) -> None:
    task = court.run(court.approved().id)
    register_authority(court.store, AUTHORITY, certificate_of=OTHER_AUTHORITY)
    with pytest.raises(ProcedureError) as refusal:
        court.release(task.id)
    assert refusal.value.reason == "recipient-changed"


@pytest.mark.parametrize("name", ["part-0001", "manifest", "cover"])
def test_what_was_changed_at_rest_does_not_leave(court: Court, name: str) -> None:
    task = court.released()
    (path,) = (court.store.root / "deliveries" / str(task.delivery_id)).glob(f"{name}*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError):
        court.deliver(task.id)
    # Nor what somebody with the store's keys has sealed in its place.
    court.procedure.vault.keep(str(task.delivery_id), path.name.removesuffix(".sealed"), b"another")
    with pytest.raises((IntegrityError, ProcedureError)):
        court.deliver(task.id)


def test_parts_of_two_deliveries_cannot_be_exchanged_at_rest(court: Court) -> None:
    one, two = court.released(), court.released()
    first, second = (
        court.store.root / "deliveries" / str(task.delivery_id) / "part-0001.sealed" for task in (one, two)
    )
    first.write_bytes(second.read_bytes())
    with pytest.raises(IntegrityError):
        court.deliver(one.id)


def test_acknowledging_takes_what_is_inside_the_cover_and_shortens_what_is_kept(court: Court) -> None:
    task = court.released()
    opened, _ = court.open(court.deliver(task.id))
    start = court.store.audit.size
    done = court.acknowledge(task.id, opened.opening)
    assert kept_until_us(done) == court.clock.now_us() + KEPT_DAYS_AFTER_ACKNOWLEDGEMENT * DAY_US
    (entry,) = court.log(start)
    assert (entry.kind, entry.public["digest"]) == ("disclosure.acknowledged", opened.opening)
    # It may be fetched again meanwhile.
    assert court.open(court.deliver(task.id))[0].opening == opened.opening


ENDS: dict[str, Callable[[Court, Task], Any]] = {
    "expired": lambda court, _: court.clock.advance(days=40),
    "cancelled": lambda court, task: court.procedure.cancel(court.actor("officer-1"), task.authorisation_id, "settled"),
    "suspended": lambda court, task: court.procedure.suspend(court.actor("handler-1"), task.authorisation_id, "doubt"),
    "extended and not approved yet": lambda court, task: court.procedure.extend(
        court.actor("officer-1"), task.authorisation_id, court.ruling(expires_at_us=NOW_US + 60 * DAY_US)
    ),
    "its approver left": lambda court, _: court.enrol("approver-1", "approver", state=persons.REVOKED),
    "its authority has a new key": lambda court, _: register_authority(
        court.store, AUTHORITY, certificate_of=OTHER_AUTHORITY
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_was_fetched_is_acknowledged_whatever_became_of_its_order(court: Court, end: str) -> None:
    task = court.released()
    unfetched = court.released()
    opened, _ = court.open(court.deliver(task.id))
    ENDS[end](court, task)
    with pytest.raises(ProcedureError):
        court.deliver(task.id)
    for person, case, opening in (
        ("officer-2", task.id, opened.opening),
        ("officer-1", task.id, "0" * 64),
        ("officer-1", unfetched.id, opened.opening),
    ):
        with pytest.raises(ProcedureError):
            court.acknowledge(case, opening, person)
    done = court.acknowledge(task.id, opened.opening)
    assert kept_until_us(done) == court.clock.now_us() + KEPT_DAYS_AFTER_ACKNOWLEDGEMENT * DAY_US
    with pytest.raises(ProcedureError):
        court.deliver(task.id)  # it opened nothing anew
    with pytest.raises(ProcedureError) as again:
        court.acknowledge(task.id, opened.opening)
    assert again.value.reason == "acknowledged"
    court.clock.advance(days=KEPT_DAYS_AFTER_ACKNOWLEDGEMENT)
    assert task.delivery_id in court.procedure.erase_due()


def test_what_is_not_kept_any_more_is_not_acknowledged(court: Court) -> None:
    task = court.released()
    opened, _ = court.open(court.deliver(task.id))
    court.clock.advance(days=KEPT_DAYS_UNACKNOWLEDGED)
    assert task.delivery_id in court.procedure.erase_due()
    with pytest.raises(ProcedureError) as refusal:
        court.acknowledge(task.id, opened.opening)
    assert refusal.value.reason == "delivery-erased"


def test_after_its_time_the_ciphertext_and_its_key_are_gone_and_the_log_says_so(court: Court) -> None:
    task = court.released(expires_at_us=NOW_US + 90 * DAY_US)
    waiting = court.released(expires_at_us=NOW_US + 90 * DAY_US)
    opened, _ = court.open(court.deliver(task.id))
    court.acknowledge(task.id, opened.opening)
    court.clock.advance(days=KEPT_DAYS_AFTER_ACKNOWLEDGEMENT - 1)
    assert court.procedure.erase_due() == []
    court.clock.advance(days=1)
    start = court.store.audit.size
    assert court.procedure.erase_due() == [task.delivery_id]
    assert court.procedure.erase_due() == []
    (entry,) = court.log(start)
    assert (entry.kind, entry.public["reason"]) == ("disclosure.delivery-erased", "acknowledged")
    assert not court.store.keyring.has(KeyRef("cases", "", str(task.delivery_id), ""))
    assert [path.name for path in (court.store.root / "deliveries").glob("*-D-*")] == [waiting.delivery_id]
    with pytest.raises(ProcedureError) as refusal:
        court.deliver(task.id)
    assert refusal.value.reason == "delivery-erased"
    assert court.open(court.deliver(waiting.id))[1]


def test_a_result_that_nobody_can_have_any_more_goes(court: Court) -> None:
    cancelled = court.run(court.approved().id)
    expired = court.run(court.approved().id)
    court.procedure.cancel(court.actor("officer-1"), cancelled.authorisation_id, "settled")
    assert [path.name for path in (court.store.root / "deliveries").glob("*-D-*")] == [expired.delivery_id]
    assert court.procedure.erase_due() == []
    court.clock.advance(days=31)
    lapses.apply_all(court.store)
    assert court.procedure.erase_due() == [expired.delivery_id]
    assert list((court.store.root / "deliveries").glob("*-D-*")) == []


@pytest.mark.parametrize(("fetches", "reason"), [(0, "not-fetched"), (1, None)])
def test_a_cancelled_orders_release_goes_at_once_unless_it_has_left(
    court: Court, fetches: int, reason: str | None
) -> None:
    task = court.released()
    for _ in range(fetches):
        court.deliver(task.id)
    start = court.store.audit.size
    court.procedure.cancel(court.actor("officer-1"), task.authorisation_id, "settled")
    kept = court.procedure.casebook.delivery(task.delivery_id or "")[0]
    assert kept.erased_reason == reason
    assert court.store.keyring.has(KeyRef("cases", "", kept.id, "")) is (reason is None)
    words = ["disclosure.cancelled"] + ["disclosure.delivery-erased"] * (reason is not None)
    assert [entry.kind for entry in court.log(start)] == words
    assert court.procedure.erase_due() == []
    with pytest.raises(ProcedureError):
        court.deliver(task.id)


@pytest.mark.parametrize("emergency", [True, False])
def test_what_nobody_fetched_goes_when_time_ends_its_order(court: Court, emergency: bool) -> None:
    task = court.emergency() if emergency else court.approved()
    task = court.release(court.run(task.id).id)
    court.clock.advance(days=31)
    lapses.apply_all(court.store)
    assert court.procedure.erase_due() == [task.delivery_id]
    assert court.procedure.casebook.delivery(task.delivery_id or "")[0].erased_reason == "not-fetched"


def test_a_second_release_is_no_later_answer_and_keeps_nothing_longer(court: Court) -> None:
    task = court.released()
    first = court.procedure.casebook.delivery(task.delivery_id or "")[0]
    before = transparency(court.store, court.actor("dpo-1"), 2026, exact=True)["rows"]
    assert before[0]["late"] == 0
    court.clock.advance(days=10)
    court.release(task.id, "approver-2")
    second = court.procedure.casebook.delivery(task.delivery_id or "")[0]
    assert (second.releases, kept_until_us(second)) == (2, kept_until_us(first))
    assert second.cover != first.cover
    assert transparency(court.store, court.actor("dpo-1"), 2026, exact=True)["rows"] == before
    receipt = court.open(court.deliver(task.id))[0].receipt
    assert receipt["released_at"] == to_text(court.clock.now_us())


def test_a_result_waits_while_its_extended_order_is_approved_anew(court: Court) -> None:
    task = court.run(court.approved().id)
    later = court.ruling(expires_at_us=NOW_US + 90 * DAY_US)
    court.procedure.extend(court.actor("officer-1"), task.authorisation_id, later)
    assert court.procedure.erase_due() == []
    court.approve(task.id)
    court.release(task.id)
    assert court.open(court.deliver(task.id))[1]


def test_a_result_that_is_being_written_is_not_swept_away(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    task = court.approved()
    keep = type(court.procedure.vault).keep

    def swept_meanwhile(vault: Any, *given: Any) -> None:
        keep(vault, *given)
        court.procedure.erase_due()

    monkeypatch.setattr(type(court.procedure.vault), "keep", swept_meanwhile)
    assert court.run(task.id).stage is Stage.RUN
    court.release(task.id)
    assert court.open(court.deliver(task.id))[1]


@pytest.mark.parametrize(
    ("changes", "days", "awaited", "expected"),
    [
        ({}, 1000, True, None),
        ({}, 0, False, "not-released"),
        ({"released_at_us": NOW_US}, 0, False, "not-fetched"),
        ({"released_at_us": NOW_US, "fetched": (NOW_US,)}, KEPT_DAYS_UNACKNOWLEDGED - 1, False, None),
        ({"released_at_us": NOW_US}, KEPT_DAYS_UNACKNOWLEDGED - 1, True, None),
        ({"released_at_us": NOW_US}, KEPT_DAYS_UNACKNOWLEDGED, True, "unacknowledged"),
        ({"released_at_us": NOW_US, "acknowledged_at_us": NOW_US}, 29, True, None),
        ({"released_at_us": NOW_US, "acknowledged_at_us": NOW_US}, 30, True, "acknowledged"),
        ({"released_at_us": NOW_US, "acknowledged_at_us": NOW_US, "erased_at_us": NOW_US}, 99, True, None),
    ],
)
def test_when_a_delivery_goes(changes: dict[str, int], days: int, awaited: bool, expected: str | None) -> None:
    delivery = replace(MADE, **changes)  # type: ignore[arg-type]
    assert due(delivery, now_us=NOW_US + days * DAY_US, awaited=awaited) == expected
    assert Delivery.from_body(json.loads(json.dumps(delivery.as_body()))) == delivery
