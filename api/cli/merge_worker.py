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
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from api.cli.daemon import log_warnings
from api.cli.memory import keep_freed_memory, loading, undisturbed
from api.scheduling import NICENESS
from schemas.errors import LagrumError

if TYPE_CHECKING:
    from api.cli.context import Context
    from store import Store

FIRST_LINE_BYTES_MAX: Final = 16_384
_STOPPED: Final = 3
_PR_SET_PDEATHSIG: Final = 1
_saying: Final = threading.Lock()


def run_for_service(context: Context, *, everything: bool) -> int:
    """Merge for the service that started this process; return 0, or 1 when it failed.

    The first line of standard input has the passphrase and how this is to be done; its end ends the process. Each merge
    is told on standard output, one JSON object a line, an empty one every few seconds, and at last why it failed, if it
    did.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a supervisor ends all processes at once; the service ends this one
    _end_with_parent()
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    log_warnings()
    told = _first_line()
    holder: list[Store] = []
    threading.Thread(target=_watch, args=(holder, told["beat_seconds"]), daemon=True).start()
    try:
        with loading():
            keep_freed_memory()
            from api.merger import refuse_other
            from store.compaction.compact import compact
        secret = None if told["passphrase"] is None else base64.b64decode(told["passphrase"])
        refuse_other(context.require_root(), told["place"])
        with context.open_with(secret, recover=told["recover"], takes_in=True) as store, undisturbed():
            holder.append(store)
            compact(store, everything=everything, tell=lambda merged, into: _say({"merged": merged, "into": into}))
            holder.clear()
    except LagrumError as error:
        return _failed(error.message)
    except OSError as error:
        return _failed(error.strerror or type(error).__name__)
    except Exception as error:  # a message of a library may quote a record
        return _failed(type(error).__name__)
    return 0


def _failed(why: str) -> int:
    with suppress(OSError):  # nobody is there any more who would be told
        _say({"failed": why})
    return 1


def _end_with_parent() -> None:
    """Have the kernel kill this process with the thread that waits for it; elsewhere the pipe's end does it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _first_line() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n") and len(line) < FIRST_LINE_BYTES_MAX:
        more = os.read(0, FIRST_LINE_BYTES_MAX)
        if not more:
            os._exit(_STOPPED)
        line += more
    told: dict[str, Any] = json.loads(line)
    return told


def _watch(holder: list[Store], beat_seconds: float) -> None:
    """End the process, whatever it does, when standard input ends; take destroyed keys out of its memory.

    Who does not get to that says nothing, and is killed by the service.
    """
    waiting = select.poll()
    waiting.register(0, select.POLLIN)
    while True:
        try:
            _say({})
        except OSError:  # nobody listens
            os._exit(_STOPPED)
        if waiting.poll(beat_seconds * 1000) and not os.read(0, 1):
            os._exit(_STOPPED)
        for store in holder:
            with suppress(LagrumError):  # the keys are forgotten all the same
                store.keyring.refresh()


def _say(told: dict[str, Any]) -> None:
    with _saying:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
