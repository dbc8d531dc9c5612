"""Steps 8 and 9 and after: the approver releases a result, the officer fetches and acknowledges it.

What an approver sees of a result is its manifest: counts, digests, fields, what is missing; never a record.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from typing import Any, Final

import orjson

from api.disclosure import lapses, package, rules
from api.disclosure.casebook import Case, entry_of, put
from api.disclosure.deliveries import Cover, Delivery
from api.disclosure.model import Actor, Approval, Authorisation, Task
from api.disclosure.push_outbox import queued
from api.disclosure.recipients import Recipient, recipient_of
from api.disclosure.result_erasure import ResultErasure
from api.disclosure.staleness import is_outdated
from api.disclosure.states import TaskAction, next_stage
from api.disclosure.step_base import APPROVE_RELEASE
from api.disclosure.vault import MANIFEST, Parcel, cover_name
from api.handover import envelope, summary
from api.people import persons
from schemas.errors import ProcedureError
from store.clock import to_text

ACKNOWLEDGE: Final = "disclosure.acknowledge"


class Delivering(ResultErasure):
    """Release, delivery and acknowledgement."""

    def release(self, actor: Actor, task_id: str, signed: persons.Approval) -> Task:
        """(8) Approve the release with a signature over the result's digest; the cover is made."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("release", task_id, actor):
            case = self._open(actor, rules.APPROVER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.RELEASE)
            rules.require_three_persons(case.task, actor.signatory)
            self._require_granted(case, now_us)
            self._require_in_office(case.task.case_handler, rules.CASE_HANDLER)
            approval = self._signed(actor, APPROVE_RELEASE, task_id, case.task.result_digest or "", signed)
            delivery, revision, recipient, manifest = self._result(case, now_us)
            require_same_law(case, manifest)
            rules.require_current(is_outdated(self._store, delivery))
            after = replace(case.task, stage=stage, release_approval=approval)
            # (8)
            cover = self._cover(replace(case, task=after), delivery, recipient, manifest, now_us)
            # The answer was given, and what is kept has its time, from the first release on.
            first_us = now_us if delivery.released_at_us is None else delivery.released_at_us
            released = replace(
                delivery, cover=cover, released_at_us=first_us, releases=delivery.releases + 1, pushed=None
            )
            entry = entry_of("released", actor, case.authorisation, after, approval=approval)
            puts = [*case.puts(after), put(released, revision), *queued(self._store, released, now_us)]
            self.casebook.commit(puts, entry)
        return after

    def deliver(self, actor: Actor, task_id: str) -> Parcel:
        """(9) Fetch the delivery; it may be fetched again, and every fetch is logged before it leaves."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("deliver", task_id, actor):
            case = self._open(actor, rules.OFFICER, task_id, now_us)
            stage = next_stage(case.task.stage, TaskAction.DELIVER)
            rules.require_same_person(actor, case.task.officer)
            self._require_granted(case, now_us)
            self._require_released(case.task)
            delivery, revision, _, manifest = self._result(case, now_us)
            require_same_law(case, manifest)
            for _ in self.vault.envelopes(delivery):
                pass  # each is compared with the digest on file before the first octet leaves
            fetched = replace(delivery, fetched=(*delivery.fetched, now_us))
            after = replace(case.task, stage=stage)
            # (9) The delivery is returned after this, or not at all.
            entry = entry_of("delivered", actor, case.authorisation, after)
            self.casebook.commit([*case.puts(after), put(fetched, revision)], entry)
        return Parcel(self.vault, fetched)

    def acknowledge(self, actor: Actor, task_id: str, signed: persons.Approval) -> Delivery:
        """Confirm with the officer's signature that the delivery was opened and verified.

        What is signed is the digest of the receipt inside the cover: only who opened the envelope can tell it. It is
        taken whatever became of the order since: nothing leaves by it, and what is kept goes sooner.
        """
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("acknowledge", task_id, actor):
            self._enter(actor, rules.OFFICER)
            order_id = self.casebook.task(task_id)[0].authorisation_id
            rules.require_same_person(actor, self.casebook.authorisation(order_id)[0].officer)
            lapses.apply(self.casebook, self.vault, order_id, now_us)
            case = self.casebook.case(task_id)
            rules.require_fetched(case.task)
            rules.require_same_person(actor, case.task.officer)
            delivery, revision = self._kept(case.task)
            rules.require_unacknowledged(delivery)
            opening = delivery.cover.opening if delivery.cover else ""
            approval = self._signed(actor, ACKNOWLEDGE, task_id, opening, signed)
            after = replace(delivery, acknowledgement=approval.as_body(), acknowledged_at_us=now_us)
            entry = entry_of("acknowledged", actor, case.authorisation, case.task, approval=approval)
            self.casebook.commit([*case.puts(case.task), put(after, revision)], entry)
        return after

    def _result(self, case: Case, now_us: int) -> tuple[Delivery, int, Recipient, bytes]:
        """Return the delivery on file with its manifest and recipient, once they are this task's and of today."""
        recipient = recipient_of(self._store, case.authorisation, now_us)
        delivery, revision = self._kept(case.task)
        manifest = self.vault.read(delivery.id, MANIFEST)
        require_manifest(case.task, manifest)
        rules.require_recipient(delivery, recipient.authority, envelope.fingerprint(recipient.certificate))
        return delivery, revision, recipient, manifest

    def _kept(self, task: Task) -> tuple[Delivery, int]:
        """Return the task's delivery and its revision, as long as it is kept."""
        delivery, revision = self.casebook.delivery(task.delivery_id or "")
        rules.require_result(task, delivery)
        return delivery, revision

    def _cover(self, case: Case, delivery: Delivery, recipient: Recipient, manifest: bytes, now_us: int) -> Cover:
        """Make, enclose and keep the cover of a release."""
        task = case.task
        receipt: dict[str, Any] = {
            "delivery": {"id": delivery.id, "run": task.runs, "searched_at": to_text(delivery.made_at_us)},
            "released_at": to_text(now_us),
            "nonce": secrets.token_hex(32),
            "certificate_sha256": delivery.certificate_sha256,
            "confirmation": _confirmed(case.authorisation),
            "persons": {
                "officer": task.officer.as_body(),
                "case_handler": task.case_handler.as_body() if task.case_handler else None,
            },
            "approvals": {
                "request": self._shown(task.request_approval),
                "release": self._shown(task.release_approval),
            },
            "checkpoint": self._store.audit.checkpoint(),
            "evidence": None if delivery.evidence is None else dict(delivery.evidence),
        }
        page = summary.page(orjson.loads(manifest), receipt, hashlib.sha256(manifest).hexdigest())
        data, opening = package.cover(manifest, receipt, page, self.vault.signing_key())
        closed = envelope.enclose(data, recipient.certificate)
        self.vault.keep(delivery.id, cover_name(opening), closed)
        return Cover(opening, len(closed), hashlib.sha256(closed).hexdigest())

    def _shown(self, approval: Approval | None) -> dict[str, Any] | None:
        """Return an approval with the key under which it verifies."""
        if approval is None:
            return None
        person = persons.find_active(self._store, approval.by.person_id)
        return {**approval.as_body(), "public_key": person.public_key if person else None}


def require_manifest(task: Task, manifest: bytes) -> None:
    """The result at hand is the one whose release was approved, down to each part's digest.

    Raises:
        ProcedureError: reason `delivery-digest`.
    """
    if hashlib.sha256(manifest).hexdigest() != task.result_digest:
        raise ProcedureError("the result is not the one that was released", reason="delivery-digest")


def require_same_law(case: Case, manifest: bytes) -> None:
    """A result is searched, cut and enclosed by the law of its order's day; an extension may be of another law's.

    Raises:
        ProcedureError: reason `law-changed`.
    """
    if orjson.loads(manifest)["order"]["basis"]["version"] != case.basis.version:
        raise ProcedureError(
            "the result is of an earlier version of the legal basis than the order is now",
            reason="law-changed",
            hint="the officer registers it again",
        )


def _confirmed(authorisation: Authorisation) -> dict[str, Any] | None:
    """Return which decision confirmed an emergency; None as long as none did, and of other orders."""
    if authorisation.confirmation is None:
        return None
    decision = authorisation.confirmation.decision
    return {
        "reference": decision.reference,
        "decided_on": decision.decided_on.isoformat(),
        "decided_by": str(decision.decided_by),
        "document_sha256": decision.sha256,
        "brought_by": authorisation.confirmation.by.as_body(),
        "at": to_text(authorisation.confirmation.at_us),
    }
