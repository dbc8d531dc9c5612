"""The client of the running service: over the store's unix socket, or over https.

Every refusal comes back as an error of the tree (`schemas.errors`).
"""

from __future__ import annotations

import ssl
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import httpx
import orjson

from api.people.signing import PersonKey, Statement, session_statement
from api.problem_kinds import to_error
from api.settings import socket_path
from schemas.errors import BusyError, ConfigurationError, LagrumError, ProcedureError
from store import files
from store.clock import Clock, to_text
from store.tls import client_context

if TYPE_CHECKING:
    from api.people.persons import Enrolment

TIMEOUT_SECONDS: Final = 600.0
CONNECT_SECONDS: Final = 10.0
_LOCAL: Final = "http://lagrum"


class Client:
    """One caller of the service; log in, then ask. Use it as a context manager."""

    def __init__(self, transport: httpx.BaseTransport | None, base_url: str, clock: Clock) -> None:
        self._clock = clock
        self._key: PersonKey | None = None
        self._store_id: str | None = None
        timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(transport=transport, base_url=base_url, timeout=timeout, trust_env=False)

    @classmethod
    def local(cls, root: Path, clock: Clock) -> Client:
        """Return a client of the service on this machine, through the root's unix socket.

        Raises:
            ConfigurationError: no service runs for this root.
        """
        path = socket_path(root.absolute())
        if not path.exists():
            raise ConfigurationError("no service runs for this store", hint=f"start it: lagrum --root {root} serve")
        return cls(httpx.HTTPTransport(uds=str(path)), _LOCAL, clock)

    @classmethod
    def remote(cls, url: str, clock: Clock, *, ca: Path | None = None, certificate: Path | None = None) -> Client:
        """Return a client of a service elsewhere; `certificate` is the client's own with its key, in one PEM file.

        Raises:
            ConfigurationError: not an https URL, or a file cannot be read.
        """
        if not url.startswith("https://"):
            raise ConfigurationError("a service elsewhere is reached by https only")
        try:
            context = client_context(ca)
            if certificate is not None:
                context.load_cert_chain(certificate)
        except (OSError, ssl.SSLError):
            raise ConfigurationError("the CA or the client certificate cannot be read") from None
        return cls(httpx.HTTPTransport(verify=context), url, clock)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the session ends by itself."""
        self._http.close()

    @property
    def store_id(self) -> str:
        """The store that the session is with; what is signed names it.

        Raises:
            ProcedureError: No session was opened with a person's key.
        """
        if self._store_id is None:
            raise _unsigned()
        return self._store_id

    def log_in(self, key: PersonKey) -> dict[str, Any]:
        """Open a session with a person's key; the following calls are that person's.

        Raises:
            ProcedureError: the service does not know this key for this person.
        """
        self._http.headers.pop("Authorization", None)
        asked = self._send("POST", "/v1/sessions")
        offer = _json(asked)
        if asked.status_code != httpx.codes.UNAUTHORIZED or "challenge" not in offer:
            raise _error(asked)
        challenge, expires_at, store_id = (str(offer[name]) for name in ("challenge", "expires_at", "store"))
        signature = key.sign(session_statement(store_id, key.person_id, challenge, expires_at))
        proof = f'Lagrum person="{key.person_id}", challenge="{challenge}", signature="{signature}"'
        session: dict[str, Any] = self.call("POST", "/v1/sessions", headers={"Authorization": proof})
        self._http.headers["Authorization"] = f"Bearer {session['token']}"
        self._key, self._store_id = key, store_id
        return session

    def present(self, token: str | None) -> dict[str, Any]:
        """Be who a token of the OpenID provider says, or None the client certificate; the following calls are theirs.

        Nothing is signed so: steps that take an approval are refused here.

        Raises:
            ProcedureError: the service recognises nobody by it.
        """
        self._http.headers.pop("Authorization", None)
        if token is not None:
            self._http.headers["Authorization"] = f"Bearer {token}"
        who: dict[str, Any] = self.call("GET", "/v1/sessions/current")
        return who

    def log_out(self) -> None:
        """End the session."""
        self.call("DELETE", "/v1/sessions/current")
        self._http.headers.pop("Authorization", None)

    def approve(self, *, action: str, case: str, digest: str) -> dict[str, str]:
        """Sign a statement with the logged-in person's key, as `approval` of a request.

        Raises:
            ProcedureError: nobody is logged in.
        """
        if self._key is None:
            raise _unsigned()
        time = to_text(self._clock.now_us())
        return {"time": time, "signature": self._key.sign(Statement(action, case, digest, time))}

    def get(self, path: str, **params: Any) -> Any:
        """GET; parameters that are None are left out."""
        return self.call("GET", path, params={name: value for name, value in params.items() if value is not None})

    def post(self, path: str, body: Any = None) -> Any:
        """POST a JSON body."""
        content = None if body is None else orjson.dumps(body)
        return self.call("POST", path, content=content, headers={"Content-Type": "application/json"})

    def delete(self, path: str) -> Any:
        """DELETE."""
        return self.call("DELETE", path)

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Send one request and return its JSON (text where it is none, None where there is nothing).

        Raises:
            LagrumError: the refusal, as the service's problem details name it.
        """
        response = self._send(method, path, **request)
        if response.is_error:
            raise _error(response)
        if not response.content:
            return None
        return _json(response) if "json" in response.headers.get("content-type", "") else response.text

    def download(self, path: str) -> bytes:
        """GET bytes.

        Raises:
            LagrumError: as `call`.
        """
        response = self._send("GET", path)
        if response.is_error:
            raise _error(response)
        return response.content

    def download_to(self, path: str, target: Path, told: dict[str, str] | None = None) -> int:
        """GET bytes into a new file, which is there whole or not at all; return how many. `told` gets the headers.

        Raises:
            LagrumError: as `call`; ConfigurationError: there is a file of this name.
        """
        partial = target.with_name(f".{target.name}.partial")
        files.unlink_durable(partial, missing_ok=True)
        if target.exists():
            raise ConfigurationError("the file exists already", hint="name a new one; nothing is overwritten")
        try:
            with self._http.stream("GET", path) as response:
                if response.is_error:
                    response.read()
                    raise _error(response)
                if told is not None:
                    told.update(response.headers)
                files.create_private(partial)
                with partial.open("r+b", buffering=0) as sink:
                    size = sum(sink.write(chunk) for chunk in response.iter_bytes(1 << 20))
            files.fsync_path(partial)
            files.replace_durable(partial, target)
        except httpx.HTTPError:
            raise BusyError("the connection to the service broke off; fetch it again") from None
        finally:
            files.unlink_durable(partial, missing_ok=True)
        return size

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise ConfigurationError("the service does not answer", hint="start it: lagrum --root DIR serve") from None
        except httpx.HTTPError:
            raise BusyError("the connection to the service broke off; it may or may not have done it") from None


def _unsigned() -> ProcedureError:
    return ProcedureError(
        "this step is signed with a person's own key", reason="unauthenticated", hint="name it: --as KEYFILE"
    )


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}


def _error(response: httpx.Response) -> LagrumError:
    body = _json(response)
    return to_error(response.status_code, body if isinstance(body, dict) else {})


def enrolment_body(client: Client, enrolment: Enrolment) -> dict[str, Any]:
    """Return the signed body of an enrolment's request."""
    from api.people.enrolment import ENROL_REQUEST

    digest = enrolment.digest(client.store_id)
    return {
        "id": enrolment.person_id,
        "display_name": enrolment.display_name,
        "roles": sorted(enrolment.roles),
        "public_key": enrolment.public_key,
        "tenant": enrolment.tenant,
        "authority": enrolment.authority,
        "approval": client.approve(action=ENROL_REQUEST, case=enrolment.person_id, digest=digest),
    }
