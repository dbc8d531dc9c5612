"""Parts: the same bytes for the same records, in every form, and nothing in them that is not permitted."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree.ElementTree import Element

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.disclosure import package, printing
from api.disclosure.selection import MARKS, permitted_fields
from api.disclosure.sliced_scan import cut
from api.handover import ts102657
from api.handover.markup import parse
from api.people.signing import canonical_json
from schemas.errors import IntegrityError
from schemas.fields import BY_NAME, FIELDS, Category
from tests.api.handover.made import BASIS, HEADER, KEY, NAMES, PUBLIC, inner_parts, manifest_of, result
from tests.examples import examples

XML = "{" + ts102657.NAMESPACE + "}"


def files(rows: int = 5, **more: Any) -> dict[str, bytes]:
    (part,) = inner_parts(result(rows), 100, **more)
    return package.open_part(part.as_dict(), part.data)


def test_the_same_result_gives_the_same_bytes() -> None:
    one, two = inner_parts(result(7)), inner_parts(result(7))
    assert [part.data for part in one] == [part.data for part in two]
    assert manifest_of(one) == manifest_of(two)


def test_a_field_that_is_not_permitted_never_leaves_even_if_it_is_in_the_table() -> None:
    for content in files().values():
        assert b"account" not in content
        assert b"10077" not in content
    narrow = permitted_fields(BASIS, frozenset({Category.TIME}))
    made = files(names=narrow)
    allowed = {field.name for field in FIELDS if field.category is Category.TIME} | set(MARKS)
    assert {name for line in made["records.ndjson"].splitlines() for name in json.loads(line)} <= allowed
    assert set(next(csv.reader(io.StringIO(made["records.csv"].decode())))) <= allowed
    fields = {item.get("name") for item in parse(made["records.xml"]).iter(f"{XML}field")}
    assert fields <= allowed
    assert b"partyNumber" not in made["records.xml"]


def test_every_value_of_a_record_is_in_its_xml_too() -> None:
    made = files(6)
    records = parse(made["records.xml"]).findall(f".//{XML}ResponseRecord")
    rows = [json.loads(line) for line in made["records.ndjson"].splitlines()]
    assert [item.findtext(f"{XML}recordNumber") for item in records] == [str(number) for number in range(1, 7)]
    for record, row in zip(records, rows, strict=True):
        assert _values(record) >= {_text(value) for value in row.values()}


def _values(record: Element) -> set[str]:
    return {item.text for item in record.iter() if item.text is not None}


def _text(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def test_the_xml_has_the_shape_of_the_published_export() -> None:
    row = {
        "service_type": "voice",
        "calling_number": "491700000045",
        "called_number": "491700000032",
        "start_time": "2026-05-21T13:01:00.000000Z",
        "end_time": "2026-05-21T13:06:57.000000Z",
        "utc_offset_s": 7200,
        "duration_ms": 357_000,
        "imsi": "260000000000045",
        "imei": "350050160000450",
    }
    root = parse(ts102657.response(HEADER, pa.Table.from_pylist([row]), 4, complete=True))
    path = ["retainedDataPayload", "responseMessage", "responsePayload", "ResponseRecord", "recordPayload"]
    path += ["telephonyRecord", "telephonyServiceUsage", "partyInformation", "TelephonyPartyInformation"]
    parties = root.findall("/".join(XML + step for step in path))
    assert [item.find(f"{XML}partyRole")[0].tag for item in parties] == [  # type: ignore[index]
        XML + "originating-Party",
        XML + "terminating-Party",
    ]
    times = parties[0].find(f"{XML}communicationTime")
    assert times is not None
    assert [item.text for item in times] == ["20260521150100+0200", "20260521150657+0200", "357"]
    order = [item.tag.removeprefix(XML) for item in parties[0]]
    assert order == ["partyRole", "partyNumber", "communicationTime", "iMSI", "iMEI", "partyType"]
    header = root.find(f"{XML}retainedDataHeader")
    assert header is not None
    assert [item.tag.removeprefix(XML) for item in header] == ["requestID", "cSPID", "timeStamp"]


def test_short_messages_name_their_request_and_escape_what_they_carry() -> None:
    made = [
        ts102657.request_acknowledgement(HEADER),
        ts102657.cancel_acknowledgement(HEADER),
        ts102657.status(HEADER, "AwaitingApproval"),
        ts102657.error(HEADER, "409", "<no> & \x00"),
    ]
    for message in made:
        root = parse(message)
        assert root.findtext(f".//{XML}requestNumber") == HEADER.number
        assert b"UNVERIFIED PROFILE" in message
    assert parse(made[3]).findtext(f".//{XML}errorDescription") == "<no> & \ufffd"


@given(sizes=st.lists(st.integers(0, 9), max_size=8), rows=st.integers(1, 7))
@examples(70)
def test_cutting_keeps_every_row_in_order_and_knows_the_last(sizes: list[int], rows: int) -> None:
    start = 0
    tables = []
    for size in sizes:
        tables.append(pa.table({"n": pa.array(range(start, start + size), pa.int64())}))
        start += size
    pieces = list(cut(tables, rows))
    assert [value for piece, _ in pieces for value in piece["n"].to_pylist()] == list(range(start))
    assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True] * bool(pieces)
    assert all(piece.num_rows == rows for piece, _ in pieces[:-1])
    assert all(0 < piece.num_rows <= rows for piece, _ in pieces[-1:])


def test_a_part_with_octets_beside_its_files_is_refused() -> None:
    (part,) = inner_parts(result(2), 100)
    for data in (part.data + b"x", b"x" + part.data, part.data[:-1], b""):
        with pytest.raises(IntegrityError):
            package.open_part(part.as_dict(), data)


def test_every_field_that_leaves_is_a_field_of_the_table() -> None:
    assert set(NAMES) <= set(BY_NAME)


def test_what_a_caller_chose_as_a_name_runs_in_no_spreadsheet() -> None:
    names = ("calling_number", "utc_offset_s", "conflict")
    chosen = ["=HYPERLINK(1)", "+0701", "-1+1", "@SUM(1)", "\t=1", "\uff1d1", "46701740007", "sip:a=b@x", None]
    rows = len(chosen)
    table = pa.table({"calling_number": chosen, "utc_offset_s": [-3600] * rows, "conflict": [False] * rows})
    printed = printing.printable(table, names)
    read = list(csv.reader(io.StringIO(printing.to_csv(printed, names).decode(), newline="")))
    assert [row[0] for row in read[1:]] == [
        *(f"'{text}" for text in chosen[:4]),
        "'\t'=1",
        "'\uff1d1",
        "46701740007",
        "sip:a=b@x",
        "",
    ]
    assert {row[1] for row in read[1:]} == {"-3600"}, "a number is one"
    lines = [json.loads(line) for line in printing.ndjson(printed).splitlines()]
    assert [line.get("calling_number") for line in lines] == chosen, "other forms have it as it was"


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        ("sip:a;=HYPERLINK(1)@x", "sip:a;'=HYPERLINK(1)@x"),
        ('a; "@SUM(1)', "a;' \"@SUM(1)"),
        ("a\n-1+1;\uff1d2", "a\n'-1+1;'\uff1d2"),
        ("a,=1;;+1", "a,=1;;'+1"),
        ("sip:46701740007@x;user=phone;a=-1", "sip:46701740007@x;user=phone;a=-1"),
    ],
)
def test_nor_in_one_that_cuts_lines_at_semicolons(chosen: str, shown: str) -> None:
    """As spreadsheets do in Sweden and most of Europe, whatever stands in quotes."""
    table = pa.table({"calling_number": ["46701740007"], "called_number": [chosen]})
    content = printing.to_csv(table, ("calling_number", "called_number")).decode()
    assert list(csv.reader(io.StringIO(content, newline="")))[1] == ["46701740007", shown]
    cells = [cell.lstrip(' "') for line in content.splitlines() for cell in line.split(";")]
    assert not any(cell.startswith(("=", "+", "-", "@", "\uff1d")) for cell in cells)


# What is signed by the right key and wrong all the same: each check alone, whatever stands behind it.

Edit = Callable[[dict[str, Any]], object]


def signed_members(edit: Edit = lambda _: None) -> dict[str, bytes]:
    body = json.loads(manifest_of(inner_parts(result(5))))
    edit(body)
    cover, _ = package.cover(canonical_json(body) + b"\n", {}, b"<html></html>", KEY)
    return package.unpack(cover, package.COVER, package.COVER_BYTES_MAX)


def resigned(change: Callable[[dict[str, Any]], object], dump: Callable[[Any], bytes] = canonical_json) -> bytes:
    said = json.loads(signed_members()["manifest.sig"])
    change(said)
    return dump(said) + b"\n"


LIES: dict[str, tuple[str, Edit]] = {
    "another format": ("format", lambda body: body.update(format="lagrum-delivery-1")),
    "a part is counted wrong": ("sequence", lambda body: body["parts"][1].update(sequence=3)),
    "a part begins elsewhere": ("sequence", lambda body: body["parts"][1].update(first_record=2)),
    "a part of nothing": ("files", lambda body: body["parts"][0].update(files=[])),
    "a file of another name": ("files", lambda body: body["parts"][0]["files"][0].update(name="../records.csv")),
}


@pytest.mark.parametrize(("words", "edit"), LIES.values(), ids=LIES)
def test_a_signed_manifest_that_is_none_of_ours_is_refused(words: str, edit: Edit) -> None:
    package.verify_cover(signed_members(), PUBLIC)
    with pytest.raises(IntegrityError, match=words):
        package.verify_cover(signed_members(edit), PUBLIC)


@pytest.mark.parametrize(
    ("words", "members"),
    [
        ("members", dict(reversed(signed_members().items()))),
        ("members", signed_members() | {"more.html": b""}),
        ("another key", signed_members() | {"manifest.sig": resigned(lambda said: said.update(algorithm="none"))}),
        ("another key", signed_members() | {"manifest.sig": resigned(lambda said: said.update(by="somebody"))}),
        (
            "one form",
            signed_members() | {"manifest.sig": resigned(lambda _: None, lambda said: json.dumps(said).encode())},
        ),
    ],
    ids=["another order", "a member more", "another algorithm", "more than is signed", "spelled otherwise"],
)
def test_a_cover_has_one_form(words: str, members: Mapping[str, bytes]) -> None:
    with pytest.raises(IntegrityError, match=words):
        package.verify_cover(members, PUBLIC)


def test_a_part_is_what_is_listed_and_so_is_each_file_in_it() -> None:
    (part,) = inner_parts(result(2), 100)
    listed = part.as_dict()
    for changes in ({"sha256": "00" * 32}, {"bytes": len(part.data) + 1}):
        with pytest.raises(IntegrityError, match=r"^part 1 is not"):
            package.open_part(listed | changes, part.data)
    first, *rest = listed["files"]
    for changes in ({"sha256": "00" * 32}, {"bytes": 1}):
        with pytest.raises(IntegrityError, match=r"^records.csv of part 1 is not"):
            package.open_part(listed | {"files": [first | changes, *rest]}, part.data)
    with pytest.raises(IntegrityError, match="number of records"):
        package.open_part(listed | {"records": 3}, part.data)


def test_a_file_of_members_is_of_these_alone_uncompressed_and_no_larger_than_such_files_are() -> None:
    data, sink = package.pack({"a": b"a" * 100}), io.BytesIO()
    assert package.unpack(data, ["a"], len(data)) == {"a": b"a" * 100}
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"a" * 100)
    for words, content, names, bytes_max in (
        ("larger", data, ["a"], len(data) - 1),
        ("should have", data, ["b"], len(data)),
        ("should have", data, ["a", "b"], len(data)),
        ("compressed", sink.getvalue(), ["a"], len(data)),
    ):
        with pytest.raises(IntegrityError, match=words):
            package.unpack(content, names, bytes_max)
