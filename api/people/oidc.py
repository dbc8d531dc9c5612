"""Bearer tokens of one OpenID provider: what makes one valid. A token says who asks; it signs nothing.

(1) Three parts, of bounded size; the header has an asymmetric algorithm of the list below, a type that is a token's,
    and no critical extension. Where the header says to look for keys (`jku`, `x5u`, `jwk`, `x5c`) is never read.
(2) The key is the provider's: from its JWKS, by the header's `kid`, of the kind that the algorithm takes. A `kid` that
    is not there makes the JWKS be read again, at most once in `REFRESH_SECONDS_MIN`: so a new key is found soon, and a
    forger cannot make us call the provider with every request.
(3) The signature holds, `iss` is the provider, `aud` names us. A token for several (`aud` has others too) is taken only
    if `azp` says that it was issued to us: else whoever else it is for could come with it as its person.
(4) `exp`, `iat` and, where it is there, `nbf` hold by the store's clock, with `LEEWAY_SECONDS`; and a token is taken no
    longer than `age_seconds_max` after `iat`, however long its provider would let it live: sessions are short.
(5) `sub` is there. To whom it belongs is `api.people.bindings`' to say.
(6) A token whose person has logged out is not taken again.

Every refusal is one error; its word is for our own log, and the caller hears the same for all.

Source: RFC 7519, RFC 7515 section 4.1, RFC 7517, RFC 8725 (best practice), RFC 9068; OpenID Connect Core 1.0
section 3.1.3.7, Discovery 1.0.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jwt

from api.settings import Settings, is_safe_url
from schemas.errors import ConfigurationError
from store.tls import client_context

if TYPE_CHECKING:
    from store.clock import Clock

TOKEN_CHARS_MAX: Final = 8192
LEEWAY_SECONDS: Final = 30
KEYS_SECONDS: Final = 600
"""So old may the provider's keys be before they are read again."""
KEYS_SECONDS_MAX: Final = 3600
"""Older ones are not used, also when the provider does not answer: a key that it withdrew ends with this."""
REFRESH_SECONDS_MIN: Final = 30
ANSWER_BYTES_MAX: Final = 256 << 10
ANSWER_SECONDS_MAX: Final = 5.0
KEYS_MAX: Final = 50
RSA_BITS_MIN: Final = 2048
KID_CHARS_MAX: Final = 200
ALGORITHMS: Final[dict[str, tuple[str, str | None]]] = {
    # algorithm: (kty, crv)
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Asymmetric ones only: with a shared secret, whoever checks can also forge."""
TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
_DISCOVERY: Final = "/.well-known/openid-configuration"


class TokenError(Exception):
    """The token is not valid here; `word` says why, without a value of it.

    `subject` is whose it is, once its signature has proven that; None: anybody may have made it.
    """

    def __init__(self, word: str, subject: str | None = None) -> None:
        super().__init__(word)
        self.word = word
        self.subject = subject

    @property
    def is_untimely(self) -> bool:
        """Whether it is its subject's token here, and only its time has not come, or is over."""
        return self.subject is not None and self.word in ("not-yet", "expired", "ended")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says: whose it is, and until when it is taken (UTC microseconds)."""

    issuer: str
    subject: str
    until_us: int
    digest: bytes


class TokenVerifier:
    """Checks tokens of one provider; see the module's steps."""

    def __init__(self, clock: Clock, settings: Settings, root: Path) -> None:
        self._clock = clock
        self._issuer = settings.oidc_issuer
        self._audience = settings.oidc_audience
        self._age_us_max = settings.session_seconds * 1_000_000
        self.keys = ProviderKeys(clock, settings, root)
        self._ended: dict[bytes, int] = {}

    @classmethod
    def of(cls, clock: Clock, settings: Settings, root: Path) -> TokenVerifier | None:
        """Return a verifier where a provider is set, else None.

        Raises:
            ConfigurationError: the provider's CA cannot be read.
        """
        return cls(clock, settings, root) if settings.oidc_issuer else None

    def verify(self, token: str) -> Claims:
        """Return what a token says.

        Raises:
            TokenError: it is not valid here.
        """
        header = _header(token)  # (1)
        algorithm = header["alg"]
        key = self.keys.find(header.get("kid"), algorithm)  # (2)
        try:
            claims: dict[str, Any] = jwt.decode(  # (3)
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["exp", "iat", "iss", "aud", "sub"],
                    # PyJWT would ask the machine's clock; (4) asks ours.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.InvalidIssuerError:
            raise TokenError("issuer") from None
        except jwt.InvalidAudienceError:
            raise TokenError("audience") from None
        except jwt.MissingRequiredClaimError:
            raise TokenError("claims") from None
        except jwt.PyJWTError:
            raise TokenError("signature") from None
        subject: str = claims["sub"]  # PyJWT takes nothing else
        if not subject:  # (5)
            raise TokenError("claims")
        if not _is_issued_to(self._audience, claims):  # (3)
            raise TokenError("party", subject)
        try:
            until_us = self._until_us(claims)  # (4)
        except TokenError as error:
            raise TokenError(error.word, subject) from None
        digest = _digest(token)
        if digest in self._ended:
            raise TokenError("ended", subject)
        return Claims(self._issuer, subject, until_us, digest)

    def end(self, token: str) -> None:
        """(6) Take a token no longer; it is forgotten when it would not be taken anyway."""
        now_us = self._clock.now_us()
        with suppress(TokenError):
            claims = self.verify(token)
            self._ended = {digest: until_us for digest, until_us in self._ended.items() if until_us > now_us}
            self._ended[claims.digest] = claims.until_us

    def _until_us(self, claims: dict[str, Any]) -> int:
        """(4) Return until when the token is taken."""
        now_us, leeway_us = self._clock.now_us(), LEEWAY_SECONDS * 1_000_000
        expires_us, issued_us = _instant_us(claims["exp"]), _instant_us(claims["iat"])
        begins_us = _instant_us(claims.get("nbf", claims["iat"]))
        if issued_us > now_us + leeway_us or begins_us > now_us + leeway_us or expires_us <= issued_us:
            raise TokenError("not-yet")
        until_us = min(expires_us + leeway_us, issued_us + self._age_us_max)
        if until_us <= now_us:
            raise TokenError("expired")
        return until_us


class ProviderKeys:
    """The provider's public keys, read by discovery or from a set URL, kept for a bounded time."""

    def __init__(self, clock: Clock, settings: Settings, root: Path) -> None:
        self._clock = clock
        self._issuer = settings.oidc_issuer
        self._url = settings.oidc_jwks_url
        self._trust = _trust(root / settings.oidc_ca if settings.oidc_ca else None)
        self._keys: tuple[dict[str, Any], ...] = ()
        self._read_us = 0
        self._tried_us = 0
        self._lock = threading.Lock()

    def find(self, kid: object, algorithm: str) -> Any:
        """Return the key that a token names; without `kid`, the provider's only key of that kind.

        Raises:
            TokenError: there is none, or the provider's keys are not to be had.
        """
        if self._age_us(self._read_us) > KEYS_SECONDS * 1_000_000:
            self._refresh()
        found = self._select(kid, algorithm)
        if found is None and self._refresh():
            found = self._select(kid, algorithm)
        if found is None:
            raise TokenError("key")
        try:
            key = jwt.PyJWK(found, algorithm=algorithm)
        except jwt.PyJWTError:
            raise TokenError("key") from None
        if getattr(key.key, "key_size", RSA_BITS_MIN) < RSA_BITS_MIN and found["kty"] == "RSA":
            raise TokenError("key")
        return key

    def _select(self, kid: object, algorithm: str) -> dict[str, Any] | None:
        if self._age_us(self._read_us) > KEYS_SECONDS_MAX * 1_000_000:
            return None
        fitting = [key for key in self._keys if _fits(key, algorithm) and (kid is None or key.get("kid") == kid)]
        return fitting[0] if len(fitting) == 1 else None

    def _refresh(self) -> bool:
        """Read the keys again; False when it was tried a moment ago, another thread does it, or it does not work."""
        if self._age_us(self._tried_us) < REFRESH_SECONDS_MIN * 1_000_000 or not self._lock.acquire(blocking=False):
            return False
        try:
            self._tried_us = self._clock.now_us()
            url = self._url or self._discover()
            keys = self._get(url).get("keys")
            if not isinstance(keys, list) or len(keys) > KEYS_MAX:
                return False
            self._keys = tuple(key for key in keys if isinstance(key, dict))
            self._read_us = self._tried_us
        except (OSError, ValueError):
            return False
        finally:
            self._lock.release()
        return True

    def _discover(self) -> str:
        document = self._get(self._issuer.rstrip("/") + _DISCOVERY)
        url = document.get("jwks_uri")
        if document.get("issuer") != self._issuer or not isinstance(url, str) or not is_safe_url(url):
            raise ValueError("the provider's document is not its own")
        return url

    def _get(self, url: str) -> dict[str, Any]:
        """Return a JSON object; never through a proxy, never after a redirect, never more than the limit.

        Raises:
            OSError, ValueError: there is none.
        """
        import httpx

        content, began = b"", time.monotonic()
        limits = httpx.Timeout(ANSWER_SECONDS_MAX)
        try:
            with (
                httpx.Client(verify=self._trust, trust_env=False, follow_redirects=False, timeout=limits) as client,
                client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise ValueError("the provider refused")
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > ANSWER_BYTES_MAX or time.monotonic() - began > ANSWER_SECONDS_MAX:
                        raise ValueError("the provider's answer is too long")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OSError(type(error).__name__) from None
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("the provider's answer is no object")
        return document

    def _age_us(self, instant_us: int) -> int:
        """Return how long ago; a clock that was set back makes it old, not young."""
        return abs(self._clock.now_us() - instant_us)


def _is_issued_to(audience: str, claims: dict[str, Any]) -> bool:
    """Tell whether a token is for us alone, or was issued to us where it is for several.

    Source: OpenID Connect Core 1.0, section 3.1.3.7, steps 3 to 5.
    """
    audiences = claims["aud"]
    return isinstance(audiences, str) or set(audiences) == {audience} or claims.get("azp") == audience


def _digest(token: str) -> bytes:
    """Return what is remembered of a token: of what is signed, since a signature can be spelled in several ways."""
    return hashlib.sha256(token.rpartition(".")[0].encode("ascii")).digest()


def _header(token: str) -> dict[str, Any]:
    """(1) Return the token's header."""
    if len(token) > TOKEN_CHARS_MAX:
        raise TokenError("form")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenError("form") from None
    kid, kind = header.get("kid"), header.get("typ", "")
    if header.get("alg") not in ALGORITHMS:
        raise TokenError("algorithm")
    if not header.keys().isdisjoint(("crit", "b64")) or not isinstance(kind, str) or kind.lower() not in TYPES:
        raise TokenError("form")
    if kid is not None and (not isinstance(kid, str) or len(kid) > KID_CHARS_MAX):
        raise TokenError("form")
    return header


def _fits(key: dict[str, Any], algorithm: str) -> bool:
    kty, curve = ALGORITHMS[algorithm]
    operations = key.get("key_ops")
    return (
        key.get("kty") == kty
        and (curve is None or key.get("crv") == curve)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        and "d" not in key
    )


def _instant_us(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise TokenError("claims")
    return int(value * 1_000_000)


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return client_context(ca)
    except (OSError, ssl.SSLError):
        raise ConfigurationError("the OpenID provider's CA cannot be read", hint="see oidc_ca in lagrum.toml") from None
