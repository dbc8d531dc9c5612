"""The same calls by two roads, in two layouts or twice are stored once, where the source gives an identity."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.pipeline import ingest_stream
from ingest.source import SourceConfig
from store import Store
from tests.conftest import FixedClock
from tests.ingest.decoding import fixture

SOURCE = SourceConfig("pbx", zone="Europe/Stockholm", switch="fs-sto-1")
LEGS = fixture("freeswitch", "legs.ndjson")
ACC = fixture("kamailio", "acc_129.log") + fixture("kamailio", "acc_130.log")


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


def _taken(store: Store, name: str, data: bytes, source: SourceConfig = SOURCE) -> tuple[int, int, int, int]:
    receipt = ingest_stream(store, source, name, io.BytesIO(data))
    return receipt.accepted, receipt.duplicates, receipt.conflicts, receipt.rejected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("freeswitch-json", LEGS), ("freeswitch-xml", fixture("freeswitch", "legs.xml"))),
        (("freeswitch-json", LEGS), ("freeswitch-json", fixture("freeswitch", "legs_form.txt"))),
        (("freeswitch-json", LEGS), ("freeswitch-json", fixture("freeswitch", "legs_indented.json"))),
        (("freeswitch-xml", fixture("freeswitch", "legs.xml")), ("freeswitch-xml", fixture("freeswitch", "legs.xml"))),
        (("asterisk-csv", fixture("asterisk", "master_21.csv")),) * 2,
        (("cucm-cdr", fixture("cucm", "cdr.csv")),) * 2,
        (("conntrack", fixture("conntrack", "conntrack_events_nat44.log")),) * 2,
        (("cgnat-syslog", fixture("cgnat", "juniper.log")),) * 2,
        (("smpp", fixture("smpp", "gateway.log")),) * 2,
    ],
    ids=lambda one: one[0],
)
def test_two_exports_and_retransmissions_are_stored_once(
    store: Store, first: tuple[str, bytes], second: tuple[str, bytes]
) -> None:
    accepted, _, _, _ = _taken(store, *first)
    assert accepted
    again = _taken(store, *second)
    assert again[0] == 0 and again[1] > 0 and again[2] == 0


def test_kamailio_by_file_and_by_push_truncated_to_seconds_or_not(store: Store) -> None:
    source = SourceConfig("sip")
    accepted, known, conflicts, rejected = _taken(store, "kamailio-acc", ACC, source)
    assert (known, conflicts, rejected) == (0, 0, 0)
    pushed = _taken(store, "kamailio-json", fixture("kamailio", "http_posts.flat.jsonl"), source)
    assert pushed[1] >= accepted - 1 and pushed[3] == 0
