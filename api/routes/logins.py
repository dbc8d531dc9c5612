"""The authentication log, for the data protection officer and auditors.

Custodians do not read it: they enrol and bind, so they must not be the ones who watch what becomes of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request

from api.deps import get_authenticator, get_store
from api.instants import parse_date
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS
from store import AuditEntry, logins

router = APIRouter(tags=["persons"])

_DAY: Final = {
    "day": "2026-11-22",
    "kept_days": logins.KEEP_DAYS,
    "place": None,
    "entries": [
        {
            "time": "2026-11-22T12:00:00.000000Z",
            "outcome": "opened",
            "way": "key",
            "account": "officer-7",
            "word": None,
            "place": "9f0c4e2b7a16d358",
            "count": 1,
        }
    ],
}


@router.get(
    "/v1/logins",
    summary="Show a day of the authentication log",
    responses={200: {"content": {"application/json": {"example": _DAY}}}, **ERRORS},
)
def show(
    request: Request,
    principal: Annotated[Principal, Depends(require_role(Role.DPO, Role.AUDITOR))],
    day: Annotated[str, Query(max_length=10, description="UTC day, YYYY-MM-DD.", examples=["2026-11-22"])],
    address: Annotated[
        str | None, Query(max_length=64, description="Say which tag stands for this address on that day.")
    ] = None,
) -> dict[str, Any]:
    """Return who was recognised or refused on a day of the last 30; reading it is in the audit log.

    `place` stands for an address, with another word every day; an address that was not seen on the day has a word, too.
    """
    store, chosen = get_store(request), parse_date(day)
    get_authenticator(request).logins.flush()
    store.log(AuditEntry("logins.read", {"by": principal.person_id, "day": day}))
    place = None if address is None else logins.find_tag(store, chosen, address)
    return {"day": day, "kept_days": logins.KEEP_DAYS, "place": place, "entries": logins.read(store, chosen)}
