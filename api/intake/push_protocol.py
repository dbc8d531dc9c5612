"""The straight way of a small push: from the connection into the spool and back, without a task of its own.

It takes a plain push (`api.intake.push_door`) that came whole with its headers, of a switch that says what it said
before. Everything else goes by the door (`api.access_middleware`), and so does every answer that is not a receipt; what
the spooler has answered here is not asked again there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from api.intake.push_door import ANSWER, PATH, PushDoor
from api.intake.spooler import Answer, Durable, Spooler
from api.people.auth import LOCAL
from api.people.credential_fast_path import credential_of
from api.people.credentials import Scope
from api.tls import PeerCertificateProtocol
from schemas.errors import LagrumError

if TYPE_CHECKING:
    import asyncio

    from api.people.authenticator import Authenticator
    from api.telemetry.metrics import Metrics

_HEADERS: Final = b"content-type: application/json\r\nx-content-type-options: nosniff\r\n"

logger = logging.getLogger("lagrum.http")


class PushLine:
    """Recognises a plain push and hands it over."""

    def __init__(self, authenticator: Authenticator, pushes: PushDoor, spooler: Spooler, metrics: Metrics) -> None:
        self._authenticator, self._pushes, self._spooler = authenticator, pushes, spooler
        self._metrics = metrics

    def take(
        self, loop: asyncio.AbstractEventLoop, scope: Any, body: bytearray, answered: Callable[[Answer], None]
    ) -> bool:
        """Hand a whole request over to the spooler; False, with nothing done, when it is not a plain push."""
        authorization = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                if authorization is not None:
                    return False
                authorization = value
            elif name == b"upgrade":
                return False
        kind = self._pushes.kind(scope)
        if kind is None or authorization is None:
            return False
        client = scope["client"]
        host = client[0] if client else LOCAL
        credential = credential_of(self._authenticator, authorization.decode("latin-1"), host)
        if credential is None or credential.scope is not Scope.INGEST or kind.source_name not in credential.sources:
            return False
        coding, length = self._pushes.plain(scope, kind.format)
        if coding is None or length != len(body) or self._pushes.is_large(length):
            return False
        try:
            self._spooler.submit(loop, kind, bytes(body), coding, answered)
        except LagrumError:
            return False
        return True

    def answered(self, seconds: float) -> None:
        """Count one push that has its receipt."""
        self._metrics.answered("POST", PATH, 202, seconds)


class PushProtocol(PeerCertificateProtocol):
    """uvicorn's HTTP protocol, with the straight way of a push."""

    _is_reading = False
    _begun: tuple[RequestResponseCycle, Any] | None = None

    def data_received(self, data: bytes) -> None:
        """Read on; a push that has come whole by then is handed over."""
        self._is_reading = True
        try:
            super().data_received(data)
        finally:
            self._is_reading = False
        if self._begun is not None:
            (cycle, app), self._begun = self._begun, None
            if not self._hand_over(cycle, app):
                super()._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._is_reading and cycle.scope["path"] == PATH and app is self.app:
            self._begun = cycle, app  # its body may be in what is read just now
        else:
            super()._start_asgi_task(cycle, app)

    def _hand_over(self, cycle: RequestResponseCycle, app: Any) -> bool:
        if cycle.more_body:
            return False
        try:
            line: PushLine = app.state.push_line
            answered = partial(self._answered, line, cycle, app, time.perf_counter())
            return line.take(self.loop, cycle.scope, cycle.body, answered)
        except Exception as error:  # the door finds out
            logger.error("a push came not straight: %s", type(error).__name__)
            return False

    def _answered(self, line: PushLine, cycle: RequestResponseCycle, app: Any, began: float, answer: Answer) -> None:
        """Send a receipt; anything else, or to who does not read what he is sent, goes by the door."""
        if not isinstance(answer, Durable) or self.flow.write_paused:
            cycle.scope[ANSWER] = answer  # type: ignore[typeddict-unknown-key]
            super()._start_asgi_task(cycle, app)
            return
        if not cycle.disconnected:
            cycle.response_started = cycle.response_complete = True
            self.transport.write(self._receipt(cycle, answer.json))
            if not cycle.keep_alive:
                self.transport.close()
            cycle.on_response()
        line.answered(time.perf_counter() - began)

    def _receipt(self, cycle: RequestResponseCycle, json: bytes) -> bytes:
        pieces = [STATUS_LINE[202]]
        for name, value in cycle.default_headers:
            pieces += (name, b": ", value, b"\r\n")
        pieces += (_HEADERS, b"content-length: %d\r\n" % len(json))
        pieces += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", json)
        return b"".join(pieces)
