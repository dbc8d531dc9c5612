"""Logs give the same by the compiled walk over shapes of lines and line by line."""

from __future__ import annotations

import io
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders import decoder, shapes, slices
from ingest.decoders.cgnat import walk as cgnat
from ingest.decoders.slices import compute
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.rejects import Reject
from tests.examples import examples
from tests.ingest.decoding import fixture

NOW_US = 1_795_348_800_000_000
NEVER = 1 << 60
SOURCE = SourceConfig("log", zone="Europe/Stockholm", country="SE").receiving(NOW_US)
ZONED = b"2026-11-20T09:00:00.25+01:00 cgn1 "
LOCAL = b"<14>Oct 25 02:30:00 cgn1 "
CGNAT = [
    *(fixture("cgnat", "juniper.log") + fixture("cgnat", "a10.log")).splitlines(),
    ZONED + b"RT_NAT: RT_SRC_NAT_PBA_ALLOC: Subscriber 100.64.0.6 used/maximum [1/4] blocks, allocates port block "
    b"[2048-3071] from 203.0.113.7 in source pool p lsys_id: 0 epoch 0x6b000c88",
    ZONED + b'RT_FLOW_SESSION_CLOSE [junos@1 source-address="100.64.0.4" source-port="1" nat-source-address="1.2.3.4" '
    b'nat-source-port="2" destination-address="5.6.7.8" destination-port="3" elapsed-time="7" reason=""]',
    ZONED + b'RT_FLOW_SESSION_CREATE_LS [junos@2636 source-address="100.64.0.4" source-port="1" nat-source-port="1" '
    b'nat-source-address="100.64.0.4" destination-address="1.1.1.1" destination-port="3" session-id="4" '
    b'session-id-32=""]',
    LOCAL + b"MSVCS_LOG_SESSION_OPEN: application:none, ae1.0 1.2.3.4:5 [6.7.8.9:10] -> 1.1.1.1:12 (TCP)",
    LOCAL + b"ASP_NAT_PORT_BLOCK_RELEASE: 100.64.0.8 -> 203.0.113.9:1024-1151",
    LOCAL + b"PortBatchAllocated: [100.64.1.3 203.0.113.70 1024 1535]",
    ZONED + b"RT_NAT: RT_SRC_NAT_PBA_ALLOC: Subscriber 2001:db8::6 used/maximum [1/4] blocks, allocates port block "
    b"[2048-3071] from 203.0.113.7",
    ZONED + b"JSERVICES_NAT_PORT_BLOCK_ALLOC: 2001:DB8:0::8 -> 203.0.113.9:1024-1151",
    ZONED + b'RT_FLOW_SESSION_CREATE [junos@1 source-address="2001:db8::4" source-port="1" '
    b'nat-source-address="2001:db8::4" nat-source-port="1" destination-address="2001:db8::9" destination-port="3"]',
    ZONED + b'RT_FLOW_SESSION_CREATE [junos@1 source-address="2001:db8::4" source-port="1" '
    b'nat-source-address="2001:db8::5" nat-source-port="1" destination-address="2001:db8::9" destination-port="3"]',
    LOCAL + b"NAT:20261120090000 3e2d PortBatchV2Allocated: [2001:db8::3 203.0.113.70 1024 1535]",
    ZONED + b"NAT-TCP-C: 0A400108:FA5<-->cb007149:0fa6 to c6336408:01bb",
    ZONED + b"NAT-UDP-C: 64400107:0fa3<->c6336408:0035, cb007149:0fa4<-->c6336408:0035",
    ZONED + b"NAT-UDP-C: 64400107:0fa3<->c6336408:0035, 64400107:0fa3<-->c6336408:0035",
    ZONED + b"NAT-UDP-D: 12345678:1234<-->87654321:4321",
    ZONED + b"CEF:0|A10|CFW|6.0.0|CGN 100|Nat Port Freed|5|proto=UDP src=2001:db8::5 spt=8 sourceTranslatedAddress="
    b"203.0.113.72 sourceTranslatedPort=3001 dst=198.51.100.8 dpt=0",
    ZONED + b"NAT-UDP-U: 100.64.1.6:4001<-->203.0.113.73:4002",
    ZONED + b"NAT-UDP-Z: 100.64.1.6:4001<-->203.0.113.73:4002",
]  # fmt: skip
CONNTRACK = [
    *fixture("conntrack", "conntrack_events_nat44.log").splitlines()[::20],
    *fixture("conntrack", "conntrack_list.txt").splitlines()[:2],
    b"[1795314234.684628]\t [DESTROY] ipv4     2 tcp      6 src=10.0.0.1 dst=1.1.1.1 sport=1 dport=80 packets=1 "
    b"bytes=60 src=1.1.1.1 dst=2.2.2.2 sport=80 dport=2 packets=1 bytes=40 [ASSURED] mark=0 use=1 delta-time=10 id=77",
    b"[1795314234.684628]\t [UPDATE] tcp      6 120 FIN_WAIT src=10.0.0.1 dst=1.1.1.1 sport=1 dport=80 "
    b"src=1.1.1.1 dst=10.0.0.1 sport=80 dport=1 [start=Fri Nov 20] [stop=] delta-time=10",
    b"[1795314234.684628]    [NEW] icmp     1 30 src=10.0.0.1 dst=1.1.1.1 type=8 code=0 id=5 [UNREPLIED] "
    b"src=1.1.1.1 dst=2.2.2.2 type=0 code=0 id=9",
    b"conntrack v1.4.7 (conntrack-tools): 120 flow events have been shown.",
]  # fmt: skip
KANNEL = [
    *fixture("kannel", "access.log").splitlines()[:40],
    b"2026-10-25 02:30:00 Sent SMS [SMSC:nord] [SVC:] [ACT:a] [BINF:] [FID:7f] [META:] [from:1] [to:+2] "
    b"[flags:-1:0:-1:-1:-1] [msg:5:a]\xffb] [udh:2:0aFF]",
    b"2026-11-20 02:30:00 Sent SMS [SMSC:n] [SVC:] [ACT:] [BINF:] [from:1] [to:2] [flags:-1:0:0] [msg:0:]",
    b"2026-11-20 02:30:00 DLR SMS [SMSC:] [SVC:] [ACT:a] [BINF:] [FID:7f] [from:1] [to:2] [flags:-1:2:0] [msg:2:0041]",
    b"2026-11-20 02:30:00 FAILED Send SMS [SMSC:n] [SVC:] [ACT:] [BINF:] [from:1] [to:2] [flags:-1:1:0] [msg:0:]",
]
SMPP = [
    *fixture("smpp", "gateway.log").splitlines(),
    b'2026-10-25 02:30:00.25 INFO submit_sm message_id=70A source_addr=1 destination_addr=2 short_message="\xff',
    b"2026-11-20 09:00:00 submit_sm_resp smsc_id=n_1 system_id=a message_id=70A",
    b'2026-11-20 09:00:00 deliver_sm smsc=n esm_class=0x00 source_addr=1 short_message="id:7 stat:UNDELIV"',
    b'2026-11-20 09:00:00 deliver_sm esm_class=4 short_message="id:7 sub:1 done date:2610250230 stat:DELIVRD"',
    b'2026-11-20 09:00:00 deliver_sm short_message="id:7 done date:2611200900 stat:DELIVRD  err:000"',
    b'2026-11-20 09:00:00 deliver_sm short_message="id:7 done date:2611200900 stat:DELIVRD" err:000',
    b"2026-11-20 09:00:00 deliver_sm short_message=id:7 submit date:20261131000000 stat:ACCEPTD err:",
]  # fmt: skip
PIECES = (
    b" ", b"  ", b"_", b'"', b"=", b":", b"-", b"0", b"00", b"1", b"65535", b"65536", b"99999", b"256", b".", b"\0",
    b"\xff", b"\xc3\xa5", b"[", b"]", b"RT_NAT: ", b"ASP_SFW", b" epoch 0x6b000c88", b"Z", b"+14:01", b"2026", b"\t",
    b'reason="a"', b' reflexive-ip="1.1.1.1"', b"_USF_LS", b"<-->", b"PortBatch", b"RT_SRC_NAT_PBA_ALLOC", b"2::1",
    b"1234 ", b"\r", b" delta-time=3", b" [ASSURED]", b" 120", b" A_1", b" type=8 code=0 id=1", b" use=1", b" [stop=x]",
    b"[msg:3:", b"\n", b"[from:", b"text:", b"submit_sm ", b"message_id=9 ", b"id:8 ", b" err:1", b"a=",
    b" done date:1", b"::", b"2001:db8::7", b"0a000001:1f90", b" dst=1.1.1.1 dpt=2", b"Pool ",
)  # fmt: skip


def taken(name: str, data: bytes, source: SourceConfig, *, compiled: bool) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Return what is stored and what is refused."""
    least = 0 if compiled else NEVER
    with mock.patch.multiple(slices, KERNEL_BYTES_MIN=least, LOAD_BYTES_MIN=0):
        parts = list(decoder(name).decode(io.BytesIO(data), source))
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for part in parts:
        part.table.validate(full=True)
        found = normalise(part, source, NOW_US)
        rows += [{name: value for name, value in row.items() if value is not None} for row in found.table.to_pylist()]
        rejects += found.rejects
    return rows, sorted(rejects, key=lambda reject: reject.position)


def same(name: str, data: bytes, source: SourceConfig = SOURCE) -> None:
    """Compare the roads."""
    try:
        walked = taken(name, data, source, compiled=True)
    except InputError as refused:
        with pytest.raises(InputError) as told:
            taken(name, data, source, compiled=False)
        assert told.value.message == refused.message
        return
    assert walked == taken(name, data, source, compiled=False)


@st.composite
def spoilt(draw: st.DrawFn, lines: list[bytes]) -> bytes:
    """Return some lines with some changes."""
    data = bytearray()
    for line in draw(st.lists(st.sampled_from(lines), min_size=1, max_size=5)):
        one = bytearray(line)
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(one)))
            size = draw(st.sampled_from([0, 0, 1, 2, 9]))
            one[at : at + size] = draw(st.one_of(st.sampled_from(PIECES), st.just(b""), st.just(line[at : at + 9])))
        data += one + draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b""]))
    return bytes(data)


@pytest.mark.parametrize("source", [SOURCE, SourceConfig("log", zone="UTC", switch="own").receiving(NOW_US)])
def test_whole_logs_are_read_the_same(source: SourceConfig) -> None:
    same("cgnat-syslog", b"\n".join(CGNAT) + b"\n", source)
    same("conntrack", b"\n".join(CONNTRACK) + b"\n", source)
    same("kannel", b"\n".join(KANNEL * 2) + b"\n", source)
    same("smpp", b"\n".join(SMPP) + b"\n", source)


@given(data=spoilt(CGNAT))
@examples(120)
def test_spoilt_lines_of_translations_are_read_the_same(data: bytes) -> None:
    same("cgnat-syslog", data)


@given(data=spoilt(CONNTRACK))
@examples(100)
def test_spoilt_lines_of_conntrack_are_read_the_same(data: bytes) -> None:
    same("conntrack", data)


@given(data=spoilt(KANNEL))
@examples(100)
def test_spoilt_messages_of_kannel_are_read_the_same(data: bytes) -> None:
    same("kannel", data)


@given(data=spoilt(SMPP))
@examples(100)
def test_spoilt_lines_of_a_gateway_are_read_the_same(data: bytes) -> None:
    same("smpp", data)


def test_usual_lines_take_the_compiled_road() -> None:
    read = cgnat.Walk.read
    taken_lines: list[bool] = []

    def counted(walk: cgnat.Walk, *given: Any) -> Any:
        walked = read(walk, *given)
        taken_lines.extend(walked.taken.tolist())
        return walked

    with mock.patch.object(cgnat.Walk, "read", counted):
        for line in CGNAT:
            taken("cgnat-syslog", line + b"\n", SOURCE, compiled=True)
    odd = (b"session c", b"ASP_SFW", b"-Z:", b"PortBatchAllocated")
    assert taken_lines == [not any(word in line for word in odd) for line in CGNAT]


TEXTS = st.lists(st.text("aZ09.: ", max_size=12), min_size=1, max_size=5)


@given(texts=TEXTS, data=st.data())
@examples(70)
def test_keys_are_what_arrow_joins(texts: list[str], data: st.DataObject) -> None:
    held = np.frombuffer("".join(texts).encode() + b".", np.uint8)
    bounds = np.cumsum([0, *map(len, texts)])
    number = st.integers(-1, (1 << 62))
    numbers = np.array([data.draw(number) for _ in texts], np.int64)
    quads = np.array([data.draw(st.integers(-1, (1 << 32) - 1)) for _ in texts], np.int64)
    begins = np.where([data.draw(st.booleans()) for _ in texts], bounds[:-1], -1)
    ends = bounds[1:]
    parts = [(kind, begins, ends) for kind in (shapes.TEXT, shapes.LOWER)]
    found = shapes.joined(held, [*parts, (shapes.NUMBER, numbers, None), (shapes.QUAD, quads, None)])
    found.validate(full=True)
    text = [None if begin < 0 or not one else one for begin, one in zip(begins, texts, strict=True)]
    columns = [
        pa.array(text, pa.string()),
        pa.array([one and one.lower() for one in text], pa.string()),
        pa.array([None if one < 0 else str(one) for one in numbers.tolist()], pa.string()),
        pa.array(
            [None if one < 0 else ".".join(map(str, one.to_bytes(4, "big"))) for one in quads.tolist()], pa.string()
        ),
    ]
    expected = compute.binary_join_element_wise(*columns, " ", null_handling="replace", null_replacement="-")
    assert found.to_pylist() == expected.to_pylist()
