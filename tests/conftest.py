"""Shared by all tests."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from _pytest.tmpdir import get_user
from hypothesis import HealthCheck, settings

from schemas.policy import DEFAULT_POLICY
from store.clock import Uptime
from store.partitions import PartitionKey, expires_at, to_us

MEMORY: Final = Path("/dev/shm")
MEMORY_BYTES_MIN: Final = 4 << 30
TERMINAL: Final = ("COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
"""How others would have text laid out."""
SOCKET_BYTES_MAX: Final = 107
"""Of the path of a unix socket."""

# No test asserts time: the first example may load a kernel, and the machine may be busy. The examples are the same ones
# every time, so that no change is held up by what chance finds in another's work; `make torture` is there to find it.
settings.register_profile(
    "lagrum", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "torture", settings.get_profile("lagrum"), max_examples=2_000, derandomize=False, print_blob=True
)
settings.load_profile("lagrum")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make stores of tests in memory where there is room: their syncs are the same calls, and nine tenths of the time.

    Whatever TMPDIR names is taken instead. The acceptance tests stay on the disk (`tests/acceptance/conftest.py`).
    """
    for name in TERMINAL:
        os.environ.pop(name, None)
    has_room = os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    if "TMPDIR" not in os.environ and has_room:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None
    if config.option.basetemp is None and not is_short(tempfile.gettempdir(), get_user() or "unknown"):
        config.option.basetemp = tempfile.mkdtemp(prefix="t", dir=MEMORY if has_room else "/tmp")
        config.add_cleanup(partial(shutil.rmtree, config.option.basetemp, ignore_errors=True))


def is_short(temporary: str, user: str) -> bool:
    """Tell whether the socket of a service that a test starts in its own folder has a path that a socket may have."""
    folder = Path(temporary, f"pytest-of-{user}", "pytest-9999", "popen-gw99", "x" * 31)
    return len(os.fsencode(folder / "root" / "run" / "lagrum.sock")) <= SOCKET_BYTES_MAX


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, and never look at what was collected again: the modules of all tests stay.

    A third of the collection and a tenth of each test went into it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter take modules down as ever: extensions of nanobind complain of what stays."""
    gc.unfreeze()


class FixedClock:
    """A clock that tests hold in their hands; the machine's counter goes with it, until `jump` or `restart`."""

    def __init__(self, now_us: int) -> None:
        self.value_us = now_us
        self.boot = "boot-1"
        self.ahead_us = 0

    def now_us(self) -> int:
        return self.value_us

    def advance(self, *, days: float = 0, seconds: float = 0) -> None:
        self.value_us += int((days * 86_400 + seconds) * 1_000_000)

    def uptime(self) -> Uptime:
        return Uptime(self.boot, self.value_us - self.ahead_us)

    def jump(self, *, days: float = 0, seconds: float = 0) -> None:
        """Set the wall clock, as an operator or a broken time server does."""
        before_us = self.value_us
        self.advance(days=days, seconds=seconds)
        self.ahead_us += self.value_us - before_us

    def restart(self, boot: str = "boot-2", *, off_days: float = 0) -> None:
        """Start the machine anew; its counter begins at 0."""
        self.advance(days=off_days)
        self.boot, self.ahead_us = boot, self.value_us


def ends_us(key: PartitionKey) -> int:
    """Return the instant at which a partition ends by the policy that every store begins with."""
    return to_us(expires_at(key, DEFAULT_POLICY))


@pytest.fixture
def clock() -> FixedClock:
    """2026-11-22T12:00:00Z, the day of the fixtures."""
    return FixedClock(1_795_348_800_000_000)
