from __future__ import annotations

import asyncio
import errno
import json

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from api import problems
from api.problem_kinds import KINDS, to_error
from schemas import errors
from schemas.errors import BusyError, InputError, LagrumError, ProcedureError

LEAVES = [
    getattr(errors, name)
    for name in dir(errors)
    if isinstance(getattr(errors, name), type)
    and issubclass(getattr(errors, name), LagrumError)
    and getattr(errors, name) is not LagrumError
]


def _make(kind: type[LagrumError]) -> LagrumError:
    return ProcedureError("no", reason="state", hint="h") if kind is ProcedureError else kind("no", hint="h")


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_goes_over_and_comes_back_as_itself(kind: type[LagrumError]) -> None:
    answer = problems.from_error(_make(kind))
    assert answer.media_type == "application/problem+json"
    body = json.loads(bytes(answer.body))
    assert body["status"] == answer.status_code >= 400
    back = to_error(answer.status_code, body)
    assert type(back) is kind
    assert (back.message, back.hint) == ("no", "h")


def test_the_table_knows_every_leaf() -> None:
    assert {kind.error for kind in KINDS} == set(LEAVES)


@pytest.mark.parametrize(("reason", "status"), [("role", 403), ("same-person", 403), ("stale", 409), ("state", 409)])
def test_who_may_not_is_403_and_when_not_is_409(reason: str, status: int) -> None:
    answer = problems.from_error(ProcedureError("no", reason=reason))
    assert answer.status_code == status
    back = to_error(status, json.loads(bytes(answer.body)))
    assert isinstance(back, ProcedureError)
    assert back.reason == reason


def test_try_again_says_when() -> None:
    answer = problems.from_error(BusyError("full"))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_a_position_goes_over() -> None:
    back = to_error(400, json.loads(bytes(problems.from_error(InputError("bad", position=7)).body)))
    assert isinstance(back, InputError)
    assert back.position == 7


def test_an_unknown_answer_is_still_an_error_of_the_tree() -> None:
    assert isinstance(to_error(502, {}), LagrumError)
    assert isinstance(to_error(503, {}), BusyError)


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int
    accounts: dict[str, int] = {}


def test_a_validation_problem_echoes_neither_values_nor_names_that_were_sent() -> None:
    secret = "46700000001"
    with pytest.raises(ValidationError) as caught:
        _Sent.model_validate({"number": f"x{secret}", f"f{secret}": 1, "accounts": {f"a{secret}": "b"}})
    errors_found = [{**error, "loc": ("body", *error["loc"])} for error in caught.value.errors()]
    answer = problems.from_validation(errors_found)
    assert answer.status_code == 422
    assert secret not in bytes(answer.body).decode()
    assert len(json.loads(bytes(answer.body))["errors"]) == 3


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 503), (errno.EIO, 503), (errno.ENOENT, 500)])
def test_a_full_or_failing_disk_is_busy_and_any_other_system_error_is_a_bug(number: int, status: int) -> None:
    app = FastAPI()
    problems.install(app)

    @app.post("/v1/cdrs")
    def deliver() -> None:
        raise OSError(number, "a secret path")

    async def ask() -> Response:
        transport = ASGITransport(app, raise_app_exceptions=False)
        async with AsyncClient(transport=transport, base_url="http://lagrum") as client:
            return await client.post("/v1/cdrs")

    answer = asyncio.run(ask())
    assert answer.status_code == status
    assert "secret" not in answer.text
    assert (answer.headers.get("retry-after") == "1") is (status == 503)
