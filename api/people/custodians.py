"""What two custodians do together: one requests, another confirms, each with a signature over the same digest.

Helpers of the procedures that take two custodians: those of `api.people` (`enrolment`, `authority_register`,
`bindings`) and those of `api.custody`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from api.people import persons
from api.people.persons import Approval, Person
from api.people.roles import Role
from schemas.errors import ProcedureError

if TYPE_CHECKING:
    from store import Store


def acting(store: Store, custodian_id: str, approval: Approval, *, action: str, case: str, digest: str) -> Person:
    """Return the active custodian who signed exactly this, just now.

    Raises:
        ProcedureError: no custodian, or not that custodian's signature.
    """
    custodian = persons.verify_approval(store, custodian_id, action=action, case=case, digest=digest, approval=approval)
    if Role.CUSTODIAN not in custodian.roles:
        raise ProcedureError("only custodians do this, two together", reason="role")
    return custodian


def act(action: str, custodian: Person, approval: Approval, **more: Any) -> dict[str, Any]:
    """Return what is kept of a custodian's act."""
    return {
        "action": action,
        "by": custodian.person_id,
        "key_id": custodian.key_id,
        "time": approval.time,
        "signature": approval.signature,
        **more,
    }


def refuse_same(store: Store, custodian: Person, requested: Mapping[str, Any], role: Role = Role.CUSTODIAN) -> None:
    """Refuse the one who requested as the one who confirms, and a request of somebody who lost key or role since.

    Raises:
        ProcedureError: the same person, the same key, or the first one's role or enrolment is gone.
    """
    if custodian.person_id == requested["by"]:
        raise ProcedureError("the one who requested it cannot confirm it", reason="same-person")
    if custodian.key_id == requested["key_id"]:
        raise ProcedureError("the key that requested it cannot confirm it", reason="same-key")
    first = persons.find_active(store, requested["by"])
    if first is None or role not in first.roles or first.key_id != requested["key_id"]:
        raise ProcedureError(f"the one who requested it is no {role} any more", reason="role")


def requested_of(pending: dict[str, Any] | None, action: str) -> dict[str, Any]:
    """Return the request that waits for its confirmation.

    Raises:
        ProcedureError: nothing of this kind is requested.
    """
    if pending is None or pending["action"] != action:
        raise ProcedureError("nothing of this kind is requested", reason="state")
    return pending
