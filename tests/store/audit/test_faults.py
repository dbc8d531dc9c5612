"""Crashes and refusing disks at every durable step: nothing acknowledged is lost, nothing is appended in half."""

from __future__ import annotations

import errno
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.errors import AuditError, IntegrityError, LagrumError
from store.audit import AuditLog, verify_directory
from store.audit import tail as tail_module
from store.audit.segments import list_segments
from store.keys import Keyring
from tests.conftest import FixedClock
from tests.store.audit.conftest import NAME, STORE, Crash, Disk, Root, entry


def append_many(log: AuditLog) -> None:
    log.append([entry(n) for n in range(5)])


def append_twice(log: AuditLog) -> None:
    log.append([entry(1)])
    log.append([entry(2)])


def rotate(log: AuditLog) -> None:
    log.rotate_epoch()


WORK = {append_twice: (0, 1, 2), append_many: (0, 5), rotate: (0, 1)}
"""What a writer does, and by how much it may have grown the log when it is stopped."""


@pytest.fixture
def base(root: Root, monkeypatch: pytest.MonkeyPatch) -> Root:
    """A log with some history, whose next append begins a new month and a new segment."""
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 2000)
    log = root.open()
    for n in range(5):
        log.append([entry(n), entry(n)])
    root.clock.advance(days=30)
    return root


def steps(base: Root, path: Path, work: Callable[[AuditLog], None], use_disk) -> int:
    """Count the durable steps of the work."""
    log = base.copy(path).open()
    disk = Disk()
    use_disk(disk)
    work(log)
    use_disk(None)
    return disk.steps


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_a_crash_at_any_step_keeps_the_acknowledged_and_nothing_in_half(
    base: Root, tmp_path: Path, use_disk, work: Callable[[AuditLog], None], power: bool
) -> None:
    for at in range(1, steps(base, tmp_path / "count", work, use_disk) + 1):
        root = base.copy(tmp_path / f"{at}")
        log = root.open()
        size, known = log.size, log.checkpoint()
        disk = Disk(at)
        use_disk(disk)
        with pytest.raises(Crash):
            work(log)
        use_disk(None)
        if power:
            disk.lose_unsynced(random.Random(at))
            (root.audit / "nodes").write_bytes((root.audit / "nodes").read_bytes()[: size * 32])
        log = root.open()
        assert log.size - size in WORK[work]
        log.append([entry(1)])
        log.rotate_epoch()
        assert verify_directory(root.audit, root.origin, known) == []
        assert len(list((root.audit / "epochs").iterdir())) == 1


@pytest.mark.parametrize(
    ("work", "error", "lasting"),
    [
        (append_twice, errno.ENOSPC, True),
        (append_twice, errno.EROFS, True),
        (append_twice, errno.EIO, False),
        (append_many, errno.EDQUOT, True),
        (append_many, errno.EIO, False),
        (rotate, errno.ENOSPC, True),
        (rotate, errno.EIO, False),
    ],
    ids=lambda value: getattr(value, "__name__", None) or errno.errorcode.get(value, str(value)),
)
def test_a_disk_that_refuses_any_step_makes_an_audit_error_and_no_half_append(
    base: Root, tmp_path: Path, use_disk, work: Callable[[AuditLog], None], error: int, lasting: bool
) -> None:
    for at in range(1, steps(base, tmp_path / "count", work, use_disk) + 1):
        root = base.copy(tmp_path / f"{at}")
        log = root.open()
        size, known = log.size, log.checkpoint()
        use_disk(Disk(at, error=error, lasting=lasting))
        try:
            work(log)
        except AuditError:
            # an epoch may have changed before its old key could be destroyed
            assert log.size - size in WORK[work][:-1] or work is rotate
        else:
            assert not lasting
        use_disk(None)
        # the same process goes on when the disk is well again
        appended = log.append([entry(10)])
        assert root.open().size == appended.size
        for kept in (known, appended.checkpoint):
            assert verify_directory(root.audit, root.origin, kept) == []


def test_a_crash_while_the_log_is_made_leaves_one_that_is_made_anew_or_opens(
    tmp_path: Path, clock: FixedClock, use_disk
) -> None:
    def create(path: Path) -> None:
        AuditLog.create(path / "audit", name=NAME, store_id=STORE, keyring=Keyring.open(path), clock=clock)

    def fresh(path: Path) -> Path:
        path.mkdir()
        Keyring.create(path, store_id=STORE)
        return path

    disk = Disk()
    count = fresh(tmp_path / "count")
    use_disk(disk)
    create(count)
    use_disk(None)
    for at in range(1, disk.steps + 1):
        root = Root(fresh(tmp_path / f"{at}"), clock)
        crash = Disk(at)
        use_disk(crash)
        with pytest.raises(Crash):
            create(root.path)
        use_disk(None)
        crash.lose_unsynced(random.Random(at))
        try:
            log = root.open()
        except LagrumError:
            create(root.path)
            log = root.open()
        log.append([entry(1)])
        assert verify_directory(root.audit, root.origin, log.checkpoint()) == []


def test_a_full_disk_in_the_middle_of_a_write_leaves_nothing_behind(root: Root) -> None:
    log = root.open()
    known = log.append([entry(1)])
    segment = list_segments(root.audit)[0].path(root.audit)
    before = {path: path.stat().st_size for path in (segment, root.audit / "checkpoints")}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 1, 150, 700):
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[segment] + room, limits[1]))
        try:
            with pytest.raises(AuditError):
                log.append([entry(n) for n in range(2, 9)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {path: path.stat().st_size for path in before} == before
        assert log.checkpoint() == known.checkpoint
        assert verify_directory(root.audit, root.origin, known.checkpoint) == []
    log.append([entry(2)])
    assert verify_directory(root.audit, root.origin, log.checkpoint()) == []


def test_a_directory_that_may_not_be_written_makes_an_audit_error(root: Root) -> None:
    if os.geteuid() == 0:
        pytest.skip("permissions do not bind this user")
    log = root.open()
    for path in root.audit.rglob("*"):
        path.chmod(0o400 if path.is_file() else 0o500)
    with pytest.raises(AuditError):
        log.append([entry(1)])
    for path in root.audit.rglob("*"):
        path.chmod(0o600 if path.is_file() else 0o700)


def test_a_missing_month_key_that_cannot_be_made_durable_makes_an_audit_error(root: Root, use_disk) -> None:
    log = root.open()
    use_disk(Disk(1, error=errno.ENOSPC, lasting=True))
    with pytest.raises(AuditError):
        log.append([entry(1)])
    use_disk(None)
    assert root.open().size == 1


@pytest.mark.parametrize("file", ["segment", "checkpoints", "segments", "directory"])
def test_a_log_deleted_under_a_running_process_takes_no_further_entry(root: Root, file: str) -> None:
    log = root.open()
    log.append([entry(1)])
    segment = list_segments(root.audit)[0].path(root.audit)
    victim = {
        "segment": segment,
        "checkpoints": root.audit / "checkpoints",
        "segments": segment.parent,
        "directory": root.audit,
    }[file]
    victim.rename(root.path / "away")
    for _ in range(2):
        with pytest.raises(AuditError):
            log.append([entry(2)])


@pytest.mark.parametrize("file", ["segment", "checkpoints"])
def test_a_log_cut_under_a_running_process_takes_no_further_entry_and_does_not_open(root: Root, file: str) -> None:
    log = root.open()
    for n in range(3):
        log.append([entry(n)])
    path = root.audit / "checkpoints" if file == "checkpoints" else list_segments(root.audit)[0].path(root.audit)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for _ in range(2):
        with pytest.raises(AuditError):
            log.append([entry(9)])
    if file == "segment":
        with pytest.raises(IntegrityError, match="fewer"):
            root.open()


def test_a_changed_entry_of_the_last_segment_is_noticed_at_opening(root: Root) -> None:
    root.open().append([entry(1, secret=False)])
    path = list_segments(root.audit)[0].path(root.audit)
    path.write_bytes(path.read_bytes().replace(b'"T-1"', b'"T-2"'))
    with pytest.raises(IntegrityError):
        root.open()


def test_a_damaged_last_checkpoint_is_not_taken_for_a_torn_tail(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    path = root.audit / "checkpoints"
    whole = path.read_bytes()
    start = whole.rindex(NAME.encode() + b"\n")
    for offset in range(start, len(whole) - 2):
        changed = bytearray(whole)
        changed[offset] ^= 0x01
        path.write_bytes(bytes(changed))
        with pytest.raises((IntegrityError, LagrumError)):
            root.open()
    path.write_bytes(whole)
    assert root.open().size == 2
