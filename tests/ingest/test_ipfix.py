from __future__ import annotations

import io
import struct
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders.cgnat import ipfix_messages as messages
from ingest.decoders.cgnat.ipfix import Ipfix
from ingest.decoders.cgnat.ipfix_messages import Exporters
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.fields import vrf_of
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest.ipfix_made import (
    BLOCK,
    EXPORT_S,
    NAT44,
    block,
    ipfix,
    nat44,
    netflow,
    one_set,
    packed,
    record,
    template,
)
from tests.ingest.reading import NOW_US, Pipe, taken

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T0 = EXPORT_S * 1000 + 123
TEMPLATES = one_set(2, template(256, NAT44) + template(257, BLOCK))


def moment(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def rows_of(data: bytes, source: SourceConfig | None = None) -> list[dict[str, Any]]:
    rows, rejects = taken("ipfix", data, source)
    assert rejects == []
    source = source or SourceConfig("switch", zone=None)
    parts = [normalise(part, source, NOW_US).table for part in Ipfix().decode(io.BytesIO(data), source)]
    for name in ("event", "session_key"):
        for row, value in zip(rows, [one for part in parts for one in part.column(name).to_pylist()], strict=True):
            row[name] = value
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def test_a_session_and_a_block_tell_who_had_which_public_port():
    data = ipfix(
        TEMPLATES,
        one_set(256, nat44(4, T0) + nat44(5, T0 + 60_000)),
        one_set(257, block(16, T0) + block(17, T0 + 90_000)),
    )
    opened, closed, allotted, freed = rows_of(data)
    assert [row["event"] for row in (opened, allotted, closed, freed)] == ["open", "open", "close", "close"]
    assert (opened["source_ip"], opened["source_port"]) == ("100.64.0.2", 40_000)
    assert (opened["nat_ip"], opened["nat_port_first"], opened["nat_port_last"]) == ("203.0.113.1", 2_000, 2_000)
    assert (opened["destination_ip"], opened["destination_port"]) == ("198.51.100.9", 443)
    assert opened["session_key"] == closed["session_key"] != allotted["session_key"] == freed["session_key"]
    assert opened["start_time"] == moment(T0) and closed["end_time"] == moment(T0 + 60_000)
    assert (allotted["nat_port_first"], allotted["nat_port_last"]) == (1024, 2047)
    assert "destination_ip" not in allotted
    assert len({row["record_key"] for row in (opened, allotted, closed, freed)}) == 4


def test_netflow_9_says_the_same_as_ipfix():
    sets = (one_set(256, nat44(4, T0)), one_set(257, block(16, T0)))
    flow = netflow(one_set(0, template(256, NAT44) + template(257, BLOCK)), *sets)
    assert rows_of(flow) == rows_of(ipfix(TEMPLATES, *sets))
    # Without a size in its header: the next message is found by its reserved number.
    assert len(rows_of(flow + netflow(one_set(256, nat44(5, T0 + 1)), sequence=1) + ipfix(TEMPLATES, *sets))) == 5


@pytest.mark.parametrize("opens,closes", [(1, 2), (4, 5), (6, 7), (8, 9), (10, 11)])
def test_historic_and_current_numbers_open_and_close(opens, closes):
    rows = rows_of(ipfix(TEMPLATES, one_set(256, nat44(opens, T0) + nat44(closes, T0 + 1))))
    assert [row["event"] for row in rows] == ["open", "close"]
    assert len({row["session_key"] for row in rows}) == 1


def test_nat64_has_an_inside_address_of_version_6():
    fields = ((230, 1), (322, 4), (27, 16), (225, 4), (7, 2), (227, 2), (28, 16))
    values = (6, EXPORT_S, "2001:db8::7", "203.0.113.1", 5, 6, "64:ff9b::1")
    (row,) = rows_of(ipfix(one_set(2, template(300, fields)), one_set(300, record(fields, values))))
    assert (row["source_ip"], row["nat_ip"], row["destination_ip"]) == ("2001:db8::7", "203.0.113.1", "64:ff9b::1")
    assert row["start_time"] == moment(EXPORT_S * 1000)


def test_a_step_and_a_number_of_ports_make_a_block_and_an_address_alone_has_no_ports():
    stepped = ((230, 1), (8, 4), (225, 4), (361, 2), (363, 2), (364, 2))
    address = ((230, 1), (8, 4), (225, 4))
    sets = one_set(2, template(300, stepped) + template(301, address))
    data = ipfix(
        sets,
        one_set(300, record(stepped, (16, "10.0.0.1", "203.0.113.1", 1000, 1, 64))),
        one_set(301, record(address, (14, "10.0.0.1", "203.0.113.1"))),
    )
    ranged, whole = rows_of(data)
    assert (ranged["nat_port_first"], ranged["nat_port_last"]) == (1000, 1063)
    assert "nat_port_first" not in whole
    assert ranged["start_time"] == moment(EXPORT_S * 1000), "the message's time, where the record has none"


def test_fields_of_variable_size_vendors_and_shortened_numbers_are_read():
    fields = ((230, 1), (323, 8), (8, 4), (225, 4), (227, 2), (371, 0xFFFF), (231, 3))
    raw = struct.pack(">HH", 300, 8) + b"".join(struct.pack(">HH", *one) for one in fields)
    raw += struct.pack(">HHI", 0x8001, 0xFFFF, 29305)
    values = record(fields, (4, T0, "10.0.0.1", "203.0.113.1", 77, b"alice", 70_000)) + b"\xff\x01\x00" + b"v" * 256
    (row,) = rows_of(ipfix(one_set(2, raw), one_set(300, values)))
    assert (row["account"], row["volume_up_bytes"], row["nat_port_first"]) == ("alice", 70_000, 77)


def test_uptimes_of_netflow_count_back_from_the_export():
    fields = ((230, 1), (8, 4), (225, 4), (227, 2), (22, 4), (21, 4))
    values = (2, "10.0.0.1", "203.0.113.1", 77, 4_990_000, 4_999_000)
    (row,) = rows_of(netflow(one_set(0, template(300, fields)), one_set(300, record(fields, values))))
    assert (row["start_time"], row["end_time"]) == (moment(EXPORT_S * 1000 - 10_000), moment(EXPORT_S * 1000 - 1_000))


def test_ntp_times_are_read():
    fields = ((230, 1), (324, 8), (8, 4), (225, 4))
    values = (4, ((EXPORT_S + 2_208_988_800) << 32) | (1 << 31), "10.0.0.1", "203.0.113.1")
    (row,) = rows_of(ipfix(one_set(2, template(300, fields)), one_set(300, record(fields, values))))
    assert row["start_time"] == moment(EXPORT_S * 1000 + 500)


def test_data_before_its_template_waits_for_it_and_what_never_gets_one_is_refused():
    data = ipfix(one_set(256, nat44(4, T0))) + ipfix(one_set(259, b"x" * 40), sequence=1) + ipfix(TEMPLATES)
    rows, rejects = taken("ipfix", data)
    assert len(rows) == 1
    assert [(one.reason, one.field) for one in rejects] == [(RejectReason.MISSING_FIELD, "template")]


def test_templates_belong_to_their_domain_and_end_with_their_withdrawal():
    other = ipfix(one_set(256, nat44(4, T0)), domain=7)
    withdrawn = ipfix(one_set(2, struct.pack(">HH", 256, 0)), one_set(256, nat44(4, T0)))
    for later in (other, withdrawn, ipfix(one_set(2, struct.pack(">HH", 2, 0)), one_set(256, nat44(4, T0)))):
        rows, rejects = taken("ipfix", ipfix(TEMPLATES) + later)
        assert (len(rows), len(rejects)) == (0, 1)
    rows = rows_of(ipfix(TEMPLATES, domain=7) + other, SourceConfig("cgn1"))
    assert [row["switch"] for row in rows] == ["cgn1/7"]


def test_a_vrf_is_part_of_the_network_element_since_its_addresses_are_its_own():
    fields = ((230, 1), (323, 8), (8, 4), (225, 4), (234, 4))
    data = b"".join(record(fields, (4, T0, "10.0.0.1", "203.0.113.1", vrf)) for vrf in (0, 3, 40))
    message = ipfix(one_set(2, template(300, fields)), one_set(300, data), domain=7)
    rows = rows_of(message, SourceConfig("cgn1"))
    assert [row["switch"] for row in rows] == ["cgn1/7", "cgn1/7/vrf3", "cgn1/7/vrf40"]
    assert [vrf_of(row["switch"]) for row in rows] == ["", "3", "40"]


def test_options_are_no_records():
    options = struct.pack(">HHH", 400, 2, 1) + struct.pack(">HHHH", 149, 4, 41, 8)
    v9_options = struct.pack(">HHHHHHH", 400, 4, 4, 1, 4, 41, 4) + b"\0\0"
    data = ipfix(one_set(3, options), one_set(400, b"\0" * 12), TEMPLATES, one_set(256, nat44(4, T0)))
    assert len(rows_of(data)) == 1
    flow = netflow(one_set(1, v9_options), one_set(400, b"\0" * 8), one_set(0, template(256, NAT44)))
    assert len(rows_of(flow + netflow(one_set(256, nat44(4, T0))))) == 1


def test_other_flows_and_alarms_are_refused_and_can_be_read_again():
    flow = ((8, 4), (12, 4), (1, 4))
    data = ipfix(
        TEMPLATES,
        one_set(2, template(300, flow)),
        one_set(300, record(flow, ("10.0.0.1", "10.0.0.2", 5))),
        one_set(256, nat44(13, T0) + nat44(4, T0)),
    )
    rows, rejects = taken("ipfix", data)
    assert len(rows) == 1
    assert [one.reason for one in rejects] == [RejectReason.UNSUPPORTED] * 2
    for one in rejects:
        again, refused = taken("ipfix", one.raw or b"")
        assert again == [] and [same.raw for same in refused] == [one.raw]


def test_events_of_several_templates_come_in_their_order():
    both = one_set(2, template(256, NAT44) + template(258, NAT44))
    sets = [one_set(256 + 2 * (event == 5), nat44(event, at)) for event, at in ((4, T0), (5, T0 + 5), (4, T0 + 9))]
    last = one_set(258, nat44(5, T0 + 12))
    parts = list(Ipfix().decode(io.BytesIO(ipfix(both, *sets, last)), SourceConfig("cgn")))
    assert [part.table.column("event").to_pylist() for part in parts] == [["open", "close"] * 2]


@pytest.mark.parametrize("data", [b"no message at all", b"\x00\x0a\x00\x05", b"\x00\x05" + b"\0" * 60])
def test_what_is_no_message_is_refused_as_a_whole(data):
    with pytest.raises(InputError):
        taken("ipfix", data)


def test_a_cut_message_and_a_broken_set_are_refused_pieces():
    whole = ipfix(TEMPLATES, one_set(256, nat44(4, T0)))
    for bad in (whole[:-3], ipfix(one_set(256, nat44(4, T0)), struct.pack(">HH", 256, 3)), ipfix(one_set(5, b"xxxx"))):
        rows, rejects = taken("ipfix", whole + bad)
        assert len(rows) >= 1
        assert [one.reason for one in rejects] == [RejectReason.MALFORMED]


@pytest.mark.parametrize(
    "values,reason",
    [
        ((16, T0, "0.0.0.0", "203.0.113.7", 1, 2), RejectReason.MISSING_FIELD),
        ((16, T0, "10.0.0.1", "0.0.0.0", 1, 2), RejectReason.MISSING_FIELD),
        ((16, T0, "10.0.0.1", "203.0.113.7", 9, 2), RejectReason.BAD_FIELD),
        ((16, (1 << 64) - 1, "10.0.0.1", "203.0.113.7", 1, 2), RejectReason.BAD_TIME),
    ],
)
def test_a_record_without_its_address_ports_or_time_is_refused(values, reason):
    _, rejects = taken("ipfix", ipfix(TEMPLATES, one_set(257, record(BLOCK, values))))
    assert [one.reason for one in rejects] == [reason]


def test_gaps_are_told_in_records_and_in_packets():
    exporters = Exporters()

    def feed(*sent: bytes) -> list[int]:
        for message in sent:
            list(exporters.read("192.0.2.1", message))
        sequences = exporters.sequences
        return [gap.missing for gap in (*sequences.take_gaps(), *sequences.take_gaps())]

    data = one_set(256, nat44(4, T0) * 3)
    assert feed(ipfix(TEMPLATES, data, sequence=5), ipfix(data, sequence=8)) == []
    assert feed(ipfix(data, sequence=21)) == [10]
    assert feed(ipfix(data, sequence=11)) == [] and exporters.sequences.late == 1
    wrapped = ipfix(data, sequence=(1 << 32) - 2, domain=1)
    assert feed(ipfix(TEMPLATES, sequence=(1 << 32) - 2, domain=1), wrapped, ipfix(data, sequence=1, domain=1)) == []
    assert feed(netflow(sequence=1), netflow(sequence=2), netflow(sequence=5)) == [2]


def test_memory_is_bounded_and_nothing_of_it_is_lost(monkeypatch):
    monkeypatch.setattr(messages, "WAITING_OCTETS_MAX", 1000)
    monkeypatch.setattr(messages, "TEMPLATES_MAX", 3)
    exporters = Exporters()
    sent = 50
    given_up = sum(len(list(exporters.read("e", ipfix(one_set(400, b"x" * 100))))) for _ in range(sent))
    assert exporters.waiting_octets <= 1000
    assert given_up + len(list(exporters.give_up())) == sent
    for number in range(256, 300):
        list(exporters.read("e", ipfix(one_set(2, template(number, NAT44)))))
    assert len(exporters._templates) == 3


PIECES = st.one_of(
    st.binary(max_size=40),
    st.builds(one_set, st.integers(0, 260), st.binary(max_size=60)),
    st.builds(one_set, st.sampled_from([256, 257]), st.binary(min_size=20, max_size=60)),
    st.sampled_from([TEMPLATES, one_set(0, template(256, NAT44)), one_set(256, nat44(4, T0) + nat44(5, T0))]),
    st.builds(
        lambda fields: one_set(2, template(256, fields)),
        st.lists(st.tuples(st.integers(0, 500), st.sampled_from([0, 1, 2, 4, 8, 16, 33, 0xFFFF])), max_size=6),
    ),
    st.builds(
        lambda fields, body: one_set(2, template(256, fields)) + one_set(256, body),
        st.lists(
            st.tuples(
                st.sampled_from([230, 323, 8, 225, 27, 281, 361, 362, 371, 22, 324, 56]),
                st.sampled_from([1, 2, 4, 6, 8, 16, 0xFFFF]),
            ),
            min_size=1,
            max_size=6,
        ),
        st.binary(max_size=80),
    ),
)
MESSAGES = st.one_of(
    st.builds(lambda sets, number: ipfix(*sets, sequence=number), st.lists(PIECES, max_size=5), st.integers(0, 9)),
    st.builds(lambda sets: netflow(*sets), st.lists(PIECES, max_size=5)),
    st.binary(max_size=60),
)


@examples(70)
@given(sent=st.lists(MESSAGES, max_size=4), cut=st.integers(1, 70))
def test_any_bytes_every_record_is_accounted_for_and_pieces_make_no_difference(sent: list[bytes], cut: int) -> None:
    data = b"".join(sent)
    try:
        rows, rejects = taken("ipfix", data)
    except InputError:
        return
    again, also = taken("ipfix", cast(Any, Pipe(data, cut)))
    assert (rows, [one.position for one in rejects]) == (again, [one.position for one in also])


def test_the_tests_hand_writes_numbers_big_endian():
    assert packed(258, 2) == b"\x01\x02"
