"""What a delivery of many days asks of parts: each about the days near it, and of a part that none is near nothing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import IntegrityError
from store import SourceRef, Store
from store.identities import run_blocks, runs
from store.identities.dedup import HORIZON_DAYS
from tests.store.conftest import deliver
from tests.store.records import records

MIDDLE = 200


def at_ends(near_days: int) -> pa.Table:
    """Records of two days, the later one so many days after the middle."""
    tables = [
        records(5, first_key=100, days_ago=MIDDLE + 2 * HORIZON_DAYS),
        records(5, first_key=200, days_ago=MIDDLE - near_days),
    ]
    return pa.concat_tables(tables, promote_options="default")


def told(table: pa.Table, day: int) -> list[tuple[str, int, int]]:
    """Who the records are, and when."""
    return [(row["switch"], row["record_key"], day) for row in table.select(["switch", "record_key"]).to_pylist()]


def without_identities(store: Store) -> None:
    for part in store.catalog.parts():
        store.layout.identities(part.partition, part.file_id).unlink()


def test_a_part_between_the_days_of_a_delivery_and_near_none_is_not_opened(store: Store) -> None:
    deliver(store, records(5, days_ago=MIDDLE))
    without_identities(store)
    assert deliver(store, at_ends(HORIZON_DAYS + 1)).accepted == 10


def test_a_part_on_the_horizon_of_a_day_is_asked_and_missed(store: Store) -> None:
    deliver(store, records(5, days_ago=MIDDLE))
    without_identities(store)
    with pytest.raises(IntegrityError):
        deliver(store, at_ends(HORIZON_DAYS))


def test_verdicts_of_many_days_at_once_are_those_of_each_day_by_itself(store: Store) -> None:
    days = list(range(2, 300, 7))
    tables = [records(6, seed=day, first_key=10 * (day % 5), days_ago=day) for day in days]
    for table in tables[::2]:
        deliver(store, table)
    stored = {item for table, day in zip(tables[::2], days[::2], strict=True) for item in told(table, day)}
    new = [item for table, day in zip(tables[1::2], days[1::2], strict=True) for item in told(table, day)]
    near = [any(item[:2] == other[:2] and abs(item[2] - other[2]) <= HORIZON_DAYS for other in stored) for item in new]
    whole = deliver(store, pa.concat_tables(tables, promote_options="default"))
    assert 0 < sum(near) < len(near)
    assert (whole.conflicts, whole.accepted) == (sum(near), len(near) - sum(near))
    assert whole.duplicates == len(stored)
    again = deliver(store, pa.concat_tables(tables, promote_options="default"))
    assert (again.accepted, again.conflicts, again.duplicates) == (0, 0, 6 * len(tables))
    assert store.verify() == []


def test_parts_that_others_published_meanwhile_are_asked_about_the_days_near_them(store: Store) -> None:
    with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
        batch.add(at_ends(0))
        near = deliver(store, records(5, first_key=200, days_ago=MIDDLE))
        far = deliver(store, records(5, first_key=100, days_ago=MIDDLE))
        receipt = batch.commit()
    assert (near.accepted, far.accepted) == (5, 5)
    assert (receipt.accepted, receipt.duplicates + receipt.conflicts) == (5, 5)


@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 44), st.integers(1, 2**18 - 1), st.integers(0, 99))
def test_few_words_are_unpacked_as_many_are(rows: int, group_bits: int, bits: int, groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group_bits = min(group_bits, run_blocks.GROUP_BITS_MAX)
    tags = rng.integers(0, 2**bits + 1, rows, dtype=np.uint64)
    beside = rng.integers(0, min(groups, (1 << group_bits) - 1) + 1, rows, dtype=np.uint64)
    words = np.sort((tags << np.uint64(run_blocks.GROUP_BITS_MAX)) | beside)
    block = run_blocks.encode(words, group_bits, compiled=False)
    found = []
    for few in (0, rows):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_blocks, "_FEW_ROWS", few)
            read = np.empty(rows, np.uint64)
            assert run_blocks.decode(block, read, compiled=False) == rows
            found.append(read)
    assert np.array_equal(found[0], words)
    assert np.array_equal(found[1], words)


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 9), max_size=12))
def test_words_are_met_whoever_of_both_is_fewer(held: list[int], wanted: list[int]) -> None:
    words = np.sort(np.array([(tag << run_blocks.GROUP_BITS_MAX) | at for at, tag in enumerate(held)], np.uint64))
    asked = np.sort(np.array(wanted, np.uint64))
    places, met = runs._met(words, asked)
    pairs = sorted(zip(places.tolist(), met.tolist(), strict=True))
    assert pairs == sorted(
        (at, int(word)) for at, tag in enumerate(asked) for word in words if word >> run_blocks.GROUP_BITS_MAX == tag
    )
