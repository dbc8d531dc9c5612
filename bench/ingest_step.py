"""Taking a day in: in one delivery, and in many with the merge to the final state; peers take turns."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import workload
from bench.fleet import PeerError, Worker, worker
from bench.peers import FLOOR
from bench.results import Book, Result, Step
from bench.workloads import Sizes

ONCE: Final = frozenset({"postgresql"})
"""Peers so slow that one run of the day in deliveries gives all their figures."""


def make_day(folder: Path, sizes: Sizes) -> list[Path]:
    """Write the day as one file and as several; the first is the whole."""
    whole = folder / "day.csv"
    workload.write_csv(whole, sizes.day_rows, start_date=sizes.oldest)
    pieces = [folder / f"day-{number:02d}.csv" for number in range(sizes.deliveries)]
    share = whole.stat().st_size // sizes.deliveries
    with whole.open("rb") as stream:
        header = stream.readline()
        for piece in pieces:
            with piece.open("wb") as out:
                out.write(header)
                out.write(stream.read(share) if piece is not pieces[-1] else stream.read())
                out.write(stream.readline())
    return [whole, *pieces]


def measure(book: Book, folder: Path, names: Sequence[str], sizes: Sizes) -> dict[str, Path]:
    """Measure every peer; return the folders of stores in their final state, to go on with."""
    whole, *pieces = make_day(folder, sizes)
    book.say(f"the day: {sizes.day_rows:,} records, {whole.stat().st_size >> 20} MiB of CSV")
    rows, bar = sizes.day_rows, ">= 1.0 M records/s, >= 2.5 x ClickHouse, >= 2 x DuckDB encrypted"
    once = book.step("ingest", "one day of CSV on disk, taken in", "records/s", rows, bar=bar)
    bar = ">= 0.6 M records/s, >= 2.5 x ClickHouse"
    many = book.step(
        "sustained", f"the same in {sizes.deliveries} deliveries, then to the final state", "records/s", rows, bar=bar
    )
    size = book.step("size", "on disk, with indexes", "bytes per record", rows, bar="<= 30")
    kept: dict[str, Path] = {}
    for turn in range(sizes.ingest_repeats):
        for name in names:
            if name not in ONCE and not once.of(name).error:
                _once(book, once.of(name), folder / name, whole, rows)
                shutil.rmtree(folder / name, ignore_errors=True)
        book.say(f"ingest, turn {turn + 1} of {sizes.ingest_repeats}: {_figures(once)}")
    for turn in range(sizes.sustained_repeats):
        for name in names:
            if name == FLOOR or many.of(name).error or (name in ONCE and turn):
                continue
            shutil.rmtree(folder / name, ignore_errors=True)
            first = once.of(name) if name in ONCE else None
            _many(book, many.of(name), size.of(name), folder / name, pieces, rows, first)
            kept[name] = folder / name
        book.say(f"sustained, turn {turn + 1} of {sizes.sustained_repeats}: {_figures(many)}")
    for path in (whole, *pieces):
        path.unlink()
    return {name: path for name, path in kept.items() if not many.of(name).error}


def _once(book: Book, result: Result, folder: Path, path: Path, rows: int) -> None:
    try:
        with worker(result.peer, folder) as peer:
            _load(book, peer, result, [path], rows)
            book.describe(result.peer, peer.ask("describe")["value"])
    except PeerError as error:
        result.error = str(error)


def _load(book: Book, peer: Worker, result: Result, paths: Sequence[Path], rows: int) -> dict[str, Any]:
    peer.ask("prepare")
    answer = peer.ask("load", paths=[str(path) for path in paths])
    if answer["records"] != rows:
        book.differs(f"{peer.name} stored {answer['records']} of {rows} records")
    _note(peer, result, answer["seconds"], answer["cpu_seconds"], rows)
    return answer


def _note(peer: Worker, result: Result, seconds: float, cpu_seconds: float, rows: int) -> None:
    result.values.append(rows / seconds)
    result.cpu.append(cpu_seconds)
    memory = peer.ask("memory_bytes")["value"]
    result.more["memory_bytes"] = max(memory, result.more.get("memory_bytes", 0))
    result.more["cpu_us_per_record"] = round(min(result.cpu) / rows * 1e6, 4)


def _many(
    book: Book, result: Result, size: Result, folder: Path, paths: Sequence[Path], rows: int, once: Result | None
) -> None:
    try:
        with worker(result.peer, folder) as peer:
            loaded = _load(book, peer, once or Result(result.peer), paths, rows)
            if once is not None:
                once.more["note"] = "measured once, in deliveries"
                book.describe(result.peer, peer.ask("describe")["value"])
            finished = peer.ask("finish")
            spent = [loaded[name] + finished[name] for name in ("seconds", "cpu_seconds")]
            _note(peer, result, spent[0], spent[1], rows)
            size.values = [peer.ask("size_bytes")["value"] / rows]
    except PeerError as error:
        result.error = size.error = str(error)
        if once is not None:
            once.error = str(error)


def _figures(step: Step) -> str:
    told = (f"{name} {one.error or f'{one.values[-1]:,.0f}'}" for name, one in step.results.items() if one.as_dict())
    return ", ".join(told)
