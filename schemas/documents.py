"""Documents made from the table of fields: the field reference and the JSON Schema of one delivered record. Pure."""

from __future__ import annotations

from typing import Any, Final

from schemas.arrow import packed_columns
from schemas.fields import FIELDS, INPUT_ALIASES, SCHEMA_VERSION, SERVICE_TYPES, STORE_FIELDS, Digest, Field, Kind

_JSON: Final[dict[Kind, dict[str, Any]]] = {
    Kind.IDENTIFIER: {"type": "string"},
    Kind.ADDRESS: {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]},
    Kind.MAC: {"type": "string"},
    Kind.LABEL: {"type": "string"},
    Kind.TEXT: {"type": "string"},
    Kind.TIME: {"type": "string", "format": "date-time"},
    Kind.INTEGER: {"type": "integer"},
    Kind.SMALL: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    Kind.FLAG: {"type": "boolean"},
}

_DIGESTS: Final = {Digest.NONE: "no", Digest.EXACT: "exact", Digest.SECOND: "to the second"}

_INTRODUCTION: Final = f"""\
# Fields of the canonical record

This page is generated from `schemas/fields.py` (`make generate`). Schema version {SCHEMA_VERSION}.

A field's *category* decides retention and disclosure. *Identity* fields say which record it is; *digest* says whether,
and how exactly, a field counts when two deliveries of one record are compared (a missing value fits any).
*Target* is the kind of identifier under which a search finds the field. There is no field for content.
"""


def field_reference() -> str:
    """Return docs/FIELDS.md."""
    lines = [
        _INTRODUCTION,
        "| id | field | columns | category | unit | required | identity | digest | target | meaning |",
        "|--:|---|---|---|---|---|---|---|---|---|",
        *(_row(field) for field in FIELDS),
        "",
        "## Other names in deliveries",
        "",
        "| name | field | times |",
        "|---|---|--:|",
        *(f"| `{alias}` | `{name}` | {factor} |" for alias, (name, factor) in INPUT_ALIASES.items()),
        "",
        "Only the store sets " + ", ".join(f"`{name}`" for name in sorted(STORE_FIELDS)) + ".",
        "Service types: " + ", ".join(SERVICE_TYPES) + ".",
    ]
    return "\n".join(lines) + "\n"


def _row(field: Field) -> str:
    columns = ", ".join(f"`{column.name}` {_type(str(column.type))}" for column in packed_columns(field))
    meaning = field.doc if field.source is None else f"{field.doc} {field.source}."
    cells = (
        str(field.id),
        f"`{field.name}`",
        columns,
        field.category.value,
        field.unit or "",
        "" if field.nullable else "yes",
        "yes" if field.identity else "",
        _DIGESTS[field.digest],
        field.index or "",
        meaning,
    )
    return "| " + " | ".join(cells) + " |"


def _type(name: str) -> str:
    return "dictionary of string" if name.startswith("dictionary") else name.replace("fixed_size_binary", "binary")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of one delivered record (NDJSON, and the rows of canonical CSV)."""
    properties: dict[str, Any] = {}
    for field in FIELDS:
        if field.name not in STORE_FIELDS:
            properties[field.name] = _property(field)
    for alias, (name, factor) in INPUT_ALIASES.items():
        properties[alias] = {"description": f"{name}" + (f", times {factor}" if factor != 1 else "")} | (
            {"type": "number"} if factor != 1 else {"type": "string"}
        )
    properties["service_type"]["enum"] = list(SERVICE_TYPES)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:lagrum:record:{SCHEMA_VERSION}",
        "title": "One delivered record",
        "description": "Generated from schemas/fields.py. Times are RFC 3339 with Z or an offset.",
        "type": "object",
        "properties": properties,
        "required": ["start_time"],
        "additionalProperties": False,
    }


def _property(field: Field) -> dict[str, Any]:
    unit = f" Unit: {field.unit}." if field.unit else ""
    shape = dict(_JSON[field.kind])
    shape["type"] = [shape["type"], "null"]
    return {**shape, "description": field.doc + unit, "x-category": field.category.value}
