"""`make bench-growth`: how the cost of taking in and of looking up changes with what is stored.

Two curves. `month`: deliveries of one day each, the days of a month in turn, so that every delivery is compared for
duplicates with everything stored before it; each is merged as a service would. `years` (`bench.years`): three streams
over as many days as are kept, and lookups beside other systems. Lookups are measured against the truth. `suspects`:
what the sieve of identities takes for known and is not.

It is resumable: a run that was interrupted goes on with the next delivery. It stops when the disk runs short.
BENCH_SCALE shrinks it; BENCH_ONLY=month, years or suspects picks one; BENCH_PEERS those beside Lagrum. Stores lie in
bench/out/growth and are removed at the end, unless BENCH_KEEP is set.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench import peers, report, sieve_false_positives, workload, years
from bench.fleet import PeerError, worker
from bench.growing import FREE_BYTES_MIN, State, look
from bench.machine import describe
from bench.peers.base import Window
from bench.probes import draw, tally
from bench.results import Book
from bench.run import OUT, chosen

WORK: Final = OUT / "growth"
ROUGH_BYTES_PER_RECORD: Final = 80
PRESENT, ABSENT = 20, 8
AGAIN_ROWS: Final = 100_000
"""So many records of the last delivery are delivered again at a measured size; all must be recognised."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One growing store."""

    rows: int
    """Per delivery."""
    days: int = 30
    deliveries: int = 80
    measured: tuple[int, ...] = (4, 12, 20, 30, 40, 50, 60, 70, 80)
    """Numbers of deliveries after which lookups are measured."""

    @classmethod
    def of(cls, scale: float) -> Curve:
        """Return the curve at a scale."""
        return cls(max(5_000, round(2_500_000 * scale)))


def grow(book: Book, folder: Path, curve: Curve) -> dict[str, Any]:
    """Measure the month from where the last run ended; return its points."""
    folder.mkdir(parents=True, exist_ok=True)
    today = datetime.now(UTC).date()
    state = State.load(folder / "state.json", today - timedelta(days=curve.days + 1))
    while state.done < curve.deliveries and not state.lost:
        needed = FREE_BYTES_MIN + curve.rows * 170 + (state.done + 1) * curve.rows * ROUGH_BYTES_PER_RECORD // 4
        if shutil.disk_usage(folder).free < needed:
            book.say(f"month: stopped at {state.done * curve.rows:,} records: the disk runs short")
            break
        _deliver(book, curve, state, folder)
        state.save(folder / "state.json")
    return {
        "days": curve.days,
        "rows": curve.rows,
        "lost": state.lost,
        "points": state.points,
        "done": state.done,
        "of": curve.deliveries,
    }


def _deliver(book: Book, curve: Curve, state: State, folder: Path) -> None:
    path, number = folder / "delivery.csv", state.done
    workload.write_csv(
        path,
        curve.rows,
        start_date=state.start + timedelta(days=number % curve.days),
        first_day=number,
        first_key=workload.KEY_FIRST + number * curve.rows,
    )
    window = Window(state.start, state.start + timedelta(days=curve.days + 1))
    if not state.truths:
        state.truths.append(draw(path, [window], PRESENT, ABSENT)[window])
    else:
        state.more(tally(path, state.truths[-1], window))
    try:
        point = _take(book, curve, state, folder / "lagrum", path)
        if state.done in curve.measured:
            point |= look(book, state.truths[-1], folder / "lagrum", "lagrum", window)
    except PeerError as error:
        state.lost["lagrum"] = str(error)
        book.differs(f"month: {error}")
        return
    finally:
        path.unlink()
    state.points.append(point)
    book.say(
        f"month: {point['stored']:,} stored, {point['rate']:,.0f} /s, "
        f"{point['cpu_us_per_record']:.2f} us of processor per record"
    )


def _take(book: Book, curve: Curve, state: State, home: Path, path: Path) -> dict[str, Any]:
    with worker("lagrum", home) as peer:
        if state.done == 1 and not home.exists():
            peer.ask("prepare")
        answer = peer.ask("load", paths=[str(path)])
        if answer["records"] != curve.rows:  # a delivery that was interrupted is complete, and not measured
            book.say("month: some of the delivery was there already")
        merged = peer.ask("merge")
        point = {
            "peer": "lagrum",
            "stored": state.done * curve.rows,
            "rate": curve.rows / answer["seconds"],
            "cpu_us_per_record": answer["cpu_seconds"] / curve.rows * 1e6,
            "merge_seconds": merged["seconds"],
            "merge_cpu_us_per_record": merged["cpu_seconds"] / curve.rows * 1e6,
            "memory_bytes": peer.ask("memory_bytes")["value"],
        }
        if state.done in curve.measured:
            again = peer.ask("load", paths=[str(_head(path))])
            if again["records"]:
                book.differs(f"month: {again['records']} records were stored twice")
            point["again_cpu_us_per_record"] = again["cpu_seconds"] / min(AGAIN_ROWS, curve.rows) * 1e6
    return point


def _head(path: Path) -> Path:
    target = path.with_name("again.csv")
    with path.open("rb") as stream, target.open("wb") as out:
        for _, line in zip(range(AGAIN_ROWS + 1), stream, strict=False):
            out.write(line)
    return target


def main() -> int:
    """Measure what is picked; keep the curves beside the other results when they are whole."""
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    names = [name for name in chosen(list(peers.CLASSES), "BENCH_PEERS") if not peers.missing(name)]
    book = Book()
    target = report.GROWTH if scale == 1 else OUT / "growth.json"
    told: dict[str, Any] = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {"curves": {}}
    for name in chosen(["suspects", "years", "month"], "BENCH_ONLY"):
        if name == "suspects":
            told["suspects"] = sieve_false_positives.measure(scale)
            continue
        folder = WORK / name
        grown = years.grow(book, folder, names, scale) if name == "years" else grow(book, folder, Curve.of(scale))
        told["curves"][name] = grown | {"machine": describe()}
        told |= {"scale": scale, "differences": book.differences}
        if book.differences:
            target = OUT / "growth.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        if grown["done"] == grown["of"] and not os.environ.get("BENCH_KEEP"):
            shutil.rmtree(folder)
    if target == report.GROWTH:
        report.write_documents(report.load())
    return 1 if book.differences else 0


if __name__ == "__main__":
    sys.exit(main())
