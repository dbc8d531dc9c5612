"""Two custodians confirm the clock; what they confirm is logged and reaches no further than what they saw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.custody import clock as procedure
from schemas.errors import ClockError, InputError
from store.retention.clockguard import CONFIRMED
from tests.api.world import World

REASON = "the machine was off for three weeks"
WEEKS = 21


@pytest.fixture
def doubtful(world: World) -> World:
    """A store whose machine was off for weeks, with a partition that ended meanwhile."""
    assert world.deliver(world.switch("pbx-east")).status_code == 200
    world.clock.value_us = 1_858_291_200_000_000  # 2028-11-20: the partition of 2026-11-22 ends in two days
    world.store.clock_guard.observe()
    world.clock.restart(off_days=WEEKS)
    world.tokens.clear()
    return world


def look(world: World, by: str = "custodian-1") -> dict[str, Any]:
    answer = world.http.get("/v1/clock", headers=world.as_person(by))
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def ask(world: World, by: str = "custodian-1", **changed: Any) -> Any:
    shown = look(world)
    body = {"seen_us": shown["clock_us"], "due": shown["due"], "reason": REASON} | changed
    digest = procedure.digest(world.store.store_id, body["seen_us"], body["due"], body["reason"])
    signed = world.approval(world.keys[by], procedure.REQUEST, str(body["seen_us"]), digest)
    body["approval"] = {"time": signed.time, "signature": signed.signature}
    return world.http.post("/v1/clock/confirmation", json=body, headers=world.as_person(by))


def confirm(world: World, by: str = "custodian-2") -> Any:
    pending = look(world)["pending"] or {"seen_us": 0, "due": 0, "reason": ""}
    digest = procedure.digest(world.store.store_id, pending["seen_us"], pending["due"], pending["reason"])
    signed = world.approval(world.keys[by], procedure.CONFIRM, str(pending["seen_us"]), digest)
    body = {"approval": {"time": signed.time, "signature": signed.signature}}
    return world.http.post("/v1/clock/confirmation/confirm", json=body, headers=world.as_person(by))


def test_two_custodians_confirm_and_expiry_goes_on(doubtful: World) -> None:
    with pytest.raises(ClockError):
        doubtful.store.expire()
    shown = look(doubtful)
    assert (shown["trusted"], shown["reason"], shown["due"]) == (False, "gap", 1)
    assert ask(doubtful).status_code == 200
    with pytest.raises(ClockError):
        doubtful.store.expire()
    doubtful.clock.advance(seconds=60)
    done = confirm(doubtful)
    assert (done.status_code, done.json()["trusted"], done.json()["pending"]) == (200, True, None)
    assert len(doubtful.store.expire().partitions) == 1
    entry = next(entry for entry in doubtful.store.audit.entries(reveal=True) if entry.kind == CONFIRMED)
    assert entry.public["actors"] == ["custodian-1", "custodian-2"]
    assert (entry.public["was"], entry.secret) == ("gap", {"reason": REASON})


def test_one_custodian_alone_does_not(doubtful: World) -> None:
    ask(doubtful)
    answer = confirm(doubtful, by="custodian-1")
    assert (answer.status_code, answer.json()["reason"]) == (403, "same-person")
    assert not look(doubtful)["trusted"]


def test_nobody_but_custodians_looks_or_confirms(doubtful: World) -> None:
    doubtful.enrol("handler-3", "case-handler")
    assert ask(doubtful, by="handler-3").status_code == 403
    assert doubtful.http.get("/v1/clock", headers=doubtful.as_person("handler-3")).status_code == 403


def test_another_instant_or_another_count_than_shown_is_stale(doubtful: World) -> None:
    shown = look(doubtful)
    for changed in ({"seen_us": shown["clock_us"] + 1}, {"due": 0}, {"seen_us": shown["clock_us"] - 3_600_000_000}):
        assert ask(doubtful, **changed).json()["reason"] == "stale"


def test_too_late_and_unasked_confirmations_are_refused(doubtful: World) -> None:
    assert confirm(doubtful).status_code == 404
    ask(doubtful)
    doubtful.clock.advance(seconds=procedure.CONFIRM_SECONDS_MAX + 1)
    doubtful.tokens.clear()
    assert confirm(doubtful).json()["reason"] == "stale"


def test_a_clock_that_moves_between_the_two_is_not_confirmed_beyond(doubtful: World) -> None:
    ask(doubtful)
    doubtful.clock.jump(days=400)
    doubtful.tokens.clear()
    assert confirm(doubtful).json()["reason"] == "stale"
    assert not look(doubtful)["trusted"]


@pytest.mark.parametrize("reason", [" ", "three\nweeks", "x" * 501])
def test_a_reason_without_its_form_confirms_nothing(doubtful: World, reason: str) -> None:
    shown = look(doubtful)
    seen_us, due = shown["clock_us"], shown["due"]
    digest = procedure.digest(doubtful.store.store_id, seen_us, due, reason)
    signed = doubtful.approval(doubtful.keys["custodian-1"], procedure.REQUEST, str(seen_us), digest)
    with pytest.raises(InputError):
        procedure.request(doubtful.store, "custodian-1", seen_us, due, reason, signed)
    assert look(doubtful)["pending"] is None


def test_a_trusted_clock_needs_no_confirmation(world: World) -> None:
    assert ask(world).json()["reason"] == "state"


def test_a_custodian_whose_own_clock_differs_notices(doubtful: World) -> None:
    shown = look(doubtful)
    digest = procedure.digest(doubtful.store.store_id, shown["clock_us"], shown["due"], REASON)
    doubtful.clock.value_us -= WEEKS * 86_400_000_000
    signed = doubtful.approval(doubtful.keys["custodian-1"], procedure.REQUEST, str(shown["clock_us"]), digest)
    doubtful.clock.value_us += WEEKS * 86_400_000_000
    body = {"seen_us": shown["clock_us"], "due": shown["due"], "reason": REASON}
    body["approval"] = {"time": signed.time, "signature": signed.signature}
    answer = doubtful.http.post("/v1/clock/confirmation", json=body, headers=doubtful.as_person("custodian-1"))
    assert answer.json()["reason"] == "signature"


def test_the_metrics_tell_and_every_alert_names_a_metric_that_exists(doubtful: World) -> None:
    text = doubtful.http.get("/v1/metrics", headers=doubtful.as_person("custodian-1")).text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values["lagrum_clock_trusted"] == "0.0"
    assert float(values["lagrum_clock_doubt_seconds"]) == pytest.approx(WEEKS * 86_400)
    names = {name.partition("{")[0] for name in values}
    names |= {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}  # of those without samples
    alerts = Path(__file__).parents[3] / "docs" / "alerts.yml"
    rules = [rule for group in yaml.safe_load(alerts.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 22
    for rule in rules:
        used = set(re.findall(r"lagrum_\w+", rule["expr"]))
        assert used, rule["alert"]
        assert used <= names, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}


def test_what_is_overdue_is_told_in_seconds(world: World) -> None:
    world.deliver(world.switch("pbx-east"))
    end = world.store.partitions()[0].expires_at
    world.clock.value_us = int(end.timestamp() + 7300) * 1_000_000
    world.tokens.clear()
    text = world.http.get("/v1/metrics", headers=world.as_person("custodian-1")).text
    assert "lagrum_retention_overdue_seconds 7300.0" in text
    assert "lagrum_retention_due_partitions 1.0" in text
