"""How many requests of one role run at once: a role that asks for much waits for itself and not before the others.

The threads that answer people are shared. So that no role has all of them, one of its requests begins when fewer than
its share run; the next ones wait, and beyond `role_waiting_max` they are refused. What a request may hold in memory is
bounded (`api.billing`, `api.disclosure.sliced_scan`), so its role's share bounds the role's memory as well.

A request has its turn from when its body is there until its answer begins: who sends or reads slowly keeps nobody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from api.people.auth import Principal, PrincipalKind
from api.people.rates import AUTHORITY
from api.people.roles import Role
from api.settings import Settings

NAMES: Final = (*(role.value for role in Role), AUTHORITY)


def at_once(settings: Settings) -> dict[str, int]:
    """Return how many requests of every role, and of authorities' systems, run at once."""
    return {name: getattr(settings, f"{name.replace('-', '_')}_at_once") for name in NAMES}


class RoleTurns:
    """The turns of every role; used from one event loop."""

    def __init__(self, limits: Mapping[str, int], waiting_max: int) -> None:
        self._limits, self._waiting_max = limits, waiting_max
        self._free = {role: asyncio.Semaphore(limit) for role, limit in limits.items()}
        self._waiting = dict.fromkeys(limits, 0)

    def role_of(self, principal: Principal) -> str | None:
        """Return whose turn a caller needs, of several roles the one that runs most; None: nobody's."""
        if principal.kind is PrincipalKind.AUTHORITY:
            return AUTHORITY
        if principal.kind is not PrincipalKind.PERSON:
            return None
        return max(principal.roles, key=lambda role: (self._limits[role], role), default=None)

    async def run(self, role: str, work: Callable[[Callable[[], None]], Awaitable[None]]) -> bool:
        """Wait for a turn and do the work, which may give the turn back early; False, undone, when too many wait."""
        free = self._free[role]
        if free.locked() and self._waiting[role] >= self._waiting_max:
            return False
        self._waiting[role] += 1
        try:
            await free.acquire()
        finally:
            self._waiting[role] -= 1
        is_held = True

        def give_back() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                free.release()

        try:
            await work(give_back)
        finally:
            give_back()
        return True
