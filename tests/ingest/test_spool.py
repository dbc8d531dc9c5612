"""The encrypted queue of the forwarding agent."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from ingest.spool import Held, Spool, as_stream, read_key
from schemas.errors import BusyError, ConfigurationError, IntegrityError, PermissionsError

KEY = bytes(range(32))
DATA = b"46700000001;46700000002\n" * 100_000


def held(spool: Spool, data: bytes, name: str = "46700000001.csv") -> Held:
    return Held(spool.id_of(name), name, len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", KEY, bytes_max=1 << 30)


def put(spool: Spool, data: bytes, name: str = "46700000001.csv") -> Held:
    entry = held(spool, data, name)
    spool.put(entry, io.BytesIO(data))
    return entry


def test_an_entry_comes_back_whole_and_goes_when_it_is_removed(spool: Spool, tmp_path: Path) -> None:
    entry = put(spool, DATA)
    again = Spool(tmp_path / "spool", KEY, bytes_max=1 << 30)
    assert again.ids() == [entry.id] and again.has(entry.id)
    assert again.head(entry.id) == entry
    assert as_stream(again.pieces(entry.id)).read() == DATA
    assert again.size_bytes > len(DATA)
    again.remove(entry.id)
    assert (again.ids(), again.size_bytes) == ([], 0)


def test_nothing_in_it_is_readable(spool: Spool, tmp_path: Path) -> None:
    put(spool, DATA)
    for path in (tmp_path / "spool").iterdir():
        assert "46700000001" not in path.name
        assert b"46700000001" not in path.read_bytes()


@pytest.mark.parametrize("place", [3, 40, 200, 1_500_000, -1])
def test_a_changed_or_missing_byte_is_found(spool: Spool, tmp_path: Path, place: int) -> None:
    entry = put(spool, DATA)
    path = next((tmp_path / "spool").glob("*.spool"))
    whole = path.read_bytes()
    for damaged in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place:][1:], whole[:place]):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            list(spool.pieces(entry.id))


def test_another_key_opens_nothing(spool: Spool, tmp_path: Path) -> None:
    entry = put(spool, DATA)
    with pytest.raises(IntegrityError):
        Spool(tmp_path / "spool", bytes(32), bytes_max=1).head(entry.id)


def test_pieces_of_one_entry_do_not_fit_another(spool: Spool, tmp_path: Path) -> None:
    first, second = put(spool, DATA, "a"), put(spool, DATA, "b")
    folder = tmp_path / "spool"
    (folder / f"{first.id}.spool").write_bytes((folder / f"{second.id}.spool").read_bytes())
    with pytest.raises(IntegrityError):
        spool.head(first.id)


def test_what_does_not_fit_or_is_not_what_was_said_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", KEY, bytes_max=1000)
    with pytest.raises(BusyError):
        put(spool, DATA)
    wrong = held(spool, b"abc")
    with pytest.raises(IntegrityError):
        spool.put(wrong, io.BytesIO(b"abd"))
    assert spool.ids() == [] and list((tmp_path / "spool").iterdir()) == []


def test_what_was_being_written_when_the_machine_stopped_is_cleared(spool: Spool, tmp_path: Path) -> None:
    torn = tmp_path / "spool" / ".x.tmp"
    torn.write_bytes(b"half")
    assert Spool(tmp_path / "spool", KEY, bytes_max=1).ids() == []
    assert not torn.exists()


def test_a_folder_that_others_may_write_to_and_an_open_key_are_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(PermissionsError):
        Spool(tmp_path / "open", KEY, bytes_max=1)
    key_file = tmp_path / "key"
    key = read_key(key_file)
    assert key == read_key(key_file) and len(key) == 32
    key_file.chmod(0o644)
    with pytest.raises(PermissionsError):
        read_key(key_file)
    key_file.chmod(0o600)
    key_file.write_text("short")
    with pytest.raises(ConfigurationError):
        read_key(key_file)
