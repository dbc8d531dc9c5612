"""The doors for authorities on the real server: an officer's client certificate opens them, no other; pushes go by."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes

from api.handover import ts103120 as hi1
from api.handover.push_line import Limits, Line, PushError, _is_allowed
from api.handover.ts103120_read import read_answers
from api.handover.ts103120_write import write_request
from api.settings import Settings
from tests.api import police
from tests.api.disclosure.conftest import Court, court
from tests.api.disclosure.test_pushing import held, register, told
from tests.api.handover.etsi import validated
from tests.api.handover.receiver import Office, receiving
from tests.api.handover.test_hi1 import head, order
from tests.api.handover.test_retained import STATUS, message
from tests.api.test_bindings import _confirm, _request
from tests.api.test_server import _Ca, _context
from tests.api.world import World, running

__all__ = ["court"]

HI1, RETAINED = "/v1/hi1", "/v1/retained-data"
ORGANISATION = police.terms().organisation


def test_an_officer_s_certificate_opens_the_doors_and_an_authority_s_system_s_does_not(
    world: World, tmp_path: Path
) -> None:
    for person, role in (("officer-1", "officer"), ("auditor-1", "auditor")):
        world.enrol(person, role)
    ours = _Ca(tmp_path, "ours")
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
            with httpx.Client(verify=_context(ours.path, pairs.get(name or ""))) as caller:
                return caller.post(f"https://localhost:{listening.port}{path}", content=content)

        answer = post("officer", HI1, validated(filing))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/xml"
        assert [item.failure for item in read_answers(validated(answer.content))[1]] == [None, None]
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


def test_the_service_pushes_by_itself(court: Court, tmp_path: Path) -> None:
    office = Office(tmp_path)
    with receiving(office) as there:
        register(court, office, there.url)
        task = court.released()
        with running(court.store, Settings(port=0, shutdown_seconds=5)):
            for _ in range(200):
                if held(court, task.id).pushed is not None:
                    break
                time.sleep(0.05)
        assert told(court, task.id)["state"] == "acknowledged"
        assert len(there.kept) == 2


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
