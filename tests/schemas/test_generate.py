"""What is generated from the table of fields is fresh, and true."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.decoders.canonical_ndjson import NAMES
from schemas import generate
from schemas.fields import FIELDS


def test_the_generated_files_are_fresh() -> None:
    assert generate.stale() == []
    subprocess.run([sys.executable, "-m", "schemas.generate", "--check"], check=True, cwd=generate.ROOT)


def test_a_stale_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert len(generate.stale()) == 2
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "docs" / "FIELDS.md").write_text("old")
    assert generate.main(["--check"]) == 1
    assert generate.main(["--colour"]) == 2


def test_the_schema_names_what_ndjson_takes_and_nothing_else() -> None:
    schema = json.loads(generate.json_schema())
    assert set(schema["properties"]) == set(NAMES)
    assert schema["additionalProperties"] is False


def test_every_field_is_in_the_reference_once() -> None:
    text = generate.field_reference()
    for field in FIELDS:
        assert text.count(f"| {field.id} | `{field.name}` |") == 1
