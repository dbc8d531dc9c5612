"""HI-1 walks the same road as people do: filed and registered by message, approved by persons, fetched by message."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from api.handover import ts103120 as hi1
from api.handover.hi1 import Exchange
from api.handover.markup import parse
from api.handover.ts103120_read import read_answers
from api.handover.ts103120_write import write_request
from schemas.errors import InputError, ProcedureError
from store.clock import to_text
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, TARGET, WINDOW, Court, court, shared_court
from tests.api.handover.etsi import validated
from tests.store.records import DAY_US, NOW_US

__all__ = ["court", "shared_court"]


def head(organisation: str = AUTHORITY.upper()) -> hi1.Head:
    return hi1.Head(
        hi1.Endpoint("SE", organisation), hi1.Endpoint("SE", "operator"), str(uuid.uuid4()), to_text(NOW_US)
    )


def send(court: Court, *actions: hi1.Action, person: str = "officer-1") -> tuple[list[hi1.Answer], bytes]:
    message = validated(write_request(head(), actions))
    answer = validated(Exchange(court.store).answer(court.actor(person), message))
    return read_answers(answer)[1], answer


def order() -> tuple[hi1.AuthorisationObject, hi1.TaskObject]:
    authorisation = hi1.AuthorisationObject(
        str(uuid.uuid4()),
        reference="B 1234-26",
        legal_type=hi1.Word("Lagrum", "AuthorisationLegalType", "secret-surveillance"),
        end=to_text(NOW_US + 30 * DAY_US)[:19] + "Z",
        decided_at="2026-11-20T09:00:00Z",
    )
    task = hi1.TaskObject(
        str(uuid.uuid4()),
        start=to_text(WINDOW.start_us)[:19] + "Z",
        end=to_text(WINDOW.end_us)[:19] + "Z",
        values=(hi1.RequestValue("ETSI", "InternationalE164", TARGET),),
        associated=(authorisation.identifier,),
    )
    return authorisation, task


def filed(court: Court) -> tuple[hi1.AuthorisationObject, hi1.TaskObject]:
    authorisation, task = order()
    answers, _ = send(court, hi1.Action(0, "CREATE", thing=authorisation), hi1.Action(1, "CREATE", thing=task))
    assert [item.failure for item in answers] == [None, None]
    return authorisation, task


def codes(court: Court, *actions: hi1.Action, **more: Any) -> list[int | None]:
    return [item.failure.code if item.failure else None for item in send(court, *actions, **more)[0]]


def test_an_order_goes_by_message_and_its_delivery_is_polled(court: Court) -> None:
    _, task = filed(court)
    (item,) = court.procedure.casebook.tasks()
    court.check(item.id)
    court.approve(item.id)
    court.run(item.id)
    _, listed = send(court, hi1.Action(0, "LIST", kind="Delivery"))
    assert b"ListResponseRecord" not in listed
    court.release(item.id)
    _, listed = send(court, hi1.Action(0, "LIST", kind="Delivery"))
    found = [each.text or "" for each in parse(listed).iter(hi1.clark("Identifier"))]
    assert len(found) == 2
    start = court.store.audit.size
    _, got = send(court, *(hi1.Action(n, "GET", identifier=each) for n, each in enumerate(found)))
    assert [entry.kind for entry in court.log(start)].count("disclosure.delivered") == 2
    assert [each.text for each in parse(got).iter(hi1.clark("LastSequence", hi1.DELIVERY))] == ["false", "true"]
    _, shown = send(court, hi1.Action(0, "GET", identifier=task.identifier))
    assert b"Disclosed" in shown
    assert TARGET.encode() not in shown


def test_messages_meet_the_same_guards_as_persons(court: Court) -> None:
    authorisation, task = filed(court)
    again = [hi1.Action(0, "CREATE", thing=authorisation), hi1.Action(1, "CREATE", thing=task)]
    assert codes(court, *again) == [409, 409]
    get = hi1.Action(0, "GET", identifier=task.identifier)
    assert codes(court, get) == [None]
    assert codes(court, get, person="officer-2") == [404]
    assert codes(court, hi1.Action(0, "GET", identifier=str(uuid.uuid4()))) == [404]
    wide = replace(task, identifier=str(uuid.uuid4()), end="2026-11-22T11:00:00Z")
    assert codes(court, hi1.Action(0, "CREATE", thing=wide)) == [409]
    odd = replace(task, identifier=str(uuid.uuid4()), values=(hi1.RequestValue("3GPP", "5GSTMSI", "A"),))
    assert codes(court, hi1.Action(0, "CREATE", thing=odd)) == [400]
    for person in ("handler-1", "approver-1", "auditor-1", "custodian-1", "dpo-1", "billing-1"):
        start = court.store.audit.size
        with pytest.raises(ProcedureError):
            send(court, get, person=person)
        assert [entry.kind for entry in court.log(start)] == ["disclosure.refused"]
    foreign = write_request(head(OTHER_AUTHORITY.upper()), [get])
    with pytest.raises(ProcedureError):
        Exchange(court.store).answer(court.actor("officer-1"), foreign)
    with pytest.raises(InputError):
        Exchange(court.store).answer(court.actor("officer-1"), b"<!DOCTYPE a><a/>")


def test_an_order_is_cancelled_by_message_and_not_changed(court: Court) -> None:
    authorisation, task = filed(court)
    cancelled = hi1.Word("ETSI", "LDTaskDesiredStatus", "Cancelled")
    assert codes(court, hi1.Action(0, "UPDATE", thing=replace(task, desired_status=None))) == [400]
    assert codes(court, hi1.Action(0, "UPDATE", thing=replace(task, desired_status=cancelled))) == [None]
    assert str(court.procedure.casebook.tasks()[0].state) == "Cancelled"
    assert codes(court, hi1.Action(0, "UPDATE", thing=replace(authorisation, desired_status=cancelled))) == [None]
    other = hi1.OtherObject(str(uuid.uuid4()), "x")
    with pytest.raises(KeyError):
        write_request(head(), [hi1.Action(0, "CREATE", thing=other)])
