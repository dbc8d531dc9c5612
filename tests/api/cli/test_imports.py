"""What a short command does not need, it does not load."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

SLOW = {"fastapi", "uvicorn", "duckdb", "httpx", "rich", "phonenumbers", "numba", "pandas", "jwt", "nats"}
LARGE = {"pyarrow", "numpy", "cryptography"}
RARE = {"store.verification", "store.backup", "ingest.mapping"}
"""Parts of this program that a delivery does not need."""
SCRIPT = """
import sys
from api.cli import main
status = main(sys.argv[1:])
print("loaded", status, *{name.partition(".")[0] for name in sys.modules}, *sys.modules)
"""


def loaded(*words: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    mark, status, *names = done.stdout.splitlines()[-1].split()
    assert (mark, status) == ("loaded", "0")
    return set(names)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    assert loaded("init", str(folder / "store"), "--json") & SLOW == set()
    return folder / "store"


def test_help_loads_no_store() -> None:
    assert loaded("--help") & (SLOW | LARGE) == set()
    assert loaded("ingest", "--help") & (SLOW | LARGE) == set()


def test_status_and_ingest_load_nothing_slow(root: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls.csv"
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86_400))  # the program takes the machine's time
    calls.write_text(
        f"record_key,service_type,start_time,duration_s,calling_number\n1,voice,{day}T10:00:00Z,3,46701740605\n"
    )
    words = ["--root", str(root), "--json"]
    assert loaded(*words, "ingest", "--source", "pbx", "--format", "csv", str(calls)) & (SLOW | RARE) == set()
    assert loaded(*words, "status") & SLOW == set()
    assert loaded(*words, "compact") & (SLOW | RARE) == set()
    assert loaded(*words, "verify") & RARE >= {"store.verification"}


def test_a_client_of_the_service_loads_neither_server_nor_store() -> None:
    script = 'import sys, api.cli, api.client; print(*{name.partition(".")[0] for name in sys.modules})'
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    assert "httpx" in names
    assert names & {"fastapi", "uvicorn", "duckdb", "pyarrow", "numpy", "phonenumbers"} == set()


def test_the_test_sees_what_is_loaded(root: Path) -> None:
    assert "pyarrow" in loaded("--root", str(root), "--json", "status")
