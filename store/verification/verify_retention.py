"""Verification of what retention leaves behind: certificates against erased partitions, and the mark of the clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from store.audit import StoredEntry
from store.audit.search import find
from store.backup import RESTORED
from store.model import Problem
from store.retention.certificate_check import check_log
from store.retention.certificates import held_name, stored
from store.retention.hold import ENDED

if TYPE_CHECKING:
    from store.store import Store


def _missing(store: Store, restored: Iterable[StoredEntry]) -> list[Problem]:
    """Return the days of which a restored backup had a generation only whose key was destroyed before."""
    empty = {str(item.key) for item in store.partitions() if not item.records}
    return [
        Problem(
            f"partition {item['into']}",
            f"the {item['records']} records of {item['into'][:10]} that the restored backup had lie under a destroyed "
            "key: deliver the day again",
        )
        for entry in restored
        for item in entry.public.get("lost", ())
        if item["into"] in empty
    ]


def _where(name: str) -> str:
    return name.replace("hold/", "hold ") if name.startswith("hold/") else f"partition {name}"


def retention_story(store: Store) -> list[Problem]:
    """Return every disagreement between erased partitions, their certificates and the log."""
    states = store.catalog.partition_states() | store.catalog.location_states()
    erased = {str(key) for key, state in states.items() if state == "dropped"}
    kept = {partition: note for _, partition, note in stored(store)}
    store.flush_outbox()
    store.audit.refresh()
    problems = [Problem("audit log", what) for what in check_log(store.layout.audit, str(store.audit.origin))]
    told = {name: note for name, (_, note) in store.log_state.certificates().items()}
    ended = {held_name(hold.id) for hold in store.holds.all() if hold.state == ENDED}
    # What was erased after a backup was made has its certificate in the log that the restored one replaced.
    restored = list(find(store.layout.audit, store.audit.size, (RESTORED,)))
    elsewhere = {str(name) for entry in restored for name in entry.public.get("erased_since", ())}
    problems += [
        Problem(_where(name), "it is erased, and there is no certificate of it")
        for name in sorted((erased | ended) - kept.keys() - elsewhere)
    ]
    problems += [
        Problem(_where(name), "its certificate is not the one in the audit log")
        for name, note in sorted(kept.items())
        if told.get(name) != note
    ]
    problems += _missing(store, restored)
    return problems + store.policies.verify() + store.clock_guard.problems()
