"""Which lines of one module a test comes by: only those tests can notice in this process that a line is another."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


class Reached:
    """A plugin of pytest that writes down, for every test, the lines of a file that ran, and how long it took."""

    def __init__(self, file: str, told: Path) -> None:
        self._file, self._told = file, told
        self._lines: set[int] = set()
        self._seconds = 0.0
        self._tests: dict[str, tuple[float, list[int]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._lines, self._seconds = set(), 0.0
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self._tests[_name(item)] = self._seconds, sorted(self._lines)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds += report.duration

    def pytest_sessionfinish(self) -> None:
        self._told.parent.mkdir(parents=True, exist_ok=True)
        self._told.write_text(json.dumps(self._tests))

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._within if frame.f_code.co_filename == self._file else None

    def _within(self, frame: FrameType, event: str, argument: object) -> Any:
        self._lines.add(frame.f_lineno)
        return self._within


def _name(item: pytest.Item) -> str:
    """Name a test by its whole path: an identifier leaves out that of a file outside the repository."""
    return "::".join((str(item.path), *item.nodeid.split("::")[1:]))


def by_line(line: int, told: Path) -> list[str]:
    """Return the tests that came by a line, the shortest first."""
    tests: dict[str, tuple[float, list[int]]] = json.loads(told.read_text())
    return sorted((name for name, (_, lines) in tests.items() if line in lines), key=lambda name: tests[name][0])
