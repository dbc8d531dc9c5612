"""Who was revoked is not brought back by an edit of the catalog: nobody acts on it, and `verify` tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.people import authorities, authority_register, bindings, credentials, enrolment, persons
from api.people.credentials import CredentialBook, Scope
from schemas.errors import IntegrityError
from store import Put, Store
from store.audit.segments import list_segments
from store.documents import NOTED
from tests.api import police
from tests.api.world import World

Row = tuple[Any, ...]


def rows(store: Store, kind: str) -> list[Row]:
    return store.catalog.query("SELECT * FROM documents WHERE kind = ?", (kind,))


def put_back(store: Store, kind: str, before: list[Row]) -> None:
    """What somebody does who can write the catalog, has an older copy of it, and has no key."""
    with store.catalog.transaction() as cursor:
        cursor.execute("DELETE FROM documents WHERE kind = ?", (kind,))
        cursor.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", before)


def told(store: Store) -> set[str]:
    return {problem.where for problem in store.verify()}


def revoke_person(world: World) -> str:
    digest = enrolment.revocation_digest(world.store.store_id, "auditor-1", "left")
    first, second = world.custodians
    for key, action, act in (
        (first, enrolment.REVOKE_REQUEST, lambda a: (*a[:2], "left", a[2])),
        (second, enrolment.REVOKE_CONFIRM, lambda a: a),
    ):
        approval = world.approval(key, action, "auditor-1", digest)
        step = enrolment.request_revocation if action == enrolment.REVOKE_REQUEST else enrolment.confirm_revocation
        step(world.store, *act((key.person_id, "auditor-1", approval)))
    return "auditor-1"


def revoke_authority(world: World) -> str:
    digest = authority_register.revocation_digest(world.store.store_id, police.POLICE, "ended")
    first, second = world.custodians
    approval = world.approval(first, authority_register.REVOKE_REQUEST, police.POLICE, digest)
    authority_register.request_revocation(world.store, first.person_id, police.POLICE, "ended", approval)
    approval = world.approval(second, authority_register.REVOKE_CONFIRM, police.POLICE, digest)
    authority_register.confirm_revocation(world.store, second.person_id, police.POLICE, approval)
    return police.POLICE


@pytest.mark.parametrize(
    ("kind", "prepare", "revoke"),
    [
        (persons.KIND, lambda world: world.enrol("auditor-1", "auditor"), revoke_person),
        (authorities.KIND, lambda world: world.authority(), revoke_authority),
    ],
)
def test_who_was_revoked_by_two_stays_so(
    world: World, kind: str, prepare: Callable[[World], object], revoke: Callable[[World], str]
) -> None:
    prepare(world)
    before = rows(world.store, kind)
    name = revoke(world)
    assert told(world.store) == set()
    put_back(world.store, kind, before)
    with pytest.raises(IntegrityError, match="audit log"):
        world.store.documents.get(kind, name)
    assert name not in {item.id for item in world.store.documents.list(kind)}
    assert (found := world.store.documents.nearest(kind, name)) is None or found.id != name
    assert f"document {kind}/{name}" in told(world.store)


def test_a_credential_that_was_revoked_opens_nothing(world: World) -> None:
    store = world.store
    made, secret = credentials.create(store, "custodian-1", scope=Scope.METRICS, sources=[])
    book = CredentialBook(store)
    book.refresh()
    assert book.check_secret(made.credential_id, secret or "")
    before = rows(store, credentials.KIND)
    credentials.revoke(store, "custodian-1", made.credential_id)
    put_back(store, credentials.KIND, before)
    with Store.open(store.root, clock=world.clock) as other:
        for one in (store, other):
            fresh = CredentialBook(one)
            fresh.refresh()
            assert fresh.check_secret(made.credential_id, secret or "") is None
            assert f"document credential/{made.credential_id}" in told(one)


def test_who_was_taken_out_of_the_catalog_is_missed(world: World) -> None:
    put_back(world.store, persons.KIND, rows(world.store, persons.KIND)[1:])
    assert told(world.store) == {"document person/custodian-1"}


def test_what_was_removed_stays_removed(world: World) -> None:
    store = world.store
    store.documents.commit([Put(bindings.KIND, "b1", {"state": "pending"}, expect=0)])
    before = rows(store, bindings.KIND)
    store.documents.commit([Put(bindings.KIND, "b1", None, expect=1)])
    put_back(store, bindings.KIND, before)
    with pytest.raises(IntegrityError):
        store.documents.get(bindings.KIND, "b1")
    assert "document person-binding/b1" in told(store)
    # the same revision made anew is another document, and the old one does not pass for it
    put_back(store, bindings.KIND, [])
    store.documents.commit([Put(bindings.KIND, "b1", {"state": "active"}, expect=0)])
    assert store.documents.get(bindings.KIND, "b1").body == {"state": "active"}
    put_back(store, bindings.KIND, before)
    with pytest.raises(IntegrityError):
        store.documents.get(bindings.KIND, "b1")


def test_a_change_whose_entry_waits_counts_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    store = world.store
    monkeypatch.setattr(store.outbox, "flush", lambda: None)
    store.documents.commit([Put(bindings.KIND, "b2", {"state": "pending"})])
    store.documents.commit([Put(bindings.KIND, "b2", {"state": "active"})])
    monkeypatch.undo()
    with Store.open(store.root, clock=world.clock) as other:
        assert other.documents.get(bindings.KIND, "b2").body["state"] == "active"
        store.documents.commit([Put(bindings.KIND, "b2", {"state": "ended"})])
        assert other.documents.get(bindings.KIND, "b2").body["state"] == "ended"


@pytest.mark.parametrize("damage", ["changed", "unreadable"])
def test_a_broken_log_brings_nobody_back(world: World, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    """Whoever can write the catalog can write the log's files too: to break an old segment must not help."""
    store = world.store
    world.enrol("auditor-1", "auditor")
    made, secret = credentials.create(store, "custodian-1", scope=Scope.METRICS, sources=[])
    before = rows(store, persons.KIND)
    revoke_person(world)
    monkeypatch.setattr("store.audit.tail.SEGMENT_BYTES_MAX", 1)
    store.documents.commit([Put(bindings.KIND, "b1", {"state": "pending"})])
    assert store.documents.get(persons.KIND, "custodian-1").body  # it knows what the log told so far
    put_back(store, persons.KIND, before)
    path = list_segments(store.layout.audit)[0].path(store.layout.audit)
    if damage == "changed":
        octets = path.read_bytes()
        path.write_bytes(octets[:-40] + bytes([octets[-40] ^ 1]) + octets[-39:])
    else:
        monkeypatch.setattr("store.audit.fold._read_from", refused)
    with Store.open(store.root, clock=world.clock) as other:
        for one in (store, other):
            with pytest.raises(IntegrityError):
                one.documents.get(persons.KIND, "auditor-1")
            assert "auditor-1" not in {item.id for item in one.documents.list(persons.KIND)}
        assert (other.audit.distrusted is not None) == (damage == "changed")
        assert other.documents.list(persons.KIND) == []
        assert store.documents.get(persons.KIND, "custodian-1").body
        book = CredentialBook(other)  # deliveries go on
        book.refresh()
        assert book.check_secret(made.credential_id, secret or "")


def refused(*_: object) -> bytes:
    raise PermissionError(13, "EACCES")


def test_the_log_tells_digests_and_nothing_of_a_person(world: World) -> None:
    world.enrol("auditor-1", "auditor")
    entry = [item for item in world.store.audit.entries() if item.kind == enrolment.ENROL_CONFIRM][-1]
    assert set(entry.public[NOTED]) == {"person/auditor-1"}
    assert len(entry.public[NOTED]["person/auditor-1"]) == 64
