"""The store's policy: its versions as documents, put in force by two persons, and the partition of every record.

A version is a sealed document like others; its text is in the audit log too, which nobody can rewrite: `verify`
compares them. Whoever reads the policy gets all versions, so that a version which was put in force by another process
counts here with the next question.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import InputError, LagrumError, ProcedureError
from schemas.policy import CLASSES_MAX, DEFAULT_POLICY, FIRST, Policy, Rule, Version
from schemas.retention import CEILING_MONTHS, DEFAULT_CLASS, SHARED_DOMAIN, RetentionClass
from store.audit import AuditEntry
from store.audit.search import find
from store.clock import to_date
from store.documents import Put
from store.model import Problem
from store.partitions import PartitionKey, date_to_day, day_to_date, end_days, newest

if TYPE_CHECKING:
    from store.store import Store

KIND: Final = "policy"
ENFORCED: Final = "policy.enforced"
_SPAN_MAX: Final = 65_536
"""Of numbers that are told apart by counting them, without sorting: nearly three years of days."""
_UNKNOWN: Final = "kept to the ceiling: no version of the policy has this class"


class Policies:
    """The versions of one store's policy."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: tuple[int, Policy] = (0, DEFAULT_POLICY)

    def current(self) -> Policy:
        """Return the policy with all its versions.

        Raises:
            IntegrityError: a version was changed by somebody who has no key.
        """
        count = int(self._store.catalog.query("SELECT count(*) FROM documents WHERE kind = ?", (KIND,))[0][0])
        with self._lock:
            if count != self._known[0]:
                bodies = [document.body for document in self._store.documents.list(KIND)]
                self._known = (len(bodies), Policy((FIRST, *map(Version.from_dict, bodies))))
            return self._known[1]

    def check(self, version: Version) -> Policy:
        """Return the policy as it would be with one more version.

        Raises:
            ConfigurationError: it does not follow from the versions before.
            ClockError: nobody can tell which day it is.
        """
        verdict = self._store.clock_guard.verdict()
        verdict.require_trusted()
        empty = not self._store.catalog.partition_states()
        return self.current().extended(version, to_date(verdict.wall_us), is_empty=empty)

    def enforce(
        self, version: Version, *, actors: Sequence[str], puts: Sequence[Put] = (), secret: dict[str, Any] | None = None
    ) -> Policy:
        """Put a version in force from its day on, with other documents in the same transaction; logged as it counts.

        Raises:
            ProcedureError: fewer than two persons act (`two-persons`), or another version came first (`stale`).
            ConfigurationError, ClockError: see `check`.
        """
        if len(set(actors)) < 2:
            raise ProcedureError("a policy takes two persons", reason="two-persons")
        self.check(version)
        public = {"digest": version.digest, "policy": version.as_dict(), "actors": sorted(set(actors))}
        put = Put(KIND, f"{version.number:06}", version.as_dict(), expect=0)
        self._store.documents.commit([put, *puts], [AuditEntry(ENFORCED, public, secret)])
        return self.current()

    def verify(self) -> list[Problem]:
        """Return every disagreement between the versions in force and the audit log."""
        store = self._store
        try:
            stored = {version.number: version.digest for version in self.current().versions[1:]}
        except LagrumError as error:
            return [Problem("policy", error.message)]
        store.flush_outbox()
        store.audit.refresh()
        logged = {
            int(entry.public["policy"]["version"]): str(entry.public["digest"])
            for entry in find(store.layout.audit, store.audit.size, (ENFORCED,))
        }
        return [
            Problem(f"policy version {number}", "it is not the one that the audit log says is in force")
            for number in sorted(stored.keys() | logged.keys())
            if stored.get(number) != logged.get(number)
        ]


def slots_of(policy: Policy, records: pa.Table) -> npt.NDArray[np.int64]:
    """Return for each packed record which partition it belongs to, as one number: its day and its class.

    A record without a category of the policy lies in the class with the longest period.

    Raises:
        InputError: a record has no end.
    """
    if records.column("end_time").null_count:
        raise InputError("a record has no end", hint="a record that ended has `end_time`; what runs is an event")
    days = end_days(records.column("end_time").cast(pa.int64()).to_numpy())
    slots = days * CLASSES_MAX
    if not len(days):
        return slots
    if len(policy.versions) == 1:
        return slots + _codes(policy, policy.versions[0], records)
    starts = np.array([date_to_day(version.start) for version in policy.versions])
    places = np.maximum(np.searchsorted(starts, days, side="right") - 1, 0)
    for place in np.unique(places):
        within = places == place
        codes = _codes(policy, policy.versions[place], records)
        slots[within] += codes if isinstance(codes, int) else codes[within]
    return slots


def distinct(slots: npt.NDArray[np.int64]) -> list[int]:
    """Return the numbers of `slots_of` that occur, ascending: mostly one, or few that lie close together."""
    if not len(slots):
        return []
    low, high = int(slots.min()), int(slots.max())
    if high - low < _SPAN_MAX:
        return [low] if low == high else (np.flatnonzero(np.bincount(slots - low)) + low).tolist()
    return [int(slot) for slot in np.unique(slots)]


def partition_of(policy: Policy, slot: int, states: Container[PartitionKey] = ()) -> PartitionKey:
    """Return the partition that a number of `slots_of` names; its day must be 1970 or later.

    Of a partition that was written anew it is the newest generation among `states`.
    """
    day, code = divmod(slot, CLASSES_MAX)
    return newest(PartitionKey(day_to_date(day), policy.class_names[code], SHARED_DOMAIN), states)


def day_of(slot: int) -> int:
    """Return the day number of a number of `slots_of`."""
    return slot // CLASSES_MAX


def statement(policy: Policy, key: PartitionKey, rule: Rule | None = None) -> dict[str, Any]:
    """Say by which rule a partition's period ends: version, digest, since when, class, months, basis, citation.

    `rule` is that of records in it which end sooner.
    """
    moved = rule is not None
    rule = rule or policy.rule(key.end_date, key.retention_class, key.category)
    version = policy.versions[0] if rule is None else rule.version
    lacking = RetentionClass(key.retention_class, CEILING_MONTHS, DEFAULT_CLASS.legal_basis, _UNKNOWN)
    period = lacking if rule is None else rule.period
    return {
        "version": version.number,
        "digest": version.digest,
        "since": version.start.isoformat(),
        "class": period.name if moved else key.retention_class,
        "months": period.period_months,
        "legal_basis": period.legal_basis,
        "citation": period.citation,
    }


def _codes(policy: Policy, version: Version, records: pa.Table) -> npt.NDArray[np.int64] | int:
    """Return each record's class by one version, as its place in the policy's list; one number when all are alike."""
    places = {name: policy.class_names.index(name) for name in set(version.services.values())}
    longest = max(places, key=lambda name: (found.period_months if (found := version.find(name)) else 0, name))
    if len(places) == 1:
        return places[longest]
    found: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for chunk in records.column("service_type").chunks:
        services: Any = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        by_word = [places[version.services.get(word, longest)] for word in services.dictionary.to_pylist()]
        indices = services.indices.fill_null(len(by_word)).to_numpy(zero_copy_only=False)
        found.append(np.array([*by_word, places[longest]], np.int64)[indices])
    return np.concatenate(found)
