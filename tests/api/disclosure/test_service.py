"""The same road through the running service and the command line, and who gets nowhere on it."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.cli import main
from api.client import Client
from api.disclosure.orders import WrittenTarget
from api.people.signing import canonical_json, write_key_file
from api.routes.disclosure import router
from api.settings import Settings
from schemas.errors import ProcedureError
from store.clock import to_text
from tests.api.disclosure.conftest import AUTHORITY, CALL_BACK, OTHER_AUTHORITY, PEOPLE, TARGET, WINDOW, Court
from tests.api.world import running

FREE = Settings(port=0)
ORDER = {
    "basis": "secret-surveillance",
    "decision_reference": "B 1234-26",
    "decided_on": "2026-11-20",
    "decided_by": "court",
    "authority": AUTHORITY,
    "country": "SE",
    "expires_at": "2026-12-22",
    "targets": [{"kind": "number", "value": "070-174 00 07"}],
    "window": {"from": to_text(WINDOW.start_us), "to": to_text(WINDOW.end_us)},
}


@dataclass
class Office:
    """The command line of everybody, on one running service."""

    court: Court
    keys: Path
    capture: pytest.CaptureFixture[str]

    def lagrum(self, *argv: str, expect: int = 0) -> Any:
        self.capture.readouterr()
        code = main(["--root", str(self.court.store.root), "--json", "disclosure", *argv], clock=self.court.clock)
        said = self.capture.readouterr()
        assert code == expect, said.err
        return json.loads(said.out) if said.out else said.err

    def key(self, person: str) -> str:
        path = self.keys / f"{person}.key"
        if not path.exists():
            write_key_file(path, self.court.keys[person])
        return str(path)

    def order(self, **changes: Any) -> str:
        path = self.keys / "order.json"
        path.write_text(json.dumps(ORDER | changes))
        return str(path)


@pytest.fixture
def office(shared_court: Court, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Office]:
    with running(shared_court.store, FREE):
        yield Office(shared_court, tmp_path, capfd)


@pytest.fixture
def service(shared_court: Court) -> Iterator[Court]:
    with running(shared_court.store, FREE):
        yield shared_court


def test_the_command_line_walks_the_whole_road(office: Office, tmp_path: Path) -> None:
    officer, handler, approver = office.key("officer-1"), office.key("handler-1"), office.key("approver-1")
    filed = office.lagrum("authorise", "--as", officer, office.order())
    assert filed["targets"] == [{"kind": "number", "value": TARGET, "as_written": "070-174 00 07", "port": None}]
    task = office.lagrum("register", "--as", officer, filed["id"])["id"]
    office.lagrum("check", "--as", handler, task)
    refused = office.lagrum("run", "--as", handler, task, expect=1)
    assert "authorisation" in refused or "task" in refused
    assert office.lagrum("approve", "--as", approver, "--yes", task)["state"] == "AwaitingDisclosure"
    before = office.court.store.audit.size
    plan = office.lagrum("explain", "--as", handler, task)
    assert 0 < plan["row_groups_read"] <= plan["row_groups"]
    assert office.court.log(before)[-1].kind == "disclosure.explained"
    office.lagrum("explain", "--as", officer, task, expect=1)
    office.lagrum("run", "--as", handler, task)
    out = tmp_path / "delivery.zip"
    office.lagrum("deliver", "--as", officer, task, "--output", str(out), expect=1)
    assert not out.exists()
    assert office.lagrum("release", "--as", approver, "--yes", task)["state"] == "Disclosed"
    fetched = office.lagrum("deliver", "--as", officer, task, "--output", str(out))
    assert fetched["bytes"] == out.stat().st_size
    assert out.stat().st_mode & 0o777 == 0o600
    office.lagrum("deliver", "--as", officer, task, "--output", str(out), expect=2)
    public = office.lagrum("key", "--as", officer)["public_key"]
    opened, records = office.court.open(out.read_bytes())
    assert opened.manifest["counts"]["records"] == len(records) > 20
    assert public == office.court.procedure.vault.public_key()
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(b"{}")
    office.lagrum("acknowledge", "--as", officer, task, "--receipt", str(receipt), expect=1)
    found = office.court.store.root.parent / f"opened-{office.court.folders}" / "receipt.json"
    told = office.lagrum("acknowledge", "--as", officer, task, "--receipt", str(found))
    assert (told["fetches"], told["kept_until"][:10]) == (1, "2026-12-22")
    office.lagrum("acknowledge", "--as", officer, task, "--receipt", str(found), expect=1)
    seen = office.lagrum("show", "--as", approver, task)["result"]
    assert seen["counts"]["records"] == len(records)
    assert not any(row["record_key"] in json.dumps(seen) for row in records)
    assert task in json.dumps(office.lagrum("list", "--as", officer))
    assert office.lagrum("show", "--as", approver, task)["stage"] == "delivered"


def test_cases_are_rejected_and_cancelled_on_the_command_line(office: Office) -> None:
    officer = office.key("officer-1")
    for command, key in (("cancel", officer), ("reject", office.key("handler-1"))):
        filed = office.lagrum("authorise", "--as", officer, office.order())["id"]
        task = office.lagrum("register", "--as", officer, filed)["id"]
        ended = office.lagrum(command, "--as", key, "--reason", "wrong-number", task)
        assert ended["state"] == {"cancel": "Cancelled", "reject": "Rejected"}[command]


def test_an_approval_is_not_signed_unseen(office: Office) -> None:
    officer = office.key("officer-1")
    filed = office.lagrum("authorise", "--as", officer, office.order())["id"]
    task = office.lagrum("register", "--as", officer, filed)["id"]
    office.lagrum("check", "--as", office.key("handler-1"), task)
    said = office.lagrum("approve", "--as", office.key("approver-1"), task, expect=2)
    assert "no terminal" in said
    assert TARGET not in said


class Terminal(io.StringIO):
    """Somebody at a keyboard."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code", "state"), [("y\n", 0, "approved"), ("n\n", 130, "checked")])
def test_the_decision_stands_beside_its_fields_where_it_is_signed(
    office: Office, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, state: str
) -> None:
    officer, approver = office.key("officer-1"), office.key("approver-1")
    filed = office.lagrum("authorise", "--as", officer, office.order(preservation="BEV 77/2026"))["id"]
    task = office.lagrum("register", "--as", officer, filed)["id"]
    office.lagrum("check", "--as", office.key("handler-1"), task)
    before = office.court.store.audit.size
    office.capture.readouterr()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    words = ["--root", str(office.court.store.root), "disclosure", "approve", "--as", approver, task]
    assert main(words, clock=office.court.clock) == code
    said = office.capture.readouterr().err
    assert "number 46701740007 (written 070-174 00 07)" in said
    assert said.count("BEV 77/2026") == 2  # as read, and in the order itself
    assert '"decision_reference": "B 1234-26"' in said
    assert [entry.public.get("what") for entry in office.court.log(before)[:2]] == [None, "source"]
    assert office.court.procedure.casebook.task(task)[0].stage == state


def test_each_refusal_says_what_to_do_next(office: Office) -> None:
    officer, handler = office.key("officer-1"), office.key("handler-1")
    (office.keys / "broken.json").write_text('{"basis": "x",}')
    for changes, hint in (
        ({"basis": "no-such-basis"}, "disclosure bases"),
        ({"targets": [{"kind": "phone", "value": "070-174 00 07"}]}, "imsi"),
    ):
        assert hint in office.lagrum("authorise", "--as", officer, office.order(**changes), expect=1)
    assert "line 1, column" in office.lagrum("authorise", "--as", officer, str(office.keys / "broken.json"), expect=1)
    filed = office.lagrum("authorise", "--as", officer, office.order())["id"]
    task = office.lagrum("register", "--as", officer, filed)["id"]
    assert "disclosure show" in office.lagrum("run", "--as", handler, task, expect=1)
    assert "the role case-handler" in office.lagrum("check", "--as", officer, task, expect=1)
    later = office.keys / "later.json"
    later.write_text(
        '{"decision_reference":"B 2","decided_on":"2026-11-21","decided_by":"court","expires_at":"2027-01-01"}'
    )
    assert "first task" in office.lagrum("extend", "--as", officer, filed, str(later), expect=1)
    urgent = office.lagrum("authorise", "--as", officer, office.order(emergency=True))["id"]
    call = office.lagrum("register", "--as", officer, urgent)["id"]
    assert "(--call-back)" in office.lagrum("check", "--as", handler, call, expect=1)
    unknown = office.lagrum("show", "--as", handler, "SE-T-0000000000000000", expect=1)
    assert "hint: `lagrum disclosure list`" in unknown
    # What is another officer's answers like what is not there, its hint too.
    assert office.lagrum("show", "--as", office.key("officer-2"), task, expect=1) == unknown
    assert office.lagrum("check", "--as", handler, filed, expect=1) == unknown


def test_a_number_that_is_searched_for_as_it_is_written_is_told_so(office: Office) -> None:
    root, officer = str(office.court.store.root), office.key("officer-1")
    for written, told in (("701740007", True), ("070-174 00 07", False)):
        order = office.order(targets=[{"kind": "number", "value": written}])
        office.capture.readouterr()
        code = main(["--root", root, "disclosure", "authorise", "--as", officer, order], clock=office.court.clock)
        said = office.capture.readouterr().err
        assert (code, "as it is written" in said, written in said) == (0, told, False)
        assert "Next: its officer: lagrum disclosure register SE-A-" in said


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"basis": "x"}', json.dumps(ORDER | {"targets": []}), json.dumps(ORDER | {"x": 1})]
)
def test_a_malformed_order_is_refused_without_being_quoted(office: Office, text: str) -> None:
    path = office.keys / "order.json"
    path.write_text(text)
    officer = office.key("officer-1")
    code = main(
        ["--root", str(office.court.store.root), "disclosure", "authorise", "--as", officer, str(path)],
        clock=office.court.clock,
    )
    said = office.capture.readouterr()
    assert code in (1, 2)
    assert said.out == ""
    assert "0701740007" not in said.err


def routes() -> list[tuple[str, str]]:
    found = [(method, route.path) for route in router.routes for method in route.methods]  # type: ignore[attr-defined]
    assert len(found) == 23
    return sorted(found)


def filled(path: str, task_id: str, authorisation_id: str) -> str:
    return path.format(case_id=task_id, task_id=task_id, authorisation_id=authorisation_id)


RULING = {"decision_reference": "B 1234-26/2", "decided_on": "2026-11-22", "decided_by": "court"}
BODIES: dict[str, Any] = {
    "authorisations": ORDER,
    "tasks": {},
    "approve": {"approval": {"time": "2026-11-22T12:00:00.000000Z", "signature": "AA=="}},
    "release": {"approval": {"time": "2026-11-22T12:00:00.000000Z", "signature": "AA=="}},
    "acknowledge": {"approval": {"time": "2026-11-22T12:00:00.000000Z", "signature": "AA=="}},
    "reject": {"reason": "wrong-number"},
    "cancel": {"reason": "wrong-number"},
}
BODIES |= {
    "confirm": RULING,
    "extend": RULING,
    "suspend": {"reason": "doubt"},
    "resume": None,
    "preflight": None,
}
OPEN_TO_ALL = {"/v1/disclosure/bases", "/v1/disclosure/delivery-key", "/v1/disclosure/push-key"}


@pytest.mark.parametrize("person", ["billing-1", "auditor-1", "custodian-1", "dpo-1"])
def test_who_has_no_part_in_disclosures_reaches_nothing_of_one(service: Court, person: str) -> None:
    task = service.released()
    with Client.local(service.store.root, service.clock) as client:
        client.log_in(service.keys[person])
        for method, path in routes():
            if path in OPEN_TO_ALL or (person, path) == ("dpo-1", "/v1/disclosure/lapsed"):
                continue
            before = service.store.audit.size
            url = filled(path, task.id, task.authorisation_id)
            body = BODIES.get(url.rsplit("/", 1)[-1])
            if path.endswith("/preflight"):  # a refusal looks like zero
                assert client.post(url) == {"records": "0", "days": "0"}
                assert service.log(before)[-1].public["reason"] == "wrong-role"
                continue
            with pytest.raises(ProcedureError) as refusal:
                client.post(url, body) if method == "POST" else client.get(url)
            assert refusal.value.reason == "wrong-role", path
            assert TARGET not in str(refusal.value)
            assert [entry.kind for entry in service.log(before)] == ["disclosure.refused"]


def test_without_credentials_every_route_answers_401(service: Court) -> None:
    with Client.local(service.store.root, service.clock) as client:
        for method, path in routes():
            url = filled(path, "SE-T-" + "0" * 16, "SE-A-" + "0" * 16)
            answer = client._send(method, url)
            assert answer.status_code == 401, path


def test_a_delivery_over_http_is_the_same_file_every_time_and_is_never_cached(service: Court) -> None:
    task = service.released()
    with Client.local(service.store.root, service.clock) as client:
        client.log_in(service.keys["officer-1"])
        answer = client._send("GET", f"/v1/disclosure/tasks/{task.id}/delivery")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["lagrum-parts"] == "1"
        assert client._send("GET", f"/v1/disclosure/tasks/{task.id}/delivery").content == answer.content
        opened, _ = service.open(answer.content)
        assert hashlib.sha256(canonical_json(opened.manifest) + b"\n").hexdigest() == task.result_digest


def test_an_unknown_case_and_a_foreign_one_get_the_same_answer_and_only_the_log_knows(service: Court) -> None:
    """Octet by octet, on every route of an officer, whatever the foreign case found."""
    found, none = service.released(), service.released(targets=(WrittenTarget("number", "070-174 99 97"),))
    digits = "0" * 16
    service.enrol("officer-3", "officer", authority=OTHER_AUTHORITY)
    with Client.local(service.store.root, service.clock) as client:
        client.log_in(service.keys["officer-3"])
        asked = 0
        for method, path in routes():
            if "{" not in path or path.endswith("/preflight"):
                continue
            answers = set()
            for task, authorisation in (
                (found.id, found.authorisation_id),
                (none.id, none.authorisation_id),
                (f"SE-T-{digits}", f"SE-A-{digits}"),
            ):
                before = service.store.audit.size
                url = filled(path, task, authorisation)
                answer = client._send(method, url, json=BODIES.get(url.rsplit("/", 1)[-1]))
                names = ("content-type", "content-length", "cache-control")
                answers.add((answer.status_code, answer.content, *(answer.headers.get(name) for name in names)))
                if answer.status_code == 404:
                    assert [entry.kind for entry in service.log(before)] == ["disclosure.refused"], path
            assert len(answers) == 1, (path, answers)
            asked += next(iter(answers))[0] == 404
        assert asked >= 8


def test_every_person_of_the_matrix_is_known(shared_court: Court) -> None:
    assert set(PEOPLE) <= set(shared_court.keys)


def test_an_emergency_walks_its_road_on_the_command_line(office: Office, tmp_path: Path) -> None:
    officer, handler, approver = office.key("officer-1"), office.key("handler-1"), office.key("approver-1")
    decision = tmp_path / "decision.pdf"
    decision.write_bytes(b"%PDF-1.7 the decision")
    order = office.order(emergency=True)
    filed = office.lagrum("authorise", "--as", officer, "--order", order, "--document", str(decision))
    assert (filed["emergency"], filed["documents"][0]["media_type"]) == (True, "application/pdf")
    task = office.lagrum("register", "--as", officer, filed["id"])["id"]
    assert "call-back" in office.lagrum("check", "--as", handler, task, expect=1)
    call = tmp_path / "call.json"
    called_at = to_text(office.court.clock.now_us())
    call.write_text(json.dumps({"spoken_with": "Duty officer", "number": CALL_BACK, "called_at": called_at}))
    office.lagrum("check", "--as", handler, "--call-back", str(call), task)
    assert office.lagrum("preflight", "--as", approver, task) == {"records": "10-99", "days": "1-9"}
    assert office.lagrum("preflight", "--as", officer, task) == {"records": "0", "days": "0"}
    shown = tmp_path / "shown.pdf"
    office.lagrum("document", "--as", approver, task, "--output", str(shown))
    assert shown.read_bytes() == decision.read_bytes()
    office.lagrum("approve", "--as", approver, "--yes", task)
    assert office.lagrum("show", "--as", approver, filed["id"])["state"] == "EmergencyApproval"
    ruling = tmp_path / "ruling.json"
    ruling.write_text(json.dumps(RULING))
    assert office.lagrum("confirm", "--as", officer, filed["id"], str(ruling))["state"] == "Approved"
    assert office.lagrum("suspend", "--as", handler, "--reason", "doubt", filed["id"])["suspended_by"] == "operator"
    assert "authorisation" in office.lagrum("run", "--as", handler, task, expect=1)
    assert office.lagrum("resume", "--as", approver, filed["id"])["state"] == "Approved"
    ruling.write_text(json.dumps(RULING | {"decision_reference": "B 1234-26/3", "expires_at": "2027-01-22"}))
    extended = office.lagrum("extend", "--as", officer, filed["id"], str(ruling))
    assert (extended["state"], len(extended["documents"])) == ("AwaitingApproval", 3)
    first = tmp_path / "first.pdf"
    office.lagrum("document", "--as", approver, filed["id"], "--number", "1", "--output", str(first))
    assert first.read_bytes() == decision.read_bytes()
    office.lagrum(
        "document", "--as", approver, filed["id"], "--number", "4", "--output", str(tmp_path / "no"), expect=1
    )
    office.capture.readouterr()
    root = str(office.court.store.root)
    assert main(["--root", root, "disclosure", "show", "--as", approver, task], clock=office.court.clock) == 0
    said = office.capture.readouterr().out
    assert "application/pdf, 21 bytes, sha256" in said
    assert f"number {TARGET} (written 070-174 00 07)" in said
    assert office.lagrum("lapsed", "--as", office.key("dpo-1"))["lapsed"] == []
    office.lagrum("lapsed", "--as", handler, expect=1)


def test_an_order_imported_as_data_is_kept_as_the_octets_that_came(office: Office, tmp_path: Path) -> None:
    order = Path(office.order(test=True))
    filed = office.lagrum("authorise", "--as", office.key("officer-1"), str(order))
    assert filed["test"] is True
    out = tmp_path / "kept.json"
    office.lagrum("document", "--as", office.key("approver-1"), filed["id"], "--output", str(out))
    assert out.read_bytes() == order.read_bytes()
    listed = office.lagrum("list", "--as", office.key("handler-1"))
    assert listed["counts"]["tests"] >= 1


def test_the_bases_are_printed_with_what_is_ours(office: Office) -> None:
    table = office.lagrum("bases")["bases"]
    assert {"secret-surveillance", "copyright-information-order", "preservation"} <= {item["id"] for item in table}
    (one,) = office.lagrum("bases", "missing-person")["bases"]
    assert "window_days_max" in one["own_bounds"]
    office.lagrum("bases", "curiosity", expect=2)
    office.capture.readouterr()
    assert main(["disclosure", "bases", "missing-person"]) == 0
    said = office.capture.readouterr().out
    assert "31 (ours)" in said
    assert "Act 2022:482 ch. 9 s. 33" in said
