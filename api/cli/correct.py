"""`lagrum correct`: single records that are wrong or objected to; two custodians."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.acting import FILE, Way, acting
from api.cli.countersigning import Look, look, seen
from api.cli.output import emit, note, show_facts, show_table

if TYPE_CHECKING:
    from api.client import Client

_SECOND = click.option(
    "--second", type=FILE, metavar="KEYFILE", help="Key file of the second custodian; confirms at once."
)
_REASON = click.option("--reason", required=True, help="Why; for auditors only. Names nobody.")


@click.group("correct")
def correct() -> None:
    """Correct single records: restrict, release, supersede or rectify them, or erase them after the floor.

    Stored records are never edited: a correction is applied when they are read, and ends with them. An erasure removes
    them: their partition is written anew without them, and its old key destroyed. RECORD is
    BATCH:POSITION, the batch as its receipt tells and the position in it, from 1. A whole batch is withdrawn with
    `lagrum withdraw`.

    Each correction takes two custodians and goes through the running service.

    \b
    Example:
      lagrum correct restrict 17:4 --reason "the subscriber objects" --as custodian-1.key.json
      lagrum correct confirm 9f1c2d3e4b5a6978 --as custodian-2.key.json
      lagrum correct list --as custodian-1.key.json
    """


@correct.command("restrict")
@click.argument("record", metavar="RECORD")
@_REASON
@_SECOND
@acting
def restrict(way: Way, record: str, reason: str, second: Path | None) -> None:
    """Leave a record out of every use but disclosures, whose packages say that it is restricted.

    \b
    Example:
      lagrum correct restrict 17:4 --reason "the subscriber objects" --as custodian-1.key.json
    """
    _act(way, "restricted", record, reason, {}, second)


@correct.command("release")
@click.argument("record", metavar="RECORD")
@_REASON
@_SECOND
@acting
def release(way: Way, record: str, reason: str, second: Path | None) -> None:
    """End the restriction of a record: it is used again as before.

    The person who obtained it is told before (Regulation (EU) 2016/679 Art 18(3)); that is for the operator to do.

    \b
    Example:
      lagrum correct release 17:4 --reason "the objection was withdrawn" --as custodian-1.key.json
    """
    _act(way, "released", record, reason, {}, second)


@correct.command("supersede")
@click.argument("record", metavar="RECORD")
@_REASON
@_SECOND
@acting
def supersede(way: Way, record: str, reason: str, second: Path | None) -> None:
    """Leave a record out of every use: another delivery takes its place.

    \b
    Example:
      lagrum correct supersede 17:4 --reason "delivered again under another key" --as custodian-1.key.json
    """
    _act(way, "superseded", record, reason, {}, second)


@correct.command("rectify")
@click.argument("record", metavar="RECORD")
@_REASON
@_SECOND
@acting
def rectify(way: Way, record: str, reason: str, second: Path | None) -> None:
    """Replace fields of a record wherever it is read; a search finds it by the new values.

    The values are read from the standard input, so that they stand in no process list: one JSON object, field to value,
    numbers as the store keeps them (46701740605), null empties a field. What tells which record it is, its service, its
    start and its end cannot be replaced: supersede it and deliver it again.

    \b
    Examples:
      echo '{"called_number": "46701740605"}' | lagrum correct rectify 17:4 --reason "ticket 4711" \\
          --as custodian-1.key.json
      lagrum correct confirm 9f1c2d3e4b5a6978 --as custodian-2.key.json
    """
    try:
        fields = json.loads(sys.stdin.read())
    except ValueError as error:
        raise click.UsageError("the standard input is not a JSON object") from error
    if not isinstance(fields, dict):
        raise click.UsageError("the standard input is not a JSON object")
    _act(way, "rectified", record, reason, fields, second)


@correct.command("erase")
@click.argument("records", metavar="RECORD...", nargs=-1, required=True)
@click.option(
    "--citation", required=True, help="The legal basis; stands in the certificate, in the clear. Names nobody."
)
@_REASON
@_SECOND
@acting
def erase(way: Way, records: tuple[str, ...], citation: str, reason: str, second: Path | None) -> None:
    """Erase records for good, after the floor of six months; all of one day and retention class.

    Refused below the floor, and while a hold names one of them. Nothing about them is kept, not even what would tell
    them if they came again: stop their source from delivering them. Backups made before do not bring back the other
    records of that day: make a new one. The certificate: `lagrum retention certificate show PARTITION`.

    \b
    Example:
      lagrum correct erase 17:4 17:9 --citation "Regulation (EU) 2016/679 Art 17(1)(d)" --reason "ticket 4711" \\
          --as custodian-1.key.json
    """
    fields = {"citation": citation, **({"also": ",".join(records[1:])} if records[1:] else {})}
    _act(way, "erased", records[0], reason, fields, second)


@correct.command("confirm")
@click.argument("correction", metavar="CORRECTION")
@acting
def confirm(way: Way, correction: str) -> None:
    """Confirm what another custodian requested.

    \b
    Example:
      lagrum correct confirm 9f1c2d3e4b5a6978 --as custodian-2.key.json
    """
    with way.open() as client:
        shown = _confirm(client, correction, look)
    _tell(way, shown)


@correct.command("list")
@acting
def show(way: Way) -> None:
    """List corrections, requested ones too; values and reasons are not shown.

    \b
    Example:
      lagrum correct list --as custodian-1.key.json
    """
    with way.open() as client:
        found: dict[str, Any] = client.get("/v1/corrections")
    columns = ("correction", "kind", "state", "batch_id", "position", "by", "confirmed_by")
    headings = [(name, name.replace("_", " ")) for name in columns]
    emit(way.context, found, lambda: show_table(found["corrections"], headings))


def register(group: click.Group) -> None:
    """Add `correct`."""
    group.add_command(correct)


def _act(way: Way, kind: str, record: str, reason: str, fields: dict[str, Any], second: Path | None) -> None:
    from api.custody import record_corrections as procedure

    batch, _, position = record.partition(":")
    if not (batch.isdecimal() and position.isdecimal()):
        raise click.UsageError("a record is BATCH:POSITION")
    act = procedure.new_id()
    wish = procedure.Wish(kind, int(batch), int(position), reason, procedure.new_salt(), fields)
    with way.open() as client:
        digest = wish.digest(client.store_id, act)
        approval = client.approve(action=procedure.REQUEST, case=act, digest=digest)
        shown = client.post(f"/v1/corrections/{act}/request", {**wish.as_dict(), "approval": approval})
    if second is not None:
        with way.open(second) as other:
            shown = _confirm(other, act)
    _tell(way, shown)
    if second is None:
        note(f"another custodian confirms: lagrum correct confirm {act} --as KEYFILE")


def _confirm(client: Client, act: str, eyes: Look = seen) -> dict[str, Any]:
    from api.custody import record_corrections as procedure

    requested: dict[str, Any] = client.get(f"/v1/corrections/{act}")
    wish = procedure.Wish.from_dict(requested)
    eyes({name: value for name, value in requested.items() if name != "salt"})
    approval = client.approve(action=procedure.CONFIRM, case=act, digest=wish.digest(client.store_id, act))
    shown: dict[str, Any] = client.post(f"/v1/corrections/{act}/confirm", {"approval": approval})
    return shown


def _tell(way: Way, shown: dict[str, Any]) -> None:
    """Show what was done; the values stay between the two custodians and the store."""
    told = {name: value for name, value in shown.items() if name not in ("fields", "salt")}
    emit(way.context, told, lambda: show_facts(told))
