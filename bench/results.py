"""What a run of `make bench` keeps: steps, and for each step one result per peer."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.peers import TITLES


@dataclass(slots=True)
class Result:
    """One peer's outcome of a step; `values` in the step's unit, one per repeat."""

    peer: str
    values: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Processor seconds of each repeat."""
    more: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return what latest.json keeps."""
        kept: dict[str, Any] = {"peer": self.peer}
        if self.values:
            kept["median"] = statistics.median(self.values)
            kept["min"], kept["max"] = min(self.values), max(self.values)
            kept["repeats"] = len(self.values)
        if self.cpu:
            kept["cpu_seconds"] = statistics.median(self.cpu)
        kept |= self.more
        if self.error:
            kept["error"] = self.error
        return kept


@dataclass(slots=True)
class Step:
    """One measurement of all peers."""

    name: str
    what: str
    unit: str
    rows: int
    days: int = 1
    bar: str = ""
    results: dict[str, Result] = field(default_factory=dict)

    def of(self, peer: str) -> Result:
        """Return the peer's result, a new one at first."""
        return self.results.setdefault(peer, Result(peer))

    def as_dict(self) -> dict[str, Any]:
        """Return what latest.json keeps."""
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "rows": self.rows,
            "days": self.days,
            "bar": self.bar,
            "results": [result.as_dict() for result in self.results.values()],
        }


class Book:
    """Everything that a run finds out, and what it tells meanwhile."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.peers: dict[str, dict[str, str]] = {}
        self.differences: list[str] = []
        self._began = time.monotonic()

    def step(self, name: str, what: str, unit: str, rows: int, days: int = 1, bar: str = "") -> Step:
        """Begin a step."""
        made = Step(name, what, unit, rows, days, bar)
        self.steps.append(made)
        return made

    def describe(self, peer: str, told: dict[str, str]) -> None:
        """Keep a peer's version and settings."""
        self.peers[peer] = {"title": TITLES[peer], **told}

    def differs(self, what: str) -> None:
        """A result was not what it must be: the run fails at its end."""
        self.differences.append(what)
        self.say(f"DIFFERENCE: {what}")

    def say(self, text: str) -> None:
        """Tell how it goes."""
        sys.stderr.write(f"[{time.monotonic() - self._began:6.0f} s] {text}\n")
        sys.stderr.flush()

    def as_dict(self) -> dict[str, Any]:
        """Return what latest.json keeps."""
        return {
            "seconds": round(time.monotonic() - self._began),
            "peers": self.peers,
            "differences": self.differences,
            "steps": [step.as_dict() for step in self.steps],
        }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and the largest."""
    return {
        "p50": float(np.percentile(values, 50)),
        "p95": float(np.percentile(values, 95)),
        "largest": max(values),
    }
