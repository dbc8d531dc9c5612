"""What commands on a register of two custodians have in common: persons and authorities are confirmed alike.

`procedure` is the module of the steps (`api.people.enrolment`, `api.people.authority_register`), `path` the resource of
one entry, its last part the entry's id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from api.cli.countersigning import Look
from api.cli.output import note

if TYPE_CHECKING:
    from api.cli.acting import Way
    from api.client import Client

Confirm = Callable[["Client", str], dict[str, Any]]


def confirmed(
    client: Client,
    path: str,
    procedure: ModuleType,
    action: str,
    digest_of: Callable[[dict[str, Any]], str],
    eyes: Look,
) -> dict[str, Any]:
    """Sign what the service shows as pending, once `eyes` saw it: a revocation, or what `digest_of` makes of it."""
    case = path.rpartition("/")[2]
    shown: dict[str, Any] = client.get(path)
    eyes(shown)
    pending = shown["pending"] or {}
    if pending.get("action") == procedure.REVOKE_REQUEST:
        digest = procedure.revocation_digest(client.store_id, case, str(pending["reason"]))
        path, action = f"{path}/revocation", procedure.REVOKE_CONFIRM
    else:
        digest = digest_of(shown)
    approval = client.approve(action=action, case=case, digest=digest)
    done: dict[str, Any] = client.post(f"{path}/confirm", {"approval": approval})
    return done


def revoked(
    way: Way, path: str, procedure: ModuleType, reason: str, second: Path | None, confirm: Confirm
) -> dict[str, Any]:
    """Request a revocation; a second custodian's key confirms it at once."""
    case = path.rpartition("/")[2]
    with way.open() as client:
        digest = procedure.revocation_digest(client.store_id, case, reason)
        approval = client.approve(action=procedure.REVOKE_REQUEST, case=case, digest=digest)
        shown: dict[str, Any] = client.post(f"{path}/revocation", {"reason": reason, "approval": approval})
    if second is not None:
        with way.open(second) as other:
            shown = confirm(other, case)
    return shown


def withdrawn(way: Way, path: str, procedure: ModuleType) -> dict[str, Any]:
    """Withdraw what is only requested."""
    case = path.rpartition("/")[2]
    with way.open() as client:
        pending = client.get(path)["pending"] or {"action": "", "time": ""}
        digest = procedure.withdraw_digest(client.store_id, case, pending)
        approval = client.approve(action=procedure.WITHDRAW, case=case, digest=digest)
        shown: dict[str, Any] = client.post(f"{path}/withdraw", {"approval": approval})
    return shown


def lines(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries of a list with what waits for each."""
    return [item | {"waits_for": (item["pending"] or {}).get("action")} for item in items]


def tell_next(way: Way, confirm: str, shown: Mapping[str, Any]) -> None:
    """Tell people by which command another custodian confirms what is requested for an entry, if anything is."""
    if shown.get("pending") and not way.context.json:
        note(f"Next: another custodian: lagrum {confirm}")
