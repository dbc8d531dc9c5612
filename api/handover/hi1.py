"""HI-1 of ETSI TS 103 120 on our procedure: every action is the call that a person makes, behind the same guards.

    CREATE AuthorisationObject   authorise; targets and window are those of the LDTaskObjects of the same message
    CREATE LDTaskObject          register, under the authorisation that it is associated with
    CREATE DocumentObject        the decision's document; without one the message itself is kept as it
    UPDATE                       a desired status: Cancelled; of an authorisation also Suspended and Approved (resume)
    GET                          the object; of a delivery one envelope, the cover under sequence number 0
    LIST                         the officer's own authorisations, tasks and released deliveries
    DELIVER                      the officer's signed acknowledgement of one of our deliveries; no other object comes in

Who sends is the officer whom the door has recognised, and the sender in the header is the officer's authority. An
identifier that the authority chose is kept beside our own; the others follow from ours.

Source: ETSI TS 103 120 V1.12.1, clause 6.4 (actions).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

import orjson

from api.disclosure import rules, views
from api.disclosure.casebook import kind_of
from api.disclosure.model import AUTHORISATION, TASK, Actor, Window
from api.disclosure.orders import Order, SourceDocument, WrittenTarget
from api.disclosure.procedure import Disclosure
from api.handover import ts103120 as hi1
from api.handover.must_understand import require_addressed, require_same_flags, require_understood
from api.handover.objects import KIND, chosen_names, delivery_object, envelope_id, identifier_of, object_id
from api.handover.ts103120_read import read_request
from api.handover.ts103120_write import write_answers
from api.instants import parse_date, parse_instant
from api.people import authorities, persons
from schemas.errors import ConfigurationError, InputError, NotFoundError, ProcedureError
from schemas.legal_terms import Decider
from store import Put, Store
from store.clock import to_date, to_text

MALFORMED, REFUSED, UNKNOWN, UNSUPPORTED = 400, 409, 404, 501
"""Error codes of this profile; the standard's schemas list none."""
OUTDATED: Final = 299
"""Not an error: the result was delivered, and something of it is not so any more."""
CANCELLED_WORD: Final = "cancelled-by-authority"
_ETSI: Final = "ETSI"
_E164: Final = re.compile(r"[1-9][0-9]{4,14}")
_TARGETS: Final = {
    "InternationalE164": "number",
    "IMSI": "imsi",
    "IMEI": "imei",
    "IMEICheckDigit": "imei",
    "IMEISV": "imei",
    "MACAddress": "mac",
    "IPv4Address": "ip",
    "IPv6Address": "ip",
}


class Exchange:
    """One store's side of HI-1."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._procedure = Disclosure(store)

    def answer(self, actor: Actor, message: bytes) -> bytes:
        """Return the response to a request.

        Raises:
            ProcedureError: the actor is no officer, or sends for another authority (logged).
            InputError: the message is no HI-1 request.
            AuditError: an entry could not be made durable; actions before it stand.
        """
        with self._refusals(actor):
            rules.require_role(actor, rules.OFFICER)
            head, actions = read_request(message)
            authority = self._authority(actor, head)
            require_addressed(actions, head.receiver)
        now = to_text(self._store.clock.now_us())
        back = hi1.Head(hi1.Endpoint(authority.terms.country, self._store.store_id), head.sender, head.transaction, now)
        answers = [self._one(actor, action, actions, message) for action in actions]
        created = [(action.thing, answer.failure) for action, answer in zip(actions, answers, strict=True)]
        taken = {thing.identifier for thing, no in created if isinstance(thing, hi1.AuthorisationObject) and no is None}
        return write_answers(back, [self._kept(actor, *pair, taken) for pair in zip(actions, answers, strict=True)])

    def _kept(self, actor: Actor, action: hi1.Action, answer: hi1.Answer, taken: set[str]) -> hi1.Answer:
        """Return an action's answer; a document is taken with the authorisation that it is of, or not at all."""
        thing = action.thing
        if not isinstance(thing, hi1.DocumentObject) or answer.failure or not taken.isdisjoint(thing.associated):
            return answer
        text = "a document comes with its authorisation, in one message, and is not taken without it"
        with suppress(ProcedureError), self._refusals(actor):
            raise ProcedureError(text, reason="document")
        return self._failed(action, REFUSED, text)

    def _refusals(self, actor: Actor) -> AbstractContextManager[None]:
        """Log what is refused here; the procedure logs its own refusals."""
        return self._procedure.casebook.refusals("hi1", "", actor)

    def _authority(self, actor: Actor, head: hi1.Head) -> authorities.Authority:
        officer = persons.find_active(self._store, actor.person_id)
        name = officer.authority if officer else None
        authority = authorities.require(self._store, name or "", self._store.clock.now_us())
        if (head.sender.country, head.sender.identifier) != (authority.terms.country, authority.terms.organisation):
            raise ProcedureError("the message is sent for another authority", reason="authority")
        return authority

    def _one(self, actor: Actor, action: hi1.Action, all_of: Sequence[hi1.Action], message: bytes) -> hi1.Answer:
        try:
            match action:
                case hi1.Action(verb="CREATE", thing=hi1.AuthorisationObject() as thing):
                    return self._authorise(actor, action.number, thing, all_of, message)
                case hi1.Action(verb="CREATE", thing=hi1.TaskObject() as thing):
                    return self._register(actor, action.number, thing)
                case hi1.Action(verb="CREATE", thing=hi1.DocumentObject() as thing):
                    return hi1.Answer(action.number, "CREATE", thing.identifier)
                case hi1.Action(verb="UPDATE", thing=hi1.AuthorisationObject() | hi1.TaskObject() as thing):
                    return self._update(actor, action.number, thing)
                case hi1.Action(verb="GET", identifier=str(identifier)):
                    return hi1.Answer(action.number, "GET", thing=self._get(actor, identifier))
                case hi1.Action(verb="LIST"):
                    return hi1.Answer(action.number, "LIST", listed=self._list(actor, action.kind))
                case hi1.Action(verb="DELIVER"):
                    self._acknowledge(actor, action)
                    return hi1.Answer(action.number, "DELIVER", action.identifier)
        except InputError as error:
            return self._failed(action, MALFORMED, error.message)
        except NotFoundError as error:
            return self._failed(action, UNKNOWN, error.message)
        except (ProcedureError, ConfigurationError) as error:
            return self._failed(action, REFUSED, error.message)
        with suppress(InputError), self._refusals(actor):
            raise InputError("this side does not take such an action")
        return self._failed(action, UNSUPPORTED, "this side does not take such an action")

    @staticmethod
    def _failed(action: hi1.Action, code: int, text: str) -> hi1.Answer:
        return hi1.Answer(action.number, action.verb, failure=hi1.Failure(code, text))

    def _authorise(
        self,
        actor: Actor,
        number: int,
        thing: hi1.AuthorisationObject,
        all_of: Sequence[hi1.Action],
        message: bytes,
    ) -> hi1.Answer:
        with self._refusals(actor):
            self._require_new(thing.identifier)
            require_understood(thing)
            order = self._order(actor, thing, all_of, message)
        self._procedure.authorise(actor, order, beside=lambda case: [_named(thing.identifier, case)])
        return hi1.Answer(number, "CREATE", thing.identifier)

    def _order(
        self, actor: Actor, thing: hi1.AuthorisationObject, all_of: Sequence[hi1.Action], message: bytes
    ) -> Order:
        things = [item.thing for item in all_of if item.verb == "CREATE"]
        tasks = [t for t in things if isinstance(t, hi1.TaskObject) and thing.identifier in t.associated]
        documents = [t for t in things if isinstance(t, hi1.DocumentObject) and thing.identifier in t.associated]
        if len(documents) > 1:
            raise InputError("an authorisation has one document here: the decision, whole")
        emergency, is_test = hi1.EMERGENCY in thing.flags, hi1.TEST in thing.flags
        for task in tasks:
            require_understood(task)
            require_same_flags(task, emergency=emergency, is_test=is_test)
        windows = [_window(task) for task in tasks]
        if not windows or thing.legal_type is None or thing.end is None or thing.decided_at is None:
            raise InputError("an authorisation needs a legal type, an end, an approval's time, and a task beside it")
        if thing.decided_by not in set(Decider):
            raise InputError("an authorisation tells its approver's role: " + ", ".join(Decider))
        if thing.start is not None and parse_instant(thing.start) > self._store.clock.now_us():
            raise InputError("the authorisation's time has not begun; it is sent when it has")
        asked = list(zip(windows, map(_targets, tasks), strict=True))
        targets = tuple(dict.fromkeys(target for _, own in asked for target in own))
        window = Window(min(w.start_us for w in windows), max(w.end_us for w in windows))
        for target in targets:
            if not _covers((each for each, own in asked if target in own), window):
                raise InputError("the tasks of one authorisation ask for every target over the whole of its time")
        authority = authorities.require(self._store, _belongs(self._store, actor), self._store.clock.now_us())
        written = (documents[0].media_type, documents[0].content) if documents else ("application/xml", message)
        return Order(
            basis=thing.legal_type.value,
            decision_reference=thing.reference or "",
            decided_on=parse_date(thing.decided_at[:10]),
            decided_by=Decider(thing.decided_by),
            authority=authority.authority_id,
            country=authority.terms.country,
            targets=targets,
            window=window,
            expires_at_us=parse_instant(thing.end),
            source=SourceDocument(*written),
            emergency=emergency,
            is_test=is_test,
            preservation=_preservation(tasks),
        )

    def _register(self, actor: Actor, number: int, thing: hi1.TaskObject) -> hi1.Answer:
        with self._refusals(actor):
            self._require_new(thing.identifier)
            if len(thing.associated) != 1:
                raise InputError("a task is associated with one authorisation")
            require_understood(thing)
            targets, window = _targets(thing), _window(thing)
        case = self._case(actor, thing.associated[0])
        with self._refusals(actor):
            order = self._procedure.casebook.authorisation(case)[0]
            require_same_flags(thing, emergency=order.emergency, is_test=order.is_test)
            if _preservation([thing]) not in (None, order.preservation):
                raise ProcedureError("the authorisation names another preservation, or none", reason="preservation")
        self._procedure.register(
            actor, case, targets=targets, window=window, beside=lambda task: [_named(thing.identifier, task)]
        )
        return hi1.Answer(number, "CREATE", thing.identifier)

    def _update(self, actor: Actor, number: int, thing: hi1.AuthorisationObject | hi1.TaskObject) -> hi1.Answer:
        case = self._case(actor, thing.identifier)
        wanted = thing.desired_status.value if thing.desired_status else None
        is_task = kind_of(case) == TASK
        if wanted == "Cancelled":
            self._procedure.cancel(actor, case, CANCELLED_WORD)
        elif wanted == "Suspended" and not is_task:
            self._procedure.suspend(actor, case, "suspended-by-authority")
        elif wanted == "Approved" and not is_task:
            self._procedure.resume(actor, case)
        else:
            with self._refusals(actor):
                raise InputError("an order is not changed; it is cancelled, suspended, resumed, or decided anew")
        return hi1.Answer(number, "UPDATE", thing.identifier)

    def _get(self, actor: Actor, identifier: str) -> hi1.Thing:
        for task in self._tasks(actor):
            for sequence in self._sequences(task["delivery"]):
                if envelope_id(self._store.store_id, task["delivery"], sequence) == identifier:
                    delivery = self._procedure.deliver(actor, task["id"]).delivery  # logged before anything leaves
                    return delivery_object(self._store, self._procedure.vault, delivery, sequence)
        case = self._case(actor, identifier)
        shown = views.show(self._store, actor, case)
        if kind_of(case) == AUTHORISATION:
            return hi1.AuthorisationObject(
                identifier,
                reference=shown["decision_reference"],
                legal_type=hi1.Word(hi1.PROFILE_OWNER, "AuthorisationLegalType", shown["basis"]),
                status=hi1.Word("ETSI", "AuthorisationStatus", shown["state"]),
                end=_seconds(shown["expires_at"]),
                decided_by=shown["decided_by"],
                external=case,
            )
        return hi1.TaskObject(
            identifier,
            ldid=case,
            status=hi1.Word("ETSI", "LDTaskStatus", shown["state"]),
            start=_seconds(shown["window"]["from"]),
            end=_seconds(shown["window"]["to"]),
            associated=(identifier_of(self._store, shown["authorisation_id"]),),
            external=case,
            status_reason=_reason(shown.get("outdated_since")),
        )

    def _acknowledge(self, actor: Actor, action: hi1.Action) -> None:
        """Take the officer's acknowledgement of a delivery; the same one again is taken again and changes nothing."""
        with self._refusals(actor):
            thing = action.thing
            if not isinstance(thing, hi1.DeliveryObject) or thing.manifest != hi1.ACKNOWLEDGEMENT_ID:
                raise ProcedureError("this side takes acknowledgements and no other deliveries", reason="direction")
            if action.identifier != thing.identifier or hashlib.sha256(thing.envelope).hexdigest() != thing.checksum:
                raise InputError("the object is not the one that its identifier or checksum tells")
            signed = _signed(thing.envelope)
            own = {task["id"]: task["delivery"] for task in self._tasks(actor) if task["delivery"]}
            if thing.ldid not in own or self._derived(own[thing.ldid]) != thing.delivery:
                raise NotFoundError("there is no such object")
        known = self._procedure.casebook.delivery(own[thing.ldid])[0].acknowledgement
        if known is None or known["signature"] != signed.signature:
            self._procedure.acknowledge(actor, thing.ldid, signed)

    def _list(self, actor: Actor, kind: str | None) -> tuple[hi1.Listed, ...]:
        found: list[hi1.Listed] = []
        for case in views.cases(self._store, actor):
            found.append(hi1.Listed("Authorisation", identifier_of(self._store, case["id"]), 1, case["id"]))
            for task in case["tasks"]:
                found.append(hi1.Listed("LDTask", identifier_of(self._store, task["id"]), 1, task["id"]))
                for sequence in self._sequences(task.get("delivery")):
                    named = envelope_id(self._store.store_id, task["delivery"], sequence)
                    found.append(hi1.Listed("Delivery", named, 1, f"{task['delivery']}/{sequence}"))
        return tuple(item for item in found if kind in (None, item.kind))

    def _tasks(self, actor: Actor) -> list[dict[str, Any]]:
        return [{"delivery": None, **task} for case in views.cases(self._store, actor) for task in case["tasks"]]

    def _sequences(self, delivery_id: str | None) -> range:
        """Return the sequence numbers of a delivery's envelopes."""
        return range(len(self._procedure.casebook.delivery(delivery_id)[0].parts) + 1) if delivery_id else range(0)

    def _derived(self, name: str) -> str:
        return object_id(self._store.store_id, name)

    def _case(self, actor: Actor, identifier: str) -> str:
        """Return which of the officer's own cases an identifier names."""
        own = {item["id"] for item in views.cases(self._store, actor)} | {str(t["id"]) for t in self._tasks(actor)}
        named = chosen_names(self._store).get(identifier)
        found = named if named in own else next((case for case in own if self._derived(case) == identifier), None)
        if found is None:
            with self._refusals(actor):
                raise NotFoundError("there is no such object")
        return found

    def _require_new(self, identifier: str) -> None:
        if identifier in chosen_names(self._store):
            raise ProcedureError("there is an object of this identifier already", reason="exists")


def _named(identifier: str, case: str) -> Put:
    return Put(KIND, identifier, {"case": case}, 0)


def _belongs(store: Store, actor: Actor) -> str:
    officer = persons.find_active(store, actor.person_id)
    return (officer.authority if officer else None) or ""


def _signed(content: bytes) -> persons.Approval:
    try:
        body = orjson.loads(content)
        time, signature = body["time"], body["signature"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise InputError("an acknowledgement is JSON of a time and a signature") from None
    if not isinstance(time, str) or not isinstance(signature, str) or len(body) > 2:
        raise InputError("an acknowledgement is JSON of a time and a signature")
    return persons.Approval(time, signature)


def _targets(task: hi1.TaskObject) -> tuple[WrittenTarget, ...]:
    held_on = None if task.observed is None else to_date(parse_instant(task.observed)).isoformat()
    found = []
    for value in task.values:
        ours = value.owner == hi1.PROFILE_OWNER
        if ours and value.name == hi1.PRESERVATION:
            continue
        if ours and value.name == "Account":
            found.append(WrittenTarget("account", value.value, held_on=held_on))
        elif value.name in _TARGETS and value.owner == _ETSI:
            plus = "+" if value.name == "InternationalE164" else ""
            if plus and not _E164.fullmatch(value.value):
                raise InputError("an international number has 5 to 15 digits, the country's first")
            found.append(WrittenTarget(_TARGETS[value.name], plus + value.value, held_on=held_on))
        else:
            raise InputError("a target has a format that this side does not search for")
    return tuple(found)


def _preservation(tasks: Sequence[hi1.TaskObject]) -> str | None:
    """Return the reference of the preservation order that the tasks name."""
    values = [value for task in tasks for value in task.values]
    named = {each.value for each in values if (each.owner, each.name) == (hi1.PROFILE_OWNER, hi1.PRESERVATION)}
    if len(named) > 1:
        raise InputError("an order names one preservation")
    return named.pop() if named else None


def _window(task: hi1.TaskObject) -> Window:
    if task.start is None or task.end is None:
        raise InputError("a task has a start and an end")
    return Window(parse_instant(task.start), parse_instant(task.end))


def _covers(windows: Iterable[Window], whole: Window) -> bool:
    """Tell whether windows leave no gap in the whole: else an authorisation would reach what no task asks for."""
    reached_us = whole.start_us
    for window in sorted(windows, key=lambda item: item.start_us):
        if window.start_us > reached_us:
            return False
        reached_us = max(reached_us, window.end_us)
    return reached_us >= whole.end_us


def _reason(outdated_since: str | None) -> hi1.Failure | None:
    """Return what is told of a result that is outdated: since when, and nothing of it."""
    return None if outdated_since is None else hi1.Failure(OUTDATED, f"outdated since {outdated_since}")


def _seconds(instant: str) -> str:
    return f"{instant[:19]}Z"
