"""Merging for the service, which started this process and keeps a pipe to it (see `api.merger`)."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from api.cli.memory import keep_freed_memory, loading, undisturbed
from api.turns import NICENESS
from schemas.errors import LagrumError

if TYPE_CHECKING:
    from store import Store

REFRESH_SECONDS: Final = 20
"""Keys that another process destroyed leave the memory so soon; a lease is 60."""
FIRST_LINE_BYTES_MAX: Final = 16_384
_STOPPED: Final = 3
_PR_SET_PDEATHSIG: Final = 1


def run_for_service(opened: Callable[[bytes | None], Store], *, everything: bool) -> int:
    """Merge for the service that started this process; return 0, or 1 when it failed.

    The first line of standard input has the passphrase, and its end ends the process. Each merge is told on standard
    output, one JSON object a line, and at last why it failed, if it did.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a supervisor ends all processes at once; the service ends this one
    _end_with_parent()
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    passphrase = _first_line()
    holder: list[Store] = []
    threading.Thread(target=_watch, args=(holder,), daemon=True).start()
    with loading():
        keep_freed_memory()
        from store.compaction.compact import compact
    try:
        with opened(passphrase) as store, undisturbed():
            holder.append(store)
            compact(store, everything=everything, tell=lambda merged, into: _say({"merged": merged, "into": into}))
            holder.clear()
    except LagrumError as error:
        _say({"failed": error.message})
        return 1
    return 0


def _end_with_parent() -> None:
    """Have the kernel kill this process with the thread that waits for it; elsewhere the pipe's end does it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _first_line() -> bytes | None:
    line = b""
    while not line.endswith(b"\n") and len(line) < FIRST_LINE_BYTES_MAX:
        more = os.read(0, FIRST_LINE_BYTES_MAX)
        if not more:
            os._exit(_STOPPED)
        line += more
    secret = json.loads(line)["passphrase"]
    return None if secret is None else base64.b64decode(secret)


def _watch(holder: list[Store]) -> None:
    """End the process, whatever it does, when standard input ends; take destroyed keys out of its memory."""
    while True:
        if select.select([0], [], [], REFRESH_SECONDS)[0] and not os.read(0, 1):
            os._exit(_STOPPED)
        for store in holder:
            with suppress(LagrumError):  # the keys are forgotten all the same
                store.keyring.refresh()


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
