"""What both growth curves share: the state that survives an interruption, and lookups against the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from bench.fleet import Worker, worker
from bench.peers.base import Window
from bench.probes import Probe
from bench.results import Book, percentiles
from bench.worker import joined

FREE_BYTES_MIN: Final = 4 << 30
FIGURES: Final = ("seconds", "cpu_seconds", "read_bytes")
"""What is noted of each lookup, if the peer can tell."""


@dataclass(slots=True)
class State:
    """What survives an interruption."""

    start: date
    truths: list[list[Probe]] = field(default_factory=list)
    """After each delivery: what the probes must find."""
    points: list[dict[str, Any]] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """Peers that failed, and why."""

    @property
    def done(self) -> int:
        """Deliveries whose truth is known."""
        return len(self.truths)

    @classmethod
    def load(cls, path: Path, start: date) -> State:
        """Return the state that a run left, or a new one."""
        if not path.exists():
            return cls(start)
        told = json.loads(path.read_text(encoding="utf-8"))
        truths = [[Probe(**probe) for probe in probes] for probes in told["truths"]]
        return cls(date.fromisoformat(told["start"]), truths, told["points"], told["lost"])

    def save(self, path: Path) -> None:
        """Keep it."""
        told = asdict(self) | {"start": self.start.isoformat()}
        path.with_suffix(".new").write_text(json.dumps(told), encoding="utf-8")
        path.with_suffix(".new").replace(path)

    def more(self, here: Sequence[Probe]) -> None:
        """Add what one more delivery holds of the same probes."""
        self.truths.append(
            [
                replace(one, records=one.records + two.records, checksum=joined(one.checksum, two.checksum))
                for one, two in zip(self.truths[-1], here, strict=True)
            ]
        )


def look(book: Book, probes: Sequence[Probe], home: Path, name: str, window: Window) -> dict[str, Any]:
    """Look every probe up in a process of its own, after one that warms; return bytes per record and percentiles."""
    taken: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    with worker(name, home) as peer:
        peer.ask("resume")
        stored = peer.ask("count")["value"]
        _asked(book, peer, probes[-1], window)
        for probe in probes:
            taken.setdefault((probe.kind, probe.present), []).append(_asked(book, peer, probe, window))
        size = peer.ask("size_bytes")["value"]
        memory = peer.ask("memory_bytes")["value"]
    return {
        "bytes_per_record": size / stored,
        "reader_memory_bytes": memory,
        "load_average": round(os.getloadavg()[0], 1),
        "lookups": _summary(taken, True),
        "absent": _summary(taken, False),
    }


def _asked(book: Book, peer: Worker, probe: Probe, window: Window) -> dict[str, Any]:
    dates = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    answer = peer.ask("lookup", kind=probe.kind, value=probe.value, **dates)
    if (answer["records"], answer["checksum"]) != (probe.records, probe.checksum):
        book.differs(f"{peer.name} found {answer['records']} records of {probe.records} ({probe.kind})")
    return answer


def _summary(taken: dict[tuple[str, bool], list[dict[str, Any]]], present: bool) -> dict[str, Any]:
    return {
        kind: {
            "asked": len(answers),
            "found": sum(answer["records"] for answer in answers) / len(answers),
            **{name: percentiles([one[name] for one in answers]) for name in FIGURES if name in answers[0]},
        }
        for (kind, there), answers in taken.items()
        if there == present
    }
