"""The page that a prosecutor reads: what was ordered, what was found, who answered for it, how to check it.

One self-contained HTML file: no script, nothing loaded from anywhere, legible on paper and on a
phone, where a row stands as a block. It holds no records. Everything
that comes from an order is escaped, and the page's own policy forbids whatever would slip through.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_STYLE: Final = """
@page { size: A4; margin: 20mm 18mm }
body { font: 11pt/1.45 "Liberation Serif", Georgia, serif; color: #111; background: #fff; max-width: 46em;
  margin: 2em auto; padding: 0 1em }
h1 { font-size: 17pt; margin: 0 0 .2em } h2 { font-size: 12.5pt; margin: 1.6em 0 .4em; border-bottom: 1px solid #999 }
.lead { margin: 0 0 1em; color: #444 } .test { border: 3px solid #a00; padding: .4em .8em; font-weight: bold }
table { border-collapse: collapse; width: 100%; margin: .3em 0 }
th, td { text-align: left; vertical-align: top; padding: .25em .9em .25em 0; border-bottom: 1px solid #ddd }
th { font-weight: normal; color: #555; white-space: nowrap } thead th { border-bottom: 1px solid #777 }
td:first-child, td code, .w { white-space: nowrap } td.d code { white-space: normal }
tr { break-inside: avoid } h2 { break-after: avoid } .n { text-align: right; font-variant-numeric: tabular-nums }
code { font: 8.5pt/1.35 "Liberation Mono", monospace; overflow-wrap: anywhere }
.big { font-size: 15pt } ol li { margin: .3em 0 } p.none { color: #444 }
@media screen and (max-width: 40em) {
  body { margin: 1em auto } h1 { overflow-wrap: anywhere }
  table, tbody, tr, th, td { display: block } thead { display: none }
  tr { padding: .4em 0; border-bottom: 1px solid #999 } th, td { border: 0; padding: 0 }
  td:first-child, td code { white-space: normal; overflow-wrap: anywhere } .n { text-align: left }
  td[data-head]:not(:empty)::before { content: attr(data-head) ": "; color: #555 }
}
@media print { body { margin: 0; max-width: none; padding: 0 } }
"""
_WORD_CHARS: Final = 24
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_KINDS: Final = {
    "number": "Telephone number",
    "imsi": "IMSI (subscriber)",
    "imei": "IMEI (equipment)",
    "mac": "MAC address",
    "ip": "IP address",
    "account": "Account",
}
_DECIDERS: Final = {"court": "a court", "prosecutor": "a prosecutor", "authority": "the authority itself"}


def page(manifest: Mapping[str, Any], receipt: Mapping[str, Any], manifest_sha256: str) -> bytes:
    """Return the page of one release.

    Args:
        manifest: what the delivery holds.
        receipt: the release, without the digests that name this page.
        manifest_sha256: the digest that the release approved, hex.
    """
    order, counts = manifest["order"], manifest["counts"]
    body = [
        f"<h1>Disclosure of traffic data, {_t(order['task'])}</h1>",
        f'<p class="lead">To {_t(manifest["recipient"]["name"])}, on decision {_t(order["decision_reference"])}.</p>',
    ]
    if "test" in manifest:
        body.append('<p class="test">TEST. These records are made up; no real person is concerned.</p>')
    body += _order(order, manifest["recipient"], receipt)
    body += _found(order, counts)
    body += _marks(counts, manifest.get("corrections", {}), manifest)
    body += _parts(manifest)
    body += _persons(receipt)
    body += _check(manifest, receipt, manifest_sha256)
    text = "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Disclosure {_t(order['task'])}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )
    return text.encode("utf-8")


def _order(order: Mapping[str, Any], recipient: Mapping[str, Any], receipt: Mapping[str, Any]) -> Iterable[str]:
    basis = order["basis"]
    yield "<h2>The order</h2>"
    yield _facts(
        [
            ("Authority", f"{recipient['name']} ({recipient['country']})"),
            ("Decision", f"{order['decision_reference']}, of {order['decided_on']}"),
            ("Decided by", _DECIDERS.get(order["decided_by"], order["decided_by"])),
            ("Legal basis", f"{basis['title']}: {basis['citation']} (version {basis['version']} of the table)"),
            *([("Emergency", _emergency(receipt["confirmation"]))] if order["emergency"] else []),
            ("Time asked for", f"from {_time(order['window']['from'])} to before {_time(order['window']['to'])}"),
            ("Kinds of data", ", ".join(order["categories"])),
            ("Authorisation, task", f"{order['authorisation']}, {order['task']}"),
        ]
    )


def _emergency(confirmation: Mapping[str, Any] | None) -> str:
    """Say who stood for an order that did not wait for its regular decision."""
    if confirmation is None:
        return "yes; the regular decision had not confirmed it when this was released"
    decider = _DECIDERS.get(confirmation["decided_by"], confirmation["decided_by"])
    return f"yes; confirmed by {decider}: {confirmation['reference']}, of {confirmation['decided_on']}"


def _found(order: Mapping[str, Any], counts: Mapping[str, Any]) -> Iterable[str]:
    total = counts["records"]
    yield "<h2>What was found</h2>"
    if not total:
        yield '<p class="big">No records.</p>'
        yield "<p>The store was asked for every target below over the whole time, and holds nothing. That is a result."
        yield "</p>"
    else:
        yield f'<p class="big">{total:,} record{"" if total == 1 else "s"}.</p>'
    rows = [
        [
            _KINDS.get(target["kind"], target["kind"]),
            target["value"]
            + ("" if target.get("port") is None else f" port {target['port']}")
            + ("" if target.get("held_on") is None else f", as held on {target['held_on']}")
            + ("" if target.get("tenant") is None else f", of {target['tenant'] or 'no tenant'}")
            + ("" if target.get("element") is None else f", at {target['element']}"),
            target["as_written"],
            f"{number:,}",
        ]
        for target, number in zip(order["targets"], counts["by_target"], strict=True)
    ]
    if any(target.get("held_on") for target in order["targets"]):
        yield "<p>Where a day is named, only records that began in that day's subscription were asked for.</p>"
    yield _table(("Target", "Searched for", "As the order writes it", "Records"), rows, numbers=(3,))
    if sum(counts["by_target"]) > total:
        yield "<p>A record that names two targets is counted for each of them, and delivered once.</p>"


def _marks(
    counts: Mapping[str, Any], corrections: Mapping[str, Sequence[int]], manifest: Mapping[str, Any]
) -> Iterable[str]:
    yield "<h2>What to know when reading the records</h2>"
    said = [
        ("Contradict another record of the same identity (both are delivered, marked conflict)", counts["conflicts"]),
        (
            "A time is uncertain: it occurs twice, at the end of summer time, or the answer is not between start and "
            "end (marked time_ambiguous)",
            counts["time_ambiguous"],
        ),
        ("End was computed and not reported (marked end_inferred)", counts["end_inferred"]),
        ("Sessions still open when the search began, told as far as they were known", counts["open_sessions"]),
        *(
            (f"Marked {kind} by the operator (the manifest lists them)", len(rows))
            for kind, rows in corrections.items()
        ),
    ]
    lines = [f"{what}: {number:,} of {counts['records']:,} records." for what, number in said if number]
    for stretch in manifest["erased_days"]:
        lines.append(
            f"From {stretch['from']} to before {stretch['to']} the data is erased, because its period of retention "
            "is over. Nothing can be said of those days"
            + (", beyond what the preservation kept." if "preserved" in manifest else ".")
        )
    lines += _kept_apart(manifest)
    for category, days in manifest.get("expired", {}).items():
        span = days[0] if len(days) == 1 else f"{len(days)} days between {days[0]} and {days[-1]}"
        if category.startswith("service "):
            lines.append(f"Of {span}, every record of the {category} is erased: its period is over before the others'.")
        else:
            lines.append(f"Of {span}, data of the kind {category} is erased; the rest of those records is delivered.")
    local = "; utc_offset_s leads back to its local time" if "utc_offset_s" in manifest["fields"] else ""
    yield f"<p>Times of records are those of the switch that reported them, in UTC{local}. "
    yield "Times of search, signatures and release are the operator's.</p>"
    if lines:
        yield "<ul>" + "".join(f"<li>{_t(line)}</li>" for line in lines) + "</ul>"
    else:
        yield '<p class="none">No record is marked as uncertain, and no day of the time asked for is erased.</p>'


def _kept_apart(manifest: Mapping[str, Any]) -> Iterable[str]:
    """Say what came from a preservation, and which target had other subscribers within the time asked for."""
    held = manifest.get("preserved")
    if held is not None:
        yield (
            f"{len(held['records']):,} records come from the preservation {held['reference']}, and "
            f"{len(held['locations']):,} others have only their location from it (the manifest lists both)."
        )
    for item in manifest.get("subscribers", ()):
        spans = item["subscriptions"]
        if len(spans) > 1 or item["rows_without_subscription"]:
            said = "; ".join(f"from {span['from']} to before {span['to']}" for span in spans)
            yield (
                f"Target {item['target'] + 1} did not belong to one subscriber all the time: {said}. The manifest "
                "tells which records began in which of these times; who communicated is another question."
            )


def _parts(manifest: Mapping[str, Any]) -> Iterable[str]:
    parts = manifest["parts"]
    yield "<h2>The files</h2>"
    if not parts:
        yield '<p class="none">There are no files of records.</p>'
        return
    rows = [
        [f"part-{part['sequence']:04d}/{item['name']}", f"{part['records']:,}", f"{item['bytes']:,}", item["sha256"]]
        for part in parts
        for item in part["files"]
    ]
    yield _table(("File", "Records", "Bytes", "SHA-256"), rows, numbers=(1, 2), code=(3,))
    if manifest["profiles"]:
        yield f"<p>{_t('; '.join(f'{name}: {what}' for name, what in sorted(manifest['profiles'].items())))}.</p>"


def _persons(receipt: Mapping[str, Any]) -> Iterable[str]:
    persons, approvals = receipt["persons"], receipt["approvals"]
    rows = [["Officer of the authority", persons["officer"]["person_id"], persons["officer"]["key_id"], ""]]
    if persons["case_handler"] is not None:
        rows.append(
            [
                "Case handler, checked and searched",
                persons["case_handler"]["person_id"],
                persons["case_handler"]["key_id"],
                "",
            ]
        )
    for name, what in (("request", "Approved the request"), ("release", "Approved the release")):
        approval = approvals[name]
        if approval is not None:
            rows.append(
                [what, approval["by"]["person_id"], approval["by"]["key_id"], _time(approval["statement"]["time"])]
            )
    yield "<h2>Who answers for it</h2>"
    yield _table(("Role", "Person", "Key", "Signed at"), rows, code=(2,))


def _check(manifest: Mapping[str, Any], receipt: Mapping[str, Any], manifest_sha256: str) -> Iterable[str]:
    yield "<h2>How to check it</h2>"
    yield _facts(
        [
            ("Store", manifest["store"]),
            ("Searched", _time(receipt["delivery"]["searched_at"])),
            ("Released", _time(receipt["released_at"])),
        ]
    )
    yield "<p>SHA-256 of manifest.json, which lists every file, and which the release approved:<br>"
    yield f"<code>{_t(manifest_sha256)}</code></p>"
    yield (
        "<ol><li>Get the operator's delivery key by another road than this delivery.</li>"
        "<li>Run <code>lagrum delivery verify FOLDER --signed-by KEY</code>: signatures, digests, sequence and counts."
        "</li><li>Without that program: the SHA-256 of each file is in the table above and in manifest.json; "
        "manifest.sig is an Ed25519 signature (RFC 8032) over the line <code>lagrum-delivery-v2</code> and the octets "
        "of manifest.json.</li>"
        "<li>The operator's log of all steps is a transparency log; receipt.json has its signed state at the release."
        "</li>"
    )
    if receipt["evidence"] is not None:
        yield (
            "<li>That nothing is missing: an auditor of the operator runs "
            f"<code>lagrum audit completeness {_t(manifest['order']['task'])}</code>, which compares this delivery "
            "with the store and its log.</li>"
        )
    yield "</ol>"


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><th>{_t(name)}</th><td>{_t(value)}</td></tr>" for name, value in rows) + "</table>"


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), code: Sequence[int] = ()
) -> str:
    def cell(place: int, value: str) -> str:
        text = f"<code>{_t(value)}</code>" if place in code else _t(value)
        kind = "n" if place in numbers else "d" if len(value) > 40 and place in code else ""
        if not kind and len(value) <= _WORD_CHARS and " " not in value:
            kind = "w"  # an id of a person has a hyphen, at which it would break
        named = f' data-head="{_t(heads[place])}"' if place else ""
        return f'<td class="{kind}"{named}>{text}</td>' if kind else f"<td{named}>{text}</td>"

    head = "".join(
        f'<th class="n">{_t(name)}</th>' if place in numbers else f"<th>{_t(name)}</th>"
        for place, name in enumerate(heads)
    )
    body = "".join("<tr>" + "".join(cell(place, value) for place, value in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _time(text: str) -> str:
    """Return an instant without the fraction that is nothing."""
    return f"{text[:10]} {text[11:].removesuffix('Z').removesuffix('.000000')} UTC"


def _t(value: Any) -> str:
    return html.escape(str(value), quote=True)
