"""A number that changed hands: records are kept apart by subscription, or only one subscriber's leave."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from api.billing.subscriptions import Subscription, import_rows
from api.disclosure import search
from api.disclosure.completeness import COMPLETE, verify
from api.disclosure.model import Task
from api.disclosure.orders import WrittenTarget
from schemas.errors import ProcedureError
from store.clock import to_date
from tests.api.disclosure.conftest import TARGET, WINDOW, Court

CHANGED = to_date(WINDOW.start_us) + timedelta(days=2)


@pytest.fixture(scope="module")
def court(shared_court: Court) -> Court:
    rows = [
        Subscription("number", TARGET, "before", date(2026, 1, 1), CHANGED),
        Subscription("number", TARGET, "after", CHANGED + timedelta(days=1), None),
        Subscription("number", "46701740008", "stranger", date(2026, 1, 1), None),
    ]
    import_rows(shared_court.store, enumerate(rows, 1))
    return shared_court


def target(held_on: date | None) -> tuple[WrittenTarget, ...]:
    return (WrittenTarget("number", "070-174 00 07", held_on=None if held_on is None else held_on.isoformat()),)


def result(court: Court, held_on: date | None) -> tuple[dict[str, Any], list[dict[str, Any]], Task]:
    task = court.released(targets=target(held_on))
    opened, rows = court.open(court.deliver(task.id))
    return opened.manifest, rows, task


def began(row: dict[str, Any]) -> date:
    return datetime.fromisoformat(row["start_time"]).date()


def numbers(runs: list[list[int]]) -> list[int]:
    return [row for first, last in runs for row in range(first, last + 1)]


def test_every_row_is_told_apart_by_the_subscription_in_which_it_began_and_no_subscriber_is_named(court: Court) -> None:
    manifest, rows, _ = result(court, None)
    (told,) = manifest["subscribers"]
    first, second = told["subscriptions"]
    opens, closes = (to_date(time_us).isoformat() for time_us in (WINDOW.start_us, WINDOW.end_us))
    # Since when somebody subscribes, and for how much longer, is nothing that the order asks.
    assert (first["from"], first["to"], second["to"]) == (opens, CHANGED.isoformat(), closes)
    parts = [numbers(item) for item in (first["rows"], second["rows"], told["rows_without_subscription"])]
    assert all(parts)
    assert sorted(row for part in parts for row in part) == list(range(1, len(rows) + 1))
    assert all(began(rows[row - 1]) < CHANGED for row in parts[0])
    assert all(began(rows[row - 1]) > CHANGED for row in parts[1])
    assert all(began(rows[row - 1]) == CHANGED for row in parts[2])
    assert "before" not in str(manifest["subscribers"])
    summary = (court.store.root.parent / f"opened-{court.folders}" / "summary.html").read_text()
    assert f"from {opens} to before {CHANGED}; from {CHANGED + timedelta(days=1)} to before {closes}" in summary


@pytest.mark.parametrize(
    ("held_on", "theirs"),
    [
        (CHANGED - timedelta(days=1), lambda day: day < CHANGED),
        (CHANGED + timedelta(days=1), lambda day: day > CHANGED),
        (date(2026, 1, 1), lambda day: day < CHANGED),
    ],
    ids=["before", "after", "long-ago"],
)
def test_an_order_for_one_subscriber_gets_no_record_of_another(court: Court, held_on: date, theirs: Any) -> None:
    _, everybody, _ = result(court, None)
    manifest, rows, task = result(court, held_on)
    assert rows == [row for row in everybody if theirs(began(row))]
    assert manifest["counts"]["by_target"] == [len(rows)]
    assert manifest["order"]["targets"][0]["held_on"] == held_on.isoformat()
    summary = (court.store.root.parent / f"opened-{court.folders}" / "summary.html").read_text()
    assert f"{TARGET}, as held on {held_on}" in summary
    assert verify(court.store, task.id).verdict == COMPLETE


def test_an_order_for_one_subscriber_names_no_other_holder(court: Court) -> None:
    def named(held_on: date | None) -> list[str]:
        case = court.procedure.casebook.case(court.checked(targets=target(held_on)).id)
        return [item["account"] for item in search._holders(court.store, case)]

    everybody = named(None)
    assert len(everybody) == 2
    assert named(CHANGED - timedelta(days=1)) == ["before"]
    assert named(CHANGED + timedelta(days=1)) == [name for name in everybody if name != "before"]


def test_a_subscription_that_is_changed_afterwards_does_not_make_a_delivery_wrong(court: Court) -> None:
    _, _, task = result(court, CHANGED - timedelta(days=1))
    again = [Subscription("number", TARGET, "before", date(2026, 1, 1), CHANGED - timedelta(days=1))]
    kept = [Subscription("number", TARGET, "before", date(2026, 1, 1), CHANGED)]
    import_rows(court.store, enumerate(again, 1))
    assert verify(court.store, task.id).verdict == COMPLETE
    import_rows(court.store, enumerate(kept, 1))


def test_a_day_on_which_nobody_held_it_stops_the_search_and_is_told_beforehand(court: Court) -> None:
    task = court.checked(targets=target(CHANGED))
    with pytest.raises(ProcedureError) as beforehand:
        court.procedure.preflight(court.actor("approver-1"), task.id)
    assert beforehand.value.reason == "no-subscription"
    assert court.procedure.preflight(court.actor("officer-1"), task.id) == {"records": "0", "days": "0"}
    court.approve(task.id)
    with pytest.raises(ProcedureError) as refusal:
        court.run(task.id)
    assert refusal.value.reason == "no-subscription"


def test_a_task_cannot_widen_its_order_to_another_subscriber(court: Court) -> None:
    authorisation = court.file(targets=target(CHANGED - timedelta(days=1)))
    for wider in (None, CHANGED + timedelta(days=1)):
        with pytest.raises(ProcedureError) as refusal:
            court.register(authorisation, targets=target(wider))
        assert refusal.value.reason == "target-out-of-scope"


@pytest.mark.parametrize(
    ("kind", "value", "day"), [("imei", "35693803564380", "2026-01-01"), ("ip", "::1", "20260101")]
)
def test_a_day_that_is_none_or_of_what_has_no_subscription_is_refused(
    court: Court, kind: str, value: str, day: str
) -> None:
    with pytest.raises(ProcedureError) as refusal:
        court.file(targets=(WrittenTarget(kind, value, held_on=day),))
    assert refusal.value.reason == "bad-target"
