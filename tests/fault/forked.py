"""A call in a process of its own, forked from this one: what is loaded here is not loaded again."""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from tests.fault.torture import SHARED_MEMORY

STATUS_UNCAUGHT: Final = 70
SAID_CHARACTERS: Final = 1000


def forked(act: Callable[[], int], seconds: float) -> tuple[int | None, str]:
    """Return the exit code, negative for a signal, None where the time was over, and the end of what was said.

    No process that it started in its group outlives it, and none of its temporary files.

    Raises:
        RuntimeError: this process has threads; a fork would lose them and keep their locks.
    """
    if threading.active_count() > 1:
        raise RuntimeError("a process with threads is not forked")
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lagrum-", dir=memory, ignore_cleanup_errors=True) as place:
        said = Path(place) / "said"
        said.touch()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _go(act, said)
        code = _ended(pid, seconds)
        return code, said.read_text(errors="replace")[-SAID_CHARACTERS:]


def _ended(pid: int, seconds: float) -> int | None:
    in_time = False
    ending = os.pidfd_open(pid)
    try:
        in_time = bool(select.select([ending], [], [], seconds)[0])
    finally:
        os.close(ending)
        for kill, whom in ((os.killpg, pid), (os.kill, pid)):  # it leads its group, but for its first moment
            try:
                kill(whom, signal.SIGKILL)
            except ProcessLookupError:
                continue
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if in_time else None


def _go(act: Callable[[], int], said: Path) -> NoReturn:
    code = STATUS_UNCAUGHT
    try:
        os.setpgid(0, 0)
        for numbers, path, flags in (((0,), os.devnull, os.O_RDONLY), ((1, 2), said, os.O_WRONLY | os.O_APPEND)):
            fd = os.open(path, flags)
            for number in numbers:
                os.dup2(fd, number)
            os.close(fd)
        os.environ["TMPDIR"] = str(said.parent)
        tempfile.tempdir = None
        code = act()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
