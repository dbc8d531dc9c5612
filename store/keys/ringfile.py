"""The keyring's file: one header line in the clear, one sealed body. Pure: bytes in, bytes out.

    {"format","store_id","generation","revision","secret"}\\n      secret = the generation's secret, wrapped by the root
    sealed body: {"wraps","replicas","keys": {reference: nonce + ciphertext + tag}}

The header is the body's additional authenticated data, so the whole file is authenticated. Each key is wrapped by
AES-256-GCM under a key derived from the secret, bound to store, generation and reference.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from schemas.errors import IntegrityError
from store.keys.roots import Root
from store.keys.sealing import KEY_BYTES, Wrapper, derive, seal, unseal

FORMAT = "lagrum-keyring-1"
INTENT_FORMAT = "lagrum-keyring-intent-1"


@dataclass(frozen=True, slots=True)
class Header:
    """What can be read without a key, and is authenticated once the body opens."""

    store_id: str
    generation: int
    revision: int
    secret: bytes


@dataclass(frozen=True, slots=True)
class Ring:
    """One keyring generation at one revision; `secret` is in the clear, the keys are wrapped."""

    header: Header
    secret: bytes = field(repr=False)
    wraps: int
    replicas: tuple[str, ...]
    keys: dict[str, bytes] = field(repr=False)
    _opener: Wrapper = field(init=False, repr=False, compare=False)
    """Only unwraps: what wraps is counted in `wraps`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_opener", self._wrapper())

    @property
    def version(self) -> tuple[int, int]:
        """Generation and revision; grows with every change."""
        return self.header.generation, self.header.revision

    def unwrap(self, ref: str) -> bytes:
        """Return one key; KeyError if it is not here, IntegrityError if it does not authenticate."""
        return self._opener.unwrap(self.keys[ref], self._aad(ref))

    def unwrap_all(self) -> dict[str, bytes]:
        """Return all keys, unwrapped."""
        return {ref: self.unwrap(ref) for ref in self.keys}

    def with_keys(self, keys: dict[str, bytes]) -> Ring:
        """Return the next revision, with more keys (given unwrapped)."""
        wrapper = self._wrapper()
        added = {ref: wrapper.wrap(key, self._aad(ref)) for ref, key in keys.items()}
        return replace(self._next(), wraps=wrapper.used, keys=self.keys | added)

    def with_replicas(self, replicas: tuple[str, ...]) -> Ring:
        """Return the next revision, with other registered replicas."""
        return replace(self._next(), replicas=replicas)

    def _next(self) -> Ring:
        return replace(self, header=replace(self.header, revision=self.header.revision + 1))

    def _wrapper(self) -> Wrapper:
        return Wrapper(derive(self.secret, "keyring wrap"), self.wraps)

    def _aad(self, ref: str) -> bytes:
        return f"key\x00{self.header.store_id}\x00{self.header.generation}\x00{ref}".encode()

    def encode(self) -> bytes:
        """Return the content of the keyring's file."""
        header = _header_line(self.header)
        body = {
            "wraps": self.wraps,
            "replicas": self.replicas,
            "keys": {ref: b64encode(blob).decode() for ref, blob in self.keys.items()},
        }
        return header + seal(derive(self.secret, "keyring body"), orjson.dumps(body), header)


def new_ring(
    root: Root, secret: bytes, *, store_id: str, generation: int, replicas: tuple[str, ...], keys: dict[str, bytes]
) -> Ring:
    """Return the first revision of a generation that holds `keys` (given unwrapped)."""
    header = Header(store_id, generation, 0, root.wrap(secret, _secret_aad(store_id, generation)))
    return Ring(header, secret, 0, replicas, {}).with_keys(keys)


def read_header(data: bytes) -> Header:
    """Return the header of a keyring's file, not yet authenticated.

    Raises:
        IntegrityError: It is not a keyring.
    """
    value = _parse_line(data, FORMAT)
    try:
        header = Header(value["store_id"], value["generation"], value["revision"], b64decode(value["secret"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise IntegrityError("the keyring's header cannot be read", hint="restore it from a replica") from exc
    if _header_line(header) != data[: data.index(b"\n") + 1]:
        raise IntegrityError("the keyring's header was changed", hint="restore it from a replica")
    return header


def decode(data: bytes, root: Root) -> Ring:
    """Return the keyring that the file's content holds, authenticated as a whole.

    Raises:
        IntegrityError: It was changed, or belongs to another root key.
    """
    header = read_header(data)
    secret = root.unwrap(header.secret, _secret_aad(header.store_id, header.generation))
    line_bytes = data.index(b"\n") + 1
    body = orjson.loads(unseal(derive(secret, "keyring body"), data[line_bytes:], data[:line_bytes]))
    if len(secret) != KEY_BYTES:
        raise IntegrityError("the keyring's secret has another length")
    keys = {ref: b64decode(text) for ref, text in body["keys"].items()}
    return Ring(header, secret, body["wraps"], tuple(body["replicas"]), keys)


def encode_intent(ring: Ring, victims: list[str]) -> bytes:
    """Return the record of a destruction that has begun, sealed under the generation that still holds the victims."""
    line = _line({"format": INTENT_FORMAT, "generation": ring.header.generation})
    return line + seal(derive(ring.secret, "keyring intent"), orjson.dumps(victims), line)


def intent_generation(data: bytes) -> int:
    """Return the generation under which an intent was sealed, not yet authenticated.

    Raises:
        IntegrityError: The record cannot be read.
    """
    try:
        return int(_parse_line(data, INTENT_FORMAT)["generation"])
    except (KeyError, ValueError, TypeError) as exc:
        raise IntegrityError("the record of a begun key destruction cannot be read") from exc


def decode_intent(data: bytes, ring: Ring) -> list[str]:
    """Return the references that were to be destroyed.

    Raises:
        IntegrityError: It was changed, or belongs to another generation.
    """
    intent_generation(data)
    line_bytes = data.index(b"\n") + 1
    victims = orjson.loads(unseal(derive(ring.secret, "keyring intent"), data[line_bytes:], data[:line_bytes]))
    return [str(ref) for ref in victims]


def _header_line(header: Header) -> bytes:
    return _line(
        {
            "format": FORMAT,
            "store_id": header.store_id,
            "generation": header.generation,
            "revision": header.revision,
            "secret": b64encode(header.secret).decode(),
        }
    )


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _parse_line(data: bytes, format_name: str) -> dict[str, Any]:
    try:
        value = orjson.loads(data[: data.index(b"\n")])
    except ValueError as exc:
        raise IntegrityError("a keyring file has no header", hint="restore it from a replica") from exc
    if not isinstance(value, dict) or value.get("format") != format_name:
        raise IntegrityError("a keyring file has another format")
    return value


def _secret_aad(store_id: str, generation: int) -> bytes:
    return f"keyring\x00{store_id}\x00{generation}".encode()
