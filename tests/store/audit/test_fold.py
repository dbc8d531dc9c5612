"""A log that is read once: what comes later is added, and whatever somebody changed is told before it counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import AuditError, IntegrityError
from store.audit import AuditEntry, AuditLog, StoredEntry, paths
from store.audit import tail as tail_module
from store.audit.expiring import expire_segments
from store.audit.fold import Fold
from store.audit.merkle import Frontier, leaf_hash, node_position
from store.audit.segments import list_segments
from store.audit.tail import Tail
from store.clock import to_date
from tests.store.audit.conftest import Root, entry
from tests.store.audit.test_expiring import old  # noqa: F401 (fixture)

HOLD = AuditEntry("hold.confirm", {"hold": "a1", "kind": "batch"})
OTHER = AuditEntry("holder.of-nothing", {"kind": "hold.confirm"})


def folded(log: AuditLog, *kinds: str) -> tuple[Fold, list[StoredEntry]]:
    found: list[StoredEntry] = []
    fold = Fold(log, kinds or ("hold.",), found.append)
    with fold.lock:
        fold.catch_up()
    return fold, found


@given(st.integers(0, 70), st.integers(0, 70))
def test_a_frontier_grows_by_many_as_it_grows_by_one(before: int, more: int) -> None:
    hashes = [leaf_hash(bytes([number])) for number in range(before + more)]
    one, many = Frontier(), Frontier()
    for number in hashes:
        one.add(number)
    many.extend(hashes[:before])
    many.extend(hashes[before:])
    assert (many.size, many.peaks) == (one.size, one.peaks)


def test_each_entry_of_its_kinds_is_given_once_and_no_other(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 1000)
    log, other = root.open(), root.open()
    log.append([entry(1), HOLD, OTHER])
    fold, found = folded(log)
    assert [item.index for item in found] == [2]
    for number in range(20):
        other.append([entry(number), HOLD, OTHER] if number % 3 else [OTHER])
        if number % 4 == 0:
            fold.catch_up()
    fold.catch_up()
    assert fold.size == log.size == other.size
    assert found == [item for item in log.entries() if item.kind == "hold.confirm"]
    assert [item.leaf for item in folded(root.open())[1]] == [item.leaf for item in found]


def test_an_entry_under_another_name_is_missed_though_its_nodes_fit(root: Root) -> None:
    log = root.open()
    log.append([HOLD])
    log.append([entry(number) for number in range(7)])
    (segment,) = list_segments(root.audit)
    path, nodes = segment.path(root.audit), paths.nodes_path(root.audit)
    edited = path.read_bytes().replace(b'"kind":"hold.confirm"', b'"kind":"hole.confirm"')
    path.write_bytes(edited)
    with nodes.open("r+b") as file:
        file.seek(node_position(0, 1) * 32)
        file.write(leaf_hash(edited.split(b"\n")[1]))
    with pytest.raises(IntegrityError, match="not those that its last checkpoint signs"):
        folded(log)


@pytest.mark.parametrize("octets", [b"", b"\n"])
def test_entries_that_are_gone_are_missed(root: Root, octets: bytes) -> None:
    log = root.open()
    log.append([HOLD, entry(1)])
    fold, _ = folded(log)
    log.append([entry(2)])
    (segment,) = list_segments(root.audit)
    path = segment.path(root.audit)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + octets)
    with pytest.raises(IntegrityError):
        fold.catch_up()
    with pytest.raises(IntegrityError):
        folded(log)
    path.unlink()
    with pytest.raises(IntegrityError):
        folded(log)


def test_what_outlives_expired_segments_is_given_and_a_lost_line_is_missed(
    old: tuple[Root, AuditLog, list[str]],  # noqa: F811
) -> None:
    root, log, _ = old
    running, before = folded(log, "batch")
    while expire_segments(log, log._keyring, to_date(root.clock.now_us())):
        pass
    log.append([AuditEntry("batch", {"batch": 2, "parts": []})])
    running.catch_up()
    assert len(before) == 13
    assert [item.leaf for item in folded(root.open(), "batch")[1]] == [item.leaf for item in before]
    expired = next(name for name in list_segments(root.audit) if name.expired).path(root.audit)
    lines = expired.read_bytes().splitlines(keepends=True)
    expired.write_bytes(b"".join(lines[1:]))
    with pytest.raises(IntegrityError, match="expired segment"):
        folded(log, "batch")
    assert log.distrusted is not None
    paths.distrusted_path(root.audit).unlink()
    expired.write_bytes(b"".join(lines).replace(b'"batch":1', b'"batch":3'))
    with pytest.raises(IntegrityError, match="was changed"):
        folded(root.open(), "batch")


def test_a_segment_that_expires_while_the_log_is_read_is_no_attack(
    old: tuple[Root, AuditLog, list[str]],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process tells of the expiry and does it after this one has looked where the log ends."""
    root, log, _ = old
    fold, taken = folded(root.open(), "nothing.")
    other = root.open()
    fresh = Fold(other, ("batch",), taken.append)
    read = Fold._read

    def late(one: Fold, tail: Tail) -> object:
        while expire_segments(log, log._keyring, to_date(root.clock.now_us())):
            pass
        return read(one, tail)

    monkeypatch.setattr(Fold, "_read", late)
    fresh.catch_up()
    fold.catch_up()
    assert other.distrusted is None
    assert len(taken) == 12


def test_a_log_that_was_changed_is_not_read_again_and_again(root: Root) -> None:
    log = root.open()
    log.append([HOLD, entry(1)])
    path = list_segments(root.audit)[0].path(root.audit)
    path.write_bytes(path.read_bytes().replace(b"hold.confirm", b"hole.confirm"))
    fold = Fold(log, ("hold.",), list[StoredEntry]().append)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="checkpoint signs"):
            fold.catch_up()
        path.unlink(missing_ok=True)
    with pytest.raises(AuditError):
        log.append([entry(2)])
