"""Generate what is made from the table of fields: `python -m schemas.generate` writes, `--check` only compares.

* `schemas/generated/record.schema.json`: JSON Schema (2020-12) of one canonical NDJSON record;
* `docs/FIELDS.md`: the field reference.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from schemas.arrow import delivered_type, packed_columns
from schemas.fields import (
    FIELDS,
    INPUT_ALIASES,
    SCHEMA_VERSION,
    SERVICE_TYPES,
    STORE_FIELDS,
    Category,
    Digest,
    Field,
    Kind,
)

ROOT: Final = Path(__file__).resolve().parent.parent

_INTEGER_TEXT: Final = {"type": "string", "pattern": "^-?[0-9]{1,18}$"}
_FORMS: Final[dict[Kind, list[dict[str, Any]]]] = {
    Kind.IDENTIFIER: [{"type": "string"}, {"type": "integer"}],
    Kind.ADDRESS: [{"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}],
    Kind.MAC: [{"type": "string"}],
    Kind.LABEL: [{"type": "string"}],
    Kind.TEXT: [{"type": "string"}],
    Kind.TIME: [{"type": "string", "format": "date-time"}],
    Kind.INTEGER: [{"type": "integer"}, _INTEGER_TEXT],
    Kind.SMALL: [{"type": "integer"}, _INTEGER_TEXT],
    Kind.FLAG: [{"type": "boolean"}, {"enum": ["true", "false", "0", "1"]}],
}
_REQUIRED: Final = ("record_key", "service_type", "start_time")
_TITLES: Final = {
    Category.RECORD: "Identity, service and bookkeeping",
    Category.PARTY: "Parties",
    Category.TIME: "Time",
    Category.ADDRESS: "Addresses",
    Category.EQUIPMENT: "Equipment",
    Category.LOCATION: "Location",
    Category.ROUTING: "Routing",
    Category.CHARGING: "Charging",
}


def json_schema() -> str:
    """Return the JSON Schema of one canonical NDJSON record."""
    properties: dict[str, Any] = {}
    for field in FIELDS:
        if field.name not in STORE_FIELDS:
            properties[field.name] = _property(field)
    for alias, (name, factor) in INPUT_ALIASES.items():
        same = f"`{name}` times {factor}" if factor == 1 else f"`{name}` in a unit {factor} times as large"
        forms = _FORMS[next(field for field in FIELDS if field.name == name).kind]
        if factor > 1:
            forms = [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]{1,18}(\.[0-9]{1,9})?$"}]
        properties[alias] = {"description": f"{same}.", "anyOf": [*forms, {"type": "null"}]}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:lagrum:record:{SCHEMA_VERSION}",
        "title": "Canonical record",
        "description": "One line of an NDJSON delivery. The source's settings may stand in for `switch` and `service_type`.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": [name for name in _REQUIRED if name == "start_time"],
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _property(field: Field) -> dict[str, Any]:
    forms = [{"enum": list(SERVICE_TYPES)}] if field.name == "service_type" else _FORMS[field.kind]
    told = field.doc if field.unit is None else f"{field.doc} Unit: {field.unit}."
    return {"description": told, "anyOf": [*forms, {"type": "null"}]}


def field_reference() -> str:
    """Return docs/FIELDS.md."""
    lines = [
        "# Fields of the canonical record",
        "",
        f"Generated from `schemas/fields.py` by `python -m schemas.generate`; schema version {SCHEMA_VERSION}.",
        "The names are the columns of the formats `csv`, `ndjson`, `arrow` and `parquet`, and of what is disclosed.",
        "There is no field for content, and there shall be none.",
        "",
        "How to read the tables: *required* means in every stored record (the store or the source's settings may fill",
        "it in); *set by the store* means that a delivery which names it is refused; *compared* says whether two",
        "deliveries of one record must agree on it, exactly or to the second; *search* names the kind of target under",
        "which it is found. Times are RFC 3339 (`2026-11-01T13:45:12.123456Z`, a space for the `T`, an offset for",
        "the `Z`).",
    ]
    for category in Category:
        chosen = [field for field in FIELDS if field.category is category]
        lines += ["", f"## {_TITLES[category]}", "", "| id | field | meaning | delivered as | stored as | notes |"]
        lines += ["|---|---|---|---|---|---|"]
        lines += [_row(field) for field in chosen]
    lines += ["", "## Other names that deliveries may use", "", "| name | means |", "|---|---|"]
    for alias, (name, factor) in INPUT_ALIASES.items():
        lines.append(f"| `{alias}` | `{name}`" + (f", in units of {factor} |" if factor != 1 else " |"))
    return "\n".join(lines) + "\n"


def _row(field: Field) -> str:
    notes = []
    if field.name in STORE_FIELDS:
        notes.append("set by the store")
    elif not field.nullable:
        notes.append("required")
    if field.identity:
        notes.append("identity")
    elif field.digest is not Digest.NONE:
        notes.append("compared" + (" to the second" if field.digest is Digest.SECOND else ""))
    if field.index is not None:
        notes.append(f"search: {field.index}")
    if field.source is not None:
        notes.append(field.source)
    stored = ", ".join(f"`{column.name}` {_type_name(column.type)}" for column in packed_columns(field))
    doc = field.doc if field.unit is None else f"{field.doc} ({field.unit})"
    delivered = _type_name(delivered_type(field))
    return f"| {field.id} | `{field.name}` | {doc} | {delivered} | {stored} | {'; '.join(notes)} |"


def _type_name(kind: Any) -> str:
    name = str(kind)
    return "label" if name.startswith("dictionary") else name.replace("fixed_size_binary[16]", "16 bytes")


def outputs() -> dict[Path, str]:
    """Return every generated file and its text."""
    return {
        ROOT / "schemas" / "generated" / "record.schema.json": json_schema(),
        ROOT / "docs" / "FIELDS.md": field_reference(),
    }


def stale() -> list[Path]:
    """Return the generated files that differ from what would be generated."""
    return [path for path, text in outputs().items() if not path.is_file() or path.read_text("utf-8") != text]


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` tell by the exit code whether they are fresh."""
    if arguments == ["--check"]:
        for path in stale():
            sys.stderr.write(f"{path.relative_to(ROOT)} is stale; run python -m schemas.generate\n")
        return 1 if stale() else 0
    if arguments:
        sys.stderr.write("usage: python -m schemas.generate [--check]\n")
        return 2
    for path, text in outputs().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
