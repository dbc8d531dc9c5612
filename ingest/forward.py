"""The agent on a switch's host: pushes a folder's files to the store, and spools them while the store is away.

1. What the spool holds goes first, then the folder's ready files, in order.
2. A file is deleted only on a receipt whose SHA-256 and size are those of the file as it was read, whose counts add
   up, and only if the file is still in the state in which it was read. The same holds for the spool's entries.
3. While the store is away, ready files are copied into the spool and stay where they are: the switch may rotate them
   away now. A file and its entry are one delivery: the idempotency key is made of the bytes.
4. What the store refuses for good moves to failed/, with the reason beside it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from ingest.drop_rules import COMPANIONS, FAILED, companions
from ingest.findings import Findings, took_nothing
from ingest.folder import ChangedError, Folder, Steady
from ingest.spool import Held, Spool, as_stream
from ingest.streams import expanded
from schemas.errors import BusyError, InputError, IntegrityError
from store import files

LOOK_FILES_MAX: Final = 500
BACK_OFF_S_MAX: Final = 30.0
_READ_BYTES: Final = 1 << 20
_SPOOLED: Final = "a spooled file"
"""The spool tells names to nobody; what is refused is set aside in it."""

_log = logging.getLogger("lagrum.forward")

Send = Callable[[Callable[[], Iterator[bytes]], str | None], Mapping[str, Any]]
"""Sends bytes under an idempotency key (or none), and returns the receipt.

Raises BusyError when the store is away, InputError when it refuses these bytes for good.
"""


@dataclass(slots=True)
class Forwarded:
    """What one run has done."""

    sent: int = 0
    spooled: int = 0
    failed: int = 0
    refused: int = 0
    """Files that were sent, and of which the store rejected every record: they are in its quarantine."""
    waiting: int = 0
    in_spool: int = 0


@dataclass(frozen=True, slots=True)
class _Digests:
    """SHA-256 and size of some bytes: as they are, and expanded where they are compressed; either is in a receipt."""

    plain: tuple[str, int]
    inside: tuple[str, int]

    def match(self, receipt: Mapping[str, Any]) -> bool:
        """Tell whether a receipt is for these bytes, and its counts add up."""
        told = (receipt.get("sha256"), receipt.get("bytes"))
        try:
            parts = sum(int(receipt[name]) for name in ("accepted", "duplicates", "conflicts", "rejected"))
            return told in (self.plain, self.inside) and int(receipt["records"]) == parts
        except (KeyError, TypeError, ValueError):
            return False


class Agent:
    """Forwards one folder to one source of a store."""

    def __init__(self, folder: Folder, spool: Spool, send: Send) -> None:
        self._folder, self._spool, self._send = folder, spool, send
        self.stop = threading.Event()
        self.totals = Forwarded()
        self.findings = Findings()
        self._away_until = 0.0
        self._pause_s = 0.0

    def run(self, *, once: bool, poll_s: float = 2.0) -> Forwarded:
        """Forward until `stop` is set; with `once`, until nothing more can be done.

        Raises:
            BusyError: another process works with the spool.
            ConfigurationError: the store does not take these credentials, or knows no such source.
        """
        with files.lock(self._spool.lock_path, exclusive=True, blocking=False):
            self._folder.prepare(FAILED)
            while not self.stop.is_set():
                self._drain_spool()
                handled = sum(self._forward(name) for name in self._names())
                self.totals.in_spool = len(self._spool.ids())
                if handled:
                    continue
                if once and (self._pause_s or not self._folder.unsettled):
                    break
                self.stop.wait(poll_s)
        return self.totals

    @property
    def _away(self) -> bool:
        return time.monotonic() < self._away_until

    def _names(self) -> list[str]:
        names = self._folder.ready(LOOK_FILES_MAX)
        self.totals.waiting = self._folder.waiting
        return names

    def _drain_spool(self) -> None:
        for entry_id in self._spool.ids():
            if self._away or self.stop.is_set():
                return
            try:
                digests = _digests(as_stream(self._spool.pieces(entry_id)))
                self._deliver(_SPOOLED, lambda chosen=entry_id: self._spool.pieces(chosen), digests)  # type: ignore[misc]
            except BusyError:
                return
            except (InputError, IntegrityError) as error:
                _log.error("a spooled file is refused: %s", error.message)
                self.totals.failed += 1
                self.findings.add(_SPOOLED, error.message)
                self._spool.set_aside(entry_id)
                continue
            self._spool.remove(entry_id)

    def _forward(self, name: str) -> int:
        """Send or spool one file; return 1 when it was handled."""
        if self.stop.is_set():
            return 0
        try:
            opened = self._folder.open(name)
        except FileNotFoundError:
            return 0
        except PermissionError:
            self._folder.leave(name)
            _log.error("a file may not be read; it waits until its rights change")
            return 0
        with suppress(FileNotFoundError, ChangedError), opened as file:
            stream = Steady(file, self.stop)
            entry_id = self._spool.id_of(stream.identity)
            if self._away and self._spool.has(entry_id):
                return 0
            digests = _digests(cast(BinaryIO, stream))
            try:
                if self._away:
                    return self._keep(name, entry_id, stream, digests)
                self._deliver(name, lambda: _pieces(stream), digests)
            except BusyError:
                return self._keep(name, entry_id, stream, digests)
            except InputError as error:
                self._fail(name, stream.identity, error)
                if self._spool.has(entry_id):
                    self._spool.remove(entry_id)
                return 1
            if stream.identity == self._folder.identity(name):
                if self._spool.has(entry_id):
                    self._spool.remove(entry_id)
                self._remove(name)
                return 1
        return 0

    def _deliver(self, name: str, pieces: Callable[[], Iterator[bytes]], digests: _Digests) -> None:
        """Send the bytes of a file; return when a receipt is for them.

        Raises:
            BusyError: the store is away, or its receipt is for something else.
            InputError: the store refuses the bytes.
        """
        try:
            receipt = self._send(pieces, f"file:{digests.plain[0]}")
            if not digests.match(receipt):
                # The first receipt of a key loses its digest with its partition; without the key it is told anew.
                receipt = self._send(pieces, None)
            if not digests.match(receipt):
                raise BusyError("the receipt is not for these bytes")
        except BusyError as error:
            self._pause_s = min(max(1.0, self._pause_s * 2), BACK_OFF_S_MAX)
            self._away_until = time.monotonic() + self._pause_s
            _log.warning("the store is away: %s", error.message)
            raise
        self._pause_s = self._away_until = 0.0
        self.totals.sent += 1
        if took_nothing(int(receipt["records"]), int(receipt["rejected"]), receipt.get("reject_reasons", {})):
            self.totals.refused += 1
            self.findings.add(name, "the store rejected every record")

    def _keep(self, name: str, entry_id: str, stream: Steady, digests: _Digests) -> int:
        """Copy a file into the spool, unless it is there; it stays where it is when there is no room."""
        if self._spool.has(entry_id):
            return 0
        stream.again()
        sha256, size_bytes = digests.plain
        try:
            self._spool.put(Held(entry_id, name, size_bytes, sha256), cast(BinaryIO, stream))
        except (BusyError, IntegrityError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            _log.warning("a file is not spooled: %s", reason)
            return 0
        self.totals.spooled += 1
        return 1

    def _remove(self, name: str) -> None:
        for extra in ("", *COMPANIONS):
            for one in companions(name, extra)[: 1 if extra == "" else 2]:
                files.unlink_durable(self._folder.directory / one, missing_ok=True)

    def _fail(self, name: str, identity: str, error: InputError) -> None:
        self.totals.failed += 1
        _log.error("a file is refused: %s", error.message)
        if self._folder.fail(name, identity, f"{error.message}\n"):
            self.findings.add(name, f"moved to {FAILED}/: {error.message}")


def _pieces(stream: Steady) -> Iterator[bytes]:
    stream.again()
    while data := stream.read(_READ_BYTES):
        yield data


def _digests(stream: BinaryIO) -> _Digests:
    """Read a stream to its end."""
    outer = _Hashing(stream)
    inner_hash, inner_size = hashlib.sha256(), 0
    with suppress(InputError):  # what is damaged is refused by the store, not here
        inner = expanded(cast(BinaryIO, outer))
        while data := inner.read(_READ_BYTES):
            inner_hash.update(data)
            inner_size += len(data)
    while outer.read(_READ_BYTES):
        pass
    return _Digests((outer.digest.hexdigest(), outer.size), (inner_hash.hexdigest(), inner_size))


class _Hashing(io.RawIOBase):
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest, self.size = hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.digest.update(data)
        self.size += len(data)
        return len(data)
