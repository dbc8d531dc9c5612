"""Usage for billing systems over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Final

import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from api.billing import adjustments, periods
from api.billing.usage import Period
from api.deps import get_store
from api.instants import parse_date
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS

router = APIRouter(tags=["usage"])

_MEASURES: Final = {
    "records": 12,
    "duration_ms": 734_000,
    "billable_duration_ms": 702_000,
    "volume_up_bytes": 0,
    "volume_down_bytes": 0,
}
_LINE: Final = {"account": "10017", "service_type": "voice", "destination": "national", **_MEASURES}
_CHANGE: Final = {"kind": "corrected", "batch_id": 790, "correction": "9f1c2d3e4b5a6978", "changed_on": "2026-11-04"}
_PERIOD: Final = {"from": "2026-10-01", "to": "2026-11-01"}
_CLOSED: Final = {**_PERIOD, "closed_at": "2026-11-22T12:00:00.000000Z", "batch_id_max": 812, "lines": 40_211}
_ARROW: Final = "application/vnd.apache.arrow.stream"

Billing = Annotated[Principal, Depends(require_role(Role.BILLING))]
Start = Annotated[str, Query(alias="from", max_length=10, description="First day, UTC.", examples=["2026-10-01"])]
End = Annotated[str, Query(alias="to", max_length=10, description="First day after it.", examples=["2026-11-01"])]
Account = Annotated[str | None, Query(max_length=255, description="One account.", examples=["10017"])]
Form = Annotated[str, Query(alias="format", pattern="^(json|arrow)$", examples=["json"])]


def _answers(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}, **ERRORS}


@router.get(
    "/v1/usage",
    summary="Read usage",
    response_model=None,
    responses=_answers({**_PERIOD, "closed": True, "lines": [_LINE], "totals": _MEASURES}),
)
def read_usage(
    request: Request,
    _: Billing,
    start: Start,
    end: End,
    account: Account = None,
    form: Form = "json",
) -> dict[str, Any] | Response:
    """Return the lines of one account, or of all; a closed period's figures are those of its closing."""
    period = Period(parse_date(start), parse_date(end))
    lines, closed = periods.figures(get_store(request), period, account=account)
    return _answer({"from": start, "to": end, "closed": closed}, lines, form)


@router.get(
    "/v1/usage/adjustments",
    summary="Read a closed period's adjustments",
    response_model=None,
    responses=_answers({**_PERIOD, "lines": [{**_CHANGE, **_LINE}], "totals": _MEASURES}),
)
def read_adjustments(
    request: Request, _: Billing, start: Start, end: End, account: Account = None, form: Form = "json"
) -> dict[str, Any] | Response:
    """Return what changed after the closing: batches that came or were withdrawn, records corrected or erased.

    A line goes onto the bill of the period in which its `changed_on` lies; it is known by kind, batch and correction.
    """
    period = Period(parse_date(start), parse_date(end))
    lines = adjustments.adjustments(get_store(request), period, account=account)
    return _answer({"from": start, "to": end}, lines, form)


@router.get("/v1/usage/periods", summary="List closed periods", responses=_answers({"periods": [_CLOSED]}))
def list_periods(request: Request, _: Billing) -> dict[str, Any]:
    """Return the closed periods, oldest first."""
    return {"periods": [item.as_dict() for item in periods.closed_periods(get_store(request))]}


@router.post("/v1/usage/periods", summary="Close a period", responses=_answers(_CLOSED))
def close_period(request: Request, _: Billing, start: Start, end: End) -> dict[str, Any]:
    """Close a period that is over; its figures stay from then on."""
    return periods.close(get_store(request), Period(parse_date(start), parse_date(end))).as_dict()


def _answer(head: dict[str, Any], lines: pa.Table, form: str) -> dict[str, Any] | Response:
    if form == "arrow":
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, lines.schema) as writer:
            writer.write_table(lines)
        return Response(sink.getvalue().to_pybytes(), media_type=_ARROW)
    return {**head, "lines": lines.to_pylist(), "totals": periods.totals(lines)}
