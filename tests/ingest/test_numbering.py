"""Files of TS 32.297 tell of gaps in their numbers and of lost records: an event and a metric each."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.telemetry.source_metrics import SourceMetrics
from ingest import silence, sources
from ingest.drop_folder import DropFolder
from ingest.drop_rules import WatchRules
from ingest.messages import ingest_messages
from ingest.pipeline import ingest_stream
from ingest.pushes import decode_pushes
from ingest.queue import Message
from ingest.source_config import SourceConfig
from store import Store
from tests.conftest import FixedClock
from tests.ingest import ber_encoder as ber
from tests.ingest.test_silence import kinds
from tests.ingest.threegpp_made import EVERY

SOURCE = SourceConfig("cgf", zone=None)
OPENED = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        sources.register(made, SOURCE, actor="test")
        yield made


def _deliver(store: Store, number: int, lost: int = 0) -> None:
    data = ber.cdr_file(EVERY, OPENED, OPENED, sequence_number=number, lost=lost)
    ingest_stream(store, SOURCE, "3gpp-32297", io.BytesIO(data))


def _state(store: Store) -> tuple[int, int]:
    (state,) = silence.states(store)
    return state.missing, state.records_lost


def test_a_gap_is_told_once_and_so_is_its_filling(store: Store) -> None:
    for number in (7, 8, 11, 11, 8):
        _deliver(store, number)
    assert _state(store) == (2, 0)
    assert kinds(store) == ["intake.sequence-gap"]
    _deliver(store, 9)
    assert _state(store) == (1, 0)
    assert kinds(store) == ["intake.sequence-gap", "intake.sequence-gap-filled"]


def test_lost_records_are_an_event_and_a_metric_and_counted_once(store: Store) -> None:
    _deliver(store, 7)
    assert kinds(store) == []
    for _ in range(2):
        _deliver(store, 8, lost=128 + 5)
    assert _state(store) == (0, 5)
    assert kinds(store) == ["intake.records-lost"]
    metrics = SourceMetrics(store)
    metrics.refresh()
    found = {one.name: one.value for family in metrics.collect() for one in family.samples}
    assert (found["lagrum_source_records_lost"], found["lagrum_source_missing_files"]) == (5, 0)


def _files(*numbers: int) -> list[bytes]:
    return [ber.cdr_file(EVERY, OPENED, OPENED, sequence_number=number, lost=128 + 5) for number in numbers]


def test_messages_of_a_queue_tell_gaps_and_losses_too(store: Store) -> None:
    messages = [Message("q", place, body) for place, body in enumerate(_files(7, 9), 1)]
    receipt, refused = ingest_messages(store, SOURCE, "3gpp-32297", messages)
    assert receipt.records == 2 * len(EVERY) and refused == []
    assert _state(store) == (1, 10)


def test_small_files_of_a_drop_folder_tell_them_too(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    for place, data in enumerate(_files(7, 9)):
        (folder / f"{place}.dat").write_bytes(data)
    DropFolder(store, SOURCE.name, "3gpp-32297", folder, WatchRules(settle_s=0.0)).run(once=True, poll_s=0.05)
    assert _state(store) == (1, 10)


def test_a_pushed_file_that_numbers_itself_is_ingested_by_itself(store: Store) -> None:
    pushes = decode_pushes(store, SOURCE, "3gpp-32297", _files(7, 9))
    assert pushes.group is None and pushes.refused == {0: None, 1: None}


def test_of_a_file_without_records_number_and_losses_are_told(store: Store) -> None:
    _deliver(store, 7)
    empty = ber.cdr_file([], OPENED, OPENED, sequence_number=8, lost=128 + 5)
    assert ingest_stream(store, SOURCE, "3gpp-32297", io.BytesIO(empty)).records == 0
    _deliver(store, 9)
    assert _state(store) == (0, 5)
    assert kinds(store) == ["intake.records-lost"]
