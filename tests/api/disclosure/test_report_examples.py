"""The documented answers of worklist and reports have the members of the real ones."""

from __future__ import annotations

from typing import Any, Final

import pytest

from api.app import create_app
from api.client import Client
from api.settings import Settings
from tests.api.disclosure.conftest import Court
from tests.api.disclosure.test_worklist import delivered
from tests.api.world import running

REPORTS: Final = "/v1/disclosure/reports"
ASKED: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "/v1/disclosure/worklist": ("approver-1", {"mine": "false"}),
    f"{REPORTS}/transparency": ("dpo-1", {"year": "2026", "exact": "true"}),
    f"{REPORTS}/costs": ("billing-1", {"year": "2026"}),
    f"{REPORTS}/look-ups": ("dpo-1", {"from": "2026-11-01", "to": "2026-12-01", "person": "handler-1"}),
}


def is_within(example: Any, real: Any) -> bool:
    """Tell whether every member of an example is there, of a list those of its first item."""
    if isinstance(example, dict) and isinstance(real, dict):
        named = set(example) - {"viewed"}  # which look-ups there were differs
        return named <= set(real) and all(is_within(example[name], real[name]) for name in named)
    if isinstance(example, list) and isinstance(real, list):
        return not example or not real or is_within(example[0], real[0])
    return True


@pytest.mark.parametrize("path", ASKED)
def test_the_documented_answer_is_that_of_the_service(shared_court: Court, path: str) -> None:
    court = shared_court
    court.released()
    person, query = ASKED[path]
    document = create_app(court.store, settings=Settings(port=0)).openapi()
    example = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    with running(court.store, Settings(port=0)), Client.local(court.store.root, court.clock) as client:
        client.log_in(court.keys[person])
        real = client.get(path, **query)
    assert is_within(example, real)
    assert all(real[name] is None for name in set(real) - set(example))  # the document leaves out what is null


def test_the_documented_notice_is_that_of_the_service(court: Court) -> None:
    task = delivered(court)
    court.clock.advance(days=31)
    document = create_app(court.store, settings=Settings(port=0)).openapi()
    path = "/v1/disclosure/tasks/{task_id}/notice"
    example = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    with running(court.store, Settings(port=0)), Client.local(court.store.root, court.clock) as client:
        client.log_in(court.keys["handler-1"])
        real = client.post(path.format(task_id=task.id))
    assert is_within(example, real)
    assert set(real) - set(example) == {"reason"}
