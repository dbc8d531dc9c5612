"""Lookups while something else goes on: caches are emptied, files closed, parts merged by another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from store import ScanQuery, Store, TargetIdentifier
from store.blocks import BlockFile
from store.reading import reader_cache
from store.reading.lookup import Question
from tests.store.conftest import deliver
from tests.store.records import CALLING, NOW_US, records

SOMEBODY = TargetIdentifier("number", str(CALLING + 5)[1:])
SEARCH = ScanQuery(0, 2**60, (SOMEBODY,))
PARTS, ROWS = 12, 300


@pytest.fixture
def filled(store: Store) -> Store:
    for number in range(PARTS):
        deliver(store, records(ROWS, seed=number, first_key=number * ROWS, days_ago=2 + number % 3))
    return store


def keys_of(store: Store, query: ScanQuery = SEARCH) -> list[int]:
    tables = [pa.Table.from_batches([batch]) for batch in store.scan(query)]
    return sorted(key for table in tables for key in table.column("record_key").to_pylist())


def beside(disturb: Callable[[], object], work: Callable[[], object], times: int) -> None:
    """Do some work `times` times in each of three threads, while a fourth disturbs it."""
    over = threading.Event()

    def disturbing() -> None:
        while not over.is_set():
            disturb()

    with ThreadPoolExecutor(4) as pool:
        other = pool.submit(disturbing)
        try:
            for done in [pool.submit(lambda: [work() for _ in range(times)]) for _ in range(3)]:
                done.result()
        finally:
            over.set()
        other.result()


def test_lookups_go_on_while_their_caches_are_emptied(filled: Store) -> None:
    expected = keys_of(filled)

    def look() -> None:
        assert keys_of(filled) == expected

    beside(filled.readers.clear, look, 15)


def test_an_index_that_was_taken_is_asked_though_it_was_dropped(filled: Store) -> None:
    taken = filled.readers.indexes(filled.catalog.parts())
    before = Question([SOMEBODY]).find_in(taken)
    filled.readers.clear()
    assert filled.readers.open_count == 0
    assert Question([SOMEBODY]).find_in(taken) == before


def test_more_indexes_are_asked_together_than_there_is_room_for(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = keys_of(filled)
    filled.readers.clear()
    monkeypatch.setattr(reader_cache, "MEMORY_MAX_BYTES", 1)
    assert keys_of(filled) == expected
    assert filled.readers.open_count <= 1


def test_a_file_that_is_closed_while_it_is_read_closes_nobody_elses(filled: Store) -> None:
    part = filled.catalog.parts()[0]
    path = filled.layout.index(part.partition, part.file_id)
    binding = filled.part_store.binding(part.partition, part.file_id, "index")
    file = BlockFile(path, binding, filled.keyring.key(part.partition.ref))

    taken = []

    def numbers() -> Iterator[int]:
        yield 0
        file.close()
        taken.append(os.open(path, os.O_RDONLY))  # it gets the number that is free now
        yield 0

    assert len(file.read_some(numbers())) == 2
    os.fstat(taken[0])  # still open
    os.close(taken[0])


def test_lookups_go_on_while_another_process_merges(filled: Store) -> None:
    """Lookups of one process, each under a new plan, beside merges, deliveries and their sweeping by another."""
    expected = keys_of(filled)
    argv = [sys.executable, "-m", "tests.store.reading.merger", str(filled.root), str(NOW_US)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        while process.poll() is None:
            assert [key for key in keys_of(filled) if key < 10**11 + PARTS * ROWS] == expected
        said = json.loads(process.stdout.read())
    assert process.returncode == 0
    assert said["merged"] > PARTS
    assert filled.verify() == []
