"""Mapping files: layouts, steps, keys, control lines, what is refused and what of it is kept."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.decoders import decoder
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import Reject, RejectReason
from tests.ingest.decoding import FIXTURES, DripStream, EndlessLine, fixture
from tests.ingest.reading import NOW_US, Pipe, taken

PAGE = (Path(__file__).parents[2] / "docs" / "sources" / "mapping.md").read_text(encoding="utf-8")
BASE = """
[layout]
kind = "delimited"
columns = ["id", "a", "b", "begun", "note"]
[key]
from = "id"
[fields.service_type]
value = "voice"
[fields.calling_number]
from = "a"
[fields.called_number]
from = "b"
[fields.start_time]
from = "begun"
"""
LINE = b"1,46700000001,46700000002,2026-11-03T10:00:00Z,secret words\n"


def source(mapping: str, **more: Any) -> SourceConfig:
    options = {"mapping": mapping, **more.pop("options", {})}
    return SourceConfig("legacy", options=options, **more)


def read(mapping: str, data: bytes | Any, **more: Any) -> tuple[list[dict[str, Any]], list[Reject]]:
    return taken("mapping", data, source(mapping, **more))


def example(name: str) -> tuple[str, bytes, list[dict[str, Any]]]:
    page = PAGE[PAGE.index(f"<!-- example: {name} -->") :]
    toml, text, expected = re.findall(r"```(?:toml|text|json)\n(.*?)```", page, re.DOTALL)[:3]
    return toml, text.encode(), json.loads(expected)


def told(record: dict[str, Any], names: Any) -> dict[str, Any]:
    return {
        name: value.strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(value, "strftime") else value
        for name, value in record.items()
        if name in names and value is not None
    }


@pytest.mark.parametrize(("name", "zone"), [("exchange", "Europe/Stockholm"), ("mobility", "UTC")])
def test_the_examples_of_the_page_are_stored_as_the_page_says(name: str, zone: str) -> None:
    toml, data, expected = example(name)
    records, rejects = read(toml, data, zone=zone, country="SE", options={"file_name": "46701740605.csv"})
    assert rejects == []
    assert [told(record, wanted) for record, wanted in zip(records, expected, strict=True)] == expected


def test_a_fixed_width_file_with_counted_lines_is_read() -> None:
    mapping = fixture("mapping", "fixed.toml").decode()
    records, rejects = read(mapping, fixture("mapping", "fixed.txt"), country="SE", zone=None)
    assert rejects == []
    names = ("record_key", "service_type", "calling_number", "called_number", "start_time", "disposition", "trunk_out")
    assert [tuple(told(record, names).values()) for record in records] == [
        ("0000100001", "voice", "46701740605", "46701740606", "2026-11-03T09:00:00Z", "answered", "1C0FFEE"),
        ("0000100002", "voice", "46701740607", "46701740606", "2026-11-03T09:00:30Z", "busy", "00C0FFEE"),
        ("0000100003", "sms", "46701740605", "72222", "2026-11-03T22:59:59Z", "sent", "1C0FFEE"),
    ]
    assert [record["duration_ms"] for record in records] == [61_000, 0, None]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"TRL0000000005", b"TRL0000000006"),
        (b"HDR20261103        0000000003", b"HDR20261103        0000000004"),
        (b"TRL0000000005\n", b""),
        (b"HDR20261103        0000000003\n", b""),
        (b"TRL0000000005", b"TRL"),
        (
            b"TRL0000000005\n",
            b"TRL0000000005\nV0000100009+46701740605    0701740606      20261103100000000061A1C0FFEE\n",
        ),
    ],
)
def test_a_file_whose_count_is_wrong_or_missing_is_refused_as_a_whole(old: bytes, new: bytes) -> None:
    data = fixture("mapping", "fixed.txt")
    assert old in data
    with pytest.raises(InputError):
        read(fixture("mapping", "fixed.toml").decode(), data.replace(old, new), zone=None)


def test_files_one_after_the_other_each_count_their_own_records() -> None:
    data = fixture("mapping", "fixed.txt") * 3
    records, _ = read(fixture("mapping", "fixed.toml").decode(), data, country="SE", zone=None)
    assert len(records) == 9


def test_characters_are_counted_not_bytes() -> None:
    mapping = (
        '[layout]\nkind = "fixed-width"\ncolumns = { id = [1, 3], trunk = [4, 9], begun = [10, 23] }\n'
        + """
[key]
from = "id"
[fields.service_type]
value = "voice"
[fields.trunk_in]
from = "trunk"
[fields.start_time]
from = "begun"
format = "%Y%m%d%H%M%S"
"""
    )
    records, rejects = read(mapping, "1  Malmö 20261103100000\n2  Lund  20261103100000\n".encode())
    assert ([record["trunk_in"] for record in records], rejects) == (["Malmö", "Lund"], [])
    latin = mapping.replace('"fixed-width"', '"fixed-width"\nencoding = "latin-1"')
    records, _ = read(latin, "1  Malmö 20261103100000\n".encode("latin-1"))
    assert records[0]["trunk_in"] == "Malmö"


@pytest.mark.parametrize("kind", ["json-lines", "json"])
def test_json_columns_are_paths(kind: str) -> None:
    mapping = f"""
[layout]
kind = "{kind}"
{'records = "data.calls"' if kind == "json" else ""}
[key]
from = "variables.uuid"
[fields.service_type]
value = "voip"
[fields.calling_number]
from = "legs.0.number"
[fields.called_number]
first_of = ["to.user", "dialled"]
[fields.start_time]
from = "begun"
format = "epoch_ms"
[fields.duration_ms]
from = "ms"
"""
    calls = [
        {
            "variables": {"uuid": "u1"},
            "legs": [{"number": 46700000001}],
            "to.user": "bob",
            "begun": 1793700000500,
            "ms": 7,
        },
        {"variables": {"uuid": "u2"}, "legs": [], "dialled": "46700000002", "begun": "1793700000500", "ms": None},
        {"variables": {"uuid": {"no": "text"}}, "begun": 1793700000500},
        ["no", "object"],
    ]
    lines = b"\n".join(orjson.dumps(call) for call in calls)
    records, rejects = read(mapping, lines if kind == "json-lines" else orjson.dumps({"data": {"calls": calls}}))
    assert [(one["record_key"], one["calling_number"], one["called_number"]) for one in records] == [
        ("u1", "46700000001", "bob"),
        ("u2", None, "46700000002"),
    ]
    assert records[0]["start_time"].microsecond == 500_000
    assert [(one.position, one.reason) for one in rejects] == [
        (3, RejectReason.BAD_FIELD),
        (4, RejectReason.MALFORMED),
    ]


def test_every_line_is_accounted_for_and_a_bad_one_costs_one_record() -> None:
    lines = [
        LINE,
        b"2,46700000001\n",
        b"3,46700000001,46700000002,not a time,\n",
        b"\n",
        b'4,"46700000001",46700000002,2026-11-03T10:00:00Z,"two\nlines, of ""words"""\n',
        b'5,"46700000001,46700000002,2026-11-03T10:00:00Z,\n',
        b"6,46700000001,46700000002,2026-11-03T10:00:00Z,\xff\n",
        b"7,46700000001,46700000002,2026-11-03T10:00:00Z,x",
    ]
    records, rejects = read(BASE, b"".join(lines))
    assert [record["record_key"] for record in records] == ["1", "4", "7"]
    assert [(one.position, one.reason) for one in rejects] == [
        (2, RejectReason.COLUMN_COUNT),
        (3, RejectReason.BAD_TIME),
        (5, RejectReason.MALFORMED),
        (6, RejectReason.ENCODING),
    ]
    again = read(BASE, Pipe(b"".join(lines), 7))
    assert [record["record_key"] for record in again[0]] == ["1", "4", "7"]


def test_the_clean_road_and_the_exact_road_read_alike() -> None:
    rows = [b'%d,"4670000%04d",46700000002,2026-11-03T10:00:00Z,"a ""b"", c"\n' % (row, row) for row in range(500)]
    fast = read(BASE, b"".join(rows))[0]
    slow = read(BASE, b'x,1,3,2026-11-03T10:00:00Z,"y\nz"\n' + b"".join(rows))[0]
    assert len(fast) == 500
    trimmed = [{**one, "batch_position": one["batch_position"] - 1} for one in slow[1:]]
    assert trimmed == fast


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks_of_spreadsheets_are_taken(line_end: bytes, mark: bytes) -> None:
    mapping = BASE.replace('columns = ["id", "a", "b", "begun", "note"]', "header = true")
    data = mark + b"id,a,b,begun,note\n" + LINE + LINE.replace(b"1,", b"2,", 1)
    records, rejects = read(mapping, data.replace(b"\n", line_end))
    assert ([record["record_key"] for record in records], rejects) == (["1", "2"], [])


def test_a_file_without_a_column_that_is_read_is_refused_as_a_whole() -> None:
    mapping = BASE.replace('columns = ["id", "a", "b", "begun", "note"]', "header = true")
    with pytest.raises(InputError, match="lacks the column 'begun'"):
        read(mapping, b"id,a,b,start,note\n" + LINE)
    with pytest.raises(InputError, match="has twice the column 'a'"):
        read(mapping, b"id,a,a,begun,note\n" + LINE)


def test_a_line_without_end_is_read_past() -> None:
    endless: Any = EndlessLine(LINE, 9 << 20, b"\n" + LINE.replace(b"1,", b"2,", 1))
    records, rejects = read(BASE, endless)
    assert [record["record_key"] for record in records] == ["1", "2"]
    assert [one.reason for one in rejects] == [RejectReason.TOO_LONG]


def test_comments_and_first_lines_are_no_records() -> None:
    mapping = BASE.replace('kind = "delimited"', 'kind = "delimited"\nskip_lines = 2\ncomment = "#"')
    records, rejects = read(
        mapping, b'"title\n2,3\n# a\n' + LINE + b"#x\n#y\n" + LINE.replace(b"1,", b"2,", 1) + b"# end"
    )
    assert [(record["record_key"], record["batch_position"]) for record in records] == [("1", 1), ("2", 2)]
    assert rejects == []


def test_a_service_that_no_lookup_knows_is_refused_by_its_name() -> None:
    mapping = BASE.replace('value = "voice"', 'from = "note"\nsteps = [{ lookup = { V = "voice" } }]')
    _, rejects = read(mapping, LINE)
    assert [(one.reason, one.field) for one in rejects] == [(RejectReason.UNKNOWN_SERVICE, "service_type")]


def test_of_a_refused_record_only_the_columns_that_are_read_are_kept_and_they_can_be_replayed() -> None:
    wrong = BASE.replace('from = "begun"', 'from = "begun"\nformat = "%d/%m/%Y %H:%M"')
    data = LINE + b"2,46700000001,46700000002,2026-11-03T10:00:00Z\n"
    _, rejects = read(wrong, data)
    assert [one.raw is None for one in rejects] == [False, True]
    kept = rejects[0].raw or b""
    assert b"46700000001" in kept and b"secret" not in kept
    records, again = read(BASE, kept)
    assert ([record["record_key"] for record in records], again) == (["1"], [])


def test_equal_rows_are_told_apart_and_the_same_file_gives_the_same_keys() -> None:
    mapping = BASE.replace('from = "id"', "digest = true")
    first, _ = read(mapping, LINE * 2)
    second, _ = read(mapping, LINE * 2)
    keys = [record["record_key"] for record in first]
    assert len(set(keys)) == 2 and keys == [record["record_key"] for record in second]
    fields = BASE.replace('from = "id"', 'digest = ["calling_number", "start_time"]')
    one, other = (
        read(fields, line)[0][0]["record_key"] for line in (LINE, LINE.replace(b"46700000002", b"46700000003"))
    )
    assert one == other


def test_small_pieces_make_no_difference() -> None:
    toml, data, _ = example("exchange")
    config = source(toml, zone="UTC", country="SE")
    parts = [normalise(part, config, NOW_US) for part in decoder("mapping").decode(DripStream(data), config)]
    assert sum(part.table.num_rows for part in parts) == 3


def test_a_source_without_what_the_mapping_needs_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no mapping"):
        taken("mapping", LINE, SourceConfig("legacy"))
    local = BASE.replace('from = "begun"', 'from = "begun"\nformat = "%Y-%m-%d %H:%M:%S"')
    with pytest.raises(ConfigurationError, match="zone"):
        read(local, LINE, zone=None)
    with pytest.raises(ConfigurationError, match="file name"):
        read(BASE.replace('from = "a"', 'from = "@file"'), LINE)


def test_an_empty_delivery_holds_no_record() -> None:
    for name in ("exchange", "mobility"):
        toml, _, _ = example(name)
        plain = toml.partition("[trailer_line]")[0]
        assert list(decoder("mapping").decode(io.BytesIO(b""), source(plain, options={"file_name": "x"}))) is not None
        assert read(plain, b"", options={"file_name": "1.csv"}) == ([], [])


def test_the_fixtures_are_there() -> None:
    assert sorted(path.name for path in (FIXTURES / "mapping").iterdir()) == ["fixed.toml", "fixed.txt"]


def test_a_record_whose_party_no_alternative_names_is_refused_with_its_place() -> None:
    conditional = BASE.replace(
        '[fields.called_number]\nfrom = "b"', '[fields.called_number]\nwhen = { note = "MO" }\nfrom = "b"'
    )
    lines = b"".join(
        LINE.replace(b"1,", b"%d," % (number + 1), 1).replace(b"secret words", kind)
        for number, kind in enumerate((b"MO", b"XX", b""))
    )
    records, rejects = read(conditional, lines)
    assert [record["record_key"] for record in records] == ["1"]
    assert [(one.position, one.reason, one.field) for one in rejects] == [
        (2, RejectReason.MISSING_FIELD, "called_number"),
        (3, RejectReason.MISSING_FIELD, "called_number"),
    ]
    otherwise = conditional.replace("[fields.called_number]", "[[fields.called_number]]").replace(
        "[fields.start_time]", '[[fields.called_number]]\nvalue = ""\n[fields.start_time]'
    )
    records, rejects = read(otherwise, lines)
    assert (len(records), rejects) == (3, [])
    assert [record.get("called_number") for record in records] == ["46700000002", None, None]
