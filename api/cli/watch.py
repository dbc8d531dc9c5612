"""`lagrum watch`: a drop folder into the store."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from api.cli.context import Context
from api.cli.daemon import log_warnings, stop_on_signals, tell_findings, watched
from api.cli.ingest import check_format
from api.cli.output import emit, note, show_facts


@click.command("watch")
@click.option("--source", "source_name", required=True, metavar="NAME", help="What delivers the records.")
@click.option("--format", "format_name", required=True, metavar="FORMAT", help="One of `lagrum formats`.")
@click.option("--once", is_flag=True, help="Take in what is there, wait for files that are being written, and end.")
@watched
@click.option("--sequence", metavar="REGEX", help="Number in a file's name: group (?P<seq>…), perhaps (?P<group>…).")
@click.option(
    "--keep-done-days",
    default=7,
    show_default=True,
    type=click.IntRange(0, 180),
    metavar="N",
    help="Delete files in done/ so many days after their receipt: they are in the clear.",
)
@click.pass_obj
def watch(
    context: Context,
    /,
    source_name: str,
    format_name: str,
    directory: Path,
    once: bool,
    poll_s: float,
    sequence: str | None,
    **rules: Any,
) -> int:
    """Take in the files of a drop folder as they become ready.

    Names that begin with `_` or `.` or end in .tmp, .part and the like are left alone until they are renamed. NAME.done
    says that NAME is whole; NAME.md5 and NAME.sha256 are compared. When its receipt is durable a file moves to
    DIR/done, and is deleted there later; one that cannot be read moves to DIR/failed, with the reason beside it. A file
    that comes again, by any name, is recognised by its content. A missing number of --sequence is an event in the
    audit log.

    It may be stopped and killed at any time: nothing is lost, nothing is stored twice.

    \b
    Examples:
      lagrum watch --source cucm1 --format cucm-cdr /srv/sftp/cucm
      lagrum watch --source msc1 --format 3gpp-32297 --sequence '(?P<group>.*)_-_(?P<seq>[0-9]+)\\.' /srv/sftp/msc1
      lagrum watch --once --source legacy --format mapping /srv/in

    \b
    Exit codes:
      0  done, or stopped by a signal
      1  with --once: a file could not be read, or every record of one was
         rejected; stderr says which, and why
      1  another process watches the folder
      2  usage or configuration
    """
    check_format(format_name)
    from ingest.drop_folder import DropFolder
    from ingest.drop_rules import WatchRules

    chosen = WatchRules(sequence=_pattern(sequence), **rules)
    log_warnings()
    with context.open_store(takes_in=True) as store:
        folder = DropFolder(store, source_name, format_name, directory, chosen)
        stop_on_signals(folder.stop)
        if not once:
            note(f"watching {directory} for source {source_name}")
        totals = folder.run(once=once, poll_s=poll_s)
    document = asdict(totals)
    emit(context, document, lambda: show_facts(document))
    if once:
        tell_findings(folder.findings, format_name)
    return 1 if once and folder.findings.count else 0


def register(group: click.Group) -> None:
    """Add `watch`."""
    group.add_command(watch)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error:
        raise click.UsageError("--sequence is no regular expression") from None
