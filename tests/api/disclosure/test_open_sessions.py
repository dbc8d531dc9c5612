"""What has not ended leaves as far as it is known, to whom the order names, and is told apart from records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.disclosure.completeness import COMPLETE, PARTLY, verify
from api.disclosure.orders import WrittenTarget
from api.disclosure.search import found
from schemas.errors import IntegrityError
from store import Store
from tests.api.disclosure.conftest import WINDOW, Court, peopled
from tests.api.disclosure.test_subjects import answered
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.open_sessions.test_sessions import event
from tests.store.records import DAY_US

ONLINE, OTHER = "46701231231", "46701231232"
HOUR_US = DAY_US // 24
BEGUN_US = WINDOW.end_us - 2 * HOUR_US
ORDER: dict[str, Any] = {"targets": (WrittenTarget("number", ONLINE),)}


@pytest.fixture
def court(tmp_path: Path, clock: FixedClock) -> Iterator[Court]:
    with Store.create(tmp_path / "root", clock=clock) as store:
        yield peopled(store, clock)


def begin(court: Court, session: str = "s1", number: str = ONLINE, start_us: int = BEGUN_US) -> None:
    key = int(session[1:]) * 10
    deliver(court.store, event("open", session, key, start_time=start_us, calling_number=int("1" + number)))


def end(court: Court, end_us: int, session: str = "s1", **fields: Any) -> None:
    deliver(court.store, event("close", session, int(session[1:]) * 10 + 1, end_time=end_us, **fields))


def delivered(court: Court, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]], Any]:
    task = court.released(**(ORDER | changes))
    opened, rows = court.open(court.deliver(task.id))
    return opened.manifest, rows, verify(court.store, task.id)


def test_an_open_session_leaves_without_an_end_and_is_counted(court: Court) -> None:
    begin(court)
    manifest, (row,), report = delivered(court)
    assert row["calling_number"] == ONLINE and "end_time" not in row
    assert (manifest["counts"]["records"], manifest["counts"]["open_sessions"]) == (1, 1)
    assert "Sessions still open" in (court.store.root.parent / "opened-1" / "summary.html").read_text()
    assert (report.verdict, report.problems, report.days_not_comparable) == (PARTLY, [], {"open-sessions": 1})


def test_nobody_elses_and_none_from_outside_the_window_leaves(court: Court) -> None:
    begin(court, "s1", OTHER)
    begin(court, "s2", start_us=WINDOW.end_us)
    end(court, WINDOW.start_us - 1, "s3", calling_number=int("1" + ONLINE))  # it ended before, and lacks its start
    manifest, rows, report = delivered(court)
    assert rows == [] and manifest["counts"]["open_sessions"] == 0
    assert report.verdict == COMPLETE


def test_what_has_an_end_and_no_beginning_yet_leaves_as_open(court: Court) -> None:
    end(court, WINDOW.end_us - HOUR_US, calling_number=int("1" + ONLINE))
    manifest, (row,), report = delivered(court)
    assert "start_time" not in row and manifest["counts"]["open_sessions"] == 1
    assert report.problems == []


def test_once_it_has_ended_it_is_a_record_and_the_earlier_delivery_stays_right(court: Court) -> None:
    begin(court)
    task = court.released(**ORDER)
    end(court, BEGUN_US + HOUR_US)
    assert verify(court.store, task.id).problems == []
    manifest, (row,), report = delivered(court)
    assert "end_time" in row and manifest["counts"]["open_sessions"] == 0
    assert (report.verdict, report.records) == (COMPLETE, 1)


def test_a_session_that_ends_while_it_is_searched_for_leaves_once(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(court)
    task, scan = court.approved(**ORDER), Store.scan

    def meanwhile(store: Store, query: Any) -> Any:
        monkeypatch.setattr(Store, "scan", scan)
        end(court, BEGUN_US + HOUR_US)
        return scan(store, query)

    monkeypatch.setattr(Store, "scan", meanwhile)
    released = court.release(court.run(task.id).id)
    opened, (row,) = court.open(court.deliver(released.id))
    assert "end_time" not in row and opened.manifest["counts"]["open_sessions"] == 1


def test_a_preflight_counts_it(court: Court) -> None:
    begin(court)
    task = court.checked(**ORDER)
    assert court.procedure.preflight(court.actor("approver-1"), task.id) == {"records": "1-9", "days": "1-9"}


def test_a_session_that_cannot_be_read_is_an_error_and_never_none_found(court: Court) -> None:
    begin(court)
    task = court.approved(**ORDER)
    with court.store.catalog.transaction() as cursor:
        cursor.execute("UPDATE sessions SET sealed = zeroblob(length(sealed))")
    with pytest.raises(IntegrityError):
        court.run(task.id)
    with pytest.raises(IntegrityError):
        list(found(court.store, court.procedure.casebook.case(task.id)))


def test_a_canary_reads_no_open_session(court: Court) -> None:
    begin(court)
    task = court.released(**ORDER, is_test=True)
    opened, rows = court.open(court.deliver(task.id))
    assert opened.manifest["counts"]["open_sessions"] == 0 and all("end_time" in row for row in rows)


def test_an_own_open_session_is_told_to_who_asks_for_the_own_records(court: Court) -> None:
    begin(court)
    begin(court, "s2", OTHER)
    (row,) = answered(court, ("number", ONLINE, "2026-01-01", ""))
    assert row["calling_number"] == ONLINE and "end_time" not in row
    end(court, BEGUN_US + HOUR_US)
    begin(court, "s3")
    assert ["end_time" in row for row in answered(court, ("number", ONLINE, "2026-01-01", ""))] == [True, False]
