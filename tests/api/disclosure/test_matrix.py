"""Role by step by stage: everything that is not listed here is refused, and logged."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import pytest

from api.disclosure.model import TASK
from api.disclosure.states import Stage
from schemas.errors import ProcedureError
from store import Put
from tests.api.disclosure.conftest import PEOPLE, Court

# (step, stage) -> who may; officer-1 and handler-1 are the case's, any approver may approve and release.
LISTED: Final[dict[tuple[str, str], frozenset[str]]] = {
    **{("check", stage): frozenset({"handler-1", "handler-2"}) for stage in ("registered",)},
    **{("approve", stage): frozenset({"approver-1", "approver-2"}) for stage in ("checked", "approved")},
    **{("run", stage): frozenset({"handler-1"}) for stage in ("approved", "running", "failed")},
    **{("explain", stage): frozenset({"handler-1"}) for stage in ("approved", "running", "failed")},
    **{("release", stage): frozenset({"approver-1", "approver-2"}) for stage in ("run", "released")},
    **{("deliver", stage): frozenset({"officer-1"}) for stage in ("released", "delivered")},
    **{
        ("reject", stage): frozenset({"handler-1", "handler-2", "approver-1", "approver-2"})
        for stage in ("registered", "checked", "run")
    },
    **{
        ("cancel", stage): frozenset({"officer-1"})
        for stage in ("registered", "checked", "approved", "running", "failed", "run")
    },
}
STEPS: Final[dict[str, Callable[[Court, str, str], Any]]] = {
    "check": lambda court, task, person: court.check(task, person),
    "approve": lambda court, task, person: court.approve(task, person),
    "run": lambda court, task, person: court.run(task, person),
    "explain": lambda court, task, person: court.procedure.explain(court.actor(person), task),
    "release": lambda court, task, person: court.release(task, person),
    "deliver": lambda court, task, person: court.deliver(task, person),
    "reject": lambda court, task, person: court.procedure.reject(court.actor(person), task, "wrong-number"),
    "cancel": lambda court, task, person: court.procedure.cancel(court.actor(person), task, "settled"),
}


@pytest.fixture(scope="module")
def bodies(shared_court: Court) -> tuple[str, dict[str, dict[str, Any]]]:
    """One case's body at every stage, so that each cell of the matrix begins on a real case."""
    court = shared_court
    found: dict[str, dict[str, Any]] = {}
    task_id = court.register(court.file()).id

    def keep() -> None:
        body = court.store.documents.get(TASK, task_id).body
        found[body["stage"]] = body

    keep()
    for step in (court.check, court.approve, court.run, court.release, court.deliver):
        step(task_id)
        keep()
    for stage, base in (("running", "approved"), ("failed", "approved"), ("rejected", "run"), ("cancelled", "run")):
        found[stage] = found[base] | {"stage": stage}
    assert set(found) == {str(stage) for stage in Stage}
    return task_id, found


@pytest.mark.parametrize(("step", "stage"), list(itertools.product(STEPS, [str(stage) for stage in Stage])))
def test_only_what_is_listed_is_allowed(
    shared_court: Court,
    bodies: tuple[str, dict[str, dict[str, Any]]],
    step: str,
    stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    court = shared_court
    task_id, found = bodies
    monkeypatch.setattr("api.disclosure.vault.Vault.destroy", lambda *_: None)  # the next cell needs the package
    allowed = set()
    for person in PEOPLE:
        court.store.documents.commit([Put(TASK, task_id, found[stage])])
        before = court.store.audit.size
        try:
            STEPS[step](court, task_id, person)
        except ProcedureError as refusal:
            entry = court.log(before)[-1]
            assert (entry.kind, entry.public["step"]) == ("disclosure.refused", step)
            assert (entry.public["reason"], entry.public["person"]) == (refusal.reason, person)
            assert court.store.documents.get(TASK, task_id).body == found[stage]
        else:
            allowed.add(person)
    assert allowed == LISTED.get((step, stage), frozenset())


@pytest.mark.parametrize("person", PEOPLE)
def test_only_officers_file_and_only_the_orders_officer_registers(shared_court: Court, person: str) -> None:
    court = shared_court
    if PEOPLE[person] == ("officer",):
        assert court.file(person).officer.person_id == person
    else:
        with pytest.raises(ProcedureError) as refusal:
            court.file(person)
        assert refusal.value.reason == "wrong-role"
    authorisation = court.file("officer-1")
    if person == "officer-1":
        court.register(authorisation, person)
    else:
        with pytest.raises(ProcedureError) as refusal:
            court.register(authorisation, person)
        assert refusal.value.reason == ("not-yours" if person == "officer-2" else "wrong-role")
