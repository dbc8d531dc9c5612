"""Steps 5 to 7: the case handler's search, from the log's entry to a result kept as ciphertext."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from api.disclosure import rules
from api.disclosure.casebook import Case, entry_of, new_id, put
from api.disclosure.completeness import Recorder
from api.disclosure.deliveries import Delivery
from api.disclosure.model import DELIVERY, Actor, Task
from api.disclosure.recipients import recipient_of
from api.disclosure.search import query_of, search
from api.disclosure.states import TaskAction, next_stage
from api.disclosure.step_base import StepBase
from api.disclosure.vault import MANIFEST
from api.handover.envelope import fingerprint
from schemas.errors import AuditError, LagrumError, ProcedureError


class Running(StepBase):
    """The search."""

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
            recipient_of(self._store, case.authorisation, now_us)  # nothing is read for nobody
            running = replace(case.task, stage=stage, runs=case.task.runs + 1, reason=None)
            # (5) Nothing below this line runs unless the entry is in the log.
            self.casebook.commit(case.puts(running), entry_of("run", actor, case.authorisation, running))
        started = replace(case, task=running, revision=case.revision + 1)
        delivery_id = new_id(case.authorisation.country, DELIVERY)
        try:
            recorder = None if case.authorisation.is_test else Recorder(self._store, started)
            return self._search(actor, started, delivery_id, recorder)
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
        return self._store.plan(query_of(case), to_row_groups=True).as_dict()

    def _search(self, actor: Actor, case: Case, delivery_id: str, recorder: Recorder | None) -> Task:
        # (6)
        now_us = self._store.clock.now_us()
        recipient = recipient_of(self._store, case.authorisation, now_us)
        with self.vault.filling():
            found = search(self._store, case, recipient, partial(self._keep, delivery_id), recorder)
            self.vault.keep(delivery_id, MANIFEST, found.manifest)
            # (7)
            evidence = None if recorder is None else recorder.finish(delivery_id)
            named = None if evidence is None else evidence.named()
            made = Delivery(
                id=delivery_id,
                task_id=case.task.id,
                sha256=found.sha256,
                records=found.records,
                authority=recipient.authority,
                certificate_sha256=fingerprint(recipient.certificate),
                made_at_us=self._store.clock.now_us(),
                parts=found.parts,
                evidence=named,
            )
            done = replace(
                case.task,
                stage=next_stage(case.task.stage, TaskAction.COMPLETE),
                delivery_id=delivery_id,
                result_digest=found.sha256,
                records=found.records,
                release_approval=None,
            )
            entry = entry_of("result", actor, case.authorisation, done)
            puts = [put(done, case.revision), put(made, 0)]
            if evidence is not None and named is not None:
                entry = replace(entry, public={**entry.public, "evidence": named["sha256"]})
                puts.append(evidence.put())
            self.casebook.commit(puts, entry)
        return done

    def _keep(self, delivery_id: str, sequence: int, closed: bytes) -> None:
        self.vault.keep(delivery_id, f"part-{sequence:04d}", closed)

    def _fail(self, actor: Actor, case: Case, delivery_id: str, failure: Exception) -> None:
        """Make the task Error and leave nothing of the result; the failure itself goes on to the caller."""
        reason = failure.reason if isinstance(failure, ProcedureError) else type(failure).__name__
        failed = replace(case.task, stage=next_stage(case.task.stage, TaskAction.FAIL), reason=reason)
        with suppress(LagrumError, OSError):
            entry = entry_of("failed", actor, case.authorisation, failed, reason=reason)
            self.casebook.commit([put(failed, case.revision)], entry)
        with suppress(LagrumError, OSError):
            self.vault.destroy(delivery_id)
