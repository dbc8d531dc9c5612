"""`lagrum person`: who may act; two custodians together."""

from __future__ import annotations

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
    from api.people.persons import Enrolment

ROLES: Final = (
    "officer",
    "case-handler",
    "approver",
    "auditor",
    "custodian",
    "dpo",
    "billing",
    "tenant-admin",
)
_ROLES: Final = f"One of {', '.join(ROLES)}; may be repeated."
_COLUMNS: Final = (("id", "person"), ("roles", "roles"), ("state", "state"), ("key_id", "key"), ("waits_for", "waits"))


@click.group("person")
def person() -> None:
    """Enrol, revoke and list persons; two custodians act together.

    A person's id is a service number, not a name: it stands in the audit log in the clear.

    \b
    Example:
      lagrum person key officer-7 --output officer-7.key.json
      lagrum person request officer-7 --name "Officer 7" --role officer --authority police-se --public-key KEY \\
        --as custodian-1.key.json
      lagrum person confirm officer-7 --as custodian-2.key.json
      lagrum person list --as custodian-1.key.json
    """


@person.command("key")
@click.argument("person_id", metavar="ID")
@click.option("--output", "path", required=True, type=FILE, metavar="FILE", help="The new key file (0600).")
@click.option("--seal/--no-seal", default=False, help="Ask for a passphrase that seals the key file.")
@click.pass_obj
def make_key(context: Context, person_id: str, path: Path, seal: bool) -> None:
    """Make a key file on the person's own machine; prints the public key that enrolment takes.

    \b
    Example:
      lagrum person key officer-7 --output officer-7.key.json --seal
    """
    from api.people.signing import PersonKey, write_key_file

    key = PersonKey.generate(person_id)
    write_key_file(path, key, _new_passphrase() if seal else None)
    document = {"id": person_id, "public_key": key.public_text, "key_id": key.key_id, "key_file": str(path)}
    emit(context, document, lambda: show_facts(document))


@person.command("request")
@click.argument("person_id", metavar="ID")
@click.option("--name", required=True, help="Display name; kept encrypted.")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), metavar="ROLE", help=_ROLES)
@click.option("--tenant", help="The tenant of a tenant administrator.")
@click.option("--authority", metavar="ID", help="The registered authority of an officer.")
@click.option("--public-key", metavar="KEY", help="The person's public key, as `person key` prints it.")
@click.option("--key-file", "new_key_file", type=FILE, metavar="FILE", help="Make a new key file here instead.")
@acting
def request(way: Way, person_id: str, new_key_file: Path | None, **options: Any) -> None:
    """Request an enrolment as one custodian; another confirms it.

    \b
    Example:
      lagrum person request officer-7 --name "Officer 7" --role officer --authority police-se --public-key KEY \\
        --as custodian-1.key.json
    """
    enrolment = _enrolment(person_id, new_key_file, **options)
    with way.open() as client:
        _tell(way, _request(client, enrolment))


@person.command("confirm")
@click.argument("person_id", metavar="ID")
@acting
def confirm(way: Way, person_id: str) -> None:
    """Confirm, as another custodian, what is requested for a person: an enrolment or a revocation.

    \b
    Example:
      lagrum person confirm officer-7 --as custodian-2.key.json
    """
    with way.open() as client:
        _tell(way, _confirm(client, person_id, look))


@person.command("enrol")
@click.argument("person_id", metavar="ID")
@click.option("--name", required=True, help="Display name; kept encrypted.")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), metavar="ROLE", help=_ROLES)
@click.option("--tenant", help="The tenant of a tenant administrator.")
@click.option("--authority", metavar="ID", help="The registered authority of an officer.")
@click.option("--public-key", metavar="KEY", help="The person's public key, as `person key` prints it.")
@click.option("--key-file", "new_key_file", type=FILE, metavar="FILE", help="Make a new key file here instead.")
@click.option("--second", required=True, type=FILE, metavar="KEYFILE", help="Key file of the second custodian.")
@acting
def enrol(way: Way, person_id: str, second: Path, new_key_file: Path | None, **options: Any) -> None:
    """Enrol a person with both custodians at one keyboard.

    \b
    Example:
      lagrum person enrol handler-3 --name "Case handler 3" --role case-handler --key-file handler-3.key.json \\
        --as custodian-1.key.json --second custodian-2.key.json
    """
    with way.open() as first, way.open(second) as other:
        enrolment = _enrolment(person_id, new_key_file, **options)
        _request(first, enrolment)
        _tell(way, _confirm(other, person_id))


@person.command("revoke")
@click.argument("person_id", metavar="ID")
@click.option("--reason", required=True, help="Why; kept encrypted.")
@click.option("--second", type=FILE, metavar="KEYFILE", help="Key file of the second custodian; confirms at once.")
@acting
def revoke(way: Way, person_id: str, reason: str, second: Path | None) -> None:
    """Request a person's revocation; with --second it is confirmed at once, else by `person confirm`.

    \b
    Example:
      lagrum person revoke officer-7 --reason "has left the authority" --as custodian-1.key.json
    """
    from api.people import enrolment as procedure

    _tell(way, revoked(way, f"/v1/persons/{person_id}", procedure, reason, second, _confirm))


@person.command("withdraw")
@click.argument("person_id", metavar="ID")
@acting
def withdraw(way: Way, person_id: str) -> None:
    """Withdraw what is only requested for a person.

    \b
    Example:
      lagrum person withdraw officer-7 --as custodian-1.key.json
    """
    from api.people import enrolment as procedure

    _tell(way, withdrawn(way, f"/v1/persons/{person_id}", procedure))


@person.command("list")
@acting
def list_persons(way: Way) -> None:
    """List persons, the revoked included.

    \b
    Example:
      lagrum person list --as custodian-1.key.json
    """
    with way.open() as client:
        document = client.get("/v1/persons")
    emit(way.context, document, lambda: show_table(lines(document["persons"]), _COLUMNS))


@person.command("bind")
@click.argument("person_id", metavar="ID")
@click.option("--subject", metavar="SUB", help="The person's `sub` at the OpenID provider.")
@click.option("--issuer", metavar="URL", help="That provider, as lagrum.toml names it.")
@click.option("--client-certificate", "certificate", type=FILE, metavar="FILE", help="Or a client certificate, PEM.")
@click.option("--second", type=FILE, metavar="KEYFILE", help="Key file of the second custodian; confirms at once.")
@acting
def bind(
    way: Way, person_id: str, subject: str | None, issuer: str | None, certificate: Path | None, second: Path | None
) -> None:
    """Let a token of the OpenID provider, or a client certificate, recognise a person; approvals stay with the key.

    \b
    Example:
      lagrum person bind officer-7 --subject 248289761001 --issuer https://login.example.net \\
        --as custodian-1.key.json --second custodian-2.key.json
    """
    from api.people import bindings
    from api.people.authority_keys import fingerprint_of, read_text

    if (subject is None) == (certificate is None) or (subject is None) != (issuer is None):
        raise click.UsageError("give either --subject with --issuer, or --client-certificate")
    kind = bindings.BindingKind.SUBJECT if certificate is None else bindings.BindingKind.CERTIFICATE
    value = str(subject) if certificate is None else fingerprint_of(read_text(certificate))
    with way.open() as client:
        digest = bindings.digest(client.store_id, person_id, kind, value, issuer)
        approval = client.approve(action=bindings.BIND_REQUEST, case=person_id, digest=digest)
        body = {"kind": kind.value, "value": value, "issuer": issuer, "approval": approval}
        shown = client.post(f"/v1/persons/{person_id}/bindings", body)
    if second is not None:
        with way.open(second) as other:
            shown = _sign_binding(other, person_id, shown["id"], "confirm")
    _tell(way, shown)


@person.command("bind-confirm")
@click.argument("person_id", metavar="ID")
@click.argument("binding_id", metavar="BINDING")
@acting
def bind_confirm(way: Way, person_id: str, binding_id: str) -> None:
    """Confirm, as another custodian, a binding that is requested.

    \b
    Example:
      lagrum person bind-confirm officer-7 5e0c7d214f863b9a --as custodian-2.key.json
    """
    with way.open() as client:
        _tell(way, _sign_binding(client, person_id, binding_id, "confirm", look))


@person.command("unbind")
@click.argument("person_id", metavar="ID")
@click.argument("binding_id", metavar="BINDING")
@acting
def unbind(way: Way, person_id: str, binding_id: str) -> None:
    """End a binding at once; one custodian is enough.

    \b
    Example:
      lagrum person unbind officer-7 5e0c7d214f863b9a --as custodian-1.key.json
    """
    with way.open() as client:
        _tell(way, _sign_binding(client, person_id, binding_id, "end"))


@person.command("bindings")
@click.argument("person_id", metavar="ID")
@acting
def list_bindings(way: Way, person_id: str) -> None:
    """List what else than the own key recognises a person.

    \b
    Example:
      lagrum person bindings officer-7 --as custodian-1.key.json
    """
    with way.open() as client:
        document = client.get(f"/v1/persons/{person_id}/bindings")
    columns = (("id", "binding"), ("kind", "kind"), ("issuer", "issuer"), ("state", "state"))
    emit(way.context, document, lambda: show_table(document["bindings"], columns))


@person.command("logins")
@click.option("--day", required=True, metavar="DATE", help="UTC day of the last 30.")
@click.option("--address", metavar="IP", help="Say which tag stands for this address on that day.")
@acting
def logins(way: Way, day: str, address: str | None) -> None:
    """Show who was recognised or refused on a day; for the data protection officer and auditors.

    \b
    Examples:
      lagrum person logins --day 2026-11-21 --as auditor.key
      lagrum person logins --day 2026-11-21 --address 192.0.2.7 --as auditor.key
    """
    with way.open() as client:
        document = client.get("/v1/logins", day=day, address=address)
    names = ("time", "outcome", "way", "account", "word", "place", "count")
    emit(way.context, document, lambda: show_table(document["entries"], tuple((name, name) for name in names)))


def register(group: click.Group) -> None:
    """Add `person`."""
    group.add_command(person)


def _enrolment(
    person_id: str,
    key_file: Path | None,
    *,
    name: str,
    roles: tuple[str, ...],
    tenant: str | None,
    authority: str | None,
    public_key: str | None,
) -> Enrolment:
    from api.people.persons import Enrolment
    from api.people.signing import PersonKey, write_key_file

    if (public_key is None) == (key_file is None):
        raise click.UsageError("give either --public-key or --key-file")
    if key_file is not None:
        key = PersonKey.generate(person_id)
        write_key_file(key_file, key)
        public_key = key.public_text
    assert public_key is not None
    return Enrolment(person_id, name, roles, public_key, tenant, authority)


def _request(client: Client, enrolment: Enrolment) -> dict[str, Any]:
    from api.client import enrolment_body

    shown: dict[str, Any] = client.post("/v1/persons", enrolment_body(client, enrolment))
    return shown


def _confirm(client: Client, person_id: str, eyes: Look = seen) -> dict[str, Any]:
    """Sign what the service shows as pending."""
    from api.people import enrolment as procedure
    from api.people.persons import Enrolment

    def digest_of(shown: dict[str, Any]) -> str:
        names = ("display_name", "roles", "public_key", "tenant", "authority")
        display_name, roles, public_key, tenant, authority = (shown[name] for name in names)
        enrolment = Enrolment(shown["id"], display_name, tuple(roles), public_key, tenant, authority)
        return enrolment.digest(client.store_id)

    return confirmed(client, f"/v1/persons/{person_id}", procedure, procedure.ENROL_CONFIRM, digest_of, eyes)


def _sign_binding(client: Client, person_id: str, binding_id: str, step: str, eyes: Look = seen) -> dict[str, Any]:
    """Sign what the service shows of a binding: its confirmation, or its end."""
    from api.people import bindings
    from schemas.errors import NotFoundError

    listed = client.get(f"/v1/persons/{person_id}/bindings")["bindings"]
    found = next((item for item in listed if item["id"] == binding_id), None)
    if found is None:
        raise NotFoundError("there is no such binding of this person")
    action = bindings.BIND_CONFIRM if step == "confirm" else bindings.BIND_END
    eyes({"person": person_id, **found})
    digest = bindings.digest(client.store_id, person_id, found["kind"], found["value"], found["issuer"])
    approval = client.approve(action=action, case=person_id, digest=digest)
    shown: dict[str, Any] = client.post(f"/v1/persons/bindings/{binding_id}/{step}", {"approval": approval})
    return shown


def _tell(way: Way, shown: dict[str, Any]) -> None:
    emit(way.context, shown, lambda: show_facts(shown))
    whose = shown.get("person")  # of a binding
    confirm = f"bind-confirm {whose} {shown['id']}" if whose is not None else f"confirm {shown['id']}"
    tell_next(way, f"person {confirm}", shown)


def _new_passphrase() -> bytes:
    answer: str = click.prompt("Passphrase of the key file", hide_input=True, confirmation_prompt=True, err=True)
    return answer.encode()
