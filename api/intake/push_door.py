"""The short way of a small push: from the door into the spool without the framework.

It takes what is plain: `POST /v1/cdrs` of a switch for its own source, with a length that fits into the spool, no
idempotency key, and nothing asked for but source, format and tenant. Bodies are in memory until they are durable: those
that are not small share a bound, and beyond it they stream the long way. Everything else, and every refusal before the
body is read, goes the long way (`api.routes.cdrs`), which does the same and explains itself.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from api import problems
from api.intake import delivery
from api.intake.body import CODINGS
from api.intake.spooler import Answer, Durable, PushKind, Spooler, TooLargeError
from api.people.auth import Principal, PrincipalKind
from api.pools import ByteBudget
from ingest.decoders import FORMATS
from schemas.errors import InputError, LagrumError

if TYPE_CHECKING:
    from api.settings import Settings

PATH: Final = "/v1/cdrs"
TENANT: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_TENANT: Final = re.compile(TENANT)
_KNOWN: Final = frozenset({"source", "format", "tenant"})
_LONG_WAY: Final = frozenset({b"idempotency-key", b"prefer", b"expect"})
_LENGTH_DIGITS_MAX: Final = 9
_RESERVED: Final = "push_reserved"
ANSWER: Final = "push_answer"
"""Where a scope has what the spooler answered, when it was asked already."""


@dataclass(frozen=True, slots=True)
class _Route:
    path: str


_ROUTE: Final = _Route(PATH)


class PushDoor:
    """An ASGI application for plain pushes; see the module."""

    def __init__(self, spooler: Spooler, settings: Settings) -> None:
        self._spooler, self._settings = spooler, settings
        self._budget = ByteBudget(settings.spooled_bodies_bytes_max)

    async def take(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a plain push; False, with nothing read, when it is not plain."""
        kind = self.kind(scope)
        principal: Principal = scope["principal"]
        if kind is None or principal.kind is not PrincipalKind.SWITCH or kind.source_name not in principal.sources:
            return False
        coding, length = self.plain(scope, kind.format)
        if coding is None:
            return False
        if self.is_large(length):
            if not self._budget.take(length):
                return False
            scope[_RESERVED] = length
        scope["route"] = _ROUTE
        try:
            body = await self._body(receive)
            durable = await self._durable(scope, kind, body, coding)
        except TooLargeError as error:
            await problems.from_status(413, error.message)(scope, receive, send)
            return True
        except LagrumError as error:
            await problems.from_error(error)(scope, receive, send)
            return True
        if durable is None:
            scope["push"] = body  # read already; the long way ingests it by itself
            return False
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(durable.json))]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": durable.json})
        return True

    def is_large(self, length: int) -> bool:
        """Tell whether a body counts towards what may lie in memory."""
        return length > self._settings.small_body_bytes_max

    def release(self, scope: Scope) -> None:
        """Give back what a request's body took, once it is answered."""
        self._budget.give(scope.pop(_RESERVED, 0))

    def kind(self, scope: Scope) -> PushKind | None:
        """Return what a request asks for, None when that is not plain; the query loses what FreeSWITCH appends."""
        scope["query_string"] = without_uuid(scope["query_string"])
        return _kind(scope["query_string"]) if scope["method"] == "POST" else None

    def plain(self, scope: Scope, form: str) -> tuple[str | None, int]:
        """Return the content coding and the length of a plain push, (None, 0) when it is not one."""
        media_type = coding = length = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                media_type = value
            elif name == b"content-encoding":
                coding = value
            elif name == b"content-length":
                length = value
            elif name in _LONG_WAY:
                return None, 0
        if not length.isdigit() or len(length) > _LENGTH_DIGITS_MAX:
            return None, 0
        most = max(self._settings.small_body_bytes_max, self._settings.spooled_body_bytes_max)
        if not 0 < int(length) <= min(most, self._settings.body_bytes_max):
            return None, 0
        return _plain_coding(media_type, coding, form), int(length)

    async def _durable(self, scope: Scope, kind: PushKind, body: bytes, coding: str) -> Durable | None:
        """Return what the spooler answers, or answered already to who came by the connection."""
        if ANSWER not in scope:
            return await self._spooler.push(kind, body, coding)
        answer: Answer = scope.pop(ANSWER)
        if isinstance(answer, LagrumError):
            raise answer
        return answer

    async def _body(self, receive: Receive) -> bytes:
        """Read the body.

        Raises:
            InputError: it is cut off, or stops coming.
        """
        pieces = []
        try:
            async with asyncio.timeout(self._settings.body_idle_seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise InputError("the body is cut off")
                    pieces.append(message.get("body", b""))
                    if not message.get("more_body"):
                        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        except TimeoutError:
            raise InputError("the body stopped coming") from None


def without_uuid(query: bytes) -> bytes:
    """Return a query without what FreeSWITCH appends to the address that it is given: `?uuid=` and a leg's id."""
    plain, found, _ = query.partition(b"?uuid=")
    return plain.rstrip(b"&") if found else query


@lru_cache(1024)
def _kind(query: bytes) -> PushKind | None:
    """Return what a plain query asks for."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=8)
    except ValueError:
        return None
    given = dict(pairs)
    if len(given) != len(pairs) or not given.keys() <= _KNOWN or given.get("format") not in FORMATS:
        return None
    source, tenant = given.get("source"), given.get("tenant")
    if not source or (tenant is not None and not _TENANT.fullmatch(tenant)):
        return None
    return PushKind(source, given["format"], tenant)


@lru_cache(256)
def _plain_coding(media_type: bytes, coding: bytes, form: str) -> str | None:
    plain = delivery.media_type_of(media_type.decode("latin-1"))
    named = coding.decode("latin-1").strip().lower() or "identity"
    return named if delivery.fits(plain, form) and named in CODINGS else None
