"""`lagrum formats`: what can be read."""

from __future__ import annotations

import click

from api.cli.context import Context
from api.cli.output import emit, show_table


@click.command("formats")
@click.pass_obj
def formats(context: Context) -> None:
    """List the formats that can be read.

    A format whose times carry no offset needs the source's time zone (`lagrum sources`). The options are the
    source's too.

    \b
    Example:
      lagrum formats
    """
    from ingest.registry import DECODERS

    rows = [
        {
            "name": decoder.name,
            "summary": decoder.summary,
            "needs_zone": not decoder.zoned,
            "options": list(decoder.options),
        }
        for _, decoder in sorted(DECODERS.items())
    ]
    columns = [("name", "format"), ("summary", "what"), ("needs_zone", "needs zone"), ("options", "options")]
    emit(context, {"formats": rows}, lambda: show_table(rows, columns))


def register(group: click.Group) -> None:
    """Add `formats`."""
    group.add_command(formats)
