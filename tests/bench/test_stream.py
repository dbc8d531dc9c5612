"""A stream goes whole into a command, and what the command takes is noted as it goes."""

from __future__ import annotations

import sys
from typing import BinaryIO

import pytest

from bench.stream import pour

COUNT = "import sys; print(sys.stdin.buffer.read().count(b'\\n'))"


def _lines(stream: BinaryIO) -> int:
    for _ in range(10):
        stream.write(b"x" * 99 + b"\n" * 100)
    return 1_000


def test_the_command_reads_every_byte_and_marks_are_made_on_the_way() -> None:
    poured = pour([sys.executable, "-c", COUNT], _lines, mark_rows=200)
    assert poured.cost.output.strip() == "1000"
    assert (poured.records, poured.stream_bytes) == (1_000, 1_990)
    assert [mark.records for mark in poured.marks][-1] == 1_000
    assert all(0 < mark.memory_bytes <= mark.peak_bytes for mark in poured.marks)


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        pour([sys.executable, "-c", "import sys; sys.exit(3)"], _lines)
