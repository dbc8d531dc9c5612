"""What each role sees of a case: all of it for the operator's two roles, the own order for the officer.

An officer learns nothing of a result before its release. A reading that shows targets is logged before it is shown.
"""

from __future__ import annotations

from typing import Any

from api.disclosure import rules
from api.disclosure.casebook import Casebook, kind_of, who
from api.disclosure.model import AUTHORISATION, Actor, Authorisation, Delivery, Task, request_digest
from api.disclosure.states import Stage
from schemas.legal_bases import BASES, LegalBasis
from store import AuditEntry, Store
from store.clock import to_text

_ROLES = (rules.OFFICER, rules.CASE_HANDLER, rules.APPROVER)
_OPEN_TO_OFFICER = (Stage.RELEASED, Stage.DELIVERED)
_ENDED = (Stage.REJECTED, Stage.CANCELLED)


def show(store: Store, actor: Actor, case_id: str) -> dict[str, Any]:
    """Return one case, with its targets; the reading is logged first.

    Raises:
        ProcedureError: the actor has no part in disclosures, or the case is another officer's.
        AuditError: the reading could not be logged.
    """
    casebook = Casebook(store)
    with casebook.refusals("show", case_id, actor):
        _admit(actor)
        if kind_of(case_id) == AUTHORISATION:
            authorisation, _ = casebook.authorisation(case_id)
            _require_own(actor, authorisation)
            _log(store, actor, {"authorisation": authorisation.id})
            return authorisation_view(authorisation)
        case = casebook.case(case_id)
        _require_own(actor, case.authorisation)
        _log(store, actor, {"authorisation": case.authorisation.id, "task": case.task.id})
        return task_view(case.task, case.authorisation, officer=rules.OFFICER in actor.roles)


def cases(store: Store, actor: Actor) -> list[dict[str, Any]]:
    """Return all cases that the actor may see, oldest first, without targets."""
    casebook = Casebook(store)
    with casebook.refusals("list", "", actor):
        _admit(actor)
        officer = rules.OFFICER in actor.roles
        authorisations = [
            item for item in casebook.authorisations() if not officer or item.officer.person_id == actor.person_id
        ]
        tasks = casebook.tasks()
        return [
            {
                **_head(item),
                "tasks": [_summary(task, officer=officer) for task in tasks if task.authorisation_id == item.id],
            }
            for item in authorisations
        ]


def bases() -> list[dict[str, Any]]:
    """Return the table of legal bases."""
    return [_basis(basis) for basis in BASES]


def authorisation_view(item: Authorisation) -> dict[str, Any]:
    """Return an authorisation with its targets."""
    return {
        **_head(item),
        "basis_version": item.basis_version,
        "decided_on": item.decided_on.isoformat(),
        "country": item.country,
        "targets": [target.as_body() for target in item.targets],
        "window": {"from": to_text(item.window.start_us), "to": to_text(item.window.end_us)},
        "categories": sorted(str(category) for category in item.categories),
        "officer": item.officer.as_body(),
    }


def task_view(task: Task, authorisation: Authorisation, *, officer: bool) -> dict[str, Any]:
    """Return a task with its targets and, for the operator's roles, the digests that approvals sign."""
    shown = {
        **_summary(task, officer=officer),
        "authorisation": authorisation_view(authorisation),
        "targets": [target.as_body() for target in task.targets],
        "window": {"from": to_text(task.window.start_us), "to": to_text(task.window.end_us)},
        "categories": sorted(str(category) for category in task.categories),
        "officer": task.officer.as_body(),
        "case_handler": task.case_handler.as_body() if task.case_handler else None,
        "request_approval": task.request_approval.as_body() if task.request_approval else None,
        "release_approval": task.release_approval.as_body() if task.release_approval else None,
    }
    if not officer:
        shown["request_digest"] = request_digest(authorisation, task)
        shown["runs"] = task.runs
    return shown


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery's facts."""
    return {
        "id": delivery.id,
        "task": delivery.task_id,
        "sequence": delivery.sequence,
        "sha256": delivery.sha256,
        "bytes": delivery.size_bytes,
        "records": delivery.records,
        "fetches": len(delivery.fetched),
    }


def _head(item: Authorisation) -> dict[str, Any]:
    return {
        "id": item.id,
        "state": str(item.state),
        "basis": item.basis_id,
        "decision_reference": item.decision_reference,
        "authority": item.authority,
        "filed_at": to_text(item.filed_at_us),
        "expires_at": to_text(item.expires_at_us),
    }


def _summary(task: Task, *, officer: bool) -> dict[str, Any]:
    shown = {
        "id": task.id,
        "authorisation_id": task.authorisation_id,
        "state": str(task.state),
        "registered_at": to_text(task.registered_at_us),
        "due_at": None if task.due_at_us is None else to_text(task.due_at_us),
    }
    if officer and task.stage not in _OPEN_TO_OFFICER:
        return {**shown, "reason": task.reason if task.stage in _ENDED else None}
    return {
        **shown,
        "stage": str(task.stage),
        "records": task.records,
        "result_digest": task.result_digest,
        "delivery": task.delivery_id,
        "reason": task.reason,
    }


def _basis(basis: LegalBasis) -> dict[str, Any]:
    return {
        "id": basis.id,
        "version": basis.version,
        "title": basis.title,
        "citation": basis.citation,
        "decided_by": str(basis.decided_by),
        "target_kinds": sorted(basis.target_kinds),
        "categories": sorted(str(category) for category in basis.categories),
        "fields": None if basis.fields is None else sorted(basis.fields),
        "window_days_max": basis.window_days_max,
        "targets_max": basis.targets_max,
        "customer_notice": str(basis.customer_notice),
        "deadline_hours": basis.deadline_hours,
        "effective_from": basis.effective_from.isoformat(),
        "effective_to": basis.effective_to.isoformat() if basis.effective_to else None,
    }


def _admit(actor: Actor) -> None:
    rules.require_any_role(actor, _ROLES)
    rules.require_separate_duties(actor)


def _require_own(actor: Actor, authorisation: Authorisation) -> None:
    if rules.OFFICER in actor.roles:
        rules.require_same_person(actor, authorisation.officer)


def _log(store: Store, actor: Actor, about: dict[str, str]) -> None:
    store.log(AuditEntry("disclosure.viewed", {**about, **who(actor)}))
