"""The guards of the procedure: each raises `ProcedureError` or returns None. Pure.

None of them returns a verdict, so a caller that forgets an `if` cannot grant anything; the procedure calls each by name
and the tests remove them one at a time.

Source: the design's promises 6 and 7; DOMAIN's *Users* and *Disclosure*.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import date
from typing import Final

from api.disclosure.model import Actor, Approval, Authorisation, Delivery, Signatory, Target, Task, Window
from api.disclosure.states import AuthorisationState
from api.roles import Role, conflicts, parse_roles
from api.signing import key_id, verify
from schemas.errors import ConfigurationError, ProcedureError
from schemas.fields import Category
from schemas.legal_bases import LegalBasis

OFFICER: Final = Role.OFFICER
CASE_HANDLER: Final = Role.CASE_HANDLER
APPROVER: Final = Role.APPROVER

DAY_US: Final = 86_400 * 1_000_000

_REFERENCE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,120}")
_WORD: Final = re.compile(r"[a-z][a-z-]{1,39}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")


def require_role(actor: Actor, role: str) -> None:
    """The actor holds the role that the step needs."""
    if role not in actor.roles:
        raise ProcedureError("this step belongs to another role", reason="wrong-role")


def require_any_role(actor: Actor, roles: Iterable[str]) -> None:
    """The actor holds one of the roles that the step needs."""
    if actor.roles.isdisjoint(roles):
        raise ProcedureError("this step belongs to another role", reason="wrong-role")


def require_separate_duties(actor: Actor) -> None:
    """The actor's roles do not exclude each other.

    Enrolment refuses such roles; a person whose roles grew since, or who came by another door, is refused here.
    """
    try:
        held = parse_roles(actor.roles)
    except ConfigurationError:
        raise ProcedureError("this person's roles are not roles of persons", reason="role-conflict") from None
    if conflicts(held):
        raise ProcedureError("this person's roles exclude each other", reason="role-conflict")


def require_side(actor: Actor, officer: Signatory, *, cancels: bool) -> None:
    """An officer cancels only what is the officer's own; the operator's staff rejects only what is not its own."""
    if cancels:
        require_same_person(actor, officer)
    else:
        require_distinct(actor, officer)


def require_distinct(actor: Actor, *others: Signatory | None) -> None:
    """The actor is none of the persons who acted before, and uses none of their keys."""
    for other in others:
        if other is None:
            continue
        if other.person_id == actor.person_id:
            raise ProcedureError("one person acts in two roles of one case", reason="same-person")
        if other.key_id == actor.key_id:
            raise ProcedureError("one key signs for two persons of one case", reason="same-key")


def require_three_persons(task: Task, approver: Signatory | None) -> None:
    """Officer, case handler and approver are all there, three persons with three keys."""
    parties = (task.officer, task.case_handler, approver)
    if any(party is None for party in parties):
        raise ProcedureError("a role of the case is vacant", reason="missing-person")
    present = [party for party in parties if party is not None]
    if len({party.person_id for party in present}) != len(parties):
        raise ProcedureError("one person acts in two roles of one case", reason="same-person")
    if len({party.key_id for party in present}) != len(parties):
        raise ProcedureError("one key signs for two persons of one case", reason="same-key")


def require_same_person(actor: Actor, owner: Signatory | None) -> None:
    """The actor is the person to whom the step belongs in this case."""
    if owner is None or owner.person_id != actor.person_id:
        raise ProcedureError("this case belongs to another person", reason="not-yours")


def require_reference(authority: str, country: str, decision_reference: str) -> None:
    """An order names its authority, its country and its decision."""
    if not _REFERENCE.fullmatch(authority.strip()) or not _REFERENCE.fullmatch(decision_reference.strip()):
        raise ProcedureError("an order names its authority and its decision", reason="no-reference")
    if not _COUNTRY.fullmatch(country):
        raise ProcedureError("an order names its country by two letters", reason="bad-country")


def require_decided(decided_on: date, today: date) -> None:
    """The decision is not of a day to come."""
    if decided_on > today:
        raise ProcedureError("the decision's day lies ahead", reason="decision-ahead")


def require_targets(basis: LegalBasis, targets: tuple[Target, ...]) -> None:
    """Targets are of kinds that the basis allows, and no more than it allows."""
    if not targets:
        raise ProcedureError("an order names at least one target", reason="no-target")
    if len(targets) > basis.targets_max:
        raise ProcedureError(f"the basis allows {basis.targets_max} targets", reason="too-many-targets")
    if any(target.kind not in basis.target_kinds for target in targets):
        raise ProcedureError("the basis does not allow a target of this kind", reason="target-kind")
    if any(not basis.matchable(target.kind) for target in targets):
        raise ProcedureError("the basis does not allow a target of this kind", reason="target-kind")


def require_window(basis: LegalBasis, window: Window) -> None:
    """The window has a length, and no more than the basis allows."""
    if window.start_us >= window.end_us:
        raise ProcedureError("the window ends before it begins", reason="empty-window")
    if window.end_us - window.start_us > basis.window_days_max * DAY_US:
        raise ProcedureError(f"the basis allows a window of {basis.window_days_max} days", reason="window-too-long")


def require_window_over(window: Window, now_us: int) -> None:
    """The window lies in the past: stored data answers for no time to come."""
    if window.end_us > now_us:
        raise ProcedureError("the window is not over", reason="window-ahead")


def require_categories(basis: LegalBasis, categories: frozenset[Category]) -> None:
    """Categories are asked for, and only those that the basis lets leave."""
    if not categories:
        raise ProcedureError("an order names at least one category", reason="no-category")
    if not categories <= basis.categories:
        raise ProcedureError("the basis does not let a category leave", reason="category")


def require_unexpired(authorisation: Authorisation, now_us: int) -> None:
    """The authorisation has not lapsed; it lapses at the instant that it names."""
    if now_us >= authorisation.expires_at_us:
        raise ProcedureError("the authorisation has expired", reason="expired")


def require_live(authorisation: Authorisation) -> None:
    """The authorisation waits for approval or has it."""
    if authorisation.state not in (AuthorisationState.AWAITING_APPROVAL, AuthorisationState.APPROVED):
        raise ProcedureError(f"the authorisation is {authorisation.state}", reason="authorisation-not-live")


def require_approved(authorisation: Authorisation) -> None:
    """The authorisation is approved."""
    if authorisation.state is not AuthorisationState.APPROVED:
        raise ProcedureError(f"the authorisation is {authorisation.state}", reason="authorisation-not-approved")


def require_within(authorisation: Authorisation, task: Task) -> None:
    """The task asks for targets, window and categories of its authorisation and nothing more."""
    allowed = {target.sought for target in authorisation.targets}
    if any(target.sought not in allowed for target in task.targets):
        raise ProcedureError("a target is outside the authorisation", reason="target-out-of-scope")
    if not authorisation.window.contains(task.window):
        raise ProcedureError("the window is outside the authorisation", reason="window-out-of-scope")
    if not task.categories <= authorisation.categories:
        raise ProcedureError("a category is outside the authorisation", reason="category-out-of-scope")


def require_signed(approval: Approval | None, *, action: str, case: str, digest: str, public_key: bytes | None) -> None:
    """An approval on file says exactly this act on exactly this content, under the key of a person who still may act.

    `public_key` is the active approver's; None when that person is revoked or unknown.
    """
    if approval is None:
        raise ProcedureError("the approval is missing", reason="no-approval")
    if public_key is None:
        raise ProcedureError("the approver may not act any more", reason="approver-revoked")
    if approval.statement.action != action or approval.statement.case != case:
        raise ProcedureError("the approval is about another act", reason="approval-act")
    if approval.statement.digest != digest:
        raise ProcedureError("the approval is for other content than is on file", reason="approval-digest")
    if approval.by.key_id != key_id(public_key):
        raise ProcedureError("the approver has another key now", reason="approval-key")
    if not verify(public_key, approval.statement.to_bytes(), approval.signature):
        raise ProcedureError("the approval's signature does not verify", reason="approval-signature")


def require_result(task: Task, delivery: Delivery, package: bytes) -> None:
    """The package at hand is the one whose release was approved."""
    if delivery.task_id != task.id or delivery.sha256 != task.result_digest:
        raise ProcedureError("the delivery on file is not the task's", reason="delivery-digest")
    if hashlib.sha256(package).hexdigest() != task.result_digest:
        raise ProcedureError("the package is not the one that was released", reason="delivery-digest")


def require_reason(reason: str) -> None:
    """Ending a case gives its reason as a stable word, so that it can be counted and names nobody."""
    if not _WORD.fullmatch(reason):
        raise ProcedureError("a reason is one word of a-z and '-', at most 40", reason="no-reason")


def require_order(basis: LegalBasis, authorisation: Authorisation, task: Task, now_us: int) -> None:
    """Everything that must hold of an order's content at every step: basis, scope and time."""
    require_targets(basis, task.targets)
    require_window(basis, task.window)
    require_window_over(task.window, now_us)
    require_categories(basis, task.categories)
    require_within(authorisation, task)
