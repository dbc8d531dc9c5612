"""What a record of every format costs, as a Markdown table. Pure."""

from __future__ import annotations

from typing import Any, Final

from bench.tables import count, rate, table

Results = dict[str, Any]
NOTE: Final = (
    "End to end: decoded, normalised, sorted, encrypted, indexed, durable. Processor time is of the whole process; "
    "*at most* is what it leaves room for, *measured* is by the clock, on a machine that had other work."
)


def formats(results: Results) -> str:
    """Return the table of `bench.formats`; results are those of `make bench` with its findings under `formats`."""
    found = results.get("formats")
    if not found:
        return "Not measured."
    rows = (
        (
            f"`{name}`",
            count(one["records"]),
            count(one["bytes"] / one["records"]),
            f"{one['cpu_us_per_record']:.1f} µs",
            rate(2e6 / one["cpu_us_per_record"]),
            rate(one["records_per_second"]),
            rate(one["bar_per_second"]) if "bar_per_second" in one else "",
            one["commit"],
        )
        for name, one in found["formats"].items()
    )
    header = (
        "format",
        "records",
        "bytes each",
        "processor time each",
        "two cores, at most",
        "measured",
        "bar",
        "commit",
    )
    machine = found["machine"]
    return f"{table(header, rows)}\n\n{NOTE} {machine['cores']} cores of {machine['cpu']}."
