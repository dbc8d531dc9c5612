"""`lagrum retention show`, `explain` and `policy`: the rules, what they do to a record, and how they are changed."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.acting import FILE, Way, acting
from api.cli.context import Context
from api.cli.countersigning import Look, look, seen
from api.cli.output import emit, note, show_facts, show_table
from schemas.errors import ConfigurationError, NotFoundError
from schemas.policy import DEFAULT_POLICY, Policy
from schemas.retention import CATEGORY_FLOORS, CEILING_MONTHS, FLOOR_MONTHS

if TYPE_CHECKING:
    from api.client import Client


@click.command("show")
@click.pass_obj
def show(context: Context) -> None:
    """Show the policy: what is kept how long, on which basis, since when; and up to which age each purpose reads.

    Without a store it is the policy that every store begins with.

    \b
    Example:
      lagrum retention show
    """
    policy, today = _policy(context)
    version = policy.in_force(today)
    classes: list[dict[str, Any]] = [
        {
            "class": item.name,
            "services": [name for name, chosen in version.services.items() if chosen == item.name],
            "period_months": item.period_months,
            "legal_basis": item.legal_basis,
            "citation": item.citation,
        }
        for item in version.classes
    ]
    categories = [
        {
            "category": name,
            "floor_months": floor.months,
            "floor_citation": floor.citation,
            "period_months": None if (own := version.categories.get(name)) is None else own.period_months,
            "legal_basis": None if own is None else own.legal_basis,
            "citation": None if own is None else own.citation,
        }
        for name, floor in CATEGORY_FLOORS.items()
    ]
    purposes = [{"purpose": one.purpose, "reads": one.length, "citation": one.citation} for one in version.windows]
    versions = [
        {
            "version": item.number,
            "from": item.start.isoformat(),
            "to": end.isoformat() if end < date.max else None,
            "digest": item.digest,
        }
        for item, end in policy.spans
    ]
    document = {
        "floor_months": FLOOR_MONTHS,
        "ceiling_months": CEILING_MONTHS,
        "version": version.number,
        "classes": classes,
        "categories": categories,
        "purposes": purposes,
        "versions": versions,
    }

    def render() -> None:
        show_facts({"floor": f"{FLOOR_MONTHS} calendar months", "ceiling": f"{CEILING_MONTHS} calendar months"})
        rows = [row | {"services": " ".join(row["services"])} for row in classes]
        names = ("class", "services", "period_months", "legal_basis", "citation")
        show_table(rows, [(name, name.replace("_", " ")) for name in names])
        cited = ("category", "period_months", "legal_basis", "citation", "floor_months", "floor_citation")
        own = [row | {"period_months": row["period_months"] or "as the record"} for row in categories]
        show_table(own, [(name, name.replace("_", " ")) for name in cited])
        show_table(purposes, [(name, name) for name in ("purpose", "reads", "citation")])
        show_table(versions, [(name, name) for name in ("version", "from", "to", "digest")])

    emit(context, document, render)


@click.command("explain")
@click.argument("what", metavar="RECORD|PARTITION|DATE")
@click.pass_obj
def explain(context: Context, what: str) -> None:
    """Explain which rule keeps or removes something, from which citation, and when.

    DATE is the day (UTC) on which communications ended; PARTITION is DATE/CLASS/DOMAIN, and its location's
    is DATE/CLASS/DOMAIN/location; RECORD is BATCH:POSITION, the receipt's number and the record's place in that
    delivery. A record needs the store; for the others the policy that every store begins with answers where no store
    is named.

    \b
    Examples:
      lagrum retention explain 2026-08-31
      lagrum retention explain 2026-08-31/standard/shared
      lagrum retention explain 17:4
    """
    from store.partitions import PartitionKey
    from store.retention.explain import of_date, of_partition, of_record

    batch_id, colon, position = what.partition(":")
    if colon:
        if not (batch_id.isdecimal() and position.isdecimal()):
            raise click.UsageError("a record is BATCH:POSITION")
        with context.open_store() as store:
            document = of_record(store, int(batch_id), int(position))
    else:
        try:
            asked = PartitionKey.parse(what) if "/" in what else date.fromisoformat(what)
        except ValueError as error:
            raise click.UsageError("that is neither a record, nor a partition, nor a date") from error
        policy, _ = _policy(context)
        now_us = context.clock.now_us()

        if isinstance(asked, PartitionKey):
            document = of_partition(asked, now_us, policy)
        else:
            document = of_date(asked, now_us, policy)

    def render() -> None:
        head = {name: value for name, value in document.items() if name != "classes"}
        for item in document["classes"]:
            for told in (item, *item.pop("categories", ()), *item.pop("moved", ())):
                facts = {**head, **told, "services": " ".join(told["services"])}
                show_facts(facts)

    emit(context, document, render)


@click.group("policy")
def policy() -> None:
    """Change the policy: one custodian requests a version, another confirms it.

    A version is a TOML file. It names classes with their months, legal bases and citations, the class of every service
    category, the period of location where it is shorter, the age up to which each purpose reads, and the day from which
    it applies. Shortening a class ends stored
    records too, from that day on; lengthening one gives no stored record a day more.
    """


@policy.command("request")
@click.argument("file", type=FILE)
@click.option("--second", type=FILE, metavar="KEYFILE", help="Key file of the second custodian; confirms at once.")
@acting
def request(way: Way, file: Path, second: Path | None) -> None:
    """Request that the version in FILE comes into force on its day.

    \b
    Examples:
      lagrum retention policy request policy.toml --as custodian-1.key.json
      lagrum retention policy confirm --as custodian-2.key.json
    """
    from api.custody import policy as procedure

    try:
        body = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError("the policy is not a TOML file") from error
    with way.open() as client:
        version = procedure.next_version(body, client.get("/v1/policy")["next"])
        digest = procedure.digest(client.store_id, version)
        approval = client.approve(action=procedure.REQUEST, case=str(version.number), digest=digest)
        shown = client.post("/v1/policy/request", {"version": version.as_dict(), "approval": approval})
    if second is not None:
        with way.open(second) as other:
            shown = _confirm(other)
    emit(way.context, shown, lambda: show_facts(_facts(shown)))
    if second is None:
        note("another custodian confirms: lagrum retention policy confirm --as KEYFILE")


@policy.command("pending")
@acting
def pending(way: Way) -> None:
    """Show the version that waits for a second custodian, and how many partitions it ends on its day.

    Where none waits, `version` is null.

    \b
    Example:
      lagrum retention policy pending --as custodian-2.key.json
    """
    shown: dict[str, Any] = {"version": None}
    with way.open() as client, suppress(NotFoundError):
        shown = client.get("/v1/policy/request")
    if shown["version"] is None:
        note("no version of the policy waits")
        emit(way.context, shown, lambda: None)
    else:
        emit(way.context, shown, lambda: show_facts(_facts(shown)))


@policy.command("confirm")
@acting
def confirm(way: Way) -> None:
    """Confirm the version that another custodian requested.

    \b
    Example:
      lagrum retention policy confirm --as custodian-2.key.json
    """
    with way.open() as client:
        shown = _confirm(client, look)
    emit(way.context, shown, lambda: show_facts(_facts(shown)))


def _confirm(client: Client, eyes: Look = seen) -> dict[str, Any]:
    from api.custody import policy as procedure

    wanted = client.get("/v1/policy/request")
    version = procedure.version_of(wanted["version"])
    ends = f"{wanted['ends']} partitions, and the location in {wanted['ends_locations']}"
    note(f"version {version.number} of the policy, from {version.start.isoformat()}; it ends {ends}")
    eyes(_facts(wanted))
    digest = procedure.digest(client.store_id, version)
    approval = client.approve(action=procedure.CONFIRM, case=str(version.number), digest=digest)
    shown: dict[str, Any] = client.post("/v1/policy/confirm", {"approval": approval})
    return shown


def _facts(shown: dict[str, Any]) -> dict[str, Any]:
    version = shown["version"]
    facts = {"version": version["version"], "from": version["from"], "digest": shown.get("digest")}
    if "ends" in shown:
        facts["partitions that it ends"] = shown["ends"]
        facts["partitions whose location it ends"] = shown["ends_locations"]
    for name, chosen in version["services"].items():
        facts[name] = f"{version['classes'][chosen]['months']} months (class {chosen})"
    for name, own in version["categories"].items():
        facts[name] = f"{own['months']} months"
    return facts


def _policy(context: Context) -> tuple[Policy, date]:
    """Return the store's policy and today; without a store the one that stores begin with."""
    from store.clock import to_date

    today = to_date(context.clock.now_us())
    if context.root is None:
        return DEFAULT_POLICY, today
    with context.open_store() as store:
        return store.policies.current(), today
