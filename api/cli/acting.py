"""Options of commands that a person runs against the service: as whom, and where the service is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from api.cli.context import Context

if TYPE_CHECKING:
    from api.client import Client

FILE: Final = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Way:
    """How the service is reached, and as whom."""

    context: Context
    key_file: Path
    url: str | None
    ca: Path | None

    def open(self, key_file: Path | None = None) -> Client:
        """Return a client with an open session; `key_file` instead of the one that `--as` names."""
        from api.client import Client
        from api.people.signing import needs_passphrase, read_key_file

        path = key_file or self.key_file
        secret: bytes | None = None
        if needs_passphrase(path):
            secret = str(click.prompt(f"Passphrase of {path.name}", hide_input=True, err=True)).encode()
        key = read_key_file(path, secret)
        if self.url is not None:
            client = Client.remote(self.url, self.context.clock, ca=self.ca)
        else:
            client = Client.local(self.context.require_root(), self.context.clock)
        try:
            client.log_in(key)
        except BaseException:
            client.close()
            raise
        return client


def acting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--as`, `--url` and `--ca`; it gets a `Way` as its first argument."""

    @click.option(
        "--as",
        "key_file",
        required=True,
        type=FILE,
        envvar="LAGRUM_KEY",
        metavar="KEYFILE",
        help="Key file of who acts. The environment variable LAGRUM_KEY does the same.",
    )
    @click.option("--url", metavar="URL", help="An https service elsewhere; default: the root's own socket.")
    @click.option("--ca", type=FILE, metavar="FILE", help="CA of that service.")
    @click.pass_obj
    def command(context: Context, /, key_file: Path, url: str | None, ca: Path | None, **options: Any) -> Any:
        return function(Way(context, key_file, url, ca), **options)

    command.__doc__ = function.__doc__
    return command
