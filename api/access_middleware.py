"""The door in front of all routes: default deny.

In this order, for every request:
(1) /v1/health passes; it says that the process lives and nothing else.
(2) Who is it? Without valid credentials: 401, whatever the path, and the body is not read.
    Too many requests of one person or one authority's system in a minute: 429.
(3) A plain small delivery goes the short way (`api.intake.push_door`). Is there room for the others? People's requests
    beyond the limit: 503. (Deliveries have their own pool.)
(4) The body of everything but a delivery is cut at `request_bytes_max`, and given up when it stops coming. When it is
    there, the request waits for its role's turn (`api.people.role_turns`); where too many wait: 503.
(5) No answer leaves before the audit log has an entry of the request (`api.request_log`).
(6) A bug answers 500 without a word about it; the log names the place in the code, never the message.

A push whose sender was recognised here a moment ago may go past (`api.intake.push_protocol`), with the same answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.people.auth import LOCAL, Peer, PrincipalKind, UnauthenticatedError
from api.people.authenticator import Authenticator
from api.people.logins import RATE, Event
from api.people.rates import AUTHORITY
from api.people.role_turns import RoleTurns, at_once
from api.request_log import METHODS, UNROUTED, RequestLog
from api.tls import peer_of
from schemas.errors import LagrumError
from store.clock import to_text

if TYPE_CHECKING:
    from api.intake.push_door import PushDoor
    from api.settings import Settings
    from api.telemetry.metrics import Metrics
    from store import Store

HEALTH_PATH: Final = "/v1/health"
SESSIONS_PATH: Final = "/v1/sessions"
DELIVERY_PATH: Final = "/v1/cdrs"
_THREADS: Final = 4
_UPGRADE: Final = "the body of a request that asks for another protocol is not read; send it without Upgrade"
_LOG_IN: Final = (
    "people: POST /v1/sessions without credentials and sign its challenge, or give the command --as KEY_FILE; "
    "switches: `Authorization: Bearer` and the token of their credential"
)
_SIGN: Final = "sign it with the person's own key and send the request again with `Authorization: Lagrum`"
T = TypeVar("T")

logger = logging.getLogger("lagrum.http")


class AccessMiddleware:
    """ASGI middleware; see the module's steps."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        settings: Settings,
        authenticator: Authenticator,
        metrics: Metrics,
        pushes: PushDoor,
    ) -> None:
        self._open = app
        self._app = RequestLog(app, store)  # (5)
        self._store = store
        self._settings = settings
        self._authenticator = authenticator
        self._metrics = metrics
        self._pushes = pushes
        self._people_in_flight = 0
        self._turns = RoleTurns(at_once(settings), settings.role_waiting_max)
        self._threads: CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the lifespan passes."""
        if scope["type"] == "lifespan":
            await self._open(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        watch = _Watch(send)
        try:
            await self._admit(scope, receive, watch.send)
        except Exception as error:  # (6)
            _log_bug(error)
            if watch.status is None:
                await problems.internal()(scope, receive, watch.send)
        finally:
            method = scope["method"] if scope["method"] in METHODS else UNROUTED
            seconds = time.perf_counter() - started
            self._metrics.answered(method, _template(scope), watch.status or 0, seconds)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if _is_unread(scope):
            await problems.from_status(400, _UPGRADE, {"Connection": "close"})(scope, receive, send)
            return
        if path == HEALTH_PATH:  # (1)
            await self._open(scope, receive, send)
            return
        refusal = await self._recognise(scope)  # (2)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if path == DELIVERY_PATH:
            try:
                if not await self._pushes.take(scope, receive, send):
                    await self._app(scope, receive, send)
            finally:
                self._pushes.release(scope)
            return
        refusal = self._slow_down(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if self._people_in_flight >= self._settings.search_workers + self._settings.search_queue_max:  # (3)
            await problems.from_status(503, "the service takes no more requests right now")(scope, receive, send)
            return
        self._people_in_flight += 1
        try:
            limited = _limited(receive, self._settings.request_bytes_max, self._settings.body_idle_seconds)  # (4)
            role = None if path == SESSIONS_PATH else self._turns.role_of(scope["principal"])
            if role is None:
                await self._app(scope, limited, send)
            else:
                await self._in_turn(role, scope, await _whole(limited), send)
        finally:
            self._people_in_flight -= 1

    async def _in_turn(self, role: str, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(give_back: Callable[[], None]) -> None:
            async def sending(message: Message) -> None:
                give_back()  # what was asked for is done
                await send(message)

            await self._app(scope, receive, sending)

        if not await self._turns.run(role, work):
            told = "too many requests of your role wait already"
            await problems.from_status(503, told, {"Retry-After": "1"})(scope, receive, send)

    async def _recognise(self, scope: Scope) -> Response | None:
        """Put the principal into the scope, or return the refusal."""
        path, method = scope["path"], scope["method"]
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        is_log_in = path == SESSIONS_PATH and method == "POST"
        try:
            if len(values) > 1:
                raise UnauthenticatedError("one Authorization header, not several")
            authorization = values[0].decode("latin-1") if values else None
            # A signature opens a session and nothing else; a session is opened by a signature and nothing else.
            if authorization is not None and is_log_in != authorization[:7].lower().startswith("lagrum "):
                raise UnauthenticatedError("a signature opens a session; a session, token or password does all else")
            if authorization is None and is_log_in:
                raise UnauthenticatedError("sign the challenge")
            scope["principal"] = await self._authenticator.authenticate(authorization, _peer(scope), self._in_thread)
        except UnauthenticatedError as error:
            self._metrics.refused()
            return self._refusal(error, is_log_in=is_log_in)
        except LagrumError as error:
            return problems.from_error(error)
        return None

    def _slow_down(self, scope: Scope) -> Response | None:
        """Return the refusal of who asks more often than the role may; deliveries have limits of their own."""
        principal = scope["principal"]
        if principal.kind is PrincipalKind.PERSON:
            roles = principal.roles
        elif principal.kind is PrincipalKind.AUTHORITY:
            roles = frozenset({AUTHORITY})
        else:
            return None
        seconds = self._authenticator.rates.wait_seconds(f"{principal.kind}:{principal.person_id}", roles)
        if not seconds:
            return None
        self._authenticator.logins.note(Event(RATE, principal.kind.value, principal.person_id, _peer(scope).host))
        return problems.from_status(429, "more requests in a minute than the role may", {"Retry-After": str(seconds)})

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Run a look-up on threads of its own: long searches do not keep anybody from being recognised."""
        if self._threads is None:
            self._threads = CapacityLimiter(_THREADS)
        return await run_sync(function, *args, limiter=self._threads)

    def _refusal(self, error: UnauthenticatedError, *, is_log_in: bool) -> Response:
        if error.retry_after_seconds:
            return problems.from_status(429, error.detail, {"Retry-After": str(error.retry_after_seconds)})
        title = "Credentials are needed"
        if not is_log_in:
            headers = {"WWW-Authenticate": 'Bearer realm="lagrum", Basic realm="lagrum", charset="UTF-8"'}
            return problems.problem(401, "unauthenticated", title, detail=error.detail, hint=_LOG_IN, headers=headers)
        challenge, expires_us = self._authenticator.challenges.issue()
        expires_at = to_text(expires_us)
        return problems.problem(
            401,
            "unauthenticated",
            title,
            detail=error.detail,
            hint=_SIGN,
            headers={"WWW-Authenticate": f'Lagrum challenge="{challenge}", expires="{expires_at}"'},
            challenge=challenge,
            expires_at=expires_at,
            store=self._store.store_id,
        )


class _Watch:
    """Remembers the status that was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message.setdefault("headers", [])
            message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
        await self._send(message)


def _limited(receive: Receive, bytes_max: int, idle_seconds: int) -> Callable[[], Awaitable[Message]]:
    received = 0
    more = True

    async def limited() -> Message:
        nonlocal received, more
        try:
            async with asyncio.timeout(idle_seconds if more else None):  # behind the body comes only the caller's leave
                message = await receive()
        except TimeoutError:
            raise HTTPException(400, "the body stopped coming") from None
        more = bool(message.get("more_body"))
        received += len(message.get("body", b""))
        if received > bytes_max:
            raise HTTPException(413, f"a request's body is at most {bytes_max} bytes")
        return message

    return limited


async def _whole(receive: Callable[[], Awaitable[Message]]) -> Callable[[], Awaitable[Message]]:
    """Take a body in, and return what gives it again: who sends it slowly keeps nobody waiting."""
    messages: deque[Message] = deque()
    refused: HTTPException | None = None
    try:
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
    except HTTPException as error:
        refused = error  # raised again where it is answered

    async def again() -> Message:
        if messages:
            return messages.popleft()
        if refused is not None:
            raise refused
        return await receive()

    return again


def _is_unread(scope: Scope) -> bool:
    """Tell whether a request has a body that the parser leaves unread, because it asks for another protocol.

    It looks empty otherwise, and would get a receipt for nothing. Source: RFC 9110 §7.8 (Upgrade: h2c, as the client of
    Java sends it over plain TCP).
    """
    if not any(name == b"upgrade" for name, _ in scope["headers"]):
        return False
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _peer(scope: Scope) -> Peer:
    client: Any = scope.get("client")
    fingerprint, subject = peer_of(scope)
    return Peer(client[0] if client else LOCAL, fingerprint, subject)


def _template(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", UNROUTED)


def _log_bug(error: Exception) -> None:
    """Name the kind of error and the place in the code; its message may hold a value."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    logger.error("a request failed: %s at %s", type(error).__name__, place)
