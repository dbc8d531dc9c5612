"""Root keys that never leave a security module or a key service: what the two kinds have in common.

Where a home's roots live is said by HOME/keys/provider.json, which holds no secret; without it they are key files. A
PIN or a token is read from the systemd credential of that name, or from the file (mode 0600) that the provider names.
"""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from schemas.errors import ConfigurationError, IntegrityError
from store import files
from store.keys import layout
from store.keys.roots import FileRoots, Root, RootProvider

FORMAT: Final = "lagrum-root-provider-1"
FILE_BYTES_MAX: Final = 4096
SECRET_BYTES_MAX: Final = 4096
NAME_PREFIX: Final = "lagrum-"


@dataclass(frozen=True, slots=True)
class TransitPlace:
    """A Vault-compatible key service (OpenBao, Vault): address, mount of the transit engine, file of the token.

    `ca_file` names the PEM file of the authority that signed the service's certificate; empty: the system's.
    """

    url: str
    mount: str = "transit"
    token_file: str = ""
    ca_file: str = ""
    kind: str = "transit"


@dataclass(frozen=True, slots=True)
class ModulePlace:
    """A PKCS#11 module: its library, the token's label, where the user's PIN is."""

    library: str
    token: str
    pin_file: str = ""
    kind: str = "pkcs11"


Place = TransitPlace | ModulePlace
_KINDS: Final[dict[str, type[TransitPlace] | type[ModulePlace]]] = {"transit": TransitPlace, "pkcs11": ModulePlace}


class HeldRoots(ABC):
    """Root keys held elsewhere, under a name made of the store's id and the generation.

    A replica gets `provider.json` and no key: the keyring in it opens wherever the module or service can be reached.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    def reach(self) -> None:
        """Make a key, use it, and destroy it.

        Raises:
            BusyError: the module or service, or the token in it, is not there.
            ConfigurationError: it refuses the PIN, the token or the request.
        """
        name = f"{NAME_PREFIX}probe-{secrets.token_hex(8)}"
        self._make(name)
        try:
            root = self._root(name)
            root.unwrap(root.wrap(name.encode(), b""), b"")
        finally:
            self._destroy(name)

    def create(self, home: Path, store_id: str, generation: int) -> Root:
        """Make the root key of a generation, and replace one that was left half-made."""
        _write_place(home, self.place, store_id)
        name = key_name(store_id, generation)
        self._destroy(name)
        self._make(name)
        return self._root(name)

    def open(self, home: Path, store_id: str, generation: int) -> Root:  # noqa: ARG002 (one seam for all providers)
        """Return the root key of a generation.

        Raises:
            NotFoundError: the module has no such key.
            BusyError: the module or service cannot be reached.
        """
        return self._root(key_name(store_id, generation))

    def copy(self, home: Path, generation: int, replica: Path, *, anew: bool = False) -> None:  # noqa: ARG002
        """Tell the replica where the roots live."""
        place, store_id = _read_place(home)
        if anew or not layout.provider_path(replica).exists() or _read_place(replica) != (place, store_id):
            _write_place(replica, place, store_id)

    def generations(self, home: Path) -> list[int]:
        """Return the generations whose root key the module holds for the store; a replica holds none."""
        store_id = _owner(home)
        if store_id is None:
            return []
        found = (generation_of(name, store_id) for name in self._names(key_prefix(store_id)))
        return sorted(generation for generation in found if generation is not None)

    def destroy(self, home: Path, generation: int) -> None:
        """Destroy a generation's root key in the module."""
        store_id = _owner(home)
        if store_id is not None:
            self._destroy(key_name(store_id, generation))

    @abstractmethod
    def _make(self, name: str) -> None:
        """Make a key that cannot be exported."""

    @abstractmethod
    def _root(self, name: str) -> Root:
        """Return the key; NotFoundError if there is none."""

    @abstractmethod
    def _names(self, prefix: str) -> list[str]:
        """Return the names of the keys that begin so."""

    @abstractmethod
    def _destroy(self, name: str) -> None:
        """Destroy a key, if it is there."""


def key_prefix(store_id: str) -> str:
    """Return how the names of a store's root keys begin."""
    return f"{NAME_PREFIX}{store_id}-"


def key_name(store_id: str, generation: int) -> str:
    """Return the name of a root key in the module."""
    return f"{key_prefix(store_id)}{generation:06d}"


def generation_of(name: str, store_id: str) -> int | None:
    """Return the generation that a key's name tells; None if it is not one of the store's."""
    digits = name.removeprefix(key_prefix(store_id))
    return int(digits) if digits.isdigit() and name == key_name(store_id, int(digits)) else None


def roots_of(place: Place) -> RootProvider:
    """Return the provider for a place outside the store."""
    if isinstance(place, TransitPlace):
        from store.keys.transit import TransitRoots

        return TransitRoots(place)
    from store.keys.pkcs11 import ModuleRoots

    return ModuleRoots(place)


def roots_at(home: Path, passphrase: bytes | None = None) -> RootProvider:
    """Return the provider of the roots of a home: what its provider.json says, else key files.

    Raises:
        ConfigurationError: a passphrase is given, but the root is in no file that it could wrap.
        IntegrityError: provider.json cannot be read.
    """
    if not layout.provider_path(home).exists():
        return FileRoots(passphrase)
    if passphrase is not None:
        raise ConfigurationError("a passphrase was given, but the root key lies in a module or service")
    return roots_of(_read_place(home)[0])


def secret_of(credential: str, path: str) -> bytes:
    """Return a PIN or token: the systemd credential of that name, else the content of a file of mode 0600.

    Raises:
        ConfigurationError: there is neither.
        PermissionsError: others may read the file.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory and (handed := Path(directory) / credential).is_file():
        content = handed.read_bytes()
    elif path:
        content = files.read_secret(Path(path), size_bytes_max=SECRET_BYTES_MAX)
    else:
        raise ConfigurationError(
            "the way into the key module is not known",
            hint=f"pass it as the systemd credential {credential}, or name a file of mode 0600 at `lagrum init`",
        )
    content = content.rstrip(b"\r\n")
    if not content or len(content) > SECRET_BYTES_MAX:
        raise ConfigurationError(f"the secret {credential} is empty or too long")
    return content


def _owner(home: Path) -> str | None:
    """Return the id of the store that holds its roots from here; None for a replica, and before the first root."""
    if layout.marker_path(home).exists() or not layout.provider_path(home).exists():
        return None
    return _read_place(home)[1]


def _write_place(home: Path, place: Place, store_id: str) -> None:
    value = {"format": FORMAT, "store_id": store_id} | asdict(place)
    data = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    path = layout.provider_path(home)
    if not path.exists() or files.read_secret(path, size_bytes_max=FILE_BYTES_MAX) != data:
        files.write_atomic(path, data)


def _read_place(home: Path) -> tuple[Place, str]:
    data = files.read_secret(layout.provider_path(home), size_bytes_max=FILE_BYTES_MAX)
    try:
        value: dict[str, Any] = orjson.loads(data)
        if value.pop("format") != FORMAT:
            raise ValueError("another format")
        store_id = str(value.pop("store_id"))
        make: Callable[..., Place] = _KINDS[value["kind"]]
        return make(**value), store_id
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError("keys/provider.json cannot be read", hint="restore it from a replica") from error
