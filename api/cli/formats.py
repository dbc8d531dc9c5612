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
    from ingest.decoders import FORMATS, decoder

    rows = [
        {
            "name": found.name,
            "summary": found.summary,
            "needs_zone": not found.zoned,
            "options": list(found.options),
        }
        for found in map(decoder, sorted(FORMATS))
    ]
    columns = [("name", "format"), ("summary", "what"), ("needs_zone", "needs zone"), ("options", "options")]
    emit(context, {"formats": rows}, lambda: show_table(rows, columns))


def register(group: click.Group) -> None:
    """Add `formats`."""
    group.add_command(formats)
