"""The register of sources: what the operator said about each, kept as documents of the store."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ingest.source_config import FILE_NAME, MAPPING, RECEIVED_US, TRANSPORT, SourceConfig
from schemas.errors import AuditError, ConfigurationError, NotFoundError
from schemas.fields import SERVICE_TYPES
from schemas.numbers import rules
from store import AuditEntry, Put, Store

KIND: Final = "source"
EXPECT_EVERY_S_MAX: Final = 366 * 86_400
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def check(source: SourceConfig) -> None:
    """Refuse a configuration that cannot work.

    Raises:
        ConfigurationError: a name, zone, country, service type or mapping is not one.
    """
    for name in (source.name, source.domain):
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "a source's name has up to 63 small letters, digits, dots, hyphens and underscores",
                hint="begin it with a letter or a digit",
            )
    if source.zone is not None:
        try:
            ZoneInfo(source.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigurationError(
                "the source's time zone is not an IANA name", hint="write it like Europe/Stockholm"
            ) from error
    if source.service_type is not None and source.service_type not in SERVICE_TYPES:
        raise ConfigurationError("the source's service type is not one of " + ", ".join(SERVICE_TYPES))
    for name in (FILE_NAME, RECEIVED_US, TRANSPORT):
        if name in source.options:
            raise ConfigurationError(f"the option {name} is a delivery's own and cannot be stored with a source")
    if MAPPING in source.options:
        from ingest.mapping import read_mapping

        read_mapping(source.options[MAPPING])
    if source.expect_every_s is not None and not 1 <= source.expect_every_s <= EXPECT_EVERY_S_MAX:
        raise ConfigurationError(f"the expected interval is from 1 to {EXPECT_EVERY_S_MAX} seconds")
    rules(source.country)


def register(store: Store, source: SourceConfig, *, actor: str) -> None:
    """Store a new or changed source; it is an entry of the audit log.

    Raises:
        ConfigurationError: the configuration cannot work.
    """
    check(source)
    public = {"source": source.name, "zone": source.zone, "country": source.country, "actor": actor}
    store.documents.commit([Put(KIND, source.name, encode(source))], [AuditEntry("source.registered", public, None)])


def get(store: Store, name: str) -> SourceConfig:
    """Return a registered source.

    Raises:
        NotFoundError: there is none of that name.
    """
    try:
        return decode(store.documents.get(KIND, name).body)
    except NotFoundError as error:
        raise NotFoundError("there is no such source", hint="`lagrum sources add` registers one") from error


def get_or_create(store: Store, name: str) -> SourceConfig:
    """Return a source; an unknown one is registered with the defaults (UTC, E.164), and its entry may wait."""
    try:
        return get(store, name)
    except NotFoundError:
        source = SourceConfig(name)
        with suppress(AuditError):  # it is on file, and what it delivers does not wait for the log either
            register(store, source, actor="command-line")
        return source


def registered(store: Store) -> list[SourceConfig]:
    """Return all registered sources, by name."""
    return [decode(document.body) for document in store.documents.list(KIND)]


def encode(source: SourceConfig) -> dict[str, Any]:
    """Return a source as JSON-ready data."""
    return asdict(source)


def decode(body: dict[str, Any]) -> SourceConfig:
    """Return the source of `encode`'s data."""
    return SourceConfig(**body)
