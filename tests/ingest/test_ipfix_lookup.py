"""Who had this public address and port at this time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.packing import unpack_table
from store import ScanQuery, Store, TargetIdentifier
from tests.conftest import FixedClock
from tests.ingest.ipfix_made import BLOCK, NAT44, block, ipfix, nat44, one_set, template

TEMPLATES = one_set(2, template(256, NAT44) + template(257, BLOCK))
HOUR_MS = 3_600_000
NOON_MS = 1_795_262_400_000  # 2026-11-21T12:00:00Z
SOURCE = SourceConfig("cgn1", zone=None)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


def who(store: Store, address: str, port: int, at_ms: int) -> set[str]:
    """Return the inside addresses that had it, of records and of what runs now."""
    import pyarrow as pa

    target = TargetIdentifier("ip", address, port=port)
    found = list(store.scan(ScanQuery(at_ms * 1000, at_ms * 1000 + 1, targets=(target,))))
    found += [batch for batch in store.open_sessions([target]) if batch.column("start_time")[0].value <= at_ms * 1000]
    return {
        row["source_ip"]
        for batch in found
        for row in unpack_table(pa.table({name: batch.column(name) for name in batch.schema.names})).to_pylist()
    }


def test_blocks_and_sessions_are_found_by_public_address_port_and_time(store: Store) -> None:
    blocks = [
        block(16, NOON_MS, 1024, 2047, "100.64.0.3"),
        block(17, NOON_MS + HOUR_MS, 1024, 2047, "100.64.0.3"),
        block(16, NOON_MS + 2 * HOUR_MS, 1024, 2047, "100.64.0.9"),  # the same block, given to another
        block(17, NOON_MS + 3 * HOUR_MS, 1024, 2047, "100.64.0.9"),
        block(16, NOON_MS, 2048, 3071, "100.64.0.4"),  # and one that is still held
    ]
    sessions = [
        nat44(4, NOON_MS, public=5000, inside="100.64.0.5"),
        nat44(5, NOON_MS + 500, public=5000, inside="100.64.0.5"),
    ]
    data = ipfix(TEMPLATES, one_set(257, b"".join(blocks)), one_set(256, b"".join(sessions)))
    receipt = ingest_stream(store, SOURCE, "ipfix", io.BytesIO(data))
    assert (receipt.records, receipt.accepted, receipt.rows) == (7, 7, 3)
    for port in (1024, 1500, 2047):
        assert who(store, "203.0.113.7", port, NOON_MS + 1000) == {"100.64.0.3"}
        assert who(store, "203.0.113.7", port, NOON_MS + 2 * HOUR_MS + 1000) == {"100.64.0.9"}
        assert who(store, "203.0.113.7", port, NOON_MS + HOUR_MS + 1000) == set()
    assert who(store, "203.0.113.7", 2048, NOON_MS + HOUR_MS) == {"100.64.0.4"}
    assert who(store, "203.0.113.7", 4000, NOON_MS) == set()
    assert who(store, "203.0.113.1", 5000, NOON_MS + 100) == {"100.64.0.5"}
    assert who(store, "203.0.113.1", 5001, NOON_MS + 100) == set()


def test_the_same_messages_again_are_duplicates_and_an_end_may_come_in_another_file(store: Store) -> None:
    first = ipfix(TEMPLATES, one_set(257, block(16, NOON_MS)))
    second = ipfix(TEMPLATES, one_set(257, block(17, NOON_MS + HOUR_MS)), sequence=1)
    rows = [ingest_stream(store, SOURCE, "ipfix", io.BytesIO(data)).rows for data in (first, second)]
    assert rows == [0, 1]
    for data in (first, second):
        assert ingest_stream(store, SOURCE, "ipfix", io.BytesIO(data)).duplicates == 1


def test_one_tuple_used_again_and_again_is_as_many_records(store: Store) -> None:
    events = [nat44(4 + number % 2, NOON_MS + number * 1000) for number in range(20)]
    receipt = ingest_stream(store, SOURCE, "ipfix", io.BytesIO(ipfix(TEMPLATES, one_set(256, b"".join(events)))))
    assert (receipt.accepted, receipt.rows) == (20, 10)
