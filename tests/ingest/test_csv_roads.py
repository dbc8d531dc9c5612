"""The roads of canonical CSV bring the same: compiled kernels, Arrow's parser, line by line."""

from __future__ import annotations

import io
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload import HEADER, write_csv
from ingest.decoders import csv_walk
from ingest.decoders.canonical import csv as canonical_csv
from ingest.decoders.padded import Padded
from ingest.decoders.slices import Block
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from tests.examples import examples
from tests.ingest.roads import EVERY, GOOD, NOW_US, VALUES, same, taken

LINE = (
    b"10000000001,msc-1,voice,46701234567,46707654321,2026-11-01 13:45:12.123456Z,42,"
    b"10.0.0.1,192.0.2.1,240010000000001,352099001761481,4711"
)


def file(*lines: bytes, header: str = HEADER, end: bytes = b"\n") -> bytes:
    return end.join([header.encode(), *lines, b""])


def walks(data: bytes, names: list[str]) -> bool:
    """Tell whether the kernels take these lines."""
    columns = canonical_csv.input_columns(names)
    return csv_walk.Walker(columns, None).walk(Padded.of(Block(data, 0))) is not None


def test_the_reference_workload_is_walked_and_comes_out_as_on_arrows_road() -> None:
    stream = io.BytesIO()
    write_csv(stream, 5_000)
    data = stream.getvalue()
    assert walks(data.split(b"\n", 1)[1], HEADER.split(","))
    for country in (None, "SE", "US"):
        for block_bytes in (6 << 20, 100_000):
            same(data, SourceConfig("switch", country=country), block_bytes)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Draw a line that is good but for a few of its values."""
    values = dict(GOOD)
    for name in draw(st.lists(st.sampled_from(list(VALUES)), max_size=4)):
        values[name] = draw(VALUES[name])
    return ",".join(values.values()).encode()


@given(
    st.lists(lines(), max_size=40),
    st.sampled_from([None, "SE", "US", "IT"]),
    st.sampled_from([None, "UTC", "Europe/Stockholm"]),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)
@examples(100)
def test_any_values_come_out_the_same(
    rows: list[bytes], country: str | None, zone: str | None, end: bytes, terminated: bool
) -> None:
    accounts = {"a7": "A-7"} if country == "SE" else {}
    data = file(*rows, header=EVERY, end=end)
    same(data if terminated else data[: -len(end)], SourceConfig("switch", zone, country, accounts=accounts))


PIECES = st.sampled_from(
    [LINE, b"", b",", b'"', b'""', b"\r", b"\n", b"\r\n", b"\0", b"\xff", b"a", b"46", LINE[:60], b'"x,y"', b" "]
)


@given(st.lists(st.lists(PIECES, max_size=4).map(b"".join), max_size=12), st.booleans())
@examples(70)
def test_any_bytes_come_out_the_same(rows: list[bytes], returned: bool) -> None:
    same(file(*rows, end=b"\r\n" if returned else b"\n"), SourceConfig("switch"))


@pytest.mark.parametrize(
    "data",
    [
        b'1,"sms",x\n',
        b"1,sms\n",
        b"1,sms,x,y\n",
        b"1,sms,x\n2,sms\n3,s,m,s\n",
        b"1,sms,x\n\n2,sms,y\n",
        b"1,sms,x\r\n2,sms,y\n",
        b"1,s\rms,x\n",
        b"1,sms,x\r\n2,s\rms,y\r\n",
        b"1,sms,x\r",
        b"1,s\tms,x\n",
        b"1,s\0ms,x\n",
        b"1,sms,\xff\n",
        b"1,sms,x" + b"y" * (1 << 19) + b"\n",
    ],
    ids=range(13),
)
def test_what_is_not_clean_is_not_walked(data: bytes) -> None:
    names = ["record_key", "service_type", "user_agent"]
    assert not walks(data, names)
    assert walks(b"1,sms,x\n2,sms,\n", names)
    assert walks(b"1,sms,x\r\n,,y\r\n", names)
    assert walks("1,sms,ä".encode(), names)


def test_many_labels_make_the_column_text_and_more_rows_than_foreseen_make_pieces() -> None:
    long = b"".join(b"%d,sms,2026-11-01T10:00:00Z,%d,%s\n" % (row, row % 1500, b"x" * 2_000) for row in range(100))
    short = b"".join(b"%d,sms,2026-11-01T10:00:00Z,%d,x\n" % (row, row % 1500) for row in range(100, 20_000))
    names = ["record_key", "service_type", "start_time", "switch", "user_agent"]
    walker = csv_walk.Walker(canonical_csv.input_columns(names), None)
    parts = walker.walk(Padded.of(Block(long + short, 0)))
    assert parts is not None
    assert len(parts) > 1
    assert sum(part.rows for part in parts) == 20_000
    same(file(long + short[:-1], header=",".join(names)), SourceConfig("switch"))


def test_no_small_delivery_loads_the_kernels() -> None:
    columns = canonical_csv.input_columns(["record_key", "switch"])
    walker = csv_walk.Walker(columns, None)
    with mock.patch.object(csv_walk.native, "is_loaded", lambda _: False):
        assert not walker.takes(Padded.of(Block(b"x" * (csv_walk.LOAD_BYTES_MIN - 1), 0)))
        assert walker.takes(Padded.of(Block(b"x" * csv_walk.LOAD_BYTES_MIN, 0)))
    assert not csv_walk.Walker(columns[:1], None).takes(Padded.of(Block(b"x" * csv_walk.LOAD_BYTES_MIN, 0)))


def test_a_line_longer_than_any_record_does_not_end_the_delivery_on_any_road() -> None:
    good = [LINE.replace(b"10000000001", b"%011d" % number, 1) for number in range(2_000)]
    data = file(*good[:1_000], b"x" * (3 << 20), *good[1_000:])
    same(b"\xef\xbb\xbf" + data, SourceConfig("switch"), 1 << 18)
    rows, rejects = taken(data, SourceConfig("switch"), compiled=True, block_bytes=1 << 18)
    assert (len(rows), [reject.position for reject in rejects]) == (2_000, [1_001])


def test_a_byte_order_mark_behind_the_header_has_one_fate_on_all_roads() -> None:
    marked, source = b"\xef\xbb\xbf" + LINE, SourceConfig("switch")
    same(file(marked, LINE), source)
    for lines in ((marked,), (marked, b"odd"), (b"odd", marked), (LINE.replace(b"01,", b"02,", 1), marked)):
        rejects = taken(file(*lines), source, compiled=False)[1]
        fates = {reject.position: (reject.reason.value, reject.field) for reject in rejects}
        assert fates[lines.index(marked) + 1] == ("encoding", "record_key")


def test_a_table_of_packed_columns_is_normalised_like_one_of_texts() -> None:
    from ingest.decoders.base import Decoded
    from schemas.packing import pack_identifier

    texts = pa.array(["0046701234567", "46701", None, "+46701234567", "sip:x", "070123"])
    addresses = pa.array(["10.0.0.1", "2001:db8::1", "bad", None, "", "1.2.3.4"])
    packed, rest = pack_identifier(texts)
    common = {
        "position": pa.array(range(1, 7)),
        "record_key": pa.array([str(row) for row in range(6)]),
        "service_type": pa.array(["voice"] * 6),
        "start_time": pa.array([1_793_000_000_000_000] * 6).cast(pa.timestamp("us", "UTC")),
    }
    plain = pa.table({**common, "calling_number": texts, "source_ip": addresses})
    quads = pa.array([0x0A000001, None, None, None, None, 0x01020304], pa.uint32())
    others = pa.array([None, "2001:db8::1", "bad", None, "", None])
    mixed = pa.table(
        {
            **common,
            "calling_number": packed,
            "calling_number_text": rest,
            "source_ip": quads,
            "source_ip_text": others,
        }
    )
    for country in (None, "SE"):
        source = SourceConfig("switch", country=country)
        one, two = normalise(Decoded(plain), source, NOW_US), normalise(Decoded(mixed), source, NOW_US)
        assert one.table.to_pylist() == two.table.to_pylist()
        assert one.rejects == two.rejects
        assert [reject.position for reject in two.rejects] == [3]
