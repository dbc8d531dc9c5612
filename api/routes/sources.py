"""The register of sources."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from api.deps import get_store
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS, Model
from ingest import sources
from ingest.source_config import SourceConfig

router = APIRouter(tags=["sources"])

_SOURCE: Final[dict[str, Any]] = {
    "name": "pbx-east",
    "zone": "Europe/Stockholm",
    "country": "SE",
    "dedup_domain": None,
    "switch": None,
    "tenant": None,
    "service_type": "voice",
    "accounts": {},
    "options": {},
    "expect_every_s": 3600,
}
_ONE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": _SOURCE}}},
    **ERRORS,
}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]
Label = Annotated[str | None, Field(max_length=64)]
SourceName = Annotated[str, Path(max_length=64, examples=["pbx-east"])]


class SourceModel(Model):
    """What the operator says about one source."""

    zone: Annotated[
        str | None,
        Field(
            max_length=64,
            description="IANA name; null refuses formats without offsets.",
            examples=["Europe/Stockholm"],
        ),
    ] = "UTC"
    country: Annotated[
        str | None,
        Field(max_length=2, description="ISO 3166, for national numbers; null takes E.164 only.", examples=["SE"]),
    ] = None
    dedup_domain: Annotated[Label, Field(description="Sources that deliver the same records share one.")] = None
    switch: Annotated[Label, Field(description="Network element, where the format names none.")] = None
    tenant: Label = None
    service_type: Annotated[Label, Field(examples=["voice"])] = None
    accounts: Annotated[
        dict[str, str], Field(max_length=100_000, description="Account code to account.", default_factory=dict)
    ]
    options: Annotated[
        dict[str, str], Field(max_length=100, description="The format's own options.", default_factory=dict)
    ]
    expect_every_s: Annotated[
        int | None,
        Field(ge=1, description="It delivers at least so often, in s; longer silence is an event.", examples=[3600]),
    ] = None


@router.get(
    "/v1/sources",
    summary="List sources",
    responses={200: {"content": {"application/json": {"example": {"sources": [_SOURCE]}}}}, **ERRORS},
)
def list_sources(request: Request, _: Custodian) -> dict[str, Any]:
    """Return every registered source."""
    return {"sources": [asdict(source) for source in sources.registered(get_store(request))]}


@router.get("/v1/sources/{name}", summary="Show a source", responses=_ONE)
def show(request: Request, name: SourceName, _: Custodian) -> dict[str, Any]:
    """Return one source."""
    return asdict(sources.get(get_store(request), name))


@router.put("/v1/sources/{name}", summary="Register or change a source", responses=_ONE)
def register(request: Request, name: SourceName, body: SourceModel, principal: Custodian) -> dict[str, Any]:
    """Register a source, or change how its next deliveries are read; stored records stay as they are."""
    store = get_store(request)
    sources.register(store, SourceConfig(name=name, **body.model_dump()), actor=principal.person_id)
    return asdict(sources.get(store, name))
