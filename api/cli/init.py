"""`lagrum init`: a new store and its first two custodians."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.context import Context, credential_passphrase
from api.cli.output import emit, note, show_facts, show_table
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from store.keys import Place


@click.command("init")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--replica",
    "replicas",
    multiple=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep a copy of the keyring here, on other media; may be given more than once.",
)
@click.option(
    "--custodian-keys",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the two custodians' key files are written.  [default: DIR.custodians]",
)
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase that wraps the root key.")
@click.option(
    "--transit",
    "transit_url",
    metavar="URL",
    help="Keep the root key in the transit engine of OpenBao or Vault at this address.",
)
@click.option("--transit-mount", default="transit", show_default=True, help="Where the transit engine is mounted.")
@click.option(
    "--transit-ca", metavar="FILE", default="", help="PEM file of the authority of the service's certificate."
)
@click.option(
    "--pkcs11",
    "library",
    metavar="LIBRARY",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Keep the root key in the PKCS#11 module of this library.",
)
@click.option("--token", metavar="LABEL", default="", help="Label of the module's token.")
@click.option(
    "--secret-file",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of mode 0600 with the service's token or the module's PIN; a systemd credential goes before it.",
)
@click.option(
    "--immutable-parts", is_flag=True, help="Mark parts so that nobody removes or changes one by mistake (chattr +i)."
)
@click.option("--seal-custodian-keys", is_flag=True, help="Ask for a passphrase of each custodian's key file.")
@click.pass_obj
def init(
    context: Context,
    directory: Path,
    replicas: tuple[Path, ...],
    custodian_keys: Path | None,
    ask: bool,
    transit_url: str | None,
    transit_mount: str,
    transit_ca: str,
    library: Path | None,
    token: str,
    secret_file: Path | None,
    seal_custodian_keys: bool,
    immutable_parts: bool,
) -> None:
    """Make a new store in DIR and enrol its first two custodians.

    DIR must be missing or empty, or hold what an interrupted init left, which is then finished. The root key lies in
    DIR/keys, for this user alone; with --passphrase, or with the systemd credential `lagrum-passphrase`, it is wrapped
    besides. With --transit or --pkcs11 it never leaves the key service or the module, and its destruction there is
    final; the token or PIN is the systemd credential `lagrum-transit-token` or `lagrum-pkcs11-pin`, or lies in
    --secret-file.

    With --immutable-parts the service needs the capability CAP_LINUX_IMMUTABLE; where that is missing, or the file
    system knows no such mark, parts are written as ever, and the service's log and `lagrum doctor` say so.

    Losing every copy of the keyring loses the store: name a replica on other media.

    Two custodians enrol everybody else, one requesting and the other confirming. Their key files are written to
    DIR.custodians: give each to its person, away from this machine, and remove the folder.

    \b
    Examples:
      lagrum init /srv/lagrum --replica /mnt/keys/lagrum
      lagrum init ./trial
      lagrum init /srv/lagrum --transit https://bao.example.net:8200 --secret-file /etc/lagrum/transit-token
      lagrum init /srv/lagrum --pkcs11 /usr/lib/softhsm/libsofthsm2.so --token lagrum --secret-file /etc/lagrum/pin
    """
    from api.people.bootstrap import create_custodians, default_folder, without_persons
    from store import Store
    from store.keys import roots_of

    passphrase = credential_passphrase() or (_asked("Passphrase of the root key") if ask else None)
    folder = custodian_keys or default_folder(directory)
    place = _place(transit_url, transit_mount, transit_ca, library, token, secret_file)
    if place is not None and passphrase is not None:
        raise ConfigurationError("a root key in a module or service takes no passphrase")
    begun = without_persons(directory, clock=context.clock, passphrase=passphrase)
    with begun or Store.create(
        directory,
        clock=context.clock,
        passphrase=passphrase,
        replicas=[path.absolute() for path in replicas],
        roots=roots_of(place) if place is not None else None,
        immutable_parts=immutable_parts,
    ) as store:
        custodians = create_custodians(store, folder, passphrase=_asked_of if seal_custodian_keys else None)
        document: dict[str, Any] = {
            "store_id": store.store_id,
            "root": str(store.root),
            "replicas": [str(path) for path in store.keyring.replicas],
            "origin_key": (store.root / "audit" / "origin.pub").read_text(encoding="utf-8").strip(),
            "custodians": [
                {"id": item.person_id, "key_id": item.key_id, "key_file": str(item.key_file)} for item in custodians
            ],
        }
    emit(context, document, lambda: _show(document))
    if not replicas:
        note("warning: the keyring has a single copy; `lagrum keys replicate DIR` registers another")


def register(group: click.Group) -> None:
    """Add `init`."""
    group.add_command(init)


def _place(
    transit_url: str | None, mount: str, ca_file: str, library: Path | None, token: str, secret_file: Path | None
) -> Place | None:
    """Return where the root key shall live; None for a key file."""
    from store.keys import ModulePlace, TransitPlace

    secret = str(secret_file.absolute()) if secret_file is not None else ""
    if transit_url is not None and library is not None:
        raise ConfigurationError("the root key lives in one place: --transit or --pkcs11")
    if transit_url is not None:
        return TransitPlace(transit_url, mount, secret, str(Path(ca_file).absolute()) if ca_file else "")
    if library is not None:
        if not token:
            raise ConfigurationError("--pkcs11 needs --token, the label of the module's token")
        return ModulePlace(str(library.absolute()), token, secret)
    if secret:
        raise ConfigurationError("--secret-file goes with --transit or --pkcs11")
    return None


def _asked(text: str) -> bytes:
    answer: str = click.prompt(text, hide_input=True, confirmation_prompt=True, err=True)
    return answer.encode()


def _asked_of(person_id: str) -> bytes:
    return _asked(f"Passphrase of {person_id}'s key file")


def _show(document: dict[str, Any]) -> None:
    names = ("store_id", "root", "replicas", "origin_key")
    show_facts({name: document[name] for name in names})
    columns = [("id", "custodian"), ("key_id", "key"), ("key_file", "key file")]
    show_table(document["custodians"], columns, whole=("key_file",))
    click.echo("Give each custodian the key file, and keep the origin key where the log's readers can find it.")
    click.echo(f"Next: lagrum --root {document['root']} ingest ..., lagrum --root {document['root']} serve")
