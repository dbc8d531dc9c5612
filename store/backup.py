"""Backups: a consistent copy of everything but the keys, and the way back.

A backup is ciphertext as it lies in the store. The keyring is never in it: it has replicas of its own, and whatever key
was destroyed since makes its part of every backup unreadable. So a backup ends nothing and brings nothing back.

    BACKUP/manifest.json    written last: format, store, time, end of life, every file with size and SHA-256
    BACKUP/data/...         the files, under their paths in the store

Making one, (1) to (4) in `store.snapshot`: (1) the catalog's state at one instant, where the audit log ends at that
instant, and the epoch's key; (2) the sealed files of the service; (3) the parts that the catalog names, which stay
while the readers' lock is held; (4) the log up to that end; (5) the manifest.
Restoring: (1) the files, each compared with the manifest, into an empty folder; (2) the keyring that counts now, from a
replica or the old root; (3) partitions whose key is gone are taken for erased, what the keyring no longer opens is
removed; (4) holds whose key was destroyed since end; (5) the restoring is logged, with the days of which records are
missing.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import BusyError, ConfigurationError, IntegrityError, NotFoundError
from store import files, parquet, siblings
from store.audit import AuditEntry
from store.keys import KeyRef, Keyring, RootProvider
from store.keys.keyring_copies import read_header, read_pointer
from store.layout import LOCATION_SUFFIX, Layout
from store.model import rfc3339
from store.partitions import PartitionKey, successor
from store.snapshot import Progress, copy_state

if TYPE_CHECKING:
    from store.clock import Clock
    from store.store import Store

FORMAT: Final = "lagrum-backup-1"
LIFE_DAYS: Final = 90
"""A backup older than this is refused by `restore`, and is to be destroyed by its keeper."""
MANIFEST: Final = "manifest.json"
RESTORED: Final = "store.restored"
"""Kind of the audit entry that a restoring leaves."""
DATA: Final = "data"
GENERATIONS_MAX: Final = 1000
"""So often may a partition have been written anew since a backup for its day to be found again."""
_LIVE: Final = "SELECT count(*), coalesce(sum(rows), 0) FROM partitions WHERE state = 'live'"


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What a backup holds."""

    directory: Path
    files: int
    bytes: int
    partitions: int
    records: int
    until: datetime
    """The end of its life."""

    def as_dict(self) -> dict[str, Any]:
        """Return the backup as JSON-ready data."""
        return {
            "directory": str(self.directory),
            "files": self.files,
            "bytes": self.bytes,
            "partitions": self.partitions,
            "records": self.records,
            "until": rfc3339(self.until),
        }


@dataclass(frozen=True, slots=True)
class Lost:
    """A partition of which a record, or a service, was erased after the backup: its day is to be delivered again."""

    partition: PartitionKey
    into: PartitionKey
    """The generation whose key counts now; it is there, and empty."""
    records: int
    """That the backup had, what was erased among them."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {"partition": str(self.partition), "into": str(self.into), "records": self.records}


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back."""

    root: Path
    files: int
    bytes: int
    made: str
    """When the backup was made."""
    partitions: int
    records: int
    erased_since: tuple[PartitionKey, ...]
    """Partitions of the backup whose keys were destroyed after it was made."""
    lost: tuple[Lost, ...] = ()
    """Of these, the ones that were written anew since: what stayed of them is not in the backup either."""

    def as_dict(self) -> dict[str, Any]:
        """Return the restoring as JSON-ready data."""
        return {
            "root": str(self.root),
            "files": self.files,
            "bytes": self.bytes,
            "made": self.made,
            "partitions": self.partitions,
            "records": self.records,
            "erased_since": [str(key) for key in self.erased_since],
            "lost": [item.as_dict() for item in self.lost],
        }


def backup(store: Store, directory: Path, progress: Progress | None = None) -> BackedUp:
    """Copy a consistent state of the store, without its keys, into a new folder.

    Raises:
        ConfigurationError: the folder is not empty, or lies in the store or in a replica of its keyring.
        BusyError: the disk does not take the copy; without its manifest it is no backup.
    """
    target = directory.absolute()
    _refuse_place(store, target)
    _refuse_content(target)
    store.flush_outbox(required=True)
    now = datetime.fromtimestamp(store.clock.now_us() / 1_000_000, UTC)
    until = now + timedelta(days=LIFE_DAYS)
    try:
        files.make_dir(target)
        files.make_dir(target / DATA)
        entries = copy_state(store, target / DATA, until.date(), progress or (lambda _done, _total: None))
        partitions, records = _content(target / DATA / store.layout.catalog.name)
        manifest = {
            "format": FORMAT,
            "store_id": store.store_id,
            "made": rfc3339(now),
            "until": rfc3339(until),
            "keyring_generation": store.keyring.generation,
            "audit_size": store.audit.size,
            "files": entries,
        }
        files.write_atomic(target / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
    except OSError as error:
        raise BusyError("the backup cannot be written", hint="check its disk; remove what is there") from error
    size = sum(entry["bytes"] for entry in entries.values())
    public = {"files": len(entries), "bytes": size, "until": rfc3339(until)}
    store.log(AuditEntry("backup.made", public, None))
    return BackedUp(target, len(entries), size, partitions, records, until)


def restore(
    directory: Path,
    root: Path,
    *,
    keyring: Path,
    clock: Clock,
    passphrase: bytes | None = None,
    roots: RootProvider | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Join a backup with the keyring that counts now, in a new root.

    Args:
        directory: the backup.
        root: a missing or empty folder.
        keyring: a home of the current keyring: a replica, or the old root.
        clock: the time.
        passphrase: of the root key.
        roots: the provider of root keys; by default what the keyring's home says.
        progress: told bytes done and in all.

    Raises:
        ConfigurationError: the root is not empty, the backup's life is over, or keyring and backup are not one store's.
        IntegrityError: the backup has no manifest, or a file is missing or was changed. Nothing is restored.
    """
    manifest = _read_manifest(directory)
    now = datetime.fromtimestamp(clock.now_us() / 1_000_000, UTC)
    if manifest["until"] < rfc3339(now):
        raise ConfigurationError(
            "the backup's life is over", hint=f"backups live {LIFE_DAYS} days; destroy it, and use a newer one"
        )
    layout = Layout(root.absolute())
    _refuse_content(layout.root)
    _refuse_keyring(keyring.absolute(), manifest["store_id"])
    try:
        size = _copy_back(directory, manifest, layout.root, progress or (lambda _done, _total: None))
    except OSError as error:
        raise BusyError("the store cannot be written", hint="check its disk; remove what is there") from error
    ring = Keyring.restore(layout.root, keyring.absolute(), passphrase, roots=roots)
    if ring.store_id != manifest["store_id"]:
        raise ConfigurationError("the keyring belongs to another store than the backup")
    erased, lost = _forget_erased(layout, ring)
    from store.store import Store

    with Store.open(layout.root, clock=clock, passphrase=passphrase) as store:
        store.holds.end_destroyed()
        live = store.partitions()
        public = {
            "made": manifest["made"],
            "erased_since": [str(key) for key in erased],
            "lost": [item.as_dict() for item in lost],
        }
        store.log(AuditEntry(RESTORED, public, None))
        return Restored(
            layout.root,
            len(manifest["files"]),
            size,
            manifest["made"],
            len(live),
            sum(item.records for item in live),
            tuple(erased),
            tuple(lost),
        )


def _refuse_place(store: Store, target: Path) -> None:
    """Refuse a folder in the store, or in a replica of its keyring: backup and keys together are the store."""
    place = target.resolve()
    within = (place, *place.parents)
    if store.root.resolve() in within:
        raise ConfigurationError("a backup must lie outside the store", hint="best on another disk or machine")
    if any(Path(replica).resolve() in within for replica in store.keyring.replicas):
        raise ConfigurationError(
            "a backup must lie outside the keyring's replica",
            hint="on other media: together they are the store, and what was erased could be read again",
        )


def _refuse_keyring(home: Path, store_id: str) -> None:
    """Refuse a folder without a keyring, or with another store's, before anything is copied."""
    header = read_header(home)
    if header is not None and header.store_id != store_id:
        raise ConfigurationError("the keyring belongs to another store than the backup")
    try:
        read_pointer(home)
    except NotFoundError:
        raise ConfigurationError(
            f"there is no keyring in {home}", hint="name a replica, as `init --replica` does, or the old root"
        ) from None


def _refuse_content(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationError("the directory is not empty", hint="name a new directory")


def _content(catalog: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as database:
        row = database.execute(
            "SELECT count(*), coalesce(sum(rows), 0) FROM partitions WHERE state = 'live'"
        ).fetchone()
    return int(row[0]), int(row[1])


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT or not isinstance(manifest["files"], dict):
            raise ValueError("another format")
        for name in ("store_id", "made", "until"):
            if not isinstance(manifest[name], str):
                raise TypeError(name)
    except FileNotFoundError as error:
        raise IntegrityError("there is no manifest: that is no finished backup") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError("the backup's manifest cannot be read") from error
    return dict(manifest)


def _copy_back(directory: Path, manifest: dict[str, Any], root: Path, progress: Progress) -> int:
    data = (directory / DATA).resolve()
    total = sum(int(entry["bytes"]) for entry in manifest["files"].values())
    for name, entry in manifest["files"].items():  # everything is looked at before anything is made
        source = data / name
        if data not in source.resolve().parents:
            raise IntegrityError("the backup's manifest names a file outside of it")
        if not source.is_file() or (source.stat().st_size, parquet.digest(source)) != (entry["bytes"], entry["sha256"]):
            raise IntegrityError(f"the backup's file {name} is missing or was changed")
    files.make_dir(root)
    done, made = 0, {root}
    for name, entry in manifest["files"].items():
        for folder in reversed((root / name).parents):
            if folder not in made and root in folder.parents:
                files.make_dir(folder)
                made.add(folder)
        files.copy_durable(data / name, root / name)
        done += entry["bytes"]
        progress(done, total)
    for folder in sorted(made):
        files.fsync_dir(folder)
    return total


def _forget_erased(layout: Layout, ring: Keyring) -> tuple[list[PartitionKey], list[Lost]]:
    """Take partitions for erased whose key is gone; remove what the keyring no longer opens. Return the partitions.

    One that was written anew since has a generation in the keyring that the backup does not know: it is made, empty, so
    that its day can be delivered again.
    """
    erased, lost = [], []
    with closing(sqlite3.connect(layout.catalog, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        rows = database.execute(
            "SELECT partition_id, end_date, retention_class, key_domain, location_state, rows FROM partitions "
            "WHERE state <> 'dropped'"
        ).fetchall()
        for partition_id, day, retention_class, domain, location, records in rows:
            key = PartitionKey(datetime.fromisoformat(day).date(), retention_class, domain)
            if ring.has(key.ref):
                if location in ("live", "dropping") and not ring.has(key.location.ref):
                    erased.append(key.location)
                    siblings.forget(database.execute, key)
                continue
            erased += [key, key.location] if location == "dropping" else [key]
            for table in ("retired", "parts"):
                if table == "parts":
                    database.execute(
                        "DELETE FROM part_batches WHERE part_id IN (SELECT part_id FROM parts WHERE partition_id = ?)",
                        (partition_id,),
                    )
                database.execute(f"DELETE FROM {table} WHERE partition_id = ?", (partition_id,))  # noqa: S608
            database.execute(
                "UPDATE partitions SET state = 'dropped', location_state = "
                "CASE WHEN location_state <> 'live' THEN 'dropped' END WHERE partition_id = ?",
                (partition_id,),
            )
            generations = _generations_since(ring, key)
            for after in generations:
                state = "live" if after == generations[-1] else "dropped"
                database.execute(
                    "INSERT OR IGNORE INTO partitions (end_date, retention_class, key_domain, state) "
                    "VALUES (?, ?, ?, ?)",
                    (day, retention_class, after.key_domain, state),
                )
            if generations:
                erased += generations[:-1]
                lost.append(Lost(key, generations[-1], records))
        for table in ("quarantine", "sessions", "logins"):
            for (ref,) in database.execute(f"SELECT DISTINCT key_ref FROM {table}").fetchall():  # noqa: S608
                if not ring.has(KeyRef.parse(ref)):
                    database.execute(f"DELETE FROM {table} WHERE key_ref = ?", (ref,))  # noqa: S608
        database.execute("COMMIT")
    for key in erased:
        for path in sorted(layout.partition(key).glob(f"*{LOCATION_SUFFIX}" if key.category else "*")):
            files.unlink_durable(path, missing_ok=True)
    return erased, lost


def _generations_since(ring: Keyring, key: PartitionKey) -> list[PartitionKey]:
    """Return the generations that followed a partition, up to the one whose key the keyring has, if it has any."""
    found = []
    for _ in range(GENERATIONS_MAX):
        key = successor(key)
        found.append(key)
        if ring.has(key.ref):
            return found
    return []
