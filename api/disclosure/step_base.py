"""What every step of the procedure stands on: who acts, the case at hand, and the approvals on file, checked anew."""

from __future__ import annotations

from typing import Final

from api.disclosure import lapses, rules
from api.disclosure.casebook import Case, Casebook
from api.disclosure.model import Actor, Approval, Authorisation, Signatory, Task, request_digest
from api.disclosure.vault import Vault
from api.people import authorities, persons
from api.people.signing import Statement
from schemas.legal_bases import LegalBasis
from schemas.legal_terms import Draws
from store import Store
from store.clock import to_date, to_datetime

APPROVE_REQUEST: Final = "disclosure.approve"
APPROVE_RELEASE: Final = "disclosure.release"


class StepBase:
    """The store, its cases and its packages, and the checks that several steps share."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.casebook = Casebook(store)
        self.vault = Vault(store)

    def _enter(self, actor: Actor, *roles: str) -> None:
        """Return when the actor may take steps of these roles at all."""
        rules.require_any_role(actor, roles)
        rules.require_separate_duties(actor)
        rules.require_enrolled(actor, self.casebook.enrolled(actor.person_id))

    def _live(self, actor: Actor, authorisation_id: str, now_us: int) -> tuple[Authorisation, int]:
        """Return an authorisation and its revision, once time has done to it what it does and it still stands.

        Whose it is comes before what became of it: an officer learns nothing of another's case, not even its state.
        """
        if rules.OFFICER in actor.roles:
            rules.require_same_person(actor, self.casebook.authorisation(authorisation_id)[0].officer)
        return self._standing(authorisation_id, now_us)

    def _standing(self, authorisation_id: str, now_us: int) -> tuple[Authorisation, int]:
        lapses.apply(self.casebook, self.vault, authorisation_id, now_us)
        authorisation, revision = self.casebook.authorisation(authorisation_id)
        rules.require_confirmed(authorisation, now_us)
        rules.require_unexpired(authorisation, now_us)
        return authorisation, revision

    def _open(self, actor: Actor, role: str, task_id: str, now_us: int) -> Case:
        """Return the case of a step, once the actor may take such steps at all and the authorisation has not lapsed."""
        self._enter(actor, role)
        task, _ = self.casebook.task(task_id)
        self._live(actor, task.authorisation_id, now_us)
        return self.casebook.case(task_id)

    def _require_officer(self, actor: Actor, authority_id: str, now_us: int) -> authorities.Authority:
        """Return the registered authority in force to which the officer belongs."""
        person = persons.get(self._store, actor.person_id)
        return authorities.require_officer(self._store, person, authority_id, now_us)

    def _require_reach(self, basis: LegalBasis, task: Task, now_us: int) -> None:
        """A basis that draws on the operator's own purposes reaches no further back than they do."""
        if basis.draws_on is not Draws.DUTY:
            purpose = self._store.policies.current().in_force(to_date(now_us)).window(str(basis.draws_on))
            rules.require_reach(purpose.until(to_date(task.window.start_us)) > to_datetime(now_us))

    def _require_parties(self, case: Case, now_us: int) -> None:
        """Who asked and who checked are still in office, and the authority is one that asks under the basis."""
        self._require_in_office(case.task.officer, rules.OFFICER)
        self._require_in_office(case.task.case_handler, rules.CASE_HANDLER)
        authority = authorities.require(self._store, case.authorisation.authority, now_us)
        rules.require_asker(case.basis, authority.terms.kind)

    def _require_granted(self, case: Case, now_us: int) -> None:
        """Everything that a search and its result stand on, checked anew at every step from (5) on."""
        task = case.task
        rules.require_approved(case.authorisation)
        rules.require_three_persons(task, task.approver)
        rules.require_call_back(case.authorisation, task)
        rules.require_order(case.basis, case.authorisation, task, now_us)
        authority = authorities.require(self._store, case.authorisation.authority, now_us)
        rules.require_asker(case.basis, authority.terms.kind)
        self._require_in_office(task.officer, rules.OFFICER)
        self._require_approval(task, request_digest(case.authorisation, task))

    def _require_approval(self, task: Task, digest: str) -> None:
        rules.require_signed(
            task.request_approval,
            action=APPROVE_REQUEST,
            case=task.id,
            digest=digest,
            public_key=self._key_of(task.request_approval),
        )

    def _require_in_office(self, signatory: Signatory | None, role: str) -> None:
        held = self.casebook.enrolled(signatory.person_id) if signatory else None
        rules.require_in_office(signatory, held, role)

    def _require_released(self, task: Task) -> None:
        rules.require_three_persons(task, task.release_approval.by if task.release_approval else None)
        rules.require_signed(
            task.release_approval,
            action=APPROVE_RELEASE,
            case=task.id,
            digest=task.result_digest or "",
            public_key=self._key_of(task.release_approval),
        )

    def _key_of(self, approval: Approval | None) -> bytes | None:
        return self.casebook.public_key(approval.by.person_id) if approval else None

    def _signed(self, actor: Actor, action: str, case: str, digest: str, signed: persons.Approval) -> Approval:
        """Return the approval to keep, once its signature over what is on file is the actor's, and fresh."""
        person = persons.verify_approval(
            self._store, actor.person_id, action=action, case=case, digest=digest, approval=signed
        )
        approval = Approval(Statement(action, case, digest, signed.time), signed.signature, actor.signatory)
        rules.require_signed(approval, action=action, case=case, digest=digest, public_key=person.public_bytes)
        return approval
