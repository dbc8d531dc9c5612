"""Old segments expire: what they said of persons is gone, the rest verifies, and nobody can pretend an expiry."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest

from schemas.audit_terms import AUDIT_MONTHS, ends_on, is_kept
from schemas.errors import AuditError, IntegrityError
from store.audit import AuditEntry, AuditLog, verify_directory
from store.audit import tail as tail_module
from store.audit.entries import SEGMENT_EXPIRED, entry_key
from store.audit.expiring import expire_segments
from store.audit.search import find
from store.audit.segments import list_segments
from store.clock import to_date
from tests.store.audit.conftest import NUMBER, Crash, Disk, Root, entry

BATCH = AuditEntry("batch", {"batch": 1, "parts": []})


@pytest.fixture
def old(root: Root, monkeypatch: pytest.MonkeyPatch) -> tuple[Root, AuditLog, list[str]]:
    """Three months of entries in several segments and epochs, then ten years; and the checkpoints of then."""
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 1500)
    log = root.open()
    notes = []
    for _ in range(3):
        for n in range(4):
            log.append([entry(n), BATCH, entry(n, secret=False)])
            notes.append(log.checkpoint())
        log.rotate_epoch()
        root.clock.advance(days=31)
    root.clock.advance(days=31 * AUDIT_MONTHS)
    log.append([entry(9)])
    return root, log, notes


def today(root: Root) -> date:
    return to_date(root.clock.now_us())


def expire(root: Root, log: AuditLog) -> int:
    done = 0
    while more := expire_segments(log, log._keyring, today(root)):
        done += more
    return done


def test_the_period_is_never_below_the_bound() -> None:
    assert AUDIT_MONTHS >= 120
    assert ends_on(date(2026, 11, 1)) == date(2036, 12, 1)
    assert ends_on(date(2026, 12, 1)) == date(2037, 1, 1)
    assert is_kept("erasure.done")
    assert is_kept("audit.epoch")
    assert not is_kept("disclosure.run")
    assert not is_kept("session.open")
    assert not is_kept("person.enrolled")


def test_what_is_over_goes_and_everything_else_verifies(old: tuple[Root, AuditLog, list[str]]) -> None:
    root, log, notes = old
    before, size = len(list_segments(root.audit)), log.size
    assert expire(root, log) == before - 1
    assert expire(root, log) == 0
    assert log.size == size + before - 1  # one entry for each
    log = root.open()
    log.check()
    for note in [*notes, log.checkpoint()]:
        assert verify_directory(root.audit, root.origin, note) == []
    kinds = {stored.kind for stored in log.entries(0, size - 1)}
    assert kinds == {"audit.epoch", "batch"}
    assert [stored.kind for stored in log.entries(size - 1)].count(SEGMENT_EXPIRED) == before - 1
    assert len(list(find(root.audit, log.size, ("batch",)))) == 12
    assert not log._keyring.has(entry_key(date(2026, 11, 1)))
    assert log._keyring.has(entry_key(today(root).replace(day=1)))
    log.append([entry(1)])
    assert log.inclusion_proof(3)  # of an entry that is gone: its hash is not


def test_a_search_begins_where_it_is_told(old: tuple[Root, AuditLog, list[str]]) -> None:
    root, log, _ = old
    assert len(list_segments(root.audit)) > 3
    every = [found.index for found in find(root.audit, log.size, ("batch",))]
    for _ in range(2):  # with all segments whole, then with what is left of those that expired
        for first in range(log.size + 2):
            told = [found.index for found in find(root.audit, log.size, ("batch",), first=first)]
            assert told == [index for index in every if index >= first]
        expire(root, log)


def test_nothing_goes_before_its_period_is_over(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 600)
    log = root.open()
    for n in range(9):
        log.append([entry(n)])
    last_day = ends_on(date(2026, 11, 1)) - timedelta(days=1)
    assert expire_segments(log, log._keyring, last_day) == 0
    assert expire_segments(log, log._keyring, last_day + timedelta(days=1)) > 0


def test_the_newest_segment_stays_however_old(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    assert expire_segments(log, log._keyring, date(2090, 1, 1)) == 0


def test_no_word_of_a_person_is_left_in_any_file(old: tuple[Root, AuditLog, list[str]]) -> None:
    root, log, _ = old
    expire(root, log)
    for path in (root.audit / "segments").glob("*.kept"):
        assert b"T-" not in path.read_bytes()
        assert NUMBER.encode() not in path.read_bytes()


def test_a_crash_at_any_step_is_finished_by_the_next_run(
    old: tuple[Root, AuditLog, list[str]], tmp_path: Path, use_disk
) -> None:
    root, _, notes = old
    counted = root.copy(tmp_path / "count")
    disk = Disk()
    log = counted.open()
    use_disk(disk)
    expire_segments(log, log._keyring, today(root))
    use_disk(None)
    for at in range(1, disk.steps + 1, 11):
        copy = root.copy(tmp_path / f"{at}")
        log = copy.open()
        use_disk(Disk(at))
        with pytest.raises(Crash):
            expire_segments(log, log._keyring, today(root))
        use_disk(None)
        log = copy.open()
        assert verify_directory(copy.audit, copy.origin, notes[0]) == [], at
        expire(copy, log)
        assert verify_directory(copy.audit, copy.origin, notes[0]) == [], at
        log.check()
        told = [stored.public["first"] for stored in log.entries() if stored.kind == SEGMENT_EXPIRED]
        assert len(told) == len(set(told))
        assert not any(name.path(copy.audit).suffix == ".leaves" for name in list_segments(copy.audit)[:-2])
        shutil.rmtree(copy.path)


# Attacks


def test_a_changed_segment_does_not_expire(old: tuple[Root, AuditLog, list[str]]) -> None:
    root, log, _ = old
    path = list_segments(root.audit)[1].path(root.audit)
    path.write_bytes(path.read_bytes().replace(b"disclosure.run", b"disclosure.ran", 1))
    with pytest.raises((IntegrityError, AuditError)):
        expire(root, log)
    assert path.exists()


def test_a_segment_that_somebody_made_expired_is_told_by_verification_and_by_the_watch(
    old: tuple[Root, AuditLog, list[str]],
) -> None:
    root, log, notes = old
    log.check()
    name = list_segments(root.audit)[1]
    path = name.path(root.audit)
    kept = [line for line in path.read_bytes().splitlines() if is_kept(orjson.loads(line)["kind"])]
    path.with_suffix(".kept").write_bytes(b"".join(line + b"\n" for line in kept))
    path.unlink()
    (problem,) = verify_directory(root.audit, root.origin, notes[-1])
    assert "does not say so" in problem
    with pytest.raises(IntegrityError):
        log.check()


@pytest.mark.parametrize("edit", ["drop", "alter", "reorder", "add", "empty", "delete", "checkpoint"])
def test_an_edit_of_what_is_left_is_found(old: tuple[Root, AuditLog, list[str]], edit: str) -> None:
    root, log, notes = old
    expire(root, log)
    name = list_segments(root.audit)[1]
    path = name.path(root.audit)
    own = path.read_bytes().splitlines(keepends=True)
    assert len(own) > 1
    if edit == "drop":
        path.write_bytes(b"".join(own[1:]))
    elif edit == "alter":
        path.write_bytes(path.read_bytes().replace(b'"batch":1', b'"batch":2', 1))
    elif edit == "reorder":
        path.write_bytes(b"".join(own[::-1]))
    elif edit == "add":
        path.write_bytes(path.read_bytes() + own[0])
    elif edit == "empty":
        path.write_bytes(b"")
    elif edit == "delete":
        path.unlink()
    else:
        records = (root.audit / "checkpoints").read_bytes().split(b"\n\n\xe2\x80\x94")
        (root.audit / "checkpoints").write_bytes(b"\n\n\xe2\x80\x94".join(records))
        content = (root.audit / "checkpoints").read_bytes()
        first = content.index(b"\n\n", content.index(b"\xe2\x80\x94")) + 2
        (root.audit / "checkpoints").write_bytes(content[first:])
    assert verify_directory(root.audit, root.origin, notes[-1])


def test_an_expiry_that_the_log_tells_too_early_is_told(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 600)
    log = root.open()
    for n in range(9):
        log.append([entry(n)])
    expire_segments(log, log._keyring, date(2090, 1, 1))  # as if by a clock that runs ahead
    (problem,) = verify_directory(root.audit, root.origin, log.checkpoint())
    assert "before its period was over" in problem
