"""An erasure that ends at any step, a hold that comes while it runs, copies that somebody kept."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from schemas.errors import KeyUnavailableError, LagrumError
from store import Store
from store.layout import SUFFIXES
from store.partitions import PartitionKey
from store.retention import expiry
from store.retention.certificate_check import export, verify_file
from store.retention.certificates import stored
from store.retention.expiry import Holding
from tests.conftest import FixedClock, ends_us
from tests.store.conftest import deliver
from tests.store.records import records

DATA = ("parts", "catalog.sqlite", "catalog.sqlite-wal", "lagrum.json")
STEPS = ("intended", "destroyed", "unlinked", "done")


class StoppedError(Exception):
    """The process ends here."""


def stop_at(at: str, store: Store) -> None:
    """Expire what is over, and end at a step."""

    def step(name: str) -> None:
        if name == at:
            raise StoppedError

    with pytest.raises(StoppedError):
        expiry.expire(store, step=step)


def copy(source: Path, target: Path) -> None:
    """Copy the data, without keyring and log."""
    for name in DATA:
        (target / name).unlink(missing_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        elif (source / name).exists():
            shutil.copy2(source / name, target / name)


@pytest.fixture
def due(store: Store, clock: FixedClock) -> PartitionKey:
    deliver(store, records(20))
    deliver(store, records(30, first_key=100, days_ago=1))
    key = store.partitions()[0].key
    clock.value_us = ends_us(key)
    return key


@pytest.mark.parametrize("at", STEPS)
def test_an_erasure_that_ends_at_any_step_is_rolled_forward_with_one_certificate(
    store: Store, clock: FixedClock, due: PartitionKey, at: str
) -> None:
    stop_at(at, store)
    with Store.open(store.root, clock=clock) as other:
        assert not other.keyring.has(due.ref)
        assert not other.layout.partition(due).exists()
        assert [partition for _, partition, _ in stored(other)] == [str(due)]
        body = verify_file(export(other, str(due)), str(other.audit.origin)).body
        assert (body["records"], body["parts"]) == (20, 1)
        assert body["key_commitment"] != "none"
        assert [entry.kind for entry in other.audit.entries()].count("erasure.intended") == 1, "it goes on as begun"
        assert other.verify() == []


def test_a_hold_that_comes_before_the_intent_wins_and_one_after_it_is_too_late(store: Store, due: PartitionKey) -> None:
    """The check runs within the transaction that begins the erasure: a hold placed meanwhile is seen, or waits."""
    asked: list[PartitionKey] = []

    def placed(cursor: sqlite3.Cursor, key: PartitionKey) -> Holding:
        assert cursor.connection.in_transaction
        state = cursor.execute("SELECT state FROM partitions WHERE end_date = ?", (key.end_date.isoformat(),))
        assert state.fetchone() == ("live",)
        asked.append(key)
        return Holding(1, {"preservation": 1})

    result = expiry.expire(store, holds=placed)
    assert (asked, result.partitions, result.held, result.records) == ([due], (), (due,), 0)
    assert store.keyring.has(due.ref)
    released = expiry.expire(store, holds=lambda _cursor, _key: Holding(0, {"preservation": 1, "billing": 2}))
    assert released.partitions == (due,)
    body = verify_file(export(store, str(due)), str(store.audit.origin)).body
    assert body["holds"] == {"preservation": 1, "billing": 2}


def test_after_expiry_nobody_opens_a_copy_of_any_file(
    store: Store, clock: FixedClock, due: PartitionKey, tmp_path: Path
) -> None:
    """A process that had the key cached, and a restored backup of the data with the current keyring."""
    file_id = next(part.file_id for part in store.catalog.parts() if part.partition == due)
    cached = Store.open(store.root, clock=clock)
    cached.part_store.read_records(due, file_id, cached.keyring.key(due.ref))
    backup = tmp_path / "backup"
    backup.mkdir()
    copy(store.root, backup)
    kinds = {path.suffix for path in store.layout.partition(due).iterdir()}
    assert kinds == set(SUFFIXES), "a kind of file that this test does not know"
    store.expire()
    with cached:
        cached.renew_leases()
        with pytest.raises(KeyUnavailableError):
            cached.keyring.key(due.ref)
    store.close()
    shutil.rmtree(store.layout.parts)
    copy(backup, store.root)
    (store.root / "catalog.sqlite-shm").unlink(missing_ok=True)
    with Store.open(store.root, clock=clock) as restored:
        assert not restored.keyring.has(due.ref)
        with pytest.raises(KeyUnavailableError):
            restored.keyring.key(due.ref)
        for ref in restored.keyring.refs():  # no other key opens it either
            for suffix in SUFFIXES:
                path = restored.layout.partition(due) / (file_id + suffix)
                if ref.kind == "partition" and path.exists():
                    with pytest.raises((LagrumError, OSError)):
                        restored.part_store.read_records(due, file_id, restored.keyring.key(ref))
        restored.expire()
        assert not restored.layout.partition(due).exists(), "what came back goes again"
        assert restored.verify() == []
