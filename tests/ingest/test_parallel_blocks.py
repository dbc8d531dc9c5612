"""Blocks decoded side by side bring what one block brings: positions and offsets are the delivery's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest

from ingest.decoders import slices
from ingest.decoders.base import Decoded
from ingest.decoders.freeswitch import blocks
from ingest.decoders.parallel_blocks import STRETCH_ROWS, gathered
from ingest.decoders.plain_rows import PlainBlocks
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.rejects import Reject, RejectReason
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


def part(first: int, rows: int, mark: bytes | None) -> Decoded:
    """Return a stretch of so many records; `mark` begins what is kept of each."""
    table = pa.table({"position": pa.array(range(first, first + rows), pa.int64())})
    rejects = [Reject(first + rows, RejectReason.MALFORMED)]
    return Decoded(table, rejects, None if mark is None else lambda asked: [mark + b"%d" % one for one in asked])


def test_small_parts_become_one_stretch() -> None:
    parts = [part(1, 3, b"a"), part(5, 0, None), part(6, 2, None), part(9, 1, b"b"), part(11, 1, b"c")]
    first, second = gathered(parts)
    assert first.table["position"].to_pylist() == [1, 2, 3, 6, 7, 9] and first.raw_of is not None
    assert [reject.position for reject in first.rejects] == [4, 5, 8, 10]
    assert first.raw_of([2, 7, 9]) == [b"a2", None, b"b9"]
    assert second is parts[-1]
    large = part(1, STRETCH_ROWS, None)
    assert list(gathered([large, large])) == [large, large]


def test_parts_whose_columns_have_other_forms_are_told_apart() -> None:
    digits, words = pa.table({"callee": pa.array([10**9])}), pa.table({"callee": pa.array(["alice"])})
    without = pa.table({"callee": pa.nulls(1), "caller": pa.array(["bob"])})
    told = gathered(Decoded(table) for table in (digits, without, words, words, digits))
    assert [part.table["callee"].to_pylist() for part in told] == [[10**9, None], ["alice", "alice"], [10**9]]


def test_a_block_with_names_follows_one_with_numbers() -> None:
    lines = [
        b'{"method":"INVITE","from_tag":"a%d","to_tag":"b","callid":"c%d","sip_code":"200","sip_reason":"OK",'
        b'"time":"1795000000","src_user":"%s","dst_user":"46701740001","user_agent":"%s"}\n'
        % (row, row, b"46701740002" if row < 1500 else b"alice", b"x" * 250)
        for row in range(3000)
    ]
    rows, rejects = in_blocks("kamailio-json", b"".join(lines), 3 << 18)
    assert not rejects and [row["calling_number"] for row in rows[1499:1501]] == ["46701740002", "alice"]


def test_what_was_gathered_before_a_failure_is_told_first() -> None:
    def failing() -> Iterator[Decoded]:
        yield part(1, 3, None)
        raise InputError("cut off", hint="deliver it again")

    parts = gathered(failing())
    assert next(parts).table.num_rows == 3
    with pytest.raises(InputError):
        next(parts)


@pytest.mark.parametrize("name", ["freeswitch-json", "freeswitch-xml"])
@pytest.mark.parametrize("size", [3_000, 9_000, 30_000])
def test_bodies_of_freeswitch_do_not_hang_on_where_a_block_ends(name: str, size: int) -> None:
    data = freeswitch(name)
    whole = decode(name, data, SOURCE)
    assert len(whole[0]) > 20 and len(whole[1]) == 2
    with mock.patch.object(blocks, "BLOCK_BYTES", size):
        assert decode(name, data, SOURCE) == whole
        for end in (b"", b"\n{", b"<cdr>\n"):
            with mock.patch.object(blocks, "PlainBlocks", in_order_only):
                serial = decode(name, data[: len(data) // 2] + end, SOURCE)
            assert decode(name, data[: len(data) // 2] + end, SOURCE) == serial


class in_order_only(PlainBlocks[Any]):  # noqa: N801 (stands in for the class)
    """No block is plain: everything is read as a stream."""

    def __init__(self, blocks: Any, make: Any) -> None:
        super().__init__(blocks, lambda _: None)


def freeswitch(name: str) -> bytes:
    """Return a delivery with bodies that spoil a block: no document, a body over several lines, a form."""
    if name == "freeswitch-json":
        legs = fixture("freeswitch", "legs.ndjson").splitlines(keepends=True)
        odd = [json.dumps(json.loads(legs[0]), indent=1).encode() + b"\n", b"{spoilt}\n", b"cdr=" + legs[1], b"x\n"]
    else:
        legs = [leg + b"</cdr>\n" for leg in fixture("freeswitch", "legs.xml").split(b"</cdr>\n")[:-1]]
        latin = b'<?xml version="1.0" encoding="ISO-8859-1"?>\n' + legs[0][legs[0].index(b"<cdr") :]
        odd = [latin, b"<cdr>\n", b"x\n", b'<?xml version="1.0"?>\n' + legs[1][legs[1].index(b"<cdr") :]]
    return b"".join([*legs * 3, odd[0], *legs, odd[1], *legs, odd[2], *legs, odd[3], *legs])
