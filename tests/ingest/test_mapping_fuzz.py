"""Any bytes: every record of a mapped layout ends in exactly one place, however it is cut."""

from __future__ import annotations

from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.source_config import SourceConfig
from schemas.errors import InputError
from tests.ingest.decoding import fixture
from tests.ingest.reading import Pipe, taken
from tests.ingest.test_mapping import BASE

FIXED = fixture("mapping", "fixed.toml").decode().partition("[header_line]")[0]
LAYOUTS = {
    "delimited": BASE.replace('kind = "delimited"', 'kind = "delimited"\ncomment = "#"'),
    "unquoted": BASE.replace('kind = "delimited"', 'kind = "delimited"\nquote = ""\ndelimiter = ";"\ntrim = true'),
    "latin": BASE.replace('kind = "delimited"', 'kind = "delimited"\nencoding = "cp1252"'),
    "fixed": FIXED,
    "json-lines": BASE.replace(
        'kind = "delimited"\ncolumns = ["id", "a", "b", "begun", "note"]', 'kind = "json-lines"\nskip_lines = 1'
    ),
    "json": BASE.replace('kind = "delimited"\ncolumns = ["id", "a", "b", "begun", "note"]', 'kind = "json"'),
}
PIECES = st.sampled_from(
    [
        b"1,46700000001,46700000002,2026-11-03T10:00:00Z,x",
        b'{"id": 1, "a": "2", "begun": "2026-11-03T10:00:00Z"}',
        b"V0000100001+46701740605    0701740606      20261103100000000061A1C0FFEE",
        b"\n",
        b"\r\n",
        b"\r",
        b'"',
        b'""',
        b",",
        b";",
        b"#",
        b"\0",
        b"\xff",
        b"\xc3\xa5",
        b"[",
        b"]",
        b" ",
    ]
)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@settings(max_examples=60)
@given(pieces=st.lists(PIECES, max_size=30), cut=st.integers(1, 50))
def test_every_record_is_accounted_for_and_pieces_make_no_difference(
    layout: str, pieces: list[bytes], cut: int
) -> None:
    data = b"".join(pieces)
    source = SourceConfig("legacy", options={"mapping": LAYOUTS[layout]})
    try:
        records, rejects = taken("mapping", data, source)
    except InputError:
        return
    again, also = taken("mapping", cast(BinaryIO, Pipe(data, cut)), source)
    assert (len(records), [one.position for one in rejects]) == (len(again), [one.position for one in also])
    assert all(one.raw is None or b'"@mapping":1' in one.raw for one in rejects)
