"""Deliveries of switches: POST /v1/cdrs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response

from api import delivery
from api.auth import Principal, require_source
from api.deps import get_grouper, get_metrics, get_settings, get_store, get_stream_pool
from api.grouper import Intake
from api.routes.models import ERRORS
from ingest import sources
from ingest.decoders import FORMATS
from ingest.pipeline import ingest_stream
from ingest.source import SourceConfig
from schemas.errors import ConfigurationError, ProcedureError

if TYPE_CHECKING:
    from store import Receipt, Store

router = APIRouter(tags=["ingest"])

_CSV: Final = (
    "record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"
    "00000000001,pbx-east-1,voice,46700000001,46700000002,2026-11-22T10:00:00Z,61\n"
)
_RECEIPT: Final = {
    "batch_id": 1,
    "source": "pbx-east",
    "format": "csv",
    "records": 1,
    "accepted": 1,
    "duplicates": 0,
    "conflicts": 0,
    "rejected": 0,
    "rows": 1,
    "bytes": 160,
    "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "seconds": 0.012,
    "replayed": False,
    "reject_reasons": {},
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The delivery as the switch writes it; Content-Encoding gzip and zstd are expanded.",
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": _CSV},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "security": [{"basic": []}, {"bearer": []}, {"certificate": []}],
}


@router.post(
    "/v1/cdrs",
    summary="Deliver call records",
    response_class=Response,
    responses={200: {"content": {"application/json": {"example": _RECEIPT}}}, **ERRORS},
    openapi_extra=_BODY,
)
async def deliver(
    request: Request,
    principal: Annotated[Principal, Depends(require_source)],
    source: Annotated[str, Query(max_length=64, examples=["pbx-east"])],
    form: Annotated[str, Query(alias="format", max_length=32, description="A format's name.", examples=["csv"])],
    tenant: Annotated[
        str | None,
        Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="The tenant, where the source names none."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=200, description="A repeated delivery of this key gets the first receipt."),
    ] = None,
) -> Response:
    """Take a delivery in; 200 with the receipt once every event of it is durable.

    Small deliveries that come at the same time may share a batch; each receipt is of its own delivery. 4xx: nothing was
    kept. 503 with Retry-After: nothing was kept, send it again. After a lost connection send it again
    too: records that are stored already count as duplicates, and with an Idempotency-Key the receipt is the same.
    """
    if form not in FORMATS:
        raise ConfigurationError("there is no such format", hint="`lagrum formats` lists them")
    settings = get_settings(request)
    coding = delivery.check_headers(request, form, settings)
    store = get_store(request)
    # A key is the sender's own: another credential's equal key is another key.
    key = None if idempotency_key is None else f"{principal.person_id}:{idempotency_key}"
    intake = Intake(
        source_name=source,
        format=form,
        tenant=tenant,
        alone=key is not None,
        source=partial(_source, store, source, tenant),
        take=partial(_ingest, store, source, form, tenant, key),
    )
    receipt = await delivery.receive(
        request,
        intake,
        coding=coding,
        settings=settings,
        small=get_grouper(request),
        large=get_stream_pool(request),
    )
    get_metrics(request).received(receipt)
    return Response(orjson.dumps(receipt.as_dict()), media_type="application/json")


def _source(store: Store, name: str, tenant: str | None) -> SourceConfig:
    """Return the source as the delivery names it.

    Raises:
        NotFoundError: it is not registered.
        ProcedureError: it belongs to another tenant.
    """
    source = sources.get(store, name)
    if tenant is None or tenant == source.tenant:
        return source
    if source.tenant is not None:
        raise ProcedureError("the source belongs to another tenant", reason="tenant-foreign")
    return replace(source, tenant=tenant)


def _ingest(store: Store, name: str, form: str, tenant: str | None, key: str | None, stream: BinaryIO) -> Receipt:
    """Run in a thread."""
    return ingest_stream(store, _source(store, name, tenant), form, stream, idempotency_key=key)
