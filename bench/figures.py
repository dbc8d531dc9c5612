"""Measurements as figures: small SVG files with text as text. matplotlib comes with requirements/bench.txt only."""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

from bench.peers import FLOOR, TITLES
from bench.tables import KINDS, Results, digest, longest, peers, result, step

COLOURS: Final = {
    "lagrum": "#0b5394",
    "clickhouse": "#e08e0b",
    "duckdb": "#6aa84f",
    "duckdb-encrypted": "#a9d18e",
    "postgresql": "#a64d79",
    "parquet": "#8d8d8d",
    "parse": "#c9c9c9",
}
MARKERS: Final = {
    "lagrum": "o",
    "clickhouse": "s",
    "duckdb": "^",
    "duckdb-encrypted": "v",
    "postgresql": "D",
    "parquet": "X",
}
STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lagrum",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "white",
}
STEPS_RATIO_MAX: Final = 1e4
"""Over more decades than four, ticks at every 2 and 5 stand too close."""
KIND_LABELS: Final = ("calling", "called", "IMSI", "IMEI", "source\naddress", "destination\naddress")


def draw(results: Results, form: str = "svg") -> Iterator[tuple[str, Any]]:
    """Yield (name, picture) of every figure for which there are measurements; SVG as text, other forms as bytes."""
    import_module("matplotlib").use("Agg")
    plt: Any = import_module("matplotlib.pyplot")
    days = longest(results)
    with plt.rc_context(STYLE):
        if step(results, "ingest"):
            yield "ingest", _picture(plt, _ingest(plt, results), results, form)
        if days:
            yield "lookups", _picture(plt, _lookups(plt, results, days), results, form)
            yield "windows", _picture(plt, _windows(plt, results), results, form)
        if results.get("growth", {}).get("curves"):
            yield "growth", _picture(plt, _growth(plt, results["growth"]["curves"]), results, form)


def _picture(plt: Any, figure: Any, results: Results, form: str) -> Any:
    sink = io.BytesIO()
    metadata = {"Date": None, "Description": digest(results)} if form == "svg" else {}
    figure.savefig(sink, format=form, metadata=metadata, bbox_inches="tight", dpi=110)
    plt.close(figure)
    return sink.getvalue().decode() if form == "svg" else sink.getvalue()


def _ingest(plt: Any, results: Results) -> Any:
    """Two groups of bars side by side: one delivery, and to the final state; and the bytes that stay."""
    names = peers(results)[::-1]
    figure, (rate, size) = plt.subplots(1, 2, figsize=(9, 0.55 * len(names) + 1.6), width_ratios=(5, 3), sharey=True)
    places = range(len(names))
    for place, name in zip(places, names, strict=True):
        once, many = (result(results, what, name) for what in ("ingest", "sustained"))
        _bar(rate, place + 0.2, once, COLOURS[name], 1e6, alpha=1.0)
        _bar(rate, place - 0.2, many, COLOURS[name], 1e6, alpha=0.5)
        taken = result(results, "size", name)
        if "median" in taken:
            size.barh(place, taken["median"], 0.5, color=COLOURS[name])
            _label(size, taken["median"], place, f"{taken['median']:.0f}")
    rate.set_yticks(list(places), [TITLES[name] for name in names])
    rate.set_title("M records/s taken in\nfull: one delivery; light: ten, then to the final state")
    size.set_title("bytes per record on disk,\nwith indexes")
    for axes in (rate, size):
        axes.grid(axis="x", color="#e6e6e6")
        axes.tick_params(length=0)
    figure.tight_layout()
    return figure


def _bar(axes: Any, place: float, found: dict[str, Any], colour: str, unit: float, alpha: float) -> None:
    if "median" not in found:
        return
    value = found["median"] / unit
    error = [[value - found["min"] / unit], [found["max"] / unit - value]]
    axes.barh(
        place, value, 0.36, color=colour, alpha=alpha, xerr=error, error_kw={"elinewidth": 0.8, "ecolor": "#444444"}
    )
    _label(axes, found["max"] / unit, place, f"{value:.2f}", fontsize=8.5)


def _label(axes: Any, x: float, y: float, text: str, **style: float) -> None:
    """Write beside the end of a bar. Points keep the gap: SVG drops a leading space, and a whisker reads as a minus."""
    axes.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", va="center", **style)


def _lookups(plt: Any, results: Results, days: int) -> Any:
    """Latency by kind over the longest window: p50 as a marker, up to p95 as a line."""
    names = [name for name in peers(results) if name != FLOOR]
    figure, axes = plt.subplots(figsize=(9, 4))
    width = 0.8 / len(names)
    for order, name in enumerate(names):
        shown = False
        for place, kind in enumerate(KINDS):
            found = result(results, f"lookup-{days}-{kind}-present", name)
            if "p50" not in found:
                continue
            x = place + (order - (len(names) - 1) / 2) * width
            axes.plot([x, x], [found["p50"] * 1e3, found["p95"] * 1e3], color=COLOURS[name], linewidth=2)
            label = None if shown else TITLES[name]
            axes.plot(x, found["p50"] * 1e3, MARKERS[name], color=COLOURS[name], markersize=6, label=label)
            shown = True
    axes.set_xticks(range(len(KINDS)), KIND_LABELS)
    _logarithmic(axes, "y")
    axes.set_ylabel("ms (log)")
    axes.set_title(f"Lookup over {days} days: p50 (marker) to p95 (line)")
    _finish(axes)
    figure.tight_layout()
    return figure


def _windows(plt: Any, results: Results) -> Any:
    """p50 against the length of the window, for the sort key and for another identifier."""
    names = [name for name in peers(results) if name != FLOOR]
    lengths = sorted({item["days"] for item in results["steps"] if item["name"].startswith("lookup-")})
    figure, both = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axes, kind, title in zip(both, ("calling", "imsi"), ("by calling number", "by IMSI"), strict=True):
        for name in names:
            points = [(days, result(results, f"lookup-{days}-{kind}-present", name).get("p50")) for days in lengths]
            there = [(days, value * 1e3) for days, value in points if value is not None]
            if there:
                axes.plot(*zip(*there, strict=True), marker=MARKERS[name], color=COLOURS[name], label=TITLES[name])
        axes.set_xscale("log")
        _logarithmic(axes, "y")
        axes.set_xticks(lengths, [str(days) for days in lengths])
        axes.tick_params(axis="x", which="minor", length=0)
        axes.xaxis.set_minor_formatter("")
        axes.set_xlabel("days searched (log)")
        axes.set_title(f"Lookup p50, {title}")
        axes.grid(axis="y", color="#e6e6e6")
    both[0].set_ylabel("ms (log)")
    both[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def _growth(plt: Any, curves: dict[str, Any]) -> Any:
    """Processor time per record, resident memory of the largest stream, and processor time of lookups."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6))
    month, years = (curves.get(name, {}).get("points", []) for name in ("month", "years"))
    years = [one for one in years if "lookups" in one]
    ours = [one for one in years if one["peer"] == "lagrum"]
    for points, where, form in ((month, "one month", "o-"), (ours, "two years", "s-")):
        for name, label, alpha in (
            ("cpu_us_per_record", "taking in", 1.0),
            ("merge_cpu_us_per_record", "merging", 0.4),
        ):
            there = [(one["stored"] / 1e6, one[name]) for one in points if name in one]
            if there:
                shown = {"markersize": 3, "alpha": alpha, "label": f"{label}, {where}"}
                left.plot(*zip(*there, strict=True), form, color=COLOURS["lagrum"], **shown)
    left.set_title("Lagrum, processor time\nin µs per record")
    left.set_xlabel("million records stored")
    left.legend(loc="lower right", fontsize=8)
    marks = ours[-1]["marks"] if ours else []
    there = [(mark["records"] / 1e6, mark["memory_bytes"] / (1 << 30)) for mark in marks]
    middle.plot(*(zip(*there, strict=True) if there else ((), ())), "o-", color=COLOURS["lagrum"], markersize=3)
    middle.axhline(2, color="#999999", linewidth=0.8, linestyle=":")
    middle.set_title("Lagrum, resident memory of\none stream in GiB (bar: 2)")
    middle.set_xlabel("million records read")
    for name in [name for name in ("lagrum", "clickhouse", "duckdb") if any(one["peer"] == name for one in years)]:
        for kind, style in (("calling", "-"), ("imsi", "--")):
            right.plot(
                [one["stored"] / 1e6 for one in years if one["peer"] == name],
                [one["lookups"][kind]["cpu_seconds"]["p50"] * 1e3 for one in years if one["peer"] == name],
                style,
                marker=MARKERS[name],
                color=COLOURS[name],
                label=f"{TITLES[name]}, {'IMSI' if kind == 'imsi' else 'calling number'}",
            )
    right.set_title("Lookup over two years, processor\ntime, p50 in ms (log)")
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    right.set_xlabel("million records stored")
    for axes in (left, middle):
        axes.set_ylim(bottom=0)
    _logarithmic(right, "x")
    _logarithmic(right, "y")
    for axes in (left, middle, right):
        axes.grid(axis="y", color="#e6e6e6")
    figure.tight_layout()
    return figure


def _logarithmic(axes: Any, which: str) -> None:
    """Give an axis a logarithmic scale with ticks at 1, 2 and 5; where it has many decades, at 1 alone."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    low, high = getattr(axes, f"get_{which}lim")()
    axis.set_major_locator(
        import_module("matplotlib.ticker").LogLocator(10, (1.0, 2.0, 5.0) if high / low < STEPS_RATIO_MAX else (1.0,))
    )
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def _finish(axes: Any) -> None:
    axes.grid(axis="y", color="#e6e6e6")
    axes.tick_params(axis="x", length=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
