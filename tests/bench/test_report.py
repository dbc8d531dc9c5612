"""Generated files are what their sources make, and the tables say what was measured."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from bench import figures, generated, report, tables
from bench.tables_growth import growth

LOOKED: dict[str, Any] = {
    "asked": 40,
    "found": 3.0,
    "seconds": {"p50": 0.01, "p95": 0.02},
    "cpu_seconds": {"p50": 0.001, "p95": 0.002},
    "read_bytes": {"p50": 250_000, "p95": 500_000},
}
RESULTS: dict[str, Any] = {
    "machine": {
        "cores": 2,
        "cpu": "a processor",
        "memory_gib": 24.0,
        "python": "3.11.7",
        "libraries": {"pyarrow": "26.0.1"},
        "commit": "0123456789ab",
    },
    "scale": 0.5,
    "peers": {"lagrum": {"title": "Lagrum", "version": "0.1.0", "settings": "defaults"}},
    "steps": [
        {
            "name": "ingest",
            "what": "a day",
            "unit": "records/s",
            "rows": 5_000_000,
            "days": 1,
            "bar": ">= 1.0 M records/s",
            "results": [
                {"peer": "lagrum", "median": 1.2e6, "min": 1.1e6, "max": 1.3e6, "repeats": 3, "cpu_us_per_record": 1.5},
                {"peer": "clickhouse", "median": 41234.0, "min": 41234.0, "max": 41234.0, "repeats": 1},
                {"peer": "duckdb", "error": "load: it broke"},
                {"peer": "parse", "median": 3e6, "min": 3e6, "max": 3e6, "repeats": 1},
            ],
        },
        *(
            {
                "name": f"lookup-{days}-{kind}-present",
                "what": f"{kind}, present, over {days} days",
                "unit": "s",
                "rows": 10,
                "days": days,
                "bar": "",
                "results": [{"peer": "lagrum", "median": 0.01, "p50": 0.01, "p95": 1.5, "largest": 2.0, "found": 4}],
            }
            for days in (1, 30)
            for kind in tables.KINDS
        ),
    ],
    "growth": {
        "suspects": [
            {"held": 10**8, "suspects": 82, "expected": 71.05, "memory_bytes": 1 << 29, "cpu_us_per_record": 0.0686}
        ],
        "curves": {
            name: {
                "days": 30,
                "rows": 5,
                "points": [
                    {
                        "peer": "lagrum",
                        "stored": 10_000_000 * place,
                        "records": 10_000_000,
                        "rate": 1e6,
                        "cpu_us_per_record": 1.5,
                        "merge_cpu_us_per_record": 0.5,
                        "bytes_per_record": 25.0,
                        "memory_bytes": 1 << 30,
                        "stream_bytes": 20 * 10**9,
                        "marks": [
                            {"records": 5_000_000, "memory_bytes": 1 << 29, "peak_bytes": 1 << 30, "cpu_seconds": 5.0},
                            {"records": 9_000_000, "memory_bytes": 1 << 29, "peak_bytes": 1 << 30, "cpu_seconds": 13.0},
                        ],
                        "load_average": 4.5,
                        "lookups": dict.fromkeys(tables.KINDS, LOOKED),
                        "absent": dict.fromkeys(tables.KINDS, LOOKED),
                    }
                    for place in (1, 2)
                ],
            }
            for name in ("month", "years")
        },
    },
}


def test_the_readme_has_a_row_for_every_work_and_a_column_for_every_system() -> None:
    lines = tables.overview(RESULTS).splitlines()
    assert lines[0] == "| work | Lagrum | ClickHouse | DuckDB | bar |"
    assert lines[2] == "| CSV of one day taken in | 1.20 M/s | 41 234 /s | failed | >= 1.0 M records/s |"
    assert lines[3] == "| processor time per record taken in | 1.50 µs | - | failed |  |"
    assert "| lookup over 30 days, IMSI, p50 / p95 | 10.0 ms / 1.50 s | - | - |  |" in lines
    assert "Arrow parses the same file at 3.00 M/s." in lines[-1] and "at scale 0.5" in lines[-1]


def test_the_performance_page_tells_ranges_failures_and_growth() -> None:
    assert "| 1.10 M/s to 1.30 M/s |" in tables.rates(RESULTS)
    assert "| failed: load: it broke |" in tables.rates(RESULTS)
    assert "| calling, present, over 1 days | 4 | 10.0 ms / 1.50 s | - | - |" in tables.lookups(RESULTS)
    grown = growth(RESULTS)
    assert "| 20 000 000 | 1.00 M/s | 1.50 µs | 0.50 µs | - | 25.0 | 1.00 GiB |" in grown
    assert "| 20 000 000 | Lagrum | 10 000 000 | 1.50 µs | 0.50 µs | 25.0 | 1.00 GiB |" in grown
    assert "| 100 000 000 | 82 | 71.0 | 0.50 GiB | 0.07 µs |" in grown
    assert "| 9 000 000 | 0.50 GiB | 1.00 GiB | 2.00 µs |" in grown
    assert "| IMSI | 3 | 1.0 ms / 2.0 ms | 10.0 ms / 20.0 ms | 0.25 MB, 0.050% | 0.50 MB, 0.100% |" in grown
    assert "| Lagrum | 0.1.0 | defaults |" in tables.systems(RESULTS)
    nothing = RESULTS | {"steps": [], "growth": {}}
    assert growth(nothing) == tables.lookups(nothing) == "Not measured."


def test_only_what_is_between_the_markers_changes() -> None:
    begin, end = report.BEGIN.format("systems"), report.END.format("systems")
    page = f"before\n{begin}\nold\n{end}\nafter\n"
    made = report.rendered(page, RESULTS, ("systems",))
    assert made.startswith("before\n") and made.endswith("\nafter\n") and "old" not in made
    assert report.rendered(made, RESULTS, ("systems",)) == made


def test_a_document_without_the_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for measurements"):
        report.rendered("no markers", RESULTS)


@pytest.mark.parametrize("name", generated.FILES)
def test_a_generated_file_is_fresh(name: str) -> None:
    assert name not in generated.stale(), "run `make generate`"


def test_figures_are_of_the_newest_measurements() -> None:
    assert list(report.stale_figures()) == [], "run `python -m bench.report` with requirements/bench.txt installed"


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib comes with `make bench`")
def test_every_figure_is_drawn_and_names_its_measurements() -> None:
    drawn = dict(figures.draw(RESULTS))
    assert set(drawn) == {"ingest", "lookups", "windows", "growth"}
    assert all(tables.digest(RESULTS) in text and text.lstrip().startswith("<?xml") for text in drawn.values())
    assert dict(figures.draw(RESULTS)) == drawn
