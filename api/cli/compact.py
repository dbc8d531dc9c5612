"""`lagrum compact`: small parts of the partitions become few sorted ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from api.cli.context import Context
from api.cli.days import Day
from api.cli.memory import keep_freed_memory, loading, undisturbed
from api.cli.output import emit, show_table

SUMS = ("partitions", "merged", "parts", "rows", "bytes_read", "bytes_written", "without_room")
STATES = ("retired", "write_amplification")


@click.command("compact")
@click.option("--all", "everything", is_flag=True, help="Merge all that fits together, not only parts of like size.")
@click.option("--date", "day", metavar="DATE", type=Day(), help="Partitions of this day only.")
@click.option("--for-service", is_flag=True, hidden=True)
@click.pass_obj
def compact(context: Context, everything: bool, day: datetime | None, for_service: bool) -> int:
    """Merge small parts of the partitions into few sorted ones.

    Every delivery leaves a part in each partition that it touches. Many small ones make searches and deliveries slow;
    `serve` merges them by itself. Records stay the same, readers and deliveries go on meanwhile, and what is withdrawn
    stays hidden. A partition that is being erased is left alone.

    The answer says how many parts were merged, what they became, and how many wait for a reader to finish before their
    files go; how many were left as they are because the disk has no room for a merge; and how many bytes were written,
    since the store began, for each byte of deliveries that was merged.

    \b
    Examples:
      lagrum compact
      lagrum compact --all --date 2026-11-01

    \b
    Exit codes:
      0  done
      1  another process compacts, a part does not authenticate, or the disk has
         no room for a merge
    """
    if for_service:
        from api.cli.merge_worker import run_for_service

        return run_for_service(context, everything=everything)
    with loading():
        keep_freed_memory()
    document: dict[str, Any] = dict.fromkeys(SUMS, 0)
    with context.open_store() as store, undisturbed():
        keys = [None] if day is None else [item.key for item in store.partitions() if item.date == day.date()]
        for key in keys:
            done = store.compact(everything=everything, partition=key).as_dict()
            document = {name: document[name] + done[name] for name in SUMS} | {name: done[name] for name in STATES}
    emit(context, document, lambda: show_table([document], [(name, name.replace("_", " ")) for name in document]))
    return 1 if document["without_room"] else 0


def register(group: click.Group) -> None:
    """Add `compact`."""
    group.add_command(compact)
