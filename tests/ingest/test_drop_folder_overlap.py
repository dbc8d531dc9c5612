"""Files of a drop folder that are looked up while the one before is committed: each ends as if it came alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ingest import drop_folder
from ingest.drop_folder import DropFolder
from ingest.drop_rules import WatchRules
from ingest.pipeline import Delivery
from schemas.errors import BusyError, InputError
from store import Store
from store import batch as batches
from tests.conftest import FixedClock
from tests.ingest.test_drop_folder import SETTLED, drop, folder, kinds, lines, names, store, watch

__all__ = ["folder", "store"]


def _files_after(monkeypatch: pytest.MonkeyPatch, place: int, error: BaseException) -> None:
    """Have the publishing of one batch fail, once."""
    publish, count = batches.publish, [0]

    def failing(*arguments: Any) -> Any:
        count[0] += 1
        if count[0] == place:
            raise error
        return publish(*arguments)

    monkeypatch.setattr(batches, "publish", failing)


def _singles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_folder, "SMALL_BYTES_MAX", 0)


def test_overlapping_files_are_told_as_one_by_one(
    store: Store, folder: Path, tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _singles(monkeypatch)
    contents = [lines(1, 2, 3), lines(2, 3, 4), lines(1, 2, 3), lines(4, 5).replace(",61", ",62"), "x\n1\n", lines(6)]
    contents += [contents[-1], lines(5, 6)]
    for number, content in enumerate(contents):
        drop(folder, f"{number}.csv", content)
    totals = watch(store, folder)
    assert (totals.files, totals.failed, totals.redelivered) == (7, 1, 2)
    assert (totals.accepted, totals.duplicates, totals.conflicts) == (6, 3, 2)
    assert [store.receipt(number).accepted for number in (1, 2, 3, 4, 5)] == [3, 1, 1, 1, 0]
    assert names(folder) == [] and names(folder / "failed") == ["4.csv", "4.csv.reason"]
    assert store.verify() == []


@pytest.mark.parametrize("place", [1, 2, 3])
def test_a_file_that_cannot_be_stored_fails_alone_and_those_after_it_are_looked_up_anew(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    _singles(monkeypatch)
    rules = WatchRules(settle_s=0, sequence=re.compile(r"(?P<seq>[0-9]+)"))
    for number in range(1, 5):
        drop(folder, f"{number}.csv", lines(number, number + 1))
    _files_after(monkeypatch, place, InputError("no identity"))
    totals = watch(store, folder, rules)
    assert (totals.files, totals.failed) == (3, 1)
    assert names(folder / "failed") == [f"{place}.csv", f"{place}.csv.reason"]
    assert "intake.sequence-gap" not in kinds(store)
    drop(folder, f"{place}.csv", lines(place, place + 1))
    watch(store, folder, rules)
    assert sum(item.records for item in store.partitions()) == 5 and store.verify() == []


@pytest.mark.parametrize("place", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [BusyError("full"), OSError(28, "full")])
def test_when_the_store_takes_one_no_more_nothing_after_it_is_stored_and_all_is_taken_later(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, place: int, error: Exception
) -> None:
    _singles(monkeypatch)
    for number in range(1, 5):
        drop(folder, f"{number}.csv", lines(number, number + 1))
    with monkeypatch.context() as full:
        _files_after(full, place, error)
        with pytest.raises(type(error)):
            watch(store, folder)
    stored = list(range(1, place))
    assert [item.records for item in store.partitions()] == ([place] if stored else [])
    assert names(folder / "done") == [f"{number}.csv" for number in stored]
    totals = watch(store, folder)
    assert (totals.files, totals.redelivered, totals.failed) == (5 - place, 0, 0)
    assert sum(item.records for item in store.partitions()) == 5 and store.verify() == []
    assert sum(row["delivered"] for row in store.reconcile()) == 8


def test_told_to_end_what_was_handed_over_gets_its_receipt(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _singles(monkeypatch)
    for number in range(1, 5):
        drop(folder, f"{number}.csv", lines(number))
    watched = DropFolder(store, "pbx", "csv", folder, SETTLED)
    begin, begun = Delivery.begin, []

    def ending(self: Delivery) -> None:
        begun.append(self)
        if len(begun) == 3:
            watched.stop.set()
        begin(self)

    monkeypatch.setattr(Delivery, "begin", ending)
    totals = watched.run(once=False)
    assert (totals.files, totals.accepted) == (2, 2)
    assert names(folder / "done") == ["1.csv", "2.csv"] and names(folder) == ["3.csv", "4.csv"]
