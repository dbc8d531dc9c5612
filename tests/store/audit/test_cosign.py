"""Witnesses' keys and cosignatures against forgers, and every reason why a witness says nothing. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.errors import IntegrityError, ProcedureError
from store.audit.checkpoint import DASH, Checkpoint, Signer, parse_note
from store.audit.cosign import WitnessKey, WitnessSigner
from store.audit.epochs import Certificate
from store.audit.merkle import leaf_hash, node_hash
from store.audit.submission import (
    BACKWARDS,
    CONFLICT,
    FOREIGN,
    PROOF,
    PROOF_LINES_MAX,
    SUBMISSION_BYTES_MAX,
    UNSIGNED,
    Seen,
    Submission,
    take_checkpoint,
    take_epoch,
)

WITNESS = WitnessSigner("witness.test/1", bytes(32))
SECONDS = 1_795_348_800
ORIGIN = Signer("lagrum/test", b"\x01" * 32)
NEXT = Signer("lagrum/test", b"\x02" * 32)
LEAVES = tuple(leaf_hash(word) for word in (b"one", b"two"))
ROOT = node_hash(*LEAVES)
SEEN = Seen(ORIGIN.verifier, 0, ORIGIN.verifier, 1, LEAVES[0])
GROWN = Submission(1, (LEAVES[1],), ORIGIN.sign(Checkpoint("lagrum/test", 2, ROOT).text()))


def cosigned(blob: bytes, name: str = "witness.test/1") -> str:
    return f"{ORIGIN.sign('a tree' + chr(10))}{DASH}{name} {base64.b64encode(blob).decode()}\n"


def test_a_cosignature_tells_when_and_a_forged_one_nothing() -> None:
    text = parse_note(ORIGIN.sign("a tree\n")).text
    line = WITNESS.cosign(text, SECONDS)
    assert WITNESS.key.cosigned_at(parse_note(ORIGIN.sign(text) + line)) == SECONDS
    blob = base64.b64decode(line.split(" ")[2])
    own, time, signature = blob[:4], blob[4:12], blob[12:]
    assert WITNESS.key.cosigned_at(parse_note(cosigned(blob))) == SECONDS
    for forged in (
        cosigned(own + time + bytes(64)),
        cosigned(own + (SECONDS + 1).to_bytes(8, "big") + signature),
        cosigned(own + time),
        cosigned(bytes(4) + time + signature),
        cosigned(blob, "witness.test/2"),
        ORIGIN.sign("a tree\n"),
        ORIGIN.sign("another tree\n") + line,
    ):
        with pytest.raises(IntegrityError):
            WITNESS.key.cosigned_at(parse_note(forged))


def test_a_key_that_is_no_witness_key_is_refused() -> None:
    key = WITNESS.key
    assert WitnessKey.parse(str(key)) == key

    def spelled(raw: bytes, public: bytes = key.public) -> str:
        return f"{key.name}+{WitnessKey(key.name, public).hash.hex()}+{base64.b64encode(raw).decode()}"

    algorithm = base64.b64decode(str(key).split("+", 2)[2])[:1]
    assert spelled(algorithm + key.public) == str(key)
    for wrong in (
        spelled(algorithm + key.public + b"x", key.public + b"x"),
        spelled(algorithm + key.public[:31], key.public[:31]),
        spelled(b"\x01" + key.public),
        str(ORIGIN.verifier),
        f"{key.name}+00000000+{base64.b64encode(algorithm + key.public).decode()}",
        str(key).replace("witness.test/1", "witness.test/2"),
    ):
        with pytest.raises(IntegrityError):
            WitnessKey.parse(wrong)


@pytest.mark.parametrize(
    "body",
    [
        b"old 1\n\n" + b"x" * SUBMISSION_BYTES_MAX,
        b"old 1",
        b"old 01\n\nnote",
        b"old -1\n\nnote",
        b"old 1\n" + (base64.b64encode(bytes(32)) + b"\n") * (PROOF_LINES_MAX + 1) + b"\nnote",
        b"old 1\n" + base64.b64encode(bytes(31)) + b"\n\nnote",
        b"old 1\n\n\xff",
    ],
    ids=["too long", "no gap", "a leading zero", "below nothing", "too long a proof", "a short node", "not UTF-8"],
)
def test_a_submission_without_its_form_is_refused(body: bytes) -> None:
    for size in (0, PROOF_LINES_MAX):
        whole = Submission(1, (bytes(32),) * size, "note")
        assert Submission.parse(whole.encode()) == whole
    with pytest.raises(IntegrityError):
        Submission.parse(body)


def checkpoint(size: int, root: bytes, name: str = "lagrum/test", by: Signer = ORIGIN) -> str:
    return by.sign(Checkpoint(name, size, root).text())


def certificate(epoch: int, root: bytes = ROOT, by: Signer = ORIGIN, name: str = "lagrum/test") -> str:
    key = NEXT if name == NEXT.verifier.name else Signer(name, b"\x03" * 32)
    return by.sign(Certificate(name, "store-1", epoch, key.verifier, 2, root).text())


def test_a_tree_that_grows_is_taken_and_so_is_the_next_epoch() -> None:
    assert take_checkpoint(SEEN, GROWN) == replace(SEEN, size=2, root=ROOT)
    taken = take_epoch(SEEN, replace(GROWN, note=certificate(1)))
    assert taken == Seen(ORIGIN.verifier, 1, NEXT.verifier, 2, ROOT)


Take = Callable[[Seen, Submission], Seen]
REFUSED: dict[str, tuple[Take, str, Submission]] = {
    "no note": (take_checkpoint, UNSIGNED, replace(GROWN, note="abc")),
    "another log": (
        take_checkpoint,
        FOREIGN,
        replace(GROWN, note=checkpoint(2, ROOT, "lagrum/other", Signer("lagrum/other", b"\x01" * 32))),
    ),
    "a key that is not in force": (take_checkpoint, UNSIGNED, replace(GROWN, note=checkpoint(2, ROOT, by=NEXT))),
    "the proof begins behind the tree": (take_checkpoint, BACKWARDS, replace(GROWN, old=3)),
    "the tree is smaller": (take_checkpoint, BACKWARDS, Submission(1, (), checkpoint(0, LEAVES[0]))),
    "the proof begins elsewhere": (take_checkpoint, CONFLICT, replace(GROWN, old=0)),
    "another tree of the same size": (take_checkpoint, CONFLICT, Submission(1, (), checkpoint(1, ROOT))),
    "another past": (take_checkpoint, PROOF, replace(GROWN, note=checkpoint(2, node_hash(ROOT, LEAVES[1])))),
    "a proof of nothing": (take_checkpoint, PROOF, replace(GROWN, proof=())),
    "an epoch is left out": (take_epoch, UNSIGNED, replace(GROWN, note=certificate(2))),
    "the epoch of another key": (take_epoch, UNSIGNED, replace(GROWN, note=certificate(1, by=NEXT))),
    "the epoch of another log": (take_epoch, UNSIGNED, replace(GROWN, note=certificate(1, name="lagrum/other"))),
    "an epoch after another past": (take_epoch, PROOF, replace(GROWN, note=certificate(1, LEAVES[1]))),
    "an epoch after what was not seen": (take_epoch, CONFLICT, replace(GROWN, old=0, note=certificate(1))),
}


@pytest.mark.parametrize(("take", "reason", "sent"), REFUSED.values(), ids=REFUSED)
def test_a_witness_says_nothing_to_what_does_not_continue_what_it_saw(
    take: Take, reason: str, sent: Submission
) -> None:
    with pytest.raises(ProcedureError) as refused:
        take(SEEN, sent)
    assert refused.value.reason == reason
