"""What an erasure certificate says, in words. Pure."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from schemas.retention import CATEGORY_FLOORS
from store.clock import to_datetime
from store.retention.certificates import HELD, NONE, WHOLE, Certificate
from store.retention.clocktrust import WORDS

ROOTS: Final = {
    "file": "The key that wrapped it lay in a key file, which was overwritten. No copy of the key is left in any "
    "registered place. A copy that somebody made in secret before would still open copies of the data.",
}
_EXPORTLESS: Final = (
    "The key that wrapped it cannot leave its device and was destroyed there: nobody has the key any more."
)


_GONE: Final = "The key was not there any more when the erasure began: it had been destroyed before."


def title(certificate: Certificate) -> str:
    """Return the title: what it certifies."""
    category = certificate.body["category"]
    if category == HELD:
        return f"Erasure of what hold {certificate.body['hold']['id']} kept"
    day = date.fromisoformat(str(certificate.body["end_date"]))
    return f"Erasure of the {'' if category == WHOLE else f'{category} in the '}traffic data of {_day(day)}"


def paragraphs(certificate: Certificate) -> list[str]:
    """Return what was erased and why, one statement a paragraph."""
    body = certificate.body
    if body["category"] == HELD:
        return _of_hold(certificate)
    day = _day(date.fromisoformat(str(body["end_date"])))
    policy = body["policy"]
    parts = "1 file" if body["parts"] == 1 else f"{body['parts']:,} files"
    if body["category"] != WHOLE:
        return _of_category(certificate)
    if body["rewritten"] is not None:
        return _of_single_records(certificate)
    said = [
        f"All {body['records']:,} records of communications that ended on {day} (UTC), stored in {parts} of "
        f"{body['bytes']:,} bytes as partition {body['partition']}, were erased on {instant(body['erased_us'])}.",
        f"Why: the period of retention class “{policy['class']}”, {policy['months']} calendar months counted from the "
        f"day on which the communication ended, was over at {_stamp(body['period_over'])}. Basis: "
        f"{policy['legal_basis']} ({policy['citation']}); version {policy['version']} of the policy. The floor of six "
        f"months, before which nothing may be removed, had passed at {_stamp(body['floor_until'])}.",
        "How: the partition's key was destroyed, then its files were unlinked. " + ROOTS.get(body["root"], _EXPORTLESS),
        _holds(body["holds"]),
        _clock(body["clock"]),
    ]
    if body["key_commitment"] == NONE:
        said.append(_GONE)
    return said


def _of_hold(certificate: Certificate) -> list[str]:
    body, hold = certificate.body, certificate.body["hold"]
    files = "1 file" if body["parts"] == 1 else f"{body['parts']:,} files"
    if not body["parts"]:
        kept = f"Hold {hold['id']} ended on {instant(body['erased_us'])}. It had kept no record."
        how = "How: its key was destroyed; there was no file."
        if body["key_commitment"] == NONE:
            how = "How: there was no key and no file."
    else:
        kept = (
            f"All {body['records']:,} records that hold {hold['id']} kept beyond their own partitions, in {files} of "
            f"{body['bytes']:,} bytes, were erased on {instant(body['erased_us'])}."
        )
        how = f"How: the hold's key was destroyed, then its files were unlinked. {ROOTS.get(body['root'], _EXPORTLESS)}"
    persons = f", ended by {hold['persons']} persons" if hold["persons"] else ""
    said = [
        kept,
        f"Why: the hold is over ({hold['reason']}{persons}). Basis of the hold: {hold['basis']} ({hold['citation']}).",
        how,
        _clock(body["clock"]),
    ]
    return said + ([_GONE] if body["parts"] and body["key_commitment"] == NONE else [])


def _of_category(certificate: Certificate) -> list[str]:
    body = certificate.body
    day, policy, category = _day(date.fromisoformat(str(body["end_date"]))), body["policy"], body["category"]
    floor = CATEGORY_FLOORS[category]
    said = [
        f"The {category} in {body['records']:,} records of communications that ended on {day} (UTC), kept apart from "
        f"them in {body['parts']:,} files of {body['bytes']:,} bytes as {body['partition']}, was erased on "
        f"{instant(body['erased_us'])}. The records themselves are kept until their own period is over.",
        f"Why: the period of {category}, {policy['months']} calendar months counted from the day on which the "
        f"communication ended, was over at {_stamp(body['period_over'])}. Basis: {policy['legal_basis']} "
        f"({policy['citation']}); version {policy['version']} of the policy. The floor of {category}, {floor.months} "
        f"months ({floor.citation}), had passed at {_stamp(body['floor_until'])}.",
        f"How: the key of the {category} was destroyed, then its files were unlinked. "
        + ROOTS.get(body["root"], _EXPORTLESS),
        _holds(body["holds"]),
        _clock(body["clock"]),
    ]
    return said + ([_GONE] if body["key_commitment"] == NONE else [])


def _of_single_records(certificate: Certificate) -> list[str]:
    body = certificate.body
    day, told, policy = _day(date.fromisoformat(str(body["end_date"]))), body["rewritten"], body["policy"]
    why, holds = f"{told['citation']}.", "Holds: none named the erased records."
    if "services" in told:
        why = (
            f"they are of the service {', '.join(told['services'])}, which moved to retention class "
            f"“{policy['class']}” with version {policy['version']} of the policy, in force from {policy['since']}; its "
            f"period, {policy['months']} calendar months counted from the day on which the communication ended, was "
            f"over at {_stamp(body['period_over'])}. Basis: {policy['legal_basis']} ({policy['citation']})."
        )
        holds = _holds(body["holds"])
    return [
        f"{told['erased']:,} of the {body['records']:,} records of communications that ended on {day} (UTC), stored as "
        f"partition {body['partition']}, were erased on {instant(body['erased_us'])}. The other {told['kept']:,} were "
        f"written anew under another key before, as partition {told['into']}, and are kept until their period is over; "
        f"{told['withdrawn']:,} that had been withdrawn were left out.",
        f"Why: {why} The floor of six months, before which nothing may be removed, had passed at "
        f"{_stamp(body['floor_until'])}.",
        "How: the key of the partition as it was before was destroyed, then its files were unlinked. "
        + ROOTS.get(body["root"], _EXPORTLESS),
        holds,
        _clock(body["clock"]),
    ]


def facts(certificate: Certificate) -> dict[str, str]:
    """Return the certificate's details, by their headings."""
    body = certificate.body
    return {
        "Store": body["store"],
        "Certificate": f"number {body['number']}",
        "Certificate before it (SHA-256)": body["previous"],
        "Hold" if body["category"] == HELD else "Partition": body["partition"].removeprefix("hold/"),
        "Records": f"{body['records']:,}",
        "Files": f"{body['parts']:,}",
        "Size": f"{body['bytes']:,} bytes",
        "Digest over the files' ciphertexts (SHA-256)": body["digests"],
        "Destroyed key": body["key"],
        "Commitment to the key": body["key_commitment"],
        "Generation of the keyring without it": str(body["keyring_generation"]),
        "Begun": instant(body["begun_us"]),
        "Finished": instant(body["erased_us"]),
        "SHA-256 of this certificate": certificate.digest,
    }


def _holds(counts: dict[str, Any]) -> str:
    if not any(counts.values()):
        return "Holds: none; nothing was carved out."
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f"Holds: {told}. What they name was moved out under keys of its own before; all else was erased."


def _clock(reason: str) -> str:
    if reason == "trusted":
        return "The clock was trusted: neither the machine's own counter nor the audit log contradicted it."
    return (
        f"The erasure was finished while the clock was not trusted ({WORDS.get(reason, reason)}); it had been "
        "begun, and the key destroyed, before."
    )


def instant(time_us: int) -> str:
    """Return an instant as people read it."""
    return f"{to_datetime(time_us):%-d %B %Y, %H:%M:%S} UTC"


def _stamp(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z").removesuffix(".000000") + " UTC"


def _day(day: date) -> str:
    return f"{day:%-d %B %Y}"
