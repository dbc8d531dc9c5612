"""Attacks on the commit path: interruptions, overlaps, reused keys, identities that are none, strange values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import BusyError, InputError, LagrumError
from schemas.rejects import Reject, RejectReason
from store import ScanQuery, SourceRef, Store, batch, quarantine
from store.partitions import to_us
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records, with_column

EVER = ScanQuery(0, 2**60)
EAST = SourceRef("east", "east")


def stored(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


def label(table: pa.Table, name: str, column: Any) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def test_an_interrupt_between_the_commit_and_the_receipt_leaves_the_published_batch_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = batch.publish

    def interrupted(*arguments: Any) -> Any:
        publish(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            deliver(store, records(30))
    assert stored(store) == 30
    assert deliver(store, records(30)).duplicates == 30
    assert store.verify() == []


def test_a_batch_that_fails_while_it_settles_with_a_newer_one_leaves_no_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.begin_batch(EAST, format="csv") as first:
        first.add(records(30))
        deliver(store, records(20))
        monkeypatch.setattr("store.publish._insert_batch", _fail)
        with pytest.raises(BusyError):
            first.commit()
        monkeypatch.undo()
    assert stored(store) == 20
    assert store.verify() == []


def _fail(*_: Any) -> Any:
    raise BusyError("injected")


def test_a_batch_withdrawn_while_another_relies_on_it_hides_nothing_of_the_other(store: Store) -> None:
    wrong = deliver(store, records(20))
    with store.begin_batch(EAST, format="csv") as again:
        again.add(records(20))  # all duplicates of the wrong batch
        store.withdraw_batch(wrong.batch_id, reason="wrong zone", actors=("p1", "p2"))
        with pytest.raises(BusyError):
            again.commit()
    assert deliver(store, records(20)).accepted == 20
    assert stored(store) == 20
    assert store.verify() == []


def test_an_idempotency_key_that_is_used_for_other_bytes_is_refused_and_not_swallowed(store: Store) -> None:
    deliver(store, records(5), key="same")
    with store.begin_batch(EAST, format="csv", idempotency_key="same") as other:
        other.add(records(5, first_key=50))
        other.finish_input(b"\x22" * 32, 1)
        with pytest.raises(InputError):
            other.commit()
    assert stored(store) == 5
    assert store.verify() == []


def test_an_idempotency_key_is_bound_to_its_source(store: Store) -> None:
    deliver(store, records(5), source="a", key="b|c")
    assert store.replayed(SourceRef("a|b", "a|b"), "c") is None
    assert store.replayed(SourceRef("a", "a"), "b|c") is not None


def test_an_idempotency_key_is_forgotten_after_its_days(store: Store, clock: FixedClock) -> None:
    deliver(store, records(5), key="same")
    clock.advance(days=8)
    assert store.replayed(EAST, "same") is None
    assert deliver(store, records(5), key="same").duplicates == 5


def test_records_whose_period_ends_before_the_commit_are_not_kept(store: Store, clock: FixedClock) -> None:
    table = records(10)
    with store.begin_batch(EAST, format="csv") as late:
        late.add(table)
        clock.advance(days=731)
        with pytest.raises(BusyError):
            late.commit()
    assert deliver(store, table).reject_reasons == {"expired": 10}
    assert store.partitions() == []


def test_a_partition_erased_under_a_running_batch_stays_erased(store: Store, clock: FixedClock) -> None:
    deliver(store, records(10))
    ref = store.partitions()[0].key.ref
    with store.begin_batch(EAST, format="csv") as late:
        clock.value_us = to_us(store.partitions()[0].expires_at)
        store.expire()
        late.add(records(10, first_key=100))
        receipt = late.commit()
    assert (receipt.rejected, receipt.rows) == (10, 0)
    assert not store.keyring.has(ref)
    assert store.verify() == []


def test_a_switch_that_gives_every_record_one_key_is_told_so_in_good_time(store: Store) -> None:
    rows = 20_000
    table = with_column(records(rows), "record_key", [10**5] * rows)
    table = label(table, "switch", pa.array(["one"] * rows).dictionary_encode())
    with pytest.raises(InputError):
        deliver(store, table)
    assert stored(store) == 0


@pytest.mark.parametrize("inside", [False, True])
def test_labels_without_a_value_are_null_however_the_dictionary_says_so(store: Store, inside: bool) -> None:
    if inside:
        column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, 1], pa.int32()), pa.array([None, "busy"]))
    else:
        column = pa.DictionaryArray.from_arrays(pa.array([None, 0, None, 0], pa.int32()), pa.array(["busy"]))
    table = label(label(records(4), "disposition", column), "switch", column)
    assert deliver(store, table).accepted == 4
    assert deliver(store, table).duplicates == 4
    assert store.verify() == []


def test_extreme_values_come_back_as_they_went_in(store: Store) -> None:
    numbers = [2**63 - 1, -(2**63), 0, -1, 1, 10**18, 2 * 10**18 - 1, None]
    composed, decomposed, reversing, astral = "\u00e9", "e\u0301", "\u202e", "\U0001d518"
    texts = ["", "\x00", composed, decomposed, reversing, "x" * 1_000_000, astral * 300, None]
    rows = len(numbers)
    table = with_column(records(rows), "volume_up_bytes", numbers)
    table = with_column(table, "calling_number", [None] * rows)
    table = with_column(table, "calling_number_text", texts)
    table = with_column(table, "source_ip", [0, 2**32 - 1, 1, 2**31, 2**31 - 1, None, 7, 8])
    table = with_column(table, "utc_offset_s", [-(2**31), 2**31 - 1, 0, None, 1, -1, 2, 3])
    deliver(store, table)
    assert deliver(store, table).duplicates == rows
    back = {row["record_key"]: row for batch in store.scan(EVER) for row in batch.to_pylist()}
    for row in table.to_pylist():
        assert {name: back[row["record_key"]][name] for name in row} == row
    assert store.verify() == []


def test_ends_before_1970_are_over_and_ends_on_the_edge_of_a_day_lie_on_their_side(store: Store) -> None:
    midnight = NOW_US - NOW_US % DAY_US - 3 * DAY_US
    ends = [-1, -DAY_US - 1, midnight - 1, midnight, midnight + DAY_US - 1]
    table = with_column(with_column(records(5), "start_time", [end - 5 for end in ends]), "end_time", ends)
    receipt = deliver(store, table)
    assert (receipt.accepted, receipt.reject_reasons) == (3, {"expired": 2})
    assert [(item.date.isoformat(), item.records) for item in store.partitions()] == [
        ("2026-11-18", 1),
        ("2026-11-19", 2),
    ]
    assert store.verify() == []


def test_many_rejects_are_kept_whole_without_being_held_in_memory(store: Store, tracked: Callable[[], int]) -> None:
    raw = bytes(range(256)) * 40

    def one(position: int) -> Reject:
        return Reject(position, RejectReason.MALFORMED, raw=position.to_bytes(8, "big") + raw)

    with store.begin_batch(EAST, format="csv") as bad:
        before = tracked()
        for first in range(0, 8000, 100):
            bad.reject([one(first + row + 1) for row in range(100)])
        assert tracked() - before < 40_000_000
        receipt = bad.commit()
    assert receipt.rejected == 8000
    found = [item for entry in store.quarantine_entries() for item in quarantine.rejects(store, entry.quarantine_id)]
    assert found == [one(position) for position in range(1, 8001)]
    assert store.verify() == []


@pytest.fixture
def tracked() -> Any:
    import tracemalloc

    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def test_a_disk_that_is_full_leaves_no_torn_part_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from store import files

    def full(path: Any, descriptor: int) -> None:
        raise OSError(28, "injected")

    with monkeypatch.context() as patch:
        patch.setattr(files, "end_sync", full)
        with pytest.raises((OSError, LagrumError)):
            deliver(store, records(30))
    assert not [path for path in store.layout.parts.rglob("*") if path.is_file()]
    assert deliver(store, records(30)).accepted == 30
