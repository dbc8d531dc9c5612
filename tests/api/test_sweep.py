"""Every documented route, swept: no credentials, a switch's, and every role that has no business there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.people.roles import Role
from tests.api.world import World

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
OPEN = {("get", "/v1/health")}
ANYBODY = {
    ("get", "/v1/audit/checkpoint"),
    ("get", "/v1/audit/proofs/inclusion"),
    ("get", "/v1/audit/proofs/consistency"),
}
CUSTODIAN = {"custodian"}
REGISTER_READERS = {"custodian", "case-handler", "approver", "dpo", "auditor"}
ROLES: dict[tuple[str, str], set[str]] = {
    ("get", "/v1/metrics"): CUSTODIAN,
    ("get", "/v1/sources"): CUSTODIAN,
    ("get", "/v1/sources/{name}"): CUSTODIAN,
    ("put", "/v1/sources/{name}"): CUSTODIAN,
    ("get", "/v1/credentials"): CUSTODIAN,
    ("post", "/v1/credentials"): CUSTODIAN,
    ("delete", "/v1/credentials/{credential_id}"): CUSTODIAN,
    ("get", "/v1/persons"): {"custodian", "dpo", "auditor"},
    ("get", "/v1/persons/{person_id}"): {"custodian", "dpo", "auditor"},
    ("post", "/v1/persons"): CUSTODIAN,
    ("post", "/v1/persons/{person_id}/confirm"): CUSTODIAN,
    ("post", "/v1/persons/{person_id}/revocation"): CUSTODIAN,
    ("post", "/v1/persons/{person_id}/revocation/confirm"): CUSTODIAN,
    ("post", "/v1/persons/{person_id}/withdraw"): CUSTODIAN,
    ("get", "/v1/authorities"): REGISTER_READERS,
    ("get", "/v1/authorities/{authority_id}"): REGISTER_READERS,
    ("post", "/v1/authorities"): CUSTODIAN,
    ("post", "/v1/authorities/{authority_id}/confirm"): CUSTODIAN,
    ("post", "/v1/authorities/{authority_id}/revocation"): CUSTODIAN,
    ("post", "/v1/authorities/{authority_id}/revocation/confirm"): CUSTODIAN,
    ("post", "/v1/authorities/{authority_id}/withdraw"): CUSTODIAN,
    ("get", "/v1/persons/{person_id}/bindings"): CUSTODIAN,
    ("post", "/v1/persons/{person_id}/bindings"): CUSTODIAN,
    ("post", "/v1/persons/bindings/{binding_id}/confirm"): CUSTODIAN,
    ("post", "/v1/persons/bindings/{binding_id}/end"): CUSTODIAN,
    ("get", "/v1/logins"): {"dpo", "auditor"},
    ("get", "/v1/audit/entries"): {"auditor"},
    ("get", "/v1/audit/cases/{case}"): {"auditor"},
    ("post", "/v1/audit/completeness/{task}"): {"auditor"},
    ("get", "/v1/corrections"): CUSTODIAN,
    ("get", "/v1/corrections/{act}"): CUSTODIAN,
    ("post", "/v1/corrections/{act}/request"): CUSTODIAN,
    ("post", "/v1/corrections/{act}/confirm"): CUSTODIAN,
    ("get", "/v1/holds"): CUSTODIAN,
    ("get", "/v1/holds/{hold_id}/request"): CUSTODIAN,
    ("post", "/v1/holds/{hold_id}/request"): CUSTODIAN,
    ("post", "/v1/holds/{hold_id}/confirm"): CUSTODIAN,
    ("get", "/v1/policy"): CUSTODIAN,
    ("get", "/v1/policy/request"): CUSTODIAN,
    ("post", "/v1/policy/request"): CUSTODIAN,
    ("post", "/v1/policy/confirm"): CUSTODIAN,
    ("get", "/v1/subjects"): {"dpo", "custodian"},
    ("get", "/v1/subjects/{request_id}"): {"dpo", "custodian"},
    ("post", "/v1/subjects/{request_id}/request"): {"dpo"},
    ("post", "/v1/subjects/{request_id}/confirm"): CUSTODIAN,
    ("get", "/v1/subjects/{request_id}/answer"): {"dpo"},
    ("post", "/v1/cdrs"): set(),
    ("get", "/v1/receipts/{receipt_id}"): set(),
}
"""Who may; everybody else gets 403. The disclosure's routes decide in their procedure, which logs every refusal."""
BEFORE_THE_ROUTE = {
    "only people may do this",
    "your role may not do this",
    "only switches deliver",
    "metrics need a credential of scope metrics",
    "the credential is not bound to this source",
}
"""What is said to who gets no further than the route."""


def _operations(world: World) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in world.http.app.openapi()["paths"].items():
        for method, operation in operations.items():
            if method in METHODS:
                yield method, path, operation


def _filled(path: str) -> str:
    return re.sub(r"\{[a-z_]+\}", "x-1", path)


def _query(operation: dict[str, Any]) -> dict[str, str]:
    needed = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query" and item["required"]]
    return dict.fromkeys(needed, "1")


def test_there_is_something_to_sweep(world: World) -> None:
    found = {(method, path) for method, path, _ in _operations(world)}
    assert found >= set(ROLES) | OPEN | ANYBODY
    assert len(found) > 20


@pytest.mark.parametrize("body", [None, b"", b"not json", b'{"a": 1}'], ids=["none", "empty", "garbage", "object"])
def test_every_route_but_health_answers_401_without_credentials(world: World, body: bytes | None) -> None:
    for method, path, operation in _operations(world):
        answer = world.http.request(method.upper(), _filled(path), params=_query(operation), content=body)
        if (method, path) in OPEN:
            assert answer.status_code == 200
            assert answer.json() == {"status": "ok"}
            continue
        assert answer.status_code == 401, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"]


def test_what_is_not_documented_answers_401_too(world: World) -> None:
    for path in (
        "/",
        "/v1",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/v1/openapi.json",
        "/v1/healthz",
        "/v1/health/",
        "//",
    ):
        assert world.http.get(path).status_code == 401, path
    for method in ("DELETE", "PUT", "TRACE", "OPTIONS", "BREW"):
        assert world.http.request(method, "/v1/persons").status_code == 401


def test_the_openapi_document_is_for_the_authenticated(world: World) -> None:
    answer = world.http.get("/v1/openapi.json", headers=world.as_person("custodian-1"))
    assert answer.status_code == 200
    assert answer.json()["info"]["title"] == "Lagrum"


def test_a_switch_gets_403_wherever_it_has_no_business(world: World) -> None:
    headers = world.switch("pbx-east")
    for method, path, operation in _operations(world):
        if (method, path) in OPEN | ANYBODY:
            continue
        if path == "/v1/receipts/{receipt_id}":  # its business: it learns that there is none of its own
            assert world.http.get(_filled(path), headers=headers).status_code == 404
            continue
        expected = 401 if (method, path) == ("post", "/v1/sessions") else 403
        answer = world.http.request(method.upper(), _filled(path), params=_query(operation), headers=headers)
        assert answer.status_code == expected, (method, path, answer.text)
        if expected == 403:
            assert answer.json()["detail"] in BEFORE_THE_ROUTE, (method, path, answer.text)


@pytest.mark.parametrize("role", list(Role))
def test_every_other_role_gets_403(world: World, role: Role) -> None:
    world.enrol("somebody-1", role.value)
    headers = world.as_person("somebody-1")
    for method, path, operation in _operations(world):
        allowed = ROLES.get((method, path))
        if allowed is None:
            continue
        answer = world.http.request(method.upper(), _filled(path), params=_query(operation), headers=headers)
        if role.value in allowed:
            assert answer.status_code != 403, (method, path, answer.text)
        else:
            assert answer.status_code == 403, (method, path, answer.text)


def test_every_operation_documents_its_refusals_and_has_a_summary(world: World) -> None:
    for method, path, operation in _operations(world):
        assert operation["summary"], path
        assert operation["tags"], path
        if (method, path) not in OPEN:
            assert "4XX" in operation["responses"], (method, path)
