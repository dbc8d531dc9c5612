"""Key files of people, and what they sign.

A person signs *statements*: canonical JSON of action, case, digest and time behind a fixed prefix, with Ed25519. The
prefix keeps a statement from ever being mistaken for another signed thing, and the action keeps one kind of statement
from being used as another.

A key file is JSON, mode 0600, made where the person works; the private key never reaches the server. With a
passphrase the private key is sealed by AES-256-GCM under a scrypt key.

Source: RFC 8032 (Ed25519); RFC 8785 (canonical JSON, of which texts, whole numbers, lists and objects are used).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from schemas.errors import ConfigurationError, InputError, PermissionsError
from store import files

STATEMENT_PREFIX: Final = b"lagrum-statement-v1\n"
SESSION_ACTION: Final = "session.open"
KEY_FILE_BYTES_MAX: Final = 16_384
_KEY_FILE_FORMAT: Final = "lagrum-person-key-v1"
_SCRYPT: Final = {"n": 1 << 15, "r": 8, "p": 1}
_PRIVATE_MODE: Final = 0o600
_P: Final = (1 << 255) - 19
_ORDER_8_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})
_OTHERS: Final = 0o077


def canonical_json(value: Any) -> bytes:
    """Return the one spelling of `value`: sorted keys, no spaces, UTF-8; texts, whole numbers, booleans, null, lists,
    objects with ASCII keys.

    Raises:
        InputError: the value holds something else.
    """
    _check_canonical(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _check_canonical(value: Any) -> None:
    if value is None or isinstance(value, (str, bool, int)):
        return
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_canonical(item)
        return
    if isinstance(value, dict) and all(isinstance(key, str) and key.isascii() for key in value):
        for item in value.values():
            _check_canonical(item)
        return
    raise InputError("a statement holds texts, whole numbers, lists and objects only")


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of `value`; it can be guessed back: keep it where `value` is."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


@dataclass(frozen=True, slots=True)
class Statement:
    """What a person signs.

    `action` is a stable word ("person.enrol.request"), `case` what it is about, `digest` the digest of everything
    that the signer saw, `time` RFC 3339 with Z.
    """

    action: str
    case: str
    digest: str
    time: str

    def to_bytes(self) -> bytes:
        """Return the bytes under the signature."""
        fields = {"action": self.action, "case": self.case, "digest": self.digest, "time": self.time}
        return STATEMENT_PREFIX + canonical_json(fields)


def session_statement(store_id: str, person_id: str, challenge: str, expires_at: str) -> Statement:
    """Return what a person signs to log in; `expires_at` as it came with the challenge."""
    return Statement(SESSION_ACTION, person_id, digest_of({"store": store_id, "challenge": challenge}), expires_at)


def key_id(public_key: bytes) -> str:
    """Return the short name of a public key: 16 hex digits of its SHA-256."""
    return hashlib.sha256(b"lagrum-person-key\n" + public_key).hexdigest()[:16]


def decode_public_key(text: str) -> bytes:
    """Return the 32 bytes of a base64 public key.

    Raises:
        InputError: it is none.
    """
    try:
        raw = b64decode(text, validate=True)
        Ed25519PublicKey.from_public_bytes(raw)
    except (Base64Error, ValueError):
        raise InputError(
            "the public key is not an Ed25519 key in base64", hint="`lagrum person key` prints it"
        ) from None
    if _is_anybodys(raw):
        raise InputError("the public key is nobody's: anybody can sign under it")
    return raw


def _is_anybodys(public_key: bytes) -> bool:
    """Tell whether a point is of small order, or is spelled in a second way.

    Under a point of small order one signature holds for any statement, and no private key is needed for it.
    """
    y = int.from_bytes(public_key, "little") & ((1 << 255) - 1)
    return y >= _P or y in _SMALL_ORDER_Y


def verify(public_key: bytes, message: bytes, signature: str) -> bool:
    """Tell whether `signature` (base64) is the key's over `message`."""
    try:
        if _is_anybodys(public_key):
            return False
        Ed25519PublicKey.from_public_bytes(public_key).verify(b64decode(signature, validate=True), message)
    except (InvalidSignature, Base64Error, ValueError):
        return False
    return True


class PersonKey:
    """A person's key pair, as it is in use on the person's side."""

    def __init__(self, person_id: str, private: Ed25519PrivateKey) -> None:
        self.person_id = person_id
        self._private = private

    @classmethod
    def generate(cls, person_id: str) -> PersonKey:
        """Make a new key pair."""
        return cls(person_id, Ed25519PrivateKey.generate())

    @property
    def public_bytes(self) -> bytes:
        """The public key, 32 bytes."""
        return self._private.public_key().public_bytes_raw()

    @property
    def public_text(self) -> str:
        """The public key in base64, as enrolment takes it."""
        return b64encode(self.public_bytes).decode("ascii")

    @property
    def key_id(self) -> str:
        """The short name of the public key."""
        return key_id(self.public_bytes)

    def sign(self, statement: Statement) -> str:
        """Return the signature in base64."""
        return b64encode(self._private.sign(statement.to_bytes())).decode("ascii")

    def to_json(self, passphrase: bytes | None = None) -> bytes:
        """Return the content of the key file."""
        body: dict[str, Any] = {
            "format": _KEY_FILE_FORMAT,
            "person": self.person_id,
            "key_id": self.key_id,
            "public_key": self.public_text,
        }
        seed = self._private.private_bytes_raw()
        if passphrase is None:
            body["private_key"] = b64encode(seed).decode("ascii")
        else:
            salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
            sealed = AESGCM(_stretch(passphrase, salt, _SCRYPT)).encrypt(nonce, seed, self.public_bytes)
            body["sealed_key"] = {
                "salt": b64encode(salt).decode("ascii"),
                "nonce": b64encode(nonce).decode("ascii"),
                "bytes": b64encode(sealed).decode("ascii"),
                "scrypt": dict(_SCRYPT),
            }
        return json.dumps(body, indent=2, sort_keys=True).encode("utf-8") + b"\n"

    @classmethod
    def from_json(cls, content: bytes, passphrase: bytes | None = None) -> PersonKey:
        """Read the content of a key file.

        Raises:
            ConfigurationError: it is no key file, or the passphrase is missing or wrong.
        """
        try:
            body = json.loads(content)
            if body["format"] != _KEY_FILE_FORMAT:
                raise ConfigurationError("this key file has a format that this version does not read")
            public = b64decode(body["public_key"], validate=True)
            if "sealed_key" in body:
                seed = _unseal(body["sealed_key"], public, passphrase)
            else:
                seed = b64decode(body["private_key"], validate=True)
            key = cls(str(body["person"]), Ed25519PrivateKey.from_private_bytes(seed))
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(
                "this is not a key file of a person", hint="`lagrum person key` makes one"
            ) from None
        if key.public_bytes != public:
            raise ConfigurationError("the key file's two halves do not belong together")
        return key


def _stretch(passphrase: bytes, salt: bytes, cost: dict[str, int]) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost["n"], r=cost["r"], p=cost["p"]).derive(passphrase)


def _unseal(sealed: dict[str, Any], public: bytes, passphrase: bytes | None) -> bytes:
    if passphrase is None:
        raise ConfigurationError("the key file needs its passphrase")
    cost = {name: int(sealed["scrypt"][name]) for name in ("n", "r", "p")}
    if cost["n"] * cost["r"] * cost["p"] > 1 << 24:
        raise ConfigurationError("the key file asks for more memory than a passphrase may cost")
    key = _stretch(passphrase, b64decode(sealed["salt"]), cost)
    try:
        return AESGCM(key).decrypt(b64decode(sealed["nonce"]), b64decode(sealed["bytes"]), public)
    except InvalidTag:
        raise ConfigurationError("the passphrase does not open the key file") from None


def write_key_file(path: Path, key: PersonKey, passphrase: bytes | None = None) -> None:
    """Write a new key file, mode 0600; an existing file is never overwritten.

    Raises:
        ConfigurationError: there is a file of this name, or its folder does not exist.
    """
    write_private_file(path, key.to_json(passphrase))


def write_private_file(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600, durable at return.

    Raises:
        ConfigurationError: there is a file of this name, or its folder does not exist.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _PRIVATE_MODE)
    except FileExistsError:
        raise ConfigurationError(
            "there is a file of this name already; a key file is never overwritten", hint="name another with --output"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"the key file cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, _PRIVATE_MODE)
        file.write(content)
    files.fsync_path(path)
    files.fsync_dir(path.parent)


def read_key_file(path: Path, passphrase: bytes | None = None) -> PersonKey:
    """Read a key file.

    Raises:
        PermissionsError: others may read it, or it belongs to somebody else.
        ConfigurationError: it cannot be read as a key file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise ConfigurationError(
            f"the key file cannot be read: {error.strerror}", hint="--as or LAGRUM_KEY names the file of who acts"
        ) from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_mode & _OTHERS:
            raise PermissionsError("the key file is readable by others", hint="chmod 600 it")
        if status.st_uid != os.geteuid():
            raise PermissionsError("the key file belongs to somebody else")
        return PersonKey.from_json(file.read(KEY_FILE_BYTES_MAX), passphrase)


def needs_passphrase(path: Path) -> bool:
    """Tell whether the key file's private key is sealed (False too when it cannot be read: reading it says why)."""
    try:
        with path.open("rb") as file:
            return "sealed_key" in json.loads(file.read(KEY_FILE_BYTES_MAX))
    except (OSError, ValueError, TypeError):
        return False
