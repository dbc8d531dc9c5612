"""An idempotency key belongs to one delivery and its retries."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from store import ScanQuery, Store
from tests.conftest import FixedClock

HEAD = b"record_key,switch,service_type,calling_number,start_time,duration_s\n"
FIRST = HEAD + b"1,s,voice,46701740001,2026-11-20T10:00:00Z,5\n"
OTHER = HEAD + b"2,s,voice,46701740002,2026-11-20T11:00:00Z,5\n"


def test_other_bytes_under_a_used_key_are_refused_and_not_answered_with_the_old_receipt(
    tmp_path: Path, clock: FixedClock
) -> None:
    source = SourceConfig(name="east")
    with Store.create(tmp_path / "root", clock=clock) as store:
        first = ingest_stream(store, source, "csv", io.BytesIO(FIRST), idempotency_key="k")
        again = ingest_stream(store, source, "csv", io.BytesIO(FIRST), idempotency_key="k")
        assert again.replayed and again.batch_id == first.batch_id
        with pytest.raises(InputError):
            ingest_stream(store, source, "csv", io.BytesIO(OTHER), idempotency_key="k")
        assert sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60))) == 1
        assert ingest_stream(store, source, "csv", io.BytesIO(OTHER)).accepted == 1
