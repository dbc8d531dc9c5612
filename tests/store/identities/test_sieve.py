"""What finds duplicates: runs on disk and the sieve in memory never miss a tag, and their compiled twins agree."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import IntegrityError
from store import SourceRef, Store
from store.binding import FileBinding
from store.identities import dedup, identity, run_blocks, runs, screen
from store.identities.identity import IdentityHasher
from store.identities.sieve import Sieve
from store.partitions import PartitionKey
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records, with_column

_EAST = SourceRef("east", "east")
KEY = bytes(range(32))
BINDING = FileBinding("ab" * 16, PartitionKey(date(2026, 11, 20), "standard"), "cd" * 16, "identities")


HASHER = IdentityHasher(KEY)


def some_tags(rows: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 2**64, rows, dtype=np.uint64)


def test_a_sieve_never_says_new_of_what_it_holds() -> None:
    sieve, tags = Sieve(), some_tags(2_000_000)
    told = [sieve.pass_through(part) for part in np.split(tags, 40)]
    assert sum(int(part.sum()) for part in told) == 0
    assert sieve.pass_through(tags, keep=False).all()
    sieve.add_run(runs.words_of(some_tags(500_000, 1), 1000))
    assert sieve.pass_through(some_tags(500_000, 1)).all()
    assert sieve.pass_through(tags).all()
    assert sieve.pass_through(some_tags(100_000, 2), keep=False).sum() == 0


def test_a_full_sieve_takes_no_more_memory_and_still_knows_what_it_holds() -> None:
    bytes_max, stretch = 4 << 20, 50_000
    told = screen.Screen(nothing, bytes_max)
    for seed in range(40):
        found = told.tell(some_tags(stretch, seed), [])
        assert told.nbytes <= bytes_max
        assert found.suspects is not None
        assert len(found.suspects) == 0
    assert found.epoch == -1, "it was never full"
    held = told.held
    assert not Sieve(bytes_max).fits(held + stretch)
    for seed in range(held // stretch):
        again = told.tell(some_tags(stretch, seed), []).suspects
        assert again is not None
        assert len(again) == stretch
    assert told.held == held


def test_what_no_sieve_has_room_for_is_told_from_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "ROWS_MIN", 1)
    monkeypatch.setattr(store.known.screen, "_bytes_max", 1 << 20)
    tables = [records(30_000, seed=number, first_key=100_000 * number, days_ago=2 + number) for number in range(4)]
    for table in tables:
        assert deliver(store, table).accepted == 30_000
    assert not Sieve(bytes_max=1 << 20).fits(4 * 30_000)
    for table in tables:
        changed = with_column(table, "cell_id", [10**5 + 900] * 30_000)
        new = records(500, seed=9, first_key=100_000 * tables.index(table) + 50_000, days_ago=9)
        receipt = deliver(store, table.slice(0, 700), changed.slice(20_000, 700), new)
        assert (receipt.accepted, receipt.duplicates, receipt.conflicts) == (500, 700, 700)
        assert store.known.screen.nbytes <= 1 << 20
    assert store.verify() == []


def test_a_sieve_that_is_full_says_so() -> None:
    sieve = Sieve(bytes_max=4 << 20)
    assert not sieve.fits(10_000_000)
    assert sieve.fits(100_000)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6000), st.integers(1, 700), st.sampled_from([3, 20, 46]), st.integers(0, 99))
def test_runs_are_packed_alike_by_both_twins(rows: int, group_rows: int, bits: int, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "TAG_BITS", bits)
        run = runs.run_of(lambda: some_tags(rows, seed), None, rows, group_rows)
        words, both = run.words, []
        for compiled in (False, True):
            patch.setattr(run_blocks, "compiled", lambda _, one=compiled: one)
            both.append(runs.encode(run, group_rows))
        assert both[0] == both[1]
        for compiled in (False, True):
            read = np.empty(len(words), np.uint64)
            at = 0
            for block in both[0][1:]:
                at += run_blocks.decode(block, read[at:], compiled=compiled)
            assert np.array_equal(read, words)


@pytest.mark.parametrize("bits", [4, 46])
def test_a_run_finds_every_tag_and_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    monkeypatch.setattr(runs, "TAG_BITS", bits)
    tags = some_tags(20_000)
    run = runs.run_of(lambda: tags, None, len(tags), 1000)
    size, _ = runs.write(tmp_path / "run", run, 1000, BINDING, KEY)
    assert size < 6 * len(tags)
    reader = runs.RunReader(tmp_path / "run", BINDING, KEY, HASHER)
    for rows in ([7], [0, 19_999, 5_000], list(range(0, 20_000, 3))):
        asked = np.sort(runs.cut(tags[rows]))
        places, groups = reader.find(runs.Asked(asked, None))
        found = {(int(asked[place]), int(group)) for place, group in zip(places, groups, strict=True)}
        assert {(int(runs.cut(tags[row : row + 1])[0]), row // 1000) for row in rows} <= found
    assert np.array_equal(reader.words(), runs.words_of(tags, 1000))
    if bits == 46:
        assert len(reader.find(runs.Asked(np.sort(runs.cut(some_tags(50, 9))), None))[0]) == 0
    monkeypatch.setattr(runs, "TAG_BITS", bits + 1)
    with pytest.raises(IntegrityError):
        runs.RunReader(tmp_path / "run", BINDING, KEY, HASHER)


def test_compiled_tags_are_those_of_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = IdentityHasher(KEY)
    table = records(9000)
    domain = pa.DictionaryArray.from_arrays(pa.array(np.zeros(9000, np.int32)), pa.array(["east"]))
    table = table.append_column("dedup_domain", domain)
    compiled = hasher.tags(table)
    monkeypatch.setattr(identity, "KERNEL_ROWS_MIN", 10**9)
    monkeypatch.setattr(identity, "_KERNELS", "no.module")
    assert np.array_equal(compiled, hasher.tags(table))
    assert np.array_equal(compiled, hasher.identities(table).tags)


@pytest.mark.parametrize("bits", [2, 46])
@pytest.mark.parametrize("rows_min", [1, 10**9])
def test_verdicts_do_not_hang_on_the_width_of_a_tag_or_on_the_sieve(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, bits: int, rows_min: int
) -> None:
    monkeypatch.setattr(runs, "TAG_BITS", bits)
    monkeypatch.setattr(screen, "ROWS_MIN", rows_min)
    first = records(300, days=3)
    with Store.create(tmp_path / "root", clock=clock) as store:
        assert deliver(store, first, first).duplicates == 300
        batch = deliver(store, records(100, seed=1, first_key=5000)).batch_id
    with Store.open(tmp_path / "root", clock=clock) as store:
        changed = with_column(first, "cell_id", [10**5 + 900] * 300)
        receipt = deliver(store, first.slice(0, 150), changed, records(50, first_key=9000))
        assert (receipt.accepted, receipt.duplicates, receipt.conflicts) == (50, 150, 300)
        store.compact(everything=True)
        assert deliver(store, changed, first).duplicates == 600
        store.withdraw_batch(batch, reason="wrong zone", actors=("a", "b"))
        again = records(100, seed=1, first_key=5000)
        assert deliver(store, again, again).accepted == 100
        assert store.verify() == []


def test_a_sieve_without_room_and_one_that_is_emptied_midway_change_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "ROWS_MIN", 1)
    monkeypatch.setattr(dedup, "CONTENTS_PER_IDENTITY_MAX", 5)
    deliver(store, records(200))
    with store.begin_batch(_EAST, format="csv") as batch:
        batch.add(records(200, seed=3, first_key=3000))
        store.known.clear()
        batch.add(records(200, seed=3, first_key=3000))
        batch.add(records(200))
        monkeypatch.setattr(Sieve, "fits", lambda *_: False)
        batch.add(records(100, seed=4, first_key=7000))
        batch.add(records(100, seed=4, first_key=7000))
        receipt = batch.commit()
    assert (receipt.accepted, receipt.duplicates) == (300, 500)
    assert store.verify() == []


def test_a_delivery_of_years_needs_room_for_what_is_near_in_time_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "ROWS_MIN", 1)
    monkeypatch.setattr("store.batch.BUFFER_ROWS_MAX", 4_000)
    monkeypatch.setattr(store.known.screen, "_bytes_max", 1 << 20)
    small = store.known.screen
    seen: list[tuple[int, int]] = []
    tell = small.tell

    def told(tags: Any, parts: Any) -> screen.Screened:
        found = tell(tags, parts)
        seen.append((len(parts), len(found.aside)))
        return found

    monkeypatch.setattr(small, "tell", told)
    days, rows = 280, 300
    stretches = [records(4 * rows, days_ago=day, days=4, first_key=day * rows) for day in range(days, 3, -4)]
    assert not Sieve(bytes_max=1 << 20).fits(days * rows)
    assert deliver(store, *stretches).accepted == days * rows
    assert max(parts for parts, _ in seen) < days - 100
    assert max(aside for _, aside in seen) > 0, "the sieve was never full"
    assert seen[-1][1] < seen[-1][0], "the sieve was not made anew"
    assert deliver(store, *stretches[::9]).duplicates == 4 * rows * len(stretches[::9])
    assert store.verify() == []


@pytest.mark.parametrize(("large_bytes", "parts"), [(1 << 40, 2), (0, 4)])
def test_buffers_are_halved_beside_a_large_sieve(
    store: Store, monkeypatch: pytest.MonkeyPatch, large_bytes: int, parts: int
) -> None:
    monkeypatch.setattr(screen, "ROWS_MIN", 1)
    monkeypatch.setattr("store.batch.PART_ROWS", 1_000)
    monkeypatch.setattr("store.batch.SIEVE_LARGE_BYTES", large_bytes)
    deliver(store, *(records(250, first_key=1_000 * number, seed=number) for number in range(8)))
    assert len(store.catalog.parts()) == parts
    assert store.verify() == []


def nothing(_: Any) -> Any:
    return np.zeros(0, np.uint64)


def test_stretches_of_long_lines_fill_the_sieve_too() -> None:
    assert screen.Screen(nothing).tell(some_tags(screen.ROWS_MIN - 1), []).suspects is None
    told = screen.Screen(nothing).tell(some_tags(screen.ROWS_MIN), [])
    assert told.suspects is not None
    assert told.epoch == told.seen
