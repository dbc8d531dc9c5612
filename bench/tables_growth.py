"""The growth curves as Markdown tables. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from bench.peers import TITLES
from bench.tables import KIND_TITLES, KINDS, NOTHING, Results, count, gib, rate, seconds, table

Point = dict[str, Any]
STREAM_MARKS: Final = 8
"""So many lines at most of the largest stream's table."""


def growth(results: Results) -> str:
    """Return the growth curves' points; they are measured apart (`make bench-growth`)."""
    curves = results.get("growth", {}).get("curves", {})
    parts = ["![Cost per record and lookup latency against records stored](figures/growth.svg)"] if curves else []
    for name, make in (("month", _month), ("years", _years)):
        if curves.get(name, {}).get("points"):
            parts.append(make(curves[name]))
    if told := results.get("growth", {}).get("suspects"):
        parts.append(_suspects(told))
    return "\n\n".join(parts) or "Not measured."


def _suspects(told: Sequence[dict[str, Any]]) -> str:
    rows = (
        (
            count(one["held"]),
            count(one["suspects"]),
            f"{one['expected']:.1f}",
            gib(one["memory_bytes"]),
            _micro(one["cpu_us_per_record"]),
        )
        for one in told
    )
    text = (
        "New records that the sieve takes for known, of all that passed it while it grew. Each costs one row "
        "group that is read in vain, a few milliseconds at most."
    )
    header = ("tags held", "false suspects so far", "by chance", "memory", "processor time per record")
    return f"{text}\n\n{table(header, rows)}"


def _month(curve: dict[str, Any]) -> str:
    rows = (
        (
            count(one["stored"]),
            rate(one["rate"]),
            *(_micro(one.get(name)) for name in ("cpu_us_per_record", "merge_cpu_us_per_record")),
            _micro(one.get("again_cpu_us_per_record")),
            f"{one['bytes_per_record']:.1f}",
            gib(one["memory_bytes"]),
        )
        for one in curve["points"]
        if "lookups" in one
    )
    header = ("records stored", "taken in", "processor time per record", "of merging", "of a duplicate")
    text = (
        f"Deliveries of {count(curve['rows'])} records, the days of one month in turn; every one is compared with "
        "everything stored before it. A duplicate's time is that of a small delivery, with the command's start."
    )
    return f"{text}\n\n{table((*header, 'bytes per record', 'peak memory'), rows)}"


def _years(curve: dict[str, Any]) -> str:
    points = [one for one in curve["points"] if "lookups" in one]
    ours = [one for one in points if one["peer"] == "lagrum"]
    last = ours[-1:]
    return "\n\n".join((_taken(curve, points), *map(_stream, last), _lookups(points), *map(_largest, last)))


def _taken(curve: dict[str, Any], points: Sequence[Point]) -> str:
    rows = (
        (
            count(one["stored"]),
            TITLES[one["peer"]],
            count(one["records"]),
            *(_micro(one.get(name)) for name in ("cpu_us_per_record", "merge_cpu_us_per_record")),
            f"{one['bytes_per_record']:.1f}",
            gib(one["memory_bytes"]) if "memory_bytes" in one else NOTHING,
        )
        for one in points
    )
    header = ("records stored", "system", "delivered", "processor time per record", "of merging", "bytes per record")
    text = (
        f"Three deliveries over {curve['days']} days. Lagrum reads each as one stream that is made on the fly. After "
        "each the store is merged to its final state, all of it."
    )
    return f"{text}\n\n{table((*header, 'peak memory'), rows)}"


def _stream(one: Point) -> str:
    marks = one["marks"]
    chosen = [marks[round(at * (len(marks) - 1) / (STREAM_MARKS - 1))] for at in range(STREAM_MARKS)]
    chosen = [mark for at, mark in enumerate(chosen) if mark not in chosen[:at]]
    before = {"records": 0, "cpu_seconds": 0.0}
    rows = []
    for mark in chosen:
        spent = (mark["cpu_seconds"] - before["cpu_seconds"]) / max(mark["records"] - before["records"], 1)
        rows.append((count(mark["records"]), gib(mark["memory_bytes"]), gib(mark["peak_bytes"]), _micro(spent * 1e6)))
        before = mark
    text = (
        f"The last stream, {one['stream_bytes'] / 1e9:.1f} GB, as one delivery of `lagrum ingest ... -`; nothing of it "
        f"lies on disk. The peak, {gib(one['memory_bytes'])}, has the commit in it."
    )
    header = ("records read", "resident memory", "peak so far", "processor time per record since")
    return f"{text}\n\n{table(header, iter(rows))}"


def _lookups(points: Sequence[Point]) -> str:
    rows = (
        (
            count(one["stored"]),
            TITLES[one["peer"]],
            *(_cell(one, what, kind, "cpu_seconds", seconds) for what, kind in _LOOKED),
        )
        for one in points
    )
    text = (
        "Processor time of lookups over all days, p50 / p95. The same values are asked at every size, so that what is "
        "found grows with the store."
    )
    return f"{text}\n\n{table(('records stored', 'system', *KINDS, 'IMSI of nobody'), rows)}"


def _largest(one: Point) -> str:
    whole = one["bytes_per_record"] * one["stored"]

    def share(value: float) -> str:
        return f"{value / 1e6:.2f} MB, {value / whole:.3%}"

    rows = (
        (
            KIND_TITLES[kind].partition(" (")[0] + ("" if what == "lookups" else ", nobody's at first"),
            f"{one[what][kind]['found']:.0f}",
            _cell(one, what, kind, "cpu_seconds", seconds),
            _cell(one, what, kind, "seconds", seconds),
            *(share(one[what][kind]["read_bytes"][place]) for place in ("p50", "p95")),
        )
        for what in ("lookups", "absent")
        for kind in KINDS
    )
    text = (
        f"Lookups in the largest store, {count(one['stored'])} records; {one['lookups']['imsi']['asked']} values of "
        f"each kind that are there, {one['absent']['imsi']['asked']} that are not. The bar of bytes read is 0.1 % of "
        f"the store. Load average while they ran: {one['load_average']}."
    )
    header = ("lookup of", "records found", "processor time, p50 / p95", "wall, p50 / p95", "bytes read, p50", "p95")
    return f"{text}\n\n{table(header, rows)}"


_LOOKED: Final = (*(("lookups", kind) for kind in KINDS), ("absent", "imsi"))


def _cell(one: Point, what: str, kind: str, figure: str, write: Callable[[float], str]) -> str:
    found = one[what][kind].get(figure)
    return NOTHING if found is None else f"{write(found['p50'])} / {write(found['p95'])}"


def _micro(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} µs"
