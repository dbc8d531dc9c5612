"""Who may be what: the eight roles and which of them one person may not hold together.

Pure functions over data; the shell around them is `api.people.persons`.

Source: CJEU C-746/18 Prokuratuur (the requester does not decide); PTS's supervision of operators (staff with access to
the data have no access to the log); GDPR Art 38(6) (no conflict of interests); the design's promise 7.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.errors import ConfigurationError, ProcedureError


class Role(StrEnum):
    """What a person may be; a switch has no role."""

    OFFICER = "officer"
    CASE_HANDLER = "case-handler"
    APPROVER = "approver"
    AUDITOR = "auditor"
    CUSTODIAN = "custodian"
    DPO = "dpo"
    BILLING = "billing"
    TENANT_ADMIN = "tenant-admin"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """`role` is never held together with one of `others`."""

    role: Role
    others: frozenset[Role]
    why: str


_ALL: Final = frozenset(Role)

EXCLUSIONS: Final[tuple[Exclusion, ...]] = (
    Exclusion(Role.OFFICER, _ALL - {Role.OFFICER}, "an authority's officer is never staff of the operator"),
    Exclusion(Role.AUDITOR, _ALL - {Role.AUDITOR}, "who reads the audit log never has access to traffic data or keys"),
    Exclusion(
        Role.CUSTODIAN, _ALL - {Role.CUSTODIAN}, "who holds the keys never reads traffic data, usage or the audit log"
    ),
    Exclusion(Role.TENANT_ADMIN, _ALL - {Role.TENANT_ADMIN}, "a tenant's staff never reads beyond its own tenant"),
    Exclusion(Role.CASE_HANDLER, frozenset({Role.APPROVER}), "who handles a case never approves"),
    Exclusion(
        Role.BILLING, frozenset({Role.CASE_HANDLER, Role.APPROVER}), "billing never sees the targets of disclosures"
    ),
    Exclusion(
        Role.DPO,
        frozenset({Role.CASE_HANDLER, Role.APPROVER}),
        "who answers subjects' requests never knows the targets of disclosures",
    ),
)


def parse_roles(names: Iterable[str]) -> frozenset[Role]:
    """Return the named roles.

    Raises:
        ConfigurationError: a name is not a role.
    """
    try:
        return frozenset(Role(name) for name in names)
    except ValueError:
        known = ", ".join(role.value for role in Role)
        raise ConfigurationError("this is not a role", hint=f"the roles are {known}") from None


def conflicts(roles: Collection[Role]) -> list[str]:
    """Return why these roles cannot be one person's; empty when they can."""
    held = frozenset(roles)
    return [rule.why for rule in EXCLUSIONS if rule.role in held and held & rule.others]


def check_roles(roles: Collection[Role], *, tenant: str | None) -> None:
    """Return when one person may hold all of `roles`.

    Raises:
        ProcedureError: no role, roles that exclude each other, or a tenant where it does not belong.
    """
    if not roles:
        raise ProcedureError("a person needs a role", reason="no-role")
    reasons = conflicts(roles)
    if reasons:
        raise ProcedureError(f"the roles exclude each other: {reasons[0]}", reason="roles-exclude")
    if (Role.TENANT_ADMIN in roles) != (tenant is not None):
        raise ProcedureError("a tenant administrator, and nobody else, has a tenant", reason="tenant")
