"""Epoch keys: short-lived signing keys, chained to one pinned origin key.

The origin key signs the first epoch's key when the log is made, and its private half is never written anywhere. Epoch
n signs epoch n + 1 together with the tree as it then stood, and its private half is destroyed. So whoever takes the
key of epoch n + 1 cannot make another past for the entries before the change: no key exists that would sign it.

A certificate is a signed note of seven lines; its first line keeps it apart from every checkpoint.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import orjson

from schemas.errors import ConfigurationError, IntegrityError, NotFoundError
from store import files
from store.audit import paths
from store.audit.checkpoint import Signer, VerifierKey, parse_note
from store.audit.merkle import HASH_BYTES
from store.keys import KeyRef, Keyring, seal, unseal

_HEADER: Final = "lagrum-audit-epoch/v1"
_AAD: Final = b"lagrum audit epoch key v1\n"
EPOCH_ENTRIES_MAX: Final = 50_000
"""An epoch signs about so many entries at most, and is never longer than a day while the service runs."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Who signs from entry `size` on, and what the tree before it was."""

    origin: str
    store_id: str
    epoch: int
    key: VerifierKey
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text."""
        root = base64.b64encode(self.root).decode()
        return f"{_HEADER}\n{self.origin}\n{self.store_id}\n{self.epoch}\n{self.key}\n{self.size}\n{root}\n"

    @classmethod
    def open(cls, note: str, signer: VerifierKey) -> Certificate:
        """Return the certificate, if `signer` signed it.

        Raises:
            IntegrityError: it is malformed, or somebody else signed it.
        """
        parsed = parse_note(note)
        parsed.verify(signer)
        lines = parsed.text.split("\n")
        if len(lines) != 8 or not lines[3].isdecimal() or not lines[5].isdecimal():
            raise IntegrityError("not an epoch certificate")
        try:
            root = base64.b64decode(lines[6], validate=True)
        except (binascii.Error, ValueError) as e:
            raise IntegrityError("not an epoch certificate") from e
        certificate = cls(lines[1], lines[2], int(lines[3]), VerifierKey.parse(lines[4]), int(lines[5]), root)
        if certificate.text() != parsed.text or len(root) != HASH_BYTES or certificate.key.name != lines[1]:
            raise IntegrityError("not an epoch certificate")
        return certificate

    def public(self, note: str) -> dict[str, Any]:
        """Return the public body of the entry that records it."""
        return {
            "certificate": note,
            "epoch": self.epoch,
            "key": str(self.key),
            "origin": self.origin,
            "store": self.store_id,
        }


def certificate_of(public: dict[str, Any], signer: VerifierKey) -> Certificate:
    """Return the certificate that an epoch entry records.

    Raises:
        IntegrityError: `signer` did not sign it, or the entry says something else beside it.
    """
    note = public.get("certificate")
    if not isinstance(note, str):
        raise IntegrityError("an epoch entry carries no certificate")
    certificate = Certificate.open(note, signer)
    if certificate.public(note) != public:
        raise IntegrityError("an epoch entry contradicts its certificate")
    return certificate


def check_succession(
    certificate: Certificate, *, origin: str, store_id: str | None, epoch: int, size: int, root: bytes
) -> None:
    """Check that a certificate continues this log at this place.

    Raises:
        IntegrityError: it belongs to another log, store, epoch or tree.
    """
    same_store = store_id is None or certificate.store_id == store_id
    if certificate.origin != origin or not same_store or certificate.epoch != epoch:
        raise IntegrityError("an epoch certificate belongs elsewhere")
    if certificate.size != size or certificate.root != root:
        raise IntegrityError("an epoch certificate was given for another past")


BACKUP_NAME: Final = "backup-"
"""Begin of the names of keys that seal an epoch in backups; their date is the last day of the backup's life."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch whose private key this process holds."""

    number: int
    signer: Signer
    key: KeyRef
    size: int
    """How many entries the log had before it."""

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return self.signer.verifier


def epoch_key(number: int, day: date) -> KeyRef:
    """Return the keyring's key that seals the private key of an epoch begun on `day`."""
    return KeyRef("audit", day.isoformat(), f"epoch-{number:06d}", "shared")


def is_due(epoch: Epoch, *, day: date, size: int) -> bool:
    """Tell whether another epoch is to begin: on another day, or once this one has signed `EPOCH_ENTRIES_MAX`. Pure.

    So whoever takes today's key cannot make another yesterday. A clock that goes back changes nothing. An epoch that
    came back with a backup is always due.
    """
    if epoch.key.name.startswith(BACKUP_NAME):
        return True
    return day > date.fromisoformat(epoch.key.date) or size - epoch.size >= EPOCH_ENTRIES_MAX


def new_epoch(directory: Path, *, number: int, name: str, day: date, size: int, keyring: Keyring) -> Epoch:
    """Make an epoch key and keep it, sealed; nothing has been signed with it yet."""
    epoch = Epoch(number, Signer.generate(name), epoch_key(number, day), size)
    keyring.ensure([epoch.key])
    files.write_atomic(paths.epoch_path(directory, number), _sealed(epoch, epoch.key, keyring))
    return epoch


def kept_for_backup(epoch: Epoch, until: date, keyring: Keyring) -> bytes:
    """Return the file of an epoch for a backup, sealed under a key of its own that lives as long as the backup.

    The epoch's own key is destroyed with the next epoch; without this nobody could go on with a log that was restored.
    """
    key = KeyRef("audit", until.isoformat(), f"{BACKUP_NAME}{epoch.number:06d}", "shared")
    keyring.ensure([key])
    return _sealed(epoch, key, keyring)


def spent_backup_keys(refs: Iterable[KeyRef], today: date, current: int) -> list[KeyRef]:
    """Return the keys of backups whose life is over, but for that of the current epoch: it came back with one. Pure."""
    return [
        ref
        for ref in refs
        if ref.kind == "audit"
        and ref.name.startswith(BACKUP_NAME)
        and ref.name != f"{BACKUP_NAME}{current:06d}"
        and date.fromisoformat(ref.date) < today
    ]


def _sealed(epoch: Epoch, key: KeyRef, keyring: Keyring) -> bytes:
    box = seal(keyring.key(key), epoch.signer.seed, _aad(str(epoch.verifier), epoch.size))
    content = {
        "box": base64.b64encode(box).decode(),
        "key": str(key),
        "size": epoch.size,
        "vkey": str(epoch.verifier),
    }
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def stored_epochs(directory: Path) -> list[int]:
    """Return the epochs whose private keys are still kept."""
    numbers = (paths.parse_epoch(path.name) for path in paths.epochs_path(directory).iterdir())
    return sorted(number for number in numbers if number is not None)


def load_epoch(directory: Path, number: int, keyring: Keyring) -> Epoch:
    """Return an epoch with its private key.

    Raises:
        IntegrityError: the file is damaged or gone.
        KeyUnavailableError: the keyring does not hold the key that seals it.
        PermissionsError: others may read the file.
    """
    try:
        content = orjson.loads(files.read_secret(paths.epoch_path(directory, number)))
        match content:
            case {"box": str(box), "key": str(ref), "size": int(size), "vkey": str(vkey)}:
                reference, sealed = _epoch_ref(ref, number), base64.b64decode(box, validate=True)
            case _:
                raise ValueError("members")
    except (NotFoundError, ConfigurationError, ValueError, binascii.Error) as e:
        raise IntegrityError("the private key of an epoch is damaged or missing") from e
    seed = unseal(keyring.key(reference), sealed, _aad(vkey, size))
    epoch = Epoch(number, Signer(VerifierKey.parse(vkey).name, seed), reference, size)
    if str(epoch.verifier) != vkey:
        raise IntegrityError("the private key of an epoch does not fit its public key")
    return epoch


def _aad(vkey: str, size: int) -> bytes:
    return _AAD + f"{vkey}\n{size}".encode()


def _epoch_ref(text: str, number: int) -> KeyRef:
    ref = KeyRef.parse(text)
    if ref.kind != "audit" or ref.name not in (f"epoch-{number:06d}", f"{BACKUP_NAME}{number:06d}"):
        raise ValueError("key reference")
    return ref


def superseded_keys(keyring: Keyring, current: KeyRef) -> list[KeyRef]:
    """Return the keyring's keys of epochs other than the current one.

    None while that one came with a backup: whoever opens a restored store to look at it changes no keyring.
    """
    if current.name.startswith(BACKUP_NAME):
        return []
    return [r for r in keyring.refs() if r.kind == "audit" and r.name.startswith("epoch-") and r != current]
