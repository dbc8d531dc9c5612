"""The procedure of a disclosure, from an authority's order to a fetched delivery.

Steps, each by one role, each one transaction of documents and audit entry (`# (n)` marks the code):

(1)  authorise: the officer files what was decided: basis, reference, targets, window, categories. The basis is the
     version of the decision's day; targets are normalised; what the basis does not permit is refused.
(2)  register: the same officer registers a task within the authorisation.
(3)  check: a case handler, another person, has seen the decision and the normalised targets.
(4)  approve: an approver, a third person, signs the digest of exactly what is on file.
(5)  run: the case handler of the case starts the search. All guards hold again, the approval's signature is verified
     again, and the entry is durable in the audit log before the first record is read.
(6)  The rows found are checked again, reduced to permitted fields, packed and signed; only ciphertext is written.
(7)  The result is put on file with its digest. Anything that fails in (6) makes the task Error, never "none found".
(8)  release: an approver, not officer or case handler, signs the result's digest; approving the request was not enough.
(9)  deliver: the officer fetches. The entry is durable before the package leaves; signature and digest are verified.
(10) reject: case handler or approver, before release; cancel: the officer, before release. A result is destroyed then.
(11) Every refusal of any step is logged with its reason; a refusal that cannot be logged is still a refusal.

The guards are in `api.disclosure.rules`; who may do what next is in `api.disclosure.states`.

Source: the design's promises 4, 6, 7 and 8; ETSI TS 103 120 (Authorisation, LDTask, Delivery).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from api import persons
from api.disclosure import rules
from api.disclosure.casebook import Case, Casebook, entry_of, kind_of, new_id, put
from api.disclosure.model import (
    AUTHORISATION,
    DELIVERY,
    TASK,
    Actor,
    Approval,
    Authorisation,
    Delivery,
    Target,
    Task,
    Window,
    request_digest,
)
from api.disclosure.search import Head, query_of, search
from api.disclosure.states import (
    AuthorisationAction,
    AuthorisationState,
    Stage,
    TaskAction,
    next_authorisation,
    next_stage,
)
from api.disclosure.targets import normalise_target
from api.disclosure.vault import Vault
from api.signing import Statement
from schemas.errors import AuditError, LagrumError, ProcedureError
from schemas.fields import Category
from schemas.legal_bases import basis_on
from store import Store
from store.clock import to_date

_PAST: Final[dict[AuthorisationAction | TaskAction, str]] = {
    AuthorisationAction.REJECT: "rejected",
    AuthorisationAction.CANCEL: "cancelled",
}
APPROVE_REQUEST: Final = "disclosure.approve"
APPROVE_RELEASE: Final = "disclosure.release"
_HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class WrittenTarget:
    """A target as the order writes it."""

    kind: str
    value: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What an officer files; `categories` None asks for all that the basis permits."""

    basis: str
    decision_reference: str
    decided_on: date
    authority: str
    country: str
    targets: tuple[WrittenTarget, ...]
    window: Window
    expires_at_us: int
    categories: frozenset[Category] | None = None


class Disclosure:
    """The procedure over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.casebook = Casebook(store)
        self.vault = Vault(store)

    def authorise(self, actor: Actor, order: Order) -> Authorisation:
        """(1) File an authorisation."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("authorise", "", actor, {"reference": order.decision_reference}):
            rules.require_role(actor, rules.OFFICER)
            rules.require_separate_duties(actor)
            rules.require_reference(order.authority, order.country, order.decision_reference)
            rules.require_decided(order.decided_on, to_date(now_us))
            basis = basis_on(order.basis, order.decided_on)
            item = Authorisation(
                id=new_id(order.country, AUTHORISATION),
                state=AuthorisationState.AWAITING_APPROVAL,
                basis_id=basis.id,
                basis_version=basis.version,
                decision_reference=order.decision_reference.strip(),
                decided_on=order.decided_on,
                authority=order.authority.strip(),
                country=order.country,
                targets=_normalised(order.targets, order.country),
                window=order.window,
                categories=basis.categories if order.categories is None else order.categories,
                expires_at_us=order.expires_at_us,
                officer=actor.signatory,
                filed_at_us=now_us,
            )
            rules.require_targets(basis, item.targets)
            rules.require_window(basis, item.window)
            rules.require_categories(basis, item.categories)
            rules.require_unexpired(item, now_us)
            # (1)
            self.casebook.commit([put(item, 0)], entry_of("authorised", actor, item))
        return item

    def register(
        self,
        actor: Actor,
        authorisation_id: str,
        *,
        targets: Sequence[WrittenTarget] | None = None,
        window: Window | None = None,
        categories: frozenset[Category] | None = None,
    ) -> Task:
        """(2) Register a task; what is not named is the authorisation's."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("register", authorisation_id, actor):
            rules.require_role(actor, rules.OFFICER)
            rules.require_separate_duties(actor)
            authorisation, revision = self.casebook.authorisation(authorisation_id)
            rules.require_same_person(actor, authorisation.officer)
            rules.require_live(authorisation)
            rules.require_unexpired(authorisation, now_us)
            basis = basis_on(authorisation.basis_id, authorisation.decided_on)
            task = Task(
                id=new_id(authorisation.country, TASK),
                authorisation_id=authorisation.id,
                stage=Stage.REGISTERED,
                targets=authorisation.targets if targets is None else _normalised(targets, authorisation.country),
                window=window or authorisation.window,
                categories=authorisation.categories if categories is None else categories,
                salt=secrets.token_hex(32),
                officer=actor.signatory,
                registered_at_us=now_us,
                due_at_us=None if basis.deadline_hours is None else now_us + basis.deadline_hours * _HOUR_US,
            )
            case = Case(task, 0, authorisation, revision)
            rules.require_order(case.basis, authorisation, task, now_us)
            # (2)
            self.casebook.commit(case.puts(task), entry_of("registered", actor, authorisation, task))
        return task

    def check(self, actor: Actor, task_id: str) -> Task:
        """(3) Confirm as a case handler that the task is what was decided."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("check", task_id, actor):
            case = self._open(actor, rules.CASE_HANDLER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.CHECK)
            rules.require_live(case.authorisation)
            rules.require_distinct(actor, case.task.officer)
            rules.require_order(case.basis, case.authorisation, case.task, now_us)
            after = replace(case.task, stage=stage, case_handler=actor.signatory)
            # (3)
            self.casebook.commit(case.puts(after), entry_of("checked", actor, case.authorisation, after))
        return after

    def approve(self, actor: Actor, task_id: str, signed: persons.Approval) -> Task:
        """(4) Approve the request with a signature over its digest."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("approve", task_id, actor):
            case = self._open(actor, rules.APPROVER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.APPROVE)
            state = next_authorisation(case.authorisation.state, AuthorisationAction.APPROVE)
            rules.require_three_persons(case.task, actor.signatory)
            rules.require_order(case.basis, case.authorisation, case.task, now_us)
            digest = request_digest(case.authorisation, case.task)
            approval = self._signed(actor, APPROVE_REQUEST, task_id, digest, signed)
            after = replace(case.task, stage=stage, request_approval=approval)
            approved = case.authorisation.moved(state)
            # (4)
            entry = entry_of("approved", actor, approved, after, approval=approval)
            self.casebook.commit(case.puts(after, approved), entry)
        return after

    def run(self, actor: Actor, task_id: str) -> Task:
        """(5) to (7) Search, and keep the result as ciphertext.

        Raises:
            ProcedureError: a guard refuses; nothing was read.
            AuditError: the entry could not be made durable; nothing was read.
            KeyUnavailableError, IntegrityError, OSError: a part could not be read; the task is Error.
        """
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("run", task_id, actor):
            case = self._open(actor, rules.CASE_HANDLER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.RUN)
            rules.require_same_person(actor, case.task.case_handler)
            self._require_granted(case, now_us)
            checkpoint = self._store.audit.checkpoint()
            running = replace(case.task, stage=stage, runs=case.task.runs + 1, reason=None)
            # (5) Nothing below this line runs unless the entry is in the log.
            self.casebook.commit(case.puts(running), entry_of("run", actor, case.authorisation, running))
        started = replace(case, task=running, revision=case.revision + 1)
        delivery_id = new_id(case.authorisation.country, DELIVERY)
        try:
            return self._search(actor, started, delivery_id, checkpoint)
        except AuditError:
            # What was committed stands and its entry follows; nothing leaves before both are there.
            raise
        except Exception as failure:
            self._fail(actor, started, delivery_id, failure)
            raise

    def explain(self, actor: Actor, task_id: str) -> dict[str, Any]:
        """Return what (5) would read of the store, as counts; who may not run the task learns nothing. Logged first."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("explain", task_id, actor):
            case = self._open(actor, rules.CASE_HANDLER, task_id, now_us)
            next_stage(case.task.stage, TaskAction.RUN)
            rules.require_same_person(actor, case.task.case_handler)
            self._require_granted(case, now_us)
            self.casebook.commit([], entry_of("explained", actor, case.authorisation, case.task))
        return self._store.plan(query_of(case.task), to_row_groups=True).as_dict()

    def release(self, actor: Actor, task_id: str, signed: persons.Approval) -> Task:
        """(8) Approve the release with a signature over the result's digest."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("release", task_id, actor):
            case = self._open(actor, rules.APPROVER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.RELEASE)
            rules.require_three_persons(case.task, actor.signatory)
            self._require_granted(case, now_us)
            approval = self._signed(actor, APPROVE_RELEASE, task_id, case.task.result_digest or "", signed)
            after = replace(case.task, stage=stage, release_approval=approval)
            # (8)
            entry = entry_of("released", actor, case.authorisation, after, approval=approval)
            self.casebook.commit(case.puts(after), entry)
        return after

    def deliver(self, actor: Actor, task_id: str) -> tuple[Delivery, bytes]:
        """(9) Fetch the package; it may be fetched again, and every fetch is logged before it leaves."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("deliver", task_id, actor):
            case = self._open(actor, rules.OFFICER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.DELIVER)
            rules.require_same_person(actor, case.task.officer)
            self._require_granted(case, now_us)
            self._require_released(case.task)
            delivery, revision = self.casebook.delivery(case.task.delivery_id or "")
            package = self.vault.read(delivery.id)
            rules.require_result(case.task, delivery, package)
            fetched = replace(delivery, fetched=(*delivery.fetched, now_us))
            after = replace(case.task, stage=stage)
            # (9) The package is returned after this, or not at all.
            entry = entry_of("delivered", actor, case.authorisation, after)
            self.casebook.commit([*case.puts(after), put(fetched, revision)], entry)
        return fetched, package

    def reject(self, actor: Actor, case_id: str, reason: str) -> Authorisation | Task:
        """(10) Refuse an authorisation, a request or a release."""
        with self.casebook.refusals("reject", case_id, actor):
            rules.require_any_role(actor, (rules.CASE_HANDLER, rules.APPROVER))
            rules.require_separate_duties(actor)
            rules.require_reason(reason)
            if kind_of(case_id) == AUTHORISATION:
                return self._end_authorisation(actor, case_id, AuthorisationAction.REJECT, reason)
            return self._end_task(actor, case_id, TaskAction.REJECT, reason)

    def cancel(self, actor: Actor, case_id: str, reason: str) -> Authorisation | Task:
        """(10) Withdraw an authorisation or a task."""
        with self.casebook.refusals("cancel", case_id, actor):
            rules.require_role(actor, rules.OFFICER)
            rules.require_separate_duties(actor)
            rules.require_reason(reason)
            if kind_of(case_id) == AUTHORISATION:
                return self._end_authorisation(actor, case_id, AuthorisationAction.CANCEL, reason)
            return self._end_task(actor, case_id, TaskAction.CANCEL, reason)

    def _end_authorisation(self, actor: Actor, case_id: str, action: AuthorisationAction, reason: str) -> Authorisation:
        # (10)
        authorisation, revision = self.casebook.authorisation(case_id)
        rules.require_side(actor, authorisation.officer, cancels=action is AuthorisationAction.CANCEL)
        ended = authorisation.moved(next_authorisation(authorisation.state, action))
        self.casebook.commit([put(ended, revision)], entry_of(_PAST[action], actor, ended, reason=reason))
        return ended

    def _end_task(self, actor: Actor, case_id: str, action: TaskAction, reason: str) -> Task:
        # (10)
        case = self.casebook.case(case_id)
        rules.require_side(actor, case.task.officer, cancels=action is TaskAction.CANCEL)
        stopped = replace(case.task, stage=next_stage(case.task.stage, action), reason=reason)
        entry = entry_of(_PAST[action], actor, case.authorisation, stopped, reason=reason)
        self.casebook.commit(case.puts(stopped), entry)
        if stopped.delivery_id is not None:
            self.vault.destroy(stopped.delivery_id)
        return stopped

    def _open(self, actor: Actor, role: str, task_id: str, now_us: int) -> Case:
        """Return the case of a step, once the actor may take such steps at all and the authorisation has not lapsed."""
        rules.require_role(actor, role)
        rules.require_separate_duties(actor)
        case = self.casebook.case(task_id)
        rules.require_unexpired(case.authorisation, now_us)
        return case

    def _search(self, actor: Actor, case: Case, delivery_id: str, checkpoint: str) -> Task:
        # (6)
        package = search(self._store, case, Head(delivery_id, checkpoint), self.vault.signing_key())
        self.vault.keep(delivery_id, package.data)
        # (7)
        now_us = self._store.clock.now_us()
        made = Delivery(delivery_id, case.task.id, 1, package.sha256, len(package.data), package.records, now_us)
        done = replace(
            case.task,
            stage=next_stage(case.task.stage, TaskAction.COMPLETE),
            delivery_id=delivery_id,
            result_digest=package.sha256,
            records=package.records,
            release_approval=None,
        )
        entry = entry_of("result", actor, case.authorisation, done)
        self.casebook.commit([put(done, case.revision), put(made, 0)], entry)
        return done

    def _fail(self, actor: Actor, case: Case, delivery_id: str, failure: Exception) -> None:
        """Make the task Error and leave nothing of the result; the failure itself goes on to the caller."""
        reason = failure.reason if isinstance(failure, ProcedureError) else type(failure).__name__
        failed = replace(case.task, stage=next_stage(case.task.stage, TaskAction.FAIL), reason=reason)
        with suppress(LagrumError, OSError):
            entry = entry_of("failed", actor, case.authorisation, failed, reason=reason)
            self.casebook.commit([put(failed, case.revision)], entry)
        with suppress(LagrumError, OSError):
            self.vault.destroy(delivery_id)

    def _require_granted(self, case: Case, now_us: int) -> None:
        """Everything that a search and its result stand on, checked anew at every step from (5) on."""
        task = case.task
        rules.require_approved(case.authorisation)
        rules.require_three_persons(task, task.approver)
        rules.require_order(case.basis, case.authorisation, task, now_us)
        rules.require_signed(
            task.request_approval,
            action=APPROVE_REQUEST,
            case=task.id,
            digest=request_digest(case.authorisation, task),
            public_key=self._key_of(task.request_approval),
        )

    def _require_released(self, task: Task) -> None:
        rules.require_three_persons(task, task.release_approval.by if task.release_approval else None)
        rules.require_signed(
            task.release_approval,
            action=APPROVE_RELEASE,
            case=task.id,
            digest=task.result_digest or "",
            public_key=self._key_of(task.release_approval),
        )

    def _key_of(self, approval: Approval | None) -> bytes | None:
        return self.casebook.public_key(approval.by.person_id) if approval else None

    def _signed(self, actor: Actor, action: str, case: str, digest: str, signed: persons.Approval) -> Approval:
        """Return the approval to keep, once its signature over what is on file is the actor's, and fresh."""
        person = persons.verify_approval(
            self._store, actor.person_id, action=action, case=case, digest=digest, approval=signed
        )
        approval = Approval(Statement(action, case, digest, signed.time), signed.signature, actor.signatory)
        rules.require_signed(approval, action=action, case=case, digest=digest, public_key=person.public_bytes)
        return approval


def _normalised(targets: Sequence[WrittenTarget], country: str) -> tuple[Target, ...]:
    return tuple(normalise_target(item.kind, item.value, country=country, port=item.port) for item in targets)
