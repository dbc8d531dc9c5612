"""Measurements as Markdown tables; those of growth are in `bench.tables_growth`. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from bench.peers import FLOOR, TITLES

Results = dict[str, Any]
KINDS: Final = ("calling", "called", "imsi", "imei", "source", "destination")
KIND_TITLES: Final = {
    "calling": "calling number (ClickHouse's sort key)",
    "called": "called number",
    "imsi": "IMSI",
    "imei": "IMEI",
    "source": "source address",
    "destination": "destination address",
}
PICTURES: Final = (
    "![Lookup latency by identifier](figures/lookups.svg)\n\n"
    "![Lookup latency against the days searched](figures/windows.svg)"
)
NOTHING: Final = "-"


def digest(results: Results) -> str:
    """Return what tells one set of measurements from another."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()[:16]


def step(results: Results, name: str) -> dict[str, Any] | None:
    """Return a step by name; None when it was not measured."""
    return next((item for item in results["steps"] if item["name"] == name), None)


def result(results: Results, name: str, peer: str) -> dict[str, Any]:
    """Return a peer's result of a step; empty when there is none."""
    found = step(results, name)
    return next((item for item in found["results"] if item["peer"] == peer), {}) if found else {}


def peers(results: Results) -> list[str]:
    """Return the peers of which there is anything, in their order."""
    there = {item["peer"] for one in results["steps"] for item in one["results"]}
    return [name for name in TITLES if name in there]


def longest(results: Results) -> int:
    """Return the days of the longest window that was looked up."""
    return max((item["days"] for item in results["steps"] if item["name"].startswith("lookup-")), default=0)


def rate(value: float) -> str:
    """Write records/s."""
    return f"{value / 1e6:.2f} M/s" if value >= 1e5 else f"{value:,.0f} /s".replace(",", " ")


def seconds(value: float) -> str:
    """Write a duration, with milliseconds below one second."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1000:.0f} ms" if value >= 0.1 else f"{value * 1000:.1f} ms"


def count(value: float) -> str:
    """Write a whole number in groups of three."""
    return f"{value:,.0f}".replace(",", " ")


def _rates(name: str) -> Callable[[Results, str], str]:
    return _cell(name, "median", rate)


def _cell(name: str, key: str, write: Callable[[float], str]) -> Callable[[Results, str], str]:
    def cell(results: Results, peer: str) -> str:
        found = result(results, name, peer)
        if found.get("error"):
            return "failed"
        return write(found[key]) if key in found else NOTHING

    return cell


def _ack(phase: str) -> Callable[[Results, str], str]:
    return _cell(f"ack-{phase}", "median", seconds)


def _acks(*phases: str) -> Callable[[Results, str], str]:
    def cell(results: Results, peer: str) -> str:
        found = [_ack(phase)(results, peer) for phase in phases]
        return NOTHING if set(found) == {NOTHING} else ", ".join(found)

    return cell


def _span(name: str) -> Callable[[Results, str], str]:
    def cell(results: Results, peer: str) -> str:
        found = result(results, name, peer)
        if "p50" not in found:
            return "failed" if found.get("error") else NOTHING
        return f"{seconds(found['p50'])} / {seconds(found['p95'])}"

    return cell


def _read(name: str) -> Callable[[Results, str], str]:
    """Tell the bytes that a lookup reads, and their share of the store."""

    def cell(results: Results, peer: str) -> str:
        found, size = result(results, name, peer), result(results, "size-years", peer)
        if "read_bytes" not in found or "median" not in size:
            return NOTHING
        whole = size["median"] * (step(results, "size-years") or {})["rows"]
        return f"{found['read_bytes'] / 1e6:.2f} MB, {found['read_bytes'] / whole:.2%}"

    return cell


def table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def overview(results: Results) -> str:
    """Return the README's table: one row per work, one column per system."""
    names = [name for name in peers(results) if name != FLOOR]
    days = longest(results)
    works: list[tuple[str, str, Callable[[Results, str], str], str]] = [
        ("CSV of one day taken in", "ingest", _rates("ingest"), ""),
        ("in ten deliveries, then merged to the final state", "sustained", _rates("sustained"), ""),
        ("processor time per record taken in", "ingest", _cell("ingest", "cpu_us_per_record", "{:.2f} µs".format), "-"),
        ("peak memory while taking in", "ingest", _cell("ingest", "memory_bytes", gib), "<= 2 GiB"),
        ("bytes per record on disk, with indexes", "size", _cell("size", "median", "{:.1f}".format), ""),
        *(
            (f"lookup over {days} days, {KIND_TITLES[kind]}, p50 / p95", name, _span(name), "")
            for kind in KINDS
            for name in (f"lookup-{days}-{kind}-present",)
        ),
        (
            "bytes read by one of them, IMSI, and their share of the store",
            f"lookup-{days}-imsi-present",
            _read(f"lookup-{days}-imsi-present"),
            "<= 0.1 %",
        ),
        (f"from approval to package, one number over {days} days, p50 / p95", "disclosure", _span("disclosure"), ""),
        ("a month's usage of every account", "usage", _cell("usage", "median", seconds), ""),
        ("a large day dropped", "expiry-large", _cell("expiry-large", "median", seconds), ""),
        ("single JSON pushes over HTTP", "pushes", _rates("pushes"), ""),
        ("batches of 10 000 records over HTTP, p99, at half of the top rate", "ack-half", _ack("half"), ""),
        ("the same alone, and beside a search of everything", "ack-search", _acks("idle", "search"), ""),
        ("the same alone, and beside a merge of everything", "ack-compact", _acks("idle", "compact"), ""),
        ("everything verified", "verify", _rates("verify"), ""),
    ]
    rows = (
        (what, *(cell(results, name) for name in names), "" if bar == "-" else bar or found["bar"])
        for what, step_name, cell, bar in works
        if (found := step(results, step_name))
    )
    header = ["work", *(TITLES[name] for name in names), "bar"]
    floor = result(results, "ingest", FLOOR).get("median")
    parsed = f"Arrow parses the same file at {rate(floor)}. " if floor else ""
    return f"{table(header, rows)}\n\n{parsed}{environment(results)}"


def environment(results: Results) -> str:
    """Return on what, and with how much, it was measured."""
    machine = results["machine"]
    sizes = [
        f"{count(found['rows'])} records {what}"
        for name, what in (("ingest", "taken in"), ("backfill", "looked up in"), ("usage", "billed"))
        if (found := step(results, name))
    ]
    scale = "" if results["scale"] == 1 else f" at scale {results['scale']:g}"
    return (
        f"{'; '.join(sizes)}. {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB; "
        f"Python {machine['python']}, pyarrow {machine['libraries']['pyarrow']}; commit {machine['commit']}; "
        f"files in the page cache; one run of `make bench`{scale}."
    )


def gib(value: float) -> str:
    return f"{value / (1 << 30):.2f} GiB"


def rates(results: Results) -> str:
    """Return every step but lookups: median, range, processor time, memory."""
    rows = []
    for item in results["steps"]:
        if item["name"].startswith("lookup-"):
            continue
        write: Callable[[float], str] = {"s": seconds, "bytes per record": "{:.1f}".format}.get(item["unit"], rate)
        for one in item["results"]:
            rows.append(
                (
                    f"{item['what']} ({count(item['rows'])} records)" if item["rows"] else item["what"],
                    TITLES[one["peer"]],
                    write(one["median"]) if "median" in one else f"failed: {one.get('error', 'no answer')[:80]}",
                    f"{write(one['min'])} to {write(one['max'])}" if one.get("repeats", 0) > 1 else "",
                    seconds(one["cpu_seconds"]) if "cpu_seconds" in one else "",
                    gib(one["memory_bytes"]) if "memory_bytes" in one else "",
                    item["bar"] if one["peer"] == "lagrum" else "",
                )
            )
    picture = "![Records per second taken in, and bytes per record](figures/ingest.svg)\n\n" if rows else ""
    return picture + table(("work", "system", "median", "range", "processor time", "peak memory", "bar"), iter(rows))


def lookups(results: Results) -> str:
    """Return p50 / p95 of every kind of lookup, and the processor time of one."""
    names = [name for name in peers(results) if name != FLOOR]
    rows = []
    for item in results["steps"]:
        if not item["name"].startswith("lookup-"):
            continue
        cells = []
        for name in names:
            one = result(results, item["name"], name)
            spent = f" ({seconds(one['cpu_seconds'])})" if "cpu_seconds" in one else ""
            cells.append(_span(item["name"])(results, name) + spent)
        found = max((one.get("found", 0) for one in item["results"]), default=0)
        rows.append((item["what"], count(found), *cells))
    header = ("lookup", "records found", *(f"{TITLES[name]}" for name in names))
    pictures = f"{PICTURES}\n\n" if rows else ""
    return pictures + table(header, iter(rows)) if rows else "Not measured."


def systems(results: Results) -> str:
    """Return versions and settings."""
    rows = ((one["title"], one["version"], one["settings"]) for one in results["peers"].values())
    return "| system | version | settings |\n|---|---|---|\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)
