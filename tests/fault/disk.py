"""A disk that stops, fails or loses power at durable step n; injected into `store.files`."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from store import files


class Crash(BaseException):
    """The process ends here. Not an `Exception`: nothing may catch it and go on."""


@dataclass
class _Name:
    """A change of a name that no directory sync has made durable; `lost` if that sync failed, for later ones lie."""

    path: Path
    undo: Callable[[], None]
    lost: bool = False


@dataclass
class Disk:
    """Counts durable steps from 1; at step `fail_at` it crashes for good, or raises `EIO` once.

    `lose_power` takes back what no sync had made durable: names return to what they were, and files that were being
    written are torn in the middle of what came since their last sync. After a failed sync of a directory its changed
    names are lost, however often it is synced again; only changing the name once more helps.
    """

    fail_at: int | None = None
    io_error: bool = False
    steps: list[tuple[str, Path]] = field(default_factory=list)
    _dead: bool = False
    _unsynced: dict[Path, int] = field(default_factory=dict)
    _names: list[_Name] = field(default_factory=list)

    def before(self, operation: str, path: Path, target: Path | None) -> None:
        if self._dead:
            raise Crash
        path = _named(path)
        self.steps.append((operation, path))
        if len(self.steps) == self.fail_at:
            if self.io_error:
                for name in self._names:
                    name.lost = name.lost or (operation == "fsync_dir" and name.path.parent == path)
                raise OSError(errno.EIO, "injected")
            self._dead = True
            raise Crash
        self._remember(operation, path, target)

    def _remember(self, operation: str, path: Path, target: Path | None) -> None:
        if operation in ("write", "overwrite", "truncate"):
            kept = path.stat().st_size if operation != "overwrite" and path.exists() else 0
            self._unsynced.setdefault(path, kept)
        elif operation == "fsync":
            self._unsynced.pop(path, None)
        elif operation == "fsync_dir":
            synced = {name.path for name in self._names if name.path.parent == path and not name.lost}
            self._names = [name for name in self._names if name.path not in synced]
        elif operation == "create":
            self._names.append(_Name(path, lambda: path.unlink(missing_ok=True)))
        elif operation == "mkdir":
            self._names.append(_Name(path, lambda: shutil.rmtree(path, ignore_errors=True)))
        elif operation == "unlink" and path.exists():
            self._unsynced.pop(path, None)
            self._names.append(_Name(path, _writer(path, path.read_bytes())))
        elif operation == "rmdir" and path.exists():
            self._names.append(_Name(path, lambda: path.mkdir(exist_ok=True) if path.parent.is_dir() else None))
        elif operation == "rename":
            assert target is not None
            self._unsynced.pop(target, None)
            if path in self._unsynced:
                self._unsynced[target] = self._unsynced.pop(path)
            back = _writer(target, target.read_bytes()) if target.exists() else lambda: target.unlink(missing_ok=True)
            self._names.append(_Name(target, back))

    def lose_power(self) -> None:
        for path, kept in self._unsynced.items():
            if path.exists():
                data = path.read_bytes()
                path.write_bytes(data[: kept + max(0, len(data) - kept) // 2])
        for name in reversed(self._names):
            name.undo()


def _named(path: Path) -> Path:
    """Return the file's own name where the step speaks of a descriptor."""
    return path.readlink() if path.parent == Path("/proc/self/fd") else path


def _writer(path: Path, data: bytes) -> Callable[[], None]:
    def write() -> None:
        if path.parent.is_dir():
            path.write_bytes(data)
            path.chmod(0o600)

    return write


def steps_of(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> int:
    """Return how many durable steps `action` takes."""
    disk = Disk()
    with monkeypatch.context() as patch:
        patch.setattr(files, "_hook", disk)
        action()
    return len(disk.steps)


def run_until(monkeypatch: pytest.MonkeyPatch, disk: Disk, action: Callable[[], object]) -> bool:
    """Run `action` on `disk`; False if it crashed."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "_hook", disk)
        try:
            action()
        except Crash:
            return False
        return True
