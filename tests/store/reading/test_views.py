"""Views of the catalog: who reads while parts are merged or written anew sees one state, whichever it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from schemas.retention import floor_until
from store import ScanQuery, Store
from store.correcting.overlay import SUPERSEDED, Correction
from store.partitions import to_us
from store.retention import erasing
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records

EVER = ScanQuery(0, 2**60)
PARTS = "SELECT p.part_id"
ACTORS = ("custodian-1", "custodian-2")


@contextmanager
def between(store: Store, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[None]:
    """Let another process act once, between the first statement that reads parts and the next statement."""
    query, waiting = store.catalog.query, [act]

    def then_act(sql: str, *parameters: Any) -> Any:
        rows = query(sql, *parameters)
        if sql.startswith(PARTS) and waiting:
            waiting.pop()()
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(store.catalog, "query", then_act)
        yield
    assert not waiting


@pytest.fixture
def other(store: Store, clock: FixedClock) -> Iterator[Store]:
    """The same root, opened a second time: what another process sees."""
    with Store.open(store.root, clock=clock) as other:
        yield other


@pytest.fixture
def hidden(store: Store) -> Store:
    """A merged part with twenty records of a withdrawn batch, and a fresh part beside it."""
    wrong = deliver(store, records(20))
    deliver(store, records(10, first_key=100))
    store.compact(everything=True)
    store.withdraw_batch(wrong.batch_id, reason="wrong zone", actors=ACTORS)
    deliver(store, records(10, first_key=200))
    return store


def found(store: Store, query: ScanQuery = EVER) -> int:
    return sum(batch.num_rows for batch in store.scan(query))


def test_what_is_withdrawn_is_not_shown_beside_a_merge(
    hidden: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with between(hidden, monkeypatch, lambda: other.compact(everything=True)):
        assert found(hidden) == 20


def test_what_is_withdrawn_makes_no_duplicate_beside_a_merge(
    hidden: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with between(hidden, monkeypatch, lambda: other.compact(everything=True)):
        assert deliver(hidden, records(20)).accepted == 20
    assert found(hidden) == 40
    assert hidden.verify() == []


def test_what_is_superseded_is_not_shown_beside_an_erasure(
    store: Store, other: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure of one record writes its partition anew, and the corrections go along."""
    batch = deliver(store, records(20)).batch_id
    here = store.partitions()[0].key
    clock.value_us = to_us(floor_until(here.end_date))

    def request(act: str, kind: str, position: int, **fields: str) -> None:
        wanted = Correction(act, kind, here, batch, position, fields, said={"reason": "wrong"})
        store.corrections.request(wanted, {"by": "one"})

    request("00000000000000aa", SUPERSEDED, 3)
    store.corrections.confirm("00000000000000aa", {}, ACTORS)
    request("00000000000000bb", erasing.ERASED, 5, citation="Regulation (EU) 2016/679 Art 17(1)(d)")

    def published(step: str) -> None:
        if step == "published":
            raise InterruptedError

    def erase() -> None:
        with suppress(InterruptedError):
            erasing.erase(other, "00000000000000bb", {}, ACTORS, step=published)

    with between(store, monkeypatch, erase):
        assert found(store) == 19
    assert found(store) == 18


def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the statements by which parts are read."""
    query, seen = store.catalog.query, list[str]()

    def counted(sql: str, *parameters: Any) -> Any:
        if sql.startswith(PARTS):
            seen.append(sql)
        return query(sql, *parameters)

    monkeypatch.setattr(store.catalog, "query", counted)
    return seen


def test_parts_are_read_again_only_after_a_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(store, records(5))
    seen = reads(store, monkeypatch)
    assert [found(store) for _ in range(3)] == [5] * 3 and len(seen) == 1
    deliver(store, records(5, first_key=100))
    del seen[:]
    assert [found(store) for _ in range(3)] == [10] * 3 and len(seen) == 1


def test_what_another_process_does_is_seen_by_the_next_search(store: Store, clock: FixedClock) -> None:
    """A delivery, a withdrawal, a merge and an erasure, each by a process of its own."""
    deliver(store, records(5, days_ago=60))
    new = deliver(store, records(7, first_key=100))
    assert found(store) == 12

    def elsewhere(act: str) -> None:
        code = (
            "import sys\nfrom pathlib import Path\nfrom store import Store\nfrom tests.conftest import FixedClock\n"
            "from tests.store.conftest import deliver\nfrom tests.store.records import records\n"
            f"with Store.open(Path(sys.argv[1]), clock=FixedClock(int(sys.argv[2]))) as store: {act}"
        )
        subprocess.run([sys.executable, "-c", code, str(store.root), str(clock.now_us())], check=True)

    elsewhere("deliver(store, records(3, first_key=200))")
    assert found(store) == 15
    elsewhere(f"store.withdraw_batch({new.batch_id}, reason='wrong zone', actors=('custodian-1', 'custodian-2'))")
    assert found(store) == 8
    elsewhere("store.compact(everything=True)")
    assert found(store) == 8
    ends_us = min(to_us(item.expires_at) for item in store.partitions())
    clock.advance(seconds=(ends_us - clock.now_us()) / 1e6 + 1)
    elsewhere("store.expire()")
    assert found(store) == 3
    left = store.catalog.known("parts", store.catalog.parts)
    assert sorted((part.rows, part.withdrawn) for part in left) == [(3, False), (7, True)]
    assert store.verify() == []


def test_what_is_rolled_back_was_never_known(store: Store) -> None:
    deliver(store, records(5))
    with pytest.raises(ZeroDivisionError), store.catalog.transaction() as cursor:
        cursor.execute("UPDATE parts SET rows = 6")
        assert [part.rows for part in store.catalog.known("parts", store.catalog.parts)] == [6]
        raise ZeroDivisionError
    assert [part.rows for part in store.catalog.known("parts", store.catalog.parts)] == [5]
