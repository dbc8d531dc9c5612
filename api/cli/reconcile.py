"""`lagrum reconcile`: delivered = stored + duplicates + conflicts + rejects, per source, transport and hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import click

from api.cli.context import Context
from api.cli.output import console, emit, make_table, note, show_table
from store.clock import to_datetime

if TYPE_CHECKING:
    from store import Store

FOLDER: Final = ("waiting_files", "failed_files", "missing_files")
QUEUE: Final = ("waiting", "unacknowledged", "dropped", "redelivered", "refused")
SUMS: Final = ("delivered", "stored", "duplicates", "conflicts", "rejects")
COLUMNS: Final = ("source", "transport", "hour", "delivered", "stored", "duplicates", "conflicts", "rejects")


@click.command("reconcile")
@click.option("--source", metavar="NAME", help="This source only.")
@click.pass_obj
def reconcile(context: Context, source: str | None) -> int:
    """Compare what was delivered with what is stored, per source, transport and hour of delivery.

    All roads count: file, folder (`watch`), http, queue (`consume`) and udp (listeners). `transports` adds each up, and
    tells its gaps: numbers of files, or of a queue's messages, that never came. What lies in a drop folder and is not
    taken in yet, or could not be read, is told besides, and so is how far behind a queue's consumer is.

    Every delivered event is stored, a duplicate, a conflict or a reject. Compare the column `delivered` with what the
    switch says that it wrote: that is how a lost file shows.

    \b
    Examples:
      lagrum reconcile
      lagrum reconcile --source pbx1

    \b
    Exit codes:
      0  all rows add up
      1  a row does not add up
    """
    with context.open_store() as store:
        rows = [as_row(found) for found in store.reconcile(source)]
        folders = [state for state in watched(store) if source in (None, state["source"])]
        queues = [state for state in consumed(store) if source in (None, state["source"])]
    unbalanced = sum(not row["balanced"] for row in rows)
    transports = added_up(rows, folders, queues)
    document = {"ok": unbalanced == 0, "rows": rows, "transports": transports, "watch": folders, "queues": queues}
    emit(context, document, lambda: _show(rows, transports, folders, queues))
    if unbalanced:
        note(f"error: {unbalanced} of {len(rows)} rows do not add up; run `lagrum verify`")
    return 1 if unbalanced else 0


def register(group: click.Group) -> None:
    """Add `reconcile`."""
    group.add_command(reconcile)


def watched(store: Store) -> list[dict[str, Any]]:
    """Return what lies in the drop folders, per source that has one."""
    from ingest.silence import WATCH_KIND, states

    names = {document.id for document in store.documents.list(WATCH_KIND)}
    shown = ("source", *FOLDER)
    return [{name: state.as_dict()[name] for name in shown} for state in states(store) if state.source in names]


def consumed(store: Store) -> list[dict[str, Any]]:
    """Return how far behind the consumers of queues are, per source that has one."""
    from ingest.consumer import KIND

    documents = store.documents.list(KIND)
    return [{"source": one.id, **{name: one.body.get(name, 0) for name in QUEUE}} for one in documents]


def added_up(
    rows: Sequence[Mapping[str, Any]], folders: Sequence[Mapping[str, Any]], queues: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the sums per source and transport, with the gaps of those whose deliveries have numbers."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        one = sums.setdefault((row["source"], row["transport"]), dict.fromkeys(SUMS, 0))
        for name in SUMS:
            one[name] += row[name]
    gaps = {("folder", state["source"]): state["missing_files"] for state in folders}
    gaps |= {("queue", state["source"]): state["dropped"] for state in queues}
    for transport, source in gaps:
        sums.setdefault((source, transport), dict.fromkeys(SUMS, 0))
    return [
        {"source": source, "transport": transport, **counts, "gaps": gaps.get((transport, source))}
        for (source, transport), counts in sorted(sums.items())
    ]


def _show(
    rows: list[dict[str, Any]],
    transports: list[dict[str, Any]],
    folders: list[dict[str, Any]],
    queues: list[dict[str, Any]],
) -> None:
    _show_hours(rows)
    names = ("source",)
    columns = [(name, name) for name in ("source", "transport", *SUMS, "gaps")]
    show_table(transports, columns, title="transports", whole=names)
    if folders:
        columns = [(name, name.replace("_", " ")) for name in ("source", *FOLDER)]
        show_table(folders, columns, title="drop folders", whole=names)
    if queues:
        show_table(queues, [(name, name) for name in ("source", *QUEUE)], title="queues", whole=names)


def _show_hours(rows: list[dict[str, Any]]) -> None:
    """Show the rows: in one table, or, where names are too long for that, in one of each source and transport."""
    # As narrow as 80 columns need: an hour breaks after its date.
    lines = [{**row, "hour": row["hour"].replace("T", " ")} for row in rows]
    columns = [*((name, name) for name in COLUMNS), ("balanced", "adds up")]
    if not lines or make_table(lines, columns, console().width, whole=("source",)) is not None:
        show_table(lines, columns, whole=("source",))
        return
    for one, own in groupby(sorted(lines, key=_road), _road):
        click.echo(", ".join(one))
        show_table(own, columns[2:])


def _road(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["source"], row["transport"]


def as_row(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row of the store's reconciliation, with its verdict."""
    hour = to_datetime(found["hour_us"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    row = {name: hour if name == "hour" else found[name] for name in COLUMNS}
    row["balanced"] = row["delivered"] == row["stored"] + row["duplicates"] + row["conflicts"] + row["rejects"]
    return row
