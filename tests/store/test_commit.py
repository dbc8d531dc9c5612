"""Exactly once, atomic, and nothing in the clear."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import IntegrityError
from schemas.rejects import Reject, RejectReason
from store import ScanQuery, SourceRef, Store, TargetIdentifier
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records, with_column

EVER = ScanQuery(0, 2**60)


def stored(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


def test_the_counts_of_a_receipt_add_up_and_the_records_can_be_read(store: Store) -> None:
    receipt = deliver(store, records(1000))
    assert (receipt.records, receipt.accepted, receipt.rows) == (1000, 1000, 1000)
    assert stored(store) == 1000
    assert store.verify() == []


def test_a_batch_spreads_over_its_partitions_by_the_day_on_which_each_record_ended(store: Store) -> None:
    deliver(store, records(3000, days_ago=5, days=3))
    partitions = store.partitions()
    assert [item.date.isoformat() for item in partitions] == ["2026-11-17", "2026-11-18", "2026-11-19"]
    assert sum(item.records for item in partitions) == 3000
    midnight = NOW_US - NOW_US % DAY_US
    day = ScanQuery(midnight - 4 * DAY_US, midnight - 3 * DAY_US, by_end=True)
    assert sum(batch.num_rows for batch in store.scan(day)) == partitions[1].records


def test_the_same_delivery_again_stores_nothing(store: Store) -> None:
    table = records(500)
    deliver(store, table)
    again = deliver(store, table)
    assert (again.accepted, again.duplicates, again.rows) == (0, 500, 0)
    assert stored(store) == 500


def test_duplicates_within_one_delivery_and_across_its_stretches_are_stored_once(store: Store) -> None:
    table = records(100)
    receipt = deliver(store, pa.concat_tables([table, table]), table)
    assert (receipt.accepted, receipt.duplicates) == (100, 200)
    assert stored(store) == 100


def test_a_duplicate_is_recognised_after_a_restart(tmp_path: Path, clock: FixedClock) -> None:
    table = records(50)
    with Store.create(tmp_path / "root", clock=clock) as store:
        deliver(store, table)
    with Store.open(tmp_path / "root", clock=clock) as store:
        assert deliver(store, table).duplicates == 50


def test_contradicting_content_is_a_conflict_kept_and_flagged_and_recognised_when_repeated(store: Store) -> None:
    table = records(10)
    deliver(store, table)
    other = with_column(table, "cell_id", [10**5 + 999] * 10)
    receipt = deliver(store, other)
    assert (receipt.accepted, receipt.conflicts, receipt.rows) == (0, 10, 10)
    assert deliver(store, other).duplicates == 10
    assert deliver(store, table).duplicates == 10
    flags = [flag for batch in store.scan(EVER) for flag in batch.column("conflict").to_pylist()]
    assert sorted(flags) == [False] * 10 + [True] * 10
    assert sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60, include_conflicts=False))) == 10


def test_conflicts_within_one_delivery_are_kept_beside_the_first(store: Store) -> None:
    table = records(4)
    other = with_column(table, "cell_id", [10**5 + 999] * 4)
    receipt = deliver(store, pa.concat_tables([table, other, table, other]))
    assert (receipt.accepted, receipt.conflicts, receipt.duplicates) == (4, 4, 8)


def test_a_layout_with_fewer_columns_or_truncated_seconds_is_the_same_record(store: Store) -> None:
    table = records(20)
    deliver(store, table)
    assert deliver(store, table.drop_columns(["cell_id", "imsi"])).duplicates == 20
    seconds = table.column("start_time").cast(pa.int64()).to_numpy() // 1_000_000 * 1_000_000
    assert deliver(store, with_column(table, "start_time", seconds)).duplicates == 20


def test_the_same_identity_with_another_end_date_within_the_horizon_is_a_conflict(store: Store) -> None:
    deliver(store, records(10, days_ago=40))
    assert deliver(store, records(10, days_ago=6)).conflicts == 10


def test_the_same_key_of_another_switch_or_domain_is_another_record(store: Store) -> None:
    table = records(10)
    deliver(store, table)
    assert deliver(store, table, source="west").accepted == 10
    names = pa.array(["elsewhere"] * 10).dictionary_encode()
    moved = table.set_column(table.column_names.index("switch"), "switch", names)
    assert deliver(store, moved).accepted == 10


def test_keys_of_text_and_of_digits_are_told_apart_exactly(store: Store) -> None:
    keys = ["7", "07", "007", "x7", "", "7 ", "９", "7" * 18, "7" * 19, "7" * 20]  # noqa: RUF001
    rows = len(keys)
    packed = [int("1" + key) if key.isascii() and key.isdigit() and len(key) <= 18 else None for key in keys]
    texts = [key if number is None else None for key, number in zip(keys, packed, strict=True)]
    table = with_column(with_column(records(rows), "record_key", packed), "record_key_text", texts)
    switch = pa.array(["one"] * rows).dictionary_encode()
    table = table.set_column(table.column_names.index("switch"), "switch", switch)
    assert deliver(store, table).accepted == rows
    assert deliver(store, table).duplicates == rows


def test_two_deliveries_of_the_same_records_at_once_store_them_once(store: Store) -> None:
    table = records(2000)
    ready = threading.Barrier(2)
    receipts = []

    def run() -> None:
        with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
            batch.add(table)
            ready.wait()
            receipts.append(batch.commit())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((receipt.accepted, receipt.duplicates) for receipt in receipts) == [(0, 2000), (2000, 0)]
    assert stored(store) == 2000
    assert store.verify() == []


def test_an_idempotency_key_returns_the_first_receipt_and_stores_nothing(store: Store) -> None:
    first = deliver(store, records(5), key="abc")
    again = store.replayed(SourceRef("east", "east"), "abc")
    assert again is not None and again.replayed and again.batch_id == first.batch_id and again.accepted == 5
    assert store.replayed(SourceRef("east", "east"), "other") is None
    assert deliver(store, records(5, first_key=100), key="abc").replayed
    assert stored(store) == 5
    assert store.verify() == []


def test_an_aborted_batch_leaves_nothing(store: Store) -> None:
    with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
        batch.add(records(100))
    assert stored(store) == 0
    assert not [path for path in store.layout.parts.rglob("*") if path.is_file()]


def test_rejects_are_counted_kept_and_listed_with_position_and_reason(store: Store) -> None:
    with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
        batch.add(records(3))
        batch.reject([Reject(4, RejectReason.BAD_TIME, "start_time", 120, 40, b"raw bytes")])
        receipt = batch.commit()
    assert (receipt.records, receipt.accepted, receipt.rejected) == (4, 3, 1)
    (entry,) = store.quarantine_entries()
    from store import quarantine

    assert quarantine.rejects(store, entry.quarantine_id) == [
        Reject(4, RejectReason.BAD_TIME, "start_time", 120, 40, b"raw bytes")
    ]
    assert store.reconcile()[0]["delivered"] == 4


def test_records_past_their_period_are_refused_counted_and_not_kept(store: Store) -> None:
    receipt = deliver(store, records(10, days_ago=740))
    assert (receipt.records, receipt.rejected, receipt.rows) == (10, 10, 0)
    assert receipt.reject_reasons == {"expired": 10}
    assert store.quarantine_entries() == []


def test_a_withdrawn_batch_is_hidden_and_can_be_delivered_again(store: Store) -> None:
    table = records(10)
    first = deliver(store, table)
    store.withdraw_batch(first.batch_id, reason="read in the wrong zone", actors=("p1", "p2"))
    assert stored(store) == 0
    assert deliver(store, table).accepted == 10
    assert stored(store) == 10
    assert store.verify() == []


def test_no_number_or_identity_is_in_the_clear_in_any_file(store: Store) -> None:
    table = records(200)
    text = "sip:alice@example.net"
    table = with_column(table, "calling_number_delivered", ["+46 70 174 00 07"] * 200)
    table = with_column(table, "record_key", [None] * 200)
    table = with_column(table, "record_key_text", [f"{text}-{index}" for index in range(200)])
    deliver(store, table)
    needles = [b"alice", b"174 00 07", b"switch-a"]
    for column in ("calling_number", "imsi"):
        values = table.column(column).to_numpy()
        needles += [str(value)[1:].encode() for value in values[:20]]
        needles += [np.int64(value).tobytes() for value in values[:20]]
    for path in store.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [needle for needle in needles if needle in data], path.suffix


def test_a_target_is_found_in_every_role_and_an_unknown_one_is_not(store: Store) -> None:
    table = with_column(records(4), "calling_number", [10**11 + 1, 10**11 + 2, None, 10**11 + 2])
    table = with_column(table, "called_number", [10**11 + 2, 10**11 + 3, 10**11 + 4, 10**11 + 2])
    table = with_column(table, "forwarded_number", [None, None, 10**11 + 2, None])
    deliver(store, table)

    def found(kind: str, value: str) -> int:
        query = ScanQuery(0, 2**60, targets=(TargetIdentifier(kind, value),))
        return sum(batch.num_rows for batch in store.scan(query))

    assert found("number", "00000000002") == 4
    assert found("number", "00000000001") == 1
    assert found("number", "00000000009") == 0


def test_a_session_that_spans_the_edge_of_the_window_is_found(store: Store) -> None:
    midnight = NOW_US - NOW_US % DAY_US - 5 * DAY_US
    table = with_column(records(1), "start_time", [midnight - 3 * DAY_US])
    table = with_column(table, "end_time", [midnight + 10])
    deliver(store, table)

    def rows(start_us: int, end_us: int) -> int:
        return sum(batch.num_rows for batch in store.scan(ScanQuery(start_us, end_us)))

    assert rows(midnight - 2 * DAY_US, midnight - DAY_US) == 1
    assert rows(midnight + 10, midnight + 11) == 1
    assert rows(midnight + 11, midnight + 20) == 0
    assert rows(midnight - 4 * DAY_US, midnight - 3 * DAY_US) == 0


@pytest.mark.parametrize("suffix", [".parquet", ".ids", ".idx"])
def test_a_flipped_bit_anywhere_is_an_error_and_never_data(store: Store, suffix: str) -> None:
    deliver(store, records(300))
    path = next(store.layout.parts.rglob("*" + suffix))
    original = path.read_bytes()
    for offset in range(4, len(original), max(len(original) // 40, 1)):
        path.write_bytes(original[:offset] + bytes([original[offset] ^ 1]) + original[offset + 1 :])
        problems = store.verify()
        assert len(problems) == 1 and "digest" in problems[0].what
        if suffix == ".parquet":
            with pytest.raises(IntegrityError):
                list(store.scan(EVER))
    path.write_bytes(original)
    assert store.verify() == []


def test_two_parts_swapped_or_moved_do_not_authenticate(store: Store) -> None:
    deliver(store, records(100))
    deliver(store, records(100, first_key=5000))
    one, two = sorted(store.layout.parts.rglob("*.parquet"))
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)
    with pytest.raises(IntegrityError):
        list(store.scan(EVER))
    assert len(store.verify()) == 2


def test_a_missing_part_is_an_error_and_not_an_empty_answer(store: Store) -> None:
    deliver(store, records(10))
    next(store.layout.parts.rglob("*.parquet")).unlink()
    with pytest.raises(IntegrityError):
        list(store.scan(EVER))
    assert "missing" in store.verify()[0].what


def test_a_stranger_among_the_parts_and_an_orphan_are_named(store: Store) -> None:
    deliver(store, records(10))
    path = next(store.layout.parts.rglob("*.parquet"))
    (path.parent / ("0" * 32 + ".parquet")).write_bytes(b"x")
    (path.parent / "notes.txt").write_bytes(b"x")
    assert sorted(problem.what.split()[0] for problem in store.verify()) == ["a", "file"]
