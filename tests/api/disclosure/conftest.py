"""One store with its people and a case in it, for tests of the procedure."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from api.disclosure.deliveries import Delivery
from api.disclosure.delivering import ACKNOWLEDGE
from api.disclosure.model import Actor, Authorisation, Task, Window, request_digest
from api.disclosure.procedure import (
    APPROVE_RELEASE,
    APPROVE_REQUEST,
    CalledBack,
    Disclosure,
    Order,
    Ruling,
    SourceDocument,
    WrittenTarget,
)
from api.handover.opening import Opened, Reader, open_to
from api.people import authorities, persons
from api.people.persons import Approval
from api.people.roles import Role, parse_roles
from api.people.signing import PersonKey, Statement, decode_public_key
from schemas.errors import ProcedureError
from schemas.legal_bases import basis_on
from schemas.legal_terms import Decider
from store import Put, Store
from store.audit import StoredEntry
from store.clock import to_date, to_text
from tests.api.handover.authority import side
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records, with_column

TARGET = "46701740007"
AUTHORITY, OTHER_AUTHORITY = "police-se", "customs-se"
CALL_BACK = "+46771141400"
PEOPLE = {
    "officer-1": ("officer",),
    "officer-2": ("officer",),
    "handler-1": ("case-handler",),
    "handler-2": ("case-handler",),
    "approver-1": ("approver",),
    "approver-2": ("approver",),
    "auditor-1": ("auditor",),
    "custodian-1": ("custodian",),
    "billing-1": ("billing",),
    "dpo-1": ("dpo",),
    "tenant-1": ("tenant-admin",),
}
MIDNIGHT_US = NOW_US - NOW_US % DAY_US
WINDOW = Window(MIDNIGHT_US - 8 * DAY_US, MIDNIGHT_US - 3 * DAY_US)


def order(**changes: Any) -> Order:
    terms: dict[str, Any] = {
        "basis": "secret-surveillance",
        "decision_reference": "B 1234-26",
        "decided_on": to_date(NOW_US) - timedelta(days=2),
        "authority": AUTHORITY,
        "country": "SE",
        "source": SourceDocument("text/plain", b"Decision B 1234-26: 070-174 00 07"),
        "targets": (WrittenTarget("number", "070-174 00 07"),),
        "window": WINDOW,
        "expires_at_us": NOW_US + 30 * DAY_US,
    }
    wanted = terms | changes
    return Order(**({"decided_by": decider(wanted["basis"], wanted["decided_on"])} | wanted))


def decider(basis: str, day: date) -> Decider:
    """Return who decides under a basis; a court under one that does not exist."""
    try:
        return basis_on(basis, day).decided_by
    except ProcedureError:
        return Decider.COURT


@dataclass
class Court:
    """A store, its people, and short words for the steps."""

    store: Store
    clock: FixedClock
    keys: dict[str, PersonKey] = field(default_factory=dict)
    folders: int = 0

    @property
    def procedure(self) -> Disclosure:
        return Disclosure(self.store)

    def enrol(
        self,
        person_id: str,
        *roles: str,
        key: PersonKey | None = None,
        state: str = persons.ACTIVE,
        authority: str = AUTHORITY,
    ) -> None:
        self.keys[person_id] = key or self.keys.get(person_id) or PersonKey.generate(person_id)
        person = persons.Person(
            person_id,
            person_id,
            parse_roles(roles),
            self.keys[person_id].public_text,
            None,
            state,
            {},
            authority=authority if "officer" in roles else None,
        )
        self.store.documents.commit([Put(persons.KIND, person_id, person.to_body())])

    def actor(self, person_id: str) -> Actor:
        person = persons.get(self.store, person_id)
        return Actor(person_id, person.key_id, frozenset(str(role) for role in person.roles))

    def signed(self, person_id: str, action: str, case: str, digest: str) -> Approval:
        time = to_text(self.clock.now_us())
        return Approval(time, self.keys[person_id].sign(Statement(action, case, digest, time)))

    def file(self, person_id: str = "officer-1", **changes: Any) -> Authorisation:
        return self.procedure.authorise(self.actor(person_id), order(**changes))

    def register(self, authorisation: Authorisation, person_id: str = "officer-1", **terms: Any) -> Task:
        return self.procedure.register(self.actor(person_id), authorisation.id, **terms)

    def check(self, task_id: str, person_id: str = "handler-1", call: CalledBack | None = None) -> Task:
        return self.procedure.check(self.actor(person_id), task_id, call)

    def called(self, **changes: Any) -> CalledBack:
        terms = {"spoken_with": "Duty officer 4711", "number": CALL_BACK, "called_at_us": self.clock.now_us()}
        return CalledBack(**(terms | changes))

    def ruling(self, **changes: Any) -> Ruling:
        terms: dict[str, Any] = {
            "decision_reference": "B 1234-26/2",
            "decided_on": to_date(self.clock.now_us()),
            "decided_by": Decider.COURT,
            "source": SourceDocument("text/plain", b"the second decision"),
        }
        return Ruling(**(terms | changes))

    def emergency(self, **changes: Any) -> Task:
        """An emergency, checked after a call-back and approved."""
        task = self.register(self.file(emergency=True, **changes))
        return self.approve(self.check(task.id, call=self.called()).id)

    def approve(self, task_id: str, person_id: str = "approver-1", *, digest: str | None = None) -> Task:
        case = self.procedure.casebook.case(task_id)
        signed = self.signed(
            person_id, APPROVE_REQUEST, task_id, digest or request_digest(case.authorisation, case.task)
        )
        return self.procedure.approve(self.actor(person_id), task_id, signed)

    def run(self, task_id: str, person_id: str = "handler-1") -> Task:
        return self.procedure.run(self.actor(person_id), task_id)

    def release(self, task_id: str, person_id: str = "approver-1", *, digest: str | None = None) -> Task:
        task = self.procedure.casebook.task(task_id)[0]
        signed = self.signed(person_id, APPROVE_RELEASE, task_id, digest or task.result_digest or "0" * 64)
        return self.procedure.release(self.actor(person_id), task_id, signed)

    def deliver(self, task_id: str, person_id: str = "officer-1") -> bytes:
        return self.procedure.deliver(self.actor(person_id), task_id).to_bytes()

    def open(self, data: bytes, authority_id: str = AUTHORITY) -> tuple[Opened, list[dict[str, Any]]]:
        """Open a delivery as its authority does; return what it says, and its records."""
        office = side(authority_id)
        reader = Reader(office.certificate, office.key, decode_public_key(self.procedure.vault.public_key()))
        self.folders += 1
        folder = self.store.root.parent / f"opened-{self.folders}"
        path = folder.with_suffix(".zip")
        path.write_bytes(data)
        opened = open_to(path, folder, reader)
        files = sorted(folder.glob("part-*/records.ndjson"))
        return opened, [json.loads(line) for file in files for line in file.read_bytes().splitlines()]

    def acknowledge(self, task_id: str, opening: str, person_id: str = "officer-1") -> Delivery:
        signed = self.signed(person_id, ACKNOWLEDGE, task_id, opening)
        return self.procedure.acknowledge(self.actor(person_id), task_id, signed)

    def checked(self, **changes: Any) -> Task:
        return self.check(self.register(self.file(**changes)).id)

    def approved(self, **changes: Any) -> Task:
        return self.approve(self.checked(**changes).id)

    def released(self, **changes: Any) -> Task:
        return self.release(self.run(self.approved(**changes).id).id)

    def log(self, start: int = 0) -> list[StoredEntry]:
        return list(self.store.audit.entries(start, self.store.audit.size, reveal=True))


def register_authority(
    store: Store,
    authority_id: str,
    state: str = authorities.ACTIVE,
    certificate_of: str | None = None,
    kind: authorities.AuthorityKind = authorities.AuthorityKind.LAW_ENFORCEMENT,
) -> None:
    """Put an authority on the register, past its two custodians."""
    terms = authorities.Terms(
        authority_id=authority_id,
        name="Police Authority",
        country="SE",
        organisation=authority_id.upper(),
        kind=kind,
        certificate=b64encode(side(certificate_of or authority_id).certificate.public_bytes(Encoding.DER)).decode(),
        call_back=CALL_BACK,
        formats=(authorities.Format.NDJSON, authorities.Format.CSV, authorities.Format.TS_102_657),
        from_us=0,
    )
    item = authorities.Authority(terms, state, {})
    store.documents.commit([Put(authorities.KIND, authority_id, item.to_body())])


@contextmanager
def a_rights_holder(court: Court) -> Iterator[None]:
    """Let the authority be a rights holder for a while."""
    register_authority(court.store, AUTHORITY, kind=authorities.AuthorityKind.RIGHTS_HOLDER)
    try:
        yield
    finally:
        register_authority(court.store, AUTHORITY)


def traffic() -> pa.Table:
    """Twelve days of records; the target is calling party of some, called, dialled or forwarded-to of others."""
    table = records(600, days_ago=12, days=12)
    rows = range(table.num_rows)
    packed = int("1" + TARGET)
    calling = [packed if row % 40 == 1 else value for row, value in enumerate(table["calling_number"].to_pylist())]
    table = with_column(table, "calling_number", calling)
    table = with_column(table, "called_number", [packed if row % 40 == 2 else 146_701_749_999 for row in rows])
    table = with_column(table, "forwarded_number", [packed if row % 40 == 3 else None for row in rows])
    table = with_column(table, "dialled_number", [packed if row % 40 == 4 else None for row in rows])
    return with_column(table, "account", [10_077] * table.num_rows)


@pytest.fixture(scope="module")
def shared_court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """One store for a whole module; cases of it do not touch each other."""
    clock = FixedClock(NOW_US)
    with Store.create(tmp_path_factory.mktemp("court") / "root", clock=clock) as store:
        yield peopled(store, clock)


@pytest.fixture
def court(tmp_path: Path, clock: FixedClock) -> Iterator[Court]:
    """A store of the test's own, for tests that break it."""
    with Store.create(tmp_path / "root", clock=clock) as store:
        yield peopled(store, clock)


def peopled(store: Store, clock: FixedClock) -> Court:
    """Return a store's court with everybody in it and its traffic stored."""
    court = Court(store, clock)
    for authority in (AUTHORITY, OTHER_AUTHORITY):
        register_authority(store, authority)
    for person_id, roles in PEOPLE.items():
        court.enrol(person_id, *roles)
    deliver(store, traffic())
    return court


def roles() -> list[str]:
    return [role.value for role in Role]
