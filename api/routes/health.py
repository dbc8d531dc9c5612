"""Health and metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from api.deps import get_metrics, get_settings, get_store
from api.people.auth import Principal, PrincipalKind, require_any
from api.people.roles import Role
from api.routes.models import ERRORS
from api.settings import Settings
from api.telemetry import metrics

router = APIRouter(tags=["service"])


@router.get(
    "/v1/health",
    summary="Say that the process serves",
    responses={200: {"content": {"application/json": {"example": {"status": "ok"}}}}, "5XX": ERRORS["5XX"]},
)
async def health(request: Request) -> dict[str, str]:
    """Answer without credentials, and without a word about what is stored; 503 where the root was replaced."""
    get_store(request).catalog.refuse_other()
    return {"status": "ok"}


@router.get(
    "/v1/metrics",
    summary="Read the metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": "lagrum_unauthenticated_total 0.0\n"}}}, **ERRORS},
)
async def read_metrics(
    principal: Annotated[Principal, Depends(require_any)],
    settings: Annotated[Settings, Depends(get_settings)],
    counters: Annotated[metrics.Metrics, Depends(get_metrics)],
) -> Response:
    """Return Prometheus' text form; for credentials of scope metrics, and for custodians where the settings say so."""
    is_custodian = Role.CUSTODIAN.value in principal.roles and settings.metrics_for_custodians
    if principal.kind is not PrincipalKind.METRICS and not is_custodian:
        raise HTTPException(403, "metrics need a credential of scope metrics")
    return Response(counters.exposition(), media_type=metrics.MEDIA_TYPE)
