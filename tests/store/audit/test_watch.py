"""While the service runs: deleted, cut and changed files are noticed, and nothing is appended after that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schemas.errors import AuditError, IntegrityError
from store.audit import AuditLog
from store.audit import epochs as epochs_module
from store.audit import tail as tail_module
from store.audit.segments import list_segments
from store.audit.verify import verify_directory
from tests.store.audit.conftest import Root, entry


@pytest.fixture
def log(root: Root, monkeypatch: pytest.MonkeyPatch) -> AuditLog:
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 900)
    log = root.open()
    for n in range(20):
        log.append([entry(n, secret=False)])
    assert len(list_segments(root.audit)) >= 3
    return log


def test_a_log_that_nobody_touched_is_found_well_at_every_look(log: AuditLog, root: Root) -> None:
    for n in range(12):
        log.check()
        log.append([entry(n)])
        root.open().append([entry(n)])  # another process
    log.check()
    assert log.distrusted is None


def test_a_log_of_one_segment_is_looked_at_too(root: Root) -> None:
    log = root.open()
    for n in range(3):
        log.append([entry(n)])
        log.check()
    _flip(_segments(root.audit)[0], 30)
    with pytest.raises(IntegrityError):
        log.check()


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


def _segments(audit: Path) -> list[Path]:
    return sorted((audit / "segments").iterdir())


ATTACKS = {
    "the folder is deleted": shutil.rmtree,
    "the segments are deleted": lambda audit: shutil.rmtree(audit / "segments"),
    "the first segment is deleted": lambda audit: _segments(audit)[0].unlink(),
    "a middle segment is deleted": lambda audit: _segments(audit)[1].unlink(),
    "the newest segment is deleted": lambda audit: _segments(audit)[-1].unlink(),
    "the checkpoints are deleted": lambda audit: (audit / "checkpoints").unlink(),
    "the nodes are deleted": lambda audit: (audit / "nodes").unlink(),
    "the origin is deleted": lambda audit: (audit / "origin.pub").unlink(),
    "the origin is another": lambda audit: _flip(audit / "origin.pub", 20),
    "the checkpoints are emptied": lambda audit: (audit / "checkpoints").write_bytes(b""),
    "the last checkpoint is cut off": lambda audit: (audit / "checkpoints").write_bytes(
        (audit / "checkpoints").read_bytes().rpartition(b"\n\n")[0].rpartition(b"\n\n")[0].rpartition(b"\n\n")[0]
        + b"\n\n"
    ),
    "the last checkpoint is changed": lambda audit: _flip(audit / "checkpoints", -20),
    "the newest segment is cut": lambda audit: _segments(audit)[-1].write_bytes(_segments(audit)[-1].read_bytes()[:-9]),
    "the newest segment is changed": lambda audit: _flip(_segments(audit)[-1], 30),
    "a closed segment is changed": lambda audit: _flip(_segments(audit)[0], 300),
    "a closed segment is cut": lambda audit: _segments(audit)[1].write_bytes(b""),
    "a foreign file lies among the segments": lambda audit: (audit / "segments" / "x").write_bytes(b""),
    "the nodes are changed": lambda audit: _flip(audit / "nodes", 0) or _flip(_segments(audit)[0], 300),
    "the newest nodes are changed": lambda audit: _flip(audit / "nodes", -1),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("looked", [True, False], ids=["looked before", "never looked"])
def test_what_is_done_to_the_files_is_noticed_and_ends_the_trust(
    log: AuditLog, root: Root, attack: str, looked: bool
) -> None:
    if looked:
        log.check()
    ATTACKS[attack](root.audit)
    with pytest.raises((IntegrityError, AuditError)):
        log.check()
    assert log.distrusted is not None
    with pytest.raises(AuditError):
        log.append([entry(1)])
    with pytest.raises(AuditError):
        log.rotate_epoch()
    with pytest.raises(IntegrityError):
        log.check()


def test_an_attacker_who_puts_the_files_back_does_not_get_the_trust_back(log: AuditLog, root: Root) -> None:
    log.check()
    root.audit.rename(root.path / "hidden")
    with pytest.raises(IntegrityError, match="disappeared"):
        log.check()
    (root.path / "hidden").rename(root.audit)
    with pytest.raises(IntegrityError):
        log.check()
    assert root.open().append([entry(1)]).size == 22  # opened anew, the log is read anew


def test_a_disk_that_cannot_be_read_now_is_no_attack(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "EIO")

    with monkeypatch.context() as patch:
        patch.setattr("store.audit.watch.last_record", fails)
        with pytest.raises(AuditError):
            log.check()
    assert log.distrusted is None
    log.check()


# Epochs


def test_an_epoch_ends_with_its_day(root: Root) -> None:
    log = root.open()
    assert not log.rotate_if_due()
    root.clock.advance(days=1)
    assert log.rotate_if_due()
    assert not log.rotate_if_due()
    assert log.epoch == 2
    assert sorted(path.name for path in (root.audit / "epochs").iterdir()) == ["000002.key"]
    assert verify_directory(root.audit, root.origin, log.checkpoint()) == []


def test_an_epoch_ends_when_it_has_signed_enough(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs_module, "EPOCH_ENTRIES_MAX", 10)
    log = root.open()
    log.append([entry(1)] * 9)
    assert root.open().rotate_if_due()  # another process did it
    assert not log.rotate_if_due()
    assert log.epoch == 2
    assert log.append([entry(2)]).size == 12


def test_a_clock_that_goes_back_begins_no_epoch(root: Root) -> None:
    log = root.open()
    root.clock.advance(days=-3)
    assert not log.rotate_if_due()


def test_an_old_key_that_could_not_be_destroyed_is_destroyed_at_the_next_look(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = root.open()
    root.clock.advance(days=1)
    keyring = log._keyring

    def fails(_: object) -> None:
        raise IntegrityError("no replica")

    with monkeypatch.context() as patch:
        patch.setattr(keyring, "destroy", fails)
        with pytest.raises(AuditError):
            log.rotate_if_due()
    assert len(epochs_module.superseded_keys(keyring, log._epoch.key)) == 1
    assert not log.rotate_if_due()
    assert epochs_module.superseded_keys(keyring, log._epoch.key) == []
