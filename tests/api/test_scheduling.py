"""Heavy work stands back, and nothing else does."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from api import scheduling
from tests.api.world import World


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_a_thread_stands_back_and_what_it_starts_too() -> None:
    before = niceness()
    with ThreadPoolExecutor(1, initializer=scheduling.stand_back) as pool:
        assert pool.submit(niceness).result() == max(before, scheduling.NICENESS)
        with pool.submit(ThreadPoolExecutor, 1).result() as inner:
            assert pool.submit(lambda: inner.submit(niceness).result()).result() == max(before, scheduling.NICENESS)
    assert niceness() == before


def test_a_command_that_has_the_process_to_itself_does_not() -> None:
    before = niceness()
    scheduling.stand_back()
    assert niceness() == before


def test_turns_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[float] = []
    monkeypatch.setattr(sys, "setswitchinterval", set_to.append)
    scheduling.take_short_turns()
    assert set_to == [scheduling.INTERVAL_SECONDS]


def test_the_service_merges_in_a_thread_that_stands_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {thread.name.partition("_")[0] for thread in threading.enumerate()}
    assert "lagrum-background" in names
