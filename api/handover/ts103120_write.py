"""HI-1 messages, written: values in, XML out, elements in the order of the schemas.

Source: ETSI TS 103 120 V1.12.1, clause 6.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from xml.etree.ElementTree import Element, register_namespace

from api.handover.markup import XSI, put, set_type, to_bytes
from api.handover.ts103120 import (
    AUTHORISATION,
    COMMON,
    CORE,
    DELIVERY,
    DOCUMENT,
    PROFILE_OWNER,
    PROFILE_VERSION,
    TASK,
    VERSION,
    Action,
    Answer,
    AuthorisationObject,
    DeliveryObject,
    DocumentObject,
    Failure,
    Head,
    TaskObject,
    Thing,
    Word,
    clark,
)

for _prefix, _uri in (
    ("core", CORE),
    ("common", COMMON),
    ("auth", AUTHORISATION),
    ("doc", DOCUMENT),
    ("task", TASK),
    ("delivery", DELIVERY),
    ("xsi", XSI),
):
    register_namespace(_prefix, _uri)


def write_request(head: Head, actions: Iterable[Action]) -> bytes:
    """Return a request as XML."""
    root, payload = _message(head)
    holder = put(put(payload, clark("RequestPayload")), clark("ActionRequests"))
    for action in actions:
        item = put(holder, clark("ActionRequest"))
        put(item, clark("ActionIdentifier"), str(action.number))
        verb = put(item, clark(action.verb))
        if action.identifier is not None:
            put(verb, clark("Identifier"), action.identifier)
        if action.thing is not None:
            _put_thing(verb, action.thing)
        if action.kind is not None:
            _word(verb, clark("ObjectType"), Word("ETSI", "ObjectType", action.kind))
    return to_bytes(root)


def write_answers(head: Head, answers: Iterable[Answer]) -> bytes:
    """Return a response as XML."""
    root, payload = _message(head)
    holder = put(put(payload, clark("ResponsePayload")), clark("ActionResponses"))
    for answer in answers:
        item = put(holder, clark("ActionResponse"))
        put(item, clark("ActionIdentifier"), str(answer.number))
        if answer.failure is not None:
            _failure(item, clark("ErrorInformation"), answer.failure)
            continue
        response = put(item, clark(f"{answer.verb}Response"))
        if answer.identifier is not None and answer.verb != "GET":
            put(response, clark("Identifier"), answer.identifier)
        if answer.thing is not None:
            _put_thing(response, answer.thing)
        for line in answer.listed:
            record = put(response, clark("ListResponseRecord"))
            _word(record, clark("ObjectType"), Word("ETSI", "ObjectType", line.kind))
            put(record, clark("Identifier"), line.identifier)
            put(record, clark("Generation"), str(line.generation))
            if line.external is not None:
                put(record, clark("ExternalIdentifier"), line.external)
    return to_bytes(root)


def write_refusal(head: Head, failure: Failure) -> bytes:
    """Return a response that refuses a whole request."""
    root, payload = _message(head)
    _failure(put(payload, clark("ResponsePayload")), clark("ErrorInformation"), failure)
    return to_bytes(root)


def _message(head: Head) -> tuple[Element, Element]:
    root = Element(clark("HI1Message"))
    header = put(root, clark("Header"))
    for name, end in (("SenderIdentifier", head.sender), ("ReceiverIdentifier", head.receiver)):
        side = put(header, clark(name))
        put(side, clark("CountryCode"), end.country)
        put(side, clark("UniqueIdentifier"), end.identifier)
    put(header, clark("TransactionIdentifier"), head.transaction)
    put(header, clark("Timestamp"), head.timestamp)
    version = put(header, clark("Version"))
    put(version, clark("ETSIVersion"), VERSION)
    put(version, clark("NationalProfileOwner"), PROFILE_OWNER)
    put(version, clark("NationalProfileVersion"), PROFILE_VERSION)
    return root, put(root, clark("Payload"))


def _failure(parent: Element, tag: str, failure: Failure) -> None:
    item = put(parent, tag)
    put(item, clark("ErrorCode"), str(failure.code))
    put(item, clark("ErrorDescription"), failure.text)


def _word(parent: Element, tag: str, word: Word | None) -> None:
    if word is None:
        return
    item = put(parent, tag)
    for name, value in (("Owner", word.owner), ("Name", word.name), ("Value", word.value)):
        put(item, clark(name, COMMON), value)


def _if(parent: Element, tag: str, text: str | None) -> None:
    if text is not None:
        put(parent, tag, text)


def _put_thing(parent: Element, thing: Thing) -> None:
    item = put(parent, clark("HI1Object"))
    kinds: dict[type, str] = {
        AuthorisationObject: clark("AuthorisationObject", AUTHORISATION),
        TaskObject: clark("LDTaskObject", TASK),
        DocumentObject: clark("DocumentObject", DOCUMENT),
        DeliveryObject: clark("DeliveryObject", DELIVERY),
    }
    set_type(item, kinds[type(thing)])
    put(item, clark("ObjectIdentifier"), thing.identifier)
    generation = getattr(thing, "generation", None)
    _if(item, clark("Generation"), None if generation is None else str(generation))
    _if(item, clark("ExternalIdentifier"), getattr(thing, "external", None))
    associated = getattr(thing, "associated", ())
    if associated:
        holder = put(item, clark("AssociatedObjects"))
        for each in associated:
            put(holder, clark("AssociatedObject"), each)
    match thing:
        case AuthorisationObject():
            _write_authorisation(item, thing)
        case TaskObject():
            _write_task(item, thing)
        case DocumentObject():
            _write_document(item, thing)
        case DeliveryObject():
            _write_delivery(item, thing)


def _write_authorisation(item: Element, thing: AuthorisationObject) -> None:
    def a(path: str) -> str:
        return clark(path, AUTHORISATION)

    _if(item, a("AuthorisationReference"), thing.reference)
    _word(item, a("AuthorisationLegalType"), thing.legal_type)
    _word(item, a("AuthorisationStatus"), thing.status)
    _word(item, a("AuthorisationDesiredStatus"), thing.desired_status)
    if thing.start is not None or thing.end is not None:
        span = put(item, a("AuthorisationTimespan"))
        _if(span, a("StartTime"), thing.start)
        _if(span, a("EndTime"), thing.end)
    if thing.decided_at is not None or thing.decided_by is not None:
        details = put(item, a("AuthorisationApprovalDetails"))
        if thing.decided_by is not None:
            put(put(details, clark("ApproverDetails", COMMON)), clark("ApproverRole", COMMON), thing.decided_by)
        _if(details, clark("ApprovalTimestamp", COMMON), thing.decided_at)
    if thing.flags:
        holder = put(item, a("AuthorisationFlags"))
        for flag in thing.flags:
            _word(holder, a("AuthorisationFlag"), Word("ETSI", "AuthorisationFlag", flag))


def _write_task(item: Element, thing: TaskObject) -> None:
    def t(path: str) -> str:
        return clark(path, TASK)

    _if(item, t("Reference"), thing.ldid)
    _word(item, t("Status"), thing.status)
    if thing.status_reason is not None:
        _failure(item, t("StatusReason"), thing.status_reason)
    _word(item, t("DesiredStatus"), thing.desired_status)
    if thing.values or thing.start is not None or thing.observed is not None:
        details = put(item, t("RequestDetails"))
        _if(details, t("StartTime"), thing.start)
        _if(details, t("EndTime"), thing.end)
        _if(details, t("ObservedTime"), thing.observed)
        if thing.values:
            holder = put(details, t("RequestValues"))
            for value in thing.values:
                each = put(holder, t("RequestValue"))
                form = put(each, t("FormatType"))
                put(form, t("FormatOwner"), value.owner)
                put(form, t("FormatName"), value.name)
                put(each, t("Value"), value.value)
    if thing.flags:
        holder = put(item, t("Flags"))
        for flag in thing.flags:
            _word(holder, t("LDTaskFlag"), Word("ETSI", "LDTaskFlag", flag))


def _write_document(item: Element, thing: DocumentObject) -> None:
    body = put(item, clark("DocumentBody", DOCUMENT))
    put(body, clark("Contents", DOCUMENT), b64encode(thing.content).decode("ascii"))
    put(body, clark("ContentType", DOCUMENT), thing.media_type)


def _write_delivery(item: Element, thing: DeliveryObject) -> None:
    def d(path: str) -> str:
        return clark(path, DELIVERY)

    put(put(item, d("Reference")), d("LDID"), thing.ldid)
    put(item, d("DeliveryID"), thing.delivery)
    put(item, d("SequenceNumber"), str(thing.sequence))
    put(item, d("LastSequence"), "true" if thing.last else "false")
    put(put(put(item, d("Manifest")), d("ExternalSchema")), d("ManifestID"), thing.manifest)
    data = put(put(item, d("Delivery")), d("BinaryData"))
    put(data, d("Data"), b64encode(thing.envelope).decode("ascii"))
    put(data, d("ContentType"), thing.media_type)
    put(data, d("Checksum"), thing.checksum)
    put(data, d("ChecksumType"), "SHA-256")
