"""A wrongly read batch: withdrawn by two custodians, then delivered again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.custody import corrections
from schemas.errors import InputError, NotFoundError, ProcedureError
from store import ScanQuery
from tests.api.world import CSV, World

REASON = "read in the wrong time zone"
DAY_US = 86_400_000_000


@pytest.fixture
def batch(world: World) -> int:
    answer = world.deliver(world.switch("pbx-east"))
    assert answer.status_code == 200, answer.text
    return int(answer.json()["batch_id"])


def body(world: World, action: str, batch: int, by: str, **more: str) -> dict[str, Any]:
    digest = corrections.digest(world.store.store_id, batch, more.get("reason", REASON))
    approval = world.approval(world.keys[by], action, str(batch), digest)
    return {**more, "approval": {"time": approval.time, "signature": approval.signature}}


def ask(world: World, batch: int, by: str = "custodian-1", reason: str = REASON) -> Any:
    sent = body(world, corrections.REQUEST, batch, by, reason=reason)
    return world.http.post(f"/v1/batches/{batch}/withdrawal", json=sent, headers=world.as_person(by))


def confirm(world: World, batch: int, by: str = "custodian-2") -> Any:
    sent = body(world, corrections.CONFIRM, batch, by)
    return world.http.post(f"/v1/batches/{batch}/withdrawal/confirm", json=sent, headers=world.as_person(by))


def visible(world: World) -> int:
    now = world.clock.now_us()
    return sum(rows.num_rows for rows in world.store.scan(ScanQuery(now - 30 * DAY_US, now + DAY_US)))


def refused(reason: str, act: Callable[[], object]) -> None:
    with pytest.raises(ProcedureError) as caught:
        act()
    assert caught.value.reason == reason


def test_two_custodians_withdraw_and_the_delivery_comes_again(world: World, batch: int) -> None:
    assert visible(world) == 2
    assert ask(world, batch).json()["state"] == "pending"
    assert visible(world) == 2, "one custodian alone changes nothing"
    done = confirm(world, batch)
    assert (done.status_code, done.json()["records"], done.json()["state"]) == (200, 2, "withdrawn")
    assert visible(world) == 0
    again = world.deliver(world.switch("pbx-east"), CSV)
    assert (again.json()["accepted"], again.json()["duplicates"]) == (2, 0)
    assert visible(world) == 2
    assert world.store.verify() == []


def test_lines_of_closed_periods_are_written_down_before_the_batch_is_withdrawn(
    world: World, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        corrections.adjustments, "before_withdrawal", lambda _, batch_id: seen.append((batch_id, visible(world)))
    )
    ask(world, batch)
    assert confirm(world, batch).status_code == 200
    assert seen == [(batch, 2)], "while its records count"
    assert confirm(world, batch).json()["reason"] == "state"
    assert len(seen) == 1, "what is withdrawn makes no lines anew"


def test_what_a_later_batch_dropped_as_duplicates_is_named_and_comes_back_when_it_is_delivered_again(
    world: World, batch: int
) -> None:
    late = world.deliver(world.switch("pbx-east"))
    assert late.json()["duplicates"] == 2
    told = {"batches": 1, "records_max": 2, "deliver_again": [late.json()["batch_id"]]}
    assert ask(world, batch).json()["later_duplicates"] == told
    assert confirm(world, batch).json()["later_duplicates"] == told
    assert visible(world) == 0
    assert world.deliver(world.switch("pbx-east")).json()["accepted"] == 2


def test_the_same_custodian_does_not_confirm(world: World, batch: int) -> None:
    ask(world, batch)
    answer = confirm(world, batch, by="custodian-1")
    assert (answer.status_code, answer.json()["reason"]) == (403, "same-person")
    assert visible(world) == 2


def test_nobody_but_custodians_corrects(world: World, batch: int) -> None:
    world.enrol("handler-3", "case-handler")
    assert ask(world, batch, by="handler-3").status_code == 403
    approval = world.approval(
        world.keys["handler-3"],
        corrections.REQUEST,
        str(batch),
        corrections.digest(world.store.store_id, batch, REASON),
    )
    refused("role", lambda: corrections.request(world.store, "handler-3", batch, REASON, approval))


def test_a_signature_under_another_reason_batch_or_step_is_refused(world: World, batch: int) -> None:
    store, key = world.store, world.keys["custodian-1"]
    for action, case, reason in (
        (corrections.REQUEST, str(batch), "another reason"),
        (corrections.REQUEST, str(batch + 1), REASON),
        (corrections.CONFIRM, str(batch), REASON),
    ):
        approval = world.approval(key, action, case, corrections.digest(store.store_id, batch, reason))
        refused("signature", lambda signed=approval: corrections.request(store, "custodian-1", batch, REASON, signed))
    with pytest.raises(NotFoundError):
        corrections.show(store, batch)


def test_a_second_request_or_confirmation_is_stale(world: World, batch: int) -> None:
    ask(world, batch)
    assert ask(world, batch, by="custodian-2").json()["reason"] == "stale"
    confirm(world, batch)
    assert confirm(world, batch).json()["reason"] == "state"


def test_a_batch_that_is_not_there_or_not_requested_is_not_found(world: World, batch: int) -> None:
    assert ask(world, batch + 1).status_code == 404
    assert confirm(world, batch).status_code == 404


def test_a_reason_without_its_form_is_refused(world: World, batch: int) -> None:
    for reason in (" ", "two\nlines", "x" * 501):
        approval = world.approval(
            world.keys["custodian-1"],
            corrections.REQUEST,
            str(batch),
            corrections.digest(world.store.store_id, batch, reason),
        )
        with pytest.raises(InputError):
            corrections.request(world.store, "custodian-1", batch, reason, approval)


def test_the_log_has_both_names_in_the_clear_and_the_reason_for_auditors(world: World, batch: int) -> None:
    ask(world, batch)
    confirm(world, batch)
    entries = {entry.kind: entry for entry in world.store.audit.entries(0, world.store.audit.size, reveal=True)}
    assert entries["batch.withdrawn"].public["actors"] == ["custodian-1", "custodian-2"]
    assert entries["batch.withdrawn"].secret == {"reason": REASON}
    assert all(REASON not in str(entry.public) for entry in entries.values())
