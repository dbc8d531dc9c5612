"""`lagrum disclosure list|show|document|lapsed|key|push-key|bases`: what reads, and what needs no service."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from api.cli.acting import Way, acting
from api.cli.context import Context
from api.cli.disclosure_common import case_id, tell
from api.cli.output import emit, refuse_existing, show_facts, show_table
from schemas.errors import ConfigurationError


@click.command("list")
@acting
def list_cases(way: Way) -> None:
    """List the cases that you may see.

    \b
    Example:
      lagrum disclosure list --as handler.key
    """
    with way.open() as client:
        document = client.get("/v1/disclosure/cases")
    rows = [row for case in document["cases"] for row in _rows(case)]
    columns = (("case", "case"), ("state", "state"), ("basis", "basis"), ("reference", "reference"))
    emit(way.context, document, lambda: show_table(rows, columns))


def _rows(case: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the line of an authorisation and, below it, those of its tasks: identifiers stay whole in 80 columns."""
    state = f"{case['state']}, test" if case["test"] else case["state"]
    head = {"case": case["id"], "state": state, "basis": case["basis"], "reference": case["decision_reference"]}
    tasks = [
        {"case": f"  {task['id']}", "state": task["state"], "basis": "", "reference": ""} for task in case["tasks"]
    ]
    return [head, *tasks]


@click.command("show")
@click.argument("case")
@acting
def show(way: Way, case: str) -> None:
    """Show an authorisation or a task, with its targets as they are searched for.

    \b
    Example:
      lagrum disclosure show SE-T-7be1d0c4a2963f58 --as handler.key
    """
    with way.open() as client:
        tell(way, client.get(f"/v1/disclosure/cases/{case_id(case)}"))


@click.command("lapsed")
@acting
def lapsed(way: Way) -> None:
    """List emergencies that nobody confirmed, and what had left under them; for approvers and the DPO.

    \b
    Example:
      lagrum disclosure lapsed --as approver.key
    """
    with way.open() as client:
        document = client.get("/v1/disclosure/lapsed")
    rows = [
        {**item, "task": left["task"], "records": left["records"]}
        for item in document["lapsed"]
        for left in (item["delivered"] or [{"task": None, "records": 0}])
    ]
    columns = (("id", "authorisation"), ("basis", "basis"), ("authority", "authority"), ("task", "task"))
    emit(way.context, document, lambda: show_table(rows, (*columns, ("records", "records"))))


@click.command("document")
@click.argument("case")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there."
)
@click.option("--number", type=click.IntRange(1, 100), metavar="N", help="As `show` lists them; default: the last.")
@acting
def document(way: Way, case: str, output: Path, number: int | None) -> None:
    """Fetch the decision's document, to compare the fields with; an existing file is never overwritten.

    \b
    Example:
      lagrum disclosure document SE-A-0f3c2a5e9b8d7416 --output decision.pdf --as approver.key
    """
    from store.files import write_atomic

    refuse_existing(output)
    with way.open() as client:
        which = "" if number is None else f"?number={number}"
        content = client.download(f"/v1/disclosure/cases/{case_id(case)}/document{which}")
    write_atomic(output, content)
    tell(way, {"file": str(output), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})


@click.command("key")
@acting
def key(way: Way) -> None:
    """Show the public key under which deliveries verify.

    \b
    Example:
      lagrum disclosure key --as officer.key
    """
    with way.open() as client:
        document = client.get("/v1/disclosure/delivery-key")
    emit(way.context, document, lambda: click.echo(document["public_key"]))


@click.command("push-key")
@click.option("--request", "is_request", is_flag=True, help="Print a request for a certificate of the authority's.")
@acting
def push_key(way: Way, is_request: bool) -> None:
    """Show the certificate with which the service comes to authorities' endpoints, as PEM.

    \b
    Example:
      lagrum disclosure push-key --request --as custodian-1.key.json
    """
    with way.open() as client:
        document = client.get("/v1/disclosure/push-key")
    emit(way.context, document, lambda: click.echo(document["request" if is_request else "certificate"], nl=False))


@click.command("bases")
@click.argument("basis", required=False)
@click.pass_obj
def bases(context: Context, basis: str | None) -> None:
    """List the legal bases that orders may name, or every bound of one: the law's, and those marked (ours).

    \b
    Examples:
      lagrum disclosure bases
      lagrum disclosure bases secret-surveillance
    """
    from api.disclosure.bases import bases as all_bases

    document = {"bases": [item for item in all_bases() if basis in (None, item["id"])]}
    if basis is not None and not document["bases"]:
        raise ConfigurationError("there is no such legal basis", hint="`lagrum disclosure bases` lists them")
    if basis is not None:
        emit(context, document, lambda: _show_bases(document["bases"]))
        return
    rows = [
        {
            **item,
            "confirm": (item["emergency"] or {}).get("confirm_hours"),
            "deadline": (item["deadline"] or {}).get("time"),
        }
        for item in document["bases"]
    ]
    columns = (
        ("id", "basis"),
        ("version", "version"),
        ("window_days_max", "days"),
        ("targets_max", "targets"),
        ("draws_on", "draws on"),
        ("deadline", "answer in"),
        ("confirm", "confirm h"),
        ("effective_from", "from"),
        ("effective_to", "to"),
    )
    emit(context, document, lambda: show_table(rows, columns))


def _show_bases(items: Sequence[Mapping[str, Any]]) -> None:
    for item in items:
        show_facts(_basis_facts(item))


def _basis_facts(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return one basis as lines for people; what is not the law's says so."""
    facts: dict[str, Any] = {}
    for name, value in item.items():
        inner = value if isinstance(value, dict) else {None: value}
        for part, text in inner.items():
            path = name if part is None else f"{name}.{part}"
            ours = " (ours)" if {path, name} & set(item["own_bounds"]) else ""
            told = text.get("time") if isinstance(text, dict) else text
            words = ", ".join(told) or "-" if isinstance(told, list) else "-" if told is None else told
            facts[path] = f"{words}{ours}"
    return {name: fact for name, fact in facts.items() if name != "own_bounds"}


COMMANDS: Final = (list_cases, show, document, lapsed, key, push_key, bases)
