"""`lagrum formats`: what can be read, and what a mapping file makes of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from api.cli.context import Context
from api.cli.output import emit, note, show_facts, show_table
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from ingest.trial import Trial

FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("formats", invoke_without_command=True)
@click.pass_context
def formats(ctx: click.Context) -> None:
    """List the formats that can be read.

    A format whose times carry no offset needs the source's time zone (`lagrum sources`). The options are the
    source's too. Layouts that are not in the list are described by a mapping file: see `formats try`.

    \b
    Example:
      lagrum formats
    """
    if ctx.invoked_subcommand is not None:
        return
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
    emit(ctx.obj, {"formats": rows}, lambda: show_table(rows, columns))


@formats.command("try")
@click.option("--mapping", required=True, metavar="M", type=FILE, help="The mapping file (TOML).")
@click.option("--zone", default="UTC", show_default=True, help="The source's IANA time zone; '-' has none.")
@click.option("--country", metavar="CC", help="The source's ISO 3166 country; default: E.164 only.")
@click.option("--service-type", metavar="TYPE", help="The source's service type, where the mapping says none.")
@click.option("--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="Show so many records.")
@click.argument("file", type=FILE, metavar="FILE")
@click.pass_obj
def try_mapping(context: Context, /, mapping: Path, file: Path, zone: str, count: int, **labels: Any) -> int:
    """Show how a mapping file reads a file: the first records as they would be stored, and what is refused.

    Nothing is stored, and no store is needed. The records are shown in the clear: on the terminal, and nowhere else.

    \b
    Examples:
      lagrum formats try --mapping layout.toml --zone Europe/Stockholm --country SE calls.txt
      lagrum --json formats try --mapping layout.toml calls.txt

    \b
    Exit codes:
      0  every record can be read
      1  some are refused, or the file as a whole is
      2  the mapping cannot work
    """
    from ingest.source_config import MAPPING, SourceConfig
    from ingest.trial import trial

    source = SourceConfig(
        "trial", zone=None if zone == "-" else zone, options={MAPPING: read_mapping_file(mapping)}, **labels
    )
    with file.open("rb", buffering=0) as stream:
        found = trial(stream, source.delivering(file.name), now_us=context.clock.now_us(), show=count)
    emit(context, found.as_dict(), lambda: _show(found))
    if found.hint:
        note(f"hint: {found.hint}")
    return 1 if found.rejected else 0


def register(group: click.Group) -> None:
    """Add `formats`."""
    group.add_command(formats)


def read_mapping_file(path: Path) -> str:
    """Return the text of a mapping file that can work.

    Raises:
        ConfigurationError: it is not UTF-8, or the mapping cannot work.
    """
    from ingest.mapping import read_mapping

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError("the mapping file is not UTF-8") from None
    read_mapping(text)
    return text


def _show(found: Trial) -> None:
    for number, record in enumerate(found.records, 1):
        show_facts(record, title=f"record {number}", literal=True)
        click.echo()
    if found.rejects:
        show_table(found.rejects, [("position", "position"), ("reason", "reason"), ("field", "field")], title="refused")
    more = "" if found.whole else " (the file goes on)"
    click.echo(f"{found.read} records read, {found.rejected} refused{more}")
