"""Columns of plain rows say the same by compiled loops over slices and by their twins over texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders import slices
from ingest.decoders.freeswitch.csv_columns import UUID
from ingest.decoders.plain_columns import PlainColumns, Slices
from ingest.times import ZoneTimes
from schemas.packing import pack_identifier
from tests.examples import examples

ZONE = ZoneTimes("Europe/Stockholm")
KEY = "0f6a1b2c-0001-4d00-9c00-46AA00000001"
TEXTS = st.one_of(
    st.text("0123456789", max_size=20),
    st.text("0123456789-: \x10aA", max_size=20),
    st.builds("2026-{:02}-{:02} {:02}:{:02}:{:02}".format, *[st.integers(0, most) for most in (13, 32, 25, 61, 61)]),
    st.sampled_from(["", KEY, KEY[:-1] + "\x10", KEY.replace("-", "\r"), "2026-10-25 02:30:00", "2026-03-29 02:30:00",
                     "2026-11-01 10:00:00", "2026-11-01T10:00:00", "å", "NORMAL_CLEARING", "a" * 40]),
)  # fmt: skip


def columns_of(texts: list[str], *, doubled: bool = False) -> PlainColumns:
    data = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in data])
    return PlainColumns(b"".join(data), len(data), {"a": Slices(ends - list(map(len, data)), ends, doubled), "b": None})


def told(column: Any) -> list[Any]:
    column.validate(full=True)
    found: list[Any] = column.to_pylist()
    return found


@given(texts=st.lists(TEXTS, min_size=1, max_size=30))
@examples(100)
def test_slices_say_what_texts_say(texts: list[str]) -> None:
    columns, text = columns_of(texts), pa.array(texts, pa.string())
    given_texts = slices.empty_to_null(text)
    assert told(columns["a"]) == texts
    found, (packed, rest) = columns.identifiers("a"), pack_identifier(given_texts)
    if found["a"].type == pa.int64():
        assert told(found["a"]) == told(packed)
        assert told(found.get("a_text", pa.nulls(len(texts)))) == told(rest)
    else:
        assert (told(found["a"]), packed.null_count) == (told(given_texts), len(texts))
    for digits in (9, 18):
        whole, bad = columns.figures("a", digits)
        expected = slices.figures(text, digits)
        assert (told(whole), bad.tolist()) == (told(expected[0]), expected[1].tolist())
    assert told(columns.labels("a")) == told(given_texts)
    times, expected_times = columns.times("a", ZONE), ZONE.convert_column(given_texts)
    assert [told(one) for one in times[:3]] == [told(one) for one in expected_times[:3]]
    assert times.bad.tolist() == expected_times.bad.tolist()
    key, good = columns.uuids("a", UUID)
    lower, same = columns_of(texts, doubled=True).uuids("a", UUID)
    assert good.tolist() == same.tolist()
    assert told(key.filter(pa.array(good))) == told(lower.filter(pa.array(good)))


def test_too_many_labels_and_hours_and_doubled_quotes_are_read_as_texts() -> None:
    many = [f"label {number}" for number in range(5_000)]
    assert told(columns_of(many).labels("a")) == many
    hours = [f"2026-{1 + number // 600:02}-{1 + number // 24 % 25:02} {number % 24:02}:00:00" for number in range(900)]
    assert told(columns_of(hours).times("a", ZONE).times) == told(ZONE.convert_column(pa.array(hours)).times)
    assert told(columns_of(['a""b', "c"], doubled=True).labels("a")) == ['a"b', "c"]


def test_a_column_that_is_not_there_is_empty() -> None:
    columns = columns_of(["1", "2"])
    assert told(columns["b"]) == ["", ""]
    assert told(columns.identifiers("b")["b"]) == told(columns.labels("b")) == [None, None]
    assert told(columns.times("b", ZONE).times) == told(columns.figures("b", 9)[0]) == [None, None]
    assert (list(columns), len(columns), columns.has("b")) == (["a", "b"], 2, False)
