"""What is not pushed, or no more: to a stranger, under another law, past a guard, after an end, without the log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api.disclosure.model import Task
from api.disclosure.push_outbox import push_of, waiting
from api.disclosure.pushing import Pushing
from api.disclosure.states import Stage
from api.people import authorities
from schemas.errors import AuditError, ProcedureError
from tests.api.disclosure.attacking import edited
from tests.api.disclosure.conftest import Court, court
from tests.api.disclosure.test_extending import a_new_law
from tests.api.disclosure.test_pushing import held, kinds, later, office, pusher, register, there, told
from tests.api.handover.receiver import Office, Receiver, receiving
from tests.store.records import DAY_US

__all__ = ["court", "office", "there"]


def test_nothing_leaves_for_a_server_that_is_not_the_registered_one(
    court: Court, office: Office, there: Receiver, tmp_path: Path
) -> None:
    other = Office(tmp_path, "other")
    stranger = there.url.replace("localhost", "127.0.0.1")
    with receiving(office, server=other.server[:2]) as foreign:
        for url, changes, word in (
            (there.url, {"endpoint_ca": other.pem}, "tls"),
            (foreign.url, {}, "tls"),
            (stranger, {}, "tls"),  # the certificate is for a name
            ("https://localhost:1/hi1", {}, "unreached"),
            (there.url, {"endpoint_client": office.pem}, "certificate"),
        ):
            register(court, office, url, **changes)
            task = court.released()
            start = court.store.audit.size
            assert pusher(court).look() == 0
            assert told(court, task.id)["reason"] == word
            assert set(kinds(court, start)) == {"push-failed"}
            assert told(court, task.id)["attempts"] == 0
            assert court.procedure.casebook.task(task.id)[0].stage is Stage.RELEASED
            court.procedure.cancel(court.actor("officer-1"), task.authorisation_id, "not-needed")
            later(court)
            pusher(court).look()
        assert foreign.requests == there.requests == []
    # The registered certificate may be the server's own.
    register(court, office, there.url, endpoint_ca=office.server[0].read_text())
    court.released()
    assert pusher(court).look() == 2


def test_a_result_of_an_earlier_law_is_not_pushed(
    court: Court, office: Office, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approved anew under the extension, it waits all the same: what was searched is of the law before."""
    register(court, office, there.url)
    task = court.released()
    a_new_law(court, monkeypatch)
    until = court.ruling(expires_at_us=court.clock.now_us() + 60 * DAY_US)
    court.procedure.extend(court.actor("officer-1"), task.authorisation_id, until)
    court.approve(task.id)
    assert pusher(court).look() == 0
    assert (told(court, task.id)["reason"], there.requests) == ("law-changed", [])


def test_a_client_certificate_that_the_endpoint_does_not_know_gets_nowhere(
    court: Court, office: Office, there: Receiver
) -> None:
    register(court, office, there.url, endpoint_client=None)  # the self-signed one
    task = court.released()
    assert pusher(court).look() == 0
    assert told(court, task.id)["reason"] in {"cut", "tls"}
    assert there.requests == []


def test_the_guards_of_a_fetch_hold_for_a_push(court: Court, office: Office, there: Receiver) -> None:
    register(court, office, there.url)
    task = court.released()
    court.procedure.suspend(court.actor("approver-1"), task.authorisation_id, "to-be-clarified")
    for _ in range(2):
        assert pusher(court).look() == 0
        assert told(court, task.id)["reason"] == "authorisation-not-approved"
        later(court)
    assert kinds(court, 0).count("push-failed") == 1, "the same reason is told once"
    court.procedure.resume(court.actor("approver-1"), task.authorisation_id)
    court.enrol("approver-1", "approver", state="revoked")
    assert pusher(court).look() == 0
    assert told(court, task.id)["reason"] == "approver-revoked"
    assert there.requests == []
    court.enrol("approver-1", "approver")
    later(court)
    assert pusher(court).look() == 2


def test_a_release_whose_approver_is_gone_is_not_pushed(court: Court, office: Office, there: Receiver) -> None:
    register(court, office, there.url)
    task = court.run(court.approved().id)
    court.release(task.id, "approver-2")
    court.enrol("approver-2", "approver", state="revoked")
    assert pusher(court).look() == 0
    assert told(court, task.id)["reason"] == "approver-revoked"
    assert there.requests == []


def _suspend(court: Court, task: Task) -> None:
    court.procedure.suspend(court.actor("approver-1"), task.authorisation_id, "to-be-clarified")


def _invalidate(court: Court, task: Task) -> None:
    """As an approved order's narrower confirmation would; its result is not destroyed yet."""
    edited(court, task.id, stage="invalid")


@pytest.mark.parametrize(("stop", "reason"), [(_suspend, "authorisation-not-approved"), (_invalidate, "wrong-state")])
def test_who_stops_a_case_while_the_connection_is_made_stops_its_push(
    court: Court, office: Office, stop: Callable[[Court, Task], None], reason: str
) -> None:
    register(court, office, "https://localhost:1/hi1")
    task = court.released()
    asked: list[bytes] = []

    def send(_: authorities.Authority, message: Callable[[], bytes]) -> bytes:
        stop(court, task)
        asked.append(message())
        return b""

    ((push, revision),) = waiting(court.store)
    with pytest.raises(ProcedureError) as refused:
        Pushing(court.store).push(push, revision, send)
    assert refused.value.reason == reason
    assert asked == []
    assert told(court, task.id)["attempts"] == 0


def test_what_ended_is_not_pushed(court: Court, office: Office, there: Receiver) -> None:
    register(court, office, there.url)

    def cancelled(task_id: str, authorisation_id: str) -> None:
        court.procedure.cancel(court.actor("officer-1"), authorisation_id, "not-needed")

    def acknowledged(task_id: str, _: str) -> None:
        court.deliver(task_id)
        cover = held(court, task_id).cover
        assert cover is not None
        court.acknowledge(task_id, cover.opening)

    def moved(_task: str, _case: str) -> None:
        register(court, office, None, endpoint_ca=None, endpoint_client=None)

    for end, reason in ((cancelled, "case-ended"), (acknowledged, "acknowledged"), (moved, "no-endpoint")):
        task = court.released()
        end(task.id, task.authorisation_id)
        start = court.store.audit.size
        assert pusher(court).look() == 0
        assert (told(court, task.id)["state"], told(court, task.id)["reason"]) == ("ended", reason)
        assert kinds(court, start) == ["push-ended"]
        assert waiting(court.store) == []
    assert there.requests == []
    plain = court.released()
    assert push_of(court.store, held(court, plain.id)) is None, "no endpoint, no push"


def test_what_cannot_be_logged_does_not_leave(
    court: Court, office: Office, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(court, office, there.url)
    court.released()

    def full(*_: object) -> None:
        raise AuditError("the audit log cannot take an entry")

    with monkeypatch.context() as patch:
        patch.setattr(court.store.audit, "append", full)
        with pytest.raises(AuditError):
            pusher(court).look()
    assert there.requests == []
    assert pusher(court).look() == 2
