"""Every format that writes local times gives the right instant across both changes of the clock."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.decoders import FORMATS, decoder
from ingest.source_config import SourceConfig
from tests.ingest import ber_encoder as ber
from tests.ingest.reading import taken
from tests.ingest.test_decode_tap3 import batch, moc
from tests.ingest.threegpp_made import mo

RECEIVED_US = 1_800_000_000_000_000  # 2027-01-15
CASES = [
    ("UTC", "2026-10-25 02:30:00", "2026-10-25T02:30:00+00:00", False),
    ("UTC", "2026-03-29 02:30:00", "2026-03-29T02:30:00+00:00", False),
    ("Europe/Stockholm", "2026-03-29 01:59:59", "2026-03-29T00:59:59+00:00", False),
    ("Europe/Stockholm", "2026-03-29 02:30:00", "2026-03-29T01:30:00+00:00", False),  # an hour that never was
    ("Europe/Stockholm", "2026-03-29 03:00:00", "2026-03-29T01:00:00+00:00", False),
    ("Europe/Stockholm", "2026-10-25 01:59:59", "2026-10-24T23:59:59+00:00", False),
    ("Europe/Stockholm", "2026-10-25 02:00:00", "2026-10-25T00:00:00+00:00", True),
    ("Europe/Stockholm", "2026-10-25 02:59:59", "2026-10-25T00:59:59+00:00", True),
    ("Europe/Stockholm", "2026-10-25 03:00:00", "2026-10-25T02:00:00+00:00", False),
    ("America/New_York", "2026-03-08 01:59:59", "2026-03-08T06:59:59+00:00", False),
    ("America/New_York", "2026-03-08 02:30:00", "2026-03-08T07:30:00+00:00", False),
    ("America/New_York", "2026-03-08 03:00:00", "2026-03-08T07:00:00+00:00", False),
    ("America/New_York", "2026-11-01 00:59:59", "2026-11-01T04:59:59+00:00", False),
    ("America/New_York", "2026-11-01 01:30:00", "2026-11-01T05:30:00+00:00", True),
    ("America/New_York", "2026-11-01 02:00:00", "2026-11-01T07:00:00+00:00", False),
]
MAPPING = """
[layout]
kind = "delimited"
columns = ["id", "a", "begun", "ended"]
[key]
from = "id"
[fields.service_type]
value = "voice"
[fields.calling_number]
from = "a"
[fields.start_time]
from = "begun"
format = "%d.%m.%Y %H:%M:%S"
[fields.end_time]
from = "ended"
format = "%d.%m.%Y %H:%M:%S"
"""
OPTIONS = {
    "asterisk-custom": {"template": "src,dst,start,end,duration,disposition,uniqueid"},
    "mapping": {"mapping": MAPPING},
}


def _asterisk(at: datetime) -> str:
    return (
        f'"a","46701740605","46701740611","in","x","SIP/a-1","SIP/b-2","Dial","b","{at}","{at}","{at}",0,0,"ANSWERED",'
        '"DOCUMENTATION","1795158902.52","u"'
    )


def _smpp(at: datetime) -> str:
    return (
        f"deliver_sm source_addr=46701740611 destination_addr=46701740605 short_message=id:A1 sub:001 dlvrd:001 "
        f"submit date:{at:%y%m%d%H%M%S} done date:{at:%y%m%d%H%M%S} stat:DELIVRD err:000 text:x"
    )


WRITTEN: dict[str, Callable[[datetime], str]] = {
    "asterisk-csv": _asterisk,
    "asterisk-custom": lambda at: f"46701740605,46701740611,{at},{at},0,ANSWERED,1795165200.1",
    "freeswitch-csv": lambda at: (
        f'"A","46701740605","46701740611","public","{at}","{at}","{at}","0","0","NORMAL_CLEARING",'
        '"0f6a1b2c-0001-4d00-9c00-46aa00000001","","c","PCMA","PCMA"'
    ),
    "kannel": lambda at: (
        f"{at} Sent SMS [SMSC:n] [SVC:] [ACT:] [BINF:] [FID:1] [META:] [from:46701740605] [to:+46701740611] "
        "[flags:-1:0:-1:-1:-1] [msg:1:x] [udh:0:]"
    ),
    "smpp": _smpp,
    "cgnat-syslog": lambda at: (
        f"{at:%b %d %H:%M:%S} c {{n}}[jservices-nat]: "
        "JSERVICES_NAT_PORT_BLOCK_ALLOC: 100.64.0.8 -> 203.0.113.9:1024-1151"
    ),
    "mapping": lambda at: f"17,46701740605,{at:%d.%m.%Y %H:%M:%S},{at:%d.%m.%Y %H:%M:%S}",
    "asterisk-cel": lambda at: (
        f'"CHAN_START","{at}","A","46701740605","","","","46701740611","in","SIP/a-1","","","3","","1795165200.10",'
        '"1795165200.10","","","",""'
    ),
    "csv": lambda at: (
        f"record_key,service_type,calling_number,start_time,end_time\n17,voice,46701740605,{at},{at:%Y-%m-%dT%H:%M:%S}"
    ),
    "ndjson": lambda at: (
        f'{{"record_key":"17","service_type":"voice","calling_number":"46701740605","start_time":"{at}",'
        f'"end_time":"{at}"}}'
    ),
}


def test_no_format_of_local_times_is_left_out() -> None:
    assert {name for name in FORMATS if not decoder(name).zoned} < set(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(("zone", "written", "meant", "ambiguous"), CASES)
def test_local_times_across_both_changes(name: str, zone: str, written: str, meant: str, ambiguous: bool) -> None:
    source = SourceConfig("s", zone=zone, options=OPTIONS.get(name, {})).receiving(RECEIVED_US)
    rows, rejects = taken(name, WRITTEN[name](datetime.fromisoformat(written)).encode() + b"\n", source)
    assert rejects == []
    assert rows[0]["start_time"] == datetime.fromisoformat(meant)
    assert rows[0].get("time_ambiguous", False) is ambiguous


@pytest.mark.parametrize("name", ["arrow", "parquet"])
@pytest.mark.parametrize(("zone", "written", "meant", "ambiguous"), CASES)
def test_timestamps_without_a_zone_across_both_changes(
    name: str, zone: str, written: str, meant: str, ambiguous: bool
) -> None:
    at = pa.array([datetime.fromisoformat(written)], pa.timestamp("us"))
    table = pa.table({"record_key": ["17"], "service_type": ["voice"], "start_time": at, "end_time": at})
    sink = io.BytesIO()
    if name == "parquet":
        pq.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    rows, rejects = taken(name, sink.getvalue(), SourceConfig("s", zone=zone))
    assert rejects == []
    assert rows[0]["start_time"] == rows[0]["end_time"] == datetime.fromisoformat(meant)
    assert rows[0].get("time_ambiguous", False) is ambiguous


OFFSETS: dict[str, Callable[[datetime], bytes]] = {
    "3gpp-ber": lambda at: mo(f22=ber.time(at), f23=None, f24=ber.time(at), f25=ber.integer(0)),
    "tap3": lambda at: batch([moc(at, 0)], offsets={0: f"{at:%z}"}),
    "csv": lambda at: f"record_key,service_type,start_time\n17,voice,{at.isoformat()}\n".encode(),
    "ndjson": lambda at: f'{{"record_key":"17","service_type":"voice","start_time":"{at.isoformat()}"}}\n'.encode(),
    "cgnat-syslog": lambda at: (
        f"<134>1 {at.isoformat()} c - - - - RT_NAT: RT_SRC_NAT_PBA_ALLOC: Subscriber 100.64.0.3 used/maximum [1/4] "
        "blocks, allocates port block [1024-2047] from 203.0.113.7 in source pool a lsys_id: 0\n"
    ).encode(),
}


@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    ("zone", "written"),
    [
        ("Europe/Stockholm", "2026-10-25 02:30:00"),
        ("America/New_York", "2026-11-01 01:30:00"),
        ("UTC", "2026-10-25 02:30:00"),
    ],
)
def test_an_offset_beside_the_time_settles_the_hour_that_occurs_twice(
    name: str, fold: int, zone: str, written: str
) -> None:
    at = datetime.fromisoformat(written).replace(tzinfo=ZoneInfo(zone), fold=fold)
    rows, rejects = taken(name, OFFSETS[name](at), SourceConfig("s", zone="Europe/Stockholm").receiving(RECEIVED_US))
    assert rejects == [] and rows[0]["start_time"].timestamp() == at.timestamp()
    assert not rows[0].get("time_ambiguous", False)


def _radius(at: datetime, zone: str) -> str:
    return (
        f'{at:%a %b %d %H:%M:%S %Y}\n\tNAS-IP-Address = 192.0.2.40\n\tAcct-Session-Id = "E1"\n'
        f'\tAcct-Status-Type = Stop\n\tAcct-Session-Time = 0\n\tCalling-Station-Id = "46701740605"\n'
        f'\tEvent-Timestamp = "{at:%b %d %Y %H:%M:%S} {zone}"\n'
    )


def _acme(at: datetime, zone: str) -> str:
    stamp = f"{at:%H:%M:%S}.000 {zone} {at:%b %d %Y}".upper()
    return (
        '2,"192.0.2.60",5060,"SDA0001-0001","ic1@192.0.2.40","","SIP","","","<sip:+46701740605@192.0.2.40>",'
        f'"<sip:+46701740611@192.0.2.61>",1,0,"{stamp}","{stamp}","{stamp}",16'
    )


@pytest.mark.parametrize("write", [_radius, _acme], ids=["radius-detail", "acme-csv"])
@pytest.mark.parametrize(
    ("zone", "written", "word", "meant"),
    [
        ("Europe/Stockholm", "2026-10-25 02:30:00", "CEST", "2026-10-25T00:30:00+00:00"),
        ("Europe/Stockholm", "2026-10-25 02:30:00", "CET", "2026-10-25T01:30:00+00:00"),
        ("America/New_York", "2026-11-01 01:30:00", "EDT", "2026-11-01T05:30:00+00:00"),
        ("America/New_York", "2026-11-01 01:30:00", "EST", "2026-11-01T06:30:00+00:00"),
        ("UTC", "2026-10-25 02:30:00", "UTC", "2026-10-25T02:30:00+00:00"),
    ],
)
def test_a_word_beside_the_time_settles_the_hour_that_occurs_twice(
    write: Callable[[datetime, str], str], zone: str, written: str, word: str, meant: str
) -> None:
    name = "acme-csv" if write is _acme else "radius-detail"
    data = write(datetime.fromisoformat(written), word).encode() + b"\n"
    (row, *_), rejects = taken(name, data, SourceConfig("s", zone=zone))
    assert rejects == [] and (row["end_time"] or row["start_time"]) == datetime.fromisoformat(meant)
    assert not row.get("time_ambiguous", False)
