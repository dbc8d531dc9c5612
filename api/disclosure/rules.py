"""The guards of the procedure: each raises `ProcedureError` or returns None. Pure.

None of them returns a verdict, so a caller that forgets an `if` cannot grant anything; the procedure calls each by name
and the tests remove them one at a time.

Source: the design's promises 6 and 7; DOMAIN's *Users* and *Disclosure*.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Final

from api.disclosure.deliveries import Delivery
from api.disclosure.model import (
    Actor,
    Approval,
    Authorisation,
    CallBack,
    Scope,
    Signatory,
    Suspension,
    Target,
    Task,
    Window,
)
from api.disclosure.orders import MEDIA_TYPES, SOURCE_BYTES_MAX, SourceDocument
from api.disclosure.states import AuthorisationState, Stage
from api.disclosure.targets import require_networks
from api.people.roles import Role, conflicts, parse_roles
from api.people.signing import key_id, verify
from schemas.errors import ConfigurationError, ProcedureError
from schemas.fields import Category
from schemas.legal_bases import LegalBasis
from schemas.legal_terms import Decider, Draws
from store.clock import to_date

OFFICER: Final = Role.OFFICER
CASE_HANDLER: Final = Role.CASE_HANDLER
APPROVER: Final = Role.APPROVER

DAY_US: Final = 86_400 * 1_000_000
PREFLIGHTS_MAX: Final = 3
"""Coarse counts of one task: enough to weigh it, too few to search by."""
CALL_BACK_AGE_US_MAX: Final = DAY_US
AHEAD_US_MAX: Final = DAY_US // 8
"""No member state is further ahead of UTC; an emergency of the first hours of a day is of that day."""
PRESERVATION_CHARS_MAX: Final = 200

NO_SUCH_CASE: Final = "there is no such case, or it is another person's"
CASES_HINT: Final = "`lagrum disclosure list` has those you may see; an authorisation is SE-A-..., its task SE-T-..."

_REFERENCE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,120}")
_WORD: Final = re.compile(r"[a-z][a-z-]{1,39}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")


def require_role(actor: Actor, role: str) -> None:
    """The actor holds the role that the step needs."""
    require_any_role(actor, (role,))


def require_any_role(actor: Actor, roles: Iterable[str]) -> None:
    """The actor holds one of the roles that the step needs."""
    if actor.roles.isdisjoint(needed := sorted(roles)):
        hint = f"the step needs the role {' or '.join(needed)}"
        raise ProcedureError("this step belongs to another role", reason="wrong-role", hint=hint)


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


def require_enrolled(actor: Actor, held: Actor | None) -> None:
    """The actor is enrolled now, with this key and these roles: what was revoked or lent is no role."""
    if held is None or held.key_id != actor.key_id:
        raise ProcedureError("this person is not enrolled with this key any more", reason="revoked")
    if held.roles != actor.roles:
        raise ProcedureError("the roles are not those of the enrolment", reason="delegated-role")


def require_in_office(signatory: Signatory | None, held: Actor | None, role: str) -> None:
    """Who acted before in this case still holds the key and the role that the act stood on."""
    if signatory is None or held is None or held.key_id != signatory.key_id or role not in held.roles:
        raise ProcedureError("a person of the case has no such role any more", reason="revoked-role")


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


def require_resumer(actor: Actor, suspension: Suspension | None, officer: Signatory) -> None:
    """Who lets an authorisation go on is of the side that suspended it: its officer, or an approver."""
    if suspension is None:
        raise ProcedureError("the authorisation is not suspended", reason="wrong-state")
    if suspension.by_authority:
        require_same_person(actor, officer)
    else:
        require_role(actor, APPROVER)
        require_distinct(actor, officer)


def require_same_person(actor: Actor, owner: Signatory | None) -> None:
    """The step is this person's in this case; the answer is that of no such case, and only the log tells which."""
    if owner is None or owner.person_id != actor.person_id:
        raise ProcedureError(NO_SUCH_CASE, reason="not-yours", hint=CASES_HINT)


def require_reference(authority: str, country: str, decision_reference: str) -> None:
    """An order names its authority, its country and its decision."""
    if not _REFERENCE.fullmatch(authority.strip()) or not _REFERENCE.fullmatch(decision_reference.strip()):
        raise ProcedureError("an order names its authority and its decision", reason="no-reference")
    if not _COUNTRY.fullmatch(country):
        raise ProcedureError("an order names its country by two letters", reason="bad-country")


def require_source(source: SourceDocument | None) -> None:
    """The decision's document comes with it, as a kind that can be shown, and not larger than can be kept."""
    if source is None or not source.content:
        raise ProcedureError("the decision's document is missing", reason="no-source")
    if source.media_type not in MEDIA_TYPES:
        raise ProcedureError("the document's media type is none of " + ", ".join(MEDIA_TYPES), reason="source-type")
    if len(source.content) > SOURCE_BYTES_MAX:
        raise ProcedureError(f"a decision's document has at most {SOURCE_BYTES_MAX} bytes", reason="source-size")


def require_asker(basis: LegalBasis, kind: str) -> None:
    """The authority is of a kind that may ask under the basis."""
    if kind not in basis.asked_by:
        raise ProcedureError("an authority of this kind does not ask under this basis", reason="authority-kind")


def require_decider(basis: LegalBasis, decided_by: Decider, *, emergency: bool) -> None:
    """Whose decision it is may decide under the basis: the regular decider, in an emergency also the interim one."""
    if decided_by not in basis.deciders(emergency=emergency):
        raise ProcedureError("whoever decided does not decide under this basis", reason="decider")


def require_discloses(basis: LegalBasis) -> None:
    """Something leaves under the basis; an order to preserve places a hold."""
    if basis.preserves:
        raise ProcedureError(
            "an order to preserve lets nothing leave", reason="preserves", hint="custodians place it: lagrum hold add"
        )


def require_preserving(basis: LegalBasis, reference: str | None) -> None:
    """A preservation is named by its reference, under a basis that reaches what only a duty keeps; or not at all."""
    if reference is None:
        return
    if basis.draws_on is not Draws.DUTY:
        raise ProcedureError("the basis does not reach preserved records", reason="preservation-basis")
    if not reference.strip() or len(reference) > PRESERVATION_CHARS_MAX or not reference.isprintable():
        raise ProcedureError("a preservation is named by its reference", reason="no-reference")


def require_call_back(authorisation: Authorisation, task: Task) -> None:
    """An emergency is believed after a call to the authority, on record."""
    if authorisation.emergency and task.call_back is None:
        raise ProcedureError("an emergency order needs a recorded call-back (--call-back)", reason="no-call-back")


def require_registered_call(call: CallBack | None, number: str, filed_at_us: int, now_us: int) -> None:
    """A call-back went to the number on the register, after the order came, and names who answered."""
    if call is None:
        return
    if call.number != number:
        raise ProcedureError("the call-back did not go to the number on the register", reason="call-back-number")
    if not _REFERENCE.fullmatch(call.spoken_with.strip()):
        raise ProcedureError("a call-back names who answered", reason="call-back-person")
    if not max(filed_at_us, now_us - CALL_BACK_AGE_US_MAX) <= call.called_at_us <= now_us:
        raise ProcedureError("a call-back comes after its order and before its check", reason="call-back-time")


def require_confirmed(authorisation: Authorisation, now_us: int) -> None:
    """An emergency is confirmed, or its time for that is not over."""
    late = authorisation.confirm_by_us is not None and now_us >= authorisation.confirm_by_us
    if late and authorisation.confirmation is None:
        raise ProcedureError("the emergency was not confirmed in its time", reason="unconfirmed")


def require_awaiting_confirmation(authorisation: Authorisation) -> None:
    """There is an emergency that waits for its confirmation."""
    if not authorisation.awaits_confirmation:
        raise ProcedureError("nothing waits for a confirmation", reason="nothing-to-confirm")


def require_later_end(authorisation: Authorisation, expires_at_us: int | None) -> None:
    """An extension ends later than what it extends."""
    if expires_at_us is None or expires_at_us <= authorisation.expires_at_us:
        raise ProcedureError("an extension ends later than the authorisation", reason="not-later")


def require_stage(task: Task, stage: Stage) -> None:
    """The task stands where this is done, which moves it nowhere."""
    if task.stage is not stage:
        raise ProcedureError(f"a task at stage {task.stage} does not do this", reason="wrong-state")


def require_preflights_left(task: Task) -> None:
    """A task is counted beforehand a few times and no more."""
    if task.preflights >= PREFLIGHTS_MAX:
        raise ProcedureError(f"a task is counted beforehand {PREFLIGHTS_MAX} times", reason="too-many-preflights")


def require_reach(is_reached: bool) -> None:
    """The window begins on a day that the operator's own purpose, on which the basis draws, still reads."""
    if not is_reached:
        raise ProcedureError("the basis reaches only what the operator still holds itself", reason="beyond-purpose")


def require_decided(decided_on: date, now_us: int) -> None:
    """The decision is not of a day to come: it has begun somewhere in the Union."""
    if decided_on > to_date(now_us + AHEAD_US_MAX):
        raise ProcedureError("the decision's day lies ahead", reason="decision-ahead")


def require_follows(authorisation: Authorisation, decided_on: date) -> None:
    """A later decision is not of a day before the one that it confirms or extends: nobody chooses an older law."""
    if decided_on < authorisation.decided_on:
        raise ProcedureError("the decision is of a day before the first one", reason="decision-before")


def require_targets(basis: LegalBasis, targets: tuple[Target, ...]) -> None:
    """Targets are of kinds that the basis allows, and no more than it allows."""
    if not targets:
        raise ProcedureError("an order names at least one target", reason="no-target")
    if len(targets) > basis.targets_max:
        raise ProcedureError(f"the basis allows {basis.targets_max} targets", reason="too-many-targets")
    if any(target.kind not in basis.target_kinds or not basis.matchable(target.kind) for target in targets):
        raise ProcedureError("the basis does not allow a target of this kind", reason="target-kind")
    require_networks(targets)


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


_GRANTED: Final = (AuthorisationState.APPROVED, AuthorisationState.EMERGENCY_APPROVAL)


def require_live(authorisation: Authorisation) -> None:
    """The authorisation waits for approval or has it."""
    if authorisation.state not in (AuthorisationState.AWAITING_APPROVAL, *_GRANTED):
        raise ProcedureError(f"the authorisation is {authorisation.state}", reason="authorisation-not-live")


def require_approved(authorisation: Authorisation) -> None:
    """The authorisation is approved, in an emergency until it lapses."""
    if authorisation.state not in _GRANTED:
        raise ProcedureError(f"the authorisation is {authorisation.state}", reason="authorisation-not-approved")


def require_within(authorisation: Authorisation, asked: Scope) -> None:
    """What is asked for is of the targets, window and categories that are authorised and nothing more."""
    (reached, span, kinds), (targets, window, categories) = authorisation.scope, asked
    if not {target.sought for target in targets} <= {target.sought for target in reached}:
        raise ProcedureError("a target is outside the authorisation", reason="target-out-of-scope")
    if not span.contains(window):
        raise ProcedureError("the window is outside the authorisation", reason="window-out-of-scope")
    if not categories <= kinds:
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


def require_result(task: Task, delivery: Delivery) -> None:
    """The delivery on file is the task's, and is kept."""
    if delivery.task_id != task.id or delivery.sha256 != task.result_digest:
        raise ProcedureError("the delivery on file is not the task's", reason="delivery-digest")
    if delivery.erased_at_us is not None:
        raise ProcedureError("the result is not kept any more", reason="delivery-erased")


def require_recipient(delivery: Delivery, authority: str, certificate_sha256: str) -> None:
    """The result is enclosed for the order's authority, under the certificate that the register has now."""
    if (delivery.authority, delivery.certificate_sha256) != (authority, certificate_sha256):
        raise ProcedureError(
            "the result is enclosed for another certificate",
            reason="recipient-changed",
            hint="reject it; the officer registers the task again",
        )


def require_current(is_outdated: bool) -> None:
    """Nothing of the result was withdrawn, corrected or erased after its search."""
    if is_outdated:
        raise ProcedureError(
            "the store was corrected after the search", reason="corrected-since", hint="the officer registers it again"
        )


def require_fetched(task: Task) -> None:
    """Only what was fetched can be acknowledged."""
    if task.stage is not Stage.DELIVERED:
        raise ProcedureError("the delivery has not been fetched", reason="wrong-state")


def require_unacknowledged(delivery: Delivery) -> None:
    """A delivery is acknowledged once."""
    if delivery.acknowledged_at_us is not None:
        raise ProcedureError("the delivery is acknowledged already", reason="acknowledged")


def require_reason(reason: str) -> None:
    """Ending a case gives its reason as a stable word, so that it can be counted and names nobody."""
    if not _WORD.fullmatch(reason):
        raise ProcedureError("a reason is one word of a-z and '-', at most 40", reason="no-reason")


def require_order(basis: LegalBasis, authorisation: Authorisation, task: Task, now_us: int) -> None:
    """Everything that must hold of an order's content at every step: decider, basis, scope and time."""
    require_decider(basis, authorisation.decided_by, emergency=authorisation.emergency)
    require_targets(basis, task.targets)
    require_window(basis, task.window)
    require_window_over(task.window, now_us)
    require_categories(basis, task.categories)
    require_within(authorisation, (task.targets, task.window, task.categories))
