"""After step 8: the service brings what was released to the authority's endpoint, one envelope at a time.

For the next envelope of a delivery that waits:
(1) What has become of the case? A delivery that is erased, acknowledged by its officer or of another result is not
    pushed any more; nor is one whose authorisation has ended, or whose authority takes no pushes.
(2) The guards of a fetch hold again, all of them: approvals, persons in office, the recipient's certificate, no
    suspension. One that refuses is logged when it begins to; the push waits.
(3) The connection is made and the server recognised. Until then nothing has left.
(4) The entry is durable, with the task as delivered: from here on an octet may have left. Without the entry none does.
(5) The envelope goes as a DELIVER of TS 103 120: ciphertext to the authority, under identifiers that are the same
    however often it is sent, so that a receiver that has it already can tell.
(6) Only an answer to this very action is an acknowledgement; it is on file and in the log before the next envelope.

Whatever fails is tried again, later and later (`pushes.back_off_us`), also after a restart, because the outbox is in
the catalog. It ends when the ciphertext goes. Officers poll all the while.

Source: ETSI TS 103 120 V1.12.1, clauses 6.4 (DELIVER) and 10 (delivery); the design's promise 6.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from api.disclosure.casebook import Case, put
from api.disclosure.deadlines import LIVE
from api.disclosure.deliveries import Delivery
from api.disclosure.delivering import Delivering, require_same_law
from api.disclosure.pushes import ACKNOWLEDGED, ALARM_SECONDS, ENDED, KIND, Push, back_off_us
from api.disclosure.states import Stage, TaskAction, next_stage
from api.handover import ts103120 as hi1
from api.handover.objects import delivery_object
from api.handover.push_line import PushError
from api.handover.ts103120_read import read_answers
from api.handover.ts103120_write import write_request
from api.people import authorities
from api.people.authorities import Authority
from schemas.errors import InputError, IntegrityError, KeyUnavailableError, NotFoundError, ProcedureError
from store import AuditEntry, Put
from store.clock import to_text

Send = Callable[[Authority, Callable[[], bytes]], bytes]
"""Connects to an authority's endpoint, asks for the message, posts it, and returns the answer; raises `PushError`."""
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:lagrum:push")


class Pushing(Delivering):
    """One envelope's way."""

    def push(self, push: Push, revision: int, send: Send) -> bool:
        """Push the next envelope of a delivery that is due; tell whether it was taken.

        Raises:
            AuditError: an entry could not be made durable; nothing of it left after that.
        """
        now_us = self._store.clock.now_us()
        case = self.casebook.case(push.task_id)
        delivery, _ = self.casebook.delivery(push.delivery_id)
        over = self._over(case, delivery)
        if over is not None:
            self._end(push, revision, case, ENDED, over, now_us)
            return False
        try:
            authority = self._allowed(push, now_us)
            place = _place(authority)
            if push.endpoint not in (None, place):
                push = replace(push, acknowledged=0)
            push = replace(push, endpoint=place)
        except (ProcedureError, NotFoundError, IntegrityError, KeyUnavailableError) as refusal:
            reason = refusal.reason if isinstance(refusal, ProcedureError) else type(refusal).__name__
            self._fail(push, revision, case, reason, now_us)
            return False
        begun: list[tuple[Push, int]] = []

        def message() -> bytes:
            # (4) The connection stands. Nothing of this method's result exists without the entry.
            begun.append(self._begin(push, revision, now_us))
            return self._message(begun[0][0], authority, now_us)

        try:
            taken = send(authority, message)  # (3), (5)
            self._require_answer(taken, push)
        except (PushError, IntegrityError, KeyUnavailableError, NotFoundError) as failure:
            word = failure.word if isinstance(failure, PushError) else type(failure).__name__
            self._fail(*(begun[0] if begun else (push, revision)), case, word, now_us)
            return False
        self._taken(*begun[0], now_us)
        return True

    def _over(self, case: Case, delivery: Delivery) -> str | None:
        """(1) Return why a delivery is not pushed any more, as a stable word."""
        if case.authorisation.state not in LIVE or case.task.stage not in (Stage.RELEASED, Stage.DELIVERED):
            return "case-ended"
        if delivery.erased_at_us is not None or case.task.delivery_id != delivery.id:
            return "erased"
        if delivery.acknowledged_at_us is not None:
            return "acknowledged"
        authority = authorities.find(self._store, delivery.authority)
        if authority is None or not authority.is_active or authority.terms.endpoint is None:
            return "no-endpoint"
        return None

    def _allowed(self, push: Push, now_us: int) -> Authority:
        """(2) Return the authority once every guard of a fetch holds."""
        task, _ = self.casebook.task(push.task_id)
        self._standing(task.authorisation_id, now_us)
        case = self.casebook.case(push.task_id)
        self._require_granted(case, now_us)
        self._require_released(case.task)
        require_same_law(case, self._result(case, now_us)[3])
        return authorities.require(self._store, case.authorisation.authority, now_us)

    def _begin(self, push: Push, revision: int, now_us: int) -> tuple[Push, int]:
        """(4) Put on file that an envelope leaves now, its task as delivered; the guards held a moment ago."""
        case = self.casebook.case(push.task_id)
        self._allowed(push, now_us)
        delivery, delivery_revision = self.casebook.delivery(push.delivery_id)
        stage = next_stage(case.task.stage, TaskAction.DELIVER)
        after = replace(push, attempts=push.attempts + 1, began_us=push.began_us or now_us)
        puts = [*case.puts(replace(case.task, stage=stage)), Put(KIND, push.delivery_id, after.as_body(), revision)]
        if push.began_us is None:
            puts.append(put(replace(delivery, fetched=(*delivery.fetched, now_us)), delivery_revision))
        entry = self._entry("pushed", case, push, stage=str(stage), sequence=push.acknowledged, attempt=after.attempts)
        self.casebook.commit(puts, entry)
        return after, revision + 1

    def _message(self, push: Push, authority: Authority, now_us: int) -> bytes:
        delivery, _ = self.casebook.delivery(push.delivery_id)
        thing = delivery_object(self._store, self.vault, delivery, push.acknowledged)
        terms = authority.terms
        head = hi1.Head(
            hi1.Endpoint(terms.country, self._store.store_id),
            hi1.Endpoint(terms.country, terms.organisation),
            _transaction(self._store.store_id, push),
            to_text(now_us),
        )
        return write_request(head, [hi1.Action(0, "DELIVER", thing.identifier, thing)])

    def _require_answer(self, octets: bytes, push: Push) -> None:
        """(6) Return when the answer takes this very action.

        Raises:
            PushError: `no-answer`: no HI-1 response, or one to something else; `refused-N`: its error code.
        """
        try:
            head, answers = read_answers(octets)
        except InputError:
            raise PushError("no-answer") from None
        if head.transaction != _transaction(self._store.store_id, push) or [item.number for item in answers] != [0]:
            raise PushError("no-answer")
        if answers[0].failure is not None:
            raise PushError(f"refused-{answers[0].failure.code}")
        delivery, _ = self.casebook.delivery(push.delivery_id)
        named = delivery_object(self._store, self.vault, delivery, push.acknowledged).identifier
        if (answers[0].verb, answers[0].identifier) != ("DELIVER", named):
            raise PushError("no-answer")

    def _taken(self, push: Push, revision: int, now_us: int) -> None:
        case = self.casebook.case(push.task_id)
        delivery, _ = self.casebook.delivery(push.delivery_id)
        sequence = push.acknowledged
        after = replace(push, acknowledged=sequence + 1, failures=0, reason=None, next_us=now_us, alarmed=False)
        if after.acknowledged > len(delivery.parts):
            self._end(after, revision, case, ACKNOWLEDGED, None, now_us)
            return
        entry = self._entry("push-acknowledged", case, push, sequence=sequence, last=False)
        self.casebook.commit([Put(KIND, push.delivery_id, after.as_body(), revision)], entry)

    def _fail(self, push: Push, revision: int, case: Case, reason: str, now_us: int) -> None:
        """Let a push wait; another reason than the last one is an entry, and so is that it waits for too long."""
        failures = push.failures + 1
        after = replace(push, failures=failures, next_us=now_us + back_off_us(failures), reason=reason)
        entries = []
        if reason != push.reason:
            entries.append(self._entry("push-failed", case, push, sequence=push.acknowledged, reason=reason))
        if not push.alarmed and now_us - push.since_us >= ALARM_SECONDS * 1_000_000:
            after = replace(after, alarmed=True)
            entries.append(self._entry("push-undelivered", case, push, sequence=push.acknowledged, reason=reason))
        self._store.documents.commit([Put(KIND, push.delivery_id, after.as_body(), revision)], entries)

    def _end(self, push: Push, revision: int, case: Case, state: str, reason: str | None, now_us: int) -> None:
        """Take a push out of the outbox; how it ended stays with the delivery."""
        delivery, delivery_revision = self.casebook.delivery(push.delivery_id)
        ended = replace(delivery, pushed=replace(push, reason=reason).facts(state, now_us))
        told: dict[str, Any] = {"reason": reason} if reason else {"sequence": push.acknowledged - 1, "last": True}
        entry = self._entry("push-acknowledged" if state == ACKNOWLEDGED else "push-ended", case, push, **told)
        self.casebook.commit([Put(KIND, push.delivery_id, None, revision), put(ended, delivery_revision)], entry)

    @staticmethod
    def _entry(word: str, case: Case, push: Push, **more: Any) -> AuditEntry:
        """Return an entry of the service's own step: no person took it."""
        public: dict[str, Any] = {
            "authorisation": case.authorisation.id,
            "basis": case.authorisation.basis_id,
            "task": case.task.id,
            "stage": str(case.task.stage),
            "delivery": push.delivery_id,
            "authority": case.authorisation.authority,
        }
        if case.authorisation.is_test:
            public["test"] = True
        return AuditEntry(f"disclosure.{word}", public | more)


def _place(authority: Authority) -> str:
    """Return the digest of where an authority takes pushes: another URL or CA is another receiver."""
    return hashlib.sha256(f"{authority.terms.endpoint}\n{authority.terms.endpoint_ca}".encode()).hexdigest()


def _transaction(store_id: str, push: Push) -> str:
    """Return the transaction's identifier, the same for every attempt at one envelope of one release."""
    return str(uuid.uuid5(_NAMESPACE, f"{store_id}/{push.delivery_id}/{push.since_us}/{push.acknowledged}"))
