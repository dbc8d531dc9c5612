"""What one custodian requested falls with that custodian: a second never confirms for somebody who is gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api.people import authority_register, bindings, enrolment, persons, roles
from api.people.bindings import BindingKind
from api.people.signing import PersonKey
from schemas.errors import ProcedureError
from store import Put
from tests.api import police
from tests.api.people.test_brought_back import revoke_authority
from tests.api.world import World

CARD = "cd" * 32


def revoke(world: World, person_id: str) -> None:
    digest = enrolment.revocation_digest(world.store.store_id, person_id, "left")
    first, second = (world.keys[name] for name in ("custodian-1", "custodian-2"))
    asked = world.approval(first, enrolment.REVOKE_REQUEST, person_id, digest)
    enrolment.request_revocation(world.store, first.person_id, person_id, "left", asked)
    signed = world.approval(second, enrolment.REVOKE_CONFIRM, person_id, digest)
    enrolment.confirm_revocation(world.store, second.person_id, person_id, signed)


def an_enrolment(world: World, by: str) -> Callable[[], object]:
    wanted = world.enrolment("auditor-1", "auditor")
    digest = wanted.digest(world.store.store_id)
    asked = world.approval(world.keys[by], enrolment.ENROL_REQUEST, "auditor-1", digest)
    enrolment.request_enrolment(world.store, by, wanted, asked)
    signed = world.approval(world.keys["custodian-2"], enrolment.ENROL_CONFIRM, "auditor-1", digest)
    return lambda: enrolment.confirm_enrolment(world.store, "custodian-2", "auditor-1", signed)


def an_authority(world: World, by: str) -> Callable[[], object]:
    wanted = police.terms()
    digest, case = wanted.digest(world.store.store_id), wanted.authority_id
    asked = world.approval(world.keys[by], authority_register.REGISTER_REQUEST, case, digest)
    authority_register.request_registration(world.store, by, wanted, asked)
    signed = world.approval(world.keys["custodian-2"], authority_register.REGISTER_CONFIRM, case, digest)
    return lambda: authority_register.confirm_registration(world.store, "custodian-2", case, signed)


def a_binding(world: World, by: str) -> Callable[[], object]:
    world.enrol("dpo-1", "dpo")
    digest = bindings.digest(world.store.store_id, "dpo-1", BindingKind.CERTIFICATE, CARD, None)
    asked = world.approval(world.keys[by], bindings.BIND_REQUEST, "dpo-1", digest)
    made = bindings.request(world.store, by, "dpo-1", BindingKind.CERTIFICATE, CARD, asked)
    signed = world.approval(world.keys["custodian-2"], bindings.BIND_CONFIRM, "dpo-1", digest)
    return lambda: bindings.confirm(world.store, "custodian-2", made.binding_id, signed)


@pytest.mark.parametrize("wanted", [an_enrolment, an_authority, a_binding])
def test_what_a_revoked_custodian_requested_is_not_confirmed(
    world: World, wanted: Callable[[World, str], Callable[[], object]]
) -> None:
    world.enrol("custodian-3", "custodian")
    confirm = wanted(world, "custodian-3")
    revoke(world, "custodian-3")
    with pytest.raises(ProcedureError) as refused:
        confirm()
    assert refused.value.reason == "role"


@pytest.mark.parametrize("wanted", [an_enrolment, an_authority, a_binding])
def test_what_a_standing_custodian_requested_is(
    world: World, wanted: Callable[[World, str], Callable[[], object]]
) -> None:
    world.enrol("custodian-3", "custodian")
    wanted(world, "custodian-3")()


def refused(step: Callable[[], object]) -> str:
    with pytest.raises(ProcedureError) as caught:
        step()
    return caught.value.reason


def on_file(world: World, person_id: str, **changes: object) -> None:
    """Change a person on file, past the procedure."""
    body = world.store.documents.get(persons.KIND, person_id).body
    world.store.documents.commit([Put(persons.KIND, person_id, body | changes)])


@pytest.mark.parametrize("changes", [{"roles": ["auditor"]}, {"public_key": None}], ids=["role", "key"])
def test_what_somebody_requested_in_another_role_or_with_another_key_is_not_confirmed(
    world: World, changes: dict[str, object]
) -> None:
    world.enrol("custodian-3", "custodian")
    confirm = an_enrolment(world, "custodian-3")
    if "public_key" in changes:
        changes = {"public_key": PersonKey.generate("custodian-3").public_text}
    on_file(world, "custodian-3", **changes)
    assert refused(confirm) == "role"
    assert persons.find_active(world.store, "auditor-1") is None


def test_one_key_under_two_accounts_is_one_custodian(world: World) -> None:
    world.enrol("custodian-3", "custodian")
    on_file(world, "custodian-3", public_key=world.keys["custodian-2"].public_text)
    world.keys["custodian-3"] = world.keys["custodian-2"]
    assert refused(an_enrolment(world, "custodian-3")) == "same-key"


def test_nobody_becomes_an_officer_of_an_authority_that_is_revoked_meanwhile(world: World) -> None:
    wanted = world.enrolment("officer-1", "officer")
    digest = wanted.digest(world.store.store_id)
    first, second = world.custodians
    asked = world.approval(first, enrolment.ENROL_REQUEST, "officer-1", digest)
    enrolment.request_enrolment(world.store, first.person_id, wanted, asked)
    revoke_authority(world)
    signed = world.approval(second, enrolment.ENROL_CONFIRM, "officer-1", digest)
    assert refused(lambda: enrolment.confirm_enrolment(world.store, second.person_id, "officer-1", signed)) == (
        "authority"
    )
    assert persons.get(world.store, "officer-1").state == persons.PENDING


def test_roles_that_exclude_each_other_by_now_are_not_confirmed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version of the program put the request down, by rules that were wider."""
    wanted = world.enrolment("handler-9", "approver", "case-handler")
    digest = wanted.digest(world.store.store_id)
    first, second = world.custodians
    asked = world.approval(first, enrolment.ENROL_REQUEST, "handler-9", digest)
    with monkeypatch.context() as earlier:
        earlier.setattr(roles, "EXCLUSIONS", ())
        enrolment.request_enrolment(world.store, first.person_id, wanted, asked)
    signed = world.approval(second, enrolment.ENROL_CONFIRM, "handler-9", digest)
    assert refused(lambda: enrolment.confirm_enrolment(world.store, second.person_id, "handler-9", signed)) == (
        "roles-exclude"
    )


def test_of_two_requests_to_revoke_that_cross_the_first_stands(world: World) -> None:
    """Else the second would be confirmed by whoever made the first, for a reason that nobody else read."""
    world.enrol("auditor-1", "auditor")
    first, second = world.custodians

    def ask(key: PersonKey, reason: str) -> None:
        digest = enrolment.revocation_digest(world.store.store_id, "auditor-1", reason)
        asked = world.approval(key, enrolment.REVOKE_REQUEST, "auditor-1", digest)
        enrolment.request_revocation(world.store, key.person_id, "auditor-1", reason, asked)

    ask(first, "left")
    assert refused(lambda: ask(second, "misuse")) == refused(lambda: ask(first, "misuse")) == "state"
    pending = persons.get(world.store, "auditor-1").pending
    assert pending is not None
    assert (pending["by"], pending["reason"]) == (first.person_id, "left")
