"""`lagrum authority`: which authorities may order disclosures; two custodians together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from api.cli.acting import FILE, Way, acting
from api.cli.context import Context
from api.cli.countersigning import Look, look, seen
from api.cli.output import emit, show_facts, show_table
from api.cli.registering import confirmed, lines, revoked, tell_next, withdrawn

if TYPE_CHECKING:
    from api.client import Client
    from api.people.authorities import Terms

KINDS: Final = (
    "law-enforcement",
    "prosecutor",
    "security-service",
    "emergency-service",
    "court",
    "supervisory",
    "rights-holder",
)
_KINDS: Final = f"What kind of authority it is: {', '.join(KINDS)}."
FORMATS: Final = ("ndjson", "csv", "ts-102657", "ts-103120")
_CERTIFICATES: Final = frozenset({"certificate", "endpoint_ca", "endpoint_client"})
_INSTANTS: Final = frozenset({"from_us", "until_us"})
_COLUMNS: Final = (
    ("id", "authority"),
    ("name", "name"),
    ("kind", "kind"),
    ("state", "state"),
    ("formats", "takes"),
    ("waits_for", "waits"),
)


@click.group("authority")
def authority() -> None:
    """Register, revoke and list authorities; two custodians act together.

    An order names a registered authority, and its officer belongs to it.

    \b
    Example:
      lagrum authority add police-se --name "Police Authority" --country SE --organisation SE-POLICE \\
        --kind law-enforcement --certificate police-se.crt --client-certificate hi1.crt --call-back +46771140000 \\
        --as custodian-1.key.json --second custodian-2.key.json
    """


def _terms(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that describe an authority."""
    options = (
        click.argument("authority_id", metavar="ID"),
        click.option("--name", required=True, help="As orders write it; kept encrypted."),
        click.option("--country", required=True, metavar="CC", help="ISO 3166, such as SE."),
        click.option("--organisation", required=True, metavar="ID", help="TS 102 657's authorisedOrganisationID."),
        click.option("--kind", required=True, type=click.Choice(KINDS), metavar="KIND", help=_KINDS),
        click.option("--certificate", required=True, type=FILE, metavar="FILE", help="PEM; deliveries go to it."),
        click.option(
            "--call-back", required=True, metavar="NUMBER", help="E.164 with +; emergency orders are checked."
        ),
        click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), help="The first is preferred."),
        click.option("--client-certificate", "clients", multiple=True, type=FILE, metavar="FILE", help="PEM."),
        click.option("--signing-key", metavar="KEY", help="Ed25519 in base64, as `authority key` prints it."),
        click.option("--endpoint", metavar="URL", help="https; deliveries are pushed to it."),
        click.option("--endpoint-ca", type=FILE, metavar="FILE", help="PEM; its chain ends in it."),
        click.option("--endpoint-client", type=FILE, metavar="FILE", help="PEM; what we present, of `push-key`."),
        click.option("--from", "begins", metavar="TIME", help="In force from; default: now."),
        click.option("--until", "ends", metavar="TIME", help="In force until; default: open."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@authority.command("add")
@_terms
@click.option("--second", required=True, type=FILE, metavar="KEYFILE", help="Key file of the second custodian.")
@acting
def add(way: Way, second: Path, **options: Any) -> None:
    """Register an authority, or other terms for one, with both custodians at one keyboard.

    \b
    Example:
      lagrum authority add police-se --name "Police Authority" --country SE --organisation SE-POLICE \\
        --kind law-enforcement --certificate police-se.crt --call-back +46771140000 \\
        --as custodian-1.key.json --second custodian-2.key.json
    """
    terms = _read(way.context, **options)
    with way.open() as first, way.open(second) as other:
        _request(first, terms)
        _tell(way, _confirm(other, terms.authority_id))


@authority.command("request")
@_terms
@acting
def request(way: Way, **options: Any) -> None:
    """Request a registration, or other terms, as one custodian; another confirms it.

    \b
    Example:
      lagrum authority request police-se --name "Police Authority" --country SE --organisation SE-POLICE \\
        --kind law-enforcement --certificate police-se.crt --call-back +46771140000 --as custodian-1.key.json
    """
    with way.open() as client:
        _tell(way, _request(client, _read(way.context, **options)))


@authority.command("confirm")
@click.argument("authority_id", metavar="ID")
@acting
def confirm(way: Way, authority_id: str) -> None:
    """Confirm, as another custodian, what is requested for an authority: a registration or a revocation.

    \b
    Example:
      lagrum authority confirm police-se --as custodian-2.key.json
    """
    with way.open() as client:
        _tell(way, _confirm(client, authority_id, lambda shown: look(_facts(dict(shown)))))


@authority.command("revoke")
@click.argument("authority_id", metavar="ID")
@click.option("--reason", required=True, help="Why; kept encrypted.")
@click.option("--second", type=FILE, metavar="KEYFILE", help="Key file of the second custodian; confirms at once.")
@acting
def revoke(way: Way, authority_id: str, reason: str, second: Path | None) -> None:
    """Request a revocation; with --second it is confirmed at once, else by `authority confirm`.

    \b
    Example:
      lagrum authority revoke police-se --reason "merged with another" --as custodian-1.key.json
    """
    from api.people import authority_register as procedure

    _tell(way, revoked(way, f"/v1/authorities/{authority_id}", procedure, reason, second, _confirm))


@authority.command("withdraw")
@click.argument("authority_id", metavar="ID")
@acting
def withdraw(way: Way, authority_id: str) -> None:
    """Withdraw what is only requested for an authority.

    \b
    Example:
      lagrum authority withdraw police-se --as custodian-1.key.json
    """
    from api.people import authority_register as procedure

    _tell(way, withdrawn(way, f"/v1/authorities/{authority_id}", procedure))


@authority.command("list")
@acting
def list_authorities(way: Way) -> None:
    """List authorities, the revoked included.

    \b
    Example:
      lagrum authority list --as custodian-1.key.json
    """
    with way.open() as client:
        document = client.get("/v1/authorities")
    emit(way.context, document, lambda: show_table(lines(document["authorities"]), _COLUMNS))


@authority.command("show")
@click.argument("authority_id", metavar="ID")
@acting
def show(way: Way, authority_id: str) -> None:
    """Show one authority with its call-back number and certificate.

    \b
    Example:
      lagrum authority show police-se --as custodian-1.key.json
    """
    with way.open() as client:
        _tell(way, client.get(f"/v1/authorities/{authority_id}"))


@authority.command("key")
@click.argument("authority_id", metavar="ID")
@click.option(
    "--output", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the files."
)
@click.option("--seal/--no-seal", default=False, help="Ask for a passphrase that seals both private keys.")
@click.pass_obj
def make_keys(context: Context, authority_id: str, folder: Path, seal: bool) -> None:
    """Make keys on the authority's own machine, for one that has none.

    ID.pem is the private key that opens deliveries, ID.crt its certificate for two years, ID.key.json the signing key.

    \b
    Example:
      lagrum authority key police-se --output keys --seal
    """
    from api.people.authority_keys import make

    secret: bytes | None = None
    if seal:
        secret = str(
            click.prompt("Passphrase of the keys", hide_input=True, confirmation_prompt=True, err=True)
        ).encode()
    document = make(authority_id, folder, context.clock.now_us(), secret)
    emit(context, document, lambda: show_facts(document))


def register(group: click.Group) -> None:
    """Add `authority`."""
    group.add_command(authority)


def _read(
    context: Context,
    *,
    authority_id: str,
    certificate: Path,
    clients: tuple[Path, ...],
    begins: str | None,
    ends: str | None,
    formats: tuple[str, ...],
    kind: str,
    endpoint_ca: Path | None,
    endpoint_client: Path | None,
    **plain: Any,
) -> Terms:
    from api.instants import parse_instant
    from api.people import authorities
    from api.people.authority_keys import fingerprint_of, read_text

    now_us = context.clock.now_us()
    terms = authorities.Terms(
        authority_id=authority_id,
        certificate=read_text(certificate),
        kind=authorities.AuthorityKind(kind),
        formats=tuple(authorities.Format(name) for name in formats or ("ndjson",)),
        from_us=now_us if begins is None else parse_instant(begins),
        until_us=None if ends is None else parse_instant(ends),
        fingerprints=tuple(fingerprint_of(read_text(path)) for path in clients),
        endpoint_ca=None if endpoint_ca is None else read_text(endpoint_ca),
        endpoint_client=None if endpoint_client is None else read_text(endpoint_client),
        **plain,
    )
    return authorities.check_terms(terms, now_us)


def _request(client: Client, terms: Terms) -> dict[str, Any]:
    from api.people.authority_register import REGISTER_REQUEST

    case = terms.authority_id
    approval = client.approve(action=REGISTER_REQUEST, case=case, digest=terms.digest(client.store_id))
    shown: dict[str, Any] = client.post("/v1/authorities", {"id": case, **terms.to_body(), "approval": approval})
    return shown


def _confirm(client: Client, authority_id: str, eyes: Look = seen) -> dict[str, Any]:
    """Sign what the service shows as pending."""
    from api.people import authority_register as procedure
    from api.people.authorities import terms_of

    def digest_of(shown: dict[str, Any]) -> str:
        return terms_of(authority_id, shown["terms_pending"] or shown).digest(client.store_id)

    return confirmed(client, f"/v1/authorities/{authority_id}", procedure, procedure.REGISTER_CONFIRM, digest_of, eyes)


def _tell(way: Way, shown: dict[str, Any]) -> None:
    emit(way.context, shown, lambda: show_facts(_facts(shown)))
    tell_next(way, f"authority confirm {shown['id']}", shown)


def _facts(shown: dict[str, Any]) -> dict[str, Any]:
    """Return an authority as people read it, with what is asked for and is another than what stands."""
    asked = shown.get("terms_pending") or {}
    other = {name: value for name, value in asked.items() if value != shown.get(name)}
    facts = _readable({name: value for name, value in shown.items() if name != "terms_pending"})
    return facts | {f"asked: {name}": value for name, value in _readable(other).items()}


def _readable(terms: dict[str, Any]) -> dict[str, Any]:
    """Return what people compare: certificates by their digest, instants as such, nothing that is not set."""
    import base64
    import hashlib

    from store.clock import to_text

    shown = {name: value for name, value in terms.items() if value not in (None, [])}
    for name in _CERTIFICATES & shown.keys():
        shown[name] = f"sha256 {hashlib.sha256(base64.b64decode(shown[name])).hexdigest()}"
    for name in _INSTANTS & shown.keys():
        shown[name] = to_text(shown[name])
    return {name.removesuffix("_us").replace("_", " "): value for name, value in shown.items()}
