"""A log that cannot be opened: whoever takes in goes on, nothing is appended over the damage, nothing told is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import AuditError, IntegrityError, KeyUnavailableError
from store import Store
from store.audit import AuditEntry, AuditLog, ShutLog
from store.audit.paths import distrusted_path
from store.audit.segments import list_segments
from store.audit.shut import open_or_shut
from store.audit.verify import verify_directory
from store.keys import Keyring
from tests.conftest import FixedClock
from tests.store.audit.conftest import Root, entry
from tests.store.conftest import deliver
from tests.store.records import records


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _newest(audit: Path) -> Path:
    return list_segments(audit)[-1].path(audit)


def _checkpoints_back(audit: Path) -> None:
    """Cut the last group off, as if it had never been."""
    path = audit / "checkpoints"
    notes = path.read_bytes().split(b"\n\n")
    path.write_bytes(b"\n\n".join(notes[:-3]) + b"\n\n")


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "the folder is gone": shutil.rmtree,
    "the newest segment is cut": lambda audit: _halve(_newest(audit)),
    "the segments are gone": lambda audit: shutil.rmtree(audit / "segments"),
    "the checkpoints are gone": lambda audit: (audit / "checkpoints").unlink(),
    "the checkpoints are emptied": lambda audit: (audit / "checkpoints").write_bytes(b""),
    "the origin is gone": lambda audit: (audit / "origin.pub").unlink(),
    "the origin is no text": lambda audit: (audit / "origin.pub").write_bytes(b"\xff\n"),
    "the epoch's key is gone": lambda audit: (audit / "epochs" / "000001.key").unlink(),
    "somebody saw it cut": lambda audit: distrusted_path(audit).write_bytes(b"cut\n"),
}


def _files(audit: Path) -> dict[str, bytes]:
    found = (path for path in audit.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(audit)): path.read_bytes() for path in found}


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Store:
    with Store.create(tmp_path / "root", clock=clock) as store:
        deliver(store, records(40))
        return store


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_log_stops_who_needs_it_and_nobody_who_takes_in(
    store: Store, clock: FixedClock, tmp_path: Path, damage: str
) -> None:
    audit, held = store.layout.audit, tmp_path / "held"
    shutil.copytree(audit, held)
    size = store.audit.size
    DAMAGES[damage](audit)
    with pytest.raises((IntegrityError, AuditError)):
        Store.open(store.root, clock=clock)
    damaged = _files(audit)
    for n in range(2):
        with Store.open(store.root, clock=clock, takes_in=True) as shut:
            assert isinstance(shut.audit, ShutLog)
            assert deliver(shut, records(30, seed=n + 7), source=f"late-{n}").rows == 30
            with pytest.raises(AuditError):
                shut.log(AuditEntry("disclosure.run", {}))
            with pytest.raises(AuditError):
                shut.flush_outbox(required=True)
            with pytest.raises(IntegrityError):
                shut.log_state.commitments()  # by which it is decided what may be erased
    assert _files(audit) == damaged
    shutil.rmtree(audit, ignore_errors=True)
    shutil.copytree(held, audit)
    with Store.open(store.root, clock=clock) as whole:
        told = [entry for entry in whole.audit.entries(size) if entry.kind == "batch"]
        assert [entry.public["source"] for entry in told] == ["late-0", "late-1"]
        assert not list(whole.verify())
    assert verify_directory(audit, (audit / "origin.pub").read_text(), None) == []


def test_a_log_that_was_seen_cut_is_not_gone_on_with_by_whoever_opens_it_next(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    log.append([entry(2)])
    held = root.copy(root.path.parent / "held")
    _checkpoints_back(root.audit)
    with pytest.raises(IntegrityError):
        log.check()
    with pytest.raises(IntegrityError, match="not restored"):
        root.open()
    shut = open_or_shut(root.audit, keyring=root.keyring(), clock=root.clock)
    assert shut.distrusted is not None
    with pytest.raises(AuditError):
        shut.append([entry(3)])
    shutil.rmtree(root.audit)
    shutil.copytree(held.audit, root.audit)
    assert root.open().append([entry(3)]).size == 4


def test_a_shut_log_tells_nothing_but_why(root: Root) -> None:
    distrusted_path(root.audit).write_bytes(b"cut\n")
    shut = open_or_shut(root.audit, keyring=root.keyring(), clock=root.clock)
    asked: list[Callable[[], Any]] = [
        lambda: shut.size,
        lambda: shut.tail,
        lambda: shut.origin,
        lambda: shut.epoch,
        lambda: shut.store_id,
        shut.root_hash,
        shut.checkpoint,
        shut.entries,
        shut.refresh,
        shut.check,
        lambda: shut.inclusion_proof(0),
        lambda: shut.consistency_proof(0, 1),
        lambda: shut.resting().__enter__(),
    ]
    for ask in asked:
        with pytest.raises(IntegrityError, match="not restored") as refused:
            ask()
        assert "OPERATING" in (refused.value.hint or "")
    for work in (shut.rotate_epoch, shut.rotate_if_due):
        with pytest.raises((IntegrityError, AuditError)):
            work()


def test_a_log_that_is_well_is_opened_and_not_shut(root: Root) -> None:
    assert type(open_or_shut(root.audit, keyring=root.keyring(), clock=root.clock)) is AuditLog


def test_a_keyring_that_is_not_the_logs_takes_nothing_in_whatever_became_of_the_log(tmp_path: Path, root: Root) -> None:
    (tmp_path / "other").mkdir()
    other = Keyring.create(tmp_path / "other", store_id="store-2")
    _halve(_newest(root.audit))
    with pytest.raises(KeyUnavailableError):
        open_or_shut(root.audit, keyring=other, clock=root.clock)
