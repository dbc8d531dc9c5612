"""What each role sees of a case: all of it for the operator's two roles, the own order for the officer.

An officer learns nothing of a result before its release. A reading that shows targets is logged before it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.disclosure import rules
from api.disclosure.casebook import Casebook, kind_of, who
from api.disclosure.deliveries import Delivery, kept_until_us
from api.disclosure.lapses import beyond, delivered
from api.disclosure.model import AUTHORISATION, Actor, Authorisation, Decision, Task, request_digest
from api.disclosure.outdated_marks import Mark, mark_of, marks, shown_to_officer
from api.disclosure.push_outbox import push_of
from api.disclosure.results import result_of
from api.disclosure.states import AuthorisationState, Stage
from api.people.roles import Role
from schemas.errors import NotFoundError
from store import AuditEntry, Put, Store
from store.clock import to_text

_ROLES = (rules.OFFICER, rules.CASE_HANDLER, rules.APPROVER)
_OPEN_TO_OFFICER = (Stage.RELEASED, Stage.DELIVERED)
_ENDED = (Stage.REJECTED, Stage.CANCELLED, Stage.INVALID)


def show(store: Store, actor: Actor, case_id: str) -> dict[str, Any]:
    """Return one case, with its targets; the reading is logged first.

    Raises:
        ProcedureError: the actor has no part in disclosures, or the case is another officer's.
        AuditError: the reading could not be logged.
    """
    casebook = Casebook(store)
    with casebook.refusals("show", case_id, actor):
        _admit(casebook, actor)
        if kind_of(case_id) == AUTHORISATION:
            authorisation, _ = casebook.authorisation(case_id)
            _require_own(actor, authorisation)
            _log(store, actor, {"authorisation": authorisation.id})
            return authorisation_view(authorisation)
        case = casebook.case(case_id)
        _require_own(actor, case.authorisation)
        officer, released = rules.OFFICER in actor.roles, case.task.stage in _OPEN_TO_OFFICER
        known = mark_of(store, case.task.delivery_id)
        told = shown_to_officer(store, actor, known) if officer and released else []
        _log(store, actor, {"authorisation": case.authorisation.id, "task": case.task.id}, told)
        shown = task_view(case.task, case.authorisation, officer=officer, mark=known[0] if known else None)
        if not officer:
            shown["result"] = result_of(store, case.task)
            shown["outdated"] = known[0].as_dict() if known else None
            shown["lapsed_before"] = _lapsed_before(casebook, case.authorisation)
        if released:
            shown["push"] = push_of(store, casebook.delivery(case.task.delivery_id or "")[0])
        return shown


def cases(store: Store, actor: Actor) -> list[dict[str, Any]]:
    """Return all cases that the actor may see, oldest first, without targets."""
    casebook = Casebook(store)
    with casebook.refusals("list", "", actor):
        _admit(casebook, actor)
        officer = rules.OFFICER in actor.roles
        authorisations = [
            item for item in casebook.authorisations() if not officer or item.officer.person_id == actor.person_id
        ]
        tasks, outdated = casebook.tasks(), marks(store)
        return [
            {
                **_head(item),
                "tasks": [
                    _summary(task, officer=officer, mark=outdated.get(task.delivery_id or ""))
                    for task in tasks
                    if task.authorisation_id == item.id
                ],
            }
            for item in authorisations
        ]


def counts(shown: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many authorisations and tasks a list has, tests apart: they are nobody's and count for nothing."""
    real = [item for item in shown if not item["test"]]
    return {
        "authorisations": len(real),
        "tasks": sum(len(item["tasks"]) for item in real),
        "tests": len(shown) - len(real),
    }


def source(store: Store, actor: Actor, case_id: str, number: int | None = None) -> tuple[Decision, bytes]:
    """Return one of a case's decisions and its document; the reading is logged first.

    `number` counts `documents` of the case's view from 1; None takes the last.

    Raises:
        NotFoundError: there is no decision of that number.
        ProcedureError: the actor has no part in disclosures, or the case is another officer's.
        IntegrityError: the document is not the one that was filed.
    """
    casebook = Casebook(store)
    with casebook.refusals("source", case_id, actor):
        _admit(casebook, actor)
        is_authorisation = kind_of(case_id) == AUTHORISATION
        authorisation = casebook.authorisation(case_id)[0] if is_authorisation else casebook.case(case_id).authorisation
        _require_own(actor, authorisation)
        _log(store, actor, {"authorisation": authorisation.id, "what": "source"})
        decisions = _decisions(authorisation)
        if number is not None and not 1 <= number <= len(decisions):
            raise NotFoundError("the case has no such document")
    decision = decisions[-1 if number is None else number - 1]
    return decision, casebook.document(decision)


def lapsed(store: Store, actor: Actor) -> list[dict[str, Any]]:
    """Return every emergency that was not confirmed in its time, or for less, and what had been delivered; no target.

    For approvers, and for the data protection officer, who answers for what should not have left. Logged first.
    """
    casebook = Casebook(store)
    with casebook.refusals("lapsed", "", actor):
        _admit(casebook, actor, (rules.APPROVER, Role.DPO))
        _log(store, actor, {"what": "lapsed"})
    return [
        {
            **_head(item),
            "delivered": [
                {**report, "fetched": [to_text(time) for time in report.pop("fetched_us")]}
                for task in left
                for report in [delivered(casebook, task)]
            ],
        }
        for item, left in _without_confirmation(casebook)
    ]


def _lapsed_before(casebook: Casebook, item: Authorisation) -> list[str]:
    """Return the emergencies of the same authority on one of the same targets that nobody confirmed in time.

    Whoever signs a further one weighs that: haste that is claimed again and again would replace the decider.
    """
    if not item.emergency:
        return []
    sought = {(target.kind, target.value) for target in item.targets}
    return [
        other.id
        for other in casebook.authorisations()
        if other.state is AuthorisationState.INVALID
        and other.authority == item.authority
        and other.is_test == item.is_test
        and not sought.isdisjoint((target.kind, target.value) for target in other.targets)
    ]


def _without_confirmation(casebook: Casebook) -> Iterator[tuple[Authorisation, list[Task]]]:
    """Give the emergencies of which nothing, or not all, was confirmed, with the tasks under which more had left."""
    left = [task for task in casebook.tasks() if task.stage is Stage.DELIVERED]
    for item in casebook.authorisations():
        own = [task for task in left if task.authorisation_id == item.id]
        if item.state is AuthorisationState.INVALID:
            yield item, own
        elif item.confirmation and (more := beyond(item, own)):
            yield item, more


def authorisation_view(item: Authorisation) -> dict[str, Any]:
    """Return an authorisation with its targets; of a confirmed emergency what the confirmation grants."""
    targets, window, categories = item.scope
    return {
        **_head(item),
        "basis_version": item.basis_version,
        "decided_on": item.decided_on.isoformat(),
        "decided_by": str(item.decided_by),
        "country": item.country,
        "preservation": item.preservation,
        "targets": [target.as_body() for target in targets],
        "window": {"from": to_text(window.start_us), "to": to_text(window.end_us)},
        "categories": sorted(str(category) for category in categories),
        "officer": item.officer.as_body(),
        "documents": [
            {
                "decision_reference": decision.reference,
                "decided_on": decision.decided_on.isoformat(),
                "decided_by": str(decision.decided_by),
                "media_type": decision.media_type,
                "bytes": decision.size_bytes,
                "sha256": decision.sha256,
            }
            for decision in _decisions(item)
        ],
    }


def task_view(task: Task, authorisation: Authorisation, *, officer: bool, mark: Mark | None = None) -> dict[str, Any]:
    """Return a task with its targets and, for the operator's roles, the digests that approvals sign."""
    shown = {
        **_summary(task, officer=officer, mark=mark),
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
        call = task.call_back
        shown["call_back"] = call and {
            "spoken_with": call.spoken_with,
            "called_at": to_text(call.called_at_us),
            "by": call.by.person_id,
        }
        shown["preflights"] = f"{task.preflights} of {rules.PREFLIGHTS_MAX}"
        shown["request_digest"] = request_digest(authorisation, task)
        shown["runs"] = task.runs
    return shown


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery's facts."""
    until_us = kept_until_us(delivery)
    return {
        "id": delivery.id,
        "task": delivery.task_id,
        "sha256": delivery.sha256,
        "bytes": delivery.size_bytes,
        "records": delivery.records,
        "parts": len(delivery.parts),
        "fetches": len(delivery.fetched),
        "acknowledged_at": _instant(delivery.acknowledged_at_us),
        "kept_until": _instant(until_us),
        "erased_at": _instant(delivery.erased_at_us),
    }


def _decisions(item: Authorisation) -> tuple[Decision, ...]:
    return (*item.decisions, item.confirmation.decision) if item.confirmation else item.decisions


def _head(item: Authorisation) -> dict[str, Any]:
    return {
        "id": item.id,
        "state": str(item.state),
        "basis": item.basis_id,
        "decision_reference": item.decision_reference,
        "authority": item.authority,
        "authority_name": item.authority_name,
        "test": item.is_test,
        "emergency": item.emergency,
        "confirm_by": to_text(item.confirm_by_us) if item.confirm_by_us and item.awaits_confirmation else None,
        "suspended_by": item.suspension and ("authority" if item.suspension.by_authority else "operator"),
        "filed_at": to_text(item.filed_at_us),
        "expires_at": to_text(item.expires_at_us),
    }


def _summary(task: Task, *, officer: bool, mark: Mark | None) -> dict[str, Any]:
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
        "outdated_since": None if mark is None else to_text(mark.since_us),
        "reason": task.reason,
    }


def _admit(casebook: Casebook, actor: Actor, roles: tuple[str, ...] = _ROLES) -> None:
    rules.require_any_role(actor, roles)
    rules.require_separate_duties(actor)
    rules.require_enrolled(actor, casebook.enrolled(actor.person_id))


def _require_own(actor: Actor, authorisation: Authorisation) -> None:
    if rules.OFFICER in actor.roles:
        rules.require_same_person(actor, authorisation.officer)


def _log(store: Store, actor: Actor, about: dict[str, str], puts: Sequence[Put] = ()) -> None:
    entry = AuditEntry("disclosure.viewed", {**about, **({"told": "outdated"} if puts else {}), **who(actor)})
    if puts:
        store.documents.commit(puts, [entry])
    else:
        store.log(entry)


def _instant(time_us: int | None) -> str | None:
    return None if time_us is None else to_text(time_us)
