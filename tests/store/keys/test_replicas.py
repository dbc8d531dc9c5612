"""Registered replicas: written before anything is acknowledged, brought up when they return."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schemas.errors import BusyError, ConfigurationError, IntegrityError, NotFoundError
from store.keys import Keyring, keyring_copies, layout
from tests.store.keys.conftest import STORE_ID, Place, partition


def away(replica: Path) -> Path:
    hidden = replica.with_name(replica.name + "-away")
    replica.rename(hidden)
    return hidden


def held_by(place: Place, replica: Path) -> set[str]:
    return set(keyring_copies.load(replica, place.provider.make())[0].keys)


def test_every_replica_holds_a_key_before_ensure_returns(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    for replica in place.replicas:
        ring_there, _ = keyring_copies.load(replica, place.provider.make())
        assert ring_there.unwrap(partition(1).text) == ring.key(partition(1))


@pytest.mark.parametrize("mounted", [False, True], ids=["missing", "empty directory"])
def test_with_a_replica_away_nothing_is_acknowledged_and_reading_goes_on(place: Place, mounted: bool) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    hidden = away(place.replicas[1])
    if mounted:
        place.replicas[1].mkdir()  # the mount point of a disk that is not mounted
    for refs in ([partition(2)], [partition(1), partition(3)]):
        with pytest.raises(BusyError) as caught:
            ring.ensure(refs)
        assert "mount" in str(caught.value.hint)
    with pytest.raises(BusyError):
        ring.destroy([partition(1)])
    ring.ensure([partition(1)])  # nothing new is needed
    reopened = place.open()
    assert list(reopened.lagging) == [place.replicas[1]]
    assert reopened.refs() == [partition(1)]
    assert reopened.key(partition(1)) == ring.key(partition(1))
    with pytest.raises(BusyError):
        reopened.ensure([partition(1)])  # it does not know what the replica holds
    if mounted:
        assert list(place.replicas[1].iterdir()) == []
        place.replicas[1].rmdir()
    hidden.rename(place.replicas[1])
    for handle in (ring, reopened):
        handle.ensure([partition(2)])
    assert list(reopened.lagging) == []
    assert held_by(place, place.replicas[1]) == {partition(1).text, partition(2).text}


def test_a_stale_replica_is_brought_up_on_opening(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1), partition(2)])
    stale = place.base / "stale"
    shutil.copytree(place.replicas[0], stale)
    ring.destroy([partition(1)])
    ring.ensure([partition(3)])
    shutil.rmtree(place.replicas[0])
    stale.rename(place.replicas[0])
    place.open()
    assert held_by(place, place.replicas[0]) == {partition(2).text, partition(3).text}
    assert [path.name for path in layout.ring_dir(place.replicas[0]).glob("*.keyring")] == ["000002.keyring"]
    assert len(list(layout.keys_dir(place.replicas[0]).iterdir())) == (0 if place.provider.name == "module" else 1)


def test_a_damaged_replica_is_healed_on_opening(plain_place: Place) -> None:
    ring = plain_place.create()
    ring.ensure([partition(1)])
    for path in (layout.ring_path, layout.root_path):
        target = path(plain_place.replicas[0], 1)
        data = target.read_bytes()
        target.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        plain_place.open()
        assert target.read_bytes() == data


def test_a_store_restored_from_an_old_backup_takes_the_newest_keyring_over(plain_place: Place) -> None:
    place = plain_place
    ring = place.create()
    ring.ensure([partition(1), partition(2)])
    backup = place.base.parent / "backup"
    shutil.copytree(place.root, backup)
    ring.destroy([partition(1)])
    ring.ensure([partition(3)])
    shutil.rmtree(place.root)
    shutil.copytree(backup, place.root)
    again = place.open()
    assert again.refs() == [partition(2), partition(3)]
    assert not layout.root_path(place.root, 1).exists()


def test_a_replica_that_claims_a_newer_keyring_and_cannot_show_it_stops_changes_and_is_left_alone(
    plain_place: Place,
) -> None:
    ring = plain_place.create()
    ring.ensure([partition(1)])
    path = layout.ring_path(plain_place.replicas[0], 1)
    forged = path.read_bytes().replace(b'"revision":2', b'"revision":9')
    path.write_bytes(forged)
    again = plain_place.open()
    assert again.has(partition(1))
    assert again.lagging == (plain_place.replicas[0],)
    with pytest.raises(BusyError):
        again.ensure([partition(2)])
    assert path.read_bytes() == forged
    assert again.remove_replica(plain_place.replicas[0])
    again.ensure([partition(2)])


def test_a_lost_store_is_restored_from_a_replica(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1), partition(2)])
    ring.destroy([partition(1)])
    key = ring.key(partition(2))
    shutil.rmtree(place.root)
    with pytest.raises(NotFoundError):
        place.open()
    again = Keyring.restore(place.root, place.replicas[1], roots=place.provider.make())
    assert again.key(partition(2)) == key
    assert again.refs() == [partition(2)]
    assert place.open().lagging == ()


def test_restoring_an_older_keyring_over_a_newer_or_another_stores_is_refused(plain_place: Place) -> None:
    place = plain_place
    ring = place.create()
    ring.ensure([partition(1)])
    old = place.base / "old"
    shutil.copytree(place.replicas[0], old)
    ring.destroy([partition(1)])
    with pytest.raises(ConfigurationError, match="newer"):
        Keyring.restore(place.root, old)
    foreign = place.base / "foreign"
    Keyring.create(foreign, store_id="another")
    with pytest.raises(ConfigurationError, match="another store"):
        Keyring.restore(place.root, foreign)
    data = layout.ring_path(place.replicas[0], 2).read_bytes()
    layout.ring_path(place.replicas[0], 2).write_bytes(data[:-1])
    with pytest.raises(IntegrityError):
        Keyring.restore(place.root, place.replicas[0])
    assert place.open().refs() == []


def test_a_replica_registered_later_holds_everything_at_once(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    later = place.base / "later"
    ring.add_replica(later)
    ring.add_replica(later)
    assert place.open().replicas == (*place.replicas, later)
    assert held_by(place, later) == {partition(1).text}


def test_a_replaced_disk_is_registered_again(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    shutil.rmtree(place.replicas[0])
    with pytest.raises(BusyError):
        ring.ensure([partition(2)])
    ring.add_replica(place.replicas[0])
    ring.ensure([partition(2)])
    assert held_by(place, place.replicas[0]) == {partition(1).text, partition(2).text}


def test_another_stores_replica_is_refused(plain_place: Place) -> None:
    ring = plain_place.create()
    other, theirs = plain_place.base / "other", plain_place.base / "theirs"
    Keyring.create(other, store_id="another", replicas=[theirs])
    before = plain_place.all_bytes()
    for path in (theirs, other):
        with pytest.raises(ConfigurationError):
            ring.add_replica(path)
    assert plain_place.all_bytes() == before


def test_a_removed_replica_is_erased_and_a_dead_one_is_reported(place: Place) -> None:
    ring = place.create()
    ring.ensure([partition(1)])
    assert ring.remove_replica(place.replicas[0])
    assert [path for path in place.replicas[0].rglob("*") if path.is_file()] == []
    away(place.replicas[1])
    assert not ring.remove_replica(place.replicas[1])
    ring.ensure([partition(2)])
    assert place.open().replicas == ()
    assert place.open().refs() == [partition(1), partition(2)]
    with pytest.raises(NotFoundError):
        ring.remove_replica(place.replicas[1])


def test_a_destruction_that_a_replica_stopped_is_finished_when_it_is_removed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = place.create()
    ring.ensure([partition(1), partition(2)])
    copy = type(ring._roots).copy

    def goes_away(self: object, home: Path, generation: int, replica: Path, *, anew: bool = False) -> None:
        if generation == 2 and replica == place.replicas[1] and replica.exists():
            away(replica)
        if replica.exists():
            copy(self, home, generation, replica, anew=anew)  # type: ignore[arg-type]
        else:
            raise FileNotFoundError

    monkeypatch.setattr(type(ring._roots), "copy", goes_away)
    with pytest.raises(BusyError):
        ring.destroy([partition(1)])
    assert ring.has(partition(1))
    assert place.open().has(partition(1))
    assert not ring.remove_replica(place.replicas[1])
    assert ring.refs() == [partition(2)]
    assert place.open().generation == 2
    assert ring.store_id == STORE_ID
