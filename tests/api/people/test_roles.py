from __future__ import annotations

from itertools import combinations

import pytest

from api.people.roles import EXCLUSIONS, Role, check_roles, conflicts, parse_roles
from schemas.errors import ConfigurationError, ProcedureError

ALL_SETS = [frozenset(chosen) for size in range(len(Role) + 1) for chosen in combinations(Role, size)]

# Told again, from the table of users, and not from the code: what each role gets to see or to hold.
READS_TRAFFIC = {Role.CASE_HANDLER, Role.APPROVER, Role.OFFICER, Role.BILLING, Role.DPO, Role.TENANT_ADMIN}
OPERATOR_STAFF = {Role.CASE_HANDLER, Role.APPROVER, Role.AUDITOR, Role.CUSTODIAN, Role.DPO, Role.BILLING}
SEES_TARGETS = {Role.CASE_HANDLER, Role.APPROVER, Role.OFFICER}
MAY_NOT_SEE_TARGETS = {Role.BILLING, Role.DPO, Role.TENANT_ADMIN}


def _allowed(roles: frozenset[Role]) -> bool:
    if Role.AUDITOR in roles and roles & (READS_TRAFFIC | {Role.CUSTODIAN}):
        return False
    if Role.CUSTODIAN in roles and roles & READS_TRAFFIC:
        return False
    if Role.OFFICER in roles and roles & (OPERATOR_STAFF | {Role.TENANT_ADMIN}):
        return False
    if len(roles & SEES_TARGETS) > 1 or (roles & SEES_TARGETS and roles & MAY_NOT_SEE_TARGETS):
        return False
    return not (Role.TENANT_ADMIN in roles and len(roles) > 1)


def test_every_set_of_roles_is_judged_as_the_table_of_users_says() -> None:
    assert [sorted(roles) for roles in ALL_SETS if (conflicts(roles) == []) != _allowed(roles)] == []


def test_the_three_of_a_disclosure_and_the_auditor_are_four_people() -> None:
    for pair in combinations([Role.OFFICER, Role.CASE_HANDLER, Role.APPROVER, Role.AUDITOR], 2):
        with pytest.raises(ProcedureError):
            check_roles(frozenset(pair), tenant=None)


def test_every_exclusion_says_why() -> None:
    assert all(rule.why and rule.others and rule.role not in rule.others for rule in EXCLUSIONS)


def test_one_role_alone_is_always_allowed() -> None:
    for role in Role:
        check_roles({role}, tenant="acme" if role is Role.TENANT_ADMIN else None)


def test_nobody_without_a_role() -> None:
    with pytest.raises(ProcedureError, match="needs a role"):
        check_roles(frozenset(), tenant=None)


@pytest.mark.parametrize(("role", "tenant"), [(Role.TENANT_ADMIN, None), (Role.BILLING, "acme")])
def test_a_tenant_belongs_to_tenant_administrators_only(role: Role, tenant: str | None) -> None:
    with pytest.raises(ProcedureError):
        check_roles({role}, tenant=tenant)


def test_an_unknown_role_is_refused_without_naming_it() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_roles(["root"])
    assert "root" not in str(refused.value)
