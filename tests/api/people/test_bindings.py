"""What else recognises a person: bound by two, ended by one, and what TLS does with it on the real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes

from api import cli
from api.people import authority_register as procedure
from api.people import bindings, enrolment
from api.people.bindings import BindingKind
from api.people.signing import PersonKey, write_key_file
from api.settings import Settings
from schemas.errors import ConfigurationError, ProcedureError
from tests.api import police
from tests.api.certificates import Ca, client_context
from tests.api.test_sweep import ANYBODY
from tests.api.world import CSV, World, running
from tests.patience import PATIENCE_S

ISSUER = "https://login.example.net"
FINGERPRINT = "ab" * 32


def _request(
    world: World, person_id: str, value: str, issuer: str | None = ISSUER, by: str = "custodian-1"
) -> bindings.Binding:
    kind = BindingKind.CERTIFICATE if issuer is None else BindingKind.SUBJECT
    digest = bindings.digest(world.store.store_id, person_id, kind, value, issuer)
    approval = world.approval(world.keys[by], bindings.BIND_REQUEST, person_id, digest)
    return bindings.request(world.store, by, person_id, kind, value, approval, issuer=issuer)


def _confirm(world: World, made: bindings.Binding, by: str = "custodian-2") -> bindings.Binding:
    digest = made.digest(world.store.store_id)
    approval = world.approval(world.keys[by], bindings.BIND_CONFIRM, made.person_id, digest)
    return bindings.confirm(world.store, by, made.binding_id, approval)


def _end(world: World, made: bindings.Binding, by: str = "custodian-1") -> bindings.Binding:
    digest = made.digest(world.store.store_id)
    approval = world.approval(world.keys[by], bindings.BIND_END, made.person_id, digest)
    return bindings.end(world.store, by, made.binding_id, approval)


def _refused(reason: str, step: object) -> None:
    with pytest.raises(ProcedureError) as refused:
        step()  # type: ignore[operator]
    assert refused.value.reason == reason


@pytest.fixture
def staffed(world: World) -> Iterator[World]:
    for person_id, role in (("auditor-1", "auditor"), ("auditor-2", "auditor"), ("officer-1", "officer")):
        world.enrol(person_id, role)
    yield world


def test_two_custodians_bind_and_one_ends(staffed: World) -> None:
    made = _request(staffed, "auditor-1", "s-1")
    assert bindings.person_of(staffed.store, BindingKind.SUBJECT, "s-1", ISSUER) is None
    _refused("same-person", lambda: _confirm(staffed, made, "custodian-1"))
    _refused("role", lambda: _confirm(staffed, made, "auditor-2"))
    assert _confirm(staffed, made).is_active
    assert bindings.person_of(staffed.store, BindingKind.SUBJECT, "s-1", ISSUER) == "auditor-1"
    assert bindings.person_of(staffed.store, BindingKind.SUBJECT, "s-1", "https://other.example") is None
    assert bindings.person_of(staffed.store, BindingKind.CERTIFICATE, "s-1") is None
    _refused("state", lambda: _confirm(staffed, made))
    _refused("role", lambda: _end(staffed, made, "auditor-2"))
    assert _end(staffed, made).state == "ended"
    assert bindings.person_of(staffed.store, BindingKind.SUBJECT, "s-1", ISSUER) is None
    _refused("state", lambda: _end(staffed, made))
    kinds = staffed.audit_kinds()
    assert {bindings.BIND_REQUEST, bindings.BIND_CONFIRM, bindings.BIND_END} <= set(kinds)


def test_a_subject_is_one_persons_at_a_time_and_a_certificate_one_persons_for_ever(staffed: World) -> None:
    made = _confirm(staffed, _request(staffed, "auditor-1", "s-1"))
    _refused("bound", lambda: _request(staffed, "auditor-2", "s-1"))
    _end(staffed, made)
    _confirm(staffed, _request(staffed, "auditor-2", "s-1"))
    assert bindings.person_of(staffed.store, BindingKind.SUBJECT, "s-1", ISSUER) == "auditor-2"
    card = _confirm(staffed, _request(staffed, "auditor-1", FINGERPRINT, None))
    _end(staffed, card)
    _refused("certificate-taken", lambda: _request(staffed, "auditor-2", FINGERPRINT, None))
    _refused("certificate-taken", lambda: staffed.authority("customs-se", fingerprints=(FINGERPRINT,)))
    assert _request(staffed, "auditor-1", FINGERPRINT, None).state == "pending"


def test_a_wrong_signature_or_value_binds_nothing(staffed: World) -> None:
    for value, issuer in (
        ("", ISSUER),
        ("s" * 256, ISSUER),
        ("a\nb", ISSUER),
        ("s-\u00e9", ISSUER),
        ("AB" * 32, None),
        ("ab", None),
    ):
        with pytest.raises(ConfigurationError):
            _request(staffed, "auditor-1", value, issuer)
    digest = bindings.digest(staffed.store.store_id, "auditor-1", "subject", "s-1", ISSUER)
    for key, case, over in (
        (staffed.keys["custodian-2"], "auditor-1", digest),
        (staffed.keys["custodian-1"], "auditor-2", digest),
        (staffed.keys["custodian-1"], "auditor-1", digest[::-1]),
    ):
        approval = staffed.approval(key, bindings.BIND_REQUEST, case, over)
        with pytest.raises(ProcedureError):
            bindings.request(
                staffed.store, "custodian-1", "auditor-1", BindingKind.SUBJECT, "s-1", approval, issuer=ISSUER
            )


def test_client_certificates_recognise_people_and_authorities_on_the_real_server(
    staffed: World, tmp_path: Path
) -> None:
    ours = Ca(tmp_path, "ours")
    certificate, key, _ = ours.issue("localhost")
    pairs = {}
    prints = {}
    for name in ("card-1", "card-2", "police", "customs", "stranger"):
        path, private, shown = ours.issue(name)
        pairs[name], prints[name] = (path, private), shown.fingerprint(hashes.SHA256()).hex()
    _confirm(staffed, _request(staffed, "auditor-1", prints["card-1"], None))
    pending = _request(staffed, "auditor-2", prints["card-2"], None)
    first, second = staffed.custodians
    police.register(staffed.store, first, second, police.terms(fingerprints=(prints["police"],)))
    staffed.authority("customs-se", fingerprints=(prints["customs"],))
    settings = Settings(
        port=0, tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(ours.path), shutdown_seconds=5
    )
    with running(staffed.store, settings) as listening:
        url = f"https://localhost:{listening.port}"

        def ask(name: str | None, path: str, token: str | None = None) -> httpx.Response:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            with httpx.Client(verify=client_context(ours.path, pairs.get(name or "")), timeout=PATIENCE_S) as caller:
                return caller.get(f"{url}{path}", headers=headers)

        def log_in(person_id: str, name: str | None) -> httpx.Response:
            person = staffed.keys[person_id]
            with httpx.Client(verify=client_context(ours.path, pairs.get(name or "")), timeout=PATIENCE_S) as caller:
                offer = caller.post(f"{url}/v1/sessions").json()
                return caller.post(f"{url}/v1/sessions", headers=staffed.proof(person, offer))

        assert ask("card-1", "/v1/sessions/current").json()["person"] == "auditor-1"
        assert ask("card-1", "/v1/audit/entries").status_code == 200
        assert ask("card-1", "/v1/holds").status_code == 403
        for name in (None, "stranger", "card-2"):
            assert ask(name, "/v1/sessions/current").status_code == 401
        _confirm(staffed, pending)
        assert ask("card-2", "/v1/sessions/current").json()["person"] == "auditor-2"
        _end(staffed, pending)
        assert ask("card-2", "/v1/sessions/current").status_code == 401, "ended at once"
        # An authority's system is recognised and is nobody: no person's route serves it.
        assert ask("police", "/v1/audit/checkpoint").status_code == 200
        documented = staffed.http.app.openapi()["paths"]
        plain = [path for path, by in documented.items() if "get" in by and "{" not in path]
        for path in sorted(set(plain) - {"/v1/health"} - {path for _, path in ANYBODY}):
            assert ask("police", path).status_code in {403, 422}, path
        with httpx.Client(verify=client_context(ours.path, pairs["police"]), timeout=PATIENCE_S) as caller:
            for length in (1, 1000):
                pushed = caller.post(
                    f"{url}/v1/cdrs", params={"source": "pbx-east", "format": "csv"}, content=CSV * length
                )
                assert pushed.status_code == 403
        # Who comes with a certificate comes with his own or his authority's.
        for name, status in ((None, 201), ("police", 201), ("stranger", 201), ("customs", 401), ("card-1", 401)):
            assert log_in("officer-1", name).status_code == status, name
        token = log_in("officer-1", None).json()["token"]
        for name, status in (("police", 200), ("customs", 401), ("card-1", 401)):
            assert ask(name, "/v1/sessions/current", token).status_code == status, name
        _revoke_police(staffed)
        assert ask("police", "/v1/audit/checkpoint").status_code == 401
        assert ask(None, "/v1/sessions/current", token).status_code == 401


def _revoke_police(world: World) -> None:
    digest = procedure.revocation_digest(world.store.store_id, police.POLICE, "merged")
    asked = world.approval(world.keys["custodian-1"], procedure.REVOKE_REQUEST, police.POLICE, digest)
    procedure.request_revocation(world.store, "custodian-1", police.POLICE, "merged", asked)
    signed = world.approval(world.keys["custodian-2"], procedure.REVOKE_CONFIRM, police.POLICE, digest)
    procedure.confirm_revocation(world.store, "custodian-2", police.POLICE, signed)


def test_a_binding_is_of_somebody_who_is_there(staffed: World) -> None:
    staffed.keys["ghost-1"] = PersonKey.generate("ghost-1")
    with pytest.raises(Exception, match="no such person"):
        _request(staffed, "ghost-1", "s-9")


def _revoked(world: World, person_id: str) -> None:
    digest = enrolment.revocation_digest(world.store.store_id, person_id, "left")
    asked = world.approval(world.keys["custodian-1"], enrolment.REVOKE_REQUEST, person_id, digest)
    enrolment.request_revocation(world.store, "custodian-1", person_id, "left", asked)
    agreed = world.approval(world.keys["custodian-2"], enrolment.REVOKE_CONFIRM, person_id, digest)
    enrolment.confirm_revocation(world.store, "custodian-2", person_id, agreed)


def test_nobody_who_is_revoked_gets_a_binding(staffed: World) -> None:
    waits = _request(staffed, "auditor-1", "s-1")
    _revoked(staffed, "auditor-1")
    _refused("state", lambda: _confirm(staffed, waits))
    _refused("state", lambda: _request(staffed, "auditor-1", "s-2"))
    assert bindings.person_of(staffed.store, BindingKind.SUBJECT, "s-1", ISSUER) is None


def test_a_certificate_has_no_issuer_and_a_subject_has_one(staffed: World) -> None:
    for kind, value, issuer in (
        (BindingKind.CERTIFICATE, FINGERPRINT, ISSUER),
        (BindingKind.SUBJECT, "s-1", None),
        (BindingKind.SUBJECT, "s-1", ""),
    ):
        digest = bindings.digest(staffed.store.store_id, "auditor-1", kind, value, issuer)
        approval = staffed.approval(staffed.keys["custodian-1"], bindings.BIND_REQUEST, "auditor-1", digest)
        with pytest.raises(ConfigurationError):
            bindings.request(staffed.store, "custodian-1", "auditor-1", kind, value, approval, issuer=issuer)


def test_the_command_line_binds_confirms_and_unbinds(
    staffed: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    staffed.enrol("dpo-1", "dpo")
    files = {}
    for name in ("custodian-1", "custodian-2", "dpo-1"):
        files[name] = str(tmp_path / f"{name}.json")
        write_key_file(Path(files[name]), staffed.keys[name])
    first, second = files["custodian-1"], files["custodian-2"]

    def run(*words: str, code: int = 0) -> dict[str, Any]:
        done = cli.main(["--root", str(staffed.store.root), *words, "--json"], clock=staffed.clock)
        out, err = capsys.readouterr()
        assert done == code, err
        return json.loads(out) if code == 0 else {}  # type: ignore[no-any-return]

    card, _, _ = Ca(tmp_path, "ours").issue("card-1")
    with running(staffed.store, Settings(port=0, shutdown_seconds=5)):
        subject = ("person", "bind", "auditor-1", "--subject", "s-1", "--issuer", ISSUER, "--as", first)
        assert run(*subject, "--second", second)["state"] == "active"
        made = run("person", "bind", "auditor-1", "--client-certificate", str(card), "--as", first)
        assert made["state"] == "pending"
        run("person", "bind-confirm", "auditor-1", made["id"], "--as", first, code=1)
        assert run("person", "bind-confirm", "auditor-1", made["id"], "--as", second)["state"] == "active"
        assert run("person", "unbind", "auditor-1", made["id"], "--as", second)["state"] == "ended"
        run("person", "unbind", "auditor-1", "b-0", "--as", second, code=1)
        listed = run("person", "bindings", "auditor-1", "--as", first)["bindings"]
        assert sorted(item["state"] for item in listed) == ["active", "ended"]
        for wrong in (("--subject", "s-1"), ("--client-certificate", str(card), "--issuer", ISSUER), ()):
            run("person", "bind", "auditor-1", *wrong, "--as", first, code=2)
        told = run("person", "logins", "--day", "2026-11-22", "--as", files["dpo-1"])
        assert {item["account"] for item in told["entries"]} >= {"custodian-1", "custodian-2"}
        run("person", "logins", "--day", "2026-11-22", "--as", first, code=1)
