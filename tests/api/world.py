"""A store with its people behind the application, as tests of the service use it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from api import server
from api.app import create_app
from api.people import authorities, enrolment, persons
from api.people.bootstrap import create_custodians
from api.people.credentials import Scope
from api.people.persons import Approval, Enrolment
from api.people.signing import PersonKey, Statement, read_key_file, session_statement
from api.settings import Settings
from ingest import sources
from ingest.source_config import SourceConfig
from store import Store
from store.clock import to_text
from tests.api import police
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S

T = TypeVar("T")

UNHURRIED: dict[str, Any] = {item.name: 1_000_000 for item in fields(Settings) if item.name.endswith("_per_minute")}
"""The clock stands still in tests, so a role's requests of a minute never come back."""
CSV = (
    b"record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"
    b"00000000001,pbx-east-1,voice,46700000001,46700000002,2026-11-22T10:00:00Z,61\n"
    b"00000000002,pbx-east-1,voice,46700000003,46700000002,2026-11-22T10:01:00Z,62\n"
)


class Http:
    """A plain caller of the application, whose event loop runs in a thread of its own."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http")
        self._thread.start()
        self._lifespan = app.router.lifespan_context(app)
        self._run(self._lifespan.__aenter__())
        transport = ASGITransport(app, raise_app_exceptions=False, client=("192.0.2.9", 4711))
        self._client = AsyncClient(transport=transport, base_url="http://lagrum")

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def close(self) -> None:
        self._run(self._client.aclose())
        self._run(self._lifespan.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def request(self, method: str, path: str, **more: Any) -> Response:
        return self._run(self._client.request(method, path, **more))

    def get(self, path: str, **more: Any) -> Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> Response:
        return self.request("POST", path, **more)

    def put(self, path: str, **more: Any) -> Response:
        return self.request("PUT", path, **more)

    def delete(self, path: str, **more: Any) -> Response:
        return self.request("DELETE", path, **more)


@dataclass
class World:
    """Everything that a test talks to."""

    store: Store
    clock: FixedClock
    settings: Settings
    http: Http
    keys: dict[str, PersonKey] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def custodians(self) -> tuple[PersonKey, PersonKey]:
        return self.keys["custodian-1"], self.keys["custodian-2"]

    def approval(self, key: PersonKey, action: str, case: str, digest: str) -> Approval:
        time = to_text(self.clock.now_us())
        return Approval(time, key.sign(Statement(action, case, digest, time)))

    def enrolment(self, person_id: str, *roles: str, key: PersonKey | None = None) -> Enrolment:
        self.keys[person_id] = key or self.keys.get(person_id) or PersonKey.generate(person_id)
        tenant = "acme" if "tenant-admin" in roles else None
        public_key = self.keys[person_id].public_text
        authority = self.authority() if "officer" in roles else None
        return Enrolment(person_id, f"Person {person_id}", tuple(roles), public_key, tenant, authority)

    def authority(self, authority_id: str = police.POLICE, **changes: Any) -> str:
        if authorities.find(self.store, authority_id) is None:
            police.register(self.store, *self.custodians, police.terms(authority_id, **changes))
        return authority_id

    def enrol(self, person_id: str, *roles: str) -> PersonKey:
        first, second = self.custodians
        wanted = self.enrolment(person_id, *roles)
        digest = wanted.digest(self.store.store_id)
        enrolment.request_enrolment(
            self.store,
            first.person_id,
            wanted,
            self.approval(first, enrolment.ENROL_REQUEST, person_id, digest),
        )
        enrolment.confirm_enrolment(
            self.store,
            second.person_id,
            person_id,
            self.approval(second, enrolment.ENROL_CONFIRM, person_id, digest),
        )
        return self.keys[person_id]

    def challenge(self) -> dict[str, str]:
        answer = self.http.post("/v1/sessions")
        assert answer.status_code == 401
        found: dict[str, str] = answer.json()
        return found

    def proof(self, key: PersonKey, offer: dict[str, str], person_id: str | None = None) -> dict[str, str]:
        claimed = person_id or key.person_id
        statement = session_statement(offer["store"], claimed, offer["challenge"], offer["expires_at"])
        return {
            "Authorization": f'Lagrum person="{claimed}", challenge="{offer["challenge"]}", '
            f'signature="{key.sign(statement)}"'
        }

    def log_in(self, person_id: str) -> dict[str, str]:
        answer = self.http.post("/v1/sessions", headers=self.proof(self.keys[person_id], self.challenge()))
        assert answer.status_code == 201, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    def as_person(self, person_id: str) -> dict[str, str]:
        if person_id not in self.tokens:
            self.tokens[person_id] = self.log_in(person_id)["Authorization"]
        return {"Authorization": self.tokens[person_id]}

    def credential(self, *names: str, scope: Scope = Scope.INGEST, **more: Any) -> dict[str, Any]:
        for name in names:
            sources.register(self.store, SourceConfig(name), actor="test")
        body = {"scope": scope.value, "sources": list(names), **more}
        answer = self.http.post("/v1/credentials", json=body, headers=self.as_person("custodian-1"))
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def switch(self, *names: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.credential(*names)['token']}"}

    def deliver(self, headers: dict[str, str], body: Any = CSV, **params: str) -> Response:
        """Deliver and wait for the commit, as a sender does that needs the counts."""
        query = {"source": "pbx-east", "format": "csv", "wait": "true", **params}
        return self.http.post("/v1/cdrs", params=query, content=body, headers=headers)

    def push(self, headers: dict[str, str], body: Any = CSV, **params: str) -> Response:
        """Deliver and do not wait for the commit."""
        query = {"source": "pbx-east", "format": "csv", **params}
        return self.http.post("/v1/cdrs", params=query, content=body, headers=headers)

    def audit_kinds(self) -> list[str]:
        return [entry.kind for entry in self.store.audit.entries()]


@contextmanager
def make_world(root: Path, clock: FixedClock, settings: Settings | None = None) -> Iterator[World]:
    chosen = settings or Settings(**UNHURRIED)
    with Store.create(root / "root", clock=clock) as store:
        made = create_custodians(store, root / "keys")
        app = create_app(store, settings=chosen)
        http = Http(app)
        try:
            keys = {item.person_id: read_key_file(item.key_file) for item in made}
            yield World(store, clock, chosen, http, keys)
        finally:
            http.close()


@contextmanager
def running(store: Store, settings: Settings) -> Iterator[server.Listening]:
    """Serve from a thread, as the process `lagrum serve` does from its own."""
    ready = threading.Event()
    found: list[server.Listening] = []
    failures: list[BaseException] = []
    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        stopping.append((asyncio.get_running_loop(), stop))

        def listening(where: server.Listening) -> None:
            found.append(where)
            ready.set()

        await server.serve(store, settings, ready=listening, stop=stop)

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="served")
    thread.start()
    ready.wait(PATIENCE_S)
    try:
        if failures:
            raise failures[0]
        yield found[0]
    finally:
        loop, stop = stopping[0]
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def is_active(store: Store, person_id: str) -> bool:
    return persons.find_active(store, person_id) is not None
