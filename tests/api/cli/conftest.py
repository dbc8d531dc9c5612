"""The command line, called as the program calls it, with a clock in the test's hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.cli import main
from tests.conftest import FixedClock

HEADER = "record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out)
        return document


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("LAGRUM_ROOT", "LAGRUM_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)

    def call(*words: str | Path) -> Ran:
        capfd.readouterr()
        code = main([str(word) for word in words], clock=clock)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Ran(code, out, err)

    return call


@pytest.fixture
def root(run: Run, tmp_path: Path) -> Path:
    """A new store with a replica."""
    made = run("init", tmp_path / "store", "--replica", tmp_path / "replica")
    assert made.code == 0, made.err
    return tmp_path / "store"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Three calls of one day, the last of which ends on the next."""
    path = tmp_path / "calls.csv"
    lines = [
        "1,msc-1,voice,46700000001,46700000002,2026-11-20T10:00:00Z,61",
        "2,msc-1,sms,46700000003,46700000002,2026-11-20T11:00:00Z,0",
        "3,msc-1,voice,46700000001,46700000004,2026-11-20T23:59:59Z,90",
    ]
    path.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return path
