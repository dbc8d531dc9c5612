"""NATS JetStream as a queue: a durable pull consumer with explicit acknowledgement.

The broker's client is asynchronous; it runs in a thread of its own. A lost connection is made again by the client, and
what was sent meanwhile waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, StreamInfo

from ingest.nats_keys import KeyClient, NatsKey
from ingest.queue import Lag, Message
from schemas.errors import BusyError, ConfigurationError, LagrumError
from store import files
from store.tls import client_context

ACK_WAIT_S: Final = 120.0
"""A message that is not acknowledged within it comes again."""
ACK_PENDING_MAX: Final = 20_000
PROBE_MESSAGES: Final = 16
STEP_MESSAGES: Final = 500
"""So many at once, so that the bound in bytes holds."""
CALL_S: Final = 10.0
CONNECT_S: Final = 5.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_REFUSALS: Final = ("authorization violation", "authentication")

_log = logging.getLogger("lagrum.consume")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JetStreamSettings:
    """Where the queue is, and how the broker is to know us.

    `server` is nats://HOST:PORT or tls://HOST:PORT, without a password. Secrets come from files that nobody else can
    read: `token_file` holds a token, `login_file` a user and a password in two lines, `credentials_file` an nkey's seed
    or what NATS calls credentials (`.creds`). `ca`, `certificate` and `key` are PEM files. `subject` takes a part of
    the stream.
    """

    server: str
    stream: str
    durable: str
    subject: str | None = None
    token_file: Path | None = field(default=None, repr=False)
    login_file: Path | None = field(default=None, repr=False)
    credentials_file: Path | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    ack_wait_s: float = ACK_WAIT_S

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: one cannot work, or would show a secret or send it in the clear.
        """
        parts = urlsplit(self.server)
        if parts.scheme not in ("nats", "tls") or not parts.hostname:
            raise ConfigurationError("the broker's address is nats://HOST:PORT or tls://HOST:PORT")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(
                "the broker's address holds no user or password: others can see it",
                hint="write them into a file of mode 0600 and name it",
            )
        for name in (self.stream, self.durable):
            if not name or not name.isascii() or not name.isprintable() or set(name) & set(" .*>/\\"):
                raise ConfigurationError("a stream's and a consumer's name has no space, dot, star, > or slash")
        if bool(self.certificate) != bool(self.key):
            raise ConfigurationError("the client certificate and its key come together")
        if sum(one is not None for one in (self.token_file, self.login_file, self.credentials_file)) > 1:
            raise ConfigurationError("one of a token, a login and credentials, not several")
        if not self.secure and parts.hostname not in _LOOPBACK:
            raise ConfigurationError(
                "beyond this machine the broker is reached with TLS", hint="tls://HOST:PORT, and perhaps its CA"
            )

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.server.startswith("tls://") or self.ca is not None or self.certificate is not None

    def credentials(self) -> dict[str, str]:
        """Return what the client says of itself.

        Raises:
            PermissionsError: others may read the file.
            ConfigurationError: it does not hold what it should.
        """
        if self.token_file is not None:
            token = files.read_secret(self.token_file).decode("utf-8", "replace").strip()
            if not token or not token.isprintable():
                raise ConfigurationError("the token file holds no token")
            return {"token": token}
        if self.login_file is not None:
            lines = files.read_secret(self.login_file).decode("utf-8", "replace").splitlines()
            if len(lines) < 2 or not lines[0] or not lines[1]:
                raise ConfigurationError("the login file holds a user and a password, in two lines")
            return {"user": lines[0], "password": lines[1]}
        return {}

    def nats_key(self) -> NatsKey | None:
        """Return the key that the client signs with; None without one.

        Raises:
            PermissionsError: others may read the file.
            ConfigurationError: it holds none.
        """
        if self.credentials_file is None:
            return None
        return NatsKey(files.read_secret(self.credentials_file).decode("utf-8", "replace"))

    def tls(self) -> ssl.SSLContext | None:
        """Return what checks the broker's certificate; None without TLS.

        Raises:
            ConfigurationError: a file holds no certificate or key.
        """
        if not self.secure:
            return None
        try:
            context = client_context(self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError):
            raise ConfigurationError("the broker's CA, or our certificate and key, cannot be read") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


class JetStream:
    """One durable consumer of one stream; see `ingest.queue.Queue`."""

    def __init__(self, settings: JetStreamSettings) -> None:
        self._settings = settings
        self._key = settings.nats_key()
        self._options: dict[str, Any] = {
            **settings.credentials(),
            **({"tls": tls} if (tls := settings.tls()) is not None else {}),
            **({"user_credentials": "ours"} if self._key is not None else {}),  # KeyClient knows them
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lagrum-nats", daemon=True)
        self._thread.start()
        self._client: Client | None = None
        self._pull: Any = None
        self._name = ""
        self._refused = asyncio.Event()
        self._mean_bytes = 1.0

    def fetch(self, *, messages_max: int, bytes_max: int, wait_s: float) -> list[Message]:
        """Return what is there; see `Queue`."""
        return self._call(self._fetch(messages_max, bytes_max, wait_s), CALL_S + wait_s)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages."""
        self._call(self._tell([message.handle.ack() for message in messages]))

    def nack(self, messages: Sequence[Message], *, delay_s: float) -> None:
        """Give messages back."""
        self._call(self._tell([message.handle.nak(delay=delay_s) for message in messages]))

    def terminate(self, messages: Sequence[Message]) -> None:
        """End messages."""
        self._call(self._tell([message.handle.term() for message in messages]))

    def lag(self) -> Lag:
        """Return how far behind the consumer is."""
        return self._call(self._lag())

    def close(self) -> None:
        """Leave the broker."""
        with contextlib.suppress(LagrumError):
            self._call(self._leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T], seconds: float = CALL_S) -> T:
        """Run something on the client's thread; its errors become ours, without what they say."""
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(seconds)
        except LagrumError:
            raise
        except nats.js.errors.NotFoundError:
            self._pull = None
            raise ConfigurationError(
                "the broker has no such stream", hint="streams are made by the broker's operator"
            ) from None
        except (TimeoutError, OSError, nats.errors.Error, nats.js.errors.Error) as error:
            running.cancel()
            if isinstance(error, nats.js.errors.Error):
                self._pull = None  # the consumer may be gone; it is looked for again
            raise BusyError("the broker is away", hint="messages stay with it until it is back") from None

    async def _leave(self) -> None:
        if self._client is not None:
            await self._client.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self) -> Client:
        """Return the client, connected or on its way to be again.

        Raises:
            ConfigurationError: the broker does not take the credentials.
        """
        if self._client is None or self._client.is_closed:
            self._pull, self._refused = None, asyncio.Event()
            client = Client() if self._key is None else KeyClient(self._key)
            connecting = asyncio.create_task(
                client.connect(
                    self._settings.server,
                    name="lagrum",
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=1,
                    connect_timeout=5,
                    error_cb=self._error,
                    **self._options,
                )
            )
            refused = asyncio.create_task(self._refused.wait())
            try:
                await asyncio.wait({connecting, refused}, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
                if refused.done():
                    raise ConfigurationError("the broker refuses us", hint="look at the credentials")
                if not connecting.done():
                    raise TimeoutError
                connecting.result()
            finally:
                connecting.cancel()
                refused.cancel()
            self._client = client
        return self._client

    async def _error(self, error: Exception) -> None:
        if any(word in str(error).lower() for word in _REFUSALS):
            self._refused.set()
        _log.warning("the broker's client: %s", type(error).__name__)

    async def _bound(self) -> Any:
        """Return the subscription of the durable consumer, which is made when it is missing."""
        client = await self._connected()
        if self._pull is None:
            chosen, stream = self._settings, client.jetstream()
            about = await stream.stream_info(chosen.stream)
            try:
                consumer = await stream.consumer_info(chosen.stream, chosen.durable)
            except nats.js.errors.NotFoundError:
                wanted = ConsumerConfig(
                    durable_name=chosen.durable,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=chosen.ack_wait_s,
                    max_deliver=-1,
                    max_ack_pending=ACK_PENDING_MAX,
                    filter_subject=chosen.subject,
                )
                consumer = await stream.add_consumer(chosen.stream, wanted)
            _check(consumer, chosen.subject)
            self._name = _name(about, consumer)
            self._pull = await stream.pull_subscribe_bind(chosen.durable, chosen.stream)
        return self._pull

    async def _fetch(self, messages_max: int, bytes_max: int, wait_s: float) -> list[Message]:
        pull = await self._bound()
        found: list[Message] = []
        size, deadline = 0, time.monotonic() + wait_s
        while len(found) < messages_max and size < bytes_max:
            left_s = deadline - time.monotonic()
            if left_s <= 0.001:
                break
            room = int((bytes_max - size) / self._mean_bytes) + 1
            wanted = min(messages_max - len(found), room, STEP_MESSAGES if found else PROBE_MESSAGES)
            try:
                came: list[Msg] = await pull.fetch(wanted, timeout=left_s)
            except (TimeoutError, nats.errors.TimeoutError):
                break
            found += [self._message(one) for one in came]
            size += sum(len(one.data) for one in came)
            if came:
                self._mean_bytes = max(1.0, size / len(found))
        return found

    def _message(self, came: Msg) -> Message:
        about = came.metadata
        return Message(self._name, about.sequence.stream, came.data, about.num_delivered, came)

    async def _tell(self, words: list[Coroutine[Any, Any, None]]) -> None:
        for word in words:
            await word
        if words:
            await (await self._connected()).flush(int(CALL_S))

    async def _lag(self) -> Lag:
        pull = await self._bound()
        about = await self._client.jetstream().stream_info(self._settings.stream)  # type: ignore[union-attr]
        consumer: ConsumerInfo = await pull.consumer_info()
        whole = not consumer.config.filter_subject and not consumer.config.filter_subjects
        return Lag(
            queue=self._name,
            waiting=consumer.num_pending or 0,
            unacknowledged=consumer.num_ack_pending or 0,
            floor=consumer.ack_floor.stream_seq if consumer.ack_floor is not None else 0,
            first=about.state.first_seq if whole else None,
        )


def _check(consumer: ConsumerInfo, subject: str | None) -> None:
    """Raise when a durable consumer that is there already would lose messages."""
    config = consumer.config
    if config.ack_policy != AckPolicy.EXPLICIT or config.deliver_subject:
        raise ConfigurationError("the durable consumer is no pull consumer with explicit acknowledgement")
    if config.max_deliver is not None and config.max_deliver > 0:
        raise ConfigurationError(
            "the durable consumer gives messages up after some deliveries", hint="set its max deliveries to -1"
        )
    if subject is not None and subject != config.filter_subject:
        raise ConfigurationError("the durable consumer takes another subject")


def _name(stream: StreamInfo, consumer: ConsumerInfo) -> str:
    """Return what is the same for as long as numbers mean the same messages."""
    made = stream.created.timestamp() if stream.created is not None else 0.0
    return f"nats/{consumer.stream_name}/{made:.6f}/{consumer.name}/{consumer.created}"
