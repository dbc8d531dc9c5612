"""Values of every kind, good and bad, and the roads that the canonical text formats take through them."""

from __future__ import annotations

import io
from typing import Any
from unittest import mock

from hypothesis import strategies as st

from ingest.decoders import csv_walk, decoder
from ingest.decoders.canonical import csv as canonical_csv
from ingest.decoders.canonical import ndjson as canonical_ndjson
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.rejects import Reject

NOW_US = 1_795_348_800_000_000
EVERY = (
    "record_key,switch,service_type,start_time,end_time,answer_time,duration_s,billable_duration_ms,calling_number,"
    "called_number,source_ip,source_port,nat_ip,ipv6_prefix,mac,imei,user_agent,end_inferred,volume_up_bytes,"
    "utc_offset_s,account,call_link"
)


def taken(
    data: bytes, source: SourceConfig, *, compiled: bool, block_bytes: int = 6 << 20, name: str = "csv"
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Return what comes out, dictionaries decoded, and the rejects; by compiled kernels, or without them."""
    least = 0 if compiled else 1 << 60
    with (
        mock.patch.object(csv_walk, "WALK_BYTES_MIN", least),
        mock.patch.object(csv_walk, "LOAD_BYTES_MIN", least),
        mock.patch.object(canonical_csv, "BLOCK_BYTES", block_bytes),
        mock.patch.object(canonical_ndjson, "BLOCK_BYTES", block_bytes),
    ):
        parts = [normalise(part, source, NOW_US) for part in decoder(name).decode(io.BytesIO(data), source)]
    rows: list[dict[str, Any]] = []
    for part in parts:
        part.table.validate(full=True)
        rows += [{name: value for name, value in row.items() if value is not None} for row in part.table.to_pylist()]
    rejects = [reject for part in parts for reject in part.rejects]
    return rows, sorted(rejects, key=lambda reject: reject.position)


def same(data: bytes, source: SourceConfig, block_bytes: int = 6 << 20, name: str = "csv") -> None:
    """Compare the roads."""
    walked = taken(data, source, compiled=True, block_bytes=block_bytes, name=name)
    assert walked == taken(data, source, compiled=False, block_bytes=block_bytes, name=name)


IDENTIFIERS = st.one_of(
    st.text("0123456789", max_size=20),
    st.sampled_from(["", "+46701234567", "0046701234567", "070-123 45 67", "sip:a@b.example", "anonym", "½", "0"]),
)
TIMES = st.one_of(
    st.builds(
        "{}{}{}{}{}".format,
        st.dates().map(str),
        st.sampled_from([" ", "T", "t", "_"]),
        st.times().map(lambda time: f"{time:%H:%M:%S}"),
        st.sampled_from(["", ".", ".1", ".12", ".123", ".1234", ".12345", ".123456", ".1234567", ".123456789", ".0x"]),
        st.sampled_from(["Z", "z", "", "+01:00", "-0530", "+99:00", "ZZ"]),
    ),
    st.builds("2026-{:02}-{:02} {:02}:{:02}:{:02}Z".format, *[st.integers(0, most) for most in (13, 32, 24, 60, 61)]),
    st.sampled_from(["", "2026-10-25 02:30:00", "2026-11-01", "2024-02-29 00:00:00Z", "2023-02-29 00:00:00Z", "x"]),
)
WHOLE = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.integers(-5, 100_000).map(str),
    st.sampled_from(["", "1.5", "0.001", "-", "--1", "+1", " 42", "42 ", "0x1F", "007", "1e3", "-0", "2147483648"]),
)
QUADS = st.one_of(
    st.builds("{}.{}.{}.{}".format, *[st.integers(0, 300)] * 4),
    st.text("0123456789.", max_size=16),
    st.sampled_from(["", "2001:db8::1", "::ffff:192.0.2.1", "01.2.3.4", "1.2.3.4.", "1..2.3", "a", "256.1.1.1"]),
)
LABELS = st.one_of(
    st.sampled_from(["", "voice", "sms", "a", "twelve bytes", "a label of more than sixteen bytes", "a\tb"]),
    st.builds("same beginning {} same ending".format, st.integers(0, 9)),
    st.text(min_size=0, max_size=40).filter(lambda text: not set(text) & set('",\r\n\0') and text.isprintable()),
)
VALUES = {
    "record_key": IDENTIFIERS,
    "switch": LABELS,
    "service_type": st.sampled_from(["voice", "sms", "data", "", "unknown"]),
    "start_time": TIMES,
    "end_time": TIMES,
    "answer_time": TIMES,
    "duration_s": WHOLE,
    "billable_duration_ms": WHOLE,
    "calling_number": IDENTIFIERS,
    "called_number": IDENTIFIERS,
    "source_ip": QUADS,
    "source_port": WHOLE,
    "nat_ip": QUADS,
    "ipv6_prefix": st.sampled_from(["", "2001:db8::/56", "x"]),
    "mac": st.sampled_from(["", "aa:bb:cc:dd:ee:ff", "aabb.ccdd.eeff", "x"]),
    "imei": IDENTIFIERS,
    "user_agent": LABELS,
    "end_inferred": st.sampled_from(["", "true", "0", "yes"]),
    "volume_up_bytes": WHOLE,
    "utc_offset_s": WHOLE,
    "account": IDENTIFIERS,
    "call_link": IDENTIFIERS,
}
GOOD_LINE = (
    "1,a,voice,2026-11-01 10:00:00Z,2026-11-01 11:00:00Z,2026-11-01 10:00:01Z,7,7,46701234567,46701234568,"
    "10.0.0.1,5060,192.0.2.1,,,352099001761481,agent,,1,3600,a7,l1"
)
GOOD = dict(zip(EVERY.split(","), GOOD_LINE.split(","), strict=True))
