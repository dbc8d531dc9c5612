"""A root with a keyring and an audit log, and disks that fail."""

from __future__ import annotations

import errno
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from store import files
from store.audit import AuditEntry, AuditLog
from store.keys import Keyring
from tests.conftest import FixedClock

NAME = "lagrum/test"
STORE = "store-1"
NUMBER = "46701234567"


def entry(n: int, *, secret: bool = True) -> AuditEntry:
    return AuditEntry("disclosure.run", {"task": f"T-{n}"}, {"target": NUMBER, "n": n} if secret else None)


@dataclass
class Root:
    """One root on disk; `copy` gives an independent one."""

    path: Path
    clock: FixedClock

    @property
    def audit(self) -> Path:
        return self.path / "audit"

    @property
    def origin(self) -> str:
        return (self.audit / "origin.pub").read_text()

    def keyring(self) -> Keyring:
        return Keyring.open(self.path)

    def open(self) -> AuditLog:
        return AuditLog.open(self.audit, keyring=self.keyring(), clock=self.clock)

    def copy(self, path: Path) -> Root:
        shutil.copytree(self.path, path)
        return Root(path, self.clock)


@pytest.fixture
def root(tmp_path: Path, clock: FixedClock) -> Root:
    """A root with an empty log: one entry, the certificate of the first epoch."""
    path = tmp_path / "root"
    path.mkdir()
    keyring = Keyring.create(path, store_id=STORE)
    AuditLog.create(path / "audit", name=NAME, store_id=STORE, keyring=keyring, clock=clock)
    return Root(path, clock)


class Crash(BaseException):
    """The machine stops here: nothing that the program would still do happens."""


class Disk:
    """Sees every durable step; at step `at` it crashes, or refuses with `error` (from then on, if `lasting`).

    `lose_unsynced` makes of a crash a power loss: what was appended and not synced stays in part, or as zeros.
    """

    def __init__(self, at: int | None = None, *, error: int | None = None, lasting: bool = False) -> None:
        self.at = at
        self.error = error
        self.lasting = lasting
        self.steps = 0
        self.synced: dict[Path, int] = {}
        self._last: tuple[str, Path] | None = None

    def before(self, operation: str, path: Path, target: Path | None) -> None:
        self._settle()
        path = path.resolve()
        if operation == "write" and path not in self.synced:
            self.synced[path] = path.stat().st_size
        self._last = (operation, path if target is None else target.resolve())
        self.steps += 1
        if self.at is None or self.steps < self.at or (self.steps > self.at and not self.lasting):
            return
        self._last = None
        if self.error is None:
            raise Crash
        raise OSError(self.error, errno.errorcode[self.error])

    def _settle(self) -> None:
        if self._last is not None and self._last[0] in {"fsync", "truncate", "rename"} and self._last[1].is_file():
            self.synced[self._last[1]] = self._last[1].stat().st_size

    def lose_unsynced(self, rng: random.Random) -> None:
        for path, size in self.synced.items():
            if not path.is_file() or path.stat().st_size <= size:
                continue
            content = path.read_bytes()
            kept = rng.randint(size, len(content))
            hole = bytes(rng.choice([0, len(content) - kept]))
            path.write_bytes(content[:kept] + hole)


@pytest.fixture
def use_disk(monkeypatch: pytest.MonkeyPatch):
    """Put a `Disk` under the program; None takes it away."""

    def use(disk: Disk | None) -> None:
        monkeypatch.setattr(files, "_hook", disk)

    return use
