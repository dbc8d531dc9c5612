"""The store under a policy of several classes: their partitions, their ends, and what each purpose may read."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ClockError, ConfigurationError, InputError, NotFoundError, ProcedureError
from schemas.fields import SERVICE_TYPES
from schemas.policy import DEFAULT_POLICY, FIRST, Policy, Version
from schemas.retention import DEFAULT_CLASS, RetentionClass, add_months, floor_until, midnight
from store import ScanQuery, Store
from store.clock import to_date
from store.partitions import PartitionKey, to_us
from store.retention.certificate_check import export, verify_file
from store.retention.certificates import stored
from store.retention.explain import of_date, of_record
from store.retention.policies import ENFORCED, distinct, partition_of, slots_of
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records, with_column

TODAY = to_date(NOW_US)
ACTORS = ("custodian-1", "custodian-2")
EVER = ScanQuery(0, 2**60)


def version(number: int, start: date, months: dict[str, int], **services: str) -> Version:
    """A version whose classes are `months`; services not named lie in `standard`."""
    classes = tuple(RetentionClass(name, count, "duty", f"Act {number} § {count}") for name, count in months.items())
    chosen = {name: services.get(name, "standard") for name in SERVICE_TYPES}
    return Version(number, start, classes, chosen)


SPLIT = version(2, date(1970, 1, 1), {"standard": 24, "short": 6, "ten": 10}, voice="short", data="ten")


@pytest.fixture
def split(store: Store) -> Store:
    """A store that is still empty, with three classes."""
    store.policies.enforce(SPLIT, actors=ACTORS)
    return store


def stored_rows(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


def move(store: Store, clock: FixedClock, moment_us: int) -> None:
    """Let time pass as it does while the service runs."""
    while clock.value_us < moment_us:
        clock.value_us = min(moment_us, clock.value_us + 7 * DAY_US)
        store.clock_guard.beat()


def test_each_category_lies_in_its_class_and_leaves_at_its_own_time(split: Store, clock: FixedClock) -> None:
    deliver(split, records(90))
    kept = {item.key.retention_class: item for item in split.partitions()}
    assert set(kept) == {"short", "ten", "standard"}
    assert sum(item.records for item in kept.values()) == stored_rows(split) == 90
    assert split.verify() == []
    for name, left in (("short", {"ten", "standard"}), ("ten", {"standard"}), ("standard", set())):
        key = kept[name].key
        end_us = to_us(max(kept[name].expires_at, key.floor_until))
        move(split, clock, end_us - 1)
        assert split.expire().partitions == ()
        move(split, clock, end_us)
        assert split.expire().partitions == (key,)
        assert {item.key.retention_class for item in split.partitions()} == left
        assert not split.keyring.has(key.ref)
        policy = verify_file(export(split, str(key)), str(split.audit.origin)).body["policy"]
        period = SPLIT.find(name)
        assert period is not None
        assert (policy["version"], policy["digest"], policy["months"], policy["citation"]) == (
            2,
            SPLIT.digest,
            period.period_months,
            period.citation,
        )
    assert split.verify() == []


def test_a_record_that_comes_again_as_another_category_is_not_stored_beside_itself(split: Store) -> None:
    table = records(30)
    deliver(split, table)
    other = table.set_column(
        table.column_names.index("service_type"),
        "service_type",
        pa.array(["mms"] * 30).dictionary_encode().cast(pa.dictionary(pa.int32(), pa.string())),
    )
    again = deliver(split, table, other)
    assert (again.duplicates, again.conflicts, again.accepted) == (30, 30, 0)
    assert sum(batch.num_rows for batch in split.scan(replace(EVER, include_conflicts=False))) == 30


def test_a_replay_of_a_class_that_is_over_is_refused_and_counted(split: Store) -> None:
    receipt = deliver(split, records(60, days_ago=215))
    assert receipt.reject_reasons == {"expired": receipt.rejected}
    assert receipt.rejected > 0
    assert {item.key.retention_class for item in split.partitions()} == {"ten", "standard"}


def test_shortening_ends_stored_records_from_its_day_on_and_not_before(store: Store, clock: FixedClock) -> None:
    deliver(store, records(20, days_ago=300))
    deliver(store, records(20, first_key=100))
    old, new = (item.key for item in store.partitions())
    start = TODAY + timedelta(days=10)
    shorter = version(2, start, {"standard": 8})
    with pytest.raises(ProcedureError, match="two persons"):
        store.policies.enforce(shorter, actors=ACTORS[:1])
    store.policies.enforce(shorter, actors=ACTORS)
    move(store, clock, NOW_US + 9 * DAY_US)
    assert (store.expire().partitions, stored_rows(store)) == ((), 40)
    move(store, clock, NOW_US + 10 * DAY_US)
    assert stored_rows(store) == 20
    assert store.expire().partitions == (old,)
    entry = next(entry for entry in store.audit.entries() if entry.kind == ENFORCED)
    assert (entry.public["digest"], entry.public["actors"]) == (shorter.digest, list(ACTORS))
    told = of_date(new.end_date, clock.now_us(), store.policies.current())["classes"][0]
    assert (told["period_months"], told["policy_version"], told["citation"]) == (8, 2, "Act 2 § 8")
    longer = version(3, start + timedelta(days=9), {"standard": 20})
    store.policies.enforce(longer, actors=ACTORS)
    assert store.partitions()[0].expires_at.date() == date(2027, 7, 20)
    assert store.verify() == []


def test_another_process_sees_the_version_with_its_next_question(store: Store, clock: FixedClock) -> None:
    with Store.open(store.root, clock=clock) as other:
        assert len(other.policies.current().versions) == 1
        store.policies.enforce(version(2, TODAY, {"standard": 12}), actors=ACTORS)
        assert len(other.policies.current().versions) == 2


def test_a_version_that_somebody_takes_out_of_the_catalog_is_missed(store: Store) -> None:
    store.policies.enforce(version(2, TODAY, {"standard": 12}), actors=ACTORS)
    with store.catalog.transaction() as cursor:
        cursor.execute("DELETE FROM documents WHERE kind = 'policy'")
    assert [problem.where for problem in store.verify()] == ["policy version 2"]


def test_a_policy_changes_tomorrow_at_the_earliest(store: Store) -> None:
    deliver(store, records(5))
    for start in (TODAY, TODAY - timedelta(days=1), date(1970, 1, 1)):
        with pytest.raises(ConfigurationError, match="tomorrow"):
            store.policies.enforce(version(2, start, {"standard": 12}), actors=ACTORS)


def test_nobody_changes_the_policy_while_the_clock_is_not_trusted(store: Store, clock: FixedClock) -> None:
    """A clock set back would let a version come into force in the past."""
    deliver(store, records(5))
    store.clock_guard.observe()
    clock.jump(days=-90)
    with pytest.raises(ClockError):
        store.policies.enforce(version(2, TODAY - timedelta(days=30), {"standard": 12}), actors=ACTORS)
    assert len(store.policies.current().versions) == 1


def test_a_record_that_has_no_end_has_no_partition() -> None:
    table = with_column(records(3), "end_time", [NOW_US, None, NOW_US])
    with pytest.raises(InputError, match="no end"):
        slots_of(DEFAULT_POLICY, table)


def test_slots_follow_the_version_of_the_day_on_which_each_record_ended() -> None:
    later = version(3, TODAY - timedelta(days=3), {"standard": 24, "short": 8, "ten": 10}, sms="short", data="ten")
    policy = Policy((FIRST, SPLIT, later))
    table = records(400, days_ago=6, days=6)
    slots = slots_of(policy, table)
    words = table.column("service_type").to_pylist()
    ends = np.asarray(table.column("end_time").cast(pa.int64()))
    for slot, word, end in zip(slots, words, ends, strict=True):
        day = to_date(int(end))
        assert partition_of(policy, int(slot)) == PartitionKey(day, policy.class_of(day, word))


def test_a_record_is_explained_by_its_place_in_its_delivery(split: Store) -> None:
    table = records(12)
    receipt = deliver(split, table)
    split.compact(everything=True)
    for position in (1, 12):
        word = table.column("service_type")[position - 1].as_py()
        told = of_record(split, receipt.batch_id, position)
        assert told["classes"][0]["class"] == SPLIT.services[word]
        assert told["classes"][0]["verdict"] == "kept: nothing removes it before the floor"
    with pytest.raises(NotFoundError):
        of_record(split, receipt.batch_id, 13)


def test_a_purpose_reads_no_further_than_its_window_and_says_so(store: Store) -> None:
    deliver(store, records(10))
    deliver(store, records(10, first_key=100, days_ago=40))
    old = store.partitions()[0].key
    for purpose in ("disclosure", "billing", "customer", "statistics", None):
        query = replace(EVER, purpose=purpose)
        assert store.plan(query).beyond == []
        assert sum(batch.num_rows for batch in store.scan(query)) == 20
    security = replace(EVER, purpose="security")
    plan = store.plan(security)
    assert (plan.beyond, plan.as_dict()["beyond_purpose"], len(plan.parts)) == ([old], [str(old)], 1)
    with pytest.raises(ProcedureError, match="security") as refused:
        list(store.scan(security))
    assert refused.value.reason == "purpose-window"
    near = replace(security, start_us=NOW_US - 30 * DAY_US, end_us=NOW_US)
    assert sum(batch.num_rows for batch in store.scan(near)) == 10


def test_an_unknown_purpose_is_refused_before_anything_is_read(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="purpose"):
        store.plan(replace(EVER, purpose="curiosity"))


def test_certificates_of_the_default_policy_name_its_first_version(store: Store, clock: FixedClock) -> None:
    deliver(store, records(5))
    move(store, clock, to_us(store.partitions()[0].expires_at))
    store.expire()
    (_, _, note) = stored(store)[0]
    assert f'"digest":"{FIRST.digest}"' in note
    assert DEFAULT_CLASS.citation in note


@given(st.lists(st.one_of(st.integers(0, 300), st.integers(0, 2**40)), max_size=30))
def test_the_slots_that_occur_are_told_whether_they_are_close_or_far_apart(slots: list[int]) -> None:
    assert distinct(np.array(slots, np.int64)) == sorted(set(slots))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 200),
            st.sampled_from(["standard", "short", "ten"]),
            *[st.integers(6, 24)] * 3,
        ),
        max_size=5,
    ),
    st.integers(-500, 500),
)
def test_a_record_ends_as_going_from_version_to_version_tells(
    changes: list[tuple[int, str, int, int, int]], offset: int
) -> None:
    """Day by day: the shortest period that it met counts, of its class or of the one to which it moved."""
    versions, start = [FIRST], date(2026, 1, 1)
    for number, (days, name, *months) in enumerate(changes, start=2):
        start += timedelta(days=days)
        classes = dict(zip(("standard", "short", "ten"), months, strict=True))
        versions.append(version(number, start, classes, sms=name))
    policy = Policy(versions)
    day = date(2026, 6, 1) + timedelta(days=offset)
    key = policy.class_of(day, "sms")
    rule = policy.service_rule(day, key, "sms")
    ends = policy.expires_at(day, key) if rule is None else rule.ends
    assert floor_until(day) - timedelta(days=1) <= ends <= midnight(add_months(day, 24))
    today, shortest = day, 24
    while True:
        chosen = policy.in_force(today)
        own, core = chosen.find(chosen.services["sms"]), chosen.find(key)
        shortest = min(shortest, *(one.period_months for one in (own, core) if one is not None))
        if today >= add_months(day, shortest):
            break
        today += timedelta(days=1)
    assert ends == midnight(today)
