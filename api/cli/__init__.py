"""The command line: `lagrum`. Its program (`api.cli.program`) is imported where an interrupt is caught already."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.clock import Clock

EXIT_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Run one command and return its exit code; 130 when it is interrupted, be it while the program loads.

    `clock` is for tests, which call this function; nothing that a user can write reaches it. Without `argv` it is the
    program itself, and may end the process instead of returning.
    """
    try:
        from api.cli.program import run

        code = run(argv, clock=clock)
        if argv is None:
            _leave(code)
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _leave(code: int) -> None:
    """End the process, unless somebody else still works in it.

    A command has closed what it opened; to take thousands of loaded functions apart first costs 0.07 s.
    """
    others = [thread for thread in threading.enumerate() if not (thread.daemon or thread is threading.main_thread())]
    if others or sys.gettrace() is not None:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the interpreter tells that itself
        return
    os._exit(code)
