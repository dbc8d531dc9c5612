"""Two proofs in one request, on the real server: neither lends the other what it lacks; and what a refusal tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes

from api.people import bindings
from api.people.bindings import BindingKind
from api.settings import Settings
from tests.api.certificates import Ca, client_context
from tests.api.issuer import AUDIENCE, Provider
from tests.api.world import CSV, UNHURRIED, World, running
from tests.patience import PATIENCE_S

NOW = 1_795_348_800.0
CURRENT = "/v1/sessions/current"


def _bind(world: World, person_id: str, value: str, issuer: str | None = None) -> None:
    kind = BindingKind.CERTIFICATE if issuer is None else BindingKind.SUBJECT
    digest = bindings.digest(world.store.store_id, person_id, kind, value, issuer)
    asked = world.approval(world.keys["custodian-1"], bindings.BIND_REQUEST, person_id, digest)
    made = bindings.request(world.store, "custodian-1", person_id, kind, value, asked, issuer=issuer)
    agreed = world.approval(world.keys["custodian-2"], bindings.BIND_CONFIRM, person_id, digest)
    bindings.confirm(world.store, "custodian-2", made.binding_id, agreed)


def test_a_certificate_and_a_token_are_one_persons_and_both_hold(world: World, tmp_path: Path) -> None:
    for person_id in ("auditor-1", "auditor-2"):
        world.enrol(person_id, "auditor")
    secret = world.credential("pbx-east")
    ours = Ca(tmp_path, "ours")
    certificate, key, _ = ours.issue("localhost")
    pairs = {}
    for name in ("auditor-1", "auditor-2", "stranger", "switch"):
        path, private, shown = ours.issue(name)
        pairs[name] = path, private
        if name.startswith("auditor"):
            _bind(world, name, shown.fingerprint(hashes.SHA256()).hex())
        elif name == "switch":
            world.credential("pbx-east", fingerprint=shown.fingerprint(hashes.SHA256()).hex())
    with Provider() as provider:
        _bind(world, "auditor-1", "s-1", provider.issuer)
        settings = Settings(
            port=0,
            tls_certificate=str(certificate),
            tls_key=str(key),
            tls_client_ca=str(ours.path),
            shutdown_seconds=5,
            oidc_issuer=provider.issuer,
            oidc_audience=AUDIENCE,
            **UNHURRIED,
        )
        with running(world.store, settings) as listening:
            url = f"https://localhost:{listening.port}"

            def ask(name: str | None, bearer: str | None, path: str = CURRENT) -> httpx.Response:
                headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
                with httpx.Client(
                    verify=client_context(ours.path, pairs.get(name or "")), timeout=PATIENCE_S
                ) as caller:
                    return caller.get(f"{url}{path}", headers=headers)

            def log_in(person_id: str, beside: str | None = None) -> httpx.Response:
                pair = pairs.get(beside or "")
                with httpx.Client(verify=client_context(ours.path, pair), timeout=PATIENCE_S) as caller:
                    offer = caller.post(f"{url}/v1/sessions").json()
                    return caller.post(f"{url}/v1/sessions", headers=world.proof(world.keys[person_id], offer))

            good, local = provider.token(NOW), str(log_in("auditor-1").json()["token"])
            worthless = {
                "expired": provider.token(NOW - 3700),
                "not yet": provider.token(NOW + 31),
                "not bound": provider.token(NOW, sub="s-9"),
                "no session": "x" * 43,
                "no credential": "c-ffffffffffffffff.x",
            }
            takes = {None: 200, "auditor-1": 200, "stranger": 200, "auditor-2": 401, "switch": 401}
            for beside, status in takes.items():
                for bearer in (good, local):
                    assert ask(beside, bearer).status_code == status, beside
                opened = log_in("auditor-1", beside)
                assert (opened.status_code, "token" in opened.json()) == (
                    (201, True) if status == 200 else (401, False)
                )
            for what, bearer in worthless.items():
                for name in ("auditor-1", "switch"):
                    assert ask(name, bearer).status_code == 401, f"{what}: a certificate stands in for no token"
            assert ask("auditor-1", None).json()["person"] == "auditor-1"
            with httpx.Client(verify=client_context(ours.path, pairs["auditor-1"]), timeout=PATIENCE_S) as caller:
                offer = caller.post(f"{url}/v1/sessions")
                assert (offer.status_code, "token" in offer.json()) == (401, False), "a certificate opens no session"
            with httpx.Client(verify=client_context(ours.path, pairs["switch"]), timeout=PATIENCE_S) as caller:
                where = {"source": "pbx-east", "format": "csv"}
                for shown_too, status in {
                    worthless["expired"]: 401,
                    local: 401,
                    secret["token"]: 202,
                    None: 202,
                }.items():
                    headers = {} if shown_too is None else {"Authorization": f"Bearer {shown_too}"}
                    sent = caller.post(f"{url}/v1/cdrs", params=where, content=CSV, headers=headers)
                    assert sent.status_code == status, sent.text
            # An ended token lends nothing to a certificate, and takes nothing from it.
            with httpx.Client(verify=client_context(ours.path, None), timeout=PATIENCE_S) as caller:
                assert caller.delete(url + CURRENT, headers={"Authorization": f"Bearer {good}"}).status_code == 204
            assert ask("auditor-1", good).status_code == 401
            assert ask("auditor-1", None).status_code == 200


@pytest.mark.parametrize("named", ["fingerprint", "subject"])
def test_a_secret_that_is_bound_to_a_certificate_and_the_certificate_open_nothing_alone(
    world: World, tmp_path: Path, named: str
) -> None:
    ours = Ca(tmp_path, "ours")
    certificate, key, _ = ours.issue("localhost")
    pairs = {}
    for name in ("pbx", "proxy"):
        path, private, shown = ours.issue(name)
        pairs[name] = path, private
        if name == "pbx":
            print_ = shown.fingerprint(hashes.SHA256()).hex()
            binding = {"fingerprint": print_} if named == "fingerprint" else {"subject": "CN=pbx"}
            bound = world.credential("pbx-east", secret=True, **binding)
    assert (bound["kind"], world.credential("pbx-east")["kind"]) == ("both", "secret")
    free = world.credential("pbx-east")
    settings = Settings(
        port=0, tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(ours.path), shutdown_seconds=5
    )
    with running(world.store, settings) as listening:

        def push(name: str | None, token: str | None) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            with httpx.Client(verify=client_context(ours.path, pairs.get(name or "")), timeout=PATIENCE_S) as caller:
                where = f"https://localhost:{listening.port}/v1/cdrs?source=pbx-east&format=csv"
                return caller.post(where, content=CSV, headers=headers).status_code

        for _ in range(2):  # what was found right just now is looked at again
            assert push("pbx", bound["token"]) == 202
            assert push(None, bound["token"]) == push("proxy", bound["token"]) == 401
            assert push("pbx", None) == push("pbx", f"{bound['id']}.wrong") == 401
            assert [push(name, free["token"]) for name in (None, "proxy", "pbx")] == [202] * 3, "this one is not bound"


UNRECOGNISED: dict[str, Callable[[World], dict[str, str]]] = {
    "nothing": lambda _: {},
    "a scheme that is not known": lambda _: {"Authorization": "Digest x"},
    "a form that is not documented": lambda _: {"Authorization": "Basic !"},
    "a wrong secret": lambda world: {"Authorization": f"Bearer {world.credential('pbx-east')['id']}.x"},
    "no credential": lambda _: {"Authorization": "Bearer c-ffffffffffffffff.x"},
    "no session": lambda _: {"Authorization": "Bearer x"},
    "a token where no provider is set": lambda _: {"Authorization": "Bearer a.b.c"},
    "a signature": lambda world: world.proof(world.keys["custodian-1"], world.challenge()),
}


@pytest.mark.parametrize("made", UNRECOGNISED.values(), ids=UNRECOGNISED)
def test_whoever_is_not_recognised_reads_how_to_be_and_nothing_more(
    world: World, made: Callable[[World], dict[str, str]]
) -> None:
    headers, hints = made(world), set()
    for path in ("/v1/persons", "/v1/cdrs", "/v1/disclosure/tasks/SE-T-0000000000000000", "/nowhere"):
        answer = world.http.get(path, headers=headers)
        assert answer.status_code == 401, answer.text
        assert set(answer.json()) == {"type", "title", "status", "detail", "hint"}
        hints.add(answer.json()["hint"])
    (hint,) = hints
    assert "POST /v1/sessions" in hint and "--as" in hint and "Authorization: Bearer" in hint
    for word in ("custodian", "pbx", "c-", world.store.store_id):
        assert word not in hint


def test_a_log_in_that_fails_gets_a_challenge_and_what_to_do_with_it(world: World) -> None:
    first, second = world.custodians
    forged = world.proof(second, world.challenge(), person_id=first.person_id)
    hints = set()
    for headers in ({}, forged, {"Authorization": "Bearer x"}, {"Authorization": "Lagrum nothing"}):
        answer = world.http.post("/v1/sessions", headers=headers)
        told = answer.json()
        assert answer.status_code == 401 and told["challenge"] in answer.headers["www-authenticate"]
        hints.add(told["hint"])
    (hint,) = hints
    assert "key" in hint and "`Authorization: Lagrum`" in hint
    # What the hint says is enough: sign, send again.
    assert world.http.post("/v1/sessions", headers=world.proof(first, told)).status_code == 201
