"""`retention status`, `certificate`, `calendar`: what is kept, what was erased, and the proof of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.cli.conftest import Run
from tests.conftest import FixedClock

ERASED_US = 1_858_291_200_000_000
"""2028-11-20: the period of the first day of `calls` is over."""


@pytest.fixture
def erased(run: Run, root: Path, calls: Path, clock: FixedClock) -> Path:
    assert run("--root", root, "ingest", "--source", "core", "--format", "csv", calls).code == 0
    clock.value_us = ERASED_US
    assert run("--root", root, "retention", "expire").code == 0
    return root


def test_a_certificate_is_verified_with_the_public_key_alone(run: Run, erased: Path, tmp_path: Path) -> None:
    listed = run("--root", erased, "--json", "retention", "certificate", "list").json["certificates"]
    assert [item["number"] for item in listed] == list(range(1, len(listed) + 1))
    file, page, key = tmp_path / "c.json", tmp_path / "c.html", tmp_path / "origin.pub"
    shown = run("--root", erased, "retention", "certificate", "show", listed[0]["partition"], "--out", file)
    assert shown.code == 0
    assert run("--root", erased, "--json", "retention", "certificate", "show", "1").json["ok"]
    key.write_bytes((erased / "audit" / "origin.pub").read_bytes())
    verified = run("retention", "certificate", "verify", file, "--key", key, "--html", page)
    assert verified.code == 0, verified.err
    for words in ("were erased on", "24 calendar months", "Verified"):
        assert words in verified.out
        assert words in page.read_text()
    assert "<script" not in page.read_text()
    file.write_text(file.read_text().replace("records", "recordz"))
    assert run("retention", "certificate", "verify", file, "--key", key).code == 1


def test_without_a_public_key_nothing_is_verified(run: Run, erased: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    run("--root", erased, "retention", "certificate", "show", "1", "--out", file)
    assert run("retention", "certificate", "verify", file).code == 2
    assert run("--root", erased, "retention", "certificate", "verify", file).code == 0
    assert run("--root", erased, "retention", "certificate", "show", "99").code == 1


def test_the_audit_log_is_verified_with_its_certificates(run: Run, erased: Path) -> None:
    assert run("--root", erased, "audit", "verify").code == 0
    assert run("--root", erased, "verify").code == 0


def test_status_tells_clock_and_what_is_overdue(run: Run, root: Path, calls: Path, clock: FixedClock) -> None:
    run("--root", root, "ingest", "--source", "core", "--format", "csv", calls)
    fresh = run("--root", root, "--json", "retention", "status")
    assert (fresh.code, fresh.json["clock"]["trusted"], fresh.json["due"]) == (0, True, 0)
    clock.value_us = ERASED_US + 3 * 3_600_000_000
    late = run("--root", root, "--json", "retention", "status")
    assert (late.code, late.json["due"]) == (1, 1)
    assert late.json["overdue_seconds"] >= 3 * 3600
    clock.jump(days=500)
    doubtful = run("--root", root, "retention", "status")
    assert doubtful.code == 1
    assert "NOT TRUSTED" in doubtful.out
    assert run("--root", root, "doctor").code == 1


def test_the_calendar_shows_every_day_and_what_comes(run: Run, erased: Path, tmp_path: Path) -> None:
    page = tmp_path / "calendar.html"
    shown = run("--root", erased, "--json", "retention", "calendar", "--html", page)
    phases = {item["phase"] for item in shown.json["days"]}
    assert phases == {"dropped", "floor passed"}
    assert shown.json["soon"][0]["records"] > 0
    text = page.read_text()
    assert all(item["date"] in text for item in shown.json["days"])
    told = run("--root", erased, "retention", "calendar").out
    assert "2026-11" in told
    assert "within 30 days" in told
    assert json.dumps(shown.json)
