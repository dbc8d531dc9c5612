"""The same calls by two roads, in two layouts or twice are stored once, where the source gives an identity."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ingest.decoders.freeswitch.csv_cdr import TEMPLATES
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from store import Store
from store.identities.identity import same_record
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


def _master(template: str) -> bytes:
    """Return the legs of the JSON fixture as mod_cdr_csv writes them: whole seconds, local time."""
    rows = []
    for line in LEGS.splitlines():
        document = json.loads(line)
        variables, profile = document["variables"], document["callflow"][0]["caller_profile"]
        begun, ended = int(variables["start_epoch"]), int(variables["end_epoch"])
        answered = int(variables["answer_epoch"])
        told = {name: value for name, value in profile.items() if isinstance(value, str)} | variables
        told |= {"duration": str(ended - begun), "billsec": str(ended - answered if answered else 0)}
        rows.append(",".join(f'"{told.get(name, "")}"' for name in TEMPLATES[template]))
    return "\n".join([*rows, ""]).encode()


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "opencdrrate"])
@pytest.mark.parametrize("csv_first", [False, True])
def test_freeswitch_by_json_and_by_csv_is_stored_once(store: Store, template: str, csv_first: bool) -> None:
    layouts = [("freeswitch-json", LEGS), ("freeswitch-csv", _master(template))]
    assert b'"65"' in layouts[1][1] and b'"mduration":"64876"' in LEGS  # counted between truncated instants
    first, second = reversed(layouts) if csv_first else layouts
    assert _taken(store, *first) == (5, 0, 0, 0)
    assert _taken(store, *second) == (0, 5, 0, 0)


def test_freeswitch_by_csv_of_another_switch_or_another_length_is_no_duplicate(store: Store) -> None:
    assert _taken(store, "freeswitch-json", LEGS) == (5, 0, 0, 0)
    other = SourceConfig("pbx", zone="Europe/Stockholm", switch="fs-sto-2")
    assert _taken(store, "freeswitch-csv", _master("default"), other) == (5, 0, 0, 0)
    longer = _master("default").replace(b'"65","60"', b'"66","60"')
    assert _taken(store, "freeswitch-csv", longer) == (0, 4, 1, 0)
    assert _taken(store, "freeswitch-csv", _master("opencdrrate"))[2] == 5  # it writes no start


@pytest.mark.parametrize(
    ("ours", "theirs", "agree"),
    [
        (64_001, 65_000, True),
        (65_000, 64_001, True),
        (64_000, 64_999, True),
        (64_001, 64_999, True),
        (64_001, 65_001, False),
        (64_999, 65_001, False),
        (64_000, 65_000, False),
        (None, 65_000, True),
    ],
)
def test_a_duration_of_whole_seconds_agrees_with_one_less_than_a_second_away(
    ours: int | None, theirs: int, agree: bool
) -> None:
    for name in ("duration_ms", "billable_duration_ms"):
        left, right = (pa.table({name: pa.array([value], pa.int64())}) for value in (ours, theirs))
        assert same_record(left, right).tolist() == [agree]


def test_kamailio_by_file_and_by_push_truncated_to_seconds_or_not(store: Store) -> None:
    source = SourceConfig("sip")
    accepted, known, conflicts, rejected = _taken(store, "kamailio-acc", ACC, source)
    assert (known, conflicts, rejected) == (0, 0, 0)
    pushed = _taken(store, "kamailio-json", fixture("kamailio", "http_posts.flat.jsonl"), source)
    assert pushed[1] >= accepted - 1 and pushed[3] == 0
