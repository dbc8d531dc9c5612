"""What the book of credentials knows while somebody revokes one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.people import client_certificates, credentials
from api.people.credentials import CredentialBook, Scope
from ingest import sources
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, NotFoundError, ProcedureError
from store import Store
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        sources.register(made, SourceConfig("pbx-east", country="SE"), actor="test")
        yield made


def test_a_look_that_began_before_a_revocation_does_not_bring_the_credential_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, secret = credentials.create(store, "test", scope=Scope.INGEST, sources=["pbx-east"])
    book, read, go_on = CredentialBook(store), threading.Event(), threading.Event()
    list_all = credentials.list_all

    def slow(of: Store) -> Any:
        found = list_all(of)
        if threading.current_thread() is early:
            read.set()
            go_on.wait(PATIENCE_S)
        return found

    monkeypatch.setattr(credentials, "list_all", slow)
    early = threading.Thread(target=book.refresh)
    early.start()
    assert read.wait(PATIENCE_S)
    credentials.revoke(store, "test", made.credential_id)
    late = threading.Thread(target=book.refresh)  # as the route of the revocation does
    late.start()
    late.join(0.2)
    go_on.set()
    early.join()
    late.join()
    assert book.check_secret(made.credential_id, str(secret)) is None


INGEST: dict[str, Any] = {"scope": Scope.INGEST, "sources": ["pbx-east"]}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (INGEST | {"sources": []}, "bound to sources"),
        (INGEST | {"sources": ["pbx-east"] * 101}, "bound to sources"),
        (INGEST | {"scope": Scope.METRICS}, "bound to sources"),
        (INGEST | {"fingerprint": "ab" * 32, "subject": "CN=pbx"}, "not by both"),
        (INGEST | {"fingerprint": "AB" * 32}, "64 hex digits"),
        (INGEST | {"fingerprint": "ab" * 31}, "64 hex digits"),
        (INGEST | {"subject": "pbx"}, "RFC 4514"),
        (INGEST | {"subject": "CN=" + "x" * 500}, "RFC 4514"),
    ],
)
def test_a_credential_without_its_form_is_not_made(store: Store, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        credentials.create(store, "test", **wrong)
    assert credentials.list_all(store) == []


def test_a_credential_is_revoked_once_and_by_its_id(store: Store) -> None:
    made, _ = credentials.create(store, "test", **INGEST)
    credentials.revoke(store, "test", made.credential_id)
    with pytest.raises(ProcedureError, match="already"):
        credentials.revoke(store, "test", made.credential_id)
    for unknown in ("c-" + "a" * 16, "nonsense"):
        with pytest.raises(NotFoundError):
            credentials.revoke(store, "test", unknown)


def test_a_certificate_that_is_another_owners_or_has_no_form_is_not_claimed(store: Store) -> None:
    credentials.create(store, "test", fingerprint="ab" * 32, **INGEST)
    credentials.create(store, "test", fingerprint="ab" * 32, **INGEST)  # a switch's, under another name
    with pytest.raises(ProcedureError, match="another owner"):
        client_certificates.claims(store, "person:auditor-1", ["ab" * 32])
    with pytest.raises(ConfigurationError, match="64 hex digits"):
        client_certificates.claims(store, "person:auditor-1", ["ab" * 32 + "\n"])
    assert client_certificates.owner_of(store, "cd" * 32) is None
