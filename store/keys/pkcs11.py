"""Root keys in a PKCS#11 module: one AES-256 key for each generation, sensitive and not extractable.

A secret is wrapped by CKM_AES_GCM with a random nonce: nonce (12) || ciphertext || tag (16). A root wraps one secret in
its life. Source: PKCS #11 v3.0, 2.12.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from schemas.errors import BusyError, ConfigurationError, IntegrityError, LagrumError, NotFoundError
from store.keys.modules import HeldRoots, ModulePlace, secret_of
from store.keys.roots import Root
from store.keys.sealing import NONCE_BYTES, TAG_BYTES

CREDENTIAL: Final = "lagrum-pkcs11-pin"
_ONE_LOGIN: Final = threading.Lock()
"""A token knows one login of a process at a time."""


class ModuleRoots(HeldRoots):
    """Makes, uses and destroys keys of a PKCS#11 token."""

    def __init__(self, place: ModulePlace) -> None:
        """Note where the module is.

        Raises:
            ConfigurationError: the library is not there, or `python-pkcs11` is not installed.
        """
        super().__init__(place)
        if not Path(place.library).is_file():
            raise ConfigurationError("the PKCS#11 module's library is not there")
        try:
            import pkcs11
        except ImportError as error:
            raise ConfigurationError(
                "PKCS#11 needs the package python-pkcs11", hint="install Lagrum with its extra `pkcs11`"
            ) from error
        self._pkcs11: Any = pkcs11
        self._library, self._token, self._pin_file = place.library, place.token, place.pin_file

    def _make(self, name: str) -> None:
        attribute = self._pkcs11.Attribute
        template = {attribute.SENSITIVE: True, attribute.EXTRACTABLE: False, attribute.MODIFIABLE: False}
        with self._session(write=True) as session:
            session.generate_key(self._pkcs11.KeyType.AES, 256, label=name, store=True, template=template)

    def _root(self, name: str) -> Root:
        with self._session() as session:
            if not self._found(session, name):
                raise NotFoundError("the PKCS#11 module has no such root key")
        return _ModuleRoot(self, name)

    def _names(self, prefix: str) -> list[str]:
        attribute = self._pkcs11.Attribute
        with self._session() as session:
            found = session.get_objects({attribute.CLASS: self._pkcs11.ObjectClass.SECRET_KEY})
            return sorted({str(key.label) for key in found if str(key.label).startswith(prefix)})

    def _destroy(self, name: str) -> None:
        with self._session(write=True) as session:
            for key in self._found(session, name):
                key.destroy()
            if self._found(session, name):
                raise BusyError("the PKCS#11 module still has a root key that it was told to destroy")

    def wrap(self, name: str, secret: bytes, aad: bytes) -> bytes:
        """Return nonce, ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        with self._session() as session:
            return nonce + bytes(self._one(session, name).encrypt(secret, **self._gcm(nonce, aad)))

    def unwrap(self, name: str, blob: bytes, aad: bytes) -> bytes:
        """Return the secret.

        Raises:
            IntegrityError: it does not authenticate.
        """
        if len(blob) <= NONCE_BYTES + TAG_BYTES:
            raise IntegrityError("a wrapped secret is too short")
        with self._session() as session:
            key = self._one(session, name)
            try:
                return bytes(key.decrypt(blob[NONCE_BYTES:], **self._gcm(blob[:NONCE_BYTES], aad)))
            except self._pkcs11.exceptions.PKCS11Error as error:  # modules differ in how they say it
                raise IntegrityError("a wrapped secret does not authenticate") from error

    def _gcm(self, nonce: bytes, aad: bytes) -> dict[str, Any]:
        parameters = self._pkcs11.GCMParams(nonce, aad, TAG_BYTES * 8)
        return {"mechanism": self._pkcs11.Mechanism.AES_GCM, "mechanism_param": parameters}

    def _found(self, session: Any, name: str) -> list[Any]:
        attribute = self._pkcs11.Attribute
        wanted = {attribute.CLASS: self._pkcs11.ObjectClass.SECRET_KEY, attribute.LABEL: name}
        return list(session.get_objects(wanted))

    def _one(self, session: Any, name: str) -> Any:
        found = self._found(session, name)
        if not found:
            raise NotFoundError("the PKCS#11 module has no such root key")
        return found[0]

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[Any]:
        pin = secret_of(CREDENTIAL, self._pin_file).decode("utf-8", "replace")
        errors = self._pkcs11.exceptions
        try:
            library = self._pkcs11.lib(self._library)
            with _ONE_LOGIN, library.get_token(token_label=self._token).open(rw=write, user_pin=pin) as session:
                yield session
        except LagrumError:
            raise
        except (errors.PinIncorrect, errors.PinInvalid, errors.PinLenRange, errors.PinLocked) as error:
            raise ConfigurationError("the PKCS#11 module refuses the PIN") from error
        except errors.NoSuchToken as error:
            raise BusyError("the PKCS#11 module has no such token", hint="plug it in, or check its label") from error
        except (errors.PKCS11Error, RuntimeError) as error:
            raise BusyError("the PKCS#11 module cannot be used", hint="check the module and its token") from error


class _ModuleRoot:
    """A root key that stays in the module."""

    def __init__(self, module: ModuleRoots, name: str) -> None:
        self._module, self._name = module, name

    def wrap(self, secret: bytes, aad: bytes) -> bytes:
        return self._module.wrap(self._name, secret, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        return self._module.unwrap(self._name, blob, aad)
