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
    """Show and replicate the keyring.

    Losing every copy of the current keyring loses the store. A replica is a folder on other media that the store brings
    up to date before it acknowledges a delivery that needs a new key; it is never part of a data backup, or erasure
    would leave a copy behind.
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
      0  at least one replica is registered
      1  the keyring has a single copy
    """
    with context.open_store() as store:
        ring = store.keyring
        document: dict[str, Any] = {
            "generation": ring.generation,
            "keys": dict(sorted(Counter(ref.kind for ref in ring.refs()).items())),
            "replicas": [str(path) for path in ring.replicas],
        }
    emit(context, document, lambda: show_facts(document))
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
    with context.open_store() as store:
        store.keyring.add_replica(directory.resolve())
        document = {"generation": store.keyring.generation, "replicas": [str(path) for path in store.keyring.replicas]}
    emit(context, document, lambda: show_facts(document))


def register(group: click.Group) -> None:
    """Add `keys`."""
    group.add_command(keys)
