"""Root providers that the keyring's behaviour suite runs against; add another one here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import NotFoundError
from store.keys import FileRoots, ModulePlace, Root, RootProvider, TransitPlace, roots_of, seal, unseal
from store.keys.roots import Passphrase
from tests.store.keys import key_modules

PASSPHRASE = b"correct horse"


class ModuleRoots:
    """Stands for a security module: roots live in it, cannot be copied, and are gone when destroyed.

    It opens a generation wherever the keyring lies, but only the store that made the roots holds them.
    """

    def __init__(self, slots: dict[int, bytes], owners: set[Path]) -> None:
        self._slots = slots
        self._owners = owners

    def reach(self) -> None:
        pass

    def create(self, home: Path, store_id: str, generation: int) -> Root:
        self._owners.add(home)
        self._slots[generation] = os.urandom(32)
        return self.open(home, store_id, generation)

    def open(self, home: Path, store_id: str, generation: int) -> Root:
        if generation not in self._slots:
            raise NotFoundError("the module has no such root")
        return _ModuleRoot(self._slots[generation])

    def copy(self, home: Path, generation: int, replica: Path, *, anew: bool = False) -> None:
        pass

    def generations(self, home: Path) -> list[int]:
        return sorted(self._slots) if home in self._owners else []

    def destroy(self, home: Path, generation: int) -> None:
        if home in self._owners:
            self._slots.pop(generation, None)


class _ModuleRoot:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def wrap(self, secret: bytes, aad: bytes) -> bytes:
        return seal(self._key, secret, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        return unseal(self._key, blob, aad)


@dataclass(frozen=True)
class Provider:
    """`make` returns a fresh provider, as a new process would have it."""

    name: str
    make: Callable[[], RootProvider]


def plain() -> Provider:
    return Provider("plain", FileRoots)


def passphrase() -> Provider:
    cheap = Passphrase(os.urandom(16), iterations=1, lanes=1, memory_kib=8)
    return Provider("passphrase", lambda: FileRoots(PASSPHRASE, parameters=cheap))


def module() -> Provider:
    slots: dict[int, bytes] = {}
    owners: set[Path] = set()
    return Provider("module", lambda: ModuleRoots(slots, owners))


def softhsm() -> Provider:
    """A token of SoftHSM, a PKCS#11 module in software; one for each test."""
    library = key_modules.softhsm_library()
    place = key_modules.new_token()
    return Provider("softhsm", lambda: roots_of(ModulePlace(str(library), place.label, str(place.pin_file))))


def openbao() -> Provider:
    """The transit engine of a real OpenBao server, which all tests share; a mount for each test."""
    server = key_modules.openbao()
    mount = server.new_mount()
    return Provider("openbao", lambda: roots_of(TransitPlace(server.url, mount, str(server.token_file))))


ALL = [plain, passphrase, module, softhsm, openbao]
