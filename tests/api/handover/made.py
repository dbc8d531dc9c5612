"""A delivery made from records, without a procedure: what its parts, cover and file look like."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.disclosure import package, printing
from api.disclosure.selection import ORDER, permitted_fields
from api.disclosure.sliced_scan import cut
from api.handover import summary, ts102657
from api.handover.envelope import enclose
from api.handover.opening import Reader
from schemas.legal_bases import basis_on
from schemas.packing import unpack_table
from store.clock import to_date
from tests.api.handover.authority import Side, side
from tests.store.records import NOW_US, records, with_column

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
BASIS = basis_on("secret-surveillance", to_date(NOW_US))
NAMES = permitted_fields(BASIS, BASIS.categories)
HEADER = ts102657.Header("SE", "SE-POLICE", "SE-T-7be1d0c4a2963f58", "operator", NOW_US)
ORDERED = {
    "authorisation": "SE-A-0f3c2a5e9b8d7416",
    "task": "SE-T-7be1d0c4a2963f58",
    "authority": "police-se",
    "decision_reference": "B 1234-26",
    "decided_on": "2026-11-20",
    "decided_by": "court",
    "emergency": False,
    "basis": {"id": BASIS.id, "version": BASIS.version, "title": BASIS.title, "citation": BASIS.citation},
    "targets": [{"kind": "number", "value": "46701740007", "as_written": "070-174 00 07", "port": None}],
    "window": {"from": "2026-10-01T00:00:00.000000Z", "to": "2026-11-01T00:00:00.000000Z"},
    "categories": ["party", "time"],
}
PERSON = {"person_id": "officer-7", "key_id": "0011223344556677"}
SIGNED = {
    "by": {"person_id": "approver-2", "key_id": "8899aabbccddeeff"},
    "statement": {"action": "a", "case": "c", "digest": "d", "time": "2026-11-22T12:00:00.000000Z"},
    "signature": "AA==",
    "public_key": "AA==",
}
RECEIPT: dict[str, Any] = {
    "delivery": {"id": "SE-D-5d1c08a4e7f2b963", "run": 1, "searched_at": "2026-11-22T11:00:00.000000Z"},
    "released_at": "2026-11-22T12:00:00.000000Z",
    "nonce": "00" * 32,
    "certificate_sha256": "11" * 32,
    "confirmation": None,
    "persons": {"officer": PERSON, "case_handler": {**PERSON, "person_id": "handler-3"}},
    "approvals": {"request": SIGNED, "release": SIGNED},
    "checkpoint": "note",
    "evidence": None,
}


def result(rows: int = 5) -> pa.Table:
    packed = records(rows, seed=4)
    packed = with_column(packed, "conflict", [row == 1 for row in range(rows)])
    packed = with_column(packed, "account", [10_077] * rows)
    packed = with_column(packed, "batch_id", [1] * rows)
    packed = with_column(packed, "source", ["east"] * rows)
    packed = with_column(packed, "dedup_domain", ["east"] * rows)
    return unpack_table(packed).sort_by([(name, "ascending") for name in ORDER])


def inner_parts(
    table: pa.Table, per_part: int = 2, names: tuple[str, ...] = NAMES, forms: tuple[str, ...] = tuple(package.FILES)
) -> list[package.Inner]:
    parts: list[package.Inner] = []
    first = 1
    for number, (rows, last) in enumerate(cut([table], per_part), start=1):
        printed = printing.printable(rows, names)
        written = {
            "csv": lambda p=printed: printing.to_csv(p, names),
            "ndjson": lambda p=printed: printing.ndjson(p),
            "ts-102657": lambda p=printed, f=first, done=last: ts102657.response(HEADER, p, f, complete=done),
        }
        files = {package.FILES[form]: written[form]() for form in forms}
        parts.append(package.inner_part(number, first, rows.num_rows, files))
        first += rows.num_rows
    return parts


def manifest_of(parts: list[package.Inner], **changes: Any) -> bytes:
    records = sum(part.records for part in parts)
    counts = {
        "records": records,
        "conflicts": 1,
        "end_inferred": 0,
        "time_ambiguous": 0,
        "open_sessions": 0,
        "by_target": [records],
    }
    about = {
        "store": "s",
        "recipient": {"authority": "police-se", "name": "Police Authority", "country": "SE"},
        "order": ORDERED,
        "snapshot": {"newest_batch": 1},
        "counts": counts,
        "erased_days": [],
    }
    return package.manifest(about | changes, NAMES, [part.as_dict() for part in parts])


def cover_of(manifest: bytes, key: Ed25519PrivateKey = KEY) -> bytes:
    import orjson

    page = summary.page(orjson.loads(manifest), RECEIPT, "ab" * 32)
    return package.cover(manifest, RECEIPT, page, key)[0]


def outer(members: Mapping[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(package.entry_of(name), data)
    return sink.getvalue()


def envelopes(parts: list[package.Inner], cover: bytes | None = None, to: Side | None = None) -> dict[str, bytes]:
    certificate = (to or side()).certificate
    made = {"cover.p7m": enclose(cover or cover_of(manifest_of(parts)), certificate)}
    return made | {package.part_name(part.sequence, "p7m"): enclose(part.data, certificate) for part in parts}


def reader(of: Side | None = None, signed_by: bytes = PUBLIC) -> Reader:
    chosen = of or side()
    return Reader(chosen.certificate, chosen.key, signed_by)
