"""A delivery of its header and no record says that there was nothing: it is taken, and the source was heard."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest import silence, sources
from ingest.decoders import FORMATS
from ingest.drop_folder import DropFolder
from ingest.drop_rules import WatchRules
from ingest.messages import ingest_messages
from ingest.pipeline import ingest_stream
from ingest.pushes import decode_pushes
from ingest.queue import Message
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from store import Store
from tests.conftest import FixedClock
from tests.ingest import ber_encoder as ber
from tests.ingest.test_bad_input import HEADERS, MAPPING, OPTIONS
from tests.ingest.test_decode_tap3 import app

NAMED = MAPPING.replace('columns = ["id", "a", "b", "begun", "seconds"]', "header = true")
TRAILED = MAPPING.replace("[key]", '[trailer_line]\nstarts_with = "TOTAL"\ncount = "TOTAL (?P<count>[0-9]+)"\n[key]')
JSON = MAPPING.replace('kind = "delimited"', 'kind = "json"\nrecords = "calls"').replace(
    'columns = ["id", "a", "b", "begun", "seconds"]', ""
)
OPENED = datetime(2026, 11, 20, 9, tzinfo=UTC)
SCHEMA = pa.schema(
    [("record_key", pa.string()), ("service_type", pa.string()), ("start_time", pa.timestamp("us", "UTC"))]
)


def _arrow() -> bytes:
    out = io.BytesIO()
    pa.ipc.new_file(out, SCHEMA).close()
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(SCHEMA.empty_table(), out)
    return out.getvalue()


MASTER = (
    b"accountcode,src,dst,dcontext,clid,channel,dstchannel,lastapp,lastdata,start,answer,end,duration,billsec,"
    b"disposition,amaflags\n"
)
KANNEL = b"2026-11-22 00:00:00 Log begins\n2026-11-22 23:59:59 Log ends\n"
MARKERS = (
    b"<broadWorksCDR><cdrData><headerModule><type>Start</type></headerModule></cdrData>"
    b"<cdrData><headerModule><type>End</type></headerModule></cdrData></broadWorksCDR>"
)
TYPES = b"INTEGER,VARCHAR(50),INTEGER,INTEGER,INTEGER,VARCHAR(50),VARCHAR(50),INTEGER\n"
TEMPLATES = (10).to_bytes(2, "big") + (28).to_bytes(2, "big") + bytes(12) + bytes.fromhex("0002000c01000001 00080004")
FRAMED = {"3gpp-32297", "tap3"}  # no file of theirs is without octets
NOTHING = {
    "csv": ("csv", HEADERS["csv"]),
    "csv-spaced": ("csv", b"\xef\xbb\xbf" + HEADERS["csv"].replace(b"\n", b"\r\n") + b"\r\n\n"),
    "csv-gzip": ("csv", gzip.compress(HEADERS["csv"])),
    "cucm-cdr": ("cucm-cdr", HEADERS["cucm-cdr"]),
    "cucm-cdr-types": ("cucm-cdr", HEADERS["cucm-cdr"] + TYPES),
    "cucm-cmr": ("cucm-cmr", HEADERS["cucm-cmr"]),
    "mapping": ("mapping", b"id,a,b,begun,seconds\n"),
    "mapping-trailer": ("mapping", b"TOTAL 0\n"),
    "mapping-json": ("mapping", b'{"calls": []}'),
    "asterisk-csv": ("asterisk-csv", MASTER),
    "kannel": ("kannel", KANNEL),
    "broadworks-xml": ("broadworks-xml", MARKERS),
    "3gpp-32297": ("3gpp-32297", ber.cdr_file([], OPENED, OPENED, sequence_number=8)),
    "tap3": ("tap3", app(2, [app(196, b"FRAXX"), app(182, b"SWEYY")])),
    "arrow": ("arrow", _arrow()),
    "parquet": ("parquet", _parquet()),
    "ipfix": ("ipfix", TEMPLATES),
}
# Cut off, of another kind, or not known.
REFUSED = {
    "csv-cut": ("csv", HEADERS["csv"][:-1]),
    "csv-without-start": ("csv", b"record_key,service_type\n"),
    "csv-other": ("csv", b"what,is,this\n"),
    "cucm-cdr-cut": ("cucm-cdr", HEADERS["cucm-cdr"][:-1]),
    "cucm-cdr-of-cmr": ("cucm-cdr", HEADERS["cucm-cmr"]),
    "cucm-cmr-of-cdr": ("cucm-cmr", HEADERS["cucm-cdr"]),
    "mapping-cut": ("mapping", b"id,a,b,begun,seconds"),
    "mapping-other": ("mapping", b"id,b,begun,seconds\n"),
    "mapping-trailer": ("mapping", b"TOTAL 1\n"),
    "mapping-json": ("mapping", b'{"others": []}'),
    "blank": ("ndjson", b"\n\n"),
    "kannel-blank": ("kannel", b"\n \n"),
    "broadworks-xml": ("broadworks-xml", b"<broadWorksCDR></broadWorksCDR>"),
    "3gpp-32297": ("3gpp-32297", ber.cdr_file([], OPENED, OPENED, sequence_number=8)[:-1]),
    "tap3-cut": ("tap3", app(2, [app(196, b"FRAXX"), app(182, b"SWEYY")])[:-1]),
    "tap3-two": ("tap3", 2 * app(2, [app(196, b"FRAXX")])),
    "arrow": ("arrow", _arrow()[:-1]),
    "ipfix": ("ipfix", b"\x00\x0a"),
}


def source_of(case: str) -> SourceConfig:
    mapping = {"mapping-trailer": TRAILED, "mapping-json": JSON}.get(case, NAMED)
    return SourceConfig("night", zone="UTC", expect_every_s=900, options={"mapping": mapping})


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


@pytest.mark.parametrize("case", NOTHING)
def test_a_header_alone_is_a_delivery_of_no_records_by_every_road(store: Store, clock: FixedClock, case: str) -> None:
    source, (name, data) = source_of(case), NOTHING[case]
    sources.register(store, source, actor="test")
    for night in range(2):  # the same bytes each night, and heard each night
        clock.advance(seconds=86_400)
        receipt = ingest_stream(store, source, name, io.BytesIO(data), idempotency_key="k")
        assert (receipt.records, receipt.rows, receipt.bytes, receipt.replayed) == (0, 0, len(data), False), night
        assert not silence.check(store)[0].silent
    if case == "csv-gzip":
        return
    assert decode_pushes(store, source, name, [data]).refused == {0: None}
    receipt, refused = ingest_messages(store, source, name, [Message("q", 1, data)])
    assert (receipt.records, refused) == (0, [])


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_cut_off_or_not_known_is_refused(store: Store, case: str) -> None:
    source, (name, data) = source_of(case), REFUSED[case]
    with pytest.raises(InputError):
        ingest_stream(store, source, name, io.BytesIO(data))
    assert isinstance(decode_pushes(store, source, name, [data]).refused[0], InputError | None)
    assert ingest_messages(store, source, name, [Message("q", 1, data)])[0].records == 1


def test_a_folder_moves_it_to_done_each_night(store: Store, clock: FixedClock, tmp_path: Path) -> None:
    sources.register(store, source_of("csv"), actor="test")
    folder = tmp_path / "drop"
    folder.mkdir()
    for night in range(3):
        clock.advance(seconds=86_400)
        (folder / "a.csv").write_bytes(HEADERS["csv"])
        (folder / "b.csv").write_bytes(HEADERS["csv"])
        totals = DropFolder(store, "night", "csv", folder, WatchRules(settle_s=0.0)).run(once=True, poll_s=0.05)
        assert (totals.files, totals.failed, totals.records) == (2, 0, 0), night
        assert not silence.check(store)[0].silent
    assert len(list((folder / "done").iterdir())) == 6


def test_a_delivery_of_no_octets_is_taken_by_every_road_and_a_file_of_none_is_an_event(
    store: Store, tmp_path: Path
) -> None:
    sources.register(store, SourceConfig("night", zone="UTC"), actor="test")
    for name in set(FORMATS) - FRAMED:
        source = SourceConfig("night", zone="UTC", options=OPTIONS.get(name, {}))
        receipt = ingest_stream(store, source, name, io.BytesIO())
        assert (receipt.records, receipt.bytes, receipt.sha256) == (0, 0, hashlib.sha256().hexdigest()), name
    for name in FRAMED:
        with pytest.raises(InputError):
            ingest_stream(store, SourceConfig("night", zone="UTC"), name, io.BytesIO())
    folder = tmp_path / "drop"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).touch()
    totals = DropFolder(store, "night", "csv", folder, WatchRules(settle_s=0.0)).run(once=True, poll_s=0.05)
    assert (totals.files, totals.failed, totals.records, len(list((folder / "done").iterdir()))) == (2, 0, 0, 2)
    told = [entry.public for entry in store.audit.entries() if entry.kind == "intake.delivery-empty"]
    assert told == [{"source": "night"}] * (len(FORMATS) - len(FRAMED) + 2)
    receipt, refused = ingest_messages(store, SourceConfig("night", zone="UTC"), "csv", [Message("q", 1, b"")])
    assert (receipt.records, refused) == (0, [])


def test_a_header_alone_is_no_such_event(store: Store) -> None:
    ingest_stream(store, SourceConfig("night", zone="UTC"), "csv", io.BytesIO(HEADERS["csv"]))
    assert "intake.delivery-empty" not in {entry.kind for entry in store.audit.entries()}
