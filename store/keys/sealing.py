"""Deriving keys and sealing bytes: the only use of ciphers outside Parquet's own.

Two forms of AES-256-GCM (NIST SP 800-38D). `seal` derives a fresh key and nonce for every blob, so the limit of 2^32
random nonces per key is out of reach. `Wrapper` wraps many 32-byte keys under one key with random nonces, and counts.
"""

from __future__ import annotations

import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import BusyError, InputError, IntegrityError

KEY_BYTES = 32
SALT_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
SEAL_VERSION = b"\x01"
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


def _blob_key(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    okm = HKDF(SHA256(), KEY_BYTES + NONCE_BYTES, salt, _info("seal", b"")).derive(key)
    return okm[:KEY_BYTES], okm[KEY_BYTES:]


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
