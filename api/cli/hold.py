"""`lagrum hold`: single records beyond their partition's end; two custodians."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.acting import FILE, Way, acting
from api.cli.countersigning import Look, look, seen
from api.cli.output import emit, note, show_facts, show_table
from schemas.holds import HOLD_BASES

if TYPE_CHECKING:
    from api.client import Client
    from api.custody.holds import Wish

_BASES = ", ".join(basis.id for basis in HOLD_BASES)
_SECOND = click.option(
    "--second", type=FILE, metavar="KEYFILE", help="Key file of the second custodian; confirms at once."
)


@click.group("hold")
def hold() -> None:
    """Hold single records beyond their partition's end.

    An unpaid invoice or a preservation order keeps what it names; the partition drops all the same. Nothing happens
    before that: then the records move out, under a key of their own, for the purpose of their hold and no other. A
    hold that nobody renews ends by itself; ending it destroys what it held.

    Each change takes two custodians and goes through the running service.

    \b
    Example:
      lagrum hold list --as custodian-1.key.json
      lagrum hold confirm 9f1c2d3e4b5a6978 --as custodian-2.key.json
      lagrum hold release 9f1c2d3e4b5a6978 --reason "the invoice is paid" --as custodian-1.key.json
    """


@hold.command("add")
@click.option("--basis", required=True, metavar="NAME", help=f"The legal basis: {_BASES}.")
@click.option("--reference", required=True, help="Number of the order or the claim.")
@click.option("--owner", required=True, help="Who answers for the hold.")
@click.option("--from", "start", required=True, metavar="DATE", help="First day of the records (UTC).")
@click.option("--to", "end", required=True, metavar="DATE", help="The day after the last.")
@click.option("--ends", required=True, metavar="DATE", help="The day on which the hold ends.")
@click.option("--country", default="SE", show_default=True, help="Country of numbers written nationally.")
@_SECOND
@acting
def add(way: Way, second: Path | None, **words: str) -> None:
    """Request a hold.

    Whom it names is read from the standard input, so that it stands in no process list: one a line, `account NAME` for
    an invoice; `number`, `imsi`, `imei`, `mac` or `ip` and the value for a preservation.

    \b
    Examples:
      echo "number 070-174 06 05" | lagrum hold add --basis preservation --reference "K 4711-26" \\
          --owner "legal desk" --from 2026-01-01 --to 2026-12-01 --ends 2027-02-01 --as custodian-1.key.json
      lagrum hold confirm 9f1c2d3e4b5a6978 --as custodian-2.key.json
    """
    from api.custody import holds

    accounts, targets = _named(sys.stdin.read())
    wish = holds.Wish(act=holds.ADD, accounts=accounts, targets=targets, **words)
    _act(way, holds.new_id(), wish, second)


@hold.command("renew")
@click.argument("hold_id", metavar="HOLD")
@click.option("--ends", required=True, metavar="DATE", help="The new day on which the hold ends.")
@_SECOND
@acting
def renew(way: Way, hold_id: str, ends: str, second: Path | None) -> None:
    """Request a later end of a hold, as far as its basis allows.

    \b
    Example:
      lagrum hold renew 9f1c2d3e4b5a6978 --ends 2027-05-01 --as custodian-1.key.json
    """
    from api.custody import holds

    _act(way, hold_id, holds.Wish(act=holds.RENEW, ends=ends), second)


@hold.command("release")
@click.argument("hold_id", metavar="HOLD")
@click.option("--reason", required=True, help="Why: the invoice is paid, the order was lifted.")
@_SECOND
@acting
def release(way: Way, hold_id: str, reason: str, second: Path | None) -> None:
    """Request the end of a hold; once confirmed, what it held is destroyed.

    \b
    Example:
      lagrum hold release 9f1c2d3e4b5a6978 --reason "the invoice is paid" --as custodian-1.key.json
    """
    from api.custody import holds

    _act(way, hold_id, holds.Wish(act=holds.RELEASE, reason=reason), second)


@hold.command("confirm")
@click.argument("hold_id", metavar="HOLD")
@acting
def confirm(way: Way, hold_id: str) -> None:
    """Confirm what another custodian requested.

    \b
    Example:
      lagrum hold confirm 9f1c2d3e4b5a6978 --as custodian-2.key.json
    """
    with way.open() as client:
        shown = _confirm(client, hold_id, look)
    emit(way.context, shown, lambda: show_facts(shown))


@hold.command("list")
@acting
def show(way: Way) -> None:
    """List the holds, what waits for a second custodian, and what share of the store is held; nobody is named.

    \b
    Example:
      lagrum hold list --as custodian-1.key.json
    """
    with way.open() as client:
        found: dict[str, Any] = client.get("/v1/holds")
    emit(way.context, found, lambda: _show(found))


def register(group: click.Group) -> None:
    """Add `hold`."""
    group.add_command(hold)


def _named(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    accounts, targets = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        kind, _, value = line.strip().partition(" ")
        if not kind:
            continue
        if not value.strip():
            raise click.UsageError(f"line {number} of the standard input is not a kind and a value")
        if kind == "account":
            accounts.append(value.strip())
        else:
            targets.append((kind, value.strip()))
    return tuple(accounts), tuple(targets)


def _act(way: Way, hold_id: str, wish: Wish, second: Path | None) -> None:
    from api.custody import holds

    with way.open() as client:
        digest = holds.digest(client.store_id, hold_id, wish)
        approval = client.approve(action=holds.REQUEST, case=hold_id, digest=digest)
        shown = client.post(f"/v1/holds/{hold_id}/request", {"wish": wish.as_dict(), "approval": approval})
    facts = {"hold": hold_id, "act": shown["wish"]["act"], "by": shown["by"], "time": shown["time"]}
    if second is not None:
        with way.open(second) as other:
            facts = _confirm(other, hold_id)
    emit(way.context, facts, lambda: show_facts(facts))
    if second is None:
        note(f"another custodian confirms: lagrum hold confirm {hold_id} --as KEYFILE")


def _confirm(client: Client, hold_id: str, eyes: Look = seen) -> dict[str, Any]:
    from api.custody import holds

    requested: dict[str, Any] = client.get(f"/v1/holds/{hold_id}/request")
    wish = holds.Wish.from_dict(requested["wish"])
    stands: dict[str, Any] = next((item for item in client.get("/v1/holds")["holds"] if item["hold"] == hold_id), {})
    known = {f"hold's {name}": stands.get(name) for name in ("basis", "reference", "owner", "ends", "records")}
    words = wish.as_dict() | {"targets": [" ".join(target) for target in wish.targets]}
    eyes({"hold": hold_id, "requested_by": requested["by"], "at": requested["time"], **known, **words})
    digest = holds.digest(client.store_id, hold_id, wish)
    approval = client.approve(action=holds.CONFIRM, case=hold_id, digest=digest)
    shown: dict[str, Any] = client.post(f"/v1/holds/{hold_id}/confirm", {"approval": approval})
    return shown


def _show(found: dict[str, Any]) -> None:
    columns = ("hold", "basis", "reference", "owner", "state", "ends", "days_left", "partitions", "records")
    show_table(found["holds"], [(name, name.replace("_", " ")) for name in columns])
    if found["waiting"]:
        show_table(found["waiting"], [("hold", "waits for a second custodian"), ("act", "act"), ("by", "by")])
    click.echo(f"{found['records_held']} records are held, {found['share']:.2%} of what is stored and held.")
    for item in found["holds"]:
        if item["ends_soon"]:
            note(f"warning: hold {item['hold']} ends on {item['ends']}")
