"""The workload is what the documents say it is, and always the same."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from bench.peers.base import Window
from bench.probes import Tally, draw, tally
from bench.workload import HEADER, SERVICE_SHARES, SWITCHES, tables, write_csv

ROWS = 200_000


def _csv(**options: object) -> bytes:
    stream = io.BytesIO()
    write_csv(stream, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def test_the_header_the_record_length_and_the_times_are_those_of_the_reference() -> None:
    data = _csv(rows=20_000)
    first, second = data.split(b"\n")[:2]
    assert first.decode() == HEADER
    assert len(second.split(b",")) == 12
    assert second.split(b",")[5].startswith(b"2026-11-01 00:00:0")
    assert second.split(b",")[5].endswith(b"Z")
    assert len(second.split(b",")[5]) == 27
    assert 158 <= (len(data) - len(first)) / 20_000 <= 166


def test_shares_and_skew_are_those_of_the_reference() -> None:
    table = pa.concat_tables(tables(ROWS, text=False)).unify_dictionaries()
    service = table.column("service_type").value_counts().to_pylist()
    for entry in service:
        assert abs(entry["counts"] / ROWS - SERVICE_SHARES[entry["values"]]) < 0.01
    assert {entry["values"] for entry in table.column("switch").value_counts().to_pylist()} == set(SWITCHES)
    assert abs(np.mean(table.column("duration_s").to_numpy()) - 89.5) < 1.5
    calling = np.sort(np.unique(table.column("calling_number").to_numpy(), return_counts=True)[1])
    called = np.sort(np.unique(table.column("called_number").to_numpy(), return_counts=True)[1])
    assert calling[-1] > called[-1] > 3
    assert len(calling) < len(called) < ROWS
    cells = table.column("cell_id").to_numpy()
    assert len(np.unique(cells)) > 39_000
    assert cells.max() - cells.min() < 40_000


def test_keys_are_unique_and_times_sorted_over_many_days() -> None:
    table = pa.concat_tables(tables(ROWS, days=3, start_date=date(2026, 2, 27), chunk_rows=30_000, text=False))
    assert table.num_rows == ROWS
    keys = table.column("record_key").to_numpy()
    assert len(np.unique(keys)) == ROWS
    assert {len(str(key)) for key in (keys.min(), keys.max())} == {11}
    start = table.column("start_time").cast(pa.int64()).to_numpy()
    assert (np.diff(start) >= 0).all()
    assert len(np.unique(start // 86_400_000_000)) == 3


def test_equipment_is_fixed_per_calling_number_but_for_one_in_twenty() -> None:
    table = pa.concat_tables(tables(ROWS, text=False))
    pairs = {name: table.group_by("calling_number").aggregate([(name, "count_distinct")]) for name in ("imsi", "imei")}
    assert pairs["imsi"].column("imsi_count_distinct").to_numpy().max() == 1
    busy = table.group_by("calling_number").aggregate([("imei", "count"), ("imei", "count_distinct")])
    busy = busy.filter(pa.compute.greater(busy.column("imei_count"), 20))
    assert busy.num_rows > 50
    share = (busy.column("imei_count_distinct").to_numpy() == 2).mean()
    assert 0 < share < 0.12
    imei = table.column("imei").to_numpy()[:50]
    assert all(_luhn(str(value)) for value in imei)


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return len(digits) == 15 and total % 10 == 0


def test_one_seed_makes_one_workload(tmp_path: Path) -> None:
    once, again, other = (_csv(rows=5_000, seed=seed, days=2) for seed in (1, 1, 2))
    assert once == again != other
    assert write_csv(tmp_path / "cdr.csv", 5_000, 1, 2) == 5_000
    assert (tmp_path / "cdr.csv").read_bytes() == once
    assert _csv(rows=10, header=False).count(b"\n") == 10


def test_pieces_of_some_days_make_the_whole() -> None:
    whole = _csv(rows=5_001, days=3, header=False)
    pieces = [_csv(rows=5_001, days=3, header=False, within=days) for days in (range(1), range(1, 3))]
    assert b"".join(pieces) == whole


def test_what_is_counted_while_a_workload_is_written_is_what_its_file_holds(tmp_path: Path) -> None:
    path, window = tmp_path / "cdr.csv", Window(date(2026, 11, 1), date(2026, 11, 4))
    write_csv(path, 40_000, days=2)
    drawn = draw(path, [window], 5, 2)[window]
    count = Tally(drawn, window)
    write_csv(io.BytesIO(), 40_000, days=2, watch=count.watch)
    assert count.probes() == drawn == tally(path, drawn, window)
    assert {probe.records > 0 for probe in drawn if probe.present} == {True}
    other = Tally(drawn, Window(date(2026, 12, 1), date(2026, 12, 2)))
    write_csv(io.BytesIO(), 40_000, days=2, watch=other.watch)
    assert {probe.records for probe in other.probes()} == {0}


def test_text_tables_and_csv_hold_the_same_records() -> None:
    table = pa.concat_tables(tables(1_000))
    types = {name: pa.string() for name in HEADER.split(",")}
    read = pacsv.read_csv(io.BytesIO(_csv(rows=1_000)), convert_options=pacsv.ConvertOptions(column_types=types))
    for name in ("record_key", "calling_number", "imei", "source_ip", "service_type"):
        assert read.column(name).to_pylist() == table.column(name).cast(pa.string()).to_pylist()
