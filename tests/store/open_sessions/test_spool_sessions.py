"""Events of sessions in the spool: durable when they are answered, folded once, each push with its own counts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import BusyError, LagrumError
from store import SourceRef, Store
from store.spooling import spool_drain
from store.spooling.spool_format import PushGroup
from store.spooling.spool_receipts import PushId
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.open_sessions.test_sessions import HOUR_US, START, closed, event, opened, rows


def group(store: Store, *pushes: pa.Table) -> PushGroup:
    """Return pushes of one event each."""
    ends = np.arange(1, len(pushes) + 1)
    table = pa.concat_tables(pushes, promote_options="default")
    place = table.column_names.index("batch_position")
    return PushGroup(
        source=SourceRef("east", "east"),
        format="radius-detail",
        received_us=store.clock.now_us(),
        table=table.set_column(place, "batch_position", pa.array(ends)),
        rejects=[],
        ends=ends,
        records=np.ones(len(pushes), np.int64),
        expired=np.zeros(len(pushes), np.int64),
        sizes=np.full(len(pushes), 100),
        digests=hashlib.sha256(b"").digest() * len(pushes),
    )


def outcome(store: Store, push: PushId) -> tuple[int, int, int]:
    receipt = store.spool.receipt(push)
    assert receipt is not None and receipt.batch_id is not None
    return receipt.accepted, receipt.duplicates, receipt.conflicts


def test_pushed_events_fold_to_one_record_and_each_has_its_receipt(store: Store) -> None:
    update = event("update", "s1", 13, volume_down_bytes=9)
    (ids,) = store.spool.append([group(store, opened(), update, opened(), closed())])
    (row,) = rows(store)
    assert (row["volume_up_bytes"], row["volume_down_bytes"]) == (77, 9)
    assert [outcome(store, push) for push in ids] == [(1, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 0)]
    assert store.verify() == []


def test_a_running_session_is_found_while_its_start_lies_in_the_spool(store: Store) -> None:
    store.spool.append([group(store, opened())])
    assert [batch.num_rows for batch in store.open_sessions()] == [1]


def test_a_key_that_is_used_anew_among_pushes_is_another_session(store: Store) -> None:
    later = START + 2 * HOUR_US
    second = [event("open", "s1", 21, start_time=later), event("close", "s1", 22, end_time=later + HOUR_US)]
    for push in (opened(), closed(), *second):
        store.spool.append([group(store, push)])
    assert len(rows(store)) == 2


@pytest.mark.parametrize("step", ["_segment", "_remove"])
def test_events_are_folded_once_whatever_the_drain_dies_of(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with Store.create(tmp_path / "root", clock=clock) as store:
        store.spool.append([group(store, opened())])
        (ids,) = store.spool.append([group(store, opened(), closed())])
        with monkeypatch.context() as patched:
            patched.setattr(spool_drain, step, broken)
            with pytest.raises(KeyboardInterrupt):
                store.spool.drain()
    with Store.open(tmp_path / "root", clock=clock) as store:
        assert len(rows(store)) == 1
        assert [outcome(store, push) for push in ids] == [(0, 1, 0), (1, 0, 0)]
        assert store.verify() == []


def test_a_drain_tries_again_when_a_session_changed_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.spool.append([group(store, closed())])
    commit, turns = spool_drain._commit, [1]

    def beaten(*arguments: object) -> object:
        if turns:
            turns.pop()
            raise BusyError("another delivery of the same source changed its open sessions")
        return commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(spool_drain, "_commit", beaten)
    store.spool.drain()
    deliver(store, opened())
    assert len(rows(store)) == 1


def test_a_drain_that_is_always_too_late_keeps_what_it_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.spool.append([group(store, opened(), closed())])

    def beaten(*_: object) -> object:
        raise BusyError("another delivery of the same source changed its open sessions")

    with monkeypatch.context() as patched:
        patched.setattr(spool_drain, "_commit", beaten)
        with pytest.raises(LagrumError):
            store.spool.drain()
    assert len(rows(store)) == 1
