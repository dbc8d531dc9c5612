"""Bodies of the disclosure's requests; `api.routes.disclosure` takes them."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Annotated, Final

from pydantic import Field

from api.disclosure.model import Window
from api.disclosure.orders import SOURCE_BYTES_MAX, CalledBack, Order, Ruling, SourceDocument, WrittenTarget
from api.instants import parse_date, parse_instant
from api.routes.models import ApprovalModel, Model
from schemas.errors import InputError
from schemas.fields import Category
from schemas.legal_terms import Decider

_TARGET: Final = {"kind": "number", "value": "070-123 45 67"}
_WINDOW: Final = {"from": "2026-10-01", "to": "2026-11-01"}


class TargetModel(Model):
    """One target, in the order's own way of writing it."""

    kind: Annotated[
        str, Field(max_length=16, description="number, imsi, imei, mac, ip or account", examples=["number"])
    ]
    value: Annotated[str, Field(min_length=1, max_length=255, examples=["070-123 45 67"])]
    port: Annotated[int | None, Field(ge=0, le=65_535, description="With an ip.", examples=[None])] = None
    held_on: Annotated[
        str | None, Field(max_length=10, description="Only the subscriber of that day (UTC).", examples=[None])
    ] = None
    tenant: Annotated[
        str | None,
        Field(
            max_length=64,
            description="With an account or an ip: whose it is, empty for no tenant's. Needed where several have one,"
            " and for an address of an inner network.",
            examples=[None],
        ),
    ] = None

    element: Annotated[
        str | None,
        Field(
            max_length=255,
            description="With an ip: the network element whose records are meant, as records name it (`switch`). Needed"
            " where an inner address is in several VRFs.",
            examples=[None],
        ),
    ] = None

    def written(self) -> WrittenTarget:
        """Return it as the procedure takes it."""
        return WrittenTarget(self.kind, self.value, self.port, self.held_on, self.tenant, self.element)


class WindowModel(Model):
    """Half-open; dates are midnights UTC, times are RFC 3339 with an offset."""

    start: Annotated[str, Field(alias="from", max_length=40, examples=["2026-10-01"])]
    end: Annotated[str, Field(alias="to", max_length=40, examples=["2026-11-01"])]

    def window(self) -> Window:
        """Return it as the procedure takes it."""
        return Window(parse_instant(self.start), parse_instant(self.end))


class DocumentModel(Model):
    """A decision's document, as the authority sent it."""

    media_type: Annotated[str, Field(max_length=64, examples=["application/pdf"])]
    content: Annotated[
        str, Field(max_length=4 * SOURCE_BYTES_MAX // 3 + 4, description="Base64.", examples=["JVBERi0="])
    ]

    def source(self) -> SourceDocument:
        """Return it as the procedure takes it.

        Raises:
            InputError: it is not base64.
        """
        try:
            return SourceDocument(self.media_type, b64decode(self.content, validate=True))
        except (Base64Error, ValueError):
            raise InputError("a document's content is base64") from None


class OrderModel(Model):
    """What was decided. Without a document the request's own octets are kept as what the authority sent."""

    basis: Annotated[str, Field(max_length=64, examples=["secret-surveillance"])]
    decision_reference: Annotated[str, Field(min_length=1, max_length=120, examples=["B 1234-26"])]
    decided_on: Annotated[str, Field(max_length=10, examples=["2026-11-20"])]
    decided_by: Annotated[Decider, Field(description="Whose decision it is.", examples=["court"])]
    authority: Annotated[
        str, Field(min_length=1, max_length=40, description="A registered authority's id.", examples=["police-se"])
    ]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", examples=["SE"])] = "SE"
    targets: Annotated[list[TargetModel], Field(min_length=1, max_length=100, examples=[[_TARGET]])]
    window: Annotated[WindowModel, Field(examples=[_WINDOW])]
    categories: Annotated[
        list[Category] | None,
        Field(max_length=16, description="None asks for all that the basis permits.", examples=[None]),
    ] = None
    expires_at: Annotated[str, Field(max_length=40, examples=["2026-12-22"])]
    emergency: Annotated[bool, Field(description="The basis's emergency path.", examples=[False])] = False
    test: Annotated[bool, Field(description="Runs on made records and touches no real data.", examples=[False])] = False
    preservation: Annotated[
        str | None,
        Field(max_length=200, description="Reference of a preservation whose records it reaches.", examples=[None]),
    ] = None
    document: Annotated[DocumentModel | None, Field(examples=[None])] = None

    def order(self, body: bytes) -> Order:
        """Return it as the procedure takes it."""
        return Order(
            basis=self.basis,
            decision_reference=self.decision_reference,
            decided_on=parse_date(self.decided_on),
            decided_by=self.decided_by,
            authority=self.authority,
            country=self.country,
            targets=tuple(target.written() for target in self.targets),
            window=self.window.window(),
            expires_at_us=parse_instant(self.expires_at),
            categories=None if self.categories is None else frozenset(self.categories),
            source=_source(self.document, body),
            emergency=self.emergency,
            is_test=self.test,
            preservation=self.preservation,
        )


class RulingModel(Model):
    """A later decision: it confirms an emergency, all of it or what it says, or extends."""

    decision_reference: Annotated[str, Field(min_length=1, max_length=120, examples=["B 1234-26/2"])]
    decided_on: Annotated[str, Field(max_length=10, examples=["2026-11-22"])]
    decided_by: Annotated[Decider, Field(description="Whose decision it is.", examples=["court"])]
    expires_at: Annotated[str | None, Field(max_length=40, description="Of an extension.", examples=[None])] = None
    targets: Annotated[
        list[TargetModel] | None,
        Field(min_length=1, max_length=100, description="Of a confirmation that grants fewer.", examples=[None]),
    ] = None
    window: Annotated[
        WindowModel | None, Field(description="Of a confirmation that grants a shorter one.", examples=[None])
    ] = None
    categories: Annotated[
        list[Category] | None,
        Field(max_length=16, description="Of a confirmation that grants fewer.", examples=[None]),
    ] = None
    document: Annotated[DocumentModel | None, Field(examples=[None])] = None

    def ruling(self, body: bytes) -> Ruling:
        """Return it as the procedure takes it."""
        return Ruling(
            decision_reference=self.decision_reference,
            decided_on=parse_date(self.decided_on),
            decided_by=self.decided_by,
            source=_source(self.document, body),
            expires_at_us=None if self.expires_at is None else parse_instant(self.expires_at),
            targets=None if self.targets is None else tuple(target.written() for target in self.targets),
            window=None if self.window is None else self.window.window(),
            categories=None if self.categories is None else frozenset(self.categories),
        )


class CallBackModel(Model):
    """A case handler's call to the authority, before an emergency is believed."""

    spoken_with: Annotated[str, Field(min_length=1, max_length=120, examples=["Duty officer 4711"])]
    number: Annotated[str, Field(max_length=16, description="E.164 with +, as registered.", examples=["+46771141400"])]
    called_at: Annotated[str, Field(max_length=40, examples=["2026-11-22T12:00:00Z"])]

    def called(self) -> CalledBack:
        """Return it as the procedure takes it."""
        return CalledBack(self.spoken_with, self.number, parse_instant(self.called_at))


class CheckModel(Model):
    """What a check tells beside itself."""

    call_back: Annotated[CallBackModel | None, Field(description="Of an emergency.", examples=[None])] = None


class TaskModel(Model):
    """What to search for; what is not named is the authorisation's."""

    targets: Annotated[list[TargetModel] | None, Field(min_length=1, max_length=100, examples=[None])] = None
    window: Annotated[WindowModel | None, Field(examples=[None])] = None
    categories: Annotated[list[Category] | None, Field(max_length=16, examples=[None])] = None


class SignedModel(Model):
    """An approver's signature."""

    approval: ApprovalModel


class ReasonModel(Model):
    """Why a case ends, as a stable word."""

    reason: Annotated[str, Field(max_length=40, examples=["wrong-number"])]


def _source(document: DocumentModel | None, body: bytes) -> SourceDocument:
    return SourceDocument("application/json", body) if document is None else document.source()
