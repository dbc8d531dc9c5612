"""The audit log: an append-only Merkle log with signed checkpoints, durable when `append` returns.

The leaves lie in segment files, one a line; the last checkpoint says how many of them count. Appends that wait for each
other share one round of syncs and one checkpoint. Threads and processes exclude each other; a process notices what
another one appended, and refuses to go on where the files are not as the log left them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Final

from schemas.errors import AuditError, BusyError, IntegrityError, LagrumError
from store import files, locks
from store.audit import merkle, paths
from store.audit.checkpoint import Checkpoint, Signer, VerifierKey, check_name, open_checkpoint
from store.audit.entries import (
    EPOCH_KIND,
    AuditEntry,
    check_entry,
    decode_leaf,
    encode_leaf,
    entry_key,
    month_of,
)
from store.audit.epochs import (
    Certificate,
    Epoch,
    certificate_of,
    is_due,
    load_epoch,
    new_epoch,
    stored_epochs,
    superseded_keys,
)
from store.audit.segments import encode_record, list_segments, read_leaves
from store.audit.tail import EMPTY, Group, catch_up, clear_unfinished, mark, read_tail, write_group
from store.audit.view import LogView
from store.audit.watch import Watch
from store.clock import Clock, to_date
from store.keys import Keyring

ENTRIES_PER_APPEND_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Appended:
    """A durable append: its first entry's index, the log's size behind its group, and the checkpoint over that size."""

    first_index: int
    size: int
    checkpoint: str


_SEE_TO: Final = "see to the space, the permissions and the state of the audit directory"
RESTORE: Final = "docs/OPERATING.md, A damaged audit log, says how to go on; deliveries are taken in meanwhile"


class _Request:
    """One caller's entries on their way into a group."""

    def __init__(self, entries: Sequence[AuditEntry]) -> None:
        self.entries = entries
        self.appended: Appended | None = None
        self.error: AuditError | None = None


class AuditLog(LogView):
    """The log of one store. Make one object per process; all methods may be called from any thread."""

    def __init__(self, directory: Path, *, keyring: Keyring, clock: Clock) -> None:
        """Use `create` or `open`."""
        super().__init__(directory, keyring)
        self._clock = clock
        self._lock = Lock()
        self._waiting: list[_Request] = []
        self._waiting_lock = Lock()
        self._disowned: tuple[int, int] | None = None
        self._watch: Watch | None = None
        self._distrusted: str | None = None

    # Making and opening

    @classmethod
    def create(cls, directory: Path, *, name: str, store_id: str, keyring: Keyring, clock: Clock) -> AuditLog:
        """Make a log and pin its origin key; entry 0 is the certificate of the first epoch.

        What an interrupted making left is made anew: nothing in it was acknowledged.

        Raises:
            ConfigurationError: there is a log already, or the name cannot stand in a checkpoint.
            AuditError: it cannot be made durable.
        """
        origin = Signer.generate(check_name(name))
        log = cls(directory, keyring=keyring, clock=clock)
        log._origin, log._store_id = origin.verifier, check_name(store_id)
        try:
            for folder in (directory, paths.segments_path(directory), paths.epochs_path(directory)):
                files.make_dir(folder)
            with log._alone():
                clear_unfinished(directory)
                files.write_atomic(paths.origin_path(directory), f"{origin.verifier}\n".encode(), mode=0o644)
                log._begin_epoch(1, origin)
        except OSError as e:
            raise AuditError("the audit log cannot be made") from e
        # the origin's private half ends here: it was never written, and nothing refers to it any more
        return log

    @classmethod
    def open(cls, directory: Path, *, keyring: Keyring, clock: Clock) -> AuditLog:
        """Open a log; what a crash left behind the last acknowledged entry is cut off.

        Raises:
            IntegrityError: acknowledged entries are missing or changed, or the keys do not fit the log.
            KeyUnavailableError: the keyring does not hold the key of the epoch.
            AuditError: the log cannot be read or mended.
        """
        log = cls(directory, keyring=keyring, clock=clock)
        try:
            log._origin = VerifierKey.parse(paths.origin_path(directory).read_text("utf-8").removesuffix("\n"))
            with log._alone():
                log._tail = read_tail(directory)
                log._store_id = log._read_store_id()
                log._load_epoch()
            log._sweep()
        except IntegrityError as e:
            raise IntegrityError(e.message, hint=RESTORE) from e
        except (OSError, UnicodeDecodeError) as e:
            raise AuditError("the audit log cannot be opened", hint=RESTORE) from e
        return log

    def _read_store_id(self) -> str:
        first = list_segments(self._directory)[0]
        for octets, _ in read_leaves(first.path(self._directory)):
            return certificate_of(decode_leaf(octets).public, self._origin).store_id
        raise IntegrityError("the audit log does not begin with its origin")

    def _load_epoch(self) -> None:
        """Take the epoch that signed the last checkpoint: another process may have begun it."""
        self._keyring.refresh()
        for number in reversed(stored_epochs(self._directory)):
            epoch = load_epoch(self._directory, number, self._keyring)
            with suppress(IntegrityError):
                open_checkpoint(self._tail.note, [epoch.verifier])
                self._epoch = epoch
                return
        raise IntegrityError("no epoch key that is kept here signed the last checkpoint of the audit log")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and processes out."""
        with locks.within(self._lock, "audit"), files.lock(paths.lock_path(self._directory), exclusive=True):
            yield

    @contextmanager
    def resting(self) -> Iterator[tuple[int, Epoch]]:
        """Keep everybody from appending; gives the octets of the checkpoints, by which a copy is cut, and the epoch."""
        with self._alone():
            self._synchronise()
            yield paths.checkpoints_path(self._directory).stat().st_size, self._epoch

    # Looking after it

    def refresh(self) -> bool:
        """Notice what other processes appended; tell whether there was something.

        Raises:
            AuditError: the log cannot be read.
            IntegrityError: it was cut or changed.
        """
        before = self._tail.size
        try:
            with self._alone():
                self._synchronise()
        except OSError as e:
            raise AuditError("the audit log cannot be read") from e
        return self._tail.size != before

    @property
    def distrusted(self) -> str | None:
        """Why nothing is appended any more, in words; None while the log is trusted."""
        return self._distrusted

    def distrust(self, why: str) -> None:
        """Append nothing any more, and do not open as it is: the log was cut, changed or made anew (`tail.mark`)."""
        if self._distrusted is None:
            self._distrusted = why
            mark(self._directory, why)

    def check(self) -> None:
        """Look whether the files are as the log left them (`store.audit.watch`); what is wrong ends its trust.

        Raises:
            IntegrityError: files were deleted, cut or changed; every later append fails.
            AuditError: they cannot be read now.
        """
        try:
            with self._alone():
                self._require_trusted()
                self._synchronise()
                self._watch = self._watch or Watch(self._directory, self._origin)
                self._watch.look(self._tail)
        except IntegrityError as e:
            self.distrust(e.message)
            raise
        except FileNotFoundError as e:
            self.distrust("the audit log has disappeared")
            raise IntegrityError("the audit log has disappeared") from e
        except OSError as e:
            raise AuditError("the audit log cannot be read") from e

    def _require_trusted(self) -> None:
        if self._distrusted is not None:
            raise IntegrityError(self._distrusted, hint=RESTORE)

    # Appending

    def append(self, entries: Sequence[AuditEntry]) -> Appended:
        """Append entries; when this returns they are durable, and covered by a signed checkpoint.

        All of them become durable, or none. Calls that wait for each other share one round of syncs.

        Raises:
            AuditError: they could not be made durable. Nothing may be done on their strength.
        """
        if len(entries) > ENTRIES_PER_APPEND_MAX:
            raise AuditError("too many entries for one append", hint=f"at most {ENTRIES_PER_APPEND_MAX}")
        for entry in entries:
            check_entry(entry)
        if not entries:
            return Appended(self._tail.size, self._tail.size, self._tail.note)
        request = _Request(entries)
        with self._waiting_lock:
            self._waiting.append(request)
        with self._lock:
            if request.appended is None and request.error is None:
                self._serve(self._take())
        if request.appended is None:
            error = request.error or AuditError("the append was interrupted")
            # several callers may share one cause: each raises an error of its own
            raise AuditError(error.message, hint=error.hint) from error.__cause__
        return request.appended

    def _take(self) -> list[_Request]:
        """Return the requests of the next group, the longest waiting first."""
        with self._waiting_lock:
            taken, count = 0, 0
            for request in self._waiting:
                count += len(request.entries)
                if taken and count > ENTRIES_PER_APPEND_MAX:
                    break
                taken += 1
            requests, self._waiting = self._waiting[:taken], self._waiting[taken:]
            return requests

    def _serve(self, requests: list[_Request]) -> None:
        try:
            self._require_trusted()
            with files.lock(paths.lock_path(self._directory), exclusive=True):
                self._synchronise()
                first = self._tail.size
                self._commit([entry for request in requests for entry in request.entries])
        except (OSError, LagrumError) as e:
            error = AuditError(
                "the audit entry could not be made durable",
                hint=e.hint if isinstance(e, (BusyError, IntegrityError)) and e.hint else _SEE_TO,
            )
            error.__cause__ = e
            for request in requests:
                request.error = error
            return
        except BaseException:
            for request in requests:
                request.error = AuditError("the append was interrupted")
            raise
        for request in requests:
            request.appended = Appended(first, self._tail.size, self._tail.note)
            first += len(request.entries)

    def _commit(self, entries: list[AuditEntry]) -> None:
        time_us = self._clock.now_us()
        key = entry_key(month_of(time_us))
        if any(entry.secret is not None for entry in entries) and not self._keyring.has(key):
            self._keyring.ensure([key])
        group = self._tail.size
        leaves = [
            encode_leaf(
                entry, index=index, group=group, time_us=time_us, store_id=self._store_id, keyring=self._keyring
            )
            for index, entry in enumerate(entries, group)
        ]
        self._write(leaves, month_of(time_us), self._epoch.signer)

    def _write(self, leaves: list[bytes], month: date, signer: Signer) -> None:
        """Write one group, or leave the log as it was."""
        frontier = self._tail.frontier.copy()
        nodes = b"".join(node for leaf in leaves for node in frontier.add(merkle.leaf_hash(leaf)))
        note = signer.sign(Checkpoint(self._origin.name, frontier.size, frontier.root()).text())
        tail = self._tail
        self._disowned = (tail.checkpoints_bytes, tail.checkpoints_bytes + len(encode_record(note)))
        try:
            self._tail = write_group(self._directory, tail, Group(leaves, month, nodes, frontier, note))
        except (OSError, LagrumError):
            # the disk may refuse this too: then the next append does it first
            with suppress(OSError, LagrumError):
                self._mend()
            raise
        self._disowned = None

    def _synchronise(self) -> None:
        """Bring this process's knowledge up to the files; called under both locks."""
        before = self._tail.size
        if self._disowned is not None:
            self._mend()
        else:
            self._tail = catch_up(self._directory, self._tail)
        if self._tail.size != before:
            self._load_epoch()

    def _mend(self) -> None:
        """Cut off what a failed append of this process left behind the acknowledged end."""
        if self._disowned is not None and self._tail is not EMPTY:
            acknowledged, attempted = self._disowned
            length = paths.checkpoints_path(self._directory).stat().st_size
            # longer than the attempt: another process has read, mended and gone on in the meantime
            self._tail = read_tail(self._directory, acknowledged if length <= attempted else None)
        self._disowned = None

    # Epochs

    def rotate_epoch(self) -> int:
        """Begin a new epoch, signed for by the current one, whose private key is then destroyed; return its number.

        Raises:
            AuditError: it could not be made durable; the epoch before goes on, or the old key is still to be destroyed
                (the next `rotate_epoch` or `open` does it).
        """
        try:
            self._require_trusted()
            with self._alone():
                self._synchronise()
                self._begin_epoch(self._epoch.number + 1, self._epoch.signer)
            self._sweep()
        except (OSError, LagrumError) as e:
            raise AuditError("the audit log's epoch could not be changed") from e
        return self._epoch.number

    def rotate_if_due(self) -> bool:
        """Begin a new epoch when the current one is of an earlier day, or has signed enough; tell whether.

        An old key that could not be destroyed then, for want of a replica say, is destroyed now.

        Raises:
            AuditError: as `rotate_epoch`.
        """
        self.refresh()
        due = is_due(self._epoch, day=to_date(self._clock.now_us()), size=self.size)
        if due:
            self.rotate_epoch()
        elif superseded_keys(self._keyring, self._epoch.key):
            self._sweep()
        return due

    def _begin_epoch(self, number: int, predecessor: Signer) -> None:
        time_us, name = self._clock.now_us(), self._origin.name
        tail, day = self._tail, to_date(time_us)
        epoch = new_epoch(self._directory, number=number, name=name, day=day, size=tail.size, keyring=self._keyring)
        certificate = Certificate(name, self._store_id, number, epoch.verifier, tail.size, tail.frontier.root())
        leaf = encode_leaf(
            AuditEntry(EPOCH_KIND, certificate.public(predecessor.sign(certificate.text()))),
            index=tail.size,
            group=tail.size,
            time_us=time_us,
            store_id=self._store_id,
            keyring=self._keyring,
        )
        self._write([leaf], month_of(time_us), epoch.signer)
        self._epoch = epoch

    def _sweep(self) -> None:
        """Destroy all epoch keys but the current one: superseded, of a change that never happened, half written."""
        with self._alone():
            self._synchronise()
            for number in stored_epochs(self._directory):
                if number != self._epoch.number:
                    files.overwrite_and_unlink(paths.epoch_path(self._directory, number))
            for folder in (self._directory, paths.epochs_path(self._directory)):
                for left in files.temporaries(folder):
                    files.overwrite_and_unlink(left)
            superseded = superseded_keys(self._keyring, self._epoch.key)
        if superseded:
            self._keyring.destroy(superseded)
