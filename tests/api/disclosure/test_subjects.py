"""A person's request for access: two persons, the person's own records, and never a word about an order."""

from __future__ import annotations

import errno
import io
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from api.billing.subscriptions import Subscription, import_rows
from api.cli import main
from api.custody import subject_records, subjects
from api.custody.subject_records import minimised
from api.disclosure.orders import WrittenTarget
from api.people.signing import write_key_file
from api.routes import subjects as routes
from api.settings import Settings
from schemas.errors import AuditError, InputError, NotFoundError, ProcedureError
from store import files
from store.clock import to_date
from tests.api.disclosure.attacking import enrolled_as, twin
from tests.api.disclosure.conftest import TARGET, Court, traffic
from tests.api.disclosure.test_no_log_no_data import Fault
from tests.api.world import UNHURRIED, running
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records

PARTY: Final = "46701749999"
OWN: Final = ("number", "070-174 00 07", "2026-01-01", "")
FREE: Final = Settings(**UNHURRIED | {"port": 0})


def wish(*identifiers: tuple[str, str, str, str], **changes: str) -> subjects.Wish:
    terms = {"reference": "DSR 12-26", "identity_check": "electronic-id", "country": "SE"} | changes
    return subjects.Wish(**terms, identifiers=identifiers or (OWN,))


def file(court: Court, asked: subjects.Wish | None = None, person: str = "dpo-1", signer: str | None = None) -> str:
    asked, request_id = asked or wish(), subjects.new_id()
    digest = subjects.digest(court.store.store_id, request_id, asked)
    signed = court.signed(signer or person, subjects.REQUEST, request_id, digest)
    subjects.request(court.store, person, request_id, asked, signed)
    return request_id


def confirm(court: Court, request_id: str, person: str = "custodian-1") -> dict[str, Any]:
    asked = subjects.Wish.from_dict(subjects.show(court.store, request_id)["wish"])
    digest = subjects.digest(court.store.store_id, request_id, asked)
    signed = court.signed(person, subjects.CONFIRM, request_id, digest)
    return subjects.confirm(court.store, person, request_id, signed)


def answered(court: Court, *identifiers: tuple[str, str, str, str]) -> list[dict[str, Any]]:
    request_id = file(court, wish(*identifiers))
    confirm(court, request_id)
    found: list[dict[str, Any]] = subjects.answer(court.store, "dpo-1", request_id)["records"]
    return found


def stored() -> int:
    """How many records of the traffic name the number, in any field."""
    columns = [traffic()[name].to_pylist() for name in subject_records.FIELDS_OF["number"]]
    return sum(int("1" + TARGET) in row for row in zip(*columns, strict=True))


def reason_of(act: Any) -> str:
    with pytest.raises(ProcedureError) as refusal:
        act()
    return refusal.value.reason


def test_two_persons_in_two_roles_and_then_the_answer(shared_court: Court) -> None:
    court = shared_court
    request_id = file(court)
    assert reason_of(lambda: subjects.answer(court.store, "dpo-1", request_id)) == "state"
    assert reason_of(lambda: confirm(court, request_id, "dpo-1")) == "role"
    assert reason_of(lambda: confirm(court, request_id, "approver-1")) == "role"
    assert confirm(court, request_id)["state"] == subjects.CONFIRMED
    assert reason_of(lambda: confirm(court, request_id)) == "state"
    for person in ("custodian-1", "handler-1", "approver-1", "auditor-1", "billing-1", "officer-1"):
        assert reason_of(lambda who=person: subjects.answer(court.store, who, request_id)) == "role"
    size = court.store.audit.size
    found = subjects.answer(court.store, "dpo-1", request_id)
    assert found["records"] and found["purpose"] == "customer"
    (entry,) = court.log(size)
    assert (entry.kind, entry.public["person"], entry.public["request"]) == (subjects.ANSWERED, "dpo-1", request_id)
    revealed = court.store.audit.entries(0, court.store.audit.size, reveal=True)
    told = [(entry.public, entry.secret) for entry in revealed if entry.kind.startswith("subject.")]
    assert len(told) == 3 and not re.search(f"{TARGET}|070-174 00 07", json.dumps(told))


@pytest.mark.parametrize("person", ["handler-1", "approver-1", "custodian-1", "billing-1", "officer-1"])
def test_only_a_data_protection_officer_files(shared_court: Court, person: str) -> None:
    assert reason_of(lambda: file(shared_court, person=person)) == "role"
    assert reason_of(lambda: file(shared_court, signer=person)) == "signature"


def test_one_key_is_one_person_and_who_filed_is_in_office(shared_court: Court) -> None:
    court = shared_court
    request_id = file(court)
    assert reason_of(lambda: confirm(court, request_id, twin(court, "custodian-7", "dpo-1", "custodian"))) == "same-key"
    with enrolled_as(court, "dpo-1", "dpo", state="revoked"):
        assert reason_of(lambda: confirm(court, request_id)) == "role"
    confirm(court, request_id)
    for role, state in (("billing", "active"), ("dpo", "revoked")):
        with enrolled_as(court, "dpo-1", role, state=state):
            assert reason_of(lambda: subjects.answer(court.store, "dpo-1", request_id)) == "role"
    other = file(court)
    digest = subjects.digest(court.store.store_id, other, wish(reference="another"))
    forged = court.signed("custodian-1", subjects.CONFIRM, other, digest)
    assert reason_of(lambda: subjects.confirm(court.store, "custodian-1", other, forged)) == "signature"


def test_of_others_leaves_what_the_bill_shows_and_nothing_else(shared_court: Court) -> None:
    found = answered(shared_court)
    sides = {record["side"] for record in found}
    assert sides == {"calling", "called"} and len(found) == stored()
    for record in found:
        assert not {"imsi", "imei", "cell_id", "source_ip", "account", "switch", "record_key"} & record.keys()
        if record["side"] == "calling":
            assert record["calling_number"] == TARGET and record["called_number"] in (PARTY, TARGET)
        else:
            own = {name: value for name, value in record.items() if name.endswith("_number")}
            assert own and set(own.values()) == {TARGET}
    times = [record["end_time"] for record in found]
    assert times == sorted(times)


def test_location_and_equipment_leave_with_the_served_side_only(court: Court) -> None:
    """Of a call within one network there are two records: the caller's, and that of whom the caller reached."""
    own, other = 1_240_010_000_009_001, 1_240_010_000_009_002
    number = int("1" + TARGET)
    table = records(2, seed=9, first_key=50_000, calling_number=[number] * 2, imsi=[own, other], cell_id=[1501, 1502])
    deliver(court.store, table, source="mobile")
    found = answered(court, ("number", "070-1740007", "2026-11-01", ""), ("imsi", str(own)[1:], "2026-11-01", ""))
    told = [record.get("cell_id") for record in found]
    assert told.count("501") == 1 and "502" not in told
    assert str(other)[1:] not in json.dumps(found)
    assert answered(court, ("imsi", str(other)[1:], "2026-11-01", ""))[0].keys() >= {"imsi", "cell_id"}


def test_an_address_of_an_inner_network_is_not_one_persons(court: Court) -> None:
    """Every customer's network has its 192.168.1.10: who asks by it would get all of theirs."""
    inside = ("ip", "192.168.1.10", "2026-11-01", "")
    for address in ("192.168.1.10", "10.1.2.3", "100.64.0.9", "::ffff:172.16.5.5", "fe80::1", "fd00::1"):
        assert reason_of(lambda it=address: answered(court, ("ip", it, "2026-11-01", ""))) == "shared-address"
    assert answered(court, ("ip", "8.8.4.4", "2026-11-01", "")) == []
    import_rows(court.store, [(1, Subscription("ip", "192.168.1.10", "0077", date(2026, 11, 1), None))])
    assert answered(court, inside) == []


def test_what_leaves_of_a_record() -> None:
    row = dict.fromkeys((*subject_records.EVENT, "calling_number", "called_number", "forwarded_number"), "x")
    row |= dict.fromkeys(("imsi", "imei", "cell_id", "called_imsi", "called_imei", "destination_ip", "user_agent"), "x")
    event = {"side", *subject_records.EVENT}
    assert minimised(row, {"forwarded_number"}).keys() == event | {"forwarded_number"}
    assert minimised(row, {"calling_number"}).keys() == event | {"calling_number", "called_number"}
    assert minimised(row, {"called_number", "imsi"}).keys() == event | {"called_number", "imsi", "imei", "cell_id"}
    assert minimised(row, {"called_imsi"}).keys() == event | {"called_imsi", "called_imei"}
    assert minimised(row, {"imsi"})["side"] == "served"
    assert minimised({"imei": None}, {"imsi"}) == {"side": "served"}


def test_only_days_on_which_the_person_held_it(court: Court) -> None:
    everything = answered(court)
    cut = answered(court, ("number", TARGET, "2026-11-15", "2026-11-18"))
    assert cut == [item for item in everything if "2026-11-15" <= item["start_time"][:10] < "2026-11-18"]
    assert 0 < len(cut) < len(everything)
    held = Subscription("number", TARGET, "0077", date(2026, 11, 16), None)
    import_rows(court.store, [(1, held)])
    known = answered(court)
    assert known == [item for item in everything if item["start_time"][:10] >= "2026-11-16"]
    before = Subscription("number", TARGET, "0066", date(2026, 1, 1), date(2026, 11, 16))
    import_rows(court.store, [(1, before)])
    assert reason_of(lambda: answered(court)) == "two-subscribers"
    assert answered(court, ("number", TARGET, "2026-11-16", "")) == known


def test_no_older_than_the_purpose_reads(court: Court) -> None:
    assert subject_records.readable_since(court.store) == date(2024, 11, 23)
    court.clock.value_us = NOW_US + 715 * DAY_US
    court.store.clock_guard.confirm(court.clock.now_us(), reason="test", actors=["a", "b"])
    since = subject_records.readable_since(court.store)
    assert since <= to_date(NOW_US - 10 * DAY_US)
    assert all(record["end_time"][:10] >= since.isoformat() for record in answered(court))


@pytest.mark.parametrize(
    "asked",
    [
        wish(reference=" "),
        wish(reference="x" * 201),
        wish(reference="DSR\n12-26"),
        wish(identity_check="voice"),
        wish(identity_check=""),
        replace(wish(), identifiers=()),
        wish(*[OWN] * 21),
        wish(("account", "0077", "2026-01-01", "")),
        wish(("imei", "356938035643809", "2026-01-01", "")),
        wish(("ip", "192.0.2.0/24", "2026-01-01", "")),
        wish(("imsi", "x", "2026-01-01", "")),
        wish(("number", TARGET, "2026-02-30", "")),
        wish(("number", TARGET, "2026-02-01", "2026-02-01")),
    ],
)
def test_a_request_has_its_form(shared_court: Court, asked: subjects.Wish) -> None:
    with pytest.raises((InputError, ProcedureError)) as refusal:
        file(shared_court, asked)
    assert TARGET not in refusal.value.message


def test_lines_of_identifiers() -> None:
    assert subjects.identifiers_of([" number, 070-1, 2026-01-01,\n", "\n", "imsi,2400,2026-01-01,2026-02-01"]) == (
        ("number", "070-1", "2026-01-01", ""),
        ("imsi", "2400", "2026-01-01", "2026-02-01"),
    )
    with pytest.raises(InputError, match="kind,value") as refusal:
        subjects.identifiers_of(["number,070-1"])
    assert refusal.value.position == 1


def counted(court: Court, request_id: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], bytes]:
    """The statements by which the catalog is asked for an answer, and the answer."""
    asked: list[str] = []
    kind = type(court.store.catalog)
    with monkeypatch.context() as patch:
        query = kind.query

        def noted(catalog: Any, sql: str, parameters: Any = ()) -> Any:
            asked.append(sql)
            return query(catalog, sql, parameters)

        patch.setattr(kind, "query", noted)
        patch.setattr(kind, "known", lambda _, __, read: read())  # any commit, whoever's, ends what is remembered
        found = subjects.answer(court.store, "dpo-1", request_id)
    return asked, json.dumps(found).encode()


def test_an_order_changes_neither_answer_nor_refusal_nor_the_work_for_it(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id, waiting = file(court), file(court)
    confirm(court, request_id)
    before = counted(court, request_id, monkeypatch)
    assert before == counted(court, request_id, monkeypatch) and len(before[0]) > 3
    shown = subjects.show(court.store, request_id), subjects.listing(court.store)
    court.file()
    court.checked()
    court.deliver(court.released().id)
    court.emergency()
    court.procedure.reject(court.actor("handler-1"), court.checked().id, "wrong-number")
    court.released(targets=(WrittenTarget("number", "+" + TARGET),))
    assert counted(court, request_id, monkeypatch) == before
    assert (subjects.show(court.store, request_id), subjects.listing(court.store)) == shown
    assert reason_of(lambda: subjects.answer(court.store, "dpo-1", waiting)) == "state"


def test_without_its_entry_nothing_is_read(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = file(court)
    confirm(court, request_id)

    def never(*_: Any) -> Any:
        raise AssertionError("read without an entry")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_hook", Fault(court.store.layout.audit.resolve(), error=errno.ENOSPC))
        patch.setattr(subject_records, "records_of", never)
        with pytest.raises(AuditError):
            subjects.answer(court.store, "dpo-1", request_id)
    assert subjects.answer(court.store, "dpo-1", request_id)["records"]


def test_a_request_is_kept_for_its_time(court: Court) -> None:
    pending, confirmed = file(court), file(court)
    court.clock.advance(days=20)
    assert subjects.erase_due(court.store) == []
    confirm(court, confirmed)
    court.clock.advance(days=15)
    assert subjects.erase_due(court.store) == [pending]
    assert subjects.answer(court.store, "dpo-1", confirmed)["records"]
    court.clock.advance(days=15)
    assert reason_of(lambda: subjects.answer(court.store, "dpo-1", confirmed)) == "over"
    assert subjects.erase_due(court.store) == [confirmed]
    with pytest.raises(NotFoundError):
        subjects.show(court.store, confirmed)
    assert [entry.kind for entry in court.log()].count(subjects.ERASED) == 2


def test_too_many_records_are_refused_and_not_cut(shared_court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject_records, "RECORDS_MAX", 10)
    assert reason_of(lambda: answered(shared_court)) == "too-many-records"


def test_the_documented_examples_are_what_the_service_takes_and_gives(shared_court: Court) -> None:
    request_id = file(shared_court, subjects.Wish.from_dict(routes._WISH))
    confirm(shared_court, request_id)
    assert subjects.show(shared_court.store, request_id).keys() == {*routes._SUMMARY, "wish"}
    assert subjects.answer(shared_court.store, "dpo-1", request_id).keys() == routes._ANSWER.keys()
    assert routes._RECORD.keys() <= answered(shared_court)[0].keys() | {"called_number"}


def test_a_request_from_the_command_line_to_the_answer(
    court: Court, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = {}
    for person in ("dpo-1", "custodian-1", "handler-1"):
        keys[person] = tmp_path / f"{person}.key"
        write_key_file(keys[person], court.keys[person])

    def run(person: str, *words: str, code: int = 0) -> dict[str, Any]:
        capfd.readouterr()
        line = ["--root", str(court.store.root), "--json", "subject", *words, "--as", str(keys[person])]
        assert main(line, clock=court.clock) == code
        out = capfd.readouterr().out
        return dict(json.loads(out)) if out else {}

    with running(court.store, FREE):
        monkeypatch.setattr("sys.stdin", io.StringIO("number,070-174 00 07,2026-01-01,\n"))
        made = run("dpo-1", "request", "--reference", "DSR 1", "--identity", "in-person")
        request_id = made["request"]
        assert run("custodian-1", "show", request_id)["wish"]["reference"] == "DSR 1"
        assert run("dpo-1", "answer", request_id, code=1) == {}
        assert run("custodian-1", "confirm", request_id)["state"] == subjects.CONFIRMED
        assert run("custodian-1", "answer", request_id, code=1) == {}
        assert run("handler-1", "list", code=1) == {}
        assert [item["request"] for item in run("dpo-1", "list")["requests"]] == [request_id]
        out = tmp_path / "answer.json"
        told = run("dpo-1", "answer", request_id, "--output", str(out))
        assert told["records"] == len(json.loads(out.read_text())["records"]) == stored()
        assert out.stat().st_mode & 0o077 == 0
        assert run("dpo-1", "answer", request_id, "--output", str(out), code=2) == {}
        assert len(run("dpo-1", "answer", request_id)["records"]) == stored()
    kinds = [entry.kind for entry in court.log()]
    assert kinds.count(subjects.ANSWERED) == 2
    refused = [entry.public for entry in court.log() if entry.kind == "request.refused"]
    assert {entry["person"] for entry in refused} == {"dpo-1", "custodian-1", "handler-1"}
