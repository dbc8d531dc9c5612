"""How a NATS client proves itself by a key: an nkey seed, or a `.creds` file with a token of the account besides.

The broker sends a nonce and gets its signature, so no secret leaves this machine. Its client would do the same with a
package of its own for keys; the signature is Ed25519, which `cryptography` makes.

Source: NATS nkeys (base32 of a prefix, 32 bytes and a CRC-16), NATS ADR-14 (decorated files).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client

from schemas.errors import ConfigurationError

USER: Final = 20 << 3
"""Prefix of a user's key: base32 shows it as U."""

_SEED: Final = 18 << 3
_SEED_BYTES: Final = 36
_SEED_TEXT: Final = re.compile(r"^\s*(SU[A-Z2-7]{56})\s*$", re.MULTILINE)
_TOKEN: Final = re.compile(r"-+BEGIN NATS USER JWT-+\s+([\w.-]+)\s+-+END NATS USER JWT-+")


class NatsKey:
    """A user's key, and the account's token for it where there is one; neither is ever shown."""

    def __init__(self, text: str) -> None:
        """Read a seed or a `.creds` file.

        Raises:
            ConfigurationError: it holds no user's seed.
        """
        found = _SEED_TEXT.search(text)
        if found is None:
            raise _refusal()
        self._private = Ed25519PrivateKey.from_private_bytes(_seed(found[1]))
        token = _TOKEN.search(text)
        self.token = None if token is None else token[1].encode()

    def __repr__(self) -> str:
        return "NatsKey()"

    @property
    def public(self) -> str:
        """The public key, as the broker's configuration names it."""
        return encoded(USER, self._private.public_key().public_bytes_raw())

    def sign(self, nonce: str) -> bytes:
        """Return the signature of the broker's nonce."""
        return base64.b64encode(self._private.sign(nonce.encode()))


class KeyClient(Client):
    """The broker's client, proving itself by a key that this program holds."""

    def __init__(self, key: NatsKey) -> None:
        super().__init__()
        self._key = key

    def _setup_nkeys_connect(self) -> None:
        """Answer the nonce; the client calls this when it is told of credentials."""
        self._signature_cb = self._key.sign
        if (token := self._key.token) is None:
            self._public_nkey = self._key.public
        else:
            self._user_jwt_cb = lambda: token


def encoded(prefix: int, data: bytes) -> str:
    """Return a key as text."""
    body = bytes([prefix]) + data
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")


def _seed(text: str) -> bytes:
    """Return the 32 bytes of a user's seed."""
    data = base64.b32decode(text + "=" * (-len(text) % 8))
    kind = (data[0] & 7) << 5 | data[1] >> 3
    intact = binascii.crc_hqx(data[:-2], 0) == int.from_bytes(data[-2:], "little")
    if len(data) != _SEED_BYTES or data[0] & 0xF8 != _SEED or kind != USER or not intact:
        raise _refusal()
    return data[2:-2]


def _refusal() -> ConfigurationError:
    return ConfigurationError(
        "the credentials file holds no NATS user's key",
        hint="a .creds file, or a line with the seed: SU and 56 letters",
    )
