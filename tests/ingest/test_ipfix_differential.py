"""IPFIX by columns and by a slow reader of the tests' own: the same events of any file that an exporter may write."""

from __future__ import annotations

import io
import ipaddress
import struct
from collections import Counter
from datetime import UTC
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders.cgnat.ipfix import Ipfix
from ingest.source_config import SourceConfig
from tests.examples import examples
from tests.ingest import ipfix_reference
from tests.ingest.ipfix_made import EXPORT_S, NAT44, ipfix, nat44, one_set, template

NUMBERS = {7: (1, 2), 11: (2,), 227: (2,), 361: (1, 2), 362: (2,), 4: (1,), 231: (1, 4, 8), 234: (4,), 1: (8,)}
ADDRESSES = {8: 4, 225: 4, 12: 4, 27: 16, 281: 16, 28: 16}
WORDS = ("template", "both", "both", "data", "data", "data", "options", "withdrawal", "unknown", "all")
VENDOR = 29_305
VARIABLE = 0xFFFF

Field = tuple[int, int, int]
"""Element, enterprise, size."""


@st.composite
def layouts(draw: st.DrawFn) -> list[Field]:
    """Fields of a template: an event, two addresses mostly, and others of some sizes in any order."""
    found: list[Field] = [(8, 0, 4), (225, 0, 4)] if draw(st.booleans()) else []
    for element in draw(st.lists(st.sampled_from(sorted({*NUMBERS, *ADDRESSES})), unique=True, max_size=7)):
        size = ADDRESSES.get(element) or draw(st.sampled_from(NUMBERS[element]))
        found += [] if (element, 0, size) in found else [(element, 0, size)]
    found += draw(st.sampled_from([[], [(322, 0, 4)], [(323, 0, 8)]]))
    found += draw(st.sampled_from([[], [(371, 0, VARIABLE)], [(371, 0, 6)], [(56, 0, 6)]]))
    found += draw(st.sampled_from([[], [(8, VENDOR, 4)], [(230, VENDOR, VARIABLE)], [(999, 0, VARIABLE)]]))
    return draw(st.permutations([(230, 0, 1), *found]))


def told(number: int, fields: list[Field], scopes: int | None = None) -> bytes:
    made = struct.pack(">HH", number, len(fields)) + (b"" if scopes is None else struct.pack(">H", scopes))
    for element, enterprise, size in fields:
        made += struct.pack(">HH", element | (0x8000 if enterprise else 0), size)
        made += struct.pack(">I", enterprise) if enterprise else b""
    return made


@st.composite
def records(draw: st.DrawFn, fields: list[Field]) -> bytes:
    made = b""
    for element, enterprise, size in fields:
        if size == VARIABLE:
            value = draw(st.sampled_from([b"", b"alice", b"x" * 254, b"y" * 255, b"z" * 300]))
            long = len(value) > 254 or draw(st.booleans())  # a short value may be told in three octets too
            made += (b"\xff" + struct.pack(">H", len(value)) if long else bytes([len(value)])) + value
        elif enterprise:
            made += draw(st.binary(min_size=size, max_size=size))
        elif element == 230:
            made += bytes([draw(st.integers(0, 18))])
        elif element in (322, 323):
            made += (EXPORT_S * (1 if element == 322 else 1000) + draw(st.integers(0, 999))).to_bytes(size, "big")
        elif element == 371:
            made += draw(st.sampled_from([b"bob\0\0\0", b"carols", bytes(6)]))
        else:
            most = min(256**size - 1, 65_535 if element in (7, 11, 227, 361, 362) else 1 << 40)
            value = draw(st.sampled_from([0, 1, 80, most]) | st.integers(0, most))
            made += value.to_bytes(size, "big")
    return made


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Messages of some domains: templates told late, again, anew or withdrawn, options, padding, unknown sets."""
    layout_of = {(domain, number): draw(layouts()) for domain in (0, 7) for number in (256, 300)}
    messages = []
    for _ in range(draw(st.integers(1, 5))):
        domain, sets = draw(st.sampled_from([0, 7])), []
        for _ in range(draw(st.integers(1, 4))):
            number = draw(st.sampled_from([256, 300]))
            fields = layout_of[domain, number]
            what = draw(
                st.sampled_from(["template", "both", "data", "data", "options", "withdrawal", "unknown", "all"])
            )
            if what in ("template", "both"):
                chosen = [number] if what == "template" else [256, 300]
                padding = bytes(draw(st.integers(0, 3)))
                sets.append(one_set(2, b"".join(told(one, layout_of[domain, one]) for one in chosen) + padding))
            elif what == "data":
                body = b"".join(draw(st.lists(records(fields), max_size=4)))
                room = sum(1 if size == VARIABLE else size for _, _, size in fields) > 3
                varies = any(size == VARIABLE for _, _, size in fields)
                sets.append(
                    one_set(number, body + bytes(draw(st.integers(0, 3)) if room and body and not varies else 0))
                )
            elif what == "options":
                sets.append(one_set(3, told(400, [(149, 0, 4), (41, 0, 8)], 1)) + one_set(400, bytes(24)))
            elif what == "unknown":
                sets.append(one_set(512, b"\1" * 20))
            else:
                sets.append(one_set(2, struct.pack(">HH", number if what == "withdrawal" else 2, 0)))
        messages.append(ipfix(*sets, domain=domain, export_s=EXPORT_S + len(messages)))
    return b"".join(messages)


NAMES = (
    "switch", "event", "source_ip", "nat_ip", "destination_ip", "source_port", "destination_port", "nat_port_first",
    "nat_port_last", "start_time", "end_time", "volume_up_bytes", "account", "mac",
)  # fmt: skip


def by_columns(data: bytes) -> tuple[list[dict[str, Any]], list[str]]:
    rows: list[dict[str, Any]] = []
    rejects: list[str] = []
    for part in Ipfix().decode(io.BytesIO(data), SourceConfig("cgn")):
        rejects += [str(one.reason) for one in part.rejects]
        for row in part.table.to_pylist():
            for name in ("source_ip", "nat_ip", "destination_ip"):
                if row.get(name) is not None:
                    row[name] = str(ipaddress.IPv4Address(row[name]))
                else:
                    row[name] = row.get(name + "_text")
            for name in ("start_time", "end_time"):
                row[name] = None if row[name] is None else row[name].astimezone(UTC)
            rows.append({name: row[name] for name in NAMES if row.get(name) is not None})
    return rows, rejects


def same(data: bytes) -> ipfix_reference.Read:
    rows, rejects = by_columns(data)
    expected = ipfix_reference.read(data, "cgn")
    assert Counter(rejects) == Counter(expected.refused)
    assert sorted(map(repr, rows)) == sorted(
        repr({name: row[name] for name in NAMES if name in row}) for row in expected.rows
    )
    return expected


@examples(50)
@given(data=files())
def test_drawn_files_tell_the_same_events(data: bytes) -> None:
    same(data)


def test_the_reader_of_the_tests_reads_events() -> None:
    data = ipfix(one_set(256, nat44(4, EXPORT_S * 1000)), one_set(2, template(256, NAT44)), domain=7)
    found = same(data)
    assert [(row["switch"], row["source_port"], row["event"]) for row in found.rows] == [("cgn/7", 40_000, "open")]
    assert not found.refused
