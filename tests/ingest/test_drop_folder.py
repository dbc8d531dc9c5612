"""A drop folder with a real store: what is taken, when, where it goes, and what a crash leaves."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ingest import drop_folder, sources
from ingest.drop_folder import DropFolder, Totals
from ingest.drop_rules import WatchRules
from ingest.pipeline import Delivery
from ingest.source_config import SourceConfig
from schemas.errors import BusyError, ConfigurationError
from store import Store
from store import batch as batches
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S, until

HEADER = "record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"
SETTLED = WatchRules(settle_s=0)


def lines(*keys: int) -> str:
    return HEADER + "".join(f"{key},m,voice,46700000001,46700000002,2026-11-20T10:00:00Z,61\n" for key in keys)


def drop(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Any:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


def watch(store: Store, folder: Path, rules: WatchRules = SETTLED) -> Totals:
    return DropFolder(store, "pbx", "csv", folder, rules).run(once=True, poll_s=0.01)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def kinds(store: Store) -> list[str]:
    return [entry.kind for entry in store.audit.entries() if entry.kind.startswith("intake.")]


def test_files_are_taken_in_and_moved_and_temporary_ones_are_left_alone(store: Store, folder: Path) -> None:
    drop(folder, "b.csv", lines(1, 2))
    drop(folder, "a.csv.gz", gzip.compress(lines(3).encode()))
    for name in ("_open.csv", ".x.csv", "c.csv.tmp", "d.part"):
        drop(folder, name, lines(9))
    totals = watch(store, folder)
    assert (totals.files, totals.accepted, totals.failed) == (2, 3, 0)
    assert names(folder / "done") == ["a.csv.gz", "b.csv"]
    assert names(folder) == [".x.csv", "_open.csv", "c.csv.tmp", "d.part"]
    assert store.reconcile()[0]["delivered"] == 3


def test_a_file_that_cannot_be_read_moves_to_failed_with_its_reason_and_is_an_event(store: Store, folder: Path) -> None:
    drop(folder, "bad.csv", "no,header\n1,2\n")
    drop(folder, "good.csv", lines(1))
    totals = watch(store, folder)
    assert (totals.files, totals.failed, totals.accepted) == (1, 1, 1)
    assert names(folder / "failed") == ["bad.csv", "bad.csv.reason"]
    assert "names no field" in (folder / "failed" / "bad.csv.reason").read_text()
    assert kinds(store) == ["intake.file-failed"]


def test_the_same_bytes_by_another_name_are_recognised_and_counted_once(store: Store, folder: Path) -> None:
    drop(folder, "a.csv", lines(1, 2))
    watch(store, folder)
    drop(folder, "a.csv", lines(1, 2))
    drop(folder, "copy.csv", lines(1, 2))
    totals = watch(store, folder)
    assert (totals.files, totals.redelivered, totals.records) == (2, 2, 0)
    assert names(folder / "done") == ["a.csv", "a.csv.1", "copy.csv"]
    assert sum(row["delivered"] for row in store.reconcile()) == 2


def test_small_files_share_a_batch_and_are_known_by_their_bytes_all_the_same(store: Store, folder: Path) -> None:
    for number in range(5):
        drop(folder, f"{number}.csv", lines(2 * number, 2 * number + 1))
    drop(folder, "doubtful.csv", lines(1, 50))
    drop(folder, "zipped.csv", gzip.compress(lines(60).encode()))
    totals = watch(store, folder)
    assert (totals.files, totals.records, totals.accepted, totals.duplicates) == (7, 13, 12, 1)
    assert store.receipt(1).records == 10
    for number in range(5):
        drop(folder, f"again-{number}.csv", lines(2 * number, 2 * number + 1))
    again = watch(store, folder)
    assert (again.files, again.redelivered, again.records) == (5, 5, 0)
    assert sum(row["delivered"] for row in store.reconcile()) == 13


def test_a_crash_before_the_journal_counts_nothing_twice_and_misses_no_number(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = WatchRules(settle_s=0, sequence=re.compile(r"(?P<seq>[0-9]+)"))
    drop(folder, "01", lines(1))
    watch(store, folder, rules)
    for number in (2, 3):
        drop(folder, f"{number:02d}", lines(number))
    with monkeypatch.context() as crash:
        crash.setattr(DropFolder, "_write_journal", lambda _self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            watch(store, folder, rules)
    drop(folder, "04", lines(4))
    totals = watch(store, folder, rules)
    assert (totals.files, totals.redelivered, totals.records) == (3, 2, 1)
    assert kinds(store) == []
    assert sum(row["delivered"] for row in store.reconcile()) == 4


def test_a_withdrawn_file_can_be_delivered_again(store: Store, folder: Path) -> None:
    drop(folder, "a.csv", lines(1))
    watch(store, folder)
    store.withdraw_batch(1, reason="wrong zone", actors=["one", "two"])
    drop(folder, "a.csv", lines(1))
    assert watch(store, folder).accepted == 1


def test_a_growing_file_waits_and_its_done_companion_ends_the_wait(
    store: Store, folder: Path, clock: FixedClock
) -> None:
    path = drop(folder, "a.csv", lines(1))
    now_s = clock.now_us() / 1e6
    os.utime(path, (now_s, now_s))
    rules = WatchRules(settle_s=3600)
    watched = DropFolder(store, "pbx", "csv", folder, rules)
    watched.prepare()
    assert (watched.look(), watched.totals.waiting) == (0, 1)
    drop(folder, "a.done", "")
    assert watched.look() == 1
    assert names(folder / "done") == ["a.csv", "a.done"]
    assert names(folder) == []


def test_a_file_without_its_required_companion_waits(store: Store, folder: Path) -> None:
    drop(folder, "a.csv", lines(1))
    rules = WatchRules(settle_s=0, require="md5")
    totals = watch(store, folder, rules)
    assert (totals.files, totals.waiting) == (0, 1)
    drop(folder, "a.csv.md5", hashlib.md5(lines(1).encode()).hexdigest() + "  a.csv\n")
    assert watch(store, folder, rules).files == 1
    assert names(folder / "done") == ["a.csv", "a.csv.md5"]


def test_a_wrong_checksum_refuses_the_file(store: Store, folder: Path) -> None:
    drop(folder, "a.csv", lines(1))
    drop(folder, "a.md5", hashlib.md5(b"other").hexdigest())
    drop(folder, "b.csv", lines(2))
    drop(folder, "b.csv.sha256", "nothing")
    totals = watch(store, folder)
    assert (totals.files, totals.failed) == (0, 2)
    assert store.partitions() == []


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(folder, "a.csv", lines(1))
    grown: list[bool] = []

    begin = Delivery.begin

    def growing(self: Delivery) -> None:
        if not grown:
            grown.append(True)
            with path.open("a") as file:
                file.write(lines(2).partition("\n")[2])
        begin(self)

    monkeypatch.setattr(Delivery, "begin", growing)
    totals = watch(store, folder)
    assert grown and (totals.files, totals.accepted, totals.records) == (1, 2, 2)


def test_done_files_are_deleted_after_their_days_and_failed_ones_stay(
    store: Store, folder: Path, clock: FixedClock
) -> None:
    drop(folder, "a.csv", lines(1))
    drop(folder, "bad.csv", "x\n1\n")
    watch(store, folder)
    clock.advance(days=6.9)
    watch(store, folder)
    assert names(folder / "done") == ["a.csv"]
    clock.advance(days=0.2)
    watch(store, folder)
    assert names(folder / "done") == []
    assert "bad.csv" in names(folder / "failed")


def test_a_missing_number_is_an_event_once_also_over_restarts(store: Store, folder: Path) -> None:
    rules = WatchRules(settle_s=0, sequence=re.compile(r"(?P<group>[a-z]+)_(?P<seq>[0-9]+)"))
    for number in (1, 2, 5):
        drop(folder, f"node_{number:04d}", lines(number))
    drop(folder, "other_0007", lines(7))
    watch(store, folder, rules)
    assert kinds(store) == ["intake.sequence-gap"]
    drop(folder, "node_0006", lines(6))
    watch(store, folder, rules)
    assert kinds(store) == ["intake.sequence-gap"]
    drop(folder, "node_0004", lines(4))
    watch(store, folder, rules)
    assert kinds(store) == ["intake.sequence-gap", "intake.sequence-gap-filled"]
    body = store.documents.get("watch", "pbx").body
    assert body["sequences"]["node"] == {"last": 6, "missing": [3], "lost": 0}
    assert body["files"] == 6


def test_no_event_names_a_file(store: Store, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    drop(folder, "46700000077.csv", "x\n1\n")
    watch(store, folder)
    told = caplog.text + "".join(str(entry.public) for entry in store.audit.entries())
    assert "file-failed" in told and "46700000077" not in told


def test_a_backlog_is_read_in_bounded_looks(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_folder, "LOOK_FILES_MAX", 4)
    for number in range(10):
        drop(folder, f"{number:02d}.csv", lines(number))
    watched = DropFolder(store, "pbx", "csv", folder, SETTLED)
    watched.prepare()
    assert [watched.look(), watched.look(), watched.look(), watched.look()] == [4, 4, 2, 0]


def test_a_busy_store_moves_nothing(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(folder, "a.csv", lines(1))

    def busy(*_arguments: Any, **_more: Any) -> Any:
        raise BusyError("full")

    monkeypatch.setattr(batches, "publish", busy)
    with pytest.raises(BusyError):
        watch(store, folder)
    assert names(folder) == ["a.csv"]


def test_one_process_watches_a_folder_and_wrong_settings_end_it(store: Store, folder: Path, tmp_path: Path) -> None:
    drop(folder, "a.csv", lines(1))
    sources.register(store, SourceConfig("pbx", zone=None), actor="test")
    with pytest.raises(ConfigurationError):
        DropFolder(store, "pbx", "kannel", folder, SETTLED).run(once=True)
    with pytest.raises(ConfigurationError):
        DropFolder(store, "pbx", "no-format", folder, SETTLED).run(once=True)
    with pytest.raises(ConfigurationError):
        watch(store, tmp_path / "missing")
    assert names(folder) == ["a.csv"]


def _start(root: Path, folder: Path) -> subprocess.Popen[bytes]:
    words = ["--root", str(root), "watch", "--source", "pbx", "--format", "csv", "--settle", "0", "--every", "0.05"]
    program = "import sys; from api.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, *words, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("kills", [3])
@pytest.mark.parametrize("small", [True, False])
def test_killed_and_started_again_every_file_is_stored_exactly_once(
    tmp_path: Path, folder: Path, clock: FixedClock, kills: int, small: bool
) -> None:
    clock.value_us = time.time_ns() // 1000  # the child takes the machine's time
    Store.create(tmp_path / "root", clock=clock).close()
    day = time.strftime("%Y-%m-%d", time.gmtime(clock.value_us / 1e6 - 86_400))
    done = folder / "done"
    for number in range(60):
        text = lines(2 * number, 2 * number + 1).replace("2026-11-20", day)
        # What is compressed goes by itself, each decoded while the one before is committed.
        drop(folder, f"{number:03d}.csv", text if small else gzip.compress(text.encode()))
    for kill in range(1, kills + 1):
        running = _start(tmp_path / "root", folder)
        until(lambda mark=kill: done.is_dir() and len(names(done)) >= mark * 5, "no file is taken in")  # type: ignore[misc]
        running.send_signal(signal.SIGKILL)
        running.communicate()
    last = _start(tmp_path / "root", folder)
    drop(folder, "060.csv", lines(120, 121).replace("2026-11-20", day))  # so that it runs before it is told to end
    until(lambda: len(names(done)) == 61, "not every file is taken in")
    last.send_signal(signal.SIGTERM)
    out, _ = last.communicate(timeout=PATIENCE_S)
    assert last.returncode == 0 and b"files" in out
    with Store.open(tmp_path / "root", clock=clock) as opened:
        assert opened.verify() == []
        rows = opened.reconcile()
        assert sum(row["delivered"] for row in rows) == sum(row["stored"] for row in rows) == 122
        assert opened.documents.get("watch", "pbx").body["failed"] == 0
