"""When what was kept of a result goes: its time is over, or nobody can have it any more.

A result that nobody has fetched goes as soon as its order has ended, whatever ended it: nobody may have it any more,
and it proves nothing. One that has left stays for its time, so that it can be compared with what the authority holds.

Source: Regulation (EU) 2016/679 Art 5(1)(c) and (e); Directive (EU) 2016/680 Art 4(1)(e).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Final

from api.disclosure.casebook import put
from api.disclosure.deadlines import LIVE
from api.disclosure.deliveries import Delivery, due
from api.disclosure.states import Stage
from api.disclosure.step_base import StepBase
from schemas.errors import ProcedureError
from store import AuditEntry

_AWAITED: Final = (Stage.RUN, Stage.RELEASED, Stage.DELIVERED)


class ResultErasure(StepBase):
    """The end of what was kept."""

    def erase_due(self) -> list[str]:
        """Erase the ciphertext of deliveries that have had their time, and of results that nobody can have any more."""
        erased, kept = [], set()
        for delivery, revision in self.casebook.deliveries():
            if self._erase(delivery, revision):
                erased.append(delivery.id)
            elif delivery.erased_at_us is None:
                kept.add(delivery.id)
        # What is erased on file, and what a crash left without a document, goes from the disk.
        self.vault.sweep(kept)
        return erased

    def _erase_of(self, authorisation_id: str) -> None:
        """Erase at once what an authorisation that has just ended leaves nobody."""
        for task in self.casebook.tasks():
            if task.authorisation_id != authorisation_id or task.delivery_id is None:
                continue
            with suppress(ProcedureError):  # the service erases it just now
                if self._erase(*self.casebook.delivery(task.delivery_id)):
                    self.vault.destroy(task.delivery_id)

    def _erase(self, delivery: Delivery, revision: int) -> bool:
        """Put on file that a delivery is erased if its time is over; the ciphertext itself goes after that."""
        now_us = self._store.clock.now_us()
        reason = due(delivery, now_us=now_us, awaited=self._awaited(delivery))
        if reason is not None:
            gone = replace(delivery, erased_at_us=now_us, erased_reason=reason)
            public = {"task": delivery.task_id, "delivery": delivery.id, "reason": reason}
            self.casebook.commit([put(gone, revision)], AuditEntry("disclosure.delivery-erased", public))
        return reason is not None

    def _awaited(self, delivery: Delivery) -> bool:
        case = self.casebook.case(delivery.task_id)
        mine = case.task.delivery_id == delivery.id and case.task.stage in _AWAITED
        return mine and case.authorisation.state in LIVE
