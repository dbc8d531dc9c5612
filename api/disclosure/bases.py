"""The table of legal bases as people and programs read it: every bound, with what is the law's and what is ours."""

from __future__ import annotations

from typing import Any

from schemas.legal_bases import BASES
from schemas.legal_terms import Deadline, EmergencyPath, LegalBasis


def bases() -> list[dict[str, Any]]:
    """Return every version of every basis; `own_bounds` names what is this product's bound or reading."""
    return [_basis(basis) for basis in BASES]


def _basis(basis: LegalBasis) -> dict[str, Any]:
    return {
        "id": basis.id,
        "version": basis.version,
        "title": basis.title,
        "citation": basis.citation,
        "effective_from": basis.effective_from.isoformat(),
        "effective_to": basis.effective_to.isoformat() if basis.effective_to else None,
        "decided_by": str(basis.decided_by),
        "also_decided_by": sorted(str(decider) for decider in basis.also_decided_by),
        "asked_by": sorted(basis.asked_by),
        "preserves": basis.preserves,
        "target_kinds": sorted(basis.target_kinds),
        "targets_max": basis.targets_max,
        "window_days_max": basis.window_days_max,
        "overlap": str(basis.overlap),
        "categories": sorted(str(category) for category in basis.categories),
        "fields": None if basis.fields is None else sorted(basis.fields),
        "match_fields": None if basis.match_fields is None else sorted(basis.match_fields),
        "draws_on": str(basis.draws_on),
        "draws_citation": basis.draws_citation,
        "deadline": _deadline(basis.deadline),
        "emergency": _emergency(basis.emergency),
        "customer_notice": {
            "rule": str(basis.customer_notice),
            "earliest_days": basis.notice_days[0] if basis.notice_days else None,
            "latest_days": basis.notice_days[1] if basis.notice_days else None,
            "citation": basis.notice_citation,
        },
        "own_bounds": sorted(basis.own_bounds),
    }


def _deadline(deadline: Deadline | None) -> dict[str, Any] | None:
    if deadline is None:
        return None
    return {"time": deadline.text, "from": "receipt", "citation": deadline.citation}


def _emergency(path: EmergencyPath | None) -> dict[str, Any] | None:
    if path is None:
        return None
    return {
        "decided_by": str(path.decided_by),
        "confirm_hours": path.confirm_hours,
        "deadline": _deadline(path.deadline),
        "citation": path.citation,
    }
