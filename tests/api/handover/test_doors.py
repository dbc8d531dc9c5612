"""The doors for authorities on the real server: an officer's client certificate opens them, no other; pushes go by."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes

from api.cli import main
from api.disclosure.push_key import PushKey
from api.handover import ts103120 as hi1
from api.handover.push_line import Limits, Line, PushError, _is_allowed
from api.handover.ts103120_read import read_answers
from api.handover.ts103120_write import write_request
from api.people import authorities
from api.people.authority_endpoint import parse
from api.people.signing import write_key_file
from api.settings import Settings
from tests.api import police
from tests.api.certificates import Ca, client_context
from tests.api.disclosure.conftest import Court, court
from tests.api.disclosure.test_pushing import held, register, told
from tests.api.handover.etsi import checked
from tests.api.handover.receiver import Office, receiving
from tests.api.handover.test_hi1 import head, order
from tests.api.handover.test_retained import STATUS, message
from tests.api.people.test_bindings import _confirm, _request
from tests.api.world import World, running
from tests.patience import PATIENCE_S, until

__all__ = ["court"]

HI1, RETAINED = "/v1/hi1", "/v1/retained-data"
ORGANISATION = police.terms().organisation


def test_an_officer_s_certificate_opens_the_doors_and_an_authority_s_system_s_does_not(
    world: World, tmp_path: Path
) -> None:
    for person, role in (("officer-1", "officer"), ("auditor-1", "auditor")):
        world.enrol(person, role)
    ours = Ca(tmp_path, "ours")
    certificate, key, _ = ours.issue("localhost")
    pairs: dict[str, tuple[Path, Path]] = {}
    prints: dict[str, str] = {}
    for name in ("officer", "auditor", "system", "stranger"):
        path, private, shown = ours.issue(name)
        pairs[name], prints[name] = (path, private), shown.fingerprint(hashes.SHA256()).hex()
    _confirm(world, _request(world, "officer-1", prints["officer"], None))
    _confirm(world, _request(world, "auditor-1", prints["auditor"], None))
    first, second = world.custodians
    police.register(world.store, first, second, police.terms(fingerprints=(prints["system"],)))
    settings = Settings(
        port=0, tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(ours.path), shutdown_seconds=5
    )
    authorisation, task = order()
    filing = write_request(
        head(ORGANISATION), [hi1.Action(0, "CREATE", thing=authorisation), hi1.Action(1, "CREATE", thing=task)]
    )
    asking = message(STATUS, organisation=ORGANISATION)
    with running(world.store, settings) as listening:

        def post(name: str | None, path: str, content: bytes) -> httpx.Response:
            with httpx.Client(verify=client_context(ours.path, pairs.get(name or "")), timeout=PATIENCE_S) as caller:
                return caller.post(f"https://localhost:{listening.port}{path}", content=content)

        answer = post("officer", HI1, checked(filing))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/xml"
        assert [item.failure for item in read_answers(checked(answer.content))[1]] == [None, None]
        asked = post("officer", RETAINED, asking)
        assert (asked.status_code, b"<errorCode>404</errorCode>" in asked.content) == (200, True)
        for path, content in ((HI1, filing), (RETAINED, asking)):
            for name, status in ((None, 401), ("stranger", 401), ("system", 403), ("auditor", 409)):
                assert post(name, path, content).status_code == status, (name, path)
            for broken, status in (
                (b"", 400),
                (b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", 400),
                (content.replace(ORGANISATION.encode(), b"SE-CUSTOMS"), 409),
                (b" " * (settings.request_bytes_max + 1), 413),
            ):
                refused = post("officer", path, broken)
                assert refused.status_code == status, (path, refused.text)
                assert "passwd" not in refused.text
    assert world.audit_kinds().count("disclosure.authorised") == 1


def test_the_service_pushes_by_itself(court: Court, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    office = Office(tmp_path)
    with receiving(office) as there:
        register(court, office, there.url)
        task = court.released()
        with running(court.store, Settings(port=0, shutdown_seconds=5)):
            until(lambda: held(court, task.id).pushed is not None, "nothing is pushed")
            key = tmp_path / "officer-1.key"
            write_key_file(key, court.keys["officer-1"])

            def lagrum(*words: str) -> Any:
                argv = ["--root", str(court.store.root), "--json", "disclosure", *words, "--as", str(key)]
                capsys.readouterr()
                assert main(argv, clock=court.clock) == 0
                return json.loads(capsys.readouterr().out)

            assert lagrum("show", task.id)["push"]["state"] == "acknowledged"
            assert lagrum("deliver", task.id, "--output", str(tmp_path / "d.zip"))["push"] == "acknowledged"
            (item,) = lagrum("worklist")["items"]
            assert (item["step"], item["push"]) == ("acknowledge", None)
            shown = lagrum("push-key")
            assert shown["sha256"] == PushKey(court.store).as_dict()["sha256"]
            assert "PRIVATE" not in str(shown)
        assert told(court, task.id)["state"] == "acknowledged"
        assert len(there.kept) == 2
        # The private key lies sealed, and the authority's URL nowhere in the clear.
        found = [path.read_bytes() for path in court.store.root.rglob("*") if path.is_file()]
        assert not [data for data in found if b"PRIVATE KEY" in data or there.url.encode() in data]


def test_two_custodians_register_an_endpoint_and_our_certificate_for_it(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    office = Office(tmp_path)
    asked = world.http.get("/v1/disclosure/push-key", headers=world.as_person("custodian-1")).json()
    files = {"ca": office.pem, "ours": office.issued(asked["request"]), "foreign": office.pem}
    for name, pem in files.items():
        (tmp_path / f"{name}.crt").write_text(pem)
    (tmp_path / "police.crt").write_text(police.certificate())
    for person in ("custodian-1", "custodian-2"):
        write_key_file(tmp_path / f"{person}.json", world.keys[person])

    def add(client: str) -> tuple[int, str, str]:
        terms = "--name Police --country SE --organisation SE-POLICE --kind law-enforcement --call-back +46771140000"
        words = [*terms.split(), "--certificate", str(tmp_path / "police.crt")]
        words += ["--signing-key", police.terms().signing_key or "", "--endpoint", "https://police.example/hi1"]
        words += ["--endpoint-ca", str(tmp_path / "ca.crt"), "--endpoint-client", str(tmp_path / f"{client}.crt")]
        words += ["--as", str(tmp_path / "custodian-1.json"), "--second", str(tmp_path / "custodian-2.json")]
        capsys.readouterr()
        code = main(
            ["--root", str(world.store.root), "--json", "authority", "add", "police-se", *words], clock=world.clock
        )
        said = capsys.readouterr()
        return code, said.out, said.err

    with running(world.store, Settings(port=0, shutdown_seconds=5)):
        code, _, error = add("foreign")
        assert code != 0
        assert "another key" in error
        code, shown, error = add("ours")
        assert code == 0, error
    assert json.loads(shown)["endpoint"] == "https://police.example/hi1"
    registered = authorities.get(world.store, "police-se").terms
    assert registered.endpoint_client == parse(files["ours"])
    assert registered.endpoint_ca == parse(office.pem)


@pytest.mark.parametrize(
    ("address", "anywhere"),
    [
        ("192.0.2.7", True),
        ("10.0.0.7", True),
        ("2001:db8::7", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("::", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
    ],
)
def test_a_name_does_not_lead_to_what_only_the_machine_reaches(
    address: str, anywhere: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert _is_allowed(address, here=False) is anywhere
    assert _is_allowed("127.0.0.1", here=True)

    def resolves(*_: Any, **__: Any) -> list[Any]:
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
        return [good, (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]

    def connects(*_: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolves)
    monkeypatch.setattr(socket.socket, "connect", connects)
    ca = police.terms().certificate
    with Line("https://police.example/hi1", ca, lambda _: None, Limits(1, 1, 1)) as line:
        with pytest.raises(PushError) as refused:
            line.connect()
        assert refused.value.word == ("unreached" if anywhere else "address")
