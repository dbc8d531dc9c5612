"""Small runs asked together: the same answers as one by one, each read once, and the same refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import IntegrityError
from store import Store, blocks
from store.binding import FileBinding
from store.identities import identity_lookup, runs, small_runs
from store.identities.identity_lookup import PartSource
from store.identities.run_blocks import GROUP_BITS_MAX
from store.identities.small_runs import SmallRuns
from store.model import PartRow
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.identities.test_sieve import BINDING, HASHER, KEY
from tests.store.records import records


@dataclass(frozen=True)
class Part:
    file_id: str
    rows: int


def words_of(number: int) -> Any:
    """The run of a part by its number: few tags, so that parts share them."""
    random = np.random.default_rng(number)
    count = int(random.integers(0, 6))
    tags = random.integers(0, 12, count, dtype=np.uint64) << np.uint64(GROUP_BITS_MAX)
    return np.sort(tags | random.integers(0, 4, count, dtype=np.uint64))


def part(number: int) -> Part:
    return Part(str(number), len(words_of(number)))


def load(parts: Sequence[Part]) -> list[Any]:
    return [words_of(int(one.file_id)) for one in parts]


def by_hand(parts: Sequence[Part], tags: Sequence[int]) -> list[tuple[int, int, int]]:
    mask = (1 << GROUP_BITS_MAX) - 1
    return sorted(
        (place, at, int(word) & mask)
        for at, one in enumerate(parts)
        for word in words_of(int(one.file_id))
        for place, tag in enumerate(tags)
        if int(word) >> GROUP_BITS_MAX == tag
    )


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sets(st.integers(0, 40), max_size=12), st.sets(st.integers(0, 13), max_size=6)),
        st.tuples(st.just("drop"), st.sets(st.integers(0, 40), max_size=5), st.just(set())),
        st.tuples(st.just("clear"), st.just(set()), st.just(set())),
    ),
    max_size=12,
)


@given(steps, st.sampled_from([0, 7, 40, 1 << 20]))
def test_together_they_answer_as_one_by_one_whatever_is_held(history: list[Any], rows_max: int) -> None:
    held = SmallRuns(rows_max)
    for step, numbers, wanted in history:
        parts, tags = [part(number) for number in numbers], sorted(wanted)
        if step == "drop":
            held.drop([str(number) for number in numbers])
        elif step == "clear":
            held.clear()
            assert len(held) == 0
        else:
            met = held.find(parts, np.array(tags, np.uint64), load)
            pairs = zip(met.tags.tolist(), met.parts.tolist(), met.groups.tolist(), strict=True)
            assert sorted(pairs) == by_hand(parts, tags)
            whole = np.sort(np.concatenate([np.zeros(0, np.uint64), *map(words_of, numbers)]))
            assert np.array_equal(np.sort(held.words(parts, load)), whole)
            divided = [one for lot in held.lots(parts) for one in lot]
            assert sorted(one.file_id for one in divided) == sorted(one.file_id for one in parts)
        assert len(held) <= max(rows_max, 0)


def test_what_was_read_under_keys_that_went_meanwhile_is_not_held() -> None:
    held = SmallRuns()

    def cleared(parts: Sequence[Part]) -> list[Any]:
        held.clear()
        return load(parts)

    parts = [part(number) for number in range(9)]
    assert len(held.find(parts, np.arange(12, dtype=np.uint64), cleared).tags) == sum(one.rows for one in parts)
    assert len(held) == 0


def test_a_part_that_is_gone_has_nothing_and_is_asked_for_again() -> None:
    held, parts = SmallRuns(), [part(number) for number in range(9)]
    assert len(held.find(parts, np.arange(12, dtype=np.uint64), lambda some: [None] * len(some)).tags) == 0
    assert len(held.find(parts, np.arange(12, dtype=np.uint64), load).tags) == sum(one.rows for one in parts)


def years(first_key: int) -> pa.Table:
    """Two records of each of many days."""
    tables = [records(2, seed=day, first_key=first_key + 10 * day, days_ago=day) for day in range(2, 200, 3)]
    return pa.concat_tables(tables, promote_options="default")


def test_a_run_is_read_once_in_a_process_and_every_duplicate_in_it_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    own = store.part_store.read_run

    def noted(partition: Any, file_id: str, key: bytes) -> Any:
        read.append(file_id)
        return own(partition, file_id, key)

    monkeypatch.setattr(store.part_store, "read_run", noted)
    for first_key in (0, 100_000, 200_000):
        assert deliver(store, years(first_key)).conflicts == 0
    published = len(store.catalog.parts())
    for first_key in (0, 100_000, 200_000):
        again = deliver(store, years(first_key))
        assert (again.accepted, again.duplicates) == (0, again.records)
    assert deliver(store, years(300_000)).duplicates == 0
    assert len(read) == len(set(read)) == published
    store.compact(everything=True)
    assert len(store.known.small) == 0
    assert deliver(store, years(100_000)).accepted == 0
    assert store.verify() == []


def test_verdicts_are_the_same_when_nothing_can_be_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.known.small, "_rows_max", 5)
    monkeypatch.setattr(small_runs, "LOT_PARTS", 3)
    monkeypatch.setattr(identity_lookup, "SOURCES_MAX", 10)
    deliver(store, years(0))
    both = deliver(store, years(0), years(100_000))
    assert (both.accepted, both.duplicates, both.conflicts) == (both.records // 2, both.records // 2, 0)
    assert len(store.known.small) <= 5


def test_one_damaged_small_run_refuses_what_is_near_it_and_nothing_else(store: Store) -> None:
    deliver(store, years(0))
    damaged = max(store.catalog.parts(), key=lambda row: row.partition.end_date)
    path = store.layout.identities(damaged.partition, damaged.file_id)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    store.known.clear()
    with pytest.raises(IntegrityError, match=damaged.file_id):
        deliver(store, records(5, first_key=900_000, days_ago=10))
    assert deliver(store, records(5, first_key=900_000, days_ago=150)).accepted == 5


def test_a_withdrawn_batch_is_not_remembered_from_an_earlier_delivery(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        first = deliver(store, years(0))
        second = deliver(store, years(100_000))
        assert deliver(store, years(0)).accepted == 0
        store.withdraw_batch(first.batch_id, reason="a wrong file", actors=("one", "two"))
        assert deliver(store, years(0)).duplicates == 0
        store.compact(everything=True)
        assert deliver(store, years(100_000)).accepted == 0
        store.withdraw_batch(second.batch_id, reason="a wrong file", actors=("one", "two"))
        assert deliver(store, years(100_000)).duplicates == 0


@given(st.integers(1, 2000), st.integers(0, 9))
def test_a_run_that_is_read_at_once_is_the_one_that_is_opened(
    tmp_path_factory: pytest.TempPathFactory, rows: int, seed: int
) -> None:
    tags = np.random.default_rng(seed).integers(0, 2**64, rows, dtype=np.uint64)
    path = tmp_path_factory.mktemp("run") / "run"
    runs.write(path, runs.run_of(lambda: tags, None, rows, 100), 100, BINDING, KEY)
    loaded = runs.load(str(path), BINDING, KEY)
    assert np.array_equal(np.sort(runs.by_tags([loaded], HASHER)), runs.words_of(tags, 100))


def test_a_small_file_that_is_changed_anywhere_or_is_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    pieces = [b"one", b"", b"three" * 10]
    blocks.write(path, pieces, BINDING, KEY)
    assert blocks.load(str(path), BINDING, KEY) == pieces
    other = FileBinding(BINDING.store_id, BINDING.partition, "ef" * 16, BINDING.role)
    for binding, key in ((other, KEY), (BINDING, bytes(32))):
        with pytest.raises(IntegrityError):
            blocks.load(str(path), binding, key)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(IntegrityError):
            blocks.load(str(path), BINDING, KEY)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(IntegrityError):
            blocks.load(str(path), BINDING, KEY)
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        blocks.load(str(path), BINDING, KEY)


def test_runs_of_keys_and_of_tags_are_read_together_as_each_by_itself(store: Store) -> None:
    for number, size in enumerate((1, 500, 40, 900)):
        deliver(store, records(size, seed=number, first_key=10_000 * number))
    rows = store.catalog.parts()
    parts = [PartSource(store.known, row) for row in rows]
    kinds = {store.part_store.read_run(row.partition, row.file_id, _key(store, row))[0].is_keyed for row in rows}
    assert kinds == {False, True}
    for one, words in zip(parts, store.known._load_small(parts), strict=True):
        assert words is not None
        assert np.array_equal(np.sort(words), one.words())


def _key(store: Store, row: PartRow) -> bytes:
    return store.keyring.key(row.partition.ref)


def test_a_part_that_was_merged_away_meanwhile_has_nothing(store: Store) -> None:
    deliver(store, records(5))
    deliver(store, records(5, first_key=50))
    old = [PartSource(store.known, row) for row in store.catalog.parts()]
    tags = np.sort(np.concatenate([runs.cut_of(one.words()) for one in old]))
    assert len(store.known.find_small(old, tags).tags) == len(tags) == 10
    store.compact(everything=True)
    assert len(store.known.find_small(old, tags).tags) == 0
    whole = [PartSource(store.known, row) for row in store.catalog.parts()]
    assert len(store.known.find_small(whole, tags).tags) == 10
