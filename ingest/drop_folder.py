"""A drop folder: files are taken in as they become ready, and moved to done/ or failed/ after that.

1. A ready file is hashed; a store that had these bytes from this source within the last days answers with the first
   receipt (the digest is the idempotency key, of which the store keeps a keyed hash).
2. Otherwise it is ingested, small ones several in one batch. While a file is committed the next is decoded and looked
   up already (`Delivery.hand_over`); it is published only after that one. If a file changes while it is read, nothing
   is kept, and it is looked at again later.
3. When the receipts of a few files are durable, one journal document notes the sequence numbers; then the files move.
   A crash before that reads them again as repetitions of the same bytes: stored once, counted once.

Memory holds a few hundred names, however many files wait. A store that is busy or a full disk pauses everything; only
what the file itself is to blame for moves it to failed/, with a note of the reason beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from ingest import sources
from ingest.decoders import decoder
from ingest.drop_journal import DropJournal
from ingest.drop_rules import DONE, FAILED, WatchRules, is_due
from ingest.findings import Findings, took_nothing
from ingest.folder import ChangedError, Folder, Steady
from ingest.grouping import ingest_group
from ingest.orphans import gather
from ingest.pipeline import Delivery
from ingest.streams import COMPRESSED
from schemas.errors import AuditError, BusyError, ConfigurationError, InputError, LagrumError
from store import Receipt, SourceRef, Store, files
from store.arrivals import remember_deliveries

LOOK_FILES_MAX: Final = 500
FLUSH_FILES: Final = 64
FLUSH_S: Final = 2.0
SMALL_BYTES_MAX: Final = 128 << 10
"""Smaller files share a batch with their neighbours: a commit of its own costs each some fifty milliseconds."""
NAMED_FORMAT: Final = "mapping"
"""May read the file's name, which differs within a group."""
COMMITS: Final = 2
"""Files that are being committed at once: one is written while the one before it is published."""
BACK_OFF_S_MAX: Final = 60.0
DELETE_FILES_MAX: Final = 1000
_READ_BYTES: Final = 1 << 20

_log = logging.getLogger("lagrum.watch")


@dataclass(slots=True)
class Totals:
    """What one run has done."""

    files: int = 0
    redelivered: int = 0
    failed: int = 0
    refused: int = 0
    """Files of which every record was rejected, out of the ordinary: they are in the quarantine, and lie in done/."""
    waiting: int = 0
    records: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    rows: int = 0
    bytes: int = 0

    def add(self, receipt: Receipt) -> None:
        """Count one receipt; a repetition's records were counted before."""
        self.files += 1
        self.refused += took_nothing(receipt.records, receipt.rejected, receipt.reject_reasons)
        if receipt.replayed:
            self.redelivered += 1
            return
        for name in ("records", "accepted", "duplicates", "conflicts", "rejected", "rows", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(receipt, name))


@dataclass(frozen=True, slots=True)
class _Handed:
    """A file that was handed over, in the state in which it was read, and whose receipt is to come."""

    name: str
    identity: str
    key: str
    delivery: Delivery


class DropFolder:
    """One folder that delivers for one source in one format; one process at a time watches it."""

    def __init__(self, store: Store, source: str, format: str, directory: Path, rules: WatchRules) -> None:
        self._store, self._source, self._format, self._rules = store, source, format, rules
        self._folder = Folder(directory, rules, store.clock)
        self._directory = self._folder.directory
        self.stop = threading.Event()
        self.totals = Totals()
        self.findings = Findings()
        # Name, the state in which it was read, suffix for a name that is taken in done/.
        self._pending: list[tuple[str, str, str]] = []
        self._pool: Executor | None = None
        self._handed: _Handed | None = None
        self._flushed = time.monotonic()
        self._changing = 0  # files that changed while they were read
        self._journal = DropJournal(store, source, format, self._rules.sequence)

    def run(self, *, once: bool, poll_s: float = 2.0) -> Totals:
        """Take files in until `stop` is set; with `once`, until nothing is left that is or soon becomes ready.

        Raises:
            ConfigurationError: there is no such folder, the format is unknown, the source lacks what it needs.
            BusyError: another process watches the folder; with `once`, the store takes nothing now.
        """
        decoder(self._format)
        if not self._directory.is_dir():
            raise ConfigurationError("there is no such folder to watch")
        with self._alone():
            self.prepare()
            self._loop(once=once, poll_s=poll_s)
        return self.totals

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one that watches the folder, by whatever name or mount it is reached."""
        status = self._directory.stat()
        name = hashlib.sha256(f"{status.st_dev}-{status.st_ino}".encode()).hexdigest()[:32]
        with ExitStack() as stack:
            try:
                stack.enter_context(
                    files.lock(self._store.layout.run / f"watch-{name}.lock", exclusive=True, blocking=False)
                )
            except BusyError as error:
                raise BusyError(
                    "another process watches this folder", hint="one process watches a folder; end the other one first"
                ) from error
            yield

    def prepare(self) -> None:
        """Make done/ and failed/, read the journal, and have companions that a crash left follow their files.

        Raises:
            ConfigurationError: one of them lies on another file system.
        """
        self._folder.prepare(DONE, FAILED)
        gather(self._directory, (DONE, FAILED), self._store.clock.now_us())
        self._journal.read()

    def _loop(self, *, once: bool, poll_s: float) -> None:
        give_up: float | None = None  # with `once`: until when a file may become ready
        pause_s = poll_s
        while not self.stop.is_set():
            found = 0
            try:
                found = self.look()
                if not found:
                    self._rest()
                pause_s = poll_s
            except (BusyError, AuditError, OSError) as error:
                if once:
                    raise
                pause_s = min(pause_s * 2, BACK_OFF_S_MAX)
                _log.warning("watch pauses source=%s seconds=%.0f reason=%s", self._source, pause_s, _reason(error))
            if found:
                give_up = None
                continue
            now = time.monotonic()
            give_up = give_up or now + self._rules.settle_s + 2 * poll_s
            if once and (not self._folder.unsettled + self._changing or now > give_up):
                break
            self._store.renew_leases()
            self.stop.wait(min(poll_s, self._rules.settle_s) if once else pause_s)

    def _rest(self) -> None:
        """Do what is done when no file is ready."""
        self._delete_done()
        if self.totals.waiting != self._journal.waiting:
            self._write_journal()

    def look(self) -> int:
        """Take in what is ready now, a bounded number of files; return how many were handled."""
        self._flush()  # what could not be moved before
        handled = 0
        try:
            names = self._names()
            with self._committing():
                for start in range(0, len(names), FLUSH_FILES):
                    chunk = names[start : start + FLUSH_FILES]
                    together = self._together(chunk)
                    for name in chunk:
                        if self.stop.is_set():
                            return handled
                        handled += self._took(name, *together[name]) if name in together else self._take(name)
                        if time.monotonic() - self._flushed > FLUSH_S:
                            self._flush()
                    self._settle()
                    self._flush()
        finally:
            self._flush()
        return handled

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Have threads that commit; whatever happens, what was handed over is committed when they end, or void."""
        with ThreadPoolExecutor(COMMITS, thread_name_prefix="lagrum-commit") as self._pool:
            try:
                yield
            finally:
                self._settle()

    def _names(self) -> list[str]:
        self._changing = 0
        names = self._folder.ready(LOOK_FILES_MAX)
        self.totals.waiting = self._folder.waiting
        return names

    def _take(self, name: str) -> int:
        """Take one file in; return 1 when it was handled, 0 when it waits."""
        try:
            opened = self._folder.open(name)
        except FileNotFoundError:
            return 0
        except PermissionError:
            self._folder.leave(name)
            self._journal.tell("file-unreadable")
            return 0
        with opened as file:
            stream = Steady(file, self.stop)
            try:
                self._hand_over(stream, name)
            except InputError as error:
                self._settle()
                self._fail(name, stream.identity, error)
            except ChangedError:
                self._changing += 1
                return 0
        return 1

    def _hand_over(self, stream: Steady, name: str) -> None:
        """Hand a file over to be committed, and settle the one before; bytes that came before have their receipt."""
        key = self._key(self._folder.digest(stream, name))
        if self._handed is not None and self._handed.key == key:
            self._settle()
        source = sources.get_or_create(self._store, self._source).arriving("folder")
        earlier = self._store.replayed(SourceRef(source.name, source.domain), key)
        if earlier is not None:
            self._settle()
            self._took(name, stream.identity, earlier)
            return
        stream.again()
        printable = name.encode("utf-8", "replace").decode()
        before = self._handed.delivery if self._handed is not None else None
        with Delivery(self._store, source.delivering(printable), self._format, cast(BinaryIO, stream)) as delivery:
            delivery.hand_over(self._pool, after=before, idempotency_key=key)
        self._settle()  # when this fails, so does the commit of the one that was handed over after it
        self._handed = _Handed(name, stream.identity, key, delivery)

    def _settle(self) -> None:
        """Wait for the receipt of the file that was handed over."""
        handed, self._handed = self._handed, None
        if handed is None:
            return
        try:
            receipt = handed.delivery.receipt()
        except InputError as error:
            self._fail(handed.name, handed.identity, error)
        else:
            self._took(handed.name, handed.identity, receipt)

    def _took(self, name: str, identity: str, receipt: Receipt) -> int:
        self.totals.add(receipt)
        if took_nothing(receipt.records, receipt.rejected, receipt.reject_reasons):
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(receipt.reject_reasons.items()))
            self.findings.add(name, f"every record was rejected ({reasons})")
        self._journal.number(name)  # also of a repetition: a crash may have come before the journal
        self._pending.append((name, identity, f".{receipt.batch_id}"))
        return 1

    def _together(self, names: list[str]) -> dict[str, tuple[str, Receipt]]:
        """Take in the small files among some in one batch; what is in any doubt is left to be taken by itself.

        Returns the state in which each was read, and its receipt.
        """
        source = sources.get_or_create(self._store, self._source).arriving("folder")
        reference = SourceRef(source.name, source.domain)
        members: dict[str, tuple[str, str, bytes]] = {}  # key -> name, state, content
        if self._format != NAMED_FORMAT:
            for name in names:
                found = self._small(name)
                if found is None:
                    continue
                identity, content = found
                key = self._key(hashlib.sha256(content).hexdigest())
                if key not in members and self._store.replayed(reference, key) is None:
                    members[key] = (name, identity, content)
        if len(members) < 2:
            return {}
        receipts = ingest_group(self._store, source, self._format, [content for *_, content in members.values()])
        stored = {key: receipt for key, receipt in zip(members, receipts, strict=True) if receipt is not None}
        if stored:
            remember_deliveries(self._store, reference, next(iter(stored.values())).batch_id, list(stored))
        return {members[key][0]: (members[key][1], receipt) for key, receipt in stored.items()}

    def _small(self, name: str) -> tuple[str, bytes] | None:
        """Return the state and content of a small file that is whole; None for any other."""
        with suppress(OSError, InputError, ChangedError), self._folder.open(name) as file:
            stream = Steady(file, self.stop)
            if stream.size_bytes > SMALL_BYTES_MAX:
                return None
            self._folder.digest(stream, name)
            stream.again()
            content = b"".join(iter(lambda: stream.read(_READ_BYTES), b""))
            return None if content.startswith(COMPRESSED) else (stream.identity, content)
        return None

    def _key(self, digest: str) -> str:
        return f"file:{self._format}:{digest}"

    def _flush(self) -> None:
        """Make the journal durable, then move the files whose receipts are."""
        self._flushed = time.monotonic()
        if self._pending or self._journal.has_news:
            self._write_journal()
        if self._pending:
            self._folder.take_away(DONE, self._pending)
        self._pending = []

    def _fail(self, name: str, identity: str, error: InputError) -> None:
        self._flush()
        self._journal.number(name)
        self.totals.failed += 1
        self._journal.tell("file-failed", reason=error.message)
        self._write_journal()
        note = error.message + (f"\n{error.hint}" if error.hint else "") + "\n"
        if self._folder.fail(name, identity, note):
            self.findings.add(name, f"moved to {FAILED}/: {error.message}")

    def _delete_done(self) -> None:
        """Delete what was received long enough ago: files of the switch's making, in the clear."""
        if self._rules.keep_done_days is None:
            return
        now_us = self._store.clock.now_us()
        due = []
        # An operator may delete there too.
        with suppress(FileNotFoundError), os.scandir(self._directory / DONE) as entries:
            for entry in entries:
                received_us = entry.stat(follow_symlinks=False).st_mtime_ns // 1000
                if entry.is_file(follow_symlinks=False) and is_due(received_us, now_us, self._rules.keep_done_days):
                    due.append(entry.path)
                    if len(due) >= DELETE_FILES_MAX:
                        break
        files.unlink_all(map(Path, due))

    def _write_journal(self) -> None:
        self._journal.write(asdict(self.totals), self.totals.waiting)


def _reason(error: LagrumError | OSError) -> str:
    """Return what may be logged of an error: no name of a file."""
    if isinstance(error, LagrumError):
        return error.message
    return os.strerror(error.errno) if error.errno is not None else type(error).__name__
