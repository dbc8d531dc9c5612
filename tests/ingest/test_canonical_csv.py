"""Canonical CSV: whatever comes, every line ends as a record or as a reject with its position."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload import HEADER, write_csv
from ingest.decoders import decoder
from ingest.decoders.base import RECORD_BYTES_MAX, Decoded
from ingest.normalise import Normalised, normalise
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.packing import unpack_table
from schemas.rejects import Reject, RejectReason
from tests.examples import examples
from tests.memory import own_pool

NOW_US = 1_795_348_800_000_000
LINE = (
    b"10000000001,msc-1,voice,46701234567,46707654321,2026-11-01 13:45:12.123456Z,42,"
    b"10.0.0.1,192.0.2.1,240010000000001,352099001761481,4711"
)


def source(zone: str | None = None) -> SourceConfig:
    return SourceConfig("switch", zone=zone)


def read(data: bytes, zone: str | None = None, stream: object = None) -> list[Decoded]:
    return list(decoder("csv").decode(stream or io.BytesIO(data), source(zone)))  # type: ignore[arg-type]


def whole(data: bytes, zone: str | None = None) -> tuple[pa.Table, list[Reject]]:
    parts: list[Normalised] = [normalise(part, source(zone), NOW_US) for part in read(data, zone)]
    tables = [part.table for part in parts if part.table.num_rows]
    table = pa.concat_tables(tables, promote_options="default") if tables else pa.table({"batch_position": []})
    rejects = [reject for part in parts for reject in part.rejects]
    positions = table.column("batch_position").to_pylist() + [reject.position for reject in rejects]
    assert sorted(positions) == list(range(1, len(positions) + 1)), "every record is in exactly one place"
    return table, rejects


def file(*lines: bytes, header: str = HEADER) -> bytes:
    return b"\n".join([header.encode(), *lines, b""])


def test_the_reference_workload_comes_out_as_it_went_in() -> None:
    stream = io.BytesIO()
    write_csv(stream, 60_000)
    table, rejects = whole(stream.getvalue())
    assert not rejects
    assert table.num_rows == 60_000
    plain = unpack_table(table)
    last = stream.getvalue().splitlines()[-1].decode().split(",")
    for name, value in zip(HEADER.split(","), last, strict=True):
        if name == "duration_s":
            assert plain.column("duration_ms")[-1].as_py() == int(value) * 1000
        elif name == "start_time":
            assert plain.column(name)[-1].as_py().isoformat(" ").replace("+00:00", "Z") == value
        else:
            assert plain.column(name)[-1].as_py() == value


def test_columns_come_in_any_order_and_may_be_any_field() -> None:
    header = (
        "end_time,network_element,record_key,service_type,start_time,ipv6_prefix,volume_up_bytes,source_port,account"
    )
    row = b"2026-11-01T10:00:00Z,gw,k-1,data,2026-11-01T09:00:00Z,2001:db8::/56,123,5060,a7"
    table, rejects = whole(file(row, header=header))
    assert not rejects
    plain = unpack_table(table).to_pylist()[0]
    assert (plain["switch"], plain["record_key"], plain["account"]) == ("gw", "k-1", "a7")
    assert plain["duration_ms"] == 3_600_000
    assert not plain["end_inferred"]
    assert (plain["volume_up_bytes"], plain["source_port"]) == (123, 5060)


@pytest.mark.parametrize("bad", ["colour", "batch_id", "dedup_domain", "conflict", "source", "batch_position"])
def test_a_column_that_nobody_may_deliver_is_refused_by_name(bad: str) -> None:
    with pytest.raises(InputError, match=bad):
        read(file(header=HEADER + "," + bad))


@pytest.mark.parametrize("header", [HEADER + ",duration_ms", HEADER + ",record_key", HEADER + ",network_element"])
def test_a_field_given_twice_is_refused(header: str) -> None:
    with pytest.raises(InputError, match="earlier"):
        read(file(header=header))


def test_a_file_without_a_header_is_refused_without_quoting_it() -> None:
    for data in (LINE + b"\n", b"\xff\xfeh\x00", b'"record_key', b"\xff" * 20, b"record_key,46701234567\n"):
        with pytest.raises(InputError) as caught:
            read(data)
        assert "46701234567" not in str(caught.value)
        assert "46701234567" not in str(caught.value.hint)


def test_an_empty_file_and_a_file_of_a_header_hold_no_records() -> None:
    assert read(b"") == []
    assert read(HEADER.encode()) == []  # its line may have been cut off
    assert [(part.is_nothing, part.table.num_rows, part.rejects) for part in read(file())] == [(True, 0, ())]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (LINE + b",1", RejectReason.COLUMN_COUNT),
        (LINE.rpartition(b",")[0], RejectReason.COLUMN_COUNT),
        (b"x", RejectReason.COLUMN_COUNT),
        (LINE.replace(b"msc-1", b'"msc-1'), RejectReason.MALFORMED),
        (LINE.replace(b"msc-1", b'"msc"-1'), RejectReason.MALFORMED),
        (LINE.replace(b"msc-1", b"msc\r1"), RejectReason.MALFORMED),
        (LINE.replace(b"msc-1", b"msc\x001"), RejectReason.ENCODING),
        (LINE.replace(b"msc-1", b"ms\xe9"), RejectReason.ENCODING),
        (LINE.replace(b"voice", b"fax"), RejectReason.UNKNOWN_SERVICE),
        (LINE.replace(b"voice", b""), RejectReason.MISSING_FIELD),
        (LINE.replace(b"10000000001", b"", 1), RejectReason.MISSING_FIELD),
        (LINE.replace(b",42,", b",x,"), RejectReason.BAD_FIELD),
        (LINE.replace(b",42,", b",-1,"), RejectReason.BAD_FIELD),
        (LINE.replace(b",42,", b",99999999999999999,"), RejectReason.BAD_FIELD),
        (LINE.replace(b",42,", b",99999999999999999999,"), RejectReason.BAD_FIELD),
        (LINE.replace(b"10.0.0.1", b"10.0.0.256"), RejectReason.BAD_FIELD),
        (LINE.replace(b"2026-11-01 13:45:12.123456Z", b""), RejectReason.MISSING_FIELD),
        (LINE.replace(b"2026-11-01", b"2026-02-30"), RejectReason.BAD_TIME),
        (LINE.replace(b"2026-11-01 13:45:12.123456Z", b"2026-11-01"), RejectReason.BAD_TIME),
        (LINE.replace(b"2026-11-01 13:45:12.123456Z", b"2026-11-01 13:45Z"), RejectReason.BAD_TIME),
        (LINE.replace(b".123456Z", b""), RejectReason.BAD_TIME),  # local, and the source has no zone
        (LINE.replace(b"2026-", b"1999-"), RejectReason.BAD_TIME),
        (LINE.replace(b"2026-", b"0001-"), RejectReason.BAD_TIME),
        (LINE.replace(b"2026-", b"2062-"), RejectReason.FUTURE),
        (LINE.replace(b"2026-", b"9999-"), RejectReason.FUTURE),
    ],
)
def test_one_bad_line_is_refused_alone_with_its_position_and_bytes(line: bytes, reason: RejectReason) -> None:
    good = [LINE.replace(b"10000000001", b"%011d" % number, 1) for number in range(1, 8)]
    table, rejects = whole(file(*good[:3], line, *good[3:]))
    assert [(reject.position, reject.reason, reject.raw) for reject in rejects] == [
        (4, reason, HEADER.encode() + b"\n" + line)
    ]
    assert unpack_table(table).column("record_key").to_pylist() == [f"{number:011d}" for number in range(1, 8)]


def test_many_bad_lines_are_each_refused() -> None:
    lines = [LINE if number % 3 else b"bad" for number in range(1_000)]
    table, rejects = whole(file(*lines))
    assert table.num_rows == 666
    assert [reject.position for reject in rejects] == [number + 1 for number in range(0, 1_000, 3)]


def test_quotes_may_hold_commas_and_quotes_but_no_line_end() -> None:
    header = "record_key,service_type,start_time,switch,user_agent,trunk_in"
    fine = b'"1",voice,"2026-11-01T10:00:00Z","a,b","say ""hi""",'
    split = b'2,voice,2026-11-01T10:00:00Z,"a\nb",x,y'
    table, rejects = whole(file(fine, split, fine.replace(b'"1"', b"3"), header=header))
    plain = unpack_table(table)
    assert plain.column("record_key").to_pylist() == ["1", "3"]
    assert plain.column("switch").to_pylist() == ["a,b", "a,b"]
    assert plain.column("user_agent").to_pylist() == ['say "hi"', 'say "hi"']
    assert [reject.position for reject in rejects] == [2, 3]


def test_a_long_quoted_value_is_read_on_both_roads() -> None:
    header = "record_key,service_type,start_time,switch,user_agent"
    line = b'1,voice,2026-11-01T10:00:00Z,a,"' + b"x," * 100_000 + b'"'
    for lines in ([line], [line, b"bad"]):
        table, rejects = whole(file(*lines, header=header))
        assert table.num_rows == 1
        assert len(rejects) == len(lines) - 1


def test_an_even_number_of_quotes_cannot_swallow_the_next_line() -> None:
    header = "record_key,service_type,start_time,switch,user_agent,trunk_in"
    trap = b'1,voice,2026-11-01T10:00:00Z,a"b,"c'
    fine = b"2,voice,2026-11-01T10:00:00Z,x,y,z"
    table, rejects = whole(file(trap, fine, trap, fine.replace(b"2,", b"4,", 1), header=header))
    assert unpack_table(table).column("record_key").to_pylist() == ["2", "4"]
    assert [reject.position for reject in rejects] == [1, 3]


def test_windows_line_ends_a_byte_order_mark_and_blank_lines_are_read() -> None:
    data = b"\xef\xbb\xbf" + file(LINE, b"", LINE.replace(b"01,", b"02,", 1), b"", b"").replace(b"\n", b"\r\n")
    table, rejects = whole(data)
    assert not rejects
    assert unpack_table(table).column("cell_id").to_pylist() == ["4711", "4711"]
    table, rejects = whole(data[:-4].rstrip())
    assert table.num_rows == 2


class Giant(io.RawIOBase):
    """A header, a good line, one line of 1 GB, a good line; never more than a piece of it in memory."""

    def __init__(self, size: int) -> None:
        self._pieces = self._made(size)
        self._left = b""

    def _made(self, size: int) -> Iterator[bytes]:
        yield file(LINE)
        for _ in range(size >> 20):
            yield b"x" * (1 << 20)
        yield b"\n" + LINE + b"\n"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def test_a_line_of_a_gigabyte_is_one_reject_and_is_never_held() -> None:
    with own_pool() as pool:
        parts = read(b"", stream=Giant(1 << 30))
    rejects = [reject for part in parts for reject in part.rejects]
    assert [(reject.position, reject.reason, reject.raw) for reject in rejects] == [(2, RejectReason.TOO_LONG, None)]
    assert (rejects[0].length_bytes or 0) >= 1 << 30
    assert [position for part in parts for position in part.table.column("position").to_pylist()] == [1, 3]
    assert 0 < pool.max_memory() < 200 << 20


def test_a_line_over_the_limit_inside_a_block_is_refused() -> None:
    long = LINE + b"x" * (RECORD_BYTES_MAX + 1)
    table, rejects = whole(file(LINE, long, LINE.replace(b"01,", b"02,", 1)))
    assert table.num_rows == 2
    assert [(reject.position, reject.reason, reject.raw) for reject in rejects] == [(2, RejectReason.TOO_LONG, None)]


def test_times_take_every_form_of_rfc_3339() -> None:
    forms = {
        "2026-11-01T13:45:12Z": (12_000_000, None),
        "2026-11-01 13:45:12.1Z": (12_100_000, None),
        "2026-11-01 13:45:12.123456Z": (12_123_456, None),
        "2026-11-01t13:45:12.123456789z": (12_123_456, None),
        "2026-11-01T14:45:12+01:00": (12_000_000, 3600),
        "2026-11-01 08:15:12.5-0530": (12_500_000, -19_800),
        "2026-11-01 14:45:12.25": (12_250_000, 3600),
    }
    header = "record_key,service_type,start_time,switch"
    minute_us = 1_793_540_700_000_000
    for order in (list(forms), list(reversed(forms)), *([form] for form in forms)):
        rows = [f"{number},sms,{form},a".encode() for number, form in enumerate(order)]
        table, rejects = whole(file(*rows, header=header), "Europe/Stockholm")
        assert not rejects
        start = table.column("start_time").cast(pa.int64()).to_pylist()
        assert [time - minute_us for time in start] == [forms[form][0] for form in order]
        told = table.column("utc_offset_s").to_pylist() if "utc_offset_s" in table.column_names else [None] * len(order)
        assert told == [forms[form][1] for form in order]


def test_local_times_follow_the_zone_through_both_changes() -> None:
    header = "record_key,service_type,start_time,switch"
    rows = [b"1,sms,2026-10-25 01:59:59,a", b"2,sms,2026-10-25 02:30:00,a", b"3,sms,2026-10-25 03:00:00,a"]
    rows += [b"4,sms,2026-03-29 02:30:00,a"]
    table, _ = whole(file(*rows, header=header), "Europe/Stockholm")
    assert table.column("utc_offset_s").to_pylist() == [7200, 7200, 3600, 3600]
    assert table.column("time_ambiguous").to_pylist() == [False, True, False, False]
    hours = [time.hour * 60 + time.minute for time in table.column("start_time").to_pylist()]
    assert hours == [23 * 60 + 59, 30, 2 * 60, 60 + 30]


def test_a_file_without_record_keys_is_the_same_when_it_comes_again() -> None:
    header = "service_type,start_time,switch,calling_number"
    row = b"sms,2026-11-01T10:00:00Z,a,46701"
    data = file(row, row, row.replace(b"46701", b"46702"), header=header)
    keys = [unpack_table(whole(data)[0]).column("record_key").to_pylist() for _ in range(2)]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 3
    swapped = file(b"46701,sms,2026-11-01T10:00:00Z,a", header="calling_number,service_type,start_time,switch")
    assert unpack_table(whole(swapped)[0]).column("record_key").to_pylist() == keys[0][:1]


def test_durations_may_have_a_fraction_of_a_second() -> None:
    header = "record_key,service_type,start_time,switch,duration_s"
    rows = [b"1,sms,2026-11-01T10:00:00Z,a,1.5", b"2,sms,2026-11-01T10:00:00Z,a,7", b"3,sms,2026-11-01T10:00:00Z,a,"]
    table, rejects = whole(file(*rows, header=header))
    assert not rejects
    assert table.column("duration_ms").to_pylist() == [1500, 7000, None]


PIECES = st.sampled_from(
    [LINE, b"", b",", b'"', b'""', b"\r", b"\n", b"\0", b"\xff", b"a", b"46", LINE[:60], b'"x,y"', b" "]
)


@given(st.lists(st.lists(PIECES, max_size=4).map(b"".join), max_size=12))
@examples(70)
def test_no_bytes_make_it_fall_over_or_lose_a_line(lines: list[bytes]) -> None:
    data = file(*lines)
    table, rejects = whole(data)
    expected = [
        line for line in data.split(b"\n")[1:] if line.strip(b"\r").strip(b" \t") or b"\r" in line.rstrip(b"\r")
    ]
    assert table.num_rows + len(rejects) == len([line for line in expected if line.strip()])
