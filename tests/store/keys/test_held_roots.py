"""A store whose root key lives in a real PKCS#11 module, or in a real key service."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import BusyError, ConfigurationError, IntegrityError, LagrumError
from store import ScanQuery, Store
from store.keys import ModulePlace, Place, TransitPlace, roots_of
from store.keys.modules import HeldRoots
from store.keys.roots import Root
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.keys import key_modules
from tests.store.records import records

EVER = ScanQuery(0, 2**60)


def softhsm() -> Place:
    library = key_modules.softhsm_library()
    token = key_modules.new_token()
    return ModulePlace(str(library), token.label, str(token.pin_file))


def openbao() -> Place:
    server = key_modules.openbao()
    return TransitPlace(server.url, server.new_mount(), str(server.token_file))


@pytest.fixture(params=[softhsm, openbao], ids=lambda make: make.__name__)
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.param()
    return made


def make(tmp_path: Path, clock: FixedClock, place: Place) -> Store:
    return Store.create(tmp_path / "root", clock=clock, roots=roots_of(place), replicas=[tmp_path / "replica"])


def count(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "parts").rglob("*"))
        if path.is_file()
    }


def test_a_store_opens_again_and_no_file_holds_its_root(tmp_path: Path, clock: FixedClock, place: Place) -> None:
    with make(tmp_path, clock, place) as store:
        deliver(store, records(50))
    with Store.open(tmp_path / "root", clock=clock) as store:
        assert count(store) == 50
        assert store.verify() == []
    assert list((tmp_path / "root" / "keys").glob("*.key")) == list((tmp_path / "replica" / "keys").glob("*.key")) == []
    with pytest.raises(ConfigurationError, match="passphrase"):
        Store.open(tmp_path / "root", clock=clock, passphrase=b"unwanted")


def test_what_is_erased_stays_erased_for_whoever_kept_everything(
    tmp_path: Path, clock: FixedClock, place: Place
) -> None:
    with make(tmp_path, clock, place) as store:
        deliver(store, records(50))
        shutil.copytree(tmp_path / "root", tmp_path / "kept")  # old data with the old keyring, and no key file missing
        with Store.open(tmp_path / "kept", clock=clock) as kept:
            assert count(kept) == 50
        clock.advance(days=740)
        assert store.expire().records == 50
    with pytest.raises(IntegrityError):
        Store.open(tmp_path / "kept", clock=clock)


def test_a_new_root_key_rewrites_no_part(tmp_path: Path, clock: FixedClock, place: Place) -> None:
    with make(tmp_path, clock, place) as store:
        deliver(store, records(50))
        before = digests(store.root)
        generation = store.keyring.generation
        store.keyring.rotate()
        assert (store.keyring.generation, digests(store.root)) == (generation + 1, before)
        assert count(store) == 50


def test_a_wrong_way_in_is_refused_clearly(tmp_path: Path, clock: FixedClock, place: Place) -> None:
    make(tmp_path, clock, place).close()
    secret = Path(place.pin_file if isinstance(place, ModulePlace) else place.token_file)
    right = secret.read_text()
    try:
        secret.write_text("wrong\n")
        with pytest.raises(ConfigurationError, match="refuses the"):
            Store.open(tmp_path / "root", clock=clock)
        secret.chmod(0o644)
        with pytest.raises(LagrumError):
            Store.open(tmp_path / "root", clock=clock)
    finally:
        secret.chmod(0o600)
        secret.write_text(right)
    Store.open(tmp_path / "root", clock=clock).close()


def test_a_changed_wrap_is_refused(place: Place, tmp_path: Path) -> None:
    roots = roots_of(place)
    root = roots.create(_home(tmp_path), "abcd", 1)
    blob = root.wrap(b"s" * 32, b"context")
    assert root.unwrap(blob, b"context") == b"s" * 32
    for wrong, aad in (
        (blob, b"another"),
        (blob[:-2] + bytes([blob[-2] ^ 1, blob[-1]]), b"context"),
        (b"", b"context"),
    ):
        with pytest.raises(LagrumError):
            root.unwrap(wrong, aad)
    roots.destroy(tmp_path, 1)
    with pytest.raises(LagrumError):
        root.unwrap(blob, b"context")


def test_a_service_that_is_down_is_an_error_that_says_so(tmp_path: Path, clock: FixedClock) -> None:
    server = key_modules.openbao()
    place = TransitPlace(server.url, server.new_mount(), str(server.token_file))
    with make(tmp_path, clock, place) as store:
        deliver(store, records(50))
        provider = tmp_path / "root" / "keys" / "provider.json"
        right = provider.read_bytes()
        provider.write_bytes(right.replace(server.url.encode(), b"http://127.0.0.1:9"))
        with pytest.raises(BusyError, match="key service cannot be reached"):
            Store.open(tmp_path / "root", clock=clock)
        provider.write_bytes(right)
    with Store.open(tmp_path / "root", clock=clock) as store:
        assert count(store) == 50


def test_a_mistyped_place_of_the_root_key_leaves_nothing_behind(
    tmp_path: Path, clock: FixedClock, place: Place
) -> None:
    changed = {"token": "nowhere"} if isinstance(place, ModulePlace) else {"mount": "nowhere"}
    with pytest.raises(LagrumError):
        make(tmp_path, clock, replace(place, **changed))
    assert list(tmp_path.iterdir()) == []
    make(tmp_path, clock, place).close()
    roots = roots_of(place)
    assert isinstance(roots, HeldRoots)
    assert len(roots._names("")) == 1  # that of the store; what was tried is gone


@pytest.mark.parametrize("right", ["wrap", "unwrap"])
def test_where_root_keys_are_made_but_not_used_nothing_is_left_behind(
    tmp_path: Path, clock: FixedClock, place: Place, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy may give the right to make keys, and forget that to encrypt or decrypt with them."""
    roots = roots_of(place)
    assert isinstance(roots, HeldRoots)
    find = roots._root

    def without_the_right(name: str) -> Root:
        root = find(name)

        def refused(*_: bytes) -> bytes:
            raise ConfigurationError("the service refuses the request")

        monkeypatch.setattr(type(root), right, refused)
        return root

    monkeypatch.setattr(roots, "_root", without_the_right)
    with pytest.raises(ConfigurationError, match="refuses"):
        Store.create(tmp_path / "root", clock=clock, roots=roots)
    assert list(tmp_path.iterdir()) == []
    assert roots._names("") == []


def test_a_service_beyond_this_machine_is_not_asked_in_the_clear() -> None:
    with pytest.raises(ConfigurationError, match="https"):
        roots_of(TransitPlace("http://keys.example.net:8200"))


def test_a_changed_provider_file_is_refused(tmp_path: Path, clock: FixedClock, place: Place) -> None:
    make(tmp_path, clock, place).close()
    provider = tmp_path / "root" / "keys" / "provider.json"
    for content in (b"", b"{}", provider.read_bytes().replace(b"provider-1", b"provider-2"), b"[1]"):
        provider.write_bytes(content)
        with pytest.raises(IntegrityError, match="provider"):
            Store.open(tmp_path / "root", clock=clock)


def _home(folder: Path) -> Path:
    (folder / "keys").mkdir()
    return folder
