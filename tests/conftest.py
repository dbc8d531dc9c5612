"""Shared by all tests."""

from __future__ import annotations

import pytest


class FixedClock:
    """A clock that tests hold in their hands."""

    def __init__(self, now_us: int) -> None:
        self.value_us = now_us

    def now_us(self) -> int:
        return self.value_us

    def advance(self, *, days: float = 0, seconds: float = 0) -> None:
        self.value_us += int((days * 86_400 + seconds) * 1_000_000)


@pytest.fixture
def clock() -> FixedClock:
    """2026-11-22T12:00:00Z, the day of the fixtures."""
    return FixedClock(1_795_348_800_000_000)
