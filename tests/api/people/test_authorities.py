"""The register of authorities: two custodians, and what may stand in it."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.people import authorities, persons
from api.people import authority_register as procedure
from api.people.authorities import Format, Terms
from api.people.authority_endpoint import CERTIFICATE_CHARS_MAX, check_endpoint, parse
from api.people.authority_keys import fingerprint_of, make, read_text
from api.people.persons import Approval
from api.people.signing import PersonKey, read_key_file
from schemas.errors import ConfigurationError, NotFoundError, ProcedureError
from tests.api import police
from tests.api.police import POLICE
from tests.api.test_openapi_examples import _compare
from tests.api.world import World

DAY_US = 86_400_000_000
FINGERPRINT = "ab" * 32


def _body(approval: Approval, **fields: Any) -> dict[str, Any]:
    return {**fields, "approval": {"time": approval.time, "signature": approval.signature}}


def _requested(world: World, **changes: Any) -> Terms:
    wanted = police.terms(**changes)
    digest = wanted.digest(world.store.store_id)
    approval = world.approval(world.keys["custodian-1"], procedure.REGISTER_REQUEST, POLICE, digest)
    procedure.request_registration(world.store, "custodian-1", wanted, approval)
    return wanted


def _revocation(world: World, by: str, action: str) -> Approval:
    digest = procedure.revocation_digest(world.store.store_id, POLICE, "merged")
    return world.approval(world.keys[by], action, POLICE, digest)


def test_two_custodians_register_an_authority_over_http_and_the_examples_are_its_answers(world: World) -> None:
    wanted = police.terms(fingerprints=(FINGERPRINT,), signing_key=None)
    digest = wanted.digest(world.store.store_id)
    documented = world.http.app.openapi()["paths"]
    asked = world.approval(world.keys["custodian-1"], procedure.REGISTER_REQUEST, POLICE, digest)
    answer = world.http.post(
        "/v1/authorities", json=_body(asked, id=POLICE, **wanted.to_body()), headers=world.as_person("custodian-1")
    )
    assert answer.status_code == 201, answer.text
    assert authorities.find(world.store, POLICE) is not None
    with pytest.raises(ProcedureError):
        authorities.require(world.store, POLICE, world.clock.now_us())
    signed = world.approval(world.keys["custodian-2"], procedure.REGISTER_CONFIRM, POLICE, digest)
    path = "/v1/authorities/{authority_id}"
    confirmed = world.http.post(
        f"/v1/authorities/{POLICE}/confirm", json=_body(signed), headers=world.as_person("custodian-2")
    )
    assert confirmed.json()["state"] == "active"
    _compare(documented[f"{path}/confirm"]["post"]["responses"]["200"], confirmed)
    found = authorities.require(world.store, POLICE, world.clock.now_us())
    assert found.terms == wanted
    assert authorities.encryption_certificate(found, world.clock.now_us()).serial_number == 1
    shown = world.http.get(f"/v1/authorities/{POLICE}", headers=world.as_person("custodian-1"))
    _compare(documented[path]["get"]["responses"]["200"], shown)
    listed = world.http.get("/v1/authorities", headers=world.as_person("custodian-1")).json()["authorities"]
    assert [item["id"] for item in listed] == [POLICE]
    kinds = world.audit_kinds()
    assert procedure.REGISTER_REQUEST in kinds
    assert procedure.REGISTER_CONFIRM in kinds
    assert b"46771140000" not in (world.store.root / "catalog.sqlite").read_bytes()


def test_nobody_registers_an_authority_alone_or_with_another_signature(world: World) -> None:
    wanted = _requested(world)
    digest = wanted.digest(world.store.store_id)
    world.enrol("auditor-1", "auditor")

    def confirm(
        by: str, *, key: str | None = None, action: str = procedure.REGISTER_CONFIRM, over: str = digest
    ) -> str:
        approval = world.approval(world.keys[key or by], action, POLICE, over)
        with pytest.raises(ProcedureError) as refused:
            procedure.confirm_registration(world.store, by, POLICE, approval)
        return str(refused.value.reason)

    assert confirm("custodian-1") == "same-person"
    assert confirm("custodian-2", key="custodian-1") == "signature"
    assert confirm("custodian-2", action=procedure.REGISTER_REQUEST) == "signature"
    other = police.terms(call_back="+46771140001").digest(world.store.store_id)
    assert confirm("custodian-2", over=other) == "signature"
    assert confirm("auditor-1") == "role"
    assert not authorities.get(world.store, POLICE).is_active


def test_other_terms_hold_only_when_the_second_custodian_confirms_them(world: World) -> None:
    world.authority()
    _requested(world, call_back="+46771140099")
    standing = authorities.require(world.store, POLICE, world.clock.now_us())
    assert standing.terms.call_back == "+46771140000"
    with pytest.raises(ProcedureError, match="waits"):
        _requested(world, call_back="+46771140098")
    digest = standing.pending_terms().digest(world.store.store_id)
    approval = world.approval(world.keys["custodian-2"], procedure.REGISTER_CONFIRM, POLICE, digest)
    procedure.confirm_registration(world.store, "custodian-2", POLICE, approval)
    assert authorities.get(world.store, POLICE).terms.call_back == "+46771140099"


def test_what_is_only_requested_can_be_withdrawn_and_asked_for_again(world: World) -> None:
    _requested(world, fingerprints=(FINGERPRINT,))
    pending = authorities.get(world.store, POLICE).pending
    assert pending is not None
    digest = procedure.withdraw_digest(world.store.store_id, POLICE, pending)
    approval = world.approval(world.keys["custodian-2"], procedure.WITHDRAW, POLICE, digest)
    withdrawn = world.http.post(
        f"/v1/authorities/{POLICE}/withdraw", json=_body(approval), headers=world.as_person("custodian-2")
    )
    assert withdrawn.status_code == 200
    assert authorities.find(world.store, POLICE) is None
    _requested(world, fingerprints=(FINGERPRINT,))
    with pytest.raises(ProcedureError, match="nothing of this kind"):
        procedure.confirm_revocation(world.store, "custodian-2", POLICE, approval)


def test_a_revoked_authority_orders_nothing_and_its_officers_are_not_recognised(world: World) -> None:
    world.enrol("officer-1", "officer")
    headers = world.log_in("officer-1")
    asked = _revocation(world, "custodian-1", procedure.REVOKE_REQUEST)
    answer = world.http.post(
        f"/v1/authorities/{POLICE}/revocation",
        json=_body(asked, reason="merged"),
        headers=world.as_person("custodian-1"),
    )
    assert answer.status_code == 200, answer.text
    assert world.http.get("/v1/sessions/current", headers=headers).status_code == 200
    with pytest.raises(ProcedureError, match="requested it"):
        again = _revocation(world, "custodian-1", procedure.REVOKE_CONFIRM)
        procedure.confirm_revocation(world.store, "custodian-1", POLICE, again)
    signed = _revocation(world, "custodian-2", procedure.REVOKE_CONFIRM)
    answer = world.http.post(
        f"/v1/authorities/{POLICE}/revocation/confirm", json=_body(signed), headers=world.as_person("custodian-2")
    )
    assert answer.json()["state"] == "revoked"
    assert world.http.get("/v1/sessions/current", headers=headers).status_code == 401
    proof = world.proof(world.keys["officer-1"], world.challenge())
    assert world.http.post("/v1/sessions", headers=proof).status_code == 401
    with pytest.raises(ProcedureError) as refused:
        authorities.require(world.store, POLICE, world.clock.now_us())
    assert refused.value.reason == "authority"
    with pytest.raises(ProcedureError, match="revoked"):
        _requested(world)


def test_a_revocation_has_a_reason_and_an_authority_in_force_of_which_nothing_is_pending(world: World) -> None:
    world.authority()

    def ask(reason: str = "merged") -> None:
        digest = procedure.revocation_digest(world.store.store_id, POLICE, reason)
        approval = world.approval(world.keys["custodian-1"], procedure.REVOKE_REQUEST, POLICE, digest)
        procedure.request_revocation(world.store, "custodian-1", POLICE, reason, approval)

    for wrong in ("", " ", "x" * (procedure.REASON_CHARS_MAX + 1)):
        with pytest.raises(ConfigurationError, match="a reason"):
            ask(wrong)
    with pytest.raises(ProcedureError, match="nothing is pending"):
        _withdraw(world, {"action": procedure.REVOKE_REQUEST, "time": ""})
    ask()
    with pytest.raises(ProcedureError, match="nothing pending"):
        ask()
    signed = _revocation(world, "custodian-2", procedure.REVOKE_CONFIRM)
    procedure.confirm_revocation(world.store, "custodian-2", POLICE, signed)
    with pytest.raises(ProcedureError, match="nothing pending"):
        ask()


def _withdraw(world: World, pending: dict[str, Any]) -> None:
    digest = procedure.withdraw_digest(world.store.store_id, POLICE, pending)
    approval = world.approval(world.keys["custodian-2"], procedure.WITHDRAW, POLICE, digest)
    procedure.withdraw(world.store, "custodian-2", POLICE, approval)


def test_an_authority_orders_within_its_time_only(world: World) -> None:
    now_us = world.clock.now_us()
    world.authority(from_us=now_us, until_us=now_us + DAY_US)
    for instant_us, holds in (
        (now_us - 1, False),
        (now_us, True),
        (now_us + DAY_US - 1, True),
        (now_us + DAY_US, False),
    ):
        if holds:
            assert authorities.require(world.store, POLICE, instant_us).authority_id == POLICE
        else:
            with pytest.raises(ProcedureError):
                authorities.require(world.store, POLICE, instant_us)
    for unknown in ("customs-se", "NO SUCH", ""):
        with pytest.raises(ProcedureError):
            authorities.require(world.store, unknown, now_us)
        assert authorities.find(world.store, unknown) is None
    with pytest.raises(NotFoundError):
        authorities.get(world.store, "../x")


def test_an_officer_belongs_to_one_authority_in_force_and_nobody_else_does(world: World) -> None:
    world.enrol("officer-1", "officer")
    world.authority("customs-se")
    officer = persons.get(world.store, "officer-1")
    now_us = world.clock.now_us()
    assert authorities.require_officer(world.store, officer, POLICE, now_us).authority_id == POLICE
    with pytest.raises(ProcedureError, match="does not belong"):
        authorities.require_officer(world.store, officer, "customs-se", now_us)
    key = PersonKey.generate("x").public_text
    for roles, authority in ((("officer",), None), (("approver",), POLICE)):
        with pytest.raises(ProcedureError) as refused:
            persons.new_person(persons.Enrolment("person-9", "Person", roles, key, authority=authority))
        assert refused.value.reason == "authority"


def test_an_officer_of_an_unregistered_authority_is_not_enrolled(world: World) -> None:
    wanted = persons.Enrolment(
        "officer-9", "Nine", ("officer",), PersonKey.generate("officer-9").public_text, None, "no-1"
    )
    digest = wanted.digest(world.store.store_id)
    approval = world.approval(world.keys["custodian-1"], "person.enrol.request", "officer-9", digest)
    body = _body(
        approval, id="officer-9", display_name="Nine", roles=["officer"], public_key=wanted.public_key, authority="no-1"
    )
    refused = world.http.post("/v1/persons", json=body, headers=world.as_person("custodian-1"))
    assert (refused.status_code, refused.json()["reason"]) == (409, "authority") or refused.json()[
        "reason"
    ] == "authority"
    assert not persons.find_active(world.store, "officer-9")


def test_a_client_certificate_has_one_owner_for_ever(world: World) -> None:
    world.authority(fingerprints=(FINGERPRINT,))
    with pytest.raises(ProcedureError) as refused:
        world.authority("customs-se", fingerprints=(FINGERPRINT,))
    assert refused.value.reason == "certificate-taken"
    body = {"scope": "metrics", "sources": [], "fingerprint": FINGERPRINT}
    taken = world.http.post("/v1/credentials", json=body, headers=world.as_person("custodian-1"))
    assert taken.json()["reason"] == "certificate-taken"
    world.credential("pbx-east", fingerprint="cd" * 32)
    with pytest.raises(ProcedureError):
        world.authority("tax-se", fingerprints=("cd" * 32,))


CA = police.certificate()
WRONG: dict[str, dict[str, Any]] = {
    "id": {"authority_id": "Police"},
    "name": {"name": " "},
    "newline": {"name": "a\nb"},
    "country": {"country": "Sweden"},
    "organisation": {"organisation": "a b"},
    "call-back": {"call_back": "112"},
    "no format": {"formats": ()},
    "one format twice": {"formats": (Format.CSV, Format.CSV)},
    "ends before it begins": {"from_us": 2, "until_us": 2},
    "neither certificate nor key": {"signing_key": None, "fingerprints": ()},
    "fingerprint": {"fingerprints": ("AB" * 32,)},
    "fingerprint twice": {"fingerprints": (FINGERPRINT, FINGERPRINT)},
    "endpoint in the clear": {"endpoint": "http://police.example/", "endpoint_ca": CA},
    "endpoint in the clear here": {"endpoint": "http://127.0.0.1:1/", "endpoint_ca": CA},
    "endpoint with a password": {"endpoint": "https://a:b@police.example/", "endpoint_ca": CA},
    "endpoint of another scheme": {"endpoint": "file:///etc/passwd", "endpoint_ca": CA},
    "endpoint with a broken port": {"endpoint": "https://police.example:x/", "endpoint_ca": CA},
    "endpoint with a query": {"endpoint": "https://police.example/?a=b", "endpoint_ca": CA},
    "endpoint of anybody": {"endpoint": "https://police.example/"},
    "endpoint of no certificate": {"endpoint": "https://police.example/", "endpoint_ca": "MIID"},
    "endpoint to which we show nothing": {
        "endpoint": "https://police.example/",
        "endpoint_ca": CA,
        "endpoint_client": "-----BEGIN CERTIFICATE-----",
    },
    "certificate of no endpoint": {"endpoint_ca": CA},
    "our certificate for no endpoint": {"endpoint_client": CA},
    "no certificate": {"certificate": "MIID"},
    "long certificate": {"certificate": "A" * 20_000},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_terms_without_their_form_are_refused(changes: dict[str, Any]) -> None:
    now_us = 1_795_305_600_000_000
    taken = police.terms(endpoint="https://police.example/hi1", endpoint_ca=police.certificate())
    assert authorities.check_terms(taken, now_us).endpoint_ca == police.terms().certificate
    with pytest.raises(ConfigurationError):
        authorities.check_terms(police.terms(**changes), now_us)


def test_an_endpoint_of_anybody_is_told_what_it_lacks() -> None:
    assert check_endpoint("https://police.example/", CA, None) == (parse(CA), None)
    with pytest.raises(ConfigurationError, match="comes with the certificate"):
        check_endpoint("https://police.example/", None, None)


def test_a_certificate_among_other_words_is_read_as_far_as_a_certificate_is_long() -> None:
    assert parse(CA + "\n" * (CERTIFICATE_CHARS_MAX - len(CA))) == parse(CA)
    with pytest.raises(ConfigurationError):
        parse(CA + "\n" * (CERTIFICATE_CHARS_MAX - len(CA) + 1))


def test_a_certificate_that_cannot_take_deliveries_is_refused() -> None:
    now_us = 1_795_305_600_000_000
    wrong = (
        police.certificate(rsa.generate_private_key(public_exponent=65_537, key_size=2048)),
        police.certificate(ec.generate_private_key(ec.SECP256R1())),
        police.certificate(years=(2020, 2021)),
        police.certificate(years=(2040, 2041)),
        police.certificate(digital_signature=True),
    )
    for text in wrong:
        with pytest.raises(ConfigurationError):
            authorities.parse_certificate(text, now_us)
    for text in (police.certificate(), police.certificate(key_encipherment=True)):
        der = authorities.parse_certificate(text, now_us)
        assert authorities.parse_certificate(der, now_us) == der


def test_nothing_is_encrypted_to_a_certificate_that_is_over(world: World) -> None:
    world.authority()
    found = authorities.get(world.store, POLICE)
    with pytest.raises(ProcedureError) as refused:
        authorities.encryption_certificate(found, 2_400_000_000_000_000)
    assert refused.value.reason == "certificate-expired"


def test_an_authority_makes_keys_of_its_own(tmp_path: Path) -> None:
    now_us = 1_795_305_600_000_000
    made = make("police-se", tmp_path, now_us)
    assert (tmp_path / "police-se.pem").stat().st_mode & 0o077 == 0
    assert read_key_file(tmp_path / "police-se.key.json").public_text == made["signing_key"]
    text = read_text(tmp_path / "police-se.crt")
    authorities.parse_certificate(text, now_us)
    assert len(fingerprint_of(text)) == 64
    with pytest.raises(ConfigurationError, match="never overwritten"):
        make("police-se", tmp_path, now_us)
    sealed = make("customs-se", tmp_path, now_us, b"secret")
    assert b"ENCRYPTED" in Path(sealed["private_key"]).read_bytes()
    (tmp_path / "long.crt").write_bytes(b64encode(bytes(20_000)))
    for wrong in ("long.crt", "absent.crt"):
        with pytest.raises(ConfigurationError):
            read_text(tmp_path / wrong)
    with pytest.raises(ConfigurationError):
        fingerprint_of("nothing")
