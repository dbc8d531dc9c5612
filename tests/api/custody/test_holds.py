"""Holds through the service: two custodians, the basis' terms, and what becomes of the records."""

from __future__ import annotations

import io
from datetime import date, timedelta
from typing import Any

import pytest

from api.billing import subscriptions, usage
from api.custody import holds
from schemas.errors import InputError, ProcedureError
from schemas.holds import TARGETS_MAX, Purpose
from store import Put
from store.clock import to_date
from store.retention.hold import ENDING
from tests.api.world import World
from tests.conftest import ends_us

ID = "9f1c2d3e4b5a6978"
HEADER = b"record_key,switch,service_type,calling_number,called_number,start_time,duration_s,account\n"


def wish(world: World, **more: Any) -> holds.Wish:
    words = {
        "act": "add",
        "basis": "preservation",
        "reference": "K 4711-26",
        "owner": "legal desk",
        "ends": (to_date(world.clock.now_us()) + timedelta(days=60)).isoformat(),
        "start": "2026-11-01",
        "end": "2026-12-01",
        "country": "SE",
        "targets": (("number", "070-000 00 01"),),
    }
    return holds.Wish(**{**words, **more})


def ask(world: World, what: holds.Wish, by: str = "custodian-1", hold_id: str = ID) -> Any:
    digest = holds.digest(world.store.store_id, hold_id, what)
    approval = world.approval(world.keys[by], holds.REQUEST, hold_id, digest)
    body = {"wish": what.as_dict(), "approval": {"time": approval.time, "signature": approval.signature}}
    return world.http.post(f"/v1/holds/{hold_id}/request", json=body, headers=world.as_person(by))


def confirm(world: World, what: holds.Wish, by: str = "custodian-2", hold_id: str = ID) -> Any:
    digest = holds.digest(world.store.store_id, hold_id, what)
    approval = world.approval(world.keys[by], holds.CONFIRM, hold_id, digest)
    body = {"approval": {"time": approval.time, "signature": approval.signature}}
    return world.http.post(f"/v1/holds/{hold_id}/confirm", json=body, headers=world.as_person(by))


def both(world: World, what: holds.Wish) -> None:
    for answer in (ask(world, what), confirm(world, what)):
        assert answer.status_code == 200, answer.text


def listing(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.http.get("/v1/holds", headers=world.as_person("custodian-1")).json()
    return found


def held(world: World, purpose: Purpose) -> list[int]:
    batches = world.store.holds.scan(purpose, start_us=0, end_us=2**60, columns=("duration_ms",))
    return sorted(value for batch in batches for value in batch.column(0).to_pylist())


def expire(world: World) -> None:
    """Go to the partition's end with the heartbeats of a service that ran all along."""
    key = world.store.partitions()[0].key
    world.clock.value_us = ends_us(key)
    world.tokens.clear()
    assert len(world.store.expire().partitions) == 1


def test_what_two_custodians_hold_outlives_its_partition(world: World) -> None:
    world.deliver(world.switch("pbx-east"))
    world.clock.value_us = ends_us(world.store.partitions()[0].key) - 86_400_000_000
    world.tokens.clear()
    what = wish(world)
    assert ask(world, what).json()["wish"]["targets"] == [["number", "070-000 00 01"]]
    assert listing(world)["holds"] == [] and listing(world)["waiting"][0]["by"] == "custodian-1"
    assert confirm(world, what).json()["state"] == "active"
    expire(world)
    assert held(world, Purpose.DISCLOSURE) == [61_000]
    shown = listing(world)
    assert (shown["records_held"], shown["holds"][0]["records"], shown["waiting"]) == (1, 1, [])
    both(world, holds.Wish(act="release", reason="the order was lifted"))
    assert held(world, Purpose.DISCLOSURE) == []
    assert listing(world)["holds"][0]["state"] == "ended"
    assert world.store.verify() == []


def test_a_billing_hold_finds_the_account_by_its_subscriptions_and_their_time(world: World) -> None:
    rows = (
        b"00000000001,a,voice,46700000001,46700000002,2026-11-21T10:00:00Z,61,\n"
        b"00000000002,a,voice,46700000001,46700000002,2026-11-21T12:00:00Z,62,0077\n"
        b"00000000003,a,voice,46700000003,46700000001,2026-11-21T13:00:00Z,63,0088\n"
        b"00000000004,a,voice,46700000004,46700000002,2026-11-21T14:00:00Z,64,\n"
    )
    assert world.deliver(world.switch("pbx-east"), HEADER + rows).json()["accepted"] == 4
    table = "kind,value,account,valid_from,valid_to\nnumber,46700000001,0077,2026-11-01,2026-11-22\n"
    table += "number,46700000003,0077,2026-11-25,2026-11-30\nnumber,46700000004,0099,2026-11-01,\n"
    subscriptions.import_rows(world.store, subscriptions.parse(io.StringIO(table), country="SE"))
    ends = (to_date(world.clock.now_us()) + timedelta(days=1000)).isoformat()
    both(world, wish(world, basis="invoice-consumer", targets=(), accounts=("0077",), ends=ends))
    expire(world)
    assert held(world, Purpose.BILLING) == [61_000, 62_000, 63_000], "calls to the account's number are its usage too"
    assert held(world, Purpose.DISCLOSURE) == []
    period = usage.Period(date(2026, 11, 1), date(2026, 12, 1))
    lines = usage.usage(world.store, period, account="0077").to_pylist()
    assert sum(line["records"] for line in lines) == 2, "one by its subscription, one by the source's word"


def test_one_custodian_is_not_two(world: World) -> None:
    what = wish(world)
    ask(world, what)
    answer = confirm(world, what, by="custodian-1")
    assert (answer.status_code, answer.json()["reason"]) == (403, "same-person")
    assert confirm(world, wish(world, reference="another")).status_code in (401, 403)
    assert ask(world, what, by="custodian-2").status_code == 409
    assert listing(world)["holds"] == []


@pytest.mark.parametrize("role", ["case-handler", "approver", "officer", "auditor", "billing", "dpo"])
def test_nobody_but_custodians_holds(world: World, role: str) -> None:
    world.enrol("someone", role)
    assert ask(world, wish(world), by="someone").status_code == 403
    assert world.http.get("/v1/holds", headers=world.as_person("someone")).status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"basis": "because"},
        {"basis": "epoc-pr", "ends": "2027-11-22"},
        {"ends": "2026-11-22"},
        {"reference": " "},
        {"reference": "K 4711\n26"},
        {"owner": ""},
        {"start": "2026-12-01", "end": "2026-12-01"},
        {"start": "yesterday"},
        {"targets": ()},
        {"accounts": ("0077",)},
        {"basis": "invoice", "ends": "2027-01-01"},
        {"targets": (("horoscope", "leo"),)},
        {"targets": (("imei", "12"),)},
        {"targets": (("ip", "192.168.1.10"),)},  # everybody's who has it at home
        {"targets": (("number", "anonymous"),)},
        {"act": "renew"},
        {"act": "release", "reason": "paid"},
    ],
)
def test_a_wish_that_cannot_be_is_refused(world: World, wrong: dict[str, Any]) -> None:
    answer = ask(world, wish(world, **wrong))
    assert 400 <= answer.status_code < 500, answer.text
    assert "070" not in answer.text
    assert listing(world)["waiting"] == []


def test_a_renewal_keeps_to_its_basis(world: World) -> None:
    what = wish(world, basis="epoc-pr")
    both(world, what)
    later = (to_date(world.clock.now_us()) + timedelta(days=90)).isoformat()
    both(world, holds.Wish(act="renew", ends=later))
    assert listing(world)["holds"][0]["ends"] == later
    again = (to_date(world.clock.now_us()) + timedelta(days=120)).isoformat()
    answer = ask(world, holds.Wish(act="renew", ends=again))
    assert (answer.status_code, answer.json()["reason"]) == (409, "renewals")


@pytest.mark.parametrize(
    "wrong",
    [
        {"owner": "x" * 201},
        {"targets": tuple(("number", f"070-1{n:06}") for n in range(TARGETS_MAX + 1))},
        {"act": "keep", "reason": "somebody asked"},
    ],
    ids=["text", "targets", "act"],
)
def test_what_the_service_takes_from_nobody_the_procedure_refuses_too(world: World, wrong: dict[str, Any]) -> None:
    if "act" in wrong:
        both(world, wish(world))
    what = wish(world, **wrong)
    signed = world.approval(world.keys["custodian-1"], holds.REQUEST, ID, holds.digest(world.store.store_id, ID, what))
    with pytest.raises((InputError, ProcedureError)):
        holds.request(world.store, "custodian-1", ID, what, signed)
    assert listing(world)["waiting"] == []


def test_what_is_over_is_not_renewed_and_what_ended_is_not_released(world: World) -> None:
    release = holds.Wish(act="release", reason="the order was lifted")

    def refused(what: holds.Wish) -> bool:
        answer = ask(world, what)
        return (answer.status_code, answer.json()["reason"]) == (409, "state")

    both(world, wish(world))
    document = world.store.documents.get(holds.KIND, ID)
    renew = holds.Wish(act="renew", ends=(date.fromisoformat(document.body["ends"]) + timedelta(days=1)).isoformat())
    world.clock.advance(days=60)  # its last day is over, and nothing ran since that would end it
    world.tokens.clear()
    assert refused(renew)
    world.clock.advance(days=-60)
    world.store.documents.commit([Put(holds.KIND, ID, document.body | {"state": ENDING})])
    world.tokens.clear()
    assert refused(renew)
    both(world, release)
    assert refused(renew)
    assert refused(release)
    assert listing(world)["waiting"] == []


def test_whom_a_hold_names_is_for_auditors_only_in_the_log(world: World) -> None:
    both(world, wish(world))
    public = [entry.public for entry in world.store.audit.entries(reveal=False)]
    assert "46700000001" not in str(public) and "070-" not in str(public)
