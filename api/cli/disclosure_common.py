"""What the disclosure's commands share: files with orders, ids of cases, and lines for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from api.cli.acting import Way
from api.cli.output import emit, note, show_facts
from schemas.errors import ConfigurationError, InputError

ORDER_BYTES_MAX: Final = 1 << 20
DOCUMENT_BYTES_MAX: Final = 4 << 20
FILE: Final = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
_ORDER: Final = (
    *("basis", "basis_version", "decision_reference", "decided_on", "decided_by", "authority", "authority_name"),
    *("country", "expires_at", "preservation", "emergency", "confirm_by", "suspended_by", "test", "documents"),
)
"""What a person who signs sees of the authorisation, beside the task's own targets, window and categories."""
SHOWN_CHARACTERS_MAX: Final = 8_000
"""Of a document beside its fields: some pages; a longer one is fetched."""
_LEGIBLE: Final = ("text/plain", "application/json", "application/xml")
_LIVE: Final = ("AwaitingApproval", "EmergencyApproval", "Approved")
_STEPS: Final = {
    "registered": ("a case handler", "check {id}"),
    "checked": ("an approver", "approve {id}"),
    "approved": ("its case handler", "run {id}"),
    "failed": ("its case handler", "run {id}"),
    "run": ("an approver", "release {id}"),
    "released": ("its officer", "deliver {id} --output FILE"),
}


def tell(way: Way, document: Mapping[str, Any]) -> None:
    """Show a case, and people whose step is the next."""
    emit(way.context, document, lambda: show_facts(flat(document)))
    step = next_step(document)
    if step is not None and not way.context.json:
        note(f"Next: {step}")


def next_step(document: Mapping[str, Any]) -> str | None:
    """Return who does what next in a case as it is shown; None when nobody does, or the document is no case."""
    order = document.get("authorisation")
    if not isinstance(order, Mapping) or order["state"] not in _LIVE:
        return None
    # An officer is not told the stage of what is not released.
    stage = document.get("stage") or ("registered" if document["state"] == "AwaitingApproval" else "")
    if stage not in _STEPS:
        return None
    who, step = _STEPS[stage]
    return f"{who}: lagrum disclosure {step.format(id=document['id'])}"


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a case as lines for people."""
    facts: dict[str, Any] = {}
    for name, value in document.items():
        match value:
            case {"from": start, "to": end}:
                facts[name] = f"{start} to {end}"
            case {"spoken_with": whom, "called_at": time, "by": person}:
                facts[name] = f"{person} spoke with {whom}, {time}"
            case {"person_id": person}:
                facts[name] = person
            case {"by": {"person_id": person}, "statement": {"time": time}}:
                facts[name] = f"{person}, {time}"
            case {"documents": _, "id": case}:
                facts[name] = case
                facts |= flat({term: value[term] for term in _ORDER})
            case {"counts": _, "fields": _}:
                facts |= _result(value)
            case list():
                facts[name] = ", ".join(_item(item) if isinstance(item, dict) else str(item) for item in value)
            case _:
                facts[name] = value
    return facts


def _result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an approver weighs before the release: how much, of what, for whom, and what is missing."""
    erased = [f"{days['from']} to {days['to']}" for days in result["erased_days"]]
    facts = {"result": result["result"], "counts": result["counts"], "fields": result["fields"], "erased_days": erased}
    if "expired" in result:
        facts["expired"] = {what: f"on {len(days)} days" for what, days in result["expired"].items()}
    recipient = result["recipient"]
    return facts | {"recipient": f"{recipient['name']} ({recipient['country']})", "parts": len(result["parts"])}


def _item(item: Mapping[str, Any]) -> str:
    if "media_type" in item:
        return f"{item['media_type']}, {item['bytes']} bytes, sha256 {item['sha256']}"
    port = "" if item.get("port") is None else f" port {item['port']}"
    held = "" if item.get("held_on") is None else f" as held on {item['held_on']}"
    whose = "" if item.get("tenant") is None else f" of {item['tenant'] or 'no tenant'}"
    place = "" if item.get("element") is None else f" at {item['element']}"
    return f"{item.get('kind')} {item.get('value')}{port}{held}{whose}{place} (written {item.get('as_written')})"


def legible(media_type: str, content: bytes) -> str | None:
    """Return a document as a terminal may show it; None: it is no text, or more than anybody reads there.

    What is not printable is shown as a replacement: a terminal obeys control characters, whoever wrote them.
    """
    if media_type not in _LEGIBLE or len(content) > 4 * SHOWN_CHARACTERS_MAX:
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    shown = (letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text.expandtabs())
    return "".join(shown) if len(text) <= SHOWN_CHARACTERS_MAX else None


def read_json(path: Path) -> Any:
    """Return the JSON of a file, or of standard input for `-`."""
    return parse_json(read_octets(path))


def parse_json(content: bytes) -> Any:
    """Return the value of JSON octets; nothing of them is quoted when they are none."""
    import orjson

    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        place = f"it stops being JSON at line {error.lineno}, column {error.colno}"
        raise InputError("an order is JSON", hint=f"{place}; --help has an example") from None


def read_octets(path: Path, bytes_max: int = ORDER_BYTES_MAX) -> bytes:
    """Return a file's octets, or standard input's for `-`."""
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(bytes_max + 1)
        else:
            with path.open("rb") as file:
                content = file.read(bytes_max + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > bytes_max:
        raise InputError(f"an order has at most {ORDER_BYTES_MAX >> 20} MiB, its document {DOCUMENT_BYTES_MAX >> 20}")
    return content


def case_id(text: str) -> str:
    """Return an id that may stand in a path."""
    if not text or not all(character.isalnum() or character == "-" for character in text):
        raise ConfigurationError("a case is named by its id, such as SE-T-7be1d0c4a2963f58")
    return text
