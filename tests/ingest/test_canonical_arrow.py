"""Arrow IPC and Parquet: the same records as CSV, and damaged deliveries are refused whole."""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.workload import tables, write_csv
from ingest.source_config import SourceConfig
from schemas.arrow import PACKED
from schemas.errors import InputError
from schemas.packing import pack_identifier
from schemas.rejects import RejectReason
from tests.ingest.reading import Pipe, packed, taken
from tests.memory import own_pool

START = pa.array([datetime(2026, 11, 1, 10, tzinfo=UTC)] * 2, pa.timestamp("us", tz="UTC"))
SMALL = pa.table(
    {"record_key": ["1", "2"], "service_type": ["sms", "voice"], "start_time": START, "calling_number": ["46701", "0"]}
)


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3_000)
    return sink.getvalue().to_pybytes()


def file(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table, max_chunksize=3_000)
    return sink.getvalue().to_pybytes()


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


FORMS = [("arrow", stream), ("arrow", file), ("parquet", parquet)]


@pytest.mark.parametrize(("name", "write"), FORMS)
@pytest.mark.parametrize("text", [True, False])
def test_every_shape_brings_the_records_that_csv_brings(name: str, write: Any, text: bool) -> None:
    rows = 10_000
    csv = io.BytesIO()
    write_csv(csv, rows)
    table = pa.concat_tables(tables(rows, text=text)).unify_dictionaries()
    assert packed(name, write(table)).to_pylist() == packed("csv", csv.getvalue()).to_pylist()


@pytest.mark.parametrize(("name", "write"), FORMS)
def test_streams_that_cannot_seek_are_read(name: str, write: Any) -> None:
    records, rejects = taken(name, Pipe(write(SMALL), 11))
    assert [record["record_key"] for record in records] == ["1", "2"]
    assert not rejects


def test_a_compressed_file_is_read() -> None:
    assert len(taken("arrow", file(SMALL, "zstd"))[0]) == 2


@pytest.mark.parametrize(("name", "write"), FORMS)
def test_a_truncated_delivery_is_refused_whole(name: str, write: Any) -> None:
    data = write(SMALL)
    for size in sorted({*range(1, len(data), 37), len(data) - 1, len(data) - 8}):
        with pytest.raises(InputError):
            taken(name, data[:size])


@pytest.mark.parametrize("write", [stream, file])
def test_what_stands_behind_a_whole_delivery_is_never_lost(write: Any) -> None:
    for table in (SMALL, SMALL.slice(0, 0)):
        with pytest.raises(InputError, match="goes on"):
            taken("arrow", write(table) + write(SMALL))


@pytest.mark.parametrize(("name", "write"), FORMS)
def test_damaged_bytes_never_fall_over(name: str, write: Any) -> None:
    data = write(SMALL)
    random = np.random.default_rng(7)
    places = [*range(len(data)), *(None for _ in range(300))]
    for place in places[:: 1 + len(data) // 2_000]:
        broken = bytearray(data)
        for one in random.integers(0, len(data), 3) if place is None else [place]:
            broken[one] ^= 1 << int(random.integers(0, 8)) if place is None else 0xFF
        try:
            taken(name, bytes(broken), SourceConfig("switch"))
        except InputError:
            continue


def test_an_empty_delivery_holds_no_records() -> None:
    assert taken("arrow", b"") == ([], [])
    assert taken("parquet", b"") == ([], [])
    assert taken("parquet", Pipe(b"")) == ([], [])


def test_another_kind_of_file_is_refused() -> None:
    for name in ("arrow", "parquet"):
        for data in (b"record_key,switch\n" * 10, b"x", b"PAR1" + b"\0" * 40, b"\xff" * 64):
            with pytest.raises(InputError):
                taken(name, data)


@pytest.mark.parametrize(
    "table",
    [
        SMALL.append_column("colour", pa.array(["a", "b"])),
        SMALL.append_column("batch_id", pa.array([1, 2])),
        SMALL.append_column("duration_ms", pa.array([1.5, 2.0])),
        SMALL.append_column("imsi", pa.array([1.5, 2.0])),
        SMALL.append_column("imei", pa.array([[1], [2]])),
        SMALL.append_column("end_time", pa.array([1, 2])),
        SMALL.replace_schema_metadata({"lagrum.schema_version": "1"}),
    ],
)
def test_columns_that_no_field_takes_are_refused(table: pa.Table) -> None:
    for name, write in FORMS:
        with pytest.raises(InputError):
            taken(name, write(table))


def test_packed_columns_are_told_by_their_schema_version() -> None:
    number, text = pack_identifier(pa.array(["46701", "sip:a@b"]))
    key, _ = pack_identifier(pa.array(["007", "8"]))
    table = pa.table(
        {
            "record_key": key,
            "service_type": pa.array(["sms", "sms"]).dictionary_encode(),
            "start_time": START,
            "calling_number": number,
            "calling_number_text": text,
        }
    ).replace_schema_metadata(PACKED.metadata)
    for name, write in FORMS[:2]:
        records, _ = taken(name, write(table))
        assert [record["calling_number"] for record in records] == ["46701", "sip:a@b"]
        assert [record["record_key"] for record in records] == ["007", "8"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_any_unit_are_taken_and_local_ones_follow_the_zone(unit: str) -> None:
    wall = pa.array([datetime(2026, 10, 25, 2, 30), datetime(2026, 7, 1)], pa.timestamp(unit))  # noqa: DTZ001
    table = SMALL.set_column(2, "start_time", wall)
    records, rejects = taken("arrow", stream(table), SourceConfig("switch", zone="Europe/Stockholm"))
    assert not rejects
    assert [record["start_time"].isoformat() for record in records] == [
        "2026-10-25T00:30:00+00:00",
        "2026-06-30T22:00:00+00:00",
    ]
    assert [record["utc_offset_s"] for record in records] == [7200, 7200]
    assert [record["time_ambiguous"] for record in records] == [True, False]
    _, rejects = taken("arrow", stream(table))
    assert [reject.reason for reject in rejects] == [RejectReason.BAD_TIME] * 2


def test_timestamps_beyond_all_calendars_are_refused_alone() -> None:
    wild = pa.array([2**62, 1_793_527_200], pa.timestamp("s", tz="UTC"))
    records, rejects = taken("arrow", stream(SMALL.set_column(2, "start_time", wild)))
    assert [record["record_key"] for record in records] == ["2"]
    assert [(reject.position, reject.reason) for reject in rejects] == [(1, RejectReason.BAD_TIME)]


def test_one_long_text_in_every_row_is_refused_before_it_is_written_out() -> None:
    rows = 50_000
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * 500_000])
    table = pa.table(
        {
            "record_key": pa.array(range(rows)),
            "service_type": pa.array(["sms"] * rows).dictionary_encode(),
            "start_time": pa.array([START[0]] * rows, START.type),
            "calling_number_delivered": long,
        }
    )
    for name, write in FORMS:
        data = write(table)
        assert len(data) < 20 << 20
        with own_pool() as pool, pytest.raises(InputError):
            taken(name, data)
        assert pool.bytes_allocated() < 64 << 20


def test_a_refused_record_is_kept_as_ndjson() -> None:
    table = SMALL.append_column("source_ip", pa.array(["no", "10.0.0.1"]))
    for name, write in FORMS:
        records, (reject,) = taken(name, write(table))
        assert (reject.position, reject.reason, reject.field) == (1, RejectReason.BAD_FIELD, "source_ip")
        assert len(records) == 1
        assert reject.raw is not None
        again, (same,) = taken("ndjson", reject.raw)
        assert not again
        assert same.field == "source_ip"


def test_views_and_large_strings_and_unsigned_figures_are_taken() -> None:
    table = SMALL.set_column(0, "record_key", SMALL.column("record_key").cast(pa.string_view()))
    table = table.set_column(1, "service_type", table.column("service_type").cast(pa.large_string()))
    table = table.append_column("volume_up_bytes", pa.array([2**63, 5], pa.uint64()))
    records, rejects = taken("arrow", stream(table))
    assert [record["volume_up_bytes"] for record in records] == [5]
    assert [reject.field for reject in rejects] == ["volume_up_bytes"]


@pytest.mark.parametrize("offset", [-1, 1 << 20, (1 << 31) - 1])
@pytest.mark.parametrize("place", [4, 8])
def test_offsets_that_point_elsewhere_are_damage_and_never_followed(offset: int, place: int) -> None:
    table = pa.table({"record_key": ["abcdefghijk", "lmnopqrstuv"], "start_time": ["2026-11-01T10:00:00Z"] * 2})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data, offsets = sink.getvalue(), struct.pack("<3i", 0, 11, 22)
    assert data.count(offsets) == 1
    bad = bytearray(offsets)
    struct.pack_into("<i", bad, place, offset)
    with pytest.raises(InputError):
        taken("arrow", data.replace(offsets, bytes(bad)))
