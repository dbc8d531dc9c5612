"""Packages at rest: only ciphertext, each under a key of its own; and the key that signs packages.

    ROOT/deliveries/<id>.sealed      package, sealed under the key `cases//<id>/`
    ROOT/deliveries/signing.sealed   private half of the delivery key, sealed under the key `cases//delivery-signing/`
    ROOT/deliveries/signing.pub      public half, base64: what receivers verify packages with

One key per package lets one package be destroyed without touching another.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.errors import IntegrityError, NotFoundError
from store import Store
from store.audit import AuditEntry
from store.files import lock, make_dir, unlink_durable, write_atomic
from store.keys import KeyRef, seal, unseal

_SIGNING: Final = KeyRef("cases", "", "delivery-signing", "")


class Vault:
    """Keeps packages of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._directory = store.root / "deliveries"

    def keep(self, delivery_id: str, package: bytes) -> None:
        """Seal a package, durable at return."""
        ref = _ref(delivery_id)
        self._store.keyring.ensure([ref])
        make_dir(self._directory)
        write_atomic(self._path(delivery_id), seal(self._store.keyring.key(ref), package, self._aad(delivery_id)))

    def read(self, delivery_id: str) -> bytes:
        """Return a package.

        Raises:
            NotFoundError: there is none.
            KeyUnavailableError: it was destroyed.
            IntegrityError: its bytes do not authenticate.
        """
        key = self._store.keyring.key(_ref(delivery_id))
        try:
            blob = self._path(delivery_id).read_bytes()
        except FileNotFoundError:
            raise NotFoundError("the package is not kept any more") from None
        return unseal(key, blob, self._aad(delivery_id))

    def destroy(self, delivery_id: str) -> None:
        """Destroy a package: its key first, then the ciphertext."""
        ref = _ref(delivery_id)
        if self._store.keyring.has(ref):
            self._store.keyring.destroy([ref])
        unlink_durable(self._path(delivery_id), missing_ok=True)

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the delivery key; it is made, and logged with its public half, on first use."""
        sealed = self._directory / "signing.sealed"
        make_dir(self._directory)
        with lock(self._directory / "lock", exclusive=True, blocking=True):
            if not sealed.exists():
                self._make_signing_key(sealed)
            seed = unseal(self._store.keyring.key(_SIGNING), sealed.read_bytes(), self._aad("delivery-signing"))
        key = Ed25519PrivateKey.from_private_bytes(seed)
        public = _public_text(key)
        path = self._directory / "signing.pub"
        if not path.exists():
            write_atomic(path, public.encode("ascii") + b"\n", mode=0o644)
        elif path.read_text("ascii").strip() != public:
            raise IntegrityError("the delivery key's public half was changed")
        return key

    def public_key(self) -> str:
        """Return the public half in base64."""
        return _public_text(self.signing_key())

    def _make_signing_key(self, sealed: Path) -> None:
        key = Ed25519PrivateKey.generate()
        self._store.keyring.ensure([_SIGNING])
        # Logged before it exists: no package is ever signed by a key that the log does not know.
        self._store.log(AuditEntry("disclosure.delivery-key", {"public_key": _public_text(key)}))
        blob = seal(self._store.keyring.key(_SIGNING), key.private_bytes_raw(), self._aad("delivery-signing"))
        write_atomic(sealed, blob)

    def _path(self, delivery_id: str) -> Path:
        return self._directory / f"{delivery_id}.sealed"

    def _aad(self, name: str) -> bytes:
        return f"delivery\x00{self._store.store_id}\x00{name}".encode()


def _ref(delivery_id: str) -> KeyRef:
    return KeyRef("cases", "", delivery_id, "")


def _public_text(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode("ascii")
