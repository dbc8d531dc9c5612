"""`lagrum status`: the store and its partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from api.cli.context import Context
from api.cli.output import Row, bytes_text, counted, emit, show_facts, show_table
from schemas.retention import SHARED_DOMAIN


@click.command("status")
@click.pass_obj
def status(context: Context) -> None:
    """Show the store and its partitions.

    A partition holds the records whose communication ended on one UTC date, under one retention class and one key
    domain. Nothing removes a record before `floor until`; from `expires at` on, reads refuse it and its key is
    destroyed. Both instants begin the day at midnight UTC.

    \b
    Examples:
      lagrum status
      lagrum --json status
    """
    with context.open_store() as store:
        store.spool.drain()
        rows = [partition.as_dict() for partition in store.partitions()]
        document: dict[str, Any] = {
            "store_id": store.store_id,
            "root": str(store.root),
            "records": sum(row["records"] for row in rows),
            "bytes": sum(row["bytes"] for row in rows),
            "keyring_generation": store.keyring.generation,
            "replicas": len(store.keyring.replicas),
            "audit_entries": store.audit.size,
            "partitions": rows,
        }
    emit(context, document, lambda: _show(document))


def register(group: click.Group) -> None:
    """Add `status`."""
    group.add_command(status)


def _show(document: dict[str, Any]) -> None:
    show_facts(
        {
            "store": document["store_id"],
            "records": document["records"],
            "size": bytes_text(document["bytes"]),
            "keyring": f"generation {document['keyring_generation']}, {counted(document['replicas'], 'replica')}",
            "audit log": counted(document["audit_entries"], "entry", "entries"),
        }
    )
    rows = [
        {
            **row,
            "bytes": bytes_text(row["bytes"]),
            "floor_until": row["floor_until"][:10],
            "expires_at": row["expires_at"][:10],
        }
        for row in document["partitions"]
    ]
    show_table(rows, _columns(rows), title="partitions")


def _columns(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return what is shown of partitions; the key domain where not all share one."""
    own = any(row["domain"] != SHARED_DOMAIN for row in rows)
    return [
        ("date", "date"),
        ("class", "class"),
        *([("domain", "domain")] if own else []),
        ("records", "records"),
        ("parts", "parts"),
        ("bytes", "size"),
        ("sealed", "sealed"),
        ("floor_until", "floor until"),
        ("expires_at", "expires at"),
        ("holds", "holds"),
    ]
