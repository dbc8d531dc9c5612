"""Messages of TS 102 657 walk the road that people do; what this side does not read is refused, never passed over."""

from __future__ import annotations

import pytest

from api.disclosure.outdated_marks import Watch, mark_of
from api.handover.markup import parse, text_of
from api.handover.requests import document_id
from api.handover.retained import RetainedData
from api.handover.ts102657 import NAMESPACE
from api.handover.ts102657_read import read_message
from schemas.errors import InputError, ProcedureError
from store.clock import to_text
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, Court, court, shared_court
from tests.api.disclosure.test_completeness import more
from tests.store.conftest import deliver

__all__ = ["court", "shared_court"]

NUMBER = "0160103711-TEST45"
STATUS, CANCEL, ACKNOWLEDGED = "<getStatusMessage/>", "<cancelMessage/>", "<responseAcknowledgement/>"


def wanted(authorisation: str, header: str = "lagrum.1", more: str = "") -> str:
    national = f"<countryCode>SE</countryCode><headerID>{header}</headerID>"
    named = f'<field name="authorisation">{authorisation}</field>'
    inner = f"<nationalRequestParameters>{national}{named}</nationalRequestParameters>"
    return f"<requestMessage>{inner}{more}</requestMessage>"


def message(payload: str, number: str = NUMBER, organisation: str = AUTHORITY.upper(), space: str = NAMESPACE) -> bytes:
    asked = f"<countryCode>SE</countryCode><authorisedOrganisationID>{organisation}</authorisedOrganisationID>"
    return (
        f'<retainedDataMessage xmlns="{space}"><retainedDataHeader><requestID>{asked}'
        f"<requestNumber>{number}</requestNumber></requestID><cSPID>1</cSPID><timeStamp>20261122130000+0100</timeStamp>"
        f"</retainedDataHeader><retainedDataPayload>{payload}</retainedDataPayload></retainedDataMessage>"
    ).encode()


def send(court: Court, payload: str, person: str = "officer-1", **head: str) -> tuple[str, str | None]:
    """Return the answer's kind, and its status or error code."""
    answer = RetainedData(court.store).answer(court.actor(person), message(payload, **head))
    root = parse(answer)
    assert b"UNVERIFIED PROFILE" in answer
    space = f"{{{NAMESPACE}}}"
    assert text_of(root, f"{space}retainedDataHeader/{space}requestID/{space}requestNumber") == head.get(
        "number", NUMBER
    )
    (found,) = root.findall(f"{space}retainedDataPayload")[0]
    word = text_of(found, f"{space}requestStatus") or text_of(found, f"{space}errorCode")
    return found.tag.removeprefix(space), word


def test_a_request_goes_by_message_from_its_number_to_the_acknowledged_response(court: Court) -> None:
    filed = court.file()
    assert send(court, wanted(filed.id)) == ("requestAcknowledgement", None)
    (task,) = court.procedure.casebook.tasks()
    assert task.targets == filed.targets
    assert send(court, STATUS) == ("statusMessage", "AwaitingApproval")
    assert send(court, ACKNOWLEDGED) == ("errorMessage", "409"), "nothing was fetched yet"
    court.release(court.run(court.approve(court.check(task.id).id).id).id)
    opened, _ = court.open(court.deliver(task.id))
    part = (court.store.root.parent / "opened-1" / "part-0001" / "records.xml").read_bytes()
    assert f"<requestNumber>{NUMBER}</requestNumber>".encode() in part
    start = court.store.audit.size
    assert send(court, ACKNOWLEDGED) == ("statusMessage", "Disclosed")
    assert court.log(start)[-1].kind == "disclosure.response-acknowledged"
    delivery = court.procedure.casebook.delivery(opened.receipt["delivery"]["id"])[0]
    assert delivery.acknowledged_at_us is None, "that takes a signature"


def test_an_outdated_result_is_told_with_the_status_to_the_own_officer_only(court: Court) -> None:
    def since(payload: str) -> list[str | None]:
        root = parse(RetainedData(court.store).answer(court.actor("officer-1"), message(payload)))
        return [each.text for each in root.iter(f"{{{NAMESPACE}}}field") if each.get("name") == "outdated-since"]

    batch = deliver(court.store, more(6), source="more").batch_id
    assert send(court, wanted(court.file().id))[0] == "requestAcknowledgement"
    (task,) = court.procedure.casebook.tasks()
    court.release(court.run(court.approve(court.check(task.id).id).id).id)
    court.deliver(task.id)
    assert since(STATUS) == []
    court.store.withdraw_batch(batch, reason="zone", actors=["a", "b"])
    assert Watch(court.store).look() == 1
    delivery = court.procedure.casebook.task(task.id)[0].delivery_id
    before, _ = mark_of(court.store, delivery) or pytest.fail("not marked")
    assert before.told_us is None
    assert send(court, STATUS, "officer-2") == ("errorMessage", "404")
    (first,) = since(STATUS)
    mark, _ = mark_of(court.store, delivery) or pytest.fail("not marked")
    assert (first, mark.told_by) == (to_text(mark.since_us), "officer-1"), "who was told is put down as told"
    assert since(ACKNOWLEDGED) == [first]


def test_a_request_is_cancelled_by_its_number(court: Court) -> None:
    assert send(court, wanted(court.file().id))[0] == "requestAcknowledgement"
    assert send(court, CANCEL) == ("cancelAcknowledgement", None)
    assert str(court.procedure.casebook.tasks()[0].state) == "Cancelled"
    assert send(court, STATUS) == ("statusMessage", "Cancelled")
    assert send(court, CANCEL) == ("errorMessage", "409")


def test_messages_meet_the_guards_of_persons(court: Court) -> None:
    filed = court.file()
    assert send(court, wanted("SE-A-0000000000000000")) == ("errorMessage", "404")
    assert send(court, wanted("0701740007")) == ("errorMessage", "404")
    assert send(court, wanted(court.file("officer-2").id)) == ("errorMessage", "409")
    assert send(court, STATUS) == ("errorMessage", "404")
    assert send(court, wanted(filed.id)) == ("requestAcknowledgement", None)
    assert send(court, wanted(filed.id)) == ("errorMessage", "409"), "a number is one request's"
    assert court.log()[-1].public["reason"] == "exists"
    for payload in (STATUS, CANCEL, ACKNOWLEDGED):
        start = court.store.audit.size
        assert send(court, payload, "officer-2") == ("errorMessage", "404")
        assert court.log(start)[-1].kind == "disclosure.refused"
    for person in ("handler-1", "approver-1", "auditor-1", "custodian-1", "dpo-1", "billing-1"):
        with pytest.raises(ProcedureError) as refused:
            send(court, STATUS, person)
        assert refused.value.reason == "wrong-role"
    with pytest.raises(ProcedureError):
        send(court, STATUS, organisation=OTHER_AUTHORITY.upper())


def test_the_catalog_does_not_show_the_authority_s_number(court: Court) -> None:
    send(court, wanted(court.file().id))
    assert [item.id for item in court.store.documents.list("rd-request")] == [
        document_id(court.store, AUTHORITY, NUMBER)
    ]
    assert not [path for path in court.store.root.rglob("*") if path.is_file() and NUMBER.encode() in path.read_bytes()]


BROKEN = {
    "another root": b"<a/>",
    "another root of the namespace": message(STATUS).replace(b"retainedDataMessage", b"retainedDataTelegram"),
    "another namespace": message(STATUS, space="urn:other"),
    "no payload": message(""),
    "two payloads": message(STATUS + CANCEL),
    "a response": message("<responseMessage/>"),
    "a foreign element": message('<getStatusMessage xmlns="urn:other"/>'),
    "constraints on records": message(wanted("SE-A-0000000000000000", more="<requestParameters/>")),
    "something in a question": message("<getStatusMessage><requestParameters/></getStatusMessage>"),
    "another profile": message(wanted("SE-A-0000000000000000", header="01.28.01")),
    "no authorisation": message("<requestMessage/>"),
    "an authorisation of no word": message(wanted(" ")),
    "two authorisations": message(
        wanted('A</field><field name="authorisation">B'),
    ),
    "a constraint of its own": message(wanted('A</field><window>1</window><field name="x">')),
    "a field of two names": message(wanted('A</field><field name="window">1')),
    "a field with a field": message(wanted("A<only>1</only>")),
    "a field with a condition": message(wanted("A").replace('name="authorisation"', 'name="authorisation" until="1"')),
    "another country's parameters": message(wanted("A").replace("<countryCode>SE", "<countryCode>DE")),
    "a number cut in two": message(STATUS, number="1<x/>2"),
    "a number with a space": message(STATUS, number="1 2"),
    "a number without end": message(STATUS, number="1" * 65),
    "no number": message(STATUS, number=""),
    "an entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + message(STATUS, number="&x;"),
    "a billion laughs": b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]>' + message(STATUS, number="&y;"),
    "too long": message(STATUS + " " * (4 << 20)),
    "too deep": message("<getStatusMessage>" + "<a>" * 50 + "</a>" * 50 + "</getStatusMessage>"),
    "too many": message("<getStatusMessage>" + "<a/>" * 21_000 + "</getStatusMessage>"),
    "cut": message(STATUS)[:-5],
    "not XML": b"\x00\xff",
}


@pytest.mark.parametrize("octets", BROKEN.values(), ids=BROKEN)
def test_what_does_not_have_its_form_is_refused_and_logged(shared_court: Court, octets: bytes) -> None:
    start = shared_court.store.audit.size
    with pytest.raises(InputError):
        RetainedData(shared_court.store).answer(shared_court.actor("officer-1"), octets)
    assert [entry.kind for entry in shared_court.log(start)] == ["disclosure.refused"]


def test_the_namespace_of_another_minor_version_is_read(shared_court: Court) -> None:
    other = message(STATUS, space="http://uri.etsi.org/02657/v1.30.1#/RetainedData")
    assert read_message(other).number == NUMBER
