"""`ingest`, `status`, `reconcile`, `quarantine`, `verify`: shapes, sums and exit codes."""

from __future__ import annotations

import gzip
import io
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from ingest import pipeline
from store.batch import BatchWriter
from tests.api.cli.conftest import HEADER, Run

COUNTS = ("records", "accepted", "duplicates", "conflicts", "rejected", "rows", "bytes")


def take(run: Run, root: Path, *paths: Path | str) -> dict[str, object]:
    ran = run("--root", root, "--json", "ingest", "--source", "core", "--format", "csv", *paths)
    assert ran.code == 0, ran.err
    return ran.json


def test_the_receipt_has_the_agreed_shape_and_adds_up(run: Run, root: Path, calls: Path) -> None:
    receipt = run("--root", root, "--json", "ingest", "--source", "core", "--format", "csv", calls, calls).json
    assert set(receipt) == {*COUNTS, "seconds", "files"}
    assert [receipt[name] for name in COUNTS[:6]] == [6, 3, 3, 0, 0, 3]
    assert [item["accepted"] for item in receipt["files"]] == [3, 0]
    for item in (receipt, *receipt["files"]):
        assert item["records"] == item["accepted"] + item["duplicates"] + item["conflicts"] + item["rejected"]
    for name in COUNTS:
        assert receipt[name] == sum(item[name] for item in receipt["files"])


def test_the_status_has_the_agreed_shape(run: Run, root: Path, calls: Path) -> None:
    take(run, root, calls)
    partitions = run("--root", root, "status", "--json").json["partitions"]
    names = {"date", "class", "domain", "records", "parts", "bytes", "sealed", "floor_until", "expires_at", "holds"}
    assert [set(item) for item in partitions] == [names, names]
    assert [(item["date"], item["records"], item["expires_at"]) for item in partitions] == [
        ("2026-11-20", 2, "2028-11-20T00:00:00Z"),
        ("2026-11-21", 1, "2028-11-21T00:00:00Z"),
    ]


def test_who_delivers_local_times_hears_once_that_they_are_read_as_utc(run: Run, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    path.write_text(",".join(['""'] * 18) + "\n")
    words = ("--root", root, "ingest", "--source", "pbx1", "--format")
    assert "read as UTC" in run(*words, "asterisk-csv", path).err
    assert "read as UTC" not in run(*words, "asterisk-csv", path).err
    assert "read as UTC" not in run("--root", root, "ingest", "--source", "pbx2", "--format", "csv", path).err


def test_compressed_files_are_known_by_their_content(run: Run, root: Path, calls: Path, tmp_path: Path) -> None:
    plain = calls.read_bytes()
    zipped, squeezed = tmp_path / "first.csv", tmp_path / "second.dat"
    zipped.write_bytes(gzip.compress(plain))
    squeezed.write_bytes(pa.compress(plain, codec="zstd", asbytes=True))
    receipt = take(run, root, zipped, squeezed)
    assert (receipt["accepted"], receipt["duplicates"]) == (3, 3)
    assert receipt["bytes"] == zipped.stat().st_size + squeezed.stat().st_size


def test_standard_input_is_a_delivery(run: Run, root: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(calls.read_bytes())))
    assert take(run, root, "-")["accepted"] == 3


def test_the_next_delivery_is_decoded_while_one_is_committed(
    run: Run, root: Path, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.csv"
    other.write_bytes(calls.read_bytes())
    order: list[str] = []
    begin, commit = pipeline.Delivery.begin, BatchWriter.commit
    monkeypatch.setattr(pipeline.Delivery, "begin", lambda self: (order.append("begin"), begin(self))[1])
    monkeypatch.setattr(BatchWriter, "commit", lambda self: (order.append("commit"), commit(self))[1])
    assert take(run, root, calls, other)["duplicates"] == 3
    assert order.index("commit") > [index for index, word in enumerate(order) if word == "begin"][1]


def test_a_file_that_goes_before_its_turn_costs_the_one_before_nothing(
    run: Run, root: Path, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.csv"
    other.write_bytes(calls.read_bytes())
    add = BatchWriter.add
    monkeypatch.setattr(BatchWriter, "add", lambda self, table: (other.unlink(missing_ok=True), add(self, table))[1])
    ran = run("--root", root, "--json", "ingest", "--source", "core", "--format", "csv", calls, calls, other)
    assert ran.code == 1 and "other.csv" in ran.err
    assert [("error" in item, item["accepted"]) for item in ran.json["files"]] == [(False, 3), (False, 0), (True, 0)]


def test_a_delivery_that_cannot_be_read_does_not_stop_the_others(
    run: Run, root: Path, calls: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("one,two\n1,2\n")
    ran = run("--root", root, "--json", "ingest", "--source", "core", "--format", "csv", wrong, calls)
    assert ran.code == 1
    assert [("error" in item, item["accepted"]) for item in ran.json["files"]] == [(True, 0), (False, 3)]
    assert run("--root", root, "verify").code == 0


def test_who_delivers_an_empty_file_hears_it(run: Run, root: Path, calls: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    words = ("--root", root, "ingest", "--source", "core", "--format", "csv")
    told = run(*words, empty)
    assert told.code == 0 and "it is empty" in told.err
    assert "it is empty" not in run(*words, calls).err


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00broken", b"\xff\xfe\x00\x01" * 50, HEADER.encode()])
def test_odd_files_end_without_a_traceback_and_leave_a_sound_store(
    run: Run, root: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    assert run("--root", root, "ingest", "--source", "core", "--format", "csv", path).code in (0, 1)
    assert run("--root", root, "verify").code == 0


def test_a_pipe_is_a_delivery_and_a_folder_is_none(run: Run, root: Path, calls: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "46700000001.fifo"
    os.mkfifo(pipe, 0o600)
    writer = threading.Thread(target=lambda: pipe.write_bytes(calls.read_bytes()))
    writer.start()
    receipt = take(run, root, pipe)
    writer.join()
    assert (receipt["accepted"], receipt["bytes"]) == (3, calls.stat().st_size)
    for wrong in (tmp_path, tmp_path / "none.csv"):
        assert run("--root", root, "ingest", "--source", "core", "--format", "csv", calls, wrong).code == 2
    held = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert b"46700000001" not in held, "a file's name may be a subscriber's number"


def test_pipes_are_opened_in_their_turn_by_who_fills_one_after_the_other(
    run: Run, root: Path, calls: Path, tmp_path: Path
) -> None:
    pipes = [tmp_path / name for name in ("first", "second", "third")]
    for pipe in pipes:
        os.mkfifo(pipe, 0o600)
    writer = threading.Thread(target=lambda: [pipe.write_bytes(calls.read_bytes()) for pipe in pipes], daemon=True)
    writer.start()
    receipt = take(run, root, *pipes)
    writer.join()
    assert (receipt["accepted"], receipt["duplicates"]) == (3, 6)


def test_rejects_are_counted_told_and_shown_without_a_value(run: Run, root: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(
        HEADER
        + "1,msc-1,voice,46700000001,46700000002,2026-11-20T10:00:00Z,61\n"
        + "2,msc-1,voice,46700000001,46700000002,not a time,61\n"
    )
    ran = run("--root", root, "--json", "ingest", "--source", "core", "--format", "csv", path)
    assert (ran.code, ran.json["accepted"], ran.json["rejected"]) == (0, 1, 1)
    assert "1 record rejected" in ran.err
    listed = run("--root", root, "--json", "quarantine", "list").json
    assert listed["rejects"] == 1
    shown = run("--root", root, "quarantine", "show", str(listed["entries"][0]["id"]), "--json")
    assert shown.json["rejects"][0]["position"] == 2
    assert "46700000001" not in shown.out and "not a time" not in shown.out
    replayed = run("--root", root, "--json", "quarantine", "replay", str(listed["entries"][0]["batch_id"]))
    assert (replayed.code, replayed.json["rejected"]) == (1, 1)
    assert "1 record rejected again" in replayed.err


def test_reconciliation_adds_up_per_source(run: Run, root: Path, calls: Path) -> None:
    take(run, root, calls, calls)
    ran = run("--root", root, "--json", "reconcile", "--source", "core")
    assert ran.code == 0
    row = ran.json["rows"][0]
    assert (row["delivered"], row["stored"], row["duplicates"], row["balanced"]) == (6, 3, 3, True)
    sums = {"delivered": 6, "stored": 3, "duplicates": 3, "conflicts": 0, "rejects": 0, "gaps": None}
    assert ran.json["transports"] == [{"source": "core", "transport": "file", **sums}]
    other = run("--root", root, "--json", "reconcile", "--source", "other").json
    assert other["rows"] == other["transports"] == other["queues"] == []


def test_one_changed_bit_is_found_and_named(run: Run, root: Path, calls: Path) -> None:
    take(run, root, calls)
    part = sorted(root.rglob("*.parquet"))[0]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    ran = run("--root", root, "--json", "verify")
    assert (ran.code, ran.json["ok"]) == (1, False)
    assert part.stem in ran.json["problems"][0]["where"]


def test_a_missing_and_a_foreign_part_are_found(run: Run, root: Path, calls: Path) -> None:
    take(run, root, calls)
    parts = sorted(root.rglob("*.parquet"))
    parts[0].rename(parts[0].with_name("0" * 32 + ".parquet"))
    ran = run("--root", root, "--json", "verify")
    assert ran.code == 1
    assert "missing" in ran.out
