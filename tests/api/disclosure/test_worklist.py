"""The worklist by role, reminders that come once, and notices to customers that never come too early."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from api.cli import main
from api.cli.worklist import duration_text
from api.disclosure import costs, lapses, reports
from api.disclosure.model import Task
from api.disclosure.notices import Notices
from api.disclosure.outdated_marks import Informing
from api.disclosure.procedure import WrittenTarget
from api.disclosure.worklist import Reminders, worklist
from api.people.signing import write_key_file
from api.routes.worklist import router
from api.settings import Settings
from schemas.errors import ProcedureError
from store import Store
from store.clock import to_date
from tests.api.disclosure.conftest import PEOPLE, TARGET, Court, a_rights_holder, peopled
from tests.api.world import running
from tests.conftest import FixedClock
from tests.store.records import DAY_US, NOW_US

STAFF: Final = {"handler-1", "handler-2", "approver-1", "approver-2"}
COPYRIGHT: Final[dict[str, Any]] = {
    "basis": "copyright-information-order",
    "decided_on": to_date(NOW_US) - timedelta(days=2),
    "targets": (WrittenTarget("account", "0077"),),
    "expires_at_us": NOW_US + 200 * DAY_US,
}


def cases(court: Court, person: str, **how: Any) -> set[tuple[str, str | None]]:
    return {(item["case"], item["step"]) for item in worklist(court.store, court.actor(person), **how)["items"]}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Court]:
    """A court whose clock a test may move."""
    clock = FixedClock(NOW_US)
    with Store.create(tmp_path / "fresh", clock=clock) as store:
        yield peopled(store, clock)


@pytest.mark.parametrize("person", PEOPLE)
def test_who_has_no_part_in_disclosures_has_no_worklist(shared_court: Court, person: str) -> None:
    court = shared_court
    task = court.register(court.file())
    before = court.store.audit.size
    if person in STAFF | {"officer-1", "officer-2"}:
        seen = {case for case, _ in cases(court, person)}
        assert (task.id in seen) is (person != "officer-2")
    else:
        with pytest.raises(ProcedureError) as refusal:
            worklist(court.store, court.actor(person))
        assert refusal.value.reason == "wrong-role"
        assert (court.log(before)[-1].kind, court.log(before)[-1].public["step"]) == ("disclosure.refused", "worklist")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key_id": "0" * 16}, "revoked"),
        ({"roles": frozenset({"approver", "tenant-admin"})}, "role-conflict"),
        ({"person_id": "nobody-1"}, "revoked"),
        ({"person_id": "handler-1"}, "revoked"),
    ],
)
def test_a_lent_role_and_a_revoked_key_read_nothing(shared_court: Court, changes: dict[str, Any], reason: str) -> None:
    court = shared_court
    task = delivered(court)
    actor = replace(court.actor("approver-1"), **changes)
    for read in (
        lambda: worklist(court.store, actor),
        lambda: reports.transparency(court.store, actor, 2026, exact=True),
        lambda: costs.ledger(court.store, actor, 2026),
        lambda: Notices(court.store).settle(actor, task.id, withheld="order-forbids"),
    ):
        with pytest.raises(ProcedureError) as refusal:
            read()
        assert refusal.value.reason == reason


def test_no_target_and_no_reference_stands_in_a_worklist(shared_court: Court) -> None:
    court = shared_court
    court.approved(decision_reference="B 9876-26")
    for person in ("officer-1", "handler-1", "approver-1"):
        text = json.dumps(worklist(court.store, court.actor(person)))
        assert TARGET not in text
        assert "070-174" not in text
        assert "9876" not in text


def test_a_case_goes_from_hand_to_hand_and_its_officer_sees_only_that_the_operator_is_at_work(
    shared_court: Court,
) -> None:
    court = shared_court
    task = court.register(court.file())

    def waits() -> tuple[str, str]:
        (item,) = [
            item for item in worklist(court.store, court.actor("approver-1"))["items"] if item["case"] == task.id
        ]
        (own,) = [item for item in worklist(court.store, court.actor("officer-1"))["items"] if item["case"] == task.id]
        if item["waits_for"] != "officer":
            assert (own["waits_for"], own["step"], own["person"]) == ("operator", None, None)
        else:
            assert (own["waits_for"], own["step"]) == ("officer", item["step"])
        return item["waits_for"], item["step"]

    seen = [waits()]
    for step in (court.check, court.approve, court.run, court.release, court.deliver):
        step(task.id)
        seen.append(waits())
    assert seen == [
        ("case-handler", "check"),
        ("approver", "approve"),
        ("case-handler", "run"),
        ("approver", "release"),
        ("officer", "deliver"),
        ("officer", "acknowledge"),
    ]
    court.acknowledge(task.id, opening(court, task))
    assert task.id not in {case for case, _ in cases(court, "approver-1")}


def opening(court: Court, task: Task) -> str:
    stored = court.procedure.casebook.task(task.id)[0]
    cover = court.procedure.casebook.delivery(stored.delivery_id or "")[0].cover
    assert cover is not None
    return cover.opening


def test_mine_is_what_i_can_do(shared_court: Court) -> None:
    court = shared_court
    task = court.approved()  # handler-1 is the case's
    assert (task.id, "run") in cases(court, "handler-1", mine=True)
    assert (task.id, "run") not in cases(court, "handler-2", mine=True)
    assert (task.id, "run") in cases(court, "handler-2")
    assert (task.id, "run") not in cases(court, "approver-1", mine=True)
    assert task.id not in {case for case, _ in cases(court, "officer-1", mine=True)}


def test_the_overdue_come_first(fresh: Court) -> None:
    court = fresh
    slow = court.register(court.file())
    fast = court.register(court.file(emergency=True))
    court.clock.advance(seconds=9 * 3600)
    found = worklist(court.store, court.actor("handler-1"))
    standings = [item["standing"] for item in found["items"]]
    assert standings == sorted(standings, key=("overdue", "soon", "open").index)
    assert (found["items"][0]["case"], found["items"][0]["left_seconds"]) == (fast.id, -3600)
    assert found["counts"]["overdue"] == 1
    assert slow.id in {item["case"] for item in found["items"]}


def test_a_reminder_comes_before_and_at_the_deadline_and_each_once(fresh: Court) -> None:
    court = fresh
    task = court.register(court.file(emergency=True))
    court.register(court.file(emergency=True, is_test=True))

    def told() -> list[tuple[str, str, str]]:
        size = court.store.audit.size
        reminders = Reminders(court.store)  # as after a restart
        reminders.look()
        return [
            (entry.public["case"], entry.public["clock"], entry.public["standing"])
            for entry in court.log(size)
            if entry.kind == "disclosure.reminder"
        ]

    assert told() == []
    court.clock.advance(seconds=6 * 3600)
    assert told() == [(task.id, "answer", "soon")]
    assert told() == []
    court.clock.advance(seconds=2 * 3600)
    assert told() == [(task.id, "answer", "overdue")]
    assert told() == []
    reminder = next(entry for entry in court.log() if entry.kind == "disclosure.reminder")
    assert TARGET not in reminder.leaf.decode()
    assert reminder.secret is None


def test_the_gauges_count_and_tests_are_left_out(fresh: Court) -> None:
    court = fresh
    court.register(court.file(emergency=True))
    court.register(court.file(emergency=True, is_test=True))
    court.clock.advance(seconds=10 * 3600)
    reminders = Reminders(court.store)
    names = [family.name for family in reminders.collect()]
    assert names == ["lagrum_disclosure_deadlines", "lagrum_disclosure_overdue_seconds", "lagrum_disclosure_lapsed"]
    reminders.look()
    ends, late, _ = reminders.collect()
    values = {tuple(sample.labels.values()): sample.value for sample in ends.samples}
    assert values["answer", "overdue"] == 1
    assert sum(values.values()) == 2  # the answer and the confirmation of the one that is no test
    assert {sample.labels["clock"]: sample.value for sample in late.samples}["answer"] == 2 * 3600


def test_emergencies_that_lapsed_are_a_gauge(fresh: Court) -> None:
    court = fresh
    reminders = Reminders(court.store)

    def lapsed() -> list[float]:
        *_, family = reminders.collect()
        return [sample.value for sample in family.samples]

    assert lapsed() == []
    court.emergency()
    court.register(court.file(emergency=True, is_test=True))
    reminders.look()
    assert lapsed() == [0]
    court.clock.advance(days=4)
    lapses.apply_all(court.store)
    reminders.look()
    assert lapsed() == [1]


def a_copyright_order(court: Court, step: Callable[..., Task]) -> Task:
    with a_rights_holder(court):
        return step(**COPYRIGHT)


def delivered(court: Court, **changes: Any) -> Task:
    with a_rights_holder(court):
        task = court.released(**(COPYRIGHT | changes))
        court.deliver(task.id)
    return task


def settle(court: Court, person: str, task: Task, **how: Any) -> Any:
    return Notices(court.store).settle(court.actor(person), task.id, **how)


def test_a_notice_is_on_the_worklist_when_the_basis_allows_it_and_never_before(fresh: Court) -> None:
    court = fresh
    task = delivered(court)
    for day in (0, 30, 30.99):
        court.clock.value_us = NOW_US + int(day * DAY_US)
        assert (task.id, "notice") not in cases(court, "handler-2")
        with pytest.raises(ProcedureError) as refusal:
            settle(court, "handler-2", task)
        assert refusal.value.reason == "notice-too-early"
    court.clock.value_us = NOW_US + 31 * DAY_US
    assert (task.id, "notice") in cases(court, "handler-2", mine=True)
    seen = worklist(court.store, court.actor("officer-1"))["items"]
    assert "notice" not in {item["clock"] for item in seen}  # what the operator tells its customer is not theirs
    size = court.store.audit.size
    assert settle(court, "handler-2", task).outcome == "given"
    assert [entry.kind for entry in court.log(size)] == ["disclosure.notice-given"]
    assert (task.id, "notice") not in cases(court, "handler-2")
    with pytest.raises(ProcedureError) as refusal:
        settle(court, "handler-1", task)
    assert refusal.value.reason == "notice-settled"


def test_an_approver_withholds_a_notice_and_nobody_else(fresh: Court) -> None:
    court = fresh
    task = delivered(court)
    for person in set(PEOPLE) - {"approver-1", "approver-2"}:
        with pytest.raises(ProcedureError) as refusal:
            settle(court, person, task, withheld="order-forbids")
        assert refusal.value.reason == "wrong-role"
    with pytest.raises(ProcedureError) as refusal:
        settle(court, "approver-1", task, withheld="46701740007")
    assert refusal.value.reason == "no-reason"
    assert settle(court, "approver-1", task, withheld="order-forbids").outcome == "withheld"
    court.clock.advance(days=40)
    assert (task.id, "notice") not in cases(court, "handler-1")
    (entry,) = [entry for entry in court.log() if entry.kind == "disclosure.notice-withheld"]
    assert "order-forbids" not in json.dumps(entry.public)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda court: court.released(), "notice-prohibited"),
        (lambda court: a_copyright_order(court, court.released), "nothing-left"),
        (lambda court: a_copyright_order(court, court.approved), "nothing-left"),
        (lambda court: delivered(court, targets=(WrittenTarget("account", "10077"),)), "nothing-left"),
        (lambda court: delivered(court, is_test=True), "test"),
    ],
)
def test_a_notice_is_refused_where_nothing_may_be_told(
    shared_court: Court, make: Callable[[Court], Task], reason: str
) -> None:
    task = make(shared_court)
    with pytest.raises(ProcedureError) as refusal:
        settle(shared_court, "handler-1", task)
    assert refusal.value.reason == reason
    assert shared_court.log()[-1].public["reason"] == reason


def test_every_role_meets_every_endpoint(shared_court: Court) -> None:
    found = {(method, route.path) for route in router.routes for method in route.methods}  # type: ignore[attr-defined]
    acts = {("POST", f"/v1/disclosure/tasks/{{task_id}}/{act}") for act in ("notice", "inform")}
    assert found == {("GET", "/v1/disclosure/worklist"), *acts}
    task = delivered(shared_court)
    for person in set(PEOPLE) - {"handler-1", "handler-2"}:
        with pytest.raises(ProcedureError) as refusal:
            settle(shared_court, person, task)
        assert refusal.value.reason == "wrong-role"
        with pytest.raises(ProcedureError) as refusal:
            Informing(shared_court.store).inform(shared_court.actor(person), task.id)
        assert refusal.value.reason == "wrong-role"


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_a_terminal(
    shared_court: Court,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    court = shared_court
    task = court.approved()
    monkeypatch.setenv("COLUMNS", str(columns))
    key = tmp_path / "handler.key"
    write_key_file(key, court.keys["handler-1"])
    root = ["--root", str(court.store.root)]
    with running(court.store, Settings(port=0)):
        assert main([*root, "disclosure", "worklist", "--as", str(key)], clock=court.clock) == 0
        said = capfd.readouterr()
        assert main([*root, "--json", "disclosure", "worklist", "--as", str(key), "--mine"], clock=court.clock) == 0
        document = json.loads(capfd.readouterr().out)
        refused = main([*root, "disclosure", "notice", "--as", str(key), task.id], clock=court.clock)
    assert task.id in said.out
    assert max(map(len, said.out.splitlines())) <= columns
    assert "overdue" in said.err
    assert task.id in {item["case"] for item in document["items"]}
    assert refused == 1


def test_durations_are_told_in_two_units() -> None:
    assert [duration_text(seconds) for seconds in (None, 200_000, 7_260, 59, 0, -3_600)] == [
        "no end",
        "2 d 7 h",
        "2 h 1 min",
        "0 h 0 min",
        "late 0 h 0 min",
        "late 1 h 0 min",
    ]
