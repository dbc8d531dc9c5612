"""One run of the command line: the group `lagrum`, and how refusals are told.

Exit codes: 0 done; 1 ran, but found something wrong; 2 usage or configuration. 130 when interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from api.cli import EXIT_INTERRUPTED
from api.cli.context import Context, keep_kernels
from api.cli.groups import LazyGroup
from api.cli.help_lines import HelpFormatter
from schemas.errors import ConfigurationError, InputError, LagrumError, PermissionsError

if TYPE_CHECKING:
    from store.clock import Clock

EXIT_FOUND: Final = 1
EXIT_USAGE: Final = 2
_FOREIGN: Final = "this user may not; a store belongs to the user who made it, and `lagrum doctor` looks at the rights"
_FULL: Final = "make room, then run it again; what was delivered twice is stored once"
OS_HINTS: Final = {errno.EACCES: _FOREIGN, errno.EPERM: _FOREIGN, errno.ENOSPC: _FULL, errno.EDQUOT: _FULL}
click.Context.formatter_class = HelpFormatter  # of every command, whoever makes its context


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LAGRUM_ROOT",
    metavar="DIR",
    help="The store's folder. The environment variable LAGRUM_ROOT does the same.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout; all else goes to stderr.")
@click.version_option(package_name="lagrum", message="%(prog)s %(version)s")
@click.pass_context
def lagrum(ctx: click.Context, root: Path | None, as_json: bool) -> None:
    """Keep traffic data as long as the law says, give it to those who may have it, prove both.

    \b
    Example:
      lagrum init /srv/lagrum
      lagrum --root /srv/lagrum ingest --source pbx1 --format csv calls.csv
      lagrum --root /srv/lagrum status

    \b
    Exit codes:
      0    done
      1    ran, but found something wrong
      2    usage or configuration
      130  interrupted
    """
    context: Context = ctx.ensure_object(Context)
    if root is not None:
        context.root = root
    context.json = context.json or as_json


def run(argv: Sequence[str] | None, *, clock: Clock | None) -> int:
    """Run one command and return its exit code; `clock` is that of tests."""
    context = Context(root=None, json=False, given_clock=clock)
    keep_kernels()
    try:
        outcome = lagrum.main(
            args=None if argv is None else list(argv), prog_name="lagrum", standalone_mode=False, obj=context
        )
        sys.stdout.flush()
    except click.Abort:
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        return _correct(error)
    except LagrumError as error:
        return _refuse(error)
    except BrokenPipeError:
        _leave_pipe()
        return EXIT_FOUND
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        click.echo(f"error: {error.strerror or type(error).__name__}{where}", err=True)
        if error.errno in OS_HINTS:
            click.echo(f"hint: {OS_HINTS[error.errno]}", err=True)
        return EXIT_FOUND
    except Exception as error:
        return _confess(error)
    return outcome if isinstance(outcome, int) else 0


def _correct(error: click.ClickException) -> int:
    """Say how the command is used."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # its message is the help
        error.show()
        return EXIT_USAGE
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\n", err=True)
    click.echo(f"error: {error.format_message()}", err=True)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"hint: {error.ctx.command_path} --help", err=True)
    return EXIT_USAGE


def _refuse(error: LagrumError) -> int:
    """Say what is wrong and what to do next, each on one line."""
    place = f" (record {error.position})" if isinstance(error, InputError) and error.position is not None else ""
    click.echo(f"error: {error.message}{place}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    return EXIT_USAGE if isinstance(error, ConfigurationError | PermissionsError) else EXIT_FOUND


def _confess(error: Exception) -> int:
    """Name the place of a bug without its message: a message of a library may quote a record."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    click.echo(f"error: internal error ({type(error).__name__} at {place})", err=True)
    click.echo("hint: this is a bug in Lagrum; please report the line above", err=True)
    return EXIT_FOUND


def _leave_pipe() -> None:
    """Let the interpreter flush into nothing at exit: the reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
