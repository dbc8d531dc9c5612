"""Generated files are what their sources make, and the table says what was measured."""

from __future__ import annotations

import pytest

from bench import generated, report

RESULTS = {
    "machine": {
        "cores": 2,
        "cpu": "a processor",
        "memory_gib": 24.0,
        "python": "3.11.7",
        "libraries": {"pyarrow": "26.0.1"},
        "commit": "0123456789ab",
    },
    "measurements": [
        {
            "what": "taking in, fast",
            "rows": 5_000_000,
            "median": 312345.6,
            "values": [300000.0, 320000.0],
            "unit": "records/s",
            "bar": ">= 250 000",
            "notes": ["1 GiB"],
        },
        {"what": "looking up", "rows": 80, "median": 0.07331, "values": [0.07331], "unit": "s", "bar": "", "notes": []},
    ],
}


def test_the_table_has_a_row_for_every_measurement() -> None:
    lines = report.table(RESULTS).splitlines()
    assert lines[2] == "| taking in, fast; 1 GiB | 5 000 000 | 312 346 records/s | 300 000 to 320 000 | >= 250 000 |"
    assert lines[3] == "| looking up | 80 | 0.0733 s |  |  |"


def test_only_what_is_between_the_markers_changes() -> None:
    readme = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    made = report.rendered(readme, RESULTS)
    assert made.startswith("before\n") and made.endswith("\nafter\n") and "old" not in made
    assert report.rendered(made, RESULTS) == made


def test_a_readme_without_the_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        report.rendered("no markers", RESULTS)


@pytest.mark.parametrize("name", generated.FILES)
def test_a_generated_file_is_fresh(name: str) -> None:
    assert name not in generated.stale(), "run `make generate`"
