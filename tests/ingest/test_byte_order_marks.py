"""A byte order mark is skipped where a delivery begins, and is text everywhere else, however the delivery is cut."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest

from ingest import lines
from ingest.decoders import slices
from ingest.decoders.canonical import csv as canonical_csv
from ingest.decoders.canonical import ndjson as canonical_ndjson
from ingest.decoders.freeswitch import blocks
from ingest.mapping import delimited, fixed_width, json_records
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from tests.ingest.reading import Pipe, taken
from tests.ingest.test_bad_input import GOOD, HEADERS, MAPPING, OPTIONS, TEXTS

MARK = b"\xef\xbb\xbf"
WHOLE = 8 << 20
HEADED = MAPPING.replace('columns = ["id", "a", "b", "begun", "seconds"]', "header = true")
NAMES = b"id,a,b,begun,seconds\n"
JSON_LINES = MAPPING.replace(
    'kind = "delimited"\ncolumns = ["id", "a", "b", "begun", "seconds"]', 'kind = "json-lines"'
)
FIXED = MAPPING.replace(
    'kind = "delimited"\ncolumns = ["id", "a", "b", "begun", "seconds"]',
    'kind = "fixed-width"\n[layout.columns]\nid = [1, 2]\na = [3, 13]\nb = [14, 24]\n'
    "begun = [25, 44]\nseconds = [45, 46]",
)
MAPPED = {
    "mapping-headed": (HEADED, NAMES, GOOD["mapping"]),
    "mapping-json": (
        JSON_LINES,
        b"",
        b'{"id":"17","a":"46701740605","b":"46701740611","begun":"2026-11-20T09:00:00Z","seconds":"60"}\n',
    ),
    "mapping-fixed": (FIXED, b"", b"1746701740605467017406112026-11-20T09:00:00Z60\n"),
}
CASES = (*TEXTS, *MAPPED)
_MODULES = (canonical_csv, canonical_ndjson, blocks, delimited, fixed_width, json_records)


@contextmanager
def cut(block_bytes: int) -> Iterator[None]:
    """Have every decoder read blocks of so many octets."""
    with ExitStack() as patched:
        for module in _MODULES:
            patched.enter_context(mock.patch.object(module, "BLOCK_BYTES", block_bytes))
        for function in (slices.read_blocks, lines.read_lines):
            defaults = {**(function.__kwdefaults__ or {}), "block_bytes": block_bytes}
            patched.enter_context(mock.patch.object(function, "__kwdefaults__", defaults))
        yield


def delivery(case: str) -> tuple[str, SourceConfig, bytes, bytes]:
    """Return format, source, header and one good record of a case."""
    mapping, header, record = MAPPED.get(case, ("", HEADERS.get(case, b""), GOOD.get(case, b"")))
    options = {"mapping": mapping} if mapping else OPTIONS.get(case, {})
    name = "mapping" if mapping else case
    return name, SourceConfig("s", zone="Europe/Stockholm", options=options), header, record


def read(case: str, data: bytes, block_bytes: int = WHOLE, piece_bytes: int = 0) -> Any:
    """Return what is taken and what is refused, or that the delivery is refused."""
    name, source, *_ = delivery(case)
    stream: Any = Pipe(data, piece_bytes) if piece_bytes else io.BytesIO(data)
    with cut(block_bytes):
        try:
            records, rejects = taken(name, stream, source)
        except InputError as error:
            return error.message
    rejects.sort(key=lambda reject: reject.position)
    return records, [(one.position, one.reason.value, one.field, one.raw) for one in rejects]


@pytest.mark.parametrize("case", CASES)
def test_at_the_beginning_it_changes_nothing(case: str) -> None:
    _, _, header, record = delivery(case)
    plain = read(case, header + record * 2)
    assert plain[0] and not isinstance(plain, str)
    for piece_bytes in (0, 1, 2, 3, 5):
        assert read(case, MARK + header + record * 2, piece_bytes=piece_bytes) == plain
    for block_bytes in (1, 2, 3, 4, 7):
        assert read(case, MARK + header + record * 2, block_bytes) == plain


@pytest.mark.parametrize("case", CASES)
def test_elsewhere_it_says_the_same_wherever_a_block_ends(case: str) -> None:
    """Behind the header, before a record, before a second file's header: as in one block, by blocks of any size."""
    _, _, header, record = delivery(case)
    deliveries = [
        header + MARK + record + record,
        header + record + MARK + record + record,
        header + record + MARK + header + record,
        header + record * 3 + MARK + MARK + record,
        header + record + MARK + b"\n" + record,
        header + record + MARK,
    ]
    for number, data in enumerate(deliveries):
        whole = read(case, data)
        edges = {data.find(MARK) + shift for shift in (-1, 0, 1, 2, 3)}
        for block_bytes in sorted({1, 2, 3, len(record), *edges} - {0, -1}):
            assert read(case, data, block_bytes) == whole, (number, block_bytes)


@pytest.mark.parametrize("case", CASES)
def test_what_looks_like_utf_16_in_the_middle_is_a_record_of_its_own(case: str) -> None:
    _, _, header, record = delivery(case)
    data = header + record + b"\xff\xfe" + record + b'"\xff\xfe' + record + record
    whole = read(case, data)
    for block_bytes in (1, 2, len(header) or 1, len(record), len(header) + len(record)):
        assert read(case, data, block_bytes) == whole, block_bytes
