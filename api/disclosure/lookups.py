"""Who looked into disclosures, when and in which case: for the data protection officer, from the audit log alone.

The report holds persons' ids, cases, times and counts; never a target, a reference or a record. It also says where
four eyes were not four: officer, case handler and approvers of a released task are told by their entries.

Source: GDPR Art 39(1)(b) (monitoring of who has access); the design's promises 6 and 7.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from api.disclosure import case_history
from api.disclosure.model import Actor
from api.instants import midnight_us
from api.people import persons
from api.people.roles import Role
from api.request_log import DONE, REFUSED
from schemas.errors import ConfigurationError
from store import Store
from store.clock import to_text

DAYS_MAX: Final = 366
READINGS: Final = (
    "audit.read",
    "audit.exported",
    "audit.completeness",
    "logins.read",
    "report.read",
    "subject.answered",
    DONE,
)
"""Readings that carry no case of their own: of the log, of log-ins, of reports, of usage, registers and lists."""
_WORDS: Final = ("disclosure.", *READINGS, REFUSED)


@dataclass(slots=True)
class _Looked:
    kinds: Counter[str] = field(default_factory=Counter)
    cases: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    without_case: int = 0
    refused: int = 0
    readings: int = 0


def look_ups(store: Store, actor: Actor, start: date, end: date, *, person: str | None = None) -> dict[str, Any]:
    """Return what everybody looked up on days in [start, end), or one person.

    Raises:
        ConfigurationError: the days are out of order, or too many.
        ProcedureError: the actor is no data protection officer; logged.
        AuditError: the reading could not be logged, or the log does not tell all.
    """
    if not 0 < (end - start).days <= DAYS_MAX:
        raise ConfigurationError(f"a report covers 1 to {DAYS_MAX} days, and ends after it begins")
    span = {"from": start.isoformat(), "to": end.isoformat()}
    with case_history.reading(store, actor, "look-ups", (Role.DPO,), **span):
        found = _found(store, midnight_us(start), midnight_us(end))
        enrolled = {item.person_id: item for item in persons.list_all(store)}
        shown = [
            _shown(who, looked, enrolled.get(who)) for who, looked in sorted(found.items()) if person in (None, who)
        ]
        return {**span, "persons": shown, "four_eyes": four_eyes(case_history.tasks(store), enrolled)}


def four_eyes(tasks: dict[str, case_history.TaskHistory], enrolled: dict[str, persons.Person]) -> dict[str, Any]:
    """Return how many tasks were released, and which of them not by three persons in three roles. Pure."""
    released = {task: item for task, item in tasks.items() if item.releases}
    return {
        "released": len(released),
        "violations": sorted(task for task, item in released.items() if not _is_apart(item, enrolled)),
    }


def _is_apart(item: case_history.TaskHistory, enrolled: dict[str, persons.Person]) -> bool:
    steps = {
        Role.OFFICER: item.persons.get(case_history.REGISTERED, set()),
        Role.CASE_HANDLER: item.persons.get("disclosure.checked", set()) | item.persons.get("disclosure.run", set()),
        Role.APPROVER: item.persons.get("disclosure.approved", set()) | item.persons.get(case_history.RELEASED, set()),
    }
    everybody = set[str]().union(*steps.values())
    apart = len(everybody) == sum(map(len, steps.values()))
    in_role = all(who in enrolled and role in enrolled[who].roles for role, people in steps.items() for who in people)
    return apart and in_role and all(steps.values())


def _found(store: Store, start_us: int, end_us: int) -> dict[str, _Looked]:
    found: dict[str, _Looked] = defaultdict(_Looked)
    for entry in case_history.entries(store, *(f'"kind":"{word}' for word in _WORDS)):
        who = entry.public.get("person") or entry.public.get("by")
        if not start_us <= entry.time_us < end_us or who is None:
            continue
        looked = found[who]
        if entry.kind in READINGS:
            looked.readings += 1
        elif entry.kind in (case_history.REFUSED, REFUSED):
            looked.refused += 1
        elif entry.kind in case_history.LOOK_UPS:
            looked.kinds[entry.kind.removeprefix("disclosure.")] += 1
            case = entry.public.get("task") or entry.public.get("authorisation")
            if case is None:
                looked.without_case += 1
            else:
                looked.cases[case].append(entry.time_us)
    return found


def _shown(who: str, looked: _Looked, person: persons.Person | None) -> dict[str, Any]:
    return {
        "person": who,
        "roles": sorted(str(role) for role in person.roles) if person else [],
        "state": person.state if person else None,
        "look_ups": sum(looked.kinds.values()),
        "kinds": dict(sorted(looked.kinds.items())),
        "cases": [
            {"case": case, "look_ups": len(times), "times": [to_text(time) for time in times]}
            for case, times in sorted(looked.cases.items())
        ],
        "without_case": looked.without_case,
        "refused": looked.refused,
        "readings": looked.readings,
    }
