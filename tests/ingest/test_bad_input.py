"""Bad input of every kind, for every format: a clear error or rejects with positions; nothing lost, no traceback."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders import FORMATS, decoder
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import Reject, RejectReason
from store import native

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
NOW_US = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z
BINARY = ("arrow", "parquet")
BER = ("3gpp-32297", "3gpp-ber", "tap3")  # test_decode_3gpp, test_3gpp_framing, test_decode_tap3
PACKETS = ("ipfix",)  # test_decode_ipfix
TEXTS = tuple(name for name in FORMATS if name not in (*BINARY, *BER, *PACKETS))
SECRET = "46701740605"

HEADERS = {
    "csv": b"record_key,service_type,calling_number,called_number,start_time,duration_s\n",
    "cucm-cdr": b"cdrRecordType,pkid,dateTimeOrigination,dateTimeConnect,dateTimeDisconnect,callingPartyNumber,"
    b"finalCalledPartyNumber,duration\n",
    "cucm-cmr": b"cdrRecordType,pkid,dateTimeStamp,directoryNum,duration\n",
}
# One good record of every format, as its producer writes it.
GOOD = {
    "mapping": b"17,46701740605,46701740611,2026-11-20T09:00:00Z,60\n",
    "csv": b"17,voice,46701740605,46701740611,2026-11-20T09:00:00Z,60\n",
    "ndjson": b'{"record_key":"17","service_type":"voice","calling_number":"46701740605",'
    b'"start_time":"2026-11-20T09:00:00Z","duration_s":60}\n',
    "asterisk-csv": (FIXTURES / "asterisk" / "master_21.csv").read_bytes().partition(b"\n")[0] + b"\n",
    "asterisk-custom": b"46701740605,46701740611,2026-11-20 09:00:00,2026-11-20 09:01:00,60,ANSWERED,1795165200.1\n",
    "asterisk-cel": (FIXTURES / "asterisk" / "cel.csv").read_bytes().partition(b"\n")[0] + b"\n",
    "freeswitch-json": (FIXTURES / "freeswitch" / "legs.ndjson").read_bytes().partition(b"\n")[0] + b"\n",
    "freeswitch-xml": b'<cdr core-uuid="6b2c" switchname="fs-1"><variables><uuid>0f6a1b2c-0001-4d00</uuid>'
    b"<start_uepoch>1795165200123456</start_uepoch><end_uepoch>1795165265000200</end_uepoch></variables><callflow>"
    b"<caller_profile><caller_id_number>46701740605</caller_id_number></caller_profile></callflow></cdr>\n",
    "freeswitch-csv": (FIXTURES / "freeswitch" / "master_example.csv").read_bytes().partition(b"\n")[0] + b"\n",
    "kamailio-acc": b"INVITE|22653S1|22651T1|1-22653@127.0.0.1|487|Request Terminated|1795313226|1795313226|821029|"
    b"46701740605|127.0.0.1|127.0.0.1|46701740611|46701740611|127.0.0.1\n",
    "kamailio-json": b'{"time": 1795313226, "method": "INVITE", "from_tag": "22653S1", "to_tag": "22651T1", '
    b'"callid": "1-22653@127.0.0.1", "sip_code": "487", "sip_reason": "Request Terminated", '
    b'"src_user": "46701740605", "src_ip": "127.0.0.1", "dst_user": "46701740611"}\n',
    "opensips-acc": b"INVITE|a1|b1|c1@192.0.2.40|200|OK|1795165207|61|60250|7|1795165200\n",
    "radius-detail": b'Sun Nov 22 02:12:31 2026\n\tUser-Name = "219010310673396"\n\tNAS-IP-Address = 192.0.2.40\n'
    b'\tCalling-Station-Id = "46701740605"\n\tAcct-Session-Id = "ECCF7D5600000000"\n\tAcct-Status-Type = Stop\n'
    b'\tAcct-Session-Time = 60\n\tEvent-Timestamp = "Nov 22 2026 00:12:29 UTC"\n\tTimestamp = 1795313551\n\n',
    "kannel": b"2026-11-22 02:23:05 Receive SMS [SMSC:FAKE1] [SVC:] [ACT:] [BINF:] [FID:] [META:] [from:+46701740605] "
    b"[to:4321] [flags:-1:0:-1:-1:-1] [msg:11:hello world] [udh:0:]\n",
    "smpp": b"2026-11-20 09:00:07 deliver_sm source_addr=46701740611 destination_addr=46701740605 short_message=id:A1 "
    b"sub:001 dlvrd:001 submit date:2611200900 done date:2611200901 stat:DELIVRD err:000 text:hello world\n",
    "cucm-cdr": b"1,0b7e2c1a-9f60-4d15-8e0a-52f4c2d9a001,1795165200,1795165207,1795165267,46701740605,46701740611,60\n",
    "cucm-cmr": b"2,1c7e2c1a-9f60-4d15-8e0a-52f4c2d9b001,1795165267,46701740605,60\n",
    "acme-csv": b'2,"192.0.2.60",5060,"SDA0001-0001","ic1@192.0.2.40","","SIP","","","<sip:+46701740605@192.0.2.40>",'
    b'"<sip:+46701740611@192.0.2.61>",1,60,"09:00:00.123 GMT NOV 20 2026","09:00:07 GMT NOV 20 2026",'
    b'"09:01:07 GMT NOV 20 2026",16\n',
    "broadworks-xml": b"<cdrData><headerModule><recordId><eventCounter>0000004181</eventCounter>"
    b"<systemId>as1</systemId><date>20261120090000.123</date></recordId><type>Normal</type></headerModule><basicModule>"
    b"<callingNumber>46701740605</callingNumber><startTime>20261120090000.123</startTime>"
    b"<releaseTime>20261120090107.750</releaseTime></basicModule></cdrData>\n",
    "conntrack": b"[1795314234.683987]\t    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=100.64.0.2 dst=203.0.113.10 "
    b"sport=42285 dport=80 [UNREPLIED] src=203.0.113.10 dst=203.0.113.1 sport=80 dport=2562 id=3765381819\n",
    "cgnat-syslog": b"2026-11-20T09:00:00Z cgn1 RT_NAT: RT_SRC_NAT_PBA_ALLOC: Subscriber 100.64.0.3 used/maximum [1/4] "
    b"blocks, allocates port block [1024-2047] from 203.0.113.7 in source pool a lsys_id: 0\n",
}
MAPPING = """
[layout]
kind = "delimited"
columns = ["id", "a", "b", "begun", "seconds"]
[key]
from = "id"
[fields.service_type]
value = "voice"
[fields.calling_number]
from = "a"
[fields.called_number]
from = "b"
[fields.start_time]
from = "begun"
[fields.duration_s]
from = "seconds"
"""
OPTIONS = {
    "asterisk-custom": {"template": "src,dst,start,end,duration,disposition,uniqueid"},
    "mapping": {"mapping": MAPPING},
}
# Records of these are no lines: a block ends at a blank line.
BLOCKS = ("radius-detail",)


class Pieces(io.RawIOBase):
    """A stream made of pieces as it is read; a long line is never whole in memory."""

    def __init__(self, *pieces: bytes | int) -> None:
        self._pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while self._pieces:
            piece = self._pieces[0]
            limit = size if size > 0 else 1 << 16
            if isinstance(piece, int):
                taken = min(piece, limit, 1 << 16)
                self._pieces[0] = piece - taken
                data = b"A" * taken
            else:
                data, self._pieces[0] = piece[:limit], piece[limit:]
            if not self._pieces[0]:
                self._pieces.pop(0)
            if data:
                return data
        return b""


def take(name: str, data: bytes | BinaryIO, **more: Any) -> tuple[int, list[Reject]] | None:
    """Decode and normalise; return the number of rows and the rejects, or None when the delivery is refused."""
    source = SourceConfig("s", options=OPTIONS.get(name, {}), **more)
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    rows, rejects, positions = 0, list[Reject](), list[int]()
    try:
        for part in decoder(name).decode(stream, source):
            told = [*part.table["position"].to_pylist(), *(reject.position for reject in part.rejects)]
            normal = normalise(part, source, NOW_US)
            assert normal.table.num_rows + len(normal.rejects) == len(told)
            positions += told
            rows += normal.table.num_rows
            rejects += normal.rejects
    except InputError as error:
        assert SECRET not in error.message
        return None
    assert len(set(positions)) == len(positions)
    assert all(position >= 1 for position in positions)
    return rows, rejects


def counted(name: str, *records: bytes) -> int | None:
    """Return how many records a delivery of these holds, taken or rejected; None when it is refused."""
    end = b"\n\n" if name in BLOCKS else b"\n"
    data = HEADERS.get(name, b"") + b"".join(record.rstrip(b"\n") + end for record in records)
    outcome = take(name, data)
    return None if outcome is None else outcome[0] + len(outcome[1])


@pytest.mark.parametrize("name", TEXTS)
def test_the_good_record_of_each_format_is_taken(name: str) -> None:
    assert name in GOOD, "a new format needs a good record here"
    assert take(name, HEADERS.get(name, b"") + GOOD[name]) == (1, [])


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n \r\n\t\n\n"], ids=["empty", "line-end", "blank"])
def test_nothing_holds_no_record(name: str, data: bytes) -> None:
    assert take(name, data) in (None, (0, []))


BAD_RECORDS = [
    b"what is this?",
    b"a,b",
    b",".join([b"x"] * 40),
    b"|".join([b"x"] * 40),
    b'{"a": 1}',
    b'{"a": [[[',
    b"[1, 2]",
    b'"',
    b"\x00\x01\x02\x03",
    b"\xff\xfe\xfd",
    "åäö".encode("latin-1"),
    b"%" * 50,
    b"=",
]


@pytest.mark.parametrize("name", TEXTS)
def test_a_bad_record_between_good_ones_is_one_reject(name: str) -> None:
    for bad in BAD_RECORDS:
        assert counted(name, GOOD[name], bad, GOOD[name]) == 3, bad


@pytest.mark.parametrize("name", TEXTS)
def test_a_byte_in_the_middle_spoils_at_most_its_own_record(name: str) -> None:
    good = GOOD[name].rstrip(b"\n")
    pieces = [b"\x00", b"\xe5", b"\xff\xfe", b"\xc3", b"\r", b'"', b"\\", b"|", b","]
    for piece, place in itertools.product(pieces, range(0, len(good), max(1, len(good) // 8))):
        outcome = counted(name, good, good[:place] + piece + good[place:], good)
        assert outcome is not None and outcome >= 2, (piece, place)
        if name not in BLOCKS and piece != b'"':
            assert outcome == 3, (piece, place)


@pytest.mark.parametrize("name", TEXTS)
def test_a_record_cut_anywhere_costs_no_other(name: str) -> None:
    good = GOOD[name].rstrip(b"\n")
    for place in range(1, len(good), max(1, len(good) // 30)):
        outcome = counted(name, good, good[:place], good)
        assert outcome is not None and outcome >= (2 if name in BLOCKS else 3)


@pytest.mark.parametrize("name", TEXTS)
def test_absurd_dates_are_rejects(name: str) -> None:
    good = GOOD[name]
    for old, new in [
        (b"2026-11-2", b"0000-11-2"), (b"2026-11-2", b"9999-11-2"), (b"2026-11-2", b"2026-11-7"), (b"2026-", b"1026-"),
        (b"2026-11", b"2026-13"), (b"2026-11-20", b"2026-11-32"), (b"2026", b"0000"), (b"2026", b"9999"),
        (b"1795", b"9999999999999995"), (b"1795", b"-1795"), (b"1795", b"0000"), (b"1795", b"1" * 400),
        (b"Nov 22", b"Nov 32"), (b"Nov", b"Foo"), (b" 02:", b" 25:"), (b":00:12", b":61:12"),
    ]:  # fmt: skip
        if old in good:
            assert counted(name, good, good.replace(old, new), good) == 3


@pytest.mark.parametrize("name", TEXTS)
def test_line_ends_may_be_mixed_and_a_mark_may_lead(name: str) -> None:
    good, header = GOOD[name], HEADERS.get(name, b"")
    crlf = good.replace(b"\n", b"\r\n")
    assert take(name, b"\xef\xbb\xbf" + header + good + crlf + good) == (3, [])
    outcome = take(name, header.replace(b"\n", b"\r\n") + crlf + b"\r\n\n" + good.rstrip(b"\n"))
    assert outcome is not None
    assert outcome[0] >= 1 and outcome[0] + len(outcome[1]) == 2  # a last line without its end may be unfinished


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_of_the_whole_are_refused_or_rejected(name: str, encoding: str) -> None:
    text = (HEADERS.get(name, b"") + GOOD[name]).decode()
    outcome = take(name, text.encode(encoding))
    assert outcome is None or (outcome[0] == 0 and outcome[1])


@pytest.fixture(scope="module")
def kernels() -> None:
    """What a large window loads, compiled where nobody did: a compiler takes more memory than any line."""
    for path in sorted((ROOT / "ingest").rglob("*kernels.py")):
        native.load(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("name", TEXTS)
def test_a_long_line_is_read_past_and_never_held(name: str, kernels: None) -> None:
    good, header = GOOD[name], HEADERS.get(name, b"")
    take(name, header + good)  # imports and tables are made before memory is counted
    tracemalloc.start()
    stream = cast(BinaryIO, Pieces(header, good, 64 << 20, b"\n\n" if name in BLOCKS else b"\n", good))
    outcome = take(name, stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcome is not None
    assert (outcome[0], [reject.reason for reject in outcome[1]]) == (2, [RejectReason.TOO_LONG])
    assert outcome[1][0].length_bytes is not None and outcome[1][0].length_bytes >= 64 << 20
    assert peak < 48 << 20


@pytest.mark.parametrize("name", TEXTS)
def test_a_stream_of_single_bytes_reads_the_same(name: str) -> None:
    data = HEADERS.get(name, b"") + GOOD[name] * 2

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(1)

    assert take(name, Slow(data)) == take(name, data) == (2, [])


@pytest.mark.parametrize("name", TEXTS)
def test_local_times_without_a_zone_are_refused_and_others_need_none(name: str) -> None:
    data = HEADERS.get(name, b"") + GOOD[name]
    if decoder(name).zoned:
        assert take(name, data, zone=None) == (1, [])
    else:
        with pytest.raises(ConfigurationError):
            take(name, data, zone=None)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_at_random_are_refused_or_rejected(name: str, data: bytes) -> None:
    outcome = take(name, data)
    assert outcome is None or outcome[0] == 0


def _arrow_files() -> dict[str, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"record_key": ["17"], "service_type": ["voice"], "calling_number": [SECRET], "duration_s": [60]})
    table = table.append_column("start_time", pa.array([NOW_US - 10**9], pa.timestamp("us", "UTC")))
    files = {}
    writers: dict[str, Callable[[io.BytesIO], Any]] = {
        "arrow": lambda out: pa.ipc.new_file(out, table.schema),
        "parquet": lambda out: pq.ParquetWriter(out, table.schema),
    }
    for name, writer in writers.items():
        out = io.BytesIO()
        with writer(out) as opened:
            opened.write_table(table)
        files[name] = out.getvalue()
    return files


@pytest.mark.parametrize("name", BINARY)
def test_binary_files_are_taken_whole_or_refused(name: str) -> None:
    good = _arrow_files()[name]
    assert take(name, good) == (1, [])
    assert take(name, b"") in (None, (0, []))
    for place in range(1, len(good), 37):
        outcome = take(name, good[:place])
        assert outcome is None or outcome[0] + len(outcome[1]) <= 1
        flipped = bytearray(good)
        flipped[place] ^= 0xFF
        outcome = take(name, bytes(flipped))
        assert outcome is None or outcome[0] + len(outcome[1]) <= 1
