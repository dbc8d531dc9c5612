"""`lagrum audit witness`: a witness for the logs of other machines."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from api.cli.context import Context
from api.cli.output import emit, note
from schemas.errors import ConfigurationError

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("witness")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="Name of a new witness, such as witness.example.org/1.")
@click.option("--origin", "origins", multiple=True, type=FILE, metavar="FILE", help="Watch the log of this origin.pub.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; elsewhere only with TLS.")
@click.option("--port", default=8421, show_default=True, type=click.IntRange(0, 65_535), help="TCP port.")
@click.option("--tls-certificate", type=FILE, help="Certificate, PEM.")
@click.option("--tls-key", type=FILE, help="Its private key, PEM.")
@click.pass_obj
def witness(
    context: Context,
    directory: Path,
    name: str | None,
    origins: tuple[Path, ...],
    host: str,
    port: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
) -> None:
    """Run a witness that keeps its state in DIRECTORY, until SIGINT or SIGTERM.

    Run it on another machine, in other hands. It takes the checkpoints of the logs that it was told to watch, checks
    that each log only grew and that the chain of its keys holds, remembers that durably, and cosigns (C2SP
    tlog-witness). What it refuses to cosign was cut or made anew. The first run makes its key; the public half is
    printed and lies in DIRECTORY/witness.pub. A log's service sends there by `witness_url` and `witness_key` in
    [witness] of its lagrum.toml.

    \b
    Example:
      lagrum audit witness /srv/witness --name witness.example.org/1 --origin origin.pub
    """
    import uvicorn

    from api.settings import is_loopback
    from api.witness_server import WitnessBook, create_witness

    if bool(tls_certificate) != bool(tls_key):
        raise ConfigurationError("--tls-certificate and --tls-key come together")
    if tls_certificate is None and not is_loopback(host):
        raise ConfigurationError("a witness listens beyond its machine only with TLS")
    book = WitnessBook.open(directory, context.clock, name=name)
    watched = [book.watch(path.read_text("utf-8")) for path in origins]
    scheme = "http" if tls_certificate is None else "https"
    document = {"vkey": book.vkey, "url": f"{scheme}://{host}:{port}", "watched": watched}
    emit(context, document, lambda: click.echo(book.vkey))
    sys.stdout.flush()
    note(f"witness at {document['url']}")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    uvicorn.run(
        create_witness(book),
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_config=None,
        ssl_certfile=None if tls_certificate is None else str(tls_certificate),
        ssl_keyfile=None if tls_key is None else str(tls_key),
    )
