"""Lookups through postings find what a search of every row finds; an index that is not whole is an error."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import PACKED as PACKED_SCHEMA
from schemas.errors import IntegrityError, KeyUnavailableError
from store import ScanQuery, Store, TargetIdentifier, native
from store.binding import FileBinding
from store.blocks import BlockFile, write
from store.encoding.columns import ROW_GROUP_ROWS
from store.index import INDEXED, PartIndex, coding, find_in, postings, problems
from store.index.hashing import PACKED
from store.parquet import conform
from store.partitions import PartitionKey
from store.reading.lookup import Found, Question
from store.reading.stretches import asked
from store.reading.targets import matches
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.index.campaign import DAYS, EVER, Truth, delivered, fill, found, queries
from tests.store.records import CALLING, records

SOMEBODY = TargetIdentifier("number", str(CALLING + 5)[1:])
SEARCH = ScanQuery(0, 2**60, (SOMEBODY,))


def with_somebody(rows: int, first_key: int = 0) -> pa.Table:
    """Return records of which one at least is SOMEBODY's."""
    return records(rows, first_key=first_key, calling_number=pa.array(CALLING + np.arange(rows) % 100))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    from tests.store.records import NOW_US

    store = Store.create(tmp_path_factory.mktemp("index") / "root", clock=FixedClock(NOW_US))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.parquet.ROW_GROUP_ROWS", 128)
        patch.setattr("store.parts.group_rows_of", lambda rows: 128, raising=False)
        patch.setattr("store.encoding.columns.PAGE_ROWS", 32)
        fill(store, 800)
    return store


def campaign(store: Store, count: int, seed: int) -> tuple[int, Counter[str]]:
    """Return (lookups that differ, lookups that found something by what they ask for)."""
    truth = Truth(store)
    differ = 0
    hits: Counter[str] = Counter()
    for query in queries(truth, count, seed):
        expected = truth.keys(query)
        differ += found(store, query) != expected
        hits.update({asked_for(query): bool(expected), "of all": 1})
    return differ, hits


def asked_for(query: ScanQuery) -> str:
    """Name what a lookup asks for."""
    if len(query.targets) > 1:
        return "several"
    target = query.targets[0]
    return f"{target.kind}{' network' if '/' in target.value else ''}{'' if target.port is None else ' with port'}"


def postings_campaign(store: Store, count: int, seed: int) -> tuple[int, int, int]:
    """Return (parts asked, parts of which a row group with the target was not named, parts named in vain)."""
    opened, tables = [], []
    for part in store.catalog.parts():
        with store.readers.part(part) as item:
            bounds = {name: item.bounds(name) for name in ("calling_number", "source_ip", "destination_ip", "nat_ip")}
            opened.append((store.readers.index(part), bounds))
            tables.append(item.reader.read())
    rows = conform(pa.concat_tables(tables, promote_options="permissive"))
    sizes = np.cumsum([0, *(table.num_rows for table in tables)])
    known: dict[TargetIdentifier, np.ndarray[Any, Any]] = {}
    looked = missed = vain = 0
    for query in queries(Truth(store), count, seed):
        for target in query.targets:
            if target not in known:
                known[target] = np.flatnonzero(np.asarray(matches(rows, target).to_numpy(zero_copy_only=False)))
            places = np.searchsorted(known[target], sizes)
            for at, (index, bounds) in enumerate(opened):
                holding = (known[target][places[at] : places[at + 1]] - sizes[at]) // index.group_rows
                named = set(Question([target]).find(index).groups(index.groups, bounds.__getitem__))
                looked += 1
                missed += not set(holding.tolist()) <= named
                vain += bool(named) and not len(holding)
    return looked, missed, vain


def test_random_lookups_equal_a_search_of_every_row(filled: Store) -> None:
    differ, hits = campaign(filled, 60, seed=1)
    assert differ == 0
    assert hits.total() - hits["of all"] > 10


def test_postings_name_every_row_group_that_holds_the_target(filled: Store) -> None:
    looked, missed, vain = postings_campaign(filled, 150, seed=5)
    assert missed == 0
    assert vain < looked / 5


@pytest.mark.torture
def test_a_hundred_thousand_lookups_equal_a_search_of_every_row(filled: Store) -> None:
    """LAGRUM_LOOKUPS: how many; the store is the same."""
    lookups = int(os.environ.get("LAGRUM_LOOKUPS", "100000"))
    differ, hits = campaign(filled, lookups, seed=2)
    print(f"\n{differ} differences; found something: {dict(sorted(hits.items()))}")  # noqa: T201
    assert differ == 0
    assert min(hits.values()) > lookups // 1000


def test_lookups_in_small_stretches_equal_those_in_one(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.reading.scan.STRETCH_ROWS", 300)
    assert campaign(filled, 15, seed=3)[0] == 0


def test_more_targets_than_postings_are_asked_for_are_found_all_the_same(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.reading.stretches.TARGETS_MAX", 0)
    assert campaign(filled, 15, seed=4)[0] == 0


def test_an_account_is_found_by_its_postings(filled: Store) -> None:
    query = ScanQuery(0, 2**60, accounts=("7", "A-1"))
    assert asked(query)
    rows = pa.Table.from_batches(list(filled.scan(query)))
    truth = Truth(filled).rows
    ours = (truth.column("account").to_numpy() == 17) | (np.array(truth.column("account_text").to_pylist()) == "A-1")
    assert rows.num_rows == int(ours.sum()) > 0


def test_postings_leave_alone_what_does_not_hold_the_target(filled: Store) -> None:
    whole = filled.plan(EVER, to_row_groups=True).as_dict()
    one = filled.plan(
        ScanQuery(0, 2**60, (TargetIdentifier("mac", "00:11:22:33:00:ff"),)), to_row_groups=True
    ).as_dict()
    none = filled.plan(
        ScanQuery(0, 2**60, (TargetIdentifier("mac", "00:11:22:99:99:99"),)), to_row_groups=True
    ).as_dict()
    assert whole["row_groups_read"] == whole["row_groups"] > 50
    assert 0 < one["row_groups_read"] < whole["row_groups"] / 2
    assert none["parts_without_target"] > 0.7 * none["parts"]
    assert one["index_bytes"] > 0 == whole["index_bytes"]


@pytest.mark.parametrize("rows", [50, 20_000])
def test_compiled_and_plain_postings_are_the_same_bytes(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = delivered(rows, 5, days_ago=2, days=DAYS, first_key=0)
    salt = b"\x01" * 16
    kernels = native.load("store.index.kernels")

    blocks = {}
    for road, compiled in (("compiled", kernels), ("plain", None)):
        for module in ("store.index.coding.kernels", "store.index.entries.kernels"):
            monkeypatch.setattr(module, lambda rows, compiled=compiled: compiled)
        blocks[road] = [bytes(block) for block in postings(table, 1_000, salt)]
    assert blocks["compiled"] == blocks["plain"]
    assert postings(table, 1_000)[0] != postings(table, 1_000)[0]  # a salt of its own


def test_fields_are_posted_by_piece_in_a_bit_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.encoding.columns.PAGE_ROWS", 256)
    table, size = delivered(30_000, 5, days_ago=2, days=DAYS, first_key=0), 1_024
    fields = ("called_number", "source_ip")
    coarse, fine = (
        PartIndex(written(tmp_path / str(len(by_piece)), postings(table, size, by_piece=by_piece)))
        for by_piece in ((), fields)
    )
    assert (coarse.by_piece, fine.by_piece) == (frozenset(), frozenset(fields))
    assert 1 < sum(map(len, fine.blocks())) / sum(map(len, coarse.blocks())) < 1.25
    piece = size // fine.pieces("called_number")
    assert piece == 256
    looked, there = 0, 0
    column = table.column("called_number").to_numpy(zero_copy_only=False)
    for value in np.unique(column[~np.isnan(column.astype(float))])[:300].tolist():
        rows = np.flatnonzero(column == value)
        told = fine.find("called_number", [(PACKED, (int(value),))])
        assert set((rows // piece).tolist()) <= told
        looked, there = looked + len(told), there + len(set((rows // piece).tolist()))
        found = Found()
        found.by_group = {number // 4: {"called_number"} for number in told}
        for number in told:
            start = number % 4 * piece
            found.pieces.setdefault((number // 4, "called_number"), set()).add((start, start + piece))
        windows = found.windows(found.by_group, size, table.num_rows)
        assert all(any(first <= row < last for first, last in windows) for row in rows.tolist())
        found.everywhere.add("called_number")
        assert sum(last - first for first, last in found.windows(found.by_group, size, table.num_rows)) >= size // 2
    assert looked < 1.3 * there  # strangers: the pieces of one value in eight


@pytest.mark.parametrize(("group_rows", "least", "most"), [(4_096, 8, 60), (1_024, 80, 250)])
def test_a_small_part_is_named_in_vain_seldom(tmp_path: Path, group_rows: int, least: int, most: int) -> None:
    scattered = pa.array(10**9 + np.arange(16_000) * 7_919 % 16_000)
    table = pa.table({"called_number": scattered, "start_time": pa.array(np.zeros(16_000, np.int64))})
    index = PartIndex(written(tmp_path / "index", postings(table, group_rows)))
    assert index.by_piece == {"called_number"}
    strangers = [[("called_number", [(PACKED, (5 * 10**9 + number,))])] for number in range(1_000)]
    named = sum(bool(found[0]) for found in find_in([index] * len(strangers), strangers))
    assert least <= named <= most  # of few groups one in 32, of many one in eight


def test_fields_whose_values_are_scattered_are_posted_by_piece(tmp_path: Path) -> None:
    rows = np.arange(8_000)
    scattered = {"called_number": 10**9 + rows * 7919 % 8_000, "source_ip": rows * 31 % 65_536}
    gathered = {"imsi": 10**9 + rows // 3, "destination_ip": rows // 50, "calling_number": 10**9 + rows // 3}
    columns = {**scattered, **gathered, "account_text": [f"A-{row}" for row in rows]}
    table = pa.table({name: pa.array(values).cast(PACKED_SCHEMA.field(name).type) for name, values in columns.items()})
    assert PartIndex(written(tmp_path / "few", postings(table, 1_024))).by_piece == set(scattered)
    many = PartIndex(written(tmp_path / "many", postings(pa.concat_tables([table] * 2), 1_024)))
    assert set(scattered) < many.by_piece  # every column has small pages, and vain reads are many
    large = PartIndex(written(tmp_path / "large", postings(table, ROW_GROUP_ROWS)))
    assert large.by_piece == set(scattered)


def written(path: Path, blocks: Any) -> BlockFile:
    binding = FileBinding("0" * 32, PartitionKey(date(2026, 11, 1), "standard"), "1" * 32, "index")
    write(path, blocks, binding, b"k" * 32)
    return BlockFile(path, binding, b"k" * 32)


def test_verification_derives_the_index_from_the_records(filled: Store) -> None:
    part = filled.catalog.parts()[0]
    index = filled.readers.index(part)
    with filled.readers.part(part) as opened:
        table = opened.reader.read()
        size = opened.reader.group_rows(0)
    assert list(problems(index, table, size)) == []
    assert list(problems(index, table.slice(1), size)) != []
    assert list(problems(index, table, size + 1)) != []
    names = table.column_names
    other = table.set_column(names.index("mac"), "mac", pa.array(np.arange(table.num_rows)))
    assert list(problems(index, other, size)) != []


def test_an_identifier_does_not_stand_in_an_index(filled: Store) -> None:
    needles = [b"sip:user1@example.net", b"46701740001"]
    needles += [
        value.to_bytes(8, order) for value in (146_701_740_001, 1_352_099_000_000_01) for order in ("little", "big")
    ]
    for path in filled.layout.parts.rglob("*.idx"):
        data = path.read_bytes()
        assert not any(needle in data for needle in needles)
    assert set(INDEXED) >= {"calling_number", "account", "ipv6_prefix", "nat_ip"}


def test_a_missing_index_ends_a_search_with_an_error(store: Store) -> None:
    deliver(store, with_somebody(100))
    assert list(store.scan(SEARCH))
    next(store.layout.parts.rglob("*.idx")).unlink()
    with pytest.raises(IntegrityError):  # the open one, too, is read from the disk
        list(store.scan(SEARCH))
    store.readers.clear()
    with pytest.raises(IntegrityError):
        list(store.scan(SEARCH))


def test_every_flipped_bit_of_an_index_is_an_error_or_lies_in_a_block_that_is_not_read(store: Store) -> None:
    deliver(store, with_somebody(40))
    expected = pa.Table.from_batches(list(store.scan(SEARCH)))
    path = next(store.layout.parts.rglob("*.idx"))
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 211):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        store.readers.clear()
        try:
            assert pa.Table.from_batches(list(store.scan(SEARCH))) == expected
        except IntegrityError:
            refused += 1
    assert refused > len(whole) // 211 // 4
    assert store.verify()


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_an_index_that_is_cut_short_is_an_error(store: Store, cut: int) -> None:
    deliver(store, with_somebody(40))
    path = next(store.layout.parts.rglob("*.idx"))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IntegrityError):
        list(store.scan(SEARCH))


def test_the_index_of_another_part_is_an_error(store: Store, tmp_path: Path) -> None:
    deliver(store, with_somebody(40))
    deliver(store, with_somebody(40, first_key=100))
    one, other = store.layout.parts.rglob("*.idx")
    shutil.copy(one, tmp_path / "kept")
    shutil.copy(other, one)
    with pytest.raises(IntegrityError):
        list(store.scan(SEARCH))


def test_without_its_key_a_part_is_an_error_open_or_not(store: Store) -> None:
    deliver(store, with_somebody(40))
    assert list(store.scan(SEARCH))
    assert store.readers.open_count == 2
    part = store.catalog.parts()[0]
    store.keyring.destroy([part.partition.ref])
    with pytest.raises(KeyUnavailableError):
        list(store.scan(SEARCH))
    assert store.readers.open_count == 0


def test_a_bounded_field_and_an_absent_one_are_told_by_the_header(filled: Store) -> None:
    part = max(filled.catalog.parts(), key=lambda item: item.rows)
    index = filled.readers.index(part)
    assert isinstance(index, PartIndex)
    absent = [Question([TargetIdentifier("account", str(999_999_900 + number))]) for number in range(40)]
    assert sum(question.find(index).is_empty for question in absent) > 20, "one in 32 is named in vain"
    assert index.find("cell_id", [(PACKED, (1,))]) == set()
    assert coding.bucket_bits(1) > coding.bucket_bits(100)
