"""Results at rest: envelopes to the authority inside seals of ours; and the key that signs deliveries.

    ROOT/deliveries/<id>/part-0001.sealed ...  one envelope each, sealed under the delivery's key `cases//<id>/`
    ROOT/deliveries/<id>/cover-<n>.sealed      the envelope that a release adds, likewise
    ROOT/deliveries/<id>/manifest.sealed       digests, counts, fields and the order; never a record
    ROOT/deliveries/signing.sealed             private half of the delivery key, sealed under `cases//delivery-signing/`
    ROOT/deliveries/signing.pub                public half, base64: what receivers verify deliveries with

Records are encrypted to the authority before they are written for the first time: nobody at the operator can read a
result, before its release or after. The seal around it keeps the authority from reading what was never released, and
makes a destroyed result unreadable in backups too: its key goes first.
"""

from __future__ import annotations

import hashlib
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.disclosure.deliveries import Delivery
from api.disclosure.package import entry_of, part_name
from schemas.errors import BusyError, IntegrityError, NotFoundError
from store import Store
from store.audit import AuditEntry
from store.files import lock, make_dir, remove_dirs, write_atomic
from store.keys import KeyRef, seal, unseal

MANIFEST: Final = "manifest"
_SIGNING: Final = KeyRef("cases", "", "delivery-signing", "")


class Vault:
    """Keeps deliveries of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._directory = store.root / "deliveries"

    def filling(self) -> AbstractContextManager[None]:
        """Hold while a result is being written that no document names yet."""
        make_dir(self._directory)
        return lock(self._directory / "filling", exclusive=False)

    def keep(self, delivery_id: str, name: str, content: bytes) -> None:
        """Seal a member of a delivery, durable at return."""
        ref = _ref(delivery_id)
        self._store.keyring.ensure([ref])
        directory = self._directory / delivery_id
        make_dir(self._directory)
        make_dir(directory)
        blob = seal(self._store.keyring.key(ref), content, self._aad(delivery_id, name))
        write_atomic(directory / f"{name}.sealed", blob)

    def read(self, delivery_id: str, name: str) -> bytes:
        """Return a member of a delivery.

        Raises:
            NotFoundError: there is none.
            KeyUnavailableError: it was destroyed.
            IntegrityError: its bytes do not authenticate.
        """
        key = self._store.keyring.key(_ref(delivery_id))
        try:
            blob = (self._directory / delivery_id / f"{name}.sealed").read_bytes()
        except FileNotFoundError:
            raise NotFoundError("the result is not kept any more") from None
        return unseal(key, blob, self._aad(delivery_id, name))

    def envelopes(self, delivery: Delivery) -> Iterator[tuple[str, bytes]]:
        """Yield file name and envelope of the cover and of each part in sequence, compared with what is on file.

        Raises:
            NotFoundError: it is not released.
            IntegrityError: an envelope is not the one that was released.
        """
        yield "cover.p7m", self.envelope(delivery, 0)
        for part in delivery.parts:
            yield part_name(part.sequence, "p7m"), self.envelope(delivery, part.sequence)

    def envelope(self, delivery: Delivery, sequence: int) -> bytes:
        """Return one envelope: the cover's for 0, else a part's.

        Raises:
            NotFoundError: the delivery has no such part.
            IntegrityError: the envelope is not the one on file.
        """
        if sequence > len(delivery.parts) or sequence < 0 or delivery.cover is None:
            raise NotFoundError("the delivery has no such part")
        digest = (delivery.parts[sequence - 1] if sequence else delivery.cover).envelope_sha256
        name = f"part-{sequence:04d}" if sequence else cover_name(delivery.cover.opening)
        data = self.read(delivery.id, name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError("an envelope at rest is not the one on file")
        return data

    def destroy(self, delivery_id: str) -> None:
        """Destroy a delivery: its key first, then the ciphertext."""
        ref = _ref(delivery_id)
        if self._store.keyring.has(ref):
            self._store.keyring.destroy([ref])
        directory = self._directory / delivery_id
        if directory.is_dir():
            remove_dirs([directory], self._directory)

    def sweep(self, kept: set[str]) -> list[str]:
        """Destroy every delivery that is none of `kept`, unless one is being written right now; return their ids."""
        found = sorted(path.name for path in self._directory.glob("*-D-*") if path.is_dir())
        strays = [name for name in found if name not in kept]
        if not strays:
            return []
        try:
            with lock(self._directory / "filling", exclusive=True, blocking=False):
                for name in strays:
                    self.destroy(name)
        except BusyError:
            return []
        return strays

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the delivery key; it is made, and logged with its public half, on first use.

        Raises:
            IntegrityError: The public half that lies beside it is not the key's.

        Source: RFC 8032 (Ed25519).
        """
        sealed = self._directory / "signing.sealed"
        make_dir(self._directory)
        with lock(self._directory / "lock", exclusive=True, blocking=True):
            if not sealed.exists():
                self._make_signing_key(sealed)
            seed = unseal(self._store.keyring.key(_SIGNING), sealed.read_bytes(), self._aad("delivery-signing", ""))
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
        # Logged before it exists: no delivery is ever signed by a key that the log does not know.
        self._store.log(AuditEntry("disclosure.delivery-key", {"public_key": _public_text(key)}))
        blob = seal(self._store.keyring.key(_SIGNING), key.private_bytes_raw(), self._aad("delivery-signing", ""))
        write_atomic(sealed, blob)

    def _aad(self, delivery_id: str, name: str) -> bytes:
        return f"delivery\x00{self._store.store_id}\x00{delivery_id}\x00{name}".encode()


class Parcel:
    """A delivery on its way: the file that the officer gets, made while it is sent."""

    def __init__(self, vault: Vault, delivery: Delivery) -> None:
        self._vault = vault
        self.delivery = delivery

    def chunks(self) -> Iterator[bytes]:
        """Yield the file: a zip of envelopes, stored, with one date; the same bytes every time.

        Raises:
            IntegrityError: an envelope is not the one that was released; what was sent so far is no whole file.
        """
        sink = _Sink()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # type: ignore[call-overload]
            for name, envelope in self._vault.envelopes(self.delivery):
                archive.writestr(entry_of(name), envelope)
                yield from sink.taken()
        yield from sink.taken()

    def to_bytes(self) -> bytes:
        """Return the whole file at once."""
        return b"".join(self.chunks())


class _Sink:
    """Takes what a zip writes and gives it on; it cannot be sought in, so the zip puts sizes behind members."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, data: Any) -> int:
        self._chunks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        return

    def taken(self) -> list[bytes]:
        chunks, self._chunks = self._chunks, []
        return chunks


def cover_name(opening: str) -> str:
    """Return the name of one release's cover: a release that does not hold never overwrites one that does."""
    return f"cover-{opening[:16]}"


def _ref(delivery_id: str) -> KeyRef:
    return KeyRef("cases", "", delivery_id, "")


def _public_text(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode("ascii")
