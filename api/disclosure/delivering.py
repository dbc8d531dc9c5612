"""Steps 8 and 9: the approver releases a result, the officer fetches it."""

from __future__ import annotations

from dataclasses import replace

from api import persons
from api.disclosure import rules
from api.disclosure.casebook import entry_of, put
from api.disclosure.model import Actor, Delivery, Task
from api.disclosure.states import TaskAction, next_stage
from api.disclosure.steps import APPROVE_RELEASE, Steps


class Delivering(Steps):
    """Release and delivery."""

    def release(self, actor: Actor, task_id: str, signed: persons.Approval) -> Task:
        """(8) Approve the release with a signature over the result's digest."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("release", task_id, actor):
            case = self._open(actor, rules.APPROVER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.RELEASE)
            rules.require_three_persons(case.task, actor.signatory)
            self._require_granted(case, now_us)
            self._require_in_office(case.task.case_handler, rules.CASE_HANDLER)
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
