"""Random walks through the procedure: an order, its tasks, everybody, every step and door; the judge speaks first."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from api.custody import subjects
from api.disclosure import lapses
from api.disclosure.model import Window
from api.disclosure.procedure import WrittenTarget
from schemas.fields import Category
from schemas.legal_terms import Decider
from store.clock import to_date
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, TARGET, WINDOW
from tests.api.disclosure.model.books import Books
from tests.api.disclosure.model.judge import (
    APPROVER,
    HANDLER,
    OFFICER,
    Judge,
    OrderSeen,
    RequestSeen,
    Somebody,
    TaskSeen,
)
from tests.api.disclosure.model.town import REFUSALS, STATUS, Lie, Town
from tests.store.records import DAY_US, NOW_US

HOUR_US: Final = DAY_US // 24
STEPS: Final = range(8, 23)
ROAD: Final = ("check", "approve", "run", "release", "deliver", "acknowledge")
ASIDE: Final = ("register", "preflight", "explain", "confirm", "suspend", "resume", "extend", "read", "list", "lapsed")
ENDS: Final = ("reject_task", "cancel_task", "reject_order", "cancel_order")
SIGNED: Final = ("approve", "release", "acknowledge")
BY_MESSAGE: Final = (*STATUS, "deliver", "read")
LATE_ENDS: Final = ("reject_task", "cancel_task", "reject_order", "cancel_order")
"""What is over by time may be ended or not: nothing is kept of it either way."""
RIGHT: Final = {
    "check": "handler-1",
    "approve": "approver-1",
    "run": "handler-1",
    "release": "approver-2",
    "deliver": "officer-1",
    "acknowledge": "officer-1",
    "resume": "approver-1",
    "confirm": "officer-2",
    "extend": "officer-1",
    "preflight": "approver-1",
    "explain": "handler-1",
    "suspend": "handler-2",
    "reject_task": "handler-2",
    "cancel_task": "officer-1",
    "reject_order": "approver-1",
    "cancel_order": "officer-1",
}
NUMBER: Final = WrittenTarget("number", "070-174 00 07")
DEFECTS: Final[tuple[dict[str, Any], ...]] = (
    {"basis": "curiosity"},
    {"basis": "preservation"},
    {"basis": "missing-person", "targets": (WrittenTarget("ip", "192.0.2.1"),)},
    {"basis": "european-production-order", "decided_on": to_date(NOW_US) - timedelta(days=200)},
    {"decided_on": to_date(NOW_US) + timedelta(days=60)},
    {"decided_by": Decider.AUTHORITY},
    {"decision_reference": " "},
    {"country": "se"},
    {"source": None},
    {"targets": ()},
    {"targets": (NUMBER,) * 21},
    {"window": Window(WINDOW.end_us, WINDOW.start_us)},
    {"window": Window(NOW_US - 800 * DAY_US, NOW_US - DAY_US)},
    {"categories": frozenset(Category)},
    {"categories": frozenset()},
    {"expires_at_us": NOW_US},
    {"authority": OTHER_AUTHORITY},
    {"authority": "nobody-se"},
)


class DisagreementError(AssertionError):
    """The procedure did what the judge refuses, or refused what the judge allows."""


@dataclass
class Walk:
    """One order and whatever befalls it."""

    town: Town
    seed: int
    taken: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.judge = Judge(self.town.court.clock.value_us)
        self.tasks: dict[str, TaskSeen] = {}
        self.path: list[tuple[Any, ...]] = []
        self.request, self.request_id = RequestSeen(), subjects.new_id()
        self.answer: Any = None

    def go(self) -> Counter[str]:
        """Walk, then leave the town as it was found; return what was taken and what was refused."""
        began_us = self.judge.now_us
        try:
            self.order, self.seen = self._file()
            self._keep_books()
            while not self.tasks:
                self._act("register", self.seen.officer.name, Lie())
            for _ in range(self.chance.choice(STEPS)):
                self._step()
                if self.seen.ended and self.chance.random() < 0.4:
                    break
        except AssertionError as error:
            raise DisagreementError(self.seed, self.path, *error.args) from error
        finally:
            self._mend()
            self.town.court.clock.value_us = began_us
        return self.taken

    def _step(self) -> None:
        chance = self.chance
        draw = chance.random()
        task = (
            self.tasks[next(reversed(self.tasks))] if chance.random() < 0.8 else chance.choice([*self.tasks.values()])
        )
        if draw < 0.5 and not task.acknowledged:
            step = self._next(task)
            name = task.checked_by.name if step == "run" and task.checked_by else RIGHT[step]
            self._act(step, name, Lie(), task)
        elif draw < 0.85:
            step = chance.choice((*ROAD, *ROAD, *ASIDE, *ASIDE, *ENDS) if chance.random() < 0.4 else (*ROAD, *ASIDE))
            name = RIGHT[step] if step in RIGHT and chance.random() < 0.45 else chance.choice([*self.town.people])
            self._act(step, name, self._lie(step), task)
        else:
            self._befall()
        if chance.random() < 0.2:
            self._ask()
        if self.books is not None and chance.random() < 0.25:
            self._correct(self.books)

    def _keep_books(self) -> None:
        """A real case has records of its own, on a day that the order asks for or on another."""
        self.books: Books | None = None
        if not self.is_test:
            days_ago = self.chance.choice((4, 6, 6, 1))
            self.books = Books(self.town.court, self.chance, days_ago, asked=days_ago != 1)

    def _correct(self, books: Books) -> None:
        """Two custodians correct a record, or one tries alone; a search before is overtaken, one after has it."""
        self.path.append(("correct",))
        done = books.befall([*self.tasks.values()])
        self.path[-1] = ("correct", done)
        self.taken[f"correct {done}"] += 1
        if done.endswith("done"):
            self.answer = None
            if self.chance.random() < 0.5:
                self._act("read", self.seen.officer.name, Lie(), self.tasks[next(reversed(self.tasks))])

    def _ask(self) -> None:
        """Somebody files, confirms or answers a person's request; what the order does changes no answer."""
        seen, chance = self.request, self.chance
        step = "file" if seen.filed_by is None else "confirm" if seen.confirmed_by is None else "answer"
        step = step if chance.random() < 0.7 else chance.choice(("file", "confirm", "answer"))
        right = "custodian-1" if step == "confirm" else "dpo-1"
        name = right if chance.random() < 0.7 else chance.choice([*self.town.people])
        who = self.town.people[name]
        self.judge.now_us = self.town.court.clock.value_us
        allowed = self.judge.may_ask(step, who, seen)
        self.path.append(("ask", step, name, allowed))
        given = self.town.ask(step, name, self.request_id)
        done = not isinstance(given, REFUSALS)
        assert done == allowed, ("was allowed" if done else f"was refused: {given!r}", step)
        self.taken[f"ask {step} {'done' if done else 'refused'}"] += 1
        if not done:
            assert TARGET not in repr(given)
        elif step == "answer":
            self.answer = self.answer or given["records"]
            assert given["records"] == self.answer != []
        elif step == "confirm":
            seen.confirmed_by, seen.over_us = who, self.judge.now_us + 30 * DAY_US
        else:
            seen.filed_by = who

    @staticmethod
    def _next(task: TaskSeen) -> str:
        if task.checked_by is None:
            return "check"
        if task.approved_by is None:
            return "approve"
        if not task.ran:
            return "run"
        if task.released_by is None:
            return "release"
        return "acknowledge" if task.fetched else "deliver"

    def _lie(self, step: str) -> Lie:
        draw = self.chance.random()
        if draw < 0.06:
            return Lie(roles=(self.chance.choice((OFFICER, HANDLER, APPROVER)), "auditor"))
        if draw < 0.1:
            return Lie(old_key=True)
        if draw < 0.3 and step in SIGNED:
            return Lie(signature=self.chance.choice(("none", "digest", "case", "action", "old", "key")))
        return Lie()

    def _file(self) -> tuple[str, OrderSeen]:
        """File, wrongly or by somebody else first, then rightly."""
        court, chance = self.town.court, self.chance
        for _ in range(chance.randrange(3)):
            name = chance.choice([*self.town.people])
            defect = chance.choice((*DEFECTS, {}))
            who = self.town.people[name]
            is_own = who.authority == defect.get("authority", AUTHORITY)
            allowed = self.judge.enters(who, OFFICER) and is_own and not set(defect) - {"authority"}
            self.path.append(("file", name, sorted(defect)))
            try:
                court.file(name, **defect)
            except REFUSALS as refusal:
                assert not allowed, ("refused", repr(refusal))
                assert court.log(court.store.audit.size - 1)[-1].kind == "disclosure.refused"
            else:
                assert allowed, "filed"
        emergency, is_test = chance.random() < 0.4, chance.random() < 0.8
        made = court.file("officer-1", emergency=emergency, is_test=is_test)
        self.is_test = is_test
        who = self.town.people["officer-1"]
        return made.id, OrderSeen(who, emergency, made.confirm_by_us, made.expires_at_us)

    def _act(self, step: str, name: str, lie: Lie, task: TaskSeen | None = None) -> None:
        """Ask the judge, take the step by a door, compare, and keep what was done."""
        court, chance = self.town.court, self.chance
        seen = task or TaskSeen()
        task_id = next((key for key, value in self.tasks.items() if value is task), "SE-T-" + "0" * 16)
        self.judge.now_us = court.clock.value_us
        hi1_door = step in BY_MESSAGE and not lie.signature and chance.random() < 0.15
        terms: dict[str, Any] = {}
        if step == "check":
            terms["call"] = self.seen.emergency and chance.random() < 0.8
        elif step == "extend":
            terms["until_us"] = self.judge.now_us + 40 * DAY_US
        elif step == "read":
            terms["document"] = chance.random() < 0.3
        who = self.town.people[name]
        allowed = self.judge.may(step, who, self.seen, seen, honest=lie.honest)
        if step == "check" and self.seen.emergency and not terms["call"]:
            allowed = False
        if step == "extend" and terms["until_us"] <= self.seen.expires_us:  # the clock went back since the last one
            allowed = False
        if hi1_door:
            allowed = allowed and who.roles == {OFFICER}
            terms = {}
        self.path.append((step, name, lie, "hi1" if hi1_door else "", allowed))
        given = self.town.take(step, name, self.order, task_id, lie, hi1_door=hi1_door, **terms)
        done = not isinstance(given, REFUSALS)
        if step in LATE_ENDS and not self.judge.stands(self.seen):
            assert allowed or not done, ("was allowed", step)
        else:
            assert done == allowed, ("was allowed" if done else f"was refused: {given!r}", step)
        self.taken[f"{step} {'done' if done else 'refused'}"] += 1
        if done:
            self._keep(step, who, seen, given, terms)
            if step == "read" and who == self.seen.officer and isinstance(given, dict):
                self._told(seen, given.get("outdated_since"))
            if step == "deliver" and not hi1_door:
                self._open(seen, given)
        elif step == "deliver":
            assert TARGET not in repr(given)

    def _told(self, task: TaskSeen, since: str | None) -> None:
        """The own officer learns that a released result is outdated, and of no other that it is."""
        assert since is None or (task.overtaken and task.released_by), "told of a result that is as it was"
        if self.judge.owes(self.seen, task) and task.overtaken and task.released_by:
            assert since is not None, "not told"
            self.taken["told outdated"] += 1

    def _open(self, task: TaskSeen, data: bytes) -> None:
        """What left is what was owed: the target's records and nobody else's."""
        self.taken["delivered"] += 1
        assert TARGET.encode() not in data
        if self.books is not None or self.chance.random() < 0.1:
            opened, records = self.town.court.open(data)
            if self.books is not None:
                self.books.compare(task, opened.manifest, records)
            assert opened.manifest["order"]["authorisation"] == self.order
            assert records, "the target has records"
            for record in records:
                assert TARGET in [
                    record.get(f"{role}_number") for role in ("calling", "called", "forwarded", "dialled")
                ]
                assert self.is_test == (record["record_key"][:4] == "TEST" if "record_key" in record else self.is_test)

    def _keep(self, step: str, who: Somebody, task: TaskSeen, given: Any, terms: dict[str, Any]) -> None:
        order = self.seen
        match step:
            case "register":
                self.tasks[given.id] = TaskSeen()
            case "check":
                task.checked_by, task.called = who, terms["call"]
            case "preflight":
                task.weighed += 1
            case "approve":
                task.approved_by, task.approved, order.granted = who, order.version, order.version
            case "run":
                task.ran = True
                task.result = None if self.books is None else dict(self.books.due())
            case "release":
                task.released_by = who
            case "deliver":
                task.fetched = order.fetched = True
            case "acknowledge":
                task.acknowledged = True
            case "reject_task" | "cancel_task":
                task.ended = True
            case "reject_order" | "cancel_order":
                order.ended = True
            case "confirm":
                order.confirmed = True
            case "suspend":
                order.rests_by = "authority" if OFFICER in who.roles else "operator"
            case "resume":
                order.rests_by = ""
            case "extend":
                order.version += 1
                order.expires_us = terms["until_us"]

    def _befall(self) -> None:
        chance, judge, town = self.chance, self.judge, self.town
        what = chance.choice(("time", "time", "round", "gone", "back", "authority"))
        self.path.append((what,))
        match what:
            case "time":
                town.court.clock.value_us += chance.choice((1, 1, 10, 30, 80, 300)) * HOUR_US
                if chance.random() < 0.1:
                    self._to_the_end()
            case "round":
                lapses.apply_all(town.court.store)
                town.court.procedure.erase_due()
            case "gone":
                name = chance.choice([*town.people])
                town.enrol(name, "revoked")
                judge.gone.add(name)
            case "back":
                self._mend()
            case "authority":
                name = chance.choice((AUTHORITY, OTHER_AUTHORITY))
                town.authority(name, gone=True)
                judge.authorities_gone.add(name)

    def _to_the_end(self) -> None:
        """Time stands at the very instant at which something is over, or just before."""
        clock = self.town.court.clock
        ends = [end for end in (self.seen.confirm_by_us, self.seen.expires_us) if end and end > clock.value_us]
        if ends:
            clock.value_us = min(ends) - self.chance.randrange(2)

    def _mend(self) -> None:
        for name in sorted(self.judge.gone):
            self.town.enrol(name, "active")
        for name in sorted(self.judge.authorities_gone):
            self.town.authority(name, gone=False)
        self.judge.gone.clear()
        self.judge.authorities_gone.clear()
