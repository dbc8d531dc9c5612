"""What must be allowed, said a second time and otherwise: no stages and no documents, only who did what, and when.

The judge shares no line with the procedure. It keeps acts, and answers one question: may this person do this now?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

OFFICER: Final = "officer"
HANDLER: Final = "case-handler"
APPROVER: Final = "approver"
STAFF: Final = (HANDLER, APPROVER)
PREFLIGHTS: Final = 3


@dataclass(frozen=True)
class Somebody:
    """A person as enrolled: `key` names the key, which two accounts may share."""

    name: str
    key: str
    roles: frozenset[str]
    authority: str | None = None


@dataclass
class OrderSeen:
    """What happened to an order. A version is what approvals are about: an extension begins a new one."""

    officer: Somebody
    emergency: bool
    confirm_by_us: int | None
    expires_us: int
    version: int = 1
    granted: int = 0
    confirmed: bool = False
    rests_by: str = ""
    ended: bool = False
    fetched: bool = False


@dataclass
class TaskSeen:
    """What happened to a task."""

    checked_by: Somebody | None = None
    called: bool = False
    approved_by: Somebody | None = None
    approved: int = 0
    ran: bool = False
    released_by: Somebody | None = None
    fetched: bool = False
    acknowledged: bool = False
    ended: bool = False
    weighed: int = 0
    result: Mapping[str, bool] | None = None
    """Of the walk's own records those that the search owed, and whether each was restricted then."""
    stale: bool = False
    """Since the search something was corrected, so that the result must not be released any more."""
    overtaken: bool = False
    """What was corrected is in the result."""


@dataclass
class RequestSeen:
    """What happened to a person's request for the own records."""

    filed_by: Somebody | None = None
    confirmed_by: Somebody | None = None
    over_us: int = 0


@dataclass
class Judge:
    """The world, as far as it decides who may act."""

    now_us: int
    gone: set[str] = field(default_factory=set)
    authorities_gone: set[str] = field(default_factory=set)

    def in_office(self, who: Somebody | None) -> bool:
        """Whether somebody is enrolled now; an officer, for an authority in force."""
        return who is not None and who.name not in self.gone and who.authority not in self.authorities_gone

    def enters(self, who: Somebody, *roles: str, honest: bool = True) -> bool:
        """Whether somebody comes in as one of `roles`: one role, the own key, nothing lent."""
        return honest and self.in_office(who) and len(who.roles) == 1 and not who.roles.isdisjoint(roles)

    def stands(self, order: OrderSeen) -> bool:
        """Whether time has left an order alone."""
        late = order.emergency and not order.confirmed and self.now_us >= (order.confirm_by_us or 0)
        return self.now_us < order.expires_us and not late

    def is_granted(self, order: OrderSeen) -> bool:
        """Whether the operator has approved the order as it reads now, and nobody stopped it."""
        return order.granted == order.version and not order.rests_by and not order.ended

    def is_open(self, order: OrderSeen) -> bool:
        """Whether the order stands, waits or is granted."""
        return self.stands(order) and not order.rests_by and not order.ended

    @staticmethod
    def apart(*people: Somebody | None) -> bool:
        """Whether all are there, and are so many persons with so many keys."""
        there = [who for who in people if who is not None]
        return len({who.name for who in there}) == len({who.key for who in there}) == len(people)

    def owes(self, order: OrderSeen, task: TaskSeen) -> bool:
        """Whether records may be read: three persons in three roles, one approval in force, a valid basis."""
        parties = (order.officer, task.checked_by, task.approved_by)
        return (
            self.is_open(order)
            and self.is_granted(order)
            and self.apart(*parties)
            and [set(who.roles) for who in parties if who] == [{OFFICER}, {HANDLER}, {APPROVER}]
            and task.approved == order.version
            and (task.called or not order.emergency)
            and self.in_office(order.officer)
            and self.in_office(task.approved_by)
            and not task.ended
        )

    def may(self, step: str, who: Somebody, order: OrderSeen, task: TaskSeen, *, honest: bool = True) -> bool:
        """Whether `who` may do `step`; `honest`: with the own key and roles, signing what is on file."""
        allowed: bool = getattr(self, f"may_{step}")(who, order, task)
        return allowed and honest

    def may_register(self, who: Somebody, order: OrderSeen, _: TaskSeen) -> bool:
        return self.enters(who, OFFICER) and who.name == order.officer.name and self.is_open(order)

    def may_check(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        return (
            self.enters(who, HANDLER)
            and self.is_open(order)
            and task.checked_by is None
            and not task.ended
            and self.apart(who, order.officer)
            and order.officer.authority not in self.authorities_gone
        )

    def may_preflight(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        return (
            self.enters(who, APPROVER)
            and self.is_open(order)
            and task.approved_by is None
            and not task.ended
            and self.apart(order.officer, task.checked_by, who)
            and (task.called or not order.emergency)
            and self.in_office(order.officer)
            and self.in_office(task.checked_by)
            and task.weighed < PREFLIGHTS
        )

    def may_approve(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        return (
            self.enters(who, APPROVER)
            and self.is_open(order)
            and not task.ended
            and self.apart(order.officer, task.checked_by, who)
            and (task.called or not order.emergency)
            and self.in_office(order.officer)
            and self.in_office(task.checked_by)
            and not (task.approved == order.version and self.in_office(task.approved_by))
        )

    def may_run(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        return self.enters(who, HANDLER) and self.owes(order, task) and who == task.checked_by and not task.ran

    def may_explain(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        return self.may_run(who, order, task)

    def may_release(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        return (
            self.enters(who, APPROVER)
            and self.owes(order, task)
            and task.ran
            and self.apart(order.officer, task.checked_by, who)
            and self.in_office(task.checked_by)
            and not task.stale
        )

    def may_deliver(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        return (
            self.enters(who, OFFICER)
            and who == order.officer
            and self.owes(order, task)
            and task.ran
            and self.apart(order.officer, task.checked_by, task.released_by)
            and self.in_office(task.released_by)
        )

    def may_acknowledge(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        """It takes nothing, so whatever became of the order and of the operator's people stops nobody."""
        return self.enters(who, OFFICER) and who == order.officer and task.fetched and not task.acknowledged

    def may_reject_task(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        waits = task.approved_by is None or (task.ran and task.released_by is None)
        return self.enters(who, *STAFF) and self.apart(who, order.officer) and waits and not task.ended

    def may_cancel_task(self, who: Somebody, order: OrderSeen, task: TaskSeen) -> bool:
        return self.enters(who, OFFICER) and who == order.officer and task.released_by is None and not task.ended

    def may_reject_order(self, who: Somebody, order: OrderSeen, _: TaskSeen) -> bool:
        waits = order.granted != order.version and not order.rests_by and not order.ended
        return self.enters(who, *STAFF) and self.apart(who, order.officer) and waits

    def may_cancel_order(self, who: Somebody, order: OrderSeen, _: TaskSeen) -> bool:
        owed = order.emergency and not order.confirmed and order.fetched
        return self.enters(who, OFFICER) and who == order.officer and not order.ended and not owed

    def may_confirm(self, who: Somebody, order: OrderSeen, _: TaskSeen) -> bool:
        return (
            self.enters(who, OFFICER)
            and who.authority == order.officer.authority
            and self.now_us < (order.confirm_by_us or 0)
            and not order.ended
            and order.emergency
            and not order.confirmed
        )

    def may_suspend(self, who: Somebody, order: OrderSeen, _: TaskSeen) -> bool:
        own = who == order.officer if OFFICER in who.roles else self.apart(who, order.officer)
        return self.enters(who, OFFICER, *STAFF) and own and self.stands(order) and self.is_granted(order)

    def may_resume(self, who: Somebody, order: OrderSeen, _: TaskSeen) -> bool:
        sides = {
            "authority": who == order.officer,
            "operator": APPROVER in who.roles and self.apart(who, order.officer),
        }
        return (
            self.enters(who, OFFICER, APPROVER)
            and self.stands(order)
            and not order.ended
            and sides.get(order.rests_by, False)
        )

    def may_extend(self, who: Somebody, order: OrderSeen, _: TaskSeen) -> bool:
        confirmed = order.confirmed or not order.emergency
        return (
            self.enters(who, OFFICER)
            and who == order.officer
            and self.stands(order)
            and self.is_granted(order)
            and confirmed
        )

    def may_read(self, who: Somebody, order: OrderSeen, _: TaskSeen) -> bool:
        """A case, its targets and its documents; an officer the own ones."""
        return self.enters(who, *STAFF) or (self.enters(who, OFFICER) and who == order.officer)

    def may_list(self, who: Somebody, *_: object) -> bool:
        return self.enters(who, OFFICER, *STAFF)

    def may_lapsed(self, who: Somebody, *_: object) -> bool:
        return self.enters(who, APPROVER, "dpo")

    def may_ask(self, step: str, who: Somebody, seen: RequestSeen) -> bool:
        """File, confirm or answer a person's request: DPO, custodian, DPO; never anybody who knows of orders."""
        if not self.in_office(who) or ("custodian" if step == "confirm" else "dpo") not in who.roles:
            return False
        if step == "file":
            return seen.filed_by is None
        if step == "confirm":
            return self.in_office(seen.filed_by) and seen.confirmed_by is None
        return seen.confirmed_by is not None and self.now_us < seen.over_us
