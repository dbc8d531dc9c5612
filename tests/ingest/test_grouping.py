"""Grouped deliveries: one batch, and every delivery's own receipt as true as if it had come alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.grouping import ingest_group
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from store import Receipt, ScanQuery, Store
from tests.conftest import FixedClock

HEADER = b"record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"
SOURCE = SourceConfig("pbx-east")


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


def _delivery(*keys: int, start: str = "2026-11-22T10:00:00Z", duration_s: int = 61) -> bytes:
    lines = [b"%011d,e-1,voice,46700000001,46700000002,%s,%d\n" % (key, start.encode(), duration_s) for key in keys]
    return HEADER + b"".join(lines)


def _group(store: Store, *deliveries: bytes, source: SourceConfig = SOURCE, form: str = "csv") -> list[Receipt | None]:
    return ingest_group(store, source, form, deliveries)


def _rows(store: Store) -> int:
    day_us = 86_400_000_000
    now_us = store.clock.now_us()
    return sum(batch.num_rows for batch in store.scan(ScanQuery(now_us - 60 * day_us, now_us + day_us)))


def test_a_group_is_one_batch_and_every_receipt_its_own(store: Store) -> None:
    deliveries = [_delivery(1), _delivery(2, 3), _delivery(4)]
    receipts = _group(store, *deliveries)
    assert [receipt.records for receipt in receipts if receipt] == [1, 2, 1]
    for receipt, delivery in zip(receipts, deliveries, strict=True):
        assert receipt is not None
        assert receipt.accepted == receipt.rows == receipt.records
        assert receipt.sha256 == hashlib.sha256(delivery).hexdigest()
        assert receipt.bytes == len(delivery)
    assert len({receipt.batch_id for receipt in receipts if receipt}) == 1
    assert _rows(store) == 4
    whole = store.receipt(1)
    assert (whole.records, whole.sha256) == (4, hashlib.sha256(b"".join(deliveries)).hexdigest())
    assert store.partitions()[0].parts == 1
    assert store.verify() == []


def test_what_is_in_doubt_is_handed_back_and_the_rest_is_stored(store: Store) -> None:
    known = _group(store, _delivery(1), _delivery(2))
    assert all(known)
    receipts = _group(
        store,
        _delivery(10),
        _delivery(1),  # known
        _delivery(11, 12),
        _delivery(2, duration_s=99),  # contradicts what is known
        b"not,a,header\n1,2,3\n",
        _delivery(13, start="never"),
        _delivery(14, start="2020-01-01T00:00:00Z"),  # its period is over
        b"",
        HEADER,
        _delivery(15),
    )
    assert [receipt is not None for receipt in receipts] == [True, False, True, *[False] * 6, True]
    assert _rows(store) == 2 + 4
    assert sum(row["delivered"] for row in store.reconcile()) == 6


def test_a_record_twice_in_a_group_is_stored_once(store: Store) -> None:
    receipts = _group(store, _delivery(1), _delivery(2), _delivery(1), _delivery(3))
    assert [receipt is not None for receipt in receipts] == [True, True, False, True]
    assert _rows(store) == 3


def test_a_handed_back_delivery_left_nothing_and_goes_by_itself(store: Store) -> None:
    import io

    _group(store, _delivery(1), _delivery(2))
    again = _group(store, _delivery(1), _delivery(3))
    assert again == [None, None]  # what is left of a group is one delivery, so nothing was kept
    assert _rows(store) == 2
    receipt = ingest_stream(store, SOURCE, "csv", io.BytesIO(_delivery(1)))
    assert (receipt.duplicates, receipt.accepted) == (1, 0)


def test_events_of_sessions_are_never_grouped(store: Store) -> None:
    start = b'Sun Nov 22 10:00:00 2026\n\tAcct-Status-Type = Start\n\tAcct-Session-Id = "%d"\n\tUser-Name = "u"\n\n'
    receipts = _group(store, start % 1, start % 2, form="radius-detail")
    assert receipts == [None, None]
    assert store.reconcile() == []


def test_local_times_without_a_zone_are_handed_back(store: Store) -> None:
    line = b'"","1","2","ctx","","c1","c2","app","","2026-11-22 10:00:00","","2026-11-22 10:00:05",5,5,"ANSWERED","3"\n'
    source = SourceConfig("pbx-east", zone=None)
    assert _group(store, line, line, source=source, form="asterisk-csv") == [None, None]


def test_there_is_no_such_format(store: Store) -> None:
    with pytest.raises(ConfigurationError):
        _group(store, b"", b"", form="nonsense")
