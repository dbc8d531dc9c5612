"""Asterisk: column counts, keys, quotes, local times over both changes of the clock, and anything at all as input."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders import decoder
from ingest.source_config import SourceConfig
from schemas.arrow import DELIVERED
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import Reject, RejectReason
from tests.examples import examples
from tests.ingest.decoding import unpacked

FIXTURES = Path(__file__).parents[1] / "fixtures" / "asterisk"
STOCKHOLM = SourceConfig("pbx", zone="Europe/Stockholm")
NEW_YORK = SourceConfig("pbx", zone="America/New_York")
UNIQUEID = "1795158902.52"


def decode(
    data: bytes, source: SourceConfig = STOCKHOLM, format: str = "asterisk-csv"
) -> tuple[list[dict[str, Any]], list[Reject]]:
    records: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for part in decoder(format).decode(io.BytesIO(data), source):
        table = unpacked(part.table)
        for column in table.schema:
            assert column.name == "position" or column.type == DELIVERED.field(column.name).type
        records += table.to_pylist()
        rejects += part.rejects
    positions = [record["position"] for record in records] + [reject.position for reject in rejects]
    assert sorted(positions) == sorted(set(positions))
    return records, rejects


def row(*optional: str, **fields: str) -> bytes:
    """Return one row of cdr-csv; fields are as written, quotes included only where a test puts them."""
    values = {
        "accountcode": '"cust-0042"', "src": '"46701740605"', "dst": '"46701740611"', "dcontext": '"in"',
        "clid": '"""Alva"" <46701740605>"', "channel": '"PJSIP/nord-0000001a"', "dstchannel": '"PJSIP/k42-0000001b"',
        "lastapp": '"Dial"', "lastdata": '"PJSIP/k42,30"', "start": '"2026-11-20 08:15:02"',
        "answer": '"2026-11-20 08:15:09"', "end": '"2026-11-20 08:17:31"', "duration": "149", "billsec": "142",
        "disposition": '"ANSWERED"', "amaflags": '"DOCUMENTATION"',
    } | fields  # fmt: skip
    return ",".join([*values.values(), *optional]).encode() + b"\n"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("columns", range(16, 22))
def test_every_column_count_gives_the_same_calls(columns: int) -> None:
    records, rejects = decode((FIXTURES / f"master_{columns}.csv").read_bytes())
    assert not rejects
    assert [record["disposition"] for record in records] == [
        "answered", "no-answer", "answered", "answered", "busy", "failed",
    ]  # fmt: skip
    first = records[0]
    assert first["calling_number"] == "46701740605"
    assert first["called_number"] == "46701740611"
    assert first["start_time"] == utc("2026-11-20 07:15:02")
    assert first["answer_time"] == utc("2026-11-20 07:15:09")
    assert first["end_time"] == utc("2026-11-20 07:17:31")
    assert (first["duration_ms"], first["billable_duration_ms"], first["utc_offset_s"]) == (149_000, 142_000, 3600)
    assert (first["trunk_in"], first["trunk_out"]) == ("PJSIP/trunk-nord", "PJSIP/kund42")
    assert (first["account"], first["switch"], first["end_inferred"]) == ("cust-0042", "pbx", False)
    assert records[1]["answer_time"] is None
    assert records[2]["trunk_in"] == "DAHDI/i1"
    assert len({record["record_key"] for record in records}) == 6


@pytest.mark.parametrize("columns", [15, 22])
def test_a_column_count_that_no_setting_writes_is_rejected_without_its_bytes(columns: int) -> None:
    data = row()
    data = data[: data.rindex(b",")] + b"\n" if columns == 15 else row(*["1"] * 6)
    records, rejects = decode(data + row())
    assert [record["position"] for record in records] == [2]
    assert rejects == [Reject(1, RejectReason.COLUMN_COUNT, None, 0, len(data) - 1, None)]


def test_the_key_is_the_best_that_the_columns_allow() -> None:
    def key(data: bytes) -> str:
        return str(decode(data)[0][0]["record_key"])

    assert key(row(f'"{UNIQUEID}"', '""', '""', '"1795158900.1"', "57")) == f"{UNIQUEID}/57"
    assert key(row('""', '"1795158900.1"', "57")) == "1795158900.1//57"
    assert key(row(f'"{UNIQUEID}"', '"x"')).startswith(f"{UNIQUEID}:")
    assert key(row()).startswith("row:")


def test_rows_of_one_uniqueid_differ_by_channels_and_start() -> None:
    tail = (f'"{UNIQUEID}"', '""')
    data = b"".join(
        (
            row(*tail),
            row(*tail, dstchannel='"PJSIP/k43-0000001c"'),
            row(*tail, channel='"PJSIP/syd-0000001d"'),
            row(*tail, start='"2026-11-20 08:15:03"'),
            row(*tail, duration="150"),
        )
    )
    keys = [record["record_key"] for record in decode(data)[0]]
    assert len(set(keys)) == 4
    assert keys[4] == keys[0]  # the same record with other content: a conflict, not another call


def test_equal_rows_without_any_key_are_counted_and_a_second_delivery_has_the_same_keys() -> None:
    data = row() + row(dst='"46701740612"') + row() + row()
    keys = [record["record_key"] for record in decode(data)[0]]
    assert [key.rpartition(":")[2] for key in keys] == ["1", "1", "2", "3"]
    assert [record["record_key"] for record in decode(data)[0]] == keys


@pytest.mark.parametrize("times", [1, 2000])
def test_a_system_name_like_a_digest_is_no_digest(times: int) -> None:
    data = row('"row:nord-1795158900.1"', '""', '""', '""', "57") * times
    assert decode(data)[0][-1]["record_key"] == "row:nord-1795158900.1/57"


def test_occurrences_are_counted_over_stretches() -> None:
    keys = [record["record_key"] for record in decode(row() * 40_000)[0]]
    assert [key.rpartition(":")[2] for key in keys] == [str(number) for number in range(1, 40_001)]


def test_the_seventeenth_column_is_told_by_its_form() -> None:
    assert decode(row(f'"{UNIQUEID}"'))[0][0]["call_link"] == UNIQUEID
    assert decode(row('"ast01-1795158902.52"'))[0][0]["switch"] == "ast01"
    for userfield in ('""', '"kontor"', '"1795158902"', '"42.5"'):
        assert decode(row(userfield))[0][0]["record_key"].startswith("row:")
    with_sequence = row('"kontor"', '""', '"1795158900.1"', "57")
    assert decode(with_sequence)[0][0]["record_key"] == "1795158900.1//57"


def test_option_columns_decides_against_the_form() -> None:
    chosen = SourceConfig("pbx", zone="Europe/Stockholm", options={"columns": "userfield"})
    records, _ = decode(row(f'"{UNIQUEID}"'), chosen)
    assert records[0]["record_key"].startswith("row:")
    assert decode(row(f'"{UNIQUEID}"', '""'), chosen)[1][0].reason is RejectReason.COLUMN_COUNT


@pytest.mark.parametrize("columns", ["uniqueid,colour", "sequence,uniqueid", "uniqueid,uniqueid", "src"])
def test_option_columns_refuses_what_cdr_csv_does_not_write(columns: str) -> None:
    with pytest.raises(ConfigurationError):
        decode(row(), SourceConfig("pbx", options={"columns": columns}))


def test_doubled_quotes_and_line_ends_inside_quotes_are_read() -> None:
    data = row(clid='"Brf ""Eken""\nTrapphus 2\r\n, <46701740640>"', src='""') + row()
    records, rejects = decode(data)
    assert not rejects
    assert [record["calling_number"] for record in records] == ["46701740640", "46701740605"]


def test_an_unclosed_quote_costs_one_row() -> None:
    data = row() + row(dst='"46701740611') + row() * 3
    records, rejects = decode(data)
    assert [record["position"] for record in records] == [1, 3, 4, 5]
    assert [(reject.position, reject.reason, reject.raw) for reject in rejects] == [(2, RejectReason.MALFORMED, None)]


def test_a_row_forged_in_a_caller_name_is_no_record() -> None:
    forged = row(src='"46701749999"').decode().replace('"', '""')
    records, rejects = decode(row(clid=f'"x\n{forged}y"') + row())
    assert not rejects
    assert [record["calling_number"] for record in records] == ["46701740605", "46701740605"]


def test_failed_attempts_are_records_without_an_answer() -> None:
    for word, disposition in (("NO ANSWER", "no-answer"), ("BUSY", "busy"), ("CONGESTION", "failed")):
        records, _ = decode(row(answer="", billsec="0", disposition=f'"{word}"'))
        assert records[0]["answer_time"] is None
        assert (records[0]["disposition"], records[0]["cause"]) == (disposition, word)


@pytest.mark.parametrize("zero", ['"0000-00-00 00:00:00"', '"0000-00-00 00:00:00.000000"', "0.000000"])
def test_a_time_that_a_database_writes_as_zero_is_not_there(zero: str) -> None:
    (unanswered,), _ = decode(row(answer=zero, billsec="0", disposition='"NO ANSWER"'))
    (same,), _ = decode(row(answer="", billsec="0", disposition='"NO ANSWER"'))
    assert unanswered["answer_time"] is None and same["start_time"] == unanswered["start_time"]
    (inferred,), _ = decode(row(end=zero))
    assert (inferred["end_time"], inferred["end_inferred"]) == (same["end_time"], True)
    (settled,), _ = decode(row(start=zero))
    assert (settled["start_time"], settled["end_time"]) == (same["start_time"], same["end_time"])


def test_a_zero_start_is_not_settled_by_an_end_that_occurs_twice() -> None:
    end = '"2026-10-25 02:30:00"'
    _, rejects = decode(row(start='"0000-00-00 00:00:00"', end=end, answer="", duration="60", billsec="0"))
    assert [(one.reason, one.field) for one in rejects] == [(RejectReason.MISSING_FIELD, "start")]


def test_a_missing_end_is_inferred_and_says_so() -> None:
    records, _ = decode(row(end=""))
    assert (records[0]["end_time"], records[0]["end_inferred"]) == (utc("2026-11-20 07:17:31"), True)
    _, rejects = decode(row(end="", duration=""))
    assert (rejects[0].reason, rejects[0].field) == (RejectReason.MISSING_FIELD, "end")


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"start": ""}, RejectReason.MISSING_FIELD, "start"),
        ({"start": '"2026-11-32 08:15:02"'}, RejectReason.BAD_TIME, "start"),
        ({"start": '"0000-00-00 00:00:00"', "end": ""}, RejectReason.MISSING_FIELD, "start"),
        ({"start": '"0000-00-00 00:00:00"', "duration": ""}, RejectReason.MISSING_FIELD, "start"),
        ({"end": '"0000-00-00 00:00:00"', "duration": ""}, RejectReason.MISSING_FIELD, "end"),
        ({"answer": '"0000-00-00 00:00:01"'}, RejectReason.BAD_TIME, "answer"),
        ({"end": '"9999-12-31 23:59:59"'}, RejectReason.BAD_TIME, "end"),
        ({"answer": '"20/11/2026 08:15"'}, RejectReason.BAD_TIME, "answer"),
        ({"end": '"2026-11-20 08:15:01"'}, RejectReason.BAD_TIME, "end"),
        ({"duration": "-5"}, RejectReason.BAD_FIELD, "duration"),
        ({"billsec": '"many"'}, RejectReason.BAD_FIELD, "billsec"),
    ],
)
def test_a_bad_field_is_rejected_and_what_was_said_is_cut_out(
    fields: dict[str, str], reason: RejectReason, field: str
) -> None:
    secret = '"SendText, kom hem ikväll"'
    records, rejects = decode(row(f'"{UNIQUEID}"', '"anteckning"', lastdata=secret, **fields))
    assert not records
    assert (rejects[0].reason, rejects[0].field) == (reason, field)
    assert rejects[0].raw is not None
    assert b"kom hem" not in rejects[0].raw and b"anteckning" not in rejects[0].raw
    assert b"46701740605" in rejects[0].raw


def test_what_is_kept_of_a_reject_can_be_replayed() -> None:
    _, rejects = decode(row(f'"{UNIQUEID}"', '""', end='"2026-11-20 08:15:01"', answer=""))
    raw = rejects[0].raw
    assert raw is not None
    mended, still = decode(raw.replace(b"08:15:01", b"08:17:31") + b"\n")
    assert not still
    assert mended[0]["record_key"] == decode(row(f'"{UNIQUEID}"', '""'))[0][0]["record_key"]


def test_what_is_refused_later_is_kept_without_what_was_said() -> None:
    data = row(f'"{UNIQUEID}"', '"anteckning"') + row("x", "y", "z", "v", "w", "u") + row(f'"{UNIQUEID}"', '"x"')
    part = next(decoder("asterisk-csv").decode(io.BytesIO(data), STOCKHOLM))
    assert part.raw_of is not None
    first, third = part.raw_of([1, 3])
    assert first is not None and b"anteckning" not in first and b"PJSIP/k42,30" not in first
    assert decode(first + b"\n")[0][0]["record_key"] == part.table["record_key"][0].as_py()
    assert third is not None


def test_bytes_outside_utf8_matter_only_where_they_are_stored() -> None:
    fine = row().replace(b"Alva", b"H\xe5kan")
    assert decode(fine)[0][0]["calling_number"] == "46701740605"
    _, rejects = decode(row().replace(b"cust-0042", b"h\xe5kan"))
    assert (rejects[0].reason, rejects[0].field) == (RejectReason.ENCODING, "account")
    assert decode(row().replace(b"cust", b"cu\x00st"))[1][0].reason is RejectReason.ENCODING
    with pytest.raises(InputError):
        decode(row().decode().encode("utf-16"))


def test_a_header_that_somebody_added_is_no_record() -> None:
    header = b"accountcode,src,dst,dcontext,clid,channel,dstchannel,lastapp,lastdata,start,answer,end,duration,billsec,"
    records, rejects = decode(header + b"disposition,amaflags\n" + row())
    assert (len(records), rejects) == (1, [])


def test_a_last_row_that_was_cut_off_is_not_taken_for_an_older_layout() -> None:
    whole = row(f'"{UNIQUEID}"', '""')
    cut = whole[: whole.rindex(b",")]
    records, rejects = decode(whole + cut)
    assert (len(records), rejects[0].reason) == (1, RejectReason.COLUMN_COUNT)
    assert len(decode(whole + whole.rstrip())[0]) == 2


def test_local_times_need_a_zone_or_usegmtime() -> None:
    with pytest.raises(ConfigurationError):
        decode(row(), SourceConfig("pbx", zone=None))
    with pytest.raises(ConfigurationError):
        decode(row(), SourceConfig("pbx", zone="Europe/Atlantis"))
    with pytest.raises(ConfigurationError):
        decode(row(), SourceConfig("pbx", options={"usegmtime": "perhaps"}))
    gmt = SourceConfig("pbx", zone=None, options={"usegmtime": "yes"})
    assert decode(row(), gmt)[0][0]["start_time"] == utc("2026-11-20 08:15:02")


SE, NY = STOCKHOLM, NEW_YORK
AUTUMN = [
    # source, start, end, duration in s, start UTC, end UTC, still ambiguous
    (SE, "2026-10-25 01:59:00", "2026-10-25 02:01:00", 120, "2026-10-24 23:59:00", "2026-10-25 00:01:00", False),
    (SE, "2026-10-25 02:30:00", "2026-10-25 02:40:00", 600, "2026-10-25 00:30:00", "2026-10-25 00:40:00", True),
    (SE, "2026-10-25 02:50:00", "2026-10-25 02:10:00", 1200, "2026-10-25 00:50:00", "2026-10-25 01:10:00", False),
    (SE, "2026-10-25 02:30:00", "2026-10-25 03:05:00", 2100, "2026-10-25 01:30:00", "2026-10-25 02:05:00", False),
    (SE, "2026-10-25 02:30:00", "2026-10-25 03:05:00", 5700, "2026-10-25 00:30:00", "2026-10-25 02:05:00", False),
    (SE, "2026-10-25 01:30:00", "2026-10-25 02:30:00", 7200, "2026-10-24 23:30:00", "2026-10-25 01:30:00", False),
    (NY, "2026-11-01 01:50:00", "2026-11-01 01:10:00", 1200, "2026-11-01 05:50:00", "2026-11-01 06:10:00", False),
    (NY, "2026-11-01 01:15:00", "2026-11-01 01:20:00", 300, "2026-11-01 05:15:00", "2026-11-01 05:20:00", True),
    (NY, "2026-11-01 01:30:00", "2026-11-01 02:05:00", 2100, "2026-11-01 06:30:00", "2026-11-01 07:05:00", False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "start", "end", "seconds", "start_utc", "end_utc", "ambiguous"), AUTUMN)
def test_the_hour_that_occurs_twice_is_settled_by_the_duration(
    source: SourceConfig, start: str, end: str, seconds: int, start_utc: str, end_utc: str, ambiguous: bool
) -> None:
    data = row(start=f'"{start}"', end=f'"{end}"', answer=f'"{start}"', duration=str(seconds), billsec=str(seconds))
    record = decode(data, source)[0][0]
    assert (record["start_time"], record["end_time"]) == (utc(start_utc), utc(end_utc))
    assert record["answer_time"] == record["start_time"]
    assert record["time_ambiguous"] is ambiguous
    local = datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert record["utc_offset_s"] == (local - utc(start_utc)).total_seconds()


SPRING = [
    (SE, "2026-03-29 01:59:30", "2026-03-29 03:00:30", "2026-03-29 00:59:30", "2026-03-29 01:00:30"),
    (NY, "2026-03-08 01:59:30", "2026-03-08 03:00:30", "2026-03-08 06:59:30", "2026-03-08 07:00:30"),
]


@pytest.mark.parametrize(("source", "start", "end", "start_utc", "end_utc"), SPRING)
def test_a_call_over_the_hour_that_never_occurs_has_its_length(
    source: SourceConfig, start: str, end: str, start_utc: str, end_utc: str
) -> None:
    record = decode(row(start=f'"{start}"', end=f'"{end}"', answer="", duration="60", billsec="0"), source)[0][0]
    assert (record["start_time"], record["end_time"]) == (utc(start_utc), utc(end_utc))
    assert record["time_ambiguous"] is False


# anything at all


def _mutations(data: bytes) -> st.SearchStrategy[bytes]:
    @st.composite
    def mutated(draw: st.DrawFn) -> bytes:
        text = bytearray(data)
        for _ in range(draw(st.integers(1, 6))):
            place = draw(st.integers(0, len(text)))
            piece = draw(st.sampled_from([b"", b'"', b'""', b",", b"\n", b"\x00", b"\xff", b"9" * 30, b"-", b"\r"]))
            text[place : place + draw(st.integers(0, 9))] = piece
        return bytes(text)

    return mutated()


def _lines(data: bytes) -> Iterator[bytes]:
    return (line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip())


@examples(50)
@given(st.one_of(st.binary(max_size=400), _mutations((FIXTURES / "master_21.csv").read_bytes())))
def test_whatever_comes_is_a_record_or_a_reject(data: bytes) -> None:
    try:
        records, rejects = decode(data)
    except InputError:
        return
    assert len(records) + len(rejects) <= len(list(_lines(data)))
    assert bool(records or rejects) == bool(list(_lines(data)))
    assert sorted([r["position"] for r in records] + [r.position for r in rejects]) == list(
        range(1, len(records) + len(rejects) + 1)
    )
