"""`lagrum disclosure authorise|confirm|extend`: an authority's decisions, from files and never from arguments."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any, Final

import click

from api.cli.acting import Way, acting
from api.cli.disclosure_common import DOCUMENT_BYTES_MAX, FILE, case_id, parse_json, read_octets, tell
from api.cli.output import note
from schemas.errors import ConfigurationError, InputError

_MEDIA_TYPES: Final = {".pdf": "application/pdf", ".xml": "application/xml", ".json": "application/json"}


@click.command("authorise")
@click.argument("order", type=FILE, required=False)
@click.option("--order", "order_file", type=FILE, metavar="FILE", help="The same, by name.")
@click.option("--document", type=FILE, metavar="FILE", help="The decision itself: PDF, XML, JSON or text.")
@acting
def authorise(way: Way, order: Path | None, order_file: Path | None, document: Path | None) -> None:
    """File what was decided; ORDER is a JSON file, or - for standard input.

    Without --document the order's own file is kept as what the authority sent.

    \b
    Example of an order:
      {"basis": "secret-surveillance", "decision_reference": "B 1234-26",
       "decided_on": "2026-11-20", "decided_by": "court",
       "expires_at": "2026-12-22",
       "authority": "police-se", "country": "SE",
       "targets": [{"kind": "number", "value": "070-123 45 67"}],
       "window": {"from": "2026-10-01", "to": "2026-11-01"}}
    The window and the authorisation end as that day begins (UTC).
    Decisions are by a court, a prosecutor or an authority.
    An emergency has "emergency": true, a test on made records "test": true.

    \b
    Example:
      lagrum disclosure authorise order.json --document decision.pdf --as officer.key
    """
    path = order or order_file
    if path is None or (order and order_file):
        raise ConfigurationError("an order is one file")
    filed = _post_ruling(way, "/v1/disclosure/authorisations", path, document)
    if way.context.json:
        return
    if any(target["kind"] == "number" and target["value"] == target["as_written"] for target in filed["targets"]):
        note("A number without +, 00 or the national prefix is searched for as it is written; compare `targets`.")
    note(f"Next: its officer: lagrum disclosure register {filed['id']}")


@click.command("confirm")
@click.argument("authorisation")
@click.argument("ruling", type=FILE)
@click.option("--document", type=FILE, metavar="FILE", help="The decision itself: PDF, XML, JSON or text.")
@acting
def confirm(way: Way, authorisation: str, ruling: Path, document: Path | None) -> None:
    """Confirm an emergency, as an officer of its authority, with the regular decision.

    \b
    Example of a ruling:
      {"decision_reference": "B 1234-26/2", "decided_on": "2026-11-22",
       "decided_by": "court"}

    A decision that grants less says what it grants: "targets", "window" or
    "categories", as in an order. Tasks that ask for more end.

    \b
    Example:
      lagrum disclosure confirm SE-A-0f3c2a5e9b8d7416 ruling.json --document decision.pdf --as officer.key
    """
    _post_ruling(way, f"/v1/disclosure/authorisations/{case_id(authorisation)}/confirm", ruling, document)


@click.command("extend")
@click.argument("authorisation")
@click.argument("ruling", type=FILE)
@click.option("--document", type=FILE, metavar="FILE", help="The decision itself: PDF, XML, JSON or text.")
@acting
def extend(way: Way, authorisation: str, ruling: Path, document: Path | None) -> None:
    """Extend an authorisation as its officer; an approver approves its tasks anew.

    \b
    Example of a ruling:
      {"decision_reference": "B 1234-26/3", "decided_on": "2026-12-20",
       "decided_by": "court", "expires_at": "2027-01-22"}

    \b
    Example:
      lagrum disclosure extend SE-A-0f3c2a5e9b8d7416 ruling.json --document decision.pdf --as officer.key
    """
    _post_ruling(way, f"/v1/disclosure/authorisations/{case_id(authorisation)}/extend", ruling, document)


def _post_ruling(way: Way, path: str, written: Path, document: Path | None) -> dict[str, Any]:
    """Send a decision and show its case; a document goes with it, else the file's octets are kept as they are sent."""
    import orjson

    content = read_octets(written)
    body = parse_json(content)
    if document is not None:
        if not isinstance(body, dict):
            raise InputError("an order is a JSON object")
        media_type = _MEDIA_TYPES.get(document.suffix.lower(), "text/plain")
        encoded = b64encode(read_octets(document, DOCUMENT_BYTES_MAX)).decode("ascii")
        content = orjson.dumps(body | {"document": {"media_type": media_type, "content": encoded}})
    with way.open() as client:
        headers = {"Content-Type": "application/json"}
        filed: dict[str, Any] = client.call("POST", path, content=content, headers=headers)
    tell(way, filed)
    return filed


COMMANDS: Final = (authorise, confirm, extend)
