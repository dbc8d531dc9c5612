"""Growth over as many days as are kept: three streams, and after each the lookups over all of it.

Lagrum reads each delivery as one stream from its standard input; the last is about 26 GB. The others read the same
records from files of some days each, which are removed again. Every system is brought to its final state before the
lookups.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from bench import workload
from bench.fleet import PeerError, Worker, worker
from bench.growing import FREE_BYTES_MIN, State, look
from bench.peers.base import Window
from bench.peers.lagrum import ingesting
from bench.probes import Probe, Tally, draw
from bench.results import Book
from bench.stream import Poured, pour
from bench.workloads import KEPT_DAYS

PEERS: Final = ("lagrum", "clickhouse", "duckdb")
PRESENT, ABSENT = 40, 10
OTHERS_PRESENT, OTHERS_ABSENT = 8, 3
"""The others are asked for fewer of the same values."""
PIECE_ROWS: Final = 10_000_000
"""Of a file that the others read."""
ROUGH_BYTES_PER_RECORD: Final = {"lagrum": 60, "clickhouse": 120, "duckdb": 120}
"""While it is merged."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One of the streams."""

    number: int
    rows: int
    rows_before: int
    days: int

    def write(self, target: BinaryIO | Path, state: State, **more: Any) -> int:
        """Write it, or the days `within`, as CSV; return the records written."""
        return workload.write_csv(
            target,
            self.rows,
            days=self.days,
            start_date=state.start,
            first_day=self.number * self.days,
            first_key=workload.KEY_FIRST + self.rows_before,
            **more,
        )

    def pieces(self) -> list[range]:
        """Return the days of each of the files that the others read."""
        count = min(self.days, -(-self.rows // PIECE_ROWS))
        return [range(self.days * at // count, self.days * (at + 1) // count) for at in range(count)]


def deliveries(scale: float) -> list[Delivery]:
    """Return the streams at a scale: each makes the store about four times as large; the last is about 26 GB."""
    days = min(KEPT_DAYS, max(40, round(KEPT_DAYS * scale * 4)))
    made: list[Delivery] = []
    for number, count in enumerate((10_000_000, 30_000_000, 160_000_000)):
        before = made[-1].rows_before + made[-1].rows if made else 0
        made.append(Delivery(number, max(20_000, round(count * scale)), before, days))
    return made


def grow(book: Book, folder: Path, names: Sequence[str], scale: float) -> dict[str, Any]:
    """Measure from where the last run ended; return the points."""
    folder.mkdir(parents=True, exist_ok=True)
    state = State.load(folder / "state.json", datetime.now(UTC).date() - timedelta(days=KEPT_DAYS))
    wanted = deliveries(scale)
    for one in wanted:
        if state.done == one.number:
            _count(state, folder, one, _window(state, one))
            state.save(folder / "state.json")
        for name in PEERS:
            if name in state.lost or name not in names or _point(state, name, one.number, True):
                continue
            if shutil.disk_usage(folder).free < FREE_BYTES_MIN + _needed(name, one):
                book.say(f"years: {name} stopped at {one.rows_before:,} records: the disk runs short")
                break
            try:
                _grown(book, state, folder, name, one)
            except (PeerError, RuntimeError) as error:
                state.lost[name] = str(error)
                book.differs(f"years: {name} {error}")
            state.save(folder / "state.json")
    done = sum(1 for one in wanted if _point(state, "lagrum", one.number, True))
    points = sorted(state.points, key=lambda point: (point["delivery"], PEERS.index(point["peer"])))
    whole = wanted[0].days
    return {"days": whole, "lost": state.lost, "points": points, "done": done, "of": len(wanted)}


def _point(state: State, name: str, number: int, looked: bool = False) -> dict[str, Any] | None:
    """Return what is known of a peer's delivery; with `looked`, if its lookups are too."""
    for point in state.points:
        if (point["peer"], point["delivery"]) == (name, number):
            return point if not looked or "lookups" in point else None
    return None


def _needed(name: str, one: Delivery) -> int:
    return (one.rows_before + one.rows) * ROUGH_BYTES_PER_RECORD[name] + (0 if name == "lagrum" else 170 * PIECE_ROWS)


def _grown(book: Book, state: State, folder: Path, name: str, one: Delivery) -> None:
    """Take one delivery in and look up in what is there; what is done is kept, so that the rest can be done later.

    Raises:
        PeerError: the peer failed; so does RuntimeError of a command.
    """
    point = _point(state, name, one.number)
    if point is None:
        point = {"peer": name, "delivery": one.number, "stored": one.rows_before + one.rows}
        point |= _poured(book, state, folder, one) if name == "lagrum" else _loaded(book, state, folder, name, one)
        state.points.append(point)
        state.save(folder / "state.json")
        book.say(f"years: {name} {point['stored']:,} stored, {point['cpu_us_per_record']:.2f} us of processor a record")
    probes = state.truths[one.number]
    if name != "lagrum":
        probes = [*_first(probes, True, OTHERS_PRESENT), *_first(probes, False, OTHERS_ABSENT)]
    point |= look(book, probes, folder / name, name, _window(state, one))


def _window(state: State, one: Delivery) -> Window:
    return Window(state.start, state.start + timedelta(days=one.days + 1))


def _count(state: State, folder: Path, one: Delivery, window: Window) -> None:
    """Count what the probes must find once this delivery is stored; the first delivery chooses the probes."""
    if state.truths:
        tally = Tally(state.truths[-1], window)
        one.write(Path(os.devnull), state, watch=tally.watch)
        state.more(tally.probes())
        return
    path = folder / "first.csv"
    one.write(path, state)
    state.truths.append(draw(path, [window], PRESENT, ABSENT)[window])
    path.unlink()


def _first(probes: Sequence[Probe], present: bool, count: int) -> list[Probe]:
    """Return some probes of each kind, evenly chosen from the first to the last."""
    kinds: dict[str, list[Probe]] = {}
    for probe in probes:
        if probe.present == present:
            kinds.setdefault(probe.kind, []).append(probe)
    return [probe for probes in kinds.values() for probe in probes[:: max(1, len(probes) // count)][:count]]


def _poured(book: Book, state: State, folder: Path, one: Delivery) -> dict[str, Any]:
    """Let Lagrum read the stream."""
    home = folder / "lagrum"
    with worker("lagrum", home) as peer:
        if not home.exists():
            peer.ask("prepare")
        poured = pour([*ingesting(home), "-"], lambda stream: one.write(stream, state))
        _check(book, poured, one)
        merged = peer.ask("finish")
        peak = peer.ask("memory_bytes")["value"]
    return {
        "records": poured.records,
        "stream_bytes": poured.stream_bytes,
        "seconds": poured.cost.seconds,
        "cpu_us_per_record": poured.cost.cpu_seconds / one.rows * 1e6,
        "merge_cpu_us_per_record": merged["cpu_seconds"] / one.rows * 1e6,
        "merge_seconds": merged["seconds"],
        "memory_bytes": poured.cost.memory_bytes,
        "merge_memory_bytes": peak,
        "marks": [asdict(mark) for mark in poured.marks],
    }


def _check(book: Book, poured: Poured, one: Delivery) -> None:
    """Note when the receipt's counts are not what was written."""
    receipt = json.loads(poured.cost.output)
    expected = {"records": one.rows, "accepted": one.rows, "rows": one.rows, "bytes": poured.stream_bytes}
    expected |= {"duplicates": 0, "conflicts": 0, "rejected": 0}
    wrong = {name: receipt[name] for name, value in expected.items() if receipt[name] != value}
    if wrong or poured.records != one.rows:
        book.differs(f"the receipt of {one.rows} records in {poured.stream_bytes} bytes says {wrong}")


def _loaded(book: Book, state: State, folder: Path, name: str, one: Delivery) -> dict[str, Any]:
    """Let another system read the same records from files."""
    cpu, seconds = 0.0, 0.0
    home = folder / name
    with worker(name, home) as peer:
        _begin(peer, home, one)
        for piece in one.pieces():
            path = folder / "piece.csv"
            rows = one.write(path, state, within=piece)
            answer = peer.ask("load", paths=[str(path)])
            path.unlink()
            if answer["records"] != rows:
                book.differs(f"years: {name} stored {answer['records']} of {rows} records")
            cpu, seconds = cpu + answer["cpu_seconds"], seconds + answer["seconds"]
        merged = peer.ask("finish")
        memory = peer.ask("memory_bytes")["value"]
    return {
        "records": one.rows,
        "seconds": seconds,
        "cpu_us_per_record": cpu / one.rows * 1e6,
        "merge_cpu_us_per_record": merged["cpu_seconds"] / one.rows * 1e6,
        "merge_seconds": merged["seconds"],
        "memory_bytes": memory,
    }


def _begin(peer: Worker, home: Path, one: Delivery) -> None:
    """Open what is there.

    Raises:
        PeerError: it is not all of the deliveries before.
    """
    if one.number == 0:
        shutil.rmtree(home, ignore_errors=True)
        peer.ask("prepare")
        return
    peer.ask("resume")
    if peer.ask("count")["value"] != one.rows_before:
        raise PeerError("it does not hold the deliveries before")
