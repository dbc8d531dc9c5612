"""Results that have left, or may leave, and of which something was withdrawn, corrected or erased after their search.

The service looks at what the log tells anew, and marks the results that have what is meant: one mark for each
delivery, with an entry of the log. A released result with a mark is an open end of the case handler's until the
authority knows: the officer was shown it, or the case handler has put on file that it was told by another road. What is
corrected after that opens it again.

The authority is told that the result is outdated, and since when; not what was changed, and no record. New data leaves
only by a new task, searched, approved and released like every other.

Source: Regulation (EU) 2016/679 Art 19; Directive (EU) 2016/680 Art 7(3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from api.disclosure import rules
from api.disclosure.casebook import Casebook, entry_of
from api.disclosure.completeness import KIND as EVIDENCE
from api.disclosure.deliveries import Delivery
from api.disclosure.model import Actor
from api.disclosure.staleness import Change, changes
from api.disclosure.states import Stage
from api.disclosure.step_base import StepBase
from schemas.errors import NotFoundError, ProcedureError
from store import AuditEntry, Put, Store
from store.clock import to_text

KIND: Final = "outdated"
CURSOR: Final = "outdated-cursor"
STRIDE: Final = 10_000
"""So many entries of the log are read again at most after a restart."""
_LOG: Final = "log"
_LEFT: Final = (Stage.RELEASED, Stage.DELIVERED)


@dataclass(frozen=True, slots=True)
class Mark:
    """That a delivery is outdated: since when, by how many changes of which kind, and whether the authority knows."""

    delivery: str
    task: str
    since_us: int
    kinds: Mapping[str, int]
    index: int
    """Of the last entry that counts here."""
    told_us: int | None = None
    told_by: str | None = None

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Mark:
        """Return the mark of a document's body."""
        return cls(**body)

    def put(self, expect: int) -> Put:
        """Return the write that keeps it."""
        return Put(KIND, self.delivery, asdict(self), expect)

    def as_dict(self) -> dict[str, Any]:
        """Return what the operator's staff sees."""
        told = None if self.told_us is None else to_text(self.told_us)
        return {"since": to_text(self.since_us), "changes": dict(self.kinds), "told_at": told, "told_by": self.told_by}


def marks(store: Store) -> dict[str, Mark]:
    """Return every mark, by delivery."""
    return {item.id: Mark.from_body(item.body) for item in store.documents.list(KIND)}


def mark_of(store: Store, delivery_id: str | None) -> tuple[Mark, int] | None:
    """Return a delivery's mark with its revision; None: it has none."""
    with suppress(NotFoundError):
        document = store.documents.get(KIND, delivery_id or "")
        return Mark.from_body(document.body), document.revision
    return None


class Watch:
    """Reads on in the log from where it ended, also after a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._first: int | None = None

    def look(self) -> int:
        """Mark what the log's new entries make outdated; return how many deliveries that are.

        Raises:
            IntegrityError: an entry was changed.
            AuditError: the log cannot take an entry; the mark stands, and its entry follows.
        """
        kept = self._kept()
        first = kept if self._first is None else self._first
        self._store.audit.refresh()
        size = self._store.audit.size
        found = list(changes(self._store, first if first <= size else 0, size, exact=True))
        marked = self._mark(found) if found else 0
        if found or size - kept >= STRIDE or size < kept:
            self._store.documents.commit([Put(CURSOR, _LOG, {"size": size})])
        self._first = size
        return marked

    def _kept(self) -> int:
        with suppress(NotFoundError):
            return int(self._store.documents.get(CURSOR, _LOG).body["size"])
        return 0

    def _mark(self, found: Sequence[Change]) -> int:
        casebook = Casebook(self._store)
        held = [item for item, _ in casebook.deliveries() if item.evidence is not None and _could_leave(item)]
        return sum(self._judge(casebook, delivery, found) for delivery in held)

    def _judge(self, casebook: Casebook, delivery: Delivery, found: Sequence[Change]) -> bool:
        """Mark one delivery where something of it is meant that its mark does not count yet."""
        known = mark_of(self._store, delivery.id)
        after = known[0].index if known else -1
        evidence = self._store.documents.get(EVIDENCE, delivery.id).body
        told = [change for change in found if change.index > after and change.touches(evidence)]
        if not told:
            return False
        kinds = Counter(change.what for change in told)
        if known:
            kinds.update(known[0].kinds)
        now_us = self._store.clock.now_us()
        since_us = known[0].since_us if known and known[0].told_us is None else now_us
        mark = Mark(delivery.id, delivery.task_id, since_us, dict(sorted(kinds.items())), told[-1].index)
        case = casebook.case(delivery.task_id)
        public = {
            "authorisation": case.authorisation.id,
            "basis": case.authorisation.basis_id,
            "task": case.task.id,
            "stage": str(case.task.stage),
            "delivery": delivery.id,
            "changes": dict(mark.kinds),
        }
        casebook.commit([mark.put(known[1] if known else 0)], AuditEntry("disclosure.outdated", public))
        return True


class Informing(StepBase):
    """What is put on file of an authority's knowing."""

    def inform(self, actor: Actor, task_id: str) -> Mark:
        """Put on file as a case handler that the authority was told by another road that its result is outdated.

        Raises:
            ProcedureError: another role, nothing has left, the result is not outdated, or the authority knows.
        """
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("inform", task_id, actor):
            self._enter(actor, rules.CASE_HANDLER)
            case = self.casebook.case(task_id)
            known = mark_of(self._store, case.task.delivery_id)
            if known is None or case.task.stage not in _LEFT:
                raise ProcedureError("no result of this task is outdated", reason="not-outdated")
            if known[0].told_us is not None:
                raise ProcedureError("the authority knows it already", reason="told")
            told = replace(known[0], told_us=now_us, told_by=actor.person_id)
            self.casebook.commit([told.put(known[1])], entry_of("informed", actor, case.authorisation, case.task))
        return told


def shown_to_officer(store: Store, actor: Actor, known: tuple[Mark, int] | None) -> list[Put]:
    """Return the write that goes with an officer's reading of a released case: from then on the authority knows."""
    if known is None or known[0].told_us is not None:
        return []
    told = replace(known[0], told_us=store.clock.now_us(), told_by=actor.person_id)
    return [told.put(known[1])]


def _could_leave(delivery: Delivery) -> bool:
    return bool(delivery.fetched) or delivery.erased_at_us is None
