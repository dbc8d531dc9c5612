"""`lagrum retention certificate`: what was erased, proven to anybody who holds the public key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from api.cli.context import Context
from api.cli.output import emit, show_facts, show_table
from schemas.errors import ConfigurationError

FILE: Final = click.Path(path_type=Path, dir_okay=False)
READABLE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group("certificate")
def certificate() -> None:
    """List, show and verify certificates of erasure.

    Every erased partition leaves one: signed, chained to the one before it, and part of the audit log.
    """


@certificate.command("list")
@click.pass_obj
def list_certificates(context: Context) -> None:
    """List the certificates, oldest first.

    \b
    Example:
      lagrum retention certificate list
    """
    from store.retention.certificates import stored

    with context.open_store() as store:
        rows = [_row(number, partition, note) for number, partition, note in stored(store)]
    columns = [(name, name) for name in ("number", "partition", "records", "erased")]
    emit(context, {"certificates": rows}, lambda: show_table(rows, columns))


@certificate.command("show")
@click.argument("partition", metavar="PARTITION|NUMBER")
@click.option("--out", type=FILE, metavar="FILE", help="Write the file that `verify` takes.")
@click.option("--html", type=FILE, metavar="FILE", help="Write a page for people.")
@click.pass_obj
def show(context: Context, partition: str, out: Path | None, html: Path | None) -> None:
    """Show the certificate of PARTITION (as `list` names it), or of its NUMBER.

    The file holds all that is needed to check it without this store, but the public key: that is the reader's own.

    \b
    Examples:
      lagrum retention certificate show 17
      lagrum retention certificate show 2024-11-22/standard/shared --out 2024-11-22.json --html 2024-11-22.html
    """
    from store.retention.certificate_check import export, verify_file
    from store.retention.certificates import stored

    with context.open_store() as store:
        names = {str(number): name for number, name, _ in stored(store)}
        data = export(store, names.get(partition, partition))
        origin = str(store.audit.origin)
    if out is not None:
        out.write_bytes(data)
    _tell(context, verify_file(data, origin), origin, html)


@certificate.command("verify")
@click.argument("file", type=READABLE)
@click.option("--key", "key_path", type=READABLE, metavar="FILE", help="The pinned public key (origin.pub).")
@click.option("--html", type=FILE, metavar="FILE", help="Write a page for people.")
@click.pass_obj
def verify(context: Context, file: Path, key_path: Path | None, html: Path | None) -> None:
    """Verify the certificate in FILE and say in words what was erased and why.

    Needs the file and the public key that was pinned when the store was made; no store, no secret. Give your own copy
    of the key with --key: without it the store's own copy is taken, which proves nothing against the operator.

    \b
    Example:
      lagrum retention certificate verify 2024-11-22.json --key origin.pub

    \b
    Exit codes:
      0  the certificate is whole, signed under that key, and part of its log
      1  it is not
    """
    from store.retention.certificate_check import verify_file

    if key_path is None:
        if context.root is None:
            raise ConfigurationError("no public key is named", hint="give --key origin.pub")
        key_path = context.root / "audit" / "origin.pub"
    origin = key_path.read_text(encoding="utf-8").strip()
    _tell(context, verify_file(file.read_bytes(), origin), origin, html)


def _row(number: int, partition: str, note: str) -> dict[str, Any]:
    import orjson

    from store.clock import to_text

    body = orjson.loads(note.split("\n")[1])
    return {"number": number, "partition": partition, "records": body["records"], "erased": to_text(body["erased_us"])}


def _tell(context: Context, found: Any, origin: str, html: Path | None) -> None:
    from api.pages import certificate_page
    from store.retention import certificate_words as words

    checked = (
        "Verified: signed under the public key below, and part of the audit log that this key began. "
        f"Public key: {origin}"
    )
    paragraphs, facts = words.paragraphs(found), words.facts(found)
    if html is not None:
        page = certificate_page(words.title(found), paragraphs, facts, checked=checked, note=found.note)
        html.write_text(page, encoding="utf-8")
    document = {"ok": True, "certificate": found.body, "sha256": found.digest, "words": paragraphs}

    def render() -> None:
        click.echo(f"{words.title(found)}\n")
        for text in (checked, *paragraphs):
            click.echo(f"{text}\n")
        show_facts(facts)

    emit(context, document, render)
