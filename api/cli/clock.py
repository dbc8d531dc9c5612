"""`lagrum retention clock`: when the clock is not trusted, two custodians confirm it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.acting import FILE, Way, acting
from api.cli.countersigning import Look, look, seen
from api.cli.output import emit, note, show_facts

if TYPE_CHECKING:
    from api.client import Client


@click.command("clock")
@click.option("--reason", help="Why the clock is right; for auditors only. Requests the confirmation.")
@click.option("--confirm", "confirms", is_flag=True, help="Confirm what another custodian requested.")
@click.option("--second", type=FILE, metavar="KEYFILE", help="Key file of the second custodian; confirms at once.")
@acting
def clock(way: Way, reason: str | None, confirms: bool, second: Path | None) -> None:
    """Show whether the clock is trusted; request and confirm that it is right.

    First mend the clock, if it is wrong. Where it is right and cannot prove it, after weeks without power say, two
    custodians confirm the instant that the service shows. They see how many partitions end by it: those will be erased
    and cannot be brought back. Nothing beyond that instant is believed.

    \b
    Examples:
      lagrum retention clock --as custodian-1.key.json
      lagrum retention clock --reason "three weeks without power" --as custodian-1.key.json
      lagrum retention clock --confirm --as custodian-2.key.json
    """
    if confirms and reason is not None:
        raise click.UsageError("give --reason to request, or --confirm to confirm; not both")
    with way.open() as client:
        shown: dict[str, Any] = client.get("/v1/clock")
        if reason is not None:
            shown = _request(client, shown, reason)
        elif confirms:
            shown = _confirm(client, shown, look)
    if second is not None and reason is not None:
        with way.open(second) as other:
            shown = _confirm(other, shown)
    emit(way.context, shown, lambda: show_facts(shown))


def _request(client: Client, shown: dict[str, Any], reason: str) -> dict[str, Any]:
    from api.custody import clock as procedure

    seen_us, due = int(shown["clock_us"]), int(shown["due"])
    note(f"the service's clock shows {shown['clock']}; {due} partitions end by it")
    digest = procedure.digest(client.store_id, seen_us, due, reason)
    approval = client.approve(action=procedure.REQUEST, case=str(seen_us), digest=digest)
    body = {"seen_us": seen_us, "due": due, "reason": reason, "approval": approval}
    answer: dict[str, Any] = client.post("/v1/clock/confirmation", body)
    return answer


def _confirm(client: Client, shown: dict[str, Any], eyes: Look = seen) -> dict[str, Any]:
    from api.custody import clock as procedure

    pending = shown["pending"]
    if pending is None:
        raise click.UsageError("no confirmation of the clock is requested")
    note(f"requested is {pending['seen']}; {pending['due']} partitions end by it")
    eyes({"service's clock": shown["clock"], **{name: pending.get(name) for name in ("seen", "due", "reason", "by")}})
    digest = procedure.digest(client.store_id, pending["seen_us"], pending["due"], pending["reason"])
    approval = client.approve(action=procedure.CONFIRM, case=str(pending["seen_us"]), digest=digest)
    answer: dict[str, Any] = client.post("/v1/clock/confirmation/confirm", {"approval": approval})
    return answer
