"""Asterisk CEL: events folded to calls in both quoted layouts, over file ends, twice, and anything at all as input."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given

from ingest.decoders import decoder
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from schemas.packing import unpack_table
from schemas.rejects import RejectReason
from store import Receipt, ScanQuery, Store
from tests.conftest import FixedClock
from tests.examples import examples
from tests.ingest.decoding import DripStream, decode, fixture
from tests.ingest.spoilt import accounts_for, spoilt

LAYOUTS = {name: fixture("asterisk", f"{name}.csv") for name in ("cel", "cel_bare", "cel_older")}
CEL = LAYOUTS["cel"]
ROWS = CEL.splitlines(keepends=True)
SOURCE = SourceConfig("pbx", country="SE")
SAMPLE = (
    "Master.csv => ${CSV_QUOTE(${eventtype})},${CSV_QUOTE(${eventtime})},${CSV_QUOTE(${CALLERID(name)})},"
    "${CSV_QUOTE(${CALLERID(num)})},${CSV_QUOTE(${CALLERID(ANI)})},${CSV_QUOTE(${CALLERID(RDNIS)})},"
    "${CSV_QUOTE(${CALLERID(DNID)})},${CSV_QUOTE(${CHANNEL(exten)})},${CSV_QUOTE(${CHANNEL(context)})},"
    "${CSV_QUOTE(${CHANNEL(channame)})},${CSV_QUOTE(${CHANNEL(appname)})},${CSV_QUOTE(${CHANNEL(appdata)})},"
    "${CSV_QUOTE(${CHANNEL(amaflags)})},${CSV_QUOTE(${CHANNEL(accountcode)})},${CSV_QUOTE(${CHANNEL(uniqueid)})},"
    "${CSV_QUOTE(${CHANNEL(linkedid)})},${CSV_QUOTE(${BRIDGEPEER})},${CSV_QUOTE(${CHANNEL(userfield)})},"
    "${CSV_QUOTE(${userdeftype})},${CSV_QUOTE(${eventextra})}"
)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


def deliver(store: Store, data: bytes) -> Receipt:
    return ingest_stream(store, SOURCE, "asterisk-cel", io.BytesIO(data))


def calls(store: Store) -> list[dict[str, Any]]:
    """Return the stored calls by start, without what is empty."""
    now_us = store.clock.now_us()
    found: list[dict[str, Any]] = []
    for batch in store.scan(ScanQuery(now_us - 30 * 86_400_000_000, now_us)):
        found += unpack_table(pa.Table.from_batches([batch])).to_pylist()
    found = [{name: value for name, value in row.items() if value is not None} for row in found]
    return sorted(found, key=lambda row: row["start_time"])


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def check(found: list[dict[str, Any]]) -> None:
    """Check the three calls of the fixture."""
    answered, busy, given_up = found
    assert answered["record_key"] == answered["call_link"] == "pbx1-1795165200.10"
    assert (answered["calling_number"], answered["called_number"]) == ("46701740605", "46701740611")
    assert answered["start_time"] == utc("2026-11-20 09:00:00.1")
    assert answered["answer_time"] == utc("2026-11-20 09:00:07.501")
    assert answered["end_time"] == utc("2026-11-20 09:01:07.602")
    assert (answered["duration_ms"], answered["billable_duration_ms"]) == (67_502, 60_101)
    assert (answered["disposition"], answered["cause"], answered["end_inferred"]) == ("answered", "16", False)
    assert (answered["trunk_in"], answered["trunk_out"]) == ("PJSIP/nord", "PJSIP/kund42")
    assert (answered["account"], answered["switch"], answered["service_type"]) == ("cust-0042", "pbx1", "voice")
    assert (busy["disposition"], busy["cause"]) == ("busy", "17")
    assert "answer_time" not in busy and "billable_duration_ms" not in busy
    assert (busy["dialled_number"], busy["forwarded_number"]) == ("4687650000", "46701740699")
    assert (given_up["disposition"], given_up["cause"]) == ("cancelled", "16")
    assert "trunk_out" not in given_up


@pytest.mark.parametrize("name", LAYOUTS)
def test_events_of_every_layout_become_the_same_calls(store: Store, name: str) -> None:
    receipt = deliver(store, LAYOUTS[name])
    assert (receipt.records, receipt.rejected, receipt.duplicates) == (len(ROWS), 0, 0)
    check(calls(store))
    assert store.verify() == []


def test_the_same_events_again_store_nothing(store: Store) -> None:
    deliver(store, CEL)
    again = deliver(store, CEL + b"\n")
    assert (again.records, again.duplicates, again.conflicts) == (len(ROWS), len(ROWS), 0)
    check(calls(store))


@pytest.mark.parametrize("cut", [1, 4, 5, 9, 13, 16, 18])
def test_a_call_may_go_on_in_the_next_file(store: Store, cut: int) -> None:
    deliver(store, b"".join(ROWS[:cut]))
    deliver(store, b"".join(ROWS[cut:]))
    check(calls(store))


def test_a_call_without_its_end_is_closed_with_what_was_seen(store: Store, clock: FixedClock) -> None:
    deliver(store, b"".join(row for row in ROWS if b"LINKEDID_END" not in row))
    assert calls(store) == []
    assert store.close_stale_sessions(store.clock.now_us() + 1) == 3
    found = calls(store)
    assert [call["end_time"] for call in found] == [
        utc("2026-11-20 09:01:07.601"), utc("2026-11-20 09:00:06.101"), utc("2026-11-20 09:01:50.201"),
    ]  # fmt: skip


def test_the_template_of_the_sample_is_the_default() -> None:
    chosen = SourceConfig("pbx", options={"template": SAMPLE})
    assert decode("asterisk-cel", CEL, chosen) == decode("asterisk-cel", CEL)
    short = SourceConfig("pbx", options={"template": "linkedid, uniqueid, eventtype, eventtime, cidnum"})
    rows, rejects = decode("asterisk-cel", b"1795165200.1,1795165200.1,CHAN_START,1795165200.5,46701740605\n", short)
    assert not rejects
    assert (rows[0]["calling_number"], rows[0]["switch"]) == ("46701740605", "pbx")


@pytest.mark.parametrize(
    "template", ["", "eventtype,eventtime,uniqueid", "eventtype,eventtime,uniqueid,linkedid,linkedid"]
)
def test_a_template_without_what_events_are_known_by_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError):
        list(decoder("asterisk-cel").decode(io.BytesIO(CEL), SourceConfig("pbx", options={"template": template})))


def test_local_times_are_read_in_the_zone_of_the_source() -> None:
    data = ROWS[0].replace(b"1795165200.100000", b"2026-11-20 10:00:00")
    rows, _ = decode("asterisk-cel", data, SourceConfig("pbx", zone="Europe/Stockholm"))
    assert (rows[0]["start_time"], rows[0]["utc_offset_s"]) == (utc("2026-11-20 09:00:00"), 3600)
    rows, _ = decode("asterisk-cel", data, SourceConfig("pbx", zone="America/New_York"))
    assert rows[0]["start_time"] == utc("2026-11-20 15:00:00")
    rows, rejects = decode("asterisk-cel", data, SourceConfig("pbx", zone=None))
    assert not rows and rejects[0].reason is RejectReason.BAD_TIME
    autumn = data.replace(b"2026-11-20 10", b"2026-10-25 02")
    rows, _ = decode("asterisk-cel", autumn, SourceConfig("pbx", zone="Europe/Stockholm"))
    assert (rows[0]["start_time"], rows[0]["time_ambiguous"]) == (utc("2026-10-25 00:00:00"), True)


def test_nothing_that_was_said_leaves_the_decoder() -> None:
    rows, rejects = decode("asterisk-cel", CEL)
    assert not rejects and "said" not in str(rows) and "Alva" not in str(rows) and "PJSIP/kund42,30" not in str(rows)
    bad = b"".join(ROWS).replace(b"179516522", b"x79516522")
    rows, rejects = decode("asterisk-cel", bad)
    assert [reject.reason for reject in rejects] == [RejectReason.BAD_TIME]
    assert rejects[0].raw is not None and b"said" not in rejects[0].raw and b"USER_DEFINED" in rejects[0].raw
    part = next(decoder("asterisk-cel").decode(io.BytesIO(CEL), SOURCE))
    assert part.raw_of is not None
    kept = part.raw_of([1, 14])
    assert all(raw is not None and b"said" not in raw and b"Alva" not in raw for raw in kept)


def test_a_caller_cannot_shift_the_columns_of_a_bare_row() -> None:
    bare = LAYOUTS["cel_bare"].splitlines(keepends=True)
    forged = b'Al","46709999999","x'
    for row in bare:
        if b'"Alva"' in row:
            rows, rejects = decode("asterisk-cel", row.replace(b"Alva", forged))
            assert not rows and len(rejects) == 1 and b"9999999" not in (rejects[0].raw or b"")
    quoted = bare[0].replace(b"Alva", b'Al "the" Va')
    assert decode("asterisk-cel", quoted)[0][0]["calling_number"] == "46701740605"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"CHAN_START", b"", RejectReason.MISSING_FIELD),
        (b'"pbx1-1795165200.10","pbx1-1795165200.10"', b'"pbx1-1795165200.10",""', RejectReason.MISSING_FIELD),
        (b"1795165200.100000", b"", RejectReason.MISSING_FIELD),
        (b"1795165200.100000", b"1e9", RejectReason.BAD_TIME),
        (b"46701740605", b"4670\xe5", RejectReason.ENCODING),
        (b"46701740605", b"4670\x00", RejectReason.ENCODING),
        (b',"3",', b",", RejectReason.COLUMN_COUNT),
        (b',"3",', b',"3,', RejectReason.MALFORMED),
    ],
)
def test_an_event_that_cannot_be_is_refused_alone(old: bytes, new: bytes, reason: RejectReason) -> None:
    data = ROWS[0].replace(old, new) + ROWS[0]
    rows, rejects = decode("asterisk-cel", data)
    assert [(reject.position, reject.reason) for reject in rejects] == [(1, reason)]
    assert [row["position"] for row in rows] == [2]
    latin = ROWS[0].replace(b"Alva", b"\xc5sa")
    assert decode("asterisk-cel", latin)[1] == [], "what is not stored may be in any encoding"


def test_small_reads_give_the_same() -> None:
    assert decode("asterisk-cel", DripStream(CEL)) == decode("asterisk-cel", CEL)


@examples(50)
@given(spoilt([row for data in LAYOUTS.values() for row in data.splitlines(keepends=True)]))
def test_anything_at_all_is_accounted_for(data: bytes) -> None:
    accounts_for("asterisk-cel", data)
