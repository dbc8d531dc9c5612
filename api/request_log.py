"""Every request of a recognised caller leaves an entry in the audit log before its answer leaves: the door's own step.

What a procedure does it logs itself, with the case and in the transaction of its change. Whatever answers a request of
somebody whom no such entry names gets one here: reads, refusals by role or form, requests of what does not exist. So a
route that forgets to log cannot let anything out unlogged, and an answer whose entry cannot be made durable is 503.

    request.done      answered          public: person, as, request (method and route, never the path), status
    request.refused   4xx               secret, where there is one: path and query as they came, for auditors
    request.failed    5xx

Not here: deliveries of records, which their batches log; callers who were not recognised and those who are held back
(401, 429), which the authentication log has for 30 days; and `SILENT`. Programs repeat themselves: the same refusal of
the same credential is one entry a minute.

Source: the design's promise 6.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.people.auth import Principal, PrincipalKind
from schemas.errors import LagrumError
from store import AuditEntry
from store.audit_context import noting

if TYPE_CHECKING:
    from store import Store

SILENT: Final = {
    ("POST", "/v1/cdrs"): "each batch has its entry",
    ("GET", "/v1/receipts/{receipt_id}"): "a switch asks what became of its own delivery; numbers",
    ("GET", "/v1/metrics"): "counts, asked for every few seconds",
    ("POST", "/v1/sessions"): "log-ins have a log of their own, which ends after 30 days",
    ("DELETE", "/v1/sessions/current"): "the same",
    ("GET", "/v1/sessions/current"): "the asker's own session",
    ("GET", "/v1/audit/checkpoint"): "a tree's head; an entry for it would change what it tells",
    ("GET", "/v1/audit/proofs/inclusion"): "hashes; the same",
    ("GET", "/v1/audit/proofs/consistency"): "hashes; the same",
    ("GET", "/v1/openapi.json"): "documentation",
}
"""Requests that leave no entry when they are answered, and why; refusals of them do."""
DONE, REFUSED, FAILED = "request.done", "request.refused", "request.failed"
UNROUTED: Final = "(none)"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REPEAT_SECONDS: Final = 60
TEXT_CHARS_MAX: Final = 2_000
_REPEATS_MAX: Final = 10_000
_THREADS: Final = 4


class RequestLog:
    """The step between the door and the routes."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app, self._store = app, store
        self._said: dict[tuple[str, str, int], float] = {}
        self._threads: CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request of a recognised caller."""
        with noting() as noted:
            await self._app(scope, receive, _Held(send, lambda status: self._log(scope, status, noted)).send)

    async def _log(self, scope: Scope, status: int, noted: Iterable[AuditEntry]) -> LagrumError | None:
        """Make the request's entry durable, if it needs one; return why an answer may not leave."""
        entry = entry_of(scope, status, noted)
        if entry is None or self._is_repeated(scope["principal"], entry):
            return None
        if self._threads is None:
            self._threads = CapacityLimiter(_THREADS)
        try:
            await run_sync(self._keep, entry, limiter=self._threads)
        except LagrumError as error:
            return error if status < 400 else None  # a refusal stays one; its entry follows
        return None

    def _keep(self, entry: AuditEntry) -> None:
        if entry.kind == DONE:
            self._store.log(entry)
        else:
            self._store.documents.commit([], [entry])

    def _is_repeated(self, principal: Principal, entry: AuditEntry) -> bool:
        """Tell whether a program was refused so within the minute; what answers, or a person, is never left out."""
        if entry.kind == DONE or principal.kind in (PrincipalKind.PERSON, PrincipalKind.AUTHORITY):
            return False
        key = (principal.person_id, str(entry.public["request"]), int(entry.public["status"]))
        now, last = time.monotonic(), self._said.get(key)
        if last is not None and now - last < REPEAT_SECONDS:
            return True
        if len(self._said) >= _REPEATS_MAX:
            self._said.clear()
        self._said[key] = now
        return False


def entry_of(scope: Scope, status: int, noted: Iterable[AuditEntry]) -> AuditEntry | None:
    """Return the entry that a request needs besides those that it made; None when they name who asked. Pure."""
    principal: Principal = scope["principal"]
    route = getattr(scope.get("route"), "path", UNROUTED)
    if status < 400 and (scope["method"], route) in SILENT:
        return None
    if any(_names(entry, principal.person_id) for entry in noted):
        return None
    kind = DONE if status < 400 else REFUSED if status < 500 else FAILED
    method = scope["method"] if scope["method"] in METHODS else UNROUTED  # what a caller made up is not for all to read
    public = {
        "person": principal.person_id,
        "as": principal.kind.value,
        "request": f"{method} {route}",
        "status": status,
    }
    asked = {"path": _text(scope["path"]), "query": _text(scope["query_string"].decode("latin-1"))}
    return AuditEntry(kind, public, asked if asked["query"] or asked["path"] != route else None)


class _Held:
    """Holds the head of an answer back until its entry is durable; puts a refusal in its place when it cannot be."""

    def __init__(self, send: Send, tell: Callable[[int], Awaitable[LagrumError | None]]) -> None:
        self._send, self._tell = send, tell
        self._is_replaced = False

    async def send(self, message: Message) -> None:
        if self._is_replaced:
            return
        if message["type"] == "http.response.start":
            failure = await self._tell(message["status"])
            if failure is not None:
                self._is_replaced = True
                await problems.from_error(failure)({"type": "http"}, _nothing, self._send)
                return
        await self._send(message)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _names(entry: AuditEntry, person_id: str) -> bool:
    values = entry.public.values()
    return any(value == person_id or (isinstance(value, list | tuple) and person_id in value) for value in values)


def _text(text: str) -> str:
    return text[:TEXT_CHARS_MAX]
