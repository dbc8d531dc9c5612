"""The short form of damaged records among whole ones, and that it finds what it looks for."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from ingest import times
from ingest.decoders import csv_walk, decoder, slices
from ingest.decoders.ber import walk as ber
from ingest.decoders.freeswitch import walk as freeswitch
from ingest.decoders.kamailio import walk as kamailio
from ingest.decoders.radius import walk as radius
from tests.fault import campaign_fuzz, fuzz_records, record_forms
from tests.fault.report import Report


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small families, and leave the roads as they were."""
    monkeypatch.setattr(fuzz_records, "RECORDS_MAX", 60)
    for module in (ber, csv_walk, freeswitch, kamailio, radius, slices, times):
        for name in ("WALK_BYTES_MIN", "KERNEL_BYTES_MIN", "LOAD_BYTES_MIN", "CLOCKS_MIN", "LOAD_CLOCKS_MIN"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name))


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_forms, "MADE", 60)
        patch.setattr(record_forms, "REPEATED", 60)
        record_forms.families.cache_clear()
        yield
    record_forms.families.cache_clear()
    fuzz_records.expected_of.cache_clear()


@pytest.mark.parametrize("name", record_forms.FORMS)
def test_a_damaged_record_is_in_one_place_and_spoils_no_other(name: str) -> None:
    told = fuzz_records.Told()
    for number in (1, 4, 7):
        assert fuzz_records.tried(name, 0, number, told) == "", number
    assert told.records > 0 and told.refused < told.deliveries
    assert told.rows + told.rejects + told.torn == told.records


@pytest.mark.parametrize("name", record_forms.FORMS)
def test_a_damaged_record_ends_where_it_ended(name: str) -> None:
    family, rng = record_forms.families(name)[0], random.Random(0)
    for index in range(len(family.records)):
        made = record_forms.damaged(rng, name, family, index)
        if family.fixed:
            assert len(made) == len(family.records[index])
        else:
            assert made.endswith(b"\n") and made.strip()
        if name == "csv":
            assert made.count(b"\n") == 1


class _Spoils:
    """A decoder that does something to the parts of another."""

    def __init__(self, spoil: Any) -> None:
        self._spoil = spoil

    def decode(self, stream: io.BytesIO, source: Any) -> Iterator[Any]:
        data = stream.read()
        for part in decoder("csv").decode(io.BytesIO(data), source):
            whole = data == _whole()
            yield part if whole else SimpleNamespace(table=self._spoil(part.table), rejects=part.rejects)


def _whole() -> bytes:
    family = record_forms.families("csv")[0]
    return family.delivery(family.records)


def _emptied(table: pa.Table) -> pa.Table:
    place = table.column_names.index("called_number")
    return table.set_column(place, "called_number", pa.nulls(table.num_rows, table.column(place).type))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda table: table.slice(1), "unaccounted"),
        (_emptied, "called_number"),
        (lambda table: table.take([0] * 3), "unaccounted"),
    ],
)
def test_a_record_lost_and_a_record_changed_are_found(spoil: Any, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_records, "families", lambda name: record_forms.families(name)[:1])
    monkeypatch.setattr(fuzz_records, "decoder", lambda _name: _Spoils(spoil))
    found = [fuzz_records.tried("csv", 0, number, fuzz_records.Told()) for number in range(0, 8, 2)]
    assert any(word in problem for problem in found), found


def test_a_neighbour_that_is_lost_is_found_where_positions_may_move() -> None:
    family = record_forms.families("broadworks-xml")[0]
    expected = fuzz_records.outcome("broadworks-xml", family.delivery(family.records), normalised=False)
    found = fuzz_records.outcome(
        "broadworks-xml", family.delivery(family.records[:9] + family.records[10:]), normalised=False
    )
    whole = range(1, len(family.records) + 1)
    assert (
        fuzz_records.difference("broadworks-xml", found, expected, whole, len(whole))
        == "the undamaged record 10 is lost, or another"
    )


def test_a_campaign_counts_records_apart_from_deliveries(tmp_path: Path) -> None:
    report = Report("fuzz-records")
    campaign_fuzz.records(report, tmp_path, 100, 0, formats=("kannel",))
    told = report.more["formats"]["kannel"]
    assert report.failed == 0
    assert told["records"] == report.runs == told["rows"] + told["rejects"] + told["torn"] >= 100 > told["deliveries"]
