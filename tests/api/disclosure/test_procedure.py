"""The road from an order to a delivery, and every way off it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from api.disclosure.model import DELIVERY, TASK, request_digest
from api.disclosure.procedure import APPROVE_REQUEST, WrittenTarget
from api.disclosure.states import Stage, TaskState
from api.disclosure.views import cases, show
from api.people.persons import Approval
from api.people.signing import Statement
from schemas.errors import AuditError, InputError, IntegrityError, KeyUnavailableError, NotFoundError, ProcedureError
from schemas.packing import unpack_table
from store import Put, ScanQuery
from store.audit import verify_directory
from store.keys import KeyRef
from tests.api.disclosure.conftest import PEOPLE, TARGET, WINDOW, Court
from tests.store.records import DAY_US

PARTIES = ("calling_number", "called_number", "dialled_number", "forwarded_number")


def wanted(court: Court) -> set[str]:
    """Record keys that the order reaches, found without any index or target."""
    keys = set()
    for batch in court.store.scan(ScanQuery(0, 2**60)):
        for row in unpack_table(pa.Table.from_batches([batch])).to_pylist():
            start, end = (int(row[name].timestamp() * 1e6) for name in ("start_time", "end_time"))
            inside = start < WINDOW.end_us and end >= WINDOW.start_us
            if inside and TARGET in [row.get(name) for name in PARTIES]:
                keys.add(row["record_key"])
    return keys


def test_an_order_goes_from_filing_to_a_verified_delivery_of_exactly_what_it_reaches(shared_court: Court) -> None:
    court = shared_court
    authorisation = court.file()
    assert authorisation.targets[0].value == TARGET
    task = court.register(authorisation)
    assert task.state is TaskState.AWAITING_APPROVAL
    court.check(task.id)
    assert court.approve(task.id).state is TaskState.AWAITING_DISCLOSURE
    ran = court.run(task.id)
    assert (ran.stage, ran.state) == (Stage.RUN, TaskState.AWAITING_DISCLOSURE)
    assert court.release(task.id).state is TaskState.DISCLOSED
    data = court.deliver(task.id)
    opened, found = court.open(data)
    manifest = opened.manifest
    expected = wanted(court)
    assert {row["record_key"] for row in found} == expected
    assert len(found) == len(expected) == manifest["counts"]["records"] > 20
    assert {name for name in PARTIES for row in found if row.get(name) == TARGET} == set(PARTIES)
    assert "account" not in manifest["fields"]
    assert all("account" not in row for row in found)
    assert manifest["order"]["decision_reference"] == "B 1234-26"
    assert court.deliver(task.id) == data
    assert court.store.verify() == []


def test_an_explained_task_tells_counts_and_nothing_that_was_found(shared_court: Court) -> None:
    court = shared_court
    task = court.register(court.file())
    court.check(task.id)
    with pytest.raises(ProcedureError):
        court.procedure.explain(court.actor("handler-1"), task.id)
    court.approve(task.id)
    plan = court.procedure.explain(court.actor("handler-1"), task.id)
    assert plan["rows_read"] > 0 < plan["index_bytes"]
    for name, value in plan.items():
        assert type(value) is int or name in ("refused_partitions", "beyond_purpose", "location_over", "services_over")
    assert court.store.documents.get(TASK, task.id).body["stage"] == "approved"
    with pytest.raises(ProcedureError):
        court.procedure.explain(court.actor("handler-2"), task.id)


def test_the_log_tells_every_step_in_order_and_names_targets_to_auditors_only(shared_court: Court) -> None:
    court = shared_court
    start = court.store.audit.size
    task = court.released()
    court.deliver(task.id)
    entries = court.log(start)
    kinds = [entry.kind for entry in entries if entry.kind != "disclosure.delivery-key"]
    steps = ("authorised", "registered", "checked", "approved", "run", "result", "released", "delivered")
    assert kinds == [f"disclosure.{word}" for word in steps]
    for entry in entries:
        assert TARGET not in json.dumps(entry.public)
        assert "B 1234-26" not in json.dumps(entry.public)
    assert TARGET in json.dumps(entries[0].secret)
    origin = (court.store.root / "audit" / "origin.pub").read_text().strip()
    assert verify_directory(court.store.root / "audit", origin, court.store.audit.checkpoint()) == []


def test_an_unknown_target_gives_none_found_as_a_signed_answer(shared_court: Court) -> None:
    court = shared_court
    task = court.released(targets=(WrittenTarget("number", "+46 70 174 98 98"),))
    assert task.state is TaskState.DISCLOSURE_NOT_AVAILABLE
    manifest = court.open(court.deliver(task.id))[0].manifest
    assert manifest["result"] == "none-found"
    assert manifest["counts"]["records"] == 0


def test_an_unreadable_partition_is_an_error_and_never_none_found(court: Court) -> None:
    task = court.approved()
    lost = next(item for item in court.store.partitions() if item.date.isoformat() == "2026-11-17")
    court.store.keyring.destroy([lost.key.ref])
    with pytest.raises(KeyUnavailableError):
        court.run(task.id)
    after, _ = court.procedure.casebook.task(task.id)
    assert (after.stage, after.state) == (Stage.FAILED, TaskState.ERROR)
    assert after.delivery_id is None
    assert court.store.documents.list(DELIVERY) == []
    assert list((court.store.root / "deliveries").glob("*-D-*")) == []
    assert court.log()[-1].kind == "disclosure.failed"
    with pytest.raises(ProcedureError):
        court.release(task.id)


def test_a_failed_run_may_be_run_again_under_the_same_approval(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    task = court.approved()
    with monkeypatch.context() as patch:
        patch.setattr(type(court.store), "scan", _broken)
        with pytest.raises(OSError, match="disk"):
            court.run(task.id)
    assert court.run(task.id).records == len(wanted(court))


def _broken(*_: Any) -> Any:
    raise OSError(5, "disk")


def test_nothing_is_read_and_nothing_leaves_when_the_log_cannot_take_the_entry(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    approved = court.approved()
    released = court.released()
    reads: list[object] = []
    scan = type(court.store).scan
    monkeypatch.setattr(type(court.store), "scan", lambda *given: reads.append(given) or scan(*given))
    with monkeypatch.context() as patch:
        patch.setattr(type(court.store.audit), "append", _no_log)
        with pytest.raises(AuditError):
            court.run(approved.id)
        with pytest.raises(AuditError):
            court.deliver(released.id)
        with pytest.raises(AuditError):
            show(court.store, court.actor("officer-1"), released.id)
    assert reads == []
    # The log is back: the steps are told after all, and may be done again.
    court.run(approved.id)
    assert court.deliver(released.id)
    assert court.log()[-1].kind == "disclosure.delivered"


def _no_log(*_: Any, **__: Any) -> Any:
    raise AuditError("the log is full")


def test_the_entry_of_a_run_is_in_the_log_before_the_first_record_is_read(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = court.approved()
    scan = type(court.store).scan
    seen: list[bool] = []

    def scanned(*given: Any) -> Any:
        seen.append(any(entry.kind == "disclosure.run" for entry in court.log()))
        return scan(*given)

    monkeypatch.setattr(type(court.store), "scan", scanned)
    court.run(task.id)
    assert seen == [True]


def test_a_result_is_only_ciphertext_until_and_after_its_release(court: Court) -> None:
    task = court.released()
    data = court.deliver(task.id)
    keys = [row["record_key"].encode() for row in court.open(data)[1]]
    for path in court.store.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert TARGET.encode() not in content, path
            assert b"B 1234-26" not in content, path
            assert not any(key in content for key in keys), path


def test_two_runs_of_one_order_over_one_snapshot_give_the_same_records(shared_court: Court) -> None:
    first, second = shared_court.released(), shared_court.released()
    one, two = (shared_court.open(shared_court.deliver(task.id))[1] for task in (first, second))
    assert one == two


def test_a_cancelled_or_rejected_result_is_destroyed_with_its_key(court: Court) -> None:
    for step, person, word in (("cancel", "officer-1", "withdrawn"), ("reject", "approver-2", "too-wide")):
        task = court.run(court.approved().id)
        assert task.delivery_id is not None
        ended = getattr(court.procedure, step)(court.actor(person), task.id, word)
        assert ended.stage in (Stage.CANCELLED, Stage.REJECTED)
        assert not court.store.keyring.has(KeyRef("cases", "", task.delivery_id, ""))
        assert not (court.store.root / "deliveries" / task.delivery_id).exists()
        with pytest.raises(ProcedureError):
            court.release(task.id)


def test_a_cancelled_authorisation_stops_its_tasks(shared_court: Court) -> None:
    court = shared_court
    approved, released = court.approved(), court.released()
    for task in (approved, released):
        court.procedure.cancel(court.actor("officer-1"), task.authorisation_id, "settled")
    for step, task in ((court.run, approved), (court.deliver, released)):
        with pytest.raises(ProcedureError) as refusal:
            step(task.id)
        assert refusal.value.reason == "authorisation-not-approved"


def test_an_authorisation_found_expired_is_marked_so_and_nothing_goes_on(court: Court) -> None:
    approved, released = court.approved(), court.released()
    court.clock.advance(days=30)
    for step, task in ((court.run, approved), (court.deliver, released)):
        with pytest.raises(ProcedureError) as refusal:
            step(task.id)
        assert refusal.value.reason == "expired"
        authorisation, _ = court.procedure.casebook.authorisation(task.authorisation_id)
        assert authorisation.state == "Expired"


def test_what_was_approved_cannot_be_changed_on_file(court: Court) -> None:
    """Whoever writes to the catalog past the procedure does not get past the signature."""
    task = court.approved()
    document = court.store.documents.get(TASK, task.id)
    body = dict(document.body)
    body["window"] = {"start_us": WINDOW.start_us + DAY_US, "end_us": WINDOW.end_us}
    court.store.documents.commit([Put(TASK, task.id, body)])
    with pytest.raises(ProcedureError) as refusal:
        court.run(task.id)
    assert refusal.value.reason == "approval-digest"


def test_a_tampered_package_at_rest_is_not_delivered(court: Court) -> None:
    task = court.released()
    path = court.store.root / "deliveries" / str(task.delivery_id) / "part-0001.sealed"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError):
        court.deliver(task.id)


def test_an_approver_whose_enrolment_is_revoked_has_approved_nothing(court: Court) -> None:
    approved, released = court.approved(), court.released()
    court.enrol("approver-1", "approver", state="revoked")
    for step, task in ((court.run, approved), (court.deliver, released)):
        with pytest.raises(ProcedureError) as refusal:
            step(task.id)
        assert refusal.value.reason == "approver-revoked"
    # Another approver signs in the same place.
    court.approve(approved.id, "approver-2")
    assert court.run(approved.id).stage is Stage.RUN


def test_request_and_release_are_approved_separately(shared_court: Court) -> None:
    court = shared_court
    task = court.run(court.approved().id)
    with pytest.raises(ProcedureError) as refusal:
        court.deliver(task.id)
    assert refusal.value.reason == "wrong-state"
    assert task.request_approval is not None
    # The request's own signature is no release, neither sent again nor put on file.
    again = court.signed("approver-1", "disclosure.approve", task.id, task.request_approval.statement.digest)
    with pytest.raises(ProcedureError) as refusal:
        court.procedure.release(court.actor("approver-1"), task.id, again)
    assert refusal.value.reason == "signature"
    document = court.store.documents.get(TASK, task.id)
    forged = document.body | {"release_approval": document.body["request_approval"], "stage": "released"}
    court.store.documents.commit([Put(TASK, task.id, forged)])
    with pytest.raises(ProcedureError) as refusal:
        court.deliver(task.id)
    assert refusal.value.reason == "approval-act"


def test_a_second_writer_of_one_case_is_told_that_it_is_stale(
    shared_court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    court = shared_court
    load = type(court.procedure.casebook).case

    def raced(book: Any, task_id: str) -> Any:
        case = load(book, task_id)
        with monkeypatch.context() as patch:
            patch.setattr(type(book), "case", load)
            court.procedure.cancel(court.actor("officer-1"), case.authorisation.id, "settled")
        return case

    monkeypatch.setattr(type(court.procedure.casebook), "case", raced)
    actor, case = court.actor("handler-1"), court.register(court.file())
    with pytest.raises(ProcedureError) as refusal:
        court.procedure.check(actor, case.id)
    assert refusal.value.reason == "stale"
    monkeypatch.undo()
    assert court.procedure.casebook.task(case.id)[0].stage is Stage.REGISTERED


def test_an_officer_sees_own_cases_only_and_no_result_before_its_release(shared_court: Court) -> None:
    court = shared_court
    task = court.run(court.approved().id)
    seen = show(court.store, court.actor("officer-1"), task.id)
    assert not {"records", "result_digest", "request_digest", "stage"} & set(seen)
    assert seen["state"] == "AwaitingDisclosure"
    assert show(court.store, court.actor("approver-1"), task.id)["records"] == task.records
    with pytest.raises(ProcedureError) as refusal:
        show(court.store, court.actor("officer-2"), task.id)
    assert refusal.value.reason == "not-yours"
    assert task.authorisation_id not in [case["id"] for case in cases(court.store, court.actor("officer-2"))]
    assert task.authorisation_id in [case["id"] for case in cases(court.store, court.actor("handler-2"))]
    assert TARGET not in json.dumps(cases(court.store, court.actor("handler-2")))


@pytest.mark.parametrize(
    "person", [name for name, held in PEOPLE.items() if held[0] not in ("officer", "case-handler", "approver")]
)
def test_nobody_else_reads_a_case_or_the_list(shared_court: Court, person: str) -> None:
    task = shared_court.checked()
    for read in (
        lambda: show(shared_court.store, shared_court.actor(person), task.id),
        lambda: cases(shared_court.store, shared_court.actor(person)),
    ):
        with pytest.raises(ProcedureError) as refusal:
            read()
        assert refusal.value.reason == "wrong-role"


def test_what_is_typed_in_place_of_a_case_is_not_quoted_in_the_log(shared_court: Court) -> None:
    with pytest.raises(NotFoundError) as refusal:
        show(shared_court.store, shared_court.actor("officer-1"), "+46701740007")
    assert TARGET not in str(refusal.value)
    entry = shared_court.log()[-1]
    assert (entry.kind, entry.public["reason"], entry.public["case"]) == ("disclosure.refused", "not-found", None)


def test_a_signature_over_no_time_is_refused_and_logged(shared_court: Court) -> None:
    court = shared_court
    task = court.checked()
    case = court.procedure.casebook.case(task.id)
    digest = request_digest(case.authorisation, case.task)
    signature = court.keys["approver-1"].sign(Statement(APPROVE_REQUEST, task.id, digest, "now"))
    with pytest.raises(InputError):
        court.procedure.approve(court.actor("approver-1"), task.id, Approval("now", signature))
    assert court.log()[-1].public["reason"] == "malformed"
