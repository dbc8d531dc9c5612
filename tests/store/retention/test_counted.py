"""How many holds reach a partition, and which categories of service it has, of a store of several days."""

from __future__ import annotations

from collections import Counter

from store import Store
from store.documents import Put
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records

MIDNIGHT_US = NOW_US - NOW_US % DAY_US


def hold(store: Store, name: str, first_days_ago: int, last_days_ago: int) -> None:
    body = {
        "state": "active",
        "basis": "preservation",
        "ends": "2029-01-01",
        "accounts": [],
        "start_us": MIDNIGHT_US - first_days_ago * DAY_US,
        "end_us": MIDNIGHT_US - (last_days_ago - 1) * DAY_US,
        "targets": [],
    }
    store.documents.commit([Put("hold", name * 16, body, expect=0)])


def test_each_partition_has_the_holds_whose_window_reaches_it_and_no_others(store: Store) -> None:
    for days_ago in (30, 20, 10, 3):
        deliver(store, records(5, first_key=10 * days_ago, days_ago=days_ago))
    assert [item.holds for item in store.partitions()] == [0, 0, 0, 0]
    hold(store, "a", 20, 10)
    hold(store, "b", 3, 3)
    hold(store, "c", 25, 3)
    hold(store, "d", 15, 12)
    assert [item.holds for item in store.partitions()] == [0, 2, 2, 2]


def test_categories_of_service_are_counted_by_partition(store: Store) -> None:
    tables = [records(40, seed=days_ago, first_key=100 * days_ago, days_ago=days_ago) for days_ago in (9, 9, 4)]
    assert store.catalog.services() == {}
    for number, table in enumerate(tables):
        deliver(store, table, source=f"s{number}")
    counted: dict[int, Counter[str]] = {4: Counter(), 9: Counter()}
    for days_ago, table in zip((9, 9, 4), tables, strict=True):
        counted[days_ago].update(table["service_type"].to_pylist())
    assert list(store.catalog.services().values()) == [counted[9], counted[4]]
