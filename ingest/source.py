"""What the operator says about one source: zone, country, tenant, accounts, options of its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

FUTURE_ALLOWANCE: Final = timedelta(hours=26)
"""A record that ends further ahead than this goes to quarantine: a zone read wrongly is at most 26 hours off."""


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One source, as registered.

    `zone` is an IANA name; None refuses every format that writes local times without an offset.
    `country` is an ISO 3166 alpha-2 code for national numbers; None takes every number as E.164.
    `dedup_domain` defaults to the source's name; platforms that deliver one record by two roads share one.
    `switch` names the network element where the format has none.
    `accounts` maps the source's account code to the operator's account; a code that is absent is kept as it is.
    `options` are the format's own (`encode_values`, `template`, `columns`, `date_order`, …);
    each decoder documents its own.
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

    @property
    def domain(self) -> str:
        """The dedup domain in force."""
        return self.dedup_domain or self.name

    @property
    def element(self) -> str:
        """The network element for formats that name none."""
        return self.switch or self.name
