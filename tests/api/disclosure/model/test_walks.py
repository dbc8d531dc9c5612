"""Thousands of sequences by everybody: what the judge refuses never happens, what it allows does, and all is logged."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import Store
from tests.api.disclosure.model.judge import Judge, OrderSeen, Somebody, TaskSeen
from tests.api.disclosure.model.town import Lie, Town
from tests.api.disclosure.model.walks import ASIDE, ENDS, ROAD, Walk
from tests.conftest import FixedClock
from tests.fault.torture import OUT, scratch
from tests.store.records import NOW_US

SHORT, LONG, PER_STORE = 80, 10_000, 100
EVERY: frozenset[str] = frozenset((*ROAD, *ASIDE, *ENDS))


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    clock = FixedClock(NOW_US)
    with scratch() as place, Store.create(Path(place) / "root", clock=clock) as store:
        yield Town.build(store, clock)


def test_nobody_reaches_data_by_another_road(town: Town) -> None:
    taken: Counter[str] = Counter()
    for seed in range(SHORT):
        taken += Walk(town, seed).go()
    assert {f"{step} done" for step in ROAD} <= set(taken), "the walks have to get somewhere, or they prove nothing"
    assert {f"{step} refused" for step in (*ROAD, *ENDS)} <= set(taken)
    assert taken["delivered"] > SHORT // 10
    assert {f"correct {what} done" for what in ("withdrawn", "superseded", "restricted", "rectified")} <= set(taken)
    assert taken["correct erased refused"] and not taken["correct erased done"]
    assert {f"ask {step} {word}" for step in ("file", "confirm", "answer") for word in ("done", "refused")} <= set(
        taken
    )


def test_the_judge_owes_nothing_unless_everything_is_there() -> None:
    people = [Somebody(role, role, frozenset({role})) for role in ("officer", "case-handler", "approver")]
    officer, handler, approver = people

    def owed(judge: Judge | None = None, order: dict[str, object] | None = None, **task: object) -> bool:
        seen = OrderSeen(**({"officer": officer, "emergency": False, "confirm_by_us": None, "expires_us": 9,
                             "granted": 1} | (order or {})))  # type: ignore[arg-type]  # fmt: skip
        done = TaskSeen(**({"checked_by": handler, "approved_by": approver, "approved": 1} | task))  # type: ignore[arg-type]
        return (judge or Judge(1)).owes(seen, done)

    assert owed()
    assert not owed(Judge(9))
    assert not owed(Judge(1, gone={"approver"}))
    assert not owed(checked_by=None)
    assert not owed(checked_by=Somebody("case-handler", "officer", frozenset({"case-handler"})))
    assert not owed(approved_by=Somebody("approver", "case-handler", frozenset({"approver"})))
    assert not owed(approved_by=Somebody("approver", "approver", frozenset({"approver", "auditor"})))
    assert not owed(approved=0)
    assert not owed(order={"granted": 0})
    assert not owed(order={"rests_by": "operator"})
    assert not owed(order={"emergency": True, "confirm_by_us": 5})
    assert owed(order={"emergency": True, "confirm_by_us": 5}, called=True)
    assert not owed(Judge(5), order={"emergency": True, "confirm_by_us": 5}, called=True)


def test_a_lie_is_no_honest_act() -> None:
    assert Lie().honest
    assert not any(lie.honest for lie in (Lie(roles=("approver",)), Lie(old_key=True), Lie(signature="digest")))


@pytest.mark.torture
def test_ten_thousand_walks_reach_no_data_by_another_road() -> None:
    """A hundred walks a store: a round looks through all cases of its store. LAGRUM_WALKS: how many in all."""
    taken: Counter[str] = Counter()
    walks = int(os.environ.get("LAGRUM_WALKS", LONG))
    for first in range(0, walks, PER_STORE):
        clock = FixedClock(NOW_US)
        with scratch() as place, Store.create(Path(place) / "root", clock=clock) as store:
            town = Town.build(store, clock)
            for seed in range(first, min(first + PER_STORE, walks)):
                taken += Walk(town, 1_000_000 + seed).go()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "torture-walks.json").write_text(
        json.dumps({"walks": walks, "taken": taken}, indent=1, sort_keys=True) + "\n"
    )
    assert taken["delivered"] > walks // 10
    if walks >= LONG:
        assert {f"{step} done" for step in EVERY} <= set(taken)
