"""Deliveries of switches: POST /v1/cdrs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import orjson
from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response

from api.deps import get_grouper, get_metrics, get_settings, get_spooler, get_store, get_stream_pool
from api.intake import delivery
from api.intake.grouper import Intake
from api.intake.push_door import TENANT
from api.intake.spooler import Durable, PushKind
from api.people.auth import Principal, require_source, require_switch
from api.routes.models import ERRORS
from ingest import sources
from ingest.decoders import FORMATS
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, NotFoundError, ProcedureError
from store import PushId

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
_DURABLE: Final = {
    "id": "1-0-0",
    "state": "durable",
    "source": "pbx-east",
    "format": "csv",
    "records": 1,
    "bytes": 160,
    "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
}
_COMMITTED: Final = {
    "id": "1-0-0",
    "source": "pbx-east",
    "records": 1,
    "state": "committed",
    "batch_id": 1,
    "accepted": 1,
    "duplicates": 0,
    "conflicts": 0,
    "rejected": 0,
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
    status_code=202,
    responses={
        200: {"description": "Committed", "content": {"application/json": {"example": _RECEIPT}}},
        202: {"description": "Durable", "content": {"application/json": {"example": _DURABLE}}},
        **ERRORS,
    },
    openapi_extra=_BODY,
)
async def deliver(
    request: Request,
    principal: Annotated[Principal, Depends(require_source)],
    source: Annotated[str, Query(max_length=64, examples=["pbx-east"])],
    form: Annotated[str, Query(alias="format", max_length=32, description="A format's name.", examples=["csv"])],
    tenant: Annotated[
        str | None,
        Query(pattern=TENANT, description="The tenant, where the source names none."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=200, description="A repeated delivery of this key gets the first receipt."),
    ] = None,
    wait: Annotated[bool, Query(description="Answer when the records are in a batch, with their counts.")] = False,
    prefer: Annotated[str | None, Header(max_length=200, description="`wait`, or `wait=N`, is the same.")] = None,
) -> Response:
    """Take a delivery in; 2xx once every event of it is durable.

    A delivery of up to 4 MiB is answered 202 when it is durable in the encrypted spool; seconds later it is in a
    batch, and `GET /v1/receipts/{id}` tells its counts. A larger one, one with an Idempotency-Key, one with events of
    sessions, and one that waits, is answered 200 with the receipt of its batch. Small deliveries that come at the
    same time may share a batch; each receipt is of its own delivery. 4xx: nothing was kept. 503 with Retry-After:
    nothing was kept, send it again. After a lost connection send it again too: records that are stored already count
    as duplicates, and with an Idempotency-Key the receipt is the same.
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
        source=partial(source_of, store, source, tenant),
        take=partial(_ingest, store, source, form, tenant, key),
    )
    kind = PushKind(source, form, tenant)
    receipt = await delivery.receive(
        request,
        intake,
        coding=coding,
        settings=settings,
        small=get_grouper(request),
        large=get_stream_pool(request),
        spool=None if key or wait or _prefers_wait(prefer) else partial(get_spooler(request).push, kind),
    )
    if isinstance(receipt, Durable):
        return Response(receipt.json, status_code=202, media_type="application/json")
    get_metrics(request).received(receipt)
    return Response(orjson.dumps(receipt.as_dict()), media_type="application/json")


@router.get(
    "/v1/receipts/{receipt_id}",
    summary="Tell what became of a small delivery",
    responses={200: {"content": {"application/json": {"example": _COMMITTED}}}, **ERRORS},
    openapi_extra={"security": [{"basic": []}, {"bearer": []}, {"certificate": []}]},
)
def receipt(
    request: Request,
    receipt_id: Annotated[str, Path(max_length=64, description="As the 202 named it.", examples=["1-0-0"])],
    principal: Annotated[Principal, Depends(require_switch)],
) -> dict[str, Any]:
    """Return state `durable`, or `committed` with the batch and the counts; for 7 days, to a switch of the source."""
    push = PushId.parse(receipt_id)
    found = None if push is None else get_store(request).spool.receipt(push)
    if found is None or found.source not in principal.sources:
        raise NotFoundError("there is no such receipt, or not any more")
    return found.as_dict()


def _prefers_wait(prefer: str | None) -> bool:
    """Tell whether a Prefer header asks to wait (RFC 7240); however long it may take, the answer is the commit's."""
    words = [] if prefer is None else [part.split(";")[0].partition("=")[0] for part in prefer.split(",")]
    return any(word.strip().lower() == "wait" for word in words)


def source_of(store: Store, name: str, tenant: str | None) -> SourceConfig:
    """Return the source as the delivery names it.

    Raises:
        NotFoundError: it is not registered.
        ProcedureError: it belongs to another tenant.
    """
    source = sources.get(store, name).arriving("http")
    if tenant is None or tenant == source.tenant:
        return source
    if source.tenant is not None:
        raise ProcedureError("the source belongs to another tenant", reason="tenant-foreign")
    return replace(source, tenant=tenant)


def _ingest(store: Store, name: str, form: str, tenant: str | None, key: str | None, stream: BinaryIO) -> Receipt:
    """Run in a thread."""
    return ingest_stream(store, source_of(store, name, tenant), form, stream, idempotency_key=key)
