"""The customer's notice: whether it was given, or why it is withheld; never before the basis allows it.

A case handler, who sees the targets anyway, tells the customer and puts on file that it was done. An approver decides
that a notice is withheld, because the order forbids it. Both are settled once, and logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from api.disclosure import rules
from api.disclosure.casebook import entry_of
from api.disclosure.deadlines import notice_window
from api.disclosure.deliveries import Delivery
from api.disclosure.model import Actor
from api.disclosure.step_base import StepBase
from schemas.errors import NotFoundError, ProcedureError
from schemas.legal_bases import LegalBasis
from schemas.legal_terms import CustomerNotice
from store import Put, Store
from store.clock import to_text

KIND: Final = "notice"
GIVEN, WITHHELD = "given", "withheld"


@dataclass(frozen=True, slots=True)
class Notice:
    """What became of a notice; `reason` is the word of one that is withheld."""

    task: str
    outcome: str
    by: str
    at_us: int
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what the operator's staff sees."""
        told = {"task": self.task, "outcome": self.outcome, "by": self.by}
        return {**told, "at": to_text(self.at_us), "reason": self.reason}


def settled(store: Store) -> frozenset[str]:
    """Return the tasks of which the notice is given or withheld."""
    return frozenset(document.id for document in store.documents.list(KIND))


def require_notice(basis: LegalBasis, delivery: Delivery | None, now_us: int, *, given: bool) -> None:
    """The basis lets the operator tell the customer, the data have left, and the first day has come. Pure.

    Raises:
        ProcedureError: reason `notice-prohibited`, `nothing-left` or `notice-too-early`.
    """
    if basis.customer_notice is not CustomerNotice.AFTER_DELIVERY:
        raise ProcedureError("the operator does not tell the customer under this basis", reason="notice-prohibited")
    window = None if delivery is None else notice_window(basis, delivery)
    if window is None:
        raise ProcedureError("nothing has left under this task", reason="nothing-left")
    if given and now_us < window[0]:
        raise ProcedureError("the customer may not be told yet", reason="notice-too-early")


class Notices(StepBase):
    """What is put on file of notices."""

    def settle(self, actor: Actor, task_id: str, *, withheld: str | None = None) -> Notice:
        """Put on file that the customer was told; with `withheld`, a word, that and why the customer is not.

        Raises:
            ProcedureError: another role, a basis that keeps silent, too early, or settled before.
        """
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("notice", task_id, actor):
            self._enter(actor, rules.CASE_HANDLER if withheld is None else rules.APPROVER)
            if withheld is not None:
                rules.require_reason(withheld)
            case = self.casebook.case(task_id)
            if case.authorisation.is_test:
                raise ProcedureError("a test concerns nobody", reason="test")
            delivery = self.casebook.delivery(case.task.delivery_id)[0] if case.task.delivery_id else None
            require_notice(case.basis, delivery, now_us, given=withheld is None)
            self._require_open(task_id)
            outcome = GIVEN if withheld is None else WITHHELD
            body = {"outcome": outcome, "by": actor.person_id, "at_us": now_us, "reason": withheld}
            entry = entry_of(f"notice-{outcome}", actor, case.authorisation, case.task, reason=withheld)
            self.casebook.commit([Put(KIND, task_id, body, 0)], entry)
        return Notice(task_id, outcome, actor.person_id, now_us, withheld)

    def _require_open(self, task_id: str) -> None:
        try:
            self._store.documents.get(KIND, task_id)
        except NotFoundError:
            return
        raise ProcedureError("the notice is settled already", reason="notice-settled")
