"""Who interrupts a delivery is not kept waiting by what reads it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.pipeline import Delivery
from ingest.source_config import SourceConfig
from store import Store
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as store:
        yield store


def test_an_interrupt_does_not_wait_for_a_pipe_that_gives_nothing(store: Store) -> None:
    reading, writing = os.pipe()
    given_up = threading.Timer(
        PATIENCE_S, os.close, [writing]
    )  # so that a delivery that waits fails the test, and ends
    with os.fdopen(reading, "rb", buffering=0) as stream:
        given_up.start()
        with pytest.raises(KeyboardInterrupt), Delivery(store, SourceConfig("east"), "csv", stream) as delivery:
            delivery.begin()
            raise KeyboardInterrupt
        waited = not given_up.is_alive()
        given_up.cancel()
        given_up.join()
        if not waited:
            os.close(writing)
        for thread in threading.enumerate():
            if thread.name == "lagrum-decode":
                thread.join()
    assert not waited
    assert store.partitions() == []


def test_any_other_end_of_a_delivery_ends_its_reading_first(store: Store) -> None:
    before = set(threading.enumerate())
    reading, writing = os.pipe()
    os.close(writing)
    with (
        os.fdopen(reading, "rb", buffering=0) as stream,
        pytest.raises(ValueError, match="other"),
        Delivery(store, SourceConfig("east"), "csv", stream) as delivery,
    ):
        delivery.begin()
        raise ValueError("other")
    assert not [one for one in set(threading.enumerate()) - before if one.name == "lagrum-decode"]
