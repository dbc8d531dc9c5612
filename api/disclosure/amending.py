"""Step 11: what happens to an authorisation after it is filed: confirmation, suspension, extension."""

from __future__ import annotations

from dataclasses import replace

from api.disclosure import lapses, rules
from api.disclosure.casebook import entry_of, kept, put
from api.disclosure.model import Actor, Authorisation, Confirmation, Scope, Suspension
from api.disclosure.orders import Ruling, normalised
from api.disclosure.states import AuthorisationAction, AuthorisationState, next_authorisation
from api.disclosure.step_base import StepBase
from api.people import persons
from api.people.authorities import require_officer
from schemas.errors import ProcedureError
from schemas.legal_bases import LegalBasis, basis_on


class Amending(StepBase):
    """What the authority decides anew, and what either side stops for a while."""

    def confirm(self, actor: Actor, authorisation_id: str, ruling: Ruling) -> Authorisation:
        """(11) Bring the regular decision that confirms an emergency, as an officer of the same authority."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("confirm", authorisation_id, actor, {"reference": ruling.decision_reference}):
            self._enter(actor, rules.OFFICER)
            self._require_colleague(actor, authorisation_id)
            lapses.apply(self.casebook, self.vault, authorisation_id, now_us)
            authorisation, revision = self.casebook.authorisation(authorisation_id)
            rules.require_confirmed(authorisation, now_us)  # its own end is no end of this
            require_officer(self._store, persons.get(self._store, actor.person_id), authorisation.authority, now_us)
            state = next_authorisation(authorisation.state, AuthorisationAction.CONFIRM)
            rules.require_awaiting_confirmation(authorisation)
            rules.require_reference(authorisation.authority, authorisation.country, ruling.decision_reference)
            rules.require_decided(ruling.decided_on, now_us)
            rules.require_follows(authorisation, ruling.decided_on)
            rules.require_source(ruling.source)
            basis = basis_on(authorisation.basis_id, ruling.decided_on)
            rules.require_decider(basis, ruling.decided_by, emergency=False)
            decided = replace(
                authorisation,
                decision_reference=ruling.decision_reference.strip(),
                decided_on=ruling.decided_on,
                decided_by=ruling.decided_by,
                basis_version=basis.version,
            )
            granted = self._granted(authorisation, ruling, basis)
            document, decision = kept(decided, ruling.source)
            confirmation = Confirmation(decision, actor.signatory, now_us, granted)
            after = replace(authorisation, state=state, confirmation=confirmation)
            # (11)
            puts, entry = [put(after, revision), document], entry_of("confirmed", actor, after)
            if granted is not None:
                lapses.narrow(self.casebook, self.vault, after, puts, entry)
            else:
                self.casebook.commit(puts, entry)
        return after

    def _granted(self, authorisation: Authorisation, ruling: Ruling, basis: LegalBasis) -> Scope | None:
        """Return what a confirmation grants of an emergency, never more; None where it says nothing of that: all."""
        targets = None if ruling.targets is None else normalised(ruling.targets, authorisation.country)
        granted = (
            authorisation.targets if targets is None else targets,
            ruling.window or authorisation.window,
            authorisation.categories if ruling.categories is None else ruling.categories,
        )
        rules.require_targets(basis, granted[0])
        rules.require_window(basis, granted[1])
        rules.require_categories(basis, granted[2])
        rules.require_within(authorisation, granted)
        return granted if ruling.grants_less else None

    def _require_colleague(self, actor: Actor, authorisation_id: str) -> None:
        """Any officer of the authority may bring a confirmation; to others the case is not there."""
        officer = persons.get(self._store, actor.person_id)  # before: an unknown case costs the same as a foreign one
        filed, _ = self.casebook.authorisation(authorisation_id)
        if officer.authority != filed.authority:
            rules.require_same_person(actor, filed.officer)

    def suspend(self, actor: Actor, authorisation_id: str, reason: str) -> Authorisation:
        """(11) Let an authorisation rest: its officer, or the operator's staff."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("suspend", authorisation_id, actor):
            self._enter(actor, rules.OFFICER, rules.CASE_HANDLER, rules.APPROVER)
            rules.require_reason(reason)
            authorisation, revision = self._live(actor, authorisation_id, now_us)
            by_authority = rules.OFFICER in actor.roles
            rules.require_side(actor, authorisation.officer, cancels=by_authority)
            state = next_authorisation(authorisation.state, AuthorisationAction.SUSPEND)
            suspension = Suspension(actor.signatory, by_authority, reason, now_us)
            after = replace(authorisation, state=state, suspension=suspension)
            # (11)
            entry = entry_of("suspended", actor, after, reason=reason)
            self.casebook.commit([put(after, revision)], entry)
        return after

    def resume(self, actor: Actor, authorisation_id: str) -> Authorisation:
        """(11) Let it go on: its officer if the authority suspended it, else an approver."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("resume", authorisation_id, actor):
            self._enter(actor, rules.OFFICER, rules.APPROVER)
            authorisation, revision = self._live(actor, authorisation_id, now_us)
            waits = authorisation.awaits_confirmation
            action = AuthorisationAction.RESUME_EMERGENCY if waits else AuthorisationAction.RESUME
            state = next_authorisation(authorisation.state, action)
            rules.require_resumer(actor, authorisation.suspension, authorisation.officer)
            after = replace(authorisation, state=state, suspension=None)
            # (11)
            self.casebook.commit([put(after, revision)], entry_of("resumed", actor, after))
        return after

    def extend(self, actor: Actor, authorisation_id: str, ruling: Ruling) -> Authorisation:
        """(11) File a new decision with a later end; every task under it is approved anew, by the law of its day."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("extend", authorisation_id, actor, {"reference": ruling.decision_reference}):
            self._enter(actor, rules.OFFICER)
            authorisation, revision = self._live(actor, authorisation_id, now_us)
            self._require_officer(actor, authorisation.authority, now_us)
            state: AuthorisationState = next_authorisation(authorisation.state, AuthorisationAction.EXTEND)
            rules.require_reference(authorisation.authority, authorisation.country, ruling.decision_reference)
            rules.require_decided(ruling.decided_on, now_us)
            rules.require_follows(authorisation, ruling.decided_on)
            if ruling.grants_less:
                raise ProcedureError("an extension is of the whole authorisation", reason="not-whole")
            rules.require_later_end(authorisation, ruling.expires_at_us)
            rules.require_source(ruling.source)
            basis = basis_on(authorisation.basis_id, ruling.decided_on)
            rules.require_decider(basis, ruling.decided_by, emergency=False)
            rules.require_targets(basis, authorisation.targets)
            rules.require_window(basis, authorisation.window)
            rules.require_categories(basis, authorisation.categories)
            after = replace(
                authorisation,
                state=state,
                decision_reference=ruling.decision_reference.strip(),
                decided_on=ruling.decided_on,
                decided_by=ruling.decided_by,
                basis_version=basis.version,
                expires_at_us=ruling.expires_at_us or authorisation.expires_at_us,
            )
            document, decision = kept(after, ruling.source)
            after = replace(after, decisions=(*authorisation.decisions, decision))
            # (11)
            self.casebook.commit([put(after, revision), document], entry_of("extended", actor, after))
        return after
