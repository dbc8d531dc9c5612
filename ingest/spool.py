"""An encrypted queue of deliveries on a disk: what a host keeps while the store is away.

An entry is one file: a mark, then the sealed head (name, size, SHA-256 of what it holds), then sealed pieces of up to
1 MiB, each bound to its entry and its place. It is written under a temporary name, synced, and renamed: an entry is
there as a whole or not at all. Names of entries are keyed hashes, so that the same state of a file is one entry.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from schemas.errors import BusyError, ConfigurationError, IntegrityError
from store import files
from store.keys import derive, seal, unseal
from store.shared_dirs import refuse_shared_dir

SUFFIX: Final = ".spool"
REFUSED_SUFFIX: Final = ".refused"
KEY_BYTES: Final = 32
PIECE_BYTES: Final = 1 << 20
_MAGIC: Final = b"LGSPOOL1"
_LENGTH: Final = struct.Struct(">I")
_PIECE_SEALED_MAX: Final = PIECE_BYTES + 4096
_ROOM_BYTES: Final = 64 << 20
"""What stays free on the spool's disk."""


@dataclass(frozen=True, slots=True)
class Held:
    """One entry: its id, and what it holds."""

    id: str
    name: str
    size_bytes: int
    sha256: str


def read_key(path: Path) -> bytes:
    """Return the key of a key file; a missing one is made.

    Raises:
        PermissionsError: others may read it.
        ConfigurationError: it is no key.
    """
    if not path.exists():
        files.write_atomic(path, os.urandom(KEY_BYTES).hex().encode() + b"\n")
    try:
        key = bytes.fromhex(files.read_secret(path).decode().strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError("the key file does not hold a key of 64 hexadecimal digits")
    return key


class Spool:
    """One queue; one process at a time works with it."""

    def __init__(self, directory: Path, key: bytes, *, bytes_max: int) -> None:
        self._directory, self._bytes_max = directory, bytes_max
        self._sealing, self._naming = derive(key, "spool"), derive(key, "spool-name")
        files.make_dir(directory)
        refuse_shared_dir(directory)
        for path in files.temporaries(directory):
            files.unlink_durable(path, missing_ok=True)
        self.size_bytes = sum(path.stat().st_size for path in directory.iterdir() if path.is_file())

    @property
    def lock_path(self) -> Path:
        """Held by the process that works with the queue."""
        return self._directory / "lock"

    def id_of(self, identity: str) -> str:
        """Return the id of an entry; `identity` tells one state of a file from another."""
        return hmac.digest(self._naming, identity.encode(), "sha256").hex()[:40]

    def has(self, entry_id: str) -> bool:
        """Tell whether there is an entry."""
        return self._path(entry_id).exists()

    def ids(self) -> list[str]:
        """Return the ids of all entries, oldest first."""
        paths = [path for path in self._directory.iterdir() if path.suffix == SUFFIX]
        return [path.stem for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    def put(self, held: Held, stream: BinaryIO) -> None:
        """Make an entry durable; `stream` gives the bytes that `held` describes.

        Raises:
            BusyError: there is no room for it.
            IntegrityError: the stream gave other bytes.
        """
        free = os.statvfs(self._directory)
        room = min(self._bytes_max - self.size_bytes, free.f_bavail * free.f_frsize - _ROOM_BYTES)
        if held.size_bytes > room:
            raise BusyError("the spool is full", hint="files wait where they are until the store is back")
        temporary = self._directory / f".{held.id}{files.TEMPORARY_SUFFIX}"
        files.unlink_durable(temporary, missing_ok=True)
        files.create_private(temporary)
        try:
            self._write(temporary, held, stream)
            files.replace_durable(temporary, self._path(held.id))
        except BaseException:
            files.unlink_durable(temporary, missing_ok=True)
            raise
        self.size_bytes += self._path(held.id).stat().st_size

    def _write(self, path: Path, held: Held, stream: BinaryIO) -> None:
        digest, size = hashlib.sha256(), 0
        head = {"name": held.name, "size_bytes": held.size_bytes, "sha256": held.sha256}
        with path.open("r+b") as file:
            file.write(_MAGIC)
            _put(file, seal(self._sealing, json.dumps(head).encode(), _aad(held.id, "head", 0)))
            for number, piece in enumerate(iter(lambda: stream.read(PIECE_BYTES), b"")):
                digest.update(piece)
                size += len(piece)
                _put(file, seal(self._sealing, piece, _aad(held.id, "piece", number)))
        if (size, digest.hexdigest()) != (held.size_bytes, held.sha256):
            raise IntegrityError("the file changed on its way into the spool")
        files.fsync_path(path)

    def head(self, entry_id: str) -> Held:
        """Return what an entry holds.

        Raises:
            IntegrityError: it is damaged, or sealed under another key.
        """
        with self._path(entry_id).open("rb") as file:
            body = self._head(file, entry_id)
        return Held(entry_id, body["name"], body["size_bytes"], body["sha256"])

    def pieces(self, entry_id: str) -> Iterator[bytes]:
        """Yield an entry's bytes.

        Raises:
            IntegrityError: it is damaged, cut off, or sealed under another key.
        """
        with self._path(entry_id).open("rb") as file:
            left = int(self._head(file, entry_id)["size_bytes"])
            number = 0
            while left:
                piece = unseal(self._sealing, _get(file), _aad(entry_id, "piece", number))
                number, left = number + 1, left - len(piece)
                if not piece or left < 0:
                    raise IntegrityError("an entry of the spool is damaged")
                yield piece

    def remove(self, entry_id: str) -> None:
        """Remove an entry: its bytes are acknowledged elsewhere."""
        path = self._path(entry_id)
        self.size_bytes -= path.stat().st_size
        files.unlink_durable(path)

    def set_aside(self, entry_id: str) -> None:
        """Keep an entry that the store refuses, out of the queue."""
        path = self._path(entry_id)
        files.replace_durable(path, path.with_suffix(REFUSED_SUFFIX))

    def _head(self, file: BinaryIO, entry_id: str) -> dict[str, Any]:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise IntegrityError("an entry of the spool is damaged")
        body: dict[str, Any] = json.loads(unseal(self._sealing, _get(file), _aad(entry_id, "head", 0)))
        return body

    def _path(self, entry_id: str) -> Path:
        return self._directory / (entry_id + SUFFIX)


def as_stream(pieces: Iterator[bytes]) -> BinaryIO:
    """Return pieces as a stream."""
    return io.BufferedReader(_Pieces(pieces))


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = next(self._pieces, b"")
        data, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _aad(entry_id: str, part: str, number: int) -> bytes:
    return f"spool|{entry_id}|{part}|{number}".encode()


def _put(file: BinaryIO, blob: bytes) -> None:
    file.write(_LENGTH.pack(len(blob)) + blob)


def _get(file: BinaryIO) -> bytes:
    prefix = file.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        raise IntegrityError("an entry of the spool is cut off")
    (length,) = _LENGTH.unpack(prefix)
    blob = file.read(length) if length <= _PIECE_SEALED_MAX else b""
    if len(blob) != length:
        raise IntegrityError("an entry of the spool is cut off")
    return blob
