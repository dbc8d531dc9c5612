"""What the operator says about one source: zone, country, tenant, accounts, options of its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

FUTURE_ALLOWANCE: Final = timedelta(hours=26)
"""A record that ends further ahead than this goes to quarantine: a zone read wrongly is at most 26 hours off."""

MAPPING: Final = "mapping"
"""Name of the option that holds the text of a mapping file (`ingest.mapping`)."""

RECEIVED_US: Final = "received_us"
"""Name of the option under which a delivery brings when it came, µs since 1970 UTC; not stored with the source."""

FILE_NAME: Final = "file_name"
"""Name of the option under which a delivery brings the name of its file; it is not stored with the source."""

TRANSPORT: Final = "transport"
"""Name of the option under which a delivery brings the road on which it came; it is not stored with the source."""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One source, as registered.

    `zone` is an IANA name; None refuses every format that writes local times without an offset.
    `country` is an ISO 3166 alpha-2 code for national numbers; None takes every number as E.164.
    `dedup_domain` defaults to the source's name; platforms that deliver one record by two roads share one.
    `switch` names the network element where the format has none.
    `accounts` maps the source's account code to the operator's account; a code that is absent is kept as it is.
    `options` are the format's own (`encode_values`, `template`, `columns`, `mapping`, …);
    each decoder documents its own.
    `expect_every_s`: the source delivers at least so often, in s; longer silence is an event. None expects nothing.
    """

    name: str
    zone: str | None = "UTC"
    country: str | None = None
    dedup_domain: str | None = None
    switch: str | None = None
    tenant: str | None = None
    service_type: str | None = None
    accounts: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    expect_every_s: int | None = None

    @property
    def domain(self) -> str:
        """The dedup domain in force."""
        return self.dedup_domain or self.name

    def delivering(self, file_name: str) -> SourceConfig:
        """Return the source for one delivery, whose file has this name."""
        return replace(self, options={**self.options, FILE_NAME: file_name})

    def arriving(self, transport: str) -> SourceConfig:
        """Return the source for one delivery that comes by this road: file, folder, http, queue, udp."""
        return replace(self, options={**self.options, TRANSPORT: transport})

    @property
    def transport(self) -> str:
        """The road on which a delivery comes."""
        return self.options.get(TRANSPORT, "file")

    def receiving(self, now_us: int) -> SourceConfig:
        """Return the source for one delivery that comes now: formats that write no year need it."""
        return replace(self, options={**self.options, RECEIVED_US: str(now_us)})

    @property
    def element(self) -> str:
        """The network element for formats that name none."""
        return self.switch or self.name
