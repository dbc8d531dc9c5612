"""The keys of an OpenID provider: which are found, believed, refused, and what they may cost."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from api.people import oidc
from api.people.oidc import ProviderKeys, TokenError
from tests.api.issuer import PAUSE_S, Provider, jwk, new_key
from tests.api.people.test_oidc import NOW, provider, verifier_of
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S

__all__ = ["provider"]


def test_a_new_key_is_found_and_a_withdrawn_one_ends(provider: Provider, clock: FixedClock) -> None:
    verifier, new = verifier_of(provider, clock), new_key()
    old = provider.token(NOW)
    verifier.verify(old)
    provider.publish(("k2", new))
    clock.advance(seconds=oidc.REFRESH_SECONDS_MIN)
    assert verifier.verify(provider.token(NOW, key=new, header={"kid": "k2"})).subject == "s-1"
    with pytest.raises(TokenError) as refused:
        verifier.verify(old)
    assert refused.value.word == "key"


def test_unknown_keys_do_not_make_us_call_the_provider_again_and_again(provider: Provider, clock: FixedClock) -> None:
    verifier = verifier_of(provider, clock)
    verifier.verify(provider.token(NOW))
    for number in range(50):
        with pytest.raises(TokenError):
            verifier.verify(provider.token(NOW, header={"kid": f"x{number}"}))
    assert provider.calls.count("/jwks") == 1
    clock.advance(seconds=oidc.REFRESH_SECONDS_MIN)
    with pytest.raises(TokenError):
        verifier.verify(provider.token(NOW, header={"kid": "x"}))
    assert provider.calls.count("/jwks") == 2


def test_a_provider_that_does_not_answer_is_believed_for_an_hour_and_no_longer(
    provider: Provider, clock: FixedClock
) -> None:
    verifier = verifier_of(provider, clock)
    verifier.verify(provider.token(NOW))
    provider.answers["/jwks"] = 500
    clock.advance(seconds=oidc.KEYS_SECONDS_MAX)
    assert verifier.verify(provider.token(NOW + 3600)).subject == "s-1"
    clock.advance(seconds=1)
    with pytest.raises(TokenError) as refused:
        verifier.verify(provider.token(NOW + 3601))
    assert refused.value.word == "key"


STRANGE: dict[str, tuple[str, Any]] = {
    "a redirect": ("/jwks", 302),
    "too long": ("/jwks", b'{"keys": []' + b" " * 300_000 + b"}"),
    "not JSON": ("/jwks", b"<html>"),
    "a list": ("/jwks", b"[]"),
    "too many keys": ("/jwks", {"keys": [{}] * 51}),
    "another issuer": ("/.well-known/openid-configuration", {"issuer": "https://evil.example", "jwks_uri": "JWKS"}),
    "keys in the clear": (
        "/.well-known/openid-configuration",
        {"issuer": "ISSUER", "jwks_uri": "http://keys.example/jwks"},
    ),
    "keys at a number": ("/.well-known/openid-configuration", {"issuer": "ISSUER", "jwks_uri": 7}),
}


@pytest.mark.parametrize(("path", "answer"), STRANGE.values(), ids=STRANGE)
def test_a_strange_answer_of_the_provider_gives_no_key(
    provider: Provider, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, path: str, answer: Any
) -> None:
    get, asked = ProviderKeys._get, list[str]()
    monkeypatch.setattr(ProviderKeys, "_get", lambda self, url: (asked.append(url), get(self, url))[1])
    if isinstance(answer, dict) and answer.get("issuer") == "ISSUER":
        answer = answer | {"issuer": provider.issuer}
    if isinstance(answer, dict) and answer.get("jwks_uri") == "JWKS":
        answer = answer | {"jwks_uri": f"{provider.issuer}/jwks"}
    provider.answers[path] = answer
    with pytest.raises(TokenError):
        verifier_of(provider, clock).verify(provider.token(NOW))
    assert "/elsewhere" not in provider.calls
    assert asked and all(url.startswith(provider.issuer) for url in asked)


def test_keys_of_an_answer_that_is_refused_or_too_long_are_not_used(provider: Provider, clock: FixedClock) -> None:
    keys = json.dumps(provider.answers["/jwks"]).encode()
    for answer in ((500, keys), (203, keys), keys + b" " * oidc.ANSWER_BYTES_MAX):
        provider.answers["/jwks"] = answer
        with pytest.raises(TokenError):
            verifier_of(provider, clock).verify(provider.token(NOW))
    provider.answers["/jwks"] = keys + b" " * (oidc.ANSWER_BYTES_MAX - len(keys))
    assert verifier_of(provider, clock).verify(provider.token(NOW)).subject == "s-1"


def test_keys_that_come_too_slowly_are_not_used(
    provider: Provider, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each octet comes in time, all of them do not: a provider that dribbles would hold a thread for hours."""
    keys = json.dumps(provider.answers["/jwks"]).encode()
    slowly = [keys[:1], keys[1:2], keys[2:3], keys[3:4], keys[4:]]
    provider.answers["/jwks"] = slowly
    monkeypatch.setattr(oidc, "ANSWER_SECONDS_MAX", PATIENCE_S)
    assert verifier_of(provider, clock).verify(provider.token(NOW)).subject == "s-1"
    monkeypatch.setattr(oidc, "ANSWER_SECONDS_MAX", 2.5 * PAUSE_S)
    with pytest.raises(TokenError):
        verifier_of(provider, clock, oidc_jwks_url=f"{provider.issuer}/jwks").verify(provider.token(NOW))


def test_keys_that_are_not_for_this_are_not_used(provider: Provider, clock: FixedClock) -> None:
    for more in ({"use": "enc"}, {"alg": "RS512"}, {"key_ops": ["sign"]}, {"kty": "EC"}, {"d": "AAAA"}):
        provider.publish(("k1", provider.key), **more)
        with pytest.raises(TokenError):
            verifier_of(provider, clock).verify(provider.token(NOW))
    small = new_key(1024)
    provider.publish(("k1", small))
    with pytest.raises(TokenError), pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        verifier_of(provider, clock).verify(provider.token(NOW, key=small))
    provider.publish(("k1", provider.key), ("k1", new_key()))
    with pytest.raises(TokenError):
        verifier_of(provider, clock).verify(provider.token(NOW))


def test_without_a_kid_the_provider_has_to_have_one_key_only(provider: Provider, clock: FixedClock) -> None:
    token = jwt.encode(provider.claims(NOW), provider.key, "RS256")
    assert verifier_of(provider, clock).verify(token).subject == "s-1"
    provider.publish(("k1", provider.key), ("k2", new_key()))
    with pytest.raises(TokenError):
        verifier_of(provider, clock).verify(token)


@pytest.mark.parametrize("algorithm", sorted(oidc.ALGORITHMS))
def test_every_algorithm_of_the_list_is_taken_with_its_own_kind_of_key(
    provider: Provider, clock: FixedClock, algorithm: str
) -> None:
    kind, curve = oidc.ALGORITHMS[algorithm]
    key, public = provider.key, jwk("k1", provider.key)
    if kind != "RSA":
        curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
        key = Ed25519PrivateKey.generate() if kind == "OKP" else ec.generate_private_key(curves[str(curve)])
        maker = OKPAlgorithm if kind == "OKP" else ECAlgorithm
        public = {**maker.to_jwk(key.public_key(), as_dict=True), "kid": "k1"}
    provider.answers["/jwks"] = {"keys": [public]}
    token = jwt.encode(provider.claims(NOW), key, algorithm, headers={"kid": "k1"})
    assert verifier_of(provider, clock).verify(token).subject == "s-1"


def test_a_set_url_needs_no_discovery(provider: Provider, clock: FixedClock) -> None:
    del provider.answers["/.well-known/openid-configuration"]
    verifier = verifier_of(provider, clock, oidc_jwks_url=f"{provider.issuer}/jwks")
    assert verifier.verify(provider.token(NOW)).subject == "s-1"
    assert provider.calls == ["/jwks"]
