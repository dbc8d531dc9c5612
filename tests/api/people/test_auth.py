"""Log-in, sessions and credentials over HTTP."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from pathlib import Path

import pytest
from fastapi import HTTPException, Request

from api.people import enrolment
from api.people.auth import Principal, PrincipalKind, principal_of, require_role
from api.people.credentials import Scope
from api.people.signing import PersonKey, session_statement
from api.settings import Settings
from tests.api.world import CSV, World, make_world
from tests.conftest import FixedClock


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_a_person_logs_in_with_the_key_and_is_who_he_is(world: World) -> None:
    world.enrol("auditor-1", "auditor")
    shown = world.http.get("/v1/sessions/current", headers=world.as_person("auditor-1"))
    assert shown.status_code == 200
    assert (shown.json()["person"], shown.json()["roles"]) == ("auditor-1", ["auditor"])
    assert "session.open" not in world.audit_kinds(), "who logs in when is gone after 30 days"


def test_a_challenge_is_used_once(world: World) -> None:
    proof = world.proof(world.keys["custodian-1"], world.challenge())
    assert world.http.post("/v1/sessions", headers=proof).status_code == 201
    assert world.http.post("/v1/sessions", headers=proof).status_code == 401


def test_an_expired_challenge_is_refused(world: World) -> None:
    proof = world.proof(world.keys["custodian-1"], world.challenge())
    world.clock.advance(seconds=60)
    assert world.http.post("/v1/sessions", headers=proof).status_code == 401


def test_a_signature_by_another_key_for_another_person_or_another_store_is_refused(world: World) -> None:
    offer = world.challenge()
    first, second = world.custodians
    wrong = [
        world.proof(second, offer, person_id=first.person_id),
        world.proof(PersonKey.generate("nobody-1"), offer),
        world.proof(first, offer | {"store": "another"}),
        world.proof(first, offer | {"expires_at": "2027-11-22T12:00:00.000000Z"}),
    ]
    for headers in wrong:
        assert world.http.post("/v1/sessions", headers=headers).status_code == 401
    assert world.http.post("/v1/sessions", headers=world.proof(first, offer)).status_code == 201


def test_a_log_in_signature_is_no_approval_and_opens_nothing_but_a_session(world: World) -> None:
    offer = world.challenge()
    key = world.keys["custodian-1"]
    proof = world.proof(key, offer)
    assert world.http.get("/v1/persons", headers=proof).status_code == 401
    wanted = world.enrolment("officer-7", "officer")
    statement = session_statement(offer["store"], key.person_id, offer["challenge"], offer["expires_at"])
    body = {
        "id": "officer-7",
        "display_name": wanted.display_name,
        "roles": ["officer"],
        "authority": wanted.authority,
        "public_key": wanted.public_key,
        "approval": {"time": statement.time, "signature": key.sign(statement)},
    }
    refused = world.http.post("/v1/persons", json=body, headers=world.as_person("custodian-1"))
    assert refused.status_code == 403
    assert refused.json()["reason"] == "signature"


def test_a_session_ends_after_fifteen_minutes_and_by_log_out(world: World) -> None:
    headers = world.log_in("custodian-1")
    world.clock.advance(seconds=899)
    assert world.http.get("/v1/persons", headers=headers).status_code == 200
    world.clock.advance(seconds=1)
    assert world.http.get("/v1/persons", headers=headers).status_code == 401
    headers = world.log_in("custodian-1")
    assert world.http.delete("/v1/sessions/current", headers=headers).status_code == 204
    assert world.http.get("/v1/persons", headers=headers).status_code == 401


def test_a_revoked_persons_session_ends_at_once(world: World) -> None:
    world.enrol("auditor-1", "auditor")
    headers = world.log_in("auditor-1")
    digest = enrolment.revocation_digest(world.store.store_id, "auditor-1", "left")
    first, second = world.custodians
    approval = world.approval(first, enrolment.REVOKE_REQUEST, "auditor-1", digest)
    enrolment.request_revocation(world.store, first.person_id, "auditor-1", "left", approval)
    assert world.http.get("/v1/audit/entries", headers=headers).status_code == 200
    signed = world.approval(second, enrolment.REVOKE_CONFIRM, "auditor-1", digest)
    answer = world.http.post(
        "/v1/persons/auditor-1/revocation/confirm",
        json={"approval": {"time": signed.time, "signature": signed.signature}},
        headers=world.as_person("custodian-2"),
    )
    assert answer.json()["state"] == "revoked"
    assert world.http.get("/v1/audit/entries", headers=headers).status_code == 401
    proof = world.proof(world.keys["auditor-1"], world.challenge())
    assert world.http.post("/v1/sessions", headers=proof).status_code == 401


def test_a_credential_works_as_basic_and_as_bearer_until_it_is_revoked(world: World) -> None:
    made = world.credential("pbx-east")
    bearer = {"Authorization": f"Bearer {made['token']}"}
    basic = _basic(made["id"], made["secret"])
    for headers in (bearer, basic):
        assert world.deliver(headers).status_code == 200
    revoked = world.http.delete(f"/v1/credentials/{made['id']}", headers=world.as_person("custodian-1"))
    assert revoked.json()["active"] is False
    for headers in (bearer, basic):
        assert world.deliver(headers).status_code == 401
    again = world.http.delete(f"/v1/credentials/{made['id']}", headers=world.as_person("custodian-1"))
    assert again.status_code == 409


def test_a_credential_is_bound_to_its_sources(world: World) -> None:
    east = world.switch("pbx-east")
    world.switch("pbx-west")
    refused = world.deliver(east, source="pbx-west")
    assert refused.status_code == 403
    assert refused.json()["reason"] == "source"
    assert world.deliver(east, source="nowhere").status_code == 403
    assert world.store.partitions() == []


def test_a_switch_reads_nothing_but_public_proofs(world: World) -> None:
    headers = world.switch("pbx-east")
    for path in ("/v1/persons", "/v1/sources", "/v1/credentials", "/v1/audit/entries", "/v1/metrics"):
        assert world.http.get(path, headers=headers).status_code == 403, path
    assert world.http.get("/v1/sessions/current", headers=headers).status_code == 403
    assert world.http.get("/v1/audit/checkpoint", headers=headers).status_code == 200


def test_metrics_take_their_own_credential_or_a_custodian(world: World) -> None:
    token = {"Authorization": f"Bearer {world.credential(scope=Scope.METRICS)['token']}"}
    assert world.http.get("/v1/metrics", headers=token).status_code == 200
    assert world.http.get("/v1/metrics", headers=world.as_person("custodian-1")).status_code == 200
    world.enrol("auditor-1", "auditor")
    assert world.http.get("/v1/metrics", headers=world.as_person("auditor-1")).status_code == 403
    assert world.deliver(token).status_code == 403


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !", "Basic YQ==", "Bearer", "Bearer x", "Bearer c-x.y", "Digest x", "Lagrum ", "x" * 5000],
)
def test_what_is_no_credential_is_401_and_says_how(world: World, authorization: str) -> None:
    answer = world.http.get("/v1/persons", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Bearer" in answer.headers["www-authenticate"]


def test_two_authorization_headers_are_refused(world: World) -> None:
    header = world.as_person("custodian-1")["Authorization"]
    answer = world.http.get("/v1/persons", headers=[("Authorization", header), ("Authorization", header)])
    assert answer.status_code == 401


def test_repeated_failures_lock_the_credential_out_for_a_while(world: World) -> None:
    made = world.credential("pbx-east")
    wrong, right = _basic(made["id"], "wrong"), _basic(made["id"], made["secret"])
    assert [world.deliver(wrong).status_code for _ in range(11)] == [401] * 10 + [429]
    locked = world.deliver(right)
    assert locked.status_code == 429
    assert int(locked.headers["retry-after"]) <= 60
    other = world.credential("pbx-west")
    assert world.deliver(_basic(other["id"], other["secret"]), source="pbx-west").status_code == 200
    world.clock.advance(seconds=61)
    assert world.deliver(right).status_code == 200


def test_wrong_signatures_lock_who_makes_them_out_and_not_the_person_whose_key_signs(world: World) -> None:
    """A person's id is known to many, and a proxy's address is everybody's: nobody keeps an approver out by failing."""
    first, second = world.custodians

    def answers(person_id: str) -> list[int]:
        proofs = (world.proof(second, world.challenge(), person_id=person_id) for _ in range(12))
        return [world.http.post("/v1/sessions", headers=proof).status_code for proof in proofs]

    assert answers(first.person_id) == [401] * 10 + [429] * 2
    assert answers("nobody-1") == [401] * 10 + [429] * 2
    assert world.log_in("custodian-1")
    assert world.log_in("custodian-2")


def test_a_used_challenge_opens_nothing_for_who_is_locked(world: World) -> None:
    first, second = world.custodians
    right = world.proof(first, world.challenge())
    assert world.http.post("/v1/sessions", headers=right).status_code == 201
    for _ in range(11):
        proof = world.proof(second, world.challenge(), person_id=first.person_id)
        wrong = world.http.post("/v1/sessions", headers=proof).status_code
    assert wrong == 429
    assert world.http.post("/v1/sessions", headers=right).status_code == 401


def test_what_the_door_remembers_of_strangers_is_bounded(tmp_path: Path, clock: FixedClock) -> None:
    with make_world(tmp_path, clock, Settings(lockout_entries_max=20)) as world:
        for _ in range(60):
            world.http.get("/v1/persons", headers=_basic(secrets.token_hex(8), "x"))
        assert len(world.http.app.state.authenticator.throttle) == 20


@pytest.mark.parametrize(
    "body",
    [
        {"scope": "ingest", "sources": []},
        {"scope": "metrics", "sources": ["pbx-east"]},
        {"scope": "ingest", "sources": ["pbx-east"], "fingerprint": "AB" * 32},
        {"scope": "ingest", "sources": ["pbx-east"], "subject": "no name"},
        {"scope": "ingest", "sources": ["pbx-east"], "fingerprint": "ab" * 32, "subject": "CN=x"},
        {"scope": "all", "sources": ["pbx-east"]},
        {"scope": "ingest", "sources": ["pbx-east"], "secret": "chosen"},
    ],
)
def test_a_credential_that_cannot_work_is_refused(world: World, body: dict[str, object]) -> None:
    world.switch("pbx-east")
    answer = world.http.post("/v1/credentials", json=body, headers=world.as_person("custodian-1"))
    assert answer.status_code == 422


def test_a_credential_for_an_unknown_source_is_refused(world: World) -> None:
    body = {"scope": "ingest", "sources": ["pbx-east"]}
    answer = world.http.post("/v1/credentials", json=body, headers=world.as_person("custodian-1"))
    assert answer.status_code == 404


def test_no_secret_is_stored_or_shown_again(world: World) -> None:
    made = world.credential("pbx-east")
    listed = world.http.get("/v1/credentials", headers=world.as_person("custodian-1")).text
    assert made["id"] in listed
    assert made["secret"] not in listed
    content = b"".join(path.read_bytes() for path in world.store.root.rglob("*") if path.is_file())
    assert made["secret"].encode() not in content
    assert "hash" not in listed


def test_no_credential_and_no_record_is_logged_or_counted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = world.credential("pbx-east")
    headers = {"Authorization": f"Bearer {made['token']}"}
    world.deliver(headers)
    world.deliver(_basic(made["id"], "wrong-secret"))
    world.deliver(headers, CSV.replace(b"2026-11-22T10:00:00Z", b"never-ever"))
    metrics = world.http.get("/v1/metrics", headers=world.as_person("custodian-1")).text
    told = caplog.text + metrics
    for word in (made["secret"], "wrong-secret", "46700000001", "never-ever", world.tokens["custodian-1"][7:]):
        assert word not in told


def test_a_bug_is_500_without_a_word_about_it(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_store: object) -> None:
        raise RuntimeError("46700000001 is in this message")

    monkeypatch.setattr("api.people.persons.list_all", broken)
    answer = world.http.get("/v1/persons", headers=world.as_person("custodian-1"))
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:lagrum:problem:internal"
    assert "46700000001" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_a_large_or_broken_request_is_refused_in_words(world: World) -> None:
    headers = world.as_person("custodian-1")
    large = world.http.post("/v1/persons", content=b"{" + b" " * (1 << 20), headers=headers)
    assert large.status_code == 413
    broken = world.http.post(
        "/v1/persons", content=b'{"id": 46700000001', headers=headers | {"Content-Type": "application/json"}
    )
    assert broken.status_code == 422
    assert "46700000001" not in broken.text
    for answer in (large, broken):
        assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_paths_and_methods_are_problems_too(world: World) -> None:
    headers = world.as_person("custodian-1")
    assert world.http.get("/v1/nothing", headers=headers).json()["type"] == "urn:lagrum:problem:not-found"
    wrong = world.http.delete("/v1/persons", headers=headers)
    assert wrong.status_code == 405
    assert wrong.json()["type"] == "urn:lagrum:problem:method-not-allowed"


@pytest.mark.parametrize("found", [None, "custodian-1", {"person_id": "custodian-1"}])
def test_who_got_past_the_door_without_being_recognised_is_nobody(found: object) -> None:
    with pytest.raises(HTTPException) as refused:
        principal_of(Request({"type": "http", "principal": found}))
    assert refused.value.status_code == 401


@pytest.mark.parametrize("kind", [kind for kind in PrincipalKind if kind is not PrincipalKind.PERSON])
def test_a_role_is_a_persons_only(kind: PrincipalKind) -> None:
    roles = frozenset({"custodian"})
    for one, is_let in (
        (Principal("custodian-1", roles, "k", frozenset()), True),
        (Principal("custodian-1", roles, "k", frozenset(), kind), False),
        (Principal("custodian-1", frozenset({"auditor"}), "k", frozenset()), False),
    ):
        asked = require_role("custodian")(Request({"type": "http", "principal": one}))
        if is_let:
            assert asyncio.run(asked) is one
            continue
        with pytest.raises(HTTPException) as refused:
            asyncio.run(asked)
        assert refused.value.status_code == 403


def test_a_session_ends_with_the_key_that_opened_it(world: World) -> None:
    """Who is enrolled again with another key logs in anew: what the lost key opened ends at once."""
    key = world.enrol("auditor-1", "auditor")
    headers = world.log_in("auditor-1")
    sessions = world.http.app.state.authenticator.sessions
    other, _ = sessions.open("auditor-1", PersonKey.generate("auditor-1").key_id)
    assert world.http.get("/v1/audit/entries", headers=headers).status_code == 200
    assert world.http.get("/v1/audit/entries", headers={"Authorization": f"Bearer {other}"}).status_code == 401
    nobodys, _ = sessions.open("nobody-1", key.key_id)
    assert world.http.get("/v1/audit/entries", headers={"Authorization": f"Bearer {nobodys}"}).status_code == 401
    same, _ = sessions.open("auditor-1", key.key_id)
    assert world.http.get("/v1/audit/entries", headers={"Authorization": f"Bearer {same}"}).status_code == 200


def test_who_holds_the_key_of_nobody_is_nobody(world: World) -> None:
    """An unknown person is checked against a key that nobody holds; whoever held it would still not be a person."""
    decoy = PersonKey.generate("stranger-1")
    world.http.app.state.authenticator._decoy = decoy.public_bytes
    for person_id in ("stranger-1", "custodian-1"):
        proof = world.proof(decoy, world.challenge(), person_id=person_id)
        assert world.http.post("/v1/sessions", headers=proof).status_code == 401
    assert world.http.post("/v1/sessions", headers=world.proof(world.custodians[0], world.challenge())).is_success


@pytest.mark.parametrize("kind", ["websocket", "something"])
def test_what_is_no_request_of_http_gets_no_answer(world: World, kind: str) -> None:
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": f"{kind}.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"type": kind, "path": "/v1/persons", "headers": [], "query_string": b"", "client": ("192.0.2.9", 1)}
    asyncio.run(world.http.app(scope, receive, send))
    assert sent == []
