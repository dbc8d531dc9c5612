"""The yearly report: how many tasks, under which basis, for which country's authorities, with what outcome, how fast.

It is counted from the cases on file and compared with what the audit log tells of the same tasks. Nothing in it depends
on when it is made: two runs over the same cases are equal. Tests count nowhere.

Two editions. The exact one is for approvers and the data protection officer. The published one withholds small counts:
we know no provision that gives a figure for such reports, so the rule is ours, and the report prints it (`RULE`).

Source: Regulation (EU) 2023/1543 Art 28 (what is counted of production orders: number, outcome, time); Regulation (EU)
2016/679 recital 26 (a count of few may point at a person).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from api.disclosure import case_history
from api.disclosure.casebook import Casebook
from api.disclosure.deadlines import answer_due_us
from api.disclosure.deliveries import Delivery
from api.disclosure.model import Actor, Authorisation, Task
from api.disclosure.states import AuthorisationState, Stage
from api.people import authorities
from api.people.roles import Role
from schemas.audit_terms import ends_on
from schemas.errors import ProcedureError
from schemas.legal_bases import basis_on
from store import Store
from store.clock import to_date

SMALL: Final = 5
"""Counts of 1 to 4 are small."""
P95_LEAST: Final = 20
"""Of fewer, the 95th percentile is one single case."""
RULE: Final = (
    "Counts of 1 to 4 are withheld, and with them whatever they could be told from; sums count only what is shown; "
    "rows of fewer than 5 tasks are left out; a median needs 5 answers and a 95th percentile 20; only a year that is "
    "over is published. The bounds are the operator's, not the law's."
)
OUTCOMES: Final = ("disclosed", "nothing-found", "refused", "withdrawn", "lapsed", "expired", "pending")
SUBSETS: Final = ("emergencies", "late", "delivered_then_lapsed")
_READERS: Final = (Role.APPROVER, Role.DPO)
_ANSWERED: Final = ("disclosed", "nothing-found")
_HOUR_US: Final = 3_600_000_000
_ENDED_WITH: Final = {
    AuthorisationState.REJECTED: "refused",
    AuthorisationState.CANCELLED: "withdrawn",
    AuthorisationState.EXPIRED: "expired",
    AuthorisationState.INVALID: "lapsed",
}


@dataclass(frozen=True, slots=True)
class Counted:
    """One task of the year, reduced to what is counted. `taken_us` is from receipt to release."""

    basis: str
    country: str
    outcome: str
    is_emergency: bool
    is_late: bool
    is_lapsed: bool
    taken_us: int | None


def transparency(store: Store, actor: Actor, year: int, *, exact: bool = False) -> dict[str, Any]:
    """Return the report on the tasks that were registered in a calendar year (UTC), by their outcome now.

    Raises:
        ProcedureError: another role, or a year that is not over is to be published (`year-not-over`).
        AuditError: the reading could not be logged, or the log does not tell all.
    """
    start_us, end_us = case_history.year_us(year)
    edition = "exact" if exact else "published"
    with case_history.reading(store, actor, "transparency", _READERS, year=year, edition=edition):
        if not exact and store.clock.now_us() < end_us:
            raise ProcedureError("only a year that is over is published", reason="year-not-over")
        log = case_history.tasks(store)
        cases = _cases(store)
        found = [
            _counted(store, *case, deliveries)
            for deliveries in [{item.id: item for item, _ in Casebook(store).deliveries()}]
            for case in cases
            if start_us <= case[1].registered_at_us < end_us and not case[0].is_test
        ]
        differences = None if _is_log_over(store, start_us) else _differences(cases, log, start_us, end_us)
    exact_rows = [_row(*key, items) for key, items in sorted(_grouped(found).items())]
    rows = exact_rows if exact else [row for row in map(withheld, exact_rows) if row["tasks"] >= SMALL]
    return {
        "year": year,
        "edition": edition,
        "rule": None if exact else RULE,
        "outcomes": list(OUTCOMES),
        "rows": rows,
        "rows_left_out": len(rows) < len(exact_rows),
        "totals": _totals(rows),
        "agreement": _agreement(differences, exact=exact),
    }


def withheld(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the published edition: what is small, or would tell what is small, is None. Pure."""
    whole, hides = row["tasks"], any(0 < count < SMALL for count in row["outcomes"].values())
    cells = {outcome: _large(row["outcomes"][outcome]) for outcome in OUTCOMES}
    answers = sum(row["outcomes"][outcome] for outcome in _ANSWERED)
    return {
        **row,
        "tasks": sum(count or 0 for count in cells.values()),
        "outcomes": cells,
        # A part of the whole bounds what is withheld of it.
        **{
            name: None if row[name] and (hides or 0 < whole - row[name] < SMALL) else _large(row[name])
            for name in SUBSETS
        },
        "median_hours": row["median_hours"] if answers >= SMALL else None,
        "p95_hours": row["p95_hours"] if answers >= P95_LEAST else None,
    }


def percentile(values: Sequence[int], share: float) -> int:
    """Return the nearest-rank percentile of at least one value. Pure."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _large(count: int) -> int | None:
    return count if count == 0 or count >= SMALL else None


def _cases(store: Store) -> list[tuple[Authorisation, Task]]:
    casebook = Casebook(store)
    orders = {item.id: item for item in casebook.authorisations()}
    return [(orders[task.authorisation_id], task) for task in casebook.tasks()]


def _counted(store: Store, item: Authorisation, task: Task, deliveries: Mapping[str, Delivery]) -> Counted:
    delivery = deliveries.get(task.delivery_id or "")
    released_us = delivery.released_at_us if delivery else None
    outcome = outcome_of(item, task)
    authority = authorities.find(store, item.authority)
    return Counted(
        basis=item.basis_id,
        country=authority.terms.country if authority else item.country,
        outcome=outcome,
        is_emergency=item.emergency,
        is_late=_is_late(item, task, released_us),
        is_lapsed=item.state is AuthorisationState.INVALID and task.stage is Stage.DELIVERED,
        taken_us=None if released_us is None else released_us - task.registered_at_us,
    )


def outcome_of(item: Authorisation, task: Task) -> str:
    """Return what became of a task; one that its authorisation took along counts like the authorisation. Pure."""
    match task.stage:
        case Stage.RELEASED | Stage.DELIVERED:
            return "disclosed" if task.records != 0 else "nothing-found"
        case Stage.REJECTED:
            return "refused"
        case Stage.CANCELLED:
            return "withdrawn"
        case Stage.INVALID:
            return "lapsed"
    return _ENDED_WITH.get(item.state, "pending")


def _is_late(item: Authorisation, task: Task, released_us: int | None) -> bool:
    if released_us is None:
        return False
    try:
        basis = basis_on(item.basis_id, item.decided_on)
    except ProcedureError:
        return task.due_at_us is not None and released_us > task.due_at_us
    return released_us > answer_due_us(item, basis, task)[0]


def _grouped(found: Sequence[Counted]) -> dict[tuple[str, str], list[Counted]]:
    groups: dict[tuple[str, str], list[Counted]] = defaultdict(list)
    for item in found:
        groups[item.basis, item.country].append(item)
    return groups


def _row(basis: str, country: str, items: Sequence[Counted]) -> dict[str, Any]:
    outcomes = Counter(item.outcome for item in items)
    taken = [item.taken_us for item in items if item.taken_us is not None and item.outcome in _ANSWERED]
    return {
        "basis": basis,
        "country": country,
        "tasks": len(items),
        "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES},
        "emergencies": sum(item.is_emergency for item in items),
        "late": sum(item.is_late for item in items),
        "delivered_then_lapsed": sum(item.is_lapsed for item in items),
        "median_hours": round(median(taken) / _HOUR_US, 2) if taken else None,
        "p95_hours": round(percentile(taken, 0.95) / _HOUR_US, 2) if taken else None,
    }


def _totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "tasks": sum(row["tasks"] for row in rows),
        "outcomes": {outcome: sum(row["outcomes"][outcome] or 0 for row in rows) for outcome in OUTCOMES},
        **{name: sum(row[name] or 0 for row in rows) for name in SUBSETS},
    }


def _differences(
    cases: Sequence[tuple[Authorisation, Task]], log: Mapping[str, case_history.TaskHistory], start_us: int, end_us: int
) -> list[str]:
    """Return the tasks of the year of which files and log do not tell the same."""
    on_file = {task.id: (item, task) for item, task in cases}
    found = []
    for task_id in on_file.keys() | log.keys():
        here, there = on_file.get(task_id), log.get(task_id)
        times = [here[1].registered_at_us if here else None, there.registered_us if there else None]
        if not any(time is not None and start_us <= time < end_us for time in times):
            continue
        if here is None or there is None or not _is_same(*here, there):
            found.append(task_id)
    return sorted(found)


def _is_same(item: Authorisation, task: Task, there: case_history.TaskHistory) -> bool:
    return (
        there.registered_us is not None
        and (item.basis_id, item.is_test, str(task.stage)) == (there.basis, there.is_test, there.stage)
        and (task.release_approval is not None) <= (there.releases > 0)
    )


def _is_log_over(store: Store, start_us: int) -> bool:
    """Tell whether entries of the year may be gone from the log by now."""
    return to_date(store.clock.now_us()) >= ends_on(to_date(start_us))


def _agreement(differences: list[str] | None, *, exact: bool) -> dict[str, Any]:
    if differences is None:
        return {"agrees": None, "differences": None}
    return {"agrees": not differences, "differences": differences if exact else None}
