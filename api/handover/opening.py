"""The authority's side: a delivery is opened with its private key, and verified before anything of it is written.

    delivery.zip     cover.p7m, part-0001.p7m ...: what the officer fetched
    FOLDER           manifest.json, manifest.sig, receipt.json, receipt.sig, summary.html, part-0001/records.csv ...

(1) The file has the members that a delivery has, and no others.
(2) The cover opens; manifest and receipt are signed by the operator's key, and belong together.
(3) As many envelopes are there as the manifest lists parts; each opens to the part of its own sequence number.
(4) Only then, in a second pass, is anything written: to a folder that did not exist.

Altered, truncated, reordered, exchanged or foreign parts end in `IntegrityError`, and nothing is written.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from api.disclosure.package import COVER, COVER_BYTES_MAX, open_part, part_name, unpack, verify_cover, verify_part
from api.handover.envelope import ENVELOPE_BYTES_MAX, disclose
from schemas.errors import ConfigurationError, IntegrityError
from store.files import make_dir, write_atomic

PARTS_MAX: Final = 1_000
_DAMAGED: Final = (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, OSError, ValueError, struct.error)
"""What the reader of zips raises on damaged input: offsets that lead nowhere are an `OSError` to it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who opens: the certificate that was encrypted to, its private key, and the operator's delivery key (32 bytes)."""

    certificate: x509.Certificate
    key: RSAPrivateKey
    signed_by: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified delivery; `opening` is what an acknowledgement signs."""

    manifest: dict[str, Any]
    receipt: dict[str, Any]
    opening: str

    def facts(self) -> dict[str, Any]:
        """Return what there is to tell of it without a record."""
        return {
            "verified": True,
            "delivery": self.receipt["delivery"]["id"],
            "task": self.manifest["order"]["task"],
            "decision": self.manifest["order"]["decision_reference"],
            "result": self.manifest["result"],
            "records": self.manifest["counts"]["records"],
            "conflicts": self.manifest["counts"]["conflicts"],
            "parts": len(self.manifest["parts"]),
            "opening": self.opening,
        }


def check(path: Path, reader: Reader) -> Opened:
    """Return what a delivery says, once all of it is verified (1 to 3); nothing is written.

    Raises:
        IntegrityError: it is not whole, not for this key, or not signed by the operator.
    """
    with _members(path) as read:
        opened, _ = _cover(read, reader)
        for _ in _parts(read, reader, opened.manifest):
            pass
    return opened


def open_to(path: Path, folder: Path, reader: Reader) -> Opened:
    """Verify a delivery and write what it holds into a new folder, mode 0700.

    Raises:
        ConfigurationError: the folder exists, or the one above it does not.
        IntegrityError: as `check`; nothing is written.
    """
    if folder.exists() or not folder.parent.is_dir():
        raise ConfigurationError(
            "the folder exists already, or there is none to make it in", hint="name a new one with --output"
        )
    check(path, reader)
    with _members(path) as read:
        opened, members = _cover(read, reader)
        make_dir(folder)
        for name, data in members.items():
            write_atomic(folder / name, data)
        for sequence, files in _parts(read, reader, opened.manifest):
            place = folder / f"part-{sequence:04d}"
            make_dir(place)
            for name, data in files.items():
                write_atomic(place / name, data)
    return opened


def verify_folder(folder: Path, signed_by: bytes) -> Opened:
    """Return what an opened delivery says, once every file in it is what was signed, and no other is there.

    Raises:
        IntegrityError: a file is missing, changed or too many, or the operator's key is another.
    """
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not found >= set(COVER):
        raise IntegrityError("the folder holds no opened delivery")
    members = {name: _bounded(folder / name, COVER_BYTES_MAX) for name in COVER}
    manifest, receipt = verify_cover(members, signed_by)
    listed = set(COVER)
    for part in manifest["parts"]:
        place = folder / f"part-{part['sequence']:04d}"
        listed |= {f"{place.name}/{item['name']}" for item in part["files"]}
        if not listed <= found:
            raise IntegrityError(f"a file of part {part['sequence']} is missing")
        verify_part(part, lambda name, place=place: (place / name).read_bytes())  # type: ignore[misc]
    if found != listed:
        raise IntegrityError("the folder holds files that are not signed")
    return Opened(manifest, receipt, hashlib.sha256(members["receipt.json"]).hexdigest())


class _Members:
    """The envelopes of a delivery, read one at a time."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        entries = archive.infolist()
        # (1)
        wanted = ["cover.p7m", *(part_name(number, "p7m") for number in range(1, len(entries)))]
        if len(entries) > PARTS_MAX + 1 or [entry.filename for entry in entries] != wanted:
            raise IntegrityError("the file does not have the members of a delivery")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size > ENVELOPE_BYTES_MAX:
                raise IntegrityError("a member of the file is not an envelope")
        self.parts = len(entries) - 1
        self._archive = archive

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except _DAMAGED as error:
            raise IntegrityError("a member of the file is damaged") from error


@contextmanager
def _members(path: Path) -> Iterator[_Members]:
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise IntegrityError("the file is no delivery, or it is cut") from error
    with archive:
        yield _Members(archive)


def _cover(read: _Members, reader: Reader) -> tuple[Opened, Mapping[str, bytes]]:
    # (2)
    members = unpack(disclose(read.read("cover.p7m"), reader.certificate, reader.key), COVER, COVER_BYTES_MAX)
    manifest, receipt = verify_cover(members, reader.signed_by)
    opened = Opened(manifest, receipt, hashlib.sha256(members["receipt.json"]).hexdigest())
    return opened, members


def _parts(read: _Members, reader: Reader, manifest: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, bytes]]]:
    # (3)
    listed = manifest["parts"]
    if len(listed) != read.parts:
        raise IntegrityError("the file has more or fewer parts than the manifest says")
    for part in listed:
        data = disclose(read.read(part_name(part["sequence"], "p7m")), reader.certificate, reader.key)
        yield part["sequence"], open_part(part, data)


def _bounded(path: Path, bytes_max: int) -> bytes:
    if path.stat().st_size > bytes_max:
        raise IntegrityError("a file is larger than such files are")
    return path.read_bytes()
