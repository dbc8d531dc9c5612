"""The worklist: what waits for whom, overdue first, and the reminders of it. No target stands in either.

Beside a delivery that waits for its push stands why: `waiting`, or the word of what went wrong last.

An officer sees the own cases, and of the operator's steps only that the operator is at work: which step it is would
tell that something was found or ran. Case handlers and approvers see all. Nobody else has a worklist.

Reminders are entries of the audit log and lines of the service's log: one in the last quarter of a time, one when it
is over; each once, also after a restart.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.disclosure import rules
from api.disclosure.casebook import Casebook
from api.disclosure.deadlines import Clock, Due, Standing, open_ends
from api.disclosure.deliveries import DAY_US
from api.disclosure.model import Actor, Task
from api.disclosure.notices import settled
from api.disclosure.outdated_marks import marks
from api.disclosure.push_outbox import waiting
from api.disclosure.pushes import WAITING
from api.disclosure.states import AuthorisationState
from api.people.roles import Role
from schemas.errors import NotFoundError, ProcedureError
from schemas.legal_bases import basis_on
from store import AuditEntry, Put, Store
from store.clock import to_text

REMINDER: Final = "reminder"
OPERATOR: Final = "operator"
_ROLES: Final = (Role.OFFICER, Role.CASE_HANDLER, Role.APPROVER)
_OPERATORS: Final = (Clock.NOTICE, Clock.OUTDATED)
_NEVER_US: Final = 1 << 62

logger = logging.getLogger("lagrum.disclosure")


def dues(store: Store, now_us: int, states: Counter[AuthorisationState] | None = None) -> list[Due]:
    """Return every open end of every case, overdue first, then by when it is due; count authorisations by state."""
    casebook = Casebook(store)
    tasks: dict[str, list[Task]] = defaultdict(list)
    for task in casebook.tasks():
        tasks[task.authorisation_id].append(task)
    deliveries = {delivery.id: delivery for delivery, _ in casebook.deliveries()}
    noticed = settled(store)
    outdated = {mark.delivery: mark.since_us for mark in marks(store).values() if mark.told_us is None}
    found: list[Due] = []
    for item in casebook.authorisations():
        if states is not None and not item.is_test:
            states[item.state] += 1
        try:
            basis = basis_on(item.basis_id, item.decided_on)
        except ProcedureError:
            continue  # the table tells no basis of that day any more: every step of such a case is refused
        found += open_ends(item, basis, tasks[item.id], deliveries, noticed=noticed, now_us=now_us, outdated=outdated)
    return sorted(found, key=lambda due: (_NEVER_US if due.due_us is None else due.due_us, due.case, due.clock))


def worklist(store: Store, actor: Actor, *, mine: bool = False) -> dict[str, Any]:
    """Return what waits, as the actor may see it; `mine`: only what the actor can do.

    Raises:
        ProcedureError: the actor has no part in disclosures; logged.
    """
    casebook, now_us = Casebook(store), store.clock.now_us()
    with casebook.refusals("worklist", "", actor):
        rules.require_any_role(actor, _ROLES)
        rules.require_separate_duties(actor)
        rules.require_enrolled(actor, casebook.enrolled(actor.person_id))
    officer = Role.OFFICER in actor.roles
    shown = [
        due
        for due in dues(store, now_us)
        if (not officer or (due.authorisation.officer.person_id == actor.person_id and due.clock not in _OPERATORS))
        and (not mine or _is_mine(due, actor))
    ]
    pushes = {push.task_id: push.reason or WAITING for push, _ in waiting(store)}
    items = [_shown(due, now_us, officer=officer) | {"push": pushes.get(due.case)} for due in shown]
    counts = {str(standing): sum(item["standing"] == standing for item in items) for standing in Standing}
    return {"items": items, "counts": counts}


def _is_mine(due: Due, actor: Actor) -> bool:
    return due.waits_for in actor.roles and due.person in (None, actor.person_id)


def _shown(due: Due, now_us: int, *, officer: bool) -> dict[str, Any]:
    hidden = officer and due.waits_for is not Role.OFFICER
    return {
        "case": due.case,
        "authorisation": due.authorisation.id,
        "basis": due.authorisation.basis_id,
        "authority": due.authorisation.authority,
        "emergency": due.authorisation.emergency,
        "test": due.authorisation.is_test,
        "clock": str(due.clock),
        "waits_for": OPERATOR if hidden else str(due.waits_for),
        "person": None if hidden else due.person,
        "step": None if hidden else due.step,
        "standing": str(due.standing(now_us)),
        "due_at": None if due.due_us is None else to_text(due.due_us),
        "left_seconds": None if due.due_us is None else (due.due_us - now_us) // 1_000_000,
        "citation": due.citation,
    }


class Reminders(Collector):
    """Tells of deadlines before and when they are over, and gives the gauges of the last look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[tuple[Clock, Standing], int] = {}
        self._overdue_us: dict[Clock, int] = {}
        self._lapsed: int | None = None

    def look(self) -> int:
        """Look at every case, tell what is due and was not told yet; return how many reminders that are.

        Raises:
            AuditError: the log cannot take an entry; what is on file stands, and its entry follows.
        """
        now_us = self._store.clock.now_us()
        counts = {(clock, standing): 0 for clock in Clock for standing in Standing}
        overdue_us = dict.fromkeys(Clock, 0)
        pressing: list[tuple[Due, Standing]] = []
        # Who corrects a record and sees a gauge move at once would know that it was disclosed.
        midnight_us = now_us - now_us % DAY_US
        states: Counter[AuthorisationState] = Counter()
        for due in dues(self._store, now_us, states):
            if due.authorisation.is_test or (due.clock is Clock.OUTDATED and due.since_us >= midnight_us):
                continue
            standing = due.standing(now_us)
            counts[due.clock, standing] += 1
            if standing is Standing.OVERDUE:
                overdue_us[due.clock] = max(overdue_us[due.clock], now_us - (due.due_us or now_us))
            if standing is not Standing.OPEN:
                pressing.append((due, standing))
        self._counts, self._overdue_us = counts, overdue_us
        self._lapsed = states[AuthorisationState.INVALID]
        return sum(self._tell(due, standing) for due, standing in pressing)

    def _tell(self, due: Due, standing: Standing) -> bool:
        """Tell of one open end, unless that was done; a new instant is told anew."""
        word = f"{due.clock}:{standing}:{due.due_us}"
        try:
            document = self._store.documents.get(REMINDER, due.case)
            told, revision = list(document.body["told"]), document.revision
        except NotFoundError:
            told, revision = [], 0
        if word in told:
            return False
        public = {
            "authorisation": due.authorisation.id,
            "case": due.case,
            "basis": due.authorisation.basis_id,
            "clock": str(due.clock),
            "standing": str(standing),
            "waits_for": str(due.waits_for),
            "due_us": due.due_us,
        }
        puts = [Put(REMINDER, due.case, {"told": [*told, word]}, revision)]
        try:
            self._store.documents.commit(puts, [AuditEntry("disclosure.reminder", public)])
        except ProcedureError:
            return False  # another process tells it just now
        logger.warning("deadline clock=%s standing=%s waits_for=%s", due.clock, standing, due.waits_for)
        return True

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing before the first look."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        ends = GaugeMetricFamily(
            "lagrum_disclosure_deadlines", "Open ends of cases, tests left out.", labels=["clock", "standing"]
        )
        late = GaugeMetricFamily(
            "lagrum_disclosure_overdue_seconds", "For how long the oldest is overdue.", labels=["clock"]
        )
        for clock in Clock:
            for standing in Standing:
                ends.add_metric([str(clock), str(standing)], self._counts.get((clock, standing), 0))
            late.add_metric([str(clock)], self._overdue_us.get(clock, 0) / 1e6)
        # Without a value before the first look: a rule that watches for one more must not see all of them as new.
        lapsed = GaugeMetricFamily("lagrum_disclosure_lapsed", "Emergencies on file that nobody confirmed in time.")
        if self._lapsed is not None:
            lapsed.add_metric([], self._lapsed)
        yield ends
        yield late
        yield lapsed
