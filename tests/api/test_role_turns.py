"""A role that asks for much waits for itself: the others are answered meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.billing import periods
from api.people.role_turns import NAMES, RoleTurns, at_once
from api.settings import Settings
from schemas.errors import ConfigurationError
from tests.api.world import World
from tests.patience import PATIENCE_S, until

PERIOD = "/v1/usage?from=2026-10-01&to=2026-11-01"


@given(asked=st.lists(st.sampled_from(["a", "b"]), max_size=30), limit=st.integers(1, 3), waiting=st.integers(1, 4))
def test_never_more_run_than_may_and_all_that_wait_get_their_turn(asked: list[str], limit: int, waiting: int) -> None:
    running, most, done = {"a": 0, "b": 0}, {"a": 0, "b": 0}, {"a": 0, "b": 0}

    async def work(role: str, give_back: Callable[[], None]) -> None:
        running[role] += 1
        most[role] = max(most[role], running[role])
        await asyncio.sleep(0)
        running[role] -= 1
        done[role] += 1
        give_back()
        give_back()  # a second time changes nothing
        await asyncio.sleep(0)

    async def all_of_them() -> list[bool]:
        turns = RoleTurns({"a": limit, "b": limit}, waiting)
        return await asyncio.gather(*(turns.run(role, partial(work, role)) for role in asked))

    began = asyncio.run(all_of_them())
    for role in ("a", "b"):
        count = asked.count(role)
        assert most[role] <= limit
        assert done[role] == sum(yes for yes, name in zip(began, asked, strict=True) if name == role)
        assert done[role] >= min(count, waiting)


def test_every_role_has_a_limit_and_by_default_none_takes_all_threads() -> None:
    settings = Settings()
    assert set(at_once(settings)) == set(NAMES)
    assert max(at_once(settings).values()) < settings.search_workers
    with pytest.raises(ConfigurationError):
        Settings(billing_at_once=0)


def test_usage_that_takes_long_keeps_billing_waiting_and_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request for usage runs, others of billing wait for it; a custodian and a log-in are answered meanwhile."""
    world.enrol("biller-1", "billing")
    billing, custodian = world.as_person("biller-1"), world.as_person("custodian-1")
    begun, go_on = list[int](), threading.Event()
    figures = periods.figures

    def slow(*words: Any, **named: Any) -> Any:
        begun.append(1)
        assert go_on.wait(PATIENCE_S)
        return figures(*words, **named)

    monkeypatch.setattr(periods, "figures", slow)
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(world.http.get, PERIOD, headers=billing) for _ in range(6)]
        try:
            until(lambda: begun, "no request for usage begins")
            assert world.http.get("/v1/persons", headers=custodian).status_code == 200
            assert world.as_person("custodian-1")
            assert len(begun) == 1
        finally:
            go_on.set()
        assert [one.result(PATIENCE_S).status_code for one in asked] == [200] * 6
    assert len(begun) == 6
