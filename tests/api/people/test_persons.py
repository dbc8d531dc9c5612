"""Enrolment and revocation: two custodians for each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api.people import enrolment, persons
from api.people.persons import Approval, Enrolment, Person
from api.people.signing import PersonKey
from schemas.errors import ConfigurationError, InputError, NotFoundError, ProcedureError
from tests.api.world import World, is_active


def _request(world: World, wanted: Enrolment, *, by: str = "custodian-1") -> Person:
    digest = wanted.digest(world.store.store_id)
    approval = world.approval(world.keys[by], enrolment.ENROL_REQUEST, wanted.person_id, digest)
    return enrolment.request_enrolment(world.store, by, wanted, approval)


def _confirm(world: World, person_id: str, *, by: str = "custodian-2") -> Person:
    digest = persons.get(world.store, person_id).enrolment().digest(world.store.store_id)
    approval = world.approval(world.keys[by], enrolment.ENROL_CONFIRM, person_id, digest)
    return enrolment.confirm_enrolment(world.store, by, person_id, approval)


def _revoke(world: World, person_id: str, *, by: str = "custodian-1") -> Person:
    digest = enrolment.revocation_digest(world.store.store_id, person_id, "left")
    approval = world.approval(world.keys[by], enrolment.REVOKE_REQUEST, person_id, digest)
    return enrolment.request_revocation(world.store, by, person_id, "left", approval)


def _confirm_revocation(world: World, person_id: str, *, by: str = "custodian-2") -> Person:
    digest = enrolment.revocation_digest(world.store.store_id, person_id, "left")
    approval = world.approval(world.keys[by], enrolment.REVOKE_CONFIRM, person_id, digest)
    return enrolment.confirm_revocation(world.store, by, person_id, approval)


def _refused(reason: str, act: Callable[[], object]) -> None:
    with pytest.raises(ProcedureError) as refused:
        act()
    assert refused.value.reason == reason


def test_a_person_is_pending_until_another_custodian_confirms(world: World) -> None:
    pending = _request(world, world.enrolment("officer-7", "officer"))
    assert pending.state == persons.PENDING
    assert not is_active(world.store, "officer-7")
    assert _confirm(world, "officer-7").is_active
    assert world.audit_kinds()[-2:] == [enrolment.ENROL_REQUEST, enrolment.ENROL_CONFIRM]


def test_the_same_custodian_does_not_confirm(world: World) -> None:
    _request(world, world.enrolment("officer-7", "officer"))
    _refused("same-person", lambda: _confirm(world, "officer-7", by="custodian-1"))
    assert not is_active(world.store, "officer-7")


def test_only_custodians_enrol_and_confirm(world: World) -> None:
    world.enrol("auditor-1", "auditor")
    _refused("role", lambda: _request(world, world.enrolment("officer-7", "officer"), by="auditor-1"))
    _request(world, world.enrolment("officer-7", "officer"))
    _refused("role", lambda: _confirm(world, "officer-7", by="auditor-1"))
    _refused("role", lambda: _revoke(world, "auditor-1", by="auditor-1"))


def test_a_pending_or_revoked_custodian_does_not_confirm(world: World) -> None:
    _request(world, world.enrolment("custodian-3", "custodian"))
    _request(world, world.enrolment("officer-7", "officer"))
    _refused("signature", lambda: _confirm(world, "officer-7", by="custodian-3"))
    _confirm(world, "custodian-3")
    _revoke(world, "custodian-3")
    _confirm_revocation(world, "custodian-3")
    _refused("signature", lambda: _confirm(world, "officer-7", by="custodian-3"))


def test_a_public_key_is_one_persons_for_ever(world: World) -> None:
    key = world.enrol("officer-7", "officer")
    _refused("public-key-taken", lambda: _request(world, world.enrolment("approver-1", "approver", key=key)))
    _revoke(world, "officer-7")
    _confirm_revocation(world, "officer-7")
    _refused("public-key-taken", lambda: _request(world, world.enrolment("approver-1", "approver", key=key)))
    custodian = world.keys["custodian-1"]
    _refused("public-key-taken", lambda: _request(world, world.enrolment("approver-1", "approver", key=custodian)))


def test_a_key_is_one_persons_even_when_two_requests_race(world: World) -> None:
    """The transaction itself refuses, whatever was read before it."""
    key = PersonKey.generate("a-1")
    _request(world, world.enrolment("a-1", "officer", key=key))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enrolment, "_refuse_taken", lambda _store, _person: None)
        _refused("stale", lambda: _request(world, world.enrolment("b-1", "auditor", key=key)))
    with pytest.raises(NotFoundError):
        persons.get(world.store, "b-1")


def test_an_id_is_one_persons_for_ever(world: World) -> None:
    world.enrol("officer-7", "officer")
    fresh = PersonKey.generate("officer-7")
    _refused("id-taken", lambda: _request(world, world.enrolment("officer-7", "officer", key=fresh)))


def test_roles_that_exclude_each_other_are_refused(world: World) -> None:
    _refused("roles-exclude", lambda: _request(world, world.enrolment("x-1", "officer", "approver")))


@pytest.mark.parametrize("person_id", ["A", "a", "7up", "anna.svensson", "a" * 41, "a_b", "a/b", "", "å-1"])
def test_an_id_without_the_form_is_refused(world: World, person_id: str) -> None:
    with pytest.raises(ConfigurationError):
        _request(world, world.enrolment(person_id, "officer"))


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "line\nbreak", "bell\x07"])
def test_a_display_name_without_the_form_is_refused(world: World, name: str) -> None:
    key = PersonKey.generate("x-1")
    with pytest.raises(ConfigurationError):
        _request(world, Enrolment("x-1", name, ("officer",), key.public_text))


def test_a_signature_for_something_else_does_not_enrol(world: World) -> None:
    wanted = world.enrolment("officer-7", "officer")
    key = world.keys["custodian-1"]
    digest = wanted.digest(world.store.store_id)
    other_roles = world.enrolment("officer-7", "approver").digest(world.store.store_id)
    for signed in (
        world.approval(key, enrolment.ENROL_REQUEST, "officer-7", other_roles),
        world.approval(key, enrolment.ENROL_CONFIRM, "officer-7", digest),
        world.approval(key, enrolment.ENROL_REQUEST, "officer-8", digest),
        world.approval(key, enrolment.ENROL_REQUEST, "officer-7", wanted.digest("another store")),
        world.approval(world.keys["custodian-2"], enrolment.ENROL_REQUEST, "officer-7", digest),
    ):
        with pytest.raises(ProcedureError, match="signature"):
            enrolment.request_enrolment(world.store, "custodian-1", wanted, signed)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_an_old_or_early_signature_is_refused(world: World, seconds: int) -> None:
    wanted = world.enrolment("officer-7", "officer")
    digest = wanted.digest(world.store.store_id)
    approval = world.approval(world.keys["custodian-1"], enrolment.ENROL_REQUEST, "officer-7", digest)
    world.clock.advance(seconds=seconds)
    _refused("signature", lambda: enrolment.request_enrolment(world.store, "custodian-1", wanted, approval))


@pytest.mark.parametrize(
    "time",
    [
        "",
        "now",
        "2026-11-22T12:00:00",
        "2026-11-22T12:00:00+01:00",
        "2026-11-22T12:00:00+01:00Z",
        "2026-11-22Z",
        "20261122T120000Z",
        "2026-11-22 12:00:00Z",
    ],
)
def test_a_statements_time_is_utc(time: str) -> None:
    with pytest.raises(InputError):
        persons.parse_time_us(time)


def test_a_revocation_takes_two_and_ends_the_person(world: World) -> None:
    world.enrol("officer-7", "officer")
    assert _revoke(world, "officer-7").is_active
    _refused("same-person", lambda: _confirm_revocation(world, "officer-7", by="custodian-1"))
    assert is_active(world.store, "officer-7")
    assert _confirm_revocation(world, "officer-7").state == persons.REVOKED
    _refused("state", lambda: _revoke(world, "officer-7"))
    _refused("state", lambda: _confirm(world, "officer-7"))


def test_two_active_custodians_stay(world: World) -> None:
    _refused("last-custodians", lambda: _revoke(world, "custodian-2"))
    world.enrol("custodian-3", "custodian")
    _revoke(world, "custodian-1", by="custodian-2")
    _revoke(world, "custodian-2", by="custodian-3")
    _confirm_revocation(world, "custodian-1", by="custodian-3")
    _refused("signature", lambda: _confirm_revocation(world, "custodian-2", by="custodian-1"))
    assert is_active(world.store, "custodian-2")


def test_nobody_revokes_himself(world: World) -> None:
    world.enrol("custodian-3", "custodian")
    _refused("same-person", lambda: _revoke(world, "custodian-1", by="custodian-1"))
    _revoke(world, "custodian-1", by="custodian-2")
    _refused("same-person", lambda: _confirm_revocation(world, "custodian-1", by="custodian-1"))


def test_what_is_requested_can_be_withdrawn_by_one(world: World) -> None:
    def withdraw(person_id: str) -> Person:
        pending = persons.get(world.store, person_id).pending
        assert pending is not None
        digest = enrolment.withdraw_digest(world.store.store_id, person_id, pending)
        approval = world.approval(world.keys["custodian-2"], enrolment.WITHDRAW, person_id, digest)
        return enrolment.withdraw(world.store, "custodian-2", person_id, approval)

    _request(world, world.enrolment("officer-7", "officer"))
    assert withdraw("officer-7").state == persons.REVOKED
    _refused("state", lambda: _confirm(world, "officer-7"))
    world.enrol("officer-8", "officer")
    _revoke(world, "officer-8")
    assert withdraw("officer-8").is_active
    _refused("state", lambda: _confirm_revocation(world, "officer-8"))
    approval = Approval("2026-11-22T12:00:00.000000Z", "")
    _refused("state", lambda: enrolment.withdraw(world.store, "custodian-2", "officer-8", approval))


def test_the_audit_log_names_ids_in_the_clear_and_names_for_auditors_only(world: World) -> None:
    world.enrol("officer-7", "officer")
    newest = next(iter(world.store.audit.entries(world.store.audit.size - 1, reveal=True)))
    assert newest.public["person"] == "officer-7"
    assert (newest.public["requested_by"], newest.public["by"]) == ("custodian-1", "custodian-2")
    assert "Person officer-7" not in str(newest.public)
    assert newest.secret is not None
    assert newest.secret["enrolment"]["display_name"] == "Person officer-7"
    digest = persons.get(world.store, "officer-7").enrolment().digest(world.store.store_id)
    assert digest not in str(newest.public)


def test_no_name_and_no_private_key_is_in_the_root_in_the_clear(world: World) -> None:
    world.enrol("officer-7", "officer")
    content = b"".join(path.read_bytes() for path in world.store.root.rglob("*") if path.is_file())
    assert b"Person officer-7" not in content
    assert world.keys["officer-7"].public_text.encode() not in content


def test_the_first_two_come_once(world: World) -> None:
    keys = [PersonKey.generate(name) for name in ("c-3", "c-4")]
    wanted = [Enrolment(key.person_id, key.person_id, ("custodian",), key.public_text) for key in keys]
    _refused("state", lambda: enrolment.create_first(world.store, wanted))
