"""Sends one delivery to a store's HTTP door, for the forwarding agent."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from api.problem_kinds import TYPE_PREFIX
from api.settings import is_loopback
from schemas.errors import BusyError, ConfigurationError, InputError
from store.tls import client_context

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 600.0
_REFUSED: Final = frozenset({413, 415})
"""The file is to blame, whoever says so: the store, or a proxy before it."""
_UNFIT: Final = frozenset({401, 403, 404, 409, 422})
"""The credential, the source or the format is to blame."""


class Sender:
    """One credential's way to one source; use it as a context manager."""

    def __init__(
        self, url: str, source: str, format: str, token: str, *, ca: Path | None = None, socket: Path | None = None
    ) -> None:
        """Take where to send, and as whom.

        Raises:
            ConfigurationError: the URL is not https (http goes to this machine only), or the CA cannot be read.
        """
        parts = urlsplit(url)
        if (
            socket is None
            and parts.scheme != "https"
            and not (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        ):
            raise ConfigurationError("a store elsewhere is reached by https only")
        try:
            verify = client_context(ca)
        except (OSError, ssl.SSLError):
            raise ConfigurationError("the CA cannot be read") from None
        transport = httpx.HTTPTransport(verify=verify, uds=None if socket is None else str(socket))
        self._http = httpx.Client(
            transport=transport,
            base_url=url,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"},
            params={"source": source, "format": format, "wait": "true"},
        )

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.close()

    def send(self, pieces: Callable[[], Iterator[bytes]], key: str | None) -> Mapping[str, Any]:
        """Send bytes and return the receipt.

        Raises:
            BusyError: the store does not answer, asks to come again, or something else answers in its place.
            InputError: it refuses these bytes.
            ConfigurationError: it refuses the credential, knows no such source, or that lacks what its format needs.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            answer = self._http.post("/v1/cdrs", content=pieces(), headers=headers)
        except httpx.HTTPError as error:
            raise BusyError(f"the store does not answer ({type(error).__name__})") from None
        body = _json(answer)
        if answer.is_success:
            return body
        title = str(body.get("detail") or body.get("title") or "refused")
        own = str(body.get("type", "")).startswith(TYPE_PREFIX)
        if answer.status_code in _REFUSED or (own and answer.status_code == httpx.codes.BAD_REQUEST):
            raise InputError(f"the store refuses the file: {title}")
        if answer.status_code in _UNFIT:
            raise ConfigurationError(f"the store answers {answer.status_code}: {title}")
        raise BusyError(f"the store answers {answer.status_code}")


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
