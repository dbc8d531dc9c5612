"""A drop folder as people misuse it: no name, no neighbour and no clock keeps the other files from being taken in."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.drop_folder import DropFolder
from ingest.drop_rules import WatchRules
from ingest.folder import Folder
from schemas.errors import AuditError, BusyError, ConfigurationError
from store import Store
from tests.conftest import FixedClock
from tests.ingest.test_drop_folder import SETTLED, drop, folder, kinds, lines, names, store, watch

__all__ = ["folder", "store"]


def read_then(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen when files are read and committed, and not moved yet."""
    moves = Folder._moves

    def late(self: Folder, *arguments: str) -> list[tuple[Path, Path]]:
        monkeypatch.setattr(Folder, "_moves", moves)
        act()
        return moves(self, *arguments)

    monkeypatch.setattr(Folder, "_moves", late)


@pytest.mark.parametrize("neighbours", [0, 3])
def test_a_file_that_takes_the_place_of_one_that_was_read_is_read_too(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, neighbours: int
) -> None:
    drop(folder, "a.csv", lines(1))
    for number in range(neighbours):
        drop(folder, f"b{number}.csv", lines(10 + number))
    read_then(monkeypatch, lambda: drop(folder, "_next", lines(2)).replace(folder / "a.csv"))
    totals = watch(store, folder)
    assert totals.accepted == 2 + neighbours
    assert names(folder) == []
    assert (folder / "done" / "a.csv").read_text() == lines(2)


def test_what_is_appended_behind_the_reading_is_read_too(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder, "Master.csv", lines(1))
    read_then(monkeypatch, lambda: drop(folder, "Master.csv", lines(1, 2)))
    totals = watch(store, folder)
    assert (totals.accepted, totals.duplicates) == (2, 1)


def test_a_sound_file_in_the_place_of_a_bad_one_does_not_go_to_failed(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder, "a.csv", "no,header\n1,2\n")
    read_then(monkeypatch, lambda: drop(folder, "a.csv", lines(2)))
    assert watch(store, folder).accepted == 1
    assert names(folder / "failed") == []


def test_two_bad_files_of_one_name_are_both_kept_each_with_its_reason(store: Store, folder: Path) -> None:
    for content in ("no,header\n1,2\n", "other,header\n1,2\n"):
        drop(folder, "a.csv", content)
        watch(store, folder)
    found = names(folder / "failed")
    assert (len(found), found[0], found[-1]) == (4, "a.csv", "a.csv.reason")


@pytest.mark.parametrize("name", ["x" * 251 + ".csv", "ö" * 125 + ".csv", "a\nb.csv", "a\udcff.csv", " .csv"])
def test_any_name_is_taken_in_moved_and_refused(store: Store, folder: Path, name: str) -> None:
    for keys in ((1,), (2,), (3,)):
        drop(folder, name, lines(*keys))
        drop(folder, "z.csv", lines(10 + keys[0]))
        assert watch(store, folder).accepted == 2
    drop(folder, name, "no,header\n1,2\n")
    assert watch(store, folder).failed == 1
    assert names(folder) == []
    assert (len(names(folder / "done")), len(names(folder / "failed"))) == (6, 2)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_what_is_no_plain_file_is_no_delivery_and_no_companion(
    store: Store, folder: Path, make: Callable[[Path], None]
) -> None:
    for name in ("a.csv.md5", "a.csv.done", "b.csv", "c.sha256"):
        make(folder / name)
    drop(folder, "a.csv", lines(1))
    drop(folder, "c.csv", lines(2))
    assert watch(store, folder).accepted == 2


def test_done_that_is_older_than_the_file_speaks_of_another(store: Store, folder: Path) -> None:
    drop(folder, "a.csv.done", "")
    os.utime(folder / "a.csv.done", (1_700_000_000, 1_700_000_000))
    drop(folder, "a.csv", lines(1))
    looking = DropFolder(store, "pbx", "csv", folder, WatchRules(settle_s=60))
    looking.prepare()
    assert looking.look() == 0
    (folder / "a.csv.done").touch()
    assert looking.look() == 1


def test_a_file_that_may_not_be_read_waits_and_is_told_until_its_rights_change(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder, "a.csv", lines(1))
    drop(folder, "b.csv", lines(2))
    (folder / "a.csv").chmod(0)
    opened = os.open

    def refusing(path: Path, *rest: int) -> int:
        if Path(path).name == "a.csv" and not Path(path).stat().st_mode & 0o777:
            raise PermissionError
        return opened(path, *rest)

    monkeypatch.setattr("ingest.folder.os.open", refusing)
    looking = DropFolder(store, "pbx", "csv", folder, SETTLED)
    looking.prepare()
    assert [looking.look() for _ in range(3)] == [1, 0, 0]
    assert (looking.totals.waiting, kinds(store)) == (1, ["intake.file-unreadable"])
    (folder / "a.csv").chmod(0o600)
    assert looking.look() == 1


def test_folders_that_an_operator_removes_are_made_again(store: Store, folder: Path) -> None:
    looking = DropFolder(store, "pbx", "csv", folder, SETTLED)
    looking.prepare()
    for one in ("done", "failed"):
        (folder / one).rmdir()
    drop(folder, "a.csv", lines(1))
    drop(folder, "b.csv", "no,header\n1,2\n")
    assert looking.run(once=True, poll_s=0.01).files == 1
    (folder / "done" / "a.csv").unlink()
    (folder / "done").rmdir()
    looking._rest()
    drop(folder, "c.csv", lines(3))
    assert looking.look() == 1
    assert names(folder / "done") == ["c.csv"]


def test_folders_on_another_file_system_are_refused_at_once(store: Store, folder: Path) -> None:
    elsewhere = next(path for path in (Path("/proc"), Path("/sys")) if path.is_dir())
    (folder / "done").symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match="file system"):
        watch(store, folder)


def test_a_clock_that_is_set_back_keeps_no_file_waiting(store: Store, folder: Path, clock: FixedClock) -> None:
    drop(folder, "a.csv", lines(1))
    os.utime(folder / "a.csv", (clock.now_us() / 1e6 + 86_400,) * 2)
    assert watch(store, folder, WatchRules(settle_s=0.05)).accepted == 1


@pytest.mark.parametrize("other", ["link", "../in/.", "in/../../in"])
def test_a_folder_is_watched_once_whatever_it_is_called(store: Store, folder: Path, tmp_path: Path, other: str) -> None:
    (tmp_path / "link").symlink_to(folder)
    (folder / "in").mkdir()
    drop(folder, "a.csv", lines(1))
    first = DropFolder(store, "pbx", "csv", folder, SETTLED)
    with first._alone(), pytest.raises(BusyError, match="watches this folder") as refused:
        watch(store, tmp_path / other if other == "link" else folder / other)
    assert refused.value.hint and names(folder) == ["a.csv"]
    assert watch(store, folder).files == 1


def test_a_pause_says_why_and_names_no_file(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watched = DropFolder(store, "pbx", "csv", folder, SETTLED)
    errors: list[Exception] = [OSError(errno.ENOSPC, "x", "/secret"), AuditError("the log is shut"), BusyError("busy")]

    def failing() -> int:
        if len(errors) == 1:
            watched.stop.set()
        raise errors.pop(0)

    monkeypatch.setattr(watched, "look", failing)
    watched.run(once=False, poll_s=0.001)
    told = [record.getMessage().partition("reason=")[2] for record in caplog.records]
    assert told == ["No space left on device", "the log is shut", "busy"]


def test_a_file_that_was_refused_never_lies_without_its_reason(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder, "a.csv", "no,header\n1,2\n")
    with monkeypatch.context() as dying:
        dying.setattr("ingest.folder.files.replace_all", _die)
        with pytest.raises(KeyboardInterrupt):
            watch(store, folder)
    assert names(folder) == ["a.csv"]
    assert watch(store, folder).failed == 1
    assert names(folder / "failed") == ["a.csv", "a.csv.reason"]


def _die(_: object) -> None:
    raise KeyboardInterrupt


def test_two_folders_of_one_source_lose_nothing_of_each_other(store: Store, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    rules = WatchRules(settle_s=0, sequence=re.compile(r"(?P<group>[a-z])(?P<seq>[0-9]+)"))
    both = [DropFolder(store, "pbx", "csv", one, rules) for one in (folder, other)]
    for one in both:
        one.prepare()
    for number, (one, into, letter) in enumerate(zip(both * 2, [folder, other] * 2, "abab", strict=True)):
        drop(into, f"{letter}{10 + number * 2}.csv", lines(number))
        assert one.look() == 1
    journal = store.documents.get("watch", "pbx").body
    assert (journal["files"], sorted(journal["sequences"])) == (4, ["a", "b"])
    assert kinds(store) == ["intake.sequence-gap"] * 2


def test_events_and_counts_wait_for_a_journal_that_can_be_written(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = WatchRules(settle_s=0, sequence=re.compile(r"(?P<seq>[0-9]+)"))
    for number in (1, 4):
        drop(folder, f"{number}.csv", lines(number))
    watched = DropFolder(store, "pbx", "csv", folder, rules)
    watched.prepare()
    with monkeypatch.context() as full:
        full.setattr(type(store.documents), "commit", _full)
        with pytest.raises(OSError, match="full"):
            watched.look()
        assert names(folder) == ["1.csv", "4.csv"]
    watched.look()
    assert names(folder) == [] and kinds(store) == ["intake.sequence-gap"]
    journal = store.documents.get("watch", "pbx").body
    assert (journal["files"], journal["redelivered"]) == (2, 0)


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "full")
