"""Steps 3, 4 and 10: the case handler checks, the approver approves, and either side may end a case."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from api.disclosure import lapses, rules
from api.disclosure.casebook import entry_of, kind_of, put
from api.disclosure.model import AUTHORISATION, Actor, Authorisation, CallBack, Task, request_digest
from api.disclosure.orders import CalledBack
from api.disclosure.result_erasure import ResultErasure
from api.disclosure.states import AuthorisationAction, TaskAction, next_authorisation, next_stage
from api.disclosure.step_base import APPROVE_REQUEST
from api.people import authorities, persons
from schemas.errors import ProcedureError

_PAST: Final[dict[AuthorisationAction | TaskAction, str]] = {
    AuthorisationAction.REJECT: "rejected",
    AuthorisationAction.CANCEL: "cancelled",
}


class Approving(ResultErasure):
    """What persons decide about a case."""

    def check(self, actor: Actor, task_id: str, call: CalledBack | None = None) -> Task:
        """(3) Confirm as a case handler that the task is what was decided; an emergency after a call to the authority.

        Raises:
            ProcedureError: a guard refuses; an emergency without a call to the number on the register among them.
        """
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("check", task_id, actor):
            case = self._open(actor, rules.CASE_HANDLER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.CHECK)
            rules.require_live(case.authorisation)
            rules.require_distinct(actor, case.task.officer)
            rules.require_order(case.basis, case.authorisation, case.task, now_us)
            self._require_reach(case.basis, case.task, now_us)
            authority = authorities.require(self._store, case.authorisation.authority, now_us)
            record = CallBack(call.spoken_with, call.number, call.called_at_us, actor.signatory) if call else None
            rules.require_registered_call(record, authority.terms.call_back, case.authorisation.filed_at_us, now_us)
            after = replace(case.task, stage=stage, case_handler=actor.signatory, call_back=record)
            rules.require_call_back(case.authorisation, after)
            # (3)
            self.casebook.commit(case.puts(after), entry_of("checked", actor, case.authorisation, after))
        return after

    def approve(self, actor: Actor, task_id: str, signed: persons.Approval) -> Task:
        """(4) Approve the request with a signature over its digest; an unconfirmed emergency becomes so approved."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("approve", task_id, actor):
            case = self._open(actor, rules.APPROVER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.APPROVE)
            waits = case.authorisation.awaits_confirmation
            action = AuthorisationAction.APPROVE_EMERGENCY if waits else AuthorisationAction.APPROVE
            state = next_authorisation(case.authorisation.state, action)
            rules.require_three_persons(case.task, actor.signatory)
            rules.require_call_back(case.authorisation, case.task)
            rules.require_order(case.basis, case.authorisation, case.task, now_us)
            self._require_parties(case, now_us)
            digest = request_digest(case.authorisation, case.task)
            self._require_unapproved(case.task, digest)
            approval = self._signed(actor, APPROVE_REQUEST, task_id, digest, signed)
            after = replace(case.task, stage=stage, request_approval=approval)
            approved = case.authorisation.moved(state)
            # (4)
            entry = entry_of("approved", actor, approved, after, approval=approval)
            self.casebook.commit(case.puts(after, approved), entry)
        return after

    def _require_unapproved(self, task: Task, digest: str) -> None:
        """A request is approved anew only where the next step would not go on under the approval on file."""
        try:
            self._require_approval(task, digest)
        except ProcedureError:
            return
        raise ProcedureError(
            "the request is approved as it stands",
            reason="approved-already",
            hint="nothing waits for an approval; it is given anew after an extension, or when its approver has left",
        )

    def reject(self, actor: Actor, case_id: str, reason: str) -> Authorisation | Task:
        """(10) Refuse an authorisation, a request or a release."""
        with self.casebook.refusals("reject", case_id, actor):
            self._enter(actor, rules.CASE_HANDLER, rules.APPROVER)
            rules.require_reason(reason)
            if kind_of(case_id) == AUTHORISATION:
                return self._end_authorisation(actor, case_id, AuthorisationAction.REJECT, reason)
            return self._end_task(actor, case_id, TaskAction.REJECT, reason)

    def cancel(self, actor: Actor, case_id: str, reason: str) -> Authorisation | Task:
        """(10) Withdraw an authorisation or a task."""
        with self.casebook.refusals("cancel", case_id, actor):
            self._enter(actor, rules.OFFICER)
            rules.require_reason(reason)
            if kind_of(case_id) == AUTHORISATION:
                return self._end_authorisation(actor, case_id, AuthorisationAction.CANCEL, reason)
            return self._end_task(actor, case_id, TaskAction.CANCEL, reason)

    def _end_authorisation(self, actor: Actor, case_id: str, action: AuthorisationAction, reason: str) -> Authorisation:
        # (10)
        authorisation, revision = self.casebook.authorisation(case_id)
        rules.require_side(actor, authorisation.officer, cancels=action is AuthorisationAction.CANCEL)
        ended = authorisation.moved(next_authorisation(authorisation.state, action))
        if authorisation.awaits_confirmation:
            lapses.require_nothing_owed(task for task in self.casebook.tasks() if task.authorisation_id == case_id)
        self.casebook.commit([put(ended, revision)], entry_of(_PAST[action], actor, ended, reason=reason))
        self._erase_of(ended.id)
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
