"""The same bytes through other readers: a slow one of our own, and pycrate with the standard's full ASN.1."""

from __future__ import annotations

import importlib
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ingest.source_config import SourceConfig
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest import ber_encoder as ber
from tests.ingest import ber_reference as reference
from tests.ingest.threegpp_made import CET, calls, decoded, mo, pgw

NAMES = ("imsi", "imei", "start_time", "answer_time", "end_time", "duration_ms")


def cdr_modules() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("pycrate_asn1dir.CDR")
    except ImportError:
        pytest.skip("pycrate is not installed")


@examples(50)
@given(st.data())
def test_a_damaged_call_is_read_as_a_slow_reader_reads_it(data: st.DataObject):
    original = mo()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(3, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    rows, rejects = decoded(mo() + bytes(damaged))
    content = reference.element(bytes(damaged), 0)[2]
    try:
        expected = reference.mo_call(content)
    except reference.UnreadableError:
        assert [one.reason for one in rejects] == [RejectReason.MALFORMED]
        return
    except ValueError:
        assert [one.position for one in rejects] == [2]
        return
    for row in rows[1:]:
        assert {name: row.get(name) for name in expected} == expected


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(st.lists(calls(), min_size=1, max_size=2))
def test_pycrate_reads_the_same_from_calls(made: list[tuple[bytes, dict[str, Any]]]):
    record = cdr_modules().CSChargingDataTypes.CSRecord
    rows, rejects = decoded(b"".join(data for data, _ in made))
    assert rejects == []
    for row, (data, expected) in zip(rows, made, strict=True):
        assume(len(expected["imei"]) > 14)  # an IMEI without its last digit has an octet fewer than the ASN.1 allows
        record.from_ber(data)
        kind, values = record.get_val()
        assert kind == "moCallRecord"
        assert row["imsi"] == swapped(values["servedIMSI"])
        assert row["imei"] == swapped(values["servedIMEI"])
        assert row["calling_number"] == swapped(values["callingNumber"][1:])
        assert row["called_number"] == swapped(values["calledNumber"][1:])
        assert row["switch"] == swapped(values["recordingEntity"][1:])
        assert row["duration_ms"] == values["callDuration"] * 1000
        assert row["start_time"] == instant(values["seizureTime"])
        assert row["answer_time"] == instant(values["answerTime"])
        assert row["end_time"] == instant(values["releaseTime"])
        assert row["trunk_in"] == str(values["mscIncomingTKGP"][1])
        lac, cell = values["location"]["locationAreaCode"], values["location"]["cellId"]
        assert row["cell_id"] == f"{int.from_bytes(lac, 'big')}-{int.from_bytes(cell, 'big')}"
        assert row.get("partial_sequence") == values.get("sequenceNumber")
        reference = values["callReference"]
        if len(reference) > 4 or "sequenceNumber" in values:
            assert row["record_key"].startswith("mo" + reference.hex())
        else:
            assert int(row["record_key"]) // 10**8 == int.from_bytes(reference, "big")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), min_size=1, max_size=5),
    st.ip_addresses(v=4).map(str),
)
def test_pycrate_reads_the_same_from_bearers(
    charging: int, sequence: int, local: int, volumes: list[tuple[int, int]], address: str
):
    moment = ber.time(datetime(2026, 2, 3, 4, 5, 6, tzinfo=CET))
    containers = [
        ber.sequence(ber.context(3, ber.integer(up)), ber.context(4, ber.integer(down)), ber.context(5, b"\x02"),
                     ber.context(6, moment)) for up, down in volumes
    ]  # fmt: skip
    data = pgw(
        f5=ber.integer(charging), f17=ber.integer(sequence), f20=ber.integer(local), f12=containers, f23=b"\x08\x00",
        f9=[ber.context(0, [ber.ip(address)])], f35=[ber.tlv(0, 10, b"\x02")],
    )  # fmt: skip
    row = decoded(data, SourceConfig("pgw", zone=None))[0][0]
    record = cdr_modules().GPRSChargingDataTypes.GPRSRecord
    record.from_ber(data)
    kind, values = record.get_val()
    assert kind == "pGWRecord"
    assert row["call_link"] == str(values["chargingID"])
    assert row["partial_sequence"] == values["recordSequenceNumber"]
    traffic = values["listOfTrafficVolumes"]
    assert row["volume_up_bytes"] == sum(one["dataVolumeGPRSUplink"] for one in traffic)
    assert row["volume_down_bytes"] == sum(one["dataVolumeGPRSDownlink"] for one in traffic)
    packed = values["servedPDPPDNAddress"][1][1][1]
    assert row["source_ip"] == ".".join(map(str, packed))
    assert row["start_time"] == instant(values["recordOpeningTime"])
    assert row["trunk_out"] == values["accessPointNameNI"]


def swapped(octets: bytes) -> str:
    text = octets.hex()
    return "".join(text[at + 1] + text[at] for at in range(0, len(text), 2)).removesuffix("f")


def instant(octets: bytes) -> datetime:
    text = octets.hex()
    local = datetime.strptime("20" + text[:12], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    offset = timedelta(hours=int(text[14:16]), minutes=int(text[16:18]))
    return local - offset if octets[6:7] == b"+" else local + offset
