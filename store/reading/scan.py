"""Reading: partition -> part -> row group, pruned on start and end and by postings; in bounded memory.

A partition whose period is over is refused even when it is not dropped yet. A part that is missing, does not
authenticate or has no key is an error, never "none found".
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa

from schemas.arrow import PACKED
from schemas.errors import BusyError, ConfigurationError, ProcedureError
from store import siblings
from store.clock import to_date
from store.correcting.overlay import Correction, corrected_figures, is_rectifying, read_lot
from store.encoding.figure_batch import FigureBatch
from store.model import PartRow, ScanQuery
from store.partitions import DAY_US, PartitionKey, date_to_day, day_to_date, successor, to_us
from store.reading import lookup
from store.reading.batches import Batch, as_one, grouped
from store.reading.selection import is_outside
from store.reading.stretches import Stretch, asked, groups_of, windows_of
from store.reading.targets import check
from store.retention.clockguard import Watch

if TYPE_CHECKING:
    from store.store import Store

Read: TypeAlias = Callable[[Sequence[Stretch], Mapping[int, Sequence[Correction]]], list[list[Batch]]]
"""Reads each of some stretches, with the corrections by part."""

THREADS: Final = 2
AHEAD: Final = 4
STRETCH_ROWS: Final = 131_072
PARTS_KNOWN_MAX: Final = 8_192
"""So many parts each thread's connection may keep, 1.2 kB each; of more, those of the window are read every time."""
LOT_MAX: Final = 128
"""Stretches that a thread reads at once."""
ASKED_TOGETHER: Final = 64
"""Parts whose postings are asked at once; between one lot and the next, what was found is read."""


@dataclass(slots=True)
class Details:
    """What is left of a plan's parts when postings and bounds of row groups have been asked."""

    parts_without_target: int = 0
    index_bytes: int = 0
    """Bytes of postings read to tell."""
    row_groups: int = 0
    """Of the parts that remain."""
    row_groups_read: int = 0
    rows_read: int = 0
    bytes_read_max: int = 0
    """With all columns; a search reads the others only where the deciding ones match."""


@dataclass(slots=True)
class Plan:
    """What a scan will read, and what it leaves alone and why."""

    parts: list[PartRow]
    refused: list[PartitionKey] = field(default_factory=list)
    """Partitions of the window whose period is over: not read, whether dropped or not."""
    beyond: list[PartitionKey] = field(default_factory=list)
    """Partitions that are kept, and are older than the query's purpose may read: a scan refuses them."""
    services_over: dict[str, list[PartitionKey]] = field(default_factory=dict)
    """By category of service, those of the window of which these records are over, though the partition is not."""
    location_over: list[PartitionKey] = field(default_factory=list)
    """Of the partitions to read, those whose location is asked for and kept no longer: it reads as nulls."""
    pruned_parts: int = 0
    withdrawn_parts: int = 0
    bytes: int = 0
    corrections: dict[int, list[Correction]] = field(default_factory=dict)
    """Of single records, by part, as the query's purpose reads them."""
    details: Details | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return {
            "partitions": len({part.partition for part in self.parts}),
            "parts": len(self.parts),
            "bytes": self.bytes,
            "pruned_parts": self.pruned_parts,
            "withdrawn_parts": self.withdrawn_parts,
            "corrected_parts": len(self.corrections),
            "refused_partitions": [str(key) for key in self.refused],
            "beyond_purpose": [str(key) for key in self.beyond],
            "services_over": {name: [str(key) for key in keys] for name, keys in self.services_over.items()},
            "location_over": [str(key) for key in self.location_over],
            **({} if self.details is None else asdict(self.details)),
        }


def plan(store: Store, query: ScanQuery, watch: Watch | None = None) -> Plan:
    """Decide which parts a query reads.

    Raises:
        ClockError: the period of a partition of the window may be over, and the clock cannot tell.
    """
    check_query(query)
    watch = watch or Watch(store.clock_guard, store.clock)
    clock = watch.verdict
    first_date, last_date = _date(query.start_us), _date(query.end_us - 1)
    # One view: a partition that is written anew meanwhile takes its corrections along.
    with store.catalog.snapshot():
        states = store.catalog.known("states", store.catalog.partition_states)
        parts = _published(store, first_date)
        corrections = () if query.uncorrected else store.catalog.known("corrections", store.corrections.in_force)
    over = {
        key
        for key, state in states.items()
        if first_date <= key.end_date <= last_date and (state != "live" or watch.is_over(key))
    }
    window = None if query.purpose is None else clock.policy.in_force(to_date(clock.over_us)).window(query.purpose)
    beyond: set[PartitionKey] = set()
    result = Plan([], sorted(key for key in over if successor(key) not in states))
    result.services_over = _services_over(states.keys() - over, first_date, last_date, watch)
    newest = query.batch_id_max
    for part in parts:
        later = newest is not None and part.batch_id is not None and part.batch_id > newest
        if part.partition.end_date < first_date or later or part.partition in over:
            continue
        if part.withdrawn and not query.include_withdrawn:
            result.withdrawn_parts += 1
        elif is_outside(query, part.start_us_min, part.end_us_min, part.end_us_max):
            result.pruned_parts += 1
        elif part.partition.end_date > last_date and watch.is_over(part.partition):
            continue
        elif window is not None and clock.has_come(to_us(window.until(part.partition.end_date))):
            beyond.add(part.partition)
        else:
            result.parts.append(part)
            result.bytes += part.bytes
    result.beyond = sorted(beyond)
    result.location_over = siblings.over(query.columns, {part.partition for part in result.parts}, watch)
    result.corrections = store.corrections.of_parts(result.parts, query.purpose, corrections)
    return result


def _published(store: Store, first_date: date) -> Sequence[PartRow]:
    """Return the published parts, or at least those of partitions from a date on."""
    count = store.catalog.known("count", lambda: store.catalog.query("SELECT count(*) FROM parts")[0][0])
    if count > PARTS_KNOWN_MAX:
        return store.catalog.parts("q.end_date >= ?", (first_date.isoformat(),))
    return store.catalog.known("parts", store.catalog.parts)


def _services_over(
    keys: Iterable[PartitionKey], first_date: date, last_date: date, watch: Watch
) -> dict[str, list[PartitionKey]]:
    """Return by category of service the partitions of the window that it ended before."""
    clock, found = watch.verdict, defaultdict[str, list[PartitionKey]](list)
    for key in sorted(keys) if clock.policy.has_moves else ():
        if first_date <= key.end_date <= last_date:
            services = [
                name
                for name, lies in clock.policy.in_force(key.end_date).services.items()
                if lies == key.retention_class
            ]
            for name in sorted(clock.services_over(key, services)):
                found[name].append(key)
    return dict(found)


def _refuse_beyond(query: ScanQuery, planned: Plan) -> Plan:
    """Return the plan if its purpose may read all of the window: a figure without the rest would be wrong.

    Raises:
        ProcedureError: reason `purpose-window`.
    """
    if planned.beyond:
        first = planned.beyond[-1].end_date + timedelta(days=1)
        raise ProcedureError(
            f"the purpose {query.purpose} does not reach back so far",
            reason="purpose-window",
            hint=f"begin on {first.isoformat()} or later; `lagrum retention show` tells how far each purpose reads",
        )
    return planned


def check_query(query: ScanQuery) -> None:
    """Return if the query can be answered, before anything is read.

    Raises:
        ConfigurationError: its window, columns or targets cannot be; the message names no value.
    """
    if query.end_us <= query.start_us:
        raise ConfigurationError("the window is empty or runs backwards")
    unknown = [name for name in query.columns or () if name not in PACKED.names]
    if unknown:
        raise ConfigurationError("a scan names columns that the record does not have: " + ", ".join(unknown))
    for target in query.targets:
        check(target)


def _date(time_us: int) -> date:
    """Return the UTC date of an instant, brought into the years that a date can name."""
    return day_to_date(min(max(time_us // DAY_US, 0), date_to_day(date.max)))


def scan(store: Store, query: ScanQuery) -> Iterator[pa.RecordBatch]:
    """Yield the records that a query selects, by part and row group, as batches of packed columns with `batch_id`.

    `THREADS` threads read ahead, never more than `AHEAD` lots of stretches, each of about `STRETCH_ROWS` rows.

    Raises:
        IntegrityError: a part or its index is missing or does not authenticate.
        KeyUnavailableError: a part's key is gone.
        ProcedureError: the window reaches further back than the query's purpose (`purpose-window`).
    """
    return _scan(store, query, partial(read_lot, store, query))


def scan_figures(store: Store, query: ScanQuery) -> Iterator[FigureBatch]:
    """Yield what `scan` yields as figures, by part and row group; the query asks for nobody in particular.

    Raises:
        IntegrityError, KeyUnavailableError, ProcedureError: as `scan`.
    """

    def read(lot: Sequence[Stretch], corrections: Mapping[int, Sequence[Correction]]) -> list[list[FigureBatch]]:
        return [corrected_figures(store, query, item, corrections.get(item.part.part_id, ())) for item in lot]

    return _scan(store, query, read)


def _scan(store: Store, query: ScanQuery, read: Read[Batch]) -> Iterator[Batch]:
    with store.readers.turns.reading():  # merged parts that the plan names stay until then
        watch = Watch(store.clock_guard, store.clock)
        planned = _refuse_beyond(query, plan(store, query, watch))
        gone = {part.part_id: watch.gone(part) for part in planned.parts}
        stretches = _stretches(store, watch, query, planned)
        for lot in _read_ahead(read, stretches, planned.corrections):
            yield from _shown(store, watch, gone, lot)
            del lot  # before the next one is waited for


def _shown(
    store: Store, watch: Watch, gone: Mapping[int, frozenset[str]], lot: Sequence[tuple[PartRow, list[Batch]]]
) -> Iterator[Batch]:
    """Yield what was read as far as it may be shown at that moment."""
    for few in grouped(lot):
        shown: list[Batch] = []
        for part, batch in few:
            if watch.is_over(part.partition):
                continue  # its period ended while the reader took its time
            if watch.gone(part) != gone[part.part_id]:
                raise BusyError("the period of records ended while they were read", hint="ask again")
            store.keyring.key(part.partition.ref)  # what was read before the key died is not shown after a lease
            shown.append(siblings.current(batch, part, watch))
        if shown:
            yield as_one(shown)


def explain(store: Store, query: ScanQuery) -> Plan:
    """Return a query's plan with what the postings and the bounds of row groups leave to be read; no record is read.

    Raises:
        IntegrityError: a part or its index is missing or does not authenticate.
        KeyUnavailableError: a part's key is gone.
    """
    with store.readers.turns.reading():
        result = plan(store, query)
        question = lookup.Question(asked(query))
        result.details = details = Details()
        for part in result.parts:
            found = None
            if asked(query) and not is_rectifying(result.corrections.get(part.part_id, ())):
                index = store.readers.index(part)
                before = index.bytes_read
                found = question.find(index)
                details.index_bytes += index.bytes_read - before
            if found is not None and found.is_empty:
                details.parts_without_target += 1
                continue
            with store.readers.part(part) as opened:
                groups = groups_of(opened, part, query, found)
                windows = windows_of(opened, groups, found if query.targets else None)
                rows = sum(last - first for first, last in windows)
                details.row_groups += opened.reader.groups
            details.row_groups_read += len(groups)
            details.rows_read += rows
            details.bytes_read_max += part.bytes * rows // part.rows
    return result


def _stretches(store: Store, watch: Watch, query: ScanQuery, planned: Plan) -> Iterator[Stretch]:
    """Yield what is to be read; the postings are asked as the reading goes on."""
    for part, found in _found(store, watch, query, planned):
        if found is not None and found.is_empty:
            continue
        named = None if found is None else found.rows_max
        rows_max = part.rows if named is None else min(named, part.rows)
        if rows_max <= STRETCH_ROWS:
            yield Stretch(part, found, None, watch, rows_max)
            continue
        with store.readers.part(part) as opened:
            groups = groups_of(opened, part, query, found)
            sizes = [opened.reader.group_rows(group) for group in groups]
        yield from (Stretch(part, found, chosen, watch, rows) for chosen, rows in _divided(groups, sizes))


def _found(
    store: Store, watch: Watch, query: ScanQuery, planned: Plan
) -> Iterator[tuple[PartRow, lookup.Found | None]]:
    """Yield the parts whose period is not over, with what their postings tell; None where they are not asked."""
    question = lookup.Question(asked(query))
    ask = bool(asked(query))
    for first in range(0, len(planned.parts), ASKED_TOGETHER):
        parts = [item for item in planned.parts[first : first + ASKED_TOGETHER] if not watch.is_over(item.partition)]
        known = [item for item in parts if ask and not is_rectifying(planned.corrections.get(item.part_id, ()))]
        told = zip(known, question.find_in(store.readers.indexes(known)), strict=True)
        found = {part.part_id: answer for part, answer in told}
        yield from ((part, found.get(part.part_id)) for part in parts)


def _divided(groups: dict[int, set[str]], sizes: list[int]) -> Iterator[tuple[dict[int, set[str]], int]]:
    chosen: dict[int, set[str]] = {}
    rows = 0
    for (group, fields), size in zip(groups.items(), sizes, strict=True):
        if chosen and rows + size > STRETCH_ROWS:
            yield chosen, rows
            chosen, rows = {}, 0
        chosen[group] = fields
        rows += size
    if chosen:
        yield chosen, rows


def _lots(stretches: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    """Yield stretches by the lot: to hand a small one to a thread costs as much as to read it."""
    lot: list[Stretch] = []
    rows = 0
    for item in stretches:
        if lot and (rows + item.rows > STRETCH_ROWS or len(lot) == LOT_MAX):
            yield lot
            lot, rows = [], 0
        lot.append(item)
        rows += item.rows
    if lot:
        yield lot


def _read_ahead(
    read: Read[Batch], stretches: Iterator[Stretch], corrections: Mapping[int, Sequence[Correction]]
) -> Iterator[list[tuple[PartRow, list[Batch]]]]:
    """Yield the batches of each stretch, a lot at a time and in order, while threads read the next ones."""

    def read_parts(lot: list[Stretch]) -> list[tuple[PartRow, list[Batch]]]:
        return list(zip([item.part for item in lot], read(lot, corrections), strict=True))

    lots = _lots(stretches)
    head = list(islice(lots, 2))
    if len(head) < 2:
        for lot in head:
            yield read_parts(lot)
        return
    waiting: deque[Future[list[tuple[PartRow, list[Batch]]]]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lagrum-scan")
    try:
        for lot in chain(head, lots):
            waiting.append(pool.submit(read_parts, lot))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
