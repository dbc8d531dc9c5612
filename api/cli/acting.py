"""Options of commands that a person runs against the service: as whom, and where the service is.

`--as` names the person's own key; it opens a session and signs approvals. A token of the OpenID provider, or a client
certificate, that two custodians have bound to the person (`lagrum person bind`) does for whatever needs no signature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from api.cli.context import Context
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from api.client import Client
    from api.people.signing import PersonKey

FILE: Final = click.Path(path_type=Path, dir_okay=False)
TOKEN_BYTES_MAX: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Way:
    """How the service is reached, and as whom."""

    context: Context
    key_file: Path | None
    url: str | None
    ca: Path | None
    token_file: Path | None = None
    tls_client: Path | None = None

    def open(self, key_file: Path | None = None) -> Client:
        """Return a client that is somebody; `key_file` instead of the one that `--as` names.

        Raises:
            ConfigurationError: nothing says who acts, or a file cannot be read.
        """
        path = key_file or self.key_file
        if path is None and self.token_file is None and self.tls_client is None:
            raise click.UsageError(
                "who acts? --as KEYFILE or LAGRUM_KEY, or --token-file or --tls-client for what needs no signature"
            )
        key = None if path is None else _key(path)
        token = None if path is not None or self.token_file is None else _token(self.token_file)
        client = self._reached()
        try:
            if key is not None:
                client.log_in(key)
            else:
                client.present(token)
        except BaseException:
            client.close()
            raise
        return client

    def _reached(self) -> Client:
        from api.client import Client

        if self.url is not None:
            return Client.remote(self.url, self.context.clock, ca=self.ca, certificate=self.tls_client)
        if self.tls_client is not None:
            raise click.UsageError("a client certificate is shown over https: --url")
        return Client.local(self.context.require_root(), self.context.clock)


def _key(path: Path) -> PersonKey:
    from api.people.signing import needs_passphrase, read_key_file

    secret: bytes | None = None
    if needs_passphrase(path):
        secret = str(click.prompt(f"Passphrase of {path.name}", hide_input=True, err=True)).encode()
    return read_key_file(path, secret)


def _token(path: Path) -> str:
    from store.files import read_secret

    token = read_secret(path, size_bytes_max=TOKEN_BYTES_MAX).decode("ascii", "replace").strip()
    if not token.isprintable() or not token:
        raise ConfigurationError("the token file holds no token")
    return token


def acting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a `Way`, and that as its first argument."""

    @click.option(
        "--as",
        "key_file",
        type=FILE,
        envvar="LAGRUM_KEY",
        metavar="KEYFILE",
        help="Key file of who acts. The environment variable LAGRUM_KEY does the same.",
    )
    @click.option("--url", metavar="URL", help="An https service elsewhere; default: the root's own socket.")
    @click.option("--ca", type=FILE, metavar="FILE", help="CA of that service.")
    @click.option("--token-file", type=FILE, metavar="FILE", help="Instead of --as: a token of the OpenID provider.")
    @click.option("--tls-client", type=FILE, metavar="FILE", help="Client certificate with its key (PEM), for --url.")
    @click.pass_obj
    def command(
        context: Context,
        /,
        key_file: Path | None,
        url: str | None,
        ca: Path | None,
        token_file: Path | None,
        tls_client: Path | None,
        **options: Any,
    ) -> Any:
        return function(Way(context, key_file, url, ca, token_file, tls_client), **options)

    command.__doc__ = function.__doc__
    return command
