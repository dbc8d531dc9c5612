"""Root keys: the seam behind which a key file, a security module or a key service may stand.

A root wraps one small secret per keyring generation, and is destroyed with its generation. The embedded provider keeps
each root in a file of mode 0600, plain or wrapped by a passphrase; it copies the file to every replica.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from schemas.errors import ConfigurationError, IntegrityError, LagrumError
from store import files
from store.keys import layout
from store.keys.sealing import KEY_BYTES, seal, unseal

FORMAT = "lagrum-root-1"
SALT_BYTES = 16
# Source: RFC 9106 section 4, the second recommended choice.
ARGON2_ITERATIONS = 3
ARGON2_LANES = 4
ARGON2_MEMORY_KIB = 64 * 1024
# What a changed file may make us spend before the key is found not to fit.
ARGON2_ITERATIONS_MAX = 16
ARGON2_LANES_MAX = 16
ARGON2_MEMORY_KIB_MAX = 1024 * 1024
ROOT_FILE_BYTES_MAX = 4096


class Root(Protocol):
    """One root key, of one generation."""

    def wrap(self, secret: bytes, aad: bytes) -> bytes:
        """Return `secret` wrapped."""
        ...

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        """Return the wrapped secret; IntegrityError if it does not authenticate."""
        ...


class RootProvider(Protocol):
    """Makes, finds, copies and destroys root keys. `home` is the store's root or a replica.

    Roots that cannot be exported are held by the store's root alone: `open` works for a keyring wherever it lies, while
    `generations` and `destroy` find nothing in a replica.
    """

    def reach(self) -> None:
        """Return when roots can be made and found at all; called before anything is made for a new store."""
        ...

    def create(self, home: Path, store_id: str, generation: int) -> Root:
        """Make the root key of a generation, durable at return, and replace one that was left half-made."""
        ...

    def open(self, home: Path, store_id: str, generation: int) -> Root:
        """Return the root key of a generation."""
        ...

    def copy(self, home: Path, generation: int, replica: Path, *, anew: bool = False) -> None:
        """Make the replica able to open this generation, durably; nothing to do where roots cannot be exported."""
        ...

    def generations(self, home: Path) -> list[int]:
        """Return the generations whose root key `home` holds."""
        ...

    def destroy(self, home: Path, generation: int) -> None:
        """Destroy a generation's root key in `home`; nothing to do if it is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Passphrase:
    """How a key is made from the passphrase (Argon2id); kept beside the wrapped root."""

    salt: bytes
    iterations: int = ARGON2_ITERATIONS
    lanes: int = ARGON2_LANES
    memory_kib: int = ARGON2_MEMORY_KIB

    def key(self, passphrase: bytes) -> bytes:
        """Return the key that wraps roots."""
        kdf = Argon2id(
            salt=self.salt,
            length=KEY_BYTES,
            iterations=self.iterations,
            lanes=self.lanes,
            memory_cost=self.memory_kib,
        )
        return kdf.derive(passphrase)

    def as_dict(self) -> dict[str, Any]:
        """Return the form that the root file holds."""
        return {
            "name": "argon2id",
            "iterations": self.iterations,
            "lanes": self.lanes,
            "memory_kib": self.memory_kib,
            "salt": self.salt.hex(),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Passphrase:
        """Read the form that the root file holds; ValueError, KeyError or TypeError if it is none."""
        made = cls(bytes.fromhex(value["salt"]), value["iterations"], value["lanes"], value["memory_kib"])
        within = (
            1 <= made.iterations <= ARGON2_ITERATIONS_MAX
            and 1 <= made.lanes <= ARGON2_LANES_MAX
            and 8 * made.lanes <= made.memory_kib <= ARGON2_MEMORY_KIB_MAX
        )
        if not within or len(made.salt) != SALT_BYTES:
            raise ValueError("parameters out of bounds")
        return made


@dataclass(frozen=True, slots=True)
class _RootFile:
    """The content of a root file: `key` is the root itself, or the root sealed under the passphrase's key."""

    store_id: str
    generation: int
    passphrase: Passphrase | None
    key: bytes

    def encode(self) -> bytes:
        kdf = None if self.passphrase is None else self.passphrase.as_dict()
        value = {
            "format": FORMAT,
            "store_id": self.store_id,
            "generation": self.generation,
            "kdf": kdf,
            "key": self.key.hex(),
        }
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def decode(cls, data: bytes) -> _RootFile:
        try:
            value = orjson.loads(data)
            kdf = value["kdf"]
            made = cls(
                value["store_id"],
                value["generation"],
                None if kdf is None else Passphrase.from_dict(kdf),
                bytes.fromhex(value["key"]),
            )
        except (ValueError, KeyError, TypeError) as exc:
            raise IntegrityError("the root key file cannot be read", hint="restore it from a replica") from exc
        # One content has one spelling, so that no changed byte goes unnoticed.
        if made.encode() != data:
            raise IntegrityError("the root key file was changed", hint="restore it from a replica")
        return made


class _FileRoot:
    """A root key in memory."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def wrap(self, secret: bytes, aad: bytes) -> bytes:
        return seal(self._key, secret, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        return unseal(self._key, blob, aad)


class FileRoots:
    """Root keys in files of mode 0600.

    With a passphrase, the key that Argon2id makes of it stays in memory (the passphrase does not), so that a later
    generation can be wrapped without asking again.
    """

    def __init__(self, passphrase: bytes | None = None, *, parameters: Passphrase | None = None) -> None:
        if passphrase is not None and not passphrase:
            raise ConfigurationError("the passphrase is empty")
        self._passphrase = passphrase
        self._parameters = parameters
        self._wrapping_key: bytes | None = None

    def reach(self) -> None:
        """Return at once: a file needs no module and no service."""

    def create(self, home: Path, store_id: str, generation: int) -> Root:
        """Make the root key of a generation, durable at return."""
        key = os.urandom(KEY_BYTES)
        stored = key
        if self._passphrase is not None:
            self._parameters = self._parameters or Passphrase(os.urandom(SALT_BYTES))
            self._wrapping_key = self._parameters.key(self._passphrase)
            self._passphrase = None
        if self._wrapping_key is not None:
            stored = seal(self._wrapping_key, key, _aad(store_id, generation))
        data = _RootFile(store_id, generation, self._parameters, stored).encode()
        files.write_atomic(layout.root_path(home, generation), data, mode=files.SECRET_MODE)
        return _FileRoot(key)

    def open(self, home: Path, store_id: str, generation: int) -> Root:
        """Return the root key of a generation.

        Raises:
            NotFoundError: There is no such file.
            PermissionsError: Others may use it, or it belongs to somebody else.
            ConfigurationError: The passphrase is missing, not wanted or wrong.
            IntegrityError: The file was changed, or belongs to another store.
        """
        path = layout.root_path(home, generation)
        file = _RootFile.decode(files.read_secret(path, size_bytes_max=ROOT_FILE_BYTES_MAX))
        if (file.store_id, file.generation) != (store_id, generation):
            raise IntegrityError("the root key file belongs to another store or generation")
        if file.passphrase is None:
            if self._passphrase is not None or self._wrapping_key is not None:
                raise ConfigurationError("a passphrase was given, but the root key is not wrapped by one")
            key = file.key
        else:
            key = self._unwrap(file, file.passphrase)
        if len(key) != KEY_BYTES:
            raise IntegrityError("the root key file was changed", hint="restore it from a replica")
        return _FileRoot(key)

    def _unwrap(self, file: _RootFile, parameters: Passphrase) -> bytes:
        if self._wrapping_key is not None and parameters == self._parameters:
            wrapping_key = self._wrapping_key
        elif self._passphrase is not None:
            wrapping_key = parameters.key(self._passphrase)
        else:
            raise ConfigurationError(
                "the root key is wrapped by a passphrase", hint="open the store with its passphrase"
            )
        try:
            key = unseal(wrapping_key, file.key, _aad(file.store_id, file.generation))
        except IntegrityError as exc:
            raise ConfigurationError("the passphrase is wrong, or the root key file was changed") from exc
        self._wrapping_key, self._parameters, self._passphrase = wrapping_key, parameters, None
        return key

    def copy(self, home: Path, generation: int, replica: Path, *, anew: bool = False) -> None:
        """Copy the root key's file to a replica, durably; `anew` even if it reads the same there already."""
        target = layout.root_path(replica, generation)
        data = files.read_secret(layout.root_path(home, generation), size_bytes_max=ROOT_FILE_BYTES_MAX)
        if not anew and _content(target) == data:
            files.fsync_path(target)
            files.fsync_dir(target.parent)
            return
        files.overwrite_and_unlink(target, missing_ok=True)
        files.write_atomic(target, data, mode=files.SECRET_MODE)

    def generations(self, home: Path) -> list[int]:
        """Return the generations whose root key file `home` holds."""
        found = (layout.root_generation(path) for path in layout.keys_dir(home).iterdir())
        return sorted(generation for generation in found if generation is not None)

    def destroy(self, home: Path, generation: int) -> None:
        """Overwrite and unlink a generation's root key file."""
        files.overwrite_and_unlink(layout.root_path(home, generation), missing_ok=True)


def _content(path: Path) -> bytes | None:
    try:
        return files.read_secret(path, size_bytes_max=ROOT_FILE_BYTES_MAX)
    except LagrumError:
        return None


def _aad(store_id: str, generation: int) -> bytes:
    return f"root\x00{store_id}\x00{generation}".encode()


def needs_passphrase(home: Path) -> bool:
    """Tell whether the newest root key in `home` is wrapped by a passphrase; False where there is no key file.

    Raises:
        PermissionsError: others may use the file, or it belongs to somebody else.
        IntegrityError: it cannot be read.
    """
    generations = FileRoots().generations(home) if layout.keys_dir(home).is_dir() else []
    if not generations:
        return False
    path = layout.root_path(home, generations[-1])
    return _RootFile.decode(files.read_secret(path, size_bytes_max=ROOT_FILE_BYTES_MAX)).passphrase is not None
