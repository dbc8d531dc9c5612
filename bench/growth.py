"""`make bench-growth`: how the cost of taking in and of looking up changes with what is stored.

Two curves. `month`: deliveries of one day each, the days of a month in turn, so that every delivery is compared for
duplicates with everything stored before it. `years`: deliveries over as many days as are kept, Lagrum and ClickHouse in
turns. A delivery is merged as a service would; lookups are measured at some sizes, against the truth counted in the
files.

It is resumable: a run that was interrupted goes on with the next delivery. It stops when the disk runs short.
BENCH_SCALE shrinks it; BENCH_ONLY=month or years picks one. Stores lie in bench/out/growth and are removed at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench import peers, report, workload
from bench.fleet import PeerError, worker
from bench.machine import describe
from bench.peers.base import Window
from bench.probes import Probe, draw, tally
from bench.results import Book, percentiles
from bench.run import OUT, chosen
from bench.worker import joined
from bench.workloads import KEPT_DAYS

WORK: Final = OUT / "growth"
ROUGH_BYTES_PER_RECORD: Final = 80
FREE_BYTES_MIN: Final = 4 << 30
PRESENT, ABSENT = 20, 8
AGAIN_ROWS: Final = 100_000
"""So many records of the last delivery are delivered again at a measured size; all must be recognised."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One growing store per peer."""

    name: str
    days: int
    rows: int
    """Per delivery."""
    deliveries: int
    measured: tuple[int, ...]
    """Numbers of deliveries after which lookups are measured."""
    whole: bool
    """Whether a delivery spans all days, or one."""
    names: tuple[str, ...]


@dataclass(slots=True)
class State:
    """What survives an interruption."""

    start: date
    done: int = 0
    probes: list[Probe] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """Peers that failed, and why."""

    @classmethod
    def load(cls, path: Path, start: date) -> State:
        """Return the state that a run left, or a new one."""
        if not path.exists():
            return cls(start)
        told = json.loads(path.read_text(encoding="utf-8"))
        probes = [Probe(**probe) for probe in told["probes"]]
        return cls(date.fromisoformat(told["start"]), told["done"], probes, told["points"], told["lost"])

    def save(self, path: Path) -> None:
        """Keep it."""
        told = asdict(self) | {"start": self.start.isoformat()}
        path.with_suffix(".new").write_text(json.dumps(told), encoding="utf-8")
        path.with_suffix(".new").replace(path)


def curves(scale: float) -> dict[str, Curve]:
    """Return both curves at a scale."""

    def rows(count: int) -> int:
        return max(5_000, round(count * scale))

    days = min(KEPT_DAYS, max(40, round(KEPT_DAYS * scale * 4)))
    steps = (4, 12, 20, 30, 40, 50, 60, 70, 80)
    return {
        "month": Curve("month", 30, rows(2_500_000), 80, steps, whole=False, names=("lagrum",)),
        "years": Curve("years", days, rows(10_000_000), 10, (1, 3, 6, 10), whole=True, names=("lagrum", "clickhouse")),
    }


def grow(book: Book, curve: Curve, names: Sequence[str]) -> dict[str, Any]:
    """Measure one curve from where it stands; return its points."""
    folder = WORK / curve.name
    folder.mkdir(parents=True, exist_ok=True)
    today = datetime.now(UTC).date()
    state = State.load(folder / "state.json", today - timedelta(days=KEPT_DAYS if curve.whole else curve.days + 1))
    taking = [name for name in curve.names if name in names]
    while state.done < curve.deliveries and set(taking) - set(state.lost):
        if shutil.disk_usage(folder).free < _needed(curve, state, len(taking)):
            book.say(f"{curve.name}: stopped at {state.done * curve.rows:,} records: the disk runs short")
            break
        _deliver(book, curve, state, folder, taking)
        state.save(folder / "state.json")
    return {"days": curve.days, "rows": curve.rows, "lost": state.lost, "points": state.points, "done": state.done}


def _needed(curve: Curve, state: State, count: int) -> int:
    """Return the bytes that the next delivery may take: its file, its parts, and a merge of what is there."""
    csv = curve.rows * 170
    stored = (state.done + 1) * curve.rows * ROUGH_BYTES_PER_RECORD
    return FREE_BYTES_MIN + csv + count * stored // (1 if curve.whole else 4)


def _deliver(book: Book, curve: Curve, state: State, folder: Path, names: Sequence[str]) -> None:
    path, number = folder / "delivery.csv", state.done
    day = state.start if curve.whole else state.start + timedelta(days=number % curve.days)
    days = curve.days if curve.whole else 1
    workload.write_csv(
        path,
        curve.rows,
        days=days,
        start_date=day,
        first_day=number * days,
        first_key=workload.KEY_FIRST + number * curve.rows,
    )
    window = Window(state.start, state.start + timedelta(days=curve.days + 1))
    if not state.probes:
        state.probes = draw(path, [window], PRESENT, ABSENT)[window]
    else:
        here = zip(state.probes, tally(path, state.probes, window), strict=True)
        state.probes = [
            replace(one, records=one.records + two.records, checksum=joined(one.checksum, two.checksum))
            for one, two in here
        ]
    state.done += 1
    for name in names:
        if name in state.lost:
            continue
        try:
            point = _take(book, curve, state, folder / name, name, path)
            if state.done in curve.measured:
                point |= _look(book, state, folder / name, name, window)
        except PeerError as error:
            state.lost[name] = str(error)
            book.differs(f"{curve.name}: {name} {error}")
            continue
        state.points.append(point)
        book.say(
            f"{curve.name}: {name} {point['stored']:,} stored, {point['rate']:,.0f} /s, "
            f"{point['cpu_us_per_record']:.2f} us of processor per record"
        )
    path.unlink()


def _take(book: Book, curve: Curve, state: State, home: Path, name: str, path: Path) -> dict[str, Any]:
    stored = state.done * curve.rows
    with worker(name, home) as peer:
        if state.done == 1 and not home.exists():
            peer.ask("prepare")
        elif name != "lagrum":
            peer.ask("resume")
            if peer.ask("count")["value"] != stored - curve.rows:
                raise PeerError("it holds a part of a delivery that was interrupted")
        answer = peer.ask("load", paths=[str(path)])
        if answer["records"] != curve.rows:  # a delivery that was interrupted is complete, and not measured
            book.say(f"{curve.name}: {name} had some of the delivery already")
        merged = peer.ask("finish" if curve.whole and state.done in curve.measured else "merge")
        point = {
            "peer": name,
            "stored": stored,
            "rate": curve.rows / answer["seconds"],
            "cpu_us_per_record": answer["cpu_seconds"] / curve.rows * 1e6,
            "merge_seconds": merged["seconds"],
            "merge_cpu_us_per_record": merged["cpu_seconds"] / curve.rows * 1e6,
            "memory_bytes": peer.ask("memory_bytes")["value"],
        }
        if state.done in curve.measured and not curve.whole:
            again = peer.ask("load", paths=[str(_head(path))])
            if again["records"]:
                book.differs(f"{curve.name}: {name} stored {again['records']} records twice")
            point["again_cpu_us_per_record"] = again["cpu_seconds"] / min(AGAIN_ROWS, curve.rows) * 1e6
    return point


def _head(path: Path) -> Path:
    target = path.with_name("again.csv")
    with path.open("rb") as stream, target.open("wb") as out:
        for _, line in zip(range(AGAIN_ROWS + 1), stream, strict=False):
            out.write(line)
    return target


def _look(book: Book, state: State, home: Path, name: str, window: Window) -> dict[str, Any]:
    dates = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    taken: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    with worker(name, home) as peer:
        peer.ask("resume")
        stored = peer.ask("count")["value"]
        for probe in [state.probes[-1], *state.probes]:  # the first warms
            answer = peer.ask("lookup", kind=probe.kind, value=probe.value, **dates)
            if (answer["records"], answer["checksum"]) != (probe.records, probe.checksum):
                book.differs(f"{name} found {answer['records']} records of {probe.records} ({probe.kind})")
            taken.setdefault((probe.kind, probe.present), []).append(answer)
        size = peer.ask("size_bytes")["value"]
    return {"bytes_per_record": size / stored, "lookups": _summary(taken, True), "absent": _summary(taken, False)}


def _summary(taken: dict[tuple[str, bool], list[dict[str, Any]]], present: bool) -> dict[str, Any]:
    return {
        kind: percentiles([answer["seconds"] for answer in answers])
        | {
            "cpu_seconds": sum(answer["cpu_seconds"] for answer in answers) / len(answers),
            "found": sum(answer["records"] for answer in answers) / len(answers),
        }
        for (kind, there), answers in taken.items()
        if there == present
    }


def main() -> int:
    """Measure what is picked; keep the curves beside the other results when they are whole."""
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    plans = curves(scale)
    names = chosen(list(peers.CLASSES), "BENCH_PEERS")
    names = [name for name in names if not peers.missing(name)]
    book = Book()
    target = report.GROWTH if scale == 1 else OUT / "growth.json"
    told: dict[str, Any] = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"curves": {}}
    for name in chosen(list(plans), "BENCH_ONLY"):
        told["curves"][name] = grow(book, plans[name], names)
        told |= {"machine": describe(), "scale": scale, "differences": book.differences}
        if book.differences:
            target = OUT / "growth.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        if told["curves"][name]["done"] == plans[name].deliveries:
            shutil.rmtree(WORK / name)
    if target == report.GROWTH:
        report.write_documents(report.load())
    return 1 if book.differences else 0


if __name__ == "__main__":
    sys.exit(main())
