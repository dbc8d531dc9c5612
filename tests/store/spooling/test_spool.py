"""The spool: pushes are durable before they are in a batch, and then in one, once."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import BusyError, IntegrityError, LagrumError
from schemas.rejects import Reject, RejectReason
from store import ScanQuery, SourceRef, Store
from store.spooling.spool import SEGMENT_BYTES_MAX, Spool
from store.spooling.spool_format import PushGroup
from store.spooling.spool_receipts import PushId
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records

EVER = ScanQuery(0, 2**60)
SOURCE = SourceRef("east", "east")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def group(
    store: Store, *keys: int, rejected: int = 0, expired: int = 0, source: SourceRef = SOURCE, days_ago: int = 3
) -> PushGroup:
    """One push a key, then pushes that are refused or too old; the record of a key is always the same."""
    tables = [records(1, first_key=key, seed=key, days_ago=days_ago) for key in keys]
    pushes = len(keys) + rejected + expired
    ends = np.arange(1, pushes + 1)
    table = pa.concat_tables(tables, promote_options="default") if tables else records(1).slice(0, 0)
    place = table.column_names.index("batch_position")
    late = np.zeros(pushes, np.int64)
    late[len(keys) + rejected :] = 1
    return PushGroup(
        source=source,
        format="csv",
        received_us=store.clock.now_us(),
        table=table.set_column(place, "batch_position", pa.array(ends[: len(keys)])),
        rejects=[Reject(len(keys) + 1 + at, RejectReason.MALFORMED, raw=b"x") for at in range(rejected)],
        ends=ends,
        records=np.ones(pushes, np.int64),
        expired=late,
        sizes=np.full(pushes, 100),
        digests=b"".join(hashlib.sha256(b"%d" % end).digest() for end in ends),
    )


def stored(store: Store) -> list[str]:
    return sorted(key for batch in store.scan(EVER) for key in batch.column("record_key").to_pylist())


def segments(root: Path) -> list[Path]:
    return sorted((root / "spool").glob("*")) if (root / "spool").is_dir() else []


def test_what_is_spooled_is_found_and_told_once(root: Path, store: Store) -> None:
    deliver(store, records(1, first_key=2, seed=2, days_ago=3))
    (ids,) = store.spool.append([group(store, 1, 2, 3, rejected=1, expired=2)])
    assert [str(push).rpartition("-")[2] for push in ids] == ["0", "1", "2", "3", "4", "5"]
    assert store.spool.spooled.pushes == 6
    told = store.spool.receipt(ids[1])
    assert told is not None and told.as_dict() == {
        "id": str(ids[1]),
        "source": "east",
        "records": 1,
        "state": "durable",
    }
    assert len(stored(store)) == 3
    assert store.spool.spooled.pushes == 0
    fates = [store.spool.receipt(push) for push in ids]
    assert [(fate.accepted, fate.duplicates, fate.rejected) for fate in fates if fate] == [
        (1, 0, 0),
        (0, 1, 0),
        (1, 0, 0),
        *[(0, 0, 1)] * 3,
    ]
    batch = store.receipt(2)
    assert (batch.records, batch.accepted, batch.duplicates, batch.rejected) == (6, 2, 1, 3)
    assert batch.reject_reasons == {"malformed": 1, "expired": 2}
    assert sum(row["delivered"] for row in store.reconcile()) == 7
    assert store.verify() == []
    assert store.spool.drain() == []
    assert len(segments(root)) == 1  # the idle one


def test_a_conflict_is_told_to_its_push(store: Store) -> None:
    first = group(store, 1)
    other = replace(
        first,
        table=first.table.set_column(
            first.table.column_names.index("duration_ms"), "duration_ms", pa.array([1], pa.int64())
        ),
    )
    ((one,), (two,)) = store.spool.append([first, other])
    store.spool.drain()
    fates = [store.spool.receipt(push) for push in (one, two)]
    assert [(fate.accepted, fate.conflicts) for fate in fates if fate] == [(1, 0), (0, 1)]


def test_groups_of_one_kind_share_a_batch_and_kinds_do_not(store: Store) -> None:
    west = SourceRef("west", "west")
    store.spool.append([group(store, 1, 2), group(store, 3, source=west)])
    store.spool.append([group(store, 4)])
    receipts = store.spool.drain()
    assert sorted((receipt.source, receipt.records) for receipt in receipts) == [("east", 3), ("west", 1)]
    assert store.verify() == []


def test_what_a_process_leaves_is_drained_by_the_next_opening(root: Path, clock: FixedClock) -> None:
    with Store.create(root, clock=clock) as store:
        ((push,),) = store.spool.append([group(store, 1)])
    with Store.open(root, clock=clock) as store:
        assert store.catalog.query("SELECT count(*) FROM batches") == [(1,)]
        found = store.spool.receipt(push)
        assert found is not None and found.accepted == 1
        assert len(stored(store)) == 1
        assert segments(root) == []
        assert store.verify() == []


def test_another_process_drains_but_does_not_remove_what_is_appended_to(root: Path, clock: FixedClock) -> None:
    with Store.create(root, clock=clock) as taking, Store.open(root, clock=clock) as reading:
        taking.spool.append([group(taking, 1)])
        assert len(stored(reading)) == 1
        taking.spool.append([group(taking, 2)])
        assert len(segments(root)) == 1
        assert len(stored(reading)) == len(stored(taking)) == 2
        assert taking.verify() == reading.verify() == []


@pytest.mark.parametrize("damage", ["flip", "missing", "head"])
def test_a_damaged_frame_that_was_acknowledged_is_told_and_stops_readers(
    root: Path, clock: FixedClock, damage: str
) -> None:
    with Store.create(root, clock=clock) as store:
        for key in (1, 2):
            store.spool.append([group(store, key)])
    (path,) = segments(root)
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        data[100 if damage == "flip" else 9] ^= 1
        path.write_bytes(data)
    with Store.open(root, clock=clock) as store:
        assert any("spool" in problem.where for problem in store.verify())
        with pytest.raises(IntegrityError):
            list(store.scan(EVER))


def test_a_torn_tail_was_never_acknowledged(root: Path, clock: FixedClock) -> None:
    with Store.create(root, clock=clock) as store:
        store.spool.append([group(store, 1)])
        size = segments(root)[0].stat().st_size
        store.spool.append([group(store, 2)])
    (path,) = segments(root)
    path.write_bytes(path.read_bytes()[: size + 50] + bytes(30))
    with Store.open(root, clock=clock) as store:
        assert len(stored(store)) == 1
        assert store.verify() == []


def test_a_full_spool_refuses_and_a_drained_one_takes_again(store: Store) -> None:
    store.spool.bytes_max = 1
    store.spool.append([group(store, 1)])
    with pytest.raises(BusyError):
        store.spool.append([group(store, 2)])
    store.spool.drain()
    store.spool.append([group(store, 2)])
    assert len(stored(store)) == 2


def test_a_segment_is_bounded(root: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SEGMENT_BYTES_MAX <= 64 << 20
    monkeypatch.setattr("store.spooling.spool.SEGMENT_BYTES_MAX", 1)
    for key in range(4):
        store.spool.append([group(store, key)])
    assert len(segments(root)) == 4
    store.spool.drain()
    assert len(stored(store)) == 4
    assert len(segments(root)) <= 1


def test_records_whose_period_is_over_are_not_spooled(store: Store) -> None:
    table = pa.concat_tables([records(2, days_ago=3), records(3, days_ago=900)], promote_options="default")
    assert store.spool.within_period(table).num_rows == 2


def test_keys_of_past_days_go_with_the_next_erasure(root: Path, clock: FixedClock) -> None:
    with Store.create(root, clock=clock) as store:
        deliver(store, records(1, days_ago=20))
        store.spool.append([group(store, 5)])
        refs = [ref for ref in store.keyring.refs() if ref.kind == "spool"]
        assert len(refs) == 1
        clock.advance(days=720)
        store.expire()
        assert store.keyring.has(refs[0]), "a segment still lies under it"
        store.spool.drain()
        clock.advance(days=5)
        erased = store.expire()
        assert refs[0] in erased.daily_keys
        assert not store.keyring.has(refs[0])


def test_no_text_that_is_not_an_id_is_one() -> None:
    assert PushId.parse("1-2-3") == PushId(1, 2, 3)
    for text in ("", "1-2", "1-2-3-4", "-1-2-3", "a-b-c", "1-2-3 ", "9" * 30 + "-1-1"):
        assert PushId.parse(text) is None


def test_a_receipt_is_forgotten_after_some_days(clock: FixedClock, root: Path) -> None:
    with Store.create(root, clock=clock) as store:
        ((push,),) = store.spool.append([group(store, 1)])
        store.spool.drain()
        assert store.spool.receipt(push) is not None
        clock.advance(days=8)
        for key in (2, 3):
            store.spool.append([group(store, key)])
            store.spool.drain()
        assert store.spool.receipt(push) is None


def test_a_foreign_error_within_a_drain_keeps_the_entry(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.spool.append([group(store, 1)])

    def refuse(*_: object) -> None:
        raise BusyError("not now")

    with monkeypatch.context() as patch:
        patch.setattr("store.spooling.spool_drain._commit", refuse)
        with pytest.raises(LagrumError):
            store.spool.drain()
        with pytest.raises(LagrumError):
            list(store.scan(EVER))
    assert len(stored(store)) == 1
    assert isinstance(store.spool, Spool)


def test_nothing_of_a_push_is_readable_in_its_segment(root: Path, store: Store) -> None:
    one = group(store, 1, rejected=1)
    assert one.table.column("calling_number").type == pa.int64()
    number = int(str(one.table.column("calling_number")[0])).to_bytes(8, "little")
    assert number in one.to_bytes()
    store.spool.append([one])
    (path,) = segments(root)
    written = path.read_bytes()
    for known in (number, b"east", b"malformed", one.digests[:32], b"batch_position"):
        assert known in one.to_bytes()
        assert known not in written


def test_what_comes_out_of_the_spool_lies_evenly_in_memory() -> None:
    numbers = np.arange(4, dtype=np.int64)
    table = pa.table({"batch_position": pa.array(np.arange(4))})
    for name in ("s", "so", "sou", "sour"):
        group = PushGroup(SourceRef(name, "d"), "csv", 0, table, [], numbers, numbers, numbers, numbers, b"\0" * 128)
        read = PushGroup.from_bytes(memoryview(b"x" + group.to_bytes())[1:])
        assert all(chunk.buffers()[1].address % 8 == 0 for chunk in read.table.column("batch_position").chunks)
