"""Two custodians put a version of the policy in force; nobody does it alone, and nothing outside the bounds passes."""

from __future__ import annotations

from typing import Any

import pytest

from api.custody import policy as procedure
from schemas.policy import FIRST, Version
from store.retention.policies import ENFORCED
from tests.api.world import World


def version(number: int = 2, months: int = 12, start: str = "2026-12-01") -> Version:
    body = FIRST.as_dict() | {"version": number, "from": start}
    body["classes"] = {"standard": {"months": months, "legal_basis": "duty", "citation": "Act 1 § 2"}}
    return Version.from_dict(body)


def ask(world: World, wanted: Version, by: str = "custodian-1", **changed: Any) -> Any:
    digest = procedure.digest(world.store.store_id, wanted)
    signed = world.approval(world.keys[by], procedure.REQUEST, str(wanted.number), digest)
    body = {"version": wanted.as_dict() | changed, "approval": {"time": signed.time, "signature": signed.signature}}
    return world.http.post("/v1/policy/request", json=body, headers=world.as_person(by))


def confirm(world: World, wanted: Version, by: str = "custodian-2") -> Any:
    digest = procedure.digest(world.store.store_id, wanted)
    signed = world.approval(world.keys[by], procedure.CONFIRM, str(wanted.number), digest)
    body = {"approval": {"time": signed.time, "signature": signed.signature}}
    return world.http.post("/v1/policy/confirm", json=body, headers=world.as_person(by))


def test_two_custodians_put_a_version_in_force_from_its_day_on(world: World) -> None:
    assert world.deliver(world.switch("pbx-east")).status_code == 200
    before = world.store.partitions()[0].expires_at
    wanted = version()
    answer = ask(world, wanted)
    assert (answer.status_code, answer.json()["digest"], answer.json()["ends"]) == (200, wanted.digest, 0)
    assert answer.json()["ends_locations"] == 0
    assert world.store.partitions()[0].expires_at == before
    done = confirm(world, wanted)
    assert (done.status_code, done.json()["actors"]) == (200, ["custodian-1", "custodian-2"])
    assert world.store.partitions()[0].expires_at < before
    shown = world.http.get("/v1/policy", headers=world.as_person("custodian-1")).json()
    assert (shown["in_force"], shown["next"], shown["requested"]) == (1, 3, False)
    assert [item["digest"] for item in shown["versions"]] == [FIRST.digest, wanted.digest]
    entry = next(entry for entry in world.store.audit.entries(reveal=True) if entry.kind == ENFORCED)
    assert (entry.public["digest"], entry.public["policy"]["version"]) == (wanted.digest, 2)
    assert entry.secret is not None
    assert len(entry.secret["signatures"]) == 2
    assert world.store.verify() == []


def test_the_documented_answers_have_the_members_of_the_real_ones(world: World) -> None:
    who = world.as_person("custodian-1")
    answers = {("get", "/v1/policy"): world.http.get("/v1/policy", headers=who)}
    answers["post", "/v1/policy/request"] = ask(world, version())
    answers["get", "/v1/policy/request"] = world.http.get("/v1/policy/request", headers=who)
    answers["post", "/v1/policy/confirm"] = confirm(world, version())
    paths = world.http.app.openapi()["paths"]  # type: ignore[attr-defined]
    for (method, path), answer in answers.items():
        example = paths[path][method]["responses"]["200"]["content"]["application/json"]["example"]
        assert set(example) == set(answer.json()), path


def test_one_custodian_alone_does_not(world: World) -> None:
    ask(world, version())
    assert confirm(world, version(), by="custodian-1").json()["reason"] == "same-person"
    assert len(world.store.policies.current().versions) == 1


def test_what_was_requested_is_what_is_confirmed(world: World) -> None:
    ask(world, version())
    assert confirm(world, version(months=6)).json()["reason"] == "signature"
    assert ask(world, version(), **{"from": "2027-12-01"}).json()["reason"] == "signature"


def test_a_later_request_takes_the_place_of_an_earlier_one(world: World) -> None:
    ask(world, version())
    assert ask(world, version(months=8)).status_code == 200
    assert confirm(world, version()).json()["reason"] == "signature"
    assert confirm(world, version(months=8)).status_code == 200


def test_nobody_but_custodians_looks_requests_or_confirms(world: World) -> None:
    world.enrol("handler-3", "case-handler")
    assert ask(world, version(), by="handler-3").status_code == 403
    assert world.http.get("/v1/policy", headers=world.as_person("handler-3")).status_code == 403
    assert confirm(world, version()).status_code == 404
    assert world.http.get("/v1/policy/request", headers=world.as_person("custodian-1")).status_code == 404


@pytest.mark.parametrize("months", [5, 25])
def test_no_signature_helps_a_period_outside_the_bounds(world: World, months: int) -> None:
    classes = {"standard": {"months": months, "legal_basis": "duty", "citation": "Act 1 § 2"}}
    answer = ask(world, version(), classes=classes)
    assert 400 <= answer.status_code < 500
    assert "6, 24" in answer.json()["detail"]


def test_a_version_that_does_not_follow_is_refused_when_it_is_requested(world: World) -> None:
    assert world.deliver(world.switch("pbx-east")).status_code == 200
    for wrong in (version(number=3), version(start="2026-11-22"), version(start="2020-01-01")):
        assert 400 <= ask(world, wrong).status_code < 500
        shown = world.http.get("/v1/policy", headers=world.as_person("custodian-1")).json()
        assert not shown["requested"], "nothing waits that could not be confirmed"
