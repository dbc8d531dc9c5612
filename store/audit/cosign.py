"""Cosignatures: a witness says when it saw a checkpoint, and that the log had only grown until then. Pure.

A cosignature is a line of the checkpoint's note. It signs, with Ed25519,

    cosignature/v1
    time SECONDS
    (the checkpoint's text)

and its blob is key hash (4 octets), seconds since 1970 (8 octets, big endian), signature. The key's hash is made with
the algorithm 0x04, so that the same key's own checkpoints and cosignatures are not taken for each other.

Source: c2sp.org/tlog-cosignature (timestamped Ed25519); c2sp.org/signed-note.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.errors import IntegrityError
from store.audit.checkpoint import DASH, KEY_BYTES, Note, VerifierKey, check_name, parse_vkey

_ALGORITHM: Final = b"\x04"
_HEADER: Final = "cosignature/v1"
_TIME_BYTES: Final = 8
_HASH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness' public key; `str()` gives its `vkey` text."""

    name: str
    public: bytes

    @property
    def hash(self) -> bytes:
        """The four octets that stand before a cosignature."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ALGORITHM + self.public).digest()[:_HASH_BYTES]

    def __str__(self) -> str:
        key = base64.b64encode(_ALGORITHM + self.public).decode()
        return f"{self.name}+{self.hash.hex()}+{key}"

    @classmethod
    def parse(cls, vkey: str) -> WitnessKey:
        """Return the key that a `vkey` text names.

        Raises:
            IntegrityError: it is no vkey of a witness, or its hash does not fit its key.
        """
        name, hash_hex, raw = parse_vkey(vkey)
        if len(raw) != 1 + KEY_BYTES or raw[:1] != _ALGORITHM:
            raise IntegrityError("the verifier key is not a witness' key")
        key = cls(name, raw[1:])
        if key.hash.hex() != hash_hex:
            raise IntegrityError("the verifier key's hash does not fit its key")
        return key

    def cosigned_at(self, note: Note) -> int:
        """Return when this witness saw the note, in seconds since 1970.

        Raises:
            IntegrityError: it did not cosign it, or its cosignature is wrong.
        """
        for line in note.signatures:
            if line.name != self.name or line.hash != self.hash or len(line.signature) <= _TIME_BYTES:
                continue
            seconds = int.from_bytes(line.signature[:_TIME_BYTES], "big")
            VerifierKey(self.name, self.public).verify(_message(note.text, seconds), line.signature[_TIME_BYTES:])
            return seconds
        raise IntegrityError("the note does not carry the witness' cosignature")


class WitnessSigner:
    """A witness' private key."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = WitnessKey(check_name(name), self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> WitnessSigner:
        """Return a witness with a fresh key."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def seed(self) -> bytes:
        """The 32 octets of the private key."""
        return self._key.private_bytes_raw()

    def cosign(self, text: str, seconds: int) -> str:
        """Return the signature line over a checkpoint's text, with its newline."""
        signature = self._key.sign(_message(text, seconds).encode())
        blob = self.key.hash + seconds.to_bytes(_TIME_BYTES, "big") + signature
        return f"{DASH}{self.key.name} {base64.b64encode(blob).decode()}\n"


def _message(text: str, seconds: int) -> str:
    return f"{_HEADER}\ntime {seconds}\n{text}"
