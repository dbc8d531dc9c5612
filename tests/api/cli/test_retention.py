"""`retention status`, `certificate`, `calendar`: what is kept, what was erased, and the proof of it."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from api import pages
from schemas.retention import add_months, midnight
from store import Store
from store.clock import to_date
from store.partitions import to_us
from tests.api.cli.conftest import Run
from tests.conftest import FixedClock
from tests.store.retention.test_policies import version

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


def test_a_service_that_ends_sooner_is_told_by_every_view(
    run: Run, root: Path, calls: Path, clock: FixedClock, tmp_path: Path
) -> None:
    page = tmp_path / "calendar.html"
    run("--root", root, "ingest", "--source", "core", "--format", "csv", calls)
    with Store.open(root, clock=clock) as store:
        day, start = store.partitions()[0].date, to_date(clock.value_us) + timedelta(days=1)
        moved = version(2, start, {"standard": 24, "eight": 8}, voice="eight")
        store.policies.enforce(moved, actors=("one", "two"))
    end = midnight(add_months(day, 8))
    row = run("--root", root, "--json", "retention", "status").json["partitions"][0]
    assert (row["moved"][0]["services"], row["moved"][0]["class"], row["phase"]) == (["voice"], "eight", "kept")
    (told,) = run("--root", root, "--json", "retention", "explain", str(day)).json["classes"][0]["moved"]
    assert (told["services"], told["period_months"], told["citation"]) == (["voice"], 8, "Act 2 § 8")
    record = run("--root", root, "--json", "retention", "explain", "1:1").json
    assert (record["service"], len(record["classes"][0]["moved"])) == ("voice", 1)
    assert "Act 2 § 8" in run("--root", root, "retention", "explain", str(day)).out
    clock.value_us = to_us(end - timedelta(days=10))
    shown = run("--root", root, "--json", "retention", "calendar", "--html", page)
    assert {"day": end.date().isoformat(), "what": "voice"}.items() <= shown.json["soon"][0].items()
    assert "by class eight: voice of" in page.read_text()
    assert "voice records that ended on" in page.read_text()
    clock.value_us = to_us(end) + 3 * 3_600_000_000
    late = run("--root", root, "--json", "retention", "status")
    assert (late.code, late.json["due"], late.json["overdue_seconds"]) == (1, 1, 3 * 3600)
    assert late.json["partitions"][0]["phase"] == "due"
    assert run("--root", root, "--json", "retention", "expire", "--dry-run").json["moved"][0]["services"] == ["voice"]
    assert "dropped out of" in run("--root", root, "retention", "expire").out
    after = run("--root", root, "--json", "retention", "status")
    assert (after.code, after.json["due"], after.json["partitions"][0]["moved"]) == (0, 0, [])
    assert f"erased already, with a certificate: {day}" in run("--root", root, "retention", "calendar").out
    assert run("--root", root, "verify").code == 0


@pytest.mark.parametrize("year", [2024, 2025, 2026, 2029])
def test_a_month_is_named_above_the_week_in_which_it_begins(year: int) -> None:
    for month in range(1, 13):
        day = date(year, month, 1)
        (column,) = re.findall(rf'column:(\d+)">{month:02d}<', pages._months(year))
        squares = pages._year(year, {day: (next(iter(pages.COLOURS)), 1)}).split("<i")[1:]
        (place,) = (number for number, square in enumerate(squares) if "title" in square)
        assert place // 7 + 1 == int(column)


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
