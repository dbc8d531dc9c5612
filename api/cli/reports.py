"""`lagrum disclosure report|costs|look-ups`: the year in numbers, what it costs, and who looked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from api.cli.acting import Way, acting
from api.cli.disclosure_common import FILE, read_json
from api.cli.output import counted, emit, note, refuse_existing, show_table

OUT: Final = click.Path(path_type=Path, dir_okay=False)
YEAR: Final = click.IntRange(1970, 9998)


@click.command("report")
@click.option("--year", required=True, type=YEAR, metavar="YEAR", help="Calendar year, UTC.")
@click.option("--exact", is_flag=True, help="With small counts: not for publication.")
@click.option("--html", "page_file", type=OUT, metavar="FILE", help="Write the report as a page too.")
@acting
def report(way: Way, year: int, exact: bool, page_file: Path | None) -> int:
    """Report a year's tasks by basis, country and outcome, as an approver or the data protection officer.

    The exit code is 1 when the cases on file and the audit log do not tell the same.

    \b
    Example:
      lagrum disclosure report --year 2026 --html report-2026.html --as dpo.key
    """
    with way.open() as client:
        document = client.get("/v1/disclosure/reports/transparency", year=year, exact="true" if exact else "false")
    if page_file is not None:
        from api.disclosure.report_page import page

        _write(page_file, page(document))
    emit(way.context, document, lambda: _show_report(document))
    return 1 if document["agreement"]["agrees"] is False else 0


@click.command("costs")
@click.option("--year", required=True, type=YEAR, metavar="YEAR", help="Calendar year, UTC.")
@click.option("--prices", type=FILE, metavar="FILE", help="JSON: currency, and prices with their citation or own.")
@click.option("--csv", "csv_file", type=OUT, metavar="FILE", help="Export the ledger too.")
@acting
def costs(way: Way, year: int, prices: Path | None, csv_file: Path | None) -> None:
    """Show what work each task was, and what it costs by your price list, as billing, an approver or the DPO.

    \b
    A price list names for every figure where it comes from:
      {"currency": "SEK", "prices": [
        {"unit": "task", "basis": "*", "amount_minor": 45000,
         "from": "2026-01-01", "own": true}]}

    \b
    Example:
      lagrum disclosure costs --year 2026 --prices prices.json --csv costs-2026.csv --as billing.key
    """
    with way.open() as client:
        document = client.get("/v1/disclosure/reports/costs", year=year)
    if prices is not None:
        from api.disclosure.costs import priced
        from schemas.legal_bases import BASES
        from schemas.prices import parse_prices

        document = priced(document, parse_prices(read_json(prices), {basis.id for basis in BASES}))
    if csv_file is not None:
        from api.disclosure.costs import to_csv

        _write(csv_file, to_csv(document))
    emit(way.context, document, lambda: _show_costs(document))


@click.command("look-ups")
@click.option("--from", "start", required=True, metavar="DATE", help="First day, UTC.")
@click.option("--to", "end", required=True, metavar="DATE", help="First day after it.")
@click.option("--person", metavar="ID", help="One person only.")
@acting
def look_ups(way: Way, start: str, end: str, person: str | None) -> int:
    """Report as the data protection officer who looked up what, in which case and when; no target is in it.

    The exit code is 1 when a task was released without three persons in three roles.

    \b
    Example:
      lagrum disclosure look-ups --from 2026-10-01 --to 2026-11-01 --as dpo.key
    """
    params = {"from": start, "to": end, "person": person}
    with way.open() as client:
        document = client.get("/v1/disclosure/reports/look-ups", **params)
    emit(way.context, document, lambda: _show_look_ups(document))
    return 1 if document["four_eyes"]["violations"] else 0


def _show_report(document: Mapping[str, Any]) -> None:
    from api.disclosure.report_page import cells

    outcomes = document["outcomes"]
    names = ("basis", "country", "tasks", *outcomes, "urgent", "late", "lapsed late", "median h", "p95 h")
    rows = [dict(zip(names, cells(row, outcomes), strict=True)) for row in document["rows"]]
    title = f"{document['year']}, {document['edition']} edition"
    first = ("basis", "country", "tasks", "urgent", "late", "median h", "p95 h")
    show_table(rows, [(name, name) for name in first], title=title, empty="no tasks")
    if rows:
        ends = [name for name in outcomes if any(row[name] != "0" for row in rows)]
        show_table(rows, [(name, name.partition("-")[0]) for name in ("basis", "country", *ends)])
    if document["rule"]:
        note(document["rule"])
    agrees = document["agreement"]
    words = {True: "the same", False: "NOT the same", None: "nothing any more of that year"}
    note(f"The audit log tells {words[agrees['agrees']]}.")
    for case in agrees["differences"] or ():
        note(f"differs: {case}")


def _show_costs(document: Mapping[str, Any]) -> None:
    rows = [{**row, **row["units"]} for row in document["rows"]]
    columns = [("task", "task"), ("basis", "basis"), ("authority", "authority"), ("registered_on", "registered")]
    columns += [(unit, unit) for unit in document["totals"] if unit != "task"]
    if "currency" in document:
        for row in rows:
            row["amount"] = f"{row['amount_minor'] / 100:,.2f}"
        columns.append(("amount", document["currency"]))
    show_table(rows, columns, empty="no tasks")
    if "currency" in document:
        note(f"{document['amount_minor'] / 100:,.2f} {document['currency']}")
        if document["unpriced"]:
            note(f"without a price: {', '.join(document['unpriced'])}")


def _show_look_ups(document: Mapping[str, Any]) -> None:
    rows = [{**row, "cases": len(row["cases"])} for row in document["persons"]]
    columns = (
        ("person", "person"),
        ("roles", "roles"),
        ("look_ups", "look-ups"),
        ("cases", "cases"),
        ("without_case", "without case"),
        ("refused", "refused"),
        ("readings", "other readings"),
    )
    show_table(rows, columns, empty="nobody looked")
    eyes = document["four_eyes"]
    note(
        f"{counted(eyes['released'], 'task')} released, {len(eyes['violations'])} without three persons in three roles"
    )
    for case in eyes["violations"]:
        note(f"not four eyes: {case}")


def _write(path: Path, content: bytes) -> None:
    from store.files import write_atomic

    refuse_existing(path)
    write_atomic(path, content)


COMMANDS: Final = (report, costs, look_ups)
