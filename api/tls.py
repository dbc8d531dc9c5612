"""The service's connections: TLS, the client's certificate on its way to the door, and callers who say nothing.

uvicorn does not tell the application about the peer's certificate; this protocol puts it into the scope in the form of
the ASGI TLS extension. It is there only when the TLS layer has verified it against the configured client CA.

Source: ASGI TLS extension 0.2; RFC 8446; RFC 4514 (subject).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.settings import Settings
from schemas.errors import ConfigurationError, PermissionsError

EXTENSION: Final = "tls"
_CERTIFICATE: Final = "client_certificate_der"
_SUBJECT: Final = "client_cert_name"


def server_context(settings: Settings, root: Path) -> ssl.SSLContext | None:
    """Return the TLS context of the TCP listener; None without a certificate. Paths are relative to the root.

    Client certificates are asked for when there is a client CA, and a client without one may still log in otherwise.

    Raises:
        ConfigurationError: a file cannot be read or the key does not fit.
        PermissionsError: others may read the key.
    """
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for name in ("tls_certificate", "tls_key", "tls_client_ca"):
        path = getattr(settings, name)
        if path and not os.access(root / path, os.R_OK):
            raise ConfigurationError(
                f"{root / path} cannot be read", hint=f"see {name} in [server] of lagrum.toml; relative to the root"
            )
    if is_shared_key(root / settings.tls_key):
        raise PermissionsError(
            "others may read the key of the TLS certificate",
            hint="see tls_key in [server]: give it mode 0600, or 0640 where it is root's",
        )
    try:
        context.load_cert_chain(root / settings.tls_certificate, root / settings.tls_key)
        if settings.tls_client_ca:
            context.load_verify_locations(root / settings.tls_client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            "the TLS certificate, its key and the client CA are not PEM files that fit together",
            hint="see [server] in lagrum.toml",
        ) from None
    return context


def is_shared_key(path: Path) -> bool:
    """Tell whether more than its owner may read or write a private key; root may share it with one group of readers."""
    found = path.stat()
    return bool(found.st_mode & (0o037 if found.st_uid == 0 else 0o077))


class PeerCertificateProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also tells the verified client certificate, and closes on callers who dawdle."""

    _tls: dict[str, Any] | None = None
    _head: asyncio.TimerHandle | None = None
    _asks = False  # headers are on their way

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read the certificate once per connection."""
        super().connection_made(transport)
        self._asks = True
        self._await_head()
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der:
            subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
            self._tls = {_CERTIFICATE: der, _SUBJECT: subject}

    def on_message_begin(self) -> None:
        """Give every request of the connection its certificate."""
        super().on_message_begin()
        self._asks = True
        if self._tls is not None:
            extensions: dict[str, Any] = {EXTENSION: self._tls}
            self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        """Wait for no more headers."""
        self._asks = False
        self._end_wait()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Read on; and wait for headers that are begun, and for the next ones of who says what nobody reads."""
        super().data_received(data)
        if self.parser is not None and (self._asks or (self.cycle is not None and self.cycle.response_complete)):
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request; behind one that is under way it would pass for that one's answer."""
        if self.cycle is None or self.cycle.response_complete or (self.cycle.more_body and not self.pipeline):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._end_wait()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        """Close the connection unless the headers of a request come within the time that one may be idle.

        Without it, as many callers as there may be connections would keep everybody out by saying nothing.
        """
        if self._head is None:
            self._head = self.loop.call_later(self.timeout_keep_alive, self._give_up)

    def _end_wait(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._await_head()  # the answer to the request before is on its way
        else:
            self.transport.abort()


def peer_of(scope: Any) -> tuple[str | None, str | None]:
    """Return fingerprint (SHA-256, hex) and subject of the client's certificate; None and None without one."""
    tls = (scope.get("extensions") or {}).get(EXTENSION)
    if not tls or not tls.get(_CERTIFICATE):
        return None, None
    return hashlib.sha256(tls[_CERTIFICATE]).hexdigest(), tls.get(_SUBJECT)
