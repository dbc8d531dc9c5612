"""The README's table of measurements, made from bench/results/latest.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "bench" / "results" / "latest.json"
README: Final = ROOT / "README.md"
BEGIN: Final = "<!-- measurements: made by bench/report.py, do not edit -->"
END: Final = "<!-- end of measurements -->"


def table(results: dict[str, Any]) -> str:
    """Return the measurements as Markdown."""
    machine = results["machine"]
    lines = [
        "| what | records | median | range | bar |",
        "|---|--:|--:|--:|--:|",
        *(_row(item) for item in results["measurements"]),
        "",
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB; Python {machine['python']}, "
        f"pyarrow {machine['libraries']['pyarrow']}; commit {machine['commit']}; files in the page cache; "
        "all in one run of `make bench`.",
    ]
    return "\n".join(lines)


def _row(item: dict[str, Any]) -> str:
    span = "" if len(item["values"]) == 1 else f"{_number(min(item['values']))} to {_number(max(item['values']))}"
    extra = "".join(f"; {text}" for text in item["notes"])
    return (
        f"| {item['what']}{extra} | {_number(item['rows'])} | {_number(item['median'])} {item['unit']} | {span} "
        f"| {item['bar']} |"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"


def rendered(readme: str, results: dict[str, Any]) -> str:
    """Return the README with the table between its markers.

    Raises:
        ValueError: the markers are missing.
    """
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError("README.md has no place for the measurements")
    return f"{head}{BEGIN}\n{table(results)}\n{END}{tail}"


def load() -> dict[str, Any]:
    """Return the newest measurements."""
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results
