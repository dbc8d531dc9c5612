"""Merges in a process beside the service: what it is given, what it tells, and the death of either at any time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from api import merger
from api.merger import Merger
from api.scheduling import NICENESS
from schemas.errors import BusyError, ConfigurationError, LagrumError
from store import ScanQuery, Store, SystemClock, files
from store.compaction.compact import is_due
from tests.fault.writer import batch_table
from tests.patience import PATIENCE_S
from tests.store.conftest import deliver

EVER = ScanQuery(0, 2**60)
PASSPHRASE = b"correct horse"
PARTS = 4
SERVICE = """
import sys
from pathlib import Path
from api.merger import Merger
from store import Store, SystemClock
with Store.open(Path(sys.argv[1]), clock=SystemClock()) as store:
    Merger(store, None).look()
"""


def made(root: Path, passphrase: bytes | None = None) -> Store:
    """Make a store with parts that are due to be merged: of each of these batches the records are of one day."""
    store = Store.create(root, clock=SystemClock(), passphrase=passphrase)
    for number in (1, 3, 4, 6):
        deliver(store, batch_table(number, store.clock.now_us()))
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with made(tmp_path / "root") as opened:
        yield opened


def keys_of(store: Store) -> list[int]:
    return sorted(key for batch in store.scan(EVER) for key in batch.column("record_key").to_pylist())


@contextmanager
def waiting(store: Store, *command: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Give a process that has another merge, and the number of that other, which waits for a lock."""
    with files.lock(store.layout.writers_lock, exclusive=True):
        words = [sys.executable, *command]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as service:
            try:
                yield service, wait_for_lock(service.pid)
            finally:
                service.kill()


def wait_for_lock(number: int) -> int:
    """Return the child of a process when it has taken the lock of those who merge."""
    while True:
        with suppress(OSError):  # a thread or a descriptor was gone before it was looked at
            for task in Path(f"/proc/{number}/task").iterdir():
                for child in map(int, (task / "children").read_text().split()):
                    if any("compaction" in link.readlink().name for link in Path(f"/proc/{child}/fd").iterdir()):
                        return child
        time.sleep(0.02)


def gone(number: int) -> bool:
    """Tell that a process has ended, which it does soon."""
    for _ in range(int(PATIENCE_S * 100)):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_it_merges_what_is_due_and_tells_the_service_which_parts_became_which(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, told = keys_of(store), list[tuple[Any, Any]]()
    monkeypatch.setattr(store.known, "merged", lambda merged, into: told.append((sorted(merged), into)))
    files_before = sorted(part.file_id for part in store.catalog.parts())
    assert len(files_before) == PARTS
    assert Merger(store, None).look() == 1
    assert told == [(files_before, [part.file_id for part in store.catalog.parts()])]
    assert len(store.catalog.parts()) == 1 and keys_of(store) == before
    assert store.verify() == []


def test_nothing_due_starts_no_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.compact()
    monkeypatch.setattr(merger.subprocess, "Popen", None)
    assert Merger(store, None).look() == 0


@pytest.mark.parametrize("withdrawn", [False, True])
def test_the_clock_is_asked_whether_something_is_due_only_where_the_floor_decides(
    store: Store, monkeypatch: pytest.MonkeyPatch, withdrawn: bool
) -> None:
    if withdrawn:
        store.withdraw_batch(1, reason="wrong zone", actors=("a", "b"))
    asked, verdict = list[int](), store.clock_guard.verdict
    monkeypatch.setattr(store.clock_guard, "verdict", lambda: (asked.append(1), verdict())[1])
    assert is_due(store, everything=True)
    assert len(asked) == withdrawn


def test_the_passphrase_goes_over_the_pipe_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, real = list[Any](), subprocess.Popen

    def popen(words: list[str], **more: Any) -> subprocess.Popen[bytes]:
        started.append((words, more))
        return real(words, **more)

    with made(tmp_path / "root", PASSPHRASE) as store:
        monkeypatch.setattr(merger.subprocess, "Popen", popen)
        assert Merger(store, PASSPHRASE).look() == 1
        assert store.verify() == []
    ((words, more),) = started
    assert not any(PASSPHRASE.decode() in word for word in words) and "env" not in more
    assert "horse" not in json.dumps(dict(os.environ))


@pytest.mark.parametrize("secret", [b"another horse", None])
def test_a_wrong_passphrase_is_told_and_not_said(tmp_path: Path, secret: bytes | None) -> None:
    with made(tmp_path / "root", PASSPHRASE) as store:
        with pytest.raises(LagrumError, match="passphrase") as refused:
            Merger(store, secret).look()
        assert "horse" not in refused.value.message
        assert len(store.catalog.parts()) == PARTS


def test_a_failure_is_told_as_the_thread_tells_it(store: Store) -> None:
    with files.lock(store.layout.compaction_lock, exclusive=True):
        with pytest.raises(BusyError) as refused:
            store.compact()
        with pytest.raises(LagrumError) as told:
            Merger(store, None).look()
    assert told.value.message == refused.value.message


def test_a_killed_process_is_told_and_the_next_one_merges(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys_of(store)
    with monkeypatch.context() as patch:
        patch.setattr(Merger, "_hand_over", lambda _, process: process.kill())
        with pytest.raises(LagrumError, match="ended with -9"):
            Merger(store, None).look()
    assert len(store.catalog.parts()) == PARTS
    assert Merger(store, None).look() == 1
    assert keys_of(store) == before and store.verify() == []


def test_a_process_that_is_killed_while_it_merges_leaves_nothing_half_done(tmp_path: Path) -> None:
    with made(tmp_path / "root") as store:
        before = keys_of(store)
        with waiting(store, "-c", SERVICE, str(store.root)) as (service, child):
            os.kill(child, signal.SIGKILL)
            _, errors = service.communicate(timeout=PATIENCE_S)
        assert "ended with -9" in errors
    with Store.open(tmp_path / "root", clock=SystemClock()) as store:
        assert Merger(store, None).look() == 1
        assert keys_of(store) == before and store.verify() == []


def test_it_ends_with_a_service_that_is_killed(store: Store) -> None:
    with waiting(store, "-c", SERVICE, str(store.root)) as (service, child):
        service.kill()
        assert gone(child)
    assert len(store.catalog.parts()) == PARTS
    assert Merger(store, None).look() == 1


def test_it_ends_with_the_service_and_in_its_session_stands_back(store: Store) -> None:
    program = "import sys; from api.cli import main; sys.exit(main())"
    words = ("-c", program, "--root", str(store.root), "--json", "serve", "--port", "0")
    with waiting(store, *words) as (service, child):
        assert os.getpriority(os.PRIO_PROCESS, child) >= NICENESS
        assert os.getsid(child) == os.getsid(service.pid) and os.getpgid(child) == child
        os.kill(child, signal.SIGTERM)  # as a supervisor sends it to all
        service.send_signal(signal.SIGTERM)
        _, errors = service.communicate(timeout=PATIENCE_S)
        assert gone(child)
    assert service.returncode == 0 and "failed" not in errors
    assert len(store.catalog.parts()) == PARTS


def test_a_stopped_process_is_killed_within_bounds_and_none_follows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merger, "ENDING_SECONDS", 0.2)
    one = Merger(store, None)
    with files.lock(store.layout.writers_lock, exclusive=True), ThreadPoolExecutor(1) as pool:
        looking = pool.submit(one.look)
        child = wait_for_lock(os.getpid())
        os.kill(child, signal.SIGSTOP)
        one.stop()
        assert gone(child)
        assert looking.result() == 0
    assert one.look() == 0 and len(store.catalog.parts()) == PARTS


def test_a_process_that_is_stopped_is_killed_and_its_locks_are_free(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merger, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(merger, "ENDING_SECONDS", 0.2)
    with files.lock(store.layout.writers_lock, exclusive=True), ThreadPoolExecutor(1) as pool:
        looking = pool.submit(Merger(store, None).look)
        child = wait_for_lock(os.getpid())
        monkeypatch.setattr(merger, "SILENT_SECONDS_MAX", 5)  # from the next beat on
        time.sleep(0.3)
        with suppress(ProcessLookupError):  # the machine let it say nothing for so long
            os.kill(child, signal.SIGSTOP)
        with pytest.raises(BusyError, match="says nothing any more"):
            looking.result(timeout=PATIENCE_S)
        assert gone(child)
    monkeypatch.undo()
    assert Merger(store, None).look() == 1


def test_a_process_that_waits_says_that_it_lives(store: Store) -> None:
    line = {"passphrase": None, "beat_seconds": 0.01, "recover": False, "place": merger.place_of(store.root)}
    with files.lock(store.layout.writers_lock, exclusive=True), child_of(store, line) as process:
        child, told = wait_for_lock(os.getpid()), process.stdout
        assert child == process.pid and told is not None
        assert [told.readline() for _ in range(100)] == ["{}\n"] * 100
    assert process.returncode == 3  # its pipe has ended


@contextmanager
def child_of(store: Store, line: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Give a process that merges, told by a test; its pipe ends with the test."""
    program = "import sys; from api.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "--root", str(store.root), "compact", "--for-service"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        yield process
        process.stdin.close()
        process.wait(PATIENCE_S)


def test_lines_come_whole_whatever_the_pipe_cuts_and_its_end_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merger, "_READ_BYTES", 3)
    reading, writing = os.pipe()
    os.write(writing, b'{}\n{"failed": "a"}\n{"merg')
    os.close(writing)
    assert list(merger._lines(reading)) == [b"{}", b'{"failed": "a"}']
    os.close(reading)


def test_files_of_no_catalog_are_removed_after_a_death_and_not_looked_for_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look takes the writers' lock alone: deliveries would wait for a process that stands back, every minute."""
    part = store.catalog.parts()[0]
    (known,) = store.layout.parts.rglob(f"{part.file_id}.parquet")
    orphan = known.with_name(f"{'0' * len(part.file_id)}.parquet")
    one = Merger(store, None)
    orphan.write_bytes(b"of a process that was killed")
    assert one.look() == 1 and not orphan.exists()
    orphan.write_bytes(b"of one that writes just now")
    for number in (7, 9, 12, 13):
        deliver(store, batch_table(number, store.clock.now_us()))
    assert one.look() == 1 and orphan.exists()
    for number in (16, 18, 19, 21):
        deliver(store, batch_table(number, store.clock.now_us()))
    with monkeypatch.context() as patch:
        patch.setattr(Merger, "_hand_over", lambda _, process: process.kill())
        with pytest.raises(LagrumError, match="ended with -9"):
            one.look()
    assert orphan.exists()
    assert one.look() == 1 and not orphan.exists()


@pytest.mark.parametrize("other", ["another", "none"])
def test_nothing_is_merged_where_another_store_is_by_now(store: Store, tmp_path: Path, other: str) -> None:
    one, root, line = Merger(store, None), store.root, {"passphrase": None, "beat_seconds": 9, "recover": True}
    line["place"] = merger.place_of(root)
    root.rename(tmp_path / "away")
    if other == "another":
        made(root).close()
    with pytest.raises(ConfigurationError, match="place"):
        one.look()
    with child_of(store, line) as process:
        assert process.stdout is not None and "place" in json.loads(process.stdout.readlines()[-1])["failed"]
    if other == "another":
        with Store.open(root, clock=SystemClock()) as another:
            assert len(another.catalog.parts()) == PARTS
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        root.rmdir()
    (tmp_path / "away").rename(root)
    assert one.look() == 1


def test_what_the_disk_refuses_is_told_in_words(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    """And on standard error, which is the service's log, is no file's name."""
    place = store.layout.compaction_lock
    place.unlink(missing_ok=True)
    place.mkdir()
    with pytest.raises(LagrumError, match="Is a directory"):
        Merger(store, None).look()
    assert str(store.root) not in "".join(capfd.readouterr())
    place.rmdir()
    assert Merger(store, None).look() == 1


def test_a_service_that_ends_while_a_process_begins_is_told_nothing(store: Store) -> None:
    """The pipe is closed before the first line is in it."""
    one = Merger(store, None)
    begun = one._hand_over

    def ended_first(process: subprocess.Popen[bytes]) -> None:
        one.stop()
        begun(process)

    one._hand_over = ended_first  # type: ignore[method-assign]
    assert one.look() == 0 and len(store.catalog.parts()) == PARTS
