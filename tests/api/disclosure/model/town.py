"""A real store, everybody in it, and the doors: each takes a step and says whether it was allowed, and that it is told.

People of every role, several per role; some hold two roles or another's key, as no enrolment would let them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from api.custody import subjects
from api.disclosure import views
from api.disclosure.delivering import ACKNOWLEDGE
from api.disclosure.model import Actor, request_digest
from api.disclosure.procedure import APPROVE_RELEASE, APPROVE_REQUEST
from api.handover import ts103120 as hi1
from api.handover.hi1 import Exchange
from api.handover.ts103120_read import read_answers
from api.handover.ts103120_write import write_request
from api.people import authorities, persons
from api.people.persons import Approval
from schemas.errors import ConfigurationError, InputError, NotFoundError, ProcedureError
from store import Store
from store.clock import to_text
from tests.api.disclosure.conftest import (
    AUTHORITY,
    OTHER_AUTHORITY,
    PEOPLE,
    TARGET,
    Court,
    peopled,
    register_authority,
)
from tests.api.disclosure.model.judge import Somebody
from tests.conftest import FixedClock
from tests.store.records import DAY_US

REFUSALS: Final = (ProcedureError, NotFoundError, ConfigurationError, InputError)
# (person, roles, whose key it uses)
ODD: Final[tuple[tuple[str, tuple[str, ...], str], ...]] = (
    ("both-1", ("case-handler", "approver"), ""),
    ("both-2", ("officer", "approver"), ""),
    ("both-3", ("auditor", "case-handler"), ""),
    ("twin-1", ("case-handler",), "officer-1"),
    ("twin-2", ("approver",), "handler-1"),
    ("twin-3", ("approver",), "officer-1"),
    ("officer-9", ("officer",), ""),
)
STATUS: Final = {"cancel_task": "Cancelled", "cancel_order": "Cancelled", "suspend": "Suspended", "resume": "Approved"}


class UnloggedError(AssertionError):
    """A step or a refusal that the log does not tell."""


@dataclass(frozen=True)
class Lie:
    """What is wrong with an act, besides who does it."""

    roles: tuple[str, ...] = ()
    old_key: bool = False
    signature: str = ""

    @property
    def honest(self) -> bool:
        return not (self.roles or self.old_key or self.signature)


@dataclass
class Town:
    """The doors of one store."""

    court: Court
    people: dict[str, Somebody]

    @classmethod
    def build(cls, store: Store, clock: FixedClock) -> Town:
        court = peopled(store, clock)
        people = {}
        for name, held in PEOPLE.items():
            people[name] = Somebody(name, name, frozenset(held), AUTHORITY if "officer" in held else None)
        for name, roles, key in ODD:
            authority = OTHER_AUTHORITY if name == "officer-9" else AUTHORITY
            court.enrol(name, *roles, key=court.keys[key] if key else None, authority=authority)
            people[name] = Somebody(name, key or name, frozenset(roles), authority if "officer" in roles else None)
        return cls(court, people)

    def enrol(self, name: str, state: str) -> None:
        who = self.people[name]
        self.court.enrol(name, *sorted(who.roles), state=state, authority=who.authority or AUTHORITY)

    def authority(self, name: str, *, gone: bool) -> None:
        register_authority(self.court.store, name, authorities.REVOKED if gone else authorities.ACTIVE)

    def actor(self, name: str, lie: Lie) -> Actor:
        person = persons.get(self.court.store, name)
        key_id = "0" * 16 if lie.old_key else person.key_id
        return Actor(name, key_id, frozenset(str(role) for role in person.roles) | frozenset(lie.roles))

    def take(
        self, step: str, name: str, order: str, task: str, lie: Lie, *, hi1_door: bool = False, **terms: Any
    ) -> Any:
        """Take a step by a door; return what it gives, or the refusal.

        Raises:
            UnloggedError: the log does not tell of it.
        """
        size = self.court.store.audit.size
        actor = self.actor(name, lie)
        try:
            if hi1_door:
                given = self._by_message(step, actor, order, task)
            else:
                given = getattr(self, f"_{step}")(actor, order, task, lie, **terms)
        except REFUSALS as refusal:
            given = refusal
        told = list(self.court.store.audit.entries(size, self.court.store.audit.size))
        refused = isinstance(given, REFUSALS)
        if step != "list" or refused:
            last = told[-1] if told else None
            if last is None or (last.kind == "disclosure.refused") != refused:
                raise UnloggedError(step, name, repr(given), [entry.kind for entry in told])
            if refused and last.public["person"] != name:
                raise UnloggedError(step, name, dict(last.public))
        return given

    # The procedure's own door: every step as the routes call it.

    def _register(self, actor: Actor, order: str, *_: Any) -> Any:
        return self.court.procedure.register(actor, order)

    def _check(self, actor: Actor, _: str, task: str, __: Lie, call: bool = False) -> Any:
        return self.court.procedure.check(actor, task, self.court.called() if call else None)

    def _preflight(self, actor: Actor, _: str, task: str, __: Lie) -> Any:
        """Its refusals look like zero; the log tells them apart."""
        size = self.court.store.audit.size
        given = self.court.procedure.preflight(actor, task)
        last = list(self.court.store.audit.entries(size, self.court.store.audit.size))[-1]
        if last.kind == "disclosure.refused":
            assert given == {"records": "0", "days": "0"}
            return ProcedureError("refused", reason=str(last.public["reason"]))
        return given

    def _signed(self, actor: Actor, action: str, case: str, digest: str, lie: Lie) -> Approval:
        match lie.signature:
            case "none":
                return Approval(to_text(self.court.clock.now_us()), "")
            case "digest":
                digest = "0" * 64
            case "case":
                case = case[:-1] + ("1" if case[-1] == "0" else "0")
            case "action":
                action = APPROVE_RELEASE if action == APPROVE_REQUEST else APPROVE_REQUEST
            case "old":
                return self._long_ago(actor, action, case, digest)
            case "key":
                return self.court.signed(
                    "approver-1" if actor.person_id != "approver-1" else "approver-2", action, case, digest
                )
        return self.court.signed(actor.person_id, action, case, digest)

    def _long_ago(self, actor: Actor, action: str, case: str, digest: str) -> Approval:
        now_us = self.court.clock.value_us
        self.court.clock.value_us -= DAY_US
        try:
            return self.court.signed(actor.person_id, action, case, digest)
        finally:
            self.court.clock.value_us = now_us

    def _approve(self, actor: Actor, _: str, task: str, lie: Lie) -> Any:
        case = self.court.procedure.casebook.case(task)
        digest = request_digest(case.authorisation, case.task)
        return self.court.procedure.approve(actor, task, self._signed(actor, APPROVE_REQUEST, task, digest, lie))

    def _run(self, actor: Actor, _: str, task: str, __: Lie) -> Any:
        return self.court.procedure.run(actor, task)

    def _explain(self, actor: Actor, _: str, task: str, __: Lie) -> Any:
        return self.court.procedure.explain(actor, task)

    def _release(self, actor: Actor, _: str, task: str, lie: Lie) -> Any:
        digest = self.court.procedure.casebook.task(task)[0].result_digest or "0" * 64
        return self.court.procedure.release(actor, task, self._signed(actor, APPROVE_RELEASE, task, digest, lie))

    def _deliver(self, actor: Actor, _: str, task: str, __: Lie) -> Any:
        return self.court.procedure.deliver(actor, task).to_bytes()

    def _acknowledge(self, actor: Actor, _: str, task: str, lie: Lie) -> Any:
        book = self.court.procedure.casebook
        found = book.task(task)[0].delivery_id
        cover = book.delivery(found)[0].cover if found else None
        signed = self._signed(actor, ACKNOWLEDGE, task, cover.opening if cover else "0" * 64, lie)
        return self.court.procedure.acknowledge(actor, task, signed)

    def _reject_task(self, actor: Actor, _: str, task: str, __: Lie) -> Any:
        return self.court.procedure.reject(actor, task, "wrong-number")

    def _cancel_task(self, actor: Actor, _: str, task: str, __: Lie) -> Any:
        return self.court.procedure.cancel(actor, task, "settled")

    def _reject_order(self, actor: Actor, order: str, *_: Any) -> Any:
        return self.court.procedure.reject(actor, order, "wrong-number")

    def _cancel_order(self, actor: Actor, order: str, *_: Any) -> Any:
        return self.court.procedure.cancel(actor, order, "settled")

    def _confirm(self, actor: Actor, order: str, *_: Any) -> Any:
        return self.court.procedure.confirm(actor, order, self.court.ruling())

    def _suspend(self, actor: Actor, order: str, *_: Any) -> Any:
        return self.court.procedure.suspend(actor, order, "doubt")

    def _resume(self, actor: Actor, order: str, *_: Any) -> Any:
        return self.court.procedure.resume(actor, order)

    def _extend(self, actor: Actor, order: str, _: str, __: Lie, until_us: int = 0) -> Any:
        return self.court.procedure.extend(actor, order, self.court.ruling(expires_at_us=until_us))

    def _read(self, actor: Actor, order: str, task: str, _: Lie, document: bool = False) -> Any:
        if document:
            return views.source(self.court.store, actor, task)
        return views.show(self.court.store, actor, task)

    def _list(self, actor: Actor, *_: Any) -> Any:
        return views.cases(self.court.store, actor)

    def _lapsed(self, actor: Actor, *_: Any) -> Any:
        return views.lapsed(self.court.store, actor)

    # The door of persons' requests.

    def ask(self, step: str, name: str, request_id: str) -> Any:
        """File, confirm or answer a request; return what it gives, or the refusal, which the HTTP door logs."""
        court = self.court
        wish = subjects.Wish("DSR 1", "in-person", "SE", (("number", TARGET, "2026-01-01", ""),))
        digest = subjects.digest(court.store.store_id, request_id, wish)
        size = court.store.audit.size
        try:
            if step == "file":
                signed = court.signed(name, subjects.REQUEST, request_id, digest)
                subjects.request(court.store, name, request_id, wish, signed)
            elif step == "confirm":
                signed = court.signed(name, subjects.CONFIRM, request_id, digest)
                subjects.confirm(court.store, name, request_id, signed)
            else:
                given = subjects.answer(court.store, name, request_id)
        except REFUSALS as refusal:
            return refusal
        if not any(entry.kind.startswith("subject.") for entry in court.log(size)):
            raise UnloggedError(step, name)
        return given if step == "answer" else None

    # The door of messages.

    def _by_message(self, step: str, actor: Actor, order: str, task: str) -> Any:
        case = task if step in ("cancel_task", "deliver", "read") else order
        if step == "deliver":
            found = self.court.procedure.casebook.task(task)[0].delivery_id
            action = hi1.Action(0, "GET", identifier=self._name(f"{found}/0"))
        elif step == "read":
            action = hi1.Action(0, "GET", identifier=self._name(case))
        else:
            kind: Callable[[str], Any] = hi1.TaskObject if step == "cancel_task" else hi1.AuthorisationObject
            word = hi1.Word("ETSI", "DesiredStatus", STATUS[step])
            action = hi1.Action(0, "UPDATE", thing=replace(kind(self._name(case)), desired_status=word))
        who = self.people[actor.person_id]
        sender = hi1.Endpoint("SE", (who.authority or AUTHORITY).upper())
        now = to_text(self.court.clock.now_us())
        head = hi1.Head(sender, hi1.Endpoint("SE", "operator"), str(uuid.uuid4()), now)
        answered = Exchange(self.court.store).answer(actor, write_request(head, [action]))
        answer = read_answers(answered)[1][0]
        if answer.failure is not None:
            return ProcedureError(answer.failure.text, reason=str(answer.failure.code))
        return answered

    def _name(self, case: str) -> str:
        space = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:lagrum:{self.court.store.store_id}")
        return str(uuid.uuid5(space, case))
