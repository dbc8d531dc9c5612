"""Settings of the service: one frozen dataclass, every limit with its unit, read from ROOT/lagrum.toml.

No setting reaches the clock, the floor, the ceiling, or who may do what.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from schemas.errors import ConfigurationError

FILE_NAME: Final = "lagrum.toml"
SOCKET_NAME: Final = "lagrum.sock"
SESSION_SECONDS_MAX: Final = 900
CHALLENGE_SECONDS_MAX: Final = 60
WITNESS_INTERVAL_SECONDS_MAX: Final = 30
URL_CHARS_MAX: Final = 300
_TABLE: Final = "table"
_KINDS: Final = {int: "a whole number", str: "text in quotes", bool: "true or false"}
_MOST: Final = {
    "session_seconds": SESSION_SECONDS_MAX,
    "challenge_seconds": CHALLENGE_SECONDS_MAX,
    "witness_interval_seconds": WITNESS_INTERVAL_SECONDS_MAX,
}
_TOGETHER: Final = (
    ("oidc_issuer", "oidc_audience"),
    ("witness_url", "witness_key"),
    ("queue_server", "queue_stream", "queue_source", "queue_format"),
    ("tls_certificate", "tls_key"),
)
"""Settings of which all are set, or none."""


def _in(table: str, default: Any) -> Any:
    return field(default=default, metadata={_TABLE: table})


def socket_path(root: Path) -> Path:
    """Return the unix socket of a store's service."""
    return root / "run" / SOCKET_NAME


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service runs with; the tables of the file are [server], [ingest], [people], [identity],
    [rates], [roles], [background], [witness], [queue].

    server: where it listens and how much it takes at once. `tls_certificate`, `tls_key`, `tls_client_ca` are paths of
        PEM files; a host beyond loopback needs the first two, and a key that others may read is refused.
        A client certificate is taken within its time, with a chain up to a root in `tls_client_ca`, unless it is said
        to be for something else than clients; identifiers of keys are not asked for.
        `metrics_for_custodians` opens the metrics to the role custodian besides metrics credentials.
    ingest: what one delivery may cost. `body_bytes_max` counts bytes as sent, `expanded_bytes_max` after gzip or zstd;
        bodies up to `small_body_bytes_max` go to the ingest workers whole, larger ones stream to the stream workers; a
        plain push of up to `spooled_body_bytes_max` goes to the spool, as long as such bodies take no more memory than
        `spooled_bodies_bytes_max` together;
        an expansion beyond `expansion_ratio_max` is refused once `expansion_free_bytes` have come out. The spool is
        drained every `spool_drain_seconds` and at `spool_drain_pushes`; beyond `spool_bytes_max` pushes are refused.
    people: sessions, challenges, signatures, lock-out: `failures_max` failures in a row lock an account from one
        address for `lockout_seconds`, and every further one for twice as long, up to `lockout_seconds_max`.
    identity: the OpenID provider whose tokens are taken; none unless `oidc_issuer` and `oidc_audience` are set. Its
        keys are found by discovery unless `oidc_jwks_url` names them; `oidc_ca` is the CA of its certificate where the
        machine does not know it, relative to the root.
    rates: how many requests a minute one person (or one authority's system) may send, by role.
    roles: how many requests of one role run at once, all persons together; `role_waiting_max` more wait, further ones
        are refused. Fewer than `search_workers` leave some to the other roles. A request for usage may hold 1 GiB.
    background: how often the service looks after the store.
    witness: where checkpoints of the audit log go. `witness_directory` is a folder on another machine, `witness_url` a
        witness (c2sp.org/tlog-witness) with its public key `witness_key` and, where needed, the CA `witness_ca`. Both
        may be set. Checkpoints go every `witness_interval_seconds`, at most 30, so that one lost call costs no minute.
    queue: a NATS JetStream queue that the service consumes itself, as `lagrum consume` does: none unless
        `queue_server`, `queue_stream`, `queue_source`, `queue_format` are set. Files are relative to the root.
    """

    host: str = _in("server", "127.0.0.1")
    port: int = _in("server", 8420)
    tls_certificate: str = _in("server", "")
    tls_key: str = _in("server", "")
    tls_client_ca: str = _in("server", "")
    connections_max: int = _in("server", 512)
    keep_alive_seconds: int = _in("server", 30)
    shutdown_seconds: int = _in("server", 30)
    request_bytes_max: int = _in("server", 1 << 20)
    search_workers: int = _in("server", 4)
    search_queue_max: int = _in("server", 32)
    metrics_for_custodians: bool = _in("server", True)

    ingest_workers: int = _in("ingest", 2)
    ingest_queue_max: int = _in("ingest", 1024)
    stream_workers: int = _in("ingest", 2)
    stream_queue_max: int = _in("ingest", 8)
    body_bytes_max: int = _in("ingest", 2 << 30)
    expanded_bytes_max: int = _in("ingest", 16 << 30)
    expansion_ratio_max: int = _in("ingest", 200)
    expansion_free_bytes: int = _in("ingest", 64 << 20)
    small_body_bytes_max: int = _in("ingest", 64 << 10)
    spooled_body_bytes_max: int = _in("ingest", 4 << 20)
    spooled_bodies_bytes_max: int = _in("ingest", 128 << 20)
    pipe_bytes_max: int = _in("ingest", 8 << 20)
    body_idle_seconds: int = _in("ingest", 60)
    spool_bytes_max: int = _in("ingest", 1 << 30)
    spool_drain_pushes: int = _in("ingest", 20_000)
    spool_drain_seconds: int = _in("ingest", 5)

    session_seconds: int = _in("people", SESSION_SECONDS_MAX)
    sessions_max: int = _in("people", 1000)
    challenge_seconds: int = _in("people", CHALLENGE_SECONDS_MAX)
    failures_max: int = _in("people", 10)
    lockout_seconds: int = _in("people", 60)
    lockout_seconds_max: int = _in("people", 3600)
    lockout_entries_max: int = _in("people", 10_000)

    oidc_issuer: str = _in("identity", "")
    oidc_audience: str = _in("identity", "")
    oidc_jwks_url: str = _in("identity", "")
    oidc_ca: str = _in("identity", "")

    officer_per_minute: int = _in("rates", 120)
    case_handler_per_minute: int = _in("rates", 240)
    approver_per_minute: int = _in("rates", 240)
    auditor_per_minute: int = _in("rates", 600)
    custodian_per_minute: int = _in("rates", 600)
    dpo_per_minute: int = _in("rates", 240)
    billing_per_minute: int = _in("rates", 600)
    tenant_admin_per_minute: int = _in("rates", 240)
    authority_per_minute: int = _in("rates", 600)

    officer_at_once: int = _in("roles", 3)
    case_handler_at_once: int = _in("roles", 3)
    approver_at_once: int = _in("roles", 3)
    auditor_at_once: int = _in("roles", 2)
    custodian_at_once: int = _in("roles", 3)
    dpo_at_once: int = _in("roles", 2)
    billing_at_once: int = _in("roles", 1)
    tenant_admin_at_once: int = _in("roles", 1)
    authority_at_once: int = _in("roles", 2)
    role_waiting_max: int = _in("roles", 16)

    expiry_interval_seconds: int = _in("background", 600)
    flush_interval_seconds: int = _in("background", 5)
    silence_interval_seconds: int = _in("background", 60)
    compaction_interval_seconds: int = _in("background", 60)
    session_interval_seconds: int = _in("background", 600)
    lease_interval_seconds: int = _in("background", 30)

    witness_directory: str = _in("witness", "")
    witness_url: str = _in("witness", "")
    witness_key: str = _in("witness", "")
    witness_ca: str = _in("witness", "")
    witness_interval_seconds: int = _in("witness", 15)

    queue_server: str = _in("queue", "")
    queue_stream: str = _in("queue", "")
    queue_source: str = _in("queue", "")
    queue_format: str = _in("queue", "")
    queue_durable: str = _in("queue", "lagrum")
    queue_subject: str = _in("queue", "")
    queue_token_file: str = _in("queue", "")
    queue_login_file: str = _in("queue", "")
    queue_credentials_file: str = _in("queue", "")
    queue_ca: str = _in("queue", "")
    queue_certificate: str = _in("queue", "")
    queue_key: str = _in("queue", "")

    def __post_init__(self) -> None:
        """Check every value; see `load`."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1 and item.name != "port":
                raise ConfigurationError(f"the setting {item.name} is at least 1")
        if not 0 <= self.port <= 65_535:
            raise ConfigurationError("the setting port is between 0 and 65535; 0 takes a free one")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ConfigurationError(f"the setting {name} is at most {most}")
        for names in _TOGETHER:
            if len({bool(getattr(self, name)) for name in names}) > 1:
                raise ConfigurationError(f"{', '.join(names[:-1])} and {names[-1]} come together")
        if self.lockout_seconds_max < self.lockout_seconds:
            raise ConfigurationError("the setting lockout_seconds_max is at least lockout_seconds")
        self._check_identity()
        if self.tls_client_ca and not self.tls_certificate:
            raise ConfigurationError("tls_client_ca needs tls_certificate and tls_key")
        if not self.tls_certificate and not is_loopback(self.host):
            raise ConfigurationError(
                "the service listens beyond this machine only with TLS",
                hint="set tls_certificate and tls_key in [server], or host to 127.0.0.1",
            )

    def _check_identity(self) -> None:
        if not self.oidc_issuer and (self.oidc_jwks_url or self.oidc_ca):
            raise ConfigurationError("oidc_jwks_url and oidc_ca need oidc_issuer and oidc_audience")
        for name in ("oidc_issuer", "oidc_jwks_url"):
            url = getattr(self, name)
            if url and not is_safe_url(url):
                raise ConfigurationError(f"the setting {name} is an https URL without a password")


def is_safe_url(url: str) -> bool:
    """Tell whether `url` is https, or http to this machine, and carries neither a password nor a fragment."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username or parts.password or parts.fragment or len(url) > URL_CHARS_MAX:
        return False
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Tell whether `host` is a name or an address of this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(root: Path) -> Settings:
    """Read ROOT/lagrum.toml; without the file, the defaults.

    Raises:
        ConfigurationError: not TOML, an unknown table or key (by its name), a value of the wrong type or out of range.
    """
    path = root / FILE_NAME
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise ConfigurationError(f"{FILE_NAME} cannot be read: {error.strerror}") from None
    try:
        tables = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigurationError(f"{FILE_NAME} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:  # of its message only the place: it may quote the file
        place = re.search(r"at (line \d+, column \d+|end of document)", str(error))
        where = f" ({place[1]})" if place else ""
        raise ConfigurationError(f"{FILE_NAME} is not TOML{where}", hint='text stands in "quotes"') from None
    return from_tables(tables)


def from_tables(tables: dict[str, Any]) -> Settings:
    """Return the settings that the parsed file says; see `load` for what it raises."""
    known = {(item.metadata[_TABLE], item.name): item for item in fields(Settings)}
    values: dict[str, Any] = {}
    for table, content in tables.items():
        if not isinstance(content, dict):
            raise ConfigurationError(f"{FILE_NAME}: {table!r} stands outside of a table")
        for name, value in content.items():
            item = known.get((table, name))
            if item is None:
                raise ConfigurationError(
                    f"{FILE_NAME}: there is no setting {name!r} in [{table}]", hint=_neighbour(table, name)
                )
            if type(value) is not type(item.default):
                expected = _KINDS[type(item.default)]
                raise ConfigurationError(f"{FILE_NAME}: the setting {name!r} in [{table}] is {expected}")
            values[name] = value
    return Settings(**values)


def _neighbour(table: str, name: str) -> str:
    """Say what may be meant: the same name in another table, or one that is spelt alike."""
    places = {item.name: item.metadata[_TABLE] for item in fields(Settings)}
    near = name if name in places else next(iter(get_close_matches(name, places, n=1)), None)
    if near is not None:
        return f"did you mean {near} in [{places[near]}]?"
    known = sorted(item for item, place in places.items() if place == table)
    tables = ", ".join(f"[{place}]" for place in dict.fromkeys(places.values()))
    return f"[{table}] has {', '.join(known)}" if known else f"the tables are {tables}"
