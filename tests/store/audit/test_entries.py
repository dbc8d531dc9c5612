"""Leaves and the files that hold them, each with one fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import IntegrityError
from store.audit import paths
from store.audit.entries import LEAF_BYTES_MAX, decode_leaf, entry_key, entry_key_of
from store.audit.segments import RECORD_BYTES_MAX, list_segments, nodes_reader, read_leaves, read_records
from tests.store.audit.conftest import Root

LEAF: dict[str, Any] = {"group": 1, "index": 1, "kind": "a.b", "public": {}, "time_us": 1}


@pytest.mark.parametrize(
    "value",
    [
        list(LEAF),
        LEAF | {"more": 1},
        {name: value for name, value in LEAF.items() if name != "public"},
        LEAF | {"index": -1},
        LEAF | {"index": True},
        LEAF | {"group": 1.5},
        LEAF | {"time_us": 253_402_300_800_000_000},
        LEAF | {"kind": 1},
        LEAF | {"public": []},
        LEAF | {"secret": {"box": "", "key": "", "more": ""}},
    ],
)
def test_a_leaf_with_one_fault_is_none(value: object) -> None:
    assert decode_leaf(orjson.dumps(LEAF, option=orjson.OPT_SORT_KEYS)).kind == "a.b"
    with pytest.raises(IntegrityError):
        decode_leaf(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def test_a_secret_is_sealed_under_a_key_of_entries_and_no_other() -> None:
    key = entry_key(date(2026, 11, 1))
    assert entry_key_of(str(key)) == key
    for other in (replace(key, kind="partition"), replace(key, name="epoch-000001"), "entries"):
        with pytest.raises(IntegrityError):
            entry_key_of(str(other))


def test_a_segment_is_a_file_and_alone_at_its_place(root: Root) -> None:
    (name,) = list_segments(root.audit)
    path = name.path(root.audit)
    second = path.with_name(path.name.replace(f"{name.month:%Y-%m}", "2031-01"))
    second.write_bytes(b"")
    with pytest.raises(IntegrityError, match="begin at one"):
        list_segments(root.audit)
    second.unlink()
    elsewhere = path.rename(root.audit / "elsewhere")
    path.symlink_to(elsewhere)
    with pytest.raises(IntegrityError, match="foreign"):
        list_segments(root.audit)


def test_a_line_or_a_record_without_an_end_is_not_read_on_and_on(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * LEAF_BYTES_MAX)
    assert list(read_leaves(path)) == []
    path.write_bytes(b"x" * (LEAF_BYTES_MAX + 1))
    with pytest.raises(IntegrityError):
        list(read_leaves(path))
    path.write_bytes(b"x\n" * RECORD_BYTES_MAX)
    with pytest.raises(IntegrityError):
        list(read_records(path))


def test_a_node_that_is_not_stored_is_not_made_up(root: Root) -> None:
    with nodes_reader(root.audit) as read:
        assert len(read(0, 0)) == 32
        with pytest.raises(IntegrityError):
            read(0, 1)
    nodes = paths.nodes_path(root.audit)
    nodes.write_bytes(nodes.read_bytes()[:-1])
    with nodes_reader(root.audit) as read, pytest.raises(IntegrityError):
        read(0, 0)
