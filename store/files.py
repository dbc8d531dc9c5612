"""The only module that makes bytes durable: everything that fsyncs, renames or unlinks is here.

A name exists after power loss only when its directory was synced, so every function that makes, moves or removes a
name also syncs the directory. Each durable step goes through `_perform`, one at a time, so that a fault test can stop
the program, or fail the disk, at step n for every n.

A step that the disk refuses raises `OSError`; what may have happened then is told per function. After a failed fsync
the pages may be gone although the file still reads well: never sync the same file again and believe it, write it anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOTEMPTY
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from schemas.errors import IntegrityError, NotFoundError, PermissionsError
from store import immutable, locks

SECRET_MODE = 0o600
SECRET_BYTES_MAX = 64 * 2**20
OVERWRITE_CHUNK_BYTES = 2**20
COPY_CHUNK_BYTES = 2**20
EARLY_BYTES_MIN = 2**18
TEMPORARY_SUFFIX = ".tmp"
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h

_T = TypeVar("_T")


class Hook(Protocol):
    """What a fault test injects: it sees every durable step before it is done, and may raise instead."""

    def before(self, operation: str, path: Path, target: Path | None) -> None:
        """See `operation` on `path`; `target` is a rename's destination."""
        ...


_hook: Hook | None = None


def _perform(operation: str, path: Path, step: Callable[[], _T], target: Path | None = None) -> _T:
    if _hook is not None:
        _hook.before(operation, path, target)
    return step()


def _write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def write_atomic(path: Path, data: bytes | bytearray | memoryview, *, mode: int = SECRET_MODE) -> None:
    """Make `path` hold exactly `data`, durably; a reader sees the old file or the new one, never a mixture.

    Raises:
        OSError: Before the rename the old file stands; if only the last directory sync failed, readers see the new
            file and power loss may bring back the old one.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = _perform("create", temporary, lambda: os.open(temporary, flags, mode))
    try:
        try:
            os.fchmod(fd, mode)  # the umask may take bits away, never add them
            _perform("write", temporary, lambda: _write_all(fd, data))
            _perform("fsync", temporary, lambda: os.fsync(fd))
        finally:
            os.close(fd)
        _perform("rename", temporary, lambda: temporary.replace(path), path)
    except OSError:
        with suppress(OSError):
            _perform("unlink", temporary, temporary.unlink)
        raise
    fsync_dir(path.parent)


def append_durable(file: BinaryIO | int, data: bytes | bytearray | memoryview) -> None:
    """Write `data` at the position of an open file (unbuffered or a descriptor) and sync it.

    Raises:
        OSError: Any prefix of `data` may be in the file: cut it back with `truncate_durable`, or leave the file.
    """
    append(file, data)
    fd = file if isinstance(file, int) else file.fileno()
    _perform("fsync", Path(f"/proc/self/fd/{fd}"), lambda: os.fdatasync(fd))


def append(file: BinaryIO | int, data: bytes | bytearray | memoryview) -> None:
    """Write `data` at the position of an open file (unbuffered or a descriptor); it is synced later."""
    fd = file if isinstance(file, int) else file.fileno()
    _perform("write", Path(f"/proc/self/fd/{fd}"), lambda: _write_all(fd, data))


def copy_durable(src: Path, dst: Path, *, bytes_max: int | None = None) -> tuple[int, str]:
    """Copy a file to a new name, for this user only, and sync its content; return its size in bytes and SHA-256.

    Of a file that grows only the first `bytes_max` are copied.

    The directory of `dst` is synced by the caller, once for many files.

    Raises:
        FileNotFoundError: There is no such file.
        FileExistsError: There is something at `dst` already.
        OSError: The copy is not whole; it may be there in part.
    """
    taken = hashlib.sha256()
    with src.open("rb") as source:
        create_private(dst)
        with dst.open("r+b", buffering=0) as target:
            left = sys.maxsize if bytes_max is None else bytes_max
            while chunk := source.read(min(COPY_CHUNK_BYTES, left)):
                taken.update(chunk)
                left -= len(chunk)
                _perform("write", dst, lambda data=chunk: _write_all(target.fileno(), data))  # type: ignore[misc]
            _perform("fsync", dst, lambda: os.fsync(target.fileno()))
            return os.fstat(target.fileno()).st_size, taken.hexdigest()


def truncate_durable(file: BinaryIO | int, size_bytes: int) -> None:
    """Cut an open file back to `size_bytes` and sync it."""
    fd = file if isinstance(file, int) else file.fileno()
    path = Path(f"/proc/self/fd/{fd}")
    _perform("truncate", path, lambda: os.ftruncate(fd, size_bytes))
    _perform("fsync", path, lambda: os.fsync(fd))


def create_private(path: Path) -> None:
    """Make the empty file `path`, for this user only; a library then writes into it, and `fsync_path` ends it.

    Raises:
        FileExistsError: It is there already.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    _perform("create", path, lambda: os.close(os.open(path, flags, SECRET_MODE)))


def nameless(directory: Path) -> BinaryIO:
    """Return an empty file without a name on the disk of `directory`: room for what need not outlive the process.

    Nothing in it is durable, and it is gone when it is closed. Whoever writes into it encrypts before.
    """
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        fd = os.open(directory, flags | os.O_TMPFILE, SECRET_MODE)
    except OSError:  # the file system knows no nameless files
        path = directory / f".{secrets.token_hex(6)}{TEMPORARY_SUFFIX}"
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, SECRET_MODE)
        path.unlink()
    return os.fdopen(fd, "r+b")


def fsync_path(path: Path) -> None:
    """Sync the content of the file at `path`, whoever wrote it."""
    end_sync(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))


def begin_sync(path: Path) -> int:
    """Let the disk begin with a large file; `end_sync` waits. The descriptor keeps what goes wrong meanwhile."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    if os.fstat(fd).st_size >= EARLY_BYTES_MIN:
        with suppress(OSError, AttributeError):  # not every system has it; then the sync does all the work
            whole = ctypes.c_int64(0)
            ctypes.CDLL(None).sync_file_range(fd, whole, whole, _SYNC_FILE_RANGE_WRITE)
    return fd


def end_sync(path: Path, fd: int) -> None:
    """Sync the content of an open file, and close it."""
    try:
        _perform("fsync", path, lambda: os.fsync(fd))
    finally:
        os.close(fd)


def fsync_dir(path: Path) -> None:
    """Sync the names in the directory `path`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _perform("fsync_dir", path, lambda: os.fsync(fd))
    finally:
        os.close(fd)


def make_dir(path: Path, mode: int = 0o700) -> None:
    """Make the directory `path` and its missing parents, durably; an existing one is left as it is.

    Raises:
        OSError: It cannot be made, or something else has that name.
    """
    if path.is_dir():
        # It may have been made just before a crash, its name never synced.
        fsync_dir(path.parent)
        return
    if not path.parent.is_dir():
        make_dir(path.parent, mode)
    _perform("mkdir", path, lambda: path.mkdir(mode, exist_ok=True))
    fsync_dir(path.parent)


def make_dir_unsynced(path: Path, mode: int = 0o700) -> None:
    """Make the directory `path` and its missing parents; their names are the caller's to sync."""
    if not path.parent.is_dir():
        make_dir_unsynced(path.parent, mode)
    _perform("mkdir", path, lambda: path.mkdir(mode, exist_ok=True))


def unlink_durable(path: Path, missing_ok: bool = False) -> None:
    """Remove the name `path`, durably.

    Raises:
        FileNotFoundError: There is none, and `missing_ok` is not set.
    """
    _perform("unlink", path, partial(_unlink, path, missing_ok=missing_ok))
    fsync_dir(path.parent)


def unlink_all(paths: Iterable[Path]) -> None:
    """Remove these names, as far as they are there, durably: one sync of each directory, however many."""
    directories: dict[Path, None] = {}
    for path in paths:
        _perform("unlink", path, partial(_unlink, path, missing_ok=True))
        directories[path.parent] = None
    for directory in directories:
        with suppress(FileNotFoundError):  # whoever removed the directory has synced that
            fsync_dir(directory)


def _unlink(path: Path, *, missing_ok: bool) -> None:
    try:
        path.unlink(missing_ok=missing_ok)
    except PermissionError:
        if not immutable.mark(path, False):  # then it was something else
            raise
        path.unlink(missing_ok=missing_ok)


def protect(path: Path) -> bool:
    """Make the file at `path` immutable, as `chattr +i` does; False where the file system or the rights forbid it.

    From then on nobody opens it for writing, renames or removes it without clearing the mark, root included;
    `unlink_durable`, `unlink_all`, `empty_dir` and `remove_dirs` clear it themselves.
    """
    return _perform("protect", path, partial(immutable.mark, path, True))


def empty_dir(path: Path, suffix: str) -> None:
    """Remove the files of the directory `path` whose names end so, durably: one sync at the end, however many."""
    for file in sorted(path.glob(f"*{suffix}")):
        _perform("unlink", file, partial(_unlink, file, missing_ok=True))
    fsync_dir(path)


def remove_dirs(paths: Iterable[Path], top: Path) -> None:
    """Remove directories with their files, and those above them that are empty then, below `top`; durably.

    All goes before anything is synced, and only what stays is: the disk writes its journal once, and no other sync
    waits meanwhile. A directory in which another file has appeared stays.
    """
    stays: dict[Path, None] = {}
    for path in paths:
        place = path
        for file in sorted(path.glob("*")):
            _perform("unlink", file, partial(_unlink, file, missing_ok=True))
        while place != top and _perform("rmdir", place, partial(_rmdir, place)):
            place = place.parent
        stays[place] = None
    for place in stays:
        with suppress(FileNotFoundError):  # a later one took it along
            fsync_dir(place)


def _rmdir(path: Path) -> bool:
    """Tell whether a directory is gone, not whether that is durable; False if others lie in it."""
    try:
        with suppress(FileNotFoundError):
            path.rmdir()
    except OSError as error:
        if error.errno != ENOTEMPTY:
            raise
        return False
    return True


def overwrite_and_unlink(path: Path, *, missing_ok: bool = False) -> None:
    """Overwrite the file at `path` with noise, sync it, cut it to nothing and remove its name, durably.

    A copy-on-write file system, a snapshot or a drive that remaps its blocks may keep the old bytes all the same: what
    is erased so must have been encrypted, or its key be destroyed as well.

    Raises:
        FileNotFoundError: There is none, and `missing_ok` is not set.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        if not missing_ok:
            raise
        fsync_dir(path.parent)  # it may have gone just before a crash
        return
    try:
        size_bytes = os.fstat(fd).st_size

        def overwrite() -> None:
            for offset in range(0, size_bytes, OVERWRITE_CHUNK_BYTES):
                _write_all(fd, os.urandom(min(OVERWRITE_CHUNK_BYTES, size_bytes - offset)))

        _perform("overwrite", path, overwrite)
        _perform("fsync", path, lambda: os.fsync(fd))
        _perform("truncate", path, lambda: os.ftruncate(fd, 0))
    finally:
        os.close(fd)
    unlink_durable(path)


def replace_durable(src: Path, dst: Path) -> None:
    """Rename `src` to `dst`, replacing it, durably; the content of `src` must have been synced before."""
    replace_all([(src, dst)])


def replace_all(moves: Iterable[tuple[Path, Path]]) -> None:
    """Rename each first path to its second, replacing that, durably: one sync of each directory, however many.

    Raises:
        OSError: Some names may be old and some new, and none of them durable.
    """
    directories: dict[Path, None] = {}
    for src, dst in moves:
        _perform("rename", src, partial(src.replace, dst), dst)
        directories[dst.parent] = directories[src.parent] = None
    for directory in directories:
        fsync_dir(directory)


def temporaries(directory: Path) -> list[Path]:
    """Return what an interrupted `write_atomic` left in `directory`."""
    return sorted(path for path in directory.iterdir() if path.name[0] == "." and path.suffix == TEMPORARY_SUFFIX)


def read_secret(path: Path, *, size_bytes_max: int = SECRET_BYTES_MAX) -> bytes:
    """Return the content of a secret file, if nobody else could have read or written it.

    Raises:
        NotFoundError: There is no such file.
        PermissionsError: Its mode goes beyond 0600, it belongs to another user, or it is not a plain file.
        IntegrityError: It is larger than any secret.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as exc:
        raise NotFoundError(f"there is no secret file {path.name}") from exc
    except PermissionError as exc:
        raise PermissionsError(f"the secret file {path.name} cannot be read by this user") from exc
    except OSError as exc:
        if path.is_symlink():
            raise PermissionsError(f"the secret file {path.name} is a symbolic link") from exc
        raise
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PermissionsError(f"the secret file {path.name} is not a plain file")
        if status.st_uid != os.geteuid():
            raise PermissionsError(
                f"the secret file {path.name} belongs to another user", hint="change its owner to the service's user"
            )
        if stat.S_IMODE(status.st_mode) & ~SECRET_MODE:
            raise PermissionsError(f"others may use the secret file {path.name}", hint="set its mode to 0600")
        if status.st_size > size_bytes_max:
            raise IntegrityError(f"the secret file {path.name} is too large")
        return file.read()


@contextmanager
def lock(path: Path, *, exclusive: bool, blocking: bool = True, patient: bool = False) -> Iterator[None]:
    """Hold an advisory lock on the file `path`, made if missing and never removed; `store.locks` tells who waits.

    Processes exclude each other, and so do threads and tasks of one process that each call this.

    Raises:
        BusyError: Somebody else holds it: at once if `blocking` is not set, after `locks.LIMIT_S` unless `patient`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, SECRET_MODE)
    try:
        locks.take(fd, path, exclusive=exclusive, blocking=blocking, patient=patient)
        yield
    finally:
        os.close(fd)  # which also releases the lock
