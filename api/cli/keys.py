"""`lagrum keys`: the keyring and its copies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from api.cli.context import Context
from api.cli.output import emit, note, show_facts


@click.group("keys")
def keys() -> None:
    """Show, rotate and replicate the keyring, and forget a replica.

    Losing every copy of the current keyring loses the store. A replica is a folder on other media that the store brings
    up to date before it acknowledges a delivery that needs a new key; it is never part of a data backup, or erasure
    would leave a copy behind.

    \b
    Example:
      lagrum keys status
      lagrum keys replicate /mnt/keys/lagrum
      lagrum keys forget /mnt/old/lagrum
    """


@keys.command("status")
@click.pass_obj
def status(context: Context) -> int:
    """Show the keyring's generation, its keys by kind, and its replicas.

    \b
    Example:
      lagrum keys status

    \b
    Exit codes:
      0  at least one replica is registered, and all are current
      1  the keyring has a single copy, or a replica is behind
    """
    with context.open_store() as store:
        ring = store.keyring
        document: dict[str, Any] = {
            "generation": ring.generation,
            "keys": dict(sorted(Counter(ref.kind for ref in ring.refs()).items())),
            "replicas": [str(path) for path in ring.replicas],
            "lagging": [str(path) for path in ring.lagging],
        }
    emit(context, document, lambda: show_facts(document))
    if document["lagging"]:
        note("warning: a replica is behind or away; nothing that needs a new key is acknowledged meanwhile")
        return 1
    if not document["replicas"]:
        note("warning: the keyring has a single copy; `lagrum keys replicate DIR` registers another")
        return 1
    return 0


@keys.command("replicate")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.pass_obj
def replicate(context: Context, directory: Path) -> None:
    """Register DIRECTORY as a replica of the keyring, and fill it.

    From now on no delivery that needs a new key is acknowledged before the replica has it, and no key counts as
    destroyed before it is gone from the replica. Choose other media than the store's.

    \b
    Example:
      lagrum keys replicate /mnt/keys/lagrum
    """
    from store import AuditEntry

    with context.open_store() as store:
        store.keyring.add_replica(directory.resolve())
        store.log(AuditEntry("keyring.replicated", {"replicas": len(store.keyring.replicas)}))
        document = {"generation": store.keyring.generation, "replicas": [str(path) for path in store.keyring.replicas]}
    emit(context, document, lambda: show_facts(document))


@keys.command("forget")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.pass_obj
def forget(context: Context, directory: Path) -> int:
    """Erase the replica in DIRECTORY and register it no more.

    Do it with a replica that is lost: while one cannot be reached, nothing that needs a new key is acknowledged and
    nothing is erased. In one that could not be erased a copy of the keys lives on, and the audit log says so: destroy
    the medium. What is erased from the store later could be read with that copy.

    \b
    Example:
      lagrum keys forget /mnt/keys/lagrum

    \b
    Exit codes:
      0  the replica is erased
      1  no such replica is registered; or it is forgotten, not erased
    """
    from store import AuditEntry

    with context.open_store() as store:
        erased = store.keyring.remove_replica(directory.resolve())
        left = store.keyring.replicas
        store.log(AuditEntry("keyring.replica-forgotten", {"erased": erased, "replicas": len(left)}))
        document = {
            "generation": store.keyring.generation,
            "erased": erased,
            "replicas": [str(path) for path in left],
        }
    emit(context, document, lambda: show_facts(document))
    if not left:
        note("warning: the keyring has a single copy; `lagrum keys replicate DIR` registers another")
    if not erased:
        note("warning: the replica could not be erased: a copy of the keys lives on there; destroy the medium")
        return 1
    return 0


@keys.command("rotate")
@click.pass_obj
def rotate(context: Context) -> None:
    """Begin a new generation of the keyring under a new root key, and destroy the old ones.

    The keys of partitions stay what they are; a copy of the old root key and keyring opens nothing that is made after
    it. Do it when somebody left who could read the root key, or when a copy may have.

    \b
    Example:
      lagrum keys rotate
    """
    from store import AuditEntry

    with context.open_store() as store:
        generation = store.keyring.rotate()
        store.log(AuditEntry("keyring.rotated", {"generation": generation}))
    document = {"generation": generation}
    emit(context, document, lambda: show_facts(document))


def register(group: click.Group) -> None:
    """Add `keys`."""
    group.add_command(keys)
