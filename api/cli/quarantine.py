"""`lagrum quarantine`: rejected records, why, and their second chance."""

from __future__ import annotations

from typing import Any

import click

from api.cli.context import Context
from api.cli.output import counted, emit, note, show_facts, show_table
from store.clock import to_text


@click.group("quarantine")
def quarantine() -> None:
    """List, show and replay rejected records.

    A rejected record is kept encrypted, without its content, until the floor of its day of arrival. What is shown here
    is position, reason and field: never a value.

    \b
    Example:
      lagrum quarantine list
      lagrum quarantine show 3
      lagrum quarantine replay 17
    """


@quarantine.command("list")
@click.option("--batch", type=int, metavar="ID", help="Of this batch only.")
@click.pass_obj
def list_entries(context: Context, batch: int | None) -> None:
    """List what is in the quarantine, oldest first; an entry holds up to 500 rejects of one batch.

    \b
    Example:
      lagrum quarantine list
    """
    with context.open_store() as store:
        rows = [
            {
                "id": entry.quarantine_id,
                "batch_id": entry.batch_id,
                "source": entry.source,
                "format": entry.format,
                "received": to_text(entry.received_us),
                "rejects": entry.rejects,
                "replayed": entry.replayed_us is not None,
            }
            for entry in store.quarantine_entries(batch)
        ]
    document = {"rejects": sum(row["rejects"] for row in rows if isinstance(row["rejects"], int)), "entries": rows}
    names = ("id", "batch_id", "source", "format", "received", "rejects", "replayed")
    emit(context, document, lambda: show_table(rows, [(name, name.replace("_", " ")) for name in names]))


@quarantine.command("show")
@click.argument("quarantine_id", type=int, metavar="ID")
@click.pass_obj
def show(context: Context, quarantine_id: int) -> None:
    """Show the rejects of one entry: position in the delivery, reason, field, size.

    \b
    Example:
      lagrum quarantine show 3
    """
    from store.quarantine import rejects

    with context.open_store() as store:
        rows: list[dict[str, Any]] = [
            {
                "position": reject.position,
                "reason": reject.reason.value,
                "field": reject.field,
                "offset": reject.offset,
                "length_bytes": reject.length_bytes if reject.raw is None else len(reject.raw),
                "replayable": reject.raw is not None,
            }
            for reject in rejects(store, quarantine_id)
        ]
    columns = [(name, name.replace("_", " ")) for name in rows[0]] if rows else []
    emit(context, {"id": quarantine_id, "rejects": rows}, lambda: show_table(rows, columns))


@quarantine.command("replay")
@click.argument("batch_id", type=int, metavar="BATCH")
@click.pass_obj
def replay(context: Context, batch_id: int) -> int:
    """Deliver the rejected records of a batch again, with the source's settings of today.

    Mend the source first (`lagrum sources`). Records that are refused again come back to the quarantine.

    \b
    Example:
      lagrum quarantine replay 17

    \b
    Exit codes:
      0  every record was taken in
      1  a record was rejected again, or nothing of the batch waits
    """
    from ingest.quarantine import replay_batch

    with context.open_store() as store:
        receipt = replay_batch(store, batch_id)
    document = receipt.as_dict()
    emit(context, document, lambda: show_facts(document))
    if receipt.rejected:
        refused = counted(receipt.rejected, "record")
        note(f"{refused} rejected again, and in the quarantine under batch {receipt.batch_id}")
    return 1 if receipt.rejected else 0


def register(group: click.Group) -> None:
    """Add `quarantine`."""
    group.add_command(quarantine)
