"""TS 102 657 messages on our procedure, an unverified profile: each is a person's call, behind the same guards.

    requestMessage            register, under the authorisation that it names, all that the authorisation allows;
                              answered requestAcknowledgement. The number is the authority's own, once
    cancelMessage             cancel the task of that number; answered cancelAcknowledgement
    getStatusMessage          its state, and since when its result is outdated; answered statusMessage
    responseAcknowledgement   the parts of the response have come; logged, without effect on how long they are kept:
                              that takes the officer's signature. Answered statusMessage
    anything else             answered errorMessage

The response itself is `records.xml` of each part of the delivery, pushed or polled as an envelope. Who sends is the
officer whom the door has recognised, for the authority in the header; the decision itself is filed before, as an order.
"""

from __future__ import annotations

from typing import Final

from api.disclosure import rules, views
from api.disclosure.casebook import entry_of
from api.disclosure.model import Actor
from api.disclosure.procedure import Disclosure
from api.handover import ts102657
from api.handover.requests import KIND, document_id
from api.handover.ts102657_read import ACKNOWLEDGEMENT, CANCEL, REQUEST, Message, read_message
from api.people import authorities, persons
from schemas.errors import ConfigurationError, InputError, LagrumError, NotFoundError, ProcedureError
from store import Put, Store

MALFORMED, UNKNOWN, REFUSED = "400", "404", "409"
"""Error codes of this profile."""
CANCELLED_WORD: Final = "cancelled-by-authority"


class RetainedData:
    """One store's side of TS 102 657."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._procedure = Disclosure(store)

    def answer(self, actor: Actor, octets: bytes) -> bytes:
        """Return the answer to a message.

        Raises:
            ProcedureError: the actor is no officer, or sends for another authority (logged).
            InputError: it is no message of an authority (logged).
            AuditError: an entry could not be made durable.
        """
        with self._procedure.casebook.refusals("retained-data", "", actor):
            rules.require_role(actor, rules.OFFICER)
            message = read_message(octets)
            authority = self._authority(actor, message)
        now_us = self._store.clock.now_us()
        csp = self._store.store_id
        header = ts102657.Header(message.country, message.organisation, message.number, csp, now_us)
        try:
            return self._done(actor, message, authority, header)
        except (ProcedureError, ConfigurationError, NotFoundError, InputError) as refusal:
            return ts102657.error(header, _code(refusal), refusal.message)

    def _authority(self, actor: Actor, message: Message) -> str:
        officer = persons.find_active(self._store, actor.person_id)
        found = authorities.require(self._store, (officer and officer.authority) or "", self._store.clock.now_us())
        if (message.country, message.organisation) != (found.terms.country, found.terms.organisation):
            raise ProcedureError("the message is sent for another authority", reason="authority")
        return found.authority_id

    def _done(self, actor: Actor, message: Message, authority: str, header: ts102657.Header) -> bytes:
        named = document_id(self._store, authority, message.number)
        if message.kind == REQUEST:
            with self._procedure.casebook.refusals("retained-data", "", actor):
                if self._known(named) is not None:
                    raise ProcedureError("there is a request of this number already", reason="exists")
            self._procedure.register(
                actor,
                message.authorisation or "",
                beside=lambda task: [Put(KIND, named, {"case": task, "number": message.number}, 0)],
            )
            return ts102657.request_acknowledgement(header)
        with self._procedure.casebook.refusals("retained-data", "", actor):
            task = self._known(named) or ""
            own = {item["id"] for case in views.cases(self._store, actor) for item in case["tasks"]}
            if task not in own:
                raise NotFoundError("there is no request of this number")
        if message.kind == CANCEL:
            self._procedure.cancel(actor, task, CANCELLED_WORD)
            return ts102657.cancel_acknowledgement(header)
        shown = views.show(self._store, actor, task)
        if message.kind == ACKNOWLEDGEMENT:
            self._acknowledged(actor, task)
        return ts102657.status(header, str(shown["state"]), shown.get("outdated_since"))

    def _known(self, named: str) -> str | None:
        """Return the task that a number names; None when it names none."""
        try:
            return str(self._store.documents.get(KIND, named).body["case"])
        except NotFoundError:
            return None

    def _acknowledged(self, actor: Actor, task: str) -> None:
        case = self._procedure.casebook.case(task)
        with self._procedure.casebook.refusals("retained-data", task, actor):
            rules.require_fetched(case.task)
        self._procedure.casebook.commit([], entry_of("response-acknowledged", actor, case.authorisation, case.task))


def _code(refusal: LagrumError) -> str:
    if isinstance(refusal, NotFoundError):
        return UNKNOWN
    return MALFORMED if isinstance(refusal, InputError) else REFUSED
