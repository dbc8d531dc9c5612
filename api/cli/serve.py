"""`lagrum serve`: the service."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from api.cli.context import Context, passphrase
from api.cli.memory import keep_freed_memory, settle
from api.cli.output import emit, note

if TYPE_CHECKING:
    from api.server import Listening


@click.command("serve")
@click.option("--host", metavar="ADDRESS", help="Where to listen; beyond this machine only with TLS.")
@click.option("--port", type=click.IntRange(0, 65_535), help="TCP port; 0 takes a free one.")
@click.option("--print-openapi", is_flag=True, help="Print the OpenAPI document and end.")
@click.pass_obj
def serve(context: Context, host: str | None, port: int | None, print_openapi: bool) -> None:
    """Serve the store over HTTP and on its unix socket, until SIGINT or SIGTERM.

    Settings come from ROOT/lagrum.toml, where there is one; --host and --port go before it. Without TLS the service
    listens on this machine only.

    \b
    Example:
      lagrum --root /srv/lagrum serve --port 8420
    """
    from api import server, settings
    from api.app import create_app
    from api.merger import Merger
    from api.scheduling import take_short_turns

    chosen = settings.load(context.require_root())
    if host is not None:
        chosen = replace(chosen, host=host)
    if port is not None:
        chosen = replace(chosen, port=port)
    keep_freed_memory()
    take_short_turns()
    secret = passphrase(context.require_root())
    with context.open_with(secret, takes_in=True) as store:
        if print_openapi:
            emit(context, create_app(store, settings=chosen).openapi())
            return
        _log_to_stderr()
        # A clock that a test hands over goes to no other process.
        merger = Merger(store, secret) if context.given_clock is None else None
        server.run(store, chosen, merger=merger, ready=lambda listening: _announce(context, listening))


def register(group: click.Group) -> None:
    """Add `serve`."""
    group.add_command(serve)


def _announce(context: Context, listening: Listening) -> None:
    scheme = "https" if listening.tls else "http"
    host = f"[{listening.host}]" if ":" in listening.host else listening.host
    url = f"{scheme}://{host}:{listening.port}"
    if context.json:
        emit(context, {"url": url, "socket": str(listening.socket_path)})
        sys.stdout.flush()
    note(f"serving {url} and {listening.socket_path}")
    settle()


def _log_to_stderr() -> None:
    """Send our own log lines to stderr; the HTTP library's are left out below warnings, and never name a request."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("lagrum").setLevel(logging.INFO)
