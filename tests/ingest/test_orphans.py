"""A kill between the moves of a file and its companions: they follow it at the next start, and no other does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from ingest import orphans
from ingest.drop_rules import DONE, FAILED
from ingest.orphans import gather
from store import Store, files
from tests.conftest import FixedClock
from tests.ingest.test_drop_folder import drop, folder, lines, names, store, watch

__all__ = ["folder", "store"]


class Killed(BaseException):
    """The process is gone."""


def killed(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch a folder until the first file of the first move is moved."""
    real = files.replace_all

    def only_the_first(moves: Iterable[tuple[Path, Path]]) -> None:
        for move in moves:
            real([move])
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace_all", only_the_first)
        with pytest.raises(Killed):
            watch(store, folder)


def md5(content: str) -> str:
    return hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("content", "home"), [(lines(1, 2), DONE), ("no,header\n1,2\n", FAILED)], ids=["taken in", "refused"]
)
def test_companions_that_were_left_follow_their_file_at_the_next_start(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, content: str, home: str
) -> None:
    drop(folder, "a.csv", content)
    drop(folder, "a.csv.md5", md5(content))
    drop(folder, "a.done", "")
    killed(store, folder, monkeypatch)
    assert names(folder) == ["a.csv.md5", "a.done"] and "a.csv" in names(folder / home)
    totals = watch(store, folder)
    assert (totals.files, totals.failed, totals.records) == (0, 0, 0), "no companion is a delivery"
    assert names(folder) == [] and {"a.csv", "a.csv.md5", "a.csv.done"} <= set(names(folder / home))
    drop(folder, "a.csv", lines(3))  # the old checksum does not speak of it
    assert watch(store, folder).accepted == 1


def test_a_file_that_got_another_name_has_its_companion_beside_it(
    store: Store, folder: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(folder, "a.csv", lines(1))
    watch(store, folder)
    clock.advance(seconds=5)
    drop(folder, "a.csv", lines(2))
    drop(folder, "a.csv.md5", md5(lines(2)))
    killed(store, folder, monkeypatch)
    watch(store, folder)
    assert names(folder) == [] and names(folder / DONE) == ["a.csv", "a.csv.2", "a.csv.2.md5"]


def test_a_companion_waits_for_its_file_and_one_that_announces_a_repetition_too(store: Store, folder: Path) -> None:
    drop(folder, "old.csv", lines(1))
    watch(store, folder)
    waiting = [drop(folder, name, md5(lines(2))) for name in ("new.csv.md5", "old.csv.md5", "stem.md5")]
    watch(store, folder)
    assert all(path.exists() for path in waiting)
    drop(folder, "new.csv", lines(2))
    drop(folder, "old.csv", lines(1, 2))  # its checksum is another
    totals = watch(store, folder)
    assert (totals.files, totals.failed) == (1, 1)
    assert names(folder) == ["stem.md5"]


def test_a_companion_of_a_file_that_is_there_stays_though_another_of_its_name_was_moved(
    store: Store, folder: Path, clock: FixedClock
) -> None:
    moved = [drop(folder, name, "") for name in ("a.csv", "a.csv.md5", "a.done")]
    (folder / DONE).mkdir()
    drop(folder / DONE, "a.csv", "")
    for path in (*moved, folder / DONE / "a.csv"):
        os.utime(path, ns=(7, 7))
    assert gather(folder, (DONE, FAILED), clock.now_us()) == 0
    moved[0].unlink()
    assert gather(folder, (DONE, FAILED), clock.now_us()) == 2


def test_where_times_may_not_be_set_the_order_of_changes_decides(
    folder: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans.os, "geteuid", lambda: 4_711)
    (folder / DONE).mkdir()
    drop(folder, "a.csv.md5", "left")
    drop(folder / DONE, "a.csv", "")
    before = (folder / DONE / "a.csv").stat().st_ctime_ns
    late = drop(folder, "b.csv.md5", "announced")
    drop(folder / DONE, "b.csv", "")
    while late.stat().st_ctime_ns <= (folder / DONE / "b.csv").stat().st_ctime_ns or before == late.stat().st_ctime_ns:
        late.write_text("announced")
    assert gather(folder, (DONE, FAILED), clock.now_us()) == 1
    assert names(folder) == ["b.csv.md5"] and names(folder / DONE) == ["a.csv", "a.csv.md5", "b.csv"]


def test_nothing_in_the_other_folder_is_overwritten(folder: Path, clock: FixedClock) -> None:
    (folder / DONE).mkdir()
    for path in (drop(folder, "a.csv.md5", "new"), drop(folder / DONE, "a.csv", "")):
        os.utime(path, ns=(7, 7))
    drop(folder / DONE, "a.csv.md5", "old")
    assert gather(folder, (DONE, FAILED), clock.now_us()) == 1
    assert (folder / DONE / "a.csv.md5").read_text() == "old" and len(names(folder / DONE)) == 3
