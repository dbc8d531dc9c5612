"""Parts that nobody removes by mistake: marked immutable where the disk allows it, and written as ever where not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from store import Store, files, immutable
from store.layout import SUFFIXES
from tests.conftest import FixedClock, ends_us
from tests.store.conftest import deliver
from tests.store.records import records


@pytest.fixture
def guarded(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    probe = tmp_path / "probe"
    probe.touch()
    allowed = files.protect(probe)
    files.unlink_durable(probe)
    if not allowed:
        pytest.skip("the file system or the user's rights allow no immutable files")
    with Store.create(tmp_path / "root", clock=clock, immutable_parts=True) as store:
        yield store
        for path in sorted(store.layout.parts.rglob("*.*")):
            files.unlink_durable(path)


def parts(store: Store) -> list[Path]:
    return sorted(path for path in store.layout.parts.rglob("*") if path.is_file())


def test_nobody_removes_renames_or_writes_a_part(guarded: Store) -> None:
    deliver(guarded, records(20))
    written = parts(guarded)
    assert {path.suffix for path in written} == set(SUFFIXES)
    for path in written:
        for act in (path.unlink, lambda it=path: it.rename(it.with_suffix(".old")), lambda it=path: it.open("ab")):
            with pytest.raises(PermissionError):
                act()
    assert guarded.verify() == []


def test_merging_erasing_and_a_discarded_batch_still_unlink(guarded: Store, clock: FixedClock) -> None:
    deliver(guarded, records(20))
    deliver(guarded, records(20, first_key=100))
    before = set(parts(guarded))
    guarded.compact(everything=True)
    assert before.isdisjoint(parts(guarded))
    deliver(guarded, records(20, first_key=100, days_ago=2))  # duplicates: its part is never published
    key = guarded.partitions()[0].key
    clock.value_us = ends_us(key)
    assert guarded.expire().partitions == (key,)
    assert parts(guarded) == []
    assert guarded.verify() == []


def test_a_store_that_is_opened_again_goes_on_marking(guarded: Store, clock: FixedClock) -> None:
    with Store.open(guarded.root, clock=clock) as other:
        deliver(other, records(5))
        with pytest.raises(PermissionError):
            parts(other)[0].unlink()


def test_where_it_is_not_allowed_parts_are_written_and_the_log_says_so(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(immutable, "mark", lambda _path, _wanted: False)
    with Store.create(tmp_path / "root", clock=clock, immutable_parts=True) as store, caplog.at_level(logging.WARNING):
        deliver(store, records(5))
        deliver(store, records(5, first_key=10))
        assert [record.message for record in caplog.records] == [
            "parts are not immutable: the file system or the service's rights do not allow it"
        ], "once"
        parts(store)[0].unlink()
        assert len(store.verify()) == 1, "verify tells what somebody removed"
