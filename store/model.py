"""What goes in and out of the store, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Literal

from store.partitions import PartitionKey

TARGET_KINDS: Final = ("number", "imsi", "imei", "mac", "ip", "account")


@dataclass(frozen=True, slots=True)
class SourceRef:
    """The source of a batch, as far as storage cares.

    `transport` is the road on which it came: file, folder, http, queue, udp.
    """

    name: str
    dedup_domain: str
    transport: str = "file"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one delivery: `records` = accepted + duplicates + conflicts + rejected, in events.

    `rows` counts stored records: an event may open a session and store no row, a closing event stores one.
    """

    batch_id: int
    source: str
    format: str
    records: int
    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    rows: int
    bytes: int
    sha256: str
    seconds: float
    replayed: bool = False
    reject_reasons: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the receipt as JSON-ready data."""
        return {
            "batch_id": self.batch_id,
            "source": self.source,
            "format": self.format,
            "records": self.records,
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "rejected": self.rejected,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "seconds": round(self.seconds, 6),
            "replayed": self.replayed,
            "reject_reasons": dict(self.reject_reasons),
        }


@dataclass(frozen=True, slots=True)
class TargetIdentifier:
    """What a search looks for: `kind` of `TARGET_KINDS`, `value` normalised as the store keeps it.

    number: calling, called, dialled and forwarded party. imsi, imei: both sides, imei on 14 digits.
    ip: source, destination and public address, exact or as a prefix; with `port` an address and port.
    account: the charged account.
    """

    kind: str
    value: str
    port: int | None = None

    def __repr__(self) -> str:
        return f"TargetIdentifier(kind={self.kind!r})"


@dataclass(frozen=True, slots=True)
class ScanQuery:
    """Records that overlap the half-open window [start_us, end_us), optionally of some targets only.

    A record overlaps when it starts before the window's end and ends at or after the window's start.
    `by_end` takes instead the records that ended inside the window (billing periods: each record in one period only).
    """

    start_us: int
    end_us: int
    targets: tuple[TargetIdentifier, ...] = ()
    columns: tuple[str, ...] | None = None
    accounts: tuple[str, ...] = field(default=(), repr=False)
    tenant: str | None = None
    include_conflicts: bool = True
    by_end: bool = False
    batch_id_max: int | None = None
    include_withdrawn: bool = False
    uncorrected: bool = False
    """Without the corrections of single records, for whoever tells what they changed."""
    purpose: str | None = None
    """A purpose of the policy: nothing older than its window is read. None is for the store's own work only."""


@dataclass(frozen=True, slots=True)
class PartFiles:
    """What is known of a part and its files, whether it is published or not."""

    file_id: str
    partition: PartitionKey
    rows: int
    bytes: int
    sha256: str
    identities_bytes: int
    identities_sha256: str
    index_bytes: int
    index_sha256: str
    start_us_min: int
    end_us_min: int
    end_us_max: int
    schema_version: int
    location_rows: int = 0
    """Records with a location that is still stored, in the sibling."""
    location_bytes: int = 0
    location_sha256: str = ""
    services: str = "{}"
    """Records by category of service, as JSON."""

    @property
    def by_service(self) -> dict[str, int]:
        """Records by category of service."""
        found: dict[str, int] = json.loads(self.services)
        return found

    @property
    def total_bytes(self) -> int:
        """Size of all its files."""
        return self.bytes + self.identities_bytes + self.index_bytes + self.location_bytes


@dataclass(frozen=True, slots=True)
class PartRow(PartFiles):
    """One published part, as the catalog knows it."""

    part_id: int = field(kw_only=True)
    batch_id: int | None = field(kw_only=True)
    """The batch that brought it; None when it is merged of several, and then each row has its own."""
    withdrawn: bool = field(default=False, kw_only=True)
    """All of it is withdrawn."""
    withdrawn_batches: tuple[int, ...] = field(default=(), kw_only=True)
    """Batches within a merged part that are withdrawn."""


@dataclass(frozen=True, slots=True)
class WrittenPart(PartFiles):
    """A part on disk that the catalog does not know yet."""

    location_over: int = 0
    """Records whose location was not kept: its period was over when they came."""


@dataclass(frozen=True, slots=True)
class RetiredPart:
    """A part that was merged into another; its files go when no reader is at work."""

    partition: PartitionKey
    file_id: str


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition, as `status` shows it."""

    key: PartitionKey
    records: int
    parts: int
    bytes: int
    sealed: bool
    state: Literal["live", "dropping"]
    expires_at: datetime
    """From then on scans refuse it, by the policy."""
    holds: int = 0

    @property
    def date(self) -> date:
        """UTC date on which its communications ended."""
        return self.key.end_date

    @property
    def floor_until(self) -> datetime:
        """Until then nothing removes a record of it."""
        return self.key.floor_until

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `lagrum status --json`."""
        return {
            "date": self.key.end_date.isoformat(),
            "class": self.key.retention_class,
            "domain": self.key.key_domain,
            "records": self.records,
            "parts": self.parts,
            "bytes": self.bytes,
            "sealed": self.sealed,
            "floor_until": rfc3339(self.floor_until),
            "expires_at": rfc3339(self.expires_at),
            "holds": self.holds,
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `verify` found; `where` names a file, a batch or a table, `what` says what is wrong."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def rfc3339(moment: datetime) -> str:
    """Return a UTC instant as RFC 3339 with Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
