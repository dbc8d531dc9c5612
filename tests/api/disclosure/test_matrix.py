"""Role by step by stage: everything that is not listed here is refused, and logged."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import pytest

from api.disclosure import views
from api.disclosure.model import AUTHORISATION, TASK
from api.disclosure.states import AuthorisationState, Stage
from api.routes.disclosure import router
from schemas.errors import ProcedureError
from store import Put
from tests.api.disclosure.conftest import PEOPLE, Court
from tests.store.records import DAY_US

# (step, stage) -> who may; officer-1 and handler-1 are the case's, any approver may approve and release.
LISTED: Final[dict[tuple[str, str], frozenset[str]]] = {
    **{("check", stage): frozenset({"handler-1", "handler-2"}) for stage in ("registered",)},
    # Later only where the approval does not hold any more (test_amending.py).
    ("approve", "checked"): frozenset({"approver-1", "approver-2"}),
    **{("preflight", stage): frozenset({"approver-1", "approver-2"}) for stage in ("checked",)},
    **{("run", stage): frozenset({"handler-1"}) for stage in ("approved", "running", "failed")},
    **{("explain", stage): frozenset({"handler-1"}) for stage in ("approved", "running", "failed")},
    **{("release", stage): frozenset({"approver-1", "approver-2"}) for stage in ("run", "released", "delivered")},
    **{("deliver", stage): frozenset({"officer-1"}) for stage in ("released", "delivered")},
    ("acknowledge", "delivered"): frozenset({"officer-1"}),
    **{
        ("reject", stage): frozenset({"handler-1", "handler-2", "approver-1", "approver-2"})
        for stage in ("registered", "checked", "run")
    },
    **{
        ("cancel", stage): frozenset({"officer-1"})
        for stage in ("registered", "checked", "approved", "running", "failed", "run")
    },
}


def preflight(court: Court, task: str, person: str) -> Any:
    """Its refusals look like zero; the log tells them apart."""
    before = court.store.audit.size
    court.procedure.preflight(court.actor(person), task)
    entry = court.log(before)[-1]
    if entry.kind == "disclosure.refused":
        raise ProcedureError("refused", reason=entry.public["reason"])


def acknowledge(court: Court, task: str, person: str) -> Any:
    """Sign what is inside the cover, whoever it is that signs."""
    found = court.procedure.casebook.task(task)[0].delivery_id
    delivery = court.procedure.casebook.delivery(found)[0] if found else None
    court.acknowledge(task, delivery.cover.opening if delivery and delivery.cover else "0" * 64, person)


STEPS: Final[dict[str, Callable[[Court, str, str], Any]]] = {
    "preflight": preflight,
    "check": lambda court, task, person: court.check(task, person),
    "approve": lambda court, task, person: court.approve(task, person),
    "run": lambda court, task, person: court.run(task, person),
    "explain": lambda court, task, person: court.procedure.explain(court.actor(person), task),
    "release": lambda court, task, person: court.release(task, person),
    "deliver": lambda court, task, person: court.deliver(task, person),
    "acknowledge": acknowledge,
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
    for stage, base in (
        ("running", "approved"),
        ("failed", "approved"),
        ("rejected", "run"),
        ("cancelled", "run"),
        ("invalid", "released"),
    ):
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


# (step, authorisation's state) -> who may; any officer of the order's authority confirms an emergency.
OFFICERS = {"officer-1", "officer-2"}
STAFF = {"handler-1", "handler-2", "approver-1", "approver-2"}
AUTHORISATION_STEPS: Final[dict[tuple[str, str], set[str]]] = {
    **{("register", state): {"officer-1"} for state in ("AwaitingApproval", "EmergencyApproval", "Approved")},
    **{("confirm", state): OFFICERS for state in ("AwaitingApproval", "EmergencyApproval", "Suspended")},
    ("extend", "Approved"): {"officer-1"},
    **{("suspend", state): {"officer-1"} | STAFF for state in ("EmergencyApproval", "Approved")},
    ("resume", "Suspended"): {"approver-1", "approver-2"},
    ("reject", "AwaitingApproval"): STAFF,
    **{
        ("cancel", state): {"officer-1"} for state in ("AwaitingApproval", "EmergencyApproval", "Approved", "Suspended")
    },
}
ACTS: Final[dict[str, Callable[[Court, str, str], Any]]] = {
    "register": lambda court, case, person: court.procedure.register(court.actor(person), case),
    "confirm": lambda court, case, person: court.procedure.confirm(court.actor(person), case, court.ruling()),
    "extend": lambda court, case, person: court.procedure.extend(
        court.actor(person), case, court.ruling(expires_at_us=court.clock.now_us() + 90 * DAY_US)
    ),
    "suspend": lambda court, case, person: court.procedure.suspend(court.actor(person), case, "doubt"),
    "resume": lambda court, case, person: court.procedure.resume(court.actor(person), case),
    "reject": lambda court, case, person: court.procedure.reject(court.actor(person), case, "wrong-number"),
    "cancel": lambda court, case, person: court.procedure.cancel(court.actor(person), case, "settled"),
}


@pytest.fixture(scope="module")
def orders(shared_court: Court) -> dict[str, tuple[str, dict[str, Any]]]:
    """An authorisation in every state; those that can be confirmed are emergencies."""
    court = shared_court
    task = court.emergency()
    emergency = court.store.documents.get(AUTHORISATION, task.authorisation_id).body
    regular = court.store.documents.get(AUTHORISATION, court.approved().authorisation_id).body
    handler = court.actor("handler-1").signatory.as_body()
    rests = {"by": handler, "by_authority": False, "reason": "doubt", "at_us": court.clock.now_us()}
    found = {}
    for state in AuthorisationState:
        is_urgent = ("confirm", state) in AUTHORISATION_STEPS
        body = (emergency if is_urgent else regular) | {"state": str(state)}
        if state is AuthorisationState.SUSPENDED:
            body["suspension"] = rests
        found[str(state)] = (body["id"], body)
    return found


@pytest.mark.parametrize(("step", "state"), list(itertools.product(ACTS, [str(state) for state in AuthorisationState])))
def test_only_what_is_listed_happens_to_an_authorisation(
    shared_court: Court, orders: dict[str, tuple[str, dict[str, Any]]], step: str, state: str
) -> None:
    court = shared_court
    case, body = orders[state]
    allowed = set()
    for person in PEOPLE:
        court.store.documents.commit([Put(AUTHORISATION, case, body)])
        before = court.store.audit.size
        try:
            ACTS[step](court, case, person)
        except ProcedureError as refusal:
            entry = court.log(before)[-1]
            assert (entry.kind, entry.public["step"]) == ("disclosure.refused", step)
            assert (entry.public["reason"], entry.public["person"]) == (refusal.reason, person)
            assert court.store.documents.get(AUTHORISATION, case).body == body
        else:
            allowed.add(person)
    assert allowed == AUTHORISATION_STEPS.get((step, state), set())


READERS: Final = {"officer-1", *STAFF}
READS: Final[dict[str, tuple[Callable[[Court, str, str], Any], set[str]]]] = {
    "show": (lambda court, task, person: views.show(court.store, court.actor(person), task), READERS),
    "document": (lambda court, task, person: views.source(court.store, court.actor(person), task), READERS),
    "cases": (
        lambda court, _, person: views.cases(court.store, court.actor(person)),
        READERS | {"officer-2"},  # own ones only
    ),
    "lapsed": (
        lambda court, _, person: views.lapsed(court.store, court.actor(person)),
        {"approver-1", "approver-2", "dpo-1"},
    ),
}


@pytest.mark.parametrize("what", READS)
def test_only_who_is_listed_reads(shared_court: Court, what: str) -> None:
    court = shared_court
    task = court.approved()
    read, listed = READS[what]
    allowed = set()
    for person in PEOPLE:
        before = court.store.audit.size
        try:
            read(court, task.id, person)
        except ProcedureError:
            assert court.log(before)[-1].kind == "disclosure.refused"
        else:
            allowed.add(person)
    assert allowed == listed


ENDPOINTS: Final = {
    ("POST", "/v1/disclosure/authorisations"): "authorise",
    ("POST", "/v1/disclosure/authorisations/{authorisation_id}/tasks"): "register",
    **{
        ("POST", f"/v1/disclosure/authorisations/{{authorisation_id}}/{act}"): act
        for act in ("confirm", "extend", "suspend", "resume")
    },
    **{
        ("POST", f"/v1/disclosure/tasks/{{task_id}}/{step}"): step
        for step in ("check", "preflight", "approve", "run", "release", "acknowledge")
    },
    ("GET", "/v1/disclosure/tasks/{task_id}/plan"): "explain",
    ("GET", "/v1/disclosure/tasks/{task_id}/delivery"): "deliver",
    ("POST", "/v1/disclosure/cases/{case_id}/reject"): "reject",
    ("POST", "/v1/disclosure/cases/{case_id}/cancel"): "cancel",
    ("GET", "/v1/disclosure/cases"): "cases",
    ("GET", "/v1/disclosure/cases/{case_id}"): "show",
    ("GET", "/v1/disclosure/cases/{case_id}/document"): "document",
    ("GET", "/v1/disclosure/lapsed"): "lapsed",
}
OPEN_TO_EVERY_PERSON: Final = {
    ("GET", "/v1/disclosure/bases"),
    ("GET", "/v1/disclosure/delivery-key"),
    ("GET", "/v1/disclosure/push-key"),
}


def test_every_endpoint_is_a_step_of_the_matrices() -> None:
    found = {(method, route.path) for route in router.routes for method in route.methods}  # type: ignore[attr-defined]
    assert found == set(ENDPOINTS) | OPEN_TO_EVERY_PERSON
    assert set(ENDPOINTS.values()) == {"authorise", *STEPS, *ACTS, *READS}
