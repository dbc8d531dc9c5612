"""What attackers do to a case: steps out of turn, edits on file, other people, keys and times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from api.disclosure.casebook import put
from api.disclosure.delivering import ACKNOWLEDGE
from api.disclosure.model import DELIVERY, TASK, Actor, Task, request_digest
from api.disclosure.procedure import APPROVE_REQUEST
from api.disclosure.vault import MANIFEST
from api.people import authorities
from schemas.legal_terms import Decider
from store import Put
from tests.api.disclosure.conftest import (
    AUTHORITY,
    PEOPLE,
    Court,
    a_rights_holder,
    register_authority,
)
from tests.api.disclosure.test_completeness import more
from tests.store.conftest import deliver
from tests.store.records import NOW_US


@dataclass(frozen=True)
class Attack:
    """`act` is refused with `reason`, by `guard` of `api.disclosure.rules` (None: by another module)."""

    name: str
    guard: str | None
    reason: str
    act: Callable[[Court], Any]


def edited(court: Court, task_id: str, **changes: Any) -> str:
    """Change a task on file, past the procedure."""
    body = court.store.documents.get(TASK, task_id).body
    court.store.documents.commit([Put(TASK, task_id, body | changes)])
    return task_id


def signatory(court: Court, person: str) -> dict[str, str]:
    return court.actor(person).signatory.as_body()


def twin(court: Court, person: str, other: str, *roles: str) -> str:
    """Enrol a second account of one key, as enrolment itself would refuse it."""
    court.enrol(person, *roles, key=court.keys[other])
    return person


def swap_approval(court: Court, task_id: str, name: str, **changes: Any) -> str:
    body = court.store.documents.get(TASK, task_id).body
    approval = body[name]
    statement = approval["statement"] | changes.pop("statement", {})
    return edited(court, task_id, **{name: approval | changes | {"statement": statement}})


def deliver_other_package(court: Court) -> Any:
    task = court.released()
    court.procedure.vault.keep(task.delivery_id or "", MANIFEST, b"another manifest")
    return court.deliver(task.id)


def release_withdrawn(court: Court) -> Any:
    """A batch of the target's is withdrawn between search and release."""
    batch = deliver(court.store, more(), source=f"withdrawn-{court.store.audit.size}")
    task = court.run(court.approved().id)
    court.store.withdraw_batch(batch.batch_id, reason="zone", actors=["a", "b"])
    return court.release(task.id)


def deliver_other_delivery(court: Court) -> Any:
    one, two = court.released(), court.released()
    assert two.delivery_id is not None
    body = court.store.documents.get(DELIVERY, two.delivery_id).body
    court.store.documents.commit([Put(DELIVERY, one.delivery_id or "", body | {"id": one.delivery_id})])
    return court.deliver(one.id)


def fetched(court: Court) -> Task:
    task = court.released()
    court.deliver(task.id)
    return court.procedure.casebook.task(task.id)[0]


def opening(court: Court, task: Task) -> str:
    delivery, _ = court.procedure.casebook.delivery(task.delivery_id or "")
    assert delivery.cover is not None
    return delivery.cover.opening


def acknowledged(court: Court, task: Task, person: str = "officer-1") -> Any:
    return court.acknowledge(task.id, opening(court, task), person)


def acknowledge_twice(court: Court) -> Any:
    task = fetched(court)
    acknowledged(court, task)
    return acknowledged(court, task)


def acknowledge_other(court: Court) -> Any:
    """What was signed for one delivery is sent again for another."""
    one, two = fetched(court), fetched(court)
    signed = court.signed("officer-1", ACKNOWLEDGE, one.id, opening(court, one))
    court.procedure.acknowledge(court.actor("officer-1"), one.id, signed)
    return court.procedure.acknowledge(court.actor("officer-1"), two.id, signed)


def deliver_erased(court: Court) -> Any:
    task = court.released()
    body = court.store.documents.get(DELIVERY, task.delivery_id or "").body
    court.store.documents.commit([Put(DELIVERY, task.delivery_id or "", body | {"erased_at_us": NOW_US})])
    return court.deliver(task.id)


def deliver_to_new_key(court: Court) -> Any:
    task = court.released()
    body = court.store.documents.get(DELIVERY, task.delivery_id or "").body
    court.store.documents.commit([Put(DELIVERY, task.delivery_id or "", body | {"certificate_sha256": "00" * 32})])
    return court.deliver(task.id)


def with_roles(court: Court, person: str, *roles: str) -> Actor:
    return replace(court.actor(person), roles=frozenset(roles))


def check_as(court: Court, *roles: str) -> Any:
    return court.procedure.check(with_roles(court, "handler-1", *roles), court.register(court.file()).id)


def cancelled_order(court: Court) -> str:
    task = court.approved()
    court.procedure.cancel(court.actor("officer-1"), task.authorisation_id, "settled")
    return task.id


def forged(court: Court) -> Any:
    task = court.checked()
    case = court.procedure.casebook.case(task.id)
    digest = request_digest(case.authorisation, case.task)
    signed = court.signed("approver-2", APPROVE_REQUEST, task.id, digest)
    return court.procedure.approve(court.actor("approver-1"), task.id, signed)


def kept_in_a_drawer(court: Court) -> Any:
    task = court.checked()
    case = court.procedure.casebook.case(task.id)
    digest = request_digest(case.authorisation, case.task)
    signed = court.signed("approver-1", APPROVE_REQUEST, task.id, digest)
    now_us = court.clock.value_us
    court.clock.advance(days=1)
    try:
        return court.procedure.approve(court.actor("approver-1"), task.id, signed)
    finally:
        court.clock.value_us = now_us


@contextmanager
def later(court: Court, **period: int) -> Iterator[None]:
    now_us = court.clock.value_us
    court.clock.advance(**period)
    try:
        yield
    finally:
        court.clock.value_us = now_us


@contextmanager
def enrolled_as(court: Court, person: str, *roles: str, state: str = "active") -> Iterator[None]:
    """Change a person's enrolment for a while."""
    before = PEOPLE[person]
    court.enrol(person, *roles, state=state)
    try:
        yield
    finally:
        court.enrol(person, *before)


@contextmanager
def no_authority(court: Court) -> Iterator[None]:
    register_authority(court.store, AUTHORITY, authorities.REVOKED)
    try:
        yield
    finally:
        register_authority(court.store, AUTHORITY)


def officer_turned_handler(court: Court) -> Any:
    task = court.register(court.file())
    with enrolled_as(court, "officer-1", "case-handler"):
        return court.check(task.id, "officer-1")


def gone(court: Court, person: str, act: Callable[[Court, str], Any], task_id: str) -> Any:
    with enrolled_as(court, person, *PEOPLE[person], state="revoked"):
        return act(court, task_id)


def authority_gone(court: Court) -> Any:
    task = court.approved()
    with no_authority(court):
        return court.run(task.id)


def asked_by_a_rights_holder(court: Court, step: Callable[[Court, Any], Any], given: Any = None) -> Any:
    with a_rights_holder(court):
        return step(court, given)


def decided_otherwise(court: Court) -> Any:
    task = court.register(court.file())
    filed, revision = court.procedure.casebook.authorisation(task.authorisation_id)
    court.store.documents.commit([put(replace(filed, decided_by=Decider.PROSECUTOR), revision)])
    return court.check(task.id)


def urgent(court: Court, **call: Any) -> Any:
    task = court.register(court.file(emergency=True))
    return court.check(task.id, call=court.called(**call))


def unconfirmed(court: Court) -> Any:
    task = court.emergency()
    with later(court, days=3):
        return court.run(task.id)


def other_side_resumes(court: Court) -> Any:
    case = court.approved().authorisation_id
    court.procedure.suspend(court.actor("handler-1"), case, "doubt")
    return court.procedure.resume(court.actor("officer-1"), case)


def weighed(court: Court, task_id: str, times: int = 1) -> Any:
    """Without the zeros that a refusal looks like."""
    for _ in range(times):
        court.procedure._weighed(court.actor("approver-1"), task_id)
