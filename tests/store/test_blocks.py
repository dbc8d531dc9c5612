"""Block files: what was written comes back, and nothing else does."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import IntegrityError
from store import blocks
from store.binding import FileBinding
from store.partitions import PartitionKey

KEY = bytes(range(32))
PARTITION = PartitionKey(date(2026, 11, 1), "standard")
BINDING = FileBinding("ab" * 16, PARTITION, "cd" * 16, "index")


def _write(folder: Path, content: list[bytes], binding: FileBinding = BINDING) -> Path:
    path = folder / "file.idx"
    path.unlink(missing_ok=True)
    blocks.write(path, content, binding, KEY)
    return path


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=12))
def test_every_block_comes_back(tmp_path_factory: pytest.TempPathFactory, content: list[bytes]) -> None:
    path = _write(tmp_path_factory.mktemp("blocks"), content)
    with blocks.BlockFile(path, BINDING, KEY) as file:
        assert len(file) == len(content)
        assert [file.read(number) for number in range(len(file))] == content
        assert file.read_range(0, len(file)) == content
        backwards = list(reversed(range(len(file))))
        assert file.read_some(backwards) == content[::-1]
    with blocks.BlockFile(path, BINDING, KEY, hold=False) as file:
        assert file.read_some(backwards) == content[::-1]
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_byte_can_change(tmp_path: Path) -> None:
    path = _write(tmp_path, [b"first", b"", b"third block"])
    good = path.read_bytes()
    assert b"third" not in good
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(IntegrityError), blocks.BlockFile(path, BINDING, KEY) as file:
            file.read_range(0, len(file))
        with pytest.raises(IntegrityError), blocks.BlockFile(path, BINDING, KEY) as file:
            file.read_some(range(len(file)))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, [b"first", b"second"])
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(IntegrityError):
            blocks.BlockFile(path, BINDING, KEY)


@pytest.mark.parametrize(
    "other",
    [
        FileBinding("ba" * 16, PARTITION, "cd" * 16, "index"),
        FileBinding("ab" * 16, PartitionKey(date(2026, 11, 2), "standard"), "cd" * 16, "index"),
        FileBinding("ab" * 16, PARTITION, "dc" * 16, "index"),
        FileBinding("ab" * 16, PARTITION, "cd" * 16, "identities"),
    ],
)
def test_a_file_in_another_place_is_refused(tmp_path: Path, other: FileBinding) -> None:
    path = _write(tmp_path, [b"first"])
    with pytest.raises(IntegrityError):
        blocks.BlockFile(path, other, KEY)
    with pytest.raises(IntegrityError, match="missing"):
        blocks.BlockFile(tmp_path / "none.idx", other, KEY)


def test_blocks_do_not_change_places(tmp_path: Path) -> None:
    path = _write(tmp_path, [b"aaaa", b"bbbb"])
    data = bytearray(path.read_bytes())
    size = 4 + 16
    data[8 : 8 + size], data[8 + size : 8 + 2 * size] = data[8 + size : 8 + 2 * size], data[8 : 8 + size]
    path.write_bytes(bytes(data))
    with blocks.BlockFile(path, BINDING, KEY) as file, pytest.raises(IntegrityError):
        file.read(0)
