"""FreeSWITCH legs: encoded values, parties, times, content that stays out, and anything as input."""

from __future__ import annotations

import copy
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders.freeswitch.json_cdr import FreeswitchJson
from ingest.source_config import SourceConfig
from schemas.arrow import DELIVERED
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import Reject, RejectReason
from tests.examples import examples

FIXTURES = Path(__file__).parents[1] / "fixtures" / "freeswitch"
LEGS = (FIXTURES / "legs.ndjson").read_bytes()
SOURCE = SourceConfig("fs", zone="Europe/Stockholm")
SECRETS = (b"hemlig", b"hemligheten", b"m=audio", b"sip_h_", b"Alva")


def decode(data: bytes | str, source: SourceConfig = SOURCE) -> tuple[list[dict[str, Any]], list[Reject]]:
    records: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    stream = io.BytesIO(data.encode() if isinstance(data, str) else data)
    for part in FreeswitchJson().decode(stream, source):
        for column in part.table.schema:
            assert column.name == "position" or column.type == DELIVERED.field(column.name).type
        records += part.table.to_pylist()
        rejects += part.rejects
    positions = sorted([record["position"] for record in records] + [reject.position for reject in rejects])
    assert positions == list(range(1, len(positions) + 1))
    return records, rejects


def leg(**variables: Any) -> dict[str, Any]:
    """Return the first leg of the fixture; None takes a variable away."""
    document: dict[str, Any] = copy.deepcopy(json.loads(LEGS.splitlines()[0]))
    document["variables"] |= variables
    document["variables"] = {name: value for name, value in document["variables"].items() if value is not None}
    return document


def text(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def with_encoded_values(document: dict[str, Any]) -> dict[str, Any]:
    """Encode values as `encode-values` does: the call flow stays as it is."""
    encoded = {name: quote(value, safe="!$'()*,-./_~") for name, value in document["variables"].items()}
    return document | {"variables": encoded}


def only(records_and_rejects: tuple[list[dict[str, Any]], list[Reject]]) -> dict[str, Any]:
    records, rejects = records_and_rejects
    assert (len(records), rejects) == (1, [])
    return records[0]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# values


def test_encoded_values_are_told_by_the_evidence_of_the_stamps() -> None:
    document = leg(accountcode="100%", sip_user_agent="Fon 1.0 (å)", domain_name="sip.example.net")
    plain, encoded = only(decode(text(document))), only(decode(text(with_encoded_values(document))))
    assert plain == encoded
    assert (plain["account"], plain["user_agent"]) == ("100%", "Fon 1.0 (å)")


@pytest.mark.parametrize("value", ["+4670", "100%25", "%2B4670", "a%20b", "a+b", "%", "%zz"])
def test_values_of_a_body_that_is_not_encoded_are_not_touched(value: str) -> None:
    assert only(decode(text(leg(accountcode=value))))["account"] == value


def test_without_stamps_other_evidence_decides_and_without_any_nothing_is_touched() -> None:
    bare = dict.fromkeys(leg()["variables"]) | {
        "uuid": "u1", "start_uepoch": "1795165200000000", "end_uepoch": "1795165260000000", "accountcode": "100%25",
    }  # fmt: skip
    assert only(decode(text(leg(**bare))))["account"] == "100%25"
    assert only(decode(text(leg(**bare | {"sip_to_uri": "1@example.net"}))))["account"] == "100%25"
    assert only(decode(text(leg(**bare | {"channel_name": "sofia/x/1%40example.net"}))))["account"] == "100%"
    document = leg(**bare | {"sip_from_user": "%2B46701740605"})
    document["callflow"] = []
    assert only(decode(text(document)))["calling_number"] == "+46701740605"


def test_option_encode_values_decides_against_the_evidence() -> None:
    body = text(leg(accountcode="100%25"))
    yes = SourceConfig("fs", options={"encode_values": "yes"})
    no = SourceConfig("fs", options={"encode_values": "no"})
    assert only(decode(body, yes))["account"] == "100%"
    assert only(decode(text(with_encoded_values(leg(accountcode="å"))), no))["account"] == "%C3%A5"
    with pytest.raises(ConfigurationError):
        decode(body, SourceConfig("fs", options={"encode_values": "perhaps"}))


def test_a_caller_cannot_forge_a_variable_through_quotes_that_a_form_no_longer_tells() -> None:
    lines = (FIXTURES / "legs_form_encoded_values.txt").read_text().splitlines()
    forged = lines[0].replace("Alva", "x%22,%22uuid%22%3A%22forged", 1)
    records, rejects = decode(forged)
    assert not records
    assert rejects[0].reason is RejectReason.MALFORMED


def test_bytes_outside_utf8_matter_only_where_they_are_stored() -> None:
    body = text(leg(sip_from_display="NAMN")).encode()
    assert only(decode(body.replace(b"NAMN", b"H\xe5kan")))["account"] == "cust-0042"
    _, rejects = decode(body.replace(b"cust-0042", b"h\xe5kan"))
    assert (rejects[0].reason, rejects[0].field) == (RejectReason.ENCODING, "account")


# records


def test_the_legs_of_one_call_share_their_link_and_keep_their_own_keys() -> None:
    records, _ = decode(LEGS)
    first, second = records[:2]
    assert first["record_key"] != second["record_key"]
    assert first["call_link"] == second["call_link"] == first["record_key"]
    assert (first["trunk_in"], first["trunk_out"]) == ("sofia/internal", None)
    assert (second["trunk_in"], second["trunk_out"]) == (None, "nord")
    assert (first["source_ip"], first["source_port"], first["destination_ip"]) == ("192.0.2.40", 5062, None)
    assert (second["source_ip"], second["source_port"], second["destination_ip"]) == (
        "192.0.2.40",
        None,
        "198.51.100.9",
    )


def test_a_leg_has_all_that_the_switch_tells() -> None:
    record = decode(LEGS)[0][0]
    assert record["calling_number"] == "+46701740605"
    assert record["called_number"] == "+46701740611"
    assert (record["dialled_number"], record["forwarded_number"]) == (None, None)
    assert record["start_time"] == datetime(2026, 11, 20, 9, 0, 0, 123_456, UTC)
    assert record["answer_time"] == datetime(2026, 11, 20, 9, 0, 5, 100, UTC)
    assert record["end_time"] == datetime(2026, 11, 20, 9, 1, 5, 200, UTC)
    assert (record["duration_ms"], record["billable_duration_ms"]) == (64_876, 60_000)
    assert (record["utc_offset_s"], record["end_inferred"], record["time_ambiguous"]) == (3600, False, False)
    assert (record["switch"], record["service_type"]) == ("fs-sto-1", "voice")
    assert (record["disposition"], record["cause"]) == ("answered", "NORMAL_CLEARING")
    assert (record["account"], record["tenant"]) == ("cust-0042", "sip.example.net")


def test_a_redirected_leg_has_all_three_parties() -> None:
    record = decode(LEGS)[0][3]
    assert record["dialled_number"] == "46701740613"
    assert record["called_number"] == record["forwarded_number"] == "46701740630"


def test_failed_attempts_are_records_without_an_answer() -> None:
    records, _ = decode(LEGS)
    assert [record["disposition"] for record in records] == ["answered", "answered", "busy", "answered", "cancelled"]
    assert records[2]["answer_time"] is None
    assert records[2]["billable_duration_ms"] == 0


def test_a_withheld_number_gives_way_to_what_the_network_knows() -> None:
    document = leg()
    document["callflow"][0]["caller_profile"] |= {"caller_id_number": "anonymous", "ani": "46701740605"}
    assert only(decode(text(document)))["calling_number"] == "46701740605"


def test_times_fall_back_from_microseconds_to_stamps() -> None:
    gone = {f"{word}_uepoch": None for word in ("start", "answer", "end")}
    record = only(decode(text(leg(**gone))))
    assert record["start_time"] == utc("2026-11-20 09:00:00")
    gone |= {f"{word}_epoch": None for word in ("start", "answer", "end")}
    assert only(decode(text(leg(**gone))))["start_time"] == datetime(2026, 11, 20, 9, 0, 0, 123_456, UTC)
    document = leg(**gone)
    document["callflow"][0].pop("times")
    assert only(decode(text(document)))["start_time"] == utc("2026-11-20 09:00:00")  # 10:00 in Stockholm
    assert only(decode(text(with_encoded_values(document))))["end_time"] == utc("2026-11-20 09:01:05")
    _, rejects = decode(text(document), SourceConfig("fs", zone=None))
    assert (rejects[0].reason, rejects[0].field) == (RejectReason.MISSING_FIELD, "start_uepoch")


@pytest.mark.parametrize(
    ("zone", "stamp", "start"),
    [
        ("Europe/Stockholm", "2026-10-25 02:30:00", "2026-10-25 00:30:00"),
        ("Europe/Stockholm", "2026-03-29 03:30:00", "2026-03-29 01:30:00"),
        ("America/New_York", "2026-11-01 01:30:00", "2026-11-01 05:30:00"),
        ("America/New_York", "2026-03-08 03:30:00", "2026-03-08 07:30:00"),
    ],
)
def test_stamps_over_the_changes_of_the_clock(zone: str, stamp: str, start: str) -> None:
    document = leg(
        **{f"{word}_{form}": None for word in ("start", "answer", "end") for form in ("uepoch", "epoch", "stamp")}
    )
    document["callflow"][0].pop("times")
    document["variables"]["start_stamp"] = stamp
    record = only(decode(text(document), SourceConfig("fs", zone=zone)))
    assert record["start_time"] == utc(start)
    assert record["time_ambiguous"] is (stamp.startswith("2026-1"))
    assert record["end_inferred"] is True


def test_a_missing_end_is_inferred_from_the_duration() -> None:
    gone = {"end_uepoch": None, "end_epoch": None, "end_stamp": None}
    document = leg(**gone)
    document["callflow"][0]["times"]["hangup_time"] = "0"
    record = only(decode(text(document)))
    assert (record["end_time"] - record["start_time"]).total_seconds() == 64.876
    assert record["end_inferred"] is True
    for name in ("mduration", "uduration", "duration"):
        del document["variables"][name]
    assert decode(text(document))[1][0].field == "end_uepoch"


@pytest.mark.parametrize(
    ("variables", "reason", "field"),
    [
        ({"start_uepoch": "soon"}, RejectReason.BAD_TIME, "start_uepoch"),
        ({"start_uepoch": "-1"}, RejectReason.BAD_TIME, "start_uepoch"),
        ({"start_uepoch": ["1"]}, RejectReason.BAD_TIME, "start_uepoch"),
        ({"start_uepoch": "9" * 30}, RejectReason.BAD_TIME, "start_uepoch"),
        ({"start_uepoch": "9" * 5000}, RejectReason.BAD_TIME, "start_uepoch"),
        ({"answer_uepoch": "-5"}, RejectReason.BAD_TIME, "answer_uepoch"),
        ({"end_uepoch": "1795100000000000"}, RejectReason.BAD_TIME, "end_uepoch"),
        ({"mduration": "-1"}, RejectReason.BAD_FIELD, "duration"),
        ({"billmsec": {}, "billusec": "x"}, RejectReason.BAD_FIELD, "billsec"),
        ({"uuid": 7}, RejectReason.BAD_FIELD, "record_key"),
        ({"accountcode": ["a"]}, RejectReason.BAD_FIELD, "account"),
        ({"accountcode": "a\x00b"}, RejectReason.BAD_FIELD, "account"),
    ],
)
def test_a_bad_field_is_rejected_and_content_is_cut_out(
    variables: dict[str, Any], reason: RejectReason, field: str
) -> None:
    records, rejects = decode(text(leg(**variables)) + LEGS.decode())
    assert len(records) == 5
    assert (rejects[0].position, rejects[0].reason, rejects[0].field) == (1, reason, field)
    raw = rejects[0].raw
    assert raw is not None and b"46701740605" in raw
    assert not any(secret in raw for secret in SECRETS)


def test_what_is_kept_of_a_reject_can_be_replayed() -> None:
    for document in (leg(mduration="-1"), with_encoded_values(leg(mduration="-1"))):
        raw = decode(text(document))[1][0].raw
        assert raw is not None
        mended = only(decode(raw.replace(b'"-1"', b'"64876"')))
        assert mended == decode(LEGS)[0][0]


def test_what_is_refused_later_is_kept_without_content() -> None:
    part = next(FreeswitchJson().decode(io.BytesIO(b"x\n" + LEGS), SOURCE))
    assert part.raw_of is not None
    for raw, expected in zip(part.raw_of([2, 5]), (part.table.to_pylist()[0], part.table.to_pylist()[3]), strict=True):
        assert raw is not None and not any(secret in raw for secret in SECRETS)
        assert {**only(decode(raw)), "position": 0} == {**expected, "position": 0}


def test_the_operators_tenant_goes_before_a_sip_domain() -> None:
    assert only(decode(text(leg()), SourceConfig("fs", tenant="ek")))["tenant"] is None


def test_documents_of_other_shapes_are_rejected() -> None:
    for document in ({}, {"variables": []}, {"variables": {}}, {"variables": {"uuid": "u"}, "callflow": [1, None]}):
        _, rejects = decode(json.dumps(document))
        assert rejects[0].reason is RejectReason.MISSING_FIELD


def test_content_never_leaves_the_decoder() -> None:
    parts = list(FreeswitchJson().decode(io.BytesIO(LEGS), SOURCE))
    kept = repr([part.table.to_pylist() for part in parts]).encode()
    assert not any(secret in kept for secret in SECRETS)


# anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def mutated_bytes(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from([path.read_bytes() for path in sorted(FIXTURES.iterdir())])))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data)))
        piece = draw(st.sampled_from([b"", b'"', b"{", b"}", b"}{", b"\n", b"\x00", b"\xff", b"%", b"\\u0000", b"=&"]))
        data[place : place + draw(st.integers(0, 40))] = piece
    return bytes(data)


@st.composite
def mutated_documents(draw: st.DrawFn) -> bytes:
    document = leg()
    for part in (document, document["variables"], document["callflow"][0], document["callflow"][0]["caller_profile"]):
        for name in draw(st.lists(st.sampled_from(sorted(part)), max_size=3)):
            part[name] = draw(JSON)
    return json.dumps(document).encode()


@examples(50)
@given(st.one_of(st.binary(max_size=300), mutated_bytes(), mutated_documents()))
def test_whatever_comes_is_a_record_or_a_reject(data: bytes) -> None:
    try:
        records, rejects = decode(data)
    except InputError:
        assert data.startswith((b"\xff\xfe", b"\xfe\xff"))
        return
    blank = not data.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    assert bool(records or rejects) != blank
    for reject in rejects:
        assert not any(secret in (reject.raw or b"") for secret in (b"m=audio", b"sip_h_"))
