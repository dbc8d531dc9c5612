"""Imports point one way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.architecture.source import PACKAGES, ROOT, imports, modules

ORDER = {name: rank for rank, name in enumerate(PACKAGES)}


def test_import_linter_keeps_its_contract() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    outcome = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout


def test_no_module_imports_upwards_even_inside_a_function() -> None:
    upwards = [
        (path, name)
        for path, tree in modules().items()
        for name in imports(tree)
        if (head := name.partition(".")[0]) in ORDER and ORDER[head] > ORDER[path.partition("/")[0]]
    ]
    assert upwards == []


def test_the_program_imports_neither_bench_nor_tests() -> None:
    strangers = [
        (path, name)
        for path, tree in modules().items()
        for name in imports(tree)
        if name.partition(".")[0] in {"bench", "tests"}
    ]
    assert strangers == []


def test_schemas_does_no_io() -> None:
    forbidden = {"os", "pathlib", "socket", "sqlite3", "tempfile", "shutil", "subprocess", "httpx"}
    found = [
        (path, name)
        for path, tree in modules().items()
        if path.startswith("schemas/") and path != "schemas/generate.py"
        for name in imports(tree)
        if name.partition(".")[0] in forbidden
    ]
    assert found == []
