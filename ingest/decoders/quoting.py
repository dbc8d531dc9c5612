"""Delimiters and quotes of a block of lines, looked at without parsing a field."""

from __future__ import annotations

from typing import Final

import numpy as np

from ingest.decoders.slices import Lines
from schemas.buffers import Ints, Mask

COMMA: Final = 0x2C
QUOTE: Final = 0x22


def field_counts(lines: Lines) -> Ints:
    """Count the values of each line: commas behind an odd number of quotes separate nothing."""
    commas = np.flatnonzero(lines.bytes == COMMA)
    quotes = np.flatnonzero(lines.bytes == QUOTE)
    if len(quotes):
        owner = np.searchsorted(lines.starts, commas, "right") - 1
        begin = np.searchsorted(quotes, lines.starts)[np.maximum(owner, 0)]
        commas = commas[(np.searchsorted(quotes, commas) - begin) % 2 == 0]
    counts: Ints = np.searchsorted(commas, lines.ends) - np.searchsorted(commas, lines.starts) + 1
    return counts


def quote_faults(lines: Lines, delimiter: int = COMMA, quote: int = QUOTE) -> Mask:
    """Tell which lines have quotes elsewhere than around whole values, or doubled inside such.

    Counting from 0 in a line, even quotes open and odd ones close. What opens stands at the beginning of a value, or
    right behind what closed (a doubled quote); what closes stands at the end of a value, or right before what opens.
    """
    data = lines.bytes
    quotes = np.flatnonzero(data == quote)
    first = np.searchsorted(quotes, lines.starts)
    count = np.searchsorted(quotes, lines.ends) - first
    faulty = (count & 1).astype(np.bool_)
    owner = np.repeat(np.arange(len(lines)), count)
    mine = quotes[np.repeat(first, count) + _ramp(count)]
    opens = _ramp(count) % 2 == 0
    before = np.where(mine > lines.starts[owner], data[np.maximum(mine - 1, 0)], delimiter)
    after = np.where(mine + 1 < lines.ends[owner], data[np.minimum(mine + 1, len(data) - 1)], delimiter)
    wrong = np.where(opens, (before != delimiter) & (before != quote), (after != delimiter) & (after != quote))
    wrong |= opens & (before == quote) & (_ramp(count) == 0)
    faulty[owner[wrong]] = True
    return faulty


def _ramp(counts: Ints) -> Ints:
    """Return 0, 1, … for each count, one after the other."""
    ends = np.cumsum(counts)
    ramp: Ints = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
    return ramp
