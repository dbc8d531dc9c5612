"""The delivery package: records for people and programs, a manifest, a signature. Pure: values in, bytes out.

A package is a zip of four members, stored without compression, in this order and with one fixed date:

    manifest.json   order, snapshot, counts, fields, SHA-256 and size of each file; canonical JSON
    manifest.sig    JSON: algorithm, key_id, Ed25519 signature (base64) over "lagrum-delivery-v1\\n" + manifest.json
    records.csv     RFC 4180, a header, every permitted field
    records.ndjson  one object per record, permitted fields that have a value

The same records under the same order and snapshot give the same bytes. `verify` packs the members again and compares,
so that nothing in the file is outside the signature, zip headers included. "None found" is a package with no records
and `"result": "none-found"`, signed like any other.

Source: the design's promise 8; ETSI TS 103 120 (Delivery: sequence numbers, manifest).
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from api.signing import canonical_json, key_id
from schemas.errors import IntegrityError, ProcedureError
from schemas.fields import BY_NAME, SCHEMA_VERSION, Kind

FORMAT: Final = "lagrum-delivery-1"
SIGNATURE_PREFIX: Final = b"lagrum-delivery-v1\n"
MEMBERS: Final = ("manifest.json", "manifest.sig", "records.csv", "records.ndjson")
RECORDS_MAX: Final = 250_000
"""More records than this are several orders' worth: the window is to be divided. Keeps a package below about 300 MB."""
PACKAGE_BYTES_MAX: Final = 1 << 30

_SLICE_ROWS: Final = 10_000
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Package:
    """A finished package."""

    data: bytes
    sha256: str
    records: int


def build(records: pa.Table, names: Sequence[str], about: Mapping[str, Any], key: Ed25519PrivateKey) -> Package:
    """Return the signed package of sorted records.

    `names` are the permitted fields; a column outside them never leaves, even when the table has it. `about` is the
    manifest's head: store, delivery, order, snapshot.

    Raises:
        ProcedureError: reason `too-many-records`.
    """
    if records.num_rows > RECORDS_MAX:
        raise ProcedureError(
            f"the result has more than {RECORDS_MAX} records", reason="too-many-records", hint="divide the window"
        )
    present = [name for name in names if name in records.column_names]
    table = _printable(records.select(present))
    files = {"records.csv": _csv(table, names), "records.ndjson": _ndjson(table)}
    conflicts = _count(records, "conflict")
    manifest = {
        **about,
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "result": "found" if records.num_rows else "none-found",
        "fields": list(names),
        "counts": {
            "records": records.num_rows,
            "conflicts": conflicts,
            "end_inferred": _count(records, "end_inferred"),
            "time_ambiguous": _count(records, "time_ambiguous"),
        },
        "files": [
            {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in sorted(files.items())
        ],
    }
    text = canonical_json(manifest) + b"\n"
    data = _pack({"manifest.json": text, "manifest.sig": _signature(text, key), **files})
    return Package(data, hashlib.sha256(data).hexdigest(), records.num_rows)


def verify(data: bytes, public_key: bytes) -> dict[str, Any]:
    """Return the manifest of a package that is whole and signed by `public_key` (32 bytes).

    Raises:
        IntegrityError: anything at all differs from what was signed.
    """
    members = _unpack(data)
    manifest = members["manifest.json"]
    _check_signature(manifest, members["manifest.sig"], public_key)
    try:
        body: dict[str, Any] = orjson.loads(manifest)
        listed = {item["name"]: (item["bytes"], item["sha256"]) for item in body["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError("the manifest cannot be read") from error
    if body.get("format") != FORMAT:
        raise IntegrityError("the package has a format that this version does not read")
    for name in ("records.csv", "records.ndjson"):
        if listed.get(name) != (len(members[name]), hashlib.sha256(members[name]).hexdigest()):
            raise IntegrityError(f"{name} is not what the manifest says")
    if members["records.ndjson"].count(b"\n") != body["counts"]["records"]:
        raise IntegrityError("the number of records is not what the manifest says")
    if _pack(members) != data:
        raise IntegrityError("the package holds octets that are not signed")
    return body


def records_of(data: bytes) -> list[dict[str, Any]]:
    """Return the records of a verified package."""
    return [orjson.loads(line) for line in _unpack(data)["records.ndjson"].splitlines()]


def _signature(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    said = {
        "algorithm": "Ed25519",
        "key_id": key_id(key.public_key().public_bytes_raw()),
        "signature": b64encode(key.sign(SIGNATURE_PREFIX + manifest)).decode("ascii"),
    }
    return canonical_json(said) + b"\n"


def _check_signature(manifest: bytes, signature: bytes, public_key: bytes) -> None:
    try:
        said = orjson.loads(signature)
        if said != {"algorithm": "Ed25519", "key_id": key_id(public_key), "signature": said["signature"]}:
            raise IntegrityError("the package is signed by another key")
        if canonical_json(said) + b"\n" != signature:
            raise IntegrityError("the signature is not in its one form")
        raw = b64decode(said["signature"], validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(raw, SIGNATURE_PREFIX + manifest)
    except (InvalidSignature, Base64Error, ValueError, KeyError, TypeError) as error:
        raise IntegrityError("the manifest's signature does not verify") from error


def _pack(members: Mapping[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in MEMBERS:
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, members[name])
    return sink.getvalue()


def _unpack(data: bytes) -> dict[str, bytes]:
    if len(data) > PACKAGE_BYTES_MAX:
        raise IntegrityError("the package is larger than packages are")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if [entry.filename for entry in entries] != list(MEMBERS):
                raise IntegrityError("the package does not have a package's members")
            # Compressed members are none of ours, and could unfold without end.
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
                raise IntegrityError("a member of the package is compressed or encrypted")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise IntegrityError("the file is not a package") from error


def _count(records: pa.Table, name: str) -> int:
    if name not in records.column_names:
        return 0
    return int(pc.sum(pc.cast(records[name], pa.int64())).as_py() or 0)


def _printable(table: pa.Table) -> pa.Table:
    """Return the table with times as RFC 3339 texts and labels as texts."""
    for position, name in enumerate(table.column_names):
        kind = BY_NAME[name].kind
        if kind is Kind.TIME:
            texts = [None if value is None else _time(value) for value in table[name].to_pylist()]
            table = table.set_column(position, name, pa.array(texts, pa.string()))
        elif pa.types.is_dictionary(table[name].type):
            table = table.set_column(position, name, pc.cast(table[name], pa.string()))
    return table


def _time(value: datetime) -> str:
    return value.strftime(_TIME_FORMAT)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for start in range(0, table.num_rows, _SLICE_ROWS):
        yield from table.slice(start, _SLICE_ROWS).to_pylist()


def _ndjson(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    for row in _rows(table):
        kept = {name: value for name, value in row.items() if value is not None}
        sink.write(orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE))
    return sink.getvalue()


def _csv(table: pa.Table, names: Sequence[str]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(names)
    for row in _rows(table):
        writer.writerow([_cell(row.get(name)) for name in names])
    return sink.getvalue().encode("utf-8")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
