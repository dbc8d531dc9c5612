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
from tests.api.certificates import Ca
from tests.api.issuer import AUDIENCE, Provider
from tests.api.people.test_bindings import _confirm, _request
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
    ours = Ca(tmp_path, "ours")
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


def test_a_register_is_kept_from_the_command_line_for_persons_and_authorities_alike(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = str(tmp_path / "custodian-1.json"), str(tmp_path / "custodian-2.json")
    for path, name in ((first, "custodian-1"), (second, "custodian-2")):
        write_key_file(Path(path), world.keys[name])
    world.authority("customs-se", fingerprints=("ef" * 32,))
    keys = lagrum(world, capsys, "authority", "key", "police-se", "--output", str(tmp_path / "keys"))
    public = world.enrolment("auditor-1", "auditor").public_key
    asked = {
        "person": ("auditor-1", "--name", "Auditor 1", "--role", "auditor", "--public-key", public),
        "authority": (
            *("police-se", "--name", "Police", "--country", "SE", "--organisation", "SE-P"),
            *("--kind", "law-enforcement", "--certificate", str(tmp_path / "keys" / "police-se.crt")),
            *("--call-back", "+46771140000", "--signing-key", keys["signing_key"]),
        ),
    }
    with running(world.store, Settings(port=0, shutdown_seconds=5)):
        for register, words in asked.items():
            case = words[0]
            assert lagrum(world, capsys, register, "request", *words, "--as", first)["state"] == "pending"
            listed = lagrum(world, capsys, register, "list", "--as", first)
            assert case in {item["id"] for items in listed.values() for item in items}
            lagrum(world, capsys, register, "confirm", case, "--as", first, code=1)
            if register == "authority":  # a person's id stays used
                lagrum(world, capsys, register, "withdraw", case, "--as", second)
                lagrum(world, capsys, register, "request", *words, "--as", first)
            assert lagrum(world, capsys, register, "confirm", case, "--as", second)["state"] == "active"
            gone = (register, "revoke", case, "--reason", "left", "--as", first)
            assert lagrum(world, capsys, *gone)["state"] == "active"
            lagrum(world, capsys, register, "withdraw", case, "--as", first)
            assert lagrum(world, capsys, *gone, "--second", second)["state"] == "revoked"
