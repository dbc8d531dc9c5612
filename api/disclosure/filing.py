"""Steps 1 and 2: the officer files what was decided, and registers tasks under it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from api.disclosure import rules
from api.disclosure.casebook import Case, entry_of, kept, new_id, put
from api.disclosure.model import AUTHORISATION, TASK, Actor, Authorisation, Task, Window
from api.disclosure.orders import Order, WrittenTarget, normalised
from api.disclosure.states import AuthorisationState, Stage
from api.disclosure.step_base import StepBase
from schemas.fields import Category
from schemas.legal_bases import basis_on
from store import Put

_HOUR_US: Final = 3_600_000_000
Beside = Callable[[str], Sequence[Put]]
"""What a door keeps with a new case, given its id: an authority's own name of it, for one."""


def no_writes(_case: str) -> Sequence[Put]:
    """Keep nothing beside a new case."""
    return ()


class Filing(StepBase):
    """The officer's first two steps."""

    def authorise(self, actor: Actor, order: Order, *, beside: Beside = no_writes) -> Authorisation:
        """(1) File an authorisation, with the decision's document; `beside` names writes of the same transaction."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("authorise", "", actor, {"reference": order.decision_reference}):
            self._enter(actor, rules.OFFICER)
            rules.require_reference(order.authority, order.country, order.decision_reference)
            authority = self._require_officer(actor, order.authority, now_us)
            rules.require_decided(order.decided_on, now_us)
            rules.require_source(order.source)
            basis = basis_on(order.basis, order.decided_on)
            rules.require_discloses(basis)
            rules.require_preserving(basis, order.preservation)
            rules.require_asker(basis, authority.terms.kind)
            rules.require_decider(basis, order.decided_by, emergency=order.emergency)
            hours = basis.emergency_path().confirm_hours if order.emergency else None
            item = Authorisation(
                id=new_id(order.country, AUTHORISATION),
                state=AuthorisationState.AWAITING_APPROVAL,
                basis_id=basis.id,
                basis_version=basis.version,
                decision_reference=order.decision_reference.strip(),
                decided_on=order.decided_on,
                decided_by=order.decided_by,
                authority=authority.authority_id,
                authority_name=authority.terms.name,
                country=order.country,
                targets=normalised(order.targets, order.country),
                window=order.window,
                categories=basis.categories if order.categories is None else order.categories,
                expires_at_us=order.expires_at_us,
                officer=actor.signatory,
                filed_at_us=now_us,
                emergency=order.emergency,
                is_test=order.is_test,
                preservation=None if order.preservation is None else order.preservation.strip(),
                confirm_by_us=None if hours is None else now_us + hours * _HOUR_US,
            )
            rules.require_targets(basis, item.targets)
            rules.require_window(basis, item.window)
            rules.require_categories(basis, item.categories)
            rules.require_unexpired(item, now_us)
            document, decision = kept(item, order.source)
            item = replace(item, decisions=(decision,))
            # (1)
            self.casebook.commit([put(item, 0), document, *beside(item.id)], entry_of("authorised", actor, item))
        return item

    def register(
        self,
        actor: Actor,
        authorisation_id: str,
        *,
        targets: Sequence[WrittenTarget] | None = None,
        window: Window | None = None,
        categories: frozenset[Category] | None = None,
        beside: Beside = no_writes,
    ) -> Task:
        """(2) Register a task; what is not named is the authorisation's. `beside` as for `authorise`."""
        now_us = self._store.clock.now_us()
        with self.casebook.refusals("register", authorisation_id, actor):
            self._enter(actor, rules.OFFICER)
            authorisation, revision = self._live(actor, authorisation_id, now_us)
            authority = self._require_officer(actor, authorisation.authority, now_us)
            rules.require_live(authorisation)
            basis = basis_on(authorisation.basis_id, authorisation.decided_on)
            rules.require_asker(basis, authority.terms.kind)
            deadline = basis.deadline_of(emergency=authorisation.emergency)
            reached, span, kinds = authorisation.scope
            task = Task(
                id=new_id(authorisation.country, TASK),
                authorisation_id=authorisation.id,
                stage=Stage.REGISTERED,
                targets=reached if targets is None else normalised(targets, authorisation.country),
                window=window or span,
                categories=kinds if categories is None else categories,
                salt=secrets.token_hex(32),
                officer=actor.signatory,
                registered_at_us=now_us,
                due_at_us=None if deadline is None else deadline.due_us(now_us),
            )
            case = Case(task, 0, authorisation, revision)
            rules.require_order(case.basis, authorisation, task, now_us)
            self._require_reach(case.basis, task, now_us)
            # (2)
            puts = [*case.puts(task), *beside(task.id)]
            self.casebook.commit(puts, entry_of("registered", actor, authorisation, task))
        return task
