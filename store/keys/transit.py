"""Root keys in a Vault-compatible key service: one transit key for each generation.

The key encrypts and decrypts in the service and is never exported; it is made deletable only when it shall die. Source:
the transit secrets engine's HTTP API of OpenBao 2 (also HashiCorp Vault 1.13 and later: associated data).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, Final

import httpx

from schemas.errors import BusyError, ConfigurationError, IntegrityError, NotFoundError
from store.keys.modules import HeldRoots, TransitPlace, secret_of
from store.keys.roots import Root
from store.tls import client_context

CREDENTIAL: Final = "lagrum-transit-token"
TIMEOUT_S: Final = 10.0
KEY_TYPE: Final = "aes256-gcm96"
_NO_IDLE: Final = httpx.Limits(max_keepalive_connections=0)  # it is asked rarely: nothing is left open between


class TransitRoots(HeldRoots):
    """Makes, uses and deletes transit keys."""

    def __init__(self, place: TransitPlace) -> None:
        """Note where the service is; nothing is asked of it yet.

        Raises:
            ConfigurationError: the address is not https, and not of this machine.
        """
        super().__init__(place)
        url = httpx.URL(place.url)
        if url.scheme != "https" and url.host not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigurationError("a key service beyond this machine is reached by https only")
        self._url = place.url.rstrip("/")
        self._mount = place.mount.strip("/")
        self._token_file = place.token_file
        verify = url.scheme == "https" and client_context(place.ca_file or None)
        self._client = httpx.Client(verify=verify, timeout=TIMEOUT_S, trust_env=False, limits=_NO_IDLE)

    def _make(self, name: str) -> None:
        self._ask("POST", f"keys/{name}", {"type": KEY_TYPE, "exportable": False, "allow_plaintext_backup": False})

    def _root(self, name: str) -> Root:
        if self._ask("GET", f"keys/{name}", missing_ok=True) is None:
            raise NotFoundError("the key service has no such root key")
        return _TransitRoot(self, name)

    def _names(self, prefix: str) -> list[str]:
        answer = self._ask("LIST", "keys", missing_ok=True)
        keys = answer["data"]["keys"] if answer else []
        return [str(name) for name in keys if str(name).startswith(prefix)]

    def _destroy(self, name: str) -> None:
        if self._ask("GET", f"keys/{name}", missing_ok=True) is None:
            return
        self._ask("POST", f"keys/{name}/config", {"deletion_allowed": True})
        self._ask("DELETE", f"keys/{name}", missing_ok=True)
        if self._ask("GET", f"keys/{name}", missing_ok=True) is not None:
            raise BusyError("the key service still has a root key that it was told to delete")

    def encrypt(self, name: str, plaintext: bytes, aad: bytes) -> bytes:
        """Return the ciphertext in the service's own form."""
        body = {"plaintext": b64encode(plaintext).decode(), "associated_data": b64encode(aad).decode()}
        answer = self._ask("POST", f"encrypt/{name}", body)
        assert answer is not None
        return str(answer["data"]["ciphertext"]).encode()

    def decrypt(self, name: str, blob: bytes, aad: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            IntegrityError: it does not authenticate.
            NotFoundError: the key is gone.
        """
        try:
            ciphertext = blob.decode("ascii")
        except UnicodeDecodeError as error:
            raise IntegrityError("a wrapped secret is not of the key service's form") from error
        body = {"ciphertext": ciphertext, "associated_data": b64encode(aad).decode()}
        answer = self._ask("POST", f"decrypt/{name}", body, refused_ok=True)
        if answer is None:
            self._root(name)
            raise IntegrityError("a wrapped secret does not authenticate")
        return b64decode(answer["data"]["plaintext"])

    def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        missing_ok: bool = False,
        refused_ok: bool = False,
    ) -> dict[str, Any] | None:
        """Ask the service; None where it says 404 (or 400) and that is an answer.

        Raises:
            BusyError: it cannot be reached, is sealed, or fails.
            ConfigurationError: it refuses the token, or the request.
        """
        headers = {"X-Vault-Token": secret_of(CREDENTIAL, self._token_file).decode("ascii", "replace")}
        url = f"{self._url}/v1/{self._mount}/{path}"
        try:
            answer = self._client.request(method, url, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise BusyError("the key service cannot be reached", hint="start it, or check its address") from error
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code == 400 and refused_ok:
            return None
        if answer.status_code in (401, 403):
            raise ConfigurationError("the key service refuses the token", hint="give it a token for the transit keys")
        if answer.status_code >= 500:
            raise BusyError("the key service fails or is sealed", hint="unseal it, and try again")
        if answer.status_code >= 400:
            raise ConfigurationError("the key service refuses the request", hint="is the transit engine mounted there?")
        return answer.json() if answer.content else {}


class _TransitRoot:
    """A root key that stays in the service."""

    def __init__(self, service: TransitRoots, name: str) -> None:
        self._service, self._name = service, name

    def wrap(self, secret: bytes, aad: bytes) -> bytes:
        return self._service.encrypt(self._name, secret, aad)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        return self._service.decrypt(self._name, blob, aad)
