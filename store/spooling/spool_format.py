"""Segments of the spool, byte by byte: sealed frames one after the other, each made durable before the next is begun.

    magic "LGSPOOL1"
    frame 0, 1, …     magic "LGSF", number (4 bytes), length (4 bytes), little endian; AES-256-GCM ciphertext and tag

A frame holds the pushes of one group commit: some entries, each of one source and format. The segment's key is derived
from its day's key and its own random id, and a frame's number is never used twice, so the number is the nonce (NIST SP
800-38D, 8.2.1). What follows the last frame that authenticates was never acknowledged, unless a later one does too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import IntegrityError
from schemas.rejects import Reject
from store import quarantine
from store.keys import derive
from store.model import SourceRef

MAGIC: Final = b"LGSPOOL1"
DIGEST_BYTES: Final = 32
_FRAME_MAGIC: Final = b"LGSF"
_HEAD: Final = struct.Struct("<4sII")
_LENGTH: Final = struct.Struct("<I")
_PURPOSE: Final = "spool-segment"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PushGroup:
    """Pushes of one source and format that were decoded together.

    `table` has packed records with `batch_position`; positions of one push lie above the `ends` of the push before it
    and up to its own. Per push: `records` counts its events, `expired` those that were refused for their age, `sizes`
    its bytes, `digests` the SHA-256 of its bytes, one after the other.
    """

    source: SourceRef
    format: str
    received_us: int
    table: pa.Table
    rejects: Sequence[Reject]
    ends: Ints
    records: Ints
    expired: Ints
    sizes: Ints
    digests: bytes

    @property
    def pushes(self) -> int:
        """Number of pushes."""
        return len(self.ends)

    def to_bytes(self) -> bytes:
        """Return the group as an entry of a frame, in the clear."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema) as writer:
            writer.write_table(self.table)
        table = sink.getvalue().to_pybytes()
        head = json.dumps(
            {
                "source": self.source.name,
                "domain": self.source.dedup_domain,
                "transport": self.source.transport,
                "format": self.format,
                "received_us": self.received_us,
                "pushes": self.pushes,
                "table_bytes": len(table),
                "rejects": [quarantine.encode(reject) for reject in self.rejects],
            }
        ).encode()
        numbers = np.concatenate([self.ends, self.records, self.expired, self.sizes]).astype("<i8").tobytes()
        return b"".join((_LENGTH.pack(len(head)), head, numbers, self.digests, table))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> PushGroup:
        """Return the group of `to_bytes`."""
        (size,) = _LENGTH.unpack_from(data)
        at = _LENGTH.size + size
        head: dict[str, Any] = json.loads(bytes(data[_LENGTH.size : at]))
        pushes = head["pushes"]
        ends, records, expired, sizes = np.frombuffer(data, "<i8", 4 * pushes, at).reshape(4, pushes).astype(np.int64)
        at += 32 * pushes
        digests = bytes(data[at : at + DIGEST_BYTES * pushes])
        at += DIGEST_BYTES * pushes
        with pa.ipc.open_stream(pa.py_buffer(bytes(data[at : at + head["table_bytes"]]))) as reader:  # aligned
            table = reader.read_all()
        rejects = [quarantine.decode(item) for item in head["rejects"]]
        source = SourceRef(head["source"], head["domain"], head["transport"])
        received_us = head["received_us"]
        return cls(source, head["format"], received_us, table, rejects, ends, records, expired, sizes, digests)


class SegmentCipher:
    """Seals and opens the frames of one segment."""

    def __init__(self, day_key: bytes, store_id: str, file_id: str) -> None:
        self._aad = f"lagrum/1|{store_id}|spool|{file_id}|".encode()
        self._cipher = AESGCM(derive(day_key, _PURPOSE, self._aad))

    def seal(self, number: int, entries: Sequence[bytes]) -> bytes:
        """Return frame `number` with some entries; no number is sealed twice."""
        plain = b"".join(_LENGTH.pack(len(entry)) + entry for entry in entries)
        sealed = self._cipher.encrypt(_nonce(number), plain, self._aad + number.to_bytes(4, "big"))
        return _HEAD.pack(_FRAME_MAGIC, number, len(sealed)) + sealed

    def open(self, number: int, sealed: memoryview) -> bytes | None:
        """Return what `seal` was given, or None when it does not authenticate."""
        try:
            return self._cipher.decrypt(_nonce(number), sealed, self._aad + number.to_bytes(4, "big"))
        except InvalidTag:
            return None


def read_entries(data: bytes, cipher: SegmentCipher, where: str) -> Iterator[memoryview]:
    """Yield the entries of a segment in order; an unfinished frame at its end is no frame.

    Raises:
        IntegrityError: a frame that was acknowledged does not authenticate.
    """
    view = memoryview(data)
    at, number = len(MAGIC), 0
    if data[:at] != MAGIC[: len(data)]:
        raise IntegrityError(f"{where} does not begin like one")
    while (plain := _frame(view, at, number, cipher)) is not None:
        at += _HEAD.size + _HEAD.unpack_from(view, at)[2]
        number += 1
        yield from _entries(memoryview(plain))
    if _has_later(data, at, number, cipher):
        raise IntegrityError(f"frame {number} of {where} does not authenticate")


def _frame(view: memoryview, at: int, number: int, cipher: SegmentCipher) -> bytes | None:
    if at + _HEAD.size > len(view):
        return None
    magic, found, length = _HEAD.unpack_from(view, at)
    start = at + _HEAD.size
    if magic != _FRAME_MAGIC or found != number or start + length > len(view):
        return None
    return cipher.open(number, view[start : start + length])


def _has_later(data: bytes, at: int, number: int, cipher: SegmentCipher) -> bool:
    """Tell whether a frame after `number` authenticates: then `number` was acknowledged before it was begun."""
    view = memoryview(data)
    at = data.find(_FRAME_MAGIC, at)
    while at >= 0:
        if at + _HEAD.size <= len(data):
            later = _HEAD.unpack_from(view, at)[1]
            if later > number and _frame(view, at, later, cipher) is not None:
                return True
        at = data.find(_FRAME_MAGIC, at + 1)
    return False


def _entries(plain: memoryview) -> Iterator[memoryview]:
    at = 0
    while at < len(plain):
        (size,) = _LENGTH.unpack_from(plain, at)
        at += _LENGTH.size
        yield plain[at : at + size]
        at += size


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
