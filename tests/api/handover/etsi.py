"""ETSI's own schemas, where they lie beside the repository; they are ETSI's, and none of them is committed here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from lxml import etree

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "etsi"
SCHEMAS = FOLDER / "ts_103120_v1.12.1"
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True)


@cache
def _schema() -> etree.XMLSchema:
    entry = SCHEMAS / "schema" / "ts_103120_Validation.xsd"
    if not entry.is_file():
        pytest.skip("ETSI's schemas of TS 103 120 V1.12.1 are not beside the repository: nothing is validated")
    return etree.XMLSchema(etree.parse(str(entry)))


def validated(message: bytes) -> bytes:
    """Return a message that validates; the test is skipped where the schemas are not there."""
    schema = _schema()
    document = etree.fromstring(message, _PARSER)
    assert schema.validate(document), [str(error) for error in schema.error_log]
    return message


def checked(message: bytes) -> bytes:
    """Return a message, validated where the schemas are there: what is attacked with it is attacked everywhere."""
    return validated(message) if SCHEMAS.is_dir() else message


def examples() -> list[Path]:
    return sorted((SCHEMAS / "examples").glob("*.xml"))
