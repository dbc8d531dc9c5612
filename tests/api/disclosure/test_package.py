"""Packages: the same bytes for the same result, and nothing in them that is not signed."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from api.disclosure.package import MEMBERS, build, records_of, verify
from api.disclosure.selection import ORDER, permitted_fields
from schemas.errors import IntegrityError, ProcedureError
from schemas.fields import BY_NAME, FIELDS, Category
from schemas.legal_bases import basis_on
from schemas.packing import unpack_table
from store.clock import to_date
from tests.store.records import NOW_US, records, with_column

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
ABOUT = {"store": "s", "delivery": {"id": "SE-D-0", "sequence": 1, "of": 1}, "order": {"task": "SE-T-0"}}
BASIS = basis_on("secret-surveillance", to_date(NOW_US))
NAMES = permitted_fields(BASIS, BASIS.categories)


def result(rows: int = 5) -> pa.Table:
    packed = records(rows, seed=4)
    packed = with_column(packed, "conflict", [row == 1 for row in range(rows)])
    packed = with_column(packed, "account", [10_077] * rows)
    packed = with_column(packed, "batch_id", [1] * rows)
    packed = with_column(packed, "source", ["east"] * rows)
    packed = with_column(packed, "dedup_domain", ["east"] * rows)
    return unpack_table(packed).sort_by([(name, "ascending") for name in ORDER])


def package(rows: int = 5) -> bytes:
    return build(result(rows), NAMES, ABOUT, KEY).data


def test_the_same_result_gives_the_same_bytes() -> None:
    assert package() == package()


def test_csv_and_ndjson_tell_the_same_and_conflicts_are_marked() -> None:
    data = package()
    manifest = verify(data, PUBLIC)
    rows = records_of(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        table = list(csv.DictReader(io.StringIO(archive.read("records.csv").decode(), newline="")))
    assert len(rows) == len(table) == manifest["counts"]["records"] == 5
    assert manifest["counts"]["conflicts"] == 1
    assert [row["conflict"] for row in rows].count(True) == 1
    for row, cells in zip(rows, table, strict=True):
        assert list(cells) == list(NAMES)
        assert {name: _text(value) for name, value in row.items()} == {k: v for k, v in cells.items() if v}
        assert row["start_time"].endswith("Z")


def _text(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def test_a_field_that_is_not_permitted_never_leaves_even_if_it_is_in_the_table() -> None:
    rows = records_of(package())
    assert all("account" not in row for row in rows)
    assert b"0077" not in package()
    narrow = permitted_fields(BASIS, frozenset({Category.TIME}))
    data = build(result(), narrow, ABOUT, KEY).data
    left = {name for row in records_of(data) for name in row}
    assert left <= {field.name for field in FIELDS if field.category is Category.TIME} | {"conflict"}


def test_nothing_found_is_a_signed_answer() -> None:
    manifest = verify(build(result().slice(0, 0), NAMES, ABOUT, KEY).data, PUBLIC)
    assert (manifest["result"], manifest["counts"]["records"]) == ("none-found", 0)


def test_every_flipped_bit_is_found() -> None:
    data = package(2)
    for position in range(0, len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises(IntegrityError):
            verify(bytes(changed), PUBLIC)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_every_cut_splice_and_addition_is_found(data: st.DataObject) -> None:
    whole = PACKAGE
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    other = whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:]
    if other == whole:
        return
    with pytest.raises(IntegrityError):
        verify(other, PUBLIC)


PACKAGE = package(3)


def test_another_key_does_not_verify() -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(IntegrityError, match="another key"):
        verify(PACKAGE, other)


@pytest.mark.parametrize("change", ["record", "count", "extra-member", "compressed", "order"])
def test_a_package_made_over_by_somebody_without_the_key_does_not_verify(change: str) -> None:
    with zipfile.ZipFile(io.BytesIO(PACKAGE)) as archive:
        members = {name: archive.read(name) for name in MEMBERS}
    names = list(MEMBERS)
    if change == "record":
        members["records.ndjson"] = b"\n".join(members["records.ndjson"].split(b"\n")[1:])
    elif change == "count":
        manifest = json.loads(members["manifest.json"])
        manifest["counts"]["records"] = 2
        members["manifest.json"] = json.dumps(manifest).encode()
    elif change == "extra-member":
        members["extra.txt"] = b"hello"
        names.append("extra.txt")
    elif change == "order":
        names.reverse()
    sink = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if change == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), members[name], method)
    with pytest.raises(IntegrityError):
        verify(sink.getvalue(), PUBLIC)


def test_a_result_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.disclosure.package.RECORDS_MAX", 4)
    with pytest.raises(ProcedureError) as refusal:
        package(5)
    assert refusal.value.reason == "too-many-records"


def test_every_field_that_leaves_is_a_field_of_the_table() -> None:
    assert set(NAMES) <= set(BY_NAME)
