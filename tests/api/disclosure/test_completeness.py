"""A delivery is proven to have every record that the order reaches and nothing else; every lie is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from api.disclosure.casebook import put
from api.disclosure.completeness import COMPLETE, KIND, PARTLY, WRONG, Evidence, Report, verify
from api.disclosure.orders import WrittenTarget
from schemas.errors import NotFoundError
from store import Put, Store
from store.audit import AuditEntry
from store.documents import Document
from store.reading import completeness
from tests.api.disclosure.conftest import MIDNIGHT_US, TARGET, Court
from tests.store.conftest import deliver
from tests.store.records import DAY_US, records, with_column


def evidence_of(court: Court, task_id: str) -> Document:
    delivery_id = court.procedure.casebook.task(task_id)[0].delivery_id
    return court.store.documents.get(KIND, delivery_id or "")


def more(days_ago: int = 6, *, seed: int = 5) -> Any:
    """Forty records of a day within the window, some of the target."""
    table = records(40, days_ago=days_ago, days=1, seed=seed)
    packed = int("1" + TARGET)
    return with_column(table, "calling_number", [packed if row % 4 == 1 else 146_701_749_998 for row in range(40)])


def sql(store: Store, statement: str, parameters: tuple[Any, ...] = ()) -> None:
    with store.catalog.transaction() as cursor:
        cursor.execute(statement, parameters)


@pytest.mark.parametrize("thorough", [False, True])
def test_a_true_delivery_is_complete_by_postings_and_by_reading_everything(court: Court, thorough: bool) -> None:
    task = court.run(court.approved().id)
    report = verify(court.store, task.id, thorough=thorough)
    assert (report.verdict, report.problems, report.days_not_comparable) == (COMPLETE, [], {})
    assert report.records == task.records
    assert report.days >= 3
    assert report.parts > 0


def test_none_found_is_proven_too(court: Court) -> None:
    task = court.run(court.approved(targets=(WrittenTarget("number", "070-174 99 97"),)).id)
    report = verify(court.store, task.id)
    assert (task.records, report.records, report.verdict) == (0, 0, COMPLETE)


def test_the_evidence_is_in_the_log_with_the_result_and_names_nobody(court: Court) -> None:
    task = court.run(court.approved().id)
    entry = next(entry for entry in court.log() if entry.kind == "disclosure.result")
    document = evidence_of(court, task.id)
    assert entry.public["evidence"] == Evidence(document.body).digest
    assert TARGET not in json.dumps(document.body)
    again = court.run(court.approved().id)
    assert evidence_of(court, again.id).body["days"] != document.body["days"]  # each has a salt of its own


# What happens afterwards, rightly


def test_records_that_come_later_do_not_make_a_delivery_incomplete(court: Court) -> None:
    task = court.run(court.approved().id)
    deliver(court.store, more(), source="late")
    assert verify(court.store, task.id).verdict == COMPLETE
    assert verify(court.store, court.run(court.approved().id).id).records > (task.records or 0)


def test_parts_that_were_merged_since_hold_the_same_records(court: Court) -> None:
    deliver(court.store, more(), source="more")
    task = court.run(court.approved().id)
    deliver(court.store, more(seed=6), source="late")
    court.store.compact(everything=True)
    assert verify(court.store, task.id).verdict == COMPLETE
    assert verify(court.store, task.id, thorough=True).verdict == COMPLETE


def test_an_extension_since_makes_no_true_delivery_wrong(court: Court) -> None:
    task = court.released()
    for days in (60, 90):
        later = court.ruling(expires_at_us=court.clock.now_us() + days * DAY_US)
        court.procedure.extend(court.actor("officer-1"), task.authorisation_id, later)
        assert verify(court.store, task.id).verdict == COMPLETE
        court.approve(task.id)
        assert verify(court.store, task.id).verdict == COMPLETE
    item, revision = court.procedure.casebook.authorisation(task.authorisation_id)
    earlier = replace(item.decisions[0], reference="B 9-26")
    court.store.documents.commit([put(replace(item, decisions=(earlier, *item.decisions[1:])), revision)])
    assert verify(court.store, task.id).verdict == WRONG, "the earlier decision is not the one that was searched for"


def test_a_batch_withdrawn_since_was_rightly_delivered_then_and_one_withdrawn_before_was_not(court: Court) -> None:
    before = deliver(court.store, more(), source="before")
    court.store.withdraw_batch(before.batch_id, reason="zone", actors=["a", "b"])
    since = deliver(court.store, more(seed=6), source="since")
    task = court.run(court.approved().id)
    court.store.withdraw_batch(since.batch_id, reason="zone", actors=["a", "b"])
    assert verify(court.store, task.id).verdict == COMPLETE


def test_days_that_were_erased_since_are_counted_and_not_called_wrong(court: Court) -> None:
    task = court.run(court.approved().id)
    court.clock.advance(days=736)
    court.store.clock_guard.beat()
    court.store.clock_guard.confirm(court.clock.now_us(), reason="test", actors=["a", "b"])
    court.store.expire()
    report = verify(court.store, task.id)
    assert (report.verdict, report.problems) == (PARTLY, [])
    assert report.days == 0
    assert set(report.days_not_comparable) <= {"erased", "beyond-purpose"}
    assert sum(report.days_not_comparable.values()) >= 3


# Lies


def _change(court: Court, task_id: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the evidence on file, and make the log name the changed one: the liar controls the service at the run."""
    document = evidence_of(court, task_id)
    body = json.loads(json.dumps(document.body))
    change(body)
    public = {"task": task_id, "evidence": Evidence(body).digest}
    court.store.documents.commit([Put(KIND, document.id, body)], [AuditEntry("disclosure.result", public)])


def _some_day(body: dict[str, Any]) -> str:
    return str(sorted(body["days"])[1])


def _drop_a_day(body: dict[str, Any]) -> None:
    del body["days"][_some_day(body)]


def _add_a_day(body: dict[str, Any]) -> None:
    body["days"]["2026-11-13"] = [1, "0" * 64]


def _fewer(body: dict[str, Any]) -> None:
    body["days"][_some_day(body)][0] -= 1


def _other_content(body: dict[str, Any]) -> None:
    body["days"][_some_day(body)][1] = "0" * 64


def _hide_a_part(body: dict[str, Any]) -> None:
    partition = next(iter(body["snapshot"]["partitions"].values()))
    partition["considered"] = []


def _hide_a_partition(body: dict[str, Any]) -> None:
    body["snapshot"]["partitions"].popitem()


def _refuse_a_partition(body: dict[str, Any]) -> None:
    name, _ = body["snapshot"]["partitions"].popitem()
    body["snapshot"]["refused"].append(name)


def _make_up_a_part(body: dict[str, Any]) -> None:
    body["snapshot"]["partitions"]["2026-11-16/standard/shared"]["considered"].append("0" * 32)


def _other_order(body: dict[str, Any]) -> None:
    body["order_sha256"] = "0" * 64


def _other_moment(body: dict[str, Any]) -> None:
    body["snapshot"]["log"] = {"from": 2, "to": 2}


def _older_batches(body: dict[str, Any]) -> None:
    body["snapshot"]["batch_id_max"] = 0


LIES = [
    _drop_a_day,
    _add_a_day,
    _fewer,
    _other_content,
    _hide_a_part,
    _hide_a_partition,
    _refuse_a_partition,
    _make_up_a_part,
    _other_order,
    _other_moment,
    _older_batches,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_evidence_that_lies_is_told_even_when_the_log_names_it(court: Court, lie: Any) -> None:
    task = court.run(court.approved().id)
    _change(court, task.id, lie)
    report = verify(court.store, task.id)
    assert report.verdict == WRONG
    assert report.problems
    assert TARGET not in json.dumps(report.as_dict())


def test_evidence_that_was_changed_later_is_told(court: Court) -> None:
    task = court.run(court.approved().id)
    document = evidence_of(court, task.id)
    court.store.documents.commit([Put(KIND, document.id, {**document.body, "records": 0})])
    report = verify(court.store, task.id)
    assert report.problems == ["the evidence on file is not the one that the log names"]


def _hide_by_bounds(store: Store) -> None:
    sql(store, "UPDATE parts SET start_us_min = ?, end_us_max = ?", (MIDNIGHT_US + DAY_US, MIDNIGHT_US - 90 * DAY_US))


def _hide_by_withdrawal(store: Store) -> None:
    sql(store, "UPDATE batches SET withdrawn_us = 1 WHERE batch_id = 1")


def _hide_parts(store: Store) -> None:
    sql(
        store,
        "DELETE FROM parts WHERE part_id IN (SELECT part_id FROM parts JOIN partitions USING (partition_id) "
        "WHERE end_date = '2026-11-16')",
    )


def _hide_a_dropped_partition(store: Store) -> None:
    sql(store, "UPDATE partitions SET state = 'dropped' WHERE end_date = '2026-11-16'")


@pytest.mark.parametrize(
    "edit",
    [_hide_by_bounds, _hide_by_withdrawal, _hide_parts, _hide_a_dropped_partition],
    ids=lambda edit: edit.__name__,
)
@pytest.mark.parametrize("undone", [False, True])
def test_a_catalog_that_was_edited_for_one_search_is_told(court: Court, edit: Any, undone: bool) -> None:
    path = court.store.layout.catalog
    tables = {name: court.store.catalog.query(f"SELECT * FROM {name}") for name in ("parts", "partitions", "batches")}
    edit(court.store)
    task = court.run(court.approved().id)
    assert path.exists()
    if undone:
        with court.store.catalog.transaction() as cursor:
            cursor.execute("PRAGMA defer_foreign_keys = ON")
            for name, rows in tables.items():
                cursor.execute(f"DELETE FROM {name}")
                cursor.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    report = verify(court.store, task.id)
    assert report.verdict == WRONG, report


def test_a_part_that_was_written_anew_with_the_key_is_told(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staff with the keys write a part without some records, under its name, and mend the catalog: the log tells."""
    task = court.run(court.approved().id)
    store = court.store
    part = next(part for part in store.catalog.parts() if str(part.partition).startswith("2026-11-16"))
    key = store.keyring.key(part.partition.ref)
    rows = store.part_store.read_records(part.partition, part.file_id, key).slice(5)
    store.part_store.discard(part)
    monkeypatch.setattr("store.parts.secrets.token_hex", lambda _: part.file_id)
    forged = store.part_store.write(part.partition, key, rows, store.hasher.tags(rows), location_key=None)
    monkeypatch.undo()
    sql(
        store,
        "UPDATE parts SET rows = ?, bytes = ?, sha256 = ?, identities_bytes = ?, identities_sha256 = ?, "
        "index_bytes = ?, index_sha256 = ? WHERE file_id = ?",
        (
            forged.rows,
            forged.bytes,
            forged.sha256,
            forged.identities_bytes,
            forged.identities_sha256,
            forged.index_bytes,
            forged.index_sha256,
            part.file_id,
        ),
    )
    report = verify(store, task.id)
    assert report.verdict == WRONG
    assert any("the audit log has no such manifest" in problem for problem in report.problems)


def test_a_merge_that_loses_records_is_told(court: Court) -> None:
    body = completeness.snapshot(court.store, _window(court)).as_body()
    assert completeness.problems(court.store, body) == []
    part = court.store.catalog.parts()[0]
    manifest = {"partition": str(part.partition), "file": "0" * 32, "rows": part.rows - 1}
    court.store.log(
        AuditEntry("compaction", {"partition": str(part.partition), "removed": [part.file_id], "parts": [manifest]})
    )
    body["log"] = {"from": court.store.audit.size, "to": court.store.audit.size}
    assert any("another number of records" in problem for problem in completeness.problems(court.store, body))


def _window(court: Court) -> Any:
    from api.disclosure.search import query_of

    return query_of(court.procedure.casebook.case(court.approved().id))


def test_a_snapshot_while_batches_arrive_lies_between_two_sizes_of_the_log(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = court.store
    snapshot = store.catalog.snapshot

    def late() -> Any:
        monkeypatch.undo()
        deliver(store, more(), source="between")  # the log was brought up to date before
        return snapshot()

    query = _window(court)
    monkeypatch.setattr(store.catalog, "snapshot", late)
    taken = completeness.snapshot(store, query)
    assert taken.log_from < taken.log_to
    assert taken.batch_id_max == 2
    assert completeness.problems(store, taken.as_body()) == []


def test_without_a_result_there_is_nothing_to_verify(court: Court) -> None:
    with pytest.raises(NotFoundError, match="the task has no result"):
        verify(court.store, court.approved().id)
    with pytest.raises(NotFoundError):
        verify(court.store, "SE-T-0000000000000000")
    assert Report("T", "D").verdict == WRONG
