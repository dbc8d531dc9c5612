"""HI-1 messages, read: XML in, values out. What does not have its form is an `InputError`, and names no value.

Source: ETSI TS 103 120 V1.12.1, clause 6.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final
from xml.etree.ElementTree import Element

from api.handover.markup import XSI, parse, text_of
from api.handover.ts103120 import (
    ACTIONS_MAX,
    AUTHORISATION,
    COMMON,
    DELIVERY,
    DOCUMENT,
    EMERGENCY,
    TASK,
    VERBS,
    Action,
    Answer,
    AuthorisationObject,
    DeliveryObject,
    DocumentObject,
    Endpoint,
    Failure,
    Head,
    OtherObject,
    RequestValue,
    TaskObject,
    Thing,
    Word,
    clark,
)
from api.instants import parse_instant
from schemas.errors import InputError

_UUID: Final = re.compile(r"[a-f0-9]{8}(-[a-f0-9]{4}){3}-[a-f0-9]{12}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_VERSION: Final = re.compile(r"V1\.\d+\.\d+")
_SHORT_CHARS_MAX: Final = 255
_OBJECT_READ: Final = frozenset(
    clark(name)
    for name in (
        *("ObjectIdentifier", "CountryCode", "OwnerIdentifier", "Generation"),
        *("ExternalIdentifier", "AssociatedObjects", "LastChanged"),
    )
)
_AUTHORISATION_READ: Final = _OBJECT_READ | {
    clark(f"Authorisation{name}", AUTHORISATION)
    for name in (
        *("Reference", "LegalType", "Priority", "Status", "DesiredStatus", "Timespan", "CSPID", "CreationTimestamp"),
        *("ApprovalDetails", "Flags", "Jurisdiction", "TypeOfCase", "LegalEntity"),
    )
}
_TASK_READ: Final = _OBJECT_READ | {
    clark(name, TASK)
    for name in (
        *("Reference", "Status", "DesiredStatus", "RequestDetails", "DeliveryDetails"),
        *("ApprovalDetails", "CSPID", "Flags"),
    )
}
_REQUEST_READ: Final = frozenset(
    clark(name, TASK) for name in ("StartTime", "EndTime", "ObservedTime", "ObservedTimes", "RequestValues")
)
"""Elements that an order is made of here, or that change nothing of what it allows. Any other may limit it."""


def read_request(message: bytes) -> tuple[Head, list[Action]]:
    """Return the header and the actions of a request.

    Raises:
        InputError: it is no HI-1 request, or an object in it does not have its form.
    """
    root = parse(message)
    head = _head(root)
    holder = root.find(clark("Payload/RequestPayload/ActionRequests"))
    if holder is None:
        raise InputError("the message is no HI-1 request")
    requests = holder.findall(clark("ActionRequest"))
    if not 0 < len(requests) <= ACTIONS_MAX:
        raise InputError(f"a request has one to {ACTIONS_MAX} actions")
    actions = [_action(item) for item in requests]
    if len({action.number for action in actions}) != len(actions):
        raise InputError("two actions of a request have one number")
    return head, actions


def read_answers(message: bytes) -> tuple[Head, list[Answer]]:
    """Return the header and the answers of a response; identifiers and failures only, what we need of a push.

    Raises:
        InputError: it is no HI-1 response, or one that refuses the whole message.
    """
    root = parse(message)
    head = _head(root)
    holder = root.find(clark("Payload/ResponsePayload/ActionResponses"))
    if holder is None:
        raise InputError("the message is no HI-1 response, or refuses the whole request")
    return head, [_answer(item) for item in holder.findall(clark("ActionResponse"))]


def _need(value: str | None, what: str) -> str:
    if value is None:
        raise InputError(f"the message has no {what}")
    return value


def _uuid(value: str | None) -> str:
    if value is None or not _UUID.fullmatch(value):
        raise InputError("an identifier is a UUID in lower case")
    return value


def _head(root: Element) -> Head:
    if root.tag != clark("HI1Message"):
        raise InputError("the message is no HI-1 message")
    version = text_of(root, clark("Header/Version/ETSIVersion"))
    if version is None or not _VERSION.fullmatch(version):
        raise InputError("the message is of a version that this side does not read")

    return Head(
        _endpoint(root, clark("Header/SenderIdentifier")),
        _endpoint(root, clark("Header/ReceiverIdentifier")),
        _uuid(text_of(root, clark("Header/TransactionIdentifier"))),
        _need(text_of(root, clark("Header/Timestamp")), "timestamp"),
    )


def _endpoint(parent: Element, path: str = "") -> Endpoint:
    country, identifier = (text_of(parent, f"{path}/{clark(name)}") for name in ("CountryCode", "UniqueIdentifier"))
    if country is None or not _COUNTRY.fullmatch(country) or identifier is None or len(identifier) > _SHORT_CHARS_MAX:
        raise InputError("a side of the message is not named by country and identifier")
    return Endpoint(country, identifier)


def _says_more(item: Element, read: frozenset[str]) -> bool:
    return any(child.tag not in read for child in item)


def _action(item: Element) -> Action:
    number = _number(text_of(item, clark("ActionIdentifier")))
    verbs = [verb for verb in VERBS for _ in item.findall(clark(verb))]
    if len(verbs) != 1:
        raise InputError("an action has exactly one verb")
    verb = verbs[0]
    body = item.find(clark(verb))
    assert body is not None
    named = text_of(body, clark("Identifier"))
    identifier = _uuid(named) if verb in ("GET", "DELIVER") else None
    things = body.findall(clark("HI1Object"))
    if len(things) != (1 if verb in ("CREATE", "UPDATE", "DELIVER") else 0):
        raise InputError("an action has one object, or none, as its verb says")
    kind = text_of(body, clark("ObjectType") + "/" + clark("Value", COMMON)) if verb == "LIST" else None
    return Action(number, verb, identifier, _thing(things[0]) if things else None, kind)


def _answer(item: Element) -> Answer:
    number = _number(text_of(item, clark("ActionIdentifier")))
    failed = item.find(clark("ErrorInformation"))
    if failed is not None:
        return Answer(number, "", failure=Failure(_number(text_of(failed, clark("ErrorCode"))), "refused"))
    for verb in VERBS:
        body = item.find(clark(f"{verb}Response"))
        if body is not None:
            return Answer(number, verb, text_of(body, clark("Identifier")))
    raise InputError("an answer has no verb")


def _number(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InputError("a number of the message is none")
    return int(text)


def _thing(item: Element) -> Thing:
    identifier = _uuid(text_of(item, clark("ObjectIdentifier")))
    associated = tuple(
        _uuid((each.text or "").strip())
        for each in item.findall(clark("AssociatedObjects") + "/" + clark("AssociatedObject"))
    )
    kind = item.get(f"{{{XSI}}}type", "")
    if kind == clark("AuthorisationObject", AUTHORISATION):
        return _read_authorisation(item, identifier, associated)
    if kind == clark("LDTaskObject", TASK):
        return _read_task(item, identifier, associated)
    if kind == clark("DocumentObject", DOCUMENT):
        return _read_document(item, identifier, associated)
    if kind == clark("DeliveryObject", DELIVERY):
        delivery = _read_delivery(item, identifier, associated)
        if delivery is not None:
            return delivery
    return OtherObject(identifier, kind.rpartition("}")[2][:40])


def _read_authorisation(item: Element, identifier: str, associated: tuple[str, ...]) -> AuthorisationObject:
    def a(path: str) -> str | None:
        return text_of(item, clark(path, AUTHORISATION))

    details = item.findall(clark("AuthorisationApprovalDetails", AUTHORISATION))
    approvals = [
        tuple(
            text_of(each, clark(path, COMMON))
            for path in ("ApprovalTimestamp", "ApproverDetails/ApproverRole", "ApprovalIsEmergency")
        )
        for each in details
    ]
    # Of several the latest counts: the decision in force.
    decided_at, decided_by, hasty = max(approvals, key=_approved_us, default=(None, None, None))
    flags = _read_flags(item, AUTHORISATION, "AuthorisationFlags/AuthorisationFlag")
    if hasty in ("true", "1") and EMERGENCY not in flags:
        flags = (*flags, EMERGENCY)
    return AuthorisationObject(
        identifier,
        reference=a("AuthorisationReference"),
        legal_type=_read_word(item, clark("AuthorisationLegalType", AUTHORISATION)),
        status=_read_word(item, clark("AuthorisationStatus", AUTHORISATION)),
        desired_status=_read_word(item, clark("AuthorisationDesiredStatus", AUTHORISATION)),
        start=a("AuthorisationTimespan/StartTime"),
        end=a("AuthorisationTimespan/EndTime"),
        decided_at=decided_at,
        decided_by=decided_by,
        flags=flags,
        associated=associated,
        addressed=tuple(_endpoint(each) for each in item.findall(clark("AuthorisationCSPID/CSPID", AUTHORISATION))),
        unread=_says_more(item, _AUTHORISATION_READ),
    )


def _approved_us(approval: tuple[str | None, ...]) -> int:
    """Return when an approval was given; one that does not say is before all that do."""
    return -1 if approval[0] is None else parse_instant(approval[0])


def _read_task(item: Element, identifier: str, associated: tuple[str, ...]) -> TaskObject:
    details = clark("RequestDetails", TASK) + "/"
    values = []
    for each in item.findall(details + clark("RequestValues/RequestValue", TASK)):
        owner, name, value = (
            text_of(each, clark(path, TASK)) for path in ("FormatType/FormatOwner", "FormatType/FormatName", "Value")
        )
        values.append(RequestValue(_need(owner, "format"), _need(name, "format"), _need(value, "value")))
    return TaskObject(
        identifier,
        ldid=text_of(item, clark("Reference", TASK)),
        status=_read_word(item, clark("Status", TASK)),
        desired_status=_read_word(item, clark("DesiredStatus", TASK)),
        start=text_of(item, details + clark("StartTime", TASK)),
        end=text_of(item, details + clark("EndTime", TASK)),
        observed=_observed(item, details),
        values=tuple(values),
        associated=associated,
        flags=_read_flags(item, TASK, "Flags/LDTaskFlag"),
        addressed=tuple(_endpoint(each) for each in item.findall(clark("CSPID", TASK))),
        unread=_says_more(item, _TASK_READ)
        or any(_says_more(each, _REQUEST_READ) for each in item.findall(clark("RequestDetails", TASK))),
    )


def _observed(item: Element, details: str) -> str | None:
    one = text_of(item, details + clark("ObservedTime", TASK))
    several = [(each.text or "").strip() for each in item.findall(details + clark("ObservedTimes", TASK))]
    found = {stamp for stamp in (one, *several) if stamp}
    if len(found) > 1:
        raise InputError("the identifiers of a task were observed at one time; others are other tasks'")
    return found.pop() if found else None


def _read_delivery(item: Element, identifier: str, associated: tuple[str, ...]) -> DeliveryObject | None:
    """Return a delivery of binary data under an LDID; None for other kinds of it."""

    def d(path: str) -> str | None:
        return text_of(item, clark(path, DELIVERY))

    ldid, delivery, data = d("Reference/LDID"), d("DeliveryID"), d("Delivery/BinaryData/Data")
    generation = text_of(item, clark("Generation"))
    if ldid is None or delivery is None or data is None:
        return None
    return DeliveryObject(
        identifier,
        ldid,
        _uuid(delivery),
        _number(d("SequenceNumber") or "0"),
        d("LastSequence") in ("true", "1"),
        _base64(data),
        (d("Delivery/BinaryData/Checksum") or "").lower(),
        associated,
        d("Manifest/ExternalSchema/ManifestID") or "",
        d("Delivery/BinaryData/ContentType") or "",
        None if generation is None else _number(generation),
    )


def _base64(text: str) -> bytes:
    try:
        return b64decode("".join(text.split()), validate=True)
    except (Base64Error, ValueError):
        raise InputError("an object's content is not base64") from None


def _read_document(item: Element, identifier: str, associated: tuple[str, ...]) -> DocumentObject:
    body = clark("DocumentBody", DOCUMENT) + "/"
    text = _need(text_of(item, body + clark("Contents", DOCUMENT)), "content of the document")
    kind = text_of(item, body + clark("ContentType", DOCUMENT)) or "application/pdf"
    return DocumentObject(identifier, kind, _base64(text), associated)


def _read_word(item: Element, path: str) -> Word | None:
    found = item.find(path)
    if found is None:
        return None
    owner, name, value = (text_of(found, clark(part, COMMON)) for part in ("Owner", "Name", "Value"))
    return Word(owner or "", name or "", _need(value, "value of a dictionary"))


def _read_flags(item: Element, uri: str, path: str) -> tuple[str, ...]:
    return tuple(
        value for each in item.findall(clark(path, uri)) if (value := text_of(each, clark("Value", COMMON))) is not None
    )
