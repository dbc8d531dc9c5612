"""OpenID providers for tests: the real one, and one whose keys and answers a test holds in its hands."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.patience import PATIENCE_S, until
from tests.ports import free_port

AUDIENCE = "lagrum"
REDIRECT = "http://127.0.0.1:1/back"
PAUSE_S = 0.1
"""So long a provider that dribbles waits before every piece."""


@contextmanager
def real_provider() -> Iterator[str]:
    """Run oidc-provider-mock as a process of its own; its issuer."""
    port = free_port()
    program = Path(sys.executable).with_name("oidc-provider-mock")
    issuer = f"http://127.0.0.1:{port}"
    command = [str(program), "--port", str(port), "--host", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: process.poll() is not None or _answers(issuer), "the provider does not start")
            assert process.poll() is None
            yield issuer
        finally:
            process.terminate()


def _answers(issuer: str) -> bool:
    try:
        httpx.get(f"{issuer}/jwks", timeout=PATIENCE_S)
    except httpx.TransportError:
        return False
    return True


def log_in(issuer: str, subject: str, audience: str = AUDIENCE, nonce: str = "one") -> str:
    """Log a subject in by the code flow, as a browser does; the ID token."""
    asked = {
        "client_id": audience,
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "openid",
        "nonce": nonce,
    }
    answer = httpx.post(f"{issuer}/oauth2/authorize", params=asked, data={"sub": subject}, timeout=PATIENCE_S)
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    answer = httpx.post(f"{issuer}/oauth2/token", data=form, auth=(audience, "secret"), timeout=PATIENCE_S)
    token: str = answer.json()["id_token"]
    return token


class Provider:
    """A provider on loopback: `answers` are documents by path, or (status, document), or octets in pieces.

    `calls` is what was asked.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.calls: list[str] = []
        self.key = new_key(name="own")
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.calls.append(self.path)
                found = provider.answers.get(self.path)
                if isinstance(found, int):
                    self.send_response(found)
                    self.send_header("Location", f"{provider.issuer}/elsewhere")
                    self.end_headers()
                    return
                status, found = found if isinstance(found, tuple) else (200 if found is not None else 404, found)
                pieces = found if isinstance(found, list) else [_octets(found)]
                self.send_response(status)
                self.send_header("Content-Length", str(sum(map(len, pieces))))
                self.end_headers()
                with suppress(ConnectionError):  # who asked may have enough of it
                    for piece in pieces:
                        time.sleep(PAUSE_S if len(pieces) > 1 else 0)
                        self.wfile.write(piece)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        discovery = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}
        self.answers["/.well-known/openid-configuration"] = discovery
        self.publish(("k1", self.key))

    def __enter__(self) -> Provider:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, *keys: tuple[str, Any], **more: Any) -> None:
        self.answers["/jwks"] = {"keys": [jwk(kid, key) | more for kid, key in keys]}

    def claims(self, now: float, **changes: Any) -> dict[str, Any]:
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": "s-1", "iat": now, "exp": now + 3600, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, now: float, *, key: Any = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
        claims = self.claims(now, **changes)
        return jwt.encode(claims, key or self.key, "RS256", headers={"kid": "k1"} | (header or {}))


def _octets(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


@cache
def new_key(bits: int = 2048, name: str = "another") -> rsa.RSAPrivateKey:
    """A key of the name; one per test process."""
    assert name
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


def jwk(kid: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    made: dict[str, Any] = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid}
