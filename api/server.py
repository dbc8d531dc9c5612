"""The service: one process on TCP (with TLS where configured) and on the unix socket ROOT/run/lagrum.sock.

The unix socket is for the people and programs of the machine's service user (mode 0600 in a folder of mode 0700); who
connects to it still has to say who he is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
import uvloop

from api.app import create_app
from api.intake.push_protocol import PushProtocol
from api.settings import Settings, socket_path
from api.tls import server_context
from schemas.errors import BusyError, ConfigurationError
from store import files

if TYPE_CHECKING:
    import ssl

    from api.merger import Merger
    from store import Store

_BACKLOG: Final = 512
_PATH_BYTES_MAX: Final = 107


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the service listens."""

    host: str
    port: int
    tls: bool
    socket_path: Path


class _Server(uvicorn.Server):
    """A listener; the process's signals are `run`'s, not each listener's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(
    store: Store,
    settings: Settings,
    *,
    merger: Merger | None = None,
    ready: Callable[[Listening], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way; `ready` is called once both listeners take calls.

    With a `merger` parts are merged in another process, else in a thread of this one.

    Raises:
        ConfigurationError: the port or the socket is taken, TLS files cannot be read.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(store, settings, merger=merger, ready=ready, signals=True))


async def serve(
    store: Store,
    settings: Settings,
    *,
    merger: Merger | None = None,
    ready: Callable[[Listening], None] | None = None,
    stop: asyncio.Event | None = None,
    signals: bool = False,
) -> None:
    """Serve until `stop` is set (or a signal comes, with `signals`); see `run`."""
    app = create_app(store, settings=settings, merger=merger)
    context = server_context(settings, store.root)
    stop = stop or asyncio.Event()
    with _tcp(settings) as tcp, _unix(store.root) as (unix, path):
        listening = Listening(settings.host, tcp.getsockname()[1], context is not None, path)
        # The lifespan (pools, upkeep) belongs to the application, not to one of its two listeners.
        async with app.router.lifespan_context(app):
            servers = [
                (_Server(_config(app, settings, context)), tcp),
                (_Server(_config(app, settings, None)), unix),
            ]
            await _run_all(servers, listening, ready, stop, signals=signals)


async def _run_all(
    servers: list[tuple[_Server, socket.socket]],
    listening: Listening,
    ready: Callable[[Listening], None] | None,
    stop: asyncio.Event,
    *,
    signals: bool,
) -> None:
    loop = asyncio.get_running_loop()
    if signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    tasks: list[asyncio.Future[Any]] = [
        asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers
    ]
    stopped: asyncio.Future[Any] = asyncio.create_task(stop.wait())
    listen: asyncio.Future[Any] = asyncio.gather(*(server.listening.wait() for server, _ in servers))
    try:
        await asyncio.wait([listen, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if ready is not None and listen.done():
            ready(listening)
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for server, _ in servers:
            server.should_exit = True
        stopped.cancel()
        listen.cancel()
        await asyncio.gather(*tasks)


def _config(app: Any, settings: Settings, context: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PushProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.connections_max,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        backlog=_BACKLOG,
        ssl_context_factory=None if context is None else (lambda _config, _default: context),
    )


@contextlib.contextmanager
def _tcp(settings: Settings) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"the service cannot listen on port {settings.port}: {error.strerror}",
            hint="another service may run; set port in [server] of lagrum.toml",
        ) from None
    with listener:
        yield listener


@contextlib.contextmanager
def _unix(root: Path) -> Iterator[tuple[socket.socket, Path]]:
    """Bind the unix socket; the lock beside it keeps two services of one root apart, and a stale socket is replaced."""
    path = socket_path(root)
    files.make_dir(path.parent)
    if len(os.fsencode(path)) > _PATH_BYTES_MAX:
        raise ConfigurationError(
            f"the path of the unix socket is longer than {_PATH_BYTES_MAX} bytes", hint="take a shorter root"
        )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.lock(path.parent / "serve.lock", exclusive=True, blocking=False))
        except BusyError as error:
            raise ConfigurationError(
                f"another service of the store in {root} runs already", hint="stop it first, or use it as it is"
            ) from error
        files.unlink_durable(path, missing_ok=True)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        # The folder is 0700 already, so nobody else can connect between bind and chmod.
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        stack.callback(files.unlink_durable, path, missing_ok=True)
        yield listener, path
