"""What a log sends to a witness, and what the witness makes of it. Pure.

A submission is text: `old SIZE`, the lines of a consistency proof in base64, an empty line, a note. Two notes are sent:

* a checkpoint, as c2sp.org/tlog-witness has it: the tree, signed by the epoch in force;
* before the first checkpoint of an epoch, that epoch's certificate: the tree at the change, and the next key, signed by
  the epoch before. This is ours: the protocol knows logs of one key only.

A witness starts with the origin key alone. It follows the chain, takes only trees that contain the one it saw last, and
forgets a key when it has seen its successor: whoever kept an old epoch's key cannot tell it another past.

Source: c2sp.org/tlog-witness (add-checkpoint); RFC 6962 section 2.1.2.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from schemas.errors import IntegrityError, LagrumError, ProcedureError
from store.audit.checkpoint import Checkpoint, VerifierKey, decode_base64, open_checkpoint, parse_note
from store.audit.epochs import Certificate, check_succession
from store.audit.merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency

PROOF_LINES_MAX: Final = 63
SUBMISSION_BYTES_MAX: Final = 16_384
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,17})")

UNSIGNED: Final = "unsigned"
CONFLICT: Final = "conflict"
BACKWARDS: Final = "backwards"
PROOF: Final = "proof"
FOREIGN: Final = "foreign"


@dataclass(frozen=True, slots=True)
class Submission:
    """A note, and the proof that its tree contains the tree of `old` leaves."""

    old: int
    proof: tuple[bytes, ...]
    note: str

    def encode(self) -> bytes:
        """Return the body of the request."""
        lines = [f"old {self.old}", *(base64.b64encode(node).decode() for node in self.proof), ""]
        return ("\n".join(lines) + "\n" + self.note).encode()

    @classmethod
    def parse(cls, body: bytes) -> Submission:
        """Return what a request says.

        Raises:
            IntegrityError: it is malformed.
        """
        if len(body) > SUBMISSION_BYTES_MAX:
            raise IntegrityError("a submission is longer than any")
        try:
            head, gap, note = body.decode().partition("\n\n")
        except UnicodeDecodeError as error:
            raise IntegrityError("a submission is not UTF-8") from error
        first, *lines = head.split("\n")
        old = _OLD.fullmatch(first)
        if not gap or old is None or len(lines) > PROOF_LINES_MAX:
            raise IntegrityError("a submission is malformed")
        proof = tuple(decode_base64(line) for line in lines)
        if any(len(node) != HASH_BYTES for node in proof):
            raise IntegrityError("a submission is malformed")
        return cls(int(old[1]), proof, note)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a witness knows of one log: the epoch that it trusts now, and the tree that it saw last."""

    origin: VerifierKey
    epoch: int
    key: VerifierKey
    size: int
    root: bytes

    @classmethod
    def nothing(cls, origin: VerifierKey) -> Seen:
        """Return what a witness knows of a log before it saw anything of it."""
        return cls(origin, 0, origin, 0, EMPTY_ROOT)


def take_checkpoint(seen: Seen, sent: Submission) -> Seen:
    """Return what a witness knows after a checkpoint.

    Raises:
        ProcedureError: reason `foreign`, `unsigned`, `backwards`, `conflict` or `proof`; the witness says nothing then.
    """
    try:
        head = Checkpoint.parse_text(parse_note(sent.note).text)
    except LagrumError as error:
        raise ProcedureError("the checkpoint is malformed", reason=UNSIGNED) from error
    if head.origin != seen.origin.name:
        raise ProcedureError("the checkpoint is of a log that is not watched here", reason=FOREIGN)
    try:
        open_checkpoint(sent.note, [seen.key])
    except IntegrityError as error:
        raise ProcedureError("the epoch in force did not sign the checkpoint", reason=UNSIGNED) from error
    _require_growth(seen, sent, head.size, head.root)
    return Seen(seen.origin, seen.epoch, seen.key, head.size, head.root)


def take_epoch(seen: Seen, sent: Submission) -> Seen:
    """Return what a witness knows after the certificate of the next epoch.

    Raises:
        ProcedureError: as `take_checkpoint`.
    """
    try:
        certificate = Certificate.open(sent.note, seen.key)
        check_succession(
            certificate,
            origin=seen.origin.name,
            store_id=None,
            epoch=seen.epoch + 1,
            size=certificate.size,
            root=certificate.root,
        )
    except LagrumError as error:
        raise ProcedureError("the epoch in force did not sign the certificate of the next", reason=UNSIGNED) from error
    _require_growth(seen, sent, certificate.size, certificate.root)
    return Seen(seen.origin, certificate.epoch, certificate.key, certificate.size, certificate.root)


def _require_growth(seen: Seen, sent: Submission, size: int, root: bytes) -> None:
    if sent.old > size:
        raise ProcedureError("the proof begins behind the tree", reason=BACKWARDS)
    if sent.old != seen.size or (size == seen.size and root != seen.root):
        raise ProcedureError("the tree does not continue the one that was seen last", reason=CONFLICT)
    try:
        verify_consistency(seen.size, size, seen.root, root, sent.proof)
    except IntegrityError as error:
        raise ProcedureError("the proof does not connect the trees", reason=PROOF) from error
