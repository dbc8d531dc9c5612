"""Checking erasure certificates: one in a file of its own, or all of a log against its erasures. No secret is needed.

A file carries the certificate with everything between it and the pinned origin key:

    (1) the chain of epoch certificates begins at the origin key that the reader holds
    (2) the certificate is signed by a key of that chain
    (3) the checkpoint is signed by the chain's last key
    (4) the log entry that carries the certificate is in the tree that the checkpoint signs
    (5) the entry and the certificate speak of the same partition, store and files

A log is checked as a whole: every erasure, and the end of every hold, has its certificate; they are numbered without a
gap, each naming the one before.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.errors import IntegrityError, LagrumError, NotFoundError
from store.audit.checkpoint import Checkpoint, VerifierKey, open_checkpoint, parse_note
from store.audit.entries import EPOCH_KIND, StoredEntry, decode_leaf
from store.audit.epochs import Certificate as EpochCertificate
from store.audit.merkle import leaf_hash, verify_inclusion
from store.audit.search import find
from store.retention.certificates import (
    DONE,
    HELD,
    NONE,
    Certificate,
    digest_of_files,
    held_lines,
    held_name,
    open_note,
)
from store.retention.commitments import ENDED

if TYPE_CHECKING:
    from store.store import Store

FORMAT: Final = "lagrum-erasure-certificate-file/v1"
FILE_BYTES_MAX: Final = 4 << 20
_MEMBERS: Final = frozenset({"format", "certificate", "leaf", "inclusion", "checkpoint", "epochs", "origin"})


def export(store: Store, partition: str) -> bytes:
    """Return the file of a partition's certificate.

    Raises:
        NotFoundError: there is no certificate of that partition.
    """
    store.flush_outbox()
    store.audit.refresh()
    directory, checkpoint = store.layout.audit, store.audit.checkpoint()
    size = Checkpoint.parse_text(parse_note(checkpoint).text).size
    epochs = []
    found: StoredEntry | None = None
    for entry in find(directory, size, (EPOCH_KIND, DONE, ENDED)):
        if entry.kind == EPOCH_KIND:
            epochs.append(entry.public["certificate"])
        elif _erased(entry) == partition and "certificate" in entry.public:
            found = entry
    if found is None:
        raise NotFoundError("there is no certificate of that partition", hint="`lagrum retention certificate list`")
    content = {
        "format": FORMAT,
        "certificate": found.public["certificate"],
        "leaf": base64.b64encode(found.leaf).decode(),
        "inclusion": [base64.b64encode(node).decode() for node in store.audit.inclusion_proof(found.index, size)],
        "checkpoint": checkpoint,
        "epochs": epochs,
        "origin": str(store.audit.origin),
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"


def verify_file(data: bytes, origin_public_key: str) -> Certificate:
    """Return the certificate of a file that holds; the numbers are those of the module's docstring.

    Raises:
        IntegrityError: it does not; the message says where it breaks.
    """
    content = _parse(data)
    keys = _chain(content["epochs"], VerifierKey.parse(origin_public_key.strip()))
    certificate = open_note(content["certificate"], keys[1:])  # (2)
    checkpoint = open_checkpoint(content["checkpoint"], keys[-1:])  # (3)
    try:
        octets = base64.b64decode(content["leaf"], validate=True)
        proof = [base64.b64decode(node, validate=True) for node in content["inclusion"]]
    except (binascii.Error, ValueError) as error:
        raise IntegrityError("the file's proof is malformed") from error
    leaf = decode_leaf(octets)
    verify_inclusion(leaf_hash(octets), leaf.index, checkpoint.size, proof, checkpoint.root)  # (4)
    _compare(certificate, leaf.kind, leaf.public)  # (5)
    if certificate.body["store"] != _store_of(content["epochs"]):
        raise IntegrityError("the certificate is another store's")
    return certificate


def check_log(directory: Path, origin_public_key: str) -> list[str]:
    """Return what is wrong with the certificates of a log whose tree was verified; empty is good."""
    try:
        keys = [VerifierKey.parse(origin_public_key.strip())]
        return list(_check(directory, keys))
    except LagrumError as error:
        return [error.message]


def _check(directory: Path, keys: list[VerifierKey]) -> Iterator[str]:
    number, previous, store_id = 0, NONE, ""
    erased: set[str] = set()
    for entry in find(directory, 1 << 62, (EPOCH_KIND, DONE, ENDED)):
        if entry.kind == EPOCH_KIND:
            epoch = EpochCertificate.open(entry.public["certificate"], keys[-1])
            keys.append(epoch.key)
            store_id = epoch.store_id
            continue
        name = _erased(entry)
        where = f"entry {entry.index}: the erasure of {'' if entry.kind == ENDED else 'partition '}{name}"
        if name in erased:
            yield f"{where} is there twice"
        erased.add(name)
        if "certificate" not in entry.public:
            yield f"{where} has no certificate"
            continue
        try:
            certificate = open_note(entry.public["certificate"], keys[1:])
            _compare(certificate, entry.kind, entry.public)
        except IntegrityError as error:
            yield f"{where}: {error.message}"
            continue
        if certificate.body["store"] != store_id:
            yield f"{where}: the certificate is another store's"
        if certificate.number != number + 1 or certificate.body["previous"] != previous:
            yield f"{where}: certificate {certificate.number} does not follow certificate {number}"
        number, previous = certificate.number, certificate.digest


def _compare(certificate: Certificate, kind: str, public: dict[str, Any]) -> None:
    """Return if a log entry carries this certificate.

    Raises:
        IntegrityError: it carries another, or contradicts it.
    """
    is_held = certificate.body["category"] == HELD
    if kind != (ENDED if is_held else DONE) or public.get("certificate") != certificate.note:
        raise IntegrityError("the log entry carries another certificate")
    if is_held:
        _compare_held(certificate, public)
        return
    if public.get("partition") != certificate.partition or public.get("number") != certificate.number:
        raise IntegrityError("the certificate is another partition's")
    files = public.get("files")
    if files and (len(files) != certificate.body["parts"] or digest_of_files(files) != certificate.body["digests"]):
        raise IntegrityError("the listed files are not those of the certificate")


def _compare_held(certificate: Certificate, public: dict[str, Any]) -> None:
    if held_name(str(public.get("hold"))) != certificate.partition or public.get("number") != certificate.number:
        raise IntegrityError("the certificate is another hold's")
    kept, body = public["partitions"], certificate.body
    same = digest_of_files(held_lines(kept)) == body["digests"]
    if not same or sum(one["records"] for one in kept) != body["records"]:
        raise IntegrityError("the listed files are not those of the certificate")


def _erased(entry: StoredEntry) -> str:
    """Return what an entry says was erased."""
    return held_name(str(entry.public.get("hold"))) if entry.kind == ENDED else str(entry.public.get("partition"))


def _parse(data: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(data) if len(data) <= FILE_BYTES_MAX else None
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict) or set(content) != _MEMBERS or content["format"] != FORMAT:
        raise IntegrityError("not the file of an erasure certificate")
    lists = [content[name] for name in ("epochs", "inclusion")]
    if not all(isinstance(one, list) for one in lists):
        raise IntegrityError("not the file of an erasure certificate")
    texts = [content["certificate"], content["leaf"], content["checkpoint"], *lists[0], *lists[1]]
    if not all(isinstance(text, str) for text in texts):
        raise IntegrityError("not the file of an erasure certificate")
    return content


def _chain(epochs: list[str], origin: VerifierKey) -> list[VerifierKey]:
    """Return the keys from the origin to the last epoch."""
    keys = [origin]  # (1)
    for number, note in enumerate(epochs, 1):
        try:
            epoch = EpochCertificate.open(note, keys[-1])
        except IntegrityError as error:
            raise IntegrityError("the chain of keys does not begin at the given public key") from error
        if epoch.origin != origin.name or epoch.epoch != number:
            raise IntegrityError("an epoch certificate belongs elsewhere")
        keys.append(epoch.key)
    return keys


def _store_of(epochs: list[str]) -> str:
    return epochs[0].split("\n")[2] if epochs else ""
