"""Enrolment and revocation of people: two custodians for each; see `api.people.enrolment` for the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from api.deps import get_authenticator, get_store
from api.people import bindings, persons
from api.people import enrolment as procedure
from api.people.auth import Principal, require_role
from api.people.authenticator import Authenticator
from api.people.roles import Role
from api.routes.models import ERRORS, ApprovalModel, Model

router = APIRouter(tags=["persons"])

_KEY: Final = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
_PERSON: Final = {
    "id": "officer-7",
    "display_name": "Officer 7 of the Police Authority",
    "roles": ["officer"],
    "tenant": None,
    "authority": "police-se",
    "state": "pending",
    "public_key": _KEY,
    "key_id": "5d0a0f6c1b2e3d4f",
    "pending": {"action": "person.enrol.request", "by": "custodian-1", "time": "2026-11-22T12:00:00.000000Z"},
}
_ONE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": _PERSON | {"state": "active", "pending": None}}}},
    **ERRORS,
}
_PENDING: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": _PERSON}}},
    **ERRORS,
}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]
PersonId = Annotated[str, Path(max_length=40, examples=["officer-7"], description="The person's id.")]


BindingId = Annotated[str, Path(max_length=40, examples=["b-9f0c4e2b7a16d3589f0c4e2b7a16d358"])]
_BINDING: Final = {
    "id": "b-9f0c4e2b7a16d3589f0c4e2b7a16d358",
    "person": "officer-7",
    "kind": "subject",
    "value": "248289761001",
    "issuer": "https://login.example.net",
    "state": "pending",
    "pending": {"action": "person.bind.request", "by": "custodian-1", "time": "2026-11-22T12:00:00.000000Z"},
}
_BOUND: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": _BINDING | {"state": "active", "pending": None}}}},
    **ERRORS,
}


class EnrolmentModel(Model):
    """Who is to be enrolled; the approval signs the digest of all other fields and of the store's id."""

    id: Annotated[str, Field(max_length=40, description="A service number, not a name.", examples=["officer-7"])]
    display_name: Annotated[str, Field(max_length=200, examples=["Officer 7 of the Police Authority"])]
    roles: Annotated[list[str], Field(min_length=1, max_length=8, examples=[["officer"]])]
    public_key: Annotated[str, Field(max_length=64, description="Ed25519, base64.", examples=[_KEY])]
    tenant: Annotated[str | None, Field(max_length=64, examples=[None])] = None
    authority: Annotated[
        str | None,
        Field(max_length=40, description="The registered authority of an officer.", examples=["police-se"]),
    ] = None
    approval: ApprovalModel


class ConfirmationModel(Model):
    """The second custodian's signature."""

    approval: ApprovalModel


class RevocationModel(Model):
    """Why a person is revoked, with the first custodian's signature."""

    reason: Annotated[str, Field(min_length=1, max_length=500, examples=["left the authority"])]
    approval: ApprovalModel


class BindingModel(Model):
    """What is bound to a person; the approval signs the digest of all of it, of the person and of the store's id."""

    kind: Annotated[bindings.BindingKind, Field(examples=["subject"])]
    value: Annotated[
        str,
        Field(
            max_length=bindings.SUBJECT_CHARS_MAX,
            description="A subject (`sub`) of the issuer, or the SHA-256 of the client certificate, hex.",
            examples=["248289761001"],
        ),
    ]
    issuer: Annotated[
        str | None,
        Field(max_length=300, description="The OpenID provider of a subject.", examples=["https://login.example.net"]),
    ] = None
    approval: ApprovalModel


@router.get(
    "/v1/persons",
    summary="List people",
    responses={200: {"content": {"application/json": {"example": {"persons": [_PERSON]}}}}, **ERRORS},
)
def list_persons(
    request: Request,
    _: Annotated[Principal, Depends(require_role(Role.CUSTODIAN, Role.DPO, Role.AUDITOR))],
) -> dict[str, Any]:
    """Return everybody, the revoked included."""
    return {"persons": [person.as_dict() for person in persons.list_all(get_store(request))]}


@router.get("/v1/persons/{person_id}", summary="Show a person", responses=_PENDING)
def show(
    request: Request,
    person_id: PersonId,
    _: Annotated[Principal, Depends(require_role(Role.CUSTODIAN, Role.DPO, Role.AUDITOR))],
) -> dict[str, Any]:
    """Return one person, with all that a confirmer signs."""
    person = persons.get(get_store(request), person_id)
    shown = person.as_dict()
    if person.pending is not None and "reason" in person.pending:
        shown["pending"]["reason"] = person.pending["reason"]
    return shown


@router.post(
    "/v1/persons",
    status_code=201,
    summary="Request an enrolment",
    responses={201: {"content": {"application/json": {"example": _PERSON}}}, **ERRORS},
)
def request_enrolment(request: Request, body: EnrolmentModel, principal: Custodian) -> dict[str, Any]:
    """Put a person down as pending; sign action `person.enrol.request`. Another custodian confirms."""
    enrolment = persons.Enrolment(
        body.id, body.display_name, tuple(body.roles), body.public_key, body.tenant, body.authority
    )
    approval = body.approval.value()
    return procedure.request_enrolment(get_store(request), principal.person_id, enrolment, approval).as_dict()


@router.post("/v1/persons/{person_id}/confirm", summary="Confirm an enrolment", responses=_ONE)
def confirm_enrolment(
    request: Request, person_id: PersonId, body: ConfirmationModel, principal: Custodian
) -> dict[str, Any]:
    """Make a pending person active; sign action `person.enrol.confirm` over the same digest as the request."""
    approval = body.approval.value()
    return procedure.confirm_enrolment(get_store(request), principal.person_id, person_id, approval).as_dict()


@router.post("/v1/persons/{person_id}/revocation", summary="Request a revocation", responses=_PENDING)
def request_revocation(
    request: Request, person_id: PersonId, body: RevocationModel, principal: Custodian
) -> dict[str, Any]:
    """Ask to revoke; sign action `person.revoke.request`. The person stays active until another custodian confirms."""
    approval = body.approval.value()
    person = procedure.request_revocation(get_store(request), principal.person_id, person_id, body.reason, approval)
    return person.as_dict()


@router.post("/v1/persons/{person_id}/revocation/confirm", summary="Confirm a revocation", responses=_ONE)
def confirm_revocation(
    request: Request,
    person_id: PersonId,
    body: ConfirmationModel,
    principal: Custodian,
    authenticator: Annotated[Authenticator, Depends(get_authenticator)],
) -> dict[str, Any]:
    """Revoke; sign action `person.revoke.confirm` over the same digest. The person's sessions end at once."""
    approval = body.approval.value()
    person = procedure.confirm_revocation(get_store(request), principal.person_id, person_id, approval)
    authenticator.sessions.close_all_of(person_id)
    return person.as_dict()


@router.post("/v1/persons/{person_id}/withdraw", summary="Withdraw what is pending", responses=_ONE)
def withdraw(request: Request, person_id: PersonId, body: ConfirmationModel, principal: Custodian) -> dict[str, Any]:
    """Drop a pending enrolment or revocation; sign action `person.withdraw`."""
    approval = body.approval.value()
    return procedure.withdraw(get_store(request), principal.person_id, person_id, approval).as_dict()


@router.get(
    "/v1/persons/{person_id}/bindings",
    summary="List what else recognises a person",
    responses={200: {"content": {"application/json": {"example": {"bindings": [_BINDING]}}}}, **ERRORS},
)
def list_bindings(request: Request, person_id: PersonId, _: Custodian) -> dict[str, Any]:
    """Return the client certificates and OpenID subjects bound to a person, the ended included."""
    return {"bindings": [item.as_dict() for item in bindings.list_of(get_store(request), person_id)]}


@router.post(
    "/v1/persons/{person_id}/bindings",
    status_code=201,
    summary="Request a binding",
    responses={201: {"content": {"application/json": {"example": _BINDING}}}, **ERRORS},
)
def request_binding(request: Request, person_id: PersonId, body: BindingModel, principal: Custodian) -> dict[str, Any]:
    """Bind a client certificate or an OpenID subject to a person; sign action `person.bind.request`.

    Another custodian confirms. A binding recognises the person and signs nothing.
    """
    store, approval = get_store(request), body.approval.value()
    kind, value, issuer = body.kind, body.value, body.issuer
    made = bindings.request(store, principal.person_id, person_id, kind, value, approval, issuer=issuer)
    return made.as_dict()


@router.post("/v1/persons/bindings/{binding_id}/confirm", summary="Confirm a binding", responses=_BOUND)
def confirm_binding(
    request: Request, binding_id: BindingId, body: ConfirmationModel, principal: Custodian
) -> dict[str, Any]:
    """Put a binding in force; sign action `person.bind.confirm` over the same digest as the request."""
    return bindings.confirm(get_store(request), principal.person_id, binding_id, body.approval.value()).as_dict()


@router.post("/v1/persons/bindings/{binding_id}/end", summary="End a binding", responses=_BOUND)
def end_binding(
    request: Request, binding_id: BindingId, body: ConfirmationModel, principal: Custodian
) -> dict[str, Any]:
    """End a binding at once, as one custodian alone; sign action `person.bind.end`."""
    return bindings.end(get_store(request), principal.person_id, binding_id, body.approval.value()).as_dict()
