"""A process that is stopped while it holds a lock: a delivery gets 503, the metrics show it, a command says it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from store import Store, SystemClock, files, locks
from tests.api.world import World
from tests.patience import PATIENCE_S
from tests.store.test_locks import stopped

LAGRUM = [sys.executable, "-c", "import sys; from api.cli import main; sys.exit(main())"]


def test_a_delivery_that_cannot_have_a_lock_is_to_be_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = world.switch("pbx-east")
    with monkeypatch.context() as patch, stopped(world.store.layout.writers_lock) as number:
        patch.setattr(locks, "LIMIT_S", 0.1)
        answer = world.deliver(headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert f"process {number}, which is stopped, holds it" in answer.json()["hint"]
    again = world.deliver(headers)
    assert (again.status_code, again.json()["accepted"]) == (200, 2)


def test_the_metrics_show_who_waits(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    headers = world.as_person("custodian-1")

    def metrics() -> str:
        return world.http.get("/v1/metrics", headers=headers).text

    def wait() -> None:
        with files.lock(world.store.layout.erasure_lock, exclusive=True):
            pass

    assert "# TYPE lagrum_lock_wait_seconds gauge" in metrics() and 'lock="erasure"' not in metrics()
    monkeypatch.setattr(locks, "TELL_AFTER_S", 0.0)
    waiter = threading.Thread(target=wait)
    with stopped(world.store.layout.erasure_lock):
        waiter.start()
        while "erasure" not in caplog.text:
            waiter.join(0.01)
        assert 'lagrum_lock_wait_seconds{lock="erasure"}' in metrics()
    waiter.join(PATIENCE_S)
    assert 'lock="erasure"' not in metrics()


def test_a_command_says_once_what_it_waits_for_and_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "root"
    Store.create(root, clock=SystemClock()).close()
    command = [*LAGRUM, "--root", str(root), "--json", "status"]
    with stopped(root / "keyring" / "lock") as number:
        waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        told = waiting.stderr.readline()
    assert told == f"waiting for the keyring lock; process {number}, which is stopped, holds it\n"
    out, rest = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, rest) == (0, "") and out.startswith("{")
