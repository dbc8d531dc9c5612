"""What one custodian requested falls with that custodian: a second never confirms for somebody who is gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from api.people import authority_register, bindings, enrolment
from api.people.bindings import BindingKind
from schemas.errors import ProcedureError
from tests.api import police
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
