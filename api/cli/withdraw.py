"""`lagrum withdraw`: a batch that was read wrongly; two custodians."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.acting import FILE, Way, acting
from api.cli.countersigning import Look, look, seen
from api.cli.output import emit, note, show_facts

if TYPE_CHECKING:
    from api.client import Client


@click.command("withdraw")
@click.argument("batch_id", type=click.IntRange(min=1), metavar="BATCH")
@click.option("--reason", help="Why; for auditors only. Requests the withdrawal.")
@click.option("--confirm", "confirms", is_flag=True, help="Confirm what another custodian requested.")
@click.option("--second", type=FILE, metavar="KEYFILE", help="Key file of the second custodian; confirms at once.")
@acting
def withdraw(way: Way, batch_id: int, reason: str | None, confirms: bool, second: Path | None) -> None:
    """Withdraw a batch that was read wrongly, so that it can be delivered again.

    Stored records are never edited. A withdrawn batch is hidden from every read, and its records no longer count as
    duplicates: mend the source's settings, then deliver the file once more. The batch's number stands in its receipt.
    What later batches dropped as duplicates of it is not kept: the answer names the batches to deliver again, too.
    Withdrawing takes two custodians and goes through the running service.

    \b
    Examples:
      lagrum withdraw 17 --reason "read in the wrong time zone" --as custodian-1.key.json
      lagrum withdraw 17 --confirm --as custodian-2.key.json
    """
    if confirms == (reason is not None):
        raise click.UsageError("give --reason to request a withdrawal, or --confirm to confirm one")
    with way.open() as client:
        shown = _confirm(client, batch_id, look) if reason is None else _request(client, batch_id, reason)
    if second is not None and reason is not None:
        with way.open(second) as other:
            shown = _confirm(other, batch_id)
    later = shown["later_duplicates"]
    facts = {name.replace("_", " "): value for name, value in shown.items() if value is not later}
    emit(way.context, shown, lambda: show_facts(facts))
    if later["batches"]:
        numbers = ", ".join(map(str, later["deliver_again"][:20]))
        note(
            f"{later['batches']} later batches dropped up to {later['records_max']} records as duplicates, of this "
            f"batch or of others; what was dropped is not kept: deliver them again ({numbers})"
        )


def register(group: click.Group) -> None:
    """Add `withdraw`."""
    group.add_command(withdraw)


def _request(client: Client, batch_id: int, reason: str) -> dict[str, Any]:
    from api.custody import corrections

    digest = corrections.digest(client.store_id, batch_id, reason)
    approval = client.approve(action=corrections.REQUEST, case=str(batch_id), digest=digest)
    shown: dict[str, Any] = client.post(f"/v1/batches/{batch_id}/withdrawal", {"reason": reason, "approval": approval})
    return shown


def _confirm(client: Client, batch_id: int, eyes: Look = seen) -> dict[str, Any]:
    from api.custody import corrections

    requested: dict[str, Any] = client.get(f"/v1/batches/{batch_id}/withdrawal")
    eyes(requested)
    digest = corrections.digest(client.store_id, batch_id, requested["reason"])
    approval = client.approve(action=corrections.CONFIRM, case=str(batch_id), digest=digest)
    shown: dict[str, Any] = client.post(f"/v1/batches/{batch_id}/withdrawal/confirm", {"approval": approval})
    return shown
