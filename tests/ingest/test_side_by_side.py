"""Blocks decoded side by side bring what one block brings: positions and offsets are the delivery's."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from ingest.decoders import slices
from ingest.source import SourceConfig
from tests.ingest.decoding import decode, fixture

SOURCE = SourceConfig("edge", zone="Europe/Stockholm")
SPOILT = b"\x00 what no switch writes\n\n"
DELIVERIES = {
    "radius-detail": fixture("freeradius", "detail-20261122"),
    "conntrack": b"".join(
        b"[%d.000001] [DESTROY] tcp 6 src=10.0.0.1 dst=192.0.2.1 sport=%d dport=443 src=192.0.2.1 dst=198.51.100.1 "
        b"sport=443 dport=%d delta-time=2 id=%d\n" % (1_795_000_000 + row, 1024 + row, 2048 + row, row + 1)
        for row in range(60)
    ),
    "kamailio-json": b"".join(
        b'{"method":"INVITE","from_tag":"a%d","to_tag":"b","callid":"c%d","sip_code":"200","sip_reason":"OK",'
        b'"time":"%d"}\n' % (row, row, 1_795_000_000 + row)
        for row in range(60)
    ),
}


def in_blocks(name: str, data: bytes, block_bytes: int) -> Any:
    """Decode a delivery read in blocks of so many bytes."""
    kept = slices.read_blocks.__kwdefaults__
    with mock.patch.object(slices.read_blocks, "__kwdefaults__", kept | {"block_bytes": block_bytes}):
        return decode(name, data, SOURCE)


@pytest.mark.parametrize("name", DELIVERIES)
def test_many_blocks_bring_what_one_brings(name: str) -> None:
    good = DELIVERIES[name]
    end = b"\n\n" if name == "radius-detail" else b"\n"
    half = good.rindex(end, 0, len(good) // 2) + len(end)
    data = good[:half] + SPOILT + good[half:] + SPOILT
    rows, rejects = one = in_blocks(name, data, 1 << 22)
    assert rows and [reject.offset for reject in rejects] == [half, len(data) - len(SPOILT)]
    assert in_blocks(name, data, 1500) == in_blocks(name, data, 4000) == one
