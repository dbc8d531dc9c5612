"""The roads of RADIUS detail files bring the same: the compiled walk, and NumPy line by line."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders import slices
from ingest.decoders.radius import records, walk
from ingest.source_config import SourceConfig
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest.decoding import decode, fixture
from tests.ingest.spoilt import spoilt

NEVER = 1 << 60
DETAIL = fixture("freeradius", "detail-20261122")
PACKETS = [packet + b"\n\n" for packet in DETAIL.split(b"\n\n") if packet.strip()]
SOURCE = SourceConfig("radius", zone="Europe/Stockholm")


def taken(data: Any, source: SourceConfig, *, walked: bool) -> Any:
    least = 0 if walked else NEVER
    with mock.patch.multiple(walk, KERNEL_BYTES_MIN=least, LOAD_BYTES_MIN=least, _PACKET_BYTES_MIN=8):
        return decode("radius-detail", data, source)


def same(data: bytes, source: SourceConfig = SOURCE) -> tuple[Any, bool]:
    """Compare the roads; return what comes out, and whether the walk took the block."""
    found = taken(data, source, walked=True)
    assert found == taken(data, source, walked=False)
    with mock.patch.multiple(walk, KERNEL_BYTES_MIN=0, LOAD_BYTES_MIN=0, _PACKET_BYTES_MIN=8):
        return found, walk.walked(slices.Block(data, 0, last=True)) is not None


def test_what_freeradius_writes_is_walked() -> None:
    for data in (DETAIL, DETAIL * 20, b"\n\n" + DETAIL + b"\n\n"):
        (rows, rejects), walked = same(data)
        assert walked and rows and not rejects


def test_many_blocks_bring_the_same() -> None:
    with mock.patch.object(
        slices.read_blocks, "__kwdefaults__", slices.read_blocks.__kwdefaults__ | {"block_bytes": 999}
    ):
        assert taken(DETAIL, SOURCE, walked=True) == taken(DETAIL, SOURCE, walked=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Acct-Session-Id = ", b"Acct-Session-Id="),
        (b"\tAcct-Session-Id", b"    Acct-Session-Id"),
        (b'Acct-Session-Id = "', b"Acct-Session-Id = '\xff"),
        (b'Acct-Session-Id = "', b'Acct-Session-Id = "\0'),
        (b"\n\tUser-Name", b"\n\n\tUser-Name"),
        (b"\n\tUser-Name", b"\n\r\n\tUser-Name"),
        (b"\n\tUser-Name", b"\n\r\tUser-Name"),
        (b"\n\tUser-Name", b"\n\r\r\n\tUser-Name"),
        (b"\n\tUser-Name", b"\nhead\n\tUser-Name"),
        (b"\n\tUser-Name", b"\n\t\n\tUser-Name"),
        (b"\tUser-Name", b"\t" + b"x" * 300 + b" = 1\n\tUser-Name"),
    ],
)
def test_what_is_written_otherwise_is_left(old: bytes, new: bytes) -> None:
    assert not same(DETAIL.replace(old, new))[1]
    assert not same(PACKETS[0].replace(old, new, 1) + DETAIL)[1]


def crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def test_lines_that_end_with_cr_lf_are_walked_to_the_same_records() -> None:
    (rows, rejects), walked = same(crlf(DETAIL))
    assert walked and not rejects and rows == same(DETAIL)[0][0]
    mixed = b"".join(crlf(packet) if place % 2 else packet for place, packet in enumerate(PACKETS))
    assert same(mixed) == ((rows, []), True)


def test_a_lone_cr_is_part_of_what_it_stands_in() -> None:
    data = DETAIL.replace(b"\tUser-Name = ", b"\tUser-Name = a\rb\r\r\n\tUser-Name = ")
    (rows, _), walked = same(data)
    assert walked and rows[0]["account"] == "a\rb\r"
    assert not same(crlf(DETAIL).replace(b"\r\n\r\n", b"\r\n\r\r\n"))[1]


def test_a_refused_packet_of_cr_lf_is_kept_alike() -> None:
    spoilt_one = crlf(PACKETS[3].replace(b"Acct-Session-Id", b"Acct-Session-Ix"))
    ((_, rejects), walked) = same(crlf(PACKETS[0]) + spoilt_one + crlf(PACKETS[1]))
    assert walked and [reject.position for reject in rejects] == [2]
    assert rejects[0].raw is not None and b"\r" not in rejects[0].raw
    assert rejects[0].length_bytes == len(spoilt_one.rstrip())


def test_a_file_that_is_cut_off_is_left() -> None:
    assert not same(DETAIL.rstrip(b"\n"))[1]
    assert not same(DETAIL.rstrip(b"\n") + b"\n")[1]


def test_a_packet_that_is_refused_is_kept_alike() -> None:
    secret = b'\tUser-Password = "hunter2"\n\tAcct-Status-Type'
    spoilt_one = PACKETS[3].replace(b"\tAcct-Status-Type", secret, 1).replace(b"Acct-Session-Id", b"Acct-Session-Ix")
    ((rows, rejects), walked) = same(PACKETS[0] + spoilt_one + b"\n" + PACKETS[1])
    assert walked and len(rows) == 2
    assert [(reject.position, reject.reason) for reject in rejects] == [(2, RejectReason.MISSING_FIELD)]
    assert rejects[0].offset == len(PACKETS[0]) and rejects[0].raw is not None
    assert b"hunter2" not in rejects[0].raw and b"User-Name" in rejects[0].raw
    assert same(rejects[0].raw)[0][1][0].reason is RejectReason.MISSING_FIELD


def test_escapes_and_repeated_attributes_are_read_alike() -> None:
    lines = b'\tUser-Name = "a\\\\b"\n\tUser-Name = "c"\n\tNAS-Port-Id = d\\\\e\n\tUser-Name'
    (rows, _), walked = same(DETAIL.replace(b"\tUser-Name", lines))
    assert walked and rows[0]["account"] == "a\\b" and rows[0]["trunk_in"] == "d\\\\e"


VALUES = st.one_of(
    st.sampled_from(
        ["", '""', '"', '"a', "Start", "Stop", "Alive", "Tunnel-Start", "0x82AB", "10.0.0.1", "7", "99999999999"]
    ),
    st.sampled_from(['"Nov 22 2026 00:12:29 UTC"', '"a@b@c.example"', '"@"', '"a@"', '"å@ä"', '"02-00-5E-00-53-1A"']),
    st.sampled_from(
        ['"020000005E001"', '"<sip:+46701234567@h>;tag=1"', '"h323-conf-id=1"', '"\\\\\\303\\245"', "-1", "4x"]
    ),
)
NAMES = st.one_of(st.sampled_from(records.ATTRIBUTES), st.sampled_from(["User-Password", "X", "Acct-Session-Idx", ""]))
DRAWN = st.lists(st.builds("\t{} = {}\n".format, NAMES, VALUES), max_size=12).map(
    lambda lines: ("Sun Nov 22 02:12:31 2026\n" + "".join(lines) + "\tAcct-Session-Id = 7\n\n").encode()
)


@examples(40)
@given(packets=st.lists(DRAWN, min_size=1, max_size=6))
def test_drawn_packets_are_read_alike(packets: list[bytes]) -> None:
    same(b"".join(packets))


@examples(40)
@given(data=spoilt([*PACKETS[:12], *map(crlf, PACKETS[:6]), b"\r", b"\n", b"\tTimestamp = 1\n"], pieces_max=5))
def test_damaged_packets_are_read_alike(data: bytes) -> None:
    if data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        same(data)
