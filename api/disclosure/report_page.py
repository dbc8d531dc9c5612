"""The yearly report as one self-contained HTML page: no script, nothing loaded, legible on paper. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_STYLE: Final = """
@page { size: A4 landscape; margin: 16mm }
body { font: 11pt/1.45 "Liberation Serif", Georgia, serif; color: #111; background: #fff; max-width: 68em;
  margin: 2em auto; padding: 0 1em }
h1 { font-size: 17pt; margin: 0 0 .2em } h2 { font-size: 12.5pt; margin: 1.6em 0 .4em }
.lead { margin: 0 0 1em; color: #444 } .scroll { overflow-x: auto }
table { border-collapse: collapse; margin: .3em 0 } tr { break-inside: avoid }
th, td { text-align: right; vertical-align: bottom; padding: .25em .6em .25em 0; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums } td { font-size: 10pt } th { font-size: 9.5pt }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left }
thead th { font-weight: normal; color: #555; border-bottom: 1px solid #777 } tfoot td { font-weight: bold }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 9pt } .scroll { overflow: visible } }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SMALL, HIDDEN, LEAST = "<5", "*", "+"
"""In place of a small count; of a part that would tell one; after a sum beside either, which is a least one."""


def page(report: Mapping[str, Any]) -> bytes:
    """Return the page of a report, the same octets for the same report."""
    title = f"Disclosures of traffic data, {report['year']}"
    body = [f"<h1>{_t(title)}</h1>", f'<p class="lead">{_lead(report)}</p>', *_table(report)]
    if report["rows_left_out"]:
        body.append("<p>Rows of few tasks are left out, of the sums too.</p>")
    body.append("<h2>How to read it</h2><ul>")
    body += [f"<li>{_t(line)}</li>" for line in _notes(report)]
    body.append("</ul>")
    text = "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_t(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )
    return text.encode("utf-8")


def _lead(report: Mapping[str, Any]) -> str:
    agrees = report["agreement"]["agrees"]
    words = {
        True: "Counted from the cases on file; the audit log tells the same.",
        False: "Counted from the cases on file; THE AUDIT LOG DOES NOT TELL THE SAME.",
        None: "Counted from the cases on file; the audit log of that year is over and cannot be compared.",
    }
    return _t(words[agrees])


def _notes(report: Mapping[str, Any]) -> Iterable[str]:
    yield "A task is counted in the year of its registration, with what has become of it by now. Tests are left out."
    yield "Late: released after the basis's deadline. Hours run from registration to release."
    yield "Expired and lapsed: the decision ended, or an emergency was not confirmed, before an answer."
    if report["rule"]:
        yield f"{SMALL}: withheld, 1 to 4. {HIDDEN}: withheld. {LEAST}: at least, for something beside it is withheld."
        yield report["rule"]


def _table(report: Mapping[str, Any]) -> Iterable[str]:
    if not report["rows"]:
        yield "<p>No tasks.</p>"
        return
    heads = ["Basis", "Country", "Tasks", *(word.replace("-", " ") for word in report["outcomes"])]
    heads += ["emergencies", "late", "delivered, then lapsed", "median, h", "p95, h"]
    yield (
        '<div class="scroll"><table><thead><tr>'
        + "".join(f'<th scope="col">{_t(head)}</th>' for head in heads)
        + "</tr></thead>"
    )
    totals = {"basis": "All", "country": "", "median_hours": "", "p95_hours": "", **report["totals"]}
    lines = [cells(row, report["outcomes"]) for row in report["rows"]]
    sums = cells(totals, report["outcomes"])
    least = [any(line[place].endswith((SMALL, HIDDEN, LEAST)) for line in lines) for place in range(len(sums))]
    yield "<tbody>" + "".join(map(_line, lines)) + "</tbody><tfoot>"
    yield _line(text + LEAST if is_least else text for text, is_least in zip(sums, least, strict=True))
    yield "</tfoot></table></div>"


def cells(row: Mapping[str, Any], outcomes: Sequence[str]) -> list[str]:
    """Return a row as people read it: what is withheld, and what is a sum beside it, says so."""
    hides = any(row["outcomes"][word] is None for word in outcomes)
    counts = [_count(row["outcomes"][word], SMALL) for word in outcomes]
    counts += [_count(row[name], HIDDEN) for name in ("emergencies", "late", "delivered_then_lapsed")]
    times = ["-" if row[name] is None else str(row[name]) for name in ("median_hours", "p95_hours")]
    return [row["basis"], row["country"], f"{row['tasks']:,}{LEAST if hides else ''}", *counts, *times]


def _count(count: int | None, withheld: str) -> str:
    return withheld if count is None else f"{count:,}"


def _line(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<td>{_t(cell)}</td>" for cell in cells) + "</tr>"


def _t(value: Any) -> str:
    return html.escape(str(value), quote=True)
