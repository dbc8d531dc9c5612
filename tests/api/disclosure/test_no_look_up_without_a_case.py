"""Every look-up carries a case: who reads records in the program, and what every door says to every person.

And whoever asks about a person, or answers that person's questions, gets the same octets from the same steps whether or
not a secret order names the person.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from typing import Any, Final

import pyarrow as pa
import pytest
from httpx import Response

from api.billing import periods
from api.billing.usage import Period
from api.client import Client
from api.disclosure.model import Task
from api.instants import parse_date
from api.settings import Settings
from tests.api.disclosure.conftest import PEOPLE, TARGET, Court, traffic
from tests.api.world import UNHURRIED, running
from tests.architecture.source import ROOT, dotted, modules

FREE: Final = Settings(**UNHURRIED | {"port": 0})
READERS: Final = {
    "api/disclosure/sliced_scan.py": "what its caller asks for, a case's search or a person's request",
    "api/disclosure/search.py": "a case's search, compiled from its order",
    "api/disclosure/preserved.py": "the same, among what a preservation order holds",
    "api/disclosure/completeness.py": "the auditor's proof of a case's search; it tells numbers",
    "api/custody/subject_records.py": "a person's own, after a request of two persons",
    "api/billing/usage.py": "sums for billing, by account",
    "api/billing/adjustments.py": "sums for billing, by account",
}
"""All that asks the store for records, and for what."""
OWN_CASE: Final = {"officer-1", "handler-1", "handler-2", "approver-1", "approver-2"}
SHOWS_TARGETS: Final = {"/v1/disclosure/cases/{case_id}", "/v1/disclosure/cases/{case_id}/document"}
QUERY: Final = {"from": "2026-11-01", "to": "2026-11-22", "account": "0077", "day": "2026-11-22", "year": "2026"}
QUERY |= {"index": "0", "size": "2", "first": "1", "second": "2"}


def test_nothing_else_of_the_doors_reads_records() -> None:
    found = {
        path
        for path, tree in modules().items()
        if path.startswith(("api/", "ingest/"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in {"scan", "scan_figures", "hits"}
    }
    assert found == set(READERS) & modules().keys()
    assert len(found) >= 4


@cache
def identifiers() -> set[bytes]:
    """Every number, subscriber and equipment of the traffic, as an answer would write it."""
    table: pa.Table = traffic()
    found = {TARGET}
    for name in ("calling_number", "called_number", "dialled_number", "forwarded_number", "imsi", "imei"):
        if name in table.column_names:
            found |= {str(value)[1:] for value in table[name].to_pylist() if value is not None}
    return {value.encode() for value in found if len(value) >= 10}


@cache
def doors() -> list[tuple[str, str, dict[str, str]]]:
    """Every documented operation, with what it can be asked."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            named = {item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"}
            found.append((method, path, {name: value for name, value in QUERY.items() if name in named}))
    return found


def filled(path: str, task_id: str, authorisation_id: str) -> str:
    words = {"case_id": task_id, "task_id": task_id, "task": task_id, "case": task_id, "person_id": "officer-1"}
    words |= {"authorisation_id": authorisation_id, "authority_id": "police-se"}
    for name, value in words.items():
        path = path.replace("{" + name + "}", value)
    return path if "{" not in path else path[: path.index("{")] + "x-1"


def shown_to(court: Court, person: str, task: Task) -> set[str]:
    """Return the doors that answer a person with an identifier; each has to be in the log with its case."""
    shown, secrets = set(), identifiers()
    with Client.local(court.store.root, court.clock) as client:
        client.log_in(court.keys[person])
        for method, path, query in doors():
            if method not in {"get", "post"} or path.startswith("/v1/sessions"):
                continue
            before = court.store.audit.size
            url = filled(path, task.id, task.authorisation_id)
            answer: Response = client._send(method.upper(), url, params=query)
            assert answer.status_code < 500, (method, path)
            if any(secret in answer.content for secret in secrets) or b"070-174 00 07" in answer.content:
                shown.add(path)
                (viewed,) = [entry.public for entry in court.log(before) if entry.kind == "disclosure.viewed"]
                assert (viewed["person"], viewed["authorisation"]) == (person, task.authorisation_id), path
    return shown


def test_no_door_shows_a_record_to_anybody_and_a_target_only_with_its_case(shared_court: Court) -> None:
    task = shared_court.released()
    assert len(identifiers()) > 20
    with running(shared_court.store, FREE):
        for person in PEOPLE:
            assert shown_to(shared_court, person, task) == (SHOWS_TARGETS if person in OWN_CASE else set()), person


NOT_ABOUT_A_PERSON: Final = {
    "/v1/audit/checkpoint": "the size and head of the log, for everybody who is authenticated",
    "/v1/metrics": "counts",
    "/v1/disclosure/push-key": "the service's certificate, and a request for another, signed anew each time",
    "/v1/logins": "who logged in",
    "/v1/sessions/current": "the asker's own session",
    "/v1/disclosure/lapsed": "the DPO's; cases by id",
    "/v1/disclosure/reports/look-ups": "the DPO's; cases by id",
    "/v1/disclosure/reports/transparency": "the DPO's; counts",
    "/v1/disclosure/reports/costs": "billing's; cases by id, to send authorities their invoices",
}
ASKED: Final = ("billing-1", "dpo-1", "custodian-1", "tenant-1")
"""Who answers a customer's questions, and who administers the customer."""


def answers(court: Court) -> dict[tuple[str, str], tuple[int, bytes]]:
    found = {}
    with running(court.store, FREE):
        for person in ASKED:
            with Client.local(court.store.root, court.clock) as client:
                client.log_in(court.keys[person])
                for method, path, query in doors():
                    if method == "get" and path not in NOT_ABOUT_A_PERSON:
                        url = filled(path, "SE-T-" + "0" * 16, "SE-A-" + "0" * 16)
                        answer = client._send("GET", url, params=query)
                        found[person, path] = (answer.status_code, answer.content)
    return found


def steps(court: Court, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[dict[str, Any]]]:
    """What the catalog is asked for while an account's usage is added up, and the sums."""
    asked: list[str] = []
    kind = type(court.store.catalog)
    with monkeypatch.context() as patch:
        query = kind.query

        def counted(catalog: Any, sql: str, parameters: Any = ()) -> Any:
            asked.append(sql)
            return query(catalog, sql, parameters)

        patch.setattr(kind, "query", counted)
        patch.setattr(kind, "known", lambda _, __, read: read())  # any commit, whoever's, ends what is remembered
        period = Period(parse_date("2026-11-01"), parse_date("2026-11-22"))
        lines, _ = periods.figures(court.store, period, account="0077")
    return asked, lines.to_pylist()


def test_a_secret_order_changes_nothing_that_a_customers_question_is_answered_by(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, asked = answers(court), steps(court, monkeypatch)
    assert asked[1]
    court.file()
    court.approved()
    delivered = court.released()
    court.deliver(delivered.id)
    court.procedure.reject(court.actor("handler-1"), court.checked().id, "wrong-number")
    after = answers(court)
    assert before.keys() == after.keys()
    assert [door for door in before if before[door] != after[door]] == []
    assert sum(status == 200 for status, _ in before.values()) > 10
    assert steps(court, monkeypatch) == asked
