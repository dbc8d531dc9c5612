"""`lagrum verify`: derive everything anew."""

from __future__ import annotations

from typing import Any

import click

from api.cli.context import Context
from api.cli.output import emit, progress, show_table


@click.command("verify")
@click.pass_obj
def verify(context: Context) -> int:
    """Derive everything anew and say exactly what is wrong.

    Reads every file: it authenticates under its key, its rows, sizes and digests are those of the catalog, nothing is
    missing and nothing lies there that the catalog does not know; batches add up; manifests are in the audit log, and
    the log's tree and signatures hold.

    \b
    Example:
      lagrum verify && echo sound

    \b
    Exit codes:
      0  nothing is wrong
      1  something is wrong; each finding is one line
    """
    with context.open_store() as store, progress("verifying", None, unit="parts") as bar:
        problems = store.verify(progress=bar.reach)
    document: dict[str, Any] = {
        "ok": not problems,
        "problems": [{"where": problem.where, "what": problem.what} for problem in problems],
    }
    emit(context, document, lambda: _show(document))
    return 0 if document["ok"] else 1


def register(group: click.Group) -> None:
    """Add `verify`."""
    group.add_command(verify)


def _show(document: dict[str, Any]) -> None:
    if document["ok"]:
        click.echo("sound: everything is as the catalog, the keyring and the audit log say")
    else:
        show_table(document["problems"], [("where", "where"), ("what", "what is wrong")])
