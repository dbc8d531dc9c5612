"""Sending the log's checkpoints off this machine, and looking after the log while the service runs.

Whoever keeps an older checkpoint elsewhere can prove a cut or another past. Two kinds of keepers:

* a folder on another machine (mounted; better still one that takes files and does not give them up), into which every
  checkpoint is dropped: `FOLDER/LOG/RANGE/SIZE.checkpoint`;
* a witness that follows c2sp.org/tlog-witness over https: it checks that the log only grew, and cosigns.

Checkpoints go at most `witness_interval_seconds` after an entry. A keeper that lags or refuses is an event, in the log
and in the metrics. A checkpoint in the folder that our own keys signed, over a tree that the log does not contain, is
proof that the log was cut or made anew: its trust ends, and nothing is disclosed any more.

Source: the design's *Audit log*; c2sp.org/tlog-witness.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import httpx
import orjson

from api.settings import Settings, is_loopback
from schemas.errors import BusyError, ConfigurationError, IntegrityError, LagrumError, ProcedureError
from store import files
from store.audit import EPOCH_KIND, AuditEntry, AuditLog
from store.audit.checkpoint import Checkpoint, VerifierKey, open_checkpoint, parse_note
from store.audit.cosign import WitnessKey
from store.audit.epochs import Certificate, certificate_of
from store.audit.expiring import expire_segments
from store.audit.merkle import Frontier
from store.audit.paths import cosigned_path
from store.audit.search import find
from store.audit.segments import nodes_reader
from store.audit.submission import Submission
from store.clock import to_date
from store.tls import client_context

if TYPE_CHECKING:
    from store import Store

LAG_SECONDS_MAX: Final = 60.0
ANSWER_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 65_536
_FILES_PER_FOLDER: Final = 1000
_SUFFIX: Final = ".checkpoint"
_SIZE_TYPE: Final = "text/x.tlog.size"

logger = logging.getLogger("lagrum.audit")


class Keeper(Protocol):
    """Keeps checkpoints where the log is not."""

    name: str

    def send(self, log: AuditLog) -> int:
        """Bring the newest checkpoint there; return the size that is kept now.

        Raises:
            IntegrityError: what is kept proves that the log was cut or made anew.
            ProcedureError: reason `witness`: the keeper refuses.
            BusyError, OSError: it cannot be reached now.
        """
        ...


def log_name(origin: str) -> str:
    """Return how a log is named in paths: 32 hex digits of its origin's SHA-256."""
    return hashlib.sha256(origin.encode()).hexdigest()[:32]


def _head(note: str) -> Checkpoint:
    return Checkpoint.parse_text(parse_note(note).text)


def _refused(why: str) -> ProcedureError:
    return ProcedureError(f"the witness refuses: {why}", reason="witness")


def _require_kept(log: AuditLog, head: Checkpoint, note: str) -> None:
    """Return when the log holds what a kept checkpoint signs.

    Raises:
        IntegrityError: it does not, and signed it once: it was cut or made anew.
        ProcedureError: reason `witness`: what is kept is no checkpoint of this log.
    """
    try:
        kept = _head(note)
    except IntegrityError:
        raise _refused("what it keeps is no checkpoint") from None
    if kept.size <= head.size and _root_at(log, kept.size) == kept.root:
        return
    try:
        open_checkpoint(note, list(_epoch_keys(log)))
    except IntegrityError:
        raise _refused("what it keeps is not signed by this log") from None
    raise IntegrityError("a kept checkpoint shows that the audit log was cut or made anew")


class Drop:
    """A folder on another machine."""

    name = "directory"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, log: AuditLog) -> int:
        """See `Keeper.send`; the newest file of the folder is compared with the log before another is added."""
        if not self._folder.is_dir():
            raise BusyError("the folder for checkpoints is not there")
        note = log.checkpoint()
        head = _head(note)
        folder = self._folder / log_name(head.origin)
        newest = self._newest(folder)
        if newest is not None:
            kept = newest.read_text("utf-8")
            _require_kept(log, head, kept)
            if _head(kept).size == head.size:
                return head.size
        path = folder / f"{head.size // _FILES_PER_FOLDER:09d}" / f"{head.size:012d}{_SUFFIX}"
        files.make_dir(path.parent, 0o755)
        files.write_atomic(path, note.encode(), mode=0o644)
        return head.size

    def _newest(self, folder: Path) -> Path | None:
        if not folder.is_dir():
            return None
        for part in sorted(folder.iterdir(), reverse=True):
            found = sorted(path for path in part.iterdir() if path.suffix == _SUFFIX and path.name[0] != ".")
            if found:
                return found[-1]
        return None


class Remote:
    """A witness over https."""

    name = "http"

    def __init__(self, url: str, key: WitnessKey, cosigned: Path, *, ca: Path | None = None) -> None:
        """Take where the witness is and what key it signs with; the newest cosigned checkpoint is kept at `cosigned`.

        Raises:
            ConfigurationError: the URL is not https (http goes to this machine only), or the CA cannot be read.
        """
        parts = httpx.URL(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.host)):
            raise ConfigurationError("a witness elsewhere is reached by https only")
        try:
            self._verify = client_context(ca)
        except (OSError, ssl.SSLError):
            raise ConfigurationError("the CA of the witness cannot be read") from None
        self._url, self._key, self._cosigned = url.rstrip("/"), key, cosigned
        self._seen: tuple[int | None, int] | None = None  # epoch (None: a witness that knows none) and size
        self._done = -1

    def send(self, log: AuditLog) -> int:
        """See `Keeper.send`."""
        note = log.checkpoint()
        head = _head(note)
        if head.size == self._done:
            return head.size
        epoch, size = self._seen = self._seen or self._ask(head.origin)
        try:
            if epoch is not None:
                size = self._send_epochs(log, head, epoch, size)
            self._send_checkpoint(log, head, note, size)
        except ProcedureError:
            self._seen = None
            self._compare(log, head)  # a refusal that the witness can prove is no matter of opinion
            raise
        except LagrumError:
            self._seen = None
            raise
        self._done = head.size
        return head.size

    def _compare(self, log: AuditLog, head: Checkpoint) -> None:
        """Compare the log with the checkpoint that the witness shows; without its cosignature it proves nothing.

        Raises:
            IntegrityError: the log signed it once, and is not the one that it was.
        """
        try:
            answer = self._call("GET", f"/logs/{log_name(head.origin)}", None)
            note = str(orjson.loads(answer.content)["checkpoint"])
            self._key.cosigned_at(parse_note(note))
        except (LagrumError, ValueError, KeyError, TypeError):
            return
        _require_kept(log, head, note)

    def _ask(self, origin: str) -> tuple[int | None, int]:
        answer = self._call("GET", f"/logs/{log_name(origin)}", None)
        if answer.status_code != httpx.codes.OK:
            return None, 0
        try:
            told = orjson.loads(answer.content)
            return int(told["epoch"]), int(told["size"])
        except (ValueError, KeyError, TypeError):
            raise BusyError("the witness answers with something else") from None

    def _send_epochs(self, log: AuditLog, head: Checkpoint, epoch: int, size: int) -> int:
        """Show the witness the epochs that it has not seen; return the tree that it has seen then."""
        if epoch >= log.epoch:
            return size
        for certificate, note in _certificates(log):
            if certificate.epoch <= epoch or certificate.size >= head.size:
                continue
            self._require_taken(self._call("POST", "/add-epoch", self._submission(log, size, certificate.size, note)))
            size = certificate.size
            self._seen = certificate.epoch, size
        return size

    def _send_checkpoint(self, log: AuditLog, head: Checkpoint, note: str, size: int) -> None:
        answer = self._call("POST", "/add-checkpoint", self._submission(log, size, head.size, note))
        told = answer.headers.get("content-type", "").partition(";")[0] == _SIZE_TYPE
        if answer.status_code == httpx.codes.CONFLICT and told and answer.text.strip().isdecimal():
            # It saw another tree than we remember: that is where the proof has to begin.
            size = int(answer.text)
            answer = self._call("POST", "/add-checkpoint", self._submission(log, size, head.size, note))
        self._require_taken(answer)
        cosigned = note + answer.text
        try:
            self._key.cosigned_at(parse_note(cosigned))
        except IntegrityError:
            raise _refused("its cosignature does not verify") from None
        files.write_atomic(self._cosigned, cosigned.encode(), mode=0o644)
        self._seen = (self._seen or (None, 0))[0], head.size

    def _submission(self, log: AuditLog, first: int, second: int, note: str) -> bytes:
        if first > second:
            raise _refused("it saw more entries than the log has")
        return Submission(first, tuple(log.consistency_proof(first, second)), note).encode()

    def _require_taken(self, answer: httpx.Response) -> None:
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or answer.status_code == 429:
            raise BusyError(f"the witness answers {answer.status_code}")
        if answer.status_code != httpx.codes.OK:
            raise _refused(f"it answers {answer.status_code}")

    def _call(self, method: str, path: str, body: bytes | None) -> httpx.Response:
        try:
            # A connection for each call: between two lie seconds, and nothing is left open when the service ends.
            with httpx.Client(verify=self._verify, timeout=ANSWER_SECONDS, trust_env=False) as http:
                answer = http.request(method, self._url + path, content=body)
        except httpx.HTTPError as error:
            raise BusyError(f"the witness does not answer ({type(error).__name__})") from None
        if len(answer.content) > ANSWER_BYTES_MAX:
            raise _refused("its answer is too long")
        return answer


class _State:
    """What is known of one keeper."""

    def __init__(self, now_s: float) -> None:
        self.kept = -1
        self.caught_up_s = now_s
        """When everything was there, last; no entry that waits is older."""
        self.alarm: str | None = None


class AuditKeeper:
    """What the service does for its log, every few seconds: look after the files, end epochs, send checkpoints away."""

    def __init__(self, store: Store, keepers: list[Keeper], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store, self._monotonic = store, monotonic
        self._keepers = keepers
        self._states = {keeper.name: _State(monotonic()) for keeper in keepers}
        self._told = False

    @classmethod
    def of(cls, store: Store, settings: Settings) -> AuditKeeper:
        """Return the keeper of a store with the witnesses of the settings.

        Raises:
            ConfigurationError: a witness' URL or key cannot be used.
        """
        return cls(store, keepers_of(store, settings))

    def look(self) -> None:
        """Look whether the log is as it was left, and begin a new epoch when one is due.

        Raises:
            IntegrityError: it is not; nothing is appended and nothing disclosed any more.
            AuditError: it cannot be read or written now.
        """
        log = self._store.audit
        try:
            log.check()
        except IntegrityError:
            self._tell()
            raise
        log.rotate_if_due()

    def expire(self) -> None:
        """Let the oldest segments of the log expire, by what is proven of the time; an untrusted clock ends nothing.

        Raises:
            AuditError: it could not be done; the next run goes on.
        """
        verdict = self._store.clock_guard.verdict()
        if verdict.is_trusted:
            expire_segments(self._store.audit, self._store.keyring, to_date(verdict.erase_us))

    def send(self) -> None:
        """Send the newest checkpoint to every keeper; failures are events, and tried again."""
        log = self._store.audit
        log.refresh()
        for keeper in self._keepers:
            state, now_s, size = self._states[keeper.name], self._monotonic(), log.size
            try:
                state.kept = keeper.send(log)
            except IntegrityError as error:
                log.distrust(error.message)
                self._tell()
            except ProcedureError as error:
                self._alarm(keeper.name, "refused", error.message)
            except (LagrumError, OSError) as error:
                logger.warning("the witness %s cannot be reached: %s", keeper.name, type(error).__name__)
                if now_s - state.caught_up_s > LAG_SECONDS_MAX:
                    self._alarm(keeper.name, "lagging", "it was not reached in time")
            else:
                if state.kept >= size:
                    state.caught_up_s = now_s
                    self._alarm(keeper.name, None, "")

    def lags(self) -> Iterator[tuple[str, float, bool]]:
        """Yield per keeper: name, age of the oldest entry that it may lack in seconds, whether it refuses."""
        for name, state in self._states.items():
            behind = 0.0 if state.kept >= self._store.audit.size else self._monotonic() - state.caught_up_s
            yield name, behind, state.alarm == "refused"

    def _alarm(self, name: str, alarm: str | None, why: str) -> None:
        """Log a change of a keeper's state, once."""
        state = self._states[name]
        if state.alarm == alarm:
            return
        state.alarm = alarm
        if alarm is not None:
            logger.error("the witness %s is %s: %s", name, alarm, why)
        with suppress(LagrumError, OSError):  # the next change is tried again; metrics tell meanwhile
            public = {"witness": name, "kept": max(state.kept, 0)}
            self._store.log(AuditEntry(f"witness.{alarm or 'caught-up'}", public))

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            logger.critical(
                "the audit log is not as it was left; nothing is disclosed: %s", self._store.audit.distrusted
            )


def keepers_of(store: Store, settings: Settings) -> list[Keeper]:
    """Return the keepers that the settings name; paths are relative to the root.

    Raises:
        ConfigurationError: a URL or key cannot be used.
    """
    keepers: list[Keeper] = []
    if settings.witness_directory:
        keepers.append(Drop(store.root / settings.witness_directory))
    if settings.witness_url:
        try:
            key = WitnessKey.parse(settings.witness_key)
        except IntegrityError as error:
            raise ConfigurationError(f"the setting witness_key: {error.message}") from None
        ca = store.root / settings.witness_ca if settings.witness_ca else None
        keepers.append(Remote(settings.witness_url, key, cosigned_path(store.layout.audit), ca=ca))
    return keepers


def _root_at(log: AuditLog, size: int) -> bytes:
    with nodes_reader(log.directory) as read:
        return Frontier.read(size, read).root()


def _certificates(log: AuditLog) -> Iterator[tuple[Certificate, str]]:
    """Yield the epochs' certificates in order, each checked with the key before it."""
    key = log.origin
    for entry in find(log.directory, log.size, (EPOCH_KIND,)):
        certificate = certificate_of(entry.public, key)
        yield certificate, str(entry.public["certificate"])
        key = certificate.key


def _epoch_keys(log: AuditLog) -> Iterator[VerifierKey]:
    return (certificate.key for certificate, _ in _certificates(log))
