"""Cases on file, and the log of every step and refusal: the shell between the guards and the store.

A step changes documents and writes its audit entry in one transaction of the store. Public parts of entries hold ids,
persons' ids, keys' ids and stable words; targets, windows, references and counts stand in the secret part, which only
auditors open.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from api.disclosure.deliveries import Delivery
from api.disclosure.model import AUTHORISATION, DECISION, DELIVERY, TASK, Actor, Approval, Authorisation, Decision, Task
from api.disclosure.orders import SourceDocument
from api.disclosure.rules import CASES_HINT, NO_SUCH_CASE
from api.people import persons
from schemas.errors import ConfigurationError, InputError, IntegrityError, NotFoundError, ProcedureError
from schemas.legal_bases import LegalBasis, basis_on
from store import Store
from store.audit import AuditEntry
from store.documents import Document, Put

_ID: Final = re.compile(r"[A-Z]{2}-(A|T|D)-[0-9a-f]{16}")
_LETTERS: Final = {AUTHORISATION: "A", TASK: "T", DELIVERY: "D"}
_KINDS: Final = {letter: kind for kind, letter in _LETTERS.items()}


def new_id(country: str, kind: str) -> str:
    """Return a new identifier of the standard's pattern `CC-…-…` (ETSI TS 103 280, LDID)."""
    return f"{country}-{_LETTERS[kind]}-{secrets.token_hex(8)}"


def kind_of(case: str) -> str | None:
    """Return the kind of document that an identifier names; None when it is no identifier of ours."""
    match = _ID.fullmatch(case)
    return _KINDS[match[1]] if match else None


@dataclass(frozen=True, slots=True)
class Case:
    """A task with its authorisation, and the revisions on which a step decides."""

    task: Task
    revision: int
    authorisation: Authorisation
    authorisation_revision: int

    @property
    def basis(self) -> LegalBasis:
        """The law of the decision's day, which has to be what was filed.

        Raises:
            ProcedureError: reason `basis-changed`: the table of bases now tells another version for that day.
        """
        basis = basis_on(self.authorisation.basis_id, self.authorisation.decided_on)
        if basis.version != self.authorisation.basis_version:
            raise ProcedureError("the legal basis of that day is not the one on file", reason="basis-changed")
        return basis

    def puts(self, task: Task, authorisation: Authorisation | None = None) -> list[Put]:
        """Return the writes of a step.

        The authorisation is always among them: a step and a cancellation at the same time cannot both succeed.
        """
        return [put(task, self.revision), put(authorisation or self.authorisation, self.authorisation_revision)]


class Casebook:
    """Loads and keeps the documents of cases."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def authorisation(self, case: str) -> tuple[Authorisation, int]:
        """Return an authorisation and its revision."""
        document = self._get(AUTHORISATION, case)
        return Authorisation.from_body(document.body), document.revision

    def task(self, case: str) -> tuple[Task, int]:
        """Return a task and its revision."""
        document = self._nearest(TASK, case)
        if document is not None and document.id != case:
            # Whoever is refused another's task has caused the reading of its authorisation; here is another one's.
            self._nearest(AUTHORISATION, str(document.body["authorisation_id"]))
        found = _found(document, case)
        return Task.from_body(found.body), found.revision

    def case(self, task_id: str) -> Case:
        """Return a task with its authorisation."""
        task, revision = self.task(task_id)
        return Case(task, revision, *self.authorisation(task.authorisation_id))

    def delivery(self, case: str) -> tuple[Delivery, int]:
        """Return a delivery and its revision."""
        document = self._get(DELIVERY, case)
        return Delivery.from_body(document.body), document.revision

    def authorisations(self) -> list[Authorisation]:
        """Return every authorisation, oldest first."""
        found = [Authorisation.from_body(document.body) for document in self._store.documents.list(AUTHORISATION)]
        return sorted(found, key=lambda item: (item.filed_at_us, item.id))

    def tasks(self) -> list[Task]:
        """Return every task, oldest first."""
        found = [Task.from_body(document.body) for document in self._store.documents.list(TASK)]
        return sorted(found, key=lambda item: (item.registered_at_us, item.id))

    def deliveries(self) -> list[tuple[Delivery, int]]:
        """Return every delivery with its revision."""
        found = self._store.documents.list(DELIVERY)
        return [(Delivery.from_body(document.body), document.revision) for document in found]

    def commit(self, puts: Sequence[Put], entry: AuditEntry) -> None:
        """Keep documents and their entry; at return both are durable.

        Raises:
            AuditError: the entry could not be made durable now; the change stands, its entry follows before any other,
                and the caller lets nothing out.
            ProcedureError: reason `stale`: somebody else changed the case meanwhile.
        """
        self._store.documents.commit(puts, [entry])

    def public_key(self, person_id: str) -> bytes | None:
        """Return an active person's public key; None when the person may not act."""
        person = persons.find_active(self._store, person_id)
        return person.public_bytes if person else None

    def enrolled(self, person_id: str) -> Actor | None:
        """Return a person as enrolled now: key and roles; None when the person may not act."""
        person = persons.find_active(self._store, person_id)
        return Actor(person_id, person.key_id, frozenset(str(role) for role in person.roles)) if person else None

    def document(self, decision: Decision) -> bytes:
        """Return a decision's document.

        Raises:
            IntegrityError: it is not the one whose digest is on file.
        """
        content = b64decode(self._store.documents.get(DECISION, decision.document).body["content"])
        if hashlib.sha256(content).hexdigest() != decision.sha256:
            raise IntegrityError("a decision's document is not the one that was filed")
        return content

    @contextmanager
    def refusals(self, step: str, case: str, actor: Actor, secret: Mapping[str, Any] | None = None) -> Iterator[None]:
        """Log every refusal inside, then let it out.

        Raises:
            AuditError: the refusal could not be logged; it stays a refusal.
        """
        try:
            yield
        except (ProcedureError, NotFoundError, ConfigurationError, InputError) as refusal:
            reason = refusal.reason if isinstance(refusal, ProcedureError) else _word(refusal)
            public = {"step": step, "case": case if kind_of(case) else None, "reason": reason, **who(actor)}
            entry = AuditEntry("disclosure.refused", public, dict(secret) if secret else None)
            self.commit([], entry)
            raise

    def _get(self, kind: str, case: str) -> Document:
        return _found(self._nearest(kind, case), case)

    def _nearest(self, kind: str, case: str) -> Document | None:
        """Read a case's document, or another one with the same work when there is none (`Documents.nearest`)."""
        # What is not of our pattern is not looked up, and not quoted: it may be a number typed in the wrong place.
        if kind_of(case) != kind:
            raise NotFoundError(NO_SUCH_CASE, hint=CASES_HINT)
        return self._store.documents.nearest(kind, case)


def _found(document: Document | None, case: str) -> Document:
    if document is None or document.id != case:
        raise NotFoundError(NO_SUCH_CASE, hint=CASES_HINT)
    return document


def put(item: Authorisation | Task | Delivery, expect: int) -> Put:
    """Return the write of a case document; `expect` is the revision on which the step was decided."""
    kinds = {Authorisation: AUTHORISATION, Task: TASK, Delivery: DELIVERY}
    return Put(kinds[type(item)], item.id, item.as_body(), expect)


def kept(authorisation: Authorisation, source: SourceDocument | None) -> tuple[Put, Decision]:
    """Return the write that keeps a decision's document sealed, and the decision that the authorisation then names.

    Raises:
        ConfigurationError: there is no document; the procedure refuses that before.
    """
    if source is None:
        raise ConfigurationError("the decision's document is missing")
    document = f"{authorisation.id}-{secrets.token_hex(4)}"
    body = {"media_type": source.media_type, "content": b64encode(source.content).decode("ascii")}
    decision = Decision(
        reference=authorisation.decision_reference,
        decided_on=authorisation.decided_on,
        decided_by=authorisation.decided_by,
        basis_version=authorisation.basis_version,
        expires_at_us=authorisation.expires_at_us,
        document=document,
        media_type=source.media_type,
        size_bytes=len(source.content),
        sha256=hashlib.sha256(source.content).hexdigest(),
    )
    return Put(DECISION, document, body, 0), decision


def who(actor: Actor) -> dict[str, str]:
    """Return the public words on an actor."""
    return {"person": actor.person_id, "key_id": actor.key_id}


def entry_of(
    word: str,
    actor: Actor,
    authorisation: Authorisation,
    task: Task | None = None,
    *,
    approval: Approval | None = None,
    reason: str | None = None,
) -> AuditEntry:
    """Return the entry of a step: ids and signatures in the open, the order itself for auditors only."""
    public: dict[str, Any] = {"authorisation": authorisation.id, "basis": authorisation.basis_id, **who(actor)}
    secret: dict[str, Any] = {"authorisation": authorisation.as_body()}
    if authorisation.is_test:
        public["test"] = True
    if task is not None:
        # The stage and not the state: the state of a released task tells whether anything was found.
        public |= {"task": task.id, "stage": str(task.stage)}
        secret["task"] = task.as_body()
    if approval is not None:
        public |= {"digest": approval.statement.digest, "signature": approval.signature}
    if reason is not None:
        secret["reason"] = reason
    return AuditEntry(f"disclosure.{word}", public, secret)


def _word(error: Exception) -> str:
    if isinstance(error, NotFoundError):
        return "not-found"
    return "malformed" if isinstance(error, InputError) else "configuration"
