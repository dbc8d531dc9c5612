"""Exit 0: done. Exit 1: it ran and found something wrong, and says what, and in which file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.findings import FINDINGS_MAX, Findings
from tests.api.cli.conftest import HEADER, Run

GOOD = HEADER + "1,m,voice,46700000001,46700000002,2026-11-20T10:00:00Z,61\n"
HALF = GOOD + "2,m,voice,46700000001,46700000002,not a time,61\n"
OLD = HEADER + "3,m,voice,46700000001,46700000002,2022-11-20T10:00:00Z,61\n"
OTHER = "no,header\n1,2\n"


def watch(run: Run, root: Path, folder: Path, format_name: str = "csv") -> tuple[int, str]:
    ran = run(
        *("--root", root, "--json", "watch", "--once", "--settle", "0"),
        *("--source", "pbx", "--format", format_name, folder),
    )
    return ran.code, ran.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


@pytest.mark.parametrize("content", [GOOD, HALF, OLD], ids=["sound", "half sound", "past its period"])
def test_what_is_taken_in_as_it_should_be_is_done(run: Run, root: Path, folder: Path, content: str) -> None:
    (folder / "a.csv").write_text(content)
    assert watch(run, root, folder)[0] == 0
    assert run("--root", root, "ingest", "--source", "pbx", "--format", "csv", folder / "done" / "a.csv").code == 0


def test_a_file_that_moves_to_failed_is_told_with_its_reason(run: Run, root: Path, folder: Path) -> None:
    (folder / "a.csv").write_text(OTHER)
    (folder / "b.csv").write_text(GOOD)
    code, told = watch(run, root, folder)
    assert code == 1
    assert "a.csv: moved to failed/: the delivery names no field of the record" in told
    assert "b.csv" not in told
    assert watch(run, root, folder) == (0, "")


def test_a_file_of_another_format_is_told_though_it_is_durable(run: Run, root: Path, folder: Path) -> None:
    (folder / "a.csv").write_text(GOOD)
    code, told = watch(run, root, folder, "ndjson")
    assert code == 1
    assert "a.csv: every record was rejected (2 malformed)" in told and "format ndjson" in told
    assert [path.name for path in (folder / "done").iterdir()] == ["a.csv"]
    (folder / "a.csv").write_text(GOOD)
    assert watch(run, root, folder, "ndjson")[0] == 1  # the same bytes again: found once more
    ran = run("--root", root, "ingest", "--source", "pbx", "--format", "ndjson", folder / "done" / "a.csv")
    assert ran.code == 1 and "is it of format ndjson?" in ran.err


def test_names_that_move_the_cursor_are_shown_harmless(run: Run, root: Path, folder: Path) -> None:
    (folder / "a\x1b[2J\n.csv").write_text(OTHER)
    code, told = watch(run, root, folder)
    assert code == 1 and "\x1b" not in told and "a\N{REPLACEMENT CHARACTER}[2J" in told


def test_a_folder_of_another_format_is_told_in_few_lines() -> None:
    findings = Findings()
    for number in range(FINDINGS_MAX + 1_000):
        findings.add(f"{number}.csv", "no")
    assert len(list(findings.lines())) == FINDINGS_MAX + 1
    assert list(findings.lines())[-1] == "and 1,000 more"
