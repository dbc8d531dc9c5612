"""Audit entries reach the log once: crashes, other processes, a restored catalog, a log that takes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import AuditError
from store import AuditEntry, ScanQuery, Store
from store.documents import Put
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records


def kinds(store: Store) -> list[str]:
    store.audit.refresh()
    return [entry.kind for entry in store.audit.entries(0, store.audit.size, reveal=False)]


def test_an_entry_that_another_process_appended_before_it_died_is_not_appended_again(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = store.audit.append

    def dies(entries: Any) -> Any:
        append(entries)
        raise KeyboardInterrupt

    with Store.open(store.root, clock=clock) as other:  # knows the log as it was before
        with monkeypatch.context() as patch:
            patch.setattr(store.audit, "append", dies)
            with pytest.raises(KeyboardInterrupt):
                deliver(store, records(3))
        other.flush_outbox(required=True)
        assert kinds(other).count("batch") == 1
        assert other.verify() == []


def test_a_catalog_restored_from_a_backup_does_not_swallow_new_entries(tmp_path: Path, clock: FixedClock) -> None:
    root, copy = tmp_path / "root", tmp_path / "catalog.copy"
    Store.create(root, clock=clock).close()
    shutil.copy(root / "catalog.sqlite", copy)
    with Store.open(root, clock=clock) as store:
        store.documents.commit([Put("thing", "1", {})], [AuditEntry("thing.made", {}, None)])
    for leftover in root.glob("catalog.sqlite*"):
        leftover.unlink()
    shutil.copy(copy, root / "catalog.sqlite")
    with Store.open(root, clock=clock) as store:
        store.documents.commit([Put("thing", "2", {})], [AuditEntry("thing.made", {}, None)])
        assert kinds(store).count("thing.made") == 2


def test_a_batch_is_acknowledged_while_the_log_takes_nothing_and_its_entry_follows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(entries: Any) -> Any:
        raise AuditError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(store.audit, "append", full)
        assert deliver(store, records(3)).accepted == 3
        with pytest.raises(AuditError):
            store.documents.commit([Put("thing", "1", {})], [AuditEntry("thing.made", {}, None)])
        with pytest.raises(AuditError):
            store.log(AuditEntry("disclosure.read", {}, None))
    store.flush_outbox(required=True)
    assert (kinds(store).count("batch"), kinds(store).count("thing.made")) == (1, 1)
    assert sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60))) == 3
    assert store.verify() == []


def test_an_entry_of_ours_that_another_process_appended_before_it_died_is_not_appended_again(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(store.root, clock=clock) as other:
        append = other.audit.append

        def dies(entries: Any) -> Any:
            append(entries)
            raise KeyboardInterrupt

        with store.catalog.transaction() as cursor:
            store.outbox.put(cursor, [AuditEntry("thing.made", {}, None)])
        monkeypatch.setattr(other.audit, "append", dies)
        with pytest.raises(KeyboardInterrupt):
            other.flush_outbox()
    store.flush_outbox(required=True)
    assert kinds(store).count("thing.made") == 1
