"""Copying one state of a store for a backup: catalog, log, parts and sealed files tell of the same instant.

The catalog and the end of the audit log are taken while nothing goes from one to the other. The log grows on; its copy
is cut at that end, by the checkpoints: what lies behind the last one is cut off when the copy is opened. The key of the
log's epoch, which the next day destroys, comes along under a key that lives as long as the backup.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from store import files, parquet
from store.audit.epochs import kept_for_backup
from store.audit.paths import checkpoints_path, epoch_path, epochs_path, lock_path
from store.layout import Layout
from store.partitions import PartitionKey

if TYPE_CHECKING:
    from store.store import Store

SEALED_FOLDERS: Final = ("spool", "billing", "deliveries", "held")
"""Folders of sealed files that are copied whole when they are there; the spool first, for it changes most."""
Progress = Callable[[int, int], None]


class _Copy:
    """The files copied so far: size and digest of each by its path in the store."""

    def __init__(self, root: Path, target: Path) -> None:
        self._root, self._target = root, target
        self._made: set[Path] = set()
        self.entries: dict[str, dict[str, Any]] = {}

    def add(self, path: Path, bytes_max: int | None = None) -> None:
        """Copy a file; one that is gone by now is left out."""
        name = path.relative_to(self._root)
        if str(name) in self.entries:
            return
        try:
            copied, digest = files.copy_durable(path, self._place(name), bytes_max=bytes_max)
        except FileNotFoundError:  # its partition ended just now: the copied catalog says more than there is
            return
        self.entries[str(name)] = {"bytes": copied, "sha256": digest}

    def write(self, path: Path, content: bytes) -> None:
        """Write what takes a file's place in the copy."""
        name = path.relative_to(self._root)
        files.write_atomic(self._place(name), content)
        self.entries[str(name)] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def _place(self, name: Path) -> Path:
        for folder in reversed((self._target / name).parents):
            if folder not in self._made and self._target in (folder, *folder.parents):
                files.make_dir(folder)
                self._made.add(folder)
        return self._target / name

    def sync(self) -> None:
        """Sync every folder that was made."""
        for folder in sorted(self._made):
            files.fsync_dir(folder)


def copy_state(store: Store, target: Path, until: date, progress: Progress) -> dict[str, dict[str, Any]]:
    """Copy one state of the store; return size and digest of each file by its path in the store."""
    layout, copy = store.layout, _Copy(store.layout.root, target)
    catalog, checkpoints = target / layout.catalog.name, checkpoints_path(layout.audit)
    with store.readers.turns.nothing_goes():
        with store.outbox.resting(), store.audit.resting() as (end, epoch):
            copy_catalog(layout.catalog, catalog)
            copy.add(checkpoints, end)
            copy.write(epoch_path(layout.audit, epoch.number), kept_for_backup(epoch, until, store.keyring))
        plan = [path for name in SEALED_FOLDERS for path in sorted((layout.root / name).rglob("*"))]
        plan += [layout.marker, layout.root / "lagrum.toml", *_part_files(layout, catalog)]
        apart = (lock_path(layout.audit), *epochs_path(layout.audit).iterdir())
        plan += [path for path in sorted(layout.audit.rglob("*")) if path not in apart]
        sizes = {path: path.stat().st_size for path in plan if path.is_file()}
        total, done = sum(sizes.values()), 0
        for path, size in sizes.items():
            copy.add(path)
            done += size
            progress(done, total)
    copy.sync()
    return {
        **copy.entries,
        layout.catalog.name: {"bytes": catalog.stat().st_size, "sha256": parquet.digest(catalog)},
    }


def copy_catalog(source: Path, target: Path) -> None:
    """Copy the catalog as it is at one instant, with SQLite's own means."""
    files.create_private(target)
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")
    files.fsync_path(target)


def _part_files(layout: Layout, catalog: Path) -> Iterator[Path]:
    with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT end_date, retention_class, key_domain, file_id, location_bytes FROM parts "
            "JOIN partitions USING (partition_id) "
            "WHERE state = 'live' ORDER BY end_date, part_id"
        ).fetchall()
    for day, retention_class, domain, file_id, location_bytes in rows:
        key = PartitionKey(datetime.fromisoformat(day).date(), retention_class, domain)
        yield from (layout.part(key, file_id), layout.identities(key, file_id), layout.index(key, file_id))
        if location_bytes:
            yield layout.location(key, file_id)
