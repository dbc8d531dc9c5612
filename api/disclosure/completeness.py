"""The proof that a delivery has every record that the order reaches, and nothing else.

When a result is made, its evidence is put on file: the snapshot (`store.reading.completeness`), the digest of the
order, and for every UTC day on which a delivered record ended their number and an HMAC-SHA256, under a salt of the
evidence, over their lines as `records.ndjson` has them, in their order; and which stored records they were
(`result_records`). The evidence's SHA-256 stands in the log, with the result.

`verify` does, in this order:

    (1) the evidence is the one that the log names for that task's result, and the order is the one that was approved;
        one that was extended since is judged as it was then
    (2) the log verifies offline, and the catalog tells the same story as the log
    (3) the snapshot's parts are those that the log tells for that moment
    (4) every part from the window's first day on has the digests of the log, and its postings and bounds are derived
        again from its records
    (5) the search is done again over what was stored at the snapshot, by postings, or thoroughly: every record of the
        window is compared with the order; each day's number and digest are those of the evidence

Days that were erased, corrected or merged without withdrawn records since then cannot be compared; they are counted.
The verdict tells numbers of days, never a record. What it proves, and against whom, is in docs/THREAT_MODEL.md.

Source: the design's promise 8.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api.disclosure.casebook import Case, Casebook
from api.disclosure.expired import comparable
from api.disclosure.model import request_digest
from api.disclosure.open_sessions import are_open, within
from api.disclosure.printing import ndjson, printable
from api.disclosure.result_records import Places
from api.disclosure.search import query_of
from api.disclosure.selection import permitted_fields, select
from api.disclosure.subscribers import as_spans, spans_of
from api.people.signing import canonical_json
from schemas.errors import LagrumError, NotFoundError
from schemas.packing import unpack_table
from store import ScanQuery, Store
from store.audit.search import find
from store.documents import Put
from store.partitions import DAY_US, date_to_day, day_to_date
from store.reading import completeness
from store.reading.targets import matches
from store.verification.verify import check_part
from store.verification.verify_log import audit_story

FORMAT: Final = "lagrum-evidence-1"
KIND: Final = "evidence"
RESULT: Final = "disclosure.result"
_SALT_BYTES: Final = 32

COMPLETE: Final = "complete"
PARTLY: Final = "partly"
"""No disagreement, and some days cannot be compared any more."""
WRONG: Final = "wrong"
PRESERVED: Final = "preserved"
"""Days of which records came from a preservation: the log names its files (`hold.carved`), and they end with it."""
OPEN_SESSIONS: Final = "open-sessions"
"""Sessions that were open, and so in no part; together they count as one day."""


class Tally:
    """Counts and digests delivered records by the day on which they ended; feed it in the order of the delivery."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._days: dict[str, tuple[int, hmac.HMAC]] = {}

    def add(self, kept: pa.Table, lines: bytes) -> None:
        """Take records with logical names, and the lines that `printing.ndjson` makes of what leaves of them.

        Raises:
            ValueError: there are more lines or fewer than records.
        """
        days = kept["end_time"].cast(pa.int64()).to_numpy() // DAY_US
        starts = np.concatenate([[0], np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n")) + 1])
        if len(starts) != len(days) + 1 or starts[-1] != len(lines):
            raise ValueError("each record has one line")
        # Records of one day lie together: their lines are taken at once.
        firsts = np.flatnonzero(np.diff(days, prepend=days[:1] - 1))
        for first, end in pairwise([*firsts.tolist(), len(days)]):
            day = day_to_date(int(days[first])).isoformat()
            count, taken = self._days.get(day) or (0, hmac.new(self._salt, day.encode(), hashlib.sha256))
            taken.update(lines[starts[first] : starts[end]])
            self._days[day] = count + end - first, taken

    def days(self) -> dict[str, list[Any]]:
        """Return by day the number of records and their digest."""
        return {day: [count, taken.hexdigest()] for day, (count, taken) in sorted(self._days.items())}


class Recorder:
    """Takes the evidence of one search: make it before, search what `query` asks, `add` what is delivered, `finish`."""

    def __init__(self, store: Store, case: Case) -> None:
        asked = query_of(case)
        self._case, self._store = case, store
        self._salt = secrets.token_bytes(_SALT_BYTES)
        self._tally = Tally(self._salt)
        self._places = Places()
        self._preserved_days: set[int] = set()
        self._open_sessions = 0
        self.spans = spans_of(store, case)
        self._snapshot = completeness.snapshot(store, asked)
        self.query = replace(asked, batch_id_max=self._snapshot.batch_id_max)
        self.open_sessions = within(self._snapshot.open_sessions, asked)

    def add(self, kept: pa.Table, lines: bytes, preserved: Sequence[bool] = ()) -> None:
        """Take records that leave and their lines, in their order.

        What only a hold keeps is told by its days, an open session by its number.
        """
        running = are_open(kept)
        self._open_sessions += int(np.count_nonzero(running))
        self._places.add(kept.filter(pa.array(~running)))
        held = np.array(preserved, np.bool_) if any(preserved) else np.zeros(len(running), np.bool_)
        if held.any():
            ends = kept.filter(pa.array(held))["end_time"].cast(pa.int64()).to_numpy()
            self._preserved_days.update((ends // DAY_US).tolist())
        if not (stored := ~running & ~held).all():
            kept = kept.filter(pa.array(stored))
            pairs = zip(lines.splitlines(keepends=True), stored.tolist(), strict=True)
            lines = b"".join(line for line, is_stored in pairs if is_stored)
        self._tally.add(kept, lines)

    def finish(self, delivery_id: str) -> Evidence:
        """Return the evidence."""
        days = self._tally.days()
        return Evidence(
            {
                "format": FORMAT,
                "store": self._store.store_id,
                "delivery": delivery_id,
                "task": self._case.task.id,
                "order_sha256": request_digest(self._case.authorisation, self._case.task),
                "salt": self._salt.hex(),
                "snapshot": self._snapshot.as_body(),
                "records": sum(count for count, _ in days.values()),
                "days": days,
                "places": self._places.as_body(),
                "preserved_days": [day_to_date(day).isoformat() for day in sorted(self._preserved_days)],
                "open_sessions": self._open_sessions,
                "spans": [None if span is None else list(span) for span in self.spans],
            }
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a delivery is checked by; kept sealed, since it tells on which days a target communicated."""

    body: dict[str, Any]

    @property
    def digest(self) -> str:
        """Its SHA-256, which says nothing: the salt is in it."""
        return hashlib.sha256(canonical_json(self.body)).hexdigest()

    def named(self) -> dict[str, Any]:
        """Return what the receipt of a release says of it."""
        snapshot = self.body["snapshot"]
        return {"sha256": self.digest, "batch_id_max": snapshot["batch_id_max"], "log": snapshot["log"]}

    def put(self) -> Put:
        """Return the write that keeps it, in the transaction of its result."""
        return Put(KIND, self.body["delivery"], self.body, expect=0)


@dataclass(slots=True)
class Report:
    """What a verification found."""

    task: str
    delivery: str
    verdict: str = WRONG
    thorough: bool = False
    records: int = 0
    parts: int = 0
    """Checked against the log."""
    days: int = 0
    """With delivered records, or records found now, that were compared."""
    days_not_comparable: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data."""
        return asdict(self)


def verify(store: Store, task_id: str, *, thorough: bool = False) -> Report:
    """Check the delivery of a task; the numbers are those of the module's docstring.

    Raises:
        NotFoundError: there is no such task, or it has no result with evidence.
        KeyUnavailableError: a part cannot be read.
    """
    casebook = Casebook(store)
    case = casebook.case(task_id)
    if case.task.delivery_id is None:
        raise NotFoundError("the task has no result")
    body = store.documents.get(KIND, case.task.delivery_id).body
    report = Report(case.task.id, case.task.delivery_id, thorough=thorough, records=int(body["records"]))
    store.flush_outbox(required=True)
    store.audit.refresh()
    try:
        report.problems += _of_the_log(store, case, body)  # (1)
        report.problems += [str(problem) for problem in audit_story(store)]  # (2)
        if not report.problems:
            report.problems += completeness.problems(store, body["snapshot"])  # (3)
            report.problems += _of_the_parts(store, body["snapshot"]["first_day"], report)  # (4)
        if not report.problems:
            _compare(store, _searched(case, body) or case, body, report)  # (5)
    except LagrumError as error:
        report.problems.append(error.message)
    if not report.problems:
        report.verdict = PARTLY if report.days_not_comparable else COMPLETE
    return report


def _of_the_log(store: Store, case: Case, body: Mapping[str, Any]) -> list[str]:
    # (1)
    named = [
        entry.public.get("evidence")
        for entry in find(store.layout.audit, store.audit.size, (RESULT,))
        if entry.public.get("task") == case.task.id
    ]
    if not named or named[-1] != Evidence(dict(body)).digest:
        return ["the evidence on file is not the one that the log names"]
    if _searched(case, body) is None:
        return ["the order on file is not the one that was searched for"]
    return []


def _searched(case: Case, body: Mapping[str, Any]) -> Case | None:
    """Return the case as it was searched for: an extension since is another decision, and another law perhaps."""
    decisions = case.authorisation.decisions
    for number in range(len(decisions), 0, -1):
        then = decisions[number - 1]
        order = replace(
            case.authorisation,
            decision_reference=then.reference,
            decided_on=then.decided_on,
            decided_by=then.decided_by,
            basis_version=then.basis_version,
            expires_at_us=then.expires_at_us,
            decisions=decisions[:number],
        )
        if request_digest(order, case.task) == body["order_sha256"]:
            return replace(case, authorisation=order)
    return None


def _of_the_parts(store: Store, first_day: str, report: Report) -> list[str]:
    # (4)
    parts = store.catalog.parts("q.end_date >= ?", (first_day,))
    report.parts = len(parts)
    return [str(problem) for part in parts if not store.expired(part.partition) for problem in check_part(store, part)]


def _compare(store: Store, case: Case, body: Mapping[str, Any], report: Report) -> None:
    # (5)
    since = completeness.since(store, body["snapshot"]["log"]["from"])
    query = replace(query_of(case), batch_id_max=body["snapshot"]["batch_id_max"], include_withdrawn=True)
    planned = store.plan(query)
    reasons = dict(since.days)
    if planned.beyond:  # the purpose reads no further back today
        first = planned.beyond[-1].end_date + timedelta(days=1)
        reasons.update({day: "beyond-purpose" for day in body["days"] if day < first.isoformat()})
        query = replace(query, start_us=max(query.start_us, date_to_day(first) * DAY_US))
    hidden_then = _withdrawn(store) - since.withdrawn
    tally = Tally(bytes.fromhex(body["salt"]))
    names = permitted_fields(case.basis, case.task.categories)
    reasons = comparable(reasons, planned, names)
    found = list(_rows(store, query, hidden_then, thorough=report.thorough))
    if found:
        table = unpack_table(pa.concat_tables(found, promote_options="default"))
        spans = as_spans(body["spans"])
        kept = select(table, case.basis, case.task.targets, case.task.window, spans)
        tally.add(kept, ndjson(printable(kept, names)))
    now, then = tally.days(), body["days"]
    not_comparable: Counter[str] = Counter()
    if body["preserved_days"]:
        not_comparable[PRESERVED] = len(body["preserved_days"])
    if body["open_sessions"]:
        not_comparable[OPEN_SESSIONS] = 1
    for day in sorted({*now, *then}):
        if now.get(day) == then.get(day):
            report.days += 1
        elif day in reasons:
            not_comparable[reasons[day]] += 1
        else:
            report.problems.append(f"{day}: {_difference(now.get(day), then.get(day))}")
    report.days_not_comparable = dict(not_comparable)


def _withdrawn(store: Store) -> set[int]:
    return {int(row[0]) for row in store.catalog.query("SELECT batch_id FROM batches WHERE withdrawn_us IS NOT NULL")}


def _rows(store: Store, query: ScanQuery, hidden: set[int], *, thorough: bool) -> Iterator[pa.Table]:
    """Yield the packed records that the query selects, without those of hidden batches.

    Thoroughly, no posting is asked: every record of the window is read, and compared with the targets here.
    """
    out_of_sight = pa.array(sorted(hidden), pa.int64())
    for batch in store.scan(replace(query, targets=()) if thorough else query):
        table = pa.Table.from_batches([batch])
        if hidden:
            table = table.filter(pc.invert(pc.is_in(table["batch_id"], value_set=out_of_sight)))
        if thorough:
            mask = matches(table, query.targets[0])
            for target in query.targets[1:]:
                mask = pc.or_(mask, matches(table, target))
            table = table.filter(mask)
        if table.num_rows:
            yield table


def _difference(now: list[Any] | None, then: list[Any] | None) -> str:
    stored, delivered = (now or [0])[0], (then or [0])[0]
    if stored > delivered:
        return "the delivery lacks records that the order reaches"
    if stored < delivered:
        return "the delivery has records that the order does not reach, or that are not stored"
    return "the delivered records are not those that are stored"
