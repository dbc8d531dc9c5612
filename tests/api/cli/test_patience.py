"""A command that takes its time before it begins says so to people, and to nobody else."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from api.cli import output
from store import Store
from tests.api.cli.conftest import Run

TEXT = "opening the store"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have stores open once it is told that they do, or, where nobody tells, soon."""
    told, opened = threading.Event(), Store.open
    note = output.note

    def heard(text: str) -> None:
        note(text)
        told.set()

    def opening(*arguments: Any, **more: Any) -> Store:
        told.wait(30 if sys.stderr.isatty() else 0.1)
        return opened(*arguments, **more)

    monkeypatch.setattr(output, "note", heard)
    monkeypatch.setattr(output, "PATIENCE_S", 0.01)
    monkeypatch.setattr(Store, "open", opening)
    return told


@pytest.mark.parametrize("terminal", [True, False])
def test_a_store_that_opens_slowly_is_told_on_a_terminal_alone(
    run: Run, root: Path, slow: threading.Event, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _self: terminal, raising=False)
    ran = run("--root", root, "status")
    assert ran.code == 0
    assert (TEXT in ran.err) == slow.is_set() == terminal


def test_a_store_that_opens_soon_is_not(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PATIENCE_S", 600.0)
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _self: True, raising=False)
    assert TEXT not in run("--root", root, "status").err
