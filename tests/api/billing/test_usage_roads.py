"""The two roads of usage: compiled loops over integers give the very lines that SQL gives."""

from __future__ import annotations

import importlib
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.billing import subscriptions
from api.billing.subscriptions import FOREVER_US, Subscription, owned_by
from api.billing.usage import Period, usage
from api.billing.usage_lines import COLUMNS, LINE, MEASURES
from api.billing.usage_sql import aggregate
from api.billing.usage_tally import _WAYS, Tally, _bounds, _Table
from ingest.source_config import SourceConfig
from ingest.sources import register
from schemas.arrow import PACKED
from schemas.destinations import destination
from schemas.errors import BusyError, IntegrityError
from store import Store
from store.clock import to_date
from store.correcting.overlay import KINDS, RECTIFIED, RELEASED, RESTRICTED, Correction
from store.encoding.figure_batch import FigureBatch
from store.partitions import PartitionKey
from tests.conftest import FixedClock
from tests.examples import examples
from tests.store.conftest import deliver
from tests.store.records import CALLING, DAY_US, NOW_US, records, with_column

TODAY = to_date(NOW_US)
MIDNIGHT_US = NOW_US - NOW_US % DAY_US
CODES = {"east": "46", "west": "1", "nowhere": None}
V6 = bytes.fromhex("20010db8000000000000000000000005")
NUMBERS = ["0701", "46701740001", "46701740002", "46701740003", "9", "sip:bob@example.net", "acme"]


def compiled() -> Any:
    """Return the loops and their twins; they are compiled only where they are compared."""
    return importlib.import_module("api.billing.usage_kernels")


def values(name: str) -> st.SearchStrategy[Any]:
    """Few values of each column, so that subscriptions meet them."""
    packed = [int("1" + number) for number in NUMBERS if number.isdigit()]
    texts = [number for number in NUMBERS if not number.isdigit()]
    times = [MIDNIGHT_US + day * DAY_US + shift for day in range(-4, 1) for shift in (-1, 0)]
    known: dict[str, list[Any]] = {
        "called_number": [
            146_701_740_001,
            14_915_112_345,
            1_112,
            1_999_999,
            2_000_000,
            10**15 + 46 * 10**13,
            10**16,
            17,
        ],
        "mac": [0, 5, 7],
        "source_ip": [0, 3_405_803_781, 2**32 - 1],
        "source_ip_v6": [V6, bytes(16)],
        "service_type": ["voice", "sms", "data"],
        "disposition": ["answered", "delivery-report"],
        "source": [*CODES, "unknown"],
        "start_time": times,
        "batch_id": [1, 2],
    }
    if name in MEASURES:
        return st.none() | st.integers(-(2**40), 2**40)
    if name in ("start_time", "batch_id"):
        return st.sampled_from(known[name])
    return st.none() | st.sampled_from(known.get(name, texts if name.endswith("_text") else packed))


@st.composite
def batches(draw: st.DrawFn) -> list[pa.RecordBatch]:
    """Packed records; a column may be null in every row."""
    made = []
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.integers(1, 12))
        absent = draw(st.sets(st.sampled_from([name for name in COLUMNS if name not in ("start_time", "batch_id")])))
        columns = []
        for name in COLUMNS:
            kind: Any = PACKED.field(name).type
            one = st.none() if name in absent else values(name)
            plain = kind.value_type if pa.types.is_dictionary(kind) else kind
            array: Any = pa.array(draw(st.lists(one, min_size=rows, max_size=rows)), plain)
            columns.append(array if plain is kind else array.dictionary_encode().cast(kind))
        made.append(pa.RecordBatch.from_arrays(columns, schema=pa.schema([PACKED.field(name) for name in COLUMNS])))
    return made


@st.composite
def owners(draw: st.DrawFn) -> list[Subscription]:
    """Subscriptions of every kind; one identifier belongs to one account at a time."""
    kinds = {
        "number": NUMBERS,
        "imsi": ["46701740001", "0701"],
        "mac": ["00:00:00:00:00:00", "00:00:00:00:00:05"],
        "ip": ["0.0.0.0", "203.0.113.5", "2001:db8::5"],
    }
    days = [TODAY + timedelta(days=day) for day in range(-4, 1)]
    made = []
    for kind, identifiers in kinds.items():
        for value in draw(st.sets(st.sampled_from(identifiers))):
            cuts = sorted(draw(st.sets(st.sampled_from(days), min_size=1)))
            ends = [*cuts[1:], draw(st.none() | st.just(days[-1] + timedelta(days=1)))]
            for start, end in zip(cuts, ends, strict=True):
                if draw(st.booleans()):
                    account = draw(st.sampled_from(["first", "0701", "46701740001", "acme"]))
                    made.append(Subscription(kind, value, account, start, end))
    return made


def rows_of(lines: pa.Table) -> list[dict[str, Any]]:
    return lines.select(LINE.names).to_pylist()


@examples(30)
@given(batches(), owners(), st.data())
def test_loops_give_the_lines_of_sql(
    given_: list[pa.RecordBatch], owned: list[Subscription], data: st.DataObject
) -> None:
    kept = [data.draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n)) for n in map(len, given_)]
    tally = Tally(owned_by(owned), CODES)
    for batch, flags in zip(given_, kept, strict=True):
        made = FigureBatch.of(batch)
        tally.add(
            made if flags is None else FigureBatch(made.rows, made.figures, made.labels, made.others, np.array(flags))
        )
    chosen = [b if flags is None else b.filter(pa.array(flags)) for b, flags in zip(given_, kept, strict=True)]
    expected = aggregate(iter(chosen), owned=owned_by(owned), codes=CODES)
    assert tally.lines().schema == LINE
    assert rows_of(tally.lines()) == rows_of(expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=200), st.lists(st.integers(0, 60), max_size=30), st.booleans())
def test_the_search_for_an_owner_equals_a_table(wanted: list[int], held: list[int], is_sorted: bool) -> None:
    """Both the compiled loop and its twin, over values in any order and in the order of a part."""
    places = np.sort(np.array(held, np.int64))
    begins = np.array([at % 3 for at in range(len(places))], np.int64)
    ends = np.where(begins == 2, begins, FOREVER_US)  # some are never valid
    numbers = np.arange(len(places), dtype=np.int64) + 1
    rows = np.array(sorted(wanted) if is_sorted else wanted, np.int64)
    starts = np.full(1, 1, np.int64)
    expected = [
        next((int(numbers[at]) for at in range(len(places)) if places[at] == value and begins[at] <= 1 < ends[at]), 0)
        for value in rows
    ]
    for road in (compiled().own, compiled()._own_of):
        accounts = np.zeros(len(rows), np.int64)
        road(rows, starts, 0, places, begins, ends, numbers, accounts)
        assert accounts.tolist() == expected


@pytest.mark.parametrize("code", [None, "46", "1", "358"])
@examples(40)
@given(
    st.text("0123456789", min_size=1, max_size=18) | st.sampled_from(["46", "47", "45", "1", "2", "358"]),
    st.integers(0, 13),
)
def test_a_destination_is_the_one_of_the_table(code: str | None, digits: str, zeros: int) -> None:
    number = (digits + "0" * zeros)[:18]
    bounds = _bounds([None, code])
    expected = destination(number, code)
    for road in (compiled().class_of, compiled()._class_of):
        assert _WAYS[road(int("1" + number), 1, *bounds, code is not None)] == expected


def test_sums_beyond_64_bits_are_refused() -> None:
    tally = Tally(owned_by([]), {})
    batch = FigureBatch.of(pa.table({"duration_ms": pa.array([2**62, 2**62 - 1])}))
    tally.add(batch)
    assert tally.lines()["duration_ms"].to_pylist() == [2**63 - 1]
    for beyond in (1, 2**63 - 1):
        with pytest.raises(IntegrityError):
            tally.add(FigureBatch.of(pa.table({"duration_ms": pa.array([beyond])})))
    low = Tally(owned_by([]), {})
    low.add(FigureBatch.of(pa.table({"volume_up_bytes": pa.array([-(2**63)])})))
    with pytest.raises(IntegrityError):
        low.add(FigureBatch.of(pa.table({"volume_up_bytes": pa.array([-1])})))


def test_groups_beyond_the_first_table_are_kept_and_beyond_the_memory_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = pa.array(10**9 + np.arange(20_000) * 7919)
    batch = FigureBatch.of(pa.table({"account": accounts, "volume_up_bytes": accounts}))
    tally = Tally(owned_by([]), {})
    tally.add(batch)
    tally.add(batch)
    lines = tally.lines()
    assert lines["account"].to_pylist() == sorted(str(value)[1:] for value in accounts.to_pylist())
    assert set(lines["records"].to_pylist()) == {2}
    assert sum(lines["volume_up_bytes"].to_pylist()) == 2 * sum(accounts.to_pylist())
    monkeypatch.setattr("api.billing.usage_tally.TABLE_BYTES_MAX", 1 << 20)
    with pytest.raises(BusyError):
        Tally(owned_by([]), {}).add(batch)


def test_a_group_lies_where_it_is_looked_for() -> None:
    table = _Table.of(64)
    for account in (-5, 0, 10**17):
        place = compiled().place_of(table.accounts, table.cells, account, 3)
        assert table.cells[place] < 0
        table.accounts[place], table.cells[place] = account, 3
        assert compiled().place_of(table.accounts, table.cells, account, 3) == place
        with np.errstate(over="ignore"):
            assert compiled()._place_of(table.accounts, table.cells, np.int64(account), np.int64(3)) == place


ACTS = st.tuples(st.sampled_from(KINDS), st.integers(0, 59))


@settings(max_examples=8, deadline=None)
@given(
    acts=st.lists(ACTS, max_size=4, unique_by=lambda act: act[1]),
    withdrawn=st.booleans(),
    compacted=st.sampled_from(["no", "before", "after"]),
    seed=st.integers(0, 3),
    highest=st.none() | st.integers(0, 3),
    span=st.tuples(st.integers(1, 5), st.integers(0, 4)),
    owned=owners(),
)
def test_both_roads_obey_the_overlay_the_conflicts_and_the_batches(
    acts: list[tuple[str, int]],
    withdrawn: bool,
    compacted: str,
    seed: int,
    highest: int | None,
    span: tuple[int, int],
    owned: list[Subscription],
) -> None:
    with tempfile.TemporaryDirectory() as name, Store.create(Path(name) / "root", clock=FixedClock(NOW_US)) as store:
        register(store, SourceConfig("east", country="SE"), actor="test")
        first = records(60, seed=seed, days_ago=4, days=3)
        batch = deliver(store, first).batch_id
        other = deliver(store, records(60, seed=seed + 9, first_key=100, days_ago=4, days=3)).batch_id
        deliver(store, with_column(first, "duration_ms", [1] * 60))
        if compacted == "before":
            store.compact(everything=True)
        steps = [(step, row) for kind, row in acts for step in ((RESTRICTED, kind) if kind == RELEASED else (kind,))]
        for number, (kind, row) in enumerate(steps):
            ended = to_date(first["end_time"].cast(pa.int64())[row].as_py())
            fields = {"calling_number": "46701740002", "volume_up_bytes": 9} if kind == RECTIFIED else {}
            key = PartitionKey(ended, "standard", "shared")
            wanted = Correction(f"{number:016x}", kind, key, batch, row + 1, fields, said={"reason": "wrong"})
            store.corrections.request(wanted, {"by": "one"})
            store.corrections.confirm(wanted.act, {}, ("one", "two"))
        if withdrawn:
            store.withdraw_batch(other, reason="zone", actors=("a", "b"))
        if compacted == "after":
            store.compact(everything=True)
        subscriptions.import_rows(store, enumerate(owned, 1))
        period = Period(TODAY - timedelta(days=span[0] + span[1]), TODAY - timedelta(days=span[1]))
        lines = []
        for is_much in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("api.billing.usage._is_much", lambda *_, is_much=is_much: is_much)
                lines.append(rows_of(usage(store, period, batch_id_max=highest)))
        assert lines[0] == lines[1]


def test_numbers_of_the_records_meet_those_of_the_subscriptions() -> None:
    """The searches above would pass on nothing: these values are found."""
    batch = FigureBatch.of(pa.table({"calling_number": [CALLING + 1], "start_time": records(1)["start_time"]}))
    tally = Tally(owned_by([Subscription("number", str(CALLING + 1)[1:], "mine", TODAY - timedelta(days=9), None)]), {})
    tally.add(batch)
    assert tally.lines()["account"].to_pylist() == ["mine"]
