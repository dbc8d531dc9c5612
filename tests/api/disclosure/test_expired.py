"""A permitted location that is kept no longer: the package says so, and a delivery is not called wrong for it."""

from __future__ import annotations

from datetime import timedelta

from api.disclosure.completeness import COMPLETE, PARTLY, verify
from api.disclosure.expired import comparable, expired_fields
from schemas.retention import floor_until
from store import ScanQuery
from store.clock import to_date
from store.partitions import to_us
from store.reading.scan import Plan
from tests.api.disclosure.conftest import Court
from tests.store.retention.test_policies import move
from tests.store.test_siblings import shorten

EVER = ScanQuery(0, 2**60)


def test_a_package_names_the_days_whose_permitted_location_is_over(court: Court) -> None:
    store = court.store
    task = court.run(court.approved().id)
    whole = verify(store, task.id)
    assert (whole.verdict, whole.days_not_comparable) == (COMPLETE, {})
    tomorrow = to_date(store.clock.now_us()) + timedelta(days=1)
    shorten(store, tomorrow)
    assert expired_fields(store.plan(EVER), {"cell_id"}) == {}
    oldest, newest = (pick(item.date for item in store.partitions()) for pick in (min, max))
    move(store, court.clock, to_us(floor_until(newest, "location")))  # type: ignore[arg-type]
    assert expired_fields(store.plan(EVER), {"calling_number", "imsi"}) == {}
    days = expired_fields(store.plan(EVER), {"cell_id"})["expired"]["location"]
    assert oldest.isoformat() in days
    store.expire()
    report = verify(store, task.id)
    assert (report.verdict, report.problems) == (PARTLY, [])
    assert set(report.days_not_comparable) == {"location-over"}


def test_only_an_order_for_location_is_excused_by_its_end() -> None:
    reasons = {"2026-11-20": "location-over", "2026-11-21": "corrected"}
    assert comparable(reasons, Plan([]), {"imsi"}) == {"2026-11-21": "corrected"}
    assert comparable(reasons, Plan([]), {"cell_id"}) == reasons
