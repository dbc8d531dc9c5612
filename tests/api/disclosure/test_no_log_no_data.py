"""The audit log is full, read-only, broken or slow: nothing leaves unlogged, and deliveries come in all the same."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.disclosure import completeness, running
from api.disclosure.states import Stage
from schemas.errors import AuditError, IntegrityError
from store import ScanQuery, files
from store.reading import completeness as evidence
from tests.api.disclosure.conftest import WINDOW, Court
from tests.api.disclosure.test_completeness import more
from tests.store.conftest import deliver

FAULTS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "broken": errno.EIO, "quota": errno.EDQUOT}


class Fault:
    """Every durable step under the audit log fails from the step `at` on, or takes `delay_s`."""

    def __init__(self, audit: Path, *, error: int | None = None, at: int = 1, delay_s: float = 0) -> None:
        self._audit, self._error, self._at, self._delay_s = str(audit), error, at, delay_s
        self.steps = 0

    def before(self, operation: str, path: Path, target: Path | None) -> None:
        if not str(path.resolve()).startswith(self._audit):
            return
        self.steps += 1
        time.sleep(self._delay_s)
        if self._error is not None and self.steps >= self._at:
            raise OSError(self._error, errno.errorcode[self._error])


@pytest.fixture
def faulty(court: Court, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    @contextmanager
    def fault(**how: Any) -> Iterator[Fault]:
        made = Fault(court.store.layout.audit.resolve(), **how)
        with monkeypatch.context() as patch:
            patch.setattr(files, "_hook", made)
            yield made

    return fault


def found(court: Court) -> int:
    """How many records the store has in the window, whatever the log does."""
    query = ScanQuery(WINDOW.start_us, WINDOW.end_us)
    return sum(batch.num_rows for batch in court.store.scan(query))


def releases(court: Court) -> dict[str, Callable[[], Any]]:
    """Everything by which something of records leaves, each on a case of its own, ready for that step."""
    to_run, to_fetch, done = court.approved().id, court.released().id, court.run(court.approved().id).id
    procedure = court.procedure
    return {
        "run": lambda: court.run(to_run),
        "explain": lambda: procedure.explain(court.actor("handler-1"), to_run),
        "deliver": lambda: court.deliver(to_fetch),
        "release": lambda: court.release(done),
        "completeness": lambda: completeness.verify(court.store, done),
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_leaves_without_its_entry_and_deliveries_come_in(court: Court, faulty: Any, fault: str) -> None:
    steps = releases(court)
    before, size = found(court), court.store.audit.size
    with faulty(error=FAULTS[fault]) as broken:
        received = deliver(court.store, more(), source="meanwhile")
        for name, step in steps.items():
            if name == "completeness":
                continue  # reads for the auditor; its door logs
            with pytest.raises(AuditError):
                step()
        assert broken.steps > 0
        assert court.store.audit.size == size
    assert received.rows == received.accepted > 0
    assert found(court) == before + received.rows
    court.store.flush_outbox(required=True)
    kinds = [entry.kind for entry in court.log(size)]
    assert "batch" in kinds  # what waited in the outbox is there now
    assert kinds.count("disclosure.result") == 0


def test_what_a_search_begins_with_is_taken_when_its_entry_is_in_the_log(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who records the evidence looks at the open sessions of the target."""
    told: list[str] = []

    class Recorder(completeness.Recorder):
        def __init__(self, store: Any, case: Any) -> None:
            told.append(court.log()[-1].kind)
            super().__init__(store, case)

    monkeypatch.setattr(running, "Recorder", Recorder)
    court.run(court.approved().id)
    assert told == ["disclosure.run"]


@pytest.mark.parametrize("error", [IntegrityError("a part"), OSError(errno.EIO, "a disk")], ids=["part", "disk"])
def test_a_search_that_cannot_even_begin_is_an_error_that_is_told_and_keeps_nothing(
    court: Court, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Its entry is there by then, so its end is too: no task stays in the middle of a search."""
    task, size = court.approved(), court.store.audit.size

    def fails(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(evidence, "snapshot", fails)
        with pytest.raises(type(error)):
            court.run(task.id)
    failed = court.procedure.casebook.task(task.id)[0]
    assert (failed.stage, failed.reason, failed.delivery_id) == (Stage.FAILED, type(error).__name__, None)
    assert [entry.kind for entry in court.log(size)] == ["disclosure.run", "disclosure.failed"]
    assert court.procedure.vault.sweep(set()) == []
    assert court.run(task.id).records


def test_a_log_that_fails_at_any_step_of_a_release_lets_nothing_out(court: Court, faulty: Any) -> None:
    task = court.released().id
    with faulty() as counted:
        court.deliver(task)
    assert counted.steps >= 4
    for at in range(1, counted.steps + 1):
        before = court.store.audit.size
        with faulty(error=errno.ENOSPC, at=at), pytest.raises(AuditError):
            court.deliver(task)
        assert court.store.audit.size == before
        court.store.flush_outbox(required=True)  # space is there again: the attempt is told, nothing had left
        assert court.log(before)[-1].kind == "disclosure.delivered"


def test_a_run_that_fails_at_any_step_keeps_no_result_without_its_entry(court: Court, faulty: Any) -> None:
    court.run(court.approved().id)  # the first run also makes the key that signs deliveries
    probe = court.approved().id
    with faulty() as counted:
        court.run(probe)
    for at in range(1, counted.steps + 1):
        task = court.approved().id
        with faulty(error=errno.ENOSPC, at=at), pytest.raises(AuditError):
            court.run(task)
        court.store.flush_outbox(required=True)
        on_file = court.procedure.casebook.task(task)[0]
        logged = [entry.kind for entry in court.log() if entry.public.get("task") == task]
        assert ("disclosure.result" in logged) == (on_file.delivery_id is not None)


def test_a_slow_log_delays_and_loses_nothing(court: Court, faulty: Any) -> None:
    court.run(court.approved().id)
    task = court.approved().id
    size = court.store.audit.size
    with faulty(delay_s=0.02):
        done = court.run(task)
        received = deliver(court.store, more(), source="meanwhile")
    kinds = [entry.kind for entry in court.log(size)]
    assert kinds == ["disclosure.run", "disclosure.result", "batch"]
    assert (done.records or 0) > 0
    assert received.rows > 0


def test_a_log_that_was_cut_stops_every_release_and_no_delivery(court: Court) -> None:
    steps = releases(court)
    checkpoints = court.store.layout.audit / "checkpoints"
    whole = checkpoints.read_bytes()
    cut = whole.rindex(b"\n\n", 0, len(whole) - 400) + 2
    checkpoints.write_bytes(whole[:cut])
    with pytest.raises(IntegrityError):
        court.store.audit.check()
    for name, step in steps.items():
        if name != "completeness":
            with pytest.raises(AuditError):
                step()
    assert deliver(court.store, more(), source="meanwhile").rows > 0
    checkpoints.write_bytes(whole)
    with pytest.raises(AuditError):
        steps["deliver"]()
