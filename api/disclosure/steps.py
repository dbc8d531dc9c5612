"""What every step of the procedure stands on: the case at hand, and the approvals on file, checked anew."""

from __future__ import annotations

from typing import Final

from api import persons
from api.disclosure import rules
from api.disclosure.casebook import Case, Casebook
from api.disclosure.model import Actor, Approval, Task, request_digest
from api.disclosure.vault import Vault
from api.signing import Statement
from store import Store

APPROVE_REQUEST: Final = "disclosure.approve"
APPROVE_RELEASE: Final = "disclosure.release"


class Steps:
    """The store, its cases and its packages, and the checks that several steps share."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.casebook = Casebook(store)
        self.vault = Vault(store)

    def _open(self, actor: Actor, role: str, task_id: str, now_us: int) -> Case:
        """Return the case of a step, once the actor may take such steps at all and the authorisation has not lapsed."""
        rules.require_role(actor, role)
        rules.require_separate_duties(actor)
        case = self.casebook.case(task_id)
        rules.require_unexpired(case.authorisation, now_us)
        return case

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
