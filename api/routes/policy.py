"""The retention policy: what is in force, and two custodians who change it; see `api.custody.policy` for the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from api.custody import policy
from api.deps import get_store
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS, ApprovalModel, Model
from schemas.policy import FIRST

router = APIRouter(tags=["policy"])

_VERSION: Final[dict[str, Any]] = FIRST.as_dict() | {"version": 2, "from": "2027-01-01"}
_DIGEST: Final = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_POLICY: Final[dict[str, Any]] = {
    "in_force": 1,
    "next": 2,
    "versions": [FIRST.as_dict() | {"digest": _DIGEST}],
    "requested": False,
}
_REQUESTED: Final[dict[str, Any]] = {
    "version": _VERSION,
    "digest": _DIGEST,
    "ends": 0,
    "ends_locations": 0,
    "by": "custodian-1",
    "time": "2026-11-22T12:00:00.000000Z",
}
_CONFIRMED: Final[dict[str, Any]] = {
    "version": _VERSION,
    "digest": _DIGEST,
    "actors": ["custodian-1", "custodian-2"],
}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]


def _answer(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}, **ERRORS}


class PolicyRequestModel(Model):
    """A version in the form of docs/adr/0019-policy.md, with its number; and the first custodian's signature."""

    version: dict[str, Any] = Field(examples=[_VERSION])
    approval: ApprovalModel


class PolicyConfirmationModel(Model):
    """The second custodian's signature."""

    approval: ApprovalModel


@router.get("/v1/policy", summary="Show the retention policy", responses=_answer(_POLICY))
def show(request: Request, _: Custodian) -> dict[str, Any]:
    """Return the version in force today, every version with its digest, and whether another one is requested."""
    return policy.show(get_store(request))


@router.get("/v1/policy/request", summary="Show the requested version", responses=_answer(_REQUESTED))
def show_request(request: Request, _: Custodian) -> dict[str, Any]:
    """Return what a confirmer signs; `ends` is how many partitions are erased on its day that stay without it."""
    return policy.show_request(get_store(request))


@router.post("/v1/policy/request", summary="Request a version", responses=_answer(_REQUESTED))
def ask(request: Request, body: PolicyRequestModel, principal: Custodian) -> dict[str, Any]:
    """Ask for a version; sign action `policy.request`. It takes the place of one that was requested before."""
    version = policy.version_of(body.version)
    return policy.request(get_store(request), principal.person_id, version, body.approval.value())


@router.post("/v1/policy/confirm", summary="Confirm the requested version", responses=_answer(_CONFIRMED))
def confirm(request: Request, body: PolicyConfirmationModel, principal: Custodian) -> dict[str, Any]:
    """Put the requested version in force from its day on; sign action `policy.confirm` over the same digest."""
    return policy.confirm(get_store(request), principal.person_id, body.approval.value())
