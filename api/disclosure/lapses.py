"""What time alone does to an authorisation: it expires, or an emergency lapses unconfirmed. The decision is pure.

What lapses takes its tasks with it: those that nothing was delivered under become invalid and their results are
destroyed; what had been delivered is told in the entry, and to approvers and the data protection officer. So it is with
the tasks of a confirmed emergency that ask for more than the confirmation grants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from api.disclosure.casebook import Casebook, put
from api.disclosure.model import Authorisation, Task
from api.disclosure.rules import require_within
from api.disclosure.states import (
    AUTHORISATION_TRANSITIONS,
    TASK_TRANSITIONS,
    AuthorisationAction,
    Stage,
    TaskAction,
)
from api.disclosure.vault import Vault
from schemas.errors import AuditError, ProcedureError
from store import AuditEntry, Put, Store

REASON: Final = "unconfirmed"
NARROWED: Final = "narrowed"


@dataclass(frozen=True, slots=True)
class Fallen:
    """What a lapse does to the tasks of its authorisation."""

    stopped: tuple[Task, ...]
    delivered: tuple[Task, ...]


def due(authorisation: Authorisation, now_us: int) -> AuthorisationAction | None:
    """Return what has become of an authorisation by `now_us`; None when nothing has.

    An emergency is owed its confirmation whenever its own time ends: it expires once it is confirmed, else it lapses.
    """
    if authorisation.awaits_confirmation:
        action, over = AuthorisationAction.LAPSE, now_us >= (authorisation.confirm_by_us or 0)
    else:
        action, over = AuthorisationAction.EXPIRE, now_us >= authorisation.expires_at_us
    return action if over and (authorisation.state, action) in AUTHORISATION_TRANSITIONS else None


def require_nothing_owed(tasks: Iterable[Task]) -> None:
    """What left under an unconfirmed emergency is confirmed, or lapses and is told; no withdrawal takes that away.

    Raises:
        ProcedureError: reason `confirmation-owed`.
    """
    if fall(tasks).delivered:
        raise ProcedureError(
            "what left under the emergency waits for its confirmation",
            reason="confirmation-owed",
            hint="suspend it: nothing more leaves, and it is confirmed or lapses",
        )


def fall(tasks: Iterable[Task]) -> Fallen:
    """Return which tasks of a lapsed authorisation stop, and under which something had been delivered."""
    told = tuple(tasks)
    return Fallen(
        tuple(task for task in told if (task.stage, TaskAction.LAPSE) in TASK_TRANSITIONS),
        tuple(task for task in told if task.stage is Stage.DELIVERED),
    )


def apply(casebook: Casebook, vault: Vault, authorisation_id: str, now_us: int) -> bool:
    """Put on file what time has done to one authorisation, with its entry; tell whether it did anything.

    Raises:
        ProcedureError: reason `stale`: somebody acted on the case meanwhile; nothing is changed.
        AuditError: the entry is not durable yet; the change stands and its entry follows.
    """
    authorisation, revision = casebook.authorisation(authorisation_id)
    action = due(authorisation, now_us)
    if action is None:
        return False
    after = authorisation.moved(AUTHORISATION_TRANSITIONS[authorisation.state, action])
    public: dict[str, object] = {"authorisation": after.id, "basis": after.basis_id}
    if after.is_test:
        public["test"] = True
    entry = AuditEntry(f"disclosure.{'lapsed' if action is AuthorisationAction.LAPSE else 'expired'}", public)
    if action is AuthorisationAction.LAPSE:
        _end(casebook, vault, [put(after, revision)], entry, _of(casebook, after.id), REASON)
    else:
        casebook.commit([put(after, revision)], entry)
    return True


def narrow(casebook: Casebook, vault: Vault, after: Authorisation, puts: Sequence[Put], entry: AuditEntry) -> None:
    """Put a confirmation on file, and end the tasks that ask for more than it grants, as a lapse ends all.

    Raises:
        ProcedureError, AuditError: as `apply`.
    """
    _end(casebook, vault, puts, entry, beyond(after, _of(casebook, after.id)), NARROWED)


def beyond(authorisation: Authorisation, tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that ask for more than is authorised, as a confirmation can leave them. Pure."""
    found = []
    for task in tasks:
        try:
            require_within(authorisation, (task.targets, task.window, task.categories))
        except ProcedureError:
            found.append(task)
    return found


def _of(casebook: Casebook, authorisation_id: str) -> list[Task]:
    return [task for task in casebook.tasks() if task.authorisation_id == authorisation_id]


def _end(
    casebook: Casebook, vault: Vault, puts: Sequence[Put], entry: AuditEntry, tasks: Iterable[Task], reason: str
) -> None:
    """Put a change on file with what it does to tasks, told in its entry; then destroy results of those it stops."""
    found = {item.id: casebook.task(item.id) for item in tasks}
    fallen = fall(task for task, _ in found.values())
    stopped = [
        put(replace(task, stage=TASK_TRANSITIONS[task.stage, TaskAction.LAPSE], reason=reason), found[task.id][1])
        for task in fallen.stopped
    ]
    told = {"stopped": [task.id for task in fallen.stopped], "delivered": [task.id for task in fallen.delivered]}
    left = {"delivered": [delivered(casebook, task) for task in fallen.delivered]}
    entry = replace(entry, public={**entry.public, **told}, secret={**(entry.secret or {}), **left})
    try:
        casebook.commit([*puts, *stopped], entry)
    except AuditError:
        _destroy(vault, fallen)  # the change stands
        raise
    _destroy(vault, fallen)


def apply_all(store: Store) -> int:
    """Put on file what time has done to every authorisation; return to how many."""
    casebook, vault, now_us = Casebook(store), Vault(store), store.clock.now_us()
    done = 0
    for item in casebook.authorisations():
        if due(item, now_us) is None:
            continue
        try:
            done += apply(casebook, vault, item.id, now_us)
        except ProcedureError:
            continue  # somebody acts on it just now; the next round finds it
    return done


def _destroy(vault: Vault, fallen: Fallen) -> None:
    for task in fallen.stopped:
        if task.delivery_id is not None:
            vault.destroy(task.delivery_id)


def delivered(casebook: Casebook, task: Task) -> dict[str, Any]:
    """Return what left under a task: its delivery, how many records, and when it was fetched; no target."""
    delivery, _ = casebook.delivery(task.delivery_id or "")
    return {
        "task": task.id,
        "delivery": delivery.id,
        "records": delivery.records,
        "sha256": delivery.sha256,
        "fetched_us": list(delivery.fetched),
        "approver": task.approver.person_id if task.approver else None,
    }
