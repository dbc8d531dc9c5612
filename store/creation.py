"""The making of a store, up to its marker; one that was interrupted makes way for another try in the same directory.

The marker is written last, so without it nothing was acknowledged. A directory without marker counts as half made only
when it holds nothing but what the making makes, no part, and a log with no more than its first entry.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from schemas.errors import BusyError, ConfigurationError, LagrumError
from store import files
from store.audit import AuditLog, paths
from store.audit.checkpoint import Checkpoint, parse_note
from store.audit.segments import last_record
from store.catalog import Catalog
from store.clock import Clock
from store.keys import KeyRef, Keyring, RootProvider
from store.layout import Layout
from store.outbox import OUTBOX_REF

IDENTITY_REF: Final = KeyRef("identity", "", "store", "shared")
_CATALOG_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")


def make(
    layout: Layout, clock: Clock, passphrase: bytes | None, replicas: Sequence[Path], roots: RootProvider | None
) -> tuple[str, Keyring, Catalog, AuditLog]:
    """Make keyring, catalog and audit log; return them behind the new store's id.

    Raises:
        ConfigurationError: there is something already.
        BusyError: what an interrupted making left cannot be erased, or where root keys live cannot be reached.
    """
    is_begun = layout.root.exists() and any(layout.root.iterdir())
    if is_begun and not is_unfinished(layout):
        raise ConfigurationError("the directory is not empty", hint="name a new directory for the store")
    if roots is not None:
        roots.reach()  # a mistyped label or address leaves nothing behind
    if is_begun:
        try:
            clear(layout, replicas)
        except BusyError as error:
            # A root key may lie where the interrupted making began, and only whoever made it knows better.
            hint = "it names another token or address than is there; where no key was ever made, remove the folder"
            raise BusyError(f"what an interrupted init left is not erased: {error.message}", hint=hint) from error
    files.make_dir(layout.root)
    for directory in (layout.run, layout.parts):
        files.make_dir(directory)
    store_id = secrets.token_hex(16)
    keyring = Keyring.create(layout.root, store_id=store_id, passphrase=passphrase, replicas=replicas, roots=roots)
    keyring.ensure([IDENTITY_REF, OUTBOX_REF])
    catalog = Catalog.create(layout.catalog, store_id)
    name = f"lagrum/{store_id}"
    audit = AuditLog.create(layout.audit, name=name, store_id=store_id, keyring=keyring, clock=clock)
    return store_id, keyring, catalog, audit


def is_unfinished(layout: Layout) -> bool:
    """Tell whether the root holds what an interrupted making left, and nothing else."""
    made = {layout.run.name, layout.parts.name, layout.audit.name, "keys", "keyring"}
    made |= {layout.catalog.name + suffix for suffix in _CATALOG_SUFFIXES}
    left = {path.name for path in layout.root.iterdir()} - {path.name for path in files.temporaries(layout.root)}
    if not left <= made or (layout.parts.is_dir() and any(layout.parts.iterdir())):
        return False
    try:
        found = last_record(paths.checkpoints_path(layout.audit))
        return found is None or Checkpoint.parse_text(parse_note(found[0]).text).size <= 1
    except FileNotFoundError:
        return True
    except LagrumError:
        return False


def clear(layout: Layout, replicas: Iterable[Path]) -> None:
    """Erase what an interrupted making left, its keys on the replicas too.

    Raises:
        BusyError: the keys cannot be erased.
        OSError: something else cannot.
    """
    Keyring.unmake(layout.root, replicas)
    if layout.audit.is_dir():
        for path in sorted(layout.audit.rglob("*")):
            if path.is_file():
                files.overwrite_and_unlink(path)
    for suffix in _CATALOG_SUFFIXES:
        files.unlink_durable(layout.root / (layout.catalog.name + suffix), missing_ok=True)
    for path in files.temporaries(layout.root):
        files.unlink_durable(path, missing_ok=True)
