"""ETSI TS 102 657 messages of an authority, read: an UNVERIFIED PROFILE, as what `ts102657` writes.

The header is that of the published export. Which message it is rests on reading; so that nothing is guessed, of its
content only what is ours is read (`nationalRequestParameters` with our header id), and what the standard says of
constraints on records is refused, not passed over. What does not have its form is an `InputError`, and names no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from api.handover.markup import parse, text_of
from api.handover.ts102657 import NATIONAL_HEADER
from schemas.errors import InputError

REQUEST, CANCEL, STATUS, ACKNOWLEDGEMENT = (
    "requestMessage",
    "cancelMessage",
    "getStatusMessage",
    "responseAcknowledgement",
)
_KINDS: Final = (REQUEST, CANCEL, STATUS, ACKNOWLEDGEMENT)
_SPACE: Final = re.compile(r"http://uri\.etsi\.org/02657/v1\.\d{1,3}\.\d{1,3}#/RetainedData")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_NUMBER: Final = re.compile(r"[!-~]{1,64}")
_READ: Final = {REQUEST: ("requestPriority", "nationalRequestParameters"), CANCEL: (), STATUS: (), ACKNOWLEDGEMENT: ()}


@dataclass(frozen=True, slots=True)
class Message:
    """One message: `kind` is its payload's element, `number` the authority's own; a request names `authorisation`."""

    country: str
    organisation: str
    number: str
    kind: str
    authorisation: str | None = None


def read_message(octets: bytes) -> Message:
    """Return an authority's message.

    Raises:
        InputError: it is none, of a kind that this side does not take, or asks for what this side does not read.
    """
    root = parse(octets)
    space, _, name = root.tag[1:].rpartition("}")
    if name != "retainedDataMessage" or not _SPACE.fullmatch(space):
        raise InputError("the message is no retainedDataMessage of TS 102 657")

    def tag(path: str) -> str:
        return "/".join(f"{{{space}}}{step}" for step in path.split("/"))

    def named(path: str, form: re.Pattern[str]) -> str:
        value = text_of(root, tag(f"retainedDataHeader/requestID/{path}"))
        if value is None or not form.fullmatch(value):
            raise InputError("a request is named by country, organisation and number")
        return value

    country, organisation = named("countryCode", _COUNTRY), named("authorisedOrganisationID", _NUMBER)
    number = named("requestNumber", _NUMBER)
    payload = root.findall(tag("retainedDataPayload"))
    found = [item for each in payload for item in each]
    kinds = [item.tag.rpartition("}")[2] for item in found]
    if len(kinds) != 1 or kinds[0] not in _KINDS or found[0].tag != tag(kinds[0]):
        raise InputError("this side takes a request, a cancellation, a question for the status, or an acknowledgement")
    kind, body = kinds[0], found[0]
    if any(child.tag not in [tag(known) for known in _READ[kind]] for child in body):
        raise InputError("the message holds elements that this side does not read")
    return Message(country, organisation, number, kind, _authorisation(body, tag, country) if kind == REQUEST else None)


def _authorisation(body: Element, tag: Callable[[str], str], country: str) -> str:
    """Return the authorisation that a request names in its national part."""
    national = tag("nationalRequestParameters")
    if text_of(body, f"{national}/{tag('headerID')}") != NATIONAL_HEADER:
        raise InputError("a request names its authorisation in nationalRequestParameters of this profile")
    holder = body.find(national)
    assert holder is not None, "its header was read"
    named = sorted(item.tag for item in holder)
    known = sorted(tag(name) for name in ("countryCode", "headerID", "field"))
    if named not in (known, [item for item in known if item != tag("countryCode")]):
        raise InputError("nationalRequestParameters hold elements that this side does not read")
    field = holder.find(tag("field"))
    assert field is not None, "it is among what is known"
    value = (field.text or "").strip()
    if dict(field.attrib) != {"name": "authorisation"} or len(field) or not value:
        raise InputError("a request names its authorisation in nationalRequestParameters of this profile")
    if text_of(holder, tag("countryCode")) not in (None, country):
        raise InputError("nationalRequestParameters are of another country")
    return value
