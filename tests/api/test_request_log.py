"""No request goes unlogged: every route of the application, whoever asks and whatever is answered."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from api.people.credentials import Scope
from api.people.roles import Role
from api.request_log import DONE, REFUSED, SILENT
from store import AuditEntry, Store, files
from store.audit import StoredEntry
from store.audit_context import noting
from tests.api.disclosure.test_no_log_no_data import Fault
from tests.api.world import World

UNASKED = {("GET", "/v1/health"): "says that the process lives, to anybody", ("POST", "/v1/sessions"): "log-ins"}
"""What the door answers itself, or lets through to anybody."""
WORDS = {"from": "2026-11-01", "to": "2026-11-22", "day": "2026-11-22", "year": "2026", "account": "46701740007"}
TYPED = "46701740007"
"""A number where it belongs, and where it does not."""


def flat(found: Sequence[Any]) -> Iterator[Any]:
    for route in found:
        router = getattr(route, "original_router", None)
        yield from [route] if router is None else flat(router.routes)


def routes(app: FastAPI) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Give every route there is, documented or not, with what it asks for."""
    for route in flat(app.routes):
        assert isinstance(route, Route), route
        needed = {}
        if isinstance(route, APIRoute):
            needed = {item.alias: WORDS.get(item.alias, "1") for item in route.dependant.query_params}
        for method in route.methods or ():
            if (method, route.path) not in UNASKED:
                yield method, route.path, {name: value for name, value in needed.items() if name in WORDS or value}


def entries(store: Store, size: int) -> list[StoredEntry]:
    store.flush_outbox(required=True)
    store.audit.refresh()
    return list(store.audit.entries(size, reveal=True))


@pytest.fixture
def everybody(world: World) -> dict[str, dict[str, str]]:
    """Somebody of every role, with a session, and a switch."""
    world.enrol("handler-1", "case-handler")
    world.enrol("approver-1", "approver")
    for role in Role:
        if role not in (Role.CUSTODIAN, Role.CASE_HANDLER, Role.APPROVER):
            world.enrol(f"{role.value}-1", role.value)
    names = [name for name in world.keys if name != "custodian-2"]
    assert len(names) == len(Role)
    return {name: world.as_person(name) for name in names} | {"": world.switch("pbx-east")}


def test_every_route_leaves_an_entry_that_names_who_asked(world: World, everybody: dict[str, Any]) -> None:
    store, silent = world.store, set()
    asked = 0
    for method, path, query in routes(world.http.app):
        for person, headers in everybody.items():
            if person == "":
                continue
            own = world.log_in(person) if path.startswith("/v1/sessions") else headers
            size = store.audit.size
            url = re.sub(r"\{[a-z_]+\}", TYPED, path)
            answer = world.http.request(method, url, params=query, headers=own)
            assert answer.status_code < 500, (method, path, answer.text)
            told = entries(store, size)
            asked += 1
            if not told:
                assert answer.status_code < 400 and (method, path) in SILENT, (method, path, person)
                silent.add((method, path))
                continue
            assert any(person in str(entry.public) for entry in told), (method, path, person)
            assert not any(TYPED in str(entry.public) for entry in told), (method, path, person)
    assert asked > 500
    assert silent <= SILENT.keys()


def test_what_is_silent_is_a_route(world: World) -> None:
    found = {(method, path) for method, path, _ in routes(world.http.app)}
    assert SILENT.keys() <= found | UNASKED.keys()


def test_usage_is_told_once_a_request_with_its_account_for_auditors_only(world: World) -> None:
    world.enrol("billing-1", "billing")
    headers = world.as_person("billing-1")
    size = world.store.audit.size
    answer = world.http.get("/v1/usage", params={**WORDS}, headers=headers)
    assert answer.status_code == 200
    (entry,) = entries(world.store, size)
    assert entry.kind == DONE
    assert {name: entry.public[name] for name in ("person", "as", "request", "status")} == {
        "person": "billing-1",
        "as": "person",
        "request": "GET /v1/usage",
        "status": 200,
    }
    assert entry.secret is not None and TYPED in entry.secret["query"]


def test_a_refusal_by_role_and_a_path_that_there_is_not(world: World) -> None:
    world.enrol("billing-1", "billing")
    headers = world.as_person("billing-1")
    size = world.store.audit.size
    assert world.http.get("/v1/holds", headers=headers).status_code == 403
    assert world.http.get(f"/v1/{TYPED}", headers=headers).status_code == 404
    assert world.http.request("BREW", "/v1/holds", headers=headers).status_code == 405
    told = entries(world.store, size)
    assert [(entry.kind, entry.public["request"]) for entry in told] == [
        (REFUSED, "GET /v1/holds"),
        (REFUSED, "GET (none)"),
        (REFUSED, "(none) /v1/holds"),
    ]
    assert told[1].secret is not None and told[1].secret["path"].endswith(TYPED)


def test_a_route_that_forgets_to_log_is_logged(world: World) -> None:
    world.http.app.add_api_route("/v1/forgotten", lambda: {"said": "something"})
    headers = world.as_person("custodian-1")
    size = world.store.audit.size
    assert world.http.get("/v1/forgotten", headers=headers).status_code == 200
    (entry,) = entries(world.store, size)
    assert (entry.kind, entry.public["request"]) == (DONE, "GET /v1/forgotten")


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_without_its_entry_no_answer_leaves_and_a_refusal_stays_one(
    world: World, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    world.enrol("billing-1", "billing")
    custodian, billing = world.as_person("custodian-1"), world.as_person("billing-1")
    switch = world.switch("pbx-east")
    size = world.store.audit.size
    with monkeypatch.context() as patch:
        patch.setattr(files, "_hook", Fault(world.store.layout.audit.resolve(), error=fault))
        for path, headers in (("/v1/persons", custodian), ("/v1/usage", billing), ("/v1/sources", custodian)):
            answer = world.http.get(path, params=WORDS if path == "/v1/usage" else {}, headers=headers)
            assert answer.status_code == 503, path
            assert answer.json()["type"] == "urn:lagrum:problem:audit"
            assert set(answer.json()) <= {"type", "title", "status", "detail", "hint", "reason"}
        assert world.http.get("/v1/persons", headers=billing).status_code == 403
        assert world.deliver(switch).status_code in (200, 202)  # ingest is unaffected
    told = [entry for entry in entries(world.store, size) if entry.kind.startswith("request.")]
    assert [(entry.kind, entry.public["person"]) for entry in told] == [(REFUSED, "billing-1")]
    assert world.http.get("/v1/persons", headers=custodian).status_code == 200


def test_a_program_that_repeats_itself_does_not_fill_the_log(world: World) -> None:
    switch = world.switch("pbx-east")
    scraper = {"Authorization": f"Bearer {world.credential(scope=Scope.METRICS)['token']}"}
    size = world.store.audit.size
    for _ in range(5):
        assert world.http.get("/v1/holds", headers=switch).status_code == 403
        assert world.http.get("/v1/persons", headers=switch).status_code == 403
        assert world.http.get("/v1/holds", headers=scraper).status_code == 403
        assert world.http.get("/v1/metrics", headers=scraper).status_code == 200
    told = [entry.public["request"] for entry in entries(world.store, size)]
    assert sorted(told) == ["GET /v1/holds", "GET /v1/holds", "GET /v1/persons"]
    assert world.deliver(switch, source="elsewhere").status_code == 403
    assert [entry.kind for entry in entries(world.store, size + 3)] == [REFUSED]


def test_an_answer_to_a_program_is_never_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.http.app.add_api_route("/v1/forgotten", lambda: {"said": "something"})
    switch = world.switch("pbx-east")
    with monkeypatch.context() as patch:
        patch.setattr(files, "_hook", Fault(world.store.layout.audit.resolve(), error=errno.EIO))
        for _ in range(2):
            assert world.http.get("/v1/forgotten", headers=switch).status_code == 503
    size = world.store.audit.size
    for _ in range(2):
        assert world.http.get("/v1/forgotten", headers=switch).status_code == 200
    assert [entry.kind for entry in entries(world.store, size)] == [DONE, DONE]


def test_only_what_is_kept_counts_as_told(world: World) -> None:
    with noting() as noted:
        world.store.log(AuditEntry("test.logged", {"person": "a"}))
        world.store.documents.commit([], [AuditEntry("test.kept", {"person": "b"})])
    world.store.log(AuditEntry("test.later", {}))
    assert [entry.kind for entry in noted] == ["test.logged", "test.kept"]
