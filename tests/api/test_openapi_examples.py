"""The OpenAPI document's examples, executed against the application.

What an example cannot hold is put in: signatures and server-made ids. Everything else is sent as documented.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.people import bindings, enrolment, persons
from api.people.persons import Enrolment
from api.people.signing import PersonKey
from tests.api.test_sweep import _operations
from tests.api.world import World

ABSENT = object()
PERSON = "officer-7"
ISSUER = "https://login.example.net"


def _example_of(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return _example_of(components[schema["$ref"].rpartition("/")[2]], components)
    if "properties" in schema:
        found = {name: _example_of(item, components) for name, item in schema["properties"].items()}
        return {name: value for name, value in found.items() if value is not ABSENT}
    return ABSENT


def _request_of(world: World, method: str, path: str) -> dict[str, Any]:
    document = world.http.app.openapi()
    operation = document["paths"][path][method]
    components = document["components"]["schemas"]
    request: dict[str, Any] = {"params": {}}
    for parameter in operation.get("parameters", ()):
        examples = parameter["schema"].get("examples") or parameter.get("examples") or []
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", str(examples[0]))
        elif parameter["in"] == "query" and examples:
            request["params"][parameter["name"]] = examples[0]
        assert examples or not parameter["required"], (path, parameter["name"])
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if "example" in content:
            request |= {"content": content["example"], "headers": {"Content-Type": media_type}}
            break
        if media_type == "application/json":
            request["json"] = _example_of(content["schema"], components)
    return {"method": method.upper(), "path": path, **request}


def _sign(world: World, by: str, action: str, digest: str) -> dict[str, str]:
    approval = world.approval(world.keys[by], action, PERSON, digest)
    return {"time": approval.time, "signature": approval.signature}


def _enrolment_digest(world: World, body: dict[str, Any]) -> str:
    wanted = Enrolment(
        body["id"],
        body["display_name"],
        tuple(body["roles"]),
        body["public_key"],
        body["tenant"],
        body["authority"],
    )
    return wanted.digest(world.store.store_id)


def _requested(world: World) -> None:
    world.enrolment(PERSON, "officer")
    wanted = world.enrolment(PERSON, "officer")
    digest = wanted.digest(world.store.store_id)
    approval = world.approval(world.keys["custodian-1"], enrolment.ENROL_REQUEST, PERSON, digest)
    enrolment.request_enrolment(world.store, "custodian-1", wanted, approval)


def _revocation_requested(world: World) -> None:
    world.enrol(PERSON, "officer")
    digest = enrolment.revocation_digest(world.store.store_id, PERSON, "left")
    approval = world.approval(world.keys["custodian-1"], enrolment.REVOKE_REQUEST, PERSON, digest)
    enrolment.request_revocation(world.store, "custodian-1", PERSON, "left", approval)


def _pending_digest(world: World) -> str:
    person = persons.get(world.store, PERSON)
    assert person.pending is not None
    return str(person.pending["digest"])


def _withdraw_digest(world: World) -> str:
    pending = persons.get(world.store, PERSON).pending
    assert pending is not None
    return enrolment.withdraw_digest(world.store.store_id, PERSON, pending)


def _bound(world: World) -> None:
    world.enrol(PERSON, "officer")
    digest = bindings.digest(world.store.store_id, PERSON, "subject", "248289761001", ISSUER)
    approval = world.approval(world.keys["custodian-1"], bindings.BIND_REQUEST, PERSON, digest)
    kind = bindings.BindingKind.SUBJECT
    bindings.request(world.store, "custodian-1", PERSON, kind, "248289761001", approval, issuer=ISSUER)


def _sign_binding(action: str, by: str) -> Callable[[World, dict[str, Any]], None]:
    def sign(world: World, request: dict[str, Any]) -> None:
        digest = bindings.digest(world.store.store_id, PERSON, "subject", "248289761001", ISSUER)
        request["json"]["approval"] = _sign(world, by, action, digest)
        found = bindings.list_of(world.store, PERSON)
        if found:
            head, _, step = request["path"].rpartition("/")
            request["path"] = f"{head.rpartition('/')[0]}/{found[0].binding_id}/{step}"

    return sign


Case = tuple[str, str, int, str, Callable[[World], object] | None, Callable[[World, dict[str, Any]], None] | None]


def _signed(action: str, by: str, digest: Callable[[World], str]) -> Callable[[World, dict[str, Any]], None]:
    def sign(world: World, request: dict[str, Any]) -> None:
        request["json"]["approval"] = _sign(world, by, action, digest(world))

    return sign


def _sign_request(world: World, request: dict[str, Any]) -> None:
    body = request["json"]
    body["public_key"] = PersonKey.generate(PERSON).public_text
    body["approval"] = _sign(world, "custodian-1", enrolment.ENROL_REQUEST, _enrolment_digest(world, body))


def _sign_revocation(world: World, request: dict[str, Any]) -> None:
    body = request["json"]
    digest = enrolment.revocation_digest(world.store.store_id, PERSON, body["reason"])
    body["approval"] = _sign(world, "custodian-1", enrolment.REVOKE_REQUEST, digest)


def _real_credential(world: World, request: dict[str, Any]) -> None:
    request["path"] = f"/v1/credentials/{world.credential('pbx-east')['id']}"


def _pushed(world: World) -> None:
    assert world.push(world.switch("pbx-east")).json()["id"] == "1-0-0"
    world.store.spool.drain()


CASES: list[Case] = [
    ("get", "/v1/health", 200, "", None, None),
    ("get", "/v1/metrics", 200, "custodian-1", None, None),
    ("post", "/v1/cdrs", 202, "switch", None, None),
    ("get", "/v1/receipts/{receipt_id}", 200, "switch", _pushed, None),
    ("get", "/v1/sources", 200, "custodian-1", None, None),
    ("get", "/v1/sources/{name}", 200, "custodian-1", lambda world: world.switch("pbx-east"), None),
    ("put", "/v1/sources/{name}", 200, "custodian-1", None, None),
    ("get", "/v1/credentials", 200, "custodian-1", None, None),
    ("post", "/v1/credentials", 201, "custodian-1", lambda world: world.switch("pbx-east"), None),
    ("delete", "/v1/credentials/{credential_id}", 200, "custodian-1", None, _real_credential),
    ("post", "/v1/sessions", 401, "", None, None),
    ("get", "/v1/sessions/current", 200, "custodian-1", None, None),
    ("delete", "/v1/sessions/current", 204, "custodian-1", None, None),
    ("get", "/v1/persons", 200, "custodian-1", None, None),
    ("get", "/v1/persons/{person_id}", 200, "custodian-1", _requested, None),
    ("post", "/v1/persons", 201, "custodian-1", lambda world: world.authority(), _sign_request),
    (
        "post",
        "/v1/persons/{person_id}/confirm",
        200,
        "custodian-2",
        _requested,
        _signed(enrolment.ENROL_CONFIRM, "custodian-2", _pending_digest),
    ),
    (
        "post",
        "/v1/persons/{person_id}/revocation",
        200,
        "custodian-1",
        lambda world: world.enrol(PERSON, "officer"),
        _sign_revocation,
    ),
    (
        "post",
        "/v1/persons/{person_id}/revocation/confirm",
        200,
        "custodian-2",
        _revocation_requested,
        _signed(enrolment.REVOKE_CONFIRM, "custodian-2", _pending_digest),
    ),
    (
        "post",
        "/v1/persons/{person_id}/withdraw",
        200,
        "custodian-2",
        _requested,
        _signed(enrolment.WITHDRAW, "custodian-2", _withdraw_digest),
    ),
    ("get", "/v1/persons/{person_id}/bindings", 200, "custodian-1", _bound, None),
    (
        "post",
        "/v1/persons/{person_id}/bindings",
        201,
        "custodian-1",
        lambda world: world.enrol(PERSON, "officer"),
        _sign_binding(bindings.BIND_REQUEST, "custodian-1"),
    ),
    (
        "post",
        "/v1/persons/bindings/{binding_id}/confirm",
        200,
        "custodian-2",
        _bound,
        _sign_binding(bindings.BIND_CONFIRM, "custodian-2"),
    ),
    (
        "post",
        "/v1/persons/bindings/{binding_id}/end",
        200,
        "custodian-1",
        _bound,
        _sign_binding(bindings.BIND_END, "custodian-1"),
    ),
    ("get", "/v1/logins", 200, "dpo-1", lambda world: world.enrol("dpo-1", "dpo"), None),
    ("get", "/v1/audit/checkpoint", 200, "custodian-1", None, None),
    ("get", "/v1/audit/entries", 200, "auditor-1", lambda world: world.enrol("auditor-1", "auditor"), None),
    ("get", "/v1/audit/proofs/inclusion", 200, "custodian-1", None, None),
    ("get", "/v1/audit/proofs/consistency", 200, "custodian-1", None, None),
]
ELSEWHERE = (
    "/v1/audit/cases",
    "/v1/audit/completeness",
    "/v1/authorities",
    "/v1/clock",
    "/v1/corrections",
    "/v1/disclosure/",
    "/v1/hi1",
    "/v1/retained-data",
    "/v1/holds",
    "/v1/policy",
    "/v1/usage",
    "/v1/accounts",
    "/v1/subjects",
    "/v1/subscriptions",
    "/v1/batches/",
)
"""Routes whose examples are executed by the tests of their own procedure."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[1]}")
def test_the_example_works(world: World, case: Case) -> None:
    method, path, status, who, prepare, complete = case
    if prepare is not None:
        prepare(world)
    request = _request_of(world, method, path)
    if complete is not None:
        complete(world, request)
    headers = request.pop("headers", {})
    if who:
        headers |= world.switch("pbx-east") if who == "switch" else world.as_person(who)
    answer = world.http.request(request.pop("method"), request.pop("path"), headers=headers, **request)
    assert answer.status_code == status, answer.text
    responses = world.http.app.openapi()["paths"][path][method]["responses"]
    _compare(responses[str(status)], answer)


def _compare(documented: dict[str, Any], answer: Any) -> None:
    """The documented answer has the members that the real one has (the document leaves out those that are null)."""
    for media_type, content in documented.get("content", {}).items():
        example = content.get("example")
        if isinstance(example, dict):
            assert answer.headers["content-type"].startswith(media_type)
            real = answer.json()
            assert set(example) <= set(real)
            assert all(real[name] is None for name in set(real) - set(example))


def test_every_route_has_its_example_executed(world: World) -> None:
    documented = {(method, path) for method, path, _ in _operations(world) if not path.startswith(ELSEWHERE)}
    assert documented == {(case[0], case[1]) for case in CASES}


def test_the_delivery_example_is_stored(world: World) -> None:
    request = _request_of(world, "post", "/v1/cdrs")
    answer = world.http.post(
        "/v1/cdrs",
        params=request["params"] | {"wait": "true"},
        content=request["content"],
        headers=request["headers"] | world.switch("pbx-east"),
    )
    assert answer.json()["accepted"] == 1
