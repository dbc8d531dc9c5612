"""An authority's endpoint, as tests run it: a real TLS server on loopback that can do everything wrong."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from api.handover import ts103120 as hi1
from api.handover.ts103120_read import read_request
from api.handover.ts103120_write import write_answers, write_refusal
from tests.api.certificates import Ca
from tests.patience import PATIENCE_S
from tests.ports import free_port


class Office:
    """The authority's own CA: it names its endpoint, and issues for our push key."""

    def __init__(self, folder: Path, name: str = "office") -> None:
        self.ca = Ca(folder, name)
        self.server = self.ca.issue("localhost", file_name=f"{name}-server")

    @property
    def pem(self) -> str:
        return self.ca.path.read_text("ascii")

    def issued(self, request: str) -> str:
        """Return a certificate for a request of ours."""
        asked: Any = x509.load_pem_x509_csr(request.encode())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "operator")])
        return self.ca.certificate(subject, asked).public_bytes(Encoding.PEM).decode()


@dataclass
class Receiver:
    """What came: every request's octets, and what the authority's system keeps of them, once per object."""

    port: int = 0
    plan: list[str] = field(default_factory=list)
    """What becomes of the next requests, in order; then they are taken."""
    requests: list[bytes] = field(default_factory=list)
    heads: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    kept: dict[tuple[str, int | None], hi1.DeliveryObject] = field(default_factory=dict)
    clients: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/hi1"

    def answer(self, message: bytes) -> bytes:
        """Keep what is delivered, the same object once, and answer."""
        head, (action,) = read_request(message)
        thing = action.thing
        assert isinstance(thing, hi1.DeliveryObject)
        self.kept.setdefault((thing.identifier, thing.generation), thing)
        back = replace(head, sender=head.receiver, receiver=head.sender)
        return write_answers(back, [hi1.Answer(action.number, "DELIVER", action.identifier)])

    def envelopes(self) -> list[bytes]:
        """Return what is kept, in sequence."""
        return [thing.envelope for thing in sorted(self.kept.values(), key=lambda item: item.sequence)]


@contextmanager
def receiving(office: Office, *, server: tuple[Path, Path] | None = None, port: int = 0) -> Iterator[Receiver]:
    """Run an endpoint that asks for a client certificate of the office."""
    found = Receiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(server or office.server[:2]))
    context.load_verify_locations(office.ca.path)
    context.verify_mode = ssl.CERT_REQUIRED
    web = _Web(("127.0.0.1", port or free_port()), _handler(found))
    web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
    found.port = web.server_address[1]
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        found.released.set()
        web.shutdown()
        thread.join(PATIENCE_S)
        web.server_close()


class _Web(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: cut connections are what these tests are about."""


def _handler(found: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return

        def do_POST(self) -> None:
            found.heads.append((self.path, dict(self.headers)))
            subject = self.connection.getpeercert()["subject"]  # type: ignore[attr-defined]
            found.clients.append(subject[0][0][1])
            message = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append(message)
            step = found.plan.pop(0) if found.plan else "take"
            if step.isdigit():
                self.send_response(int(step))
                self.send_header("Location", found.url)
                self.end_headers()
            elif step == "hang":
                found.released.wait(PATIENCE_S)
            elif step == "cut":
                self.close_connection = True
                self.connection.close()
            elif step == "cut after":
                found.answer(message)
                self.connection.close()
            elif step == "drip":
                self._drip()
            else:
                self._say(_ANSWERS[step](found, message) if step in _ANSWERS else found.answer(message))

        def _drip(self) -> None:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not found.released.wait(0.02):
                self.wfile.write(b"X-Wait: 1\r\n")

        def _say(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _other_transaction(found: Receiver, message: bytes) -> bytes:
    head, (action,) = read_request(message)
    other = replace(head, transaction="00000000-0000-4000-8000-000000000000")
    return write_answers(other, [hi1.Answer(0, "DELIVER", action.identifier)])


def _other_object(found: Receiver, message: bytes) -> bytes:
    head, _ = read_request(message)
    return write_answers(head, [hi1.Answer(0, "DELIVER", head.transaction)])


def _other_action(found: Receiver, message: bytes) -> bytes:
    head, (action,) = read_request(message)
    return write_answers(head, [hi1.Answer(1, "DELIVER", action.identifier)])


def _refuses(found: Receiver, message: bytes) -> bytes:
    return write_answers(read_request(message)[0], [hi1.Answer(0, "DELIVER", failure=hi1.Failure(42, "no"))])


def _refuses_all(found: Receiver, message: bytes) -> bytes:
    return write_refusal(read_request(message)[0], hi1.Failure(42, "no"))


_ANSWERS = {
    "other transaction": _other_transaction,
    "other object": _other_object,
    "other action": _other_action,
    "refuses": _refuses,
    "refuses all": _refuses_all,
    "page": lambda *_: b"<html>welcome</html>",
    "nothing": lambda *_: b"",
    "much": lambda *_: b" " * ((1 << 20) + 1),
    "entity": lambda *_: b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
}
