"""The service consumes the queue that lagrum.toml names, and stops in order."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from api.settings import Settings
from tests.api.world import CSV, make_world
from tests.conftest import FixedClock
from tests.ingest.broker import STREAM, running
from tests.patience import until


def test_the_service_consumes_its_queue(tmp_path: Path, clock: FixedClock) -> None:
    with running(tmp_path / "broker") as broker:
        broker.publish([CSV])
        settings = Settings(queue_server=broker.url, queue_stream=STREAM, queue_source="pbx", queue_format="csv")
        with make_world(tmp_path, clock, settings) as world:
            until(world.store.reconcile, "nothing is consumed")
            rows = world.store.reconcile()
            assert [(row["transport"], row["stored"]) for row in rows] == [("queue", 2)]
        about = broker.consumer()
        assert (about.num_pending, about.num_ack_pending) == (0, 0)


def test_a_queue_that_cannot_be_consumed_is_told_and_the_service_runs(
    tmp_path: Path, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(
        queue_server="nats://broker.example.net", queue_stream="CDR", queue_source="pbx", queue_format="csv"
    )
    with caplog.at_level(logging.ERROR), make_world(tmp_path, clock, settings) as world:
        assert world.http.get("/v1/health").status_code == 200
        until(lambda: "TLS" in caplog.text, "nothing is told")
    assert "not consumed" in caplog.text and "TLS" in caplog.text
