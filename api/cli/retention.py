"""`lagrum retention`: how long records are kept, why, and the end of those whose time is over."""

from __future__ import annotations

from typing import Final

import click

from api.cli.calendar import calendar
from api.cli.certificates import certificate
from api.cli.clock import clock
from api.cli.context import Context
from api.cli.output import bytes_text, emit, show_facts, show_table
from api.cli.policy import explain, policy, show

OVERDUE_SECONDS_MAX: Final = 7200
"""Expiry runs every few minutes; what is later than this does not happen by itself."""


@click.group("retention")
def retention() -> None:
    """Explain, show and enforce how long records are kept.

    Nothing deletes a record younger than 6 calendar months, and nothing keeps one beyond 24: both are counted from the
    UTC date on which the communication ended. No option, variable or role changes that.

    \b
    Example:
      lagrum retention show
      lagrum retention explain 2026-08-31
      lagrum retention status
      lagrum retention expire --dry-run
    """


@retention.command("status")
@click.pass_obj
def status(context: Context) -> int:
    """Show how retention stands: the clock, the oldest day kept, what is overdue and by how long, what comes next.

    \b
    Example:
      lagrum retention status

    \b
    Exit codes:
      0  the clock is trusted and nothing is overdue by more than two hours
      1  otherwise
    """
    from store.retention.retention_status import status as look

    with context.open_store() as store:
        looked = look(store)
    document = looked.as_dict()
    columns = [(name, name.replace("_", " ")) for name in ("date", "class", "domain", "records", "expires_at", "phase")]

    def render() -> None:
        clock = document["clock"]
        show_facts(
            {
                "clock": f"{clock['time']}, {'trusted' if clock['trusted'] else 'NOT TRUSTED: ' + clock['text']}",
                "proven": f"{clock['proven']}, {clock['doubt_seconds']:.0f} s behind",
                "oldest day": document["oldest_day"],
                "due now": document["due"],
                "overdue by": f"{document['overdue_seconds'] / 3600:.1f} h",
                "next": document["next_expires_at"],
                "within 30 days": document["soon"]["partitions"],
            }
        )
        show_table(document["partitions"], columns)
        for row in document["partitions"]:
            for item in row["moved"]:
                what = f"{', '.join(item['services'])}, {item['records']:,} records"
                click.echo(f"{item['partition']}: {what} end at {item['expires_at']} by class {item['class']}")

    emit(context, document, render)
    return 0 if looked.clock.is_trusted and looked.overdue_seconds <= OVERDUE_SECONDS_MAX else 1


@retention.command("expire")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@click.pass_obj
def expire(context: Context, dry_run: bool) -> None:
    """Drop the partitions whose period is over and destroy their keys.

    The service does this by itself; the command is for machines without it. What it drops cannot be brought back: the
    key is destroyed in every registered copy of the keyring. It never touches a partition whose period is not over, and
    does nothing while the clock is not trusted. Every erased partition leaves a certificate. A partition of which only
    some services are over is written anew without them.

    \b
    Examples:
      lagrum retention expire --dry-run
      lagrum retention expire
    """
    with context.open_store() as store:
        document = store.expire(dry_run=dry_run).as_dict()
    verb = "would be dropped" if dry_run else "dropped"

    def render() -> None:
        rows = [{"partition": name} for name in document["partitions"]]
        show_table(rows, [("partition", "partition")], title=verb)
        for item in document["moved"]:
            click.echo(f"{verb} out of {item['partition']}: {', '.join(item['services'])}, {item['records']:,} records")
        show_facts({"records": document["records"], "size": bytes_text(document["bytes"])})
        for name in document["held"]:
            click.echo(f"held: {name}")
        for name in document["unsound"]:
            click.echo(f"not touched, the catalog contradicts the disk: {name}")

    emit(context, document, render)


def register(group: click.Group) -> None:
    """Add `retention`."""
    for command in (show, explain, policy, certificate, clock, calendar):
        retention.add_command(command)
    group.add_command(retention)
