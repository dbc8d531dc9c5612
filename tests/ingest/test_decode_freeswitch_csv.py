"""FreeSWITCH mod_cdr_csv: six templates, quotes that nothing escapes, local times over both changes of the clock."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders import decoder
from ingest.decoders.freeswitch.csv_cdr import TEMPLATES
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest.decoding import DripStream, decode, fixture
from tests.ingest.spoilt import accounts_for, spoilt

MASTERS = {name: fixture("freeswitch", f"master_{name}.csv") for name in TEMPLATES}
STOCKHOLM = SourceConfig("fs", zone="Europe/Stockholm")
NEW_YORK = SourceConfig("fs", zone="America/New_York")
EXAMPLE = MASTERS["example"].splitlines(keepends=True)
UUID = "0f6a1b2c-0001-4d00-9c00-46aa00000001"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def row(start: str, answer: str, end: str, duration: int, billsec: int) -> bytes:
    return (
        f'"Alva","46701740605","46701740611","public","{start}","{answer}","{end}","{duration}","{billsec}",'
        f'"NORMAL_CLEARING","{UUID}","","","PCMA","PCMA"\n'
    ).encode()


def one(data: bytes, source: SourceConfig = STOCKHOLM) -> dict[str, Any]:
    rows, rejects = decode("freeswitch-csv", data, source)
    assert not rejects
    return rows[0]


@pytest.mark.parametrize("told", [True, False], ids=["option", "sniffed"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_gives_the_same_legs(name: str, told: bool) -> None:
    source = SourceConfig("fs", zone="Europe/Stockholm", options={"template": name} if told else {})
    rows, rejects = decode("freeswitch-csv", MASTERS[name], source)
    assert not rejects
    first, second = rows
    assert (first["record_key"], first["call_link"], first["switch"]) == (UUID, UUID, "fs")
    assert (first["calling_number"], first["called_number"]) == ("46701740605", "46701740611")
    assert (second["calling_number"], second["called_number"]) == ("4687654321", "2001")
    assert first["answer_time"] == utc("2026-11-20 09:00:05")
    assert first["end_time"] == utc("2026-11-20 09:01:05")
    assert (first["billable_duration_ms"], first["utc_offset_s"], first["account"]) == (60_000, 3600, "cust-0042")
    assert first["disposition"] == "answered" and "answer_time" not in second
    if name == "opencdrrate":
        assert first["start_time"] == first["answer_time"] and second["start_time"] == second["end_time"]
        assert first["source_ip"] == "192.0.2.40" and second["trunk_out"] == "nord"
    else:
        assert first["start_time"] == utc("2026-11-20 09:00:00")
        assert (first["duration_ms"], first["cause"]) == (65_000, "NORMAL_CLEARING")
        assert (second["disposition"], second["cause"]) == ("busy", "USER_BUSY")
    if name == "asterisk":
        assert (first["trunk_in"], first["trunk_out"]) == ("sofia/internal", "sofia/external")
    if name in ("snom", "linksys"):
        assert first["user_agent"] == "Yealink SIP-T46S"


def test_rows_of_several_templates_may_be_mixed() -> None:
    rows, rejects = decode("freeswitch-csv", b"".join(MASTERS.values()), STOCKHOLM)
    assert (len(rows), rejects) == (2 * len(MASTERS), [])


def test_a_template_of_your_own_is_read_by_its_names() -> None:
    line = '"${uuid}","${start_epoch}","${end_epoch}","${caller_id_number}","${x}","${billsec}"'
    source = SourceConfig("fs", zone="Europe/Stockholm", options={"template": line})
    found = one(f'"{UUID}","1795165200","1795165265","46701740605","what, was said","60"\n'.encode(), source)
    assert (found["start_time"], found["end_time"]) == (utc("2026-11-20 09:00:00"), utc("2026-11-20 09:01:05"))
    assert "utc_offset_s" not in found and "said" not in str(found)


@pytest.mark.parametrize(
    "template", ["", "${uuid},${start_stamp}", "${caller_id_number},${start_stamp}", "${uuid},${ani}"]
)
def test_a_template_that_cannot_tell_a_leg_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError):
        decode("freeswitch-csv", EXAMPLE[0], SourceConfig("fs", options={"template": template}))


def test_without_a_zone_nothing_is_read() -> None:
    with pytest.raises(ConfigurationError):
        decode("freeswitch-csv", EXAMPLE[0], SourceConfig("fs", zone=None))


@pytest.mark.parametrize(
    ("source", "times", "figures", "starts", "ambiguous"),
    [
        # Spring: 02:30 does not occur and is read as before the change.
        (STOCKHOLM, ("2026-03-29 01:59:50", "", "2026-03-29 03:00:10"), (20, 0), "2026-03-29 00:59:50", False),
        (STOCKHOLM, ("2026-03-29 02:30:00", "", "2026-03-29 03:30:10"), (10, 0), "2026-03-29 01:30:00", False),
        # Autumn: the end in winter time and the duration leave one reading each.
        (STOCKHOLM, ("2026-10-25 02:30:00", "", "2026-10-25 03:00:00"), (5400, 0), "2026-10-25 00:30:00", False),
        (STOCKHOLM, ("2026-10-25 02:30:00", "", "2026-10-25 03:00:00"), (1800, 0), "2026-10-25 01:30:00", False),
        (STOCKHOLM, ("2026-10-25 02:59:50", "", "2026-10-25 02:00:10"), (20, 0), "2026-10-25 00:59:50", False),
        (STOCKHOLM, ("2026-10-25 02:30:00", "", "2026-10-25 02:30:10"), (10, 0), "2026-10-25 00:30:00", True),
        (NEW_YORK, ("2026-03-08 01:59:50", "", "2026-03-08 03:00:10"), (20, 0), "2026-03-08 06:59:50", False),
        (NEW_YORK, ("2025-11-02 01:30:00", "", "2025-11-02 02:00:00"), (1800, 0), "2025-11-02 06:30:00", False),
        (NEW_YORK, ("2025-11-02 01:30:00", "", "2025-11-02 02:00:00"), (5400, 0), "2025-11-02 05:30:00", False),
    ],
)
def test_local_times_are_right_over_both_changes_of_the_clock(
    source: SourceConfig, times: tuple[str, str, str], figures: tuple[int, int], starts: str, ambiguous: bool
) -> None:
    found = one(row(*times, *figures), source)
    assert (found["start_time"], found["time_ambiguous"]) == (utc(starts), ambiguous)
    assert (found["end_time"] - found["start_time"]).total_seconds() == figures[0]


def test_a_utc_source_has_no_ambiguous_hour() -> None:
    found = one(row("2026-10-25 02:30:00", "", "2026-10-25 02:30:10", 10, 0), SourceConfig("fs", zone="UTC"))
    assert (found["start_time"], found["time_ambiguous"]) == (utc("2026-10-25 02:30:00"), False)


def test_an_answer_in_1970_is_no_answer() -> None:
    found = one(row("2026-11-20 10:00:00", "1970-01-01 01:00:00", "2026-11-20 10:00:10", 10, 0))
    assert "answer_time" not in found and found["disposition"] == "failed"


def test_a_caller_cannot_shift_the_columns() -> None:
    for count in range(1, 8):
        forged = b'Alva","46709999999' + b'","x' * count
        rows, rejects = decode("freeswitch-csv", EXAMPLE[0].replace(b"Alva", forged) + EXAMPLE[1], STOCKHOLM)
        assert [row["position"] for row in rows] == [2]
        assert [reject.reason for reject in rejects] == [RejectReason.COLUMN_COUNT]


def test_a_spreadsheet_that_kept_the_seconds_is_read_and_one_that_lost_them_is_refused() -> None:
    values = next(csv.reader([EXAMPLE[0].decode()]))
    plain = ",".join(values).encode() + b"\r\n"
    assert one(plain) == one(EXAMPLE[0])
    quoted = io.StringIO()
    csv.writer(quoted, quoting=csv.QUOTE_MINIMAL).writerow(['Al "the" Va', *values[1:]])
    assert one(quoted.getvalue().encode()) == one(EXAMPLE[0])
    lost = plain.replace(b"2026-11-20 10:00:00", b"2026/11/20 10:00")
    rows, rejects = decode("freeswitch-csv", lost, STOCKHOLM)
    assert not rows and (rejects[0].reason, rejects[0].field) == (RejectReason.BAD_TIME, "start_stamp")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (UUID.encode(), b"0f6a", RejectReason.COLUMN_COUNT),
        (b"2026-11-20 10:00:00", b"", RejectReason.MISSING_FIELD),
        (b"2026-11-20 10:00:00", b"2026-11-31 10:00:00", RejectReason.BAD_TIME),
        (b"2026-11-20 10:01:05", b"2026-11-20 09:01:05", RejectReason.BAD_TIME),
        (b'"65"', b'"6.5"', RejectReason.BAD_FIELD),
        (b"46701740605", b"4670\xe5", RejectReason.ENCODING),
        (b"46701740605", b"4670\x00", RejectReason.ENCODING),
        (b'"PCMA",', b'"PC","MA",', RejectReason.COLUMN_COUNT),
    ],
)
def test_a_row_that_cannot_be_is_refused_alone(old: bytes, new: bytes, reason: RejectReason) -> None:
    rows, rejects = decode("freeswitch-csv", EXAMPLE[0].replace(old, new) + EXAMPLE[1], STOCKHOLM)
    assert [(reject.position, reject.reason) for reject in rejects] == [(1, reason)]
    assert [row["position"] for row in rows] == [2]


def test_nothing_that_was_said_is_kept() -> None:
    data = MASTERS["asterisk"].replace(b'"65"', b'"x"')
    rows, rejects = decode("freeswitch-csv", data, STOCKHOLM)
    assert rejects[0].raw is not None and UUID.encode() in rejects[0].raw
    for word in (b"said", b"Alva", b"gateway"):
        assert word not in rejects[0].raw
    assert "said" not in str(rows)
    latin = EXAMPLE[0].replace(b"Alva", b"\xc5sa")
    assert one(latin) == one(EXAMPLE[0]), "what is not stored may be in any encoding"


def test_small_reads_give_the_same() -> None:
    data = b"".join(MASTERS.values())
    assert decode("freeswitch-csv", DripStream(data), STOCKHOLM) == decode("freeswitch-csv", data, STOCKHOLM)


@examples(50)
@given(
    spoilt([line for data in MASTERS.values() for line in data.splitlines(True)]), st.sampled_from([None, *TEMPLATES])
)
def test_anything_at_all_is_accounted_for(data: bytes, template: str | None) -> None:
    source = SourceConfig("fs", zone="Europe/Stockholm", options={"template": template} if template else {})
    accounts_for("freeswitch-csv", data, source)


def test_utf_16_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError):
        list(decoder("freeswitch-csv").decode(io.BytesIO(EXAMPLE[0].decode().encode("utf-16")), STOCKHOLM))
