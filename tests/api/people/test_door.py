"""The door in front of every route: how many people it lets in at a time, what it reads, and which forms it takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from api.access_middleware import _whole
from api.app import create_app
from api.people.auth import Principal, PrincipalKind
from api.people.credential_fast_path import HEADER_CHARS_MAX
from api.people.oidc import TOKEN_CHARS_MAX
from api.settings import Settings
from tests.api.world import UNHURRIED, World, make_world
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S, until


def test_no_more_people_are_let_in_than_there_are_places_and_no_delivery_waits_for_one(
    tmp_path: Path, clock: FixedClock
) -> None:
    settings = Settings(search_workers=1, search_queue_max=1, **UNHURRIED)
    with make_world(tmp_path, clock, settings) as world, ThreadPoolExecutor(2) as pool:
        custodian, switch = world.as_person("custodian-1"), world.switch("pbx-east")
        begun, go_on = list[int](), threading.Event()

        async def held() -> AsyncIterator[bytes]:
            begun.append(1)
            await asyncio.to_thread(go_on.wait, PATIENCE_S)
            yield b"{}"

        asked = [pool.submit(world.http.post, "/v1/credentials", content=held(), headers=custodian) for _ in range(2)]
        try:
            until(lambda: len(begun) == 2, "the places are not taken")
            refused = world.http.get("/v1/persons", headers=custodian)
            assert (refused.status_code, "no more requests" in refused.text) == (503, True)
            assert world.deliver(switch).status_code == 200
            assert world.http.get("/v1/health").status_code == 200
        finally:
            go_on.set()
        assert [one.result(PATIENCE_S).status_code for one in asked] == [422, 422]
        assert world.http.get("/v1/persons", headers=custodian).status_code == 200


@pytest.mark.parametrize("kind", [kind for kind in PrincipalKind if kind is not PrincipalKind.PERSON])
def test_whoever_the_door_takes_a_signature_for_only_a_person_opens_a_session(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: PrincipalKind
) -> None:
    async def recognised(*_: object) -> Principal:
        return Principal("custodian-1", frozenset({"custodian"}), "k", frozenset(), kind)

    monkeypatch.setattr(world.http.app.state.authenticator, "authenticate", recognised)
    answer = world.http.post("/v1/sessions", headers={"Authorization": "Lagrum x"})
    assert (answer.status_code, "token" in answer.json()) == (403, False)


def _given(messages: Iterable[Any]) -> Any:
    left = iter(messages)

    async def receive() -> Any:
        message = next(left)
        if isinstance(message, Exception):
            raise message
        return message

    return receive


def test_a_body_is_given_again_as_it_came() -> None:
    came = [{"body": b"a", "more_body": True}, {"body": b"b"}, {"type": "http.disconnect"}]

    async def read() -> list[Any]:
        again = await _whole(_given(came))
        return [await again() for _ in came]

    assert asyncio.run(read()) == came


def test_a_body_that_was_refused_is_not_asked_for_again() -> None:
    """Who was too slow once does not get the whole time twice."""
    refusal = HTTPException(400)

    async def read() -> Any:
        again = await _whole(_given([{"body": b"a", "more_body": True}, refusal, {"body": b"b"}]))
        assert (await again())["body"] == b"a"
        return await again()

    with pytest.raises(HTTPException) as refused:
        asyncio.run(read())
    assert refused.value is refusal


def test_a_server_that_starts_and_stops_is_told_that_it_may(world: World) -> None:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message["type"])

    app = create_app(world.store, settings=Settings(**UNHURRIED))
    asyncio.run(app({"type": "lifespan"}, _given([{"type": f"lifespan.{it}"} for it in ("startup", "shutdown")]), send))
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize(
    ("form", "most"),
    [("Bearer {}", HEADER_CHARS_MAX), ("Digest {}", HEADER_CHARS_MAX), ("Bearer a.b.{}", TOKEN_CHARS_MAX)],
)
def test_what_is_longer_than_any_form_is_not_looked_at(world: World, form: str, most: int) -> None:
    told = []
    for length in (most, most + 1):
        header = form.format("x" * (length - len(form.format(""))))
        assert len(header) == length
        answer = world.http.get("/v1/persons", headers={"Authorization": header})
        assert answer.status_code == 401
        told.append("documented form" in answer.json()["detail"])
    assert told == [False, True]
