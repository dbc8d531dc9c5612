"""Lock-out, rates, and the authentication log with its end."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from api.people import persons
from api.people.auth import Peer
from api.people.logins import WAITING_MAX, Event
from api.people.rates import Rates
from api.people.signing import PersonKey
from api.people.throttle import Throttle
from api.settings import Settings
from schemas.errors import BusyError, ConfigurationError
from store import Store, logins
from tests.api.world import UNHURRIED, World, make_world
from tests.conftest import FixedClock

DAY = "2026-11-22"
TODAY = date(2026, 11, 22)


def _throttle(clock: FixedClock, **changes: int) -> Throttle:
    limits = {"failures_max": 3, "lockout_seconds": 60, "lockout_seconds_max": 400, "entries_max": 100, **changes}
    return Throttle(clock, **limits)


def test_every_further_failure_locks_for_twice_as_long_up_to_the_limit(clock: FixedClock) -> None:
    throttle, found = _throttle(clock), []
    for _ in range(7):
        throttle.failed("a")
        found.append(throttle.locked_seconds("a"))
        clock.advance(seconds=found[-1])
        assert throttle.locked_seconds("a") == 0
    assert found == [0, 0, 60, 120, 240, 400, 400]
    clock.advance(seconds=401)
    throttle.failed("a")
    assert throttle.locked_seconds("a") == 0, "forgotten after a quiet time"


def test_a_success_forgets_and_others_are_not_touched(clock: FixedClock) -> None:
    throttle = _throttle(clock)
    for _ in range(3):
        throttle.failed("a")
    assert throttle.locked_seconds("a") == 60
    assert throttle.locked_seconds("b") == 0
    throttle.succeeded("a")
    assert throttle.locked_seconds("a") == 0


def test_failures_far_apart_do_not_lock_and_memory_is_bounded(clock: FixedClock) -> None:
    throttle = _throttle(clock)
    for _ in range(10):
        throttle.failed("a")
        clock.advance(seconds=61)
    assert throttle.locked_seconds("a") == 0
    for number in range(1000):
        throttle.failed(number)
    assert len(throttle) == 100


def test_a_delay_shorter_than_the_first_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Settings(lockout_seconds=60, lockout_seconds_max=59)


def test_an_address_that_tries_many_identities_is_locked_and_who_proves_it_behind_it_goes_on(
    tmp_path: Path, clock: FixedClock
) -> None:
    with make_world(tmp_path, clock, Settings(failures_max=2, **UNHURRIED)) as world:
        switch = world.switch("pbx-east")
        assert world.deliver(switch).status_code == 200
        tries = [
            world.http.get("/v1/persons", headers={"Authorization": f"Bearer c-{number:016d}.x"}).status_code
            for number in range(21)
        ]
        assert tries == [401] * 20 + [429]
        other = world.switch("pbx-west")  # that has never come before
        assert world.deliver(other, source="pbx-west").status_code == 200
        assert world.deliver(switch, source="pbx-east").status_code == 200
        assert world.http.post("/v1/sessions", headers=_proof(world)).status_code == 201
        wrong = world.proof(world.keys["custodian-1"], world.challenge(), person_id="custodian-2")
        assert world.http.post("/v1/sessions", headers=wrong).status_code == 429
        clock.advance(seconds=61)
        wrong = world.proof(world.keys["custodian-1"], world.challenge(), person_id="custodian-2")
        assert world.http.post("/v1/sessions", headers=wrong).status_code == 401


def _proof(world: World) -> dict[str, str]:
    return world.proof(world.keys["custodian-1"], world.challenge())


def test_the_bucket_of_a_role_fills_up_steadily(clock: FixedClock) -> None:
    rates = Rates(clock, {"officer": 2, "dpo": 4})
    assert [rates.wait_seconds("a", ["officer"]) for _ in range(3)] == [0, 0, 30]
    assert rates.wait_seconds("b", ["officer"]) == 0
    clock.advance(seconds=30)
    assert [rates.wait_seconds("a", ["officer"]) for _ in range(2)] == [0, 30]
    clock.advance(seconds=-3600)
    assert rates.wait_seconds("a", ["officer"]) == 30, "a clock that was set back fills nothing"
    assert [rates.wait_seconds("c", ["officer", "dpo"]) for _ in range(5)] == [0, 0, 0, 0, 15]
    for number in range(10_100):
        rates.wait_seconds(str(number), ["dpo"])
    assert len(rates) == 10_000


def test_a_person_who_asks_too_often_waits_and_nobody_else_does(tmp_path: Path, clock: FixedClock) -> None:
    with make_world(tmp_path, clock, Settings(**(UNHURRIED | {"dpo_per_minute": 3}))) as world:
        world.enrol("dpo-1", "dpo")
        headers = world.log_in("dpo-1")
        found = [world.http.get("/v1/sessions/current", headers=headers).status_code for _ in range(3)]
        assert found == [200, 200, 429]
        slow = world.http.get("/v1/sessions/current", headers=headers)
        assert int(slow.headers["retry-after"]) == 20
        assert world.http.get("/v1/sessions/current", headers=world.as_person("custodian-1")).status_code == 200
        clock.advance(seconds=20)
        assert world.http.get("/v1/sessions/current", headers=headers).status_code == 200


def _log(world: World, by: str = "dpo-1", **params: str) -> dict[str, Any]:
    answer = world.http.get("/v1/logins", params={"day": DAY, **params}, headers=world.as_person(by))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_log_tells_who_came_and_who_was_refused_and_no_secret(world: World) -> None:
    world.enrol("dpo-1", "dpo")
    token = world.log_in("custodian-1")
    made = world.credential("pbx-east")
    for user, secret in ((made["id"], "pa55word-of-somebody"), ("pa55word-as-user", "x")):
        for _ in range(2):
            world.deliver({"Authorization": f"Bearer {user}.{secret}"})
    world.http.post("/v1/sessions", headers=world.proof(PersonKey.generate("nobody-1"), world.challenge()))
    world.http.post(
        "/v1/sessions", headers=world.proof(PersonKey.generate("x"), world.challenge(), person_id="custodian-2")
    )
    world.http.delete("/v1/sessions/current", headers=token)
    found = _log(world, address="192.0.2.9")
    told = [(item["outcome"], item["way"], item["account"], item["count"]) for item in found["entries"]]
    assert ("opened", "key", "custodian-1", 1) in told
    assert ("closed", "person", "custodian-1", 1) in told
    assert ("refused", "secret", made["id"], 2) in told
    assert ("refused", "secret", None, 2) in told
    assert ("refused", "key", None, 1) in told
    assert ("refused", "key", "custodian-2", 1) in told
    assert {item["place"] for item in found["entries"]} == {found["place"]}
    text = json.dumps(found)
    for word in ("pa55word", "192.0.2.9", "nobody-1", token["Authorization"][7:], made["secret"]):
        assert word not in text
    assert "logins.read" in world.audit_kinds()
    assert "session.open" not in world.audit_kinds()


def test_only_who_watches_reads_the_log(world: World) -> None:
    for role in ("officer", "case-handler", "approver", "billing", "auditor"):
        world.enrol(f"{role}-1", role)
        answer = world.http.get("/v1/logins", params={"day": DAY}, headers=world.as_person(f"{role}-1"))
        assert answer.status_code == (200 if role == "auditor" else 403), role
    refused = world.http.get("/v1/logins", params={"day": DAY}, headers=world.as_person("custodian-1"))
    assert refused.status_code == 403
    wrong = world.http.get("/v1/logins", params={"day": "today"}, headers=world.as_person("auditor-1"))
    assert wrong.status_code in {400, 422}


def test_nothing_of_the_log_stands_in_the_clear(world: World) -> None:
    world.log_in("custodian-1")
    world.credential("pbx-east")
    world.deliver({"Authorization": "Bearer c-aaaaaaaaaaaaaaaa.x"})
    world.http.app.state.authenticator.logins.flush()
    assert logins.read(world.store, TODAY)
    everything = b"".join(path.read_bytes() for path in world.store.root.rglob("*") if path.is_file())
    for word in (b"192.0.2.9", b'"outcome"', b"recognised", b'"refused"'):
        assert word not in everything


def test_a_day_goes_after_thirty_and_nothing_reads_it_any_more(world: World, clock: FixedClock) -> None:
    world.log_in("custodian-1")
    refs = [ref for ref in world.store.keyring.refs() if ref.kind == "logins"]
    assert [ref.date for ref in refs] == [DAY]
    clock.advance(days=30)
    assert logins.erase(world.store) == 0
    assert logins.read(world.store, TODAY)
    clock.advance(days=1)
    world.http.app.state.authenticator.logins.erase()
    assert not [ref for ref in world.store.keyring.refs() if ref.kind == "logins" and ref.date == DAY]
    assert world.store.catalog.query("SELECT COUNT(*) FROM logins WHERE day = ?", (DAY,)) == [(0,)]
    assert logins.read(world.store, TODAY) == []
    assert logins.find_tag(world.store, TODAY, "192.0.2.9") is None
    assert "logins.erased" in world.audit_kinds()
    assert not list(world.store.verify())


def test_a_clock_that_is_set_ahead_erases_no_day_early(world: World, clock: FixedClock) -> None:
    world.log_in("custodian-1")
    clock.jump(days=400)
    assert logins.erase(world.store) == 0
    assert logins.read(world.store, TODAY)


def test_a_crash_between_key_and_rows_leaves_nothing_to_read(
    world: World, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.log_in("custodian-1")
    clock.advance(days=31)

    def crash() -> None:
        raise BusyError("crash")

    monkeypatch.setattr(world.store.catalog, "transaction", crash)
    with pytest.raises(BusyError):
        logins.erase(world.store)
    monkeypatch.undo()
    assert logins.read(world.store, TODAY) == []
    assert world.store.catalog.query("SELECT COUNT(*) FROM logins")[0][0] > 0
    logins.erase(world.store)
    assert world.store.catalog.query("SELECT COUNT(*) FROM logins WHERE day = ?", (DAY,)) == [(0,)]


def test_a_session_whose_entry_cannot_be_written_is_not_opened(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = _proof(world)

    def full(*_: object) -> None:
        raise BusyError("the catalog cannot be written")

    monkeypatch.setattr("store.logins.add", full)
    assert world.http.post("/v1/sessions", headers=proof).status_code == 503
    assert len(world.http.app.state.authenticator.sessions) == 0
    monkeypatch.undo()
    assert world.http.post("/v1/sessions", headers=_proof(world)).status_code == 201
    counts = [entry["count"] for entry in logins.read(world.store, TODAY) if entry["outcome"] == "opened"]
    assert sum(counts) == 2, "what could not be written waits on"


def test_a_flood_of_different_refusals_takes_bounded_memory(world: World) -> None:
    log = world.http.app.state.authenticator.logins
    log.flush()
    for number in range(WAITING_MAX + 500):
        log.note(Event("refused", "secret", "", f"10.0.{number >> 8}.{number & 255}"))
    assert len(log._waiting) == WAITING_MAX + 1
    log.flush()
    assert sum(entry["count"] for entry in logins.read(world.store, TODAY)) >= WAITING_MAX + 500


def _steps(world: World, person_id: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Log in as `person_id` with a wrong key; the steps that an attacker could time."""
    found: list[str] = []
    authenticator = world.http.app.state.authenticator
    offer = world.challenge()
    parameters = world.proof(PersonKey.generate("x"), offer, person_id=person_id)["Authorization"][len("Lagrum ") :]
    with monkeypatch.context() as patched:
        query, opened = world.store.catalog.query, world.store.documents._open
        patched.setattr(world.store.catalog, "query", lambda sql, p=(): (found.append(sql), query(sql, p))[1])
        patched.setattr(world.store.documents, "_open", lambda row: (found.append("unseal"), opened(row))[1])
        checked = "api.people.authenticator.verify"
        patched.setattr(checked, lambda *a: (found.append("verify"), False)[1])
        with pytest.raises(Exception, match="signature"):
            authenticator._by_signature(parameters, Peer("192.0.2.9"))
    return found


def test_an_unknown_account_takes_the_same_steps_as_a_wrong_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.enrol("officer-1", "officer")
    world.enrol("auditor-1", "auditor")
    world.log_in("custodian-1")
    _steps(world, "nobody-1", monkeypatch)
    known = _steps(world, "custodian-1", monkeypatch)
    assert known.count("verify") == 1
    assert known.count("unseal") == 1
    for person_id in ("nobody-1", "officer-1", "auditor-1", "NOT-AN-ID", ""):
        assert _steps(world, person_id, monkeypatch) == known, person_id


def test_somebody_is_always_there_to_be_read_instead(world: World) -> None:
    store: Store = world.store
    assert persons.any_id(store) == "custodian-1"
    assert persons.exists(store, "custodian-2")
    assert not persons.exists(store, "custodian-9")
