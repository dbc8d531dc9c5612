"""What every command gets: the root, the clock, whether a machine reads the answer, and the ways to the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from api.cli.memory import loading
from api.cli.output import patience
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from store import Store
    from store.clock import Clock

CREDENTIAL: Final = "lagrum-passphrase"
"""Name of the systemd credential that holds the root key's passphrase."""

PASSPHRASE_BYTES_MAX: Final = 4096
KERNELS: Final = "NUMBA_CACHE_DIR"
KERNELS_FOLDER: Final = Path("/var/tmp")  # noqa: S108 (the folder in it is checked to be this user's alone)


@dataclass(slots=True)
class Context:
    """One run of the command line."""

    root: Path | None
    json: bool
    given_clock: Clock | None = None
    """What a test hands to `api.cli.main`; the machine's clock otherwise."""

    @property
    def clock(self) -> Clock:
        """The clock; imported on first use, because the store behind it takes its time to load."""
        from store.clock import SystemClock

        return self.given_clock or SystemClock()

    def require_root(self) -> Path:
        """Return the store's root.

        Raises:
            ConfigurationError: neither `--root` nor `LAGRUM_ROOT` names one.
        """
        if self.root is None:
            raise ConfigurationError(
                "no store is named",
                hint="give --root DIR before the command or set LAGRUM_ROOT; `lagrum init DIR` makes a store",
            )
        return self.root

    def open_store(self, *, takes_in: bool = False) -> Store:
        """Open the store at the root; who `takes_in` does so with a damaged audit log too.

        Raises:
            ConfigurationError: there is no store, or its passphrase is not to be had.
            PermissionsError: a key file can be read by others.
        """
        return self.open_with(passphrase(self.require_root()), takes_in=takes_in)

    def open_with(self, secret: bytes | None, *, recover: bool = True, takes_in: bool = False) -> Store:
        """Open the store at the root with the passphrase of its root key, if it has one; raises as `open_store`.

        Without `recover` what a crash left stays; for `takes_in` see `Store.open` too.
        """
        with loading():
            from store import Store

        with patience("opening the store"):
            root = self.require_root()
            return Store.open(root, clock=self.clock, passphrase=secret, recover=recover, takes_in=takes_in)

    @contextmanager
    def read_store(self, **about: str | None) -> Iterator[Store]:
        """Open the store for a command that shows what is stored about people; the reading is logged first.

        `about` says what is asked for, to auditors only.

        Raises:
            AuditError: the reading could not be logged.
        """
        from store import AuditEntry

        with self.open_store() as store:
            asked = {name: value for name, value in about.items() if value is not None}
            command = click.get_current_context().command_path.removeprefix("lagrum ")
            store.log(AuditEntry("command.read", {"command": command, "uid": os.getuid()}, asked or None))
            yield store


def keep_kernels() -> None:
    """Give compiled kernels (ADR 7, 21) a place to be kept where the program's folder cannot be written.

    It lies in the home, or in a folder for temporary files: a service under a read-only file system can write neither
    program nor home, and what is not kept every process compiles anew.
    """
    if os.environ.get(KERNELS) or os.access(Path(__file__).parent, os.W_OK):
        return
    try:
        home: Path | None = Path.home()
    except RuntimeError:  # a user who has neither a name nor HOME, as in some containers
        home = None
    if home is not None and os.access(home, os.W_OK):
        folder = home / ".cache" / "lagrum-kernels"
    else:
        folder = KERNELS_FOLDER / f"lagrum-kernels-{os.getuid()}"
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError:  # nothing here can be written: they are compiled by every process
        return
    if status.st_uid == os.getuid() and not status.st_mode & 0o077:  # code of others is never run
        os.environ[KERNELS] = str(folder)


def passphrase(root: Path) -> bytes | None:
    """Return the root key's passphrase: the systemd credential, else asked for on the terminal; None when none is set.

    It is never an argument or an environment variable: both can be seen by other users of the machine.

    Raises:
        ConfigurationError: the key needs a passphrase and there is neither a credential nor a terminal.
    """
    credential = credential_passphrase()
    if credential is not None:
        return credential
    from store.keys import needs_passphrase

    if not needs_passphrase(root):
        return None
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "the root key needs its passphrase, and there is no terminal to ask on",
            hint=f"pass it as the systemd credential {CREDENTIAL}",
        )
    answer: str = click.prompt("Passphrase of the root key", hide_input=True, err=True)
    return answer.encode()


def credential_passphrase() -> bytes | None:
    """Return the passphrase that systemd hands to the service, without the line's end; None when it hands none.

    Raises:
        ConfigurationError: the credential is empty or absurdly long.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    path = Path(directory) / CREDENTIAL
    try:
        with path.open("rb") as file:
            content = file.read(PASSPHRASE_BYTES_MAX + 1).rstrip(b"\r\n")
    except FileNotFoundError:
        return None
    if not content or len(content) > PASSPHRASE_BYTES_MAX:
        raise ConfigurationError(f"the systemd credential {CREDENTIAL} is empty or too long")
    return content
