"""The guarded query: compiled from the order on file and nothing else, checked row by row, packed and signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.disclosure.canary import made_records
from api.disclosure.casebook import Case
from api.disclosure.expired import expired_fields
from api.disclosure.package import RECORDS_MAX, Package, build
from api.disclosure.selection import permitted_fields, select
from api.subscriptions import holders
from api.turns import stand_back
from schemas.arrow import PACKED
from schemas.errors import ProcedureError
from schemas.packing import unpack_table
from store import ScanQuery, Store, TargetIdentifier
from store.clock import to_date, to_text
from store.overlay import PLACE

if TYPE_CHECKING:
    from api.disclosure.completeness import Evidence, Recorder

_SCAN_RECORDS_MAX: Final = 4 * RECORDS_MAX
"""Rows held before the order's roles and ports thin them out."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the result will be called, and the state of the log before its search."""

    delivery_id: str
    checkpoint: str


def query_of(case: Case) -> ScanQuery:
    """Return what a task asks of the store, for the purpose that its basis draws on."""
    task = case.task
    return ScanQuery(
        start_us=task.window.start_us,
        end_us=task.window.end_us,
        targets=tuple(TargetIdentifier(target.kind, target.value, target.port) for target in task.targets),
        purpose=case.basis.draws_on,
    )


def search(
    store: Store, case: Case, head: Head, key: Ed25519PrivateKey, recorder: Recorder | None = None
) -> tuple[Package, Evidence | None]:
    """Return the signed package of everything that the task may have, and its evidence; a test has none.

    Every partition of the window is read or the search fails: an unreadable part raises and is never an empty answer.

    Raises:
        KeyUnavailableError, IntegrityError: a part cannot be read, or a row has nothing to do with the order.
        ProcedureError: reason `too-many-records`.
    """
    kept = found(store, case, recorder.query if recorder else None)
    about = _about(store, case, head)
    evidence = None
    if recorder is not None:
        recorder.add(kept)
        evidence = recorder.finish(head.delivery_id)
        about["evidence"] = evidence.named()
    # Restricted and rectified records leave, and the package says which rows they are.
    places = [] if case.authorisation.is_test else list(zip(*(kept[name].to_pylist() for name in PLACE), strict=True))
    corrected = store.corrections.marks(places)
    if corrected:
        about["corrections"] = corrected
    if "account" in permitted_fields(case.basis, case.task.categories) and not case.authorisation.is_test:
        about["holders"] = _holders(store, case)
    permitted = permitted_fields(case.basis, case.task.categories)
    if not case.authorisation.is_test:
        about |= expired_fields(store, recorder.query if recorder else query_of(case), permitted)
    return build(kept, permitted, about, key), evidence


def found(store: Store, case: Case, query: ScanQuery | None = None) -> pa.Table:
    """Return the rows that the order reaches, checked one by one and sorted; a test's are made and not read.

    `query` is the task's, bound to a snapshot.

    Raises:
        KeyUnavailableError, IntegrityError: a part cannot be read, or a row has nothing to do with the order.
        ProcedureError: reason `too-many-records`.
    """
    task, basis = case.task, case.basis
    if case.authorisation.is_test:
        return select(made_records(task, basis), basis, task.targets, task.window)
    stand_back()  # pushes are answered meanwhile
    batches: list[pa.RecordBatch] = []
    rows = 0
    for batch in store.scan(query or query_of(case)):
        rows += batch.num_rows
        if rows > _SCAN_RECORDS_MAX:
            raise ProcedureError(
                f"the search found more than {_SCAN_RECORDS_MAX} records",
                reason="too-many-records",
                hint="divide the window",
            )
        batches.append(batch)
    packed = (
        pa.concat_tables([pa.Table.from_batches([batch]) for batch in batches], promote_options="default")
        if batches
        else PACKED.empty_table()
    )
    return select(unpack_table(packed), basis, task.targets, task.window)


def _holders(store: Store, case: Case) -> list[dict[str, Any]]:
    """Return whose the targets were by subscription, each for its own days: a number that changed hands has several."""
    window = case.task.window
    first, last = to_date(window.start_us), to_date(window.end_us - 1)
    return [
        {
            "kind": item.kind,
            "value": item.value,
            "account": item.account,
            "from": item.valid_from.isoformat(),
            "to": None if item.valid_to is None else item.valid_to.isoformat(),
        }
        for target in case.task.targets
        for item in holders(store, target.kind, target.value, first, last)
    ]


def _about(store: Store, case: Case, head: Head) -> dict[str, Any]:
    task, authorisation, basis = case.task, case.authorisation, case.basis
    return {
        **({"test": "TEST: every record is made for this test; none is of anybody"} if authorisation.is_test else {}),
        "store": store.store_id,
        "delivery": {"id": head.delivery_id, "sequence": 1, "of": 1},
        "order": {
            "authorisation": authorisation.id,
            "task": task.id,
            "authority": authorisation.authority,
            "decision_reference": authorisation.decision_reference,
            "decided_on": authorisation.decided_on.isoformat(),
            "emergency": authorisation.emergency,
            "basis": {"id": basis.id, "version": basis.version, "citation": basis.citation},
            "targets": [target.as_body() for target in task.targets],
            "window": {"from": to_text(task.window.start_us), "to": to_text(task.window.end_us)},
            "categories": sorted(str(category) for category in task.categories),
        },
        "snapshot": {"checkpoint": head.checkpoint},
    }
