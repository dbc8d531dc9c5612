"""The short form of campaign `fuzz`, and that it finds what it looks for."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingest import times
from ingest.decoders import FORMATS, csv_walk, decoder, slices
from ingest.decoders.ber import walk as ber
from ingest.decoders.freeswitch import walk as freeswitch
from ingest.decoders.kamailio import walk as kamailio
from ingest.decoders.radius import walk as radius
from ingest.source_config import SourceConfig
from tests.fault import campaign_fuzz, fuzz_child
from tests.fault.report import Report
from tests.ingest.test_bad_input import OPTIONS

CASES = 30


@pytest.fixture(autouse=True)
def thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the roads as they were."""
    for module in (ber, csv_walk, freeswitch, kamailio, radius, slices, times):
        for name in ("WALK_BYTES_MIN", "KERNEL_BYTES_MIN", "LOAD_BYTES_MIN", "CLOCKS_MIN", "LOAD_CLOCKS_MIN"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name))


@pytest.mark.parametrize("name", FORMATS)
def test_no_mutation_breaks_a_decoder(name: str) -> None:
    items, source = fuzz_child.corpus(name), SourceConfig("fuzz", country="SE", options=OPTIONS.get(name, {}))
    assert items
    for case in range(CASES):
        data = fuzz_child.mutated(random.Random(f"{name} 0 {case}"), items)
        fuzz_child.compiled(wanted=case % 2 == 0)
        assert fuzz_child.tried(name, data, source, normalised=True)[1] == "", case


def test_a_lost_record_and_a_foreign_error_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loses:
        def decode(self, stream: io.BytesIO, source: SourceConfig) -> Iterator[Any]:
            for part in decoder("csv").decode(stream, source):
                yield SimpleNamespace(table=part.table.slice(1), rejects=part.rejects)

    class Breaks:
        def decode(self, stream: io.BytesIO, _source: SourceConfig) -> Iterator[Any]:
            yield stream.read()[1 << 30]

    data, source = fuzz_child.corpus("csv")[0], SourceConfig("fuzz")
    monkeypatch.setattr(fuzz_child, "decoder", lambda _name: Loses())
    assert "unaccounted" in fuzz_child.tried("csv", data, source, normalised=False)[1]
    monkeypatch.setattr(fuzz_child, "decoder", lambda _name: Breaks())
    assert "IndexError" in fuzz_child.tried("csv", data, source, normalised=False)[1]


def test_a_campaign_counts_what_it_tried(tmp_path: Path) -> None:
    report = Report("fuzz")
    campaign_fuzz.deliveries(report, tmp_path, 5, 0, formats=("kannel",))
    assert (report.runs, report.failed, report.more) == (5, 0, {"executions": {"kannel": 5}})


def test_a_process_that_dies_is_a_failure_and_the_cases_behind_it_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report("fuzz", expected=False)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    campaign_fuzz.deliveries(report, tmp_path, 3, 0, formats=("kannel",))
    assert (report.runs, report.failed) == (3, 3)
