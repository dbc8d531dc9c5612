"""`lagrum retention calendar`: every day of ended communications, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import click

from api.cli.context import Context
from api.cli.output import console, emit, show_table

SIGNS: Final = {"kept": "#", "floor passed": "+", "due": "!", "held": "H", "dropped": "."}
"""What stands in a cell, so that the calendar is read without colours too."""


@click.command("calendar")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page as well.")
@click.pass_obj
def calendar(context: Context, html: Path | None) -> None:
    """Show a calendar of the days of which records are kept, and what ends within the next 30 days.

    A row is a month, a cell a day (UTC) on which communications ended.

    \b
    Example:
      lagrum retention calendar --html calendar.html
    """
    from api.pages import calendar_page
    from store.retention import retention_status

    with context.open_store() as store:
        looked = retention_status.status(store)
        days = retention_status.calendar(store)
    soon = retention_status.next_days(looked)
    document = looked.as_dict()
    summary = _summary(document)
    if html is not None:
        html.write_text(calendar_page(days, soon, summary), encoding="utf-8")
    answer = {
        "days": [
            {"date": day.isoformat(), "phase": phase, "records": records}
            for day, (phase, records) in sorted(days.items())
        ],
        "soon": soon,
    }

    def render() -> None:
        for text in summary:
            click.echo(text)
        _show(days)
        rows = [row | {"ended": ", ".join(row["ended"])} for row in soon]
        columns = [
            ("day", "erased on"),
            ("what", "what"),
            ("ended", "communications that ended on"),
            ("records", "records"),
        ]
        show_table(rows, columns, title="within 30 days")

    emit(context, answer, render)


def _summary(document: Mapping[str, Any]) -> list[str]:
    clock = document["clock"]
    trust = "trusted" if clock["trusted"] else f"not trusted: {clock['text']}"
    return [
        f"Oldest day kept: {document['oldest_day'] or 'none'}. Due now: {document['due']}. "
        f"Next end: {document['next_expires_at'] or 'none'}.",
        f"Clock: {clock['time']}, {trust}.",
        *_apart(document["partitions"]),
    ]


def _apart(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what a day's colour does not: services that end sooner, and days of which something is erased already."""
    moved: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        for item in row["moved"]:
            moved.setdefault((", ".join(item["services"]), item["class"]), []).append(item)
    said = [
        f"Sooner than the rest of their days, by class {name}: {services} of {len(items)} days, "
        f"{sum(item['records'] for item in items):,} records, from {min(item['expires_at'] for item in items)} on."
        for (services, name), items in sorted(moved.items())
    ]
    anew = sorted(row["date"] for row in rows if "." in row["domain"])
    if anew:
        said.append(f"Days of which some records are erased already, with a certificate: {', '.join(anew)}.")
    return said


def _show(days: Mapping[date, tuple[str, int]]) -> None:
    from rich.text import Text

    from api.pages import COLOURS

    if not days:
        click.echo("no day has records")
        return
    out = console()
    out.print(Text("         " + "".join(f"{day:<5}" for day in range(1, 32, 5))))
    month = max(days).replace(day=1)
    while month >= min(days).replace(day=1):
        line = Text(f"{month:%Y-%m}  ")
        day = month
        while day.month == month.month:
            found = days.get(day)
            line.append(" " if found is None else SIGNS[found[0]], "" if found is None else COLOURS[found[0]])
            day += timedelta(days=1)
        out.print(line)
        month = (month - timedelta(days=1)).replace(day=1)
    key = Text()
    for phase, sign in SIGNS.items():
        key.append(f"{sign} {phase}   ", COLOURS[phase])
    out.print(key)
