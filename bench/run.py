"""`make bench`: Lagrum beside its peers in one run; every result verified; bench/results/latest.json, tables, figures.

BENCH_SCALE shrinks or grows the workloads; BENCH_ONLY=day,years,month,pushes,isolation,formats picks parts;
BENCH_PEERS=lagrum,duckdb picks systems. Unless all is measured at scale 1, results go to bench/out and documents stay
as they are. Inputs and stores lie in bench/out/work and are removed. The run fails when a result is not as it must be.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench import ingest_step, peers, report, store_steps
from bench.child import run as run_child
from bench.machine import describe
from bench.peers.lagrum import LAGRUM
from bench.results import Book
from bench.workloads import Sizes

OUT: Final = report.ROOT / "bench" / "out"
WORK: Final = OUT / "work"
FREE_BYTES_MIN: Final = 15 << 30
BESIDE: Final = {
    "idle": ("alone", ""),
    "half": ("at half of the top rate", "<= 100 ms"),
    "search": ("while every record is read", "<= 2 x alone"),
    "compact": ("while partitions are merged", "<= 2 x alone"),
    "expire": ("while partitions are erased", "<= 2 x alone"),
}
"""Phases of `bench.isolation`: what goes on beside them, and the bar."""


def day(book: Book, names: Sequence[str], sizes: Sizes) -> None:
    """Taking a day in, its size, and its expiry."""
    homes = ingest_step.measure(book, WORK, names, sizes)
    store_steps.expiry(book, homes, sizes, "large", sizes.day_rows)


def years(book: Book, names: Sequence[str], sizes: Sizes) -> None:
    """Lookups in the longest store, disclosures from it, and the expiry of its oldest day."""
    homes = store_steps.lookups(book, WORK, names, sizes)
    if "lagrum" in homes:
        disclosures(book, homes["lagrum"] / "store", sizes)
    store_steps.expiry(book, homes, sizes, "small", sizes.years_rows // sizes.years_days)


def disclosures(book: Book, root: Path, sizes: Sizes) -> None:
    """From approval to package (`bench.disclosure`, which compares each with a full scan)."""
    what = f"from approval to the delivered package of one number over {sizes.years_days} days"
    step = book.step("disclosure", what, "s", sizes.years_rows, sizes.years_days, bar="p95 <= 2 s")
    result = step.of("lagrum")
    try:
        told = json.loads(run_child([sys.executable, "-m", "bench.disclosure", str(root)]).output)
    except RuntimeError as error:
        result.error = str(error)
        book.differs("a package does not hold what a full scan finds, or was not made")
        return
    result.values, result.cpu, result.more = told.pop("values"), told.pop("cpu"), told
    book.say(f"disclosure: p50 {told['p50']:.2f} s, p95 {told['p95']:.2f} s")


def month(book: Book, names: Sequence[str], sizes: Sizes) -> None:
    """A month's usage, and a store that is verified."""
    homes = store_steps.usage(book, WORK, names, sizes)
    if "lagrum" in homes:
        step = book.step("verify", "every byte read again and every count derived", "records/s", sizes.month_rows)
        try:
            cost = run_child([LAGRUM, "--root", str(homes["lagrum"] / "store"), "--json", "verify"])
        except RuntimeError as error:
            step.of("lagrum").error = str(error)
            book.differs("the store does not verify")
            return
        step.of("lagrum").values, step.of("lagrum").cpu = [sizes.month_rows / cost.seconds], [cost.cpu_seconds]


def pushes(book: Book, names: Sequence[str], sizes: Sizes) -> None:
    """Single records over HTTP (`bench.pushes`, which verifies what it was told)."""
    if "lagrum" not in names or find_spec("bench.pushes") is None:
        return
    step = book.step("pushes", "single JSON pushes over HTTP, durable", "pushes/s", 0, bar=">= 3 000 /s")
    result = step.of("lagrum")
    for _ in range(sizes.push_repeats):
        try:
            told = json.loads(run_child([sys.executable, "-m", "bench.pushes", str(sizes.push_seconds)]).output)
        except RuntimeError as error:
            result.error = str(error)
            book.differs("single pushes were not acknowledged, or not stored once")
            return
        result.values.append(told.pop("pushes_per_second"))
        result.more = told
        step.rows += told["pushes"]
    book.say(f"pushes: {[round(value) for value in result.values]} /s")


def isolation(book: Book, names: Sequence[str], sizes: Sizes) -> None:
    """Batches over HTTP, alone and beside heavy work (`bench.isolation`, which verifies what was acknowledged)."""
    if "lagrum" not in names:
        return
    words = [str(sizes.isolation_seconds), str(sizes.half_rate), str(sizes.isolation_rows)]
    try:
        told = json.loads(run_child([sys.executable, "-m", "bench.isolation", *words]).output)
    except RuntimeError as error:
        book.differs(f"pushed batches were not acknowledged, or not stored once: {error}")
        return
    for phase, (beside, bar) in BESIDE.items():
        what = f"p99 of the acknowledgement of a pushed batch of 10 000 records, {beside}"
        step = book.step(f"ack-{phase}", what, "s", 0, bar=bar)
        found = told[phase]
        step.of("lagrum").values = [found.get("during", found)["p99_ms"] / 1e3]
        step.of("lagrum").more = found
        if sum(found["refused"].values()):
            step.of("lagrum").error = f"{sum(found['refused'].values())} of them were refused"
            book.differs(f"ack-{phase}: pushes were refused")
    figures = {phase: told[phase].get("during", told[phase])["p99_ms"] for phase in BESIDE}
    book.say(f"isolation, p99 in ms: {figures}")


def formats(book: Book, _names: Sequence[str], sizes: Sizes) -> None:
    """What a record of every format costs (`bench.formats`, which counts what it stored)."""
    keep = ["--keep"] if sizes.scale == 1 else []
    try:
        told = json.loads(run_child([sys.executable, "-m", "bench.formats", *keep]).output)
    except RuntimeError:
        book.differs("a record of some format was refused or lost")
        return
    book.say(f"formats, core-µs: { {name: one['cpu_us_per_record'] for name, one in told['formats'].items()} }")


PARTS: Final[dict[str, Callable[[Book, Sequence[str], Sizes], None]]] = {
    "day": day,
    "years": years,
    "month": month,
    "pushes": pushes,
    "isolation": isolation,
    "formats": formats,
}


def measure(book: Book, parts: Sequence[str], names: Sequence[str], sizes: Sizes) -> None:
    """Carry the parts out, each in an empty folder; a part that fails does not lose the others."""
    for name in parts:
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        try:
            PARTS[name](book, names, sizes)
        except Exception as error:
            book.differs(f"{name} broke off: {type(error).__name__}: {error}")
        finally:
            shutil.rmtree(WORK, ignore_errors=True)


def chosen(names: Sequence[str], variable: str) -> list[str]:
    """Return the names that an environment variable picks; all without it."""
    wanted = set(filter(None, os.environ.get(variable, "").split(",")))
    if unknown := wanted - set(names):
        raise SystemExit(f"{variable} knows {', '.join(names)}; not {', '.join(sorted(unknown))}")
    return [name for name in names if not wanted or name in wanted]


def main() -> int:
    """Measure, keep the results, and make the documents anew when everything was measured."""
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode, as the others have theirs
    parts, names = chosen(list(PARTS), "BENCH_ONLY"), chosen(list(peers.CLASSES), "BENCH_PEERS")
    book = Book()
    for name in [name for name in names if peers.missing(name)]:
        book.say(f"{name} is left out: {peers.missing(name)} is not installed (`make bench` installs it)")
        names.remove(name)
    OUT.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(OUT).free < FREE_BYTES_MIN * max(scale, 0.1):
        raise SystemExit(f"a run of this scale wants {FREE_BYTES_MIN * max(scale, 0.1) / (1 << 30):.1f} GiB free")
    measure(book, parts, names, Sizes.of(scale, datetime.now(UTC).date()))
    results = {"machine": describe(), "scale": scale, "cache": "page cache warm", **book.as_dict()}
    whole = scale == 1 and parts == list(PARTS) and set(names) == set(peers.CLASSES) and not book.differences
    _write(results, report.RESULTS if whole else OUT / "results.json")
    if whole:
        report.write_documents(results)
    else:
        report.write_figures(results, OUT / "figures")
        sys.stderr.write(report.performance(results) + "\n")
    return 1 if book.differences else 0


def _write(results: dict[str, Any], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
