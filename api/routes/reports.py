"""Reports on disclosures over HTTP: the year in numbers, its costs, and who looked; the reports decide who may."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request

from api.deps import get_store
from api.disclosure import costs, lookups, reports
from api.disclosure.model import Actor
from api.instants import parse_date
from api.people.auth import Principal, require_person
from api.routes.models import ERRORS
from schemas.prices import UNITS

router = APIRouter(tags=["reports"])

_T: Final = "SE-T-7be1d0c4a2963f58"
_A: Final = "SE-A-0f3c2a5e9b8d7416"
_REPORT: Final = {
    "year": 2026,
    "edition": "exact",
    "rule": None,
    "outcomes": list(reports.OUTCOMES),
    "rows": [
        {
            "basis": "secret-surveillance",
            "country": "SE",
            "tasks": 1,
            "outcomes": dict.fromkeys(reports.OUTCOMES, 0) | {"disclosed": 1},
            "emergencies": 0,
            "late": 0,
            "delivered_then_lapsed": 0,
            "median_hours": 7.5,
            "p95_hours": 7.5,
        }
    ],
    "rows_left_out": False,
    "totals": {"tasks": 1, "outcomes": dict.fromkeys(reports.OUTCOMES, 0) | {"disclosed": 1}}
    | dict.fromkeys(reports.SUBSETS, 0),
    "agreement": {"agrees": True, "differences": []},
}
_UNITS: Final = dict.fromkeys(UNITS, 1) | {"window-day": 31, "emergency": 0}
_LEDGER: Final = {
    "year": 2026,
    "rows": [
        {
            "task": _T,
            "authorisation": _A,
            "basis": "secret-surveillance",
            "authority": "police-se",
            "registered_on": "2026-11-22",
            "units": _UNITS,
        }
    ],
    "totals": _UNITS,
}
_LOOK_UPS: Final = {
    "from": "2026-11-01",
    "to": "2026-12-01",
    "persons": [
        {
            "person": "handler-1",
            "roles": ["case-handler"],
            "state": "active",
            "look_ups": 1,
            "kinds": {"viewed": 1},
            "cases": [{"case": _T, "look_ups": 1, "times": ["2026-11-22T12:00:00.000000Z"]}],
            "without_case": 0,
            "refused": 0,
            "readings": 0,
        }
    ],
    "four_eyes": {"released": 1, "violations": []},
}

Person = Annotated[Principal, Depends(require_person)]
Year = Annotated[int, Query(ge=1970, le=9998, description="Calendar year, UTC.", examples=[2026])]


def _answers(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}, **ERRORS}


@router.get("/v1/disclosure/reports/transparency", summary="Report a year in numbers", responses=_answers(_REPORT))
def transparency(
    request: Request,
    principal: Person,
    year: Year,
    exact: Annotated[bool, Query(description="With small counts.", examples=[True])] = False,
) -> dict[str, Any]:
    """Return the year's tasks by basis, country and outcome, for approvers and the DPO; compared with the audit log."""
    return reports.transparency(get_store(request), _actor(principal), year, exact=exact)


@router.get("/v1/disclosure/reports/costs", summary="Show a year's cost ledger", responses=_answers(_LEDGER))
def show_costs(request: Request, principal: Person, year: Year) -> dict[str, Any]:
    """Return the work on each task, for billing, approvers and the DPO; whether anything was found is not in it."""
    return costs.ledger(get_store(request), _actor(principal), year)


@router.get("/v1/disclosure/reports/look-ups", summary="Report who looked up what", responses=_answers(_LOOK_UPS))
def show_look_ups(
    request: Request,
    principal: Person,
    start: Annotated[str, Query(alias="from", max_length=10, description="First day, UTC.", examples=["2026-11-01"])],
    end: Annotated[str, Query(alias="to", max_length=10, description="First day after it.", examples=["2026-12-01"])],
    person: Annotated[str | None, Query(max_length=40, description="One person.")] = None,
) -> dict[str, Any]:
    """Return every person's look-ups with their cases and times, for the DPO; never a target or a record."""
    days = parse_date(start), parse_date(end)
    return lookups.look_ups(get_store(request), _actor(principal), *days, person=person)


def _actor(principal: Principal) -> Actor:
    return Actor(principal.person_id, principal.key_id, principal.roles)
