"""Tokens of an OpenID provider: the real one's, forged ones, and whom those that fail keep out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.people import bindings, enrolment
from api.people.oidc import TokenError, TokenVerifier
from api.settings import Settings
from schemas.errors import ConfigurationError
from tests.api.issuer import AUDIENCE, Provider, log_in, new_key, real_provider
from tests.api.world import UNHURRIED, World, make_world
from tests.conftest import FixedClock

NOW = 1_795_348_800.0


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


def _settings(issuer: str, **more: Any) -> Settings:
    return Settings(oidc_issuer=issuer, oidc_audience=AUDIENCE, **(UNHURRIED | more))


def verifier_of(provider: Provider, clock: FixedClock, **more: Any) -> TokenVerifier:
    made = TokenVerifier.of(clock, _settings(provider.issuer, **more), Path())
    assert made is not None
    return made


def _bind(world: World, person_id: str, subject: str, issuer: str) -> bindings.Binding:
    digest = bindings.digest(world.store.store_id, person_id, "subject", subject, issuer)
    asked = world.approval(world.keys["custodian-1"], bindings.BIND_REQUEST, person_id, digest)
    kind = bindings.BindingKind.SUBJECT
    made = bindings.request(world.store, "custodian-1", person_id, kind, subject, asked, issuer=issuer)
    signed = world.approval(world.keys["custodian-2"], bindings.BIND_CONFIRM, person_id, digest)
    return bindings.confirm(world.store, "custodian-2", made.binding_id, signed)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _who(world: World, token: str) -> tuple[int, str | None]:
    answer = world.http.get("/v1/sessions/current", headers=_bearer(token))
    return answer.status_code, answer.json().get("person")


def test_a_person_comes_with_a_token_of_the_real_provider(tmp_path: Path) -> None:
    with real_provider() as issuer:
        token = log_in(issuer, "anna@police.example")
        issued = int(jwt.decode(token, options={"verify_signature": False})["iat"])
        clock = FixedClock(issued * 1_000_000)
        with make_world(tmp_path, clock, _settings(issuer)) as world:
            world.enrol("auditor-1", "auditor")
            assert _who(world, token)[0] == 401, "not bound"
            _bind(world, "auditor-1", "anna@police.example", issuer)
            assert _who(world, token) == (200, "auditor-1")
            assert world.http.get("/v1/audit/entries", headers=_bearer(token)).status_code == 200
            assert world.http.get("/v1/holds", headers=_bearer(token)).status_code == 403
            assert _who(world, log_in(issuer, "bert@police.example"))[0] == 401
            assert _who(world, log_in(issuer, "anna@police.example", audience="other"))[0] == 401
            assert b"anna@police.example" not in b"".join(
                path.read_bytes() for path in world.store.root.rglob("*") if path.is_file()
            )
            second = log_in(issuer, "anna@police.example", nonce="another")
            assert world.http.delete("/v1/sessions/current", headers=_bearer(token)).status_code == 204
            assert _who(world, token)[0] == 401, "logged out"
            clock.advance(seconds=600)
            assert _who(world, second) == (200, "auditor-1")
            clock.advance(seconds=900)
            assert _who(world, second)[0] == 401, "the provider gives an hour, a session lasts 15 minutes"


def test_a_token_signs_nothing_and_opens_no_session(provider: Provider, tmp_path: Path, clock: FixedClock) -> None:
    with make_world(tmp_path, clock, _settings(provider.issuer)) as world:
        _bind(world, "custodian-1", "s-1", provider.issuer)
        token = provider.token(NOW)
        assert _who(world, token) == (200, "custodian-1")
        assert world.http.post("/v1/sessions", headers=_bearer(token)).status_code == 401
        wanted = world.enrolment("auditor-1", "auditor")
        stranger = world.keys["auditor-1"]
        approval = world.approval(stranger, enrolment.ENROL_REQUEST, "auditor-1", wanted.digest(world.store.store_id))
        body = {
            "id": "auditor-1",
            "display_name": wanted.display_name,
            "roles": ["auditor"],
            "public_key": wanted.public_key,
            "approval": {"time": approval.time, "signature": approval.signature},
        }
        refused = world.http.post("/v1/persons", json=body, headers=_bearer(token))
        assert refused.json()["reason"] == "signature"


def test_revocation_and_the_end_of_a_binding_take_effect_at_once(
    provider: Provider, tmp_path: Path, clock: FixedClock
) -> None:
    with make_world(tmp_path, clock, _settings(provider.issuer)) as world:
        world.enrol("auditor-1", "auditor")
        binding = _bind(world, "auditor-1", "s-1", provider.issuer)
        token = provider.token(NOW)
        assert _who(world, token) == (200, "auditor-1")
        digest = binding.digest(world.store.store_id)
        ended = world.approval(world.keys["custodian-1"], bindings.BIND_END, "auditor-1", digest)
        answer = world.http.post(
            f"/v1/persons/bindings/{binding.binding_id}/end",
            json={"approval": {"time": ended.time, "signature": ended.signature}},
            headers=world.as_person("custodian-1"),
        )
        assert answer.json()["state"] == "ended"
        assert _who(world, token)[0] == 401
        _bind(world, "auditor-1", "s-1", provider.issuer)
        assert _who(world, token) == (200, "auditor-1")
        digest = enrolment.revocation_digest(world.store.store_id, "auditor-1", "left")
        first, second = world.custodians
        asked = world.approval(first, enrolment.REVOKE_REQUEST, "auditor-1", digest)
        enrolment.request_revocation(world.store, first.person_id, "auditor-1", "left", asked)
        signed = world.approval(second, enrolment.REVOKE_CONFIRM, "auditor-1", digest)
        enrolment.confirm_revocation(world.store, second.person_id, "auditor-1", signed)
        assert _who(world, token)[0] == 401


def _unsigned(provider: Provider, algorithm: str) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': algorithm, 'kid': 'k1'})}.{part(provider.claims(NOW))}."


def _by_hand(provider: Provider, **header: Any) -> str:
    """Signed rightly, under a header that the library would not write."""
    whole = json.dumps({"alg": "RS256", "kid": "k1", **header}).encode()
    head = f"{base64.urlsafe_b64encode(whole).rstrip(b'=').decode()}.{provider.token(NOW).split('.')[1]}"
    signature = provider.key.sign(head.encode(), PKCS1v15(), SHA256())
    return f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _with_public_key_as_secret(provider: Provider) -> str:
    """HS256 under the public key's own bytes: what a checker that takes any algorithm would believe."""
    import hashlib
    import hmac

    pem = provider.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = _unsigned(provider, "HS256").rstrip(".")
    mac = hmac.digest(pem, head.encode(), hashlib.sha256)
    return f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _swapped(provider: Provider) -> str:
    head, _, signature = provider.token(NOW).split(".")
    return f"{head}.{provider.token(NOW, sub='s-2').split('.')[1]}.{signature}"


FORGED: dict[str, tuple[str, Any]] = {
    "alg none": ("algorithm", lambda p: _unsigned(p, "none")),
    "alg None": ("algorithm", lambda p: _unsigned(p, "None")),
    "HS256 with the public key": ("algorithm", _with_public_key_as_secret),
    "no signature": ("signature", lambda p: _unsigned(p, "RS256")),
    "another key under the same kid": ("signature", lambda p: p.token(NOW, key=new_key())),
    "a kid that is not there": ("key", lambda p: p.token(NOW, key=new_key(), header={"kid": "k9"})),
    "another algorithm than the key's kind": ("key", lambda p: _unsigned(p, "ES256") + "AAAA"),
    "altered claims": ("signature", _swapped),
    "another issuer": ("issuer", lambda p: p.token(NOW, iss="https://evil.example")),
    "the issuer with a slash": ("issuer", lambda p: p.token(NOW, iss=p.issuer + "/")),
    "another audience": ("audience", lambda p: p.token(NOW, aud="other")),
    "a list of other audiences": ("audience", lambda p: p.token(NOW, aud=["other", "third"])),
    "for several, issued to nobody": ("party", lambda p: p.token(NOW, aud=[AUDIENCE, "portal"])),
    "for several, issued to another": ("party", lambda p: p.token(NOW, aud=[AUDIENCE, "portal"], azp="portal")),
    "for several, issued to a list": ("party", lambda p: p.token(NOW, aud=[AUDIENCE, "portal"], azp=[AUDIENCE])),
    "expired": ("expired", lambda p: p.token(NOW - 3700)),
    "older than a session": ("expired", lambda p: p.token(NOW - 900)),
    "expired at the end of the leeway": ("expired", lambda p: p.token(NOW - 100, exp=NOW - 30)),
    "issued in the future": ("not-yet", lambda p: p.token(NOW + 31)),
    "issued in the future, though it begins": ("not-yet", lambda p: p.token(NOW + 31, nbf=NOW)),
    "not before later": ("not-yet", lambda p: p.token(NOW, nbf=NOW + 31)),
    "expires before it is issued": ("not-yet", lambda p: p.token(NOW, exp=NOW - 1)),
    "expires when it is issued": ("not-yet", lambda p: p.token(NOW, exp=NOW)),
    "no exp": ("claims", lambda p: p.token(NOW, exp=None)),
    "no iat": ("claims", lambda p: p.token(NOW, iat=None)),
    "no sub": ("claims", lambda p: p.token(NOW, sub=None)),
    "an empty sub": ("claims", lambda p: p.token(NOW, sub="")),
    "a number as sub": ("signature", lambda p: p.token(NOW, sub=7)),
    "no aud": ("claims", lambda p: p.token(NOW, aud=None)),
    "iat of words": ("claims", lambda p: p.token(NOW, iat="now")),
    "exp beyond all years": ("claims", lambda p: p.token(NOW, exp=1e300)),
    "nbf of truth": ("claims", lambda p: p.token(NOW, nbf=True)),
    "a critical extension": ("form", lambda p: p.token(NOW, header={"crit": ["x"], "x": 1})),
    "another type": ("form", lambda p: p.token(NOW, header={"typ": "logout+jwt"})),
    "a long kid": ("form", lambda p: p.token(NOW, header={"kid": "k" * 201})),
    "an unencoded payload": ("form", lambda p: p.token(NOW, header={"b64": False})),
    "an encoding that only looks like the usual one": ("form", lambda p: _by_hand(p, b64=True)),
    "a number as type": ("form", lambda p: p.token(NOW, header={"typ": 7})),
    "too long": ("form", lambda p: p.token(NOW, x="x" * 9000)),
    "no token": ("form", lambda _: "a.b.c"),
    "not ASCII": ("form", lambda _: "ä.b.c"),
    "a signature with what a lenient reader leaves out": ("form", lambda p: p.token(NOW) + "ää"),
}


@pytest.mark.parametrize(("word", "forge"), FORGED.values(), ids=FORGED)
def test_a_token_that_is_not_right_is_refused(provider: Provider, clock: FixedClock, word: str, forge: Any) -> None:
    verifier = verifier_of(provider, clock)
    assert verifier.verify(provider.token(NOW)).subject == "s-1"
    with pytest.raises(TokenError) as refused:
        verifier.verify(forge(provider))
    assert refused.value.word == word


def test_where_a_header_says_to_look_for_keys_is_never_read(provider: Provider, clock: FixedClock) -> None:
    verifier, evil = verifier_of(provider, clock), new_key()
    with Provider() as other:
        other.publish(("k1", evil), ("k9", evil))
        for kid in ("k1", "k9"):
            header = {"kid": kid, "jku": f"{other.issuer}/jwks", "x5u": f"{other.issuer}/jwks", "x5c": ["AAAA"]}
            with pytest.raises(TokenError):
                verifier.verify(provider.token(NOW, key=evil, header=header))
        assert other.calls == []
    own = provider.token(NOW, header={"jku": "https://evil.example/jwks"})
    assert verifier.verify(own).subject == "s-1"


def test_edges_of_the_leeway_hold(provider: Provider, clock: FixedClock) -> None:
    verifier = verifier_of(provider, clock)
    for token in (
        provider.token(NOW + 30),
        provider.token(NOW - 100, exp=NOW),
        provider.token(NOW - 100, exp=NOW - 29),
        provider.token(NOW - 899),
        provider.token(NOW, nbf=NOW + 30),
        provider.token(NOW, aud=["account", AUDIENCE], azp=AUDIENCE),
        provider.token(NOW, aud=[AUDIENCE]),
        provider.token(NOW, azp="portal"),  # for us alone, whoever asked for it
        provider.token(NOW, header={"typ": "at+jwt"}),
        _by_hand(provider, typ="JWT"),
    ):
        assert verifier.verify(token).subject == "s-1"


def test_without_a_provider_no_token_is_taken(world: World, provider: Provider) -> None:
    assert _who(world, provider.token(NOW))[0] == 401
    assert provider.calls == []


def test_forged_tokens_lock_the_address_out_and_nobody_whose_token_is_the_providers(
    provider: Provider, tmp_path: Path, clock: FixedClock
) -> None:
    """Behind one proxy somebody guesses; the others work on, by token and by key, and the guesser waits."""
    with make_world(tmp_path, clock, _settings(provider.issuer)) as world:
        _bind(world, "custodian-1", "s-1", provider.issuer)
        evil = provider.token(NOW, key=new_key())
        assert [_who(world, evil)[0] for _ in range(11)] == [401] * 10 + [429]
        assert _who(world, provider.token(NOW)) == (200, "custodian-1")
        for number in range(200):  # many identities, until the address itself is locked
            world.http.get("/v1/persons", headers=_bearer(f"c-{number:016x}.x"))
        assert world.http.get("/v1/persons", headers=_bearer("c-ffffffffffffffff.x")).status_code == 429
        assert _who(world, evil)[0] == 429
        assert _who(world, provider.token(NOW)) == (200, "custodian-1")
        assert world.log_in("custodian-2")
        forged = world.proof(world.keys["custodian-1"], world.challenge(), person_id="custodian-2")
        assert world.http.post("/v1/sessions", headers=forged).status_code == 429
        clock.advance(seconds=601)
        assert _who(world, provider.token(NOW + 601, key=new_key()))[0] == 401


def test_the_first_forged_token_of_a_locked_address_is_kept_out_already(
    provider: Provider, tmp_path: Path, clock: FixedClock
) -> None:
    with make_world(tmp_path, clock, _settings(provider.issuer, failures_max=2)) as world:
        _bind(world, "custodian-1", "s-1", provider.issuer)
        for number in range(20):
            world.http.get("/v1/persons", headers=_bearer(f"c-{number:016x}.x"))
        assert _who(world, provider.token(NOW, key=new_key()))[0] == 429
        assert _who(world, provider.token(NOW)) == (200, "custodian-1")


def test_a_subject_whose_tokens_fail_waits_alone_and_learns_nothing(
    provider: Provider, tmp_path: Path, clock: FixedClock
) -> None:
    """Bound or not, the answers are the same; another subject of that address is not concerned."""
    with make_world(tmp_path, clock, _settings(provider.issuer)) as world:
        _bind(world, "custodian-1", "s-1", provider.issuer)
        _bind(world, "custodian-2", "s-2", provider.issuer)
        answers = []
        for subject in ("s-1", "nobody"):
            others = provider.token(NOW, sub=subject, aud=[AUDIENCE, "portal"])
            answers.append([world.http.get("/v1/persons", headers=_bearer(others)) for _ in range(12)])
        seen = [
            [(one.status_code, one.headers.get("retry-after"), one.json()["detail"]) for one in each]
            for each in answers
        ]
        assert seen[0] == seen[1]
        assert [code for code, *_ in seen[0]] == [401] * 10 + [429] * 2
        assert _who(world, provider.token(NOW))[0] == 429
        assert _who(world, provider.token(NOW, sub="s-2")) == (200, "custodian-2")
        clock.advance(seconds=61)
        assert _who(world, provider.token(NOW + 61)) == (200, "custodian-1")


def test_who_replays_an_expired_token_keeps_nobody_out_and_learns_nothing(
    provider: Provider, tmp_path: Path, clock: FixedClock
) -> None:
    """It lies in logs and caches of many programs; bound or not, now and later, the answer is one."""
    with make_world(tmp_path, clock, _settings(provider.issuer)) as world:
        _bind(world, "custodian-1", "s-1", provider.issuer)
        told = set()
        for subject in ("s-1", "nobody"):
            for _ in range(120):  # more than lock an address
                said = world.http.get("/v1/persons", headers=_bearer(provider.token(NOW - 3700, sub=subject)))
                told.add((said.status_code, said.text, said.headers.get("retry-after")))
        ((status, text, wait),) = told
        assert (status, wait) == (401, None)
        invented = world.http.get("/v1/persons", headers=_bearer(provider.token(NOW - 3700, key=new_key())))
        assert invented.text == text
        assert _who(world, provider.token(NOW)) == (200, "custodian-1")
        assert world.http.get("/v1/persons", headers=_bearer("c-ffffffffffffffff.x")).status_code == 401


@pytest.mark.parametrize("time", ["ended", "not-yet"])
def test_a_token_that_is_out_of_its_time_keeps_its_owner_out_no_more_than_an_expired_one(
    provider: Provider, tmp_path: Path, clock: FixedClock, time: str
) -> None:
    """A window that was left open asks on after the log-out; a provider's clock goes before ours."""
    with make_world(tmp_path, clock, _settings(provider.issuer)) as world:
        _bind(world, "custodian-1", "s-1", provider.issuer)
        token = provider.token(NOW, nonce="first", **({"nbf": NOW + 31} if time == "not-yet" else {}))
        if time == "ended":
            assert world.http.delete("/v1/sessions/current", headers=_bearer(token)).status_code == 204
        assert [_who(world, token)[0] for _ in range(120)] == [401] * 120
        assert _who(world, provider.token(NOW, nonce="second")) == (200, "custodian-1")


@pytest.mark.parametrize(
    "values",
    [
        {"oidc_issuer": "https://a.example"},
        {"oidc_audience": "lagrum"},
        {"oidc_issuer": "http://a.example", "oidc_audience": "lagrum"},
        {"oidc_issuer": "https://u:p@a.example", "oidc_audience": "lagrum"},
        {"oidc_issuer": "https://a.example", "oidc_audience": "lagrum", "oidc_jwks_url": "http://a.example/jwks"},
        {"oidc_jwks_url": "https://a.example/jwks"},
        {"oidc_ca": "ca.pem"},
    ],
)
def test_settings_that_would_trust_too_much_are_refused(values: dict[str, str]) -> None:
    assert Settings(oidc_issuer="https://a.example", oidc_audience="lagrum").oidc_issuer
    with pytest.raises(ConfigurationError):
        Settings(**values)  # type: ignore[arg-type]


def test_a_ca_that_cannot_be_read_is_told_at_the_start(clock: FixedClock, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CA"):
        TokenVerifier.of(clock, _settings("https://a.example", oidc_ca="absent.pem"), tmp_path)
