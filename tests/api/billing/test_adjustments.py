"""Closed periods: what was fixed and what changed afterwards always add up to today's usage, whatever was done."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from api.billing import adjustments, periods
from api.billing.usage import Period, usage
from api.billing.usage_lines import LINE, MEASURES
from ingest.source_config import SourceConfig
from ingest.sources import register
from schemas.errors import BusyError, LagrumError, ProcedureError
from store import Store
from store.clock import to_date
from store.correcting.overlay import PLACE, Correction
from store.partitions import to_us
from store.retention import erasing
from tests.api.billing.test_usage import MONTH, calls
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.correcting.test_overlay import HERE

BOTH = ("custodian-1", "custodian-2")
few = partial(calls, days_ago=11, days=3)  # the first day is before the period
ART_17 = {"citation": "Regulation (EU) 2016/679 Art 17(1)(d)"}
Sums = dict[tuple[Any, ...], tuple[int, ...]]


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as store:
        register(store, SourceConfig("east", country="SE"), actor="test")
        yield store


def sums(*tables: Any) -> Sums:
    """Return the sum of lines by account, service and destination; lines that came to nothing are left out."""
    found: dict[tuple[Any, ...], Counter[str]] = {}
    for table in tables:
        for line in table.to_pylist():
            found.setdefault(tuple(line[name] for name in LINE.names[:3]), Counter()).update(
                {name: line[name] for name in MEASURES}
            )
    return {key: tuple(line[name] for name in MEASURES) for key, line in found.items() if any(line.values())}


def change(store: Store, kind: str, place: tuple[int, int], act: int = 1, **fields: Any) -> str:
    wanted = Correction(f"{act:016x}", kind, HERE, *place, fields, said={"by": BOTH[0], "reason": "x"})
    store.corrections.request(wanted, {"by": BOTH[0]})
    if kind == erasing.ERASED:
        erasing.erase(store, wanted.act, {}, BOTH, beside=partial(adjustments.before_erasure, store))
    else:
        store.corrections.confirm(wanted.act, {}, BOTH)
    return wanted.act


def counted(store: Store, period: Period = MONTH) -> list[tuple[int, int]]:
    """Return the places of the records that the period counts today."""
    query = replace(period.query(), columns=PLACE)
    return sorted((row["batch_id"], row["batch_position"]) for rows in store.scan(query) for row in rows.to_pylist())


def adds_up(store: Store) -> list[dict[str, Any]]:
    """Check that closing figures and adjustments are today's usage, account by account; return the adjustments."""
    fixed, is_fixed = periods.figures(store, MONTH)
    assert is_fixed
    lines = adjustments.adjustments(store, MONTH)
    assert sums(fixed, lines) == sums(usage(store, MONTH))
    return lines.to_pylist()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("restricted", {}),
        ("superseded", {}),
        ("rectified", {"duration_ms": 5_000_000}),
        ("rectified", {"account": "20077"}),
        ("rectified", {"called_number": "112"}),
        ("rectified", {"conflict": True}),
    ],
)
def test_a_correction_of_a_closed_period_is_an_adjustment(store: Store, kind: str, fields: Mapping[str, Any]) -> None:
    deliver(store, few(120))
    periods.close(store, MONTH)
    fixed = sums(periods.figures(store, MONTH)[0])
    place = counted(store)[7]
    act = change(store, kind, place, **fields)
    lines = adds_up(store)
    assert sums(periods.figures(store, MONTH)[0]) == fixed, "the closing figure stays"
    assert {(line["kind"], line["batch_id"], line["correction"]) for line in lines} == {("corrected", place[0], act)}
    assert {line["changed_on"] for line in lines} == {to_date(store.clock.now_us()).isoformat()}
    assert 1 <= len(lines) <= 2


def test_one_account_has_the_lines_that_it_has_among_all(store: Store) -> None:
    deliver(store, few(60))
    periods.close(store, MONTH)
    deliver(store, few(40, seed=2, first_key=10**6))
    everybody = adds_up(store)
    own = adjustments.adjustments(store, MONTH, account="0001").to_pylist()
    assert own == [line for line in everybody if line["account"] == "0001"]
    assert own


def test_what_was_corrected_before_the_closing_is_in_its_figure(store: Store) -> None:
    deliver(store, few(60))
    change(store, "restricted", counted(store)[3])
    periods.close(store, MONTH)
    assert adds_up(store) == []


def test_a_restriction_from_before_the_closing_that_is_lifted_after_it_comes_back(store: Store) -> None:
    deliver(store, few(60))
    place = counted(store)[3]
    change(store, "restricted", place)
    periods.close(store, MONTH)
    change(store, "released", place, act=2)
    (line,) = adds_up(store)
    assert (line["kind"], line["records"]) == ("corrected", 1)


def test_a_correction_of_another_period_is_none_of_this_one(store: Store) -> None:
    deliver(store, few(120))
    periods.close(store, MONTH)
    inside = set(counted(store))
    wider = counted(store, Period(MONTH.start - timedelta(days=9), MONTH.end))
    change(store, "restricted", next(place for place in wider if place not in inside))
    assert adds_up(store) == []


def test_a_late_batch_that_is_withdrawn_again_keeps_its_lines_and_takes_them_back(store: Store) -> None:
    deliver(store, few(60))
    periods.close(store, MONTH)
    late = deliver(store, few(40, seed=2, first_key=10**6)).batch_id
    before = adds_up(store)
    store.withdraw_batch(late, reason="zone", actors=BOTH)
    after = adds_up(store)
    assert [line for line in after if line["kind"] == "late"] == before
    assert len(after) == 2 * len(before)


def test_a_correction_of_a_batch_that_is_withdrawn_is_taken_back_with_it(store: Store) -> None:
    first = deliver(store, few(60)).batch_id
    periods.close(store, MONTH)
    change(store, "rectified", counted(store)[3], duration_ms=7_000)
    (before,) = adds_up(store)
    store.withdraw_batch(first, reason="zone", actors=BOTH)
    lines = adds_up(store)
    assert before in lines
    (back,) = (line for line in lines if line["kind"] == "withdrawn" and line["correction"])
    assert back["duration_ms"] == -before["duration_ms"]


def after_the_floor(store: Store, clock: FixedClock) -> None:
    clock.value_us = max(to_us(item.key.floor_until) for item in store.partitions())


def test_an_erased_record_is_taken_off_and_lines_from_before_stay(store: Store, clock: FixedClock) -> None:
    deliver(store, few(60))
    periods.close(store, MONTH)
    late = deliver(store, few(40, seed=2, first_key=10**6)).batch_id
    place = next(place for place in counted(store) if place[0] == late)
    change(store, "rectified", place, act=1, duration_ms=7_000)
    before = adds_up(store)
    after_the_floor(store, clock)
    act = change(store, "erased", place, act=2, **ART_17)
    lines = adds_up(store)
    (taken,) = (line for line in lines if line not in before)
    assert (taken["kind"], taken["correction"], taken["records"], taken["duration_ms"]) == ("erased", act, -1, -7_000)
    assert [line for line in lines if line != taken] == before
    store.withdraw_batch(late, reason="zone", actors=BOTH)
    after = adds_up(store)
    assert all(line in after for line in lines)


def test_lines_of_a_withdrawn_batch_outlive_its_records(store: Store, clock: FixedClock) -> None:
    first = deliver(store, few(60)).batch_id
    periods.close(store, MONTH)
    late = deliver(store, few(40, seed=2, first_key=10**6)).batch_id
    change(store, "rectified", next(place for place in counted(store) if place[0] == late), duration_ms=7_000)
    after_the_floor(store, clock)
    for batch_id in (late, first):
        adjustments.before_withdrawal(store, batch_id)
        store.withdraw_batch(batch_id, reason="zone", actors=BOTH)
    before = adds_up(store)
    assert {(line["kind"], line["batch_id"]) for line in before} == {
        ("late", late),
        ("corrected", late),
        ("withdrawn", late),
        ("withdrawn", first),
    }
    clock.advance(days=1)
    assert store.compact(everything=True).withdrawn == len(few(60)) + len(few(40)), "nothing of them is stored"
    assert adds_up(store) == before


def test_lines_of_a_withdrawal_that_did_not_come_about_count_for_nothing(store: Store, clock: FixedClock) -> None:
    first = deliver(store, few(60)).batch_id
    periods.close(store, MONTH)
    adjustments.before_withdrawal(store, first)
    assert adds_up(store) == []
    clock.advance(days=1)
    adjustments.before_withdrawal(store, first)
    store.withdraw_batch(first, reason="zone", actors=BOTH)
    assert {line["changed_on"] for line in adds_up(store)} == {to_date(clock.now_us()).isoformat()}


def test_an_erasure_that_is_refused_takes_nothing_off(store: Store, clock: FixedClock) -> None:
    deliver(store, few(60))
    periods.close(store, MONTH)
    place = counted(store)[3]
    after_the_floor(store, clock)

    def refused(wanted: Correction) -> list[Any]:
        adjustments.before_erasure(store, wanted)
        raise ProcedureError("no", reason="held")

    wanted = Correction(f"{9:016x}", "erased", HERE, *place, ART_17, said={"by": BOTH[0], "reason": "x"})
    store.corrections.request(wanted, {"by": BOTH[0]})
    with pytest.raises(ProcedureError):
        erasing.erase(store, wanted.act, {}, BOTH, beside=refused)
    assert adds_up(store) == []
    assert place in counted(store)


def test_a_record_corrected_while_a_period_closes_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(store, few(60))
    place = counted(store)[3]

    def slow(*args: Any, **more: Any) -> Any:
        found = usage(*args, **more)
        change(store, "restricted", place)
        return found

    with monkeypatch.context() as patched:
        patched.setattr("api.billing.periods.usage", slow)
        with pytest.raises(BusyError):
            periods.close(store, MONTH)
    assert periods.closed_period(store, MONTH) is None
    periods.close(store, MONTH)
    assert adds_up(store) == []


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_lines_stay_and_add_up(store: Store, clock: FixedClock, seed: int) -> None:
    chance = random.Random(seed)
    batches = [deliver(store, few(30, seed=seed + 1)).batch_id]
    periods.close(store, MONTH)
    seen: list[dict[str, Any]] = []
    for step in range(1, 11):
        if step == 7:
            after_the_floor(store, clock)
        kinds = ["restricted", "released", "superseded", "rectified", "rectified", "withdraw", "late"]
        kind = chance.choice([*kinds, *(["erased"] * 4 if step >= 7 else ())])
        places = sorted(_stored(store))
        try:
            if kind == "late":
                table = few(10, seed=100 + step, first_key=step * 10**6)
                batches.append(deliver(store, table).batch_id if step < 7 else batches[0])
            elif kind == "withdraw":
                store.withdraw_batch(chance.choice(batches), reason="zone", actors=BOTH)
            elif places:
                fields = {"rectified": {"duration_ms": chance.randrange(10**6)}, "erased": ART_17}.get(kind, {})
                change(store, kind, chance.choice(places), act=step, **fields)
        except LagrumError:
            continue  # what cannot be done so is refused, and changes nothing
        lines = adds_up(store)
        assert all(line in lines for line in seen), (step, kind)
        seen = lines


def _stored(store: Store) -> set[tuple[int, int]]:
    """Return the places of everything that is stored of the period, whatever became of it."""
    query = replace(MONTH.query(), columns=PLACE, include_withdrawn=True, uncorrected=True)
    return {(row["batch_id"], row["batch_position"]) for rows in store.scan(query) for row in rows.to_pylist()}
