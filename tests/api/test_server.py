"""The real server: unix socket, loopback port, TLS with client certificates, and the client of the command line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes

from api import cli
from api.client import Client
from api.people.bootstrap import create_custodians
from api.people.signing import PersonKey, read_key_file
from api.settings import Settings, socket_path
from api.tls import is_shared_key, server_context
from schemas.errors import ConfigurationError, NotFoundError, PermissionsError, ProcedureError
from store import Store
from tests.api.certificates import Ca, client_context
from tests.api.world import CSV, running
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S

FREE = Settings(port=0, shutdown_seconds=5)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        create_custodians(made, tmp_path / "keys")
        yield made


def _key(tmp_path: Path, number: int = 1) -> PersonKey:
    return read_key_file(_key_path(tmp_path, number))


def _key_path(tmp_path: Path, number: int = 1) -> Path:
    return tmp_path / "keys" / f"custodian-{number}.key.json"


def test_the_service_listens_on_both_and_cleans_up(store: Store, tmp_path: Path) -> None:
    with running(store, FREE) as listening:
        mode = stat.S_IMODE(listening.socket_path.stat().st_mode)
        assert mode == 0o600
        assert stat.S_IMODE(listening.socket_path.parent.stat().st_mode) == 0o700
        assert httpx.get(f"http://127.0.0.1:{listening.port}/v1/health", timeout=PATIENCE_S).json() == {"status": "ok"}
        with Client.local(store.root, store.clock) as client:
            session = client.log_in(_key(tmp_path))
            assert session["person"] == "custodian-1"
            assert [item["id"] for item in client.get("/v1/persons")["persons"]] == ["custodian-1", "custodian-2"]
            client.log_out()
            with pytest.raises(ProcedureError):
                client.get("/v1/persons")
    assert not listening.socket_path.exists()
    with pytest.raises(ConfigurationError):
        Client.local(store.root, store.clock)


def test_a_service_whose_root_was_replaced_takes_nothing_and_says_why(
    store: Store, tmp_path: Path, clock: FixedClock, capfd: pytest.CaptureFixture[str]
) -> None:
    def doctor(root: Path) -> dict[str, str]:
        capfd.readouterr()
        cli.main(["--root", str(root), "--json", "doctor"], clock=clock)
        return next(one for one in json.loads(capfd.readouterr().out)["findings"] if one["check"] == "service")

    with running(store, FREE) as listening:
        assert doctor(store.root)["state"] == "ok"
        health = f"http://127.0.0.1:{listening.port}/v1/health"
        store.root.rename(tmp_path / "away")
        Store.create(store.root, clock=clock).close()
        answer = httpx.get(health, timeout=PATIENCE_S)
        assert answer.status_code == 503 and "retry-after" in answer.headers
        assert "gone from its place" in answer.json()["detail"] and "restart" in answer.json()["hint"]
        found = doctor(tmp_path / "away")
        assert found["state"] == "wrong" and "gone from its place" in found["text"]
        assert doctor(store.root)["state"] == "warning", "nobody serves the one that is there"
        store.root.rename(tmp_path / "aside")
        (tmp_path / "away").rename(store.root)
        assert httpx.get(health, timeout=PATIENCE_S).status_code == 200
        assert doctor(store.root)["state"] == "ok"


def test_one_service_at_a_time_serves_a_root(store: Store) -> None:
    with running(store, FREE), pytest.raises(ConfigurationError, match="another service"), running(store, FREE):
        pass


def test_a_taken_port_is_said_so(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match="cannot listen"), running(store, Settings(port=port)):
            pass


@pytest.mark.parametrize("said", [b"", b"GET /v1/health HT", b"GET /v1/health HTTP/1.1\r\nHost: a\r\nX: "])
def test_who_connects_and_does_not_ask_keeps_nobody_out(store: Store, said: bytes) -> None:
    settings = Settings(port=0, keep_alive_seconds=1, connections_max=8)
    with running(store, settings) as listening, contextlib.ExitStack() as stack:
        address = (listening.host, listening.port)
        silent = [stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S)) for _ in range(8)]
        for one in silent:
            one.sendall(said)
        for one in silent:
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(100) == b""
        assert httpx.get(f"http://{listening.host}:{listening.port}/v1/health", timeout=PATIENCE_S).status_code == 200


def test_a_connection_may_be_used_again_and_its_next_request_may_wait_for_the_answer_before(store: Store) -> None:
    ask = b"GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n"
    with (
        running(store, FREE) as listening,
        socket.create_connection((listening.host, listening.port), PATIENCE_S) as one,
    ):
        one.sendall(ask * 3 + ask[:10])
        one.sendall(ask[10:])
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 4:
            more = one.recv(1 << 16)
            assert more
            answers += more


def test_a_body_that_is_not_read_gets_no_receipt(store: Store) -> None:
    head = b"POST /v1/cdrs?source=a&format=csv HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    with running(store, FREE) as listening:
        for told in (b"Content-Length: 5\r\n\r\nabcde", b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"):
            with socket.create_connection((listening.host, listening.port), PATIENCE_S) as one:
                one.sendall(head + told)
                answer = b"".join(iter(lambda taken=one: taken.recv(1 << 16), b""))  # type: ignore[misc]
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"without Upgrade" in answer


def test_a_stale_socket_is_replaced(store: Store) -> None:
    path = socket_path(store.root)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    with running(store, FREE) as listening:
        assert httpx.get(f"http://127.0.0.1:{listening.port}/v1/health", timeout=PATIENCE_S).status_code == 200


def test_a_large_body_streams_over_a_real_connection(store: Store, tmp_path: Path) -> None:
    header = CSV.splitlines(keepends=True)[0]
    line = "{:011d},pbx-east-1,voice,46700000001,46700000002,2026-11-22T10:00:00Z,61\n"
    body = header + "".join(line.format(number) for number in range(80_000)).encode()
    with running(store, FREE) as listening, Client.local(store.root, store.clock) as client:
        client.log_in(_key(tmp_path))
        client.call("PUT", "/v1/sources/pbx-east", json={})
        made = client.post("/v1/credentials", {"sources": ["pbx-east"]})
        answer = httpx.post(
            f"http://127.0.0.1:{listening.port}/v1/cdrs",
            params={"source": "pbx-east", "format": "csv"},
            content=body,
            auth=(made["id"], made["secret"]),
            timeout=PATIENCE_S,
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["accepted"] == 80_000
        assert answer.json()["sha256"] == hashlib.sha256(body).hexdigest()


def test_refusals_reach_the_client_as_errors_of_the_tree(store: Store, tmp_path: Path) -> None:
    with running(store, FREE), Client.local(store.root, store.clock) as client:
        with pytest.raises(ProcedureError):
            client.log_in(PersonKey.generate("custodian-1"))
        client.log_in(_key(tmp_path))
        with pytest.raises(NotFoundError):
            client.get("/v1/persons/nobody-1")
        with pytest.raises(ConfigurationError):
            client.post("/v1/credentials", {"scope": "all"})
        with pytest.raises(ConfigurationError):
            Client.remote("http://127.0.0.1:1", store.clock)


def test_a_client_certificate_is_bound_to_its_source(store: Store, tmp_path: Path) -> None:
    ours, foreign = Ca(tmp_path, "ours"), Ca(tmp_path, "foreign")
    certificate, key, _ = ours.issue("localhost")
    by_print, by_print_key, shown = ours.issue("switch-1")
    by_subject, by_subject_key, _ = ours.issue("switch-2")
    unknown, unknown_key, _ = ours.issue("switch-3")
    forged, forged_key, _ = foreign.issue("switch-2", file_name="forged")
    settings = Settings(
        port=0, tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(ours.path), shutdown_seconds=5
    )
    with running(store, settings) as listening:
        with Client.local(store.root, store.clock) as client:
            client.log_in(_key(tmp_path))
            client.call("PUT", "/v1/sources/pbx-east", json={})
            fingerprint = shown.fingerprint(hashes.SHA256()).hex()
            client.post("/v1/credentials", {"sources": ["pbx-east"], "fingerprint": fingerprint})
            client.post("/v1/credentials", {"sources": ["pbx-east"], "subject": "CN=switch-2"})
        url = f"https://localhost:{listening.port}"

        def push(pair: tuple[Path, Path] | None, source: str = "pbx-east") -> int:
            with httpx.Client(verify=client_context(ours.path, pair), timeout=PATIENCE_S) as caller:
                answer = caller.post(f"{url}/v1/cdrs", params={"source": source, "format": "csv"}, content=CSV)
                return answer.status_code

        assert push((by_print, by_print_key)) == 202
        assert push((by_subject, by_subject_key)) == 202
        assert push((by_print, by_print_key), "pbx-west") == 403
        assert push((unknown, unknown_key)) == 401
        assert push(None) == 401
        with pytest.raises(httpx.HTTPError):
            push((forged, forged_key))
        with Client.remote(url, store.clock, ca=ours.path) as client:
            assert client.log_in(_key(tmp_path))["person"] == "custodian-1"
    assert not listening.socket_path.exists()


def test_a_key_that_others_may_read_is_not_served_with(store: Store, tmp_path: Path) -> None:
    certificate, key, _ = Ca(tmp_path, "ours").issue("lagrum")
    settings = Settings(tls_certificate=str(certificate), tls_key=str(key))
    assert server_context(settings, store.root) is not None
    for mode in (0o644, 0o604, 0o660):
        key.chmod(mode)
        with pytest.raises(PermissionsError, match="others may read the key"):
            server_context(settings, store.root)
    key.chmod(0o640)  # root's, and one group's to read, as Debian's `ssl-cert`
    assert is_shared_key(key) is (key.stat().st_uid != 0)


def _lagrum(root: Path, *arguments: str, clock: FixedClock) -> int:
    return cli.main(["--root", str(root), *arguments], clock=clock)


def test_the_command_line_enrols_through_the_service(
    store: Store, tmp_path: Path, clock: FixedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = str(_key_path(tmp_path, 1)), str(_key_path(tmp_path, 2))
    officer = str(tmp_path / "officer-7.key.json")

    def run(*arguments: str) -> dict[str, object]:
        assert _lagrum(store.root, *arguments, "--json", clock=clock) == 0, capsys.readouterr().err
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    with running(store, FREE):
        made = run("authority", "key", "police-se", "--output", str(tmp_path))
        terms = ("--name", "Police", "--country", "SE", "--organisation", "P", "--kind", "law-enforcement")
        asked = (*terms, "--certificate", str(made["certificate"]), "--signing-key", str(made["signing_key"]))
        asked = ("police-se", *asked, "--call-back", "+46771140000", "--as", first)
        assert run("authority", "request", *asked)["state"] == "pending"
        assert _lagrum(store.root, "authority", "confirm", "police-se", "--as", first, clock=clock) == 1
        assert "cannot confirm" in capsys.readouterr().err
        assert run("authority", "withdraw", "police-se", "--as", second)["state"] == "revoked"
        assert run("authority", "add", *asked, "--second", second)["state"] == "active"
        assert run("authority", "show", "police-se", "--as", first)["call_back"] == "+46771140000"
        enrolled = run(
            *("person", "enrol", "officer-7", "--name", "Officer 7", "--role", "officer", "--authority", "police-se"),
            *("--key-file", officer, "--as", first, "--second", second),
        )
        assert enrolled["state"] == "active"
        key = run("person", "key", "approver-1", "--output", str(tmp_path / "approver-1.json"))
        asked = ("--name", "A", "--role", "approver", "--public-key", str(key["public_key"]), "--as", first)
        assert run("person", "request", "approver-1", *asked)["state"] == "pending"
        assert _lagrum(store.root, "person", "confirm", "approver-1", "--as", first, clock=clock) == 1
        assert "cannot confirm" in capsys.readouterr().err
        assert run("person", "confirm", "approver-1", "--as", second)["state"] == "active"
        assert run("person", "revoke", "approver-1", "--reason", "left", "--as", first)["state"] == "active"
        assert run("person", "confirm", "approver-1", "--as", second)["state"] == "revoked"
        revoke = ("person", "revoke", "officer-7", "--reason", "left", "--as", first)
        run(*revoke)
        assert run("person", "withdraw", "officer-7", "--as", second)["state"] == "active"
        assert run(*revoke, "--second", second)["state"] == "revoked"
        gone = ("authority", "revoke", "police-se", "--reason", "merged", "--as", first)
        assert run(*gone)["state"] == "active"
        assert run("authority", "confirm", "police-se", "--as", second)["state"] == "revoked"
        assert _lagrum(store.root, "authority", "list", "--as", first, clock=clock) == 0
        assert "police-se" in capsys.readouterr().out
        assert _lagrum(store.root, "person", "list", "--as", officer, clock=clock) == 1
        assert _lagrum(store.root, "person", "list", "--as", first, clock=clock) == 0
        assert "officer-7" in capsys.readouterr().out


def test_the_command_line_registers_sources_and_credentials(
    store: Store, tmp_path: Path, clock: FixedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    acting = ("--as", str(_key_path(tmp_path, 1)))
    with running(store, FREE):
        options = ("--zone", "Europe/Stockholm", "--country", "SE", "--account", "100=acme", "--option", "a=b")
        assert _lagrum(store.root, "sources", "add", "pbx-east", *options, *acting, "--json", clock=clock) == 0
        told = capsys.readouterr()
        assert "local times" not in told.err
        added = json.loads(told.out)
        assert (added["zone"], added["accounts"], added["options"]) == ("Europe/Stockholm", {"100": "acme"}, {"a": "b"})
        assert _lagrum(store.root, "sources", "credential", "pbx-east", *acting, "--json", clock=clock) == 0
        made = json.loads(capsys.readouterr().out)
        assert made["token"] == f"{made['id']}.{made['secret']}"
        for command in (("list",), ("show", "pbx-east"), ("credentials",), ("revoke", made["id"])):
            assert _lagrum(store.root, "sources", *command, *acting, clock=clock) == 0
        assert made["secret"] not in capsys.readouterr().out
        for words, is_told in (((), True), (("--zone", "UTC"), False)):
            assert _lagrum(store.root, "sources", "add", "pbx-y", *words, *acting, clock=clock) == 0
            assert ("local times are read as UTC" in capsys.readouterr().err) is is_told
        assert _lagrum(store.root, "sources", "add", "pbx-x", "--account", "nothing", *acting, clock=clock) == 2
        assert _lagrum(store.root, "sources", "add", "pbx-x", "--zone", "Mars/Base", *acting, clock=clock) == 2
        assert _lagrum(store.root, "sources", "show", "nowhere", *acting, clock=clock) == 1


def test_without_the_service_commands_say_how_to_start_it(
    store: Store, tmp_path: Path, clock: FixedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _lagrum(store.root, "person", "list", "--as", str(_key_path(tmp_path)), clock=clock) == 2
    assert "serve" in capsys.readouterr().err


def test_the_process_serves_until_it_is_told_to_end(store: Store) -> None:
    command = [sys.executable, "-c", "import sys; from api.cli import main; sys.exit(main())"]
    with subprocess.Popen(
        [*command, "--root", str(store.root), "--json", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert httpx.get(f"{told['url']}/v1/health", timeout=PATIENCE_S).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert not Path(told["socket"]).exists()


def test_the_openapi_document_can_be_printed(
    store: Store, clock: FixedClock, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert _lagrum(store.root, "serve", "--print-openapi", clock=clock) == 0
    assert "/v1/cdrs" in json.loads(capsys.readouterr().out)["paths"]
