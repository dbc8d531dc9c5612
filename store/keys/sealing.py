"""Deriving keys and sealing bytes: the only use of ciphers outside Parquet's own.

Three forms of AES-256-GCM (NIST SP 800-38D). `seal` derives a fresh key and nonce for every blob, so the limit of 2^32
random nonces per key is out of reach. `seal_series` derives a fresh key for many small blobs that are written together,
and numbers them. `Wrapper` wraps many 32-byte keys under one key with random nonces, and counts.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import BusyError, InputError, IntegrityError

KEY_BYTES = 32
SALT_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
NUMBER_BYTES = 4
SEAL_VERSION = b"\x01"
SERIES_VERSION = b"\x02"
SEAL_OVERHEAD_BYTES = len(SEAL_VERSION) + SALT_BYTES + TAG_BYTES
PLAINTEXT_BYTES_MAX = 2**31 - 1 - TAG_BYTES
WRAP_NONCES_MAX = 2**32
# Wraps of an addition that a crash undid are not in the count: keep half of the allowance for them.
WRAPS_MAX = WRAP_NONCES_MAX // 2


def _info(purpose: str, context: bytes) -> bytes:
    # The length keeps (purpose, context) pairs apart that would read the same when joined.
    word = purpose.encode()
    return b"lagrum\x00" + struct.pack(">H", len(word)) + word + context


def derive(key: bytes, purpose: str, context: bytes = b"", length: int = KEY_BYTES) -> bytes:
    """Return `length` bytes for one purpose and context.

    Source: RFC 5869 (HKDF with SHA-256, no salt).
    """
    return HKDF(SHA256(), length, None, _info(purpose, context)).derive(key)


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Encrypt and authenticate: version (1 byte), salt (16), AES-256-GCM ciphertext with tag (16).

    Key and nonce of the blob come from `key` and the salt by HKDF-SHA256; `aad` is authenticated and not stored.

    Raises:
        InputError: The plaintext is larger than one blob may be (2 GiB).
    """
    if len(plaintext) > PLAINTEXT_BYTES_MAX:
        raise InputError("the plaintext is too large for one sealed blob")
    salt = os.urandom(SALT_BYTES)
    blob_key, nonce = _blob_key(key, salt)
    return SEAL_VERSION + salt + AESGCM(blob_key).encrypt(nonce, plaintext, SEAL_VERSION + aad)


def seal_series(key: bytes, items: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Seal many plaintexts, given with their `aad`, under one fresh key: a fifth of the work where they are small.

    A blob is version (1 byte), salt (16), number (4, big endian), AES-256-GCM ciphertext with tag (16). The salt is the
    series'; the nonce is the derived one with the number XORed into its last bytes.

    Raises:
        InputError: a plaintext is larger than one blob may be (2 GiB), or there are more than 2^32.
    """
    if len(items) >= 2 ** (8 * NUMBER_BYTES) or any(len(plaintext) > PLAINTEXT_BYTES_MAX for plaintext, _ in items):
        raise InputError("the plaintexts are too large, or too many, for one sealed series")
    salt = os.urandom(SALT_BYTES)
    blob_key, nonce = _blob_key(key, salt, "seal series")
    cipher, found = AESGCM(blob_key), []
    for count, (plaintext, aad) in enumerate(items):
        number = count.to_bytes(NUMBER_BYTES, "big")
        box = cipher.encrypt(_numbered(nonce, number), plaintext, SERIES_VERSION + number + aad)
        found.append(SERIES_VERSION + salt + number + box)
    return found


def unseal_series(key: bytes, items: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """Return what `seal_series` was given, in whatever order and of whatever series; items are blobs with their `aad`.

    Raises:
        IntegrityError: as `unseal`.
    """
    head = len(SERIES_VERSION) + SALT_BYTES
    known: dict[bytes, tuple[AESGCM, bytes]] = {}
    found = []
    for blob, aad in items:
        if len(blob) < SEAL_OVERHEAD_BYTES + NUMBER_BYTES or blob[:1] != SERIES_VERSION:
            raise IntegrityError("a sealed blob is too short or of another version")
        salt, number = blob[1:head], blob[head : head + NUMBER_BYTES]
        if salt not in known:
            blob_key, nonce = _blob_key(key, salt, "seal series")
            known[salt] = AESGCM(blob_key), nonce
        cipher, nonce = known[salt]
        box = blob[head + NUMBER_BYTES :]
        try:
            found.append(cipher.decrypt(_numbered(nonce, number), box, SERIES_VERSION + number + aad))
        except InvalidTag as exc:
            raise IntegrityError("a sealed blob does not authenticate") from exc
    return found


def unseal(key: bytes, blob: bytes, aad: bytes) -> bytes:
    """Return what `seal` was given.

    Raises:
        IntegrityError: Another key, another `aad`, or changed bytes; which of them cannot be told.
    """
    head = len(SEAL_VERSION) + SALT_BYTES
    if len(blob) < SEAL_OVERHEAD_BYTES or blob[:1] != SEAL_VERSION:
        raise IntegrityError("a sealed blob is too short or of another version")
    blob_key, nonce = _blob_key(key, bytes(blob[1:head]))
    try:
        return AESGCM(blob_key).decrypt(nonce, blob[head:], SEAL_VERSION + aad)
    except InvalidTag as exc:
        raise IntegrityError("a sealed blob does not authenticate") from exc


def _blob_key(key: bytes, salt: bytes, purpose: str = "seal") -> tuple[bytes, bytes]:
    okm = HKDF(SHA256(), KEY_BYTES + NONCE_BYTES, salt, _info(purpose, b"")).derive(key)
    return okm[:KEY_BYTES], okm[KEY_BYTES:]


def _numbered(nonce: bytes, number: bytes) -> bytes:
    return (int.from_bytes(nonce, "big") ^ int.from_bytes(number, "big")).to_bytes(NONCE_BYTES, "big")


class Wrapper:
    """Wraps keys under one wrapping key and refuses to go beyond its allowance of random nonces.

    `used` is how many nonces this wrapping key has spent before, in whatever process.
    """

    def __init__(self, key: bytes, used: int = 0) -> None:
        self._cipher = AESGCM(key)
        self.used = used

    def wrap(self, secret: bytes, aad: bytes) -> bytes:
        """Return nonce (12 bytes), ciphertext and tag.

        Raises:
            BusyError: The allowance is spent; a new generation has a new one.
        """
        if self.used >= WRAPS_MAX:
            raise BusyError("this keyring generation has wrapped all the keys it may", hint="rotate the root key")
        self.used += 1
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        """Return the wrapped key.

        Raises:
            IntegrityError: Another wrapping key, another `aad`, or changed bytes.
        """
        if len(blob) < NONCE_BYTES + TAG_BYTES:
            raise IntegrityError("a wrapped key is too short")
        try:
            return self._cipher.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], aad)
        except InvalidTag as exc:
            raise IntegrityError("a wrapped key does not authenticate") from exc
