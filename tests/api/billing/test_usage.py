"""Usage: the same figures as an independent count, whoever owns the number and whenever the record came."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from api.billing import adjustments, periods, subscriptions
from api.billing.usage import Period, usage
from api.billing.usage_lines import LINE, MEASURES
from api.billing.usage_sql import _connect
from api.cli import main
from ingest.source_config import SourceConfig
from ingest.sources import register
from schemas.destinations import destination
from schemas.errors import BusyError, InputError, KeyUnavailableError, NotFoundError, ProcedureError
from schemas.packing import unpack_table
from store import ScanQuery, Store
from store.clock import to_date
from tests.api.world import make_world
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records, with_column

TODAY = to_date(NOW_US)
MONTH = Period(TODAY - timedelta(days=10), TODAY - timedelta(days=2))
Lines = dict[tuple[Any, ...], tuple[int, ...]]


@pytest.fixture(params=["loops", "sql"])
def store(
    tmp_path: Path, clock: FixedClock, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """A store whose usage takes one of the two roads."""
    monkeypatch.setattr("api.billing.usage._is_much", lambda *_: request.param == "loops")
    with Store.create(tmp_path / "root", clock=clock) as store:
        register(store, SourceConfig("east", country="SE"), actor="test")
        yield store


def calls(rows: int = 400, *, seed: int = 1, first_key: int = 0, days_ago: int = 12, days: int = 12) -> pa.Table:
    """Records over the month and both its edges, with accounts for some and destinations of every class."""
    random = np.random.default_rng(seed)
    table = records(rows, seed=seed, first_key=first_key, days_ago=days_ago, days=days)
    accounts = [None if value == 0 else 10_000 + int(value) for value in random.integers(0, 6, rows)]
    table = with_column(table, "account", accounts)
    table = with_column(
        table, "account_text", ["acme" if value is None and random.random() < 0.3 else None for value in accounts]
    )
    called = random.choice([146_701_740_001, 14_915_112_345, 1_112, 190_510, 1_046_701_740], rows)
    texts = ["sip:bob@example.net" if random.random() < 0.1 else None for _ in range(rows)]
    table = with_column(
        table, "called_number", [None if text else int(value) for text, value in zip(texts, called, strict=True)]
    )
    table = with_column(table, "called_number_text", texts)
    table = with_column(table, "volume_up_bytes", random.integers(0, 9_000, rows))
    table = with_column(
        table, "volume_down_bytes", [None if value < 300 else int(value) for value in random.integers(0, 9_000, rows)]
    )
    return with_column(table, "billable_duration_ms", random.integers(0, 99_000, rows))


def owner(row: dict[str, Any], owned: list[subscriptions.Subscription]) -> str | None:
    day = row["start_time"].date()
    for kind, field in (("number", "calling_number"), ("imsi", "imsi"), ("mac", "mac"), ("ip", "source_ip")):
        for item in owned:
            if item.kind == kind and item.value == row.get(field) and item.valid_from <= day < item.end:
                return item.account
    return None


def counted(store: Store, period: Period, owned: list[subscriptions.Subscription] | None = None) -> Lines:
    """Count again in plain Python over everything stored."""
    lines: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(MEASURES))
    for batch in store.scan(ScanQuery(0, 2**60)):
        for row in unpack_table(pa.Table.from_batches([batch])).to_pylist():
            if not period.start <= row["end_time"].date() < period.end or row["conflict"]:
                continue
            account = row["account"] or owner(row, owned or [])
            line = lines[account, row["service_type"], str(destination(row["called_number"], "46"))]
            line[0] += 1
            for place, name in enumerate(MEASURES[1:], start=1):
                line[place] += row.get(name) or 0
    return {key: tuple(line) for key, line in lines.items()}


def lines_of(table: pa.Table) -> Lines:
    return {
        tuple(row[name] for name in LINE.names[:3]): tuple(row[name] for name in MEASURES) for row in table.to_pylist()
    }


def test_the_figures_equal_an_independent_count(store: Store) -> None:
    deliver(store, calls())
    found = usage(store, MONTH)
    assert lines_of(found) == counted(store, MONTH)
    assert found.num_rows == len(lines_of(found)) > 20
    assert {row["destination"] for row in found.to_pylist()} == {"national", "international", "short-code", "other"}


def test_one_account_has_the_lines_that_it_has_among_all(store: Store) -> None:
    deliver(store, calls())
    everybody = lines_of(usage(store, MONTH))
    for account in ("0001", "acme"):
        alone = lines_of(usage(store, MONTH, account=account))
        assert alone == {key: line for key, line in everybody.items() if key[0] == account}
        assert alone


def test_a_record_is_in_the_one_period_in_which_it_ended(store: Store) -> None:
    midnight_us = NOW_US - NOW_US % DAY_US - 5 * DAY_US
    table = records(3, days_ago=6)
    table = with_column(table, "start_time", [midnight_us - 60_000_000, midnight_us - 60_000_000, midnight_us])
    table = with_column(table, "end_time", [midnight_us - 1, midnight_us, midnight_us])
    deliver(store, table)
    day = TODAY - timedelta(days=5)
    before = usage(store, Period(day - timedelta(days=1), day))
    after = usage(store, Period(day, day + timedelta(days=1)))
    assert [periods.totals(lines)["records"] for lines in (before, after)] == [1, 2]


def test_a_source_without_a_country_knows_no_national_numbers(store: Store) -> None:
    deliver(store, calls(), source="west")
    classes = {row["destination"] for row in usage(store, MONTH).to_pylist()}
    assert classes == {"short-code", "other"}


def test_conflicts_are_never_billed(store: Store) -> None:
    table = calls(50)
    deliver(store, table)
    before = lines_of(usage(store, MONTH))
    other = with_column(table, "duration_ms", [value + 60_000 for value in table["duration_ms"].to_pylist()])
    assert deliver(store, other).conflicts == 50
    assert lines_of(usage(store, MONTH)) == before


def subscription_rows(text: str) -> list[tuple[int, subscriptions.Subscription]]:
    return list(subscriptions.parse(io.StringIO(text), country="SE"))


def test_a_subscription_owns_what_its_identifier_did_while_it_was_valid(store: Store) -> None:
    deliver(store, calls(2000))
    cut = TODAY - timedelta(days=6)
    rows = ["kind,value,account,valid_from,valid_to"]
    rows += [f"number,070-174 00 {n:02d},first,2026-01-01,{cut}" for n in range(50)]
    rows += [f"number,+46 70 174 00 {n:02d},second,{cut}," for n in range(50)]
    rows += [f"imsi,{240_010_000_000_000 + n},by-imsi,2026-01-01," for n in range(1000)]
    subscriptions.import_rows(store, subscription_rows("\n".join(rows)))
    owned = subscriptions.load(store)
    everybody = usage(store, MONTH)
    assert lines_of(everybody) == counted(store, MONTH, owned)
    for account in ("first", "second", "by-imsi"):
        alone = lines_of(usage(store, MONTH, account=account))
        assert alone == {key: line for key, line in lines_of(everybody).items() if key[0] == account}
        assert alone
    assert all(line["account"] is not None for line in everybody.to_pylist())


def test_an_address_belongs_to_who_held_it_then(store: Store) -> None:
    table = with_column(records(2, days_ago=5), "source_ip", [3_405_803_781, None])
    table = with_column(table, "source_ip_v6", [None, bytes.fromhex("20010db8" + "00" * 11 + "05")])
    deliver(store, table)
    text = (
        "account,kind,value,valid_from,valid_to\nfour,ip,203.0.113.5,2026-01-01,\nsix,ip,2001:DB8:0:0::5,2026-01-01,\n"
    )
    subscriptions.import_rows(store, subscription_rows(text))
    assert {key[0]: line[0] for key, line in lines_of(usage(store, MONTH)).items()} == {"four": 1, "six": 1}


def test_an_identifier_cannot_belong_to_two_accounts_at_once(store: Store) -> None:
    text = "kind,value,account,valid_from,valid_to\nnumber,0701740000,a,2026-01-01,\n"
    subscriptions.import_rows(store, subscription_rows(text))
    clash = "kind,value,account,valid_from,valid_to\nnumber,46701740000,b,2026-06-01,2026-07-01\n"
    with pytest.raises(InputError, match="two subscriptions at once"):
        subscriptions.import_rows(store, subscription_rows(clash))
    assert [item.account for item in subscriptions.load(store)] == ["a"]


def test_subscriptions_that_serve_no_record_any_more_are_not_kept(store: Store) -> None:
    text = "kind,value,account,valid_from,valid_to\nimsi,240010000000001,old,2020-01-01,2024-11-22\n"
    counts = subscriptions.import_rows(store, subscription_rows(text))
    assert counts == {"imported": 1, "rows": 0, "ended": 1}


@pytest.mark.parametrize(
    "row",
    [
        "number,,a,2026-01-01,",
        "imsi,12x45,a,2026-01-01,",
        "name,bob,a,2026-01-01,",
        "ip,300.1.1.1,a,2026-01-01,",
        "mac,zz:00:00:00:00:01,a,2026-01-01,",
        "number,0701740000,,2026-01-01,",
        "number,0701740000,a,yesterday,",
        "number,0701740000,a,2026-01-02,2026-01-02",
        "number,0701740000,a",
    ],
)
def test_a_subscription_without_its_form_is_refused_by_position_and_never_quoted(row: str) -> None:
    with pytest.raises(InputError) as refusal:
        subscription_rows(f"kind,value,account,valid_from,valid_to\nimsi,240010000000001,x,2026-01-01,\n{row}\n")
    assert refusal.value.position == 2
    assert "070174" not in str(refusal.value)


def test_late_records_of_a_closed_period_are_adjustments_and_its_figures_stay(store: Store) -> None:
    deliver(store, calls(300))
    closed = periods.close(store, MONTH)
    fixed, is_fixed = periods.figures(store, MONTH)
    assert is_fixed
    assert lines_of(fixed) == counted(store, MONTH)
    assert adjustments.adjustments(store, MONTH).num_rows == 0
    late = deliver(store, calls(100, seed=2, first_key=10**6))
    assert late.batch_id > closed.batch_id_max
    assert lines_of(periods.figures(store, MONTH)[0]) == lines_of(fixed)
    feed = adjustments.adjustments(store, MONTH)
    assert set(feed["kind"].to_pylist()) == {"late"}
    assert set(feed["batch_id"].to_pylist()) == {late.batch_id}
    total = {name: periods.totals(fixed)[name] + periods.totals(feed)[name] for name in MEASURES}
    assert total == periods.totals(usage(store, MONTH))


def test_a_batch_withdrawn_after_the_closing_comes_back_as_negative_lines(store: Store) -> None:
    gone = deliver(store, calls(200))
    early = deliver(store, calls(80, seed=3, first_key=10**6))
    store.withdraw_batch(early.batch_id, reason="zone", actors=("a", "b"))
    periods.close(store, MONTH)
    fixed = lines_of(periods.figures(store, MONTH)[0])
    store.withdraw_batch(gone.batch_id, reason="zone", actors=("a", "b"))
    again = deliver(store, calls(200))
    feed = adjustments.adjustments(store, MONTH)
    by_kind = {kind: feed.filter(pa.compute.equal(feed["kind"], kind)) for kind in ("late", "withdrawn")}
    negative = {key: tuple(-value for value in line) for key, line in lines_of(by_kind["withdrawn"]).items()}
    assert negative == fixed
    assert lines_of(by_kind["late"]) == fixed
    assert set(by_kind["withdrawn"]["batch_id"].to_pylist()) == {gone.batch_id}
    assert set(by_kind["late"]["batch_id"].to_pylist()) == {again.batch_id}


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [(10, 2, "closed"), (12, 9, "overlap"), (5, 3, "overlap"), (3, -1, "not-over")],
)
def test_a_period_is_closed_once_when_it_is_over(store: Store, start: int, end: int, reason: str) -> None:
    periods.close(store, MONTH)
    with pytest.raises(ProcedureError) as refusal:
        periods.close(store, Period(TODAY - timedelta(days=start), TODAY - timedelta(days=end)))
    assert refusal.value.reason == reason


def test_adjustments_of_an_open_period_do_not_exist(store: Store) -> None:
    with pytest.raises(NotFoundError):
        adjustments.adjustments(store, MONTH)


def test_an_unreadable_partition_is_an_error_and_no_figure(store: Store) -> None:
    deliver(store, calls())
    store.keyring.destroy([store.partitions()[3].key.ref])
    with pytest.raises(KeyUnavailableError):
        usage(store, MONTH)


def test_nothing_of_billing_lies_in_the_clear(store: Store) -> None:
    text = "kind,value,account,valid_from,valid_to\nnumber,0701740000,customer-88,2026-01-01,\n"
    subscriptions.import_rows(store, subscription_rows(text))
    deliver(store, with_column(records(20, days_ago=5), "calling_number", [146_701_740_000] * 20))
    periods.close(store, MONTH)
    for path in store.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"46701740000" not in content, path
            assert b"customer-88" not in content, path


def run(root: Path, clock: FixedClock, *argv: str) -> int:
    return main(["--root", str(root), "--json", *argv], clock=clock)


def test_the_command_line_answers_in_json_csv_and_arrow(
    store: Store, clock: FixedClock, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    deliver(store, calls())
    root = store.root
    span = ("--from", MONTH.start.isoformat(), "--to", MONTH.end.isoformat())
    assert run(root, clock, "usage", "--account", "0001", *span) == 0
    answer = json.loads(capfdbinary.readouterr().out)
    assert answer["account"] == "0001"
    assert answer["closed"] is False
    expected = usage(store, MONTH, account="0001")
    assert answer["totals"] == periods.totals(expected)
    assert len(answer["lines"]) == expected.num_rows
    assert run(root, clock, "usage", *span, "--format", "csv") == 0
    assert capfdbinary.readouterr().out.splitlines()[0].startswith(b'"account","service_type","destination","records"')
    assert run(root, clock, "usage", *span, "--format", "arrow", "--output", str(tmp_path / "u.arrow")) == 0
    with pa.ipc.open_stream(pa.py_buffer((tmp_path / "u.arrow").read_bytes())) as reader:
        assert lines_of(reader.read_all()) == lines_of(usage(store, MONTH))
    assert run(root, clock, "usage", "close", *span) == 0
    capfdbinary.readouterr()
    assert run(root, clock, "usage", "--account", "0001", *span) == 0
    assert json.loads(capfdbinary.readouterr().out)["closed"] is True
    assert run(root, clock, "usage", "adjustments", *span) == 0
    assert json.loads(capfdbinary.readouterr().out)["lines"] == []
    assert run(root, clock, "usage", "--account", "0001") == 2


def test_subscriptions_are_imported_and_listed_on_the_command_line(
    store: Store, clock: FixedClock, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "subscriptions.csv"
    file.write_text("kind,value,account,valid_from,valid_to\nnumber,0701740000,a,2026-01-01,\n")
    assert run(store.root, clock, "subscriptions", "import", "--country", "SE", str(file)) == 0
    assert json.loads(capfdbinary.readouterr().out)["rows"] == 1
    assert run(store.root, clock, "subscriptions", "list") == 0
    listed = json.loads(capfdbinary.readouterr().out)["subscriptions"]
    assert listed[0] == {
        "kind": "number", "value": "46701740000", "account": "a", "valid_from": "2026-01-01", "valid_to": None,
    }  # fmt: skip


def test_periods_are_half_open_dates() -> None:
    assert Period(date(2026, 10, 1), date(2026, 11, 1)).id == "2026-10-01_2026-11-01"


def test_duckdb_has_no_place_to_spill_to_and_no_way_out(tmp_path: Path) -> None:
    with _connect() as connection:
        assert connection.sql("SELECT current_setting('temp_directory')").fetchall() == [("",)]
        for statement in (f"COPY (SELECT 1) TO '{tmp_path}/out.csv'", "SET temp_directory = '/tmp'", "INSTALL httpfs"):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)
    assert list(tmp_path.iterdir()) == []


def test_figures_that_do_not_fit_into_memory_are_refused_and_not_spilt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(store, with_column(calls(5000), "account", [10_000 + row for row in range(5000)]))
    monkeypatch.setattr("api.billing.usage_sql.MEMORY_MAX", "1MB")
    monkeypatch.setattr("api.billing.usage_tally.TABLE_BYTES_MAX", 1 << 18)
    with pytest.raises(BusyError):
        usage(store, MONTH)


def test_usage_over_http_is_billings_and_nobody_elses(tmp_path: Path, clock: FixedClock) -> None:
    with make_world(tmp_path, clock) as world:
        register(world.store, SourceConfig("east", country="SE"), actor="test")
        deliver(world.store, calls())
        world.enrol("billing-1", "billing")
        world.enrol("officer-1", "officer")
        billing = world.as_person("billing-1")
        span = {"from": MONTH.start.isoformat(), "to": MONTH.end.isoformat()}
        answer = world.http.get("/v1/usage", params=span | {"account": "0001"}, headers=billing)
        assert answer.status_code == 200, answer.text
        assert answer.json()["totals"] == periods.totals(usage(world.store, MONTH, account="0001"))
        arrow = world.http.get("/v1/usage", params=span | {"format": "arrow"}, headers=billing)
        with pa.ipc.open_stream(pa.py_buffer(arrow.content)) as reader:
            assert lines_of(reader.read_all()) == lines_of(usage(world.store, MONTH))
        assert world.http.post("/v1/usage/periods", params=span, headers=billing).status_code == 200
        assert world.http.post("/v1/usage/periods", params=span, headers=billing).status_code == 409
        assert world.http.get("/v1/usage", params=span, headers=billing).json()["closed"] is True
        assert world.http.get("/v1/usage/adjustments", params=span, headers=billing).json()["lines"] == []
        assert len(world.http.get("/v1/usage/periods", headers=billing).json()["periods"]) == 1
        for path in ("/v1/usage", "/v1/usage/adjustments", "/v1/usage/periods"):
            assert world.http.get(path, params=span, headers=world.as_person("officer-1")).status_code == 403
            assert world.http.get(path, params=span).status_code == 401
        backwards = {"from": span["to"], "to": span["from"]}
        assert 400 <= world.http.get("/v1/usage", params=backwards, headers=billing).status_code < 500


def test_a_delivery_report_is_no_service_and_is_not_charged(store: Store) -> None:
    table = calls(20)
    column = pa.array(["delivery-report"] * 5 + ["sent"] * 15).dictionary_encode()
    deliver(store, table.append_column("disposition", column))
    period = Period(table.column("end_time")[0].as_py().date() - timedelta(days=2), date(2026, 11, 22))
    assert sum(usage(store, period).column("records").to_pylist()) == 15
