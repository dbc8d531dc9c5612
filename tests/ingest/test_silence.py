"""Sources that fall silent: told once, in the log, the metrics and on the command line, and when they are heard."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.settings import Settings
from api.telemetry.source_metrics import SourceMetrics
from ingest import silence, sources
from ingest.drop_folder import DropFolder
from ingest.drop_rules import WatchRules
from ingest.pipeline import ingest_stream
from ingest.silence import overdue_s
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from store import Store
from store.arrivals import last_received_us
from tests.api.cli.conftest import Run, run  # noqa: F401
from tests.conftest import FixedClock

CSV = (
    "record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"
    "{key},m,voice,46700000001,46700000002,2026-11-20T10:00:00Z,61\n"
)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        sources.register(made, SourceConfig("pbx", expect_every_s=900), actor="test")
        sources.register(made, SourceConfig("quiet"), actor="test")
        yield made


def deliver(store: Store, key: int) -> None:
    ingest_stream(store, sources.get(store, "pbx"), "csv", io.BytesIO(CSV.format(key=key).encode()))


def kinds(store: Store) -> list[str]:
    return [entry.kind for entry in store.audit.entries() if entry.kind.startswith("intake.")]


def test_a_source_is_overdue_only_beyond_its_interval() -> None:
    assert overdue_s(None, 0, 10**15) == 0
    assert overdue_s(900, 0, 900_000_000) == 0
    assert overdue_s(900, 0, 900_000_001) == 1
    assert overdue_s(900, 0, 1_000_000_000) == 100


def test_a_silence_is_one_event_and_so_is_its_end(store: Store, clock: FixedClock) -> None:
    deliver(store, 1)
    silence.check(store)
    clock.advance(seconds=901)
    for _ in range(3):
        assert [state.silent for state in silence.check(store)] == [True, False]
    assert kinds(store) == ["intake.source-silent"]
    clock.advance(seconds=60)
    deliver(store, 1)  # a repetition is a sign of life too
    assert [state.silent for state in silence.check(store)] == [False, False]
    assert kinds(store) == ["intake.source-silent", "intake.source-heard"]


def test_a_source_that_never_delivered_is_silent_after_its_interval(store: Store, clock: FixedClock) -> None:
    assert not silence.check(store)[0].silent
    clock.advance(seconds=899)
    assert not silence.check(store)[0].silent
    clock.advance(seconds=2)
    assert silence.check(store)[0].silent
    assert kinds(store) == ["intake.source-silent"]


def test_the_last_delivery_is_known_to_the_instant_and_far_back_to_the_hour(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_received_us(store.catalog, "pbx") is None
    clock.advance(seconds=1234)
    deliver(store, 1)
    assert last_received_us(store.catalog, "pbx") == clock.now_us()
    monkeypatch.setattr("store.arrivals.BATCHES_LOOKED_AT", 0)
    known = last_received_us(store.catalog, "pbx")
    assert known is not None and 0 <= known - clock.now_us() <= 3_600_000_000


def test_the_service_looks_often_enough_for_five_minutes() -> None:
    assert Settings().silence_interval_seconds <= 240


def test_the_metrics_name_silent_sources_and_missing_files(store: Store, clock: FixedClock, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 4):
        (folder / f"cdr_{number}").write_text(CSV.format(key=number))
    rules = WatchRules(settle_s=0, sequence=re.compile("cdr_(?P<seq>[0-9]+)"))
    DropFolder(store, "pbx", "csv", folder, rules).run(once=True, poll_s=0.01)
    clock.advance(seconds=1000)
    metrics = SourceMetrics(store)
    assert [sample for family in metrics.collect() for sample in family.samples] == []
    metrics.refresh()
    found = {
        (family.name, sample.labels["source"]): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }
    assert found["lagrum_source_silent", "pbx"] == 1
    assert found["lagrum_source_missing_files", "pbx"] == 2
    assert ("lagrum_source_silent", "quiet") not in found


def test_the_command_line_shows_silence_and_drop_folders(
    store: Store,
    clock: FixedClock,
    tmp_path: Path,
    run: Run,  # noqa: F811
) -> None:
    root, folder = tmp_path / "root", tmp_path / "in"
    folder.mkdir()
    (folder / "cdr").write_text(CSV.format(key=1))
    (folder / "bad").write_text("x\n1\n")
    words = ("watch", "--once", "--source", "pbx", "--format", "csv", "--settle", "0", "--every", "0.05", folder)
    watched = run("--root", root, "--json", *words)
    assert (watched.code, watched.json["accepted"], watched.json["failed"]) == (1, 1, 1)
    assert run("--root", root, "--json", "sources", "status").code == 0
    clock.advance(seconds=1000)
    shown = run("--root", root, "--json", "sources", "status")
    assert shown.code == 1
    assert [(one["source"], one["silent"], one["silent_s"]) for one in shown.json["sources"]] == [
        ("pbx", True, 100),
        ("quiet", False, 0),
    ]
    reconciled = run("--root", root, "--json", "reconcile").json
    assert reconciled["watch"] == [{"source": "pbx", "waiting_files": 0, "failed_files": 1, "missing_files": 0}]
    assert "drop folders" in run("--root", root, "reconcile").out


def test_an_absurd_interval_is_refused(store: Store) -> None:
    for seconds in (0, 10**9):
        with pytest.raises(ConfigurationError):
            sources.register(store, SourceConfig("pbx", expect_every_s=seconds), actor="test")


@pytest.mark.parametrize("name", ["file_name", "received_us", "transport"])
def test_what_a_delivery_brings_itself_is_no_option_of_a_source(store: Store, name: str) -> None:
    with pytest.raises(ConfigurationError):
        sources.register(store, SourceConfig("pbx", options={name: "1"}), actor="test")
