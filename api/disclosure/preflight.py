"""Preflight: before approving, an approver learns about how much a task would find. Coarse, few, and logged first.

Between check and approval only, for the weighing of ends and means. The answer is a bucket, never a count; what is
refused is answered like a task that finds nothing, and only the log and the case's own page tell the difference.
Whoever may weigh a task whose search would end without a result is told why: a zero would weigh what cannot be had.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api.disclosure import rules
from api.disclosure.casebook import Case, entry_of
from api.disclosure.model import Actor
from api.disclosure.search import found
from api.disclosure.states import Stage
from api.disclosure.step_base import StepBase
from schemas.errors import ConfigurationError, InputError, NotFoundError, ProcedureError

BUCKETS: Final = ((0, "0"), (9, "1-9"), (99, "10-99"), (999, "100-999"), (9_999, "1000-9999"))
MORE: Final = "10000 or more"
ZERO: Final[dict[str, Any]] = {"records": "0", "days": "0"}


def bucket(count: int) -> str:
    """Return the coarse word for a count."""
    return next((word for most, word in BUCKETS if count <= most), MORE)


class Preflight(StepBase):
    """The coarse count."""

    def preflight(self, actor: Actor, task_id: str) -> dict[str, Any]:
        """Return buckets of records and of days with records; zeros to whom, and when, it is refused.

        Raises:
            AuditError: the entry could not be made durable; nothing was read.
            KeyUnavailableError, IntegrityError: a part could not be read; that is never zero.
            ProcedureError: the search would end without a result (logged): reason `several-tenants`,
                `several-networks`, `no-subscription` or `no-preservation`.
        """
        try:
            case = self._weighed(actor, task_id)
        except (ProcedureError, NotFoundError, ConfigurationError, InputError):
            return dict(ZERO)  # the refusal is in the log
        with self.casebook.refusals("preflight", task_id, actor):
            return self._counted(case)

    def _counted(self, case: Case) -> dict[str, Any]:
        records, days = 0, set[Any]()
        try:
            for table in found(self._store, case):
                records += table.num_rows
                days.update(pc.unique(pc.cast(table["end_time"], pa.date32(), safe=False)).to_pylist())
        except ProcedureError as refusal:
            if refusal.reason != "too-many-records":
                raise
            return {"records": MORE, "days": MORE}
        return {"records": bucket(records), "days": bucket(len(days))}

    def _weighed(self, actor: Actor, task_id: str) -> Case:
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("preflight", task_id, actor):
            case = self._open(actor, rules.APPROVER, task_id, now_us)
            rules.require_stage(case.task, Stage.CHECKED)
            rules.require_live(case.authorisation)
            rules.require_three_persons(case.task, actor.signatory)
            rules.require_call_back(case.authorisation, case.task)
            rules.require_order(case.basis, case.authorisation, case.task, now_us)
            self._require_parties(case, now_us)
            rules.require_preflights_left(case.task)
            counted = replace(case.task, preflights=case.task.preflights + 1)
            # Nothing is counted unless the entry is in the log.
            self.casebook.commit(case.puts(counted), entry_of("preflight", actor, case.authorisation, counted))
        return replace(case, task=counted)
