"""What a preservation kept leaves under an order that names it, once, marked, and for nobody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from api.disclosure.completeness import PARTLY, verify
from api.disclosure.model import Task, Window
from api.disclosure.orders import WrittenTarget
from api.disclosure.preserved import preserved
from api.disclosure.rules import require_preserving
from schemas.errors import KeyUnavailableError, ProcedureError
from schemas.fields import Category
from schemas.holds import hold_basis
from schemas.legal_bases import BASES
from schemas.legal_terms import Draws
from schemas.retention import floor_until
from store import Put
from store.clock import to_date
from store.partitions import PartitionKey, date_to_day, to_us
from store.retention.holds import KIND
from tests.api.disclosure.conftest import TARGET, Court, a_rights_holder
from tests.conftest import ends_us
from tests.store.records import DAY_US
from tests.store.retention.test_policies import move
from tests.store.test_siblings import shorten

REFERENCE = "K 4711-26"
OTHER = "46701749999"


def place(court: Court, hold_id: str, *, basis: str = "preservation", **more: Any) -> None:
    today = to_date(court.clock.now_us())
    body: dict[str, Any] = {
        "state": "active",
        "basis": basis,
        "reference": REFERENCE,
        "ends": hold_basis(basis).last_end(today).isoformat(),
        "start_us": 0,
        "end_us": 2**60,
        "accounts": [],
        "targets": [{"kind": "number", "value": TARGET}, {"kind": "number", "value": OTHER}],
    }
    court.store.documents.commit([Put(KIND, hold_id, body | more, expect=0)])


def oldest_gone(court: Court, *holds: dict[str, Any]) -> PartitionKey:
    """Hold the target's records a day before the oldest partition's end, and let that end come."""
    key = court.store.partitions()[0].key
    court.clock.value_us = ends_us(key) - DAY_US
    for number, hold in enumerate(holds):
        place(court, f"h{number}", **hold)
    court.clock.value_us = ends_us(key)
    assert list(court.store.expire().partitions) == [key]
    return key


def run(court: Court, key: PartitionKey, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]], Task]:
    midnight_us = date_to_day(key.end_date) * DAY_US
    terms: dict[str, Any] = {
        "window": Window(midnight_us - DAY_US, midnight_us + 3 * DAY_US),
        "decided_on": to_date(court.clock.now_us()) - timedelta(days=1),
        "expires_at_us": court.clock.now_us() + 30 * DAY_US,
        "preservation": REFERENCE,
    }
    task = court.released(**(terms | changes))
    opened, rows = court.open(court.deliver(task.id))
    return opened.manifest, rows, task


def test_what_was_preserved_leaves_once_beside_what_is_stored_and_the_package_says_which(court: Court) -> None:
    key = oldest_gone(court, {}, {})
    manifest, rows, task = run(court, key)
    plain, live, _ = run(court, key, preservation=None)
    day = key.end_date.isoformat()
    kept = [number for number, row in enumerate(rows, 1) if row["end_time"].startswith(day)]
    assert kept and manifest["preserved"]["records"] == kept
    assert manifest["preserved"]["holds"] == ["h0", "h1"]
    assert manifest["preserved"]["locations"] == []
    assert manifest["counts"]["preserved"] == len(kept)
    summary = (court.store.root.parent / "opened-1" / "summary.html").read_text()
    assert f"{len(kept)} records come from the preservation {REFERENCE}" in summary
    assert "beyond what the preservation kept" in summary
    assert [row for number, row in enumerate(rows, 1) if number not in kept] == live
    assert "preserved" not in plain
    keys = [row["record_key"] for row in rows]
    assert len(keys) == len(set(keys))
    named = {name: {row.get(name) for row in rows} for name in ("calling_number", "called_number")}
    assert all(TARGET in row.values() for row in rows), named
    report = verify(court.store, task.id)
    assert (report.verdict, report.problems, report.days_not_comparable) == (PARTLY, [], {"preserved": 1})


def test_a_location_that_only_the_hold_keeps_completes_the_stored_record(court: Court) -> None:
    store = court.store
    shorten(store, to_date(court.clock.now_us()) + timedelta(days=1))
    key = store.partitions()[0].key
    over_us = to_us(floor_until(key.end_date, "location"))
    move(store, court.clock, over_us - DAY_US)
    place(court, "h0")
    move(store, court.clock, over_us)
    store.expire()
    manifest, rows, task = run(court, key)
    _, bare, _ = run(court, key, preservation=None)
    of_day = [number for number, row in enumerate(rows, 1) if row["end_time"].startswith(key.end_date.isoformat())]
    assert of_day and manifest["preserved"]["records"] == []
    assert set(of_day) <= set(manifest["preserved"]["locations"])
    assert all("cell_id" in rows[number - 1] and "cell_id" not in bare[number - 1] for number in of_day)
    without = [{name: value for name, value in row.items() if name != "cell_id"} for row in rows]
    assert without == [{name: value for name, value in row.items() if name != "cell_id"} for row in bare]
    assert verify(store, task.id).problems == []
    _, few, _ = run(court, key, categories=frozenset({Category.TIME}))
    assert len(few) == len(rows) and not any("cell_id" in row for row in few)


def test_only_the_orders_own_preservation_is_read(court: Court) -> None:
    key = oldest_gone(court, {"reference": "K 9-26"})
    for held in ({}, {"reference": "K 9-26"}):
        _, rows, _ = run(court, key, preservation=held.get("reference"))
        assert any(row["end_time"].startswith(key.end_date.isoformat()) for row in rows) == bool(held)
    with pytest.raises(ProcedureError) as refusal:
        run(court, key)
    assert refusal.value.reason == "no-preservation"


def test_a_preserved_record_of_another_target_stays(court: Court) -> None:
    key = oldest_gone(court, {})
    _, rows, _ = run(court, key, targets=(WrittenTarget("number", "+" + TARGET),))
    assert rows and all(TARGET in row.values() for row in rows)
    _, none, _ = run(court, key, targets=(WrittenTarget("number", "070-174 88 88"),))
    assert none == []


def test_what_billing_holds_never_leaves(court: Court) -> None:
    billing = {"basis": "invoice", "targets": [], "accounts": ["0077"]}
    key = oldest_gone(court, billing)
    assert court.store.holds.report()["records_held"] > 0
    with pytest.raises(ProcedureError) as refusal:
        run(court, key)
    assert refusal.value.reason == "no-preservation"


def test_a_preservation_that_ended_holds_nothing(court: Court) -> None:
    key = oldest_gone(court, {})
    court.store.holds.end("h0", reason="released", actors=["a", "b"])
    with pytest.raises(ProcedureError) as refusal:
        run(court, key)
    assert refusal.value.reason == "no-preservation"


def test_a_held_file_that_cannot_be_read_is_an_error_and_not_fewer_records(court: Court) -> None:
    key = oldest_gone(court, {})
    court.store.keyring.destroy([court.store.holds.get("h0").ref])
    with pytest.raises(KeyUnavailableError):
        run(court, key)


def test_only_a_basis_that_reaches_what_the_duty_keeps_reaches_what_is_preserved() -> None:
    for basis in BASES:
        require_preserving(basis, None)
        if basis.draws_on is Draws.DUTY:
            require_preserving(basis, REFERENCE)
        else:
            with pytest.raises(ProcedureError, match="does not reach preserved"):
                require_preserving(basis, REFERENCE)
    for words in ("", " ", "x" * 201, "a\x00b"):
        with pytest.raises(ProcedureError) as refusal:
            require_preserving(replace(BASES[0]), words)
        assert refusal.value.reason == "no-reference"


def test_an_order_of_such_a_basis_is_refused_as_it_is_filed(shared_court: Court) -> None:
    with a_rights_holder(shared_court), pytest.raises(ProcedureError) as refusal:
        shared_court.file(
            basis="copyright-information-order",
            targets=(WrittenTarget("account", "0077"),),
            preservation=REFERENCE,
        )
    assert refusal.value.reason == "preservation-basis"


def test_what_came_on_file_past_the_filing_is_refused_as_it_is_read(shared_court: Court) -> None:
    with a_rights_holder(shared_court):
        task = shared_court.checked(basis="copyright-information-order", targets=(WrittenTarget("account", "0077"),))
    case = shared_court.procedure.casebook.case(task.id)
    assert preserved(shared_court.store, case) is None
    with pytest.raises(ProcedureError) as refusal:
        preserved(shared_court.store, replace(case, authorisation=replace(case.authorisation, preservation=REFERENCE)))
    assert refusal.value.reason == "preservation-basis"
