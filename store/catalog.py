"""The catalog: what exists, decided by one SQLite transaction at a time (WAL, `synchronous=FULL`).

Several processes may have it open; a transaction takes the write lock at its start. Each thread has a connection.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from schemas.errors import BusyError, ConfigurationError, IntegrityError, LagrumError
from schemas.policy import Policy
from store import files, locks
from store.catalog_schema import CATALOG_VERSION, SCHEMA
from store.model import PartitionStatus, PartRow, RetiredPart
from store.partitions import PartitionKey, expires_at
from store.place import place_of, refuse_other

T = TypeVar("T")

BUSY_TIMEOUT_S: Final = 60.0
_BEGIN_TIMEOUT_MS: Final = 500
"""Of one attempt to begin a transaction; who waits longer tries again."""
_WAL_WRITE_LOCK: Final = 120
"""The byte of the catalog's index of the log that a writer locks (sqlite.org/walformat.html, section 2.3.1)."""

_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "temp_store=MEMORY")

_PART_COLUMNS: Final = (
    "p.part_id, p.file_id, q.end_date, q.retention_class, q.key_domain, p.batch_id, p.rows, p.bytes, p.sha256, "
    "p.identities_bytes, p.identities_sha256, p.index_bytes, p.index_sha256, "
    "p.start_us_min, p.end_us_min, p.end_us_max, p.schema_version, "
    "b.withdrawn_us IS NOT NULL, p.location_rows, p.location_bytes, p.location_sha256, p.services"
)
_PART_TABLES: Final = "parts p JOIN partitions q USING (partition_id) LEFT JOIN batches b USING (batch_id)"


@dataclass(slots=True)
class _Connection:
    """One thread's connection; whoever uses or closes it holds `busy`, for SQLite does not survive a close under it."""

    thread: threading.Thread
    database: sqlite3.Connection
    busy: threading.RLock = field(default_factory=threading.RLock)
    seen: tuple[int, int] | None = None
    """What was committed when `known` was read: by others (SQLite's `data_version`), and through this connection."""
    known: dict[str, Any] = field(default_factory=dict)
    reading: bool = False
    """Within a snapshot, and so in no transaction of its own."""

    def close(self) -> None:
        with self.busy:
            self.database.close()


class Catalog:
    """The store's SQLite database; safe for threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[_Connection] = []
        self._closed = False
        self._guard = threading.Lock()
        self._write = threading.Lock()
        self._doubtful = False
        self._place = place_of(path)

    @classmethod
    def create(cls, path: Path, store_id: str) -> Catalog:
        """Make an empty catalog."""
        files.create_private(path)
        catalog = cls(path)
        with catalog._connection() as connection:
            connection.executescript(SCHEMA)
        with catalog.transaction() as cursor:
            cursor.executemany(
                "INSERT INTO meta VALUES (?, ?)", [("store_id", store_id), ("version", str(CATALOG_VERSION))]
            )
        return catalog

    @classmethod
    def open(cls, path: Path, store_id: str) -> Catalog:
        """Open an existing catalog.

        Raises:
            ConfigurationError: it is missing, of another store, or of a version that this program does not read.
            BusyError: the disk does not give it.
        """
        if not path.exists():
            raise ConfigurationError("the catalog is missing", hint="restore it from a backup; the parts need it")
        catalog = cls(path)
        try:
            meta = dict(catalog.query("SELECT name, value FROM meta"))
        except BusyError:
            raise
        except (LagrumError, sqlite3.DatabaseError) as error:
            raise ConfigurationError("the catalog is not readable as a database") from error
        if meta.get("store_id") != store_id:
            raise ConfigurationError("the catalog belongs to another store")
        if meta.get("version") != str(CATALOG_VERSION):
            raise ConfigurationError(
                f"the catalog has version {meta.get('version')}, and this program reads {CATALOG_VERSION}",
                hint="use the version of Lagrum that made the store",
            )
        return catalog

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a read-only statement and return all rows."""
        try:
            with self._connection() as connection:
                return connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            raise BusyError("the catalog cannot be read", hint="check its disk, and who holds it") from error
        except sqlite3.DatabaseError as error:
            raise IntegrityError("the catalog is damaged", hint="restore it from a backup") from error

    def refuse_other(self) -> None:
        """Refuse to go on where another store, or none, lies in the place of this one.

        Raises:
            BusyError: it does.
        """
        refuse_other(self._path, self._place)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Hold the write lock; commit (durable) at the end, roll back on an error.

        Raises:
            BusyError: another process held the lock for too long, the disk does not take the change, or the store is
                not in its place any more.
        """
        with locks.within(self._write, "catalog"), self._connection() as connection:
            cursor = connection.cursor()
            try:
                self._begin(cursor)
            except sqlite3.OperationalError as error:
                raise BusyError("the catalog is locked by another process", hint="try again") from error
            committing = False
            try:
                yield cursor
                self.refuse_other()
                committing = True
                cursor.execute("COMMIT")
                self._doubtful = False
            except BaseException as error:
                if connection.in_transaction:
                    connection.rollback()
                if committing and isinstance(error, sqlite3.Error):
                    self._bury(connection)
                if isinstance(error, sqlite3.OperationalError):
                    raise BusyError("the catalog cannot be written", hint="check its disk") from error
                raise
            finally:
                cursor.close()

    def _begin(self, cursor: sqlite3.Cursor) -> None:
        """Begin a transaction as soon as no other process writes; who waits tells it (`store.locks`)."""

        def tried(_: float) -> bool:
            try:
                cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                return False
            return True

        def holder() -> str:
            return locks.holders(self._path.with_name(self._path.name + "-shm").stat(), _WAL_WRITE_LOCK)

        cursor.execute(f"PRAGMA busy_timeout = {_BEGIN_TIMEOUT_MS}")
        try:
            locks.wait("catalog", tried, holder)
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")

    def _bury(self, connection: sqlite3.Connection) -> None:
        """Make sure that a transaction whose commit failed never comes back.

        A failed sync may leave it whole in the write-ahead log, where the next opening after a crash would find it. The
        next commit overwrites it there; until one succeeds, nobody may remove what the transaction speaks of.
        """
        self._doubtful = True
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO meta VALUES ('buried', '1') ON CONFLICT (name) DO UPDATE SET value = value + 1"
            )
            connection.execute("COMMIT")
            self._doubtful = False
        except sqlite3.Error:
            if connection.in_transaction:
                connection.rollback()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let this thread's queries see one state of the catalog; within a transaction they do already."""
        with self._connection() as connection:
            if connection.in_transaction:
                yield
                return
            connection.execute("BEGIN")
            own: _Connection = self._local.connection
            own.reading = True
            try:
                yield
            finally:
                own.reading = False
                if not self._closed:  # else it ends with its connection
                    connection.rollback()

    def known(self, name: str, read: Callable[[], T]) -> T:
        """Return what `read` returns of this catalog, read anew once anybody has changed it; nobody may change it.

        Within a transaction it is read every time: what is not committed yet may be rolled back.
        """
        with self.snapshot(), self._connection() as connection:
            own: _Connection = self._local.connection
            if not own.reading:
                return read()
            seen = int(self.query("PRAGMA data_version")[0][0]), connection.total_changes
            if own.seen != seen:
                own.seen, own.known = seen, {}
            if name not in own.known:
                own.known[name] = read()
            found: T = own.known[name]
            return found

    def parts(self, where: str = "1", parameters: Sequence[Any] = ()) -> list[PartRow]:
        """Return published parts of live partitions; `where` speaks of p (parts), q (partitions), b (batches)."""
        with self.snapshot():  # a merge in between would leave a part without the batches that it hides
            rows = self.query(
                f"SELECT {_PART_COLUMNS} FROM {_PART_TABLES} WHERE q.state = 'live' AND ({where}) ORDER BY p.part_id",  # noqa: S608
                parameters,
            )
            hidden = self.query(
                "SELECT part_id, batch_id FROM batches JOIN part_batches USING (batch_id) "
                "WHERE withdrawn_us IS NOT NULL"
            )
        withdrawn: dict[int, list[int]] = {}
        for part_id, batch_id in hidden:
            withdrawn.setdefault(part_id, []).append(batch_id)
        return [_part(row, tuple(withdrawn.get(row[0], ()))) for row in rows]

    def numbers_of_parts(self, where: str, parameters: Sequence[Any]) -> tuple[list[int], set[int]]:
        """Return the ids of such parts, as `parts` would, and of all parts that hide withdrawn batches: little of many.

        Who knows a part from before needs no more of it; only what it hides may change.
        """
        with self.snapshot():
            rows = self.query(
                f"SELECT p.part_id FROM {_PART_TABLES} WHERE q.state = 'live' AND ({where}) ORDER BY p.part_id",  # noqa: S608
                parameters,
            )
            hidden = self.query(
                "SELECT DISTINCT part_id FROM batches JOIN part_batches USING (batch_id) WHERE withdrawn_us IS NOT NULL"
            )
        return [row[0] for row in rows], {row[0] for row in hidden}

    def retired(self) -> list[RetiredPart]:
        """Return the merged parts whose files may still be there."""
        rows = self.query(
            "SELECT end_date, retention_class, key_domain, file_id FROM retired JOIN partitions USING (partition_id)"
        )
        return [RetiredPart(PartitionKey(date.fromisoformat(row[0]), row[1], row[2]), row[3]) for row in rows]

    def partitions(self, policy: Policy) -> list[PartitionStatus]:
        """Return every partition that is not dropped, oldest first, with its end by the policy."""
        rows = self.query(
            "SELECT end_date, retention_class, key_domain, rows, parts, bytes, sealed, state FROM partitions "
            "WHERE state <> 'dropped' ORDER BY end_date, retention_class, key_domain"
        )
        return [
            PartitionStatus(key, row[3], row[4], row[5], bool(row[6]), row[7], expires_at(key, policy))
            for row in rows
            for key in (PartitionKey(date.fromisoformat(row[0]), row[1], row[2]),)
        ]

    def partition_states(self) -> dict[PartitionKey, str]:
        """Return the state of every partition that ever was."""
        rows = self.query("SELECT end_date, retention_class, key_domain, state FROM partitions")
        return {PartitionKey(date.fromisoformat(row[0]), row[1], row[2]): row[3] for row in rows}

    def services(self) -> dict[PartitionKey, dict[str, int]]:
        """Return the records of live partitions by category of service; those without one are not counted."""
        rows = self.query(
            "SELECT end_date, retention_class, key_domain, services.key, sum(services.value) "
            "FROM partitions JOIN parts USING (partition_id), json_each(parts.services) services "
            "WHERE state = 'live' GROUP BY partition_id, services.key ORDER BY partition_id, services.key"
        )
        found: dict[PartitionKey, dict[str, int]] = {}
        for day, retention_class, key_domain, service, records in rows:
            key = PartitionKey(date.fromisoformat(day), retention_class, key_domain)
            found.setdefault(key, {})[service] = records
        return found

    def locations(self, policy: Policy) -> list[PartitionStatus]:
        """Return the siblings with a location that is not dropped, oldest first, with their ends by the policy."""
        rows = self.query(
            "SELECT end_date, retention_class, key_domain, sum(location_rows), count(*), sum(location_bytes), sealed, "
            "location_state FROM partitions JOIN parts USING (partition_id) "
            "WHERE location_state = 'dropping' OR (location_state = 'live' AND state = 'live') "
            "GROUP BY partition_id ORDER BY end_date, retention_class, key_domain"
        )
        return [
            PartitionStatus(key, row[3], row[4], row[5], bool(row[6]), row[7], expires_at(key, policy))
            for row in rows
            for key in (PartitionKey(date.fromisoformat(row[0]), row[1], row[2]).location,)
        ]

    def location_states(self) -> dict[PartitionKey, str]:
        """Return the state of every sibling that ended, or lives with its partition."""
        rows = self.query(
            "SELECT end_date, retention_class, key_domain, location_state FROM partitions "
            "WHERE location_state IS NOT NULL"
        )
        return {PartitionKey(date.fromisoformat(row[0]), row[1], row[2]).location: row[3] for row in rows}

    def file_homes(self) -> dict[str, PartitionKey]:
        """Return the partition of every file that a part, of whatever state, has."""
        rows = self.query(
            "SELECT file_id, end_date, retention_class, key_domain FROM parts JOIN partitions USING (partition_id)"
        )
        return {row[0]: PartitionKey(date.fromisoformat(row[1]), row[2], row[3]) for row in rows}

    def file_ids(self) -> dict[str, PartitionKey]:
        """Return the partition of every file that may lie among the parts: published, or retired and not yet gone."""
        return self.file_homes() | {part.file_id: part.partition for part in self.retired()}

    def change_counter(self) -> int:
        """Return the id of the newest part: what a dedup snapshot compares."""
        return int(self.query("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'parts'")[0][0])

    def withdrawals(self) -> int:
        """Return how many batches were ever withdrawn: what a dedup snapshot compares."""
        return int(self.query("SELECT count(*) FROM batches WHERE withdrawn_us IS NOT NULL")[0][0])

    def published(self, file_ids: Sequence[str]) -> set[str]:
        """Return which of these files belong to published parts; all, while a failed commit may yet come back."""
        if self._doubtful:
            return set(file_ids)
        return {
            row[0]
            for file_id in file_ids
            for row in self.query("SELECT file_id FROM parts WHERE file_id = ?", (file_id,))
        }

    def close(self) -> None:
        """Close every thread's connection, when it is done with what it does; nothing can be asked any more."""
        with self._guard:
            self._closed = True
            left, self._connections = self._connections, []
        for connection in left:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        own: _Connection | None = getattr(self._local, "connection", None)
        if own is None:
            own = self._local.connection = self._connect()
        with own.busy:
            if self._closed:
                own.close()
                raise BusyError("the store is closed")
            yield own.database

    def _connect(self) -> _Connection:
        self.refuse_other()
        database = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            database.execute(f"PRAGMA {pragma}")
        own = _Connection(threading.current_thread(), database)
        with self._guard:
            for item in self._connections:
                if not item.thread.is_alive():
                    item.close()
            self._connections = [item for item in self._connections if item.thread.is_alive()]
            self._connections.append(own)
        return own


def _part(row: tuple[Any, ...], withdrawn: tuple[int, ...]) -> PartRow:
    key = PartitionKey(date.fromisoformat(row[2]), row[3], row[4])
    told = (row[1], key, *row[6:17], *row[18:22])
    return PartRow(*told, part_id=row[0], batch_id=row[5], withdrawn=bool(row[17]), withdrawn_batches=withdrawn)
