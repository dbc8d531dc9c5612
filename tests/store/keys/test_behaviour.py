"""What every keyring does, whatever keeps its root."""

from __future__ import annotations

import threading
from datetime import date, timedelta
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, KeyUnavailableError, NotFoundError
from store.keys import LEASE_S, KeyRef, Keyring
from tests.store.keys.conftest import Place, partition


def test_keys_differ_and_are_the_same_after_reopening(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1), partition(2)])
    keys = [ring.key(partition(1)), ring.key(partition(2))]
    assert len(set(keys)) == 2
    assert {len(key) for key in keys} == {32}
    again = place.open()
    assert [again.key(partition(1)), again.key(partition(2))] == keys
    assert again.refs() == [partition(1), partition(2)]
    assert again.generation == 1


def test_ensuring_twice_keeps_the_key_and_writes_nothing(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    key, before = ring.key(partition(1)), place.all_bytes()
    ring.ensure([partition(1)])
    ring.ensure([])
    assert ring.key(partition(1)) == key
    assert place.all_bytes() == before


def test_730_keys_are_added_in_one_revision(place: Place) -> None:
    ring = place.create()
    revision = ring._state.ring.header.revision
    first = date(2025, 1, 1)
    refs = [KeyRef("partition", (first + timedelta(days=n)).isoformat(), "default", "") for n in range(730)]
    ring.ensure(refs)
    assert ring._state.ring.header.revision == revision + 1
    assert place.open().refs() == refs


def test_a_key_that_was_never_made_is_unavailable(place: Place) -> None:
    ring = place.create()
    assert not ring.has(partition(1))
    with pytest.raises(KeyUnavailableError):
        ring.key(partition(1))
    with pytest.raises(KeyUnavailableError):
        ring.commitment(partition(1))


def test_a_destroyed_key_is_gone_and_the_others_stay(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1), partition(2)])
    kept = ring.key(partition(2))
    ring.key(partition(1))
    assert ring.destroy([partition(1)]) == 2
    for opened in (ring, place.open()):
        assert not opened.has(partition(1))
        with pytest.raises(KeyUnavailableError):
            opened.key(partition(1))
        assert opened.key(partition(2)) == kept
        assert opened.generation == 2


def test_destroying_again_or_what_never_was_changes_nothing(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    assert ring.destroy([partition(1)]) == 2
    before = place.all_bytes()
    assert ring.destroy([partition(1), partition(9)]) == 2
    assert ring.destroy([]) == 2
    assert place.all_bytes() == before


def test_a_key_made_again_after_its_destruction_is_another_key(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    old, commitment = ring.key(partition(1)), ring.commitment(partition(1))
    ring.destroy([partition(1)])
    ring.ensure([partition(1)])
    assert ring.key(partition(1)) != old
    assert ring.commitment(partition(1)) != commitment


def test_rotation_keeps_every_key_under_a_new_root(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1), partition(2)])
    keys = [ring.key(partition(1)), ring.key(partition(2))]
    assert ring.rotate() == 2
    assert [place.open().key(partition(1)), ring.key(partition(2))] == keys
    assert ring._roots.generations(place.root) == [2]


def test_a_commitment_is_stable_and_does_not_contain_the_key(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1), partition(2)])
    commitment = ring.commitment(partition(1))
    assert len(bytes.fromhex(commitment)) == 32
    assert commitment == place.open().commitment(partition(1))
    assert commitment != ring.commitment(partition(2))
    assert ring.key(partition(1)).hex() not in commitment


def test_another_process_sees_new_keys_after_refreshing(place: Place) -> None:
    writer, reader = place.create(), place.open()
    writer.ensure([partition(1)])
    assert not reader.has(partition(1))
    assert reader.refresh()
    assert reader.key(partition(1)) == writer.key(partition(1))
    assert not reader.refresh()


def test_a_key_destroyed_by_another_process_leaves_the_memory_at_refresh(place: Place) -> None:
    writer = place.create()
    writer.ensure([partition(1), partition(2)])
    reader = place.open()
    held = reader._state
    reader.key(partition(1))
    writer.destroy([partition(1)])
    assert reader.refresh()
    assert held.unwrapped == {}
    with pytest.raises(KeyUnavailableError):
        reader.key(partition(1))
    assert reader.key(partition(2)) == writer.key(partition(2))


def test_a_lease_that_is_over_is_renewed_before_a_key_is_given(place: Place) -> None:
    writer = place.create()
    writer.ensure([partition(1)])
    reader = place.open()
    reader.key(partition(1))
    writer.destroy([partition(1)])
    place.elapsed.value_s += LEASE_S
    reader.key(partition(1))  # the lease is 60 s, not less
    place.elapsed.value_s += 0.001
    with pytest.raises(KeyUnavailableError):
        reader.key(partition(1))
    assert not reader.has(partition(1))
    assert reader.refs() == []


def test_a_keyring_that_cannot_be_read_when_the_lease_is_over_gives_no_key(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    ring.key(partition(1))
    (place.root / "keyring").rename(place.root / "away")
    place.elapsed.value_s += LEASE_S + 1
    for _ in range(2):
        with pytest.raises(Exception, match="keyring"):
            ring.key(partition(1))
        assert ring._state.unwrapped == {}
    (place.root / "away").rename(place.root / "keyring")
    ring.key(partition(1))


def test_ensuring_does_not_trust_a_key_that_another_process_destroyed(place: Place) -> None:
    writer = place.create()
    writer.ensure([partition(1)])
    reader = place.open()
    old = reader.key(partition(1))
    writer.destroy([partition(1)])
    reader.ensure([partition(1)])  # well within the lease
    assert reader.key(partition(1)) != old
    assert place.open().has(partition(1))


def test_threads_that_ensure_read_and_destroy_at_once_end_in_one_truth(place: Place) -> None:
    ring, other = place.create(), place.open()
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            handle = (ring, other)[worker % 2]
            for n in range(4):
                mine, doomed = KeyRef("work", "", f"{worker}", f"{n}"), KeyRef("doomed", "", f"{worker}", f"{n}")
                handle.ensure([mine, doomed])
                key = handle.key(mine)
                handle.destroy([doomed])
                assert handle.key(mine) == key
                assert not handle.has(doomed)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(place.open().refs()) == 16
    assert place.open().generation == 17


def test_a_second_keyring_in_the_same_place_is_refused(place: Place) -> None:
    place.create()
    with pytest.raises(ConfigurationError):
        place.create()


def test_opening_where_there_is_none_says_so(place: Place) -> None:
    with pytest.raises(NotFoundError):
        place.open()


def test_every_file_is_for_its_owner_only(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    ring.destroy([partition(1)])
    for path in place.base.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o177 == 0, path.name


def test_no_key_is_in_any_file_and_no_error_or_repr_shows_one(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    key, stored = ring.key(partition(1)), place.all_bytes()
    for form in (key, key.hex().encode()):
        assert form not in stored
    assert repr(key)[2:-1] not in repr(ring._state)
    assert b"partition" not in stored


@pytest.mark.parametrize(
    "parts",
    [("",), ("a/b",), ("a", "2026-13-01"), ("a", "20260101"), ("a", "", "b\n"), ("a", "", "", "x" * 201), ("a", "x")],
)
def test_a_reference_that_cannot_be_written_is_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        KeyRef(*parts)


def test_a_reference_reads_back_from_its_text() -> None:
    for ref in (partition(1), KeyRef("audit"), KeyRef("open", "", "ä b", "tenant=7")):
        assert KeyRef.parse(ref.text) == ref
        assert str(ref) == ref.text
    for text in ("audit", "a/b", "a////"):
        with pytest.raises(ConfigurationError):
            KeyRef.parse(text)


def test_a_replica_inside_the_store_is_refused(plain_place: Place) -> None:
    ring = plain_place.create()
    for path in (plain_place.root, plain_place.root / "copy", plain_place.base):
        with pytest.raises(ConfigurationError):
            ring.add_replica(Path(path))
    assert isinstance(ring, Keyring)
