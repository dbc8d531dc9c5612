"""What the book of credentials knows while somebody revokes one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.people import credentials
from api.people.credentials import CredentialBook, Scope
from ingest import sources
from ingest.source import SourceConfig
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
