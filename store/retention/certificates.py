"""Erasure certificates: one signed note per erased partition, each naming the one before it.

A note's text is `HEADER`, then one line of canonical JSON with the members of `MEMBERS`. It is signed with the key of
the audit log's epoch, and lies in the log's entry of the erasure: so it is bound to the pinned origin key twice. The
digests are of ciphertext. The commitment is a keyed derivation of the destroyed key: it tells nothing about it, and
whoever ever shows a key can be shown whether it was this one.

The certificate claims what is true (`root`): with a root key that cannot be exported nobody has the key any more; with
a key file no registered copy is left.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.errors import IntegrityError
from schemas.policy import Rule
from store.audit.checkpoint import VerifierKey, parse_note
from store.audit.epochs import load_epoch
from store.keys import KeyRef, derive
from store.model import PartRow, rfc3339
from store.partitions import PartitionKey, expires_at
from store.retention.clocktrust import Verdict
from store.retention.policies import statement

if TYPE_CHECKING:
    from store.store import Store

HEADER: Final = "lagrum-erasure-certificate/v1"
DONE: Final = "erasure.done"
ANEW: Final = ("record.erased", "category.ended")
"""The audit entries of partitions that were written anew, each followed by the intent of the old one's erasure."""
HELD: Final = "hold"
"""The category of a certificate of what a hold kept."""
NONE: Final = "none"
"""In place of the digest of the certificate before the first."""
WHOLE: Final = "record"
"""The category of a certificate of whole records; a sibling's names its field category."""
FILES_MAX: Final = 1000
"""So many parts are listed in the audit log; above it only the digest over all of them is."""
MEMBERS: Final = frozenset(
    {
        "store",
        "number",
        "previous",
        "partition",
        "category",
        "end_date",
        "floor_until",
        "period_over",
        "records",
        "parts",
        "bytes",
        "digests",
        "key",
        "key_commitment",
        "location_key_commitment",
        "keyring_generation",
        "root",
        "policy",
        "rewritten",
        "holds",
        "clock",
        "begun_us",
        "erased_us",
    }
)
HELD_MEMBERS: Final = MEMBERS - {
    "end_date",
    "floor_until",
    "period_over",
    "location_key_commitment",
    "policy",
    "rewritten",
    "holds",
} | {"hold"}
"""Those of a certificate of what a hold kept; its `partition` is the hold, its `parts` are files of several days."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate states; `text` is what was signed."""

    body: dict[str, Any]
    note: str

    @property
    def number(self) -> int:
        """Its place in the store's chain, from 1."""
        return int(self.body["number"])

    @property
    def partition(self) -> str:
        """The erased partition."""
        return str(self.body["partition"])

    @property
    def digest(self) -> str:
        """SHA-256 of the note: how the next one names it."""
        return digest_of_note(self.note)


def digest_of_note(note: str) -> str:
    """Return the digest by which the next certificate names this one."""
    return hashlib.sha256(note.encode()).hexdigest()


def digest_of_files(lines: Sequence[str]) -> str:
    """Return the digest over the parts' digests, one line each, sorted."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


def file_line(part: PartRow, category: str = "") -> str:
    """Return a part's file id and the digests of the ciphertexts that go with the partition, or with its sibling."""
    digests = [] if category else [part.sha256, part.identities_sha256, part.index_sha256]
    return " ".join([part.file_id, *digests, *([part.location_sha256] if part.location_bytes else [])])


def commitment(key: bytes, store_id: str, partition: PartitionKey) -> str:
    """Return what binds a certificate to a partition's key and tells nothing about it."""
    return derive(key, "erasure-commitment", f"{store_id}|{partition}".encode(), 32).hex()


def draft(
    store: Store,
    key: PartitionKey,
    held: Mapping[str, int],
    verdict: Verdict,
    rewritten: Mapping[str, Any] | None = None,
    rule: Rule | None = None,
) -> dict[str, Any]:
    """Return what a certificate says and nobody can say any more once the key is destroyed.

    `rewritten` tells of a partition that was written anew which records went, why, and where the others lie;
    `rule` is the one by which they ended, if it is not the partition's own.
    """
    parts = store.catalog.parts("q.end_date = ? AND q.retention_class = ? AND q.key_domain = ?", _name(key))
    if key.category:
        parts = [part for part in parts if part.location_bytes]
    lines = [file_line(part, key.category) for part in parts]
    return {
        "partition": str(key),
        "category": key.category or WHOLE,
        "end_date": key.end_date.isoformat(),
        "floor_until": rfc3339(key.floor_until),
        "period_over": rfc3339(expires_at(key, verdict.policy) if rule is None else rule.ends),
        "records": sum(part.location_rows if key.category else part.rows for part in parts),
        "parts": len(parts),
        "bytes": sum(part.location_bytes if key.category else part.total_bytes for part in parts),
        "digests": digest_of_files(lines),
        "files": sorted(lines) if len(lines) <= FILES_MAX else [],
        "key": str(key.ref),
        "key_commitment": _commitment(store, key),
        "location_key_commitment": NONE if key.category else _commitment(store, key.location),
        "policy": statement(verdict.policy, key, rule),
        "rewritten": None if rewritten is None else dict(rewritten),
        "holds": dict(held),
        "begun_us": verdict.wall_us,
    }


def held_name(hold_id: str) -> str:
    """Return what a hold's certificate names in place of a partition."""
    return f"hold/{hold_id}"


def held_lines(kept: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of `digest_of_files` of what a hold kept: of each partition and file."""
    return [f"{one['partition']} {one['sha256']}" for one in kept if one["sha256"]]


def draft_held(
    store: Store, hold_id: str, ref: KeyRef, told: Mapping[str, Any], kept: Sequence[Mapping[str, Any]], size_bytes: int
) -> dict[str, Any]:
    """Return what the certificate of a hold's end says, as `draft` does.

    `told` says of the hold what names nobody: basis, citation, why it ends, how many persons ended it.
    """
    key = store.keyring.key(ref) if store.keyring.has(ref) else None
    lines = held_lines(kept)
    name = f"{store.store_id}|{held_name(hold_id)}".encode()
    return {
        "partition": held_name(hold_id),
        "category": HELD,
        "records": sum(one["records"] for one in kept),
        "parts": len(lines),
        "bytes": size_bytes,
        "digests": digest_of_files(lines),
        "files": [],
        "key": str(ref),
        "key_commitment": NONE if key is None else derive(key, "erasure-commitment", name, 32).hex(),
        "hold": dict(told),
        "begun_us": store.clock.now_us(),
    }


def _commitment(store: Store, key: PartitionKey) -> str:
    known = store.keyring.has(key.ref)
    return commitment(store.keyring.key(key.ref), store.store_id, key) if known else NONE


def begin(cursor: sqlite3.Cursor, drafted: Mapping[str, Any]) -> None:
    """Keep a draft, in the transaction that begins the erasure."""
    cursor.execute(
        "INSERT INTO certificates (partition, draft) VALUES (?, ?) "
        "ON CONFLICT (partition) DO UPDATE SET draft = excluded.draft WHERE note IS NULL",
        (drafted["partition"], json.dumps(drafted)),
    )


def drafted(store: Store) -> dict[str, dict[str, Any]]:
    """Return the drafts of erasures that are not finished, by partition."""
    rows = store.catalog.query("SELECT partition, draft FROM certificates WHERE note IS NULL")
    return {row[0]: json.loads(row[1]) for row in rows}


def adopt(store: Store) -> None:
    """Take certificates from the log that the catalog does not know or knows otherwise: the next names the last."""
    told = store.log_state.certificates()
    known = {name: (number, note) for number, name, note in stored(store)}
    missing = [name for name, said in told.items() if known.get(name) != said]
    if missing:
        with store.catalog.transaction() as cursor:
            cursor.executemany(
                "INSERT OR REPLACE INTO certificates (partition, draft, number, note) VALUES (?, '{}', ?, ?)",
                [(name, *told[name]) for name in missing],
            )


def issue(store: Store, cursor: sqlite3.Cursor, names: Sequence[str], verdict: Verdict) -> list[dict[str, Any]]:
    """Sign the certificates of erased partitions, or of a hold's end, and return what their log entries say.

    It is part of the transaction that ends the erasure.

    A certificate that is there already (its transaction was repeated) is not made twice.
    """
    signer = load_epoch(store.layout.audit, store.audit.epoch, store.keyring).signer
    last = cursor.execute("SELECT number, note FROM certificates ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (last[0] or 0, NONE) if last else (0, NONE)
    if number:
        previous = digest_of_note(last[1])
    entries = []
    for name in names:
        row = cursor.execute("SELECT draft, note FROM certificates WHERE partition = ?", (name,)).fetchone()
        if row is None or row[1] is not None:
            continue
        number += 1
        body = json.loads(row[0])
        listed = body.pop("files")
        body |= {
            "store": store.store_id,
            "number": number,
            "previous": previous,
            "keyring_generation": store.keyring.generation,
            "root": store.keyring.root_kind,
            "clock": verdict.reason or "trusted",
            "erased_us": verdict.wall_us,
        }
        note = signer.sign(f"{HEADER}\n{orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()}\n")
        previous = digest_of_note(note)
        cursor.execute(
            "UPDATE certificates SET number = ?, note = ? WHERE partition = ?", (number, note, body["partition"])
        )
        entries.append({"partition": name, "number": number, "certificate": note, "files": listed})
    return entries


def open_note(note: str, keys: Sequence[VerifierKey]) -> Certificate:
    """Return a certificate that one of the keys signed.

    Raises:
        IntegrityError: it is malformed, or none of the keys signed it.
    """
    parsed = parse_note(note)
    lines = parsed.text.split("\n")
    if len(lines) != 3 or lines[0] != HEADER or len(parsed.signatures) != 1:
        raise IntegrityError("not an erasure certificate")
    signature = parsed.signatures[0]
    signers = [key for key in keys if key.name == signature.name and key.hash == signature.hash]
    if not signers:
        raise IntegrityError("no key of this log signed the certificate")
    parsed.verify(signers[0])
    try:
        body = orjson.loads(lines[1])
    except orjson.JSONDecodeError as error:
        raise IntegrityError("not an erasure certificate") from error
    canonical = isinstance(body, dict) and orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode() == lines[1]
    if not canonical or set(body) != (HELD_MEMBERS if body.get("category") == HELD else MEMBERS):
        raise IntegrityError("not an erasure certificate")
    return Certificate(body, note)


def stored(store: Store) -> list[tuple[int, str, str]]:
    """Return number, partition and note of every certificate in the catalog, in their order."""
    rows = store.catalog.query(
        "SELECT number, partition, note FROM certificates WHERE note IS NOT NULL ORDER BY number"
    )
    return [(row[0], row[1], row[2]) for row in rows]


def _name(key: PartitionKey) -> tuple[str, str, str]:
    return key.end_date.isoformat(), key.retention_class, key.key_domain
