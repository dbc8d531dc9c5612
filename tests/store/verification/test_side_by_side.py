"""Parts that are verified side by side: what is found, in which order, and what progress says, are as one by one."""

from __future__ import annotations

import threading

import pytest

from store import Store
from store.model import PartRow, Problem
from store.verification import verify
from tests.patience import PATIENCE_S
from tests.store.conftest import deliver
from tests.store.records import records

DAYS = 12


@pytest.fixture
def filled(store: Store) -> Store:
    for day in range(DAYS):
        deliver(store, records(20, first_key=100 * day, days_ago=2 + day))
    return store


def damage(store: Store, part: PartRow) -> None:
    path = store.layout.index(part.partition, part.file_id)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_findings_come_in_the_order_of_the_parts_and_progress_counts_each(filled: Store) -> None:
    parts = filled.catalog.parts()
    damaged = [parts[number] for number in (0, 1, 5, DAYS - 1)]
    for part in damaged:
        damage(filled, part)
    told: list[tuple[int, int]] = []
    found = filled.verify(lambda done, whole: told.append((done, whole)))
    assert [problem.where for problem in found] == [
        f"part {part.file_id} of partition {part.partition}" for part in damaged
    ]
    assert told == [(done, DAYS) for done in range(1, DAYS + 1)]


def test_a_whole_store_has_no_findings(filled: Store) -> None:
    assert filled.verify() == []


@pytest.mark.parametrize(("rows_max", "together"), [(0, 1), (25, 1), (40, 2)])
def test_so_many_rows_are_looked_at_together_and_no_more(
    filled: Store, monkeypatch: pytest.MonkeyPatch, rows_max: int, together: int
) -> None:
    """Parts have 20 rows; one that is larger than the bound is looked at alone."""
    running, most, guard, met = 0, 0, threading.Lock(), threading.Event()

    def check(store: Store, part: PartRow) -> list[Problem]:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
            if running == together:
                met.set()
        met.wait(PATIENCE_S)
        with guard:
            running -= 1
        return []

    monkeypatch.setattr(verify, "ROWS_MAX", rows_max)
    monkeypatch.setattr(verify, "check_part", check)
    assert filled.verify() == []
    assert most == together


def test_what_a_check_cannot_do_ends_the_verification(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(store: Store, part: PartRow) -> list[Problem]:
        raise MemoryError

    monkeypatch.setattr(verify, "check_part", check)
    with pytest.raises(MemoryError):
        filled.verify()
