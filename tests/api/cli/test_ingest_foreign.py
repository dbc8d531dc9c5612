"""`lagrum ingest` of a file of another format."""

from __future__ import annotations

from pathlib import Path

from tests.api.cli.conftest import Run
from tests.api.world import CSV


def test_a_file_whose_every_record_is_rejected_is_asked_about_and_another_is_not(
    run: Run, root: Path, tmp_path: Path
) -> None:
    foreign, own = tmp_path / "foreign.xml", tmp_path / "own.csv"
    foreign.write_bytes(b"<root>\n<partial_cdr>\n<ID>1</ID>\n</partial_cdr>\n</root>\n")
    own.write_bytes(CSV)
    ran = run("--root", root, "ingest", "--source", "bw", "--format", "broadworks-xml", foreign)
    assert "every record was rejected; is it of format broadworks-xml?" in ran.err
    assert "every record" not in run("--root", root, "ingest", "--source", "pbx", "--format", "csv", own).err


def test_a_file_whose_every_record_was_read_and_refused_is_of_its_format(run: Run, root: Path, tmp_path: Path) -> None:
    for year, told in (("2016", "older than"), ("2066", "in the future")):
        file = tmp_path / f"{year}.csv"
        file.write_bytes(CSV.replace(b"2026-", year.encode() + b"-"))
        ran = run("--root", root, "ingest", "--source", "pbx", "--format", "csv", file)
        assert "every record was rejected: " in ran.err and told in ran.err
        assert "is it of format" not in ran.err


def test_a_file_that_cannot_be_read_is_told_with_what_to_do(run: Run, root: Path, tmp_path: Path) -> None:
    names = CSV.split(b"\n")[0]
    for content, told in (
        (names.replace(b",", b";"), "not divided by commas"),
        (b"sep=;\n" + names, "not divided by commas"),
        (b"a,b\n1,2\n", "docs/FIELDS.md"),
        (b"PK\x03\x04 a workbook", "csv"),
    ):
        file = tmp_path / "odd.csv"
        file.write_bytes(content + b"\n")
        ran = run("--root", root, "ingest", "--source", "pbx", "--format", "csv", file)
        assert ran.code == 1
        hint = next(line for line in ran.err.splitlines() if "odd.csv: hint: " in line)
        assert told in hint.lower() or told in hint


def test_a_file_in_another_encoding_is_told_so(run: Run, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes(CSV.split(b"\n")[0] + b"\nl1,pbx,voice,0701740605,0700000002,Sj\xf6,5\n")
    ran = run("--root", root, "ingest", "--source", "pbx", "--format", "csv", file)
    assert "latin.csv: 1 record rejected (1 encoding)" in ran.err
    assert "not UTF-8" in ran.err and "is it of format" not in ran.err
