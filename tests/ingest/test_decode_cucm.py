"""Cisco CUCM: columns by name in every layout of the two head lines, packed addresses, devices, quality reports."""

from __future__ import annotations

import csv
import io
import struct
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders import decoder
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest.decoding import DripStream, content, decode, fixture
from tests.ingest.reading import taken

CDR = fixture("cucm", "cdr.csv")
CMR = fixture("cucm", "cmr.csv")
BEGAN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
KEY = "0b7e2c1a-9f60-4d15-8e0a-52f4c2d9a00"
NAMES, TYPES, *ROWS = CDR.decode().splitlines()


def with_fields(**fields: str) -> bytes:
    """Return the first row with other values, under names and types."""
    names = next(csv.reader([NAMES]))
    values = next(csv.reader([ROWS[0]]))
    for name, value in fields.items():
        values[names.index(name)] = value
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, values])
    return text.getvalue().encode()


def one(**fields: str) -> dict[str, Any]:
    rows, rejects = decode("cucm-cdr", with_fields(**fields))
    assert not rejects
    return rows[0]


def test_a_file_gives_its_calls() -> None:
    rows, rejects = decode("cucm-cdr", CDR)
    assert not rejects
    assert [row["record_key"] for row in rows] == [f"{KEY}{number}" for number in range(1, 6)]
    assert {row["switch"] for row in rows} == {"nord-cluster"}
    first, busy, forwarded, given_up, unfinished = rows
    assert (first["calling_number"], first["called_number"]) == ("46701740605", "46701740611")
    assert "dialled_number" not in first and "forwarded_number" not in first
    assert first["start_time"] == BEGAN
    assert first["answer_time"] == BEGAN + timedelta(seconds=7)
    assert first["end_time"] == BEGAN + timedelta(seconds=67)
    assert (first["billable_duration_ms"], first["end_inferred"]) == (60_000, False)
    assert (first["source_ip"], first["destination_ip"]) == ("10.20.0.17", "10.20.0.200")
    assert (first["mac"], first["account"]) == ("00:50:56:8A:1B:2C", "cust-0042")
    assert "trunk_in" not in first and first["trunk_out"] == "trunk-nord"
    assert (first["disposition"], first["cause"]) == ("answered", "16")
    assert (busy["disposition"], busy["cause"], busy["trunk_in"]) == ("busy", "17", "gw-1")
    assert "answer_time" not in busy
    assert busy["mac"] == "00:50:56:8A:1B:2D", "the telephone is on the called side"
    assert (forwarded["dialled_number"], forwarded["forwarded_number"], forwarded["called_number"]) == (
        "2001", "2002", "2003",
    )  # fmt: skip
    assert (forwarded["source_ip"], forwarded["destination_ip"]) == ("2001:db8::17", "10.20.0.21")
    assert "trunk_out" not in forwarded, "the name of a soft telephone is its user's"
    assert given_up["disposition"] == "cancelled"
    assert (unfinished["end_time"], unfinished["end_inferred"]) == (BEGAN + timedelta(seconds=432), True)
    assert (unfinished["dialled_number"], unfinished["forwarded_number"]) == ("2009", "2010")
    assert unfinished["cause"] == "393216"


def test_what_the_store_sees_has_durations_and_both_kinds_of_address() -> None:
    records, rejects = taken("cucm-cdr", CDR)
    assert not rejects
    assert [record["duration_ms"] for record in records] == [67_000, 4_000, 75_000, 10_000, 32_000]


def layouts() -> dict[str, list[str]]:
    """Return the same rows under every head that is met."""
    reader = [next(csv.reader([line])) for line in (NAMES, *ROWS)]
    bare = [",".join(row) for row in reader if '"' not in "".join(row)]
    turned = []
    for row in reader:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="").writerow([row[0], *reversed(row[1:]), "new"])
        turned.append(text.getvalue())
    return {
        "names only": [NAMES, *ROWS],
        "types first": [TYPES, NAMES, *ROWS],
        "types only": [TYPES, *ROWS],
        "neither": ROWS,
        "other case": [NAMES.upper(), TYPES, *ROWS],
        "other order": turned,
        "two files joined": [NAMES, TYPES, *ROWS[:2], NAMES, TYPES, *ROWS[2:]],
        "unquoted": bare,
    }


@pytest.mark.parametrize("name", layouts())
def test_every_layout_of_the_head_gives_the_same_calls(name: str) -> None:
    lines = layouts()[name]
    rows, rejects = decode("cucm-cdr", ("\n".join(lines) + "\n").encode())
    expected, _ = decode("cucm-cdr", CDR)
    if name == "unquoted":
        expected = [row for row in expected if row["record_key"] != f"{KEY}2"]
    assert not rejects
    assert [content(row) for row in rows] == [content(row) for row in expected]


@pytest.mark.parametrize("width", [58, 66, 81, 109, 112, 130])
def test_a_file_without_names_may_be_of_an_older_or_newer_release(width: int) -> None:
    values = next(csv.reader([ROWS[0]]))
    row = ",".join((values + ["0"] * 20)[:width]).encode() + b"\n"
    rows, rejects = decode("cucm-cdr", row)
    assert not rejects and rows[0]["called_number"] == "46701740611"


@examples(70)
@given(st.ip_addresses(v=4))
def test_every_packed_address_is_read(address: IPv4Address) -> None:
    number = struct.unpack("<i", address.packed)[0]
    row = one(origIpAddr=str(number))
    assert row.get("source_ip") == (None if number == 0 else str(address))


def test_the_documented_address_is_read() -> None:
    assert one(origIpAddr="239138826")["source_ip"] == "10.248.64.14"


@pytest.mark.parametrize(
    "device", ["CSFALVA", "BOTALVA", "TCTALVA", "TABALVA", "SEP0050568A1B2", "SEP-ALVA", "sepalva"]
)
def test_names_of_user_devices_never_become_trunks(device: str) -> None:
    row = one(origDeviceName=device, destDeviceName=device)
    assert "trunk_in" not in row and "trunk_out" not in row and "mac" not in row


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pkid": ""}, RejectReason.MISSING_FIELD),
        ({"pkid": "17"}, RejectReason.BAD_FIELD),
        ({"cdrRecordType": "2"}, RejectReason.UNSUPPORTED),
        ({"cdrRecordType": "x"}, RejectReason.MALFORMED),
        ({"dateTimeOrigination": "0"}, RejectReason.MISSING_FIELD),
        ({"dateTimeOrigination": "yesterday"}, RejectReason.BAD_TIME),
        ({"dateTimeConnect": "-1"}, RejectReason.BAD_TIME),
        ({"dateTimeDisconnect": "1795165199"}, RejectReason.BAD_TIME),
        ({"duration": "-1"}, RejectReason.BAD_FIELD),
        ({"origIpAddr": "10.0.0.1"}, RejectReason.BAD_FIELD),
        ({"origIpAddr": "4294967296"}, RejectReason.BAD_FIELD),
        ({"origIpv4v6Addr": "10.0.0.256"}, RejectReason.BAD_FIELD),
        ({"origCause_value": "busy"}, RejectReason.BAD_FIELD),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_what_is_read_of_it(fields: dict[str, str], reason: RejectReason) -> None:
    data = with_fields(**fields, comment="what was said", authCodeDescription="his secret")
    records, rejects = taken("cucm-cdr", data)
    assert not records
    assert [(reject.position, reject.reason) for reject in rejects] == [(1, reason)]
    raw = rejects[0].raw
    assert raw is not None and b"said" not in raw and b"secret" not in raw
    if "pkid" not in fields:
        assert KEY.encode() in raw


def test_rows_that_cannot_be_split_are_refused_alone() -> None:
    good = ROWS[0].encode()
    data = b"\n".join(
        [
            NAMES.encode(),
            good,
            good + b",1",
            good.replace(b"trunk", b'tr"unk'),
            good.replace(b"trunk", b"tr\xe5k"),
            good.replace(b"trunk", b"tr\x00k"),
            good,
            b"",
        ]
    )
    rows, rejects = decode("cucm-cdr", data)
    assert [row["position"] for row in rows] == [1, 6]
    assert [reject.reason for reject in rejects] == [
        RejectReason.COLUMN_COUNT, RejectReason.MALFORMED, RejectReason.ENCODING, RejectReason.ENCODING,
    ]  # fmt: skip
    assert all(reject.raw is None for reject in rejects)
    assert [data[reject.offset or 0 :][:5] for reject in rejects] == [b"1,2,1"] * 4


def test_a_file_cut_anywhere_accounts_for_every_row() -> None:
    for place in range(len(CDR) - 700, len(CDR), 7):
        rows, rejects = decode("cucm-cdr", CDR[:place])
        assert len(rows) + len(rejects) == len(CDR[:place].rstrip(b"\n").splitlines()) - 2


def test_a_last_row_cut_within_its_line_end_is_as_one_without() -> None:
    head = b"cdrRecordType,pkid,dateTimeOrigination,globalCallId_ClusterID\n"
    row = b"1,0b7e2c1a-9f60-4d15-8e0a-000000000001,1793491200,nord"
    for end in (b"", b"\r", b"\r\n"):
        rows, rejects = decode("cucm-cdr", head + row + end)
        assert rejects == [] and rows[0]["switch"] == "nord"


def test_quality_reports_are_records_that_are_not_charged() -> None:
    rows, rejects = decode("cucm-cmr", CMR)
    assert not rejects
    first, second = rows
    assert first["disposition"] == second["disposition"] == "delivery-report"
    assert first["record_key"] == "1c7e2c1a-9f60-4d15-8e0a-52f4c2d9b001"
    assert (first["start_time"], first["end_time"]) == (BEGAN + timedelta(seconds=7), BEGAN + timedelta(seconds=67))
    assert (first["volume_up_bytes"], first["volume_down_bytes"]) == (480_000, 478_400)
    assert (first["calling_number"], first["mac"]) == ("46701740605", "00:50:56:8A:1B:2C")
    assert "mac" not in second
    calls, _ = decode("cucm-cdr", CDR)
    assert first["call_link"] == calls[0]["call_link"]


def test_a_file_of_the_other_kind_is_refused_row_by_row() -> None:
    rows, rejects = decode("cucm-cmr", CDR)
    assert not rows and {reject.reason for reject in rejects} == {RejectReason.UNSUPPORTED} and len(rejects) == 5
    rows, rejects = decode("cucm-cdr", CMR)
    assert not rows and len(rejects) == 2


def test_utf_16_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError):
        list(decoder("cucm-cdr").decode(io.BytesIO(CDR.decode().encode("utf-16")), SourceConfig("s")))


def test_small_reads_and_long_files_give_the_same() -> None:
    many = NAMES + "\n" + "\n".join(ROWS * 4000) + "\n"
    rows, rejects = decode("cucm-cdr", many.encode())
    assert (len(rows), len(rejects)) == (20_000, 0)
    assert decode("cucm-cdr", DripStream(CDR)) == decode("cucm-cdr", CDR)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.sampled_from([NAMES, TYPES, *ROWS]), st.text(max_size=60)), max_size=6), st.data())
def test_anything_at_all_is_accounted_for(lines: list[str], data: st.DataObject) -> None:
    text = bytearray("\n".join(lines).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        if text:
            text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    for name in ("cucm-cdr", "cucm-cmr"):
        try:
            decode(name, bytes(text))
        except InputError:
            assert text[:2] in (b"\xff\xfe", b"\xfe\xff")
