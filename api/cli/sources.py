"""`lagrum sources`: what delivers records, and the credentials it delivers with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from click.core import ParameterSource

from api.cli.acting import Way, acting
from api.cli.context import Context
from api.cli.formats import FILE, read_mapping_file
from api.cli.output import emit, note, show_facts, show_table

_COLUMNS: Final = (
    ("name", "source"),
    ("zone", "zone"),
    ("country", "country"),
    ("tenant", "tenant"),
    ("dedup_domain", "domain"),
)
_STATUS: Final = (
    ("source", "source"),
    ("last", "last delivery"),
    ("expect_every_s", "every s"),
    ("silent", "silent"),
    ("missing_files", "files missing"),
    ("waiting_files", "waiting"),
    ("failed_files", "failed"),
    ("records_lost", "records lost"),
)
_CREDENTIALS: Final = (
    ("id", "credential"),
    ("scope", "scope"),
    ("kind", "kind"),
    ("sources", "sources"),
    ("active", "active"),
)


@click.group("sources")
def sources() -> None:
    """Register and list what delivers records.

    \b
    Example:
      lagrum sources add pbx-east --zone Europe/Stockholm --country SE --as custodian-1.key.json
      lagrum sources credential pbx-east --as custodian-1.key.json
      lagrum sources list --as custodian-1.key.json
    """


@sources.command("add")
@click.argument("name")
@click.option("--zone", default="UTC", show_default=True, help="IANA time zone; '-' refuses local times.")
@click.option("--country", metavar="CC", help="ISO 3166 country of national numbers, such as SE; default: E.164 only.")
@click.option("--dedup-domain", metavar="NAME", help="Sources that deliver the same records share one.")
@click.option("--switch", metavar="NAME", help="Network element, where the format names none.")
@click.option("--tenant", metavar="NAME", help="Whose records they are.")
@click.option("--service-type", metavar="TYPE", help="voice, sms, mms, data, voip or nat, where the format says none.")
@click.option("--account", "accounts", multiple=True, metavar="CODE=ACCOUNT", help="Account mapping; may be repeated.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Option of the format; may be repeated.")
@click.option(
    "--mapping", metavar="FILE", type=FILE, help="Mapping file for the format `mapping`; kept with the source."
)
@click.option(
    "--expect-every",
    "expect_every_s",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="It delivers at least so often; longer silence is an event (`sources status`).",
)
@acting
def add(
    way: Way,
    name: str,
    zone: str,
    accounts: tuple[str, ...],
    options: tuple[str, ...],
    mapping: Path | None,
    **labels: Any,
) -> None:
    """Register a source, or change how its next deliveries are read.

    \b
    Examples:
      lagrum sources add pbx-east --zone Europe/Stockholm --country SE --as custodian-1.key.json
      lagrum sources add msc-1 --zone UTC --expect-every 900 --as custodian-1.key.json
    """
    body: dict[str, Any] = {
        **labels,
        "zone": None if zone == "-" else zone,
        "accounts": dict(_pair(text, "--account") for text in accounts),
        "options": dict(_pair(text, "--option") for text in options),
    }
    if mapping is not None:
        body["options"]["mapping"] = read_mapping_file(mapping)
    with way.open() as client:
        shown = client.call("PUT", f"/v1/sources/{quote(name, safe='')}", json=body)
    emit(way.context, shown, lambda: show_facts(shown))
    if click.get_current_context().get_parameter_source("zone") is ParameterSource.DEFAULT:
        note("local times are read as UTC; --zone names another (`lagrum formats` says which formats need it)")


@sources.command("list")
@acting
def list_sources(way: Way) -> None:
    """List sources.

    \b
    Example:
      lagrum sources list --as custodian-1.key.json
    """
    with way.open() as client:
        document = client.get("/v1/sources")
    emit(way.context, document, lambda: show_table(document["sources"], _COLUMNS))


@sources.command("status")
@click.pass_obj
def status(context: Context) -> int:
    """Show when each source delivered last, which are silent, and which files and records are missing.

    A source is silent when nothing came for longer than its --expect-every, by whatever road. Reads the store itself.

    \b
    Example:
      lagrum sources status

    \b
    Exit codes:
      0  no source is silent, no file is missing
      1  one is
    """
    from ingest.silence import states

    with context.open_store() as store:
        found = states(store)
    rows = [state.as_dict() for state in found]
    emit(context, {"sources": rows}, lambda: show_table(rows, _STATUS))
    return 1 if any(state.silent or state.missing for state in found) else 0


@sources.command("show")
@click.argument("name")
@acting
def show(way: Way, name: str) -> None:
    """Show a source.

    \b
    Example:
      lagrum sources show pbx-east --as custodian-1.key.json
    """
    with way.open() as client:
        shown = client.get(f"/v1/sources/{quote(name, safe='')}")
    emit(way.context, shown, lambda: show_facts(shown))


@sources.command("credential")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--metrics", is_flag=True, help="A credential that reads the metrics and nothing else.")
@click.option("--fingerprint", metavar="HEX", help="SHA-256 of a client certificate, instead of a secret.")
@click.option("--subject", metavar="NAME", help="Subject of a certificate of the client CA, instead of a secret.")
@click.option("--with-secret", is_flag=True, help="Beside a certificate a secret, too; both have to be shown.")
@acting
def credential(
    way: Way,
    names: tuple[str, ...],
    metrics: bool,
    fingerprint: str | None,
    subject: str | None,
    with_secret: bool,
) -> None:
    """Make a credential bound to the sources NAME; its secret is shown once.

    \b
    The secret works as HTTP Basic (FreeSWITCH's cred: `basic`)
    and as bearer token (`token`).
    Any certificate of the client CA may be shown beside it,
    unless --with-secret binds it to one.

    \b
    Examples:
      lagrum sources credential pbx-east --as custodian-1.key.json
      lagrum sources credential --metrics --as custodian-1.key.json
      lagrum sources credential pbx-east --subject CN=pbx-east
        --with-secret --as custodian-1.key.json
    """
    body = {
        "scope": "metrics" if metrics else "ingest",
        "sources": list(names),
        "fingerprint": fingerprint,
        "subject": subject,
        "secret": with_secret,
    }
    with way.open() as client:
        shown = client.post("/v1/credentials", body)
    emit(way.context, shown, lambda: show_facts(shown))
    if "secret" in shown:
        note("The secret is not shown again.")


@sources.command("credentials")
@acting
def credentials(way: Way) -> None:
    """List credentials; secrets are not among what is known of them.

    \b
    Example:
      lagrum sources credentials --as custodian-1.key.json
    """
    with way.open() as client:
        document = client.get("/v1/credentials")
    emit(way.context, document, lambda: show_table(document["credentials"], _CREDENTIALS))


@sources.command("revoke")
@click.argument("credential_id", metavar="CREDENTIAL")
@acting
def revoke(way: Way, credential_id: str) -> None:
    """End a credential at once.

    \b
    Example:
      lagrum sources revoke c-k7m2q5x3a6bnd4tz --as custodian-1.key.json
    """
    with way.open() as client:
        shown = client.delete(f"/v1/credentials/{quote(credential_id, safe='')}")
    emit(way.context, shown, lambda: show_facts(shown))


def register(group: click.Group) -> None:
    """Add `sources`."""
    group.add_command(sources)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{option} is NAME=VALUE")
    return name, value
