"""A partition ends under a delivery that is being written into it: either is done, or asked to come again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import BusyError
from schemas.retention import floor_until
from store import ScanQuery, SourceRef, Store, files
from store.partitions import PartitionKey, to_us
from tests.conftest import FixedClock, ends_us
from tests.store.conftest import deliver
from tests.store.reading.hand import Hand
from tests.store.records import records

EVER = ScanQuery(0, 2**60, columns=("record_key",))
EAST = SourceRef("east", "east")


class Once:
    """Does something just before the first step of a kind on a file that ends so."""

    def __init__(self, operation: str, ending: str, act: Callable[[Path], object]) -> None:
        self.wanted, self.act, self.done = (operation, ending), act, False

    def before(self, operation: str, path: Path, target: Path | None) -> None:
        if not self.done and operation == self.wanted[0] and str(path).endswith(self.wanted[1]):
            self.done = True
            self.act(path)


@pytest.fixture
def key(store: Store, clock: FixedClock) -> PartitionKey:
    deliver(store, records(20, first_key=1))
    key = store.partitions()[0].key
    clock.value_us = to_us(floor_until(key.end_date))
    return key


def keys(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


@pytest.mark.parametrize(("operation", "ending"), [("create", ".ids"), ("create", ".idx"), ("fsync_dir", "/shared")])
def test_a_delivery_into_a_partition_that_is_written_anew_is_asked_to_come_again(
    store: Store, clock: FixedClock, key: PartitionKey, monkeypatch: pytest.MonkeyPatch, operation: str, ending: str
) -> None:
    with Store.open(store.root, clock=clock) as other:
        once = Once(operation, ending, lambda _: Hand(other).erase(1, 1, 3))
        table = records(20, first_key=100)
        with pytest.raises(BusyError, match="meanwhile"), store.begin_batch(EAST, format="csv") as batch:
            batch.add(table)
            monkeypatch.setattr(files, "_hook", once)
            batch.commit()
        monkeypatch.setattr(files, "_hook", None)
        assert once.done
        assert keys(store) == 19
        assert deliver(store, table).accepted == 20
        assert (keys(store), keys(other), store.verify()) == (39, 39, [])


def test_an_erasure_does_not_stumble_over_a_file_that_is_just_being_written(
    store: Store, clock: FixedClock, key: PartitionKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.value_us = ends_us(key)
    once = Once("rmdir", "/shared", lambda path: (path / ("0" * 32 + ".parquet")).write_bytes(b"x"))
    monkeypatch.setattr(files, "_hook", once)
    assert store.expire().partitions == (key,)
    assert once.done
    monkeypatch.setattr(files, "_hook", None)
    Store.open(store.root, clock=clock).close()
    assert (store.partitions(), store.verify()) == ([], [])
