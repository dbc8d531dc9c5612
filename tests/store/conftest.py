from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from store import Receipt, SourceRef, Store
from tests.conftest import FixedClock


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as store:
        yield store


def deliver(store: Store, *tables: pa.Table, source: str = "east", key: str | None = None) -> Receipt:
    with store.begin_batch(SourceRef(source, source), format="csv", idempotency_key=key) as batch:
        for table in tables:
            batch.add(table)
        batch.finish_input(b"\x11" * 32, 1)
        return batch.commit()
