"""What a search could have seen: the parts that were published, as the catalog says then and as the log proves later.

A snapshot is taken before a search. It names the newest batch, beyond which the search does not read, and every part
of every partition from the window's first day on, with what became of it:

    considered   read, or left alone because its postings do not have the target
    outside      its bounds do not meet the window
    withdrawn    its batch was withdrawn
    refused      partitions whose period was over: no read may see them

Each part's digests stand in the log since its batch or merge was published. `problems` compares the snapshot with the
state of the parts that the log tells for that moment. A part that somebody hid from the catalog before the search, or
put there, is told. Moments later matter only as `Since` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from schemas.errors import AuditError, IntegrityError
from store.audit import StoredEntry
from store.audit.search import find
from store.clock import to_date
from store.model import ScanQuery
from store.open_sessions import session_reading
from store.partitions import LOCATION, PartitionKey, expires_at, to_us
from store.reading.selection import is_outside
from store.retention.certificates import ANEW
from store.retention.clockguard import Watch

if TYPE_CHECKING:
    from store.store import Store

_PARTS: Final = (
    *("batch", "compaction", "batch.withdrawn", *ANEW),
    *("erasure.intended", "erasure.done", "store.restored"),
)
_CORRECTED: Final = "record.corrected"
LOCATION_OVER: Final = "location-over"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The parts at one moment, which lies between two sizes of the log."""

    log_from: int
    log_to: int
    batch_id_max: int
    first_day: date
    parts: Mapping[str, Mapping[str, list[str]]]
    """Partition -> considered, outside, withdrawn -> file ids."""
    refused: list[str]
    open_sessions: Sequence[pa.RecordBatch] = ()
    """The query's at that moment: they are in no part, and the log does not tell them."""

    def as_body(self) -> dict[str, Any]:
        """Return the snapshot as JSON-ready data."""
        return {
            "log": {"from": self.log_from, "to": self.log_to},
            "batch_id_max": self.batch_id_max,
            "first_day": self.first_day.isoformat(),
            "partitions": {name: dict(fates) for name, fates in sorted(self.parts.items())},
            "refused": self.refused,
        }


@dataclass(slots=True)
class Since:
    """What happened after a snapshot, and makes days incomparable or batches hidden."""

    days: dict[str, str] = field(default_factory=dict)
    """UTC date -> a stable word: `erased`, `location-over`, `corrected`, `merged-without-withdrawn`."""
    withdrawn: set[int] = field(default_factory=set)
    """Batches withdrawn by now, but not then."""


def snapshot(store: Store, query: ScanQuery) -> Snapshot:
    """Return what a search that begins now may read; everything that was acknowledged before is in it.

    Raises:
        AuditError: the log cannot take what the catalog has for it, or was cut or changed.
        ClockError: the period of a partition may be over, and the clock cannot tell.
        KeyUnavailableError, IntegrityError: an open session cannot be read.
    """
    store.renew_leases()
    store.spool.drain()
    store.flush_outbox(required=True)
    try:
        store.audit.refresh()
    except IntegrityError as error:
        raise AuditError("the audit log is not as it was left") from error
    log_from = store.audit.size
    watch = Watch(store.clock_guard, store.clock)
    first_day = to_date(max(query.start_us, 0))
    with store.catalog.snapshot():
        newest = store.catalog.query("SELECT coalesce(max(batch_id), 0) FROM batches")[0][0]
        rows = store.catalog.parts("q.end_date >= ?", (first_day.isoformat(),))
        running = list(session_reading.open_rows(store.catalog, store.keyring, query.targets))
    store.flush_outbox(required=True)
    parts: dict[str, dict[str, list[str]]] = {}
    refused: set[str] = set()
    for row in rows:
        if watch.is_over(row.partition):
            refused.add(str(row.partition))
            continue
        if row.withdrawn:
            fate = "withdrawn"
        else:
            outside = is_outside(query, row.start_us_min, row.end_us_min, row.end_us_max)
            fate = "outside" if outside else "considered"
        parts.setdefault(str(row.partition), {}).setdefault(fate, []).append(row.file_id)
    return Snapshot(log_from, store.audit.size, int(newest), first_day, parts, sorted(refused), running)


@dataclass(slots=True)
class _Told:
    """The parts as the log tells them, entry by entry."""

    parts: dict[str, tuple[str, int]] = field(default_factory=dict)
    """File -> partition, rows."""
    gone: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def take(self, entry: StoredEntry) -> None:
        public = entry.public
        if entry.kind in ("batch", *ANEW):
            self._publish(public["parts"])
        elif entry.kind == "compaction":
            before = sum(self.parts[name][1] for name in public["removed"] if name in self.parts)
            for name in public["removed"]:
                self.parts.pop(name, None)
            self._publish(public["parts"])
            after = sum(one["rows"] for one in public["parts"]) + sum(public.get("withdrawn", {}).values())
            if before != after:
                self.problems.append(f"entry {entry.index}: a merge has another number of records than what it merged")
        elif entry.kind.startswith("erasure."):
            self.gone.add(public["partition"])
        elif entry.kind == "store.restored":
            self.gone |= set(public["erased_since"])

    def _publish(self, parts: Iterable[Mapping[str, Any]]) -> None:
        for one in parts:
            self.parts[one["file"]] = (one["partition"], one["rows"])

    def live(self, first_day: str, refused: set[str]) -> set[tuple[str, str]]:
        hidden = self.gone | refused
        return {(name, file) for file, (name, _) in self.parts.items() if name[:10] >= first_day and name not in hidden}


def problems(store: Store, body: Mapping[str, Any]) -> list[str]:
    """Return where a snapshot is not what the log tells; empty is good. `body` is `Snapshot.as_body`'s.

    Raises:
        IntegrityError: an entry was changed, or the snapshot's size is beyond the log's.
    """
    log_from, log_to, first_day = body["log"]["from"], body["log"]["to"], body["first_day"]
    if not 0 < log_from <= log_to <= store.audit.size:
        raise IntegrityError("the snapshot names entries that the log does not have")
    refused = set(body["refused"])
    listed = {(name, file) for name, fates in body["partitions"].items() for files in fates.values() for file in files}
    told = _Told()
    matches = False
    for entry in find(store.layout.audit, log_to, _PARTS):
        if entry.index >= log_from and not matches:
            matches = told.live(first_day, refused) == listed
        if matches:
            break
        told.take(entry)
    live = told.live(first_day, refused)
    found = list(told.problems)
    if not matches and live != listed:
        found += [f"part {file} of partition {name} was there and was not considered" for name, file in live - listed]
        found += [f"part {file} of partition {name} is none that the log knows" for name, file in listed - live]
    return sorted(found) + _refused_early(store, log_from, refused)


def _refused_early(store: Store, log_from: int, refused: set[str]) -> list[str]:
    """Tell which partitions were left out although their period was not over at the snapshot."""
    if not refused:
        return []
    at_us = next(store.audit.entries(log_from - 1, log_from)).time_us
    policy = store.policies.current()
    return [
        f"partition {name} was left out, and its period was not over"
        for name in sorted(refused)
        if to_us(expires_at(PartitionKey.parse(name), policy)) > at_us
    ]


def since(store: Store, log_from: int) -> Since:
    """Return what happened from an entry on that changes what a search finds.

    Raises:
        IntegrityError: an entry was changed.
    """
    result = Since()
    for entry in find(store.layout.audit, store.audit.size, (*_PARTS, _CORRECTED)):
        if entry.index < log_from:
            continue
        public = entry.public
        if entry.kind.startswith("erasure."):
            name = public["partition"]
            if name.endswith(f"/{LOCATION}"):
                result.days.setdefault(name[:10], LOCATION_OVER)
            else:
                result.days[name[:10]] = "erased"
        elif entry.kind == "store.restored":
            result.days.update({name[:10]: "erased" for name in public["erased_since"]})
        elif entry.kind == _CORRECTED:
            result.days.setdefault(public["partition"][:10], "corrected")
        elif entry.kind == "batch.withdrawn":
            result.withdrawn.add(public["batch"])
        elif entry.kind == "compaction" and public.get("withdrawn"):
            result.days.setdefault(public["partition"][:10], "merged-without-withdrawn")
    return result
