"""What a process did to a directory, system call by system call, read from strace's output.

SQLite's and Arrow's calls are in it, for nothing stands between a library and the kernel. A file is known by a number
of its own (an inode's, as it were): names come and go. `recorded` proves itself: everything replayed must give the
directory that is there (`tests.fault.replay`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,"
    "rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,lseek,dup,dup2,dup3,"
    "copy_file_range,sendfile,splice"
)
OPTIONS = ("-ff", "-y", "-xx", "-s", "67108864", "--absolute-timestamps=unix,ns", "--syscall-times=ns", "-e")
ROOT = 0
"""The number of the recorded directory itself."""

_LINE = re.compile(r"(\d+\.\d+) (\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?.*<(\d+\.\d+)>$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})*)([^>]*)>")
_AT = re.compile(r"^(?:AT_FDCWD|\d+)<")
_UNKNOWN = ("creat", "writev", "pwritev", "pwritev2", "truncate", "fallocate", "link", "linkat", "symlink", "symlinkat")


@dataclass(frozen=True)
class Change:
    """A change of a file's bytes: `data` at `offset`, or with `data` None the size `offset`."""

    begin: float
    end: float
    file: int
    offset: int
    data: bytes | None


@dataclass(frozen=True)
class Naming:
    """A change of names in one directory: each name gets a file, or none."""

    begin: float
    end: float
    directory: int
    names: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class Sync:
    """A sync of a file or directory: what ended before `begin` is durable from `end` on."""

    begin: float
    end: float
    file: int


@dataclass
class Recording:
    """A history; `said` holds what the process wrote to stdout: (time, text)."""

    changes: list[Change] = field(default_factory=list)
    namings: list[Naming] = field(default_factory=list)
    syncs: list[Sync] = field(default_factory=list)
    directories: set[int] = field(default_factory=lambda: {ROOT})
    paths: dict[int, str] = field(default_factory=dict)
    """The first name of each file, from the root."""
    said: list[tuple[float, str]] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        """The instants between two events."""
        events: list[Change | Naming | Sync] = [*self.changes, *self.namings, *self.syncs]
        return sorted({time for event in events for time in (event.begin, event.end)})


@dataclass
class _Open:
    file: int
    position: int
    append: bool


def recorded(log: Path, root: Path) -> Recording:
    """Return what the traces LOG.PID tell of the directory `root`, which was empty or missing at the beginning.

    Raises:
        ValueError: a call is among them that this reader does not know.
    """
    # An open counts from its end: until then another thread may use, and close, the number that it gets.
    lines = sorted(_calls(log), key=lambda call: call[1] if call[2] == "openat" else call[0])
    reader = _Reader(str(root))
    for begin, end, name, arguments, result, path in lines:
        reader.take(begin, end, name, arguments, result, path)
    return reader.recording


def _calls(log: Path) -> Iterator[tuple[float, float, str, str, int, str]]:
    for path in log.parent.glob(log.name + ".*"):
        for line in path.read_text().split("\n"):
            found = _LINE.match(line)
            if found:
                begin, name, arguments, result, named, seconds = found.groups()
                if int(result) >= 0:
                    yield (
                        float(begin),
                        float(begin) + float(seconds),
                        name,
                        arguments,
                        int(result),
                        _text(named or ""),
                    )


def _text(quoted: str) -> str:
    return bytes.fromhex(quoted.replace("\\x", "")).decode() if quoted.startswith("\\x") else quoted


class _Reader:
    """Follows the calls in their order, with a table of names and one of open files."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.recording = Recording()
        self._names: dict[str, int] = {root: ROOT}
        self._sizes: dict[int, int] = {}
        self._open: dict[tuple[int, str], _Open] = {}
        self._last = ROOT

    def take(self, begin: float, end: float, name: str, arguments: str, result: int, path: str) -> None:
        """Take one successful call."""
        if name in ("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"):
            self._name(begin, end, name, arguments)
        elif name == "openat":
            self._opened(begin, end, arguments, result, path)
        elif name in _UNKNOWN:
            if self._root in _text_of_all(arguments):
                raise ValueError(f"the recording knows no {name}")
        else:
            self._on_open_file(begin, end, name, arguments, result)

    def _inside(self, path: str) -> bool:
        return path == self._root or path.startswith(self._root + "/")

    def _new(self) -> int:
        self._last += 1
        return self._last

    def _bind(self, begin: float, end: float, *changes: tuple[str, int | None]) -> None:
        parents = {path.rpartition("/")[0] for path, _ in changes}
        assert len(parents) == 1, "a rename from one directory into another"
        directory = self._names[parents.pop()]
        names = tuple((path.rpartition("/")[2], file) for path, file in changes)
        self.recording.namings.append(Naming(begin, end, directory, names))
        for path, file in changes:
            if file is None:
                self._names.pop(path, None)
            else:
                self._names[path] = file
                self.recording.paths.setdefault(file, path.removeprefix(self._root + "/"))

    def _name(self, begin: float, end: float, name: str, arguments: str) -> None:
        paths = [_text(text) for text in _TEXT.findall(re.sub(r"<[^>]*>", "", arguments))]
        if not self._inside(paths[0]):
            return
        if name.startswith("mkdir"):
            file = 0 if paths[0] == self._root else self._new()
            if file:
                self.recording.directories.add(file)
                self._bind(begin, end, (paths[0], file))
        elif name.startswith("rename"):
            self._bind(begin, end, (paths[1], self._names[paths[0]]), (paths[0], None))
        else:
            self._bind(begin, end, (paths[0], None))

    def _opened(self, begin: float, end: float, arguments: str, fd: int, named: str) -> None:
        path = _text(_TEXT.findall(re.sub(r"<[^>]*>", "", arguments))[0])
        if not self._inside(path) or "O_TMPFILE" in arguments:
            return
        if path not in self._names and "O_CREAT" in arguments:
            file = self._new()
            self._sizes[file] = 0
            self._bind(begin, end, (path, file))
        if path not in self._names:
            raise ValueError("a file is opened that nobody made")
        file = self._names[path]
        self._open[fd, path] = _Open(file, 0, "O_APPEND" in arguments)
        if "O_TRUNC" in arguments and self._sizes.get(file):
            self._change(begin, end, file, 0, None)

    def _on_open_file(self, begin: float, end: float, name: str, arguments: str, result: int) -> None:
        found = _FD.match(arguments)
        if found is None:
            return
        fd, path = int(found[1]), _text(found[2])
        if fd == 1 and name == "write":
            self.recording.said.append((begin, _text(_TEXT.findall(arguments)[0])))
            return
        path = path.removesuffix(" (deleted)")
        held = self._open.get((fd, path))
        if held is None:
            if self._inside(path) and name not in ("fsync", "fdatasync", "lseek"):
                raise ValueError(f"a {name} to a file that nobody opened")
            return
        if name in ("fsync", "fdatasync"):
            self.recording.syncs.append(Sync(begin, end, held.file))
        elif name == "lseek":
            held.position = result
        elif name == "sync_file_range":
            pass  # it promises nothing
        elif name == "ftruncate":
            self._change(begin, end, held.file, int(arguments.rpartition(", ")[2]), None)
        elif name in ("write", "pwrite64"):
            data = bytes.fromhex(_TEXT.findall(arguments)[0].replace("\\x", ""))[:result]
            if name == "pwrite64":
                offset = int(arguments.rpartition(", ")[2])
            else:
                offset = self._sizes[held.file] if held.append else held.position
                held.position = offset + len(data)
            self._change(begin, end, held.file, offset, data)
        else:
            raise ValueError(f"the recording knows no {name}")

    def _change(self, begin: float, end: float, file: int, offset: int, data: bytes | None) -> None:
        self.recording.changes.append(Change(begin, end, file, offset, data))
        size = self._sizes.get(file, 0)
        self._sizes[file] = offset if data is None else max(size, offset + len(data))


def _text_of_all(arguments: str) -> str:
    return "".join(_text(text) for text in _TEXT.findall(arguments)) + "".join(
        _text(path) for _, path in _FD.findall(arguments)
    )
