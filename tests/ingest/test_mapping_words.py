"""What a mapping may say: errors with field and line, steps, time formats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.mapping import read_mapping
from ingest.mapping.model import Step
from ingest.mapping.steps import apply_steps
from ingest.mapping.times import _one_by_one, read_times, time_format
from schemas.errors import ConfigurationError
from tests.ingest.test_mapping import BASE

WRONG = [
    ("[layout\n", "not TOML .at line 1"),
    (BASE.replace("[key]", "[keys]"), r"keys \(line 5\) is not known"),
    (BASE.replace('kind = "delimited"', 'kind = "spreadsheet"'), r"layout.kind \(line 3\) is one of"),
    (BASE.replace('kind = "delimited"', 'kind = "delimited"\nheadr = true'), r"layout.headr \(line 4\) is not known"),
    (BASE.replace('kind = "delimited"', 'kind = "delimited"\nheader = true'), r"layout \(line 2\) has either"),
    (BASE.replace('kind = "delimited"', 'kind = "delimited"\ndelimiter = "||"'), "one ASCII character"),
    (BASE.replace('kind = "delimited"', 'kind = "delimited"\nquote = ","'), "is the delimiter too"),
    (BASE.replace("[fields.called_number]", "[fields.called]"), r"fields.called \(line 11\) is no field"),
    (BASE.replace("[fields.called_number]", "[fields.batch_id]"), "set by the store"),
    (BASE.replace("[fields.called_number]", "[fields.record_key]"), r"set under \[key\]"),
    (BASE.replace('from = "b"', 'from = "c"'), r"fields.called_number \(line 11\) reads 'c'"),
    (BASE.replace('from = "b"', 'from = "b"\nvalue = "x"'), "one of `from`"),
    (BASE.replace('from = "b"', 'from = "b"\nformat = "%Y"'), r"called_number.format \(line 13\) is for times"),
    (BASE.replace('from = "b"', 'from = "b"\nsteps = [{ cut = 3 }]'), r"steps\[1\] \(line 13\) has no step 'cut'"),
    (BASE.replace('from = "b"', 'from = "b"\nsteps = [{ scale = "x" }]'), "scale takes a number"),
    (BASE.replace('from = "b"', 'from = "b"\nsteps = [{ lookup = "x" }]'), r"not under \[lookups\]"),
    (BASE.replace('from = "b"', 'from = "b"\nsteps = [{ extract = "(x" }]'), "regular expression"),
    (BASE.replace('from = "b"', 'from = "b"\nsteps = [{ strip = true, otherwise = "x" }]'), "does not need"),
    (BASE.replace('from = "begun"', 'from = "begun"\nformat = "%d.%m"'), "one of %Y and %y"),
    (BASE.replace('from = "begun"', 'from = "begun"\nformat = "%d.%m.%Y %q"'), "no directive %q"),
    (BASE.replace('from = "begun"', 'from = "begun"\nzone = "Mars"'), "no IANA time zone"),
    (
        BASE.replace('from = "begun"', 'from = "begun"\nformat = ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"]'),
        "nothing in the text",
    ),
    (BASE.replace("[fields.start_time]", "[fields.end_time]"), "lacks start_time"),
    (BASE.replace('from = "id"', 'digest = ["imsi"]'), r"names 'imsi', which is not under \[fields\]"),
    (BASE.replace('from = "id"', ""), r"key \(line 5\) has one of"),
    (BASE + '[trailer_line]\nstarts_with = "T"\ncount = "[0-9]+"', r"trailer_line.count \(line 17\) has no group"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_mapping_is_refused_with_its_place_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_mapping(text)


def test_a_mapping_that_is_too_large_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at most"):
        read_mapping("#" * (300 << 10))


def test_a_rule_after_one_without_condition_is_refused() -> None:
    text = BASE.replace(
        '[fields.called_number]\nfrom = "b"',
        '[[fields.called_number]]\nfrom = "b"\n[[fields.called_number]]\nfrom = "a"',
    )
    with pytest.raises(ConfigurationError, match=r"fields.called_number\[1\] \(line 11\) has no `when`"):
        read_mapping(text)


def stepped(texts: list[str | None], *steps: Step) -> tuple[list[str | None], list[bool]]:
    column, bad = apply_steps(pa.array(texts, pa.string()), steps)
    return column.to_pylist(), bad.tolist()


@pytest.mark.parametrize(
    ("word", "argument", "text", "expected"),
    [
        ("strip", True, " a b ", "a b"),
        ("strip", "'\"", "'a'", "a"),
        ("remove_prefix", ["sip:", "tel:"], "tel:1", "1"),
        ("remove_prefix", ["00"], "0", "0"),
        ("remove_suffix", ["#", "*"], "12#", "12"),
        ("add_prefix", "46", "70", "4670"),
        ("add_suffix", "x", "é", "éx"),
        ("before", "@", "a@b@c", "a"),
        ("before", "@", "a", "a"),
        ("after", "@", "a@b@c", "b@c"),
        ("after", "@", "a", "a"),
        ("after", "@", "a@", ""),
        ("replace", [" ", ""], "0 70 1", "0701"),
        ("extract", "^x(?P<value>[0-9]+)", "x12y", "12"),
        ("lookup", {"a": "b"}, "a", "b"),
        ("scale", 0.001, "1500", "1.5"),
        ("scale", 60, "2", "120"),
        ("scale", 1000, "-0.5", "-500"),
        ("hex", True, "0xfF", "255"),
        ("clock", True, "1:01:05", "3665"),
        ("clock", True, "90:05", "5405"),
        ("lower", True, "ÅB", "åb"),
        ("upper", True, "åb", "ÅB"),
        ("null_if", ["0"], "0", None),
    ],
)
def test_each_step_does_what_the_page_says(word: str, argument: Any, text: str, expected: str | None) -> None:
    assert stepped([text, None], Step(word, argument)) == ([expected, None], [False, False])


@pytest.mark.parametrize(
    ("word", "argument"),
    [("lookup", {"a": "b"}), ("extract", "^x(?P<value>y)"), ("scale", 2), ("hex", True), ("clock", True)],
)
def test_what_does_not_fit_is_refused_unless_the_step_says_otherwise(word: str, argument: Any) -> None:
    assert stepped(["zz", None], Step(word, argument))[1] == [True, False]
    assert stepped(["zz"], Step(word, argument, "null")) == ([None], [False])
    assert stepped(["zz"], Step(word, argument, "keep")) == (["zz"], [False])
    assert stepped(["zz"], Step(word, argument, "other")) == (["other"], [False])


def test_a_default_takes_the_place_of_nothing() -> None:
    assert stepped([None, "a"], Step("default", "x"))[0] == ["x", "a"]


def one_time(text: str, form: str, zone: str | None = "Europe/Stockholm") -> datetime | None:
    found = read_times(pa.array([text, None]), time_format(form), zone)
    assert found.bad.tolist()[1] is False
    assert (found.times[0].as_py() is None) == found.bad.tolist()[0]
    value: datetime | None = found.times[0].as_py()
    return value


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("03/11/2026 10:00:00", "%d/%m/%Y %H:%M:%S", "2026-11-03T09:00:00"),
        ("11/03/2026 10:00:00", "%m/%d/%Y %H:%M:%S", "2026-11-03T09:00:00"),
        ("20261103100000.25", "%Y%m%d%H%M%S.%f", "2026-11-03T09:00:00.250000"),
        ("261103 1000", "%y%m%d %H%M", "2026-11-03T09:00:00"),
        ("2026-11-03 10:00:00 +0530", "%Y-%m-%d %H:%M:%S %z", "2026-11-03T04:30:00"),
        ("3 Nov 2026 10:00 PM", "%e %b %Y %I:%M %p", "2026-11-03T21:00:00"),
        ("12:30 am 3-Nov-2026", "%I:%M %p %e-%b-%Y", "2026-11-02T23:30:00"),
        ("15:54:56.868 PST Dec 18 2025", "%H:%M:%S.%f %Z %b %d %Y", "2025-12-18T23:54:56.868000"),
        ("2026307 10:00", "%Y%j %H:%M", "2026-11-03T09:00:00"),
        ("1793696400", "epoch_s", "2026-11-03T09:00:00"),
        ("1793696400.5", "epoch_s", "2026-11-03T09:00:00.500000"),
        ("1793696400500", "epoch_ms", "2026-11-03T09:00:00.500000"),
        ("2026-11-03T10:00:00+01:00", "iso", "2026-11-03T09:00:00"),
        ("2026.11.03 (10:00)", "%Y.%m.%d (%H:%M)", "2026-11-03T09:00:00"),
    ],
)
def test_each_time_format_reads_its_form(text: str, form: str, expected: str) -> None:
    assert one_time(text, form) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2026-11-03 10:00:00", "%d/%m/%Y %H:%M:%S"),
        ("25/12/2026 10:00:00", "%m/%d/%Y %H:%M:%S"),
        ("30/02/2026 10:00:00", "%d/%m/%Y %H:%M:%S"),
        ("3/11/2026 10:00:00", "%d/%m/%Y %H:%M:%S"),
        ("03/11/2026 10:00:00 ", "%d/%m/%Y %H:%M:%S"),
        ("2026x11x03 (10:00)", "%Y.%m.%d (%H:%M)"),
        ("03/11/2026", "iso"),
        ("3 Nov 2026 13:00 PM", "%e %b %Y %I:%M %p"),
        ("3 Smarch 2026 10:00", "%e %b %Y %H:%M"),
        ("2025366 10:00", "%Y%j %H:%M"),
        ("yesterday", "epoch_s"),
    ],
)
def test_a_time_of_another_form_is_refused_never_guessed(text: str, form: str) -> None:
    assert one_time(text, form) is None


def test_the_hour_that_occurs_twice_is_the_first_and_flagged() -> None:
    texts = pa.array(["25.10.2026 02:30:00", "25.10.2026 03:30:00"])
    found = read_times(texts, time_format("%d.%m.%Y %H:%M:%S"), "Europe/Stockholm")
    assert [time.hour for time in found.times.to_pylist()] == [0, 2]
    assert found.ambiguous is not None and found.ambiguous.to_pylist() == [True, False]


@given(
    st.datetimes(datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2027-12-31")),
    st.sampled_from(["UTC", "Europe/Stockholm", "America/New_York"]),
    st.sampled_from(["%d/%m/%Y %H:%M:%S.%f", "%y%m%d%H%M%S", "%H:%M %m-%d-%Y"]),
)
def test_the_column_road_and_the_one_by_one_road_agree(moment: datetime, zone: str, form: str) -> None:
    text = pa.array([moment.strftime(form), (moment + timedelta(hours=7)).strftime(form), "no time", None])
    fast, slow = read_times(text, time_format(form), zone), _one_by_one(text, time_format(form), zone)
    assert fast.times.to_pylist() == slow.times.to_pylist()
    assert fast.bad.tolist() == slow.bad.tolist()
    told = fast.ambiguous.to_pylist() if fast.ambiguous is not None else [False] * 4
    assert told == slow.ambiguous.to_pylist() if slow.ambiguous is not None else True
