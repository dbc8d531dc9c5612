"""The register of authorities: two custodians for each change; see `api.people.authority_register` for the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from api.deps import get_store
from api.people import authorities
from api.people import authority_register as procedure
from api.people.auth import Principal, require_role
from api.people.authorities import AuthorityKind, Format, Terms
from api.people.roles import Role
from api.routes.models import ERRORS, ApprovalModel, Model

router = APIRouter(tags=["authorities"])

_FINGERPRINT: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_TERMS: Final = {
    "name": "Police Authority",
    "country": "SE",
    "organisation": "SE-POLICE",
    "kind": "law-enforcement",
    "certificate": "MIID…",
    "call_back": "+46771140000",
    "formats": ["ndjson"],
    "from_us": 1795305600000000,
    "until_us": None,
    "fingerprints": [_FINGERPRINT],
    "signing_key": None,
    "endpoint": None,
    "endpoint_ca": None,
    "endpoint_client": None,
}
_AUTHORITY: Final = {
    "id": "police-se",
    "state": "pending",
    **_TERMS,
    "pending": {"action": "authority.register.request", "by": "custodian-1", "time": "2026-11-22T12:00:00.000000Z"},
    "terms_pending": _TERMS,
}
_ACTIVE: Final = _AUTHORITY | {"state": "active", "pending": None, "terms_pending": None}
_ONE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/json": {"example": _ACTIVE}}}, **ERRORS}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]
AuthorityId = Annotated[str, Path(max_length=40, examples=["police-se"], description="The authority's id.")]
Reader = Annotated[
    Principal,
    Depends(require_role(Role.CUSTODIAN, Role.CASE_HANDLER, Role.APPROVER, Role.DPO, Role.AUDITOR)),
]


class RegistrationModel(Model):
    """The terms of an authority; the approval signs the digest of all of them, of the id and of the store's id."""

    id: Annotated[str, Field(max_length=40, description="Names an office, not a person.", examples=["police-se"])]
    name: Annotated[str, Field(max_length=200, examples=["Police Authority"])]
    country: Annotated[str, Field(max_length=2, description="ISO 3166.", examples=["SE"])]
    organisation: Annotated[
        str, Field(max_length=64, description="authorisedOrganisationID of TS 102 657.", examples=["SE-POLICE"])
    ]
    kind: Annotated[AuthorityKind, Field(examples=["law-enforcement"])]
    certificate: Annotated[
        str,
        Field(
            max_length=authorities.CERTIFICATE_CHARS_MAX,
            description="X.509 with RSA of at least 3072 bits, to which deliveries are encrypted: DER in base64.",
            examples=["MIID…"],
        ),
    ]
    call_back: Annotated[str, Field(max_length=16, description="E.164 with its '+'.", examples=["+46771140000"])]
    formats: Annotated[
        tuple[Format, ...], Field(max_length=8, description="The first is preferred.", examples=[["ndjson"]])
    ]
    from_us: Annotated[int, Field(ge=0, description="In force from, UTC microseconds.", examples=[1795305600000000])]
    until_us: Annotated[int | None, Field(ge=0, description="In force until; null: open.", examples=[None])] = None
    fingerprints: Annotated[
        tuple[str, ...],
        Field(
            max_length=authorities.FINGERPRINTS_MAX,
            description="SHA-256 of the client certificates of its systems, hex.",
            examples=[[_FINGERPRINT]],
        ),
    ] = ()
    signing_key: Annotated[
        str | None, Field(max_length=64, description="Ed25519, base64, of what it signs.", examples=[None])
    ] = None
    endpoint: Annotated[
        str | None,
        Field(max_length=300, description="https URL to which deliveries are pushed.", examples=[None]),
    ] = None
    endpoint_ca: Annotated[
        str | None,
        Field(
            max_length=authorities.CERTIFICATE_CHARS_MAX,
            description="X.509 in which the endpoint's chain ends, a CA's or its own: DER in base64.",
            examples=[None],
        ),
    ] = None
    endpoint_client: Annotated[
        str | None,
        Field(
            max_length=authorities.CERTIFICATE_CHARS_MAX,
            description="X.509 that we present there, of the push key; null: the self-signed one. DER in base64.",
            examples=[None],
        ),
    ] = None
    approval: ApprovalModel

    def terms(self) -> Terms:
        """Return them as the procedure takes them."""
        fields = self.model_dump(exclude={"id", "approval"}, mode="json")
        return authorities.terms_of(self.id, fields)


class SignatureModel(Model):
    """A custodian's signature."""

    approval: ApprovalModel


class RevocationModel(Model):
    """Why an authority is revoked, with the first custodian's signature."""

    reason: Annotated[str, Field(min_length=1, max_length=procedure.REASON_CHARS_MAX, examples=["merged"])]
    approval: ApprovalModel


@router.get(
    "/v1/authorities",
    summary="List authorities",
    responses={200: {"content": {"application/json": {"example": {"authorities": [_ACTIVE]}}}}, **ERRORS},
)
def list_authorities(request: Request, _: Reader) -> dict[str, Any]:
    """Return every authority, the revoked included."""
    return {"authorities": [item.as_dict() for item in authorities.list_all(get_store(request))]}


@router.get("/v1/authorities/{authority_id}", summary="Show an authority", responses=_ONE)
def show(request: Request, authority_id: AuthorityId, _: Reader) -> dict[str, Any]:
    """Return one authority, with all that a confirmer signs."""
    return authorities.get(get_store(request), authority_id).as_dict()


@router.post(
    "/v1/authorities",
    status_code=201,
    summary="Request a registration",
    responses={201: {"content": {"application/json": {"example": _AUTHORITY}}}, **ERRORS},
)
def request_registration(request: Request, body: RegistrationModel, principal: Custodian) -> dict[str, Any]:
    """Put an authority down as pending, or other terms for one that stands; sign `authority.register.request`.

    Another custodian confirms. Until then the terms before hold.
    """
    approval = body.approval.value()
    authority = procedure.request_registration(get_store(request), principal.person_id, body.terms(), approval)
    return authority.as_dict()


@router.post("/v1/authorities/{authority_id}/confirm", summary="Confirm a registration", responses=_ONE)
def confirm_registration(
    request: Request, authority_id: AuthorityId, body: SignatureModel, principal: Custodian
) -> dict[str, Any]:
    """Put the requested terms in force; sign `authority.register.confirm` over the same digest as the request."""
    approval = body.approval.value()
    return procedure.confirm_registration(get_store(request), principal.person_id, authority_id, approval).as_dict()


@router.post("/v1/authorities/{authority_id}/revocation", summary="Request an authority's revocation", responses=_ONE)
def request_revocation(
    request: Request, authority_id: AuthorityId, body: RevocationModel, principal: Custodian
) -> dict[str, Any]:
    """Ask to revoke; sign `authority.revoke.request`. It stays in force until another custodian confirms."""
    approval, store = body.approval.value(), get_store(request)
    return procedure.request_revocation(store, principal.person_id, authority_id, body.reason, approval).as_dict()


@router.post(
    "/v1/authorities/{authority_id}/revocation/confirm", summary="Confirm an authority's revocation", responses=_ONE
)
def confirm_revocation(
    request: Request, authority_id: AuthorityId, body: SignatureModel, principal: Custodian
) -> dict[str, Any]:
    """Revoke; sign `authority.revoke.confirm`. From now on its officers and systems are not recognised."""
    approval = body.approval.value()
    return procedure.confirm_revocation(get_store(request), principal.person_id, authority_id, approval).as_dict()


@router.post(
    "/v1/authorities/{authority_id}/withdraw", summary="Withdraw what is pending for an authority", responses=_ONE
)
def withdraw(request: Request, authority_id: AuthorityId, body: SignatureModel, principal: Custodian) -> dict[str, Any]:
    """Drop what is pending; sign `authority.withdraw`."""
    approval = body.approval.value()
    return procedure.withdraw(get_store(request), principal.person_id, authority_id, approval).as_dict()
