"""Random walks by everybody: no way to data but three persons in three roles, two approvals and an order in force.

The model knows nothing of stages: it keeps what was done by whom, and what the world is like, and says of each package
that left, and of each search that ran, whether it was owed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from api import authorities
from api.disclosure import lapses
from api.persons import Approval
from schemas.errors import InputError, NotFoundError, ProcedureError
from store import Store
from tests.api.disclosure.conftest import AUTHORITY, PEOPLE, Court, peopled, register_authority
from tests.conftest import FixedClock
from tests.store.records import DAY_US, NOW_US

HOUR_US: Final = DAY_US // 24
STEPS: Final = 26
REGULAR: Final = ("check", "approve", "run", "release", "deliver")
EVENTS: Final = ("time", "rest", "resume", "confirm", "extend", "gone", "back", "end", "authority")
RIGHT: Final = {
    "check": "handler-1",
    "approve": "approver-1",
    "run": "handler-1",
    "release": "approver-1",
    "deliver": "officer-1",
}


@dataclass
class Model:
    """What was done to one case, and whom the world lets act."""

    emergency: bool
    confirm_by_us: int
    expires_us: int
    done: dict[str, str] = field(default_factory=dict)
    """Step -> who did it last."""
    called_back: bool = False
    confirmed_us: int | None = None
    resting: bool = False
    ended: bool = False
    waits_anew: bool = False
    gone: set[str] = field(default_factory=set)
    authority_gone: bool = False

    def owes(self, now_us: int, *, release: bool) -> bool:
        """Tell whether records may be read now, or leave."""
        parties = [self.done.get(step) for step in ("register", "check", "approve")]
        roles = [PEOPLE[person][0] for person in parties if person]
        in_time = not self.emergency or self.confirmed_us is not None or now_us < self.confirm_by_us
        return (
            roles == ["officer", "case-handler", "approver"]
            and len(set(parties)) == 3
            and not self.gone & {self.done["register"], self.done["approve"]}
            and (not release or PEOPLE[self.done.get("release", "dpo-1")][0] == "approver")
            and (not release or self.done.get("release") not in self.gone)
            and (not self.emergency or self.called_back)
            and in_time
            and now_us < self.expires_us
            and not (self.resting or self.ended or self.waits_anew or self.authority_gone)
        )


class Walk:
    """One case and whatever befalls it."""

    def __init__(self, court: Court, chance: random.Random) -> None:
        self.court, self.chance = court, chance
        self.now_us = court.clock.value_us
        emergency = chance.random() < 0.4
        order = court.file(emergency=emergency, is_test=chance.random() < 0.9)
        self.case = order.id
        self.task = court.register(order).id
        self.model = Model(emergency, order.confirm_by_us or 0, order.expires_at_us, {"register": "officer-1"})
        self.delivered = 0

    def step(self) -> None:
        chance = self.chance
        undone = [step for step in REGULAR if step not in self.model.done]
        if chance.random() < 0.55 and undone:
            self.act(undone[0], RIGHT[undone[0]])
        elif chance.random() < 0.5:
            self.act(chance.choice(REGULAR), chance.choice(list(PEOPLE)))
        else:
            self.befall(chance.choice(EVENTS))

    def act(self, step: str, person: str) -> None:
        court, model, task = self.court, self.model, self.task
        actor, procedure = court.actor(person), court.procedure
        now_us = court.clock.now_us()
        try:
            match step:
                case "check":
                    call = court.called() if model.emergency and self.chance.random() < 0.8 else None
                    procedure.check(actor, task, call)
                    model.called_back = call is not None
                case "approve":
                    court.approve(task, person)
                    model.waits_anew = False
                case "run":
                    procedure.run(actor, task)
                    assert model.owes(now_us, release=False), (step, model)
                    assert person == model.done["check"]
                case "release":
                    self._release(person)
                case "deliver":
                    _, package = procedure.deliver(actor, task)
                    assert package
                    assert model.owes(now_us, release=True), (step, model)
                    assert "run" in model.done
                    assert person == model.done["register"]
                    self.delivered += 1
        except (ProcedureError, NotFoundError, InputError):
            return
        model.done[step] = person

    def _release(self, person: str) -> None:
        """Now and then with the request's own signature, or another's."""
        court = self.court
        if self.chance.random() < 0.2:
            filed = court.procedure.casebook.task(self.task)[0].request_approval
            signed = Approval(filed.statement.time, filed.signature) if filed else Approval("", "")
            court.procedure.release(court.actor(person), self.task, signed)
            raise AssertionError("a request's signature has released a result")
        court.release(self.task, person)

    def befall(self, what: str) -> None:
        court, model, chance = self.court, self.model, self.chance
        procedure = court.procedure
        person = chance.choice(list(PEOPLE))
        actor = court.actor(person)
        try:
            match what:
                case "time":
                    court.clock.value_us += chance.choice((1, 10, 80, 800)) * HOUR_US
                    if chance.random() < 0.3:
                        lapses.apply_all(court.store)
                case "rest":
                    procedure.suspend(actor, self.case, "doubt")
                    model.resting = True
                case "resume":
                    procedure.resume(actor, self.case)
                    model.resting = False
                case "confirm":
                    procedure.confirm(actor, self.case, court.ruling())
                    assert PEOPLE[person] == ("officer",)
                    assert model.emergency
                    assert court.clock.now_us() < model.confirm_by_us
                    model.confirmed_us = court.clock.now_us()
                case "extend":
                    expires_us = court.clock.now_us() + 40 * DAY_US
                    procedure.extend(actor, self.case, court.ruling(expires_at_us=expires_us))
                    model.expires_us, model.waits_anew = expires_us, True
                case "end":
                    if chance.random() < 0.2:
                        (procedure.cancel if chance.random() < 0.5 else procedure.reject)(
                            actor, chance.choice((self.case, self.task)), "settled"
                        )
                        model.ended = True
                case _:
                    self._world(what, person)
        except (ProcedureError, NotFoundError, InputError):
            return

    def _world(self, what: str, person: str) -> None:
        court, model = self.court, self.model
        match what:
            case "gone":
                court.enrol(person, *PEOPLE[person], state="revoked")
                model.gone.add(person)
            case "back":
                self.mend()
            case "authority":
                register_authority(court.store, AUTHORITY, authorities.REVOKED)
                model.authority_gone = True

    def mend(self) -> None:
        for person in self.model.gone:
            self.court.enrol(person, *PEOPLE[person])
        self.model.gone.clear()
        register_authority(self.court.store, AUTHORITY)
        self.model.authority_gone = False

    def close(self) -> None:
        self.mend()
        self.court.clock.value_us = self.now_us


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    clock = FixedClock(NOW_US)
    with Store.create(tmp_path_factory.mktemp("town") / "root", clock=clock) as store:
        yield peopled(store, clock)


def walk(court: Court, seed: int) -> int:
    journey = Walk(court, random.Random(seed))
    try:
        for _ in range(STEPS):
            journey.step()
    finally:
        journey.close()
    return journey.delivered


def test_nobody_reaches_data_by_another_road(town: Court) -> None:
    delivered = sum(walk(town, seed) > 0 for seed in range(40))
    assert delivered > 2, "the walks have to get somewhere, or they prove nothing"


@pytest.mark.torture
def test_ten_thousand_walks_reach_no_data_by_another_road(tmp_path: Path) -> None:
    """A hundred stores of a hundred walks: a step looks through all cases of its store."""
    delivered = 0
    for block in range(100):
        clock = FixedClock(NOW_US)
        with Store.create(tmp_path / f"root-{block}", clock=clock) as store:
            court = peopled(store, clock)
            delivered += sum(walk(court, 1_000_000 + block * 100 + number) > 0 for number in range(100))
    assert delivered > 500
