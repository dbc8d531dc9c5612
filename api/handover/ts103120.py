"""ETSI TS 103 120 messages (HI-1) as values; `ts103120_read` and `ts103120_write` turn them from and into XML.

Every message that is written, and every kind that is accepted, validates against the schemas of V1.12.1 in the tests.
What stands for what in our procedure is in `api.handover.hi1`.

Source: ETSI TS 103 120 V1.12.1, clauses 6 (messages), 7.2 (authorisation), 7.3 (document), 8.3 (LDTask), 10 (delivery).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VERSION: Final = "V1.12.1"
CORE: Final = "http://uri.etsi.org/03120/common/2019/10/Core"
COMMON: Final = "http://uri.etsi.org/03120/common/2016/02/Common"
AUTHORISATION: Final = "http://uri.etsi.org/03120/common/2020/09/Authorisation"
DOCUMENT: Final = "http://uri.etsi.org/03120/common/2020/09/Document"
TASK: Final = "http://uri.etsi.org/03120/common/2020/09/Task"
DELIVERY: Final = "http://uri.etsi.org/03120/common/2019/10/Delivery"
PROFILE_OWNER: Final = "Lagrum"
PROFILE_VERSION: Final = "v1"
VERBS: Final = ("GET", "CREATE", "UPDATE", "LIST", "DELIVER")
ACTIONS_MAX: Final = 100
ENVELOPE_TYPE: Final = "application/pkcs7-mime; smime-type=enveloped-data"
MANIFEST_ID: Final = "urn:lagrum:delivery:2"
ACKNOWLEDGEMENT_ID: Final = "urn:lagrum:acknowledgement:1"
"""What a DeliveryObject holds that an authority sends back: JSON of `time` and `signature`, the officer's."""
EMERGENCY: Final = "IsEmergency"
TEST: Final = "IsTest"
PRESERVATION: Final = "PreservationReference"
"""A request value of this profile's owner: the preservation order whose records are asked for too."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side: country and its identifier there."""

    country: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Head:
    """A message's header; `timestamp` is RFC 3339 with microseconds."""

    sender: Endpoint
    receiver: Endpoint
    transaction: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class Word:
    """A dictionary entry."""

    owner: str
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class AuthorisationObject:
    """What was decided, as HI-1 has it: no targets; those are the tasks'."""

    identifier: str
    reference: str | None = None
    legal_type: Word | None = None
    status: Word | None = None
    desired_status: Word | None = None
    start: str | None = None
    end: str | None = None
    decided_at: str | None = None
    decided_by: str | None = None
    """Role of the approver (`ApproverRole`): in this profile court, prosecutor or authority."""
    flags: tuple[str, ...] = ()
    associated: tuple[str, ...] = ()
    external: str | None = None
    generation: int | None = None
    addressed: tuple[Endpoint, ...] = ()
    """The operators that it names."""
    unread: bool = False
    """It says something that the fields above do not hold."""


@dataclass(frozen=True, slots=True, repr=False)
class RequestValue:
    """One target in a format of its owner's dictionary."""

    owner: str
    name: str
    value: str


@dataclass(frozen=True, slots=True, repr=False)
class TaskObject:
    """One request for stored data (LDTask); `observed` is when the identifiers were in their holder's hands."""

    identifier: str
    ldid: str | None = None
    status: Word | None = None
    desired_status: Word | None = None
    start: str | None = None
    end: str | None = None
    observed: str | None = None
    values: tuple[RequestValue, ...] = ()
    associated: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    external: str | None = None
    generation: int | None = None
    addressed: tuple[Endpoint, ...] = ()
    unread: bool = False
    status_reason: Failure | None = None
    """What is to be known of a status besides; written, and not read."""


@dataclass(frozen=True, slots=True, repr=False)
class DocumentObject:
    """A document that belongs to an authorisation: the decision itself."""

    identifier: str
    media_type: str
    content: bytes
    associated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class DeliveryObject:
    """One envelope of a delivery, the cover under sequence number 0; or what its manifest's id says that it is."""

    identifier: str
    ldid: str
    delivery: str
    sequence: int
    last: bool
    envelope: bytes
    checksum: str
    associated: tuple[str, ...] = ()
    manifest: str = MANIFEST_ID
    media_type: str = ENVELOPE_TYPE
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class OtherObject:
    """An object of a type that this side does not take."""

    identifier: str
    kind: str


Thing = AuthorisationObject | TaskObject | DocumentObject | DeliveryObject | OtherObject


@dataclass(frozen=True, slots=True)
class Action:
    """One request of a message: `thing` for CREATE, UPDATE and DELIVER, `identifier` for GET, `kind` for LIST."""

    number: int
    verb: str
    identifier: str | None = None
    thing: Thing | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a LIST's answer."""

    kind: str
    identifier: str
    generation: int
    external: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an action was not done."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one action: a failure, or what its verb gives."""

    number: int
    verb: str
    identifier: str | None = None
    thing: Thing | None = None
    listed: tuple[Listed, ...] = ()
    failure: Failure | None = None


def clark(path: str, uri: str = CORE) -> str:
    """Return a path with every step in Clark's notation."""
    return "/".join(f"{{{uri}}}{step}" for step in path.split("/"))
