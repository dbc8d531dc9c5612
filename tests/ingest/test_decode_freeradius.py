from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.radius.records import ATTRIBUTES
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import RejectReason
from tests.ingest.decoding import DripStream, EndlessLine, content, decode, fixture

DETAIL = fixture("freeradius", "detail-20261122")
HEADER = b"Sun Nov 22 02:12:31 2026\n"


def packet(**attributes: str | None) -> bytes:
    """Return a Stop; keyword names have `_` for `-`, None leaves an attribute out."""
    base: dict[str, str | None] = {
        "User-Name": '"u"',
        "User-Password": '"hunter2"',
        "NAS-IP-Address": "192.0.2.1",
        "Acct-Session-Id": '"S1"',
        "Acct-Status-Type": "Stop",
        "Event-Timestamp": '"Nov 22 2026 00:10:00 UTC"',
        "Acct-Session-Time": "60",
        "Timestamp": "1795313551",
    }
    base |= {name.replace("_", "-"): value for name, value in attributes.items()}
    lines = [f"\t{name} = {value}\n" for name, value in base.items() if value is not None]
    return HEADER + "".join(lines).encode() + b"\n"


def one(data: bytes, source: SourceConfig | None = None) -> dict[str, object]:
    rows, rejects = decode("radius-detail", data, source)
    assert rejects == []
    return rows[0]


def parsed(data: bytes) -> list[dict[str, str]]:
    """An independent reading of the fixture."""
    packets = []
    for block in data.decode().strip().split("\n\n"):
        pairs = [line.strip().partition(" = ") for line in block.splitlines()[1:]]
        packets.append({name: value.strip('"') for name, _, value in pairs})
    return packets


def test_packets_are_what_a_count_of_their_words_says():
    rows, rejects = decode("radius-detail", DETAIL)
    assert rejects == []
    assert Counter(row["event"] for row in rows) == {
        "open": DETAIL.count(b"= Start\n"),
        "update": DETAIL.count(b"= Interim-Update\n"),
        "close": DETAIL.count(b"= Stop\n"),
    }
    assert len(rows) == 98
    assert len({row["session_key"] for row in rows}) == 40


def test_every_stop_has_its_start_its_end_and_its_octets():
    rows, _ = decode("radius-detail", DETAIL)
    for row, attributes in zip(rows, parsed(DETAIL), strict=True):
        told = datetime.strptime(attributes["Event-Timestamp"], "%b %d %Y %H:%M:%S UTC").replace(tzinfo=UTC)
        assert row["record_key"].split()[0] == attributes["Acct-Session-Id"]
        assert row["switch"] == attributes["NAS-IP-Address"]
        if row["event"] != "close":
            assert "end_time" not in row
            continue
        seconds = int(attributes["Acct-Session-Time"])
        assert row["end_time"] == told
        assert int(row["start_time"].timestamp()) == int(told.timestamp()) - seconds
        assert row["duration_ms"] == seconds * 1000
        for name, word in (("up", "Input"), ("down", "Output")):
            gigawords = int(attributes[f"Acct-{word}-Gigawords"])
            assert row[f"volume_{name}_bytes"] == gigawords * 2**32 + int(attributes[f"Acct-{word}-Octets"])


def test_the_four_retransmitted_stops_are_duplicates_and_nothing_else_is():
    rows, _ = decode("radius-detail", DETAIL)
    seen = Counter((row["event"], row["switch"], row["record_key"]) for row in rows)
    doubled = [key for key, count in seen.items() if count == 2]
    assert len(doubled) == 4 and max(seen.values()) == 2
    for event, switch, key in doubled:
        same = [row for row in rows if (row["event"], row["switch"], row["record_key"]) == (event, switch, key)]
        assert event == "close"
        assert content(same[0]) == content(same[1])


def test_start_and_stop_share_a_key_and_an_interim_has_its_own():
    rows, _ = decode("radius-detail", DETAIL)
    for row in rows:
        keys = {(other["event"], other["record_key"]) for other in rows if other["session_key"] == row["session_key"]}
        assert len({key for event, key in keys if event != "update"}) == 1
        assert all(" " in key for event, key in keys if event == "update")


def test_start_of_stop_is_the_event_time_of_its_start_packet():
    rows, _ = decode("radius-detail", DETAIL)
    starts = {row["session_key"]: row["start_time"] for row in rows if row["event"] == "open"}
    for row in rows:
        assert row["start_time"].replace(microsecond=0) == starts[row["session_key"]]


def test_a_mobile_session_has_its_equipment_and_cell():
    row = one(DETAIL)
    assert row["calling_number"] == "385915575917"
    assert row["called_number"] == "internet.mnc001.mcc219"
    assert (row["imsi"], row["imei"]) == ("219014929379639", "3566300896372856")
    assert row["cell_id"] == "8212f9100000ab9b07"
    assert row["source_ip"] == "100.64.0.29"
    assert row["service_type"] == "data"


def test_an_acme_uri_gives_its_number_without_display_name_and_tag():
    rows, _ = decode("radius-detail", DETAIL)
    row = next(row for row in rows if row.get("trunk_in") == "access" and row["event"] == "close")
    assert row["calling_number"].startswith("+33612345")
    assert row["calling_number_delivered"] == f"sip:{row['calling_number']}@a.example"
    assert row["called_number"].startswith("+442071838")
    assert (row["service_type"], row["trunk_out"], row["disposition"]) == ("voip", "core", "answered")
    assert "Alice" not in str(row) and "tag=" not in str(row)


@pytest.mark.parametrize(
    ("written", "number", "uri"),
    [
        (r"\"A \\\"x\\\" B\" <sip:+4670123@h>;tag=1", "+4670123", "sip:+4670123@h"),
        ("sip:alice@h.example;transport=udp", "sip:alice@h.example", None),
        ("<sip:1001@h;user=phone>", "1001", "sip:1001@h"),
        ("<sip:1001@h>", "sip:1001@h", None),
        ("sips:h.example", "sips:h.example", None),
        ("tel:+46701", "tel:+46701", None),
        ("004670123456", "004670123456", None),
    ],
)
def test_parties_are_cut_to_what_names_them(written, number, uri):
    row = one(packet(Calling_Station_Id=f'"{written}"'))
    assert row["calling_number"] == number
    assert row.get("calling_number_delivered") == uri


@pytest.mark.parametrize("mac", ["02-00-5E-00-53-1A", "02:00:5e:00:53:1a", "0200.5e00.531a"])
def test_a_mac_is_equipment_and_the_user_name_calls(mac):
    row = one(packet(Calling_Station_Id=f'"{mac}"', User_Name='"cust@isp.example"'))
    assert row["mac"] == "02:00:5e:00:53:1a"
    assert row["calling_number"] == row["account"] == "cust@isp.example"
    assert row["tenant"] == "isp.example"


def test_twelve_digits_are_a_number_and_a_mac_user_is_no_party():
    assert one(packet(Calling_Station_Id='"467012345678"'))["calling_number"] == "467012345678"
    row = one(packet(User_Name='"02-00-5E-00-53-1A"'))
    assert "calling_number" not in row and row["mac"] == "02:00:5e:00:53:1a"


def test_a_configured_tenant_is_not_overruled_by_a_realm():
    assert "tenant" not in one(packet(User_Name='"a@b"'), SourceConfig("s", tenant="x"))


def test_only_differences_of_a_cisco_clock_count():
    cisco = {
        "h323_setup_time": '"h323-setup-time=*23:09:50.250 UTC Thu Jan 01 1970"',
        "h323_connect_time": '"h323-connect-time=*23:10:00.250 UTC Thu Jan 01 1970"',
        "h323_disconnect_time": '"h323-disconnect-time=*23:11:00.250 UTC Thu Jan 01 1970"',
        "h323_disconnect_cause": '"h323-disconnect-cause=1F"',
    }
    row = one(packet(**cisco))
    end = datetime(2026, 11, 22, 0, 10, tzinfo=UTC)
    assert row["end_time"] == end
    assert row["start_time"] == end.replace(minute=8, second=50)
    assert row["answer_time"] == end.replace(minute=9)
    assert row["billable_duration_ms"] == 60_000
    assert (row["cause"], row["service_type"]) == ("31", "voip")
    unclear = one(packet(**{**cisco, "h323_setup_time": '"h323-setup-time=yesterday"'}))
    assert unclear["start_time"] == end.replace(minute=9)


@pytest.mark.parametrize(
    ("written", "zone", "expected"),
    [
        ('"Nov 22 2026 00:10:00 UTC"', None, 10),
        ('"Nov 22 2026 01:10:00 CET"', None, 10),
        ('"Nov 22 2026 05:40:00 IST"', "Asia/Kolkata", 10),
        ("1795306200", None, 10),
        ('"1795306200"', None, 10),
        ('"Nov  1 2026 00:10:00 UTC"', None, -1),
    ],
)
def test_event_times_are_read_with_their_zone(written, zone, expected):
    row = one(packet(Event_Timestamp=written), SourceConfig("s", zone=zone))
    day = 22 if expected > 0 else 1
    assert row["end_time"] == datetime(2026, 11, day, 0, 10, tzinfo=UTC)


def test_the_abbreviation_settles_the_hour_that_occurs_twice():
    for name, hour in (("CEST", 0), ("CET", 1)):
        row = one(packet(Event_Timestamp=f'"Oct 25 2026 02:30:00 {name}"'), SourceConfig("s", zone="Europe/Stockholm"))
        assert row["end_time"] == datetime(2026, 10, 25, hour, 30, tzinfo=UTC)


def test_without_event_timestamp_the_delay_is_taken_off_and_a_retransmission_is_the_same():
    first = packet(Event_Timestamp=None, Acct_Delay_Time="0", Timestamp="1795306200")
    again = packet(Event_Timestamp=None, Acct_Delay_Time="5", Timestamp="1795306205")
    rows, _ = decode("radius-detail", first + again)
    assert rows[0]["end_time"] == datetime(2026, 11, 22, 0, 10, tzinfo=UTC)
    assert rows[0]["record_key"] == rows[1]["record_key"]
    assert content(rows[0]) == content(rows[1])


def test_reused_ids_take_the_event_time_into_every_key():
    source = SourceConfig("s", options={"session_ids": "reused"})
    assert one(packet(), source)["record_key"] == "S1 1795306200"
    with pytest.raises(ConfigurationError):
        decode("radius-detail", packet(), SourceConfig("s", options={"session_ids": "maybe"}))


def test_the_nas_is_found_under_its_other_names():
    assert one(packet(NAS_IP_Address=None, NAS_Identifier='"bras-1"'))["switch"] == "bras-1"
    assert one(packet(NAS_IP_Address=None), SourceConfig("s", switch="edge"))["switch"] == "edge"


@pytest.mark.parametrize(
    ("attributes", "reason", "field"),
    [
        ({"Acct_Status_Type": None}, RejectReason.MISSING_FIELD, "Acct-Status-Type"),
        ({"Acct_Status_Type": "Accounting-On"}, RejectReason.UNSUPPORTED, None),
        ({"Acct_Session_Id": None}, RejectReason.MISSING_FIELD, "Acct-Session-Id"),
        ({"Acct_Session_Id": '""'}, RejectReason.MISSING_FIELD, "Acct-Session-Id"),
        ({"Event_Timestamp": '"Nov 31 2026 00:10:00 UTC"'}, RejectReason.BAD_TIME, "Event-Timestamp"),
        ({"Event_Timestamp": '"Nov 22 2026 00:10:00 XYZ"'}, RejectReason.BAD_TIME, "Event-Timestamp"),
        ({"Event_Timestamp": None, "Timestamp": None}, RejectReason.MISSING_FIELD, "Event-Timestamp"),
        ({"Acct_Session_Time": "-1"}, RejectReason.BAD_FIELD, "Acct-Session-Time"),
        ({"Acct_Session_Time": "4000000000"}, RejectReason.BAD_FIELD, "Acct-Session-Time"),
        ({"Acct_Input_Octets": "4294967296"}, RejectReason.BAD_FIELD, "Acct-Input-Octets"),
        ({"Acct_Input_Gigawords": "4294967295"}, RejectReason.BAD_FIELD, "Acct-Input-Gigawords"),
        ({"User_Name": '"open'}, RejectReason.MALFORMED, None),
    ],
)
def test_a_spoilt_packet_is_refused_and_its_neighbours_are_not(attributes, reason, field):
    rows, rejects = decode("radius-detail", packet() + packet(**attributes) + packet())
    assert [row["position"] for row in rows] == [1, 3]
    assert [(reject.position, reject.reason, reject.field) for reject in rejects] == [(2, reason, field)]
    assert rejects[0].offset == len(packet())


@pytest.mark.parametrize("spoil", [b"\0", b"\xff", b"\nno attribute at all"])
def test_no_reject_holds_a_secret(spoil):
    secret = b'\tUser-Password = "hunter2"\n\tCHAP-Password = 0xdeadbeef\n\tTunnel-Password:1 = "hunter3"\n'
    for place in (b"\tNAS-IP", b"\tTimestamp"):
        data = packet(Acct_Status_Type="Tunnel-Start").replace(place, secret + place)
        _, rejects = decode("radius-detail", data + data.replace(b'"S1"', b'"S' + spoil + b'1"'))
        assert len(rejects) >= 2
        for reject in rejects:
            assert b"hunter" not in (reject.raw or b"") and b"deadbeef" not in (reject.raw or b"")
            assert b"Password" not in (reject.raw or b"")
        assert b"NAS-IP-Address = 192.0.2.1" in (rejects[0].raw or b"")


def test_a_reject_can_be_replayed_from_what_was_kept():
    _, rejects = decode("radius-detail", packet(Acct_Status_Type='"Stopp"'))
    raw = rejects[0].raw
    assert raw is not None
    assert one(raw.replace(b"Stopp", b"Stop"))["record_key"] == "S1"


def test_a_packet_that_is_cut_off_is_refused_wherever_it_is_cut():
    whole = packet()
    for length in range(len(whole)):
        rows, rejects = decode("radius-detail", packet() + whole[:length])
        complete = length >= len(whole) - 1  # all but the blank line
        assert len(rows) == 1 + complete
        assert [reject.reason for reject in rejects] == ([] if complete or not length else [RejectReason.MALFORMED])


def test_a_tail_without_its_header_is_refused():
    rows, rejects = decode("radius-detail", packet().split(b"\n", 2)[2] + packet())
    assert len(rows) == 1
    assert [reject.reason for reject in rejects] == [RejectReason.MALFORMED]


def test_octal_escapes_are_undone_where_they_are_utf8():
    assert one(packet(User_Name=r'"J\303\274rgen"'))["account"] == "Jürgen"
    assert one(packet(User_Name=r'"J\374rgen"'))["account"] == r"J\374rgen"
    assert one(packet(User_Name=r'"a\\b"'))["account"] == "a\\b"


def test_of_several_values_the_first_counts():
    assert one(packet(Framed_IP_Address="192.0.2.7\n\tFramed-IP-Address = 192.0.2.8"))["source_ip"] == "192.0.2.7"


def test_names_that_resemble_attributes_are_not_taken_for_them():
    near = packet(**{"3GPP_IMSI_MCC_MNC": '"21901"', "X3GPP_IMSI": '"1"', "Acct_Session_Ie": '"2"'})
    row = one(near)
    assert "imsi" not in row and row["record_key"] == "S1"
    assert all(8 <= len(name) <= 32 for name in ATTRIBUTES)


def test_an_endless_line_is_read_past():
    rows, rejects = decode("radius-detail", EndlessLine(packet(), 50 << 20, b"\n\n" + packet()))
    assert [row["position"] for row in rows] == [1, 3]
    assert [(reject.position, reject.reason) for reject in rejects] == [(2, RejectReason.TOO_LONG)]
    assert rejects[0].length_bytes == (50 << 20) + 2
    assert rejects[0].offset == len(packet())


def test_carriage_returns_and_small_reads_change_nothing():
    plain = decode("radius-detail", DETAIL)
    assert decode("radius-detail", DETAIL.replace(b"\n", b"\r\n"))[0] == plain[0]
    assert decode("radius-detail", DripStream(DETAIL)) == plain


def test_utf16_is_no_delivery_and_nothing_is_nothing():
    with pytest.raises(InputError):
        decode("radius-detail", "Sun Nov".encode("utf-16"))
    assert decode("radius-detail", b"") == ([], [])
    assert decode("radius-detail", b"\n\r\n \n") == ([], [])


def blocks_of(data: bytes) -> int:
    """Count packets line by line: one begins at a header, or at an attribute that follows a blank line."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    count, blank = 0, True
    for line in data.split(b"\n"):
        if not line.strip():
            blank = True
            continue
        if not re.match(rb"[ \t]", line) or blank:
            count += 1
        blank = False
    return count


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([*DETAIL.split(b"\n\n")[:24], b"", b"\t", b"x", b"\tA = b"]), max_size=5), st.data())
def test_mutated_packets_are_all_accounted_for(blocks, data):
    blob = bytearray(b"\n\n".join(blocks))
    for _ in range(data.draw(st.integers(0, 6))):
        if blob:
            blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(
                st.one_of(st.integers(0, 255), st.sampled_from(b'\n\t"=\\ '))
            )
    if blob[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    rows, rejects = decode("radius-detail", bytes(blob))
    assert len(rows) + len(rejects) == blocks_of(bytes(blob))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_all_accounted_for(data):
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    rows, rejects = decode("radius-detail", data)
    assert len(rows) + len(rejects) == blocks_of(data)
