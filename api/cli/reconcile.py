"""`lagrum reconcile`: delivered = stored + duplicates + conflicts + rejects, per source and hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from api.cli.context import Context
from api.cli.output import emit, note, show_table
from store.clock import to_datetime

COLUMNS: Final = ("source", "hour", "delivered", "stored", "duplicates", "conflicts", "rejects")


@click.command("reconcile")
@click.option("--source", metavar="NAME", help="This source only.")
@click.pass_obj
def reconcile(context: Context, source: str | None) -> int:
    """Compare what was delivered with what is stored, per source and hour of delivery.

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
    unbalanced = sum(not row["balanced"] for row in rows)
    document = {"ok": unbalanced == 0, "rows": rows}
    emit(context, document, lambda: show_table(rows, [(name, name) for name in (*COLUMNS, "balanced")]))
    if unbalanced:
        note(f"error: {unbalanced} of {len(rows)} rows do not add up; run `lagrum verify`")
    return 1 if unbalanced else 0


def register(group: click.Group) -> None:
    """Add `reconcile`."""
    group.add_command(reconcile)


def as_row(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row of the store's reconciliation, with its verdict."""
    hour = to_datetime(found["hour_us"]).strftime("%Y-%m-%dT%H:%M:%SZ")
    row = {name: hour if name == "hour" else found[name] for name in COLUMNS}
    row["balanced"] = row["delivered"] == row["stored"] + row["duplicates"] + row["conflicts"] + row["rejects"]
    return row
