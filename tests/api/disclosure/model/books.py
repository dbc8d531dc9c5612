"""The walk's own records, and what two custodians make of them: the judge's second account of what a result may hold.

A record is the target's or a stranger's; a correction takes it away, marks it, or says that it is the other's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from api.disclosure.outdated_marks import Watch
from schemas.errors import ClockError, ProcedureError, RetentionError
from store.correcting.overlay import RECTIFIED, RELEASED, RESTRICTED, SUPERSEDED, Correction
from store.retention import erasing
from store.retention.erasing import ERASED
from tests.api.disclosure.conftest import TARGET, Court
from tests.api.disclosure.model.judge import TaskSeen
from tests.store.conftest import deliver
from tests.store.records import records, with_column

ROWS: Final = 8
STRANGER: Final = "46701749998"
CUSTODIANS: Final = ("custodian-1", "custodian-2")
WITHDRAWN: Final = "withdrawn"
_KEYS: Final = count(10_000)
_ACTS: Final = count(1)


@dataclass
class RecordSeen:
    """A record of the walk's, and what was said of it."""

    key: str
    of_target: bool
    restricted: bool = False
    gone: bool = False


@dataclass
class Books:
    """Records of one batch, `days_ago`; `asked` is whether the order's window has that day."""

    court: Court
    chance: random.Random
    days_ago: int
    asked: bool
    batch: int = 0
    withdrawn: bool = False
    kept: list[RecordSeen] = field(default_factory=list)

    def __post_init__(self) -> None:
        first = next(_KEYS) * ROWS
        table = records(ROWS, days_ago=self.days_ago, days=1, seed=first, first_key=first)
        callers = [TARGET if row % 2 else STRANGER for row in range(ROWS)]
        table = with_column(table, "calling_number", [int("1" + caller) for caller in callers])
        table = with_column(table, "called_number", [int("1" + STRANGER)] * ROWS)
        self.batch = deliver(self.court.store, table, source="walks").batch_id
        self.kept = [RecordSeen(f"{first + row:011}", caller == TARGET) for row, caller in enumerate(callers)]

    def due(self) -> Mapping[str, bool]:
        """Return what a search has to find of these: by key, whether it is restricted."""
        if self.withdrawn or not self.asked:
            return {}
        return {one.key: one.restricted for one in self.kept if one.of_target and not one.gone}

    def befall(self, tasks: list[TaskSeen]) -> str:
        """Have custodians correct or withdraw something, and say of each task what that means for its result."""
        what = self._what()
        position = self.chance.randrange(ROWS)
        record = self.kept[position]
        allowed = self._may(what, record)
        actors = CUSTODIANS if self.chance.random() < 0.85 else CUSTODIANS[:1]
        allowed = allowed and len(actors) == 2
        try:
            self._act(what, position, record, actors)
        except (ProcedureError, RetentionError, ClockError) as refusal:
            assert not allowed, ("refused", what, repr(refusal))
            return f"{what} refused"
        assert allowed, ("was allowed", what)
        for task in tasks:
            self._overtake(task, what, record)
        self._note(what, record)
        Watch(self.court.store).look()
        return f"{what} done"

    def _what(self) -> str:
        return self.chance.choice(
            (WITHDRAWN, SUPERSEDED, SUPERSEDED, RESTRICTED, RESTRICTED, RELEASED, *(RECTIFIED,) * 3, ERASED, ERASED)
        )

    def _may(self, what: str, record: RecordSeen) -> bool:
        if what == ERASED:
            return False  # younger than the duty keeps it: not before a release, not after, not by two custodians
        if what == WITHDRAWN:
            return not self.withdrawn
        if record.gone or what == RECTIFIED:
            return not record.gone
        return record.restricted if what == RELEASED else not (what == RESTRICTED and record.restricted)

    def _act(self, what: str, position: int, record: RecordSeen, actors: tuple[str, ...]) -> None:
        store = self.court.store
        if what == WITHDRAWN:
            store.withdraw_batch(self.batch, reason="zone", actors=actors)
            return
        fields = {"calling_number": STRANGER if record.of_target else TARGET} if what == RECTIFIED else {}
        fields = {"citation": "Regulation (EU) 2016/679 Art 17(1)(d)"} if what == ERASED else fields
        partition = next(item.key for item in store.partitions() if item.records)
        act = f"{next(_ACTS):016x}"
        store.corrections.request(Correction(act, what, partition, self.batch, position + 1, fields), {"by": actors[0]})
        if what == ERASED:
            erasing.erase(store, act, {}, actors)
        else:
            store.corrections.confirm(act, {}, actors)

    def _overtake(self, task: TaskSeen, what: str, record: RecordSeen) -> None:
        """A result that has what is meant is outdated; before its release, one of the same day is enough."""
        if task.result is None:
            return
        is_in = bool(task.result) if what == WITHDRAWN else record.key in task.result
        task.overtaken = task.overtaken or is_in
        task.stale = task.stale or (is_in if what == WITHDRAWN else self.asked)

    def _note(self, what: str, record: RecordSeen) -> None:
        if what == WITHDRAWN:
            self.withdrawn = True  # its records stay stored, so they can still be corrected
        elif what == SUPERSEDED:
            record.gone = True
        elif what == RECTIFIED:
            record.of_target = not record.of_target
        else:
            record.restricted = what == RESTRICTED

    def compare(self, task: TaskSeen, manifest: Mapping[str, Any], found: list[dict[str, Any]]) -> None:
        """Of these records an opened result has those that were due at its search, marked as they were then."""
        own = {one.key for one in self.kept}
        marked = {found[row - 1].get("record_key") for row in manifest.get("corrections", {}).get(RESTRICTED, ())}
        told = {one["record_key"]: one["record_key"] in marked for one in found if one.get("record_key") in own}
        assert told == task.result, (
            "the result is not what was due",
            sorted(told.items()),
            sorted((task.result or {}).items()),
        )
