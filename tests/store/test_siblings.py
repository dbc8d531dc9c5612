"""Location in a sibling: it ends on its own day, at every step of its erasure, and nothing brings it back."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import BusyError, ClockError, IntegrityError, KeyUnavailableError, LagrumError
from schemas.holds import Purpose
from schemas.policy import FIRST
from schemas.retention import CategoryPeriod, add_months, floor_until, midnight
from store import ScanQuery, SourceRef, Store
from store.backup import backup, restore
from store.correcting.overlay import RECTIFIED
from store.correcting.rectified import RECTIFIABLE, check
from store.layout import LOCATION_SUFFIX
from store.partitions import PartitionKey, to_us
from store.retention.certificate_check import export, verify_file
from store.retention.certificate_words import paragraphs, title
from store.retention.certificates import stored
from store.retention.explain import of_date
from store.retention.retention_status import next_days, status
from store.siblings import LOCATION_FIELDS
from tests.conftest import FixedClock, ends_us
from tests.store.conftest import deliver
from tests.store.records import DAY_US, records, with_column
from tests.store.retention.test_expiry_steps import STEPS, copy, stop_at
from tests.store.retention.test_holds import held, number_of, place
from tests.store.retention.test_policies import ACTORS, move

EVER = ScanQuery(0, 2**60)
TWO = CategoryPeriod("location", 2, "duty", "Act 9 § 22")


def shorten(store: Store, start: date = date(1970, 1, 1), months: int = 2) -> None:
    version = replace(
        FIRST,
        number=len(store.policies.current().versions) + 1,
        start=start,
        categories={"location": replace(TWO, period_months=months)},
    )
    store.policies.enforce(version, actors=ACTORS)


def cells(store: Store) -> list[int | None]:
    return sorted(
        (cell for batch in store.scan(EVER) for cell in batch.column("cell_id").to_pylist()),
        key=lambda cell: (cell is None, cell),
    )


def over_us(key: PartitionKey) -> int:
    """When the location is kept no longer; it is erased a day later."""
    return to_us(midnight(add_months(key.end_date, 2)))


def files_of(store: Store) -> list[Path]:
    return sorted(store.layout.parts.rglob(f"*{LOCATION_SUFFIX}"))


@pytest.fixture
def short(store: Store) -> Store:
    """A store whose policy keeps location for two months, with two parts of one partition."""
    shorten(store)
    deliver(store, records(20))
    deliver(store, records(30, first_key=100, seed=1))
    return store


@pytest.fixture
def due(short: Store, clock: FixedClock) -> PartitionKey:
    """Its sibling, on the day on which it is erased."""
    key = short.partitions()[0].key.location
    move(short, clock, to_us(floor_until(key.end_date, "location")))
    return key


def test_a_location_is_read_with_its_record_and_costs_nothing_where_there_is_none(store: Store) -> None:
    table = records(300)
    deliver(store, table.drop_columns(["cell_id"]))
    key = store.partitions()[0].key
    assert files_of(store) == [] and not store.keyring.has(key.location.ref)
    more = with_column(records(300, first_key=1000), "cell_id_end", [10**5 + 7] * 300)
    deliver(store, with_column(more, "cell_id_text", [None] * 299 + ["ward 3"]))
    assert len(files_of(store)) == 1 and store.keyring.has(key.location.ref)
    got = [cell for cell in cells(store) if cell is not None]
    assert got == sorted(table.column("cell_id").to_pylist())
    part = store.catalog.parts()[1]
    alone = store.part_store.read_records(part.partition, part.file_id, store.keyring.key(key.ref))
    assert not any(name.startswith("cell_id") for name in alone.column_names)
    assert store.verify() == []


def test_one_cell_for_all_is_kept_too(store: Store) -> None:
    deliver(store, with_column(records(50), "cell_id", [10**5 + 1] * 50))
    assert cells(store) == [10**5 + 1] * 50
    assert store.verify() == []


def test_it_ends_on_its_day_and_the_records_stay(short: Store, clock: FixedClock) -> None:
    key = short.partitions()[0].key
    move(short, clock, over_us(key) - 1)
    assert None not in cells(short) and short.plan(EVER).location_over == []
    assert short.expire().partitions == ()
    clock.value_us += 1
    assert cells(short) == [None] * 50, "refused from its instant on, erased or not"
    assert short.plan(EVER).as_dict()["location_over"] == [str(key)]
    assert short.plan(replace(EVER, columns=("imsi",))).location_over == []
    assert short.expire().partitions == () and len(files_of(short)) == 2, "its floor is not passed"
    move(short, clock, to_us(floor_until(key.end_date, "location")))
    result = short.expire()
    assert (result.partitions, result.records) == ((key.location,), 0)
    assert files_of(short) == [] and not short.keyring.has(key.location.ref)
    assert short.keyring.has(key.ref) and len(cells(short)) == 50
    assert short.expire().partitions == () and short.verify() == []


def test_its_certificate_names_the_category_and_its_citation(short: Store, due: PartitionKey) -> None:
    short.expire()
    certificate = verify_file(export(short, str(due)), str(short.audit.origin))
    body = certificate.body
    assert (body["partition"], body["category"], body["records"], body["parts"]) == (str(due), "location", 50, 2)
    assert (body["policy"]["citation"], body["policy"]["months"]) == (TWO.citation, 2)
    assert body["key_commitment"] != "none"
    said = " ".join(paragraphs(certificate))
    assert TWO.citation in said and "records themselves are kept" in said and "location" in title(certificate)


def test_without_a_period_of_its_own_it_goes_with_its_partition_under_one_certificate(
    store: Store, clock: FixedClock
) -> None:
    deliver(store, records(20))
    key = store.partitions()[0].key
    clock.value_us = ends_us(key) - 1
    assert store.expire().partitions == () and len(cells(store)) == 20
    clock.value_us += 1
    assert store.expire().partitions == (key,)
    assert not store.keyring.has(key.location.ref)
    assert [name for _, name, _ in stored(store)] == [str(key)]
    assert store.verify() == []


def test_shortening_applies_at_once_to_what_is_stored_and_lengthening_to_nothing(
    store: Store, clock: FixedClock
) -> None:
    deliver(store, records(20, days_ago=100))
    key = store.partitions()[0].key
    today = date(2026, 11, 22)
    shorten(store, today + timedelta(days=1))
    shorten(store, today + timedelta(days=2), months=24)
    assert store.expire().partitions == () and None not in cells(store)
    move(store, clock, to_us(midnight(today + timedelta(days=1))))
    assert store.expire().partitions == (key.location,)
    clock.advance(days=2)
    assert cells(store) == [None] * 20


@pytest.mark.parametrize("at", STEPS)
def test_an_erasure_that_ends_at_any_step_is_rolled_forward(
    short: Store, clock: FixedClock, due: PartitionKey, at: str
) -> None:
    stop_at(at, short)
    with Store.open(short.root, clock=clock) as other:
        assert not other.keyring.has(due.ref) and files_of(other) == []
        assert [partition for _, partition, _ in stored(other)] == [str(due)]
        assert cells(other) == [None] * 50
        assert other.verify() == []


def test_after_it_nobody_opens_a_copy(short: Store, clock: FixedClock, due: PartitionKey, tmp_path: Path) -> None:
    part = short.catalog.parts()[0]
    kept = tmp_path / "backup"
    kept.mkdir()
    copy(short.root, kept)
    cached = Store.open(short.root, clock=clock)
    road = cached.keyring.key(due.ref)
    short.expire()
    with cached:
        cached.renew_leases()
        with pytest.raises(KeyUnavailableError):
            cached.keyring.key(due.ref)
    short.close()
    shutil.rmtree(short.layout.parts)
    copy(kept, short.root)
    (short.root / "catalog.sqlite-shm").unlink(missing_ok=True)
    with Store.open(short.root, clock=clock) as restored:
        assert restored.layout.location(due, part.file_id).exists() and cells(restored) == [None] * 50
        core = restored.keyring.key(due.core.ref)
        for ref in restored.keyring.refs():
            with pytest.raises((LagrumError, OSError)):
                restored.part_store.read_records(
                    due.core, part.file_id, core, ["cell_id"], lambda ref=ref: restored.keyring.key(ref)
                )
        restored.expire()
        assert files_of(restored) == [] and restored.verify() == []
    assert len(road) == 32


def test_a_backup_made_before_brings_no_location_back(
    short: Store, clock: FixedClock, due: PartitionKey, tmp_path: Path
) -> None:
    backup(short, tmp_path / "backup")
    short.expire()
    restored = restore(tmp_path / "backup", tmp_path / "again", keyring=short.root, clock=clock)
    assert restored.erased_since == (due,) and restored.records == 50
    with Store.open(tmp_path / "again", clock=clock) as store:
        assert files_of(store) == [] and cells(store) == [None] * 50
        assert store.verify() == []


def test_late_records_are_kept_without_the_location_that_is_over(short: Store, due: PartitionKey) -> None:
    for expire in (False, True):
        if expire:
            short.expire()
        first = 5000 + 100 * expire
        receipt = deliver(short, records(10, first_key=first, days_ago=2, seed=first))
        assert (receipt.accepted, receipt.rows) == (10, 10)
        told = [entry.public for entry in short.audit.entries(0, short.audit.size) if entry.kind == "batch"][-1]
        assert [part["location_over"] for part in told["parts"]] == [10]
    assert files_of(short) == [] and cells(short) == [None] * 70
    assert short.verify() == []


def test_a_record_that_comes_again_is_a_duplicate_with_its_location_or_without(short: Store, due: PartitionKey) -> None:
    assert deliver(short, records(20)).duplicates == 20
    short.expire()
    assert deliver(short, records(20)).duplicates == 20
    assert deliver(short, with_column(records(20), "imsi", [10**15 + 1] * 20)).conflicts == 20


def test_merging_keeps_a_location_and_makes_none(short: Store, due: PartitionKey, clock: FixedClock) -> None:
    deliver(short, records(5, first_key=900, days_ago=-30).drop_columns(["cell_id"]))
    short.compact(everything=True)
    assert [(part.location_rows, part.rows) for part in short.catalog.parts()] == [(0, 5), (50, 50)]
    assert len(files_of(short)) == 1
    short.expire()
    short.compact(everything=True)
    deliver(short, records(7, first_key=700))
    short.compact(everything=True)
    assert files_of(short) == [] and short.verify() == []


def test_a_merge_or_delivery_that_an_erasure_overtakes_publishes_no_location(
    short: Store, due: PartitionKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = short.part_store.write

    def overtaken(*given: Any, **named: Any) -> Any:
        made = write(*given, **named)
        short.expire()
        return made

    monkeypatch.setattr(short.part_store, "write", overtaken)
    assert short.compact(everything=True).merged == 0
    monkeypatch.undo()
    assert files_of(short) == [] and short.verify() == []


def test_a_delivery_that_an_erasure_overtakes_is_refused_whole(short: Store, clock: FixedClock) -> None:
    key = short.partitions()[0].key.location
    move(short, clock, over_us(key) - 1)
    with short.begin_batch(SourceRef("east", "east"), format="csv") as batch:
        batch.add(records(3, first_key=4000))
        batch.finish_input(b"\x11" * 32, 1)
        batch._flush(next(iter(batch._buffers)))
        move(short, clock, to_us(floor_until(key.end_date, "location")))
        with pytest.raises(BusyError):
            batch.commit()
    short.expire()
    assert deliver(short, records(3, first_key=4000)).accepted == 3
    assert short.verify() == []


def test_a_preservation_order_keeps_it_and_an_unpaid_invoice_does_not(short: Store, due: PartitionKey) -> None:
    number, hits = number_of(pa.concat_tables([records(20), records(30, first_key=100, seed=1)]))
    place(short, "a1", targets=[{"kind": "number", "value": number}])
    place(short, "b1", basis="invoice-consumer", accounts=["000777"])
    assert held(short) == []
    assert short.expire().partitions == (due,)
    found = held(short)
    assert len(found) == hits > 0 and all(row["cell_id"] is not None for row in found)
    alone = short.holds.scan(Purpose.DISCLOSURE, start_us=0, end_us=2**60, columns=("imsi",))
    assert list(alone) == [], "without location the record is read where it still lies"
    body = verify_file(export(short, str(due)), str(short.audit.origin)).body
    assert body["holds"] == {"preservation": 1}
    assert cells(short) == [None] * 50 and short.verify() == []
    short.holds.end("a1", reason="lifted", actors=ACTORS)
    assert held(short) == [] and short.verify() == []


def test_a_wrong_clock_neither_ends_it_nor_tells_that_it_is_over(short: Store, clock: FixedClock) -> None:
    clock.jump(days=90)
    with pytest.raises(ClockError):
        cells(short)
    assert sum(batch.num_rows for batch in short.scan(replace(EVER, columns=("imsi",)))) == 50
    with pytest.raises(ClockError):
        short.expire()
    with pytest.raises(BusyError):
        deliver(short, records(3, first_key=4000))
    clock.jump(days=-90)
    assert None not in cells(short)


def test_nobody_takes_it_away_or_exchanges_it_unseen(short: Store) -> None:
    one, other = files_of(short)
    octets = one.read_bytes()
    one.unlink()
    assert any("location file is missing" in str(problem) for problem in short.verify())
    with pytest.raises(IntegrityError):
        cells(short)
    one.write_bytes(other.read_bytes())
    short.readers.clear()
    with pytest.raises(IntegrityError):
        cells(short)
    assert any("location file" in str(problem) for problem in short.verify())
    one.write_bytes(octets)
    short.readers.clear()
    assert short.verify() == []
    with short.catalog.transaction() as cursor:
        cursor.execute("UPDATE parts SET location_bytes = 0, location_rows = 0")
        cursor.execute("UPDATE partitions SET location_state = NULL")
    told = " ".join(map(str, short.verify()))
    assert "the audit log names it, the catalog does not" in told and "orphan" in told


def test_a_location_is_emptied_by_a_correction_and_not_replaced() -> None:
    assert set(RECTIFIABLE) >= LOCATION_FIELDS and RECTIFIED
    check({"cell_id": None})
    with pytest.raises(LagrumError, match="outlive"):
        check({"cell_id": "4711"})


def test_status_and_explanation_tell_of_it(short: Store, due: PartitionKey, clock: FixedClock) -> None:
    looked = status(short)
    assert [item.key for item in looked.due] == [due] and looked.overdue_seconds == 0
    row = looked.as_dict()["partitions"][0]
    assert row["location_expires_at"] == f"{add_months(due.end_date, 2).isoformat()}T00:00:00Z"
    (told,) = of_date(due.end_date, clock.now_us(), short.policies.current())["classes"]
    (own,) = told["categories"]
    assert (own["category"], own["period_months"], own["citation"]) == ("location", 2, TWO.citation)
    assert own["verdict"].startswith("expired") and told["verdict"].startswith("kept")
    move(short, clock, clock.value_us + 3 * 3_600_000_000)
    assert status(short).overdue_seconds == 3 * 3600
    short.expire()
    assert status(short).due == [] and status(short).as_dict()["partitions"][0]["location_expires_at"] is None


def test_what_ends_soon_is_told(short: Store, clock: FixedClock) -> None:
    key = short.partitions()[0].key
    move(short, clock, over_us(key) - 5 * DAY_US)
    (row,) = next_days(status(short))
    assert (row["what"], row["ended"], row["records"]) == ("location", [key.end_date.isoformat()], 50)
