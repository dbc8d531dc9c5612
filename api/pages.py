"""Pages for people without the program: an erasure certificate, the calendar of partitions. Self-contained HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from html import escape
from typing import Any, Final

COLOURS: Final = {
    "kept": "#2f6f9f",
    "floor passed": "#8fbfe0",
    "due": "#c0392b",
    "held": "#e0a030",
    "dropped": "#d5d8dc",
}
"""The phases of a partition, by their colours; the words stand beside them."""
MEANING: Final = {
    "kept": "kept: nothing removes it before the floor of six months",
    "floor passed": "kept by its class's period; the floor is passed",
    "due": "its period is over and it is not erased yet",
    "held": "held: an order or an unpaid invoice may need some of it, which is moved out before its end",
    "dropped": "erased, with a certificate",
}
WHAT: Final = {"records": "", "location": "the location in "}
"""What ends, beside the services that end sooner than their day."""
_STYLE: Final = """
@page { size: A4; margin: 20mm; }
body { font: 11pt/1.5 Georgia, 'Times New Roman', serif; color: #1a1a1a; max-width: 46rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; }
.sub { color: #555; margin: 0 0 1.5rem; }
.verdict { border-left: 4px solid #2e7d4f; background: #f1f7f3; padding: .6rem .9rem; margin: 1rem 0;
           overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th { text-align: left; font-weight: normal; color: #555; vertical-align: top; padding: .2rem 1rem .2rem 0;
     width: 15rem; }
td { padding: .2rem 0; font-family: ui-monospace, 'DejaVu Sans Mono', monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .7rem; background: #f6f6f6; padding: .7rem; }
.days { display: grid; grid-auto-flow: column; justify-content: start; grid-template-rows: repeat(7, 11px); gap: 2px;
  margin: .1rem 0 1rem; }
.months { display: grid; grid-template-columns: repeat(54, 11px); gap: 2px; font-size: .7rem; color: #555; }
.days i { width: 11px; height: 11px; border-radius: 2px; } .year { overflow-x: auto; }
.key { list-style: none; padding: 0; font-size: .85rem; } .key i { display: inline-block; width: 12px; height: 12px;
       margin-right: .5rem; border-radius: 2px; }
"""


def certificate_page(
    title: str, paragraphs: Sequence[str], facts: Mapping[str, str], *, checked: str, note: str
) -> str:
    """Return the page of a certificate; `checked` says with which public key it was verified."""
    body = f"<h1>{escape(title)}</h1><p class=sub>Certificate of erasure</p>"
    body += f"<p class=verdict>{escape(checked)}</p>"
    body += "".join(f"<p>{escape(text)}</p>" for text in paragraphs)
    rows = "".join(f"<tr><th>{escape(name)}<td>{escape(value)}</tr>" for name, value in facts.items())
    body += f"<h2>Details</h2><table>{rows}</table>"
    body += f"<h2>The certificate as it was signed</h2><pre>{escape(note)}</pre>"
    body += (
        "<p class=sub>This page repeats what the certificate's file says. Only the file proves it: "
        "<code>lagrum retention certificate verify FILE --key origin.pub</code></p>"
    )
    return _page(title, body)


def calendar_page(days: Mapping[date, tuple[str, int]], soon: Sequence[Mapping[str, Any]], told: Sequence[str]) -> str:
    """Return the calendar: a square per day of ended communications; `told` is said above it."""
    body = "<h1>Calendar of retention</h1>"
    body += "".join(f"<p class=sub>{escape(text)}</p>" for text in told)
    legend = "".join(
        f'<li><i style="background:{colour}"></i>{escape(MEANING[phase])}</li>' for phase, colour in COLOURS.items()
    )
    body += f"<ul class=key>{legend}</ul>"
    for year in sorted({day.year for day in days}, reverse=True):
        body += f"<h2>{year}</h2><div class=year>{_months(year)}<div class=days>{_year(year, days)}</div></div>"
    body += "<h2>What ends within the next 30 days</h2>"
    rows = "".join(
        f"<tr><th>{escape(row['day'])}<td>{escape(WHAT.get(row['what'], row['what'] + ' '))}"
        f"records that ended on {escape(', '.join(row['ended']))}: {row['records']:,}</tr>"
        for row in soon
    )
    body += f"<table>{rows}</table>" if rows else "<p>Nothing.</p>"
    return _page("Calendar of retention", body)


def _months(year: int) -> str:
    """Return the line of months' names, each above the week in which it begins."""
    first = date(year, 1, 1)
    weeks = [((date(year, month, 1) - first).days + first.weekday()) // 7 + 1 for month in range(1, 13)]
    names = "".join(f'<span style="grid-column:{week}">{month:02d}</span>' for month, week in enumerate(weeks, start=1))
    return f"<div class=months>{names}</div>"


def _year(year: int, days: Mapping[date, tuple[str, int]]) -> str:
    first = date(year, 1, 1)
    squares = ["<i></i>"] * first.weekday()
    for offset in range((date(year + 1, 1, 1) - first).days):
        day = first + timedelta(days=offset)
        found = days.get(day)
        if found is None:
            squares.append('<i style="background:#f4f4f4"></i>')
        else:
            phase, records = found
            text = f"{day.isoformat()}: {phase}, {records:,} records"
            squares.append(f'<i style="background:{COLOURS[phase]}" title="{escape(text)}"></i>')
    return "".join(squares)


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )
