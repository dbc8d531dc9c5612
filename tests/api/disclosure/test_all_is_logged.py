"""Whatever somebody does with records, cases, persons, policies and keys, the log tells: one walk through all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.cli import main
from schemas.errors import LagrumError
from store import Store
from store.backup import backup
from tests.api.disclosure.conftest import Court
from tests.api.disclosure.test_completeness import more
from tests.api.world import World
from tests.store.conftest import deliver


def new_kinds(store: Store, act: Callable[[], Any]) -> set[str]:
    size = store.audit.size
    act()
    store.flush_outbox(required=True)
    store.audit.refresh()
    return {entry.kind for entry in store.audit.entries(size)}


def test_every_step_of_a_case_is_logged(court: Court) -> None:
    done: dict[str, Any] = {}
    procedure = court.procedure

    def step(name: str, act: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> None:
            done[name] = act()

        return run

    walk: list[tuple[Callable[[], Any], str]] = [
        (step("order", court.file), "disclosure.authorised"),
        (step("task", lambda: court.register(done["order"])), "disclosure.registered"),
        (step("check", lambda: court.check(done["task"].id)), "disclosure.checked"),
        (step("approve", lambda: court.approve(done["task"].id)), "disclosure.approved"),
        (lambda: procedure.explain(court.actor("handler-1"), done["task"].id), "disclosure.explained"),
        (step("run", lambda: court.run(done["task"].id)), "disclosure.run"),
        (step("release", lambda: court.release(done["task"].id)), "disclosure.released"),
        (step("deliver", lambda: court.deliver(done["task"].id)), "disclosure.delivered"),
        (step("other", lambda: court.register(court.file())), "disclosure.registered"),
        (lambda: procedure.reject(court.actor("handler-1"), done["other"].id, "wrong-number"), "disclosure.rejected"),
        (step("third", lambda: court.register(court.file())), "disclosure.registered"),
        (lambda: procedure.cancel(court.actor("officer-1"), done["third"].id, "not-needed"), "disclosure.cancelled"),
    ]
    for act, kind in walk:
        assert kind in new_kinds(court.store, act), kind


@pytest.mark.parametrize("person", ["auditor-1", "custodian-1", "billing-1", "approver-1", "officer-1"])
def test_every_refusal_is_logged_with_its_reason(court: Court, person: str) -> None:
    task = court.approved().id

    def refused() -> None:
        with pytest.raises(LagrumError):
            court.run(task, person)

    size = court.store.audit.size
    assert "disclosure.refused" in new_kinds(court.store, refused)
    (entry,) = [entry for entry in court.log(size) if entry.kind == "disclosure.refused"]
    assert entry.public["person"] == person
    assert entry.public["reason"]


def test_deliveries_corrections_and_erasures_are_logged(court: Court) -> None:
    store = court.store
    received: list[Any] = []
    assert "batch" in new_kinds(store, lambda: received.append(deliver(store, more(), source="more")))
    deliver(store, more(seed=6), source="late")
    assert "compaction" in new_kinds(store, lambda: store.compact(everything=True))
    withdraw = lambda: store.withdraw_batch(received[0].batch_id, reason="zone", actors=["a", "b"])  # noqa: E731
    assert "batch.withdrawn" in new_kinds(store, withdraw)
    court.clock.advance(days=736)
    confirm = lambda: store.clock_guard.confirm(court.clock.now_us(), reason="test", actors=["a", "b"])  # noqa: E731
    assert "clock.confirmed" in new_kinds(store, confirm)
    assert {"erasure.intended", "erasure.done"} <= new_kinds(store, store.expire)
    assert store.audit.rotate_if_due() is True


def test_what_custodians_and_auditors_do_is_logged(world: World) -> None:
    store = world.store

    def get(path: str, person: str) -> Callable[[], Any]:
        return lambda: world.http.get(path, headers=world.as_person(person))

    assert {"person.enrol.request", "person.enrol.confirm"} <= new_kinds(
        store, lambda: world.enrol("auditor-1", "auditor")
    )
    world.log_in("auditor-1")  # log-ins have a log of their own, which ends after 30 days
    assert "audit.read" in new_kinds(store, get("/v1/audit/entries", "auditor-1"))
    made = new_kinds(store, lambda: world.credential("pbx-east"))
    assert "source.registered" in made
    assert any(kind.startswith("credential.") for kind in made)


def test_what_is_done_to_keys_and_copies_is_logged(court: Court, tmp_path: Path) -> None:
    store, root = court.store, str(court.store.root)

    def rotate() -> None:
        assert main(["--root", root, "keys", "rotate"], clock=court.clock) == 0

    assert "keyring.rotated" in new_kinds(store, rotate)
    assert "backup.made" in new_kinds(store, lambda: backup(store, tmp_path / "copy"))
