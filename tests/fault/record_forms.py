"""Deliveries of records that delimit themselves, taken apart, so that some of them can be damaged and the others not.

A family is what may stand in one delivery: head, records, tail. A damaged record still ends where it ended: a line has
no line feed inside, a block no empty line, an element no other's tags, and what has its length in front of it keeps it.
"""

from __future__ import annotations

import io
import random
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from typing import Final

from bench import format_inputs_ber, formats
from bench.format_inputs import TEXTS, Call
from ingest.decoders import FORMATS, decoder
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from tests.fault import fuzz_child
from tests.ingest.test_bad_input import GOOD, HEADERS, OPTIONS

WHOLE: Final = ("arrow", "parquet")
"""Nothing in these delimits itself: one delivery is one case."""
FORMS: Final = tuple(name for name in FORMATS if name not in WHOLE)
MADE: Final = 1_000
"""Records of a family that is made."""
REPEATED: Final = 300
"""Records of a family that a fixture has fewer of: they come again."""

_MIDNIGHT: Final = datetime(2026, 11, 1, tzinfo=UTC)
_FIXTURE_BYTES_MAX: Final = 60_000
_NUMBERED: Final = {
    "acme-csv": (b"SDA0001-0001", b"SDA0001-%04d"),
    "asterisk-custom": (b"5200.1\n", b"5200.%d\n"),
    "cucm-cmr": (b"b001", b"%04x"),
    "mapping": (b"17,", b"%d,"),
}
_BLOCKS: Final = ("radius-detail",)
_HEADED: Final = ("csv", "cucm-cdr", "cucm-cmr", "acme-csv")
LOOSE: Final = (
    *("asterisk-csv", "asterisk-custom", "freeswitch-json", "freeswitch-xml", "broadworks-xml", "kannel"),
    *("cucm-cdr", "cucm-cmr"),
)
"""A damaged record of these may become two rejects, or one with the damaged record behind it: a quote, an element or a
text may go on in the next line."""
LEADING: Final = {"acme-csv": 6}
"""So many records at the beginning stay as they are: the first rows of each type tell how wide its rows are."""
FOLDED: Final = ("asterisk-cel",)
"""Records of these are events of one call: what a damaged one says of the call is missing in the others."""
_ELEMENTS: Final = {"freeswitch-xml": b"</cdr>\n", "broadworks-xml": b"</cdrData>\n"}
_FRAMED: Final = ("3gpp-32297", "3gpp-ber", "tap3", "ipfix")
TORN: Final = tuple(name for name in FORMS if name not in (*_FRAMED, *FOLDED))
"""Formats whose records may lose their terminators: what follows is found again."""
_IPFIX_BYTES: Final = 28
_GENTLE: Final = 0.6  # of the changes are of one byte to another that may well stand there
_ENDED: Final = 0.7  # of torn records still have their terminator
_OCTETS: Final = b"0123456789abcdefSTZ -:.,+"
_NEW_BLOCK: Final = re.compile(rb"\n(?![ \t])")
_TEXT_BYTES: Final = re.compile(rb"\[msg:(\d+):")
_EMPTY_LINE: Final = re.compile(rb"\n[ \t\r]*(?=\n)")


def taken_along(name: str, records: Sequence[bytes], hit: Sequence[int]) -> set[int]:
    """Return which records damaged ones may take along by their format's own rule.

    A text of `kannel` has the length that its line tells, lines' ends included; in `asterisk-custom`, CUCM's and
    mapped files a field goes on to its closing quote, which may be another damaged record's.
    """
    taken = set[int]()
    if name == "kannel":
        for index in hit:
            told = _TEXT_BYTES.search(records[index])
            rest, after = int(told[1]) - len(records[index]) if told else 0, index + 1
            while rest > 0 and after < len(records):
                taken.add(after)
                rest, after = rest - len(records[after]), after + 1
    elif name in ("asterisk-custom", "cucm-cdr", "cucm-cmr", "mapping"):
        odd = [index for index in hit if records[index].count(b'"') % 2]
        for opening, closing in pairwise(odd):
            taken.update(range(opening, closing + 1))
    return taken


@dataclass(frozen=True)
class Family:
    """Records that may stand in one delivery. Octets before `fixed[i]` of record `i` tell where it ends."""

    head: bytes
    records: tuple[bytes, ...]
    tail: bytes
    fixed: tuple[int, ...] = ()

    def delivery(self, records: Sequence[bytes]) -> bytes:
        """Return a delivery of these records."""
        return self.head + b"".join(records) + self.tail


def source_of(name: str) -> SourceConfig:
    """Return the source of what is made of a format."""
    return SourceConfig("fuzz", country="SE", options=OPTIONS.get(name, {}))


@cache
def families(name: str) -> tuple[Family, ...]:
    """Return what deliveries of a format can be made of: generated records, and those of fixtures."""
    if name in _FRAMED:
        return (_framed(name),)
    items = [item for item in fuzz_child.corpus(name) if len(item) < _FIXTURE_BYTES_MAX]
    if name in formats.names() and name != "mapping":
        items = [formats.delivery(name, MADE, _MIDNIGHT)[0], *items[:-2]]
    if name in _NUMBERED:
        one, many = _NUMBERED[name]
        made = b"".join(GOOD[name].replace(one, many % number) for number in range(REPEATED))
        items.insert(0, HEADERS.get(name, b"") + made)
    found = [_apart(name, item) for item in items]
    return tuple(family for family in found if family is not None)


def _framed(name: str) -> Family:
    calls = [Call(number, int(_MIDNIGHT.timestamp())) for number in range(MADE)]
    if name == "ipfix":
        whole, count = formats.delivery(name, MADE, _MIDNIGHT)
        return _ipfix(whole, count)
    write = format_inputs_ber.tap_call if name == "tap3" else format_inputs_ber.msc_call
    bare = [write(call) for call in calls]
    if name == "tap3":
        whole = format_inputs_ber.tap_batch(bare)
        start = whole.index(bare[0])
        end = start + sum(map(len, bare))
        return Family(whole[:start], tuple(bare), whole[end:], tuple(map(_header_bytes, bare)))
    if name == "3gpp-ber":
        return Family(b"", tuple(bare), b"", tuple(map(_header_bytes, bare)))
    bare[1::2] = [format_inputs_ber.pgw_bearer(call) for call in calls[1::2]]
    whole = format_inputs_ber.cdr_file(bare, int(_MIDNIGHT.timestamp()))
    start = struct.unpack(">I", whole[4:8])[0]
    records = [whole[at - 5 : at + len(one)] for at, one in zip(_places(whole, start, bare), bare, strict=True)]
    return Family(whole[:start], tuple(records), b"", (5,) * len(records))


def _places(whole: bytes, start: int, bare: Sequence[bytes]) -> list[int]:
    places = []
    for one in bare:
        places.append(whole.index(one, start))
        start = places[-1] + len(one)
    return places


def _header_bytes(record: bytes) -> int:
    """Return the octets of identifier and length."""
    at = 1
    if record[0] & 0x1F == 0x1F:
        while record[at] & 0x80:
            at += 1
        at += 1
    return at + 1 + (record[at] & 0x7F if record[at] & 0x80 else 0)


def _ipfix(whole: bytes, count: int) -> Family:
    """Return the events of a delivery; the headers of a message and of its set stand before its first event."""
    records, fixed, at, head = [], [], 0, b""
    while at < len(whole):
        size = struct.unpack(">H", whole[at + 2 : at + 4])[0]
        message = whole[at : at + size]
        at += size
        if struct.unpack(">H", message[16:18])[0] == 2:
            head += message
            continue
        for place in range(20, size, _IPFIX_BYTES):
            lead = message[:20] if place == 20 else b""
            records.append(lead + message[place : place + _IPFIX_BYTES])
            fixed.append(len(lead))
    assert len(records) == count
    return Family(head, tuple(records), b"", tuple(fixed))


def _apart(name: str, item: bytes) -> Family | None:
    """Take a delivery of text apart; None when its records are not what is between its terminators."""
    if name in TEXTS and item.startswith(TEXTS[name].head.encode()):
        head, tail = TEXTS[name].head.encode(), TEXTS[name].tail.encode()
    else:
        head = tail = b""
    body = item[len(head) : len(item) - len(tail)]
    end = b"\n\n" if name in _BLOCKS else _ELEMENTS.get(name, b"\n")
    pieces = [piece + end for piece in body.split(end)[:-1] if piece.strip()]
    if name in LOOSE and len(set(pieces)) < len(pieces):  # the same record again is told by how often it came before
        return None
    for lines in range(min(3, len(pieces)) if name in _HEADED else 1):
        records = pieces[lines:]
        if len(records) < REPEATED and name not in LOOSE:
            records = (records * REPEATED)[:REPEATED]
        family = Family(head + b"".join(pieces[:lines]), tuple(records), tail)
        if _count(name, family.delivery(family.records)) == len(family.records):
            return family
    return None


def _count(name: str, data: bytes) -> int:
    try:
        parts = list(decoder(name).decode(io.BytesIO(data), source_of(name)))
    except InputError:
        return -1
    return sum(part.table.num_rows + len(part.rejects) for part in parts)


def damaged(rng: random.Random, name: str, family: Family, index: int, *, torn: bool = False) -> bytes:
    """Return a record with some changes that ends where it ended; a `torn` one may end elsewhere, or nowhere."""
    record = family.records[index]
    fixed = family.fixed[index] if family.fixed else 0
    end = b"" if name in _FRAMED else b"\n\n" if name in _BLOCKS else _ELEMENTS.get(name, b"\n")
    data = bytearray(record[fixed : len(record) - len(end)])
    size = len(data)
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 3, 8))):
        if rng.random() < _GENTLE and data:
            data[rng.randrange(len(data))] = rng.choice(_OCTETS)
        else:
            fuzz_child.change(rng, data, (family.records[rng.randrange(len(family.records))],))
    if name in _FRAMED:
        return record[:fixed] + bytes(data[:size]).ljust(size, b"\0")
    if torn:
        return bytes(data) + (end if rng.random() < _ENDED else b"")
    made = _closed(name, bytes(data), end)
    return made + end if made.strip() else record


def _closed(name: str, data: bytes, end: bytes) -> bytes:
    if name in _BLOCKS:
        return _NEW_BLOCK.sub(b"\n\t", _EMPTY_LINE.sub(b"", data).strip(b"\n"))
    if name in _ELEMENTS:
        return data.replace(end.rstrip(b"\n"), b"")
    return data.replace(b"\n", b" ")
