"""The entries of one case in one file, each with its proof, for verification offline. No secret is needed.

    (1) the chain of epoch certificates begins at the origin key that the reader holds
    (2) the checkpoint is signed by the last key of that chain
    (3) every entry is in the tree that the checkpoint signs, at its place, and names the case, or the authorisation
        that the case's own entries name
    (4) a checkpoint that a witness kept is the same one, or a consistency proof connects the two

A bundle proves that its entries are in the log as they are. That none is missing shows only the whole log.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import orjson

from schemas.errors import IntegrityError, LagrumError, NotFoundError
from store.audit.checkpoint import Checkpoint, VerifierKey, open_checkpoint, parse_note
from store.audit.entries import EPOCH_KIND, Leaf, decode_leaf
from store.audit.epochs import Certificate
from store.audit.log import AuditLog
from store.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from store.audit.search import find, find_words

FORMAT: Final = "lagrum-case-1"
BUNDLE_BYTES_MAX: Final = 64 << 20
_MEMBERS: Final = frozenset({"format", "case", "words", "origin", "epochs", "checkpoint", "entries", "consistency"})


def bundle(log: AuditLog, case: str, words: Sequence[str], *, witnessed: int | None = None) -> bytes:
    """Return the file of the entries in which one of the words (ids of a case) stands.

    `witnessed` is the size of a checkpoint that somebody keeps: the proof that connects it is put in.

    Raises:
        NotFoundError: no entry names the case.
        IntegrityError: an entry was changed, or the log has no tree of the size `witnessed`.
    """
    note = log.checkpoint()
    size = Checkpoint.parse_text(parse_note(note).text).size
    found = [entry for entry in find_words(log.directory, size, words) if _names(entry.public, words)]
    if not found:
        raise NotFoundError("no entry of the log names that case")
    first = size if witnessed is None else witnessed
    content = {
        "format": FORMAT,
        "case": case,
        "words": list(words),
        "origin": str(log.origin),
        "epochs": [entry.public["certificate"] for entry in find(log.directory, size, (EPOCH_KIND,))],
        "checkpoint": note,
        "consistency": {"from": first, "hashes": _texts(log.consistency_proof(first, size))},
        "entries": [
            {
                "leaf": base64.b64encode(entry.leaf).decode(),
                "inclusion": _texts(log.inclusion_proof(entry.index, size)),
            }
            for entry in found
        ],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"


def verify_bundle(data: bytes, origin_public_key: str, kept: str | None = None) -> list[Leaf]:
    """Return the entries of a bundle that holds; the numbers are those of the module's docstring.

    Raises:
        IntegrityError: it does not; the message says where it breaks.
    """
    try:
        if len(data) > BUNDLE_BYTES_MAX:
            raise IntegrityError("the file is larger than any bundle")
        content = orjson.loads(data)
        if set(content) != _MEMBERS or content["format"] != FORMAT:
            raise IntegrityError("the file is no bundle of a case")
        # (1)
        keys = [VerifierKey.parse(origin_public_key.strip())]
        for number, certificate in enumerate(content["epochs"], start=1):
            opened = Certificate.open(certificate, keys[-1])
            if opened.epoch != number:
                raise IntegrityError("the chain of epochs has a gap")
            keys.append(opened.key)
        # (2)
        head = open_checkpoint(content["checkpoint"], keys[1:][-1:])
        # (3)
        leaves = [_entry(item, head, content["words"]) for item in content["entries"]]
        if not leaves or [leaf.index for leaf in leaves] != sorted({leaf.index for leaf in leaves}):
            raise IntegrityError("the entries of the bundle are none, or not in their order")
        _check_words(content["case"], content["words"], leaves)
        # (4)
        if kept is not None:
            _compare(open_checkpoint(kept, keys[1:]), head, content["consistency"])
    except LagrumError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise IntegrityError("the file is no bundle of a case") from error
    return leaves


def _entry(item: dict[str, Any], head: Checkpoint, words: Sequence[str]) -> Leaf:
    octets = base64.b64decode(item["leaf"], validate=True)
    leaf = decode_leaf(octets)
    verify_inclusion(leaf_hash(octets), leaf.index, head.size, _hashes(item["inclusion"]), head.root)
    if not _names(leaf.public, words):
        raise IntegrityError(f"entry {leaf.index} does not name the case")
    return leaf


def _check_words(case: Any, words: Any, leaves: Sequence[Leaf]) -> None:
    """The entries are those of the case that the bundle says: of it, or of the authorisation that its entries name."""
    told = {str(leaf.public.get("authorisation")) for leaf in leaves if leaf.public.get("task") == case}
    if words != [case] and not (len(words) == 2 and words[0] == case and told == {words[1]}):
        raise IntegrityError("the bundle holds entries of another case")


def _compare(kept: Checkpoint, head: Checkpoint, proof: dict[str, Any]) -> None:
    if kept.size > head.size:
        raise IntegrityError("the log was cut: the kept checkpoint covers more entries than the bundle's")
    if proof["from"] != kept.size:
        raise IntegrityError("the bundle was not made for the kept checkpoint", hint="make it with --witnessed")
    verify_consistency(kept.size, head.size, kept.root, head.root, _hashes(proof["hashes"]))


def _names(public: dict[str, Any], words: Sequence[str]) -> bool:
    return any(value in words for value in public.values() if isinstance(value, str))


def _texts(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(node).decode() for node in hashes]


def _hashes(texts: Sequence[str]) -> list[bytes]:
    return [base64.b64decode(text, validate=True) for text in texts]
