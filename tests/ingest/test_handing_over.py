"""Several deliveries handed over one after the other end as they would one by one, whatever becomes of each."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ingest import pipeline
from ingest.pipeline import Delivery, ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import BusyError, InputError
from store import Receipt, Store
from store import batch as batches
from tests.conftest import FixedClock
from tests.ingest.decoding import fixture

HEAD = b"record_key,switch,service_type,calling_number,start_time,duration_s\n"
SOURCE = SourceConfig("east")


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


def _csv(first: int, last: int, duration_s: int = 5) -> bytes:
    lines = (f"{key},s,voice,46701740001,2026-11-20T10:00:{key % 60:02d}Z,{duration_s}" for key in range(first, last))
    return HEAD + "\n".join(lines).encode() + b"\n"


def _handed(
    store: Store, contents: list[bytes], format: str = "csv", source: SourceConfig = SOURCE
) -> list[Receipt | InputError]:
    """Hand deliveries over as the command line does."""
    told: list[Receipt | InputError] = []

    def tell(delivery: Delivery) -> None:
        try:
            told.append(delivery.receipt())
        except InputError as error:
            told.append(error)

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(2))
        before: Delivery | None = None
        for content in contents:
            delivery = stack.enter_context(Delivery(store, source, format, io.BytesIO(content)))
            delivery.hand_over(pool, after=before)
            if before is not None:
                tell(before)
            before = delivery
        assert before is not None
        tell(before)
    return told


def _fates(told: Receipt | InputError) -> tuple[int, int, int, int]:
    assert isinstance(told, Receipt), told
    return told.accepted, told.duplicates, told.conflicts, told.rejected


def _failing_once(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something before the first batch is published."""
    publish, done = batches.publish, []

    def tried(*arguments: Any) -> Any:
        if not done:
            done.append(True)
            act()
        return publish(*arguments)

    monkeypatch.setattr(batches, "publish", tried)


@pytest.mark.parametrize("early_bytes_max", [0, 6_000, 1 << 20])
@pytest.mark.parametrize("part_rows", [40, 640_000])
def test_overlapping_deliveries_are_told_as_one_by_one(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, early_bytes_max: int, part_rows: int
) -> None:
    monkeypatch.setattr(pipeline, "EARLY_BYTES_MAX", early_bytes_max)
    monkeypatch.setattr(batches, "PART_ROWS", part_rows)
    contents = [_csv(0, 100), _csv(50, 150), _csv(140, 160, 7), _csv(0, 160), _csv(155, 170), HEAD]
    with Store.create(tmp_path / "one", clock=clock) as one, Store.create(tmp_path / "other", clock=clock) as other:
        expected = [_fates(ingest_stream(one, SOURCE, "csv", io.BytesIO(content))) for content in contents]
        assert [_fates(told) for told in _handed(other, contents)] == expected
        assert expected[1:4] == [(50, 50, 0, 0), (10, 0, 10, 0), (0, 150, 10, 0)]
        assert other.verify() == []


@pytest.mark.parametrize("early_bytes_max", [0, 1 << 20])
def test_a_delivery_after_one_that_cannot_be_stored_is_looked_up_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, early_bytes_max: int
) -> None:
    def fail() -> None:
        raise InputError("no identity")

    monkeypatch.setattr(pipeline, "EARLY_BYTES_MAX", early_bytes_max)
    _failing_once(monkeypatch, fail)
    first, second, third = _handed(store, [_csv(0, 100), _csv(50, 150), _csv(0, 120)])
    assert isinstance(first, InputError)
    assert (_fates(second), _fates(third)) == ((100, 0, 0, 0), (50, 70, 0, 0))
    assert sum(item.records for item in store.partitions()) == 150 and store.verify() == []


@pytest.mark.parametrize("early_bytes_max", [0, 1 << 20])
def test_a_delivery_after_one_that_others_repeated_meanwhile_is_looked_up_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, early_bytes_max: int
) -> None:
    monkeypatch.setattr(pipeline, "EARLY_BYTES_MAX", early_bytes_max)
    _failing_once(monkeypatch, lambda: ingest_stream(store, SOURCE, "csv", io.BytesIO(_csv(0, 60))) and None)
    told = _handed(store, [_csv(0, 100), _csv(50, 150), _csv(140, 160)])
    assert [_fates(one) for one in told] == [(40, 60, 0, 0), (50, 50, 0, 0), (10, 10, 0, 0)]
    assert sum(item.records for item in store.partitions()) == 160 and store.verify() == []


@pytest.mark.parametrize("early_bytes_max", [0, 1 << 20])
def test_nothing_after_a_delivery_that_must_come_again_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch, early_bytes_max: int
) -> None:
    def fail() -> None:
        raise BusyError("later", hint="")

    monkeypatch.setattr(pipeline, "EARLY_BYTES_MAX", early_bytes_max)
    _failing_once(monkeypatch, fail)
    with pytest.raises(BusyError):
        _handed(store, [_csv(0, 100), _csv(50, 150)])
    assert store.partitions() == [] and not list(store.layout.parts.rglob("*.parquet"))
    assert _fates(ingest_stream(store, SOURCE, "csv", io.BytesIO(_csv(50, 150)))) == (100, 0, 0, 0)


def test_a_delivery_that_cannot_be_read_leaves_the_one_before_to_its_commit(store: Store) -> None:
    with ThreadPoolExecutor(2) as pool, Delivery(store, SOURCE, "csv", io.BytesIO(_csv(0, 10))) as first:
        first.hand_over(pool)
        with (
            Delivery(store, SOURCE, "csv", io.BytesIO(b"nonsense\n")) as second,
            pytest.raises(InputError),
        ):
            second.hand_over(pool, after=first)
        assert _fates(first.receipt()) == (10, 0, 0, 0) == _fates(first.receipt())
    assert sum(item.records for item in store.partitions()) == 10


def test_a_session_that_begins_in_one_delivery_ends_in_the_next(store: Store) -> None:
    lines = fixture("kamailio", "acc_129.log").splitlines(keepends=True)
    source = SourceConfig("sip", zone="UTC")
    told = _handed(store, [b"".join(lines[:half]) for half in (len(lines) // 2, len(lines))], "kamailio-acc", source)
    first, second = map(_fates, told)
    assert first[0] and second[1] == first[0] and second[2:] == (0, 0)
    assert store.verify() == []


def test_refused_records_are_kept_for_another_time_up_to_the_bound(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "EARLY_BYTES_MAX", 4 << 20)
    refused = HEAD + b"1,s,voice,%b,never,5\n" % (b"x" * 1000) * 10_000
    with (
        ThreadPoolExecutor(2) as pool,
        Delivery(store, SOURCE, "csv", io.BytesIO(_csv(0, 10))) as first,
        Delivery(store, SOURCE, "csv", io.BytesIO(refused)) as second,
    ):
        first.hand_over(pool)
        second.hand_over(pool, after=first)
        assert second._given == []
        assert (_fates(first.receipt()), _fates(second.receipt())) == ((10, 0, 0, 0), (0, 0, 0, 10_000))
