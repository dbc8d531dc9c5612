"""`lagrum subject`: a person's request for their own records; a data protection officer and a custodian."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.acting import FILE, Way, acting
from api.cli.countersigning import look
from api.cli.output import emit, note, refuse_existing, show_facts, show_table

if TYPE_CHECKING:
    from api.client import Client

_CHECKS = ("electronic-id", "identity-document", "in-person")


@click.group("subject")
def subject() -> None:
    """Answer a person who asks for their own records.

    A data protection officer files the request, a custodian confirms it, and the answer is made when it is fetched. It
    is the same whether or not an order names the person. Everything goes through the running service.

    \b
    Example:
      lagrum subject request --reference "DSR 12-26" --identity electronic-id --as dpo-1.key.json < identifiers.csv
      lagrum subject confirm 3b9a5e0c7d214f86 --as custodian-1.key.json
      lagrum subject answer 3b9a5e0c7d214f86 --output answer.json --as dpo-1.key.json
    """


@subject.command("request")
@click.option("--reference", required=True, help="Number of the request in the operator's own files.")
@click.option("--identity", "identity", required=True, type=click.Choice(_CHECKS), help="How the identity was checked.")
@click.option("--country", default="SE", show_default=True, help="Country of numbers written nationally.")
@acting
def request(way: Way, reference: str, identity: str, country: str) -> None:
    """File a person's request, as a data protection officer who has checked who asks.

    The person's identifiers are read from the standard input, so that they stand in no process list: one a line,
    kind,value,from,to, with the days (UTC, half-open) on which the person held it; an empty last day is open. The kind
    is number, imsi, mac or ip. Give the IMSI, too: location and equipment leave where it stands in the record.

    \b
    Example:
      lagrum subject request --reference "DSR 12-26" --identity electronic-id --as dpo-1.key.json < identifiers.csv
    """
    from api.custody import subjects

    wish = subjects.Wish(reference, identity, country, subjects.identifiers_of(sys.stdin))
    request_id = subjects.new_id()
    with way.open() as client:
        digest = subjects.digest(client.store_id, request_id, wish)
        approval = client.approve(action=subjects.REQUEST, case=request_id, digest=digest)
        body = {"wish": wish.as_dict(), "approval": approval}
        shown: dict[str, Any] = client.post(f"/v1/subjects/{request_id}/request", body)
    _emit(way, shown)
    note(f"a custodian confirms: lagrum subject confirm {request_id}")


@subject.command("confirm")
@click.argument("request_id", metavar="REQUEST")
@acting
def confirm(way: Way, request_id: str) -> None:
    """Confirm a request, as a custodian, over the same digest.

    \b
    Example:
      lagrum subject confirm 3b9a5e0c7d214f86 --as custodian-1.key.json
    """
    from api.custody import subjects

    with way.open() as client:
        requested = _shown(client, request_id)
        wish = subjects.Wish.from_dict(requested["wish"])
        look({**requested, **wish.as_dict(), "wish": None})
        digest = subjects.digest(client.store_id, request_id, wish)
        approval = client.approve(action=subjects.CONFIRM, case=request_id, digest=digest)
        _emit(way, client.post(f"/v1/subjects/{request_id}/confirm", {"approval": approval}))


@subject.command("show")
@click.argument("request_id", metavar="REQUEST")
@acting
def show(way: Way, request_id: str) -> None:
    """Show a request with what a confirmer signs.

    \b
    Example:
      lagrum subject show 3b9a5e0c7d214f86 --as custodian-1.key.json
    """
    with way.open() as client:
        document = _shown(client, request_id)
    emit(way.context, document, lambda: show_facts({**document, **document["wish"], "wish": None}))


@subject.command("list")
@acting
def listing(way: Way) -> None:
    """List the requests that are kept: state, who acted, and the day by which the law wants an answer.

    \b
    Example:
      lagrum subject list --as dpo-1.key.json
    """
    with way.open() as client:
        document = client.get("/v1/subjects")
    names = ("request", "state", "by", "confirmed_by", "due_on", "kept_until")
    emit(way.context, document, lambda: show_table(document["requests"], [(name, name) for name in names]))


@subject.command("answer")
@click.argument("request_id", metavar="REQUEST")
@click.option("--output", type=FILE, metavar="FILE", help="Write the answer to a new file, for this user only.")
@acting
def answer(way: Way, request_id: str, output: Path | None) -> None:
    """Fetch the answer, within 30 days of the confirmation; it can be fetched again.

    \b
    Example:
      lagrum subject answer 3b9a5e0c7d214f86 --output answer.json --as dpo-1.key.json
    """
    import json

    from store.files import write_atomic

    if output is not None:
        refuse_existing(output)
    with way.open() as client:
        document = client.get(f"/v1/subjects/{request_id}/answer")
    if output is not None:
        write_atomic(output, json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")
        document = {"request": request_id, "records": len(document["records"]), "path": str(output)}
        emit(way.context, document, lambda: show_facts(document))
        return
    emit(way.context, document, lambda: click.echo(json.dumps(document, ensure_ascii=False, indent=1)))


def register(group: click.Group) -> None:
    """Add `subject`."""
    group.add_command(subject)


def _shown(client: Client, request_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = client.get(f"/v1/subjects/{request_id}")
    return shown


def _emit(way: Way, shown: dict[str, Any]) -> None:
    facts = {name.replace("_", " "): value for name, value in shown.items() if name != "wish"}
    emit(way.context, shown, lambda: show_facts(facts))
