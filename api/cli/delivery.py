"""`lagrum delivery`: the authority's side, offline: open a delivery, verify what was opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from api.cli.context import Context
from api.cli.output import emit, show_facts
from schemas.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from api.handover.opening import Opened

_KEY_BYTES_MAX: Final = 65_536
_FILE: Final = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group("delivery")
def delivery() -> None:
    """Open and verify a delivery on the authority's side; no service is needed.

    \b
    Example:
      lagrum delivery open delivery.zip --key authority.key.pem --certificate authority.pem \\
          --signed-by delivery.pub --output opened
      lagrum delivery verify opened --signed-by delivery.pub
    """


@delivery.command("open")
@click.argument("file", type=_FILE)
@click.option("--key", required=True, type=_FILE, metavar="PEM", help="The authority's private key.")
@click.option("--certificate", type=_FILE, metavar="PEM", help="Its certificate; by default in the key's file.")
@click.option("--signed-by", required=True, metavar="PUB", help="The operator's delivery key: base64, or a file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new folder; without it the file is only checked.",
)
@click.option("--ask-passphrase", is_flag=True, help="The private key has a passphrase; it is asked for.")
@click.pass_obj
def open_delivery(
    context: Context,
    file: Path,
    key: Path,
    certificate: Path | None,
    signed_by: str,
    output: Path | None,
    ask_passphrase: bool,
) -> int:
    """Decrypt FILE, verify all of it, and only then write it into a new folder.

    \b
    Example:
      lagrum delivery open delivery.zip --key authority.key.pem --certificate authority.pem \\
          --signed-by delivery.pub --output opened

    \b
    Exit codes:
      0  whole, for this key, signed by this operator
      1  not; nothing is written
    """
    from api.handover.envelope import load_certificate, load_private_key
    from api.handover.opening import Reader, check, open_to

    passphrase = click.prompt("Passphrase", hide_input=True, err=True).encode() if ask_passphrase else None
    reader = Reader(
        load_certificate(_small(certificate or key)),
        load_private_key(_small(key), passphrase),
        _public_key(signed_by),
    )
    try:
        opened = check(file, reader) if output is None else open_to(file, output, reader)
    except IntegrityError as error:
        return _failed(context, error)
    return _show_opened(context, opened)


@delivery.command("verify")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--signed-by", required=True, metavar="PUB", help="The operator's delivery key: base64, or a file.")
@click.pass_obj
def verify(context: Context, folder: Path, signed_by: str) -> int:
    """Check an opened delivery: signatures, digests, sequence, counts, and that nothing else is in the folder.

    \b
    Example:
      lagrum delivery verify opened --signed-by delivery.pub

    \b
    Exit codes:
      0  whole and signed by this operator
      1  not
    """
    from api.handover.opening import verify_folder

    try:
        opened = verify_folder(folder, _public_key(signed_by))
    except IntegrityError as error:
        return _failed(context, error)
    return _show_opened(context, opened)


def register(group: click.Group) -> None:
    """Put the command into the group."""
    group.add_command(delivery)


def _show_opened(context: Context, opened: Opened) -> int:
    facts = opened.facts()
    emit(context, {**facts, "manifest": opened.manifest}, lambda: show_facts(facts))
    return 0


def _failed(context: Context, error: IntegrityError) -> int:
    problem = error.message
    emit(context, {"verified": False, "problem": problem}, lambda: click.echo(f"not verified: {problem}"))
    return 1


def _public_key(text: str) -> bytes:
    from api.people.signing import decode_public_key

    path = Path(text)
    return decode_public_key(path.read_text("ascii").strip() if len(text) < 4096 and path.is_file() else text)


def _small(path: Path) -> bytes:
    if path.stat().st_size > _KEY_BYTES_MAX:
        raise ConfigurationError("a key or certificate file is at most 64 KiB")
    return path.read_bytes()
