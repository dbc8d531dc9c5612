"""Runs of record keys: half the room of tags, and the same answers; what has no counted keys stays with tags."""

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
from schemas.packing import pack_identifier
from store import Store
from store.binding import FileBinding
from store.identities import run_blocks, runs
from store.identities.identity import IdentityHasher, Keyed
from store.partitions import PartitionKey
from tests.store.conftest import deliver
from tests.store.records import records, with_column

KEY = bytes(range(32))
BINDING = FileBinding("ab" * 16, PartitionKey(date(2026, 11, 20), "standard"), "cd" * 16, "identities")
HASHER = IdentityHasher(KEY)
ROWS, GROUP_ROWS = 20_000, 1000


def identities(rows: int, *, first: int = 10**9, step: int = 1, domain: str = "core", seed: int = 0) -> pa.Table:
    """Identities with keys that are counted up, in a random order, of three network elements."""
    rng = np.random.default_rng(seed)
    keys = first + step * rng.permutation(rows)
    switches = pa.DictionaryArray.from_arrays(pa.array(keys % 3, pa.int32()), pa.array(["a", "b", "c"]))
    domains = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([domain]))
    packed, _ = pack_identifier(pa.array(map(str, keys.tolist())))
    return pa.table({"dedup_domain": domains, "switch": switches, "record_key": packed})


def run_of(table: pa.Table) -> runs.Run:
    return runs.run_of(lambda: HASHER.tags(table), HASHER.keyed(table), table.num_rows, GROUP_ROWS)


def reader_of(tmp_path: Path, table: pa.Table) -> runs.RunReader:
    runs.write(tmp_path / "run", run_of(table), GROUP_ROWS, BINDING, KEY)
    return runs.RunReader(tmp_path / "run", BINDING, KEY, HASHER)


def asked(table: pa.Table, *, keyed: bool = True) -> tuple[runs.Asked, Any]:
    """The question, and the rows in its order."""
    tags = HASHER.tags(table)
    order = np.argsort(tags, kind="stable")
    found = HASHER.keyed(table)
    assert found is not None
    return runs.Asked(runs.cut(tags[order]), found.take(order) if keyed else None), order


@pytest.mark.parametrize("keyed", [True, False])
def test_a_run_of_keys_finds_what_it_has_and_where(tmp_path: Path, keyed: bool) -> None:
    table = identities(ROWS)
    reader = reader_of(tmp_path, table)
    for rows in ([7], [0, ROWS - 1, 5000], list(range(0, ROWS, 3))):
        question, order = asked(table.take(rows), keyed=keyed)
        places, groups = reader.find(question)
        assert sorted(order[places].tolist()) == list(range(len(rows)))
        assert all(rows[order[at]] // GROUP_ROWS == group for at, group in zip(places, groups, strict=True))
    strangers = [identities(50, first=5), identities(50, first=10**9 + ROWS), identities(50, domain="other")]
    for stranger in strangers:
        assert len(reader.find(asked(stranger, keyed=keyed)[0])[0]) == 0


def test_a_key_of_another_network_element_is_not_found(tmp_path: Path) -> None:
    table = identities(ROWS)
    moved = pa.DictionaryArray.from_arrays(pa.array(np.arange(100) % 2, pa.int32()), pa.array(["z", "b"]))
    some = table.slice(0, 100).set_column(1, "switch", moved)
    question, order = asked(some)
    places, _ = reader_of(tmp_path, table).find(question)
    here, there = (one.column("switch").to_pylist() for one in (table.slice(0, 100), some))
    assert sorted(order[places].tolist()) == [row for row in range(100) if here[row] == there[row]]


def test_a_run_of_keys_tells_the_tags_that_a_run_of_tags_has(tmp_path: Path) -> None:
    table = identities(ROWS)
    tags = HASHER.tags(table)
    reader = reader_of(tmp_path, table)
    assert np.array_equal(reader.words(), runs.words_of(tags, GROUP_ROWS))
    assert np.array_equal(reader.asked().tags, np.sort(runs.cut(tags)))
    assert len(reader.find(reader.asked())[0]) == ROWS


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 700), st.integers(0, 40), st.integers(1, 40), st.integers(0, 99))
def test_runs_of_keys_are_packed_alike_by_both_twins(rows: int, group: int, bits: int, origins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    states = rng.integers(0, 2**64, (origins, 2), dtype=np.uint64)
    keyed = Keyed(states, rng.integers(0, origins, rows, np.int32), rng.integers(5, 6 + 2**bits, rows))
    run = runs._of_keys(keyed, group, max(-(-rows // group) - 1, 0).bit_length())
    if run is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        both = []
        for compiled in (False, True):
            patch.setattr(run_blocks, "compiled", lambda _, one=compiled: one)
            both.append(runs.encode(run, group))
        assert both[0] == both[1]


def test_what_has_no_counted_keys_is_a_run_of_tags(tmp_path: Path) -> None:
    dense, rare = identities(ROWS), identities(ROWS, step=10**12)
    assert run_of(dense).origins is not None
    assert run_of(rare).origins is None
    texts = pa.array([None] * (ROWS - 1) + ["x-1"], pa.string())
    keys = [*dense.column("record_key").to_pylist()[:-1], None]
    mixed = dense.set_column(2, "record_key", pa.array(keys, pa.int64())).append_column("record_key_text", texts)
    assert run_of(mixed).origins is None
    assert run_of(identities(3)).origins is None  # origins take more than tags
    size, _ = runs.write(tmp_path / "dense", run_of(dense), GROUP_ROWS, BINDING, KEY)
    assert size < runs.write(tmp_path / "rare", run_of(rare), GROUP_ROWS, BINDING, KEY)[0] / 2


def test_a_run_of_another_part_is_refused(tmp_path: Path) -> None:
    reader_of(tmp_path, identities(ROWS))
    other = FileBinding(BINDING.store_id, BINDING.partition, "ef" * 16, "identities")
    with pytest.raises(IntegrityError):
        runs.RunReader(tmp_path / "run", other, KEY, HASHER)


def test_texts_and_counted_keys_are_told_apart_through_merges_and_processes(store: Store) -> None:
    counted = records(2000)
    deliver(store, counted.slice(0, 1000))
    deliver(store, counted.slice(1000))
    store.known.clear()
    assert deliver(store, counted).duplicates == 2000
    store.compact(everything=True)
    store.known.clear()
    changed = with_column(counted, "cell_id", [10**5 + 900] * 2000)
    receipt = deliver(store, counted.slice(0, 500), changed.slice(500))
    assert (receipt.duplicates, receipt.conflicts) == (500, 1500)
    other = deliver(store, counted, source="west")
    assert other.accepted == 2000
    assert store.verify() == []


def test_a_network_element_that_a_dictionary_names_twice_is_one(store: Store) -> None:
    """A decoder may write two spellings of one switch (an address in octets, and as text) as the same word."""
    counted = records(2000)
    codes = pa.array(np.arange(2000) % 2, pa.int32())
    twice = counted.set_column(
        counted.schema.get_field_index("switch"), "switch", pa.DictionaryArray.from_arrays(codes, pa.array(["a", "a"]))
    )
    assert deliver(store, twice).accepted == 2000
    store.known.clear()
    assert deliver(store, twice).duplicates == 2000
    store.known.clear()
    assert deliver(store, twice.slice(0, 10)).duplicates == 10
