"""One hold, and the records that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED, packed_columns
from schemas.fields import BY_NAME
from schemas.holds import HoldBasis, hold_basis
from schemas.packing import pack_identifier_value
from store.clock import to_date
from store.correcting import overlay
from store.documents import Document
from store.keys import KeyRef
from store.model import PartRow, TargetIdentifier
from store.partitions import LOCATION
from store.reading.targets import matches, target_columns
from store.siblings import LOCATION_FIELDS, located, reading_key

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

ACTIVE, ENDING, ENDED = "active", "ending", "ended"
BOUNDS: Final = ("start_time", "end_time")


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold, as the store needs it."""

    id: str
    basis: HoldBasis
    state: str
    ends: date
    """It holds nothing from the midnight (UTC) that begins this day."""
    start_us: int
    end_us: int
    accounts: tuple[str, ...]
    targets: tuple[tuple[TargetIdentifier, int, int], ...]
    """Each with the part of the window in which it counts: a number changes hands."""

    @classmethod
    def of(cls, document: Document) -> Hold:
        """Read a document of kind `hold`."""
        body = document.body
        return cls(
            document.id,
            hold_basis(body["basis"]),
            body["state"],
            date.fromisoformat(body["ends"]),
            body["start_us"],
            body["end_us"],
            tuple(body["accounts"]),
            tuple(
                (
                    TargetIdentifier(item["kind"], item["value"], item.get("port")),
                    max(item.get("start_us", body["start_us"]), body["start_us"]),
                    min(item.get("end_us", body["end_us"]), body["end_us"]),
                )
                for item in body["targets"]
            ),
        )

    def is_in_force(self, now_us: int) -> bool:
        """Tell whether it holds records."""
        return self.state == ACTIVE and to_date(now_us) < self.ends

    def reaches(self, part: PartRow) -> bool:
        """Tell whether records of a part may lie in its window."""
        return part.start_us_min < self.end_us and part.end_us_max >= self.start_us

    def keeps(self, category: str) -> bool:
        """Tell whether its basis keeps a field category; every hold keeps something of the record's core."""
        return category != LOCATION or not LOCATION_FIELDS.isdisjoint(self.basis.fields)

    @property
    def ref(self) -> KeyRef:
        """The name of its key."""
        return KeyRef("hold", "", self.id, "shared")


def selected(
    store: Store, hold: Hold, part: PartRow, *, only_located: bool = False, services: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield what a hold names of one part, reduced to its fields, with `batch_id`.

    Or only what has a location, or only what is of some categories of service.
    """
    if part.withdrawn:
        return
    kept = {column.name for name in hold.basis.fields for column in packed_columns(BY_NAME[name])}
    in_force = store.corrections.in_force()
    corrections = store.corrections.of_parts([part], hold.basis.purpose, in_force).get(part.part_id, [])
    deciding = {*BOUNDS, "account", "account_text", "batch_id", *(overlay.PLACE if corrections else ())}
    if services is not None:
        deciding.add("service_type")
    for target, _, _ in hold.targets:
        deciding |= target_columns(target)
    road = reading_key(store, part) if hold.keeps(LOCATION) else None
    with store.part_store.open(part.partition, part.file_id, store.keyring.key(part.partition.ref), road) as reader:
        for group in range(reader.groups):
            table = reader.read([group], sorted(reader.names & (kept | deciding)))
            if part.batch_id is not None:
                ids = pa.array([part.batch_id] * table.num_rows, pa.int64())
                table = table.append_column("batch_id", ids)
            if corrections:
                table = overlay.apply(table, corrections)
            mask = named(hold, table)
            if part.withdrawn_batches:
                gone = pa.array(part.withdrawn_batches, pa.int64())
                mask = pc.and_(mask, pc.invert(pc.is_in(table.column("batch_id"), value_set=gone)))
            if services is not None:
                words = table.column("service_type").cast(pa.string())
                mask = pc.and_(mask, pc.is_in(words, value_set=pa.array(services, pa.string())))
            chosen = located(table.filter(mask)) if only_located else table.filter(mask)
            if chosen.num_rows:
                yield chosen.select([name for name in PACKED.names if name in chosen.column_names and name in kept])


def named(hold: Hold, table: pa.Table) -> Any:
    """Tell row by row whether a hold names a record."""
    starts, ends = (table.column(name).cast(pa.int64()) for name in BOUNDS)

    def within(start_us: int, end_us: int) -> Any:
        return pc.and_(pc.greater_equal(ends, start_us), pc.less(starts, end_us))

    found: Any = pa.array([False] * table.num_rows, pa.bool_())
    for target, start_us, end_us in hold.targets:
        found = pc.or_(found, pc.and_(matches(table, target), within(start_us, end_us)))
    pairs = [pack_identifier_value(account) for account in hold.accounts]
    for name, values in (
        ("account", pa.array([packed for packed, _ in pairs if packed is not None], pa.int64())),
        ("account_text", pa.array([text for _, text in pairs if text is not None], pa.string())),
    ):
        if name in table.column_names and len(values):
            found = pc.or_(found, pc.is_in(table.column(name), value_set=values))
    return pc.and_(within(hold.start_us, hold.end_us), found)
