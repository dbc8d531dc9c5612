"""Coarse counts before an approval, canaries on made records, and bases that reach only what is the operator's own."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from api.billing.subscriptions import Subscription, import_rows
from api.disclosure.model import Task, Window, order_of
from api.disclosure.preflight import ZERO, bucket
from api.disclosure.procedure import WrittenTarget
from api.disclosure.states import TaskState
from api.disclosure.views import cases, counts, show
from api.people import authorities, persons
from api.people.signing import Statement, digest_of, verify
from schemas.errors import AuditError, KeyUnavailableError, ProcedureError
from store.clock import to_date
from tests.api.disclosure.conftest import (
    AUTHORITY,
    MIDNIGHT_US,
    PEOPLE,
    TARGET,
    WINDOW,
    Court,
    a_rights_holder,
    register_authority,
)
from tests.store.records import DAY_US


def told(court: Court, task: Task) -> dict[str, Any]:
    return court.open(court.deliver(task.id))[0].manifest


def test_buckets_have_no_gaps_and_no_counts() -> None:
    assert [bucket(count) for count in (0, 1, 9, 10, 99, 100, 999, 1_000, 9_999, 10_000, 10**9)] == [
        "0",
        *("1-9",) * 2,
        *("10-99",) * 2,
        *("100-999",) * 2,
        *("1000-9999",) * 2,
        *("10000 or more",) * 2,
    ]


def test_an_approver_weighs_a_task_by_buckets_three_times_and_the_officer_learns_nothing(shared_court: Court) -> None:
    court = shared_court
    task = court.checked()
    approver = court.actor("approver-1")
    answers = [court.procedure.preflight(approver, task.id) for _ in range(4)]
    assert answers == [{"records": "10-99", "days": "1-9"}] * 3 + [ZERO]
    assert court.log()[-1].public["reason"] == "too-many-preflights"
    assert show(court.store, approver, task.id)["preflights"] == "3 of 3"
    assert "preflights" not in show(court.store, court.actor("officer-1"), task.id)
    # What was weighed is what is approved: weighing changes nothing that is signed.
    assert court.run(court.approve(task.id).id).records


def test_what_is_refused_looks_like_a_task_that_finds_nothing(shared_court: Court) -> None:
    court = shared_court
    nobody = court.checked(targets=(WrittenTarget("number", "+46 70 174 98 98"),))
    assert court.procedure.preflight(court.actor("approver-1"), nobody.id) == ZERO
    task = court.checked()
    for person in ("officer-1", "officer-2", "handler-1", "auditor-1", "dpo-1"):
        assert court.procedure.preflight(court.actor(person), task.id) == ZERO
    assert court.procedure.preflight(court.actor("approver-1"), "SE-T-" + "0" * 16) == ZERO
    assert court.procedure.preflight(court.actor("approver-1"), court.approved().id) == ZERO
    assert [entry.kind for entry in court.log()[-3:]].count("disclosure.refused") >= 1


@pytest.mark.parametrize(
    ("gone", "reason"), [("officer-1", "revoked-role"), ("handler-1", "revoked-role"), (AUTHORITY, "revoked-role")]
)
def test_nothing_is_counted_for_a_case_that_nobody_could_approve(
    court: Court, gone: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = court.checked()
    if gone == AUTHORITY:
        register_authority(court.store, AUTHORITY, authorities.REVOKED)
    else:
        court.enrol(gone, *PEOPLE[gone], state=persons.REVOKED)
    monkeypatch.setattr(type(court.store), "scan", _unread)
    assert court.procedure.preflight(court.actor("approver-1"), task.id) == ZERO
    assert court.log()[-1].public["reason"] == reason
    with pytest.raises(ProcedureError) as refusal:
        court.approve(task.id)
    assert refusal.value.reason == reason


def test_nothing_is_counted_for_an_authority_that_does_not_ask_under_the_basis(court: Court) -> None:
    task = court.checked()
    with a_rights_holder(court):
        assert court.procedure.preflight(court.actor("approver-1"), task.id) == ZERO
        assert court.log()[-1].public["reason"] == "authority-kind"
        with pytest.raises(ProcedureError) as refusal:
            court.approve(task.id)
    assert refusal.value.reason == "authority-kind"
    assert court.procedure.preflight(court.actor("approver-1"), task.id) != ZERO


def test_nothing_is_counted_without_the_log_and_what_cannot_be_read_is_no_zero(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = court.checked()
    with monkeypatch.context() as patch:
        patch.setattr(type(court.store.audit), "append", _no_log)
        patch.setattr(type(court.store), "scan", _unread)
        with pytest.raises(AuditError):
            court.procedure.preflight(court.actor("approver-1"), task.id)
    lost = next(item for item in court.store.partitions() if item.date.isoformat() == "2026-11-17")
    court.store.keyring.destroy([lost.key.ref])
    with pytest.raises(KeyUnavailableError):
        court.procedure.preflight(court.actor("approver-1"), task.id)


def _no_log(*_: Any, **__: Any) -> Any:
    raise AuditError("the log is full")


def _unread(*_: Any) -> Any:
    raise AssertionError("something was read")


@pytest.mark.parametrize(
    "target",
    [
        WrittenTarget("number", "070-174 00 07"),
        WrittenTarget("ip", "192.0.2.7", 4711),
        WrittenTarget("ip", "2001:db8::7"),
        WrittenTarget("imsi", "240017000000007"),
        WrittenTarget("imei", "49015420323751"),
        WrittenTarget("mac", "00:00:5e:00:53:07"),
        WrittenTarget("account", "10077"),
    ],
    ids=lambda target: target.kind,
)
def test_a_canary_runs_end_to_end_and_touches_no_real_data(
    shared_court: Court, target: WrittenTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    court = shared_court
    monkeypatch.setattr(type(court.store), "scan", _unread)
    start = court.store.audit.size
    task = court.checked(is_test=True, targets=(target,))
    assert court.procedure.preflight(court.actor("approver-1"), task.id)["records"] == "1-9"
    court.release(court.run(court.approve(task.id).id).id)
    manifest = told(court, task)
    assert manifest["test"].startswith("TEST")
    found = court.open(court.deliver(task.id))[1]
    assert len(found) == 3
    assert {row["switch"] for row in found} == {"TEST"}
    assert court.procedure.casebook.task(task.id)[0].state is TaskState.DISCLOSED
    steps = [entry for entry in court.log(start) if entry.kind.startswith("disclosure.") and "basis" in entry.public]
    assert all(entry.public["test"] is True for entry in steps)


def test_canaries_count_apart(court: Court) -> None:
    court.released(is_test=True)
    court.approved()
    assert counts(cases(court.store, court.actor("handler-1"))) == {"authorisations": 1, "tasks": 1, "tests": 1}


def test_a_real_package_does_not_say_test(shared_court: Court) -> None:
    assert "test" not in told(shared_court, shared_court.released())


def test_a_copyright_order_gets_the_account_and_nothing_that_only_the_duty_keeps(shared_court: Court) -> None:
    court = shared_court
    terms: dict[str, Any] = {"basis": "copyright-information-order", "targets": (WrittenTarget("account", "0077"),)}
    with a_rights_holder(court):
        manifest = told(court, court.released(**terms))
    assert manifest["counts"]["records"] > 100
    assert "account" in manifest["fields"]
    assert not {"source_ip", "nat_ip", "called_number", "imsi", "cell_id"} & set(manifest["fields"])
    year = Window(MIDNIGHT_US - 400 * DAY_US, MIDNIGHT_US - 380 * DAY_US)
    with a_rights_holder(court), pytest.raises(ProcedureError) as refusal:
        court.register(court.file(**terms, window=year))
    assert refusal.value.reason == "beyond-purpose"
    # The same days stand open to a basis that the duty names.
    assert court.register(court.file(window=year)).window == year


def test_who_held_a_number_is_told_each_for_the_days_it_was_theirs(court: Court) -> None:
    changed = to_date(WINDOW.start_us) + timedelta(days=2)
    rows = [
        Subscription("number", TARGET, "before", date(2026, 1, 1), changed),
        Subscription("number", TARGET, "after", changed, None),
        Subscription("number", TARGET, "long-ago", date(2025, 1, 1), date(2026, 1, 1)),
        Subscription("number", "46701740008", "stranger", date(2026, 1, 1), None),
    ]
    import_rows(court.store, enumerate(rows, 1))
    told_of = told(court, court.released(basis="subscriber-data"))["holders"]
    assert [(item["account"], item["from"], item["to"]) for item in told_of] == [
        ("before", to_date(WINDOW.start_us).isoformat(), changed.isoformat()),
        ("after", changed.isoformat(), to_date(WINDOW.end_us).isoformat()),
    ]
    assert "holders" not in told(court, court.released())


def test_the_purpose_is_asked_of_the_store_as_well(shared_court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    court = shared_court
    scan, purposes = type(court.store).scan, []
    monkeypatch.setattr(
        type(court.store), "scan", lambda store, query: purposes.append(query.purpose) or scan(store, query)
    )
    number = (WrittenTarget("number", "070-174 00 07"),)
    for basis in ("secret-surveillance", "missing-person"):
        court.run(court.approved(basis=basis, targets=number).id)
    with a_rights_holder(court):
        court.run(court.approved(basis="copyright-information-order", targets=(WrittenTarget("account", "1"),)).id)
    assert purposes == ["disclosure", "security", "billing"]


def test_an_order_is_judged_by_the_law_of_its_decisions_day(shared_court: Court) -> None:
    court = shared_court
    task = court.approved(basis="intelligence", decided_on=court.ruling().decided_on - timedelta(days=1))
    assert court.procedure.casebook.case(task.id).basis.version == 2
    with pytest.raises(ProcedureError) as refusal:
        court.file(
            basis="subscriber-data",
            decided_on=court.ruling().decided_on.replace(year=2021),
            targets=tuple(WrittenTarget("number", f"07017400{number:02}") for number in range(11)),
        )
    assert refusal.value.reason == "too-many-targets"


def test_the_signed_record_alone_proves_three_persons_in_three_roles(court: Court) -> None:
    """From the log's entries and the public keys of that day, with nothing from the catalog."""
    task = court.released()
    court.deliver(task.id)
    keys = {person: key.public_bytes for person, key in court.keys.items()}
    entries = {entry.kind: entry for entry in court.log() if entry.public.get("task") == task.id}
    for word, action in (("approved", "disclosure.approve"), ("released", "disclosure.release")):
        entry = entries[f"disclosure.{word}"]
        assert entry.secret is not None
        body = entry.secret["task"]
        approval = body["request_approval" if word == "approved" else "release_approval"]
        statement = Statement(**approval["statement"])
        assert (statement.action, statement.case, statement.digest) == (action, task.id, entry.public["digest"])
        assert verify(keys[approval["by"]["person_id"]], statement.to_bytes(), entry.public["signature"])
        persons = {body["officer"]["person_id"], body["case_handler"]["person_id"], approval["by"]["person_id"]}
        used = {body["officer"]["key_id"], body["case_handler"]["key_id"], approval["by"]["key_id"]}
        assert (len(persons), len(used)) == (3, 3)
    case = court.procedure.casebook.case(task.id)
    order = order_of(case.authorisation, case.task)
    assert digest_of(order) == entries["disclosure.approved"].public["digest"]
    assert (order["task"]["officer"]["person_id"], order["case_handler"]["person_id"]) == ("officer-1", "handler-1")
