"""HI-1 walks the same road as people do: filed and registered by message, approved by persons, fetched by message."""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import replace
from typing import Any

import orjson
import pytest

from api.disclosure.delivering import ACKNOWLEDGE
from api.disclosure.model import AUTHORISATION, DECISION, TASK
from api.disclosure.outdated_marks import Watch
from api.disclosure.views import source
from api.handover import ts103120 as hi1
from api.handover.hi1 import Exchange
from api.handover.markup import parse
from api.handover.objects import object_id
from api.handover.ts103120_read import read_answers
from api.handover.ts103120_write import write_request
from schemas.errors import InputError, ProcedureError
from store import Put
from store.clock import to_text
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, TARGET, WINDOW, Court, court, shared_court
from tests.api.disclosure.test_completeness import more
from tests.api.handover.etsi import checked
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US

__all__ = ["court", "shared_court"]


def head(organisation: str = AUTHORITY.upper()) -> hi1.Head:
    return hi1.Head(
        hi1.Endpoint("SE", organisation), hi1.Endpoint("SE", "operator"), str(uuid.uuid4()), to_text(NOW_US)
    )


def send(court: Court, *actions: hi1.Action, person: str = "officer-1") -> tuple[list[hi1.Answer], bytes]:
    message = checked(write_request(head(), actions))
    answer = checked(Exchange(court.store).answer(court.actor(person), message))
    return read_answers(answer)[1], answer


def order() -> tuple[hi1.AuthorisationObject, hi1.TaskObject]:
    authorisation = hi1.AuthorisationObject(
        str(uuid.uuid4()),
        reference="B 1234-26",
        legal_type=hi1.Word("Lagrum", "AuthorisationLegalType", "secret-surveillance"),
        end=to_text(NOW_US + 30 * DAY_US)[:19] + "Z",
        decided_at="2026-11-20T09:00:00Z",
        decided_by="court",
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


def test_a_result_that_is_outdated_says_so_and_since_when_and_no_more(court: Court) -> None:
    batch = deliver(court.store, more(), source="more").batch_id
    _, task = filed(court)
    case = court.procedure.casebook.tasks()[-1].id
    court.release(court.run(court.approve(court.check(case).id).id).id)
    get = hi1.Action(0, "GET", identifier=task.identifier)
    assert b"StatusReason" not in send(court, get)[1]
    court.store.withdraw_batch(batch, reason="zone", actors=["a", "b"])
    assert Watch(court.store).look() == 1
    shown = send(court, get)[1]
    assert b"<ErrorCode>299</ErrorCode>" in re.sub(rb"<(/?)\w+:", rb"<\1", shown)
    assert b"outdated since 2026-" in shown and b"withdrawn" not in shown
    assert court.log()[-1].public["told"] == "outdated"


def test_messages_meet_the_same_guards_as_persons(court: Court) -> None:
    authorisation, task = filed(court)
    again = [hi1.Action(0, "CREATE", thing=authorisation), hi1.Action(1, "CREATE", thing=task)]
    assert codes(court, *again) == [409, 409]
    assert [entry.public.get("reason") for entry in court.log()[-2:]] == ["exists", "exists"]
    get = hi1.Action(0, "GET", identifier=task.identifier)
    assert codes(court, get) == [None]
    assert codes(court, get, person="officer-2") == [404]
    assert codes(court, hi1.Action(0, "GET", identifier=str(uuid.uuid4()))) == [404]
    for role in (None, "clerk", "COURT"):
        undecided = replace(authorisation, identifier=str(uuid.uuid4()), decided_by=role)
        alike = replace(task, identifier=str(uuid.uuid4()), associated=(undecided.identifier,))
        both = hi1.Action(0, "CREATE", thing=undecided), hi1.Action(1, "CREATE", thing=alike)
        assert codes(court, *both) == [400, 404], "whose decision it is stands in ApproverRole"
    get_order = send(court, hi1.Action(0, "GET", identifier=authorisation.identifier))[1]
    assert b"<common:ApproverRole>court</common:ApproverRole>" in get_order
    picture = hi1.Action(0, "DELIVER", str(uuid.uuid4()), hi1.DocumentObject(str(uuid.uuid4()), "text/plain", b"x"))
    assert codes(court, picture) == [409]
    wide = replace(task, identifier=str(uuid.uuid4()), end="2026-11-22T11:00:00Z")
    assert codes(court, hi1.Action(0, "CREATE", thing=wide)) == [409]
    odd = replace(task, identifier=str(uuid.uuid4()), values=(hi1.RequestValue("3GPP", "5GSTMSI", "A"),))
    assert codes(court, hi1.Action(0, "CREATE", thing=odd)) == [400]
    for person in ("handler-1", "approver-1", "auditor-1", "custodian-1", "dpo-1", "billing-1"):
        start = court.store.audit.size
        with pytest.raises(ProcedureError) as refused:
            send(court, get, person=person)
        assert refused.value.reason == "wrong-role"
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


def test_a_document_is_taken_with_its_authorisation_or_not_at_all(court: Court) -> None:
    authorisation, task = order()
    decision = hi1.DocumentObject(str(uuid.uuid4()), "application/pdf", b"%PDF B 1", (authorisation.identifier,))
    second = replace(decision, identifier=str(uuid.uuid4()), content=b"%PDF B 2")
    alone = replace(decision, associated=())

    def create(*things: hi1.Thing) -> list[int | None]:
        return codes(court, *(hi1.Action(place, "CREATE", thing=thing) for place, thing in enumerate(things)))

    before = court.store.documents.list(DECISION)
    assert create(decision) == [409]
    assert create(decision, decision) == [409, 409]
    assert create(alone, authorisation, task)[0] == 409  # an authorisation is beside it, and is not the document's
    assert [entry.public["reason"] for entry in court.log() if entry.kind == "disclosure.refused"] == ["document"] * 4
    another, own = order()
    of_another = [replace(item, associated=(another.identifier,)) for item in (decision, second)]
    assert create(*of_another, another, own) == [409, 409, 400, 404]
    others = {item.id for item in court.procedure.casebook.authorisations()}
    assert create(of_another[0], another, own) == [None, None, None]
    (made,) = {item.id for item in court.procedure.casebook.authorisations()} - others
    kept, content = source(court.store, court.actor("handler-1"), made)
    assert (kept.media_type, content) == ("application/pdf", b"%PDF B 1")
    assert create(of_another[0], another, own) == [409, 409, 409]  # it is there already
    assert len(court.store.documents.list(DECISION)) == len(before) + 2


def test_tasks_of_one_authorisation_do_not_widen_it_together(court: Court) -> None:
    """Two targets over two times would authorise each target over both; a gap between two times, the gap."""
    middle = to_text((WINDOW.start_us + WINDOW.end_us) // 2)[:19] + "Z"
    hour = to_text((WINDOW.start_us + WINDOW.end_us) // 2 + 3_600_000_000)[:19] + "Z"
    other = (hi1.RequestValue("ETSI", "InternationalE164", "46701749997"),)
    authorisation, task = order()
    first = replace(task, end=middle)
    for second, code in (
        ({"values": other, "start": middle}, 400),
        ({"start": hour}, 400),
        ({"values": other, "end": middle}, None),
        ({"start": middle}, None),
    ):
        filed = replace(authorisation, identifier=str(uuid.uuid4()))
        tasks = (
            replace(first, associated=(filed.identifier,)),
            replace(task, **second, associated=(filed.identifier,)),
        )
        named = [replace(item, identifier=str(uuid.uuid4())) for item in tasks]
        creates = [hi1.Action(number, "CREATE", thing=item) for number, item in enumerate((filed, *named))]
        assert codes(court, *creates)[0] == code, second


def test_an_authorisation_whose_time_has_not_begun_is_not_taken(court: Court) -> None:
    authorisation, task = order()
    for start, code in ((to_text(NOW_US + DAY_US), 400), (to_text(NOW_US - DAY_US), None)):
        thing = replace(authorisation, start=start[:19] + "Z")
        assert codes(court, hi1.Action(0, "CREATE", thing=thing), hi1.Action(1, "CREATE", thing=task))[0] == code


def test_an_order_names_the_day_of_the_holder_and_the_preservation_that_it_reaches(court: Court) -> None:
    authorisation, task = order()
    named = hi1.RequestValue("Lagrum", "PreservationReference", "K 4711-26")
    task = replace(task, observed="2026-11-14T00:30:00+01:00", values=(*task.values, named))
    answers, _ = send(court, hi1.Action(0, "CREATE", thing=authorisation), hi1.Action(1, "CREATE", thing=task))
    assert [item.failure for item in answers] == [None, None]
    (item,) = court.procedure.casebook.tasks()
    assert court.procedure.casebook.authorisation(item.authorisation_id)[0].preservation == "K 4711-26"
    assert [(target.value, target.held_on) for target in item.targets] == [(TARGET, "2026-11-13")]
    more = replace(task, identifier=str(uuid.uuid4()))
    for values, code in (
        ((task.values[0], replace(named, value="K 1-26")), 409),
        ((*task.values, replace(named, value="K 1-26")), 400),
        ((task.values[0], hi1.RequestValue("ETSI", "PreservationReference", "K 4711-26")), 400),
    ):
        assert codes(court, hi1.Action(0, "CREATE", thing=replace(more, values=values))) == [code]
    assert codes(court, hi1.Action(0, "CREATE", thing=replace(more, observed="2026-11-14T09:00:00Z"))) == [409], (
        "another day"
    )
    plain = replace(more, values=task.values[:1])
    assert codes(court, hi1.Action(0, "CREATE", thing=plain)) == [None]


def test_a_crash_while_an_object_is_created_leaves_all_of_it_or_nothing(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever write of a CREATE is the last one before the crash, the same message then files the order once."""
    authorisation, task = order()
    actions = hi1.Action(0, "CREATE", thing=authorisation), hi1.Action(1, "CREATE", thing=task)
    real = court.store.documents.commit
    for survive in range(3):
        left = survive

        def commit(puts: Any, entries: Any = (), *, more: Any = real) -> None:
            nonlocal left
            if puts and not left:
                raise KeyboardInterrupt
            left -= bool(puts)
            more(puts, entries)

        monkeypatch.setattr(court.store.documents, "commit", commit)
        try:
            send(court, *actions)
        except KeyboardInterrupt:
            assert survive < 2
        monkeypatch.setattr(court.store.documents, "commit", real)
        cases = [item.id for item in court.procedure.casebook.authorisations()]
        cases += [item.id for item in court.procedure.casebook.tasks()]
        assert len(cases) == survive
        assert sorted(item.body["case"] for item in court.store.documents.list("hi1")) == sorted(cases)
        if survive < 2:
            found = codes(court, *actions)
            assert found == [409 if survive else None, None]
            for kind in ("hi1", AUTHORISATION, TASK):
                named = court.store.documents.list(kind)
                assert named
                real([Put(kind, item.id, None) for item in named])


def test_an_acknowledgement_is_delivered_back_and_nothing_else_is(court: Court) -> None:
    filed(court)
    (item,) = court.procedure.casebook.tasks()
    for step in (court.check, court.approve, court.run, court.release):
        step(item.id)
    opened, _ = court.open(court.deliver(item.id))
    opening = court.procedure.casebook.delivery(opened.receipt["delivery"]["id"])[0].cover
    assert opening is not None
    signed = court.signed("officer-1", ACKNOWLEDGE, item.id, opening.opening)

    def acknowledged(body: bytes, **changes: Any) -> hi1.Action:
        delivery = object_id(court.store.store_id, opened.receipt["delivery"]["id"])
        thing = hi1.DeliveryObject(
            str(uuid.uuid4()),
            item.id,
            delivery,
            0,
            True,
            body,
            hashlib.sha256(body).hexdigest(),
            manifest=hi1.ACKNOWLEDGEMENT_ID,
            media_type="application/json",
        )
        thing = replace(thing, **changes)
        return hi1.Action(0, "DELIVER", identifier=thing.identifier, thing=thing)

    good = orjson.dumps({"time": signed.time, "signature": signed.signature})
    for body, changes, code in (
        (good, {"manifest": hi1.MANIFEST_ID}, 409),
        (good, {"checksum": "00" * 32}, 400),
        (good, {"ldid": "SE-T-0000000000000000"}, 404),
        (good, {"delivery": str(uuid.uuid4())}, 404),
        (b"{}", {}, 400),
        (b"no", {}, 400),
        (orjson.dumps({"time": signed.time, "signature": 1}), {}, 400),
        (orjson.dumps({"time": 1, "signature": signed.signature}), {}, 400),
        (orjson.dumps({"time": signed.time, "signature": signed.signature, "person": "officer-2"}), {}, 400),
        (orjson.dumps({"time": signed.time, "signature": "AAAA"}), {}, 409),
    ):
        start = court.store.audit.size
        assert codes(court, acknowledged(body, **changes)) == [code]
        assert [entry.kind for entry in court.log(start)][-1] == "disclosure.refused"
    other = replace(acknowledged(good), identifier=str(uuid.uuid4()))
    assert codes(court, other) == [400]
    assert codes(court, acknowledged(good), person="officer-2") == [404]
    assert codes(court, acknowledged(good)) == [None]
    assert court.procedure.casebook.delivery(opened.receipt["delivery"]["id"])[0].acknowledged_at_us is not None
    start = court.store.audit.size
    assert codes(court, acknowledged(good)) == [None], "an answer was lost, and the message came again"
    assert "disclosure.acknowledged" not in [entry.kind for entry in court.log(start)]
