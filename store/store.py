"""The store: one root, opened by a process of the service's user."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyarrow as pa

from schemas.errors import ConfigurationError, LagrumError, NotFoundError, ProcedureError
from store import creation, files, quarantine, recovering
from store.audit import AuditEntry, AuditLog
from store.audit.shut import open_or_shut
from store.audit_context import note
from store.batch import BatchWriter
from store.catalog import Catalog
from store.clock import Clock, to_date
from store.compaction import compact as compaction
from store.correcting.corrections import Corrections
from store.creation import IDENTITY_REF
from store.documents import Documents
from store.encoding.figure_batch import FigureBatch
from store.identities.identity import IdentityHasher
from store.identities.identity_lookup import OF_DAYS, Known
from store.in_flight import InFlightBatch
from store.keys import KeyRef, Keyring, RootProvider, derive
from store.layout import Layout
from store.log_state import LogState
from store.model import PartitionStatus, PartRow, Problem, Receipt, ScanQuery, SourceRef, TargetIdentifier
from store.open_sessions import session_reading, session_tables, sessions
from store.outbox import Outbox
from store.partitions import PartitionKey, day_to_date
from store.parts import PartStore
from store.publish import TIMEOUT_FORMAT, stored_receipt
from store.quarantine import intake_ref
from store.reading.reader_cache import Readers
from store.reading.scan import Plan, explain, plan, scan, scan_figures
from store.retention import expiry, reclassified_erasure
from store.retention.clockguard import ClockGuard
from store.retention.holds import Holds
from store.retention.policies import Policies
from store.spooling.spool import Spool
from store.writers import Writers

if TYPE_CHECKING:
    from store.verification.verify import Progress

FORMAT_VERSION: Final = 2
IMMUTABLE: Final = "immutable_parts"
"""In the marker file: parts are immutable where the disk allows it."""
T = TypeVar("T")
_log = logging.getLogger("lagrum.store")


class Store:
    """The facade that `ingest` and `api` use. Thread-safe; several processes may open one root."""

    def __init__(
        self,
        layout: Layout,
        store_id: str,
        clock: Clock,
        keyring: Keyring,
        catalog: Catalog,
        audit: AuditLog,
        *,
        immutable_parts: bool = False,
    ):
        self.layout, self.store_id, self.clock = layout, store_id, clock
        self.root = layout.root
        self.keyring, self.catalog, self.audit = keyring, catalog, audit
        self.hasher = IdentityHasher(keyring.key(IDENTITY_REF))
        self.part_store = PartStore(layout, store_id, self.hasher, immutable=immutable_parts)
        self.known = Known(self)
        self.readers = Readers(layout, self.part_store, keyring, catalog)
        self._known_generation = keyring.generation
        self.writers = Writers(layout)
        self.outbox = Outbox(catalog, keyring, audit, layout)
        self.documents = Documents(catalog, keyring, self.outbox)
        self.spool = Spool(self)
        self.log_state = self.documents.log_state = LogState(self)
        self.policies = Policies(self)
        self.clock_guard = ClockGuard(self)
        self.holds = Holds(self)
        self.corrections = Corrections(self)

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        clock: Clock,
        passphrase: bytes | None = None,
        replicas: Sequence[Path] = (),
        roots: RootProvider | None = None,
        immutable_parts: bool = False,
    ) -> Store:
        """Make a new store in an empty or missing directory, or where an earlier making was interrupted.

        With `immutable_parts` nobody removes or changes a part by mistake (see `store.files.protect`).

        Raises:
            ConfigurationError: there is something already.
        """
        layout = Layout(root.absolute())
        store_id, keyring, catalog, audit = creation.make(layout, clock, passphrase, replicas, roots)
        store = cls(layout, store_id, clock, keyring, catalog, audit, immutable_parts=immutable_parts)
        store.clock_guard.begin()
        marker = {"lagrum": FORMAT_VERSION, "store_id": store_id, **({IMMUTABLE: True} if immutable_parts else {})}
        files.write_atomic(layout.marker, json.dumps(marker, indent=2).encode() + b"\n")  # from here on it is a store
        store.log(AuditEntry("store.created", {"store_id": store_id, "format": FORMAT_VERSION}, None))
        return store

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        clock: Clock,
        passphrase: bytes | None = None,
        recover: bool = True,
        takes_in: bool = False,
    ) -> Store:
        """Open an existing store; unfinished work of a crash is discarded or rolled forward.

        Without `recover` the store's own stays: for who opens it beside a process that has done that. To look through
        all files takes the writers' lock alone, and whoever begins a delivery waits for it. Who `takes_in` does so
        whatever became of the audit log (`store.audit.shut`).

        Raises:
            ConfigurationError: there is no store, or it has another format version.
            IntegrityError, AuditError: the audit log is damaged or cannot be read.
            PermissionsError: a secret file is readable by others.
        """
        layout = Layout(root.absolute())
        try:
            marker = json.loads(layout.marker.read_bytes())
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"there is no store in {layout.root}",
                hint="--root or LAGRUM_ROOT names it; `lagrum init DIR` makes one",
            ) from error
        except ValueError as error:
            raise ConfigurationError("the store's marker file lagrum.json is not readable") from error
        if marker.get("lagrum") != FORMAT_VERSION:
            raise ConfigurationError(
                f"the store's format has version {marker.get('lagrum')}, and this program reads {FORMAT_VERSION}",
                hint="use the version of Lagrum that made the store",
            )
        store_id = str(marker["store_id"])
        files.make_dir(layout.run)
        keyring = Keyring.open(layout.root, passphrase=passphrase)
        catalog = Catalog.open(layout.catalog, store_id)
        open_log = open_or_shut if takes_in else AuditLog.open
        audit = open_log(layout.audit, keyring=keyring, clock=clock)
        immutable = bool(marker.get(IMMUTABLE))
        store = cls(layout, store_id, clock, keyring, catalog, audit, immutable_parts=immutable)
        if recover:
            recovering.recover(store)
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close files; unfinished batches are lost, as in a crash."""
        self.spool.close()
        self.readers.clear()
        self.catalog.close()

    # Taking in

    def begin_batch(
        self, source: SourceRef, *, format: str, idempotency_key: str | None = None, after: InFlightBatch | None = None
    ) -> BatchWriter:
        """Begin one delivery; it may come `after` one that is being committed, and is published behind it."""
        self.catalog.refuse_other()
        self.renew_leases()
        tag = self.idempotency_tag(source, idempotency_key) if idempotency_key else None
        batch = BatchWriter(self, source, format, tag, after)
        self.writers.acquire(batch)
        return batch

    def replayed(self, source: SourceRef, idempotency_key: str) -> Receipt | None:
        """Return the receipt of a batch that came under this idempotency key within the last days."""
        tag = self.idempotency_tag(source, idempotency_key)
        rows = self.catalog.query(
            "SELECT batch_id FROM idempotency WHERE tag = ? AND until_us >= ?", (tag, self.clock.now_us())
        )
        return stored_receipt(self, rows[0][0], replayed=True) if rows else None

    def receipt(self, batch_id: int) -> Receipt:
        """Return the receipt of a published batch.

        Raises:
            NotFoundError: there is no such batch.
        """
        if not self.catalog.query("SELECT 1 FROM batches WHERE batch_id = ?", (batch_id,)):
            raise NotFoundError("there is no such batch")
        return stored_receipt(self, batch_id, replayed=False)

    def withdraw_batch(self, batch_id: int, *, reason: str, actors: Sequence[str]) -> int:
        """Hide a batch that was read wrongly, so that it can be delivered again; return its number of records.

        The records stay stored until their partition ends: the overlay hides, it does not remove. Two persons act.

        Raises:
            NotFoundError: there is no such batch.
            ProcedureError: fewer than two persons act (`two-persons`), or it is withdrawn already (`state`).
        """
        if len(set(actors)) < 2:
            raise ProcedureError("correcting data takes two persons", reason="two-persons")
        with self.catalog.transaction() as cursor:
            row = cursor.execute("SELECT rows, withdrawn_us FROM batches WHERE batch_id = ?", (batch_id,)).fetchone()
            if row is None:
                raise NotFoundError("there is no such batch")
            if row[1] is not None:
                raise ProcedureError("the batch is withdrawn already", reason="state")
            cursor.execute("UPDATE batches SET withdrawn_us = ? WHERE batch_id = ?", (self.clock.now_us(), batch_id))
            cursor.execute("DELETE FROM idempotency WHERE batch_id = ?", (batch_id,))
            session_tables.withdraw(cursor, batch_id)
            public = {"batch": batch_id, "rows": row[0], "actors": sorted(set(actors))}
            self.outbox.put(cursor, [AuditEntry("batch.withdrawn", public, {"reason": reason})])
        self.flush_outbox(required=True)
        return int(row[0])

    def close_silent_sessions(self) -> int:
        """Close sessions that were silent for longer than a session may be; return how many."""
        return self.close_stale_sessions(self.clock.now_us() - sessions.SESSION_TIMEOUT_US)

    def close_stale_sessions(self, before_us: int) -> int:
        """Close sessions that are silent since `before_us` into records; return how many."""
        rows = self.catalog.query(
            "SELECT DISTINCT source FROM sessions WHERE state = 'open' AND seen_us < ?", (before_us,)
        )
        closed = 0
        for (name,) in rows:
            domain = self.domain_of(name)
            with self.begin_batch(SourceRef(name, domain), format=TIMEOUT_FORMAT) as batch:
                batch.close_stale_sessions(before_us)
                if batch.records:
                    closed += batch.commit().rows
        return closed

    # Reading

    def scan(self, query: ScanQuery) -> Iterator[pa.RecordBatch]:
        """Yield records of a window as batches of packed columns (see `store.reading.scan.scan`)."""
        self.renew_leases()
        self.spool.drain()
        return scan(self, query)

    def scan_figures(self, query: ScanQuery) -> Iterator[FigureBatch]:
        """Yield records of a window as figures (see `store.reading.scan.scan_figures`)."""
        self.renew_leases()
        self.spool.drain()
        return scan_figures(self, query)

    def open_sessions(
        self, targets: Sequence[TargetIdentifier] = (), *, of: tuple[str, str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the sessions that run now (`store.open_sessions.session_reading`): a disclosure must find these too.

        `of`, a source and a network element, leaves out those of others, or nearly all of them.
        """
        self.renew_leases()
        self.spool.drain()
        element = None if of is None else session_reading.element_tags(self.hasher, of[0], [of[1]])[0]
        return session_reading.open_rows(self.catalog, self.keyring, targets, element=element)

    def plan(self, query: ScanQuery, *, to_row_groups: bool = False) -> Plan:
        """Return what a scan reads and leaves alone, as the catalog tells; or as postings and row groups tell."""
        return explain(self, query) if to_row_groups else plan(self, query)

    def partitions(self) -> list[PartitionStatus]:
        """Return the partitions that are not dropped, oldest first, with how many holds reach them."""
        return self.holds.counted(self.catalog.partitions(self.policies.current()))

    def reconcile(self, source: str | None = None) -> list[dict[str, Any]]:
        """Return per source, transport and hour of arrival what was delivered and what became of it."""
        self.spool.drain()
        rows = self.catalog.query(
            "SELECT source, transport, hour_us, delivered, stored, duplicates, conflicts, rejects FROM intake "
            "WHERE ? IS NULL OR source = ? ORDER BY source, transport, hour_us",
            (source, source),
        )
        names = ("source", "transport", "hour_us", "delivered", "stored", "duplicates", "conflicts", "rejects")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def quarantine_entries(self, batch_id: int | None = None) -> list[quarantine.QuarantineEntry]:
        """Return what is in quarantine."""
        return quarantine.entries(self, batch_id)

    # Keeping and erasing

    def expire(self, *, dry_run: bool = False) -> expiry.Expired:
        """Erase what is over: partitions (`expiry`), then categories of service (`reclassified_erasure`)."""
        return reclassified_erasure.expire(self, expiry.expire(self, dry_run=dry_run))

    def compact(self, *, everything: bool = False, partition: PartitionKey | None = None) -> compaction.Compacted:
        """Merge small parts (see `store.compaction.compact`)."""
        return compaction.compact(self, everything=everything, partition=partition)

    def expired(self, key: PartitionKey) -> bool:
        """Tell whether a partition's period is over (see `store.retention.clockguard.ClockGuard.is_over`)."""
        return self.clock_guard.is_over(key)

    def verify(self, progress: Progress | None = None) -> list[Problem]:
        """Derive everything again and return every disagreement."""
        from store.verification.verify import verify

        return verify(self, progress)

    def renew_leases(self) -> None:
        """Take keys that another process destroyed out of memory, and the identities that lay under them.

        A service calls it at least every `store.keys.LEASE_S` seconds, busy or not.
        """
        self.keyring.refresh()
        generation = self.keyring.generation
        if generation != self._known_generation:
            self.known.clear()
            self._known_generation = generation
        self.readers.renew()

    # Logging

    def log(self, entry: AuditEntry) -> int:
        """Append one entry to the audit log, after everything that waits; durable at return.

        Raises:
            AuditError: it could not be made durable; nothing may leave.
        """
        self.outbox.flush()
        index = self.audit.append([entry]).first_index
        note([entry])
        return index

    def flush_outbox(self, *, required: bool = False) -> None:
        """Hand waiting entries to the audit log; a failure matters only when `required`.

        Raises:
            LagrumError: the log cannot take entries, and it is required.
        """
        try:
            self.outbox.flush()
        except (LagrumError, OSError):  # what caused the entries is done; they lie in the outbox
            if required:
                raise
            _log.warning("audit entries wait: the audit log cannot take them")

    # For the modules of this package

    def parts_of_days(self, days: Iterable[int], *, after: int = 0) -> list[PartRow]:
        """Return the live parts, not withdrawn, of these day numbers, those with a `part_id` of at most `after` not."""
        dates = {day_to_date(day) for day in days}
        if not dates:
            return []
        found = self.catalog.parts(OF_DAYS, (after, min(dates).isoformat(), max(dates).isoformat()))
        return [part for part in found if part.partition.end_date in dates]

    def ensure_intake_key(self, now_us: int) -> None:
        """Make the key of the day's quarantine."""
        self.keyring.ensure([intake_ref(now_us)])

    def ensure_session_key(self, now_us: int) -> None:
        """Make the key of the day's open sessions."""
        self.keyring.ensure([KeyRef("open", to_date(now_us).isoformat(), "sessions", "shared")])

    def idempotency_tag(self, source: SourceRef, key: str) -> bytes:
        """Return a keyed hash that is equal for equal keys within the idempotency period."""
        context = json.dumps([source.name, key]).encode()
        return derive(self.keyring.key(IDENTITY_REF), "idempotency", context, 16)

    def domain_of(self, source: str) -> str:
        """Return the dedup domain in which the source's newest records lie."""
        try:
            body = self.documents.get("source", source).body
        except NotFoundError:
            return source
        return str(body.get("dedup_domain") or source)
