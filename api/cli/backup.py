"""`lagrum backup` and `lagrum restore`: everything but the keys, and the way back."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.context import Context, passphrase
from api.cli.output import emit, note, progress, show_facts


@click.command("backup")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.pass_obj
def backup(context: Context, directory: Path) -> int:
    """Copy a consistent state of the store, encrypted as it lies there, into the new folder DIR.

    The service may run meanwhile. Keys are not in a backup: the keyring has replicas of its own, kept apart (`lagrum
    keys replicate`). What is erased from the store later cannot be read in the backup either. A backup lives 90 days;
    `restore` refuses an older one, and its keeper destroys it.

    \b
    Examples:
      lagrum backup /mnt/backup/2026-11-22
      lagrum --json backup /mnt/backup/2026-11-22

    \b
    Exit codes:
      0  done; the manifest is written last, so a folder without one is no backup
      1  the disk does not take it
      2  DIR is not empty, or lies in the store
    """
    from store.backup import backup as make

    with context.open_store() as store, progress("copying", None) as bar:
        made = make(store, directory, bar.reach)
    emit(context, made.as_dict(), lambda: show_facts(made.as_dict()))
    return 0


@click.command("restore")
@click.argument("directory", metavar="BACKUP", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("root", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--keyring",
    required=True,
    metavar="HOME",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the current keyring lies: one of its replicas, or the old root.",
)
@click.pass_obj
def restore(context: Context, directory: Path, root: Path, keyring: Path) -> int:
    """Make a store in the new folder DIR from BACKUP and the keyring that counts now.

    Every file is compared with the manifest before anything is written. Partitions that were erased after the backup
    was made stay erased: their keys are gone, and the answer names them. Of a day of which single records or a service
    were erased since, the backup's other records lie under a destroyed key, too: the answer names day and number, and
    `verify` does until the day is delivered again. So is what came after the backup. Register the keyring's replicas
    again afterwards, and compare the audit log with the last checkpoint that a witness holds: it ends where the backup
    was made.

    \b
    Examples:
      lagrum restore /mnt/backup/2026-11-22 /srv/lagrum --keyring /mnt/keys/lagrum
      lagrum --json restore /mnt/backup/2026-11-22 /srv/drill --keyring /mnt/keys/lagrum

    \b
    Exit codes:
      0  done
      1  the backup is not whole, or was changed
      2  DIR is not empty, the backup too old, or the keyring another store's
    """
    from store.backup import restore as bring_back

    with progress("restoring", None) as bar:
        done = bring_back(
            directory,
            root,
            keyring=keyring,
            clock=context.clock,
            passphrase=passphrase(keyring),
            progress=bar.reach,
        )
    facts = done.as_dict()
    emit(context, facts, lambda: show_facts(facts))
    if done.erased_since:
        note(f"{len(done.erased_since)} partitions were erased since; they stay erased")
    for item in done.lost:
        day = item.partition.end_date.isoformat()
        note(f"MISSING: {item.records:,} records of {day}, of which some were erased since. Deliver that day again.")
    return 0


def register(group: click.Group) -> None:
    """Add `backup` and `restore`."""
    group.add_command(backup)
    group.add_command(restore)
