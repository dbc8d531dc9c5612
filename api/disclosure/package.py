"""What a delivery says: parts of records, a manifest over them, a receipt over the release. Pure: values in, bytes out.

    part-0001.zip ...   records.csv (RFC 4180), records.ndjson, records.xml (TS 102 657, unverified profile): those
                        that the authority takes; stored without compression, in this order, with one fixed date
    manifest.json       order, snapshot, counts, fields, what is missing and why, SHA-256 of each part and each file
                        in it; canonical JSON
    manifest.sig        JSON: algorithm, key_id, Ed25519 signature (base64) over "lagrum-delivery-v2\\n" + manifest.json
    receipt.json        of one release: the manifest's and the summary's digests, signed approvals, the log's state
    receipt.sig         as manifest.sig, over "lagrum-receipt-v1\\n" + receipt.json
    summary.html        the same for a reader without tools (`api.handover.summary`)

The same records under the same task and snapshot give the same parts and the same manifest, byte by byte; a receipt is
of its release. "None found" is a manifest without parts and `"result": "none-found"`, signed like any other.

Source: the design's promise 8; ETSI TS 103 120 (Delivery: sequence numbers, manifest).
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from api.people.signing import canonical_json, key_id
from schemas.errors import IntegrityError
from schemas.fields import SCHEMA_VERSION

FORMAT: Final = "lagrum-delivery-2"
RECEIPT_FORMAT: Final = "lagrum-receipt-1"
MANIFEST_PREFIX: Final = b"lagrum-delivery-v2\n"
RECEIPT_PREFIX: Final = b"lagrum-receipt-v1\n"
COVER: Final = ("manifest.json", "manifest.sig", "receipt.json", "receipt.sig", "summary.html")
FILES: Final = {"csv": "records.csv", "ndjson": "records.ndjson", "ts-102657": "records.xml"}
PROFILES: Final = {"records.xml": "ETSI TS 102 657 V1.28.1, unverified profile"}
PART_RECORDS: Final = 10_000
"""About 30 MB with all three forms; an envelope costs two and a half times that for a moment."""
RECORDS_MAX: Final = 2_000_000
"""Two hundred parts, some 6 GB: more are several orders' worth, and the window is to be divided."""
PART_BYTES_MAX: Final = 1 << 28
COVER_BYTES_MAX: Final = 1 << 24

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Inner:
    """One part before its envelope."""

    sequence: int
    first_record: int
    records: int
    data: bytes
    sha256: str
    files: tuple[tuple[str, int, str], ...]
    """Name, bytes, SHA-256."""

    def as_dict(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "sequence": self.sequence,
            "first_record": self.first_record,
            "records": self.records,
            "bytes": len(self.data),
            "sha256": self.sha256,
            "files": [{"name": name, "bytes": size, "sha256": digest} for name, size, digest in self.files],
        }


def part_name(sequence: int, suffix: str = "zip") -> str:
    """Return the name of a part's file."""
    return f"part-{sequence:04d}.{suffix}"


def inner_part(sequence: int, first_record: int, records: int, files: Mapping[str, bytes]) -> Inner:
    """Return a part of its files."""
    data = pack(files)
    digests = tuple((name, len(body), hashlib.sha256(body).hexdigest()) for name, body in files.items())
    return Inner(sequence, first_record, records, data, hashlib.sha256(data).hexdigest(), digests)


def manifest(about: Mapping[str, Any], names: Sequence[str], parts: Iterable[dict[str, Any]]) -> bytes:
    """Return the manifest's bytes; `about` has order, snapshot, counts and what is missing."""
    listed = list(parts)
    body = {
        **about,
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "result": "found" if about["counts"]["records"] else "none-found",
        "fields": list(names),
        "profiles": {name: PROFILES[name] for name in PROFILES if any(_has(part, name) for part in listed)},
        "parts": listed,
    }
    return canonical_json(body) + b"\n"


def _has(part: Mapping[str, Any], name: str) -> bool:
    return any(item["name"] == name for item in part["files"])


def sign(prefix: bytes, text: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the signature file of a manifest or a receipt."""
    said = {
        "algorithm": "Ed25519",
        "key_id": key_id(key.public_key().public_bytes_raw()),
        "signature": b64encode(key.sign(prefix + text)).decode("ascii"),
    }
    return canonical_json(said) + b"\n"


def cover(
    manifest_text: bytes, receipt: Mapping[str, Any], summary: bytes, key: Ed25519PrivateKey
) -> tuple[bytes, str]:
    """Return the cover's bytes and the digest of its receipt, which an acknowledgement signs."""
    body = {
        **receipt,
        "format": RECEIPT_FORMAT,
        "manifest_sha256": hashlib.sha256(manifest_text).hexdigest(),
        "summary_sha256": hashlib.sha256(summary).hexdigest(),
    }
    text = canonical_json(body) + b"\n"
    members = {
        "manifest.json": manifest_text,
        "manifest.sig": sign(MANIFEST_PREFIX, manifest_text, key),
        "receipt.json": text,
        "receipt.sig": sign(RECEIPT_PREFIX, text, key),
        "summary.html": summary,
    }
    return pack(members), hashlib.sha256(text).hexdigest()


def verify_cover(members: Mapping[str, bytes], public_key: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return manifest and receipt, once both are signed by `public_key` (32 bytes) and belong together.

    Raises:
        IntegrityError: anything at all differs from what was signed.
    """
    if tuple(members) != COVER:
        raise IntegrityError("the cover does not have a cover's members")
    _check_signature(MANIFEST_PREFIX, members["manifest.json"], members["manifest.sig"], public_key)
    _check_signature(RECEIPT_PREFIX, members["receipt.json"], members["receipt.sig"], public_key)
    try:
        body: dict[str, Any] = orjson.loads(members["manifest.json"])
        receipt: dict[str, Any] = orjson.loads(members["receipt.json"])
        if (body["format"], receipt["format"]) != (FORMAT, RECEIPT_FORMAT):
            raise IntegrityError("the delivery has a format that this version does not read")
        pairs = (("manifest_sha256", "manifest.json"), ("summary_sha256", "summary.html"))
        if any(receipt[name] != hashlib.sha256(members[member]).hexdigest() for name, member in pairs):
            raise IntegrityError("manifest, receipt and summary do not belong together")
        _check_sequence(body)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError("the manifest cannot be read") from error
    return body, receipt


def _check_sequence(body: Mapping[str, Any]) -> None:
    following = 1
    for place, part in enumerate(body["parts"], start=1):
        if (part["sequence"], part["first_record"]) != (place, following):
            raise IntegrityError("the parts of the manifest are not in sequence")
        following += part["records"]
        if not part["files"] or any(item["name"] not in FILES.values() for item in part["files"]):
            raise IntegrityError("a part has files that parts do not have")
    if following - 1 != body["counts"]["records"]:
        raise IntegrityError("the number of records is not what the manifest says")


def verify_part(listed: Mapping[str, Any], read: Callable[[str], bytes]) -> None:
    """Compare the files of a part, by name, with the manifest.

    Raises:
        IntegrityError: one differs, or the number of records is another.
    """
    for item in listed["files"]:
        data = read(item["name"])
        if (len(data), hashlib.sha256(data).hexdigest()) != (item["bytes"], item["sha256"]):
            raise IntegrityError(f"{item['name']} of part {listed['sequence']} is not what the manifest says")
        if item["name"] == "records.ndjson" and data.count(b"\n") != listed["records"]:
            raise IntegrityError("the number of records is not what the manifest says")


def open_part(listed: Mapping[str, Any], data: bytes) -> dict[str, bytes]:
    """Return the files of a part's bytes, once they are what the manifest lists.

    Raises:
        IntegrityError: another part, a changed one, or one with octets beside.
    """
    if (len(data), hashlib.sha256(data).hexdigest()) != (listed["bytes"], listed["sha256"]):
        raise IntegrityError(f"part {listed['sequence']} is not what the manifest says")
    files = unpack(data, [item["name"] for item in listed["files"]], PART_BYTES_MAX)
    verify_part(listed, files.__getitem__)
    return files


def _check_signature(prefix: bytes, text: bytes, signature: bytes, public_key: bytes) -> None:
    try:
        said = orjson.loads(signature)
        if said != {"algorithm": "Ed25519", "key_id": key_id(public_key), "signature": said["signature"]}:
            raise IntegrityError("the delivery is signed by another key")
        if canonical_json(said) + b"\n" != signature:
            raise IntegrityError("the signature is not in its one form")
        raw = b64decode(said["signature"], validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(raw, prefix + text)
    except (InvalidSignature, Base64Error, ValueError, KeyError, TypeError) as error:
        raise IntegrityError("the signature does not verify") from error


def pack(members: Mapping[str, bytes]) -> bytes:
    """Return the one zip of these members: stored, in this order, with one date."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, data in members.items():
            archive.writestr(entry_of(name), data)
    return sink.getvalue()


def entry_of(name: str) -> zipfile.ZipInfo:
    """Return the head of a member, the same on every machine."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3
    entry.external_attr = 0o600 << 16
    return entry


def unpack(data: bytes, names: Sequence[str], bytes_max: int) -> dict[str, bytes]:
    """Return the members of a zip that `pack` made of these names.

    Raises:
        IntegrityError: other members, compression, octets beside them, or no zip.
    """
    if len(data) > bytes_max:
        raise IntegrityError("the file is larger than such files are")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if [entry.filename for entry in entries] != list(names):
                raise IntegrityError("the file does not have the members that it should have")
            # Compressed members are none of ours, and could unfold without end.
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
                raise IntegrityError("a member of the file is compressed or encrypted")
            members = {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise IntegrityError("the file is no part of a delivery") from error
    if pack(members) != data:
        raise IntegrityError("the file holds octets that are not signed")
    return members
