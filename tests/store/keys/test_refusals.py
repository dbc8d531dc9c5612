"""What the keyring refuses: other people's files, wrong passphrases, changed bytes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, IntegrityError, LagrumError, PermissionsError
from store.keys import FileRoots, Keyring, layout
from store.keys.roots import Passphrase
from store.keys.sealing import WRAPS_MAX
from tests.store.keys import providers
from tests.store.keys.conftest import STORE_ID, Place, partition


def secret_files(root: Path) -> list[Path]:
    return [layout.root_path(root, 1), layout.ring_path(root, 1), layout.pointer_path(root)]


@pytest.fixture
def lone(tmp_path: Path) -> Path:
    """A store without replicas, so that nothing can heal what a test breaks."""
    root = tmp_path / "store"
    Keyring.create(root, store_id=STORE_ID).ensure([partition(1)])
    return root


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700])
def test_files_that_others_may_use_are_refused(lone: Path, which: int, mode: int) -> None:
    path = secret_files(lone)[which]
    path.chmod(mode)
    with pytest.raises(PermissionsError, match=path.name):
        Keyring.open(lone)
    path.chmod(0o600)
    Keyring.open(lone)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("which", [0, 1, 2])
def test_files_of_another_user_are_refused(lone: Path, which: int) -> None:
    os.chown(secret_files(lone)[which], 12345, -1)
    with pytest.raises(PermissionsError, match="another user"):
        Keyring.open(lone)


@pytest.mark.parametrize("name", ["keys", "keyring"])
def test_directories_that_others_may_write_to_are_refused(lone: Path, name: str) -> None:
    (lone / name).chmod(0o770)
    with pytest.raises(PermissionsError):
        Keyring.open(lone)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_any_flipped_bit_is_refused_and_nothing_is_erased(lone: Path, which: int) -> None:
    path = secret_files(lone)[which]
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(LagrumError):
            Keyring.open(lone)
    path.write_bytes(data)
    assert Keyring.open(lone).has(partition(1))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_truncated_empty_and_missing_files_are_refused(lone: Path, which: int) -> None:
    path = secret_files(lone)[which]
    data = path.read_bytes()
    for cut in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(IntegrityError):
            Keyring.open(lone)
    path.unlink()
    with pytest.raises(LagrumError) as caught:
        Keyring.open(lone)
    assert caught.value.hint


def test_files_of_another_store_are_refused(lone: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Keyring.create(other, store_id="another")
    for which in (0, 1):
        mine, theirs = secret_files(lone)[which], secret_files(other)[which]
        data = mine.read_bytes()
        mine.write_bytes(theirs.read_bytes())
        with pytest.raises(IntegrityError):
            Keyring.open(lone)
        mine.write_bytes(data)


def test_an_older_revision_beside_a_running_keyring_is_not_believed(lone: Path) -> None:
    ring = Keyring.open(lone)
    path = secret_files(lone)[1]
    old = path.read_bytes()
    ring.ensure([partition(2)])
    path.write_bytes(old)
    ring.refresh()
    assert ring.has(partition(2))


def test_a_passphrase_opens_and_nothing_else_does(tmp_path: Path) -> None:
    root = tmp_path / "store"
    ring = Keyring.create(root, store_id=STORE_ID, passphrase=providers.PASSPHRASE)
    ring.ensure([partition(1)])
    key = ring.key(partition(1))
    assert Keyring.open(root, providers.PASSPHRASE).key(partition(1)) == key
    for wrong in (None, b"wrong", providers.PASSPHRASE + b" ", b""):
        with pytest.raises(ConfigurationError, match="passphrase"):
            Keyring.open(root, wrong)


def test_the_next_root_is_wrapped_by_the_same_passphrase_without_asking(tmp_path: Path) -> None:
    root = tmp_path / "store"
    ring = Keyring.create(root, store_id=STORE_ID, passphrase=providers.PASSPHRASE, replicas=[tmp_path / "replica"])
    ring.ensure([partition(1), partition(2)])
    reader = Keyring.open(root, providers.PASSPHRASE)
    ring.destroy([partition(1)])
    assert reader.refresh()
    assert reader.refs() == [partition(2)]
    assert reader.destroy([partition(2)]) == 3
    assert b"argon2id" in layout.root_path(tmp_path / "replica", 3).read_bytes()
    with pytest.raises(ConfigurationError):
        Keyring.open(root)
    assert Keyring.open(root, providers.PASSPHRASE).refs() == []


def test_a_passphrase_for_a_plain_root_is_refused(lone: Path) -> None:
    with pytest.raises(ConfigurationError, match="not wrapped"):
        Keyring.open(lone, b"something")


def test_the_passphrase_does_not_stay_in_memory_or_in_a_file(plain_place: Place) -> None:
    place = Place(plain_place.base, providers.passphrase())
    roots = place.provider.make()
    Keyring.create(place.root, store_id=STORE_ID, roots=roots)
    assert isinstance(roots, FileRoots)
    assert providers.PASSPHRASE not in vars(roots).values()
    assert providers.PASSPHRASE not in place.all_bytes()


@pytest.mark.parametrize(
    ("name", "value"), [("memory_kib", 2**30), ("iterations", 10**6), ("lanes", 0), ("salt", "00")]
)
def test_absurd_argon2_parameters_are_refused_before_they_are_tried(name: str, value: object) -> None:
    good = Passphrase(bytes(16)).as_dict()
    assert Passphrase.from_dict(good) == Passphrase(bytes(16))
    with pytest.raises(ValueError, match="bounds"):
        Passphrase.from_dict(good | {name: value})


def test_a_keyring_that_spent_its_nonces_adds_no_key_until_it_is_rotated(lone: Path) -> None:
    ring = Keyring.open(lone)
    ring._write(replace(ring._state.ring, wraps=WRAPS_MAX))
    ring = Keyring.open(lone)
    with pytest.raises(LagrumError) as caught:
        ring.ensure([partition(2)])
    assert "rotate" in str(caught.value.hint)
    ring.rotate()
    ring.ensure([partition(2)])
    assert ring.has(partition(1))


@pytest.mark.parametrize("bound", ["reference", "store", "generation"])
def test_a_wrapped_key_is_bound_to_its_reference_store_and_generation(lone: Path, bound: str) -> None:
    opened = Keyring.open(lone)
    opened.ensure([partition(2)])
    ring = opened._state.ring
    one, two = partition(1).text, partition(2).text
    moved = {
        "reference": replace(ring, keys={one: ring.keys[two]}),
        "store": replace(ring, header=replace(ring.header, store_id="another")),
        "generation": replace(ring, header=replace(ring.header, generation=2)),
    }[bound]
    assert ring.unwrap(one) == opened.key(partition(1))
    with pytest.raises(IntegrityError):
        moved.unwrap(one)
