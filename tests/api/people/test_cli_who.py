"""The command line as a person without a key file: a token or a client certificate asks, and signs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from api import cli
from api.people.signing import write_key_file
from api.settings import Settings
from tests.api.issuer import AUDIENCE, Provider
from tests.api.people.test_bindings import _confirm, _request
from tests.api.test_server import _Ca
from tests.api.world import World, running

NOW = 1_795_348_800.0


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


def lagrum(world: World, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    done = cli.main(["--root", str(world.store.root), *words, "--json"], clock=world.clock)
    out, err = capsys.readouterr()
    assert done == code, err
    return json.loads(out) if code == 0 else err


def private(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


def test_a_token_reads_and_signs_nothing(
    world: World, provider: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _confirm(world, _request(world, "custodian-1", "s-1", provider.issuer))
    token = private(tmp_path / "token", provider.token(NOW).encode() + b"\n")
    settings = Settings(port=0, shutdown_seconds=5, oidc_issuer=provider.issuer, oidc_audience=AUDIENCE)
    with running(world.store, settings):
        people = lagrum(world, capsys, "person", "list", "--token-file", token)["persons"]
        assert {item["id"] for item in people} == {"custodian-1", "custodian-2"}
        revoke = ("person", "revoke", "custodian-2", "--reason", "left", "--token-file", token)
        assert "own key" in lagrum(world, capsys, *revoke, code=1)
        assert "who acts" in lagrum(world, capsys, "person", "list", code=2)
        assert "https" in lagrum(world, capsys, "person", "list", "--tls-client", token, code=2)
        other = private(tmp_path / "other", b"a.b.c")
        lagrum(world, capsys, "person", "list", "--token-file", other, code=1)
        empty = private(tmp_path / "empty", b"\n")
        assert "no token" in lagrum(world, capsys, "person", "list", "--token-file", empty, code=2)
        Path(token).chmod(0o644)
        lagrum(world, capsys, "person", "list", "--token-file", token, code=2)
    assert not any(entry.kind == "person.revoke.request" for entry in world.store.audit.entries())


def test_a_client_certificate_reads_and_beside_a_key_it_is_the_persons_own(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = _Ca(tmp_path, "ours")
    certificate, key, _ = ours.issue("localhost")
    card, card_key, shown = ours.issue("card-1")
    _confirm(world, _request(world, "custodian-1", shown.fingerprint(hashes.SHA256()).hex(), None))
    pem = private(tmp_path / "card.pem", card.read_bytes() + card_key.read_bytes())
    own = str(tmp_path / "custodian-1.json")
    second = str(tmp_path / "custodian-2.json")
    write_key_file(Path(own), world.keys["custodian-1"])
    write_key_file(Path(second), world.keys["custodian-2"])
    settings = Settings(
        port=0, tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(ours.path), shutdown_seconds=5
    )
    with running(world.store, settings) as listening:
        way = ("--url", f"https://localhost:{listening.port}", "--ca", str(ours.path), "--tls-client", pem)
        assert lagrum(world, capsys, "person", "list", *way)["persons"]
        revoke = ("person", "revoke", "custodian-2", "--reason", "left", *way)
        assert "own key" in lagrum(world, capsys, *revoke, code=1)
        assert lagrum(world, capsys, "person", "list", *way, "--as", own)["persons"]
        lagrum(world, capsys, "person", "list", *way, "--as", second, code=1)
