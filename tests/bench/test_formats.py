"""The deliveries that formats are measured with: whole, without refusals, no record twice."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from bench import formats, tables_formats
from ingest.decoders import FORMATS, decoder
from ingest.normalise import normalise

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)
NOW_US = 1_795_348_800_000_000
LIKE_ANOTHER = {"asterisk-custom", "asterisk-cel", "cucm-cmr", "acme-csv"}
"""Read by the code of a format that is measured, or no record of communications by themselves."""


def test_every_format_is_measured_or_is_like_one_that_is() -> None:
    assert set(formats.names()) | LIKE_ANOTHER == set(FORMATS)
    assert set(formats.BARS) <= set(formats.names())


@pytest.mark.parametrize("name", formats.names())
def test_a_delivery_has_its_records(name: str) -> None:
    data, records = formats.delivery(name, 60, MIDNIGHT)
    source = formats.source_of(name)
    parts = [normalise(part, source, NOW_US) for part in decoder(name).decode(io.BytesIO(data), source)]
    assert sum(part.table.num_rows for part in parts) == records == 60
    assert not any(part.rejects for part in parts)


def test_the_table_says_what_two_cores_have_time_for() -> None:
    one = {
        "records": 300_000,
        "bytes": 30_000_000,
        "records_per_second": 90_000,
        "cpu_us_per_record": 4.0,
        "commit": "0123456789ab",
    }
    machine = {"cores": 2, "cpu": "a processor"}
    found = {"machine": machine, "formats": {"csv": {**one, "bar_per_second": 500_000}, "kannel": one}}
    text = tables_formats.formats({"formats": found})
    assert "| `csv` | 300 000 | 100 | 4.0 µs | 0.50 M/s | 90 000 /s | 0.50 M/s | 0123456789ab |" in text
    assert "| `kannel` | 300 000 | 100 | 4.0 µs | 0.50 M/s | 90 000 /s |  | 0123456789ab |" in text
    assert tables_formats.formats({}) == "Not measured."
