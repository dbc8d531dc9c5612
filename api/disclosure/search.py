"""The guarded query: compiled from the order on file and nothing else, checked row by row, cut, enclosed, signed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from api.billing.subscriptions import holders
from api.disclosure import package, printing
from api.disclosure.canary import made_records
from api.disclosure.casebook import Case
from api.disclosure.deliveries import Part
from api.disclosure.expired import expired_fields
from api.disclosure.model import Target
from api.disclosure.open_sessions import are_open, within
from api.disclosure.preserved import Preserved, preserved
from api.disclosure.recipients import Recipient
from api.disclosure.selection import (
    MARKS,
    Span,
    is_shared,
    owners_of,
    permitted_fields,
    reading_columns,
    select,
    target_counts,
)
from api.disclosure.sliced_scan import cut, erased_days, hits, too_many
from api.disclosure.subscribers import Separation, spans_of
from api.handover import envelope, ts102657
from api.handover.requests import number_of
from api.instants import parse_instant
from api.scheduling import stand_back
from schemas.errors import ProcedureError
from store import ScanQuery, Store, TargetIdentifier
from store.clock import to_date, to_text
from store.correcting.overlay import PLACE, RESTRICTED

if TYPE_CHECKING:
    from api.disclosure.completeness import Recorder


@dataclass(frozen=True, slots=True)
class Found:
    """A result: its manifest, and what is on file of its parts."""

    manifest: bytes
    parts: tuple[Part, ...]
    records: int

    @property
    def sha256(self) -> str:
        """The digest that a release approves."""
        return hashlib.sha256(self.manifest).hexdigest()


@dataclass(slots=True)
class _Tally:
    """What the manifest says of the records, counted while they pass."""

    separation: Separation
    spans: Sequence[Span | None] = ()
    held: Preserved | None = None
    records: int = 0
    open_sessions: int = 0
    marks: Counter[str] = field(default_factory=Counter)
    targets: Counter[int] = field(default_factory=Counter)
    corrections: dict[str, list[int]] = field(default_factory=dict)
    preserved: dict[str, list[int]] = field(default_factory=lambda: {"records": [], "locations": []})


Keep = Callable[[int, bytes], None]
"""Takes the envelope of a part, by its sequence number, and makes it durable."""


def query_of(case: Case) -> ScanQuery:
    """Return what a task asks of the store: the columns that it needs, for the purpose that its basis draws on."""
    task = case.task
    return ScanQuery(
        start_us=task.window.start_us,
        end_us=task.window.end_us,
        targets=tuple(TargetIdentifier(target.kind, target.value, target.port) for target in task.targets),
        columns=reading_columns(case.basis, task.targets, task.categories),
        purpose=case.basis.draws_on,
    )


def search(store: Store, case: Case, recipient: Recipient, keep: Keep, recorder: Recorder | None = None) -> Found:
    """Search, and give every part to `keep` as an envelope; records exist outside envelopes in memory only.

    `recorder` takes the evidence of what is delivered; a test has none.

    Raises:
        KeyUnavailableError, IntegrityError: a part cannot be read, or a row has nothing to do with the order.
        ProcedureError: reason `too-many-records`, `several-tenants` or `several-networks`.
        ClockError: nobody can tell what is over.
    """
    query = recorder.query if recorder else None
    names = permitted_fields(case.basis, case.task.categories)
    is_test = case.authorisation.is_test
    tally = _Tally(
        Separation(store, case),
        recorder.spans if recorder else spans_of(store, case),
        None if is_test else preserved(store, case),
    )
    parts: list[Part] = []
    listed: list[dict[str, Any]] = []
    for inner in _parts(store, case, recipient, tally, recorder):
        listed.append(inner.as_dict())
        closed = envelope.enclose(inner.data, recipient.certificate)
        digests = (len(inner.data), inner.sha256, len(closed), hashlib.sha256(closed).hexdigest())
        parts.append(Part(inner.sequence, inner.first_record, inner.records, *digests))
        keep(inner.sequence, closed)
    planned = store.plan(query) if query else None
    about = _about(store, case, recipient) | {
        "snapshot": {"batch_id_max": query.batch_id_max if query else None},
        "counts": {
            "records": tally.records,
            "conflicts": tally.marks["conflict"],
            "end_inferred": tally.marks["end_inferred"],
            "time_ambiguous": tally.marks["time_ambiguous"],
            "open_sessions": tally.open_sessions,
            "restricted": len(tally.corrections.get(RESTRICTED, ())),
            "preserved": len(tally.preserved["records"]),
            "by_target": [tally.targets[place] for place in range(len(case.task.targets))],
        },
        "erased_days": erased_days(planned) if planned else [],
    }
    if tally.corrections:
        about["corrections"] = tally.corrections
    if tally.held is not None:
        about["preserved"] = {"reference": tally.held.reference, "holds": list(tally.held.holds), **tally.preserved}
    if apart := tally.separation.about():
        about["subscribers"] = apart
    if "account" in names and not is_test:
        about["holders"] = _holders(store, case)
    if planned is not None:
        about |= expired_fields(planned, names)
    return Found(package.manifest(about, names, listed), tuple(parts), tally.records)


def _parts(
    store: Store, case: Case, recipient: Recipient, tally: _Tally, recorder: Recorder | None
) -> Iterator[package.Inner]:
    names = permitted_fields(case.basis, case.task.categories)
    header = _header(store, case, recipient)
    first = 1
    for number, (table, last) in enumerate(cut(_kept(store, case, tally, recorder), package.PART_RECORDS), start=1):
        printed = printing.printable(table, names)
        lines = printing.ndjson(printed)
        if recorder is not None:
            recorder.add(table, lines, tally.held.rows(table, tally.held.records) if tally.held else ())
        files: dict[str, bytes] = {}
        for form in recipient.files:
            if form == "csv":
                content = printing.to_csv(printed, names)
            elif form == "ndjson":
                content = lines
            else:
                content = ts102657.response(header, printed, first, complete=last)
            files[package.FILES[form]] = content
        yield package.inner_part(number, first, table.num_rows, files)
        first += table.num_rows


def _kept(store: Store, case: Case, tally: _Tally, recorder: Recorder | None) -> Iterator[pa.Table]:
    """Yield the rows that may leave, sorted, and count them."""
    task, basis = case.task, case.basis
    running = recorder.open_sessions if recorder else ()
    for kept in _found(store, case, recorder.query if recorder else None, tally.spans, tally.held, running):
        tally.open_sessions += int(np.count_nonzero(are_open(kept)))
        for name in MARKS:
            tally.marks[name] += printing.count(kept, name)
        for place, number in enumerate(target_counts(kept, basis, task.targets, tally.spans)):
            tally.targets[place] += number
        # Restricted and rectified records leave, and the manifest says which rows they are.
        is_test = case.authorisation.is_test
        marks = store.corrections.marks(() if is_test else _places(kept))
        for kind, rows in marks.items():
            tally.corrections.setdefault(kind, []).extend(row + tally.records for row in rows)
        tally.separation.add(kept, tally.records)
        if tally.held is not None:
            for what, held in (("records", tally.held.records), ("locations", tally.held.locations)):
                marked = enumerate(tally.held.rows(kept, held), start=tally.records + 1)
                tally.preserved[what].extend(row for row, is_held in marked if is_held)
        tally.records += kept.num_rows
        if tally.records > package.RECORDS_MAX:
            raise too_many()
        yield kept


def _places(kept: pa.Table) -> Iterator[tuple[int, int]]:
    yield from zip(*(kept[name].to_pylist() for name in PLACE), strict=True)


def found(store: Store, case: Case, query: ScanQuery | None = None) -> Iterator[pa.Table]:
    """Yield the rows that the order reaches, checked one by one and sorted; a test's are made and not read.

    Open sessions come last.

    `query` is the task's, bound to a snapshot.

    Raises:
        KeyUnavailableError, IntegrityError: a part cannot be read, or a row has nothing to do with the order.
        ProcedureError: reason `too-many-records`.
    """
    is_test, asked = case.authorisation.is_test, query or query_of(case)
    held = None if is_test else preserved(store, case)
    # Asked first: what ends meanwhile is among the records.
    running = () if is_test else within(store.open_sessions(asked.targets), asked)
    yield from _found(store, case, asked, spans_of(store, case), held, running)


def _found(
    store: Store,
    case: Case,
    query: ScanQuery | None,
    spans: Sequence[Span | None],
    held: Preserved | None,
    running: Sequence[pa.Table],
) -> Iterator[pa.Table]:
    task, basis = case.task, case.basis
    if case.authorisation.is_test:
        yield select(made_records(task, basis), basis, task.targets, task.window)
        return
    stand_back()  # pushes are answered meanwhile
    whose: dict[int, set[str]] = {place: set() for place, item in enumerate(task.targets) if is_shared(item)}
    for table in chain(hits(store, query or query_of(case), held.complete if held else None), running):
        kept = select(table, basis, task.targets, task.window, spans)
        for place, seen in whose.items():
            seen.update(owners_of(kept, basis, task.targets[place], spans[place] if spans else None))
            if len(seen) > 1:
                raise _several(task.targets[place])
        if kept.num_rows:
            yield kept


def _several(target: Target) -> ProcedureError:
    if target.kind == "account":
        return ProcedureError(
            "several tenants have an account of that name",
            reason="several-tenants",
            hint="the order says whose account it is; nothing else tells them apart",
        )
    return ProcedureError(
        "an inner address is in several VRFs",
        reason="several-networks",
        hint="the order names the network element, or the public address with port and time",
    )


def _holders(store: Store, case: Case) -> list[dict[str, Any]]:
    """Return whose the targets were by subscription, each for its own days: a number that changed hands has several.

    Where the order names the day on which the person meant held the target, the others stay out: no record of theirs
    leaves for it. No day outside the window is told: since when, and for how much longer, was not asked.
    """
    window = case.task.window
    first, last = to_date(window.start_us), to_date(window.end_us - 1)
    end = last + timedelta(days=1)
    return [
        {
            "kind": item.kind,
            "value": item.value,
            "account": item.account,
            "from": max(item.valid_from, first).isoformat(),
            "to": min(item.end, end).isoformat(),
        }
        for target in case.task.targets
        for item in holders(store, target.kind, target.value, first, last)
        if target.held_on is None or item.valid_from <= date.fromisoformat(target.held_on) < item.end
    ]


def _header(store: Store, case: Case, recipient: Recipient) -> ts102657.Header:
    """Return the head of every message of a result; its time is the approval's, so that a repetition is the same."""
    approval = case.task.request_approval
    time_us = case.task.registered_at_us if approval is None else parse_instant(approval.statement.time)
    number = number_of(store, case.task.id)
    return ts102657.Header(recipient.country, recipient.organisation, number, store.store_id, time_us)


def _about(store: Store, case: Case, recipient: Recipient) -> dict[str, Any]:
    task, authorisation, basis = case.task, case.authorisation, case.basis
    return {
        **({"test": "TEST: every record is made for this test; none is of anybody"} if authorisation.is_test else {}),
        "store": store.store_id,
        "recipient": {"authority": recipient.authority, "name": recipient.name, "country": recipient.country},
        "order": {
            "authorisation": authorisation.id,
            "task": task.id,
            "authority": authorisation.authority,
            "decision_reference": authorisation.decision_reference,
            "decided_on": authorisation.decided_on.isoformat(),
            "decided_by": str(authorisation.decided_by),
            "emergency": authorisation.emergency,
            "basis": {"id": basis.id, "version": basis.version, "title": basis.title, "citation": basis.citation},
            "targets": [target.as_body() for target in task.targets],
            "window": {"from": to_text(task.window.start_us), "to": to_text(task.window.end_us)},
            "categories": sorted(str(category) for category in task.categories),
        },
    }
