"""Verification: everything is derived again from the files, and every disagreement is said exactly.

(1) keys: every live partition has its key, no dropped one has. (2) files: every part of the catalog is there, has its
size and digest, authenticates, and holds the rows and bounds that the catalog says. (3) identities: the tags of
the records, and their row groups, equal the run. (4) nothing else lies among the parts. (5) sums of partitions and
batches agree. (6) sealed rows of the catalog open. (7) the audit log verifies offline, and tells the same story as the
catalog (`store.verification.verify_log`). (8) every erased partition has its certificate
(`store.verification.verify_retention`).
(9) holds and corrections of single records open, and what they name is there. (10) persons, credentials and
authorities are those of which the log told last.

Others may write and erase meanwhile: what looks wrong is looked at again while nothing is being erased.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from schemas.errors import BusyError, IntegrityError, KeyUnavailableError, LagrumError
from store import documents, files, index, parquet, quarantine, siblings
from store.compaction.compact import batches_of
from store.identities.runs import words_of
from store.keys import KeyRef, derive, unseal
from store.layout import LOCATION_SUFFIX
from store.model import PartRow, Problem
from store.open_sessions import session_check
from store.partitions import PartitionKey, date_to_day, end_days
from store.parts import by_service
from store.publish import batch_aad
from store.spooling import spool_drain
from store.verification.verify_log import audit_story
from store.verification.verify_retention import retention_story

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

WORKERS: Final = 2
"""Parts looked at side by side."""
ROWS_MAX: Final = 1_000_000
"""Of them together: as many as the largest merged part has, which is read whole and looked at alone."""

Progress = Callable[[int, int], None]


def verify(store: Store, progress: Progress | None = None) -> list[Problem]:
    """Check the whole store; return every problem found (none: the store is whole)."""
    store.renew_leases()
    problems: list[Problem] = []
    parts = store.catalog.parts()
    problems += _settled(store, partial(_keys, store))
    for done, (part, found) in enumerate(_checked(store, parts)):
        if found:
            problems += _settled(store, partial(_check_again, store, part))
        if progress is not None:
            progress(done + 1, len(parts))
    problems += _strangers(store)
    problems += _sums(store)
    problems += _settled(store, partial(_sealed_rows, store))
    problems += spool_drain.verify(store)
    problems += audit_story(store)
    problems += _settled(store, partial(retention_story, store))
    problems += _settled(store, store.holds.problems)
    problems += _settled(store, store.corrections.problems)
    problems += _settled(store, partial(_documents, store))
    return problems


def _checked(store: Store, parts: Sequence[PartRow]) -> Iterator[tuple[PartRow, list[Problem]]]:
    """Yield parts in their order, each with what is wrong with it; several are looked at side by side."""
    waiting: deque[tuple[PartRow, Future[list[Problem]]]] = deque()
    rows = 0
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="lagrum-verify")
    try:
        for part in parts:
            while waiting and (rows + part.rows > ROWS_MAX or len(waiting) > WORKERS):
                first, found = waiting.popleft()
                yield first, found.result()
                rows -= first.rows
            waiting.append((part, pool.submit(check_part, store, part)))
            rows += part.rows
        while waiting:
            first, found = waiting.popleft()
            yield first, found.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _settled(store: Store, check: Callable[[], list[Problem]]) -> list[Problem]:
    """Run a check; if it finds something, again while nothing is being erased."""
    if not check():
        return []
    with files.lock(store.layout.erasure_lock, exclusive=True, patient=True):
        store.renew_leases()
        return check()


def _check_again(store: Store, part: PartRow) -> list[Problem]:
    return check_part(store, part) if store.catalog.parts("p.part_id = ?", (part.part_id,)) else []


def check_part(store: Store, part: PartRow) -> list[Problem]:
    """Check one part: files, digests, rows, bounds, identities."""
    where = f"part {part.file_id} of partition {part.partition}"
    problems = []
    location = store.layout.location(part.partition, part.file_id)
    for path, size, digest, what in (
        *([(location, part.location_bytes, part.location_sha256, "location")] if part.location_bytes else ()),
        (store.layout.part(part.partition, part.file_id), part.bytes, part.sha256, "records"),
        (
            store.layout.identities(part.partition, part.file_id),
            part.identities_bytes,
            part.identities_sha256,
            "identities",
        ),
        (store.layout.index(part.partition, part.file_id), part.index_bytes, part.index_sha256, "index"),
    ):
        problem = _file(path, size, digest)
        if problem:
            problems.append(Problem(where, f"its {what} file {problem}"))
    if problems:
        return problems
    try:
        return [Problem(where, what) for what in _content(store, part)]
    except (IntegrityError, KeyUnavailableError) as error:
        return [Problem(where, error.message)]


def _file(path: Path, size: int, digest: str) -> str | None:
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != size:
        return "has another size than the catalog says"
    if parquet.digest(path) != digest:
        return "has another digest than the catalog says: its bytes were changed"
    return None


def _content(store: Store, part: PartRow) -> Iterator[str]:
    key = store.keyring.key(part.partition.ref)
    with store.part_store.open(part.partition, part.file_id, key) as reader:
        records, group_rows = reader.read(), reader.group_rows(0)
    if records.num_rows != part.rows:
        yield "holds another number of records than the catalog says"
        return
    days = end_days(records.column("end_time").cast(pa.int64()).to_numpy())
    if (days != date_to_day(part.partition.end_date)).any():
        yield "holds records that ended on another day than the partition's"
    starts = pc.min(records.column("start_time").cast(pa.int64())).as_py()
    ends = pc.min_max(records.column("end_time").cast(pa.int64())).as_py()
    if (starts, ends["min"], ends["max"]) != (part.start_us_min, part.end_us_min, part.end_us_max):
        yield "has other time bounds than the catalog says"
    run = store.part_store.open_run(part.partition, part.file_id, key)
    if not np.array_equal(words_of(store.hasher.tags(records), run.group_rows), run.words()):
        yield "has identities that do not follow from its records"
    yield from index.problems(store.readers.index(part), records, group_rows)
    if by_service(records) != part.by_service:
        yield "holds records of other categories of service than the catalog says"
    if part.batch_id is None and _batches(store, part) != batches_of(records):
        yield "holds records of other batches than the catalog says"
    if part.location_bytes:
        yield from siblings.problems(store, part)


def _batches(store: Store, part: PartRow) -> dict[int, int]:
    """Return how many records of each batch a merged part holds, as the catalog says."""
    rows = store.catalog.query("SELECT batch_id, rows FROM part_batches WHERE part_id = ?", (part.part_id,))
    return {row[0]: row[1] for row in rows}


def _keys(store: Store) -> list[Problem]:
    problems = []
    for key, state in [*store.catalog.partition_states().items(), *store.catalog.location_states().items()]:
        held = store.keyring.has(key.ref)
        if state == "live" and not held:
            problems.append(Problem(f"partition {key}", "its key is not in the keyring"))
        if state == "dropped" and held:
            problems.append(Problem(f"partition {key}", "it is dropped, but its key is still in the keyring"))
        if state == "dropping":
            problems.append(Problem(f"partition {key}", "its erasure was begun and is not finished; run expiry"))
    return problems


def _strangers(store: Store) -> list[Problem]:
    try:
        with files.lock(store.layout.writers_lock, exclusive=True, blocking=False):
            return list(_unknown_files(store, store.catalog.file_ids()))
    except BusyError:  # somebody writes: what the catalog does not know yet is no orphan
        return list(_unknown_files(store, None))


def _unknown_files(store: Store, known: dict[str, PartitionKey] | None) -> Iterator[Problem]:
    without = {part.file_id for part in store.catalog.parts() if not part.location_bytes}
    for path in sorted(store.layout.parts.rglob("*")) if store.layout.parts.is_dir() else ():
        if path.is_dir():
            continue
        parsed = store.layout.parse(path)
        if parsed is None:
            yield Problem("parts", "a file lies among the parts that is no part")
            continue
        stray = known is not None and known.get(parsed[1]) != parsed[0]
        if stray or (parsed[2] == LOCATION_SUFFIX and parsed[1] in without):
            yield Problem(f"partition {parsed[0]}", f"file {parsed[1]}{parsed[2]} is not in the catalog (orphan)")


def _sums(store: Store) -> list[Problem]:
    problems = []
    rows = store.catalog.query(
        "SELECT q.end_date || '/' || q.retention_class || '/' || q.key_domain, q.rows, q.parts, q.bytes, "
        "coalesce(sum(p.rows), 0), count(p.part_id), "
        "coalesce(sum(p.bytes + p.identities_bytes + p.index_bytes + p.location_bytes), 0) "
        "FROM partitions q LEFT JOIN parts p USING (partition_id) WHERE q.state = 'live' GROUP BY q.partition_id"
    )
    for name, *numbers in rows:
        if numbers[:3] != numbers[3:]:
            problems.append(Problem(f"partition {name}", "its totals differ from the sum of its parts"))
    rows = store.catalog.query(
        "SELECT batch_id FROM batches WHERE records <> accepted + duplicates + conflicts + rejected"
    )
    problems += [Problem(f"batch {row[0]}", "its counts do not add up") for row in rows]
    rows = store.catalog.query(
        "SELECT b.batch_id FROM batches b JOIN (SELECT batch_id, rows FROM parts WHERE batch_id IS NOT NULL "
        "UNION ALL SELECT batch_id, rows FROM part_batches) p USING (batch_id) GROUP BY b.batch_id "
        "HAVING b.rows < sum(p.rows)"
    )
    problems += [Problem(f"batch {row[0]}", "its parts hold more records than it delivered") for row in rows]
    rows = store.catalog.query(
        "SELECT b.batch_id, b.received_us FROM batches b LEFT JOIN quarantine q USING (batch_id) GROUP BY b.batch_id "
        "HAVING coalesce(sum(q.rejects), 0) <> b.rejected - coalesce(json_extract(b.reject_reasons, '$.expired'), 0)"
    )
    for batch_id, received_us in rows:
        if store.keyring.has(quarantine.intake_ref(received_us)):
            problems.append(Problem(f"batch {batch_id}", "its rejects are not all in quarantine"))
    rows = store.catalog.query(
        "SELECT source, hour_us FROM intake WHERE delivered <> stored + duplicates + conflicts + rejects"
    )
    problems += [Problem(f"source {row[0]}", "an hour of its intake does not add up") for row in rows]
    return problems


def _sealed_rows(store: Store) -> list[Problem]:
    problems = []
    for entry in quarantine.entries(store):
        problems += _opens(
            f"quarantine entry {entry.quarantine_id}", partial(quarantine.rejects, store, entry.quarantine_id)
        )
    for kind, id in store.catalog.query("SELECT kind, id FROM documents"):
        problems += _opens(f"document of kind {kind}", partial(store.documents.get, kind, id))
    problems += session_check.problems(store)
    for batch_id, ref, blob in store.catalog.query("SELECT batch_id, key_ref, sealed FROM batches"):
        if store.keyring.has(KeyRef.parse(ref)):
            problems += _opens(f"batch {batch_id}", partial(_unseal, store, ref, "batch", blob, batch_aad(batch_id)))
    return problems


def _documents(store: Store) -> list[Problem]:
    try:
        return documents.problems(store.documents, store.log_state)
    except LagrumError as error:
        return [Problem("audit log", error.message)]


def _unseal(store: Store, ref: str, purpose: str, blob: bytes, aad: bytes) -> bytes:
    return unseal(derive(store.keyring.key(KeyRef.parse(ref)), purpose), blob, aad)


def _opens(where: str, action: Callable[[], object]) -> list[Problem]:
    try:
        action()
    except LagrumError as error:
        return [Problem(where, error.message)]
    return []
