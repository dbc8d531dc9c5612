"""`lagrum forward`: the agent on a switch's host."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from api.cli.context import Context
from api.cli.daemon import log_warnings, stop_on_signals, tell_findings, watched
from api.cli.output import counted, emit, note, show_facts
from schemas.errors import ConfigurationError

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_MIB: Final = 1 << 20


@click.command("forward")
@click.option(
    "--to", "url", default="http://localhost", metavar="URL", help="The store's address; https beyond this machine."
)
@click.option("--socket", metavar="PATH", type=_FILE, help="The store's unix socket, instead of TCP.")
@click.option("--ca", metavar="FILE", type=_FILE, help="CA of the store's certificate; default: the system's.")
@click.option("--source", required=True, metavar="NAME", help="What delivers the records.")
@click.option("--format", "form", required=True, metavar="FORMAT", help="One of `lagrum formats`.")
@click.option("--token-file", required=True, metavar="FILE", type=_FILE, help="Token of a credential; mode 0600.")
@click.option(
    "--key-file", required=True, metavar="FILE", type=_FILE, help="Key of the spool; made when it is missing."
)
@click.option(
    "--spool", required=True, metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="The spool."
)
@click.option("--spool-max", default=10_240, show_default=True, type=click.IntRange(1), metavar="MIB", help="Its size.")
@click.option("--once", is_flag=True, help="Send what is there, spool what cannot be sent, and end.")
@watched
@click.pass_obj
def forward(
    context: Context,
    /,
    url: str,
    socket: Path | None,
    ca: Path | None,
    source: str,
    form: str,
    token_file: Path,
    key_file: Path,
    spool: Path,
    spool_max: int,
    once: bool,
    poll_s: float,
    directory: Path,
    **rules: Any,
) -> int:
    """Push the files of a folder to a store; needs no store on this machine.

    A file is deleted when the store's receipt has its SHA-256, its size and counts that add up: then it is durable
    there. While the store is away, files are copied into the spool, encrypted, and stay where they are. It may be
    killed at any time, and so may the store: nothing is lost, nothing is stored twice. What the store refuses moves
    to DIR/failed.

    \b
    Example:
      lagrum forward --to https://cdr.example.net:8420 --ca ca.pem --source pbx1 --format asterisk-csv \\
        --token-file token --key-file spool.key --spool /var/spool/lagrum /var/log/asterisk/rotated

    \b
    Exit codes:
      0  done, or stopped by a signal
      1  with --once: the store is away, refused a file, or rejected every record
         of one; stderr says which, and why
      2  usage or configuration, a credential that the store does not take
    """
    from api.cli.ingest import check_format
    from api.intake.sender import Sender
    from ingest.drop_rules import WatchRules
    from ingest.folder import Folder
    from ingest.forward import Agent
    from ingest.spool import Spool, read_key
    from store import files

    check_format(form)
    token = files.read_secret(token_file).decode("ascii", "replace").strip()
    if not token.isprintable() or not token:
        raise ConfigurationError("the token file holds no token")
    log_warnings()
    queue = Spool(spool.absolute(), read_key(key_file), bytes_max=spool_max * _MIB)
    with Sender(url, source, form, token, ca=ca, socket=socket) as sender:
        agent = Agent(Folder(directory, WatchRules(**rules), context.clock), queue, sender.send)
        stop_on_signals(agent.stop)
        if not once:
            note(f"forwarding {directory} as source {source}")
        totals = agent.run(once=once, poll_s=poll_s)
    document = asdict(totals)
    emit(context, document, lambda: show_facts(document))
    if once:
        tell_findings(agent.findings, form)
        if totals.in_spool:
            note(f"{counted(totals.in_spool, 'file')} in the spool: the store is away; run it again when it is back")
    return 1 if once and (agent.findings.count or totals.in_spool) else 0


def register(group: click.Group) -> None:
    """Add `forward`."""
    group.add_command(forward)
