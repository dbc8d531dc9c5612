"""One HI-1 request on its way to an authority's endpoint, over mutual TLS: connect, send, read the answer, close.

What it never does: follow a redirect, use a proxy of the environment, send before the server has shown a certificate of
the registered chain and name, go to another host than the registered one, wait or read without end. The URL is the
registered one; what is sent is the caller's octets and nothing else.

A host that resolves to the machine itself, to a link-local, multicast or unspecified address is not called, unless it
is registered as the machine itself: a name's owner does not reach what only the service reaches.

Source: RFC 9110 sections 9.3.3 (POST) and 15.4 (redirects), RFC 8446.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from api.settings import is_loopback

MEDIA_TYPE: Final = "application/xml"
ANSWER_BYTES_MAX: Final = 1 << 20
_OK: Final = 200
_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an endpoint may take: to connect, for one read or write, and for a whole request of a size."""

    connect_seconds: float = 10.0
    idle_seconds: float = 30.0
    request_seconds: float = 60.0
    bytes_per_second: int = 1 << 17

    def seconds(self, size_bytes: int) -> float:
        """Return the time of a whole request, its answer included."""
        return self.request_seconds + size_bytes / self.bytes_per_second


class PushError(Exception):
    """An endpoint did not take a message. `word` is stable and names neither host nor content."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class Line:
    """A connection to one endpoint, for one request; use it as a context manager."""

    def __init__(self, url: str, ca: str, client: Callable[[ssl.SSLContext], None], limits: Limits) -> None:
        """Take the registered URL and CA (DER, base64), and what lets a context present our certificate."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or _PORT
        self._path, self._limits = parts.path or "/", limits
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols(["http/1.1"])
        # The registered certificate may be the server's own: the chain may end in it without a root above.
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._client = client
        self._ca = b64decode(ca)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        """End whatever runs, from another thread."""
        found = self._socket
        if found is not None:
            with suppress(OSError):
                # The plain socket's: TLS would wait for the other side.
                socket.socket.shutdown(found, socket.SHUT_RDWR)

    def connect(self) -> None:
        """Connect, and verify who is there.

        Raises:
            PushError: `certificate` (ours does not fit), `address`, `unreached`, `tls`, `timeout`.
        """
        expired = threading.Event()
        try:
            self._context.load_verify_locations(cadata=self._ca)
            self._client(self._context)
        except (ssl.SSLError, ValueError):
            raise PushError("certificate") from None
        try:
            plain = self._dial()
            self._socket = line = self._context.wrap_socket(
                plain, server_hostname=self._host, do_handshake_on_connect=False
            )
            with self._watched(self._limits.connect_seconds, expired):
                line.do_handshake()
        except TimeoutError:
            raise PushError("timeout") from None
        except ssl.SSLError:
            raise PushError("timeout" if expired.is_set() else "tls") from None
        except OSError:
            raise PushError("timeout" if expired.is_set() else "unreached") from None

    def send(self, message: bytes) -> bytes:
        """Post a message and return the answer's body.

        Raises:
            PushError: `timeout`, `cut`, `status-NNN` (a redirect is one), `too-long`.
        """
        assert self._socket is not None
        caller = http.client.HTTPConnection(self._host, self._port)
        caller.auto_open = 0
        caller.sock = self._socket
        self._socket.settimeout(self._limits.idle_seconds)
        headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE, "Connection": "close"}
        expired = threading.Event()
        try:
            with self._watched(self._limits.seconds(len(message)), expired):
                caller.request("POST", self._path, message, headers)
                answer = caller.getresponse()
                if answer.status != _OK:
                    raise PushError(f"status-{answer.status}")
                body = answer.read(ANSWER_BYTES_MAX + 1)
        except TimeoutError:
            raise PushError("timeout") from None
        except (OSError, http.client.HTTPException, ValueError):
            raise PushError("timeout" if expired.is_set() else "cut") from None
        if len(body) > ANSWER_BYTES_MAX:
            raise PushError("too-long")
        if expired.is_set():
            raise PushError("timeout")
        return body

    def _dial(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError:
            raise PushError("unreached") from None
        here = is_loopback(self._host)
        last: OSError = OSError()
        if not all(_is_allowed(str(item[4][0]), here=here) for item in found):
            raise PushError("address")
        for family, kind, protocol, _, address in found:
            plain = socket.socket(family, kind, protocol)
            plain.settimeout(self._limits.connect_seconds)
            try:
                plain.connect(address)
            except OSError as error:
                plain.close()
                last = error
                continue
            return plain
        raise last

    def _watched(self, seconds: float, expired: threading.Event) -> _Watch:
        def end() -> None:
            expired.set()
            self.abort()

        return _Watch(seconds, end)


class _Watch:
    """Ends what runs longer than it may: a server that sends an octet now and then resets every other time limit."""

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        self._timer = threading.Timer(seconds, end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()


def _is_allowed(text: str, *, here: bool) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_loopback:
        return here
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)
