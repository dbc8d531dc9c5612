"""The audit log on a file system of its own that is really full, or read-only: nothing leaves, deliveries come in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import AuditError
from store import Store
from tests.api.disclosure.conftest import Court, peopled
from tests.api.disclosure.test_completeness import more
from tests.api.disclosure.test_no_log_no_data import found, releases
from tests.conftest import FixedClock
from tests.fault.campaign_full import small_disk
from tests.store.conftest import deliver


@pytest.fixture
def court(tmp_path: Path, clock: FixedClock) -> Iterator[Court]:
    """A store whose log lies on a disk of its own."""
    root = tmp_path / "root"
    with Store.create(root, clock=clock) as store:
        audit = store.layout.audit
    held = tmp_path / "held"
    shutil.copytree(audit, held)
    shutil.rmtree(audit)
    try:
        with small_disk(audit):
            shutil.copytree(held, audit, dirs_exist_ok=True)
            audit.chmod(0o700)
            with Store.open(root, clock=clock) as store:
                yield peopled(store, clock)
    except PermissionError:
        pytest.skip("this user may not mount a file system")


@contextmanager
def full(audit: Path) -> Iterator[None]:
    filler = audit.parent.parent / "filler"
    filler.symlink_to(audit / "filler")
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    try:
        yield
    finally:
        (audit / "filler").unlink()


@contextmanager
def read_only(audit: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(audit)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(audit)], check=True)


@pytest.mark.parametrize("how", [full, read_only])
def test_nothing_leaves_and_deliveries_come_in(court: Court, how: object) -> None:
    steps = releases(court)
    before, size = found(court), court.store.audit.size
    assert callable(how)
    with how(court.store.layout.audit):
        received = deliver(court.store, more(), source="meanwhile")
        for name in ("run", "explain", "deliver", "release"):
            with pytest.raises(AuditError):
                steps[name]()
        # The last page of a file may have room for one entry more; a step that needs it told raised all the same.
        assert court.store.audit.size <= size + 1
    assert received.rows == received.accepted > 0
    assert found(court) == before + received.rows
    court.store.flush_outbox(required=True)
    kinds = [entry.kind for entry in court.log(size)]
    assert "batch" in kinds and "disclosure.result" not in kinds
    assert not list(court.store.verify())
