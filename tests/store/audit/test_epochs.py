"""Certificates and private keys of epochs that are not what they say."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.errors import IntegrityError
from store.audit import epochs, paths
from store.audit.checkpoint import Signer
from store.audit.epochs import Certificate, certificate_of, load_epoch
from store.keys import KeyRef, seal
from tests.store.audit.conftest import NAME, STORE, Root

ORIGIN = Signer(NAME, bytes(32))
HEIR = Signer(NAME, b"\x01" * 32)
TRUE = Certificate(NAME, STORE, 2, HEIR.verifier, 7, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "three\nlines\n",
        TRUE.text() + "more\n",
        TRUE.text().replace("epoch", "epoxy", 1),
        TRUE.text().replace("\n2\n", "\ntwo\n"),
        TRUE.text().replace("\n2\n", "\n02\n"),
        TRUE.text().replace("\n7\n", "\nseven\n"),
        TRUE.text().replace(base64.b64encode(bytes(32)).decode(), "?"),
        replace(TRUE, root=bytes(31)).text(),
        replace(TRUE, key=Signer("another/log", bytes(32)).verifier).text(),
    ],
)
def test_a_signed_certificate_with_one_fault_is_none(text: str) -> None:
    assert Certificate.open(ORIGIN.sign(TRUE.text()), ORIGIN.verifier) == TRUE
    with pytest.raises(IntegrityError):
        Certificate.open(ORIGIN.sign(text), ORIGIN.verifier)


def test_a_certificate_is_its_signers_and_all_that_its_entry_says() -> None:
    note = ORIGIN.sign(TRUE.text())
    assert certificate_of(TRUE.public(note), ORIGIN.verifier) == TRUE
    for public in ({}, {"certificate": 1}, TRUE.public(note) | {"epoch": 3}, TRUE.public(note) | {"more": 1}):
        with pytest.raises(IntegrityError):
            certificate_of(public, ORIGIN.verifier)
    with pytest.raises(IntegrityError):
        certificate_of(TRUE.public(note), HEIR.verifier)


def test_a_private_key_is_its_epochs_and_sealed_under_a_key_of_epochs(root: Root) -> None:
    keyring, path = root.keyring(), paths.epoch_path(root.audit, 1)
    told: dict[str, Any] = orjson.loads(path.read_bytes())
    reference = KeyRef.parse(told["key"])

    def sealed(signer: Signer, vkey: str) -> dict[str, Any]:
        box = seal(keyring.key(reference), signer.seed, epochs._aad(vkey, told["size"]))
        return {**told, "vkey": vkey, "box": base64.b64encode(box).decode()}

    path.write_bytes(orjson.dumps(sealed(HEIR, str(HEIR.verifier))))
    assert load_epoch(root.audit, 1, keyring).verifier == HEIR.verifier
    for other in (
        sealed(HEIR, str(ORIGIN.verifier)),
        told | {"key": str(replace(reference, kind="records"))},
        told | {"key": str(replace(reference, name="epoch-000002"))},
        told | {"key": str(replace(reference, name="entries"))},
    ):
        path.write_bytes(orjson.dumps(other))
        with pytest.raises(IntegrityError):
            load_epoch(root.audit, 1, keyring)
