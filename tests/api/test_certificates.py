"""What certificates need, the same on every Python: whom the service lets in by one, and whom our clients believe."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from api.client import Client
from api.people.bootstrap import create_custodians
from api.people.signing import read_key_file
from api.settings import Settings
from schemas.errors import BusyError, ConfigurationError
from store import Store, tls
from tests.api.certificates import Ca, client_context
from tests.api.world import CSV, running
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S

Pair = tuple[Path, Path]


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        create_custodians(made, tmp_path / "keys")
        yield made


@pytest.fixture
def bare(tmp_path: Path) -> Ca:
    """An authority without key usage, whose certificates do not name its key: Python 3.13's contexts refuse them."""
    return Ca(tmp_path, "bare", is_bare=True)


def _settings(ca: Ca) -> Settings:
    certificate, key, _ = ca.issue("localhost")
    return Settings(
        port=0, tls_certificate=str(certificate), tls_key=str(key), tls_client_ca=str(ca.path), shutdown_seconds=5
    )


def test_a_client_certificate_needs_a_signature_its_time_and_its_purpose(
    store: Store, tmp_path: Path, bare: Ca
) -> None:
    switch = bare.issue("switch-1", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    plain = bare.issue("switch-2")
    refused = {
        "for servers only": bare.issue("switch-3", usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "over": bare.issue("switch-4", days=-1),
        "another authority's of the same name": Ca(_folder(tmp_path), "bare", is_bare=True).issue("switch-1"),
    }
    with running(store, _settings(bare)) as listening:
        with Client.local(store.root, store.clock) as client:
            client.log_in(read_key_file(tmp_path / "keys" / "custodian-1.key.json"))
            client.call("PUT", "/v1/sources/pbx-east", json={})
            for *_, shown in (switch, plain, *refused.values()):
                fingerprint = shown.fingerprint(hashes.SHA256()).hex()
                client.post("/v1/credentials", {"sources": ["pbx-east"], "fingerprint": fingerprint})

        def push(pair: Pair) -> int:
            with httpx.Client(verify=client_context(bare.path, pair), timeout=PATIENCE_S) as caller:
                url = f"https://localhost:{listening.port}/v1/cdrs"
                return caller.post(url, params={"source": "pbx-east", "format": "csv"}, content=CSV).status_code

        assert [push(pair[:2]) for pair in (switch, plain)] == [202, 202]
        for why, (certificate, key, _) in refused.items():
            with pytest.raises(httpx.HTTPError):
                pytest.fail(f"{why}: {push((certificate, key))}")


def test_a_server_is_believed_for_its_chain_and_name_and_not_for_form(
    store: Store, tmp_path: Path, bare: Ca, clock: FixedClock
) -> None:
    settings = _settings(bare)
    key = read_key_file(tmp_path / "keys" / "custodian-1.key.json")
    with running(store, settings) as listening:
        here, elsewhere = f"https://localhost:{listening.port}", f"https://127.0.0.1:{listening.port}"
        for ca in (bare.path, Path(settings.tls_certificate)):  # the root, or the server's own as it stands
            with Client.remote(here, clock, ca=ca) as client:
                assert client.log_in(key)["person"] == "custodian-1"
        other = Ca(_folder(tmp_path), "bare", is_bare=True).path
        for url, ca in ((here, other), (here, None), (elsewhere, bare.path)):
            with Client.remote(url, clock, ca=ca) as client, pytest.raises((BusyError, ConfigurationError)):
                client.log_in(key)


def test_a_client_verifies_and_asks_for_the_same_on_every_version(bare: Ca) -> None:
    for ca in (bare.path, None):
        made = tls.client_context(ca)
        assert (made.verify_mode, made.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert made.verify_flags == ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    with pytest.raises(ssl.SSLError):
        tls.client_context(Path(__file__))


def _folder(tmp_path: Path) -> Path:
    made = tmp_path / "other"
    made.mkdir(exist_ok=True)
    return made
