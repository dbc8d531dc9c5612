"""The documents say what the table of fields says."""

from __future__ import annotations

from schemas.documents import field_reference, json_schema
from schemas.fields import FIELDS, STORE_FIELDS


def test_the_reference_names_every_field_once() -> None:
    rows = [line for line in field_reference().splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [row.split("`")[1] for row in rows] == [field.name for field in FIELDS]


def test_a_delivery_may_name_every_field_but_the_stores_own() -> None:
    schema = json_schema()
    assert not STORE_FIELDS & schema["properties"].keys()
    assert {field.name for field in FIELDS} - STORE_FIELDS <= schema["properties"].keys()
    assert schema["additionalProperties"] is False


def test_there_is_no_place_for_content() -> None:
    words = {"message", "text", "body", "content", "url", "payload", "sms_text"}
    assert not words & json_schema()["properties"].keys()
