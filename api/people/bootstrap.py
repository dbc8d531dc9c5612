"""The first two custodians of a new store, made by `lagrum init`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.people.enrolment import create_first
from api.people.persons import KIND, Enrolment
from api.people.roles import Role
from api.people.signing import PersonKey, write_key_file
from schemas.errors import ConfigurationError
from store import files

if TYPE_CHECKING:
    from store import Store
    from store.clock import Clock

MARKER: Final = "lagrum.json"
FIRST_CUSTODIANS: Final = ("custodian-1", "custodian-2")
_KEY_SUFFIX: Final = ".key.json"


@dataclass(frozen=True, slots=True)
class FirstCustodian:
    """One of the first two; the key file goes to the person, and off this machine."""

    person_id: str
    key_id: str
    key_file: Path


def default_folder(root: Path) -> Path:
    """Return where `init` writes key files unless it is told otherwise: beside the root."""
    place = root.absolute()  # `.` has no name of its own
    return place.with_name(f"{place.name}.custodians")


def key_file_path(directory: Path, person_id: str) -> Path:
    """Return where a person's key file is written."""
    return directory / f"{person_id}{_KEY_SUFFIX}"


def without_persons(root: Path, *, clock: Clock, passphrase: bytes | None) -> Store | None:
    """Open a store whose `init` ended before anybody was enrolled; None where there is no such store."""
    from store import Store

    if not (root / MARKER).exists():
        return None
    store = Store.open(root, clock=clock, passphrase=passphrase)
    if store.documents.list(KIND):
        store.close()
        return None
    return store


def create_custodians(
    store: Store, directory: Path, *, passphrase: Callable[[str], bytes | None] | None = None
) -> list[FirstCustodian]:
    """Enrol two custodians and write their key files (0600) into `directory`; the audit log tells of both.

    `passphrase` is asked for each person's passphrase; without it the key files are not sealed.

    Raises:
        ConfigurationError: a key file is there already.
        ProcedureError: the store has persons already.
    """
    files.make_dir(directory)
    if any(key_file_path(directory, person_id).exists() for person_id in FIRST_CUSTODIANS):
        raise ConfigurationError(
            "there are key files in that folder already; a key file is never overwritten",
            hint="move them away, or name another folder with --custodian-keys",
        )
    keys = [PersonKey.generate(person_id) for person_id in FIRST_CUSTODIANS]
    made = []
    # Key files first: a custodian without a key file would lock everybody out for good.
    for key in keys:
        path = key_file_path(directory, key.person_id)
        write_key_file(path, key, passphrase(key.person_id) if passphrase is not None else None)
        made.append(FirstCustodian(key.person_id, key.key_id, path))
    enrolments = [
        Enrolment(key.person_id, f"Custodian {number}", (Role.CUSTODIAN.value,), key.public_text)
        for number, key in enumerate(keys, start=1)
    ]
    create_first(store, enrolments)
    return made
