"""A session whose opening one source tells and whose end another: one record, of the element that told the end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from store import ScanQuery, Store
from tests.conftest import FixedClock
from tests.ingest.test_sessions_anew import START, STOP
from tests.store.records import NOW_US

INVITE = b"INVITE|f|t|c@h|200|OK|1795313230|46700000001|h|192.0.2.1|4670|46700000002|h\n"
BYE = b"BYE|f|t|c@h|200|OK|1795313290|46700000001|h|192.0.2.1|4670|46700000002|h\n"
CDR = b"1795313230|1795313290|60.0|c@h|46700000001|46700000002|192.0.2.1||\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=FixedClock(NOW_US)) as made:
        yield made


def elements(store: Store) -> list[str]:
    batches = store.scan(ScanQuery(0, 2**60, columns=("switch",)))
    return sorted(name for batch in batches for name in batch.column("switch").to_pylist())


def take(store: Store, source: str, format: str, data: bytes, *, switch: str | None = None) -> tuple[int, int, int]:
    receipt = ingest_stream(store, SourceConfig(source, dedup_domain="all", switch=switch), format, io.BytesIO(data))
    return receipt.accepted, receipt.duplicates, receipt.rows


@pytest.mark.parametrize("turned", [False, True])
def test_a_call_is_of_the_proxy_that_told_its_end(store: Store, turned: bool) -> None:
    events = [("east", INVITE), ("west", BYE)]
    for source, data in reversed(events) if turned else events:
        take(store, source, "kamailio-acc", data)
    assert elements(store) == ["west"]
    assert take(store, "west", "kamailio-acc", CDR)[2] == 0  # its element knows the call
    assert take(store, "east", "kamailio-acc", CDR) == (1, 0, 1)  # another element's record is another record


def test_proxies_that_are_one_element_have_one_record_of_a_call(store: Store) -> None:
    for source, data in (("east", INVITE), ("west", BYE)):
        take(store, source, "kamailio-acc", data, switch="sip")
    assert take(store, "east", "kamailio-acc", CDR, switch="sip")[2] == 0
    assert elements(store) == ["sip"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_session_that_two_radius_servers_heard_of_is_of_its_nas(store: Store, turned: bool) -> None:
    events = [("east", START), ("west", STOP)]
    for source, data in reversed(events) if turned else events:
        take(store, source, "radius-detail", data)
    assert elements(store) == ["192.0.2.1"]
    assert take(store, "west", "radius-detail", START + STOP) == (0, 2, 0)
