"""`lagrum disclosure worklist|notice|inform`: what waits for whom, and whether customers and authorities were told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from api.cli.acting import Way, acting
from api.cli.disclosure_common import case_id, tell
from api.cli.output import emit, note, show_table

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_COLUMNS: Final = (
    ("left", "left"),
    ("waits_for", "waits for"),
    ("step", "step"),
    ("case", "case"),
    ("mark", ""),
)


@click.command("worklist")
@click.option("--mine", is_flag=True, help="Only what you can do.")
@acting
def worklist(way: Way, mine: bool) -> None:
    """Show what waits for whom, overdue first; officers see their own cases. No target is in it.

    \b
    Example:
      lagrum disclosure worklist --mine --as handler.key
    """
    with way.open() as client:
        document = client.get("/v1/disclosure/worklist", mine="true" if mine else "false")
    rows = [_row(item) for item in document["items"]]
    counts = document["counts"]
    emit(way.context, document, lambda: show_table(rows, _COLUMNS, empty="nothing waits"))
    if not way.context.json:
        note(f"{counts['overdue']} overdue, {counts['soon']} soon, {counts['open']} open")


@click.command("notice")
@click.argument("task")
@click.option("--withheld", metavar="WORD", help="As an approver: the customer is not told, and why, in one word.")
@acting
def notice(way: Way, task: str, withheld: str | None) -> None:
    """Put on file as a case handler that the customer was told; refused before the basis allows it.

    \b
    Examples:
      lagrum disclosure notice SE-T-7be1d0c4a2963f58 --as handler.key
      lagrum disclosure notice SE-T-7be1d0c4a2963f58 --withheld secrecy --as approver.key
    """
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/tasks/{case_id(task)}/notice", {"withheld": withheld}))


@click.command("inform")
@click.argument("task")
@acting
def inform(way: Way, task: str) -> None:
    """Put on file as a case handler that the authority was told that its result is outdated: by call, for one.

    \b
    Example:
      lagrum disclosure inform SE-T-7be1d0c4a2963f58 --as handler.key
    """
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/tasks/{case_id(task)}/inform", {}))


def duration_text(seconds: int | None) -> str:
    """Return a time left in its two largest units; a negative one is overdue."""
    if seconds is None:
        return "no end"
    size = abs(seconds)
    days, hours, minutes = size // _DAY, size % _DAY // _HOUR, size % _HOUR // _MINUTE
    text = f"{days} d {hours} h" if days else f"{hours} h {minutes} min"
    return text if seconds > 0 else f"late {text}"


def _row(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "left": duration_text(item["left_seconds"]),
        "waits_for": item["person"] or item["waits_for"],
        "step": item["step"],
        "case": item["case"],
        "mark": " ".join([word for word in ("emergency", "test") if item[word]] + _push(item["push"])),
    }


def _push(word: str | None) -> list[str]:
    return [] if word is None else [f"push: {word}"]


COMMANDS: Final = (worklist, notice, inform)
