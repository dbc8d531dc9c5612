"""An officer who asks for a case that there is not, and for another's, costs the same and reads the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from api.disclosure import views
from api.disclosure.model import Actor
from api.people.persons import Approval
from schemas.errors import LagrumError
from store import documents
from store.clock import to_text
from tests.api.disclosure.conftest import OTHER_AUTHORITY, Court

NO_ORDER, NO_TASK = "SE-A-{}", "SE-T-{}"
SIGNED: Final = Approval(to_text(0), "AA==")
Act = Callable[[Court, Actor, str], Any]
ON_ORDERS: Final[dict[str, Act]] = {
    "show": lambda c, a, case: views.show(c.store, a, case),
    "source": lambda c, a, case: views.source(c.store, a, case),
    "register": lambda c, a, case: c.procedure.register(a, case),
    "cancel": lambda c, a, case: c.procedure.cancel(a, case, "settled"),
    "confirm": lambda c, a, case: c.procedure.confirm(a, case, c.ruling()),
    "extend": lambda c, a, case: c.procedure.extend(a, case, c.ruling()),
    "suspend": lambda c, a, case: c.procedure.suspend(a, case, "doubt"),
    "resume": lambda c, a, case: c.procedure.resume(a, case),
}
ON_TASKS: Final[dict[str, Act]] = {
    "show": ON_ORDERS["show"],
    "source": ON_ORDERS["source"],
    "cancel": ON_ORDERS["cancel"],
    "deliver": lambda c, a, case: c.procedure.deliver(a, case),
    "acknowledge": lambda c, a, case: c.procedure.acknowledge(a, case, SIGNED),
}


def work(court: Court, act: Act, case: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int, str]:
    """The statements of a refusal, how many documents were opened for it, and what it says."""
    asked: list[str] = []
    opened = 0
    kind, unseal = type(court.store.catalog), documents.unseal
    with monkeypatch.context() as patch:
        query = kind.query

        def noted(catalog: Any, sql: str, parameters: Any = ()) -> Any:
            asked.append(sql)
            return query(catalog, sql, parameters)

        def counted(*arguments: Any) -> bytes:
            nonlocal opened
            opened += 1
            return unseal(*arguments)

        patch.setattr(kind, "query", noted)
        patch.setattr(documents, "unseal", counted)
        with pytest.raises(LagrumError) as refusal:
            act(court, court.actor("officer-9"), case)
    return asked, opened, refusal.value.message


@pytest.mark.parametrize("step", ON_ORDERS)
def test_orders(shared_court: Court, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    foreign = _stranger(shared_court).emergency().authorisation_id
    expected = work(shared_court, ON_ORDERS[step], foreign, monkeypatch)
    for end in ("0" * 16, "7" * 16, "f" * 16):
        assert work(shared_court, ON_ORDERS[step], NO_ORDER.format(end), monkeypatch) == expected


@pytest.mark.parametrize("step", ON_TASKS)
def test_tasks(shared_court: Court, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    foreign = _stranger(shared_court).released().id
    expected = work(shared_court, ON_TASKS[step], foreign, monkeypatch)
    for end in ("0" * 16, "7" * 16, "f" * 16):
        assert work(shared_court, ON_TASKS[step], NO_TASK.format(end), monkeypatch) == expected


def test_a_document_is_found_or_another_is_read(court: Court) -> None:
    nearest = court.store.documents.nearest
    assert nearest("authorisation", NO_ORDER.format("0" * 16)) is None
    case = court.file().id
    for asked in (case, NO_ORDER.format("0" * 16), NO_ORDER.format("f" * 16)):
        found = nearest("authorisation", asked)
        assert found is not None and found.id == case


def _stranger(court: Court) -> Court:
    court.enrol("officer-9", "officer", authority=OTHER_AUTHORITY)
    return court
