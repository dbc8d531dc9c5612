"""Signed notes and checkpoints, as C2SP defines them, with Ed25519. Pure.

A note is UTF-8 text that ends in a newline, an empty line, and one line per signature:

    — NAME base64(key hash of 4 octets || signature)

A checkpoint is a note whose text is `origin`, the tree's size and its head, one a line. The same text signed by the
same key is always the same bytes, because Ed25519 has no randomness.

Source: c2sp.org/signed-note, c2sp.org/tlog-checkpoint; RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.errors import ConfigurationError, IntegrityError
from store.audit.merkle import HASH_BYTES

_ALGORITHM_ED25519: Final = b"\x01"
DASH: Final = "\N{EM DASH} "
KEY_BYTES: Final = 32
_HASH_BYTES: Final = 4
_NOTE_BYTES_MAX: Final = 65_536
_SIGNATURES_MAX: Final = 100
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_VKEY: Final = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")


def check_name(name: str) -> str:
    """Return the key name (or origin) if a note may carry it.

    Raises:
        ConfigurationError: it is empty, or has a space, a plus sign or a control character.
    """
    if not name or any(c.isspace() or c == "+" or not c.isprintable() for c in name):
        raise ConfigurationError("the name of a log is not empty and has no space, plus sign or control character")
    return name


def decode_base64(text: str) -> bytes:
    """Return the octets of canonical base64.

    Raises:
        IntegrityError: it is something else.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise IntegrityError("not base64") from e
    if base64.b64encode(data).decode() != text:
        raise IntegrityError("not canonical base64")
    return data


def parse_vkey(vkey: str) -> tuple[str, str, bytes]:
    """Return a vkey's name, its hash in hex, and algorithm and key.

    Raises:
        IntegrityError: it is no vkey.
    """
    match = _VKEY.fullmatch(vkey)
    if match is None:
        raise IntegrityError("not a verifier key: NAME+HASH+KEY expected")
    return match[1], match[2], decode_base64(match[3])


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named Ed25519 public key; `str()` gives its `vkey` text."""

    name: str
    public: bytes

    @property
    def hash(self) -> bytes:
        """The four octets that tell keys of one name apart.

        Source: c2sp.org/signed-note, SHA-256(name || 0x0A || 0x01 || public key)[:4].
        """
        whole = hashlib.sha256(self.name.encode() + b"\n" + _ALGORITHM_ED25519 + self.public)
        return whole.digest()[:_HASH_BYTES]

    def __str__(self) -> str:
        key = base64.b64encode(_ALGORITHM_ED25519 + self.public).decode()
        return f"{self.name}+{self.hash.hex()}+{key}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """Return the key that a `vkey` text names.

        Raises:
            IntegrityError: it is no Ed25519 vkey, or its hash does not fit its key.
        """
        name, hash_hex, raw = parse_vkey(vkey)
        if len(raw) != 1 + KEY_BYTES or raw[:1] != _ALGORITHM_ED25519:
            raise IntegrityError("the verifier key is not an Ed25519 key")
        key = cls(name, raw[1:])
        if key.hash.hex() != hash_hex:
            raise IntegrityError("the verifier key's hash does not fit its key")
        return key

    def verify(self, text: str, signature: bytes) -> None:
        """Check a signature over a note's text.

        Raises:
            IntegrityError: it is not this key's.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature as e:
            raise IntegrityError("a signature does not verify") from e


class Signer:
    """A named Ed25519 private key."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = VerifierKey(check_name(name), self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> Signer:
        """Return a signer with a fresh key."""
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def seed(self) -> bytes:
        """The 32 octets of the private key."""
        return self._key.private_bytes_raw()

    def sign(self, text: str) -> str:
        """Return the note: the text with this key's signature.

        Args:
            text: Lines, each with its newline, without control characters.

        Raises:
            ConfigurationError: The text is not such.

        Source: C2SP signed-note, "Format".
        """
        if not text.endswith("\n") or any(ord(c) < 32 and c != "\n" for c in text):
            raise ConfigurationError("a note ends in a newline and has no control characters")
        signature = self._key.sign(text.encode())
        blob = base64.b64encode(self.verifier.hash + signature).decode()
        return f"{text}\n{DASH}{self.verifier.name} {blob}\n"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note."""

    name: str
    hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note, parsed and not yet believed."""

    text: str
    signatures: tuple[Signature, ...]

    def verify(self, key: VerifierKey) -> None:
        """Check that the key signed this note; signatures of other keys do not matter.

        Raises:
            IntegrityError: it did not, or its signature is wrong.
        """
        for line in self.signatures:
            if line.name == key.name and line.hash == key.hash:
                key.verify(self.text, line.signature)
                return
        raise IntegrityError("the note does not carry the expected key's signature")


def _signature(line: str) -> Signature:
    name, _, blob = line.removeprefix(DASH).partition(" ")
    if not line.startswith(DASH):
        raise IntegrityError("a signature line of a note is malformed")
    raw = decode_base64(blob)
    if not name or len(raw) <= _HASH_BYTES:
        raise IntegrityError("a signature line of a note is malformed")
    return Signature(name, raw[:_HASH_BYTES], raw[_HASH_BYTES:])


def parse_note(note: str) -> Note:
    """Return the parts of a note.

    Raises:
        IntegrityError: it is malformed.
    """
    head, _, lines = note.rpartition("\n\n")
    if len(note) > _NOTE_BYTES_MAX or not head or not lines.endswith("\n"):
        raise IntegrityError("not a signed note")
    if any(ord(c) < 32 and c != "\n" for c in note):
        raise IntegrityError("a note has no control characters")
    signatures = lines[:-1].split("\n")
    if len(signatures) > _SIGNATURES_MAX:
        raise IntegrityError("the note has too many signatures")
    return Note(head + "\n", tuple(_signature(line) for line in signatures))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: `size` leaves of the log `origin` hash to `root`."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse_text(cls, text: str) -> Checkpoint:
        """Return the tree head that a note text states; extension lines are allowed and left alone.

        Raises:
            IntegrityError: it states none.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not _SIZE.fullmatch(lines[1]):
            raise IntegrityError("not a checkpoint")
        root = decode_base64(lines[2])
        if len(root) != HASH_BYTES:
            raise IntegrityError("a checkpoint's tree head has 32 octets")
        return cls(lines[0], int(lines[1]), root)


def open_checkpoint(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    """Return the tree head of a checkpoint that one of the keys signed, under its own origin.

    Raises:
        IntegrityError: it is malformed, of another origin, or none of the keys signed it.
    """
    parsed = parse_note(note)
    checkpoint = Checkpoint.parse_text(parsed.text)
    for key in keys:
        if key.name != checkpoint.origin:
            continue
        if any(line.name == key.name and line.hash == key.hash for line in parsed.signatures):
            parsed.verify(key)
            return checkpoint
    raise IntegrityError("no key of this log signed the checkpoint")
